//! The machine with a recipe's programs: the facts that a stage would see.

use super::settings::{device, settings, threads};
use crate::environment::{Capture, Captured, Prepared, capture};
use crate::error::Result;
use crate::runner::{Device, Runner, Software, StageJob};
use sealstone_spec::environment::Facts;
use sealstone_spec::recipe::{Lock, Recipe, StageKind};
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
    Ok(Machine {
        facts: captured(looking)?.facts,
        ..unseen(looking)
    })
}

/// The same facts, with what is no part of them: what changes by itself, and what was left out.
///
/// # Errors
/// If the runner does not run at all.
pub fn captured(looking: Looking<'_>) -> Result<Captured> {
    let job = probe(looking.recipe, &unseen(looking), looking.scratch)?;
    capture(&Capture {
        runner: looking.runner,
        job: &job,
        repository: looking.repository,
        python_environment: looking.prepared.python_environment,
    })
}

/// The machine before anybody has looked at it.
fn unseen(looking: Looking<'_>) -> Machine {
    Machine {
        software: looking.prepared.software.clone(),
        source_date_epoch: looking.source_date_epoch,
        ..Machine::default()
    }
}

/// A job that sees what any stage sees. Facts are captured once for all: of accelerators where one stage computes on
/// one; of all processors unless every stage is kept to some, or machines would differ in what none of them uses.
fn probe(recipe: &Recipe, machine: &Machine, scratch: &Path) -> Result<StageJob> {
    let mut job = StageJob::new("capture", Vec::new(), scratch, scratch);
    let seed = recipe.determinism().seed;
    settings(recipe, seed, machine, None, &mut job)?;
    job.device = strongest(recipe);
    // What fetches computes nothing.
    let stages = recipe.stages().iter();
    let pinned: Vec<Option<u32>> = stages
        .filter(|stage| stage.kind != StageKind::Fetch)
        .map(|stage| u32::try_from(stage.resources.cpus?).ok())
        .collect();
    if pinned.iter().all(Option::is_some) {
        job.limits.cpus = pinned.iter().copied().flatten().max();
    }
    let told = pinned.iter().copied().flatten().max().unwrap_or(1);
    job.limits.threads = Some(threads(recipe).unwrap_or(told));
    Ok(job)
}

/// Every device that some stage computes on; processors only if none computes on anything else. One that no runner knows
/// is refused by whoever is to run its stage: a replay need not.
fn strongest(recipe: &Recipe) -> Device {
    let mut found = Device::Cpu;
    for stage in recipe.stages() {
        let Ok(used) = device(stage.device.as_deref()) else {
            continue;
        };
        found = match (found, used) {
            (Device::Cpu, other) | (other, Device::Cpu) => other,
            (Device::Cuda(one), Device::Cuda(two)) if one.is_empty() || two.is_empty() => {
                Device::Cuda(Vec::new())
            }
            (Device::Cuda(mut numbers), Device::Cuda(more)) => {
                numbers.extend(more);
                numbers.sort_unstable();
                numbers.dedup();
                Device::Cuda(numbers)
            }
        };
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The probe of a recipe with these words in its conditions, and in its stages.
    fn probed(determinism: &str, stages: &[&str]) -> StageJob {
        let mut recipe = format!(
            "recipe = {{ version = 1, name = \"x\" }}\nenvironment = {{ kind = \"host\" }}\ndeterminism = {{ seed = 1{determinism} }}\n"
        );
        for (index, stage) in stages.iter().enumerate() {
            let kind = match stage.contains("fetch") {
                true => "fetch",
                false => "other",
            };
            recipe += &format!(
                "[stage.s{index}]\nkind = \"{kind}\"\nrun = [\"true\"]\nout = [\"o{index}\"]\n{stage}\n"
            );
        }
        let recipe = Recipe::parse(&recipe).unwrap();
        probe(&recipe, &Machine::default(), Path::new("/s")).unwrap()
    }

    #[test]
    fn one_stage_on_an_accelerator_makes_its_facts_count() {
        let cuda = |numbers: &[u32]| Device::Cuda(numbers.to_vec());
        for (devices, due) in [
            (vec!["", "device = \"cpu\""], Device::Cpu),
            (vec!["device = \"cuda:2\"", "device = \"mps\""], cuda(&[2])),
            (vec!["device = \"cpu\"", "device = \"cuda:0\""], cuda(&[0])),
            (vec!["device = \"cuda:0\"", "device = \"cpu\""], cuda(&[0])),
            (
                vec!["device = \"cuda:1\"", "device = \"cuda:0\""],
                cuda(&[0, 1]),
            ),
            (vec!["device = \"cuda:1\"", "device = \"cuda\""], cuda(&[])),
        ] {
            assert_eq!(probed("", &devices).device, due, "{devices:?}");
        }
    }

    #[test]
    fn processors_are_those_of_the_stages_where_all_are_kept_to_some() {
        let (one, four) = ("resources = { cpus = 1 }", "resources = { cpus = 4 }");
        for (determinism, stages, cpus, threads) in [
            ("", vec![one, one], Some(1), 1),
            ("", vec![one, four], Some(4), 4),
            ("", vec![one, "# fetch"], Some(1), 1),
            ("", vec![four, ""], None, 4),
            ("", vec!["", ""], None, 1),
            (", threads = 2", vec![four, one], Some(4), 2),
        ] {
            let job = probed(determinism, &stages);
            assert_eq!(job.limits.cpus, cpus, "{determinism} {stages:?}");
            assert_eq!(job.threads(), threads, "{determinism} {stages:?}");
        }
    }
}
