//! What became of a stage.
//!
//! Invariant: whatever the command did, there is an outcome; an error means that it was not run, or not
//! to its end. Every figure says how it was measured.

use super::RunnerKind;
use sealstone_spec::digest::Digest;
use sealstone_spec::environment::Isolation;
use serde::{Deserialize, Serialize};

/// Why a runner ended the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Stop {
    /// Its time was over.
    WallLimit,
    /// It used more memory than it may.
    MemoryLimit,
    /// It had more processes than it may.
    PidsLimit,
    /// It wrote more than it may.
    OutputLimit,
}

/// How a figure was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Method {
    /// By a monotonic clock around the command.
    Clock,
    /// The kernel's account of all processes that have ended, from `wait4`.
    Wait4,
    /// As `wait4` has it: the largest single process, not the sum.
    Wait4LargestProcess,
    /// The accounting of a control group, version 2.
    Cgroup2,
    /// The accounting of control groups, version 1.
    Cgroup1,
    /// Looking at all processes every 100 ms; shared pages count once for each. A peak between two looks
    /// is not seen.
    Sampled,
    /// What `nvidia-smi` tells of its processes, once a second.
    NvidiaSmi,
}

/// A figure and how it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The figure, in the unit that the field's name has.
    pub value: u64,
    /// How it was measured.
    pub method: Method,
}

impl Measured {
    pub(super) fn new(value: u64, method: Method) -> Measured {
        Measured { value, method }
    }
}

/// What a stage used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    /// Milliseconds by the clock on the wall.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<Measured>,
    /// Milliseconds of processor time in the programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_ms: Option<Measured>,
    /// Milliseconds of processor time in the kernel for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_ms: Option<Measured>,
    /// Largest memory, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_rss_bytes: Option<Measured>,
    /// Bytes read from disks; what came from the cache is not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<Measured>,
    /// Bytes written to disks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<Measured>,
    /// Most threads at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_threads: Option<Measured>,
    /// Most memory of accelerators at a time, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accelerator_bytes: Option<Measured>,
    /// Most processes at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_processes: Option<Measured>,
}

/// A limit and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enforcement {
    /// `cpus`, `memory`, `pids`, `wall`, `output-bytes`, `log-bytes`, `network`.
    pub limit: String,
    /// What was asked for.
    pub requested: String,
    /// What enforces it, or `requested-not-enforced`.
    pub by: String,
    /// What is weaker than it sounds, or why it is not enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The word for a limit that nothing enforces.
pub const NOT_ENFORCED: &str = "requested-not-enforced";

impl Enforcement {
    /// Whether anything enforces it.
    pub fn is_enforced(&self) -> bool {
        self.by != NOT_ENFORCED
    }
}

/// One of the command's two logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    /// Digest of what was kept, the marker included.
    pub digest: Digest,
    /// Bytes that the command wrote.
    pub bytes: u64,
    /// Bytes that were left out. If not 0, what was kept ends with a marker that says so.
    pub dropped: u64,
}

/// A file that the stage wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// Its path, relative to the working directory.
    pub path: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Its size.
    pub size: u64,
}

/// What became of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageOutcome {
    /// The stage's name.
    pub stage: String,
    /// Who ran it.
    pub runner: RunnerKind,
    /// What it was kept from, as shown by a probe.
    pub isolation: Isolation,
    /// The exit code, unless a signal ended it. Programs in a sandbox that a signal ended are reported as
    /// 128 and the signal's number: then both are filled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why the runner ended it, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// What it used.
    pub usage: Usage,
    /// What became of its limits.
    pub enforcement: Vec<Enforcement>,
    /// What it wrote to standard output.
    pub stdout: Log,
    /// What it wrote to standard error.
    pub stderr: Log,
    /// The files that it read, with the digests that they had when it started.
    pub inputs: Vec<Output>,
    /// The declared files that it wrote. If it [succeeded](StageOutcome::succeeded), they are in the job's
    /// destination; otherwise they are gone.
    pub outputs: Vec<Output>,
    /// Declared outputs that are not there.
    pub missing: Vec<String>,
    /// Files that it wrote without having declared them; they are gone.
    pub undeclared: Vec<String>,
    /// What it wrote that is neither file nor directory (links above all), what of its inputs it
    /// changed where the runner could not prevent it, and what of them somebody else changed while it ran. Such a stage has
    /// not succeeded.
    pub violations: Vec<String>,
}

impl StageOutcome {
    /// Whether the command ended by itself with 0, wrote all its outputs and kept to the rules.
    pub fn succeeded(&self) -> bool {
        self.exit == Some(0)
            && self.signal.is_none()
            && self.stop.is_none()
            && self.missing.is_empty()
            && self.violations.is_empty()
    }

    /// In a few words what went wrong; `None` if nothing did.
    pub fn failure(&self) -> Option<String> {
        if let Some(stop) = self.stop {
            let what = match stop {
                Stop::WallLimit => "ran longer than its wall limit",
                Stop::MemoryLimit => "used more memory than its limit",
                Stop::PidsLimit => "had more processes than its limit",
                Stop::OutputLimit => "wrote more than its limit",
            };
            return Some(format!("stage \"{}\" {what} and was ended", self.stage));
        }
        let problem = match (self.exit, self.signal) {
            (_, Some(signal)) => format!("was ended by signal {signal}"),
            (Some(0), None) if !self.violations.is_empty() => self.violations.join("; "),
            (Some(0), None) if !self.missing.is_empty() => {
                format!("did not write {}", self.missing.join(", "))
            }
            (Some(0), None) => return None,
            (Some(code), None) => format!("exited with {code}"),
            (None, None) => "ended without a status".to_owned(),
        };
        Some(format!("stage \"{}\" {problem}", self.stage))
    }
}
