//! Two names that change places at once: the one call of the operating system that the standard library lacks.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Makes each path name what the other one named, with no moment in between. Not every file system can.
pub(super) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let text = |path: &Path| {
        CString::new(path.as_os_str().as_bytes())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    };
    let (one, other) = (text(one)?, text(other)?);
    // SAFETY: renameat2 reads two texts that end with a zero and live until it returns, and writes no memory of this
    // process. By its number, because not every C library has a name for it.
    #[allow(unsafe_code)]
    let status = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            one.as_ptr(),
            libc::AT_FDCWD,
            other.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn both_change_places_or_neither_does() {
        let root = tempfile::tempdir().unwrap();
        let (one, other) = (root.path().join("one"), root.path().join("other"));
        for (directory, name) in [(&one, "a"), (&other, "b")] {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join(name), name).unwrap();
        }
        match exchange(&one, &other) {
            Ok(()) => assert!(one.join("b").exists() && other.join("a").exists()),
            // For example on a network file system.
            Err(_) => assert!(one.join("a").exists() && other.join("b").exists()),
        }
        assert!(exchange(&one, &root.path().join("none")).is_err());
        assert!(one.exists());
    }
}
