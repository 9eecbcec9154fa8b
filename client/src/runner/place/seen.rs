//! What tells, when a stage has ended, that a file which it was given is still the one that was hashed.
//!
//! A file that is mounted is seen as it is at each moment, not as it was when it was hashed, and one that has its old bytes
//! again at the end may have been read with others.
//! Invariant: whatever was written into such a file since it was hashed is noticed. Not by the digest, which says nothing of
//! the time between, but by the times that the kernel keeps; only whoever sets these back by hand goes unseen.

use super::{File, OpenOptions, digest_of};
use sealstone_spec::digest::Digest;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

/// Where a stage has a file.
#[derive(Debug)]
pub(super) enum Seen {
    /// Where it could write to it: its bytes are compared.
    Copied,
    /// Where nobody writes.
    Apart,
    /// Mounted, by itself or in a directory: it sees what had the name when that was mounted, or has it.
    Named(PathBuf, Stamp),
}

/// What the kernel notes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Which one it is, its size, and when it was written.
    content: (u64, u64, u64, i64, i64),
    /// When that was changed, or its names and rights.
    changed: (i64, i64),
}

impl Stamp {
    /// Taken before the file is hashed.
    pub(super) fn of(file: &File) -> io::Result<Stamp> {
        let found = file.metadata()?;
        Ok(Stamp {
            content: (
                found.dev(),
                found.ino(),
                found.size(),
                found.mtime(),
                found.mtime_nsec(),
            ),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

impl Seen {
    /// Whether a file with this digest has not been written to since.
    pub(super) fn is_unchanged(&self, digest: &Digest) -> bool {
        let (path, then) = match self {
            Seen::Copied | Seen::Apart => return true,
            Seen::Named(path, stamp) => (path, stamp),
        };
        let mut options = OpenOptions::new();
        // What has the name now may be a pipe.
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let Ok(mut file) = options.open(path) else {
            return false;
        };
        match Stamp::of(&file) {
            Ok(now) if now == *then => true,
            // Its names or rights are others: a replay beside this one links to the same inputs.
            Ok(now) if now.content == then.content => {
                let again = digest_of(&mut file, digest.algorithm(), None);
                again.is_ok_and(|(now, _)| now == *digest)
            }
            _ => false,
        }
    }
}
