//! A directory that appears whole or not at all.
//!
//! Files arrive in a hidden directory beside the destination, get their paths there once they are
//! verified, and the whole is renamed into place at the end.
//! Invariants: the destination's name never shows a part; what was there is never lost; whatever ends
//! early removes the hidden directory, and what a killed process left is removed by the next one.

use crate::error::{Error, Result};
use sealstone_spec::bundle::BundlePath;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A destination in the making.
#[derive(Debug)]
pub(crate) struct Staging {
    directory: TempDir,
    destination: PathBuf,
    parent: PathBuf,
    overwrite: bool,
    /// Held as long as this process works here.
    _lock: File,
}

impl Staging {
    /// Begins beside `destination`, which must not exist, be an empty directory, or, with
    /// `overwrite`, be any directory.
    pub(crate) fn begin(destination: &Path, overwrite: bool) -> Result<Staging> {
        let name = destination.file_name().ok_or_else(|| {
            Error::usage(format!(
                "\"{}\" is no name for a new directory",
                destination.display()
            ))
        })?;
        let parent = match destination.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        check_free(destination, overwrite)?;
        let what = || format!("writing beside \"{}\"", destination.display());
        fs::create_dir_all(&parent).map_err(|error| Error::io(what(), error))?;
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".partial-");
        remove_left_overs(&parent, &prefix);
        let directory = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(&parent)
            .map_err(|error| Error::io(what(), error))?;
        let prepare = || -> io::Result<File> {
            let lock = File::create(directory.path().join(LOCK))?;
            lock.try_lock()
                .map_err(|_| io::Error::other("the lock is taken"))?;
            fs::create_dir(directory.path().join("incoming"))?;
            fs::create_dir(directory.path().join("tree"))?;
            Ok(lock)
        };
        let lock = prepare().map_err(|error| Error::io(what(), error))?;
        Ok(Staging {
            directory,
            destination: destination.to_owned(),
            parent,
            overwrite,
            _lock: lock,
        })
    }

    /// Where to write the file with this number: a name that says nothing.
    pub(crate) fn incoming(&self, number: usize) -> PathBuf {
        self.directory
            .path()
            .join("incoming")
            .join(number.to_string())
    }

    /// Gives a verified file its path in the tree.
    pub(crate) fn settle(&self, number: usize, path: &BundlePath, executable: bool) -> Result<()> {
        let from = self.incoming(number);
        let to = self.directory.path().join("tree").join(path.as_str());
        let settle = || -> io::Result<()> {
            if executable {
                make_executable(&from)?;
            }
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            // The tree is new and only this process knows its name; a file that is there already
            // would mean that two paths are one here.
            if fs::symlink_metadata(&to).is_ok() {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "two files of the bundle have one name here",
                ));
            }
            fs::rename(&from, &to)
        };
        settle().map_err(|error| Error::io(format!("placing \"{path}\""), error))
    }

    /// Leaves what has arrived at `place`, as evidence. It helps and promises nothing, so a failure is no error.
    pub(crate) fn quarantine(self, place: &Path) {
        let _ = fs::remove_file(self.directory.path().join(LOCK));
        let _ = fs::rename(self.directory.path(), place);
    }

    /// Puts the tree in the destination's place.
    pub(crate) fn publish(self) -> Result<()> {
        let tree = self.directory.path().join("tree");
        let old = self.directory.path().join("old");
        let publish = || -> io::Result<()> {
            sync_directories(&tree)?;
            let exists = fs::symlink_metadata(&self.destination).is_ok();
            if exists && self.overwrite {
                fs::rename(&self.destination, &old)?;
                if let Err(error) = fs::rename(&tree, &self.destination) {
                    fs::rename(&old, &self.destination)?;
                    return Err(error);
                }
            } else {
                // Replaces nothing but an empty directory.
                fs::rename(&tree, &self.destination)?;
            }
            File::open(&self.parent)?.sync_all()
        };
        publish().map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::AlreadyExists => taken(&self.destination),
            _ => Error::io(
                format!("putting \"{}\" in place", self.destination.display()),
                error,
            ),
        })
    }
}

const LOCK: &str = "lock";

fn taken(destination: &Path) -> Error {
    Error::conflict(format!("\"{}\" exists already", destination.display()))
        .hint("choose another directory, or replace it as a whole with --overwrite")
}

fn check_free(destination: &Path, overwrite: bool) -> Result<()> {
    let metadata = match fs::symlink_metadata(destination) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(Error::io(
                format!("reading \"{}\"", destination.display()),
                error,
            ));
        }
    };
    if !metadata.is_dir() {
        return Err(Error::conflict(format!(
            "\"{}\" exists and is no directory",
            destination.display()
        ))
        .hint("choose another directory: files and links are never replaced"));
    }
    let is_empty = fs::read_dir(destination).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty || overwrite {
        Ok(())
    } else {
        Err(taken(destination))
    }
}

/// Removes what a process that was killed has left: directories whose lock nobody holds.
fn remove_left_overs(parent: &Path, prefix: &OsString) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    let Some(prefix) = prefix.to_str() else {
        return;
    };
    for entry in entries.flatten() {
        let is_ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(prefix))
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        // Without a lock file it is just being made, or is none of ours.
        let Ok(lock) = File::open(entry.path().join(LOCK)) else {
            continue;
        };
        // A copy of what was replaced is a user's data: it is never removed here.
        if is_ours && lock.try_lock().is_ok() && !entry.path().join("old").exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Lets those run the file who may read it.
fn make_executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path)?.permissions().mode();
    fs::set_permissions(
        path,
        fs::Permissions::from_mode(mode | ((mode & 0o444) >> 2)),
    )
}

/// Puts directories on disk, deepest first; their files are there already.
fn sync_directories(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_directories(&entry.path())?;
        }
    }
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn add(staging: &Staging, number: usize, path: &str, text: &str) {
        fs::write(staging.incoming(number), text).unwrap();
        staging
            .settle(number, &path.parse().unwrap(), number == 1)
            .unwrap();
    }

    #[test]
    fn nothing_shows_before_it_is_published_and_nothing_is_left_beside() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let destination = root.path().join("sub/model");
        let staging = Staging::begin(&destination, false).unwrap();
        add(&staging, 0, "a/b/c", "x");
        add(&staging, 1, "run", "y");
        assert!(!destination.exists());
        staging.publish().unwrap();
        assert_eq!(fs::read_to_string(destination.join("a/b/c")).unwrap(), "x");
        assert_ne!(
            fs::metadata(destination.join("run"))
                .unwrap()
                .permissions()
                .mode()
                & 0o100,
            0
        );
        assert_eq!(
            fs::metadata(destination.join("a/b/c"))
                .unwrap()
                .permissions()
                .mode()
                & 0o111,
            0
        );
        assert_eq!(names(&root.path().join("sub")), ["model"]);
    }

    #[test]
    fn ending_early_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let staging = Staging::begin(&root.path().join("model"), false).unwrap();
        add(&staging, 0, "a", "x");
        drop(staging);
        assert!(names(root.path()).is_empty());
    }

    #[test]
    fn what_is_there_is_replaced_as_a_whole_and_only_when_asked() {
        let root = tempfile::tempdir().unwrap();
        let destination = root.path().join("model");
        fs::create_dir(&destination).unwrap();
        fs::write(destination.join("old"), "old").unwrap();
        let error = Staging::begin(&destination, false).unwrap_err();
        assert_eq!(error.outcome(), crate::Outcome::Conflict);

        let staging = Staging::begin(&destination, true).unwrap();
        add(&staging, 0, "new", "new");
        staging.publish().unwrap();
        assert_eq!(names(&destination), ["new"]);
        assert_eq!(names(root.path()), ["model"]);
    }

    #[test]
    fn a_destination_that_appears_meanwhile_is_not_replaced() {
        let root = tempfile::tempdir().unwrap();
        let destination = root.path().join("model");
        let staging = Staging::begin(&destination, false).unwrap();
        add(&staging, 0, "new", "new");
        fs::create_dir(&destination).unwrap();
        fs::write(destination.join("theirs"), "x").unwrap();
        assert_eq!(
            staging.publish().unwrap_err().outcome(),
            crate::Outcome::Conflict
        );
        assert_eq!(names(&destination), ["theirs"]);
    }

    #[test]
    fn files_and_links_are_never_replaced() {
        let root = tempfile::tempdir().unwrap();
        let destination = root.path().join("model");
        std::os::unix::fs::symlink(root.path(), &destination).unwrap();
        assert!(Staging::begin(&destination, true).is_err());
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not() {
        let root = tempfile::tempdir().unwrap();
        let destination = root.path().join("model");
        let dead = root.path().join(".model.partial-dead");
        fs::create_dir_all(dead.join("tree")).unwrap();
        fs::write(dead.join(LOCK), "").unwrap();
        let living = Staging::begin(&destination, false).unwrap();
        assert!(!dead.exists());
        let second = Staging::begin(&destination, false).unwrap();
        assert!(living.directory.path().exists());
        drop((living, second));
    }
}
