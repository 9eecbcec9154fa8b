//! Files that are, after any stop, the old or the new one.
//!
//! Owns: replacing one. Does not own: what stands in it, or who may write it (one at a time for each path).

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

/// Replaces a file so that it is, after any stop, the old or the new one.
///
/// # Errors
/// If it cannot be written and synced.
pub fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let next = directory.join(name);
    let mut file = File::create(&next)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    File::open(directory)?.sync_all()
}
