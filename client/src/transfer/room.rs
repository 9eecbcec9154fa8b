//! How much room a file system has: a call of the operating system that the standard library lacks.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The bytes that this user may still write below `directory`, as far as its file system says: one on another machine
/// says nothing of a quota there.
pub(super) fn free_bytes(directory: &Path) -> io::Result<u64> {
    let path = CString::new(directory.as_os_str().as_bytes())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let mut found = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: statvfs reads a text that ends with a zero, and writes one structure of this type, which lives until it
    // returns. It is of numbers alone, for which all zeros are a value.
    #[allow(unsafe_code)]
    let (status, found) = unsafe {
        let status = libc::statvfs(path.as_ptr(), found.as_mut_ptr());
        (status, found.assume_init())
    };
    match status {
        0 => Ok(found.f_bavail.saturating_mul(found.f_frsize)),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_is_told_for_a_directory_that_is_there() {
        let place = tempfile::tempdir().unwrap();
        assert!(free_bytes(place.path()).unwrap() > 0);
        assert!(free_bytes(&place.path().join("none")).is_err());
    }
}
