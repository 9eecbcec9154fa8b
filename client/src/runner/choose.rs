//! The choice of a runner: the most isolated that works, and never one below the minimum.
//!
//! Invariant: what is chosen has been probed in this process, and its level is at least the minimum, or at
//! least the lower one that was accepted explicitly.

use super::{BubblewrapRunner, OciRunner, ProcessRunner};
use super::{Capabilities, Runner, RunnerKind};
use crate::error::{Error, Result};
use sealstone_spec::environment::Isolation;
use sealstone_spec::recipe::RunnerChoice;
use serde_json::json;
use std::fmt;
use std::str::FromStr;

/// Which runner is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The most isolated that works.
    #[default]
    Auto,
    /// This one.
    Only(RunnerKind),
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Auto => f.write_str("auto"),
            Choice::Only(kind) => kind.fmt(f),
        }
    }
}

impl FromStr for Choice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Choice> {
        if text == "auto" {
            return Ok(Choice::Auto);
        }
        RunnerKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .map(Choice::Only)
            .ok_or_else(|| {
                let known: Vec<&str> = RunnerKind::ALL.iter().map(|kind| kind.as_str()).collect();
                Error::usage(format!(
                    "\"{text}\" is no runner: write auto, {}",
                    known.join(", ")
                ))
            })
    }
}

impl From<RunnerChoice> for Choice {
    /// What a recipe asks for: `process` is the process that is confined, as a plain one isolates nothing.
    fn from(choice: RunnerChoice) -> Choice {
        match choice {
            RunnerChoice::Rootfs => Choice::Only(RunnerKind::Rootfs),
            RunnerChoice::Oci => Choice::Only(RunnerKind::Oci),
            RunnerChoice::Bwrap => Choice::Only(RunnerKind::Bubblewrap),
            RunnerChoice::Process => Choice::Only(RunnerKind::Confined),
            _ => Choice::Auto,
        }
    }
}

/// A runner that was chosen, and why.
pub struct Chosen {
    /// The runner.
    pub runner: Box<dyn Runner>,
    /// What it can do here.
    pub capabilities: Capabilities,
    /// What it promises.
    pub isolation: Isolation,
    /// The level that was accepted explicitly because the minimum could not be had; `None` if it could.
    /// Belongs into the report, and caps its verdict.
    pub accepted: Option<Isolation>,
    /// Those that were tried before and are not enough.
    pub passed_over: Vec<Capabilities>,
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Chosen({}, {})",
            self.capabilities.runner, self.isolation
        )
    }
}

/// A runner of a kind, not yet probed.
pub fn runner(kind: RunnerKind) -> Box<dyn Runner> {
    match kind {
        RunnerKind::Rootfs => Box::new(BubblewrapRunner::rootfs()),
        RunnerKind::Oci => Box::new(OciRunner::new()),
        RunnerKind::Bubblewrap => Box::new(BubblewrapRunner::host()),
        RunnerKind::Confined => Box::new(ProcessRunner::confined()),
        RunnerKind::Process => Box::new(ProcessRunner::plain()),
    }
}

/// Every runner with what it can do here, the most isolated first.
pub fn survey() -> Vec<Capabilities> {
    RunnerKind::ALL
        .into_iter()
        .map(|kind| runner(kind).probe())
        .collect()
}

/// Chooses a runner for jobs; `pinned` says whether they bring a root file system.
///
/// # Errors
/// [`Outcome::Refused`](crate::Outcome::Refused) if the minimum cannot be had, with what was tried.
pub fn choose(
    choice: Choice,
    pinned: bool,
    minimum: Isolation,
    accept: Option<Isolation>,
) -> Result<Chosen> {
    let kinds: Vec<RunnerKind> = match choice {
        Choice::Only(kind) => vec![kind],
        // With a root file system only those that can use it; without one, not those that need it.
        Choice::Auto if pinned => vec![RunnerKind::Rootfs, RunnerKind::Oci],
        Choice::Auto => vec![
            RunnerKind::Bubblewrap,
            RunnerKind::Confined,
            RunnerKind::Process,
        ],
    };
    let mut candidates: Vec<(Box<dyn Runner>, Capabilities, Isolation)> = Vec::new();
    for kind in kinds {
        let runner = runner(kind);
        let capabilities = runner.probe();
        let isolation = capabilities.isolation(pinned);
        let enough = capabilities.usable.is_present() && isolation >= minimum;
        candidates.push((runner, capabilities, isolation));
        if enough {
            break;
        }
    }
    let floor = accept.map_or(minimum, |accept| accept.min(minimum));
    let mut best: Option<usize> = None;
    for (index, (_, capabilities, isolation)) in candidates.iter().enumerate() {
        let better = best.is_none_or(|best| *isolation > candidates[best].2);
        if capabilities.usable.is_present() && *isolation >= floor && better {
            best = Some(index);
        }
    }
    let Some(best) = best else {
        return Err(refusal(choice, minimum, &candidates));
    };
    let (runner, capabilities, isolation) = candidates.remove(best);
    Ok(Chosen {
        runner,
        capabilities,
        isolation,
        accepted: (isolation < minimum).then_some(floor),
        passed_over: candidates
            .into_iter()
            .map(|(_, capabilities, _)| capabilities)
            .collect(),
    })
}

fn refusal(
    choice: Choice,
    minimum: Isolation,
    tried: &[(Box<dyn Runner>, Capabilities, Isolation)],
) -> Error {
    let mut error = Error::refused(format!(
        "no runner reaches isolation {minimum} ({}) here; asked for: {choice}",
        minimum.promise()
    ));
    let mut best = None;
    for (_, capabilities, isolation) in tried {
        let lacking =
            capabilities.rows().into_iter().take(5).find_map(
                |(name, capability)| match capability {
                    super::Capability::Absent { reason } => Some(format!("no {name}: {reason}")),
                    super::Capability::Present { .. } => None,
                },
            );
        let reason = lacking.unwrap_or_else(|| "not enough".to_owned());
        error = error.hint(format!(
            "{} reaches {isolation}: {reason}",
            capabilities.runner
        ));
        if capabilities.usable.is_present() {
            best = best.max(Some(*isolation));
        }
    }
    if let Some(best) = best {
        error = error.hint(format!(
            "to go on all the same, which is recorded: --accept-isolation {best}"
        ));
    }
    let tried: Vec<&Capabilities> = tried
        .iter()
        .map(|(_, capabilities, _)| capabilities)
        .collect();
    error.detail(json!({"minimum": minimum, "tried": tried}))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Outcome;

    #[test]
    fn choices_are_read_and_told() {
        for text in ["auto", "rootfs", "oci", "bubblewrap", "confined", "process"] {
            assert_eq!(text.parse::<Choice>().unwrap().to_string(), text);
        }
        assert_eq!(
            "docker".parse::<Choice>().unwrap_err().outcome(),
            Outcome::Usage
        );
    }

    #[test]
    fn a_process_is_refused_where_files_must_be_denied_and_taken_when_accepted() {
        let only = Choice::Only(RunnerKind::Process);
        let error = choose(only, false, Isolation::I3, None).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Refused);
        assert!(
            error
                .hints()
                .iter()
                .any(|hint| hint.contains("--accept-isolation")),
            "{:?}",
            error.hints()
        );
        let chosen = choose(only, false, Isolation::I3, Some(Isolation::I1)).unwrap();
        assert_eq!(chosen.accepted, Some(Isolation::I1));
        assert!(
            chosen.isolation >= Isolation::I1 && chosen.isolation < Isolation::I3,
            "{chosen:?}"
        );
        let chosen = choose(only, false, Isolation::I1, None).unwrap();
        assert_eq!(chosen.accepted, None);
        // No runner can promise that the machine is somebody else's.
        assert!(choose(Choice::Auto, false, Isolation::I5, None).is_err());
    }
}
