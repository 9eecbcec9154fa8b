//! Stages in an OCI runtime, with a bundle that is made for the run. No engine and no daemon.
//!
//! The user of the container is mapped to the caller, so that files of the run belong to the caller. Over
//! the root file system of the job, or this machine's `/usr`. Root in the container is root's number outside of it, so
//! what of `/proc` is the kernel's is read-only.

use super::bubblewrap::{HOME, WORK, rootfs_entries};
use super::capabilities::{Capabilities, Capability};
use super::child::{self, Confinement};
use super::filter::{self, Sockets};
use super::job::{Net, StageJob};
use super::log::LogSink;
use super::outcome::{Enforcement, Measured, Method, StageOutcome, Stop};
use super::place::{Place, Placing};
use super::variables::{Places, variables};
use super::{Runner, RunnerKind, finish, probe, supervise, system};
use crate::error::{Error, Result};
use sealstone_spec::environment::Isolation;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Runtimes that are tried.
const RUNTIMES: [&str; 2] = ["runc", "crun"];
/// Processes of the runtime between the keeper and the command.
const HELPERS: u32 = 1;

/// Runs stages in an OCI runtime.
#[derive(Debug, Default)]
pub struct OciRunner {
    /// The runtime that works, and what it can do.
    probed: OnceLock<(&'static str, Capabilities)>,
}

impl OciRunner {
    /// With the first runtime that works.
    pub fn new() -> OciRunner {
        OciRunner::default()
    }

    fn probed(&self) -> &(&'static str, Capabilities) {
        self.probed.get_or_init(|| {
            let mut reasons = Vec::new();
            for runtime in RUNTIMES {
                if !Command::new(runtime)
                    .arg("--version")
                    .output()
                    .is_ok_and(|output| output.status.success())
                {
                    reasons.push(format!("there is no {runtime}"));
                    continue;
                }
                let trial = probe::trial(|job, log| run_at(runtime, job, Isolation::I0, log));
                let mut found = probe::capabilities(RunnerKind::Oci, &trial);
                match &found.usable {
                    Capability::Present { .. } => {
                        found.usable = Capability::present(format!("the probe ran in {runtime}"));
                        found.rootfs = Capability::present("mounted read-only, entry by entry");
                        return (runtime, found);
                    }
                    Capability::Absent { reason } => reasons.push(format!("{runtime}: {reason}")),
                }
            }
            (
                RUNTIMES[0],
                Capabilities::unusable(RunnerKind::Oci, &reasons.join("; ")),
            )
        })
    }
}

fn run_at(
    runtime: &str,
    job: &StageJob,
    isolation: Isolation,
    log: &mut dyn LogSink,
) -> Result<StageOutcome> {
    let place = Place::prepare(job, Placing::Mounted)?;
    let bundle = place.settings();
    let state = bundle.join("state");
    let name = format!("sealstone-{}", place.name());
    let config = config(job, &place, &name)?;
    let text = serde_json::to_vec(&config)
        .map_err(|error| Error::other("cannot write a container's configuration").source(error))?;
    fs::write(bundle.join("config.json"), text)
        .map_err(|source| Error::io("writing a container's configuration", source))?;

    // Where the runtime makes the group, the kernel's own limits are in the configuration.
    let mut watched = job.clone();
    let mut rows = Vec::new();
    let grouped = child::is_root();
    if grouped {
        let bounds = [
            (
                "memory",
                watched.limits.memory.take().map(|bytes| bytes.to_string()),
            ),
            (
                "pids",
                watched.limits.pids.take().map(|count| count.to_string()),
            ),
        ];
        for (limit, requested) in bounds {
            rows.extend(requested.map(|requested| Enforcement {
                limit: limit.to_owned(),
                requested,
                by: format!("control group made by {runtime}"),
                note: None,
            }));
        }
    }
    let mut command = Command::new(runtime);
    command
        .arg("--root")
        .arg(&state)
        .arg("--log")
        .arg(bundle.join("log"))
        .args(["run", "--keep", "--bundle"])
        .arg(&bundle)
        .arg(&name)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("XDG_RUNTIME_DIR", &bundle)
        .current_dir("/");
    let confinement = Confinement {
        limits_are_inside: true,
        group_is_inside: grouped,
        filters_are_inside: true,
        ..Confinement::default()
    };
    let ran = supervise::run(command, confinement, &watched, &place, HELPERS, log);
    // runc leaves a directory behind also where it failed. What it knows of a container (`state.json`; crun: `status`) it
    // writes when everything is mounted, before the command.
    let set_up = ["state.json", "status"]
        .iter()
        .any(|known| state.join(&name).join(known).exists());
    let accounts = Accounts::read(Path::new("/sys/fs/cgroup"), &name);
    let delete = Command::new(runtime)
        .arg("--root")
        .arg(&state)
        .args(["delete", "--force", &name])
        .output();
    let mut ran = ran?;
    if !set_up && ran.stop.is_none() {
        let said = fs::read_to_string(bundle.join("log")).unwrap_or_default();
        let said = said.lines().last().unwrap_or_default().to_owned();
        return Err(Error::other(format!(
            "{runtime} could not set up stage \"{}\"",
            job.stage
        ))
        .source(said));
    }
    if delete.is_ok_and(|output| !output.status.success()) {
        tracing::warn!(
            container = name,
            "{runtime} could not remove what is left of a container"
        );
    }
    ran.enforcement.extend(rows);
    if grouped {
        // Where the group has no account, what the keeper has waited for and seen holds.
        let usage = &mut ran.usage;
        usage.user_ms = accounts.user.or(usage.user_ms);
        usage.system_ms = accounts.system.or(usage.system_ms);
        usage.peak_rss_bytes = accounts.peak.or(usage.peak_rss_bytes);
        if ran.stop.is_none() && ran.exit != Some(0) {
            if job.limits.memory.is_some() && accounts.out_of_memory {
                ran.stop = Some(Stop::MemoryLimit);
            } else if job.limits.pids.is_some() && accounts.out_of_processes {
                ran.stop = Some(Stop::PidsLimit);
            }
        }
    }
    ran.enforcement.push(Enforcement {
        limit: "network".to_owned(),
        requested: probe::network(&job.net),
        by: match job.net {
            Net::Allow(_) => "nothing: allowed".to_owned(),
            // Some runtimes are built without filters and say nothing: the probe saw that there is none.
            _ if isolation < Isolation::I2 => probe::NAMESPACE_BY.to_owned(),
            _ => probe::NETWORK_BY.to_owned(),
        },
        note: None,
    });
    finish(RunnerKind::Oci, isolation, job, &place, ran)
}

/// What the group of a container says once its processes are gone.
#[derive(Default)]
struct Accounts {
    user: Option<Measured>,
    system: Option<Measured>,
    peak: Option<Measured>,
    out_of_memory: bool,
    out_of_processes: bool,
}

impl Accounts {
    /// From the groups named `name` below `root`; where there is none, nothing.
    fn read(root: &Path, name: &str) -> Accounts {
        let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let field = |path: PathBuf, field: &str| {
            let text = fs::read_to_string(path).ok()?;
            text.lines()
                .find_map(|line| line.strip_prefix(field)?.trim().parse::<u64>().ok())
        };
        let counted = |path: PathBuf, name: &str| field(path, name).is_some_and(|count| count > 0);
        let two = root.join(name);
        // Only version 2 counts both in microseconds; under version 1 the account of the keeper holds.
        let time = |name: &str| {
            let micros = field(two.join("cpu.stat"), name)?;
            Some(Measured::new(micros / 1000, Method::Cgroup2))
        };
        let (memory, pids) = (root.join("memory").join(name), root.join("pids").join(name));
        let second =
            number(two.join("memory.peak")).map(|value| Measured::new(value, Method::Cgroup2));
        let first = number(memory.join("memory.max_usage_in_bytes"))
            .map(|value| Measured::new(value, Method::Cgroup1));
        Accounts {
            user: time("user_usec "),
            system: time("system_usec "),
            peak: second.or(first),
            out_of_memory: counted(two.join("memory.events"), "oom_kill ")
                || counted(memory.join("memory.oom_control"), "oom_kill "),
            out_of_processes: counted(two.join("pids.events"), "max ")
                || counted(pids.join("pids.events"), "max "),
        }
    }
}

fn bind(source: &Path, destination: impl AsRef<Path>, read_only: bool) -> Value {
    let mut options = vec!["rbind", "nosuid", if read_only { "ro" } else { "rw" }];
    if read_only && covers_what_is_below() {
        options.push("rro");
    }
    json!({"source": source, "destination": destination.as_ref(), "type": "bind", "options": options})
}

/// Whether this kernel makes a mount read-only together with what is mounted below it: `ro` does not, and a disk that
/// is mounted in a data set, or in `/usr`, stayed writable. Runtimes that do not know the option pass it on to the
/// kernel, which ignores it.
fn covers_what_is_below() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    has_mount_setattr(&release)
}

/// From Linux 5.12 on.
fn has_mount_setattr(release: &str) -> bool {
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map(|number| number.parse::<u32>().unwrap_or_default());
    let version = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    version >= (5, 12)
}

/// The bundle's configuration, and the empty root beside it.
fn config(job: &StageJob, place: &Place, name: &str) -> Result<Value> {
    let failed = |source| Error::io("making the root of a container", source);
    let root = place.settings().join("root");
    fs::create_dir_all(&root).map_err(failed)?;
    let entries: Vec<(PathBuf, PathBuf)> = match &job.software.rootfs {
        Some(rootfs) => rootfs_entries(&rootfs.directory)?
            .into_iter()
            .map(|entry| (rootfs.directory.join(&entry), entry))
            .collect(),
        None => system::DIRECTORIES
            .iter()
            .map(|directory| {
                (
                    PathBuf::from(directory),
                    PathBuf::from(directory.trim_start_matches('/')),
                )
            })
            .collect(),
    };
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
        json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777"]}),
    ];
    for (from, to) in entries {
        let Ok(metadata) = fs::symlink_metadata(&from) else {
            continue;
        };
        if metadata.is_symlink() {
            let target = fs::read_link(&from).map_err(failed)?;
            symlink(target, root.join(&to)).map_err(failed)?;
        } else {
            mounts.push(bind(&from, Path::new("/").join(&to), true));
        }
    }
    if job.software.rootfs.is_none() {
        for path in system::settings(job) {
            mounts.push(bind(&path, &path, true));
        }
        let user = probe::USER;
        for (file, text) in [
            ("passwd", format!("{user}:x:0:0::{HOME}:/bin/sh\n")),
            ("group", format!("{user}:x:0:\n")),
        ] {
            let path = place.settings().join(file);
            fs::write(&path, text).map_err(failed)?;
            mounts.push(bind(&path, Path::new("/etc").join(file), true));
        }
    }
    if Path::new(system::PROCESSORS).exists() {
        mounts.push(bind(
            Path::new(system::PROCESSORS),
            system::PROCESSORS,
            true,
        ));
    }
    for device in system::accelerators(job) {
        mounts.push(bind(&device, &device, false));
    }
    // Before what is mounted below it: a virtual environment may lie in the machine's own /tmp.
    mounts.push(bind(&place.temporary(), "/tmp", false));
    for directory in &job.software.read_only {
        if !directory.starts_with("/usr") {
            mounts.push(bind(directory, directory, true));
        }
    }
    mounts.push(bind(&place.home(), HOME, false));
    mounts.push(bind(&place.work(), WORK, false));
    for (source, path) in &place.mounts {
        mounts.push(bind(source, Path::new(WORK).join(path), true));
    }
    let places = Places {
        home: HOME.to_owned(),
        temporary: "/tmp".to_owned(),
        path: system::path(job),
    };
    let env: Vec<String> = variables(job, &places)
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut namespaces = vec!["pid", "ipc", "uts", "mount", "user"];
    let mut sockets = Sockets::Any;
    if !matches!(job.net, Net::Allow(_)) {
        namespaces.push("network");
        sockets = Sockets::Namespaced;
    }
    let kernel = system::kernel_files(Path::new("/proc"));
    let namespaces: Vec<Value> = namespaces
        .into_iter()
        .map(|kind| json!({"type": kind}))
        .collect();
    let mut linux = json!({
        "namespaces": namespaces,
        "uidMappings": [{"containerID": 0, "hostID": child::user(), "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": child::group(), "size": 1}],
        "readonlyPaths": kernel.read_only,
        "maskedPaths": kernel.hidden,
        "seccomp": filter::rules(sockets),
    });
    if child::is_root() {
        let mut resources = json!({});
        if let Some(memory) = job.limits.memory {
            resources["memory"] = json!({"limit": memory});
        }
        if let Some(pids) = job.limits.pids {
            resources["pids"] = json!({"limit": pids});
        }
        linux["cgroupsPath"] = json!(format!("/{name}"));
        linux["resources"] = resources;
    }
    let rlimits: Vec<Value> = job
        .limits
        .memory
        .filter(|_| !child::is_root())
        .map(|bytes| json!({"type": "RLIMIT_DATA", "soft": bytes, "hard": bytes}))
        .into_iter()
        .collect();
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0, "umask": 0o022},
            "args": job.argv,
            "env": env,
            "cwd": WORK,
            "capabilities": {"bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": []},
            "noNewPrivileges": true,
            "rlimits": rlimits,
        },
        "root": {"path": root, "readonly": true},
        "hostname": probe::HOST_NAME,
        "mounts": mounts,
        "linux": linux,
    }))
}

impl Runner for OciRunner {
    fn kind(&self) -> RunnerKind {
        RunnerKind::Oci
    }

    fn probe(&self) -> Capabilities {
        self.probed().1.clone()
    }

    fn host_name(&self) -> Option<&'static str> {
        Some(probe::HOST_NAME)
    }

    fn user(&self) -> Option<&'static str> {
        Some(probe::USER)
    }

    fn run(&self, job: &StageJob, log: &mut dyn LogSink) -> Result<StageOutcome> {
        let (runtime, capabilities) = self.probed();
        let isolation = probe::usable(capabilities, job)?;
        run_at(runtime, job, isolation, log)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_mounted_below_is_covered_from_5_12_on() {
        for (release, covers) in [
            ("6.18.44-fc-v657\n", true),
            ("5.12.0-rc1", true),
            ("10.0", true),
            ("5.11.22", false),
            ("5.4.0-150-generic", false),
            ("4.18", false),
            ("", false),
        ] {
            assert_eq!(has_mount_setattr(release), covers, "{release}");
        }
    }

    #[test]
    fn accounts_are_those_of_the_container() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "two/cpu.stat",
            "usage_usec 9500000\nuser_usec 7250999\nsystem_usec 2249001\nnr_periods 0\n",
        );
        write("two/memory.peak", "4096\n");
        write("two/memory.events", "low 0\noom 1\noom_kill 1\n");
        write("two/pids.events", "max 0\n");
        write("memory/one/memory.max_usage_in_bytes", "8192\n");
        write(
            "memory/one/memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
        );
        write("pids/one/pids.events", "max 3\n");

        let two = Accounts::read(root.path(), "two");
        assert_eq!(two.user, Some(Measured::new(7250, Method::Cgroup2)));
        assert_eq!(two.system, Some(Measured::new(2249, Method::Cgroup2)));
        assert_eq!(two.peak, Some(Measured::new(4096, Method::Cgroup2)));
        assert!(two.out_of_memory && !two.out_of_processes);

        let one = Accounts::read(root.path(), "one");
        assert_eq!((one.user, one.system), (None, None));
        assert_eq!(one.peak, Some(Measured::new(8192, Method::Cgroup1)));
        assert!(!one.out_of_memory && one.out_of_processes);

        let none = Accounts::read(root.path(), "none");
        assert_eq!((none.user, none.peak), (None, None));
    }
}
