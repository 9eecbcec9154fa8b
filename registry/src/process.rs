//! What the C library is asked for the whole process, but for the allocator: a setting that is made first thing in `main`.
#![allow(unsafe_code)]

/// Keeps what is made from now on, files and folders, from everybody but the server's user. Under the umask that most
/// systems have, any account of the machine could read the metadata, and in them the key that signs sessions.
pub fn keep_files_private() {
    // SAFETY: umask only sets a number of this process, and cannot fail.
    unsafe {
        libc::umask(0o077);
    }
}
