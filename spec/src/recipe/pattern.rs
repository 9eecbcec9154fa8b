//! Patterns over dotted names of parameters: `*` is any number of characters, dots included.

use super::finding::Code;
use super::reader::{Node, Source, shorten};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Such as `model.*`, `optim.lr` or `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Pattern(String);

/// Why a text is no [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no pattern of parameters: names are parted by dots, * stands for any characters"
)]
pub struct PatternError(String);

impl Pattern {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it means one name only.
    pub fn is_name(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether it means this name.
    ///
    /// ```
    /// use sealstone_spec::recipe::Pattern;
    /// let pattern: Pattern = "model.*".parse().unwrap();
    /// assert!(pattern.matches("model.C") && !pattern.matches("split.seed"));
    /// ```
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else {
            return false;
        };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else {
            return rest.is_empty();
        };
        for part in parts {
            match rest.find(part) {
                Some(index) => rest = &rest[index + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }

    pub(super) fn read(source: &Source<'_>, node: &Node<'_>) -> Option<Pattern> {
        let Some(text) = node.get_ref().as_str() else {
            let problem = "a pattern of parameters must be a text in quotes";
            source.report(&node.span(), Code::WrongValue, problem, None);
            return None;
        };
        let pattern = text.parse::<Pattern>();
        pattern
            .map_err(|error| {
                source.report(&node.span(), Code::WrongValue, error.to_string(), None);
            })
            .ok()
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Pattern, PatternError> {
        let is_good = (1..=200).contains(&text.len())
            && !text.chars().any(|c| c.is_control() || c.is_whitespace())
            && text.split('.').all(|part| !part.is_empty());
        match is_good {
            true => Ok(Pattern(text.to_owned())),
            false => Err(PatternError(shorten(text))),
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Pattern, PatternError> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// The same by recursion.
    fn matches(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.first(), name.first()) {
            (None, None) => true,
            (Some(b'*'), _) => {
                matches(&pattern[1..], name) || (!name.is_empty() && matches(pattern, &name[1..]))
            }
            (Some(a), Some(b)) if a == b => matches(&pattern[1..], &name[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn stars_are_any_characters(pattern in "[ab*]{1,6}(\\.[ab*]{1,4})?", name in "[ab.]{0,10}") {
            let parsed: Pattern = pattern.parse().unwrap();
            prop_assert_eq!(parsed.matches(&name), matches(pattern.as_bytes(), name.as_bytes()));
        }
    }

    #[test]
    fn odd_patterns_are_refused() {
        for bad in ["", ".", "a..b", "a b", "a\n"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad:?}");
        }
    }
}
