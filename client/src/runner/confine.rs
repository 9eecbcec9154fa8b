//! Landlock and seccomp: what a process may open, and that it may not have sockets.
//!
//! Owns the ruleset and the filters. Neither needs a privilege. Does not apply them: `child` does, after
//! the fork, and tries each time whether they hold.
//! Known gap: before version 9 of Landlock, a socket file of another program can be connected to if its
//! mode permits.

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, Scope, path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What may be opened.
#[derive(Debug, Default)]
pub(super) struct Visible {
    /// Files and directories to read and execute.
    pub(super) read: Vec<PathBuf>,
    /// Directories to do anything in, and devices to read and write.
    pub(super) write: Vec<PathBuf>,
}

/// A ruleset that permits this and nothing else.
///
/// # Errors
/// Why the kernel has it not, for people.
pub(super) fn ruleset(visible: &Visible) -> Result<OwnedFd, String> {
    // The first version is a must: reading and writing of files. What later ones add is taken if there.
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .map_err(|error| format!("the kernel has no Landlock: {error}"))?;
    let all = AccessFs::from_all(ABI::V9);
    let read = AccessFs::from_read(ABI::V9);
    let created = Ruleset::default()
        .handle_access(all)
        .and_then(|ruleset| ruleset.scope(Scope::from_all(ABI::V6)))
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(&visible.read, read)))
        .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(&visible.write, all)))
        .map_err(|error| format!("cannot make a Landlock ruleset: {error}"))?;
    let file: Option<OwnedFd> = created.into();
    file.ok_or_else(|| "the kernel has no Landlock".to_owned())
}

/// The number that x86-64 adds for calls of its 32-bit-pointer interface: the same calls by another door.
const X32: i64 = 0x4000_0000;

/// Calls that lead around the filter or to state that outlives the run.
const REFUSED: [i64; 9] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
];

/// Filters of system calls; with `sockets` refused, all but those of the machine's own file system.
///
/// # Errors
/// If this processor is not one that filters can be made for.
pub(super) fn filters(refuse_sockets: bool) -> Result<Vec<BpfProgram>, String> {
    let both = |call: i64| [call, call | X32];
    let refused: BTreeMap<i64, Vec<SeccompRule>> = REFUSED
        .into_iter()
        .flat_map(both)
        .map(|call| (call, Vec::new()))
        .collect();
    let mut filters = vec![program(refused, libc::EPERM)?];
    if refuse_sockets {
        let family = SeccompCondition::new(
            0,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::Ne,
            libc::AF_UNIX as u64,
        )
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(|error| format!("cannot make a filter: {error}"))?;
        let sockets = both(libc::SYS_socket)
            .into_iter()
            .map(|call| (call, vec![family.clone()]))
            .collect();
        filters.push(program(sockets, libc::ENETUNREACH)?);
    }
    Ok(filters)
}

fn program(rules: BTreeMap<i64, Vec<SeccompRule>>, error: i32) -> Result<BpfProgram, String> {
    let arch = std::env::consts::ARCH.try_into().map_err(|_| {
        format!(
            "seccomp filters are not made for {}",
            std::env::consts::ARCH
        )
    })?;
    let action = SeccompAction::Errno(error.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, action, arch)
        .and_then(BpfProgram::try_from)
        .map_err(|error| format!("cannot make a filter: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn filters_are_made_for_this_processor() {
        assert_eq!(filters(false).unwrap().len(), 1);
        assert_eq!(filters(true).unwrap().len(), 2);
    }
}
