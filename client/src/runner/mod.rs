//! Runners: a stage of a recipe run as cleanly as this machine permits, and an honest account of it.
//!
//! Owns the trait, the jobs and outcomes, the probe that says what is possible, and the choice among
//! runners. Does not know recipes or verdicts: it runs one command with declared files and tells what
//! became of it.
//! Invariant: the isolation in an outcome is one that a probe of this process has shown to hold. A run
//! never writes to a source of an input.

mod accelerator;
mod bubblewrap;
mod capabilities;
mod cgroup;
mod child;
mod choose;
mod confine;
mod filter;
mod job;
mod keepers;
mod log;
mod oci;
mod outcome;
mod place;
mod probe;
mod process;
mod processes;
mod supervise;
mod system;
mod variables;

pub use bubblewrap::BubblewrapRunner;
pub use capabilities::{Capabilities, Capability};
pub use choose::{Choice, Chosen, choose, runner, survey};
pub use job::{Device, Expected, Input, Limits, Net, Rootfs, Seeds, Software, StageJob};
pub use log::{Discard, Kept, LogSink, Stream, Written};
pub use oci::OciRunner;
pub use outcome::{
    Enforcement, Log, Measured, Method, NOT_ENFORCED, Output, StageOutcome, Stop, Usage,
};
pub use process::ProcessRunner;
pub use variables::{Places, THREAD_VARIABLES, variables};

use crate::error::Result;
use place::Place;
use sealstone_spec::environment::Isolation;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds of runners, the most isolated first: the order in which `auto` tries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RunnerKind {
    /// A pinned root file system in bubblewrap.
    Rootfs,
    /// An OCI runtime, with a bundle made for the run.
    Oci,
    /// bubblewrap over this machine's `/usr`, read-only.
    Bubblewrap,
    /// A process confined by Landlock and seccomp.
    Confined,
    /// A process with a scrubbed environment in an empty directory.
    Process,
}

impl RunnerKind {
    /// Every kind, the most isolated first.
    pub const ALL: [RunnerKind; 5] = [
        RunnerKind::Rootfs,
        RunnerKind::Oci,
        RunnerKind::Bubblewrap,
        RunnerKind::Confined,
        RunnerKind::Process,
    ];

    /// The name on command lines and in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            RunnerKind::Rootfs => "rootfs",
            RunnerKind::Oci => "oci",
            RunnerKind::Bubblewrap => "bubblewrap",
            RunnerKind::Confined => "confined",
            RunnerKind::Process => "process",
        }
    }
}

impl fmt::Display for RunnerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that runs stages.
pub trait Runner: Send + Sync {
    /// Which kind it is.
    fn kind(&self) -> RunnerKind;

    /// What it can do on this machine: tries it, the first time, and remembers.
    fn probe(&self) -> Capabilities;

    /// The host name that stages see; `None` if it is the machine's.
    fn host_name(&self) -> Option<&'static str> {
        None
    }

    /// The user that stages see; `None` if it is the caller.
    fn user(&self) -> Option<&'static str> {
        None
    }

    /// Runs a stage to its end. Blocks: asynchronous callers use a blocking task.
    ///
    /// A command that fails, crashes or is ended is an outcome, not an error.
    ///
    /// # Errors
    /// [`Outcome::Halted`](crate::Outcome::Halted) if an input is not what it must be (nothing ran);
    /// [`Outcome::Usage`](crate::Outcome::Usage) if the job makes no sense; anything else if the machine
    /// does not let it run.
    fn run(&self, job: &StageJob, log: &mut dyn LogSink) -> Result<StageOutcome>;
}

/// Reads what a stage left behind, and moves its outputs to their destination if it succeeded.
fn finish(
    kind: RunnerKind,
    isolation: Isolation,
    job: &StageJob,
    place: &Place,
    ran: supervise::Ran,
) -> Result<StageOutcome> {
    let found = place.collect();
    let mut stop = ran.stop;
    if stop.is_none()
        && job
            .limits
            .output_bytes
            .is_some_and(|limit| place.written_bytes() > limit)
    {
        stop = Some(Stop::OutputLimit);
    }
    let outcome = StageOutcome {
        stage: job.stage.clone(),
        runner: kind,
        isolation,
        exit: ran.exit,
        signal: ran.signal,
        stop,
        usage: ran.usage,
        enforcement: ran.enforcement,
        stdout: ran.stdout,
        stderr: ran.stderr,
        inputs: place.read(),
        outputs: found.outputs,
        missing: found.missing,
        undeclared: found.undeclared,
        violations: found.violations,
    };
    if outcome.succeeded() {
        place.publish(&outcome.outputs, &job.destination)?;
    }
    Ok(outcome)
}
