//! The last checkpoint that was seen of each registry, in files that only their user writes; once more by the log's
//! own key, so that one log behind two addresses shows one history.
//!
//! In `logs` of the user's state directory (`state.rs`).

use crate::error::{Error, Result};
use crate::state;
use sealstone_spec::digest::Digest;
use sealstone_spec::log::{SignedCheckpoint, VerifiedCheckpoint, VerifierKey};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What is kept of a registry's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptLog {
    /// Its key, from the first contact.
    pub key: VerifierKey,
    /// The last checkpoint.
    pub checkpoint: VerifiedCheckpoint,
}

#[derive(Serialize, Deserialize)]
struct Row {
    registry: String,
    key: VerifierKey,
    checkpoint: String,
}

/// The directory of kept checkpoints.
#[derive(Clone, Debug)]
pub struct KeptLogs {
    directory: PathBuf,
}

impl KeptLogs {
    /// The user's own.
    ///
    /// # Errors
    /// If there is no home directory to keep it in.
    pub fn of_user() -> Result<KeptLogs> {
        match state::directory() {
            Some(state) => Ok(KeptLogs::in_directory(&state)),
            None => Err(Error::usage("there is no place to keep the checkpoints of logs in")
                .hint("set SEALSTONE_STATE to a directory that lasts; without it a rewritten log is not noticed")),
        }
    }

    /// In `state`.
    pub fn in_directory(state: &Path) -> KeptLogs {
        KeptLogs {
            directory: state.join("logs"),
        }
    }

    /// The file of a registry.
    pub fn path(&self, registry: &str) -> PathBuf {
        let name = Digest::sha256(registry.as_bytes()).hex();
        self.directory.join(format!("{name}.json"))
    }

    /// What is kept of a registry's log.
    ///
    /// # Errors
    /// If the file cannot be read or was changed: then nobody can say whether the log was.
    pub fn read(&self, registry: &str) -> Result<Option<KeptLog>> {
        let path = self.path(registry);
        let damaged = |problem: String| {
            Error::halted(format!(
                "the checkpoint kept of the log of {registry} cannot be used: {problem}"
            ))
            .hint(format!(
                "if you know why, remove \"{}\"; the log is then trusted as on first contact",
                path.display()
            ))
        };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(Error::io(format!("reading \"{}\"", path.display()), error)),
        };
        let row: Row =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if row.registry != registry {
            return Err(damaged(format!("it is that of {}", row.registry)));
        }
        let checkpoint = SignedCheckpoint::parse(row.checkpoint.as_bytes())
            .and_then(|note| note.verify(&row.key))
            .map_err(|error| damaged(error.to_string()))?;
        Ok(Some(KeptLog {
            key: row.key,
            checkpoint,
        }))
    }

    /// Waits until no other process reads the registry's file in order to replace it.
    pub(super) fn lock(&self, registry: &str) -> Result<File> {
        state::lock(&self.path(registry))
    }

    /// Replaces what is kept. The caller holds the lock and has checked consistency.
    pub(crate) fn write(&self, registry: &str, log: &KeptLog) -> Result<()> {
        let row = Row {
            registry: registry.to_owned(),
            key: log.key.clone(),
            checkpoint: log.checkpoint.note().to_string(),
        };
        let content = serde_json::to_vec_pretty(&row)
            .map_err(|error| Error::other("a checkpoint cannot be written").source(error))?;
        state::replace(&self.path(registry), &content)
    }
}
