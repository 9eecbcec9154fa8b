//! Reusable buffers. A fresh allocation of this size costs as much in page faults as the read or write that it is for.

use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError};

/// Size of a buffer for reading, in bytes: two groups, read and checked in one go.
pub(super) const BUFFER_BYTES: usize = 2 * sealstone_spec::tree::GROUP_BYTES;
/// Where buffers begin: at a multiple of this, so that the kernel can write them to a disk as they lie.
pub(super) const ALIGNMENT: usize = 4096;

/// A pool of aligned buffers of one size.
#[derive(Clone, Debug)]
pub(super) struct BufferPool {
    free: Arc<Mutex<Vec<Box<[u8]>>>>,
    /// Size of a buffer.
    size: usize,
    /// Buffers kept for reuse.
    kept: usize,
}

/// A buffer that returns to its pool when the last `Bytes` made of it is dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Option<Box<[u8]>>,
    /// Where its aligned part begins.
    start: usize,
    len: usize,
    pool: BufferPool,
}

impl BufferPool {
    pub(super) fn new(size: usize, kept: usize) -> BufferPool {
        BufferPool {
            free: Arc::default(),
            size,
            kept,
        }
    }

    /// A buffer of `len` bytes, at most the pool's size, with whatever content.
    pub(super) fn take(&self, len: usize) -> Buffer {
        assert!(len <= self.size, "buffers have a fixed size");
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = free
            .pop()
            .unwrap_or_else(|| vec![0; self.size + ALIGNMENT].into_boxed_slice());
        Buffer {
            start: memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT),
            memory: Some(memory),
            len,
            pool: self.clone(),
        }
    }
}

impl Buffer {
    pub(super) fn as_mut(&mut self) -> &mut [u8] {
        let range = self.start..self.start + self.len;
        &mut self.memory.as_mut().expect("present until dropped")[range]
    }

    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        let range = self.start..self.start + self.len;
        &self.memory.as_ref().expect("present until dropped")[range]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self
            .pool
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.pool.kept {
            free.extend(self.memory.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_used_again() {
        let pool = BufferPool::new(10_000, 1);
        let (mut one, two) = (pool.take(10_000), pool.take(1));
        for buffer in [&one, &two] {
            assert_eq!(buffer.as_ref().as_ptr().align_offset(ALIGNMENT), 0);
        }
        one.as_mut().fill(7);
        let place = one.as_ref().as_ptr();
        drop(one.into_bytes());
        drop(two);
        let again = pool.take(3);
        assert_eq!(
            (again.as_ref().as_ptr(), again.as_ref()),
            (place, &[7; 3][..])
        );
        assert_ne!(pool.take(3).as_ref().as_ptr(), place);
    }
}
