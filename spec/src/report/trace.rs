//! Training traces: the first step that went another way, and what differs in it first.
//!
//! A trace is JSON lines, `{"step":0,"loss":0.69,"lr":0.1,"batch_sha256":"…"}`, or the `log_history` of a
//! `trainer_state.json`. Which column differs first tells much: another batch is another order of the
//! data; other weights before the first step are another initialisation; the same of both and another loss
//! is another kernel, or an initialisation that the trace does not tell; another rate is another schedule.
//! Invariant: columns are compared in the order in which one causes the next, and numbers by their value,
//! never by their text.

use crate::canonical::parse_value;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longest line of a trace that is read, in bytes.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// Most steps that are read.
const MAX_STEPS: usize = 5_000_000;
/// Longest trainer_state.json that is read, in bytes.
const MAX_STATE_BYTES: usize = 256 * 1024 * 1024;

/// Columns from cause to effect: what a step was given, the weights that it began with among it, and what it computed.
const COLUMNS: [&str; 9] = [
    "epoch",
    "batch_sha256",
    "rng_sha256",
    "params_sha256",
    "lr",
    "loss",
    "grad_norm",
    "grad_norm_clipped",
    "step",
];

/// Why a trace cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// A line is no step.
    #[error("trace, line {line}: {problem}")]
    Line {
        /// From 1 on.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// The document is no trainer state.
    #[error("trainer state: {0}")]
    State(String),
}

/// The steps of one training run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    steps: Vec<Map<String, Value>>,
}

/// The first difference of two training runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceDifference {
    /// The step, as the trace numbers it.
    pub step: u64,
    /// The column; `length` if one run has fewer steps.
    pub column: String,
    /// What was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// What is there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// Whether it is the first step of the run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_start: bool,
}

impl Trace {
    /// Reads JSON lines. Empty lines are skipped.
    ///
    /// # Errors
    /// Names the line that is no object with a whole `step`.
    pub fn parse_lines(text: &str) -> Result<Trace, TraceError> {
        let mut steps = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let fail = |problem: String| TraceError::Line {
                line: index + 1,
                problem,
            };
            if steps.len() == MAX_STEPS {
                return Err(fail(format!("more than {MAX_STEPS} steps")));
            }
            let value = parse_value(line.as_bytes(), MAX_LINE_BYTES)
                .map_err(|error| fail(error.to_string()))?;
            match value {
                Value::Object(step) if step.get("step").is_some_and(Value::is_u64) => {
                    steps.push(step);
                }
                _ => return Err(fail("no object with a whole number \"step\"".into())),
            }
        }
        Ok(Trace { steps })
    }

    /// Reads the `log_history` of a trainer_state.json: steps with a loss, in our names of columns.
    ///
    /// # Errors
    /// If there is none.
    pub fn parse_trainer_state(bytes: &[u8]) -> Result<Trace, TraceError> {
        let value = parse_value(bytes, MAX_STATE_BYTES)
            .map_err(|error| TraceError::State(error.to_string()))?;
        let history = value
            .get("log_history")
            .and_then(Value::as_array)
            .ok_or_else(|| TraceError::State("it has no list \"log_history\"".into()))?;
        let renamed = |entry: &Map<String, Value>| -> Option<Map<String, Value>> {
            entry.get("step").filter(|step| step.is_u64())?;
            entry.get("loss")?;
            let names = [
                ("step", "step"),
                ("epoch", "epoch"),
                ("loss", "loss"),
                ("learning_rate", "lr"),
                ("grad_norm", "grad_norm"),
            ];
            let kept = names.iter().filter_map(|(theirs, ours)| {
                Some(((*ours).to_owned(), entry.get(*theirs)?.clone()))
            });
            Some(kept.collect())
        };
        let steps = history
            .iter()
            .filter_map(Value::as_object)
            .filter_map(renamed)
            .take(MAX_STEPS)
            .collect();
        Ok(Trace { steps })
    }

    /// Number of steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is no step.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// The first step in which two runs differ, and in it the first column.
///
/// ```
/// use sealstone_spec::report::{Trace, first_difference};
/// let base = Trace::parse_lines("{\"step\":0,\"loss\":0.5,\"lr\":0.1}\n{\"step\":1,\"loss\":0.4,\"lr\":0.1}")?;
/// let now = Trace::parse_lines("{\"step\":0,\"loss\":0.5,\"lr\":0.1}\n{\"step\":1,\"loss\":0.3,\"lr\":0.2}")?;
/// let first = first_difference(&base, &now).unwrap();
/// assert_eq!((first.step, first.column.as_str()), (1, "lr"));
/// # Ok::<(), sealstone_spec::report::TraceError>(())
/// ```
pub fn first_difference(base: &Trace, now: &Trace) -> Option<TraceDifference> {
    for (index, (then, now)) in base.steps.iter().zip(&now.steps).enumerate() {
        if let Some(column) = first_column(then, now) {
            return Some(TraceDifference {
                step: step_of(then),
                base: then.get(&column).map(shown),
                now: now.get(&column).map(shown),
                column,
                at_start: index == 0,
            });
        }
    }
    if base.len() == now.len() {
        return None;
    }
    let shorter = base.len().min(now.len());
    let longer = if base.len() > now.len() { base } else { now };
    Some(TraceDifference {
        step: step_of(&longer.steps[shorter]),
        column: "length".into(),
        base: Some(base.len().to_string()),
        now: Some(now.len().to_string()),
        at_start: shorter == 0,
    })
}

fn first_column(base: &Map<String, Value>, now: &Map<String, Value>) -> Option<String> {
    let known = COLUMNS.iter().map(|name| (*name).to_owned());
    let mut others: Vec<String> = base
        .keys()
        .chain(now.keys())
        .filter(|name| !COLUMNS.contains(&name.as_str()))
        // How long a step took is no result.
        .filter(|name| !name.ends_with("_s") && !name.ends_with("_ms") && *name != "time")
        .cloned()
        .collect();
    others.sort();
    others.dedup();
    known
        .chain(others)
        .find(|column| !same(base.get(column), now.get(column)))
}

fn same(base: Option<&Value>, now: Option<&Value>) -> bool {
    match (base, now) {
        (Some(Value::Number(one)), Some(Value::Number(two))) => {
            one == two || one.as_f64() == two.as_f64()
        }
        _ => base == now,
    }
}

fn step_of(step: &Map<String, Value>) -> u64 {
    step.get("step").and_then(Value::as_u64).unwrap_or_default()
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars().take(80).collect()
}
