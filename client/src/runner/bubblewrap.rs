//! Stages in bubblewrap: a file system, processes, network and host name of their own.
//!
//! Over this machine's `/usr`, or over a pinned root file system. Inputs are mounted read-only where the
//! stage expects them, so nothing of them can be written; how many mounts that takes is bounded by `place`.
//! What namespaces do not keep apart is refused by filters of system calls, and what of `/proc` is the kernel's is
//! mounted read-only: root in the sandbox is root's number outside of it. Where bubblewrap can, it also keeps its command
//! from making user namespaces, in which it would have every right again.

use super::capabilities::{Capabilities, Capability};
use super::child::Confinement;
use super::filter::{self, Sockets};
use super::job::{Net, StageJob};
use super::log::{LogSink, Stream};
use super::outcome::{Enforcement, StageOutcome};
use super::place::{Place, Placing};
use super::variables::{Places, variables};
use super::{Runner, RunnerKind, finish, probe, supervise, system};
use crate::error::{Error, Result};
use sealstone_spec::environment::Isolation;
use seccompiler::BpfProgram;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where things are inside.
pub(super) const WORK: &str = "/w";
pub(super) const HOME: &str = "/home/replay";
/// The number of user and group inside.
pub(super) const USER_NUMBER: &str = "1000";
/// Processes of bubblewrap between the keeper and the command: itself, and the first in the namespace.
const HELPERS: u32 = 2;
/// Where bubblewrap is looked for.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Runs stages in bubblewrap.
#[derive(Debug)]
pub struct BubblewrapRunner {
    pinned: bool,
    probed: OnceLock<Capabilities>,
}

impl BubblewrapRunner {
    /// Over this machine's `/usr`.
    pub fn host() -> BubblewrapRunner {
        BubblewrapRunner {
            pinned: false,
            probed: OnceLock::new(),
        }
    }

    /// Over the root file system of each job.
    pub fn rootfs() -> BubblewrapRunner {
        BubblewrapRunner {
            pinned: true,
            probed: OnceLock::new(),
        }
    }

    fn run_at(
        &self,
        job: &StageJob,
        isolation: Isolation,
        log: &mut dyn LogSink,
    ) -> Result<StageOutcome> {
        let place = Place::prepare(job, Placing::Mounted)?;
        let told = place.settings().join("status");
        let status = File::create(&told)
            .map_err(|source| Error::io("making a file for bubblewrap", source))?;
        let status = OwnedFd::from(status);
        let sockets = match job.net {
            Net::Allow(_) => Sockets::Any,
            _ => Sockets::Namespaced,
        };
        // A processor that filters are not made for: the probe sees then what is not refused.
        let (filter, unfiltered) = match filter::programs(sockets, false) {
            Ok(programs) => (Some(write_filter(&place, &programs)?), None),
            Err(reason) => (None, Some(reason)),
        };
        let mut command = Command::new("bwrap");
        command
            .args(arguments(job, &place, &status, filter.as_ref())?)
            .env_clear()
            .env("PATH", PATH)
            .current_dir("/");
        let confinement = Confinement {
            filters_are_inside: filter.is_some(),
            inherited: [Some(status), filter].into_iter().flatten().collect(),
            ..Confinement::default()
        };
        let mut heard = Heard {
            log,
            end: Vec::new(),
        };
        let mut ran = supervise::run(command, confinement, job, &place, HELPERS, &mut heard)?;
        // bubblewrap tells the process that it made before it mounts anything (`child-pid`), and how the command ended
        // (`exit-code`) only if that was started. It says itself that there is none, which is an outcome.
        let told = fs::read_to_string(&told).unwrap_or_default();
        let said = heard.last_line();
        let started = told.contains("exit-code") || said.starts_with("bwrap: execvp ");
        if !started && ran.stop.is_none() && ran.signal.is_none() {
            return Err(Error::other(format!(
                "bubblewrap could not set up stage \"{}\"",
                job.stage
            ))
            .hint("its log says why; see what works here with: sealstone env probe")
            .source(said));
        }
        let (by, note) = match (&job.net, unfiltered) {
            (Net::Allow(_), _) => ("nothing: allowed", None),
            (_, None) => (probe::NETWORK_BY, None),
            (_, Some(reason)) => (
                probe::NAMESPACE_BY,
                Some(format!(
                    "sockets that know no such namespace are not refused: {reason}"
                )),
            ),
        };
        ran.enforcement.push(Enforcement {
            limit: "network".to_owned(),
            requested: probe::network(&job.net),
            by: by.to_owned(),
            note,
        });
        finish(self.kind(), isolation, job, &place, ran)
    }
}

/// Bytes of the end of a log that are kept.
const END: usize = 1024;

/// Hands logs on, and keeps how standard error ends.
struct Heard<'a> {
    log: &'a mut dyn LogSink,
    end: Vec<u8>,
}

impl Heard<'_> {
    fn last_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.end);
        text.lines().last().unwrap_or_default().to_owned()
    }
}

impl LogSink for Heard<'_> {
    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Stderr {
            self.end.extend_from_slice(bytes);
            let before = self.end.len().saturating_sub(END);
            self.end.drain(..before);
        }
        self.log.write(stream, bytes);
    }
}

/// Arguments of a program, as they are collected.
#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn add<const N: usize>(&mut self, words: [&dyn AsRef<std::ffi::OsStr>; N]) {
        self.0
            .extend(words.iter().map(|word| word.as_ref().to_owned()));
    }
}

/// Whether bubblewrap can keep its command from making user namespaces: from version 0.8 on, and not where `/proc/sys` is
/// read-only, as in some containers. Tried once.
fn refuses_user_namespaces() -> bool {
    static TRIED: OnceLock<bool> = OnceLock::new();
    *TRIED.get_or_init(|| {
        let tried = Command::new("bwrap")
            .args(["--unshare-user", "--disable-userns", "--die-with-parent"])
            .args(["--dev-bind", "/", "/", "--", "true"])
            .env_clear()
            .env("PATH", PATH)
            .current_dir("/")
            .output();
        tried.is_ok_and(|output| output.status.success())
    })
}

/// A file with filters of system calls, which bubblewrap reads before it starts the command.
fn write_filter(place: &Place, programs: &[BpfProgram]) -> Result<OwnedFd> {
    let path = place.settings().join("filter");
    fs::write(&path, filter::bytes(&filter::joined(programs)))
        .and_then(|()| File::open(&path))
        .map(OwnedFd::from)
        .map_err(|source| Error::io("writing the filter of a sandbox", source))
}

fn arguments(
    job: &StageJob,
    place: &Place,
    status: &OwnedFd,
    filter: Option<&OwnedFd>,
) -> Result<Vec<OsString>> {
    let mut words = Arguments::default();
    for word in [
        "--unshare-user",
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ] {
        words.add([&word]);
    }
    if refuses_user_namespaces() {
        words.add([&"--disable-userns"]);
    }
    if !matches!(job.net, Net::Allow(_)) {
        words.add([&"--unshare-net"]);
    }
    words.add([&"--die-with-parent"]);
    words.add([&"--new-session"]);
    words.add([&"--uid", &USER_NUMBER, &"--gid", &USER_NUMBER]);
    words.add([&"--hostname", &probe::HOST_NAME]);
    words.add([&"--cap-drop", &"ALL"]);
    words.add([&"--json-status-fd", &status.as_raw_fd().to_string()]);
    if let Some(filter) = filter {
        words.add([&"--seccomp", &filter.as_raw_fd().to_string()]);
    }
    let places = Places {
        home: HOME.to_owned(),
        temporary: "/tmp".to_owned(),
        path: system::path(job),
    };
    words.add([&"--clearenv"]);
    for (name, value) in variables(job, &places) {
        words.add([&"--setenv", &name, &value]);
    }
    match &job.software.rootfs {
        Some(rootfs) => mount_rootfs(&mut words, &rootfs.directory)?,
        None => mount_system(&mut words, job, place)?,
    }
    words.add([&"--proc", &"/proc"]);
    // Those of the machine's own `/proc` are the same ones; what differs between namespaces is told by who asks.
    let kernel = system::kernel_files(Path::new("/proc"));
    for path in &kernel.read_only {
        words.add([&"--ro-bind-try", path, path]);
    }
    for path in &kernel.hidden {
        words.add([&"--ro-bind", &"/dev/null", path]);
    }
    words.add([&"--dev", &"/dev", &"--tmpfs", &"/dev/shm"]);
    for device in system::accelerators(job) {
        words.add([&"--dev-bind", &device, &device]);
    }
    words.add([&"--remount-ro", &"/dev"]);
    words.add([&"--ro-bind-try", &system::PROCESSORS, &system::PROCESSORS]);
    // Before what is mounted below it: a virtual environment may lie in the machine's own /tmp.
    words.add([&"--bind", &place.temporary(), &"/tmp"]);
    for directory in &job.software.read_only {
        if !directory.starts_with("/usr") {
            words.add([&"--ro-bind", directory, directory]);
        }
    }
    words.add([&"--bind", &place.home(), &HOME]);
    words.add([&"--bind", &place.work(), &WORK]);
    for (source, path) in &place.mounts {
        words.add([&"--ro-bind", source, &format!("{WORK}/{path}")]);
    }
    words.add([&"--chdir", &WORK, &"--remount-ro", &"/", &"--"]);
    for word in &job.argv {
        words.add([word]);
    }
    Ok(words.0)
}

/// This machine's programs and libraries, and an `/etc` that says nothing of it.
fn mount_system(words: &mut Arguments, job: &StageJob, place: &Place) -> Result<()> {
    for directory in system::DIRECTORIES {
        mount_entry(words, Path::new(directory), Path::new(directory));
    }
    for path in system::settings(job) {
        words.add([&"--ro-bind", &path, &path]);
    }
    for (name, text) in accounts() {
        let file = place.settings().join(name);
        fs::write(&file, text)
            .map_err(|source| Error::io("writing settings of a sandbox", source))?;
        words.add([&"--ro-bind", &file, &format!("/etc/{name}")]);
    }
    Ok(())
}

/// The only user and group, and how names are looked up.
pub(super) fn accounts() -> [(&'static str, String); 2] {
    let user = probe::USER;
    [
        (
            "passwd",
            format!("{user}:x:{USER_NUMBER}:{USER_NUMBER}::{HOME}:/bin/sh\n"),
        ),
        ("group", format!("{user}:x:{USER_NUMBER}:\n")),
    ]
}

/// A link stays a link; a directory or file is mounted; what is not there is left out.
fn mount_entry(words: &mut Arguments, from: &Path, to: &Path) {
    let Ok(metadata) = fs::symlink_metadata(from) else {
        return;
    };
    if metadata.is_symlink() {
        if let Ok(target) = fs::read_link(from) {
            words.add([&"--symlink", &target, &to]);
        }
    } else {
        words.add([&"--ro-bind", &from, &to]);
    }
}

/// The entries of a root file system but for those that every run has anew.
fn mount_rootfs(words: &mut Arguments, root: &Path) -> Result<()> {
    for name in rootfs_entries(root)? {
        mount_entry(words, &root.join(&name), &Path::new("/").join(&name));
    }
    Ok(())
}

/// The top of a root file system, sorted, without what every run has anew.
pub(super) fn rootfs_entries(root: &Path) -> Result<Vec<PathBuf>> {
    let what = |source| {
        Error::io(
            format!("reading the root file system \"{}\"", root.display()),
            source,
        )
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(root).map_err(what)? {
        let name = PathBuf::from(entry.map_err(what)?.file_name());
        let anew = ["proc", "dev", "sys", "tmp", "run", "home", "w"];
        if !anew.iter().any(|other| name == Path::new(other)) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

impl Runner for BubblewrapRunner {
    fn kind(&self) -> RunnerKind {
        if self.pinned {
            RunnerKind::Rootfs
        } else {
            RunnerKind::Bubblewrap
        }
    }

    fn probe(&self) -> Capabilities {
        let probe = || {
            let version = Command::new("bwrap").arg("--version").output();
            if !version.is_ok_and(|output| output.status.success()) {
                return Capabilities::unusable(
                    self.kind(),
                    "there is no bwrap: install the package bubblewrap",
                );
            }
            // The sandbox is tried over this machine's /usr: a root file system need not have a shell.
            let trial = probe::trial(|job, log| self.run_at(job, Isolation::I0, log));
            let mut found = probe::capabilities(self.kind(), &trial);
            if found.usable.is_present() && self.pinned {
                found.rootfs = Capability::present("mounted read-only, entry by entry");
            }
            found
        };
        self.probed.get_or_init(probe).clone()
    }

    fn host_name(&self) -> Option<&'static str> {
        Some(probe::HOST_NAME)
    }

    fn user(&self) -> Option<&'static str> {
        Some(probe::USER)
    }

    fn run(&self, job: &StageJob, log: &mut dyn LogSink) -> Result<StageOutcome> {
        let isolation = probe::usable(&self.probe(), job)?;
        if self.pinned != job.software.rootfs.is_some() {
            let text = match self.pinned {
                true => format!("stage \"{}\" has no root file system", job.stage),
                false => format!(
                    "the runner \"bubblewrap\" uses the machine's /usr, and stage \"{}\" has a root file system",
                    job.stage
                ),
            };
            return Err(Error::refused(text).hint(
                "use the runner rootfs for stages with a root file system, bubblewrap for others",
            ));
        }
        self.run_at(job, isolation, log)
    }
}
