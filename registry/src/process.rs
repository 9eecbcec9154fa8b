//! What the C library is asked for the whole process, but for the allocator: a setting that is made first thing in `main`,
//! and what the process may do.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Keeps what is made from now on, files and folders, from everybody but the server's user. Under the umask that most
/// systems have, any account of the machine could read the metadata, and in them the key that signs sessions.
pub fn keep_files_private() {
    // SAFETY: umask only sets a number of this process, and cannot fail.
    unsafe {
        libc::umask(0o077);
    }
}

/// The user as whom this process makes files.
pub fn user() -> u32 {
    // SAFETY: geteuid only reads a number of this process, and cannot fail.
    unsafe { libc::geteuid() }
}

/// Whether this process may make files in a folder. Makes none.
///
/// # Errors
/// Why it may not, such as `EROFS` where a service's sandbox keeps the folder from it.
pub fn may_write(folder: &Path) -> io::Result<()> {
    if !std::fs::metadata(folder)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let path = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: `path` ends in a zero byte and outlives the call.
    if unsafe { libc::access(path.as_ptr(), libc::W_OK | libc::X_OK) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_can_be_written_and_a_file_or_nothing_cannot() {
        let directory = tempfile::tempdir().unwrap();
        may_write(directory.path()).unwrap();
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
        let file = directory.path().join("file");
        assert!(may_write(&file).is_err());
        std::fs::write(&file, "").unwrap();
        assert!(may_write(&file).is_err());
    }
}
