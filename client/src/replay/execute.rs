//! Stages run; one that crashed once more.
//!
//! A crash is a command that a signal ended or that exited with something else than 0. A limit that was
//! reached, an output that was not written or an input that was changed will be so again.

use super::changes::Produced;
use super::job::Room;
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

/// Runs a job, and once more if it crashed. The second attempt gets a room of its own: `again` makes it.
pub(super) fn run(
    runner: &dyn Runner,
    mut job: StageJob,
    mut room: Room,
    again: impl FnOnce() -> Result<Room>,
    mut told: impl FnMut(u32, &StageOutcome),
) -> Result<Ran> {
    let mut logs = Kept::default();
    let mut outcome = runner.run(&job, &mut logs)?;
    let mut attempts = 1;
    told(attempts, &outcome);
    if crashed(&outcome) {
        room = again()?;
        job.scratch = room.scratch.clone();
        job.destination = room.outputs.clone();
        logs = Kept::default();
        outcome = runner.run(&job, &mut logs)?;
        attempts = 2;
        told(attempts, &outcome);
    }
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
    let mut log = logs.stdout;
    log.extend_from_slice(&logs.stderr);
    let path = room.outputs.with_extension("log");
    fs::write(&path, &log)
        .map_err(|source| Error::io(format!("writing \"{}\"", path.display()), source))?;
    let text = String::from_utf8_lossy(if logs.stderr.is_empty() {
        &log
    } else {
        &logs.stderr
    });
    let text = text.trim_end();
    let skip = text.chars().count().saturating_sub(TAIL_CHARS);
    Ok(Ran {
        last_words: text.chars().skip(skip).collect(),
        log: Digest::sha256(&log),
        outcome,
        attempts,
        produced,
    })
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
