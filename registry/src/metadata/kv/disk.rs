//! What is asked before a server ends because its database takes no write any more: whether the disk takes files and has
//! room, so that another server could open it anew, and when one last ended so.
//!
//! Owns: two files in the database's directory that are not the database's, `probe`, there only while the disk is tried,
//! and `last-end`. Does not own how long after an end the next one may come ([`KvMetadata`](super::KvMetadata)).

use super::rocks::WRITE_BUFFER_BYTES;
use crate::metadata::{Error, Millis};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Name of the file that is there only while the disk is tried.
const PROBE: &str = "probe";
/// Bytes of it: more than a start writes before it takes anything. What stands in the log goes to other files then, as
/// much as memory held of it.
const PROBE_BYTES: usize = 16 << 20;
/// Bytes of it that are written at once.
const PIECE_BYTES: usize = 64 << 10;

const _: () = assert!(PROBE_BYTES > WRITE_BUFFER_BYTES + (1 << 20));

/// Whether the disk of a database takes a new file now.
pub(super) fn check(database: &Path) -> Result<(), Error> {
    let path = database.join(PROBE);
    match try_file(&path) {
        Err(error) if is_of_this_process(&error) => Ok(()),
        tried => tried.map_err(|error| Error::Unavailable(format!("{}: {error}", path.display()))),
    }
}

/// Whether it is this process alone that gets no file: the next one has descriptors of its own. Of those of the whole system
/// (`ENFILE`) that would get none either.
fn is_of_this_process(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMFILE)
}

/// Writes and syncs a file, and removes it.
fn try_file(path: &Path) -> io::Result<()> {
    let mut probe = File::create(path)?;
    let piece = [0_u8; PIECE_BYTES];
    let written = (0..PROBE_BYTES / PIECE_BYTES).try_for_each(|_| probe.write_all(&piece));
    let tried = written.and_then(|()| probe.sync_all());
    std::fs::remove_file(path)?;
    tried
}

/// When a server last ended so. Its file is open from the start on: that no file can be opened may be why a server ends.
#[derive(Debug)]
pub(super) struct LastEnd {
    file: File,
    before: Option<Millis>,
}

impl LastEnd {
    /// Reads what a server before this one noted. What cannot be read is none, and is replaced by the next.
    pub(super) fn open(database: &Path) -> Result<LastEnd, Error> {
        let path = database.join("last-end");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options
            .open(&path)
            .map_err(|error| Error::Unavailable(format!("{}: {error}", path.display())))?;
        let mut text = String::new();
        let read = file.read_to_string(&mut text);
        let before = read.ok().and_then(|_| text.trim().parse().ok());
        Ok(LastEnd { file, before })
    }

    /// When one ended before this start.
    pub(super) fn before(&self) -> Option<Millis> {
        self.before
    }

    /// Notes that this one ends.
    pub(super) fn note(&self, at: Millis) -> Result<(), Error> {
        // Of one length, so that nothing is left of the one before.
        let line = format!("{at:020}\n");
        self.file
            .write_all_at(line.as_bytes(), 0)
            .and_then(|()| self.file.sync_all())
            .map_err(|error| Error::Unavailable(format!("last-end: {error}")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn to_try_the_disk_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        check(directory.path()).unwrap();
        let probe = directory.path().join(PROBE);
        assert!(!probe.exists());
        // It cannot be made.
        std::fs::create_dir(&probe).unwrap();
        assert!(check(directory.path()).is_err());
        std::fs::remove_dir(&probe).unwrap();
        // What a kill leaves of one.
        std::fs::write(&probe, [0; 10]).unwrap();
        check(directory.path()).unwrap();
        assert!(!probe.exists());
    }

    #[test]
    fn only_a_process_without_descriptors_is_helped_by_another_one() {
        for (number, helps) in [
            (libc::EMFILE, true),
            (libc::ENFILE, false),
            (libc::ENOSPC, false),
            (libc::EIO, false),
            (libc::EROFS, false),
        ] {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(is_of_this_process(&error), helps, "{error}");
        }
    }

    #[test]
    fn the_next_start_knows_when_a_server_ended() {
        let directory = tempfile::tempdir().unwrap();
        for (before, noted) in [
            (None, 1_700_000_000_000),
            (Some(1_700_000_000_000), 5),
            (Some(5), Millis::MAX),
        ] {
            let end = LastEnd::open(directory.path()).unwrap();
            assert_eq!(end.before(), before);
            end.note(noted).unwrap();
        }
        let end = LastEnd::open(directory.path()).unwrap();
        assert_eq!(end.before(), Some(Millis::MAX));
        // No reason not to start.
        std::fs::write(directory.path().join("last-end"), [0xff; 21]).unwrap();
        let end = LastEnd::open(directory.path()).unwrap();
        assert_eq!(end.before(), None);
        end.note(7).unwrap();
        let end = LastEnd::open(directory.path()).unwrap();
        assert_eq!(end.before(), Some(7));
    }
}
