//! The empty place that a replay begins in.

use sealstone::{Error, Result};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Where everything is written: kept if the user wants it.
pub(super) enum Workspace {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Workspace {
    pub(super) fn make(keep: Option<&Path>) -> Result<Workspace> {
        match keep {
            Some(path) if path.exists() => Err(Error::usage(format!(
                "\"{}\" exists already",
                path.display()
            ))
            .hint("a replay begins in an empty place: choose another directory")),
            Some(path) => {
                make(path)?;
                let absolute = std::path::absolute(path)
                    .map_err(|source| Error::io("finding the directory", source))?;
                Ok(Workspace::Kept(absolute))
            }
            None => tempfile::Builder::new()
                .prefix("sealstone-replay-")
                .tempdir_in(roomy())
                .map(Workspace::Temporary)
                .map_err(|source| Error::io("making an empty place", source)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Workspace::Temporary(directory) => directory.path(),
            Workspace::Kept(path) => path,
        }
    }
}

/// Where large files may lie: /tmp is memory on many machines, and another kind of file system than the one
/// that a baseline is made on.
fn roomy() -> PathBuf {
    match std::env::var_os("TMPDIR") {
        Some(_) => std::env::temp_dir(),
        None => Some(PathBuf::from("/var/tmp"))
            .filter(|place| place.is_dir())
            .unwrap_or_else(std::env::temp_dir),
    }
}

/// Makes a directory.
pub(super) fn make(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path)
        .map_err(|source| Error::io(format!("making \"{}\"", path.display()), source))
}

/// Writes a file.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes)
        .map_err(|source| Error::io(format!("writing \"{}\"", path.display()), source))
}

/// The time, RFC 3339 in UTC.
pub(super) fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second())
        .unwrap_or(now)
        .to_string()
}

/// The time since then, as a report tells it.
pub(super) fn seconds(since: Instant) -> String {
    format!("{:.3}", since.elapsed().as_secs_f64())
}
