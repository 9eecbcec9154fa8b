//! What a training trace says in short.
//!
//! A trace is JSONL: one object a step, with any of `step`, `epoch`, `loss`, `lr`, `grad_norm`,
//! `grad_norm_clipped`, `batch_sha256`, `params_sha256` (of the weights that a step began with), `rng_sha256`; and
//! `data_wait_s`, which is no result.

use crate::error::{Error, Result};
use sealstone_spec::recipe::{RecipePath, TraceSummary};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

/// The time that a run says it waited for data, in milliseconds: the sum of `data_wait_s` of its steps. `None`
/// if no step tells it, or the trace is no JSON lines.
pub(crate) fn data_wait_ms(file: &Path) -> Option<u64> {
    let mut seconds = None;
    for line in BufReader::new(File::open(file).ok()?).lines() {
        let step: Value = serde_json::from_str(&line.ok()?).unwrap_or_default();
        if let Some(wait) = step.get("data_wait_s").and_then(Value::as_f64) {
            seconds = Some(seconds.unwrap_or(0.0) + wait);
        }
    }
    // Nonsense is no time; the cast keeps within bounds by itself.
    seconds
        .filter(|seconds| *seconds >= 0.0)
        .map(|seconds| (seconds * 1000.0) as u64)
}

/// Counts the lines of a trace and takes the state of the weights before the first step from it.
pub(super) fn summary(file: &Path, path: &RecipePath) -> Result<TraceSummary> {
    let failed = |source| Error::io(format!("reading the trace \"{path}\""), source);
    let mut steps = 0;
    let mut initial_params = None;
    for line in BufReader::new(File::open(file).map_err(failed)?).lines() {
        let line = line.map_err(failed)?;
        if line.trim().is_empty() {
            continue;
        }
        if steps == 0
            && let Ok(Value::Object(first)) = serde_json::from_str(&line)
        {
            initial_params = first
                .get("params_sha256")
                .and_then(Value::as_str)
                .map(str::to_owned);
        }
        steps += 1;
    }
    Ok(TraceSummary {
        path: path.clone(),
        steps,
        initial_params,
    })
}
