//! Metrics, read from what the replay wrote and held against the lock.
//!
//! Invariant: the value of a metric comes from a file that a stage of this replay has written. A file that is
//! not there, no JSON, or without the value leaves the metric unmeasured.

use super::project::Project;
use super::room::Produced;
use sealstone_spec::compare::{
    Baseline, Class, Decimal, Direction, MetricVerdict, Outcome, ReplayMethod,
};
use sealstone_spec::recipe::Metric;
use sealstone_spec::report::MetricRow;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Longest file of metrics that is read, in bytes.
const MAX_METRICS_BYTES: u64 = 16 << 20;

/// Every metric whose file was due in this replay. `due` says whether a path was.
pub(super) fn judge(
    project: &Project,
    produced: &Produced,
    due: impl Fn(&str) -> bool,
) -> Vec<(MetricRow, Class)> {
    project
        .recipe
        .metrics()
        .iter()
        .filter(|metric| due(metric.from.path.as_str()))
        .map(|metric| {
            let now = match produced.get(metric.from.path.as_str()) {
                Some((place, _)) => read(place, &metric.from.pointer),
                None => Err("its file was not written".into()),
            };
            let locked = project.lock.metrics.get(&metric.name);
            let base = locked.map_or_else(Baseline::default, |locked| Baseline {
                value: Some(locked.value.clone()),
                replicates: locked.replicates.clone(),
            });
            let (value, problem) = match now {
                Ok(value) => (Baseline::value(value), None),
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
        why: metric.why.clone(),
        line: Some(metric.place.line as u64),
        note: problem.or_else(|| (verdict.outcome != Outcome::Pass).then_some(verdict.reason)),
    }
}

/// The number at `pointer` of a JSON file.
fn read(path: &Path, pointer: &str) -> Result<Decimal, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_METRICS_BYTES).read_to_string(&mut text))
        .map_err(|error| format!("its file cannot be read: {error}"))?;
    let value: Value = serde_json::from_str(&with_words_quoted(&text))
        .map_err(|error| format!("its file is no JSON: {error}"))?;
    let value = value
        .pointer(pointer)
        .ok_or_else(|| format!("no value at {pointer}"))?;
    Decimal::from_json(value).ok_or_else(|| format!("what stands at {pointer} is no number"))
}

/// JSON with `NaN`, `Infinity` and `-Infinity`, which Python writes and JSON has not, as texts.
fn with_words_quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_text = false;
    while let Some(c) = rest.chars().next() {
        if in_text {
            let length = if c == '\\' {
                rest.chars().take(2).map(char::len_utf8).sum()
            } else {
                c.len_utf8()
            };
            in_text = c != '"';
            quoted.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        let word = ["NaN", "-Infinity", "Infinity"]
            .into_iter()
            .find(|word| rest.starts_with(word));
        match word {
            Some(word) => {
                quoted.push('"');
                quoted.push_str(word);
                quoted.push('"');
                rest = &rest[word.len()..];
            }
            None => {
                in_text = c == '"';
                quoted.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_of_python_are_numbers_and_texts_stay_texts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            r#"{"a": NaN, "b": {"c": [-Infinity, 1.50]}, "d": "NaN \" NaN", "e": "x"}"#,
        )
        .unwrap();
        let at = |pointer: &str| read(file.path(), pointer);
        assert!(at("/a").unwrap().value().is_nan());
        assert_eq!(at("/b/c/0").unwrap().to_string(), "-Infinity");
        assert_eq!(at("/b/c/1").unwrap(), Decimal::from(1.5));
        assert!(at("/d").is_err() && at("/e").is_err() && at("/f").is_err());
    }

    proptest! {
        #[test]
        fn json_stays_the_same_json(value in prop::collection::btree_map("\\PC{0,8}", any::<f64>(), 0..6)) {
            let value: BTreeMap<String, f64> = value.into_iter().filter(|(_, number)| number.is_finite()).collect();
            let text = serde_json::to_string(&value).unwrap();
            let again: BTreeMap<String, f64> = serde_json::from_str(&with_words_quoted(&text)).unwrap();
            prop_assert_eq!(again, value);
        }
    }
}
