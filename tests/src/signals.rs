//! Signals to processes that a test has started.
//!
//! The program `kill` comes with a package that not every machine has; shells have one of their own.
#![allow(unsafe_code)]

use std::io;
use std::process::Child;

/// Sends a signal to a child that was not waited for yet, so that its number is nobody else's.
///
/// # Errors
/// If the system refuses.
pub fn send(child: &Child, signal: i32) -> io::Result<()> {
    let process = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    // SAFETY: kill takes numbers. A child's is positive, so it is never a whole group.
    match unsafe { libc::kill(process, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
