//! The last checkpoint, kept in a file beside the key: a store that was restored from an older copy does not
//! know what was served, this file does.

use super::Error;
use crate::file::replace;
use sealstone_spec::log::{SignedCheckpoint, VerifiedCheckpoint, VerifierKey};
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

/// Where the file is, if anywhere.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    path: Option<PathBuf>,
}

impl Guard {
    pub(super) fn new(path: Option<PathBuf>) -> Guard {
        Guard { path }
    }

    /// The checkpoint in the file.
    pub(super) fn read(&self, key: &VerifierKey) -> Result<Option<VerifiedCheckpoint>, Error> {
        let Some(path) = &self.path else {
            return Ok(None);
        };
        let file = |problem: String| Error::File {
            path: path.clone(),
            problem,
        };
        match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file(error.to_string())),
            Ok(bytes) => SignedCheckpoint::parse(&bytes)
                .and_then(|note| note.verify(key))
                .map(Some)
                .map_err(|error| {
                    file(format!(
                        "{error}; it is the last checkpoint that was served"
                    ))
                }),
        }
    }

    /// Replaces the file.
    pub(super) fn write(&self, note: &str) -> Result<(), Error> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        replace(path, note.as_bytes()).map_err(|error| Error::File {
            path: path.clone(),
            problem: error.to_string(),
        })
    }
}
