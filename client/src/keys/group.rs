//! Killing a process group: the one call of the operating system that the standard library lacks.

use std::process::Child;

/// Sends SIGKILL to the group that `child` leads; `child` must not have been waited for yet. Groups
/// that are gone already are no error.
pub(super) fn kill(child: &Child) {
    let Ok(leader) = i32::try_from(child.id()) else {
        return;
    };
    // SAFETY: kill takes two numbers and touches no memory of this process. As long as `child` has not
    // been waited for, the system gives its number, which is its group's, to nobody else.
    #[allow(unsafe_code)]
    unsafe {
        libc::kill(-leader, libc::SIGKILL);
    }
}
