//! What a training trace says in short.
//!
//! A trace is JSONL: one object a step, with any of `step`, `epoch`, `loss`, `lr`, `grad_norm`,
//! `grad_norm_clipped`, `batch_sha256`, `params_sha256` (of the weights that a step began with), `rng_sha256`; and
//! `data_wait_s`, which is no result. Invariant: whatever a stage has written as its trace, one line of it is in memory.

use crate::error::{Error, Result};
use crate::lines::{Line, Lines};
use sealstone_spec::recipe::{RecipePath, TraceSummary};
use sealstone_spec::report::Trace;
use serde_json::Value;
use std::path::Path;

/// The time that a run says it waited for data, in milliseconds: the sum of `data_wait_s` of its steps. `None`
/// if no step tells it, or the trace has a line that is too long for a step.
pub(crate) fn data_wait_ms(file: &Path) -> Option<u64> {
    let mut lines = Lines::open(file, Trace::MAX_LINE_BYTES).ok()?;
    let mut seconds = None;
    while let Some(line) = lines.next_line().ok()? {
        // What the steps behind it say is not known, and a part is no sum.
        let Line::Whole(line) = line else { return None };
        let step: Value = serde_json::from_slice(line).unwrap_or_default();
        if let Some(wait) = step.get("data_wait_s").and_then(Value::as_f64) {
            seconds = Some(seconds.unwrap_or(0.0) + wait);
        }
    }
    // Nonsense is no time; the cast keeps within bounds by itself.
    seconds
        .filter(|seconds| *seconds >= 0.0)
        .map(|seconds| (seconds * 1000.0) as u64)
}

/// Counts the lines of a trace, up to the first that is too long for a step, and takes the state of the weights before
/// the first step from it.
pub(super) fn summary(file: &Path, path: &RecipePath) -> Result<TraceSummary> {
    let failed = |source| Error::io(format!("reading the trace \"{path}\""), source);
    let mut lines = Lines::open(file, Trace::MAX_LINE_BYTES).map_err(failed)?;
    let mut steps = 0;
    let mut initial_params = None;
    while let Some(line) = lines.next_line().map_err(failed)? {
        if let Line::Whole(line) = line {
            if line.trim_ascii().is_empty() {
                continue;
            }
            if steps == 0
                && let Ok(Value::Object(first)) = serde_json::from_slice(line)
            {
                initial_params = first
                    .get("params_sha256")
                    .and_then(Value::as_str)
                    .map(str::to_owned);
            }
        }
        steps += 1;
    }
    Ok(TraceSummary {
        path: path.clone(),
        steps,
        initial_params,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn of_a_trace_no_more_is_read_than_could_be_steps() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path: RecipePath = "trace.jsonl".parse().unwrap();
        let told = |content: &[u8], holes: u64| {
            fs::write(file.path(), content).unwrap();
            let whole = content.len() as u64 + holes;
            file.as_file().set_len(whole).unwrap();
            let summary = summary(file.path(), &path).unwrap();
            let wait = data_wait_ms(file.path());
            (summary.steps, summary.initial_params, wait)
        };
        let steps =
            b"{\"params_sha256\": \"ab\", \"data_wait_s\": 0.5}\n\n{\"data_wait_s\": 1}\nKilled";
        assert_eq!(told(steps, 0), (3, Some("ab".to_owned()), Some(1500)));
        // As sparse as a stage may write it, and more than any machine has memory.
        assert_eq!(told(steps, 1 << 40), (3, Some("ab".to_owned()), None));
        assert_eq!(told(b"", 1 << 40), (1, None, None));
        // Bytes that are no text take nothing from the steps beside them.
        assert_eq!(
            told(b"\xff\n{\"data_wait_s\": 1}\n", 0),
            (2, None, Some(1000))
        );
    }
}
