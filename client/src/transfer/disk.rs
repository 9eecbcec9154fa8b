//! Received bytes on their way to the disk, past the page cache where the file system can do that.
//!
//! A copy into the cache costs about as much as half of the hash, several times as much when memory has to be found
//! for it, and what comes is often larger than memory. Owns blocks of memory that can be written so, and the choice of
//! the way. Does not sync at the end: whoever writes does.
//! Invariant: whichever way is taken, the file has the bytes.

use super::sink::{EarlySync, WRITE_BYTES};
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::FileExt as _;

/// What places in memory and in the file, and lengths, are multiples of in writes past the cache.
pub(super) const ALIGNMENT: usize = 4096;

/// Bytes that are written together, at a place in memory that suits the disk.
#[derive(Debug)]
pub(super) struct Block {
    memory: Box<[u8]>,
    start: usize,
    len: usize,
    capacity: usize,
}

impl Block {
    pub(super) fn new(capacity: usize) -> Block {
        let memory = vec![0; capacity + ALIGNMENT].into_boxed_slice();
        Block {
            start: memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT),
            memory,
            len: 0,
            capacity,
        }
    }

    /// Adds bytes at the end, as many as fit, and says how many.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.capacity - self.len);
        let end = self.start + self.len;
        self.memory[end..end + count].copy_from_slice(&bytes[..count]);
        self.len += count;
        count
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}

/// A file that is written in blocks.
#[derive(Debug)]
pub(super) struct Disk {
    file: File,
    direct: Option<File>,
    early: EarlySync,
}

impl Disk {
    pub(super) fn of(file: &File) -> io::Result<Disk> {
        Ok(Disk {
            file: file.try_clone()?,
            direct: open_direct(file).ok(),
            early: EarlySync::begin(file)?,
        })
    }

    /// Writes bytes at a place of the file.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let is_aligned =
            bytes.as_ptr().align_offset(ALIGNMENT) == 0 && offset.is_multiple_of(ALIGNMENT as u64);
        let mut written = 0;
        if let Some(direct) = &self.direct
            && is_aligned
        {
            written = bytes.len() / ALIGNMENT * ALIGNMENT;
            if direct.write_all_at(&bytes[..written], offset).is_err() {
                // It wants other blocks, or cannot. If the disk is full or broken, the other way says so too.
                (self.direct, written) = (None, 0);
            }
        }
        let rest = &bytes[written..];
        let places = (offset + written as u64..).step_by(WRITE_BYTES);
        for (part, at) in rest.chunks(WRITE_BYTES).zip(places) {
            self.file.write_all_at(part, at)?;
        }
        self.early.wrote(rest.len());
        Ok(())
    }
}

/// The same file once more, whatever its name is by now.
#[cfg(target_os = "linux")]
fn open_direct(file: &File) -> io::Result<File> {
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_file: &File) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn filled(content: &[u8]) -> Block {
        let mut block = Block::new(content.len());
        assert_eq!(block.push(content), content.len());
        assert!(block.is_full() && block.push(b"more") == 0);
        block
    }

    #[test]
    fn blocks_and_odd_ends_make_the_file_either_way() {
        let directory = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..3_000_001_u32).map(|i| (i * 31 % 251) as u8).collect();
        for (number, way) in ["direct", "refused", "cached"].into_iter().enumerate() {
            let path = directory.path().join(number.to_string());
            let file = super::super::sink::create_new(&path).unwrap();
            let mut disk = Disk::of(&file).unwrap();
            match way {
                // Not open for writing, so that every write fails.
                "refused" => disk.direct = Some(File::open(&path).unwrap()),
                "cached" => disk.direct = None,
                _ => {}
            }
            let mut at = 0;
            for size in [1 << 20, 4096, 5000, 1_000_000, 1] {
                let part = &content[at..(at + size).min(content.len())];
                disk.write(&filled(part), at as u64).unwrap();
                at += part.len();
            }
            disk.write(&filled(&content[at..]), at as u64).unwrap();
            assert!(std::fs::read(&path).unwrap() == content, "{way}");
            assert_eq!(
                disk.direct.is_some(),
                way == "direct" && disk.direct.is_some()
            );
            assert!(way == "direct" || disk.direct.is_none());
        }
    }
}
