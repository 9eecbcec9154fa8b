//! Files that are, after any stop, the old or the new one.
//!
//! Owns: replacing one. Does not own: what stands in it, or who may write it (one at a time for each path).

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

/// The folder of a file: that of a bare name is where the process runs.
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Replaces a file so that it is, after any stop, the old or the new one.
///
/// # Errors
/// If it cannot be written and synced.
pub fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let directory = folder(path);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let next = directory.join(name);
    let mut file = File::create(&next)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_in_a_folder_that_can_be_opened_and_synced() {
        for (path, there) in [
            ("key.pem", "."),
            ("keys/key.pem", "keys"),
            ("/key.pem", "/"),
            ("/", "."),
        ] {
            assert_eq!(folder(Path::new(path)), Path::new(there), "{path}");
        }
    }
}
