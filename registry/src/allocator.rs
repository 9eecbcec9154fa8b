//! Settings of the C library's allocator that keep memory flat. Called once, first thing in `main`.
#![allow(unsafe_code)]

/// Keeps freed memory from piling up: without this, glibc gives every thread an arena of its own, and
/// after the first large block is freed (a password hash needs 12 MiB) keeps blocks of that size for good.
pub fn keep_memory_flat() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets numbers inside the allocator, and no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 20);
    }
}
