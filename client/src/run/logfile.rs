//! What a stage prints: into a file, through a hash, and on to whoever listens.

use super::baseline::RunEvents;
use crate::error::{Error, Result};
use crate::runner::{LogSink, StageOutcome, Stream};
use sealstone_spec::digest::{Algorithm, Hasher};
use sealstone_spec::recipe::LogDigest;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A stage's output: into a file, through a hash, and on to whoever listens.
pub(super) struct LogFile<'a> {
    file: File,
    path: PathBuf,
    hasher: Hasher,
    size: u64,
    tail: Vec<u8>,
    failure: Option<std::io::Error>,
    events: &'a mut dyn RunEvents,
}

/// How much of the end of a log is shown when a stage fails.
const TAIL_BYTES: usize = 2000;

impl<'a> LogFile<'a> {
    pub(super) fn create(path: &Path, events: &'a mut dyn RunEvents) -> Result<LogFile<'a>> {
        // Anew, not through a link that came with the project: what is written is the stage's to say.
        let _ = fs::remove_file(path);
        let file = File::create_new(path).map_err(|source| {
            Error::io(format!("writing the log \"{}\"", path.display()), source)
        })?;
        Ok(LogFile {
            file,
            path: path.to_owned(),
            hasher: Hasher::new(Algorithm::Sha256),
            size: 0,
            tail: Vec::new(),
            failure: None,
            events,
        })
    }

    pub(super) fn finish(self, outcome: &StageOutcome) -> Result<(LogDigest, String)> {
        if let Some(source) = self.failure {
            return Err(Error::io(
                format!("writing the log \"{}\"", self.path.display()),
                source,
            ));
        }
        let text = String::from_utf8_lossy(&self.tail).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(12)..].join("\n");
        let truncated = outcome.stdout.dropped + outcome.stderr.dropped > 0;
        Ok((
            LogDigest {
                digest: self.hasher.finalize(),
                size: self.size,
                truncated,
            },
            tail,
        ))
    }
}

impl LogSink for LogFile<'_> {
    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if self.failure.is_none() {
            self.failure = self.file.write_all(bytes).err();
        }
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.tail.extend_from_slice(bytes);
        let cut = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..cut);
        self.events.printed(stream, bytes);
    }
}
