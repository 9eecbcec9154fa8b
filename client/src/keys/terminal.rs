//! The terminal, lent to a program that may ask its user something: calls of the operating system that the standard
//! library lacks.
//!
//! A program in a group of its own is in the background, and the system stops it when it reads from the terminal: whoever
//! signs with a token could not type its PIN. What else is typed there reaches only the foreground: an interrupt and a stop
//! are handed on to this process's group, which has the shell's script in it.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// How long it may take until a signal to this process's own group has stopped it.
const MOMENT: Duration = Duration::from_millis(50);

/// The shortest stop that counts. Where the system ignores the stop, nobody was away, and a program that stops itself
/// again and again would have for ever.
const SHORTEST: Duration = Duration::from_secs(1);

/// A terminal whose foreground is a child's group. Dropped, its foreground is this process's group again.
pub(super) struct Lent {
    terminal: File,
    own: libc::pid_t,
    group: libc::pid_t,
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
        send(-group, libc::SIGCONT);
        Some(Lent {
            terminal,
            own,
            group,
        })
    }

    /// Stops this process's group as well if `child` has been stopped at the terminal, and lets it go on once that group is
    /// in the foreground again. Asked now and then: `child` must not have been waited for yet. Returns how long this process
    /// was stopped meanwhile: nobody could answer at the terminal.
    pub(super) fn follow(&self, child: &Child) -> Duration {
        let Some(signal) = stopped_by(child) else {
            return Duration::ZERO;
        };
        let front = self.front();
        // Not for what it did in the background: it may do so now.
        let was_typed = signal != libc::SIGTTIN && signal != libc::SIGTTOU;
        if front == self.group && was_typed {
            let stopped = Instant::now();
            bring_to_front(&self.terminal, self.own);
            // Where no shell could let it go on again the system ignores this, and the next call goes on.
            send(0, libc::SIGTSTP);
            // Another thread may be given the signal, and stop all of them when this one is back already.
            std::thread::sleep(MOMENT);
            let away = stopped.elapsed();
            if away >= SHORTEST {
                return away;
            }
        } else if front == self.group
            || (front == self.own && bring_to_front(&self.terminal, self.group))
        {
            send(-self.group, libc::SIGCONT);
        }
        Duration::ZERO
    }

    #[allow(unsafe_code)]
    fn front(&self) -> libc::pid_t {
        // SAFETY: it takes and returns numbers; the descriptor is open.
        unsafe { libc::tcgetpgrp(self.terminal.as_raw_fd()) }
    }

    /// Gives the terminal back. Whoever ended the program by a key there meant all that ran at it, so this process's group
    /// gets the same signal.
    pub(super) fn give_back(self, ended: Option<ExitStatus>) {
        drop(self);
        if let Some(signal @ (libc::SIGINT | libc::SIGQUIT)) =
            ended.and_then(|status| status.signal())
        {
            send(0, signal);
        }
    }
}

/// Sends a signal to a process, to a group (its number below zero), or to the own group (0). The number must be that of a
/// child that has not been waited for, or of its group: nobody else has it then.
#[allow(unsafe_code)]
fn send(to: libc::pid_t, signal: libc::c_int) {
    // SAFETY: kill takes two numbers and touches no memory of this process.
    unsafe {
        libc::kill(to, signal);
    }
}

/// The signal by which a child is stopped now, if it is. It can still be waited for afterwards.
#[allow(unsafe_code)]
fn stopped_by(child: &Child) -> Option<libc::c_int> {
    let kinds = libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: what waitid fills in is plain memory that lives until it is read, and that of a stop if its process is set.
    unsafe {
        let mut found: libc::siginfo_t = std::mem::zeroed();
        let is_answered = libc::waitid(libc::P_PID, child.id(), &mut found, kinds) == 0;
        (is_answered && found.si_pid() != 0).then(|| found.si_status())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // A shell that has put both into the background has it already.
        if self.front() == self.group {
            bring_to_front(&self.terminal, self.own);
        }
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
