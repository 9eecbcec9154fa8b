//! What is demanded of one metric, and what becomes of it: in a replay, and between two releases.
//!
//! A replay asks for the same number, so a better one is a discrepancy too. A new release asks for no loss, so
//! its direction counts. Owns rules, values and verdicts as documents hold them; which outcome follows from which
//! figures is `judge`'s, and where figures are read is the caller's.
//! Invariant: a metric that is missing, NaN, or has too few replicates never passes.

mod judge;
#[cfg(test)]
mod tests;

use super::class::Class;
use super::decimal::Decimal;
use super::scalar::ScalarTolerance;
use serde::{Deserialize, Serialize};

/// Replicates of the baseline below which an interval shows nothing.
pub const MIN_BASELINE_REPLICATES: usize = 5;

/// Which way a metric is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Higher is better, as with accuracy.
    Higher,
    /// Lower is better, as with a loss.
    Lower,
    /// Any change is a loss.
    #[default]
    None,
}

impl Direction {
    /// How much worse `now` is than `base`; negative where it is better.
    pub fn loss(self, base: f64, now: f64) -> f64 {
        match self {
            Direction::Higher => base - now,
            Direction::Lower => now - base,
            Direction::None => (now - base).abs(),
        }
    }
}

/// How a replayed metric is held against its baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayMethod {
    /// By the bounds of [`ScalarTolerance`].
    #[default]
    Scalar,
    /// By the interval in which one further value of the baseline's replicates would lie.
    Interval,
    /// By Welch's test of equivalence; needs a margin and three replays.
    Tost,
}

/// What a replay demands of a metric: always two-sided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayRule {
    /// How it is held against the baseline.
    pub method: ReplayMethod,
    /// Largest absolute difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abs: Option<Decimal>,
    /// Largest difference in parts of the baseline; adds to `abs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rel: Option<Decimal>,
    /// Largest number of doubles between the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ulp: Option<u64>,
    /// Largest difference of means that counts as equivalent, for `tost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<Decimal>,
    /// Confidence of interval and test; 0.95 where it is not stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Decimal>,
}

impl ReplayRule {
    fn tolerance(&self) -> ScalarTolerance {
        ScalarTolerance {
            abs: self.abs.clone(),
            rel: self.rel.clone(),
            ulp: self.ulp,
            ..ScalarTolerance::default()
        }
    }
}

/// How a new release is held against an older one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegressionMethod {
    /// One value against one value.
    #[default]
    Scalar,
    /// Replicates against replicates, by Welch's test on the side that is a loss.
    Tost,
}

/// What a new release must not lose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegressionRule {
    /// How it is held against the older release.
    pub method: RegressionMethod,
    /// Largest loss; none where it is not stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_loss: Option<Decimal>,
    /// Largest difference of means that counts as equivalent, for `tost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<Decimal>,
    /// Confidence of the test; 0.95 where it is not stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Decimal>,
}

/// Everything that is demanded of one metric.
///
/// ```
/// use sealstone_spec::compare::{Baseline, MetricRule, Outcome};
/// let rule: MetricRule = toml::from_str("direction = \"higher\"\nmin = 0.8\nreplay = { abs = 1e-6 }").unwrap();
/// let base = Baseline::value("0.91".parse().unwrap());
/// let now = Baseline::value("0.95".parse().unwrap());
/// assert_eq!(rule.judge_replay(&base, &now).outcome, Outcome::Fail); // better is not the same
/// assert_eq!(rule.judge_regression(&base, &now).outcome, Outcome::Pass);
/// assert_eq!(rule.judge_replay(&base, &Baseline::default()).outcome, Outcome::Unmeasured);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricRule {
    /// Which way it is better.
    pub direction: Direction,
    /// Its rule in a replay.
    pub replay: ReplayRule,
    /// Its rule between releases.
    pub regression: RegressionRule,
    /// It must be at least this, whatever the baseline was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<Decimal>,
    /// It must be at most this, whatever the baseline was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Decimal>,
    /// Examples that it is a mean over; the smallest step is `1/n`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
}

/// The values of a metric on one side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Baseline {
    /// The value; none if it was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Decimal>,
    /// Values of runs with other seeds, or of repeated replays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replicates: Vec<Decimal>,
}

impl Baseline {
    /// One value.
    pub fn value(value: Decimal) -> Baseline {
        Baseline {
            value: Some(value),
            replicates: Vec::new(),
        }
    }

    /// Several values, of which the first stands for all where one is asked.
    pub fn replicates(values: Vec<Decimal>) -> Baseline {
        Baseline {
            value: values.first().cloned(),
            replicates: values,
        }
    }

    fn doubles(&self) -> Vec<f64> {
        match self.replicates.is_empty() {
            true => self.value.iter().map(Decimal::value).collect(),
            false => self.replicates.iter().map(Decimal::value).collect(),
        }
    }
}

/// What became of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It is what it should be.
    Pass,
    /// It is not.
    Fail,
    /// There is no value now.
    Unmeasured,
    /// There are too few values to say.
    Inconclusive,
    /// There was no value before: nothing to hold it against. A warning.
    New,
}

impl Outcome {
    /// Whether it passed; nothing but [`Outcome::Pass`] does.
    pub fn is_pass(self) -> bool {
        self == Outcome::Pass
    }
}

/// The verdict on one metric, with the figures that it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricVerdict {
    /// What became of it.
    pub outcome: Outcome,
    /// The class that it shows: `bit_exact` for the same number, `numeric` inside bounds, `statistical`
    /// inside an interval, else `divergent`.
    pub class: Class,
    /// The baseline: its value, or the mean of its replicates where those were used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Decimal>,
    /// The value now, or the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<Decimal>,
    /// `now - base`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta: Option<Decimal>,
    /// The largest difference (in a replay) or loss (between releases) that passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<Decimal>,
    /// `1/n`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantum: Option<Decimal>,
    /// How many of `n` examples the difference stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<u64>,
    /// The one-sided p value, where a test was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p: Option<Decimal>,
    /// Why it is no pass; for a pass, by what it passed.
    pub reason: String,
}
