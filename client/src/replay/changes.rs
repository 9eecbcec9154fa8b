//! What each stage would read now, its key, and what in it is another than in the lock.
//!
//! Invariant: what a stage before it wrote is no change of its own.

use super::project::{Project, files_at};
use crate::error::Result;
use sealstone_spec::digest::Digest;
use sealstone_spec::recipe::{
    KeyMaterial, LockedStage, Origin, PathDigest, RecipePath, Stage, listing_digest, param_changes,
};
use sealstone_spec::report::Attribution;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A file that a stage reads: its path in the project, where it lies, what it is.
#[derive(Clone, Debug)]
pub(super) struct ReadFile {
    pub(super) path: String,
    pub(super) place: PathBuf,
    pub(super) digest: Digest,
}

/// Files that stages have written: by path, where they lie and what they are.
pub(super) type Produced = BTreeMap<String, (PathBuf, Digest)>;

/// A stage as it stands now.
#[derive(Debug)]
pub(super) struct StageNow {
    pub(super) files: Vec<ReadFile>,
    pub(super) key: Digest,
    /// `code`, `params`, `env`, `input`: what changed by itself.
    pub(super) changed: Vec<&'static str>,
    /// Which.
    pub(super) changes: Vec<(Attribution, String)>,
    /// A declared path that nothing lies at.
    pub(super) absent: Option<String>,
}

/// What `stage` reads and what changed in it, given what was written before it.
pub(super) fn of_stage(
    project: &Project,
    stage: &Stage,
    produced: &Produced,
    facts: &Digest,
) -> Result<StageNow> {
    let mut files = Vec::new();
    let mut absent = None;
    let (mut sources, mut inputs) = (Vec::new(), Vec::new());
    for path in &stage.reads {
        let origin = project.recipe.origin_of(path);
        let read: Vec<ReadFile> = match origin {
            Origin::Output(_) => produced
                .iter()
                .filter(|(produced, _)| path.contains_path(produced))
                .map(|(produced, (place, digest))| ReadFile {
                    path: produced.clone(),
                    place: place.clone(),
                    digest: *digest,
                })
                .collect(),
            _ => files_at(&project.root, path)?
                .into_iter()
                .map(|(path, digest)| ReadFile {
                    place: project.root.join(&path),
                    path,
                    digest,
                })
                .collect(),
        };
        let Some(content) = content(path, &read) else {
            absent.get_or_insert_with(|| path.to_string());
            continue;
        };
        match origin {
            Origin::Source => sources.push(content),
            _ => inputs.push(content),
        }
        files.extend(read);
    }
    files.sort_by(|one, two| one.path.cmp(&two.path));
    files.dedup_by(|one, two| one.path == two.path);
    let determinism = project.recipe.determinism();
    let params = project.params.select(&stage.params).texts();
    let mut env = determinism.env.clone();
    env.extend(stage.env.clone());
    let material = KeyMaterial {
        command: &stage.run,
        shell: stage.shell,
        writes: &stage.writes,
        sources: &sources,
        inputs: &inputs,
        params: &params,
        seed: determinism.seed,
        hash_seed: determinism.hash_seed,
        threads: determinism.threads,
        device: stage.device.as_deref(),
        env: &env,
        facts,
    };
    let parts = material.parts();
    let mut now = StageNow {
        key: parts.key(),
        changed: Vec::new(),
        changes: Vec::new(),
        files,
        absent,
    };
    match project.lock.stage(&stage.name) {
        None => {
            now.changed.push("code");
            now.changes
                .push((Attribution::Code, format!("stage {} is new", stage.name)));
        }
        Some(locked) => {
            let differing = locked.key_parts.changes(&parts);
            if differing.contains(&"code") {
                now.note(
                    "code",
                    Attribution::Code,
                    code(project, stage, locked, &sources, &now.files),
                );
            }
            if differing.contains(&"params") {
                let mut changes: Vec<String> = param_changes(&locked.params, &params)
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                if locked.seed != determinism.seed {
                    changes.push(format!(
                        "seed {}→{}",
                        shown(&locked.seed),
                        shown(&determinism.seed)
                    ));
                }
                now.note("params", Attribution::Params, changes);
            }
            if differing.contains(&"env") {
                let changes = environment(project, stage, locked, &env, facts);
                now.note("env", Attribution::Environment, changes);
            }
            let own: Vec<String> = inputs
                .iter()
                .filter(|item| matches!(project.recipe.origin_of(&item.path), Origin::Input))
                .filter(|item| !locked.inputs.contains(item))
                .map(|item| item.path.to_string())
                .collect();
            if !own.is_empty() {
                now.note("input", Attribution::Data, own);
            }
        }
    }
    Ok(now)
}

impl StageNow {
    fn note(&mut self, word: &'static str, kind: Attribution, changes: Vec<String>) {
        self.changed.push(word);
        let changes = if changes.is_empty() {
            vec![word.to_owned()]
        } else {
            changes
        };
        self.changes
            .extend(changes.into_iter().map(|text| (kind, text)));
    }
}

fn content(path: &RecipePath, read: &[ReadFile]) -> Option<PathDigest> {
    if let [file] = read
        && file.path == path.as_str()
    {
        return Some(PathDigest {
            path: path.clone(),
            digest: file.digest,
            size: size(file),
            files: None,
        });
    }
    let prefix = path.as_str().len() + 1;
    (!read.is_empty()).then(|| PathDigest {
        path: path.clone(),
        digest: listing_digest(read.iter().map(|file| (&file.path[prefix..], &file.digest))),
        size: read.iter().map(size).sum(),
        files: Some(read.len() as u64),
    })
}

fn size(file: &ReadFile) -> u64 {
    std::fs::metadata(&file.place).map_or(0, |metadata| metadata.len())
}

fn code(
    project: &Project,
    stage: &Stage,
    locked: &LockedStage,
    sources: &[PathDigest],
    files: &[ReadFile],
) -> Vec<String> {
    let mut changes = Vec::new();
    if locked.command != stage.run || locked.shell != stage.shell {
        changes.push(format!(
            "command {}→{}",
            locked.command.join(" "),
            stage.run.join(" ")
        ));
    }
    for item in sources.iter().filter(|item| !locked.sources.contains(item)) {
        let now: BTreeMap<&str, &Digest> = files
            .iter()
            .filter(|file| item.path.contains_path(&file.path))
            .map(|file| (file.path.as_str(), &file.digest))
            .collect();
        let base: BTreeMap<&str, &Digest> = project
            .lock
            .files_at(&item.path)
            .map(|file| (file.path.as_str(), &file.digest))
            .collect();
        let names: std::collections::BTreeSet<&&str> = now.keys().chain(base.keys()).collect();
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
    env: &BTreeMap<String, String>,
    facts: &Digest,
) -> Vec<String> {
    let determinism = project.recipe.determinism();
    let mut changes = Vec::new();
    if locked.threads != determinism.threads {
        changes.push(format!(
            "threads {}→{}",
            shown(&locked.threads),
            shown(&determinism.threads)
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
    let names: std::collections::BTreeSet<&String> = locked.env.keys().chain(env.keys()).collect();
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
