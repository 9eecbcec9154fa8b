//! Runners tried out: a script that does what a stage must not.
//!
//! Owns the script and what is concluded from its answers. A runner's word is not taken for anything that
//! the script can try: reading a file that everybody may read, writing beside its own directory, cutting files that are
//! not its own (what becomes of them is looked at afterwards), reaching an address of the documentation (192.0.2.1),
//! naming its host.
//! Invariant: no answer means no capability.

use super::RunnerKind;
use super::capabilities::{Capabilities, Capability};
use super::cgroup::{Bounds, Group, Places};
use super::child;
use super::job::{Net, StageJob};
use super::log::{Kept, LogSink};
use super::outcome::StageOutcome;
use crate::error::{Error, Result};
use sealstone_spec::environment::Isolation;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name that sandboxes give the machine.
pub(super) const HOST_NAME: &str = "replay";
/// The name of the user in sandboxes.
pub(super) const USER: &str = "replay";

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
/// their names and by opening them to read: shells have no way to.
const SCRIPT: &str = r#"
answer() { echo "$1=$2"; }
if (read line < "$CANARY") 2>/dev/null; then answer canary readable; else answer canary denied; fi
if (echo x > "$BESIDE/written") 2>/dev/null; then answer beside writable; else answer beside denied; fi
if (echo x > inside && read line < inside) 2>/dev/null; then answer inside writable; fi
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
    print("connect=denied")'
perl='foreach my $place ("BESIDE", "SHELF") { my $path = "$ENV{$place}/kept"; truncate($path, 0); eval { require Fcntl; sysopen(F, $path, Fcntl::O_RDONLY() | Fcntl::O_TRUNC()) } }
use Socket; if (socket(S, PF_INET, SOCK_DGRAM, 0) && connect(S, sockaddr_in(9, inet_aton("192.0.2.1")))) { print "connect=reached\n" } else { print "connect=denied\n" }'
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
    let only_loopback = answers
        .get("interfaces")
        .is_some_and(|names| names == "lo" || names.is_empty());
    let denied = match answers.get("connect").map(String::as_str) {
        Some("denied") => Capability::present("no route and no socket to 192.0.2.1"),
        Some(_) => Capability::absent("192.0.2.1 could be reached"),
        None if only_loopback => Capability::present("no interface but the loopback"),
        None => {
            Capability::absent("nothing in the sandbox could try to connect (Python, Perl or bash)")
        }
    };
    let files = is("canary", "denied") && is("beside", "denied") && is("kept", "whole");
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
        network_denied: denied,
        files_denied: shown(
            files,
            "the canary could not be read, nor anything written or cut beside",
            "a file outside of the job could be read, written or cut",
        ),
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

    #[test]
    fn files_are_denied_only_where_none_was_cut() {
        let with = |kept: Option<&str>| {
            let answers = [("canary", "denied"), ("beside", "denied")]
                .into_iter()
                .chain(kept.map(|kept| ("kept", kept)))
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
            let trial = Trial::Ran(answers.collect());
            capabilities(RunnerKind::Confined, &trial).files_denied
        };
        assert!(with(Some("whole")).is_present());
        assert!(!with(Some("cut")).is_present());
        assert!(!with(None).is_present(), "no answer means no capability");
    }
}
