//! Who writes into a layout, and what is left of writers that were killed.
//!
//! What is being written has a temporary name beside its final one: `.partial-` and six letters or digits. Each writer
//! holds a shared lock on the directory `blobs` as long as it has something under such a name; whoever opens a layout to
//! write, and finds nobody else at it, removes what lies there under one. Nobody else would: its name says nothing of what
//! it is.
//! Invariants: nothing that a writer is at is removed; names of any other form stay. Where the file system has no locks,
//! nothing is removed.

use std::ffi::OsStr;
use std::fs::{self, File, FileType};
use std::path::Path;

/// How temporary names begin.
pub(super) const PREFIX: &str = ".partial-";
/// How many letters and digits follow; `tempfile` chooses them.
const LETTERS: usize = 6;
const BLOBS: &str = "blobs";

/// One of the writers of a layout, until it is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    /// None where the file system has no locks.
    _lock: Option<File>,
}

impl Writer {
    /// Joins the writers of the layout. Waits for whoever removes at the moment what others have left.
    pub(super) fn join(root: &Path) -> Writer {
        let lock = File::open(root.join(BLOBS)).and_then(|blobs| {
            blobs.lock_shared()?;
            Ok(blobs)
        });
        Writer { _lock: lock.ok() }
    }

    /// The same, for whoever begins. If nobody else is at it, what ended writers have left is removed first.
    pub(super) fn begin(root: &Path) -> Writer {
        if let Ok(blobs) = File::open(root.join(BLOBS))
            && blobs.try_lock().is_ok()
        {
            clear(root);
        }
        Writer::join(root)
    }
}

/// Removes what has a temporary name. That something stays is no error: it only takes room.
fn clear(root: &Path) {
    // Beside the index no writer makes a directory.
    clear_in(root, |kind| kind.is_file());
    let Ok(entries) = fs::read_dir(root.join(BLOBS)) else {
        return;
    };
    for entry in entries.flatten() {
        // Through a link lies what other layouts may have as well, whose writers lock another directory.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear_in(&entry.path(), |kind| kind.is_file() || kind.is_dir());
        }
    }
}

fn clear_in(directory: &Path, is_ours: impl Fn(&FileType) -> bool) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if !is_temporary(&entry.file_name()) || !is_ours(&kind) {
            continue;
        }
        let path = entry.path();
        tracing::debug!(path = %path.display(), "left by a writer that was killed");
        let _ = match kind.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
    }
}

fn is_temporary(name: &OsStr) -> bool {
    let letters = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
    letters.is_some_and(|letters| {
        letters.len() == LETTERS && letters.bytes().all(|letter| letter.is_ascii_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::LayoutStore;
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<String> = entries
            .map(name)
            .map(|name| name.into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_writer_left_goes_with_the_next_one_and_nothing_else_does() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("layout");
        let first = LayoutStore::open_or_create(&root).unwrap();
        let blobs = root.join("blobs/sha256");
        // A copy that can go on later has a name that says of what.
        let digest = format!(".partial-{}", "0".repeat(64));
        fs::write(blobs.join(".partial-aB3xY9"), b"of a pack").unwrap();
        fs::create_dir(blobs.join(".partial-copied")).unwrap();
        fs::write(blobs.join(".partial-copied/blob"), b"of a copy").unwrap();
        fs::write(root.join(".partial-index0"), b"{}").unwrap();
        fs::create_dir(blobs.join(&digest)).unwrap();
        fs::create_dir(root.join(".partial-theirs")).unwrap();
        fs::write(blobs.join(".partial-my-notes"), b"x").unwrap();
        std::os::unix::fs::symlink(&blobs, blobs.join(".partial-linked")).unwrap();
        let before = names(&blobs);

        // Whoever still writes may be at any of it, and so may whoever writes into one that was opened to be read.
        let second = LayoutStore::open_or_create(&root).unwrap();
        assert_eq!(names(&blobs), before);
        drop((first, second));
        let reading = LayoutStore::open(&root).unwrap();
        let blob = reading
            .begin_blob(sealstone_spec::digest::Algorithm::Sha256)
            .unwrap();
        drop(LayoutStore::open_or_create(&root).unwrap());
        assert_eq!(names(&blobs).len(), before.len() + 1);
        drop(blob);

        drop(LayoutStore::open_or_create(&root).unwrap());
        let stays = [digest.as_str(), ".partial-linked", ".partial-my-notes"];
        assert_eq!(names(&blobs), stays);
        assert_eq!(
            names(&root),
            [".partial-theirs", "blobs", "index.json", "oci-layout"]
        );
    }
}
