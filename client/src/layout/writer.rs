//! Who writes into a layout, and what is left of writers that were killed.
//!
//! What is being written has a temporary name beside its final one: `.partial-` and six letters or digits. Each writer
//! holds a shared lock on the directory `blobs` as long as it has something under such a name; whoever opens a layout to
//! write, and finds nobody else at it, removes what has lain there under one for a day. Nobody else would: its name says
//! nothing of what it is. The day is for writers whose locks are not seen: on NFS the lock of a directory is its machine's
//! own, and clients before these locks have none.
//! Invariants: nothing that a writer is at is removed; names of any other form stay. Where the file system has no locks,
//! nothing is removed.

use std::ffi::OsStr;
use std::fs::{self, File, FileType};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How temporary names begin.
pub(super) const PREFIX: &str = ".partial-";
/// How names begin of what a transfer keeps of a blob for the next one.
pub(crate) const KEPT_PREFIX: &str = ".kept-";
/// How long nothing must have changed before it counts as left.
const LEFT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
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
    pub(super) fn begin(root: &Path, now: SystemTime) -> Writer {
        if let Ok(blobs) = File::open(root.join(BLOBS))
            && blobs.try_lock().is_ok()
        {
            clear(root, now);
        }
        Writer::join(root)
    }
}

/// Whether a path in a layout is of something in the making, or of what is kept of it: no part of the layout yet.
pub(crate) fn is_unfinished(path: &str) -> bool {
    let mut elements = path.split('/');
    elements.any(|element| element.starts_with(PREFIX) || element.starts_with(KEPT_PREFIX))
}

/// Removes what has a temporary name. That something stays is no error: it only takes room.
fn clear(root: &Path, now: SystemTime) {
    // Beside the index no writer makes a directory.
    clear_in(root, now, |kind| kind.is_file());
    let Ok(entries) = fs::read_dir(root.join(BLOBS)) else {
        return;
    };
    for entry in entries.flatten() {
        // Through a link lies what other layouts may have as well, whose writers lock another directory.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear_in(&entry.path(), now, |kind| kind.is_file() || kind.is_dir());
        }
    }
}

fn clear_in(directory: &Path, now: SystemTime, is_ours: impl Fn(&FileType) -> bool) {
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
        if !is_left(&path, now) {
            continue;
        }
        tracing::debug!(path = %path.display(), "left by a writer that was killed");
        let _ = match kind.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
    }
}

/// Whether nothing has changed there for long, also in a directory. A clock that was set back makes nothing old.
fn is_left(path: &Path, now: SystemTime) -> bool {
    let inside = fs::read_dir(path).into_iter().flatten().flatten();
    let mut paths = inside.map(|entry| entry.path()).chain([path.to_owned()]);
    paths.all(|path| {
        fs::symlink_metadata(path).is_ok_and(|found| {
            let modified = found.modified().ok();
            // A link to a file that is to become a blob has the old time of its content, and a new one of the link.
            let changed = u64::try_from(found.ctime()).ok().and_then(|seconds| {
                SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
            });
            [modified, changed].into_iter().all(|time| {
                time.and_then(|time| now.duration_since(time).ok())
                    .is_some_and(|age| age > LEFT_FOR)
            })
        })
    })
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
        let (now, later) = (SystemTime::now(), SystemTime::now() + 2 * LEFT_FOR);
        let second = Writer::begin(&root, later);
        assert_eq!(names(&blobs), before);
        drop((first, second));
        let reading = LayoutStore::open(&root).unwrap();
        let blob = reading
            .begin_blob(sealstone_spec::digest::Algorithm::Sha256)
            .unwrap();
        drop(Writer::begin(&root, later));
        assert_eq!(names(&blobs).len(), before.len() + 1);
        drop(blob);

        // And so may a writer on another machine, whose lock is not seen here; also at a link to an old file.
        let source = File::create(place.path().join("old")).unwrap();
        source.set_modified(now - 30 * LEFT_FOR).unwrap();
        fs::hard_link(place.path().join("old"), blobs.join(".partial-linkto")).unwrap();
        drop(LayoutStore::open_or_create(&root).unwrap());
        for early in [now - 30 * LEFT_FOR, now, now + LEFT_FOR / 2] {
            drop(Writer::begin(&root, early));
        }
        assert_eq!(names(&blobs).len(), before.len() + 1);

        drop(Writer::begin(&root, later));
        let stays = [digest.as_str(), ".partial-linked", ".partial-my-notes"];
        assert_eq!(names(&blobs), stays);
        assert_eq!(
            names(&root),
            [".partial-theirs", "blobs", "index.json", "oci-layout"]
        );
    }

    #[test]
    fn what_is_unfinished_has_a_name_that_says_so() {
        for path in [
            "environment/image/blobs/sha256/.kept-0123/blob",
            "blobs/sha256/.partial-aB3xY9",
            ".partial-index0",
        ] {
            assert!(is_unfinished(path), "{path}");
        }
        for path in ["blobs/sha256/0123", "index.json", "a/kept-b/x.partial-c"] {
            assert!(!is_unfinished(path), "{path}");
        }
    }
}
