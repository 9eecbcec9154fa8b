//! The terminal, lent to a program that may ask its user something: calls of the operating system that the standard
//! library lacks.
//!
//! A program in a group of its own is in the background, and the system stops it when it reads from the terminal: whoever
//! signs with a token could not type its PIN.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::process::Child;

/// A terminal whose foreground is a child's group. Dropped, its foreground is this process's group again.
pub(super) struct Lent {
    terminal: File,
    own: libc::pid_t,
}

impl Lent {
    /// Lends the terminal to the group that `child` leads; `child` must not have been waited for yet. `None` where there
    /// is no terminal, or it is somebody else's now: then nobody could type an answer anyway.
    pub(super) fn to(child: &Child) -> Option<Lent> {
        let group = libc::pid_t::try_from(child.id()).ok()?;
        let terminal = File::options()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .ok()?;
        // SAFETY: both take and return numbers and touch no memory of this process.
        #[allow(unsafe_code)]
        let (own, front) = unsafe { (libc::getpgrp(), libc::tcgetpgrp(terminal.as_raw_fd())) };
        if own != front || !bring_to_front(&terminal, group) {
            return None;
        }
        // It may have been stopped already, when it asked before this.
        // SAFETY: kill takes two numbers. As long as `child` has not been waited for, its group's is nobody else's.
        #[allow(unsafe_code)]
        unsafe {
            libc::kill(-group, libc::SIGCONT);
        }
        Some(Lent { terminal, own })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        bring_to_front(&self.terminal, self.own);
    }
}

/// Makes a group the terminal's foreground. From the background that is answered with SIGTTOU, which would stop this
/// process; so this thread does not take that signal meanwhile.
#[allow(unsafe_code)]
fn bring_to_front(terminal: &File, group: libc::pid_t) -> bool {
    // SAFETY: a set of signals is plain memory that sigemptyset fills; both sets live until the last call returns, and
    // the descriptor is open. What this thread blocked before is what it blocks afterwards.
    unsafe {
        let mut blocked: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut blocked);
        libc::sigaddset(&mut blocked, libc::SIGTTOU);
        if libc::pthread_sigmask(libc::SIG_BLOCK, &blocked, &mut before) != 0 {
            return false;
        }
        let status = libc::tcsetpgrp(terminal.as_raw_fd(), group);
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        status == 0
    }
}
