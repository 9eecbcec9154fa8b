//! One blob on its way into a layout, or from one registry to another, kept from one run to the next by its digest.
//!
//! Owns the directory that it arrives in, which is hidden, entered by this user only, and locked; and where those lie
//! between two registries: in the user's cache, or where `TMPDIR` names a place with more room. What a cut or a killed
//! process left is bytes to be checked again from the first one, by [`super::fetch`]. Invariants: two processes never
//! write one of them; what nobody comes back for is removed by whoever transfers after some days; where locks or modes do
//! not hold, nothing is kept.

use super::room::free_bytes;
use super::staging::is_private;
use crate::layout::KEPT_PREFIX as PREFIX;
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::Descriptor;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

const LOCK: &str = "lock";
const BLOB: &str = "blob";

/// How long after its last byte it is kept.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A blob in the making.
#[derive(Debug)]
pub(super) struct Partial {
    directory: PathBuf,
    /// Whether the next run would find it: its name is the digest's.
    is_found: bool,
    /// Whether what is here is of use to it.
    keep: AtomicBool,
    /// Held as long as this process works here.
    _lock: Option<File>,
}

impl Partial {
    /// Begins in `parent`, or goes on with what an ended process left there. It goes when it is dropped, unless
    /// [`Partial::keep`] says otherwise.
    pub(super) fn begin(parent: &Path, digest: &Digest) -> io::Result<Partial> {
        let directory = directory_of(parent, digest);
        match take(&directory)? {
            Some(lock) => Ok(Partial {
                directory,
                is_found: true,
                keep: AtomicBool::new(false),
                _lock: Some(lock),
            }),
            None => Partial::alone(parent, digest),
        }
    }

    /// Begins under a name that nobody knows. What arrives here is never kept.
    pub(super) fn alone(parent: &Path, digest: &Digest) -> io::Result<Partial> {
        let directory = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", digest.hex()))
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)?;
        Ok(Partial {
            _lock: lock_of(directory.path()).ok().flatten(),
            directory: directory.keep(),
            is_found: false,
            keep: AtomicBool::new(false),
        })
    }

    /// The file.
    pub(super) fn blob(&self) -> PathBuf {
        self.directory.join(BLOB)
    }

    /// Says that the next run may go on with it.
    pub(super) fn keep(&self) {
        self.keep.store(self.is_found, Ordering::Relaxed);
    }

    /// Says that nothing of it may be used later: it is done, a check failed, or the disk.
    pub(super) fn discard(&self) {
        self.keep.store(false, Ordering::Relaxed);
    }

    /// Whether it stays when this process ends. A file of holes is of no use.
    pub(super) fn stays(&self) -> bool {
        let has_bytes = || fs::symlink_metadata(self.blob()).is_ok_and(|found| found.blocks() > 0);
        self.keep.load(Ordering::Relaxed) && has_bytes()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.stays() {
            remove(&self.directory);
        }
    }
}

/// Where the next run looks for a blob: its digest follows on what all of these names begin with.
fn directory_of(parent: &Path, digest: &Digest) -> PathBuf {
    parent.join(format!("{PREFIX}{}", digest.hex()))
}

/// Where blobs are kept that go from one registry to another.
#[derive(Clone, Debug)]
pub struct Downloads {
    directory: Option<PathBuf>,
    /// What the user has named for temporary files: it may lie outside of a quota.
    temporary: Option<PathBuf>,
}

impl Downloads {
    /// Nowhere: they pass through the directory for temporary files, and an interrupted one begins anew.
    pub fn none() -> Downloads {
        Downloads {
            directory: None,
            temporary: None,
        }
    }

    /// In this directory, which is made when it is needed.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Downloads {
        Downloads {
            directory: Some(directory.into()),
            temporary: None,
        }
    }

    /// In the user's cache: `$XDG_CACHE_HOME/sealstone/downloads`, else below `~/.cache`. Where `TMPDIR` is set and names
    /// another file system with more room, there.
    pub fn in_user_cache() -> Downloads {
        let named = std::env::var_os("TMPDIR").filter(|name| !name.is_empty());
        Downloads {
            directory: crate::cache::of_user().map(|cache| cache.join("downloads")),
            temporary: named.map(PathBuf::from),
        }
    }

    /// Begins a blob, or goes on with what is there of it.
    pub(super) fn begin(&self, blob: &Descriptor) -> io::Result<Partial> {
        for place in self.places(blob) {
            match Partial::begin(place, &blob.digest) {
                Ok(partial) => return Ok(partial),
                // That it is kept is a convenience.
                Err(error) => {
                    tracing::debug!(%error, place = %place.display(), "no blob can be kept there");
                }
            }
        }
        Partial::alone(&std::env::temp_dir(), &blob.digest)
    }

    /// The places where this blob may be kept, best first.
    fn places(&self, blob: &Descriptor) -> Vec<&Path> {
        let Some(cache) = self.directory.as_deref() else {
            return Vec::new();
        };
        let mut builder = DirBuilder::new();
        // What cannot be made is told when the blob is to begin there.
        let _ = builder.recursive(true).mode(0o700).create(cache);
        let mut places = vec![cache];
        if let Some(temporary) = self.temporary.as_deref()
            && let Some(there) = Room::at(temporary, &blob.digest)
            && Room::at(cache, &blob.digest).is_none_or(|here| there.is_better(&here, blob.size))
        {
            places.insert(0, temporary);
        }
        places
    }

    /// See [`forget_old`].
    pub(super) fn forget_old(&self, now: SystemTime) {
        let Some(cache) = &self.directory else {
            return;
        };
        for place in [Some(cache), self.temporary.as_ref()].into_iter().flatten() {
            forget_old(place, now);
        }
    }
}

/// What a directory has for a blob.
#[derive(Clone, Copy, Debug)]
struct Room {
    file_system: u64,
    free: u64,
    /// What is there of the blob already.
    held: u64,
}

impl Room {
    fn at(place: &Path, digest: &Digest) -> Option<Room> {
        let kept = directory_of(place, digest);
        let held = || Some(fs::symlink_metadata(kept.join(BLOB)).ok()?.blocks());
        let blocks = is_private(&kept).then(held).flatten().unwrap_or_default();
        Some(Room {
            file_system: fs::metadata(place).ok()?.dev(),
            free: free_bytes(place).ok()?,
            held: blocks.saturating_mul(512),
        })
    }

    /// Where one of both can be gone on with, that one; else where more can be written. On one file system the first
    /// choice stays the first: how much room there is differs from one moment to the next.
    fn is_better(&self, other: &Room, size: u64) -> bool {
        let goes_on = |room: &Room| room.held > 0 && size.saturating_sub(room.held) <= room.free;
        match (goes_on(self), goes_on(other)) {
            (true, false) => true,
            (false, true) => false,
            _ => self.file_system != other.file_system && self.free > other.free,
        }
    }
}

/// Removes what nobody came back for.
pub(super) fn forget_old(parent: &Path, now: SystemTime) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX));
        let directory = entry.path();
        if is_ours
            && is_old(&directory, now)
            && is_private(&directory)
            && let Ok(Some(_lock)) = lock_of(&directory)
        {
            remove(&directory);
        }
    }
}

/// Whether nothing has changed there for long. A clock that was set back makes nothing old.
fn is_old(directory: &Path, now: SystemTime) -> bool {
    let times = [directory.join(BLOB), directory.to_owned()];
    let times = times
        .iter()
        .filter_map(|path| fs::symlink_metadata(path).ok()?.modified().ok());
    times
        .max()
        .and_then(|last| now.duration_since(last).ok())
        .is_some_and(|age| age > KEPT_FOR)
}

/// Makes a directory, or takes one over whose process has ended; `None` if somebody works there, or it may be another's.
fn take(directory: &Path) -> io::Result<Option<File>> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if !is_private(directory) {
        // A file system without modes: it would be nobody's that is found there again. One with something in it stays.
        let _ = fs::remove_dir(directory);
        return Ok(None);
    }
    Ok(lock_of(directory).unwrap_or_else(|error| {
        // One without locks: nothing is ever found there again either.
        tracing::debug!(%error, "nothing can be locked, so no blob is kept");
        let _ = fs::remove_file(directory.join(LOCK));
        let _ = fs::remove_dir(directory);
        None
    }))
}

/// The right to work in a directory, if nobody else has it. Whoever ends there removes it: a lock that was opened before
/// is then on nothing, and another's may be in its place.
///
/// # Errors
/// If the file system has no locks.
fn lock_of(directory: &Path) -> io::Result<Option<File>> {
    let path = directory.join(LOCK);
    let opened = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path);
    let Ok(lock) = opened else {
        return Ok(None);
    };
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let is_there = match (lock.metadata(), fs::symlink_metadata(&path)) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    };
    Ok(is_there.then_some(lock))
}

/// Removes a directory whose lock is held. Its name is free before its lock is gone, so that nobody begins in one that is
/// being removed.
fn remove(directory: &Path) {
    let mut gone = directory.to_owned().into_os_string();
    gone.push("-gone");
    let renamed = fs::rename(directory, &gone).is_ok();
    let _ = match renamed {
        true => fs::remove_dir_all(&gone),
        false => fs::remove_dir_all(directory),
    };
}

#[cfg(test)]
mod tests;
