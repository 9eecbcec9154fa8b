//! A directory that appears whole or not at all.
//!
//! Files arrive in a hidden directory beside the destination, get their paths there once they are
//! verified, and the whole is renamed into place at the end.
//! Invariants: the destination's name never shows a part; what was there is never lost, and where the
//! file system can exchange two names there is no moment without it; what failed a check is removed.
//! What a cut or a killed process left of the same bundle is taken over by the next pull, as bytes to
//! be checked again from the first one; of anything else, it is removed.

use super::exchange::exchange;
use crate::error::{Error, Result};
use sealstone_spec::bundle::{BundleFile, BundlePath};
use sealstone_spec::digest::Digest;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A destination in the making.
#[derive(Debug)]
pub(crate) struct Staging {
    directory: PathBuf,
    destination: PathBuf,
    parent: PathBuf,
    overwrite: bool,
    /// Whether what is here is of use to a later pull.
    keep: AtomicBool,
    /// Held as long as this process works here.
    _lock: File,
}

impl Staging {
    /// Begins beside `destination`, which must not exist, be an empty directory, or, with
    /// `overwrite`, be any directory. `bundle` is the digest of the manifest that `files` are of.
    pub(crate) fn begin(
        destination: &Path,
        overwrite: bool,
        bundle: &Digest,
        files: &[BundleFile],
    ) -> Result<Staging> {
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
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".partial-");
        settle_replaced(&parent, &prefix, destination);
        check_free(destination, overwrite)?;
        let begin = || -> io::Result<(PathBuf, File)> {
            fs::create_dir_all(&parent)?;
            match take_over(&parent, &prefix, bundle, files) {
                Some(found) => Ok(found),
                None => create(&parent, &prefix, bundle),
            }
        };
        let (directory, lock) = begin().map_err(|error| {
            Error::io(
                format!("writing beside \"{}\"", destination.display()),
                error,
            )
        })?;
        Ok(Staging {
            directory,
            destination: destination.to_owned(),
            parent,
            overwrite,
            keep: AtomicBool::new(true),
            _lock: lock,
        })
    }

    /// The hidden directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Says that nothing of it may be used later: a check failed, or the disk.
    pub(crate) fn discard(&self) {
        self.keep.store(false, Ordering::Relaxed);
    }

    /// Where to write the file with this number: a name that says nothing.
    pub(crate) fn incoming(&self, number: usize) -> PathBuf {
        self.directory.join(INCOMING).join(number.to_string())
    }

    /// Where to unpack the archive with this number.
    pub(crate) fn unpacking(&self, number: usize) -> PathBuf {
        self.directory
            .join(INCOMING)
            .join(format!("{number}.files"))
    }

    /// Gives the verified file `from`, which lies in this staging directory, its path in the tree.
    pub(crate) fn settle(&self, from: &Path, path: &BundlePath, executable: bool) -> Result<()> {
        let to = self.directory.join(TREE).join(path.as_str());
        let settle = || -> io::Result<()> {
            if executable {
                make_executable(from)?;
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
            fs::rename(from, &to)
        };
        settle().map_err(|error| Error::io(format!("placing \"{path}\""), error))
    }

    /// Leaves what has arrived at `place`, as evidence. It helps and promises nothing, so a failure is no error.
    pub(crate) fn quarantine(&self, place: &Path) {
        let _ = fs::remove_file(self.directory.join(LOCK));
        let _ = fs::rename(&self.directory, place);
    }

    /// Puts the tree in the destination's place.
    pub(crate) fn publish(self) -> Result<()> {
        self.discard();
        let tree = self.directory.join(TREE);
        let old = self.directory.join(OLD);
        let publish = || -> io::Result<()> {
            sync_directories(&tree)?;
            let exists = fs::symlink_metadata(&self.destination).is_ok();
            if exists && self.overwrite {
                replace(&tree, &self.destination, &old)?;
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
        })?;
        // What was replaced is of no use any more, now that what replaces it is in its place.
        let _ = fs::remove_dir_all(&self.directory);
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let is_of_use = self.keep.load(Ordering::Relaxed) && holds_bytes(&self.directory);
        // A copy of what was replaced is a user's data: it stays.
        if !is_of_use && !self.directory.join(OLD).exists() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

const LOCK: &str = "lock";
/// Names the bundle that is being pulled.
const BUNDLE: &str = "bundle";
const INCOMING: &str = "incoming";
const TREE: &str = "tree";
const OLD: &str = "old";

/// Puts `tree` in the destination's place, and what was there at `old`. Both change places at once where that can be:
/// else a kill between two renames leaves no destination, and [`settle_replaced`] puts it back. What was there never
/// lies at `tree`: a pull that takes this directory over holds everything there for its own.
fn replace(tree: &Path, destination: &Path, old: &Path) -> io::Result<()> {
    fs::rename(tree, old)?;
    if exchange(old, destination).is_ok() {
        return Ok(());
    }
    fs::rename(old, tree)?;
    fs::rename(destination, old)?;
    fs::rename(tree, destination).or_else(|error| {
        fs::rename(old, destination)?;
        Err(error)
    })
}

/// Ends what a killed process left half replaced, as far as nobody works there. With a tree beside it, `old` is what was
/// there: it is put back, or stays, as a user's data, where somebody made another destination meanwhile. Without one it is
/// of no use: what was replaced, or, before both changed places, what had arrived, and the destination is as it was.
fn settle_replaced(parent: &Path, prefix: &OsStr, destination: &Path) {
    for (directory, _lock) in left_behind(parent, prefix) {
        let (old, tree) = (directory.join(OLD), directory.join(TREE));
        if !old.exists() {
            continue;
        }
        if !tree.exists() {
            let _ = fs::remove_dir_all(&directory);
        } else if fs::symlink_metadata(destination).is_err()
            && fs::rename(&old, destination).is_ok()
        {
            tracing::warn!(
                "a pull was killed while it replaced \"{}\": what was there is back",
                destination.display()
            );
        }
    }
}

/// Makes an empty hidden directory that only this user may enter, and locks it.
fn create(parent: &Path, prefix: &OsStr, bundle: &Digest) -> io::Result<(PathBuf, File)> {
    let directory = tempfile::Builder::new()
        .prefix(prefix)
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(parent)?;
    let lock = File::create(directory.path().join(LOCK))?;
    lock.try_lock()
        .map_err(|_| io::Error::other("the lock is taken"))?;
    File::create_new(directory.path().join(BUNDLE))?.write_all(bundle.to_string().as_bytes())?;
    fs::create_dir(directory.path().join(INCOMING))?;
    fs::create_dir(directory.path().join(TREE))?;
    Ok((directory.keep(), lock))
}

/// Looks for what an ended process has left: directories whose lock nobody holds. One of the same bundle
/// is taken over, the others are removed.
fn take_over(
    parent: &Path,
    prefix: &OsStr,
    bundle: &Digest,
    files: &[BundleFile],
) -> Option<(PathBuf, File)> {
    let mut taken = None;
    for (directory, lock) in left_behind(parent, prefix) {
        // A copy of what was replaced is a user's data: it is never removed here.
        if directory.join(OLD).exists() {
            continue;
        }
        if taken.is_none() && reopen(&directory, bundle, files).unwrap_or(false) {
            taken = Some((directory, lock));
        } else {
            let _ = fs::remove_dir_all(directory);
        }
    }
    taken
}

/// The hidden directories of ended processes, locked.
fn left_behind(parent: &Path, prefix: &OsStr) -> Vec<(PathBuf, File)> {
    let (Some(prefix), Ok(entries)) = (prefix.to_str(), fs::read_dir(parent)) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let is_ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(prefix))
            && is_private(&entry.path());
        if !is_ours {
            continue;
        }
        // Without a lock file it is just being made, or is none of ours.
        // For writing: NFSv4 locks no other file for one process alone (nfs4_proc_lock).
        let opened = File::options()
            .read(true)
            .write(true)
            .open(entry.path().join(LOCK));
        let Ok(lock) = opened else {
            continue;
        };
        if lock.try_lock().is_ok() {
            found.push((entry.path(), lock));
        }
    }
    found
}

/// Whether it is a directory that nobody but this user could have put anything into.
pub(super) fn is_private(directory: &Path) -> bool {
    let owner = tempfile::tempfile()
        .and_then(|file| file.metadata())
        .map(|own| own.uid());
    match (fs::symlink_metadata(directory), owner) {
        (Ok(found), Ok(owner)) => {
            found.is_dir() && found.uid() == owner && found.mode() & 0o077 == 0
        }
        _ => false,
    }
}

/// Makes a left directory ready for the same bundle: files that had their paths are incoming again, so
/// that they are checked like all others. False if it is of another bundle.
fn reopen(directory: &Path, bundle: &Digest, files: &[BundleFile]) -> io::Result<bool> {
    if fs::read_to_string(directory.join(BUNDLE))? != bundle.to_string() {
        return Ok(false);
    }
    let (incoming, tree) = (directory.join(INCOMING), directory.join(TREE));
    for (number, file) in files.iter().enumerate() {
        let settled = tree.join(file.path.as_str());
        if !file.form.is_archive()
            && fs::symlink_metadata(&settled).is_ok_and(|found| found.is_file())
        {
            fs::rename(&settled, incoming.join(number.to_string()))?;
        }
    }
    for entry in fs::read_dir(&incoming)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    fs::remove_dir_all(&tree)?;
    fs::create_dir(&tree)?;
    Ok(true)
}

/// Whether anything has arrived; a file of holes has not.
fn holds_bytes(directory: &Path) -> bool {
    let has_bytes = |entry: io::Result<fs::DirEntry>| {
        entry
            .and_then(|entry| entry.metadata())
            .is_ok_and(|found| found.blocks() > 0 || found.is_dir())
    };
    [INCOMING, TREE].iter().any(|name| {
        fs::read_dir(directory.join(name)).is_ok_and(|mut entries| entries.any(has_bytes))
    })
}

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

/// Lets those run the file who may read it.
fn make_executable(path: &Path) -> io::Result<()> {
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
mod tests;
