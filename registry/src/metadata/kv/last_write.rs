//! The number of the last write that was synced, kept in a file in the database's own directory.
//!
//! RocksDB ends the replay of its write-ahead log at the first record that it cannot read, without an error: a log that
//! is written over has such a record at its end, and a flipped bit in the middle looks the same. What follows it was
//! acknowledged, and would be gone unseen; of blobs, accounts and tokens no log entry tells either. RocksDB numbers its
//! writes, so a database that comes back with a lower number than this file is known to have lost the difference.
//!
//! The file lies in the directory of the database, unlike the copy of the log's last checkpoint: that one tells that an
//! older backup was put back, this one that a database is not what it was itself. A backup of the whole directory has
//! both sides.
//!
//! Owns: the file, and the thread that renews it, at most once a second. What was written in the last second before
//! the process was killed is not covered.
//! Invariant: the number in the file is that of a write that had been synced. A power cut takes unsynced ones, rightly.

use crate::file;
use crate::metadata::Error;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the file is renewed at most.
const EVERY: Duration = Duration::from_secs(1);
/// The file's first line.
const FORM: &str = "sealstone-last-write/v1";

/// Where it lies.
pub(super) fn path(database: &Path) -> PathBuf {
    database.join("last-write")
}

/// What the file says; `None` where there is none, as before the first write.
pub(super) fn read(path: &Path) -> Result<Option<u64>, Error> {
    let problem = |problem: String| {
        Error::Damaged(format!(
            "{}, the number of the last write, cannot be read ({problem}), so it is not known whether writes were lost",
            path.display()
        ))
    };
    match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(problem(error.to_string())),
        Ok(bytes) => {
            let number = parse(&bytes).ok_or_else(|| problem("it is damaged".into()))?;
            Ok(Some(number))
        }
    }
}

fn parse(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let number: u64 = text.lines().nth(1)?.parse().ok()?;
    (text == content(number)).then_some(number)
}

/// The form, the number, and the hash of both: a flipped digit must not pass for a number.
fn content(number: u64) -> String {
    let text = format!("{FORM}\n{number}\n");
    let hash = blake3::hash(text.as_bytes()).to_hex();
    format!("{text}{hash}\n")
}

/// Removes the file.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::Unavailable(format!("{}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Keeps the file up to date. Dropping it writes the last number down.
pub(super) struct LastWrite {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    path: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The last write that was synced.
    synced: u64,
    /// The last one that the file tells of.
    noted: u64,
    ended: bool,
}

impl LastWrite {
    /// Goes on from what the file says.
    pub(super) fn start(path: PathBuf, noted: u64) -> Result<LastWrite, Error> {
        let shared = Arc::new(Shared {
            path,
            state: Mutex::new(State {
                synced: noted,
                noted,
                ended: false,
            }),
            changed: Condvar::new(),
        });
        let renewed = shared.clone();
        let thread = std::thread::Builder::new()
            .name("last-write".into())
            .spawn(move || renewed.renew())
            .map_err(|error| Error::Unavailable(format!("no thread for writing: {error}")))?;
        Ok(LastWrite {
            shared,
            thread: Some(thread),
        })
    }

    /// Tells of a write that was synced.
    pub(super) fn note(&self, number: u64) {
        let mut state = self.shared.lock();
        state.synced = state.synced.max(number);
        self.shared.changed.notify_one();
    }
}

impl Drop for LastWrite {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renew(&self) {
        let mut failing = false;
        loop {
            let (number, ended) = self.next();
            if let Some(number) = number {
                let written = file::replace(&self.path, content(number).as_bytes());
                match &written {
                    Ok(()) => self.lock().noted = number,
                    // Tried again each second; said once.
                    Err(error) if !failing => {
                        tracing::error!(path = %self.path.display(), %error, "the number of the last write cannot be noted: a loss of later writes would not be noticed");
                    }
                    Err(_) => {}
                }
                failing = written.is_err();
            }
            if ended {
                return;
            }
            let pause = self.lock();
            let _ = self
                .changed
                .wait_timeout_while(pause, EVERY, |state| !state.ended);
        }
    }

    /// Waits for a number that is to be noted, or for the end.
    fn next(&self) -> (Option<u64>, bool) {
        let state = self.lock();
        let state = self
            .changed
            .wait_while(state, |state| state.synced == state.noted && !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        let number = (state.synced != state.noted).then_some(state.synced);
        (number, state.ended)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_last_number_is_there_after_an_orderly_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = path(directory.path());
        assert_eq!(read(&path).unwrap(), None);
        let mut noted = 0;
        for number in [1, 700, 70_000_000_000] {
            let last_write = LastWrite::start(path.clone(), noted).unwrap();
            last_write.note(number);
            last_write.note(number - 1);
            drop(last_write);
            noted = read(&path).unwrap().unwrap();
            assert_eq!(noted, number);
        }
        // Nothing was written in between.
        drop(LastWrite::start(path.clone(), noted).unwrap());
        assert_eq!(read(&path).unwrap(), Some(noted));
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn it_is_renewed_while_the_database_is_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = path(directory.path());
        let last_write = LastWrite::start(path.clone(), 0).unwrap();
        for number in [5, 9] {
            last_write.note(number);
            let mut tries = 0;
            while read(&path).unwrap() != Some(number) {
                tries += 1;
                assert!(tries < 1000, "it was not renewed");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    #[test]
    fn a_damaged_number_is_none() {
        let whole = content(120).into_bytes();
        assert_eq!(parse(&whole), Some(120));
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            assert_eq!(parse(&damaged), None, "{place}");
        }
        for len in 0..whole.len() {
            assert_eq!(parse(&whole[..len]), None, "{len}");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = path(directory.path());
        std::fs::write(&path, b"").unwrap();
        assert!(matches!(read(&path), Err(Error::Damaged(_))));
    }
}
