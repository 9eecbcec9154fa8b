//! The machine with a recipe's programs: the facts that a stage would see.

use super::settings::settings;
use crate::environment::{Capture, Prepared, capture};
use crate::error::Result;
use crate::runner::{Runner, Software, StageJob};
use sealstone_spec::environment::Facts;
use sealstone_spec::recipe::{Lock, Recipe};
use std::path::Path;

/// The machine that stages run on.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// The facts of its environment.
    pub facts: Facts,
    /// The programs.
    pub software: Software,
    /// `SOURCE_DATE_EPOCH` of every stage.
    pub source_date_epoch: u64,
}

/// What to look at, and with what.
#[derive(Clone, Copy)]
pub struct Looking<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// Its programs.
    pub prepared: &'a Prepared,
    /// Who will run the stages.
    pub runner: &'a dyn Runner,
    /// `SOURCE_DATE_EPOCH` of every stage.
    pub source_date_epoch: u64,
    /// An existing directory on the file system where stages will run.
    pub scratch: &'a Path,
    /// The repository of the code; facts of git are left out without one.
    pub repository: Option<&'a Path>,
}

/// The `SOURCE_DATE_EPOCH` of a baseline's stages: what is held against it gets the same, or archives and documents
/// would hold another time.
pub fn source_date_epoch(base: &Lock) -> u64 {
    let facts = base.environment.facts().ok();
    facts
        .and_then(|facts| facts.get("source_date_epoch")?.to_string().parse().ok())
        .unwrap_or(0)
}

/// The machine with these programs, as the runner shows it to a stage.
///
/// # Errors
/// If the runner does not run at all.
pub fn machine(looking: Looking<'_>) -> Result<Machine> {
    let Looking {
        recipe,
        prepared,
        scratch,
        ..
    } = looking;
    let mut machine = Machine {
        software: prepared.software.clone(),
        source_date_epoch: looking.source_date_epoch,
        ..Machine::default()
    };
    let mut job = StageJob::new("capture", Vec::new(), scratch, scratch);
    let device = recipe
        .stages()
        .iter()
        .find_map(|stage| stage.device.as_deref());
    settings(
        recipe,
        recipe.determinism().seed,
        &machine,
        device,
        &mut job,
    )?;
    machine.facts = capture(&Capture {
        runner: looking.runner,
        job: &job,
        repository: looking.repository,
        python_environment: prepared.python_environment,
    })?
    .facts;
    Ok(machine)
}
