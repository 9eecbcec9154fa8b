//! What the client remembers between two runs: files that only their user writes, under `SEALSTONE_STATE`, or
//! `$XDG_STATE_HOME/sealstone`, or `~/.local/state/sealstone`.
//!
//! Owns where they lie and how one is replaced. What is in them, and whether it may be replaced, is for
//! [`crate::log`] and [`crate::trust`] to say.
//! Invariant: whoever looks at a file in order to replace it holds its lock from before the look until after the
//! replacement; otherwise of two processes the one that is late puts the older thing back.

use crate::error::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The user's directory; `None` if there is no home to keep anything in.
pub(crate) fn directory() -> Option<PathBuf> {
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    from("SEALSTONE_STATE")
        .or_else(|| from("XDG_STATE_HOME").map(|path| path.join("sealstone")))
        .or_else(|| from("HOME").map(|path| path.join(".local/state/sealstone")))
}

/// Waits until no other process looks at the file at `path` in order to replace it. Held until it is dropped.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let path = path.with_extension("lock");
    let take = || -> std::io::Result<File> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)?;
        file.lock()?;
        Ok(file)
    };
    take().map_err(|error| failed(&path, error))
}

/// Replaces the file at `path` as a whole, durably. The caller holds the lock.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let next = path.with_extension("new");
    let replace = || -> std::io::Result<()> {
        let mut file = File::create(&next)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&next, path)?;
        match path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    };
    replace().map_err(|error| failed(path, error))
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("writing \"{}\"", path.display()), error)
        .hint("set SEALSTONE_STATE to a directory that lasts and can be written")
}
