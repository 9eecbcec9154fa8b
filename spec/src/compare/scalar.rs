//! One number against another.
//!
//! A value passes if `|now - base| <= abs + rel * |base|`, computed in doubles: the rule of numpy and torch,
//! with the baseline on the side that scales. Bounds that are not stated are zero.

use super::decimal::Decimal;
use serde::{Deserialize, Serialize};

/// What NaN is equal to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NanRule {
    /// To nothing: a NaN on either side fails.
    #[default]
    Fails,
    /// To NaN in the same place.
    Equal,
}

/// Bounds on the difference of two numbers. All that are stated must hold.
///
/// ```
/// use sealstone_spec::compare::ScalarTolerance;
/// let rule: ScalarTolerance = toml::from_str("abs = 1e-6").unwrap();
/// assert!(rule.accepts(0.91, 0.9100005));
/// assert!(!rule.accepts(0.91, 0.92));
/// assert!(!rule.accepts(f64::NAN, f64::NAN));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScalarTolerance {
    /// Largest absolute difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abs: Option<Decimal>,
    /// Largest difference in parts of the baseline; adds to `abs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rel: Option<Decimal>,
    /// Largest number of doubles between the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ulp: Option<u64>,
    /// What NaN is equal to.
    #[serde(skip_serializing_if = "is_default")]
    pub nan: NanRule,
}

fn is_default(rule: &NanRule) -> bool {
    *rule == NanRule::default()
}

impl ScalarTolerance {
    /// Nothing but equality.
    pub fn exact() -> ScalarTolerance {
        ScalarTolerance::default()
    }

    /// Whether any bound is stated.
    pub fn is_stated(&self) -> bool {
        self.abs.is_some() || self.rel.is_some() || self.ulp.is_some()
    }

    /// The largest difference from `base` that passes by `abs` and `rel`; negative or NaN bounds let
    /// nothing pass.
    pub fn bound(&self, base: f64) -> f64 {
        let stated = |bound: &Option<Decimal>| bound.as_ref().map_or(0.0, Decimal::value);
        let (abs, rel) = (stated(&self.abs), stated(&self.rel));
        if !(abs >= 0.0 && rel >= 0.0) {
            return f64::NAN;
        }
        // 0 * infinity is NaN; nothing relative to an infinite baseline is asked here.
        if rel == 0.0 {
            abs
        } else {
            abs + rel * base.abs()
        }
    }

    /// Whether `now` may stand for `base`.
    pub fn accepts(&self, base: f64, now: f64) -> bool {
        if base.is_nan() || now.is_nan() {
            return self.nan == NanRule::Equal && base.is_nan() && now.is_nan();
        }
        if base.is_infinite() || now.is_infinite() {
            return base == now;
        }
        let bounded = self.abs.is_some() || self.rel.is_some();
        if let Some(ulp) = self.ulp {
            let near = ulp_distance(base, now) <= ulp;
            return near && (!bounded || self.is_within(base, now));
        }
        self.is_within(base, now)
    }

    fn is_within(&self, base: f64, now: f64) -> bool {
        base == now || (now - base).abs() <= self.bound(base)
    }
}

/// The number of doubles between two numbers; 0 for equal ones (zeros of either sign too), the largest
/// count if one is NaN.
pub fn ulp_distance(one: f64, two: f64) -> u64 {
    if one.is_nan() || two.is_nan() {
        return u64::MAX;
    }
    // Doubles in order: those below zero count down from zero.
    let place = |value: f64| -> i128 {
        let magnitude = i128::from(value.abs().to_bits());
        if value.is_sign_negative() {
            -magnitude
        } else {
            magnitude
        }
    };
    let distance = (place(one) - place(two)).unsigned_abs();
    u64::try_from(distance).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn rule(text: &str) -> ScalarTolerance {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_baseline_scales_the_relative_bound() {
        let tenth = rule("rel = 0.1");
        assert!(tenth.accepts(100.0, 110.0));
        assert!(!tenth.accepts(100.0, 110.1));
        // Not symmetric: 100 is within a tenth of 110, 110 is not within a tenth of 99.
        assert!(tenth.accepts(110.0, 100.0) && !tenth.accepts(99.0, 110.0));
        assert!(rule("abs = 5.0\nrel = 0.1").accepts(100.0, 115.0));
    }

    #[test]
    fn nothing_stated_is_equality() {
        let exact = ScalarTolerance::exact();
        assert!(exact.accepts(1.25, 1.25) && exact.accepts(0.0, -0.0));
        assert!(!exact.accepts(1.25, 1.2500000000000002));
    }

    #[test]
    fn nan_and_infinity_have_rules_of_their_own() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        let wide = rule("abs = 1e300\nrel = 10.0");
        assert!(wide.accepts(inf, inf) && wide.accepts(-inf, -inf));
        for (base, now) in [
            (inf, -inf),
            (inf, 1.0),
            (1.0, inf),
            (nan, nan),
            (nan, 1.0),
            (1.0, nan),
        ] {
            assert!(!wide.accepts(base, now), "{base} {now}");
        }
        let equal = rule("abs = 1e300\nnan = \"equal\"");
        assert!(equal.accepts(nan, nan));
        assert!(!equal.accepts(nan, 1.0) && !equal.accepts(1.0, nan));
    }

    #[test]
    fn ulps_count_doubles() {
        assert_eq!(ulp_distance(1.0, 1.0 + f64::EPSILON), 1);
        assert_eq!(ulp_distance(0.0, -0.0), 0);
        assert_eq!(ulp_distance(f64::from_bits(1), -f64::from_bits(1)), 2);
        assert_eq!(ulp_distance(f64::NAN, 1.0), u64::MAX);
        let four = rule("ulp = 4");
        let mut next = 1.0_f64;
        for _ in 0..4 {
            next = next.next_up();
        }
        assert!(four.accepts(1.0, next) && !four.accepts(1.0, next.next_up()));
        // All stated bounds hold: the narrower one decides.
        assert!(!rule("ulp = 4\nabs = 1e-16").accepts(1.0, next));
    }

    #[test]
    fn a_bound_that_is_none_lets_nothing_pass() {
        for text in ["abs = nan", "abs = -1.0", "rel = nan"] {
            assert!(!rule(text).accepts(1.0, 1.1), "{text}");
        }
        assert!(toml::from_str::<ScalarTolerance>("absolute = 1.0").is_err());
    }

    proptest! {
        #[test]
        fn ulps_are_a_distance(one: f64, two: f64) {
            prop_assert_eq!(ulp_distance(one, two), ulp_distance(two, one));
            if one == two {
                prop_assert_eq!(ulp_distance(one, two), 0);
            }
        }
    }
}
