//! Landlock and seccomp: what a process may open, and that it may not have sockets.
//!
//! Owns the ruleset and the filters. Neither needs a privilege. Does not apply them: `child` does, after
//! the fork, and tries each time whether they hold.
//! Before its third version (Linux 6.2), Landlock does not see that a file is cut by its name, and takes an opening for
//! reading that cuts it for reading alone: there the filters refuse both, and a stage cannot do so to its own files
//! either.
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

/// Whether this kernel's Landlock governs how files are cut.
pub(super) fn governs_truncation() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V3))
        .and_then(Ruleset::create)
        .is_ok()
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

/// A call by both doors.
fn both(call: i64) -> [i64; 2] {
    [call, call | X32]
}

/// Filters of system calls; with `sockets` refused, all but those of the machine's own file system; with `cutting`
/// refused, all by which a file is cut that was not opened for writing.
///
/// # Errors
/// If this processor is not one that filters can be made for.
pub(super) fn filters(
    refuse_sockets: bool,
    refuse_cutting: bool,
) -> Result<Vec<BpfProgram>, String> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = REFUSED
        .into_iter()
        .flat_map(both)
        .map(|call| (call, Vec::new()))
        .collect();
    if refuse_cutting {
        refused.extend(cutting()?);
    }
    let mut filters = vec![program(refused, libc::EPERM)?];
    if refuse_cutting {
        // Its flags lie where no filter can read them. Programs that use it know kernels without it.
        let hidden = both(libc::SYS_openat2).map(|call| (call, Vec::new()));
        filters.push(program(BTreeMap::from(hidden), libc::ENOSYS)?);
    }
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

/// Calls that cut a file by its name, and openings that cut one without being for writing: for reading, and by the fourth
/// value of the mode, which is for neither.
fn cutting() -> Result<BTreeMap<i64, Vec<SeccompRule>>, String> {
    let with_flags = |argument: u8| -> Result<Vec<SeccompRule>, String> {
        let mask = (libc::O_TRUNC | libc::O_ACCMODE) as u64;
        let modes = [libc::O_RDONLY, libc::O_ACCMODE];
        let rules = modes.map(|mode| {
            SeccompCondition::new(
                argument,
                SeccompCmpArgLen::Dword,
                SeccompCmpOp::MaskedEq(mask),
                (libc::O_TRUNC | mode) as u64,
            )
            .and_then(|condition| SeccompRule::new(vec![condition]))
            .map_err(|error| format!("cannot make a filter: {error}"))
        });
        rules.into_iter().collect()
    };
    let mut rules = BTreeMap::new();
    for call in both(libc::SYS_truncate) {
        rules.insert(call, Vec::new());
    }
    for call in both(libc::SYS_openat) {
        rules.insert(call, with_flags(2)?);
    }
    #[cfg(target_arch = "x86_64")]
    {
        for call in both(libc::SYS_open) {
            rules.insert(call, with_flags(1)?);
        }
    }
    Ok(rules)
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
    use super::super::child::{self, Confinement};
    use super::*;
    use std::fs;
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn filters_are_made_for_this_processor() {
        assert_eq!(filters(false, false).unwrap().len(), 1);
        assert_eq!(filters(true, false).unwrap().len(), 2);
        assert_eq!(filters(true, true).unwrap().len(), 3);
    }

    /// The filters alone, as where Landlock does not see it.
    #[test]
    fn no_file_is_cut_that_was_not_opened_for_writing() {
        let perl = Command::new("perl").args(["-e", "use Fcntl"]).status();
        if !perl.is_ok_and(|status| status.success()) {
            return crate::skips::not_possible("there is no perl with Fcntl");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let left = |script: &str, refused: bool| {
            fs::write(&path, "whole").unwrap();
            let mut command = Command::new("perl");
            command.args(["-e", script]).arg(&path);
            let confinement = Confinement {
                filters: filters(false, refused).unwrap(),
                unprivileged: true,
                ..Confinement::default()
            };
            let mut kept = child::spawn(command, confinement).unwrap();
            while kept.ended().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
            fs::read_to_string(&path).unwrap()
        };
        for script in [
            "truncate($ARGV[0], 0)",
            "use Fcntl; sysopen(F, $ARGV[0], O_RDONLY | O_TRUNC)",
        ] {
            assert_eq!(left(script, true), "whole", "{script}");
            assert_eq!(left(script, false), "", "{script}");
        }
        let neither = "use Fcntl; sysopen(F, $ARGV[0], 3 | O_TRUNC)";
        assert_eq!(left(neither, true), "whole");
        // What is opened for writing is Landlock's.
        for script in [
            "use Fcntl; sysopen(F, $ARGV[0], O_WRONLY | O_TRUNC)",
            "open(F, \"+<\", $ARGV[0]); truncate(F, 0)",
        ] {
            assert_eq!(left(script, true), "", "{script}");
        }
    }
}
