//! Runners tried out: a script that does what a stage must not.
//!
//! Owns the script and what is concluded from its answers. A runner's word is not taken for anything that
//! the script can try: reading a file that everybody may read, writing beside its own directory, cutting files that are
//! not its own (what becomes of them is looked at afterwards), opening a setting of the kernel for writing (nothing is
//! written), using what the caller left open, mounting something in namespaces of its own, reaching an address of the
//! documentation (192.0.2.1), making a socket to the hypervisor, naming its host.
//! Invariant: no answer means no capability, but for what only Perl and Python can try: there it is enough that the filter
//! is in force which refuses it.

use super::RunnerKind;
use super::capabilities::{Capabilities, Capability};
use super::cgroup::{Bounds, Group, Places};
use super::child;
use super::filter::{self, Sockets};
use super::job::{Net, StageJob};
use super::log::{Kept, LogSink};
use super::outcome::StageOutcome;
use super::processes;
use crate::error::{Error, Result};
use sealstone_spec::environment::Isolation;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name that sandboxes give the machine.
pub(super) const HOST_NAME: &str = "replay";
/// The name of the user in sandboxes.
pub(super) const USER: &str = "replay";
/// What denies the network in sandboxes.
pub(super) const NETWORK_BY: &str =
    "a network namespace with nothing but the loopback, and seccomp";
/// The same without filters of system calls: not enough for I2.
pub(super) const NAMESPACE_BY: &str = "a network namespace with nothing but the loopback";

/// What came of a trial.
#[derive(Debug)]
pub(super) enum Trial {
    /// The script ran, and answered.
    Ran(BTreeMap<String, String>),
    /// It did not, for this reason.
    Failed(String),
}

/// The script needs a POSIX shell and nothing else; with Python, Perl or bash it also tries to connect.
/// `connect` on a datagram socket sends nothing: it succeeds where there is a route. Python and Perl also cut files, by
/// their names and by opening them to read, make a socket of the family 40, `AF_VSOCK`, and mount in new namespaces of users
/// and mounts (0x10020000): shells have no way to.
/// Opening to append to a setting of the kernel changes nothing of it.
const SCRIPT: &str = r#"
answer() { echo "$1=$2"; }
if (read line < "$CANARY") 2>/dev/null; then answer canary readable; else answer canary denied; fi
if (echo x > "$BESIDE/written") 2>/dev/null; then answer beside writable; else answer beside denied; fi
if (echo x > inside && read line < inside) 2>/dev/null; then answer inside writable; fi
if (: >> /proc/sys/kernel/core_pattern) 2>/dev/null; then answer kernel writable; else answer kernel denied; fi
descriptors=
for entry in /proc/$$/fd/*; do
    case "${entry##*/}" in
    0|1|2) ;;
    "*") descriptors=" unseen" ;;
    *) if [ -e "$entry" ]; then descriptors="$descriptors ${entry##*/}"; fi ;;
    esac
done
answer descriptors "${descriptors:-none}"
while read -r name value; do case "$name" in Seccomp:) answer seccomp "$value";; Seccomp_filters:) answer filters "$value";; esac; done 2>/dev/null < /proc/self/status
answer secret "${SEALSTONE_PROBE_SECRET-absent}"
answer home "$HOME"
read host 2>/dev/null < /proc/sys/kernel/hostname && answer host "$host"
interfaces=
while read -r name rest; do case "$name" in *:*) interfaces="$interfaces ${name%%:*}";; esac; done 2>/dev/null < /proc/net/dev
answer interfaces "$interfaces"
answer pid $$
python='import os,socket,sys
for place in ("BESIDE", "SHELF"):
    path = os.path.join(os.environ[place], "kept")
    for cut in (lambda: os.truncate(path, 0), lambda: os.open(path, os.O_RDONLY | os.O_TRUNC)):
        try:
            cut()
        except OSError:
            pass
try:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("192.0.2.1", 9))
    print("connect=reached")
except OSError as error:
    print("connect=denied")
try:
    socket.socket(40, socket.SOCK_STREAM)
    print("vsock=made")
except OSError as error:
    print("vsock=denied")
try:
    import ctypes
    libc = ctypes.CDLL(None)
    made = libc.unshare(0x10020000) == 0 and (
        libc.mount(b"none", b".", b"tmpfs", 0, None) == 0
        or libc.syscall(int(os.environ["FSOPEN"]), b"tmpfs", 0) != -1)
    print("mount=made" if made else "mount=denied")
except Exception:
    pass'
perl='foreach my $place ("BESIDE", "SHELF") { my $path = "$ENV{$place}/kept"; truncate($path, 0); eval { require Fcntl; sysopen(F, $path, Fcntl::O_RDONLY() | Fcntl::O_TRUNC()) } }
use Socket; if (socket(S, PF_INET, SOCK_DGRAM, 0) && connect(S, sockaddr_in(9, inet_aton("192.0.2.1")))) { print "connect=reached\n" } else { print "connect=denied\n" }
print socket(V, 40, SOCK_STREAM, 0) ? "vsock=made\n" : "vsock=denied\n";
my ($none, $here, $type) = ("none", ".", "tmpfs");
my $made = syscall(0 + $ENV{UNSHARE}, 0x10020000) == 0
    && (syscall(0 + $ENV{MOUNT}, $none, $here, $type, 0, 0) == 0 || syscall(0 + $ENV{FSOPEN}, $type, 0) != -1);
print(($made) ? "mount=made\n" : "mount=denied\n");'
if command -v perl >/dev/null 2>&1 && perl -e 'use Socket' 2>/dev/null; then perl -e "$perl"
elif command -v python3 >/dev/null 2>&1; then python3 -c "$python"
elif command -v bash >/dev/null 2>&1; then if bash -c 'exec 3<>/dev/udp/192.0.2.1/9' 2>/dev/null; then answer connect reached; else answer connect denied; fi
fi
answer done yes
"#;

/// What stands in files that are not the script's own.
const KEPT: &[u8] = b"stays as it is\n";

/// Runs the script with `run`, which must be what runs stages.
pub(super) fn trial(
    run: impl FnOnce(&StageJob, &mut dyn LogSink) -> Result<StageOutcome>,
) -> Trial {
    match try_out(run) {
        Ok(answers) => Trial::Ran(answers),
        Err(error) => {
            let mut reason = error.message().to_owned();
            for cause in error.causes() {
                reason.push_str(": ");
                reason.push_str(&cause);
            }
            Trial::Failed(reason)
        }
    }
}

fn try_out(
    run: impl FnOnce(&StageJob, &mut dyn LogSink) -> Result<StageOutcome>,
) -> Result<BTreeMap<String, String>> {
    let directory = tempfile::tempdir()
        .map_err(|source| Error::io("making a directory for a probe", source))?;
    let at = |name: &str| directory.path().join(name);
    for name in ["scratch", "out", "beside", "shelf"] {
        std::fs::create_dir(at(name))
            .map_err(|source| Error::io("making a directory for a probe", source))?;
    }
    std::fs::write(at("canary"), "readable by everybody\n")
        .map_err(|source| Error::io("writing a file for a probe", source))?;
    let others = [at("beside/kept"), at("shelf/kept")];
    for path in &others {
        std::fs::write(path, KEPT)
            .map_err(|source| Error::io("writing a file for a probe", source))?;
    }
    let argv = ["/bin/sh", "-c", SCRIPT].map(str::to_owned).to_vec();
    let mut job = StageJob::new("probe", argv, at("scratch"), at("out"));
    let text = |path: &Path| path.to_string_lossy().into_owned();
    job.env.insert("CANARY".to_owned(), text(&at("canary")));
    job.env.insert("BESIDE".to_owned(), text(&at("beside")));
    // One that it may read, as an environment of Python is.
    job.env.insert("SHELF".to_owned(), text(&at("shelf")));
    // Perl knows no numbers of system calls.
    for (name, call) in [
        ("UNSHARE", libc::SYS_unshare),
        ("MOUNT", libc::SYS_mount),
        ("FSOPEN", libc::SYS_fsopen),
    ] {
        job.env.insert(name.to_owned(), call.to_string());
    }
    job.software.read_only.push(at("shelf"));
    job.limits.wall = Some(Duration::from_secs(10));
    job.limits.grace = Duration::from_secs(1);
    let mut kept = Kept::default();
    let outcome = run(&job, &mut kept)?;
    let mut answers: BTreeMap<String, String> = String::from_utf8_lossy(&kept.stdout)
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    // Seen here, not asked: what the script says of it counts for nothing.
    let is_whole = |path: &PathBuf| std::fs::read(path).is_ok_and(|bytes| bytes == KEPT);
    let kept_whole = match others.iter().all(is_whole) {
        true => "whole",
        false => "cut",
    };
    answers.insert("kept".to_owned(), kept_whole.to_owned());
    if answers.get("done").map(String::as_str) != Some("yes") {
        let said = String::from_utf8_lossy(&kept.stderr);
        let said = said.lines().last().unwrap_or_default().trim();
        let failure = outcome
            .failure()
            .unwrap_or_else(|| "the probe did not end".to_owned());
        return Err(Error::other(if said.is_empty() {
            failure
        } else {
            format!("{failure}: {said}")
        }));
    }
    Ok(answers)
}

/// What the answers mean. Runners add what they know of themselves.
pub(super) fn capabilities(runner: RunnerKind, trial: &Trial) -> Capabilities {
    let answers = match trial {
        Trial::Ran(answers) => answers,
        Trial::Failed(reason) => return Capabilities::unusable(runner, reason),
    };
    let is = |name: &str, value: &str| answers.get(name).map(String::as_str) == Some(value);
    let shown = |holds: bool, by: &str, otherwise: &str| match holds {
        true => Capability::present(by),
        false => Capability::absent(otherwise),
    };
    let files = [
        ("canary", "denied"),
        ("beside", "denied"),
        ("kept", "whole"),
        ("kernel", "denied"),
        ("descriptors", "none"),
    ];
    let files = files.into_iter().all(|(name, value)| is(name, value));
    let mechanism =
        Group::create(&Places::of_this_process(), Bounds::default()).map(|group| group.mechanism());
    let together = |weaker: &str| match &mechanism {
        Ok(by) => Capability::present(*by),
        Err(reason) => Capability::absent(format!("{reason}; instead {weaker}")),
    };
    let pids = if child::is_root() {
        "looking at all processes"
    } else {
        "RLIMIT_NPROC and looking at all processes"
    };
    Capabilities {
        runner,
        usable: shown(
            is("inside", "writable"),
            "the probe ran",
            "the probe could not write into its own directory",
        ),
        scrubbed: shown(
            is("secret", "absent") && answers.get("home").is_some_and(|home| !home.is_empty()),
            "variables set, none inherited",
            "variables of the caller were visible",
        ),
        // Only an OCI runtime makes its filters itself.
        network_denied: match filter::programs(Sockets::Local, false) {
            Err(reason) if runner != RunnerKind::Oci => Capability::absent(reason),
            _ => network_denied(runner, answers, processes::own_filters()),
        },
        files_denied: match is("mount", "made") {
            true => Capability::absent("a file system could be mounted"),
            false => shown(
                files,
                "the canary could not be read, nor anything written or cut beside",
                "a file outside of the job could be read, written or cut, or was open",
            ),
        },
        rootfs: Capability::absent("this runner uses the machine's /usr"),
        host_name: shown(
            is("host", HOST_NAME),
            HOST_NAME,
            "the machine's host name is visible",
        ),
        processes_hidden: shown(
            answers
                .get("pid")
                .and_then(|pid| pid.parse::<u32>().ok())
                .is_some_and(|pid| pid < 16),
            "a namespace of its own",
            "processes of the machine are visible",
        ),
        memory_limit: together("RLIMIT_DATA for each process and looking every 100 ms"),
        pids_limit: together(pids),
        gpu: shown(
            Path::new("/dev/nvidiactl").exists(),
            "/dev/nvidiactl",
            "there is no /dev/nvidiactl",
        ),
    }
}

/// Whether nothing beyond the machine can be reached. A route is not all: a socket to the hypervisor needs none, and
/// families like it are told apart by a filter alone, which counts only if it is in force: a container that this process
/// runs in may have brought one, and only what is there beside those (`own`) is the runner's.
fn network_denied(
    runner: RunnerKind,
    answers: &BTreeMap<String, String>,
    own: Option<u64>,
) -> Capability {
    let answer = |name: &str| answers.get(name).map(String::as_str);
    let only_loopback = answer("interfaces").is_some_and(|names| names == "lo" || names.is_empty());
    let by = match answer("connect") {
        Some("denied") => "no route and no socket to 192.0.2.1",
        Some(_) => return Capability::absent("192.0.2.1 could be reached"),
        None if only_loopback => "no interface but the loopback",
        None => {
            return Capability::absent(
                "nothing in the sandbox could try to connect (Python, Perl or bash)",
            );
        }
    };
    if answer("vsock") == Some("made") {
        return Capability::absent("a socket to the hypervisor could be made (AF_VSOCK)");
    }
    let filters = answer("filters").and_then(|count| count.parse::<u64>().ok());
    let more = match (own, filters) {
        (Some(own), Some(filters)) => filters > own,
        // Linux before 5.9 does not count them, and the mode is this process's own where that has one. Other runners fail
        // if the kernel does not take the filter; runtimes may be built without, and say nothing.
        (Some(own), None) => own == 0,
        (None, _) => runner != RunnerKind::Oci,
    };
    if answer("seccomp") != Some("2") || !more {
        return Capability::absent(
            "no filter of system calls (seccomp) refuses sockets that know no network namespace",
        );
    }
    Capability::present(by)
}

/// The isolation that a job gets from a runner with these capabilities.
///
/// # Errors
/// If the runner is not usable here.
pub(super) fn usable(capabilities: &Capabilities, job: &StageJob) -> Result<Isolation> {
    if let Capability::Absent { reason } = &capabilities.usable {
        return Err(Error::refused(format!(
            "the runner \"{}\" does not work here: {reason}",
            capabilities.runner
        ))
        .hint("see what does with: sealstone env probe"));
    }
    let isolation = capabilities.isolation(job.software.rootfs.is_some());
    Ok(match job.net {
        Net::Allow(_) => isolation.min(Isolation::I1),
        _ => isolation,
    })
}

/// A network setting for people.
pub(super) fn network(net: &Net) -> String {
    match net {
        Net::Deny => "deny".to_owned(),
        Net::Loopback => "loopback".to_owned(),
        Net::Allow(reason) => format!("allow: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a runner that keeps everything away answers, but for one thing.
    fn with(name: &str, value: Option<&str>) -> Capabilities {
        let all = [
            ("canary", "denied"),
            ("beside", "denied"),
            ("kept", "whole"),
            ("kernel", "denied"),
            ("descriptors", "none"),
            ("connect", "denied"),
            ("vsock", "denied"),
            ("seccomp", "2"),
            ("filters", "1000"),
            ("mount", "denied"),
        ];
        let answers = all
            .into_iter()
            .filter(|(other, _)| *other != name)
            .chain(value.map(|value| (name, value)))
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        capabilities(RunnerKind::Confined, &Trial::Ran(answers.collect()))
    }

    #[test]
    fn files_are_denied_only_where_all_was_kept_away() {
        assert!(with("kept", Some("whole")).files_denied.is_present());
        for (name, value) in [
            ("kept", "cut"),
            ("kernel", "writable"),
            ("descriptors", "9"),
            ("descriptors", "unseen"),
            ("mount", "made"),
        ] {
            let files = with(name, Some(value)).files_denied;
            assert!(!files.is_present(), "{name} {value}");
        }
        for name in ["canary", "beside", "kept", "kernel", "descriptors"] {
            let files = with(name, None).files_denied;
            assert!(!files.is_present(), "no answer means no capability: {name}");
        }
    }

    #[test]
    fn the_network_is_denied_only_with_a_filter_and_without_the_hypervisor() {
        assert!(with("host", None).network_denied.is_present());
        // Shells cannot try it. The filter is in force all the same.
        assert!(with("vsock", None).network_denied.is_present());
        for (name, value) in [
            ("connect", Some("reached")),
            ("connect", None),
            ("vsock", Some("made")),
            ("seccomp", Some("0")),
            ("seccomp", None),
        ] {
            let network = with(name, value).network_denied;
            assert!(!network.is_present(), "{name} {value:?}");
        }
    }

    #[test]
    fn a_filter_of_the_container_around_is_not_the_runners() {
        let (oci, other) = (RunnerKind::Oci, RunnerKind::Bubblewrap);
        for (runner, own, filters, in_force) in [
            (oci, Some(0), Some("1"), true),
            (oci, Some(1), Some("2"), true),
            (oci, Some(1), Some("1"), false),
            (other, Some(1), Some("1"), false),
            // A kernel that does not count.
            (oci, Some(0), None, true),
            (oci, None, None, false),
            (other, None, None, true),
        ] {
            let told = [("connect", "denied"), ("seccomp", "2")].into_iter();
            let answers: BTreeMap<String, String> = told
                .chain(filters.map(|count| ("filters", count)))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            let network = network_denied(runner, &answers, own);
            assert_eq!(
                network.is_present(),
                in_force,
                "{runner} {own:?} {filters:?}"
            );
        }
    }
}
