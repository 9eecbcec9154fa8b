//! A stage as a job for a runner, and the key that says whether it has to run.
//!
//! The same function plans a baseline and a replay, so both give a stage the same.
//! Invariant: a job names every file that the stage may read, with its digest; the key is made of these
//! digests.

use super::check::Compare;
use super::roots::Roots;
use crate::error::{Error, Result};
use crate::recipe::hash_path;
use crate::runner::{Device, Expected, Input, Limits, Net, Seeds, Software, StageJob};
use sealstone_spec::compare::Class;
use sealstone_spec::environment::Facts;
use sealstone_spec::recipe::{
    FileRole, KeyMaterial, KeyParts, LockedFile, Network, Origin, Params, PathDigest, Placeholder,
    Recipe, RecipePath, Stage, StageKind, listing_digest, must_digest, substitute,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Where stages find their parameters.
const PARAMS_PATH: &str = ".sealstone/params.json";

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
    /// Its seed.
    pub seed: Option<u64>,
}

/// What a stage is planned with.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The recipe.
    pub recipe: &'a Recipe,
    /// Where files lie.
    pub roots: &'a Roots,
    /// All parameters.
    pub params: &'a Params,
    /// The seed.
    pub seed: Option<u64>,
    /// The machine.
    pub machine: &'a Machine,
    /// A directory for the run's own files.
    pub scratch: &'a Path,
    /// Compares what a test's command wrote.
    pub compare: Compare,
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

/// Plans a stage: finds and names what it reads, puts in words, makes the key.
///
/// # Errors
/// If something that it reads is not there or no plain file, or a word has no value.
pub fn plan(given: Given<'_>, stage: &Stage) -> Result<Planned> {
    let Given {
        recipe,
        roots,
        params,
        seed,
        machine,
        scratch,
        ..
    } = given;
    let share = params.select(&stage.params);
    let params_file = scratch.join(format!("params-{}.json", stage.name));
    let text = share.to_value().to_string();
    fs::write(&params_file, &text)
        .map_err(|source| Error::io(format!("writing \"{}\"", params_file.display()), source))?;

    let mut job = StageJob::new(
        stage.name.as_str(),
        Vec::new(),
        scratch,
        roots.outputs_of(&stage.name),
    );
    let mut files: BTreeMap<String, LockedFile> = BTreeMap::new();
    let (mut sources, mut inputs) = (Vec::new(), Vec::new());
    for path in &stage.reads {
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
    job.inputs.push(Input {
        path: PARAMS_PATH.to_owned(),
        source: params_file,
        expected: Expected::File(sealstone_spec::digest::Digest::sha256(text.as_bytes())),
    });
    let words = |word: Placeholder<'_>| match word.0 {
        "in" => stage.reads.first().map(ToString::to_string),
        "out" => stage.writes.first().map(ToString::to_string),
        "seed" => seed.map(|seed| seed.to_string()),
        _ => word.parameter().and_then(|name| plain(share.get(name)?)),
    };
    job.argv = command(&stage.run, stage.shell, words).map_err(|error| at(error, &stage.name))?;
    job.outputs = stage.writes.iter().map(ToString::to_string).collect();
    settings(recipe, seed, machine, stage.device.as_deref(), &mut job)?;
    job.env.extend(stage.env.clone());
    job.env.insert("SEALSTONE_STAGE".into(), stage.name.clone());
    job.env
        .insert("SEALSTONE_PARAMS".into(), PARAMS_PATH.into());
    if let Some(path) = stage.writes.first() {
        job.env.insert("SEALSTONE_OUT".into(), path.to_string());
    }
    let limits = &stage.resources;
    job.limits.cpus = limits.cpus.and_then(|count| u32::try_from(count).ok());
    job.limits.memory = limits.memory;
    job.limits.wall = limits.wall.map(Duration::from_secs);
    job.limits.output_bytes = limits.disk;
    if let Some(pids) = limits.pids {
        job.limits.pids = u32::try_from(pids).ok();
    }
    job.net = match (stage.kind, recipe.isolation().network) {
        (StageKind::Fetch, _) => Net::Allow("a stage of the kind fetch".to_owned()),
        (_, Network::Loopback) => Net::Loopback,
        _ => Net::Deny,
    };
    let texts = share.texts();
    let env = recipe.determinism().env.iter().chain(&stage.env);
    let parts = KeyMaterial {
        command: &stage.run,
        shell: stage.shell,
        writes: &stage.writes,
        sources: &sources,
        inputs: &inputs,
        params: &texts,
        seed,
        hash_seed: recipe.determinism().hash_seed,
        threads: recipe.determinism().threads,
        device: stage.device.as_deref(),
        env: &env
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        facts: &must_digest(&machine.facts, strictest(recipe)),
    }
    .parts();
    Ok(Planned {
        job,
        parts,
        sources,
        inputs,
        files: files.into_values().collect(),
        params: texts,
        seed,
    })
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

/// What stands at a declared path; adds it to the job's inputs.
pub(super) fn contents(
    recipe: &Recipe,
    roots: &Roots,
    path: &RecipePath,
    job: &mut StageJob,
) -> Result<(PathDigest, Vec<LockedFile>)> {
    let found = roots.files(recipe, path)?;
    let mut files = Vec::with_capacity(found.len());
    for (name, file) in found {
        let (digest, size) = hash_path(&file.source)?;
        let parsed: RecipePath = name
            .parse()
            .map_err(|error| Error::usage(format!("{error}")))?;
        files.push(LockedFile {
            role: role(recipe, &parsed),
            path: parsed,
            digest,
            size,
            executable: file.executable,
        });
        job.inputs.retain(|input| input.path != name);
        job.inputs.push(Input {
            path: name,
            source: file.source,
            expected: Expected::File(digest),
        });
    }
    let is_file = files.len() == 1 && files[0].path == *path;
    let digest = match is_file {
        true => files[0].digest,
        false => {
            let prefix = path.as_str().len() + 1;
            listing_digest(
                files
                    .iter()
                    .map(|file| (&file.path.as_str()[prefix..], &file.digest)),
            )
        }
    };
    let content = PathDigest {
        path: path.clone(),
        digest,
        size: files.iter().map(|file| file.size).sum(),
        files: (!is_file).then_some(files.len() as u64),
    };
    Ok((content, files))
}

pub(super) fn role(recipe: &Recipe, path: &RecipePath) -> FileRole {
    if recipe.writer_of(path.as_str()).is_some() {
        return FileRole::Output;
    }
    if recipe
        .inputs()
        .iter()
        .any(|input| input.path.contains(path))
    {
        return FileRole::Input;
    }
    match recipe.params().file.as_ref() == Some(path) {
        true => FileRole::Params,
        false => FileRole::Source,
    }
}

/// What every command of a recipe gets, stage or test.
pub(super) fn settings(
    recipe: &Recipe,
    seed: Option<u64>,
    machine: &Machine,
    on: Option<&str>,
    job: &mut StageJob,
) -> Result<()> {
    let determinism = recipe.determinism();
    job.env.extend(determinism.env.clone());
    if let Some(seed) = seed {
        job.env.insert("SEALSTONE_SEED".into(), seed.to_string());
    }
    job.seeds = Seeds {
        seed,
        hash_seed: u32::try_from(determinism.hash_seed)
            .map_err(|_| Error::usage("hash_seed is at most 4294967295: Python takes no more"))?,
    };
    job.limits = Limits {
        threads: determinism
            .threads
            .and_then(|threads| u32::try_from(threads).ok()),
        ..Limits::default()
    };
    job.software = machine.software.clone();
    job.source_date_epoch = machine.source_date_epoch;
    job.device = device(on)?;
    Ok(())
}

fn device(text: Option<&str>) -> Result<Device> {
    match text.map(|text| text.split_once(':').unwrap_or((text, ""))) {
        None | Some(("cpu", _)) => Ok(Device::Cpu),
        Some(("cuda", "")) => Ok(Device::Cuda(Vec::new())),
        Some(("cuda", number)) => {
            let number = number
                .parse()
                .map_err(|_| Error::usage(format!("device cuda:{number} is no number")))?;
            Ok(Device::Cuda(vec![number]))
        }
        Some((family, _)) => Err(Error::usage(format!(
            "no runner knows devices of the kind \"{family}\""
        ))
        .hint("runners know cpu and cuda")),
    }
}

/// The command with its words replaced.
pub(super) fn command<'a>(
    run: &'a [String],
    shell: bool,
    value: impl Fn(Placeholder<'a>) -> Option<String>,
) -> Result<Vec<String>> {
    let argv: Vec<String> = run
        .iter()
        .map(|item| substitute(item, &value))
        .collect::<std::result::Result<_, _>>()
        .map_err(|word| {
            let hint = match word.0 {
                "seed" => "state seed under [determinism]".to_owned(),
                _ => "a stage gets only the parameters that its \"params\" name".to_owned(),
            };
            Error::usage(format!("there is no value for {{{}}}", word.0)).hint(hint)
        })?;
    match shell {
        true => Ok([vec!["/bin/sh".to_owned(), "-c".to_owned()], argv].concat()),
        false => Ok(argv),
    }
}

/// A parameter as an argument: a text without its quotes, anything else as JSON.
fn plain(value: &serde_json::Value) -> Option<String> {
    Some(match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}
