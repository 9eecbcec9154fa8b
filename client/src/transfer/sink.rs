//! Where a stream of bytes becomes a file: one thread that hashes and one that writes.
//!
//! Invariant: the digest is of exactly the bytes that are in the file; the file is on disk when it is
//! returned.

use super::disk::{ALIGNMENT, Block, Disk};
use super::kept::Kept;
use crate::stop::{Stop, StopOnDrop};
use bytes::Bytes;
use sealstone_spec::digest::{Algorithm, Digest, Hasher};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc as std_mpsc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Bytes that are handed over together: a hand-over for each frame would cost more than the frame.
const BATCH: usize = 512 * 1024;

/// Bytes written at once. Writes of 512 KiB make the kernel take large page-cache folios, which took
/// twice the system time (measured: 1.2 s instead of 0.7 s for 667 MiB, Linux 6.18, ext4).
pub(super) const WRITE_BYTES: usize = 128 * 1024;

/// Batches that wait for the disk.
const AHEAD: usize = 3;

/// Threads that write and hash what they are given.
#[derive(Debug)]
pub(crate) struct Sink {
    sender: mpsc::Sender<Message>,
    thread: JoinHandle<io::Result<Digest>>,
    batch: Vec<Bytes>,
    batched: usize,
    _told: StopOnDrop,
}

#[derive(Debug)]
enum Message {
    Write(Vec<Bytes>),
    Restart,
}

/// The thread ended early; [`Sink::finish`] says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// A new file that nobody else had, with the mode that the umask gives.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
}

impl Sink {
    /// Begins to write a file behind its kept bytes, which are hashed before what comes.
    pub(super) fn begin(kept: Kept, algorithm: Algorithm) -> Sink {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let stop = Stop::default();
        let told = stop.on_drop();
        let thread = tokio::task::spawn_blocking(move || drain(kept, algorithm, receiver, &stop));
        Sink {
            sender,
            thread,
            batch: Vec::new(),
            batched: 0,
            _told: told,
        }
    }

    /// Takes bytes.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), Closed> {
        self.batched += bytes.len();
        self.batch.push(bytes);
        if self.batched >= BATCH {
            self.hand_over().await
        } else {
            Ok(())
        }
    }

    /// Forgets everything that was written.
    pub(crate) async fn restart(&mut self) -> Result<(), Closed> {
        self.batch.clear();
        self.batched = 0;
        self.sender.send(Message::Restart).await.map_err(|_| Closed)
    }

    async fn hand_over(&mut self) -> Result<(), Closed> {
        self.batched = 0;
        let batch = std::mem::take(&mut self.batch);
        self.sender
            .send(Message::Write(batch))
            .await
            .map_err(|_| Closed)
    }

    /// Puts the file on disk and returns its digest.
    pub(crate) async fn finish(mut self) -> crate::Result<io::Result<Digest>> {
        // If the thread has ended, it is its own result that counts.
        let _ = self.hand_over().await;
        drop(self.sender);
        self.thread.await.map_err(super::lost)
    }
}

/// Bytes of a block: what a disk writes in one go.
const BLOCK: usize = 1024 * 1024;

fn drain(
    kept: Kept,
    algorithm: Algorithm,
    mut receiver: mpsc::Receiver<Message>,
    stop: &Stop,
) -> io::Result<Digest> {
    let Kept {
        mut file,
        bytes,
        // Until nothing is written any more.
        hold: _hold,
    } = kept;
    let mut hasher = Hasher::new(algorithm);
    hash_kept(&mut file, bytes, &mut hasher, stop)?;
    let mut writer = Blocks::begin(&file, bytes)?;
    let mut taken = Ok(());
    while let Some(message) = receiver.blocking_recv() {
        taken = match message {
            Message::Write(batch) => batch.iter().try_for_each(|bytes| {
                hasher.update(bytes);
                writer.write(bytes)
            }),
            Message::Restart => {
                hasher = Hasher::new(algorithm);
                writer.restart(&file)
            }
        };
        if taken.is_err() {
            break;
        }
    }
    // The thread that writes knows best why it ended.
    writer.finish()?;
    taken?;
    file.sync_all()?;
    Ok(hasher.finalize())
}

/// Collects blocks and has them written by a thread of its own, while the next are hashed.
struct Blocks {
    block: Block,
    /// Where the block begins in the file.
    offset: u64,
    to_write: std_mpsc::SyncSender<(Block, u64)>,
    spares: std_mpsc::Receiver<Block>,
    thread: std::thread::JoinHandle<io::Result<()>>,
    /// Blocks with the thread.
    away: usize,
}

/// Blocks of one file in memory: one is filled, one is written, one waits.
const BLOCKS: usize = 3;

impl Blocks {
    /// Goes on behind the first `kept` bytes of the file.
    fn begin(file: &File, kept: u64) -> io::Result<Blocks> {
        let mut disk = Disk::of(file)?;
        // A block that was begun is written once more, with what follows.
        let begun = (kept % ALIGNMENT as u64) as usize;
        let offset = kept - begun as u64;
        let mut beginning = vec![0; begun];
        file.read_exact_at(&mut beginning, offset)?;
        let mut block = Block::new(BLOCK);
        block.push(&beginning);
        let (to_write, due) = std_mpsc::sync_channel::<(Block, u64)>(BLOCKS);
        let (give_back, spares) = std_mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("file-writer".to_owned())
            .spawn(move || {
                while let Ok((mut block, offset)) = due.recv() {
                    disk.write(&block, offset)?;
                    block.clear();
                    let _ = give_back.send(block);
                }
                Ok(())
            })?;
        Ok(Blocks {
            block,
            offset,
            to_write,
            spares,
            thread,
            away: 0,
        })
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        loop {
            bytes = &bytes[self.block.push(bytes)..];
            if !self.block.is_full() {
                return Ok(());
            }
            let next = match self.away + 1 < BLOCKS {
                true => self
                    .spares
                    .try_recv()
                    .inspect(|_| self.away -= 1)
                    .unwrap_or_else(|_| Block::new(BLOCK)),
                false => self.wait()?,
            };
            let block = std::mem::replace(&mut self.block, next);
            let length = block.len() as u64;
            self.to_write
                .send((block, self.offset))
                .map_err(|_| ended())?;
            self.away += 1;
            self.offset += length;
        }
    }

    /// A block that was written.
    fn wait(&mut self) -> io::Result<Block> {
        let block = self.spares.recv().map_err(|_| ended())?;
        self.away -= 1;
        Ok(block)
    }

    /// Waits until nothing is being written.
    fn settle(&mut self) -> io::Result<()> {
        while self.away > 0 {
            self.wait()?;
        }
        Ok(())
    }

    fn restart(&mut self, file: &File) -> io::Result<()> {
        self.settle()?;
        file.set_len(0)?;
        self.block.clear();
        self.offset = 0;
        Ok(())
    }

    /// Writes what is left.
    fn finish(self) -> io::Result<()> {
        if !self.block.is_empty() {
            let _ = self.to_write.send((self.block, self.offset));
        }
        drop(self.to_write);
        match self.thread.join() {
            Ok(written) => written,
            Err(_) => Err(io::Error::other("the thread that writes has panicked")),
        }
    }
}

fn ended() -> io::Error {
    io::Error::other("the thread that writes has ended")
}

/// Hashes the first `kept` bytes, which an earlier process wrote, and stands behind them.
fn hash_kept(file: &mut File, kept: u64, hasher: &mut Hasher, stop: &Stop) -> io::Result<()> {
    file.rewind()?;
    let mut buffer = vec![0; if kept == 0 { 0 } else { BATCH }];
    let mut left = kept;
    while left > 0 {
        stop.check()?;
        let take = left.min(BATCH as u64) as usize;
        file.read_exact(&mut buffer[..take])?;
        hasher.update(&buffer[..take]);
        left -= take as u64;
    }
    stop.check()?;
    file.set_len(kept)
}

/// Bytes after which the disk is set to work: a sync of everything at the end would wait for the
/// disk after the network, instead of beside it.
const SYNC_EVERY: usize = 64 * 1024 * 1024;

/// A thread that syncs a file while it is being written. It only begins early: the sync that counts
/// is the last one, by whoever writes.
#[derive(Debug)]
pub(crate) struct EarlySync {
    signal: Option<std_mpsc::SyncSender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    file: File,
    unsynced: usize,
}

impl EarlySync {
    pub(crate) fn begin(file: &File) -> io::Result<EarlySync> {
        Ok(EarlySync {
            signal: None,
            thread: None,
            file: file.try_clone()?,
            unsynced: 0,
        })
    }

    /// Counts bytes that were written.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.unsynced += bytes;
        if self.unsynced < SYNC_EVERY {
            return;
        }
        self.unsynced = 0;
        if self.signal.is_none() {
            self.start();
        }
        if let Some(signal) = &self.signal {
            // Full means that a sync is due already.
            let _ = signal.try_send(());
        }
    }

    fn start(&mut self) {
        let Ok(file) = self.file.try_clone() else {
            return;
        };
        let (signal, due) = std_mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("early-sync".to_owned())
            .spawn(move || {
                while due.recv().is_ok() {
                    // A disk that fails will fail again when the writer syncs, and be reported there.
                    let _ = file.sync_data();
                }
            });
        if let Ok(thread) = thread {
            (self.signal, self.thread) = (Some(signal), Some(thread));
        }
    }
}

impl Drop for EarlySync {
    fn drop(&mut self) {
        self.signal = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::staging::Staging;
    use super::*;
    use std::sync::Arc;

    fn kept(file: File, bytes: u64) -> Kept {
        Kept {
            file,
            bytes,
            hold: None,
        }
    }

    #[tokio::test]
    async fn a_directory_is_taken_over_only_when_no_thread_writes_there_any_more() {
        let root = tempfile::tempdir().unwrap();
        let (destination, bundle) = (root.path().join("model"), Digest::sha256(b"bundle"));
        let begin = || Staging::begin(&destination, false, &bundle, &[]).unwrap();
        let first = Arc::new(begin());
        let directory = first.directory().to_owned();
        let kept = Kept {
            file: create_new(&first.incoming(0)).unwrap(),
            bytes: 0,
            hold: Some(first),
        };
        let mut sink = Sink::begin(kept, Algorithm::Sha256);
        sink.write(Bytes::from_static(b"hello")).await.unwrap();
        // Whoever pulled has gone, and the thread has not ended.
        let second = begin();
        assert_ne!(second.directory(), directory);
        drop(second);
        sink.finish().await.unwrap().unwrap();
        assert_eq!(begin().directory(), directory);
    }

    #[test]
    fn what_was_kept_is_not_cut_for_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, b"helXXXX").unwrap();
        let mut file = File::options().read(true).write(true).open(&path).unwrap();
        let stop = Stop::default();
        drop(stop.on_drop());
        let mut hasher = Hasher::new(Algorithm::Sha256);
        assert!(hash_kept(&mut file, 3, &mut hasher, &stop).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"helXXXX");
    }

    #[tokio::test]
    async fn what_is_written_after_a_restart_is_all_that_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let mut sink = Sink::begin(kept(create_new(&path).unwrap(), 0), Algorithm::Sha256);
        sink.write(Bytes::from(vec![7; BATCH * 2])).await.unwrap();
        sink.restart().await.unwrap();
        sink.write(Bytes::from_static(b"hel")).await.unwrap();
        sink.write(Bytes::from_static(b"lo")).await.unwrap();
        let digest = sink.finish().await.unwrap().unwrap();
        assert_eq!(digest, Digest::sha256(b"hello"));
        assert_eq!(std::fs::read(&path).unwrap(), b"hello");
    }

    #[tokio::test]
    async fn what_was_kept_is_hashed_first_and_what_lies_behind_it_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, b"helXXXX").unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let mut sink = Sink::begin(kept(file, 3), Algorithm::Sha256);
        sink.write(Bytes::from_static(b"lo")).await.unwrap();
        let digest = sink.finish().await.unwrap().unwrap();
        assert_eq!(digest, Digest::sha256(b"hello"));
        assert_eq!(std::fs::read(&path).unwrap(), b"hello");
    }

    #[test]
    fn a_file_that_exists_is_never_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::os::unix::fs::symlink(directory.path().join("elsewhere"), &path).unwrap();
        assert!(create_new(&path).is_err());
    }
}
