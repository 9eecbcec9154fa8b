//! Reusable read buffers. A fresh allocation of this size costs as much in page faults as the read.

use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError};

/// Size of a buffer, in bytes: two groups, read and checked in one go.
pub(super) const BUFFER_BYTES: usize = 2 * sealstone_spec::tree::GROUP_BYTES;
/// Buffers kept for reuse.
const KEPT: usize = 16;

/// A pool of buffers of [`BUFFER_BYTES`].
#[derive(Clone, Debug, Default)]
pub(super) struct BufferPool {
    free: Arc<Mutex<Vec<Box<[u8]>>>>,
}

/// A buffer that returns to its pool when the last `Bytes` made of it is dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Option<Box<[u8]>>,
    len: usize,
    pool: BufferPool,
}

impl BufferPool {
    /// A buffer of `len` bytes, at most [`BUFFER_BYTES`], with whatever content.
    pub(super) fn take(&self, len: usize) -> Buffer {
        assert!(len <= BUFFER_BYTES, "buffers have a fixed size");
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = free
            .pop()
            .unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice());
        Buffer {
            bytes: Some(bytes),
            len,
            pool: self.clone(),
        }
    }
}

impl Buffer {
    pub(super) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes.as_mut().expect("present until dropped")[..self.len]
    }

    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes.as_ref().expect("present until dropped")[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self
            .pool
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT {
            free.extend(self.bytes.take());
        }
    }
}
