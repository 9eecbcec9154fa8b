//! What a stage needs to run: command, declared files, limits.
//!
//! Owns the description only. Nothing here touches a disk; paths are judged when the job is placed.
//! Invariant: a job names everything that the stage may read and write. What is not in it, a runner with
//! isolation keeps away.

use sealstone_spec::digest::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A file or directory that the stage may read.
#[derive(Clone, Debug)]
pub struct Input {
    /// Where the stage finds it, relative to its working directory.
    pub path: String,
    /// Where it lies on this machine. It is never written to.
    pub source: PathBuf,
    /// What it must be.
    pub expected: Expected,
}

/// What an input must be before the stage starts and when it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// A file with this digest.
    File(Digest),
    /// A directory with these files, by path relative to it, and no others.
    Tree(BTreeMap<String, Digest>),
    /// Whatever is there, for baselines that are being recorded. What it was is told in the outcome.
    Recorded,
}

/// A root file system that is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootfs {
    /// Where it is unpacked.
    pub directory: PathBuf,
    /// Digest of the image or tree that it was unpacked from.
    pub digest: Digest,
}

/// The programs that the stage may use.
#[derive(Clone, Debug, Default)]
pub struct Software {
    /// System files; without one, those of this machine, read-only.
    pub rootfs: Option<Rootfs>,
    /// Directories outside of `/usr` that are visible at the same place, read-only: the interpreter's
    /// prefix, a virtual environment.
    pub read_only: Vec<PathBuf>,
    /// Directories that come first in `PATH`.
    pub path: Vec<PathBuf>,
    /// Variables that the programs need and an image states. Those of runner and recipe come before them.
    pub variables: BTreeMap<String, String>,
}

/// What the stage may connect to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Net {
    /// Nothing beyond the machine. Sockets of this machine may be there and are not promised.
    #[default]
    Deny,
    /// Sockets of this machine, for processes that train together.
    Loopback,
    /// Everything, for a stage that fetches. The reason is recorded, and isolation is at most I1.
    Allow(String),
}

/// Where the stage computes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Device {
    /// On processors.
    #[default]
    Cpu,
    /// On NVIDIA accelerators, by their numbers; an empty list means all.
    Cuda(Vec<u32>),
}

/// What the stage may use. What cannot be enforced is named in [`super::StageOutcome::enforcement`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Processors, enforced by affinity.
    pub cpus: Option<u32>,
    /// Exactly these processors.
    pub cpu_set: Option<Vec<u32>>,
    /// Threads that libraries are told to use; without it, as many as `cpus`.
    pub threads: Option<u32>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Time by the clock on the wall. Then SIGTERM, and after `grace` SIGKILL, to all processes.
    pub wall: Option<Duration>,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// Bytes of all files that the stage writes.
    pub output_bytes: Option<u64>,
    /// Bytes of each log that are kept.
    pub log_bytes: u64,
}

impl Default for Limits {
    /// No limit but 4096 processes and 16 MiB of each log.
    fn default() -> Limits {
        Limits {
            cpus: None,
            cpu_set: None,
            threads: None,
            memory: None,
            pids: Some(4096),
            wall: None,
            grace: Duration::from_secs(10),
            output_bytes: None,
            log_bytes: 16 << 20,
        }
    }
}

/// What randomness is fixed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeds {
    /// The recipe's seed, handed on as `P_SEED`.
    pub seed: Option<u64>,
    /// `PYTHONHASHSEED`.
    pub hash_seed: u32,
}

/// One stage, ready to run.
///
/// The working directory of the command is empty but for its inputs. Paths of inputs and outputs are
/// relative to it, without `..`; an output that ends in `/` is a directory.
#[derive(Clone, Debug)]
pub struct StageJob {
    /// The stage's name, for messages.
    pub stage: String,
    /// The command. Its first word is looked for in `PATH`; there is no shell.
    pub argv: Vec<String>,
    /// Variables beside those that runners set (see [`super::variables`]). May replace these, but for
    /// `HOME`, `TMPDIR` and `PATH`. Nothing else of the caller's environment is passed on.
    pub env: BTreeMap<String, String>,
    /// What it may read.
    pub inputs: Vec<Input>,
    /// What it must write.
    pub outputs: Vec<String>,
    /// An existing directory for the outputs, under their paths. A file that is there is replaced.
    pub destination: PathBuf,
    /// An existing directory for the run's own files. The runner removes what it put there.
    pub scratch: PathBuf,
    /// The programs.
    pub software: Software,
    /// What it may use.
    pub limits: Limits,
    /// What it may connect to.
    pub net: Net,
    /// Where it computes.
    pub device: Device,
    /// Randomness.
    pub seeds: Seeds,
    /// `SOURCE_DATE_EPOCH`: seconds since 1970.
    pub source_date_epoch: u64,
}

impl StageJob {
    /// A job with no inputs, outputs or limits beyond the default ones.
    pub fn new(
        stage: impl Into<String>,
        argv: Vec<String>,
        scratch: impl Into<PathBuf>,
        destination: impl Into<PathBuf>,
    ) -> StageJob {
        StageJob {
            stage: stage.into(),
            argv,
            env: BTreeMap::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            destination: destination.into(),
            scratch: scratch.into(),
            software: Software::default(),
            limits: Limits::default(),
            net: Net::default(),
            device: Device::default(),
            seeds: Seeds::default(),
            source_date_epoch: 0,
        }
    }

    /// Threads that libraries are told to use: as the limits say, and one where they say nothing, since
    /// the number of threads changes results and the number of processors differs between machines.
    pub fn threads(&self) -> u32 {
        let set = self.limits.cpu_set.as_ref().map(Vec::len);
        let set = set.and_then(|count| u32::try_from(count).ok());
        self.limits
            .threads
            .or(self.limits.cpus)
            .or(set)
            .unwrap_or(1)
            .max(1)
    }
}
