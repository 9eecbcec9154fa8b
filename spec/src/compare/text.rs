//! Generated text: the same, or at least of about the same length.

use super::decimal::Decimal;
use serde::{Deserialize, Serialize};

/// What is demanded of generated text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextRule {
    /// Whether every text must be the same.
    pub exact: bool,
    /// Smallest ratio of lengths, now to base; 0.9 where it is not stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length_ratio: Option<Decimal>,
    /// Largest ratio of lengths; 1.1 where it is not stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length_ratio: Option<Decimal>,
}

/// The ratio of lengths in characters, now to base; `None` where only the base is empty.
pub fn length_ratio(base: &str, now: &str) -> Option<f64> {
    match (base.chars().count(), now.chars().count()) {
        (0, 0) => Some(1.0),
        (0, _) => None,
        (base, now) => Some(now as f64 / base as f64),
    }
}

impl TextRule {
    /// Whether `now` may stand for `base`.
    ///
    /// ```
    /// use sealstone_spec::compare::TextRule;
    /// assert!(TextRule::default().accepts("ten digits", "ten letter"));
    /// assert!(!TextRule::default().accepts("ten digits", "seven"));
    /// assert!(!TextRule { exact: true, ..TextRule::default() }.accepts("a", "b"));
    /// ```
    pub fn accepts(&self, base: &str, now: &str) -> bool {
        if base == now {
            return true;
        }
        let bound =
            |stated: &Option<Decimal>, default| stated.as_ref().map_or(default, Decimal::value);
        let is_within = length_ratio(base, now).is_some_and(|ratio| {
            ratio >= bound(&self.min_length_ratio, 0.9)
                && ratio <= bound(&self.max_length_ratio, 1.1)
        });
        !self.exact && is_within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_in_characters() {
        assert_eq!(length_ratio("éé", "ab"), Some(1.0));
        assert_eq!(length_ratio("", ""), Some(1.0));
        assert_eq!(length_ratio("", "a"), None);
        assert_eq!(length_ratio("a", ""), Some(0.0));
        let rule = TextRule::default();
        assert!(rule.accepts("", "") && !rule.accepts("", "a") && !rule.accepts("a", ""));
        assert!(rule.accepts(&"a".repeat(10), &"b".repeat(11)));
        assert!(!rule.accepts(&"a".repeat(10), &"b".repeat(12)));
    }
}
