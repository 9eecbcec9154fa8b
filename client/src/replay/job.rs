//! A stage of the recipe as a job of a runner.
//!
//! What a stage is given is chapter 4.3 of the specification; the runner adds what is the same for all.

use super::changes::{ReadFile, StageNow};
use super::project::Project;
use crate::error::{Error, Result};
use crate::runner::{Device, Expected, Input, Limits, Net, Seeds, Software, StageJob};
use sealstone_spec::recipe::{Network, Params, Placeholder, Resources, Stage, substitute};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a stage finds its parameters.
const PARAMS_PATH: &str = ".sealstone/params.json";

/// Directories for one run of a stage: one for the runner, one for what the stage writes.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) scratch: PathBuf,
    pub(super) outputs: PathBuf,
}

impl Room {
    /// Makes them in `workspace`, under a name that is used once.
    pub(super) fn make(workspace: &Path, name: &str) -> Result<Room> {
        let room = Room {
            scratch: workspace.join("scratch").join(name),
            outputs: workspace.join("outputs").join(name),
        };
        for directory in [&room.scratch, &room.outputs] {
            fs::create_dir_all(directory).map_err(|source| {
                Error::io(format!("making \"{}\"", directory.display()), source)
            })?;
        }
        Ok(room)
    }
}

/// The job of a stage.
pub(super) fn of_stage(
    project: &Project,
    stage: &Stage,
    now: &StageNow,
    room: &Room,
    software: &Software,
) -> Result<StageJob> {
    let given = Given {
        project,
        name: &stage.name,
        params: project.params.select(&stage.params),
        first_in: stage.reads.first().map(ToString::to_string),
        first_out: stage.writes.first().map(ToString::to_string),
        model: None,
    };
    let argv = match stage.shell {
        true => vec![
            "/bin/sh".into(),
            "-c".into(),
            given.argv(&stage.run)?.join(" "),
        ],
        false => given.argv(&stage.run)?,
    };
    let mut job = given.job(argv, room, software)?;
    job.env.extend(stage.env.clone());
    job.inputs.extend(inputs(&now.files));
    job.outputs = stage.writes.iter().map(ToString::to_string).collect();
    job.limits = limits(&stage.resources, project.recipe.determinism().threads);
    job.device = device(stage.device.as_deref());
    Ok(job)
}

/// What the command of a stage or test is given.
pub(super) struct Given<'a> {
    pub(super) project: &'a Project,
    pub(super) name: &'a str,
    pub(super) params: Params,
    pub(super) first_in: Option<String>,
    pub(super) first_out: Option<String>,
    pub(super) model: Option<String>,
}

impl Given<'_> {
    /// The command with its words replaced.
    pub(super) fn argv(&self, command: &[String]) -> Result<Vec<String>> {
        let seed = self.project.recipe.determinism().seed;
        let value = |word: Placeholder<'_>| match word.0 {
            "in" => self.first_in.clone(),
            "out" => self.first_out.clone(),
            "model" => self.model.clone(),
            "seed" => seed.map(|seed| seed.to_string()),
            _ => self
                .project
                .params
                .get(word.parameter()?)
                .map(|value| match value {
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                }),
        };
        command
            .iter()
            .map(|argument| {
                substitute(argument, value).map_err(|word| {
                    Error::usage(format!(
                        "\"{}\" has no value for {{{}}} in its command",
                        self.name, word.0
                    ))
                })
            })
            .collect()
    }

    /// A job with variables, seeds and parameters, and nothing else.
    pub(super) fn job(
        &self,
        argv: Vec<String>,
        room: &Room,
        software: &Software,
    ) -> Result<StageJob> {
        let determinism = self.project.recipe.determinism();
        let mut job = StageJob::new(self.name, argv, &room.scratch, &room.outputs);
        job.software = software.clone();
        job.net = match self.project.recipe.isolation().network {
            Network::Loopback => Net::Loopback,
            _ => Net::Deny,
        };
        job.seeds = Seeds {
            seed: determinism.seed,
            hash_seed: u32::try_from(determinism.hash_seed).unwrap_or(0),
        };
        job.limits = limits(&Resources::default(), determinism.threads);
        let params = room.scratch.join("params.json");
        let text = self.params.to_value().to_string();
        fs::write(&params, &text)
            .map_err(|source| Error::io("writing a stage's parameters", source))?;
        job.inputs.push(Input {
            path: PARAMS_PATH.into(),
            source: params,
            expected: Expected::File(sealstone_spec::digest::Digest::sha256(text.as_bytes())),
        });
        let mut env: BTreeMap<String, String> = BTreeMap::new();
        env.insert("SEALSTONE_STAGE".into(), self.name.to_owned());
        env.insert("SEALSTONE_PARAMS".into(), PARAMS_PATH.into());
        if let Some(out) = &self.first_out {
            env.insert("SEALSTONE_OUT".into(), out.clone());
        }
        if let Some(seed) = determinism.seed {
            env.insert("SEALSTONE_SEED".into(), seed.to_string());
        }
        env.extend(determinism.env.clone());
        job.env = env;
        Ok(job)
    }
}

/// Files as inputs of a job, each with the digest that it must have.
pub(super) fn inputs(files: &[ReadFile]) -> impl Iterator<Item = Input> {
    files.iter().map(|file| Input {
        path: file.path.clone(),
        source: file.place.clone(),
        expected: Expected::File(file.digest),
    })
}

fn limits(resources: &Resources, threads: Option<u64>) -> Limits {
    let small = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
    let default = Limits::default();
    Limits {
        cpus: small(resources.cpus),
        threads: small(threads),
        memory: resources.memory,
        pids: small(resources.pids).or(default.pids),
        wall: resources.wall.map(Duration::from_secs),
        output_bytes: resources.disk,
        ..default
    }
}

fn device(text: Option<&str>) -> Device {
    match text.and_then(|text| text.strip_prefix("cuda")) {
        None => Device::Cpu,
        Some(rest) => Device::Cuda(rest.trim_start_matches(':').parse().into_iter().collect()),
    }
}
