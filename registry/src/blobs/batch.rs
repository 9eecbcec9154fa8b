//! Received bytes, collected until hashing and writing them is worth a hop to another thread.
//!
//! Owns where they lie: at the same distance from a block's border in memory as in the file, so that whole
//! blocks go to the disk as they are. Does not hash or write.
//! Invariant: a batch's bytes follow each other in the upload, from [`Batch::offset`] on.

use super::buffers::{ALIGNMENT, Buffer, BufferPool};
use bytes::{Buf as _, Bytes};

/// Bytes in a full batch: 1 MiB, which a disk writes in one go and a core's cache still holds while it is hashed.
pub(super) const BATCH_BYTES: usize = 1 << 20;
/// Batches kept for reuse.
const KEPT: usize = 8;

pub(super) fn pool() -> BufferPool {
    BufferPool::new(BATCH_BYTES, KEPT)
}

/// Bytes of an upload from one offset on.
#[derive(Debug)]
pub struct Batch {
    buffer: Buffer,
    offset: u64,
    start: usize,
    end: usize,
}

impl Batch {
    /// An empty batch that begins at `offset` of the upload.
    pub(super) fn at(pool: &BufferPool, offset: u64) -> Batch {
        let start = (offset % ALIGNMENT as u64) as usize;
        Batch {
            buffer: pool.take(BATCH_BYTES),
            offset,
            start,
            end: start,
        }
    }

    /// Moves bytes from the front of `piece` into the batch, as many as fit.
    pub fn fill(&mut self, piece: &mut Bytes) {
        let count = piece.len().min(BATCH_BYTES - self.end);
        self.buffer.as_mut()[self.end..self.end + count].copy_from_slice(&piece[..count]);
        piece.advance(count);
        self.end += count;
    }

    /// Whether nothing more fits.
    pub fn is_full(&self) -> bool {
        self.end == BATCH_BYTES
    }

    /// How many bytes it holds.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.end == self.start
    }

    /// Where it begins in the upload.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the next batch begins.
    pub fn next_offset(&self) -> u64 {
        self.offset + self.len() as u64
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer.as_ref()[self.start..self.end]
    }

    /// How many of its bytes lie before the first block that is whole, and how many in whole blocks.
    pub(super) fn blocks(&self) -> (usize, usize) {
        let first = self.start.next_multiple_of(ALIGNMENT).min(self.end);
        let last = (self.end / ALIGNMENT * ALIGNMENT).max(first);
        (first - self.start, last - first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_blocks_are_aligned_in_memory_as_in_the_file() {
        let pool = pool();
        for (offset, len, before, within) in [
            (0, 0, 0, 0),
            (0, 4095, 0, 0),
            (0, 5000, 0, 4096),
            (1, 4095, 4095, 0),
            (1, 4094, 4094, 0),
            (8191, 1, 1, 0),
            (8191, 4097, 1, 4096),
            (4096 * 1000 + 7, 20_000, 4089, 12_288),
        ] {
            let mut batch = Batch::at(&pool, offset);
            let content: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
            let mut piece = Bytes::from(content.clone());
            batch.fill(&mut piece);
            assert!(piece.is_empty() && !batch.is_full());
            assert_eq!((batch.bytes(), batch.len()), (&content[..], len));
            assert_eq!(batch.is_empty(), len == 0);
            assert_eq!(batch.next_offset(), offset + len as u64);
            assert_eq!(batch.blocks(), (before, within), "{offset} {len}");
            if within > 0 {
                let block = &batch.bytes()[before..];
                assert_eq!(block.as_ptr().align_offset(ALIGNMENT), 0);
                assert_eq!((offset + before as u64) % ALIGNMENT as u64, 0);
            }
        }
    }

    #[test]
    fn a_batch_takes_what_fits() {
        let pool = pool();
        let mut piece = Bytes::from(vec![1; BATCH_BYTES]);
        let mut batch = Batch::at(&pool, 4097);
        batch.fill(&mut piece);
        assert!(batch.is_full());
        assert_eq!((batch.len(), piece.len()), (BATCH_BYTES - 1, 1));
        // The next one is aligned.
        assert_eq!(batch.next_offset() % ALIGNMENT as u64, 0);
        assert_eq!(batch.blocks(), (4095, BATCH_BYTES - 4096));
    }
}
