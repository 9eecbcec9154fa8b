//! The last checkpoint that was seen of each registry, in files that only their user writes; once more by the log's
//! own key, so that one log behind two addresses shows one history.
//!
//! Under `SEALSTONE_STATE`, or `$XDG_STATE_HOME/sealstone`, or `~/.local/state/sealstone`, in `logs`.

use crate::error::{Error, Result};
use sealstone_spec::digest::Digest;
use sealstone_spec::log::{SignedCheckpoint, VerifiedCheckpoint, VerifierKey};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
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
        let from = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let state = from("SEALSTONE_STATE")
            .or_else(|| from("XDG_STATE_HOME").map(|path| path.join("sealstone")))
            .or_else(|| from("HOME").map(|path| path.join(".local/state/sealstone")));
        match state {
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
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
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

    /// Runs `step` while no other process reads or writes the registry's file.
    pub(super) fn lock(&self, registry: &str) -> Result<File> {
        let failed =
            |path: &Path, error| Error::io(format!("writing \"{}\"", path.display()), error);
        fs::create_dir_all(&self.directory).map_err(|error| failed(&self.directory, error))?;
        let path = self.path(registry).with_extension("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| failed(&path, error))?;
        file.lock().map_err(|error| failed(&path, error))?;
        Ok(file)
    }

    /// Replaces what is kept. The caller holds the lock and has checked consistency.
    pub(super) fn write(&self, registry: &str, log: &KeptLog) -> Result<()> {
        let row = Row {
            registry: registry.to_owned(),
            key: log.key.clone(),
            checkpoint: log.checkpoint.note().to_string(),
        };
        let path = self.path(registry);
        let next = path.with_extension("new");
        let replace = || -> std::io::Result<()> {
            let mut file = File::create(&next)?;
            file.write_all(&serde_json::to_vec_pretty(&row)?)?;
            file.sync_all()?;
            fs::rename(&next, &path)
        };
        replace().map_err(|error| Error::io(format!("writing \"{}\"", path.display()), error))
    }
}
