//! The part file of an upload: received bytes on the disk.
//!
//! Full batches are written past the page cache where the file system can do that. A copy into the cache costs more
//! than half of what hashing costs, and several times as much when memory has to be found for it; and a registry that
//! takes in a model would drop from memory the ones that are being read. What is left, the unaligned ends, goes
//! through the cache and is begun to be written to the disk at once.
//!
//! Everything here blocks. Invariants: the file is never longer than what was written to it in one piece from its start;
//! when nobody writes to it any more, no disk space is reserved behind its last byte.

use super::batch::Batch;
use super::sys;
use crate::process;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes in one write through the page cache. Larger ones make the kernel build large folios, which costs more than
/// the calls: system time fell by a third on ext4 when writes of 512 KiB became writes of 128 KiB.
const WRITE_BYTES: usize = 128 * 1024;

/// A file that grows by batches.
#[derive(Debug)]
pub(super) struct PartFile {
    file: File,
    /// The same file for writes past the page cache.
    direct: Option<File>,
    refused: AtomicBool,
    /// Up to where space is reserved.
    reserved: AtomicU64,
}

impl PartFile {
    /// Opens a file, or makes it. `direct` asks for writes past the page cache; without, or where the file system
    /// has no such writes, all go through it.
    pub(super) fn open(path: &Path, direct: bool) -> io::Result<PartFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = process::with_spare(options.open(path)?)?;
        let direct = match direct {
            true => open_direct(path).and_then(process::with_spare).ok(),
            false => None,
        };
        Ok(PartFile {
            file,
            direct,
            refused: AtomicBool::new(false),
            reserved: AtomicU64::new(0),
        })
    }

    /// The file, for everything but batches.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Reserves space for `len` bytes from `offset` on.
    pub(super) fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        // Noted first: on a full disk a part of it may be taken all the same.
        self.reserved.store(offset + len, Ordering::Relaxed);
        sys::reserve(&self.file, offset, len)
    }

    /// Up to where space is reserved.
    pub(super) fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    /// Gives back what is reserved behind the last byte. No batch may be on its way.
    pub(super) fn give_back(&self) -> io::Result<()> {
        let reserved = self.reserved.swap(0, Ordering::Relaxed);
        if reserved == 0 || reserved <= self.file.metadata()?.len() {
            return Ok(());
        }
        cut_at_end(&self.file)
    }

    /// Writes a batch where it belongs. On failure nothing of it stays: bytes behind the last batch would be taken
    /// for received ones after a restart.
    pub(super) fn write(&self, batch: &Batch) -> io::Result<()> {
        let written = self.write_all(batch);
        if written.is_err() {
            let _ = self.file.set_len(batch.offset());
        }
        written
    }

    fn write_all(&self, batch: &Batch) -> io::Result<()> {
        let (bytes, offset) = (batch.bytes(), batch.offset());
        let (before, within) = batch.blocks();
        let direct = self.direct.as_ref();
        let direct = direct.filter(|_| batch.is_full() && !self.refused.load(Ordering::Relaxed));
        let Some(direct) = direct else {
            return self.write_cached(bytes, offset);
        };
        self.write_cached(&bytes[..before], offset)?;
        let (blocks, place) = (&bytes[before..before + within], offset + before as u64);
        if direct.write_all_at(blocks, place).is_err() {
            // Larger blocks than ours are wanted, or the flag was accepted and means nothing here. If the disk is
            // full or broken, the other way says so too.
            self.refused.store(true, Ordering::Relaxed);
            self.write_cached(blocks, place)?;
        }
        self.write_cached(&bytes[before + within..], place + within as u64)
    }

    fn write_cached(&self, bytes: &[u8], mut offset: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let start = offset;
        for piece in bytes.chunks(WRITE_BYTES) {
            self.file.write_all_at(piece, offset)?;
            offset += piece.len() as u64;
        }
        sys::start_writeback(&self.file, start, bytes.len() as u64);
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        // Where a request failed nobody else does it; if this fails too, the next start tries again.
        let _ = self.give_back();
    }
}

/// Takes the blocks from a file that lie behind its last byte. To cut it at its own size does that on ext4, XFS and
/// tmpfs (tried on ext4 and tmpfs, Linux 6.18); to punch a hole there does nothing on ext4.
pub(super) fn cut_at_end(file: &File) -> io::Result<()> {
    file.set_len(file.metadata()?.len())
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_path: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::batch::{self, BATCH_BYTES};
    use super::*;
    use bytes::Bytes;

    #[test]
    fn batches_end_to_end_are_the_file_with_and_without_the_cache() {
        let directory = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..3 * BATCH_BYTES + 5000)
            .map(|i| (i * 31 + i / 255) as u8)
            .collect();
        for (number, direct) in [true, false].into_iter().enumerate() {
            // Requests that end anywhere, so that the next batch begins anywhere.
            for first in [0, 1, 4096, 5000, BATCH_BYTES] {
                let path = directory.path().join(format!("{number}-{first}"));
                let pool = batch::pool();
                let mut offset = 0;
                for request in [&content[..first], &content[first..]] {
                    let part = PartFile::open(&path, direct).unwrap();
                    let mut rest = Bytes::copy_from_slice(request);
                    while !rest.is_empty() {
                        let mut batch = Batch::at(&pool, offset);
                        batch.fill(&mut rest);
                        part.write(&batch).unwrap();
                        offset = batch.next_offset();
                    }
                }
                assert!(std::fs::read(&path).unwrap() == content, "{direct} {first}");
            }
        }
    }

    #[test]
    fn where_direct_writes_fail_the_others_are_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("part");
        let pool = batch::pool();
        let mut part = PartFile::open(&path, false).unwrap();
        // Not open for writing.
        part.direct = Some(File::open(&path).unwrap());
        let content: Vec<u8> = (0..BATCH_BYTES).map(|byte| byte as u8).collect();
        let mut batch = Batch::at(&pool, 0);
        batch.fill(&mut Bytes::copy_from_slice(&content));
        part.write(&batch).unwrap();
        assert!(part.refused.load(Ordering::Relaxed));
        assert!(std::fs::read(&path).unwrap() == content);
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let full = || File::options().write(true).open("/dev/full").unwrap();
        let part = PartFile {
            file: full(),
            direct: Some(full()),
            refused: AtomicBool::new(false),
            reserved: AtomicU64::new(0),
        };
        let mut batch = Batch::at(&batch::pool(), 0);
        batch.fill(&mut Bytes::from(vec![1; BATCH_BYTES]));
        let error = part.write(&batch).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    }
}
