//! A stage as a job for a runner, and the key that says whether it has to run.

use super::Given;
use super::command::{command, plain};
use super::contents::contents;
use super::settings::{settings, threads};
use crate::error::{Error, Result};
use crate::runner::{Expected, Input, Net, StageJob};
use sealstone_spec::compare::Class;
use sealstone_spec::digest::Digest;
use sealstone_spec::recipe::{
    KeyMaterial, KeyParts, LockedFile, Origin, Params, PathDigest, Placeholder, Recipe, RecipePath,
    Stage, StageKind, first_read, must_digest,
};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Where stages find their parameters.
const PARAMS_PATH: &str = ".sealstone/params.json";

/// A stage that could be run now.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What a runner needs.
    pub job: StageJob,
    /// The parts of the stage's key.
    pub parts: KeyParts,
    /// The project's files that it reads.
    pub sources: Vec<PathDigest>,
    /// Inputs and outputs of other stages that it reads.
    pub inputs: Vec<PathDigest>,
    /// Every file that it reads.
    pub files: Vec<LockedFile>,
    /// Its share of the parameters, as JSON texts.
    pub params: BTreeMap<String, String>,
    /// Variables that recipe and stage set.
    pub env: BTreeMap<String, String>,
    /// Its seed.
    pub seed: Option<u64>,
    /// Threads that libraries are told to use.
    pub threads: u64,
    /// What `{in}` in its command stands for.
    pub first_read: Option<RecipePath>,
}

/// The strictest class that a recipe demands of any output: it decides which facts of the environment
/// are part of the keys.
pub fn strictest(recipe: &Recipe) -> Class {
    let outputs = recipe
        .stages()
        .iter()
        .flat_map(|stage| stage.writes.iter().map(move |path| (stage, path)));
    let classes = outputs.map(|(stage, path)| recipe.rule_for(stage, path.as_str()).class);
    classes.max().unwrap_or(Class::BitExact)
}

/// Plans a stage: finds and names what it reads, puts in words, makes the key. `class` decides which facts
/// count. The job writes into the directory where the stage's outputs belong.
///
/// # Errors
/// [`Outcome::NotFound`](crate::Outcome::NotFound) if something that it reads is not there; another if it is
/// no plain file, or a word has no value.
pub fn plan(given: Given<'_>, stage: &Stage, class: Class) -> Result<Planned> {
    let Given {
        recipe,
        params,
        seed,
        machine,
        ..
    } = given;
    let mut planned = keyed(given, stage, class, |_| true)?;
    let share = params.select(&stage.params);
    let job = &mut planned.job;
    let words = |word: Placeholder<'_>| match word.0 {
        "in" => stage.reads.first().map(ToString::to_string),
        "out" => stage.writes.first().map(ToString::to_string),
        "seed" => seed.map(|seed| seed.to_string()),
        _ => word.parameter().and_then(|name| share.get(name)).map(plain),
    };
    let gets = "a stage gets only the parameters that its \"params\" name";
    job.argv =
        command(&stage.run, stage.shell, words, gets).map_err(|error| at(error, &stage.name))?;
    job.outputs = stage.writes.iter().map(ToString::to_string).collect();
    settings(recipe, seed, machine, stage.device.as_deref(), job)
        .map_err(|error| at(error, &stage.name))?;
    conditions(stage, job);
    add_params(&share, job)?;
    Ok(planned)
}

/// The key of a stage and what it is made of, with those of its reads that `counts` names; the job is none that could
/// be run.
///
/// # Errors
/// As [`plan`], about what is read.
pub(crate) fn keyed(
    given: Given<'_>,
    stage: &Stage,
    class: Class,
    counts: impl Fn(&RecipePath) -> bool,
) -> Result<Planned> {
    let Given {
        recipe,
        roots,
        params,
        seed,
        machine,
        scratch,
    } = given;
    let mut job = StageJob::new(
        stage.name.as_str(),
        Vec::new(),
        scratch,
        roots.outputs_of(&stage.name),
    );
    let mut files: BTreeMap<String, LockedFile> = BTreeMap::new();
    let (mut sources, mut inputs) = (Vec::new(), Vec::new());
    for path in stage.reads.iter().filter(|path| counts(path)) {
        let (content, read) =
            contents(recipe, roots, path, &mut job).map_err(|error| at(error, &stage.name))?;
        match recipe.origin_of(path) {
            Origin::Source => sources.push(content),
            Origin::Input | Origin::Output(_) => inputs.push(content),
        }
        files.extend(
            read.into_iter()
                .map(|file| (file.path.as_str().to_owned(), file)),
        );
    }
    // What libraries are told follows from the processors where no number is stated.
    job.limits.threads = threads(recipe);
    limits(stage, &mut job);
    let threads = told_threads(recipe, stage);
    let first = first_read(&stage.run, &stage.reads);
    let texts = params.select(&stage.params).texts();
    let env = variables(recipe, stage);
    let parts = KeyMaterial {
        command: &stage.run,
        shell: stage.shell,
        writes: &stage.writes,
        first_read: first,
        sources: &sources,
        inputs: &inputs,
        params: &texts,
        seed,
        hash_seed: recipe.determinism().hash_seed,
        threads,
        cpus: stage.resources.cpus,
        device: stage.device.as_deref(),
        env: &env,
        facts: &must_digest(&machine.facts, class),
    }
    .parts();
    Ok(Planned {
        job,
        parts,
        sources,
        inputs,
        files: files.into_values().collect(),
        params: texts,
        env,
        seed,
        threads,
        first_read: first.cloned(),
    })
}

/// The number of threads that libraries of a stage are told to use.
pub(crate) fn told_threads(recipe: &Recipe, stage: &Stage) -> u64 {
    let mut job = StageJob::new(stage.name.as_str(), Vec::new(), "", "");
    job.limits.threads = threads(recipe);
    limits(stage, &mut job);
    u64::from(job.threads())
}

/// The variables that recipe and stage set; the stage's hold.
pub(crate) fn variables(recipe: &Recipe, stage: &Stage) -> BTreeMap<String, String> {
    let set = recipe.determinism().env.iter().chain(&stage.env);
    set.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The stage's own variables, limits and network.
fn conditions(stage: &Stage, job: &mut StageJob) {
    job.env.extend(stage.env.clone());
    job.env.insert("SEALSTONE_STAGE".into(), stage.name.clone());
    if let Some(path) = stage.writes.first() {
        job.env.insert("SEALSTONE_OUT".into(), path.to_string());
    }
    limits(stage, job);
    if stage.kind == StageKind::Fetch {
        job.net = Net::Allow("a stage of the kind fetch".to_owned());
    }
}

/// What a stage may use of the machine.
pub(crate) fn limits(stage: &Stage, job: &mut StageJob) {
    let limits = &stage.resources;
    job.limits.cpus = limits.cpus.and_then(|count| u32::try_from(count).ok());
    job.limits.memory = limits.memory;
    job.limits.wall = limits.wall.map(Duration::from_secs);
    job.limits.output_bytes = limits.disk;
    if let Some(pids) = limits.pids {
        job.limits.pids = u32::try_from(pids).ok();
    }
}

/// Writes the share of the parameters where the stage will find it.
fn add_params(share: &Params, job: &mut StageJob) -> Result<()> {
    let text = share.to_value().to_string();
    let file = job.scratch.join(format!("params-{}.json", job.stage));
    fs::write(&file, &text)
        .map_err(|source| Error::io(format!("writing \"{}\"", file.display()), source))?;
    job.inputs.push(Input {
        path: PARAMS_PATH.to_owned(),
        source: file,
        expected: Expected::File(Digest::sha256(text.as_bytes())),
    });
    job.env
        .insert("SEALSTONE_PARAMS".into(), PARAMS_PATH.into());
    Ok(())
}

fn at(error: Error, stage: &str) -> Error {
    let mut told = Error::new(
        error.outcome(),
        format!("stage \"{stage}\": {}", error.message()),
    );
    for hint in error.hints() {
        told = told.hint(hint.clone());
    }
    told.source(error)
}
