//! What the caller left open: nothing of it reaches a command.
//!
//! A directory that is open can be read from within any sandbox (`openat` asks for no name), and so can files, sockets
//! and pipes. Wrappers, make's job server and `exec 9<` of a script leave such.
//! Invariant: everything here is safe between fork and exec.

use std::io;
use std::os::fd::RawFd;

/// Has everything but the three streams end with the exec.
pub(super) fn end_with_exec() -> io::Result<()> {
    let (first, last) = (libc::STDERR_FILENO + 1, u32::MAX);
    // SAFETY: the call takes numbers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            last,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if result == 0 {
        return Ok(());
    }
    // Linux before 5.11 has not the call, or not this use of it; some containers refuse it.
    mark_one_by_one(first)
}

/// Closes everything but one.
pub(super) fn close_all_but(spared: RawFd) {
    let beyond = spared.saturating_add(1);
    // SAFETY: the calls take numbers.
    let closed = unsafe {
        (spared == 0 || libc::syscall(libc::SYS_close_range, 0, spared - 1, 0) == 0)
            && libc::syscall(libc::SYS_close_range, beyond, u32::MAX, 0) == 0
    };
    if !closed {
        close_one_by_one(spared);
    }
}

fn mark_one_by_one(first: RawFd) -> io::Result<()> {
    one_by_one(|number| {
        if number < first {
            return Ok(());
        }
        // SAFETY: the call takes numbers.
        super::check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } != 0)
    })
}

/// As much of it as there is `/proc` to tell of: where that is missing, no command comes as far as its exec.
fn close_one_by_one(spared: RawFd) {
    let _ = one_by_one(|number| {
        if number != spared {
            // SAFETY: the call takes a number, of what nothing in this process uses any more.
            unsafe { libc::close(number) };
        }
        Ok(())
    });
}

/// Does it to each that stands in `/proc`; a failure where that is not there.
fn one_by_one(mut what: impl FnMut(RawFd) -> io::Result<()>) -> io::Result<()> {
    /// Where a `linux_dirent64` has its length, and its name.
    const LENGTH: usize = 16;
    const NAME: usize = 19;
    let mut entries = [0u8; 4096];
    // SAFETY: plain system calls; the buffer is as long as the call is told, and the path ends in a zero byte.
    unsafe {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let directory = libc::open(c"/proc/self/fd".as_ptr(), flags);
        super::check(directory < 0)?;
        loop {
            let (room, length) = (entries.as_mut_ptr(), entries.len());
            let read = libc::syscall(libc::SYS_getdents64, directory, room, length);
            super::check(read < 0)?;
            let mut rest = &entries[..usize::try_from(read).unwrap_or(0)];
            if rest.is_empty() {
                break;
            }
            while let [low, high] = rest.get(LENGTH..LENGTH + 2).unwrap_or_default() {
                let length = usize::from(u16::from_ne_bytes([*low, *high]));
                let name = rest.get(NAME..length).unwrap_or_default();
                // What is being read ends with the exec anyway, and is closed below.
                if let Some(number) = number(name).filter(|number| *number != directory) {
                    what(number)?;
                }
                rest = rest.get(length.max(1)..).unwrap_or_default();
            }
        }
        libc::close(directory);
    }
    Ok(())
}

/// A descriptor's number from a name that ends in a zero byte; `None` for `.` and `..`.
fn number(name: &[u8]) -> Option<RawFd> {
    let mut number: RawFd = 0;
    for byte in name {
        match byte {
            0 => return Some(number),
            b'0'..=b'9' => {
                number = number
                    .wrapping_mul(10)
                    .wrapping_add(RawFd::from(byte - b'0'));
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs::File;
    use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    /// As a caller's caller leaves it: not closed by an exec.
    fn left_open(path: &str) -> OwnedFd {
        let file = File::open(path).unwrap();
        // SAFETY: the number is open; the new one is nobody else's.
        unsafe { OwnedFd::from_raw_fd(libc::dup(file.as_raw_fd())) }
    }

    /// Whether `/bin/sh` still has the descriptor, after `before` in its process.
    fn is_there(
        descriptor: &OwnedFd,
        before: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> bool {
        let mut command = Command::new("/bin/sh");
        let script = format!("test -e /proc/$$/fd/{}", descriptor.as_raw_fd());
        command.args(["-c", &script]);
        // SAFETY: what is called is safe between fork and exec.
        let status = unsafe { command.pre_exec(before) }.status();
        status.unwrap().success()
    }

    #[test]
    fn nothing_that_was_left_open_is_there_after_the_exec() {
        let directory = left_open("/");
        assert!(is_there(&directory, || Ok(())));
        assert!(!is_there(&directory, end_with_exec));
        // Where the kernel cannot do it at once.
        assert!(!is_there(&directory, || mark_one_by_one(3)));
    }

    /// As a keeper does. What it kept open beside would have its caller wait for the end of the command.
    #[test]
    fn all_but_one_are_closed() {
        let (spared, other) = (left_open("/"), left_open("/"));
        let number = spared.as_raw_fd();
        for close in [close_all_but, close_one_by_one] {
            let close = move || {
                close(number);
                Ok(())
            };
            assert!(is_there(&spared, close));
            assert!(!is_there(&other, close));
        }
    }

    #[test]
    fn names_of_descriptors_are_read() {
        assert_eq!(number(b"0\0\0\0"), Some(0));
        assert_eq!(number(b"251\0"), Some(251));
        for other in [&b".\0"[..], b"..\0", b"12", b""] {
            assert_eq!(number(other), None);
        }
    }
}
