//! What in a stage is another than in the lock, and which.
//!
//! Invariant: what a stage before it wrote is no change of its own; nor is the machine one of a stage that is not run.

use super::project::Project;
use crate::error::{Outcome, Result};
use crate::plan::{Given, Machine, Planned, keyed};
use sealstone_spec::digest::Digest;
use sealstone_spec::recipe::{LockedStage, Origin, RecipePath, Stage, param_changes};
use sealstone_spec::report::Attribution;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How a stage as it is planned now differs from the lock's.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// `code`, `params`, `env`, `input`: what changed by itself.
    pub(super) words: Vec<&'static str>,
    /// Which.
    pub(super) which: Vec<(Attribution, String)>,
}

impl Changes {
    /// Whether anything else changed than facts of the machine, which are told with the environment, by their levels.
    pub(super) fn is_more_than_environment(&self) -> bool {
        self.words.iter().any(|word| *word != "env")
    }
}

/// Holds a planned stage against the lock; `facts` is the digest of the facts that must match.
pub(super) fn of_stage(
    project: &Project,
    stage: &Stage,
    planned: &Planned,
    facts: &Digest,
) -> Changes {
    let mut changes = Changes::default();
    let Some(locked) = project.lock.stage(&stage.name) else {
        changes.note(
            "code",
            Attribution::Code,
            vec![format!("stage {} is new", stage.name)],
        );
        return changes;
    };
    let differing = locked.key_parts.changes(&planned.parts);
    if differing.contains(&"code") {
        changes.note(
            "code",
            Attribution::Code,
            code(project, stage, locked, planned),
        );
    }
    if differing.contains(&"params") {
        let mut which: Vec<String> = param_changes(&locked.params, &planned.params)
            .iter()
            .map(ToString::to_string)
            .collect();
        if locked.seed != planned.seed {
            which.push(format!(
                "seed {}→{}",
                shown(&locked.seed),
                shown(&planned.seed)
            ));
        }
        changes.note("params", Attribution::Params, which);
    }
    if differing.contains(&"env") {
        let which = environment(project, stage, locked, planned, facts);
        changes.note("env", Attribution::Environment, which);
    }
    let own: Vec<String> = planned
        .inputs
        .iter()
        .filter(|item| matches!(project.recipe.origin_of(&item.path), Origin::Input))
        .filter(|item| !locked.inputs.contains(item))
        .map(|item| item.path.to_string())
        .collect();
    if !own.is_empty() {
        changes.note("input", Attribution::Data, own);
    }
    changes
}

/// Holds a stage that is not run against the lock: command, code, parameters and inputs, whether or not what stages
/// before it write is at hand.
pub(super) fn unrun(
    project: &Project,
    stage: &Stage,
    machine: &Machine,
    workspace: &Path,
) -> Result<Changes> {
    let mut then = machine.clone();
    if let Ok(facts) = project.lock.environment.facts() {
        then.facts = facts;
    }
    let given = Given {
        recipe: &project.recipe,
        roots: project.roots(),
        params: &project.params,
        seed: project.recipe.determinism().seed,
        machine: &then,
        scratch: workspace,
    };
    // Large inputs need not be here for what does not read them.
    let counts = |path: &RecipePath| match project.recipe.origin_of(path) {
        Origin::Source => true,
        Origin::Input => project.roots().files(&project.recipe, path).is_ok(),
        Origin::Output(_) => false,
    };
    match keyed(given, stage, project.lock.environment.class, counts) {
        Ok(planned) => Ok(of_stage(
            project,
            stage,
            &planned,
            &project.lock.environment.must,
        )),
        Err(error) if error.outcome() == Outcome::Other => Err(error),
        // What it reads is not there, or is no plain file: it could not be run as it is.
        Err(error) => {
            let mut changes = Changes::default();
            changes.note("code", Attribution::Code, vec![error.message().to_owned()]);
            Ok(changes)
        }
    }
}

impl Changes {
    fn note(&mut self, word: &'static str, kind: Attribution, which: Vec<String>) {
        self.words.push(word);
        let which = match which.is_empty() {
            true => vec![word.to_owned()],
            false => which,
        };
        self.which
            .extend(which.into_iter().map(|text| (kind, text)));
    }
}

fn code(project: &Project, stage: &Stage, locked: &LockedStage, planned: &Planned) -> Vec<String> {
    let mut changes = Vec::new();
    if locked.command != stage.run || locked.shell != stage.shell {
        changes.push(format!(
            "command {}→{}",
            locked.command.join(" "),
            stage.run.join(" ")
        ));
    }
    // The same paths in another order: the command, or SEALSTONE_OUT, is about another file.
    let pairs = [
        (
            "in",
            locked.first_read.as_ref(),
            planned.first_read.as_ref(),
        ),
        (
            "out",
            locked.outputs.first().map(|output| &output.path),
            stage.writes.first(),
        ),
    ];
    for (word, then, now) in pairs {
        if then != now {
            changes.push(format!("{{{word}}} {}→{}", shown(&then), shown(&now)));
        }
    }
    let sources = &planned.sources;
    for item in sources.iter().filter(|item| !locked.sources.contains(item)) {
        let now: BTreeMap<&str, &Digest> = planned
            .files
            .iter()
            .filter(|file| item.path.contains_path(file.path.as_str()))
            .map(|file| (file.path.as_str(), &file.digest))
            .collect();
        let base: BTreeMap<&str, &Digest> = project
            .lock
            .files_at(&item.path)
            .map(|file| (file.path.as_str(), &file.digest))
            .collect();
        let names: BTreeSet<&&str> = now.keys().chain(base.keys()).collect();
        changes.extend(
            names
                .into_iter()
                .filter(|name| now.get(**name) != base.get(**name))
                .map(|name| (*name).to_owned()),
        );
    }
    let gone = locked
        .sources
        .iter()
        .filter(|item| !sources.iter().any(|other| other.path == item.path));
    changes.extend(gone.map(|item| format!("{} is no longer read", item.path)));
    changes
}

fn environment(
    project: &Project,
    stage: &Stage,
    locked: &LockedStage,
    planned: &Planned,
    facts: &Digest,
) -> Vec<String> {
    let determinism = project.recipe.determinism();
    let mut changes = Vec::new();
    if locked.threads != planned.threads {
        changes.push(format!("threads {}→{}", locked.threads, planned.threads));
    }
    if locked.cpus != stage.resources.cpus {
        changes.push(format!(
            "cpus {}→{}",
            shown(&locked.cpus),
            shown(&stage.resources.cpus)
        ));
    }
    if locked.hash_seed != determinism.hash_seed {
        changes.push(format!(
            "hash_seed {}→{}",
            locked.hash_seed, determinism.hash_seed
        ));
    }
    if locked.device != stage.device {
        changes.push(format!(
            "device {}→{}",
            shown(&locked.device),
            shown(&stage.device)
        ));
    }
    let env = &planned.env;
    let names: BTreeSet<&String> = locked.env.keys().chain(env.keys()).collect();
    for name in names {
        if locked.env.get(name) != env.get(name) {
            changes.push(format!(
                "{name} {}→{}",
                shown(&locked.env.get(name)),
                shown(&env.get(name))
            ));
        }
    }
    if project.lock.environment.must != *facts {
        changes.push("facts of the machine that have to match".into());
    }
    changes
}

fn shown<T: ToString>(value: &Option<T>) -> String {
    value
        .as_ref()
        .map_or_else(|| "(none)".into(), ToString::to_string)
}
