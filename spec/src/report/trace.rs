//! Training traces: the first step that went another way, and what differs in it first.
//!
//! A trace is JSON lines, `{"step":0,"loss":0.69,"lr":0.1,"batch_sha256":"…"}`, or the `log_history` of a
//! `trainer_state.json`. Which column differs first tells much: another batch is another order of the
//! data; other weights before the first step are another initialisation; the same of both and another loss
//! is another kernel, or an initialisation that the trace does not tell; another rate is another schedule.
//! Invariants: columns are compared in the order in which one causes the next, and numbers by their value,
//! never by their text; a line that cannot be read takes nothing from those before it.

use crate::canonical::{JsonError, parse_value, quote_words};
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
    /// The line behind them that is no step, as it was written; whatever follows it was not read.
    broken: Option<String>,
}

/// The first difference of two training runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceDifference {
    /// The step, as the trace numbers it.
    pub step: u64,
    /// The column; `length` if one run has fewer steps, `line` if a line of one is no step.
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
    /// Reads JSON lines. Empty lines are skipped; `NaN` and `Infinity`, as Python writes them, are texts.
    ///
    /// # Errors
    /// Names the line that is no object with a whole `step`.
    pub fn parse_lines(text: &str) -> Result<Trace, TraceError> {
        match Trace::read(text) {
            (trace, None) => Ok(trace),
            (_, Some(problem)) => Err(problem),
        }
    }

    /// As [`Trace::parse_lines`], up to the first line that is no step: a run that was cut off within a line tells how
    /// it went until then.
    ///
    /// ```
    /// use sealstone_spec::report::{Trace, first_difference};
    /// let base = Trace::read_lines("{\"step\":0,\"loss\":0.5}\n{\"step\":1,\"loss\":0.4}\n");
    /// let cut = Trace::read_lines("{\"step\":0,\"loss\":0.5}\n{\"step\":1,\"lo");
    /// let first = first_difference(&base, &cut).unwrap();
    /// assert_eq!((first.step, first.column.as_str()), (1, "line"));
    /// ```
    pub fn read_lines(text: &str) -> Trace {
        Trace::read(text).0
    }

    fn read(text: &str) -> (Trace, Option<TraceError>) {
        let mut trace = Trace::default();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let step = match trace.len() {
                MAX_STEPS => Err(format!("more than {MAX_STEPS} steps")),
                _ => read_step(line),
            };
            match step {
                Ok(step) => trace.steps.push(step),
                Err(problem) => {
                    trace.broken = Some(line.chars().take(MAX_LINE_BYTES).collect());
                    let line = index + 1;
                    return (trace, Some(TraceError::Line { line, problem }));
                }
            }
        }
        (trace, None)
    }

    /// Reads the `log_history` of a trainer_state.json: steps with a loss, in our names of columns.
    ///
    /// # Errors
    /// If there is none.
    pub fn parse_trainer_state(bytes: &[u8]) -> Result<Trace, TraceError> {
        let value = read_json(bytes, MAX_STATE_BYTES)
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
        Ok(Trace {
            steps,
            broken: None,
        })
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
    let shorter = base.len().min(now.len());
    let (then, here) = (base.line_at(shorter), now.line_at(shorter));
    // The end on both sides, or the same line that is no step: as far as both can be read, they do not differ.
    if then == here {
        return None;
    }
    let is_broken = matches!(then, Line::Broken(_)) || matches!(here, Line::Broken(_));
    let (column, before, after) = match is_broken {
        true => ("line", then.shown(), here.shown()),
        false => (
            "length",
            Some(base.len().to_string()),
            Some(now.len().to_string()),
        ),
    };
    Some(TraceDifference {
        step: match (then, here) {
            (Line::Step(step), _) | (_, Line::Step(step)) => step_of(step),
            // Neither has a whole step there: the one that would follow the last.
            _ => base
                .steps
                .last()
                .map_or(0, |last| step_of(last).saturating_add(1)),
        },
        column: column.into(),
        base: before,
        now: after,
        at_start: shorter == 0,
    })
}

/// What a trace has in one place.
#[derive(Clone, Copy, PartialEq)]
enum Line<'a> {
    Step(&'a Map<String, Value>),
    Broken(&'a str),
    End,
}

impl Line<'_> {
    fn shown(self) -> Option<String> {
        match self {
            Line::Step(step) => Some(shown(&Value::Object(step.clone()))),
            Line::Broken(line) => Some(brief(line)),
            Line::End => None,
        }
    }
}

impl Trace {
    fn line_at(&self, place: usize) -> Line<'_> {
        match (self.steps.get(place), &self.broken) {
            (Some(step), _) => Line::Step(step),
            (None, Some(line)) if place == self.len() => Line::Broken(line),
            _ => Line::End,
        }
    }
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
    match value {
        Value::String(text) => brief(text),
        other => brief(&other.to_string()),
    }
}

fn brief(text: &str) -> String {
    text.chars().take(80).collect()
}

fn read_step(line: &str) -> Result<Map<String, Value>, String> {
    let value = read_json(line.as_bytes(), MAX_LINE_BYTES).map_err(|error| error.to_string())?;
    match value {
        Value::Object(step) if step.get("step").is_some_and(Value::is_u64) => Ok(step),
        _ => Err("no object with a whole number \"step\"".into()),
    }
}

/// A document of at most `longest` bytes, in which Python's words for what is no number may stand.
fn read_json(bytes: &[u8], longest: usize) -> Result<Value, JsonError> {
    match parse_value(bytes, longest) {
        // Only what is no JSON costs a second look. Quotes make it longer, by two thirds at most.
        Err(_) if bytes.len() <= longest => {
            let quoted = quote_words(&String::from_utf8_lossy(bytes));
            parse_value(quoted.as_bytes(), 2 * longest)
        }
        read => read,
    }
}
