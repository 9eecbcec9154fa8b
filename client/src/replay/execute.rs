//! Commands run; one that crashed once more.
//!
//! A crash is a command that a signal ended or that exited with something else than 0. A limit that was
//! reached, an output that was not written or an input that was changed will be so again.
//! Invariant: nothing but a crash is tried again, and only once.

use super::room::{Produced, Room};
use crate::error::{Error, Result};
use crate::runner::{Kept, Runner, StageJob, StageOutcome};
use sealstone_spec::digest::Digest;
use std::fs;

/// Characters of a log's end that are told.
const TAIL_CHARS: usize = 600;

/// What came of a stage.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) outcome: StageOutcome,
    pub(super) attempts: u32,
    /// What it wrote, by path.
    pub(super) produced: Produced,
    /// SHA-256 of both logs, output before errors.
    pub(super) log: Digest,
    /// The end of what it said, if it did not end well.
    pub(super) last_words: String,
}

/// Runs a stage in its room, and once more if it crashed; what a crash left is not published. `told` hears
/// of each attempt.
pub(super) fn run(
    runner: &dyn Runner,
    job: &StageJob,
    room: &Room,
    told: impl FnMut(u32, &StageOutcome),
) -> Result<Ran> {
    let (outcome, logs, attempts) = attempt(runner, job, told)?;
    let produced = outcome
        .outputs
        .iter()
        .map(|output| {
            (
                output.path.clone(),
                (room.outputs.join(&output.path), output.digest),
            )
        })
        .collect();
    let last_words = last_words(&logs);
    let mut log = logs.stdout;
    log.extend_from_slice(&logs.stderr);
    let path = room.outputs.with_extension("log");
    fs::write(&path, &log)
        .map_err(|source| Error::io(format!("writing \"{}\"", path.display()), source))?;
    Ok(Ran {
        last_words,
        log: Digest::sha256(&log),
        outcome,
        attempts,
        produced,
    })
}

/// Runs a command, and once more if it crashed: the last outcome, its logs, how often it ran.
pub(super) fn attempt(
    runner: &dyn Runner,
    job: &StageJob,
    mut told: impl FnMut(u32, &StageOutcome),
) -> Result<(StageOutcome, Kept, u32)> {
    let mut logs = Kept::default();
    let outcome = runner.run(job, &mut logs)?;
    told(1, &outcome);
    if !crashed(&outcome) {
        return Ok((outcome, logs, 1));
    }
    logs = Kept::default();
    let outcome = runner.run(job, &mut logs)?;
    told(2, &outcome);
    Ok((outcome, logs, 2))
}

/// The end of what a command said: its errors, if it told any.
pub(super) fn last_words(logs: &Kept) -> String {
    let bytes = match logs.stderr.is_empty() {
        true => &logs.stdout,
        false => &logs.stderr,
    };
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end();
    let skip = text.chars().count().saturating_sub(TAIL_CHARS);
    text.chars().skip(skip).collect()
}

/// Whether it is worth a second attempt.
pub(super) fn crashed(outcome: &StageOutcome) -> bool {
    outcome.stop.is_none()
        && (outcome.signal.is_some() || outcome.exit.is_none_or(|code| code != 0))
}

/// Whether it did not end well; what it did not write is no failure of the command.
pub(super) fn failed(outcome: &StageOutcome) -> bool {
    crashed(outcome) || outcome.stop.is_some() || !outcome.violations.is_empty()
}
