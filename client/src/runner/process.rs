//! Stages as plain processes, confined by Landlock and seccomp where asked.
//!
//! Inputs are copied into an empty directory, so that the baseline cannot be touched, and their digests are
//! compared again at the end. The stage sees this machine's host name and processes.

use super::capabilities::{Capabilities, Capability};
use super::child::Confinement;
use super::confine::{self, Visible};
use super::filter::{self, Sockets};
use super::job::{Net, StageJob};
use super::log::LogSink;
use super::outcome::{Enforcement, NOT_ENFORCED, StageOutcome};
use super::place::{Place, Placing};
use super::probe::{self, Trial};
use super::variables::{Places, variables};
use super::{Runner, RunnerKind, finish, supervise, system};
use crate::error::{Error, Result};
use sealstone_spec::environment::Isolation;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// A process with a scrubbed environment in an empty directory; [`ProcessRunner::confined`] adds Landlock
/// and seccomp, without which only the network is denied, and only if seccomp is there.
#[derive(Debug)]
pub struct ProcessRunner {
    confined: bool,
    probed: OnceLock<Capabilities>,
}

impl ProcessRunner {
    /// Without Landlock: files of the machine can be read.
    pub fn plain() -> ProcessRunner {
        ProcessRunner {
            confined: false,
            probed: OnceLock::new(),
        }
    }

    /// With Landlock and seccomp.
    pub fn confined() -> ProcessRunner {
        ProcessRunner {
            confined: true,
            probed: OnceLock::new(),
        }
    }

    fn visible(&self, job: &StageJob, place: &Place) -> Visible {
        let mut read: Vec<PathBuf> = system::DIRECTORIES.iter().map(PathBuf::from).collect();
        read.extend(system::settings(job));
        read.extend(job.software.read_only.iter().cloned());
        read.extend(["/proc", system::PROCESSORS].map(PathBuf::from));
        let mut write = vec![place.work(), place.home(), place.temporary()];
        write.extend(system::DEVICES.iter().map(PathBuf::from));
        // Semaphores of POSIX lie here. It is shared with the machine: see the documentation.
        write.push(PathBuf::from("/dev/shm"));
        write.extend(system::accelerators(job));
        Visible { read, write }
    }

    fn confinement(&self, job: &StageJob, place: &Place) -> Result<(Confinement, Enforcement)> {
        let mut confinement = Confinement {
            unprivileged: true,
            ..Confinement::default()
        };
        let refuse = match &job.net {
            Net::Deny => true,
            Net::Allow(_) => false,
            Net::Loopback => {
                return Err(Error::refused(format!(
                    "stage \"{}\" needs sockets of the machine alone, which the runner \"{}\" cannot offer",
                    job.stage,
                    self.kind()
                ))
                .hint("use the runner bubblewrap, rootfs or oci"));
            }
        };
        let mut row = Enforcement {
            limit: "network".to_owned(),
            requested: probe::network(&job.net),
            by: "seccomp".to_owned(),
            note: None,
        };
        let refuse_cutting = self.confined && !confine::governs_truncation();
        let sockets = if refuse { Sockets::Local } else { Sockets::Any };
        match filter::programs(sockets, refuse_cutting) {
            Ok(filters) => {
                confinement.filters = filters;
                confinement.refuses_sockets = refuse;
            }
            Err(reason) if self.confined => return Err(Error::refused(reason)),
            Err(reason) => {
                row.by = NOT_ENFORCED.to_owned();
                row.note = Some(reason);
            }
        }
        if self.confined {
            let ruleset = confine::ruleset(&self.visible(job, place)).map_err(Error::refused)?;
            confinement.ruleset = Some(ruleset);
            let canary = place.canary();
            confinement.canary = CString::new(canary.as_os_str().as_bytes()).ok();
        }
        if !refuse {
            row.by = "nothing: allowed".to_owned();
        }
        Ok((confinement, row))
    }

    fn run_at(
        &self,
        job: &StageJob,
        isolation: Isolation,
        log: &mut dyn LogSink,
    ) -> Result<StageOutcome> {
        if job.software.rootfs.is_some() {
            return Err(Error::refused(format!(
                "the runner \"{}\" cannot use the root file system of stage \"{}\"",
                self.kind(),
                job.stage
            ))
            .hint("use the runner rootfs or oci"));
        }
        let place = Place::prepare(job, Placing::Copied)?;
        let (confinement, network) = self.confinement(job, &place)?;
        let places = Places {
            home: place.home().to_string_lossy().into_owned(),
            temporary: place.temporary().to_string_lossy().into_owned(),
            path: system::path(job),
        };
        let mut command = Command::new(&job.argv[0]);
        command
            .args(&job.argv[1..])
            .env_clear()
            .envs(variables(job, &places))
            .current_dir(place.work());
        let mut ran = supervise::run(command, confinement, job, &place, 0, log)?;
        ran.enforcement.push(network);
        finish(self.kind(), isolation, job, &place, ran)
    }
}

impl Runner for ProcessRunner {
    fn kind(&self) -> RunnerKind {
        if self.confined {
            RunnerKind::Confined
        } else {
            RunnerKind::Process
        }
    }

    fn probe(&self) -> Capabilities {
        let probe = || {
            let trial = probe::trial(|job, log| self.run_at(job, Isolation::I0, log));
            let mut found = probe::capabilities(self.kind(), &trial);
            found.rootfs = Capability::absent("a process keeps the machine's root");
            found.host_name = Capability::absent("a process keeps the machine's host name");
            found.processes_hidden = match (&trial, self.confined) {
                (Trial::Ran(_), true) => Capability::absent(
                    "names of other processes are visible; Landlock keeps their memory and variables away",
                ),
                _ => Capability::absent("all processes of the machine are visible"),
            };
            found
        };
        self.probed.get_or_init(probe).clone()
    }

    fn run(&self, job: &StageJob, log: &mut dyn LogSink) -> Result<StageOutcome> {
        let isolation = probe::usable(&self.probe(), job)?;
        self.run_at(job, isolation, log)
    }
}
