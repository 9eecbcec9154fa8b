//! Metrics, read from what the replay wrote and held against the lock.
//!
//! Invariant: the value of a metric comes from a file that a stage of this replay has written. A file that is
//! not there, no JSON, or without the value leaves the metric unmeasured.

use super::project::Project;
use super::replicates::Samples;
use super::room::Produced;
use crate::run::read_metric;
use sealstone_spec::compare::{Baseline, Class, Direction, MetricVerdict, Outcome, ReplayMethod};
use sealstone_spec::recipe::Metric;
use sealstone_spec::report::MetricRow;
use std::collections::BTreeMap;

/// Every metric that was due in this replay. `due` says whether one was, `samples` what runs with other seeds measured.
pub(super) fn judge(
    project: &Project,
    produced: &Produced,
    samples: &Samples,
    due: impl Fn(&Metric) -> bool,
) -> Vec<(MetricRow, Class)> {
    project
        .recipe
        .metrics()
        .iter()
        .filter(|metric| due(metric))
        .map(|metric| {
            let now = match produced.get(metric.from.path.as_str()) {
                Some((place, _)) => {
                    read_metric(place, &metric.from).map_err(|error| error.to_string())
                }
                None => Err("its file was not written".into()),
            };
            let locked = project.lock.metrics.get(&metric.name);
            let base = locked.map_or_else(Baseline::default, |locked| Baseline {
                value: Some(locked.value.clone()),
                replicates: locked.replicates.clone(),
            });
            let (value, problem) = match now {
                Ok(value) => {
                    let replicates = match metric.rule.replay.method {
                        ReplayMethod::Tost => samples.get(&metric.name).cloned(),
                        _ => None,
                    };
                    let now = Baseline {
                        value: Some(value),
                        replicates: replicates.unwrap_or_default(),
                    };
                    (now, None)
                }
                Err(problem) => (Baseline::default(), Some(problem)),
            };
            let verdict = metric.rule.judge_replay(&base, &value);
            let class = verdict.class;
            let stage = project
                .recipe
                .writer_of(metric.from.path.as_str())
                .map(|stage| stage.name.clone());
            (row(metric, &base, &value, verdict, problem, stage), class)
        })
        .collect()
}

fn row(
    metric: &Metric,
    base: &Baseline,
    now: &Baseline,
    verdict: MetricVerdict,
    problem: Option<String>,
    stage: Option<String>,
) -> MetricRow {
    let rule = &metric.rule;
    let mut stated = BTreeMap::new();
    let mut state = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            stated.insert(name.to_owned(), value);
        }
    };
    state("abs", rule.replay.abs.as_ref().map(ToString::to_string));
    state("rel", rule.replay.rel.as_ref().map(ToString::to_string));
    state("ulp", rule.replay.ulp.map(|ulp| ulp.to_string()));
    state("min", rule.min.as_ref().map(ToString::to_string));
    state("max", rule.max.as_ref().map(ToString::to_string));
    if rule.replay.method != ReplayMethod::Scalar {
        let method = if rule.replay.method == ReplayMethod::Interval {
            "interval"
        } else {
            "tost"
        };
        state("method", Some(method.to_owned()));
        state("bound", verdict.bound.as_ref().map(ToString::to_string));
    }
    let undecided = matches!(verdict.outcome, Outcome::Unmeasured | Outcome::Inconclusive);
    let ok = matches!(verdict.outcome, Outcome::Pass | Outcome::New);
    MetricRow {
        name: metric.name.clone(),
        from: Some(metric.from.to_string()),
        base: verdict
            .base
            .as_ref()
            .or(base.value.as_ref())
            .map(ToString::to_string),
        now: verdict
            .now
            .as_ref()
            .or(now.value.as_ref())
            .map(ToString::to_string),
        delta: verdict.delta.as_ref().map(ToString::to_string),
        rule: stated,
        mode: "replay".into(),
        direction: Some(
            match rule.direction {
                Direction::Higher => "higher",
                Direction::Lower => "lower",
                Direction::None => "none",
            }
            .into(),
        ),
        ok,
        undecided,
        stage,
        quantum: verdict.quantum.as_ref().map(ToString::to_string),
        changed: verdict.changed,
        why: metric.why.clone(),
        line: Some(metric.place.line as u64),
        note: problem.or_else(|| (verdict.outcome != Outcome::Pass).then_some(verdict.reason)),
    }
}
