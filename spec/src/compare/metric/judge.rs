//! Which outcome follows from which figures.
//!
//! One value against bounds, an interval around replicates, or Welch's test. Where a method has nothing to go by, the
//! outcome is `inconclusive`, or the scalar rule decides.
//! Invariant: what cannot be compared is told before any method is asked.

use super::super::class::Class;
use super::super::decimal::Decimal;
use super::super::statistics::{Sample, equivalence, half_width, t_cdf};
use super::{
    Baseline, Direction, MIN_BASELINE_REPLICATES, MetricRule, MetricVerdict, Outcome,
    RegressionMethod, ReplayMethod,
};

/// Replays below which a test of equivalence shows nothing.
const MIN_REPLAYS: usize = 3;

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
