//! What the C library is asked for the whole process, but for the allocator: settings that are made first thing in `main`,
//! and what the process may do.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Most descriptors that are kept back for the metadata store: as many files of its tables as it has open, at most.
const MOST_KEPT_BACK: u64 = 256;

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

/// Lets the process open as many files as the system allows it. The lower number that it begins with is for programs
/// that cannot do with larger descriptors. Where that is refused, it stays.
pub fn raise_open_files() {
    let Some(mut limit) = limit_of_files() else {
        return;
    };
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is a whole structure that outlives the call.
        unsafe {
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// How many files the process may have open at once, sockets with them; `None` if the system does not say.
pub fn open_files() -> Option<u64> {
    limit_of_files().map(|limit| limit.rlim_cur)
}

fn limit_of_files() -> Option<libc::rlimit> {
    let mut found = std::mem::MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: `found` is writable and outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, found.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call succeeded, so it has filled the structure.
    Some(unsafe { found.assume_init() })
}

/// Whether there are descriptors left for the metadata store after this one was taken. It needs some at any time, to go on
/// with another file, and takes no write any more when it gets none; whoever else opens something asks this, and does
/// without.
pub fn leaves_spare(opened: &impl AsRawFd) -> bool {
    open_files().is_none_or(|limit| is_spared(opened.as_raw_fd(), limit))
}

/// The system gives the lowest descriptor that is free, so a high one says that those below are taken.
fn is_spared(descriptor: RawFd, limit: u64) -> bool {
    let kept_back = (limit / 4).min(MOST_KEPT_BACK);
    u64::try_from(descriptor).is_ok_and(|number| number < limit - kept_back)
}

/// A file that was just opened, if that leaves what the metadata store needs.
///
/// # Errors
/// `EMFILE`, as if there were no descriptor at all.
pub fn with_spare(file: File) -> io::Result<File> {
    match leaves_spare(&file) {
        true => Ok(file),
        false => Err(io::Error::from_raw_os_error(libc::EMFILE)),
    }
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
    fn as_many_files_can_be_open_as_the_system_allows() {
        raise_open_files();
        let limit = limit_of_files().unwrap();
        assert_eq!(limit.rlim_cur, limit.rlim_max);
        assert_eq!(open_files(), Some(limit.rlim_max));
    }

    #[test]
    fn a_quarter_of_the_descriptors_or_256_are_kept_back() {
        for (limit, first_spare) in [
            (80, 60),
            (1024, 768),
            (4096, 3840),
            (u64::MAX, u64::MAX - 256),
        ] {
            for (number, spared) in [
                (0, true),
                (first_spare - 1, true),
                (first_spare, false),
                (limit - 1, false),
            ] {
                // Descriptors are no larger than this.
                if let Ok(descriptor) = RawFd::try_from(number) {
                    assert_eq!(is_spared(descriptor, limit), spared, "{number} of {limit}");
                }
            }
        }
        let file = File::open("/dev/null").unwrap();
        assert!(leaves_spare(&file));
        with_spare(file).unwrap();
    }

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
