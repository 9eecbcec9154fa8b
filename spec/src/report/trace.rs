//! Training traces: the first step that went another way, and what differs in it first.
//!
//! A trace is JSON lines, `{"step":0,"loss":0.69,"lr":0.1,"batch_sha256":"…"}`, or the `log_history` of a
//! `trainer_state.json`. Which column differs first tells much: another batch is another order of the
//! data; other weights before the first step are another initialisation; the same of both and another loss
//! is another kernel, or an initialisation that the trace does not tell; another rate is another schedule.
//! Invariants: columns are compared in the order in which one causes the next, and numbers by their value,
//! never by their text; a line that cannot be read takes nothing from those before it; traces that come line by line
//! are never whole in memory.

use crate::canonical::{JsonError, parse_value, quote_words};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Most steps that are read.
const MAX_STEPS: usize = 5_000_000;

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
    /// Longest line that is read, in bytes: a longer one is no step, and whoever reads a file need not read on in it.
    pub const MAX_LINE_BYTES: usize = 64 * 1024;
    /// Longest trainer_state.json that is read, in bytes: as long as a file of metrics may be.
    pub const MAX_STATE_BYTES: usize = 64 * 1024 * 1024;

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
        let mut lines = Lines::of(text.lines());
        let mut trace = Trace::default();
        for line in lines.by_ref() {
            match line {
                Line::Step(step) => trace.steps.push(step.into_owned()),
                Line::Broken(line) => trace.broken = Some(line.into_owned()),
            }
        }
        let line = lines.number;
        let problem = lines.problem;
        (
            trace,
            problem.map(|problem| TraceError::Line { line, problem }),
        )
    }

    /// Reads the `log_history` of a trainer_state.json: steps with a loss, in our names of columns.
    ///
    /// # Errors
    /// If there is none.
    pub fn parse_trainer_state(bytes: &[u8]) -> Result<Trace, TraceError> {
        let value = read_json(bytes, Trace::MAX_STATE_BYTES)
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

    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let steps = self.steps.iter();
        let steps = steps.map(|step| Line::Step(Cow::Borrowed(step)));
        let broken = self.broken.as_deref();
        steps.chain(broken.map(|line| Line::Broken(Cow::Borrowed(line))))
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
    compare(base.lines(), now.lines())
}

/// The same of JSON lines that come one by one, as [`Trace::read_lines`] reads them: of long traces, one step of each is
/// in memory. Of a line that is longer than [`Trace::MAX_LINE_BYTES`] a caller need only give so much that it is too long.
///
/// ```
/// use sealstone_spec::report::first_difference_of_lines;
/// let base = ["{\"step\":0,\"loss\":0.5}", "{\"step\":1,\"loss\":0.4}"];
/// let first = first_difference_of_lines(base.iter(), base[..1].iter()).unwrap();
/// assert_eq!((first.step, first.column.as_str()), (1, "length"));
/// assert_eq!((first.base.as_deref(), first.now.as_deref()), (Some("2"), Some("1")));
/// ```
pub fn first_difference_of_lines<L: AsRef<str>>(
    base: impl Iterator<Item = L>,
    now: impl Iterator<Item = L>,
) -> Option<TraceDifference> {
    compare(Lines::of(base), Lines::of(now))
}

/// What a trace has in one place.
enum Line<'a> {
    Step(Cow<'a, Map<String, Value>>),
    /// It is no step, and nothing behind it was read.
    Broken(Cow<'a, str>),
}

impl Line<'_> {
    fn shown(&self) -> String {
        match self {
            Line::Step(step) => shown(&Value::Object(step.clone().into_owned())),
            Line::Broken(line) => brief(line),
        }
    }
}

/// JSON lines as they come, up to the first that is no step.
struct Lines<I> {
    lines: I,
    /// Of the line that came last, from 1 on.
    number: usize,
    steps: usize,
    /// Why it is no step.
    problem: Option<String>,
}

impl<I> Lines<I> {
    fn of(lines: I) -> Lines<I> {
        Lines {
            lines,
            number: 0,
            steps: 0,
            problem: None,
        }
    }
}

impl<L: AsRef<str>, I: Iterator<Item = L>> Iterator for Lines<I> {
    type Item = Line<'static>;

    fn next(&mut self) -> Option<Line<'static>> {
        if self.problem.is_some() {
            return None;
        }
        loop {
            let line = self.lines.next()?;
            let line = line.as_ref();
            self.number += 1;
            // Of one that is too long nobody knows what it holds further on.
            if line.len() <= Trace::MAX_LINE_BYTES && line.trim().is_empty() {
                continue;
            }
            let step = match self.steps {
                MAX_STEPS => Err(format!("more than {MAX_STEPS} steps")),
                _ => read_step(line),
            };
            return Some(match step {
                Ok(step) => {
                    self.steps += 1;
                    Line::Step(Cow::Owned(step))
                }
                Err(problem) => {
                    self.problem = Some(problem);
                    let line = line.chars().take(Trace::MAX_LINE_BYTES).collect();
                    Line::Broken(Cow::Owned(line))
                }
            });
        }
    }
}

fn compare<'a, 'b>(
    mut base: impl Iterator<Item = Line<'a>>,
    mut now: impl Iterator<Item = Line<'b>>,
) -> Option<TraceDifference> {
    // How many steps both have, and the number of the last of them.
    let mut shared = 0;
    let mut last = None;
    let (then, here) = loop {
        match (base.next(), now.next()) {
            (Some(Line::Step(then)), Some(Line::Step(here))) => {
                if let Some(column) = first_column(&then, &here) {
                    return Some(TraceDifference {
                        step: step_of(&then),
                        base: then.get(&column).map(shown),
                        now: here.get(&column).map(shown),
                        column,
                        at_start: shared == 0,
                    });
                }
                last = Some(step_of(&then));
                shared += 1;
            }
            ended => break ended,
        }
    };
    let (column, before, after) = match (&then, &here) {
        (None, None) => return None,
        // The same line that is no step: as far as both can be read, they do not differ.
        (Some(Line::Broken(then)), Some(Line::Broken(here))) if then == here => return None,
        (Some(Line::Broken(_)), _) | (_, Some(Line::Broken(_))) => (
            "line",
            then.as_ref().map(Line::shown),
            here.as_ref().map(Line::shown),
        ),
        _ => (
            "length",
            Some((shared + left(&then, base)).to_string()),
            Some((shared + left(&here, now)).to_string()),
        ),
    };
    let number = |line: &Option<Line<'_>>| match line {
        Some(Line::Step(step)) => Some(step_of(step)),
        _ => None,
    };
    // Where neither has a whole step: the one that would follow the last.
    let next = last.map_or(0, |last: u64| last.saturating_add(1));
    Some(TraceDifference {
        step: number(&then).or_else(|| number(&here)).unwrap_or(next),
        column: column.into(),
        base: before,
        now: after,
        at_start: shared == 0,
    })
}

/// How many steps a trace has from this place on, behind which `rest` follows.
fn left<'a>(here: &Option<Line<'a>>, rest: impl Iterator<Item = Line<'a>>) -> usize {
    let is_step = |line: &Line<'_>| matches!(line, Line::Step(_));
    match here {
        Some(line) if is_step(line) => 1 + rest.take_while(is_step).count(),
        _ => 0,
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
    let value =
        read_json(line.as_bytes(), Trace::MAX_LINE_BYTES).map_err(|error| error.to_string())?;
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
