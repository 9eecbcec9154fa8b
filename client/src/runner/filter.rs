//! System calls that stages are refused: sockets, and what leads around a sandbox or to state that outlives the run.
//!
//! Owns which they are, as programs of the kernel and as rules of an OCI configuration. Does not apply them: `child`,
//! bubblewrap and the OCI runtime do.
//! Invariant: both forms refuse the same calls, by every door to the kernel: those of another processor (the 32-bit
//! calls of x86) end the process.
//! A network namespace is not enough: `AF_VSOCK` reaches the hypervisor and other machines of it from every namespace,
//! and it is not the only family that knows none.
//! Nor is a user namespace: the files of control groups are root's by number and not by right, as those of `/proc/sys`
//! are, and in namespaces that it makes itself any process may mount them. A stage of root's could take its own limits
//! away, and make groups in the machine's roots that stay when the run has ended. So a stage mounts nothing.
//! Before its third version (Linux 6.2), Landlock does not see that a file is cut by its name, and takes an opening for
//! reading that cuts it for reading alone: there the filters refuse both, and a stage cannot do so to its own files
//! either.

use seccompiler::{
    BpfProgram, BpfProgramRef, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The number that x86-64 adds for calls of its 32-bit-pointer interface: the same calls by another door.
const X32: i64 = 0x4000_0000;

/// Calls that lead around the filter or to state that outlives the run. The keyring of the caller's session is one:
/// neither a user namespace nor a mount keeps it away. File systems are brought in by `mount` and `fsopen`; what rearranges
/// those that are there, or uncovers what is below, is refused beside. Sandboxes mount before they load a filter.
const REFUSED: [(i64, &str); 18] = [
    (libc::SYS_io_uring_setup, "io_uring_setup"),
    (libc::SYS_io_uring_enter, "io_uring_enter"),
    (libc::SYS_io_uring_register, "io_uring_register"),
    (libc::SYS_add_key, "add_key"),
    (libc::SYS_request_key, "request_key"),
    (libc::SYS_keyctl, "keyctl"),
    (libc::SYS_bpf, "bpf"),
    (libc::SYS_perf_event_open, "perf_event_open"),
    (libc::SYS_userfaultfd, "userfaultfd"),
    (libc::SYS_mount, "mount"),
    (libc::SYS_umount2, "umount2"),
    (libc::SYS_pivot_root, "pivot_root"),
    (libc::SYS_fsopen, "fsopen"),
    (libc::SYS_fspick, "fspick"),
    (libc::SYS_fsmount, "fsmount"),
    (libc::SYS_open_tree, "open_tree"),
    (libc::SYS_move_mount, "move_mount"),
    (libc::SYS_mount_setattr, "mount_setattr"),
];

/// `BPF_RET | BPF_K`: a program's answer.
const RETURN: u16 = 0x06;
/// `BPF_JMP | BPF_JA`: goes on so many instructions later.
const JUMP: u16 = 0x05;

/// What a refused call answers.
const ERROR: i32 = libc::EPERM;
/// What a refused socket answers.
const NO_SOCKET: i32 = libc::ENETUNREACH;

/// The sockets that a process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sockets {
    /// Every kind.
    Any,
    /// Those that a network namespace keeps apart.
    Namespaced,
    /// Those of the machine's own file system.
    Local,
}

impl Sockets {
    /// The families that are let through; `None` if all are.
    fn families(self) -> Option<&'static [i32]> {
        match self {
            Sockets::Any => None,
            Sockets::Namespaced => Some(&[
                libc::AF_UNIX,
                libc::AF_INET,
                libc::AF_INET6,
                libc::AF_NETLINK,
            ]),
            Sockets::Local => Some(&[libc::AF_UNIX]),
        }
    }
}

/// A call by both doors.
fn both(call: i64) -> [i64; 2] {
    [call, call | X32]
}

/// Programs of the kernel; with `refuse_cutting`, also against all by which a file is cut that was not opened for
/// writing.
///
/// # Errors
/// If this processor is not one that filters can be made for.
pub(super) fn programs(sockets: Sockets, refuse_cutting: bool) -> Result<Vec<BpfProgram>, String> {
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = REFUSED
        .into_iter()
        .flat_map(|(call, _)| both(call))
        .map(|call| (call, Vec::new()))
        .collect();
    if refuse_cutting {
        refused.extend(cutting()?);
    }
    let mut programs = vec![program(refused, ERROR)?];
    if refuse_cutting {
        // Its flags lie where no filter can read them. Programs that use it know kernels without it.
        let hidden = both(libc::SYS_openat2).map(|call| (call, Vec::new()));
        programs.push(program(BTreeMap::from(hidden), libc::ENOSYS)?);
    }
    if let Some(families) = sockets.families() {
        // None of those that are let through. The kernel reads 32 bits of the number, and so do the conditions.
        let others: Result<Vec<SeccompCondition>, _> = families
            .iter()
            .map(|family| {
                let (length, is_not) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Ne);
                SeccompCondition::new(0, length, is_not, *family as u64)
            })
            .collect();
        let others = others
            .and_then(SeccompRule::new)
            .map_err(|error| format!("cannot make a filter: {error}"))?;
        let calls = both(libc::SYS_socket)
            .into_iter()
            .map(|call| (call, vec![others.clone()]))
            .collect();
        programs.push(program(calls, NO_SOCKET)?);
    }
    Ok(programs)
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

/// One program that asks these one after the other: bubblewrap takes more than one only from version 0.6 on.
pub(super) fn joined(programs: &[BpfProgram]) -> BpfProgram {
    let mut joined = BpfProgram::new();
    for (number, program) in programs.iter().enumerate() {
        let is_last = number + 1 == programs.len();
        for (at, instruction) in program.iter().enumerate() {
            let mut instruction = instruction.clone();
            // What one lets through, the next judges.
            if !is_last && instruction.code == RETURN && instruction.k == libc::SECCOMP_RET_ALLOW {
                instruction.code = JUMP;
                // A jump that led nowhere would have the kernel refuse the program.
                instruction.k = u32::try_from(program.len() - at - 1).unwrap_or(u32::MAX);
            }
            joined.push(instruction);
        }
    }
    joined
}

/// A program as bubblewrap reads it: the kernel's own structures, one after the other.
pub(super) fn bytes(program: BpfProgramRef<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 * program.len());
    for instruction in program {
        bytes.extend(instruction.code.to_ne_bytes());
        bytes.extend([instruction.jt, instruction.jf]);
        bytes.extend(instruction.k.to_ne_bytes());
    }
    bytes
}

/// `linux.seccomp` of an OCI configuration.
pub(super) fn rules(sockets: Sockets) -> Value {
    let refused = |names: &[&str], error: i32| json!({"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": error});
    let names = REFUSED.map(|(_, name)| name);
    let mut rules = vec![refused(&names, ERROR)];
    for other in sockets.families().map(others).unwrap_or_default() {
        let mut rule = refused(&["socket"], NO_SOCKET);
        rule["args"] = json!([other]);
        rules.push(rule);
    }
    let mut seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
    // Without a list it is the runtime's own. Calls of processors that are not in it end the process.
    if cfg!(target_arch = "x86_64") {
        seccomp["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"]);
    }
    seccomp
}

/// Conditions of which one holds for every family but these. Each is for a rule of its own: runtimes take two
/// conditions on one argument as two rules, so "neither this nor that" would be all of them. They compare 64 bits of the
/// number, of which the kernel reads 32: what lies above is beyond the last.
fn others(families: &[i32]) -> Vec<Value> {
    let last = families.iter().copied().max().unwrap_or_default();
    let between = (0..last).filter(|family| !families.contains(family));
    between
        .map(|family| (family, "SCMP_CMP_EQ"))
        .chain([(last, "SCMP_CMP_GT")])
        .map(|(value, op)| json!({"index": 0, "value": value, "op": op}))
        .collect()
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
        assert_eq!(programs(Sockets::Any, false).unwrap().len(), 1);
        assert_eq!(programs(Sockets::Local, false).unwrap().len(), 2);
        assert_eq!(programs(Sockets::Namespaced, false).unwrap().len(), 2);
        assert_eq!(programs(Sockets::Local, true).unwrap().len(), 3);
    }

    /// Whether there is a Perl with this module; counts what cannot be tested without.
    fn has_perl(module: &str) -> bool {
        let perl = Command::new("perl").args(["-e", module]).status();
        let there = perl.is_ok_and(|status| status.success());
        if !there {
            crate::skips::not_possible(&format!("there is no perl that can: {module}"));
        }
        there
    }

    /// Runs a script of Perl under filters alone, with the path as its argument.
    fn run(script: &str, filters: Vec<BpfProgram>, path: &std::path::Path) {
        let mut command = Command::new("perl");
        command.args(["-e", script]).arg(path);
        let confinement = Confinement {
            filters,
            unprivileged: true,
            ..Confinement::default()
        };
        let mut kept = child::spawn(command, confinement).unwrap();
        while kept.ended().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The filters alone, as where Landlock does not see it.
    #[test]
    fn no_file_is_cut_that_was_not_opened_for_writing() {
        if !has_perl("use Fcntl") {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let left = |script: &str, refused: bool| {
            fs::write(&path, "whole").unwrap();
            run(script, programs(Sockets::Any, refused).unwrap(), &path);
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

    /// As bubblewrap has them: one program. The families are a socket to the hypervisor and one of those that are let
    /// through; the call is `keyctl`, which without a filter tells a number.
    #[test]
    fn joined_filters_refuse_what_each_of_them_does() {
        if !has_perl("1") {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("said");
        let keyctl = libc::SYS_keyctl;
        let script = format!(
            "open(F, '>', $ARGV[0]); \
             print F socket(A, 40, 1, 0) ? 'made' : $! + 0, ' '; \
             print F socket(B, 2, 2, 0) ? 'made' : $! + 0, ' '; \
             print F syscall({keyctl}, 0, -3, 0) == -1 ? $! + 0 : 'told'"
        );
        let said = |sockets: Sockets| {
            let one = joined(&programs(sockets, false).unwrap());
            run(&script, vec![one], &path);
            fs::read_to_string(&path).unwrap()
        };
        let (unreachable, denied) = (libc::ENETUNREACH, libc::EPERM);
        let namespaced = format!("{unreachable} made {denied}");
        assert_eq!(said(Sockets::Namespaced), namespaced);
        let local = format!("{unreachable} {unreachable} {denied}");
        assert_eq!(said(Sockets::Local), local);
        assert!(said(Sockets::Any).ends_with(&format!(" made {denied}")));
    }

    /// In a user namespace and one of mounts, where everybody may: there no call is refused by rights, but each for its
    /// arguments, which name nothing.
    #[test]
    fn nothing_is_mounted_in_namespaces_of_its_own_either() {
        if !has_perl("1") {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("said");
        let calls = REFUSED.iter().skip_while(|(_, name)| *name != "mount");
        let numbers: Vec<String> = calls.map(|(call, _)| call.to_string()).collect();
        let (unshare, namespaces) = (libc::SYS_unshare, libc::CLONE_NEWUSER | libc::CLONE_NEWNS);
        let script = format!(
            "open(F, '>', $ARGV[0]); \
             print F syscall({unshare}, {namespaces}) == 0 ? 'in' : 'out'; \
             for my $call ({}) {{ print F ' ', syscall($call, -1, 0, 0, 0, 0) == -1 ? $! + 0 : 'done' }}",
            numbers.join(", ")
        );
        let said = |filters: Vec<BpfProgram>| {
            run(&script, filters, &path);
            fs::read_to_string(&path).unwrap()
        };
        let denied = libc::EPERM.to_string();
        let free = said(Vec::new());
        if !free.starts_with("in") || free.split(' ').any(|answer| answer == denied) {
            crate::skips::not_possible("nobody may mount in a user namespace here");
            return;
        }
        let refused = String::from("in") + &format!(" {denied}").repeat(numbers.len());
        let found = said(programs(Sockets::Namespaced, false).unwrap());
        assert_eq!(found, refused);
    }

    #[test]
    fn a_program_is_written_as_the_kernel_reads_it() {
        let one = joined(&programs(Sockets::Namespaced, true).unwrap());
        let written = bytes(&one);
        assert_eq!(written.len(), 8 * one.len());
        // Loads the processor: `BPF_LD | BPF_W | BPF_ABS` of offset 4.
        assert_eq!(written[..2], 0x20u16.to_ne_bytes());
        assert_eq!(written[4..8], 4u32.to_ne_bytes());
        let alone = programs(Sockets::Any, false).unwrap();
        assert_eq!(joined(&alone), alone[0], "one is as it was");
    }

    #[test]
    fn rules_of_a_container_refuse_the_same_families() {
        for sockets in [Sockets::Local, Sockets::Namespaced] {
            let rules = rules(sockets);
            let rules = rules["syscalls"].as_array().unwrap();
            assert_eq!(rules[0]["names"].as_array().unwrap().len(), REFUSED.len());
            for family in (0..70).chain([0x1_0000_0002u64, u64::from(u32::MAX), u64::MAX]) {
                let refused = rules[1..].iter().any(|rule| {
                    assert_eq!(rule["names"], json!(["socket"]));
                    let conditions = rule["args"].as_array().unwrap();
                    assert_eq!(conditions.len(), 1, "{rule}");
                    let value = conditions[0]["value"].as_u64().unwrap();
                    match conditions[0]["op"].as_str().unwrap() {
                        "SCMP_CMP_EQ" => family == value,
                        "SCMP_CMP_GT" => family > value,
                        other => panic!("{other}"),
                    }
                });
                let through = sockets.families().unwrap();
                let is_through = through.iter().any(|known| *known as u64 == family);
                assert_eq!(refused, !is_through, "{sockets:?} {family}");
            }
        }
        let any = rules(Sockets::Any);
        assert_eq!(any["syscalls"].as_array().unwrap().len(), 1);
    }
}
