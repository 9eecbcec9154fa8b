//! A file on its way out: read by one blocking thread, a few large pieces ahead of the connection.
//!
//! Owns the buffers, which go round: a new allocation per piece would cost a page fault per 4 KiB.
//! Does not hash: the registry does, and refuses what is not the digest's.

use super::progress::Track;
use crate::transport::Taken;
use bytes::Bytes;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Bytes read at once: large enough that the hand-over costs nothing, small enough for a core's cache.
const PIECE: usize = 512 * 1024;

/// Pieces that wait for the connection.
const AHEAD: usize = 3;

/// A part of a file as the body of a request.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    /// The body. It can be sent once.
    pub(crate) body: reqwest::Body,
    /// What went wrong with the file, if it was the file.
    pub(crate) failure: Arc<Mutex<Option<io::Error>>>,
}

/// The file's failure, taken out of its slot.
pub(crate) fn take_failure(failure: &Mutex<Option<io::Error>>) -> Option<io::Error> {
    failure
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
}

/// A buffer that returns to its pool when the connection has sent it.
struct Pooled {
    buffer: Vec<u8>,
    pool: std_mpsc::Sender<Vec<u8>>,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let _ = self.pool.send(std::mem::take(&mut self.buffer));
    }
}

/// Begins to read `length` bytes of a file from `offset` on.
pub(crate) fn read_ahead(
    path: &Path,
    offset: u64,
    length: u64,
    taken: Taken,
    track: Arc<dyn Track>,
) -> ReadAhead {
    let (sender, receiver) = mpsc::channel::<Bytes>(AHEAD);
    let failure = Arc::new(Mutex::new(None));
    let path: PathBuf = path.to_owned();
    let slot = failure.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = pump(&path, offset, length, &sender) {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    });
    let state = (receiver, taken, track, 0u64);
    let stream = futures_util::stream::unfold(
        state,
        move |(mut receiver, taken, track, sent)| async move {
            match receiver.recv().await {
                Some(piece) => {
                    let sent = sent + piece.len() as u64;
                    taken.add(piece.len() as u64);
                    track.advance(piece.len() as u64);
                    Some((Ok(piece), (receiver, taken, track, sent)))
                }
                // The reader went away: its failure ends the body early, which the registry sees as a cut.
                None if sent < length => Some((
                    Err(io::Error::other("the file could not be read")),
                    (receiver, taken, track, length),
                )),
                None => None,
            }
        },
    );
    ReadAhead {
        body: reqwest::Body::wrap_stream(stream),
        failure,
    }
}

fn pump(path: &Path, offset: u64, length: u64, sender: &mpsc::Sender<Bytes>) -> io::Result<()> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let (pool, returned) = std_mpsc::channel::<Vec<u8>>();
    let mut left = length;
    while left > 0 {
        let take = left.min(PIECE as u64) as usize;
        let mut buffer = returned.try_recv().unwrap_or_default();
        buffer.resize(take, 0);
        file.read_exact(&mut buffer)?;
        left -= take as u64;
        let piece = Bytes::from_owner(Pooled {
            buffer,
            pool: pool.clone(),
        });
        if sender.blocking_send(piece).is_err() {
            // The request ended before its body did: its answer says why.
            return Ok(());
        }
    }
    Ok(())
}
