//! Where a replay puts what it makes: nowhere near the baseline.

use crate::error::{Error, Result};
use sealstone_spec::digest::Digest;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Files that stages have written: by path, where they lie and what they are.
pub(super) type Produced = BTreeMap<String, (PathBuf, Digest)>;

/// Directories for one run of a stage: one for the runner, one for what the stage writes.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) scratch: PathBuf,
    pub(super) outputs: PathBuf,
}

impl Room {
    /// Makes them in `workspace`, under a name that is used once.
    pub(super) fn make(workspace: &Path, name: &str) -> Result<Room> {
        let room = Room {
            scratch: workspace.join("scratch").join(name),
            outputs: workspace.join("outputs").join(name),
        };
        for directory in [&room.scratch, &room.outputs] {
            fs::create_dir_all(directory).map_err(|source| {
                Error::io(format!("making \"{}\"", directory.display()), source)
            })?;
        }
        Ok(room)
    }
}
