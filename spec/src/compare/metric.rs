//! The verdict on one metric: in a replay, and between two releases.
//!
//! A replay asks for the same number, so a better one is a discrepancy too. A new release asks for no loss, so
//! its direction counts. Owns which outcome follows from which figures; where they are read is the caller's.
//! Invariant: a metric that is missing, NaN, or has too few replicates never passes.

use super::class::Class;
use super::decimal::Decimal;
use super::scalar::ScalarTolerance;
use super::statistics::{Sample, equivalence, half_width, t_cdf};
use serde::{Deserialize, Serialize};

/// Replicates of the baseline below which an interval shows nothing.
pub const MIN_BASELINE_REPLICATES: usize = 5;
/// Replays below which a test of equivalence shows nothing.
const MIN_REPLAYS: usize = 3;

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

impl MetricRule {
    /// Holds a replayed metric against its baseline, on both sides.
    pub fn judge_replay(&self, base: &Baseline, now: &Baseline) -> MetricVerdict {
        let mut verdict = match self.begin(base, now) {
            Ok(verdict) => verdict,
            Err(verdict) => return *verdict,
        };
        match self.replay.method {
            ReplayMethod::Scalar => self.replay_scalar(now, &mut verdict),
            ReplayMethod::Interval => self.replay_interval(base, now, &mut verdict),
            ReplayMethod::Tost => {
                let rule = &self.replay;
                let tested = test(
                    rule.margin.as_ref(),
                    &rule.confidence,
                    None,
                    base,
                    now,
                    &mut verdict,
                );
                if !tested {
                    self.replay_scalar(now, &mut verdict);
                }
            }
        }
        verdict
    }

    /// Holds the metric of a new release against that of an older one.
    pub fn judge_regression(&self, base: &Baseline, now: &Baseline) -> MetricVerdict {
        let mut verdict = match self.begin(base, now) {
            Ok(verdict) => verdict,
            Err(verdict) => return *verdict,
        };
        let rule = &self.regression;
        if rule.method == RegressionMethod::Tost {
            let margin = rule.margin.as_ref();
            let tested = test(
                margin,
                &rule.confidence,
                Some(self.direction),
                base,
                now,
                &mut verdict,
            );
            let decides = verdict.outcome != Outcome::Pass || rule.max_loss.is_none();
            if tested && decides {
                return verdict;
            }
        }
        let allowed = rule.max_loss.as_ref().map_or(0.0, Decimal::value);
        let (Some(base), Some(now)) = (&verdict.base, &verdict.now) else {
            return verdict;
        };
        let loss = self.direction.loss(base.value(), now.value());
        // Equal infinities differ by NaN and are no loss.
        let is_kept = loss <= allowed || base.value() == now.value();
        verdict.bound = Some(Decimal::from(allowed));
        if is_kept {
            verdict.pass(
                Class::Numeric,
                format!("loss {} is at most {allowed}", Decimal::from(loss)),
            );
        } else {
            verdict.fail(format!("loss {} is over {allowed}", Decimal::from(loss)));
        }
        verdict
    }

    /// The figures, or the verdict where there is nothing to compare.
    fn begin(&self, base: &Baseline, now: &Baseline) -> Result<MetricVerdict, Box<MetricVerdict>> {
        let (base_values, now_values) = (base.doubles(), now.doubles());
        let mut verdict = MetricVerdict {
            outcome: Outcome::Fail,
            class: Class::Divergent,
            base: base.value.clone().or_else(|| mean(&base_values)),
            now: now.value.clone().or_else(|| mean(&now_values)),
            delta: None,
            bound: None,
            quantum: None,
            changed: None,
            p: None,
            reason: String::new(),
        };
        verdict.measure(self.n);
        if now_values.is_empty() {
            verdict.outcome = Outcome::Unmeasured;
            verdict.reason = "it was not measured".to_owned();
            return Err(Box::new(verdict));
        }
        let all = || now.value.iter().chain(&now.replicates);
        if all().any(|value| value.value().is_nan()) {
            verdict.reason = "it is NaN".to_owned();
            return Err(Box::new(verdict));
        }
        if let Some(min) = &self.min
            && !all().all(|value| value.value() >= min.value())
        {
            verdict.reason = format!("it is below its minimum {min}");
            return Err(Box::new(verdict));
        }
        if let Some(max) = &self.max
            && !all().all(|value| value.value() <= max.value())
        {
            verdict.reason = format!("it is above its maximum {max}");
            return Err(Box::new(verdict));
        }
        if base_values.is_empty() {
            verdict.outcome = Outcome::New;
            verdict.reason = "the baseline has no such metric".to_owned();
            return Err(Box::new(verdict));
        }
        if base_values.iter().any(|value| value.is_nan()) {
            verdict.reason = "the baseline is NaN".to_owned();
            return Err(Box::new(verdict));
        }
        Ok(verdict)
    }

    fn replay_scalar(&self, now: &Baseline, verdict: &mut MetricVerdict) {
        let Some(base) = &verdict.base else { return };
        let base = base.value();
        let tolerance = self.replay.tolerance();
        verdict.bound = Some(Decimal::from(tolerance.bound(base)));
        let values = now.value.iter().chain(&now.replicates);
        let values: Vec<f64> = values.map(Decimal::value).collect();
        let Some(bad) = values
            .iter()
            .find(|value| !tolerance.accepts(base, **value))
        else {
            let is_same = values.iter().all(|value| *value == base);
            let class = if is_same {
                Class::BitExact
            } else {
                Class::Numeric
            };
            verdict.pass(class, "within its tolerance".to_owned());
            return;
        };
        let side = match self.direction.loss(base, *bad) < 0.0 {
            true => "; better than the baseline is a discrepancy too",
            false => "",
        };
        let off = Decimal::from((bad - base).abs());
        verdict.fail(format!(
            "it is off by {off}, over {}{side}",
            Decimal::from(tolerance.bound(base))
        ));
    }

    fn replay_interval(&self, base: &Baseline, now: &Baseline, verdict: &mut MetricVerdict) {
        let count = base.replicates.len();
        if count < MIN_BASELINE_REPLICATES {
            verdict.inconclusive(format!(
                "the baseline has {count} replicates; an interval needs {MIN_BASELINE_REPLICATES}"
            ));
            return;
        }
        let Some(sample) = Sample::of(&base.doubles()) else {
            verdict.inconclusive("the baseline's replicates are not all finite".to_owned());
            return;
        };
        verdict.base = Some(Decimal::from(sample.mean));
        verdict.measure(self.n);
        if sample.deviation == 0.0 {
            self.replay_scalar(now, verdict);
            return;
        }
        let Some(width) = confidence(&self.replay.confidence)
            .and_then(|confidence| half_width(count, confidence))
        else {
            verdict.inconclusive("the confidence is not between 0 and 1".to_owned());
            return;
        };
        let bound = width * sample.deviation;
        verdict.bound = Some(Decimal::from(bound));
        let is_inside = |value: &f64| (value - sample.mean).abs() <= bound;
        if now.doubles().iter().all(is_inside) {
            verdict.pass(
                Class::Statistical,
                format!("inside the interval of {count} replicates"),
            );
        } else {
            verdict.fail(format!("outside the interval of {count} replicates"));
        }
    }
}

fn mean(values: &[f64]) -> Option<Decimal> {
    match values {
        [] => None,
        _ => Some(Decimal::from(
            values.iter().sum::<f64>() / values.len() as f64,
        )),
    }
}

fn confidence(stated: &Option<Decimal>) -> Option<f64> {
    let confidence = stated.as_ref().map_or(0.95, Decimal::value);
    (confidence > 0.5 && confidence < 1.0).then_some(confidence)
}

/// Welch's test: in a replay of equivalence on both sides; between releases, with a `direction`, only on the side
/// that it calls a loss. A release has to show that it is equivalent; a replay that shows neither that nor a
/// difference has shown nothing, which is no divergence.
///
/// `false` where neither side has any spread: there is nothing to test, every difference under the margin would be
/// certain (p = 0), and that of one run copied five times as well. Then the scalar rule decides.
fn test(
    margin: Option<&Decimal>,
    stated: &Option<Decimal>,
    direction: Option<Direction>,
    base: &Baseline,
    now: &Baseline,
    verdict: &mut MetricVerdict,
) -> bool {
    let (Some(margin), Some(confidence)) = (margin, confidence(stated)) else {
        verdict.inconclusive(
            "a test of equivalence needs a margin, and a confidence between 0.5 and 1".to_owned(),
        );
        return true;
    };
    let (before, after) = (base.replicates.len(), now.replicates.len());
    if before < MIN_BASELINE_REPLICATES || after < MIN_REPLAYS {
        verdict.inconclusive(format!(
            "{before} replicates before and {after} now; the test needs {MIN_BASELINE_REPLICATES} and {MIN_REPLAYS}"
        ));
        return true;
    }
    let (Some(one), Some(two)) = (Sample::of(&base.doubles()), Sample::of(&now.doubles())) else {
        verdict.inconclusive("the replicates are not all finite".to_owned());
        return true;
    };
    verdict.base = Some(Decimal::from(one.mean));
    verdict.now = Some(Decimal::from(two.mean));
    verdict.measure(None);
    verdict.bound = Some(margin.clone());
    // Numbers that are the same need no test, which a spread that is wide against the margin would not pass.
    if direction.is_none() && is_same(base, now) {
        verdict.pass(Class::BitExact, "equal, replicate by replicate".to_owned());
        return true;
    }
    if one.deviation == 0.0 && two.deviation == 0.0 {
        return false;
    }
    let Some(found) = equivalence(&one, &two, margin.value(), confidence) else {
        verdict.inconclusive("the test cannot be computed from these figures".to_owned());
        return true;
    };
    let (p, holds) = match direction {
        None | Some(Direction::None) => (Some(found.p), found.equivalent),
        Some(direction) => {
            let loss = direction.loss(one.mean, two.mean);
            let p = one_sided(&one, &two, loss, margin.value(), found.freedom);
            (p, p.is_some_and(|p| p < 1.0 - confidence))
        }
    };
    verdict.p = p.map(Decimal::from);
    if holds {
        verdict.pass(Class::Statistical, format!("equivalent within {margin}"));
    } else if direction.is_some() {
        // A release has to show that it loses nothing.
        verdict.fail(format!("not shown to be equivalent within {margin}"));
    } else if found.is_outside(margin.value()) {
        verdict.fail(format!("the means differ by more than {margin}"));
    } else {
        verdict.inconclusive(format!(
            "neither shown to be equivalent within {margin}, nor to differ by more"
        ));
    }
    true
}

/// Whether both sides have the same value, and the same replicates seed by seed.
fn is_same(base: &Baseline, now: &Baseline) -> bool {
    let value = |side: &Baseline| side.value.as_ref().map(Decimal::value);
    value(base) == value(now) && base.doubles() == now.doubles()
}

/// The probability of so small a loss if the true one were `margin`.
fn one_sided(one: &Sample, two: &Sample, loss: f64, margin: f64, freedom: f64) -> Option<f64> {
    let part = |sample: &Sample| sample.deviation.powi(2) / sample.count as f64;
    let error = (part(one) + part(two)).sqrt();
    if error == 0.0 {
        return Some(if loss < margin { 0.0 } else { 1.0 });
    }
    t_cdf((loss - margin) / error, freedom)
}

impl MetricVerdict {
    /// Fills in what follows from base and now.
    fn measure(&mut self, examples: Option<u64>) {
        let (Some(base), Some(now)) = (&self.base, &self.now) else {
            return;
        };
        let delta = match base == now {
            true => 0.0,
            false => now.value() - base.value(),
        };
        self.delta = Some(Decimal::from(delta));
        if let Some(examples) = examples.filter(|count| *count > 0) {
            self.quantum = Some(Decimal::from(1.0 / examples as f64));
            let changed = (delta.abs() * examples as f64).round();
            self.changed = changed.is_finite().then_some(changed as u64);
        }
    }

    fn pass(&mut self, class: Class, reason: String) {
        self.outcome = Outcome::Pass;
        self.class = class;
        self.reason = reason;
    }

    fn fail(&mut self, reason: String) {
        self.outcome = Outcome::Fail;
        self.class = Class::Divergent;
        self.reason = reason;
    }

    fn inconclusive(&mut self, reason: String) {
        self.outcome = Outcome::Inconclusive;
        self.reason = reason;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn rule(text: &str) -> MetricRule {
        toml::from_str(text).unwrap()
    }

    fn one(text: &str) -> Baseline {
        Baseline::value(text.parse().unwrap())
    }

    fn many(values: &[f64]) -> Baseline {
        Baseline::replicates(values.iter().copied().map(Decimal::from).collect())
    }

    #[test]
    fn a_replay_is_two_sided() {
        let rule = rule("direction = \"higher\"\nreplay = { abs = 1e-3 }\nn = 1000");
        let base = one("0.91");
        assert_eq!(
            rule.judge_replay(&base, &one("0.91")).class,
            Class::BitExact
        );
        let near = rule.judge_replay(&base, &one("0.9105"));
        assert_eq!((near.outcome, near.class), (Outcome::Pass, Class::Numeric));
        let better = rule.judge_replay(&base, &one("0.95"));
        assert_eq!(better.outcome, Outcome::Fail);
        assert!(better.reason.contains("better"), "{}", better.reason);
        assert_eq!(better.quantum.unwrap().to_string(), "0.001");
        assert_eq!(better.changed, Some(40));
    }

    #[test]
    fn a_release_may_gain_and_lose_only_so_much() {
        let higher = rule("direction = \"higher\"\nregression = { max_loss = 0.005 }");
        let lower = rule("direction = \"lower\"\nregression = { max_loss = 0.005 }");
        for (now, by_higher, by_lower) in [
            ("0.95", Outcome::Pass, Outcome::Fail),
            ("0.906", Outcome::Pass, Outcome::Pass),
            ("0.85", Outcome::Fail, Outcome::Pass),
        ] {
            let (base, now) = (one("0.91"), one(now));
            assert_eq!(higher.judge_regression(&base, &now).outcome, by_higher);
            assert_eq!(lower.judge_regression(&base, &now).outcome, by_lower);
        }
        let none = rule("regression = { max_loss = 0.005 }");
        assert_eq!(
            none.judge_regression(&one("0.91"), &one("0.95")).outcome,
            Outcome::Fail
        );
    }

    #[test]
    fn what_cannot_be_compared_is_no_pass() {
        let wide = rule("replay = { abs = 1e300 }\nregression = { max_loss = 1e300 }");
        let (nothing, nan, value) = (Baseline::default(), one("NaN"), one("0.91"));
        let both = |base: &Baseline, now: &Baseline| {
            let outcome = wide.judge_replay(base, now).outcome;
            assert_eq!(outcome, wide.judge_regression(base, now).outcome);
            outcome
        };
        assert_eq!(both(&value, &nothing), Outcome::Unmeasured);
        assert_eq!(both(&nothing, &nothing), Outcome::Unmeasured);
        assert_eq!(both(&value, &nan), Outcome::Fail);
        assert_eq!(both(&nan, &nan), Outcome::Fail);
        assert_eq!(both(&nan, &value), Outcome::Fail);
        assert_eq!(both(&nothing, &value), Outcome::New);
        assert_eq!(both(&value, &one("Infinity")), Outcome::Fail);
    }

    #[test]
    fn guards_hold_whatever_the_baseline_was() {
        let guarded = rule("min = 0.8\nmax = 0.99");
        for (value, outcome) in [
            ("0.79", Outcome::Fail),
            ("0.8", Outcome::Pass),
            ("1", Outcome::Fail),
        ] {
            assert_eq!(
                guarded.judge_replay(&one(value), &one(value)).outcome,
                outcome
            );
        }
    }

    #[test]
    fn intervals_need_five_replicates() {
        let rule = rule("replay = { method = \"interval\" }");
        let four = many(&[0.86, 0.861, 0.862, 0.863]);
        assert_eq!(
            rule.judge_replay(&four, &one("0.8615")).outcome,
            Outcome::Inconclusive
        );
        let five = many(&[0.86, 0.861, 0.862, 0.863, 0.864]);
        let inside = rule.judge_replay(&five, &one("0.8665"));
        assert_eq!(
            (inside.outcome, inside.class),
            (Outcome::Pass, Class::Statistical)
        );
        // Standard deviation 0.00158, half width 3.04 of them.
        let bound = inside.bound.unwrap().value();
        assert!((bound / 0.001_581_138_8 - 3.04).abs() < 0.005, "{bound}");
        assert_eq!(
            rule.judge_replay(&five, &one("0.867")).outcome,
            Outcome::Fail
        );
        let unspread = many(&[0.86; 5]);
        assert_eq!(
            rule.judge_replay(&unspread, &one("0.86")).outcome,
            Outcome::Pass
        );
        assert_eq!(
            rule.judge_replay(&unspread, &one("0.8600001")).outcome,
            Outcome::Fail
        );
    }

    #[test]
    fn equivalence_is_tested_on_the_side_that_matters() {
        let text = "{ method = \"tost\", margin = 0.005 }";
        let rule = rule(&format!(
            "direction = \"higher\"\nreplay = {text}\nregression = {text}"
        ));
        let base = many(&[0.860, 0.862, 0.858, 0.861, 0.859]);
        let better = many(&[0.880, 0.881, 0.879]);
        assert_eq!(rule.judge_replay(&base, &better).outcome, Outcome::Fail);
        assert_eq!(rule.judge_regression(&base, &better).outcome, Outcome::Pass);
        let same = many(&[0.861, 0.860, 0.859]);
        assert_eq!(rule.judge_replay(&base, &same).outcome, Outcome::Pass);
        let worse = many(&[0.850, 0.851, 0.849]);
        assert_eq!(rule.judge_regression(&base, &worse).outcome, Outcome::Fail);
        let two = many(&[0.861, 0.860]);
        assert_eq!(
            rule.judge_replay(&base, &two).outcome,
            Outcome::Inconclusive
        );
    }

    #[test]
    fn a_replay_whose_spread_hides_everything_is_no_divergence() {
        let rule = rule(
            "replay = { method = \"tost\", margin = 0.005 }\nregression = { method = \"tost\", margin = 0.005 }",
        );
        let wide = [0.80, 0.86, 0.92, 0.83, 0.89];
        let base = many(&wide);
        // The same numbers seed by seed are the same, however wide apart.
        let same = rule.judge_replay(&base, &many(&wide));
        assert_eq!((same.outcome, same.class), (Outcome::Pass, Class::BitExact));
        assert_eq!(same.reason, "equal, replicate by replicate");
        assert_eq!(same.p, None);
        // In another order they are those of other seeds.
        let shuffled = many(&[0.92, 0.80, 0.86, 0.83, 0.89]);
        let fewer = many(&wide[..3]);
        for now in [&shuffled, &fewer] {
            let hidden = rule.judge_replay(&base, now);
            assert_eq!(hidden.outcome, Outcome::Inconclusive, "{}", hidden.reason);
            assert_eq!(hidden.class, Class::Divergent);
        }
        // Beyond the margin on either side, whatever the mean may be.
        for mean in [0.5, 1.5] {
            let far: Vec<f64> = wide.iter().map(|value| value - 0.86 + mean).collect();
            assert_eq!(rule.judge_replay(&base, &many(&far)).outcome, Outcome::Fail);
        }
        // A release has to show that it loses nothing.
        assert_eq!(rule.judge_regression(&base, &base).outcome, Outcome::Fail);
        // The value of the replay itself counts as much as those of its seeds.
        let mut other = base.clone();
        other.value = Some("0.81".parse().unwrap());
        assert_eq!(
            rule.judge_replay(&base, &other).outcome,
            Outcome::Inconclusive
        );
    }

    #[test]
    fn five_copies_of_one_number_are_no_sample() {
        let text = "{ method = \"tost\", margin = 0.005 }";
        let by_test = rule(&format!("replay = {text}\nregression = {text}"));
        let (base, moved) = (many(&[0.86; 5]), many(&[0.864; 5]));
        // Under the margin, and certain by p = 0, which is one run's word.
        let replayed = by_test.judge_replay(&base, &moved);
        assert_eq!(replayed.outcome, Outcome::Fail, "{}", replayed.reason);
        assert_eq!(replayed.p, None);
        assert_eq!(
            by_test.judge_regression(&base, &moved).outcome,
            Outcome::Fail
        );
        assert_eq!(by_test.judge_replay(&base, &base).outcome, Outcome::Pass);
        assert_eq!(
            by_test.judge_regression(&base, &base).outcome,
            Outcome::Pass
        );
        // A bound that somebody states for single values holds.
        let stated = rule(
            "replay = { method = \"tost\", margin = 0.005, abs = 0.005 }\nregression = { method = \"tost\", margin = 0.005, max_loss = 0.005 }",
        );
        assert_eq!(stated.judge_replay(&base, &moved).outcome, Outcome::Pass);
        assert_eq!(
            stated.judge_regression(&base, &moved).outcome,
            Outcome::Pass
        );
        // The value of the replay itself is no copy of theirs.
        let mut other = base.clone();
        other.value = Some("0.9".parse().unwrap());
        assert_eq!(stated.judge_replay(&base, &other).outcome, Outcome::Fail);
        // With a spread on one side there is something to test.
        let spread = many(&[0.860, 0.861, 0.859]);
        let tested = by_test.judge_replay(&base, &spread);
        assert_eq!(
            (tested.outcome, tested.class),
            (Outcome::Pass, Class::Statistical)
        );
    }

    #[test]
    fn documents_hold_rules_and_verdicts_as_text() {
        let read = rule("direction = \"lower\"\nreplay = { rel = 1e-6 }\nmin = 0");
        let written = serde_json::to_value(&read).unwrap();
        assert_eq!(written["replay"]["rel"], "1e-6");
        assert_eq!(serde_json::from_value::<MetricRule>(written).unwrap(), read);
        assert!(toml::from_str::<MetricRule>("tolerance = 1").is_err());
        let verdict = read.judge_replay(&one("0.5"), &one("0.5"));
        let written = serde_json::to_value(&verdict).unwrap();
        assert_eq!(written["outcome"], "pass");
        assert_eq!(
            serde_json::from_value::<MetricVerdict>(written).unwrap(),
            verdict
        );
    }

    proptest! {
        #[test]
        fn nan_never_passes(base: f64, abs: f64) {
            let mut rule = MetricRule::default();
            rule.replay.abs = Some(Decimal::from(abs));
            rule.regression.max_loss = Some(Decimal::from(abs));
            let (base, now) = (Baseline::value(Decimal::from(base)), one("NaN"));
            prop_assert!(!rule.judge_replay(&base, &now).outcome.is_pass());
            prop_assert!(!rule.judge_regression(&base, &now).outcome.is_pass());
        }
    }
}
