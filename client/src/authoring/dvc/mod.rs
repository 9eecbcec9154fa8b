//! Projects of DVC: `dvc.lock` and `dvc.yaml` as a draft.
//!
//! | part | what it owns |
//! | --- | --- |
//! | `stages` | both files read: what was run, and the flags of what stages write |
//! | `verify` | data held against the MD5 that DVC recorded |
//!
//! The lock comes first: in it commands are resolved and data is named by digest. `dvc.yaml` adds what the lock does
//! not say. Nothing of DVC is run. Invariant: data gets a SHA-256 only if it is what DVC says it was.

mod stages;
mod verify;

pub use stages::{DvcStage, Tracked, read};

use super::classify::{is_code, plain_name, stage_kind};
use super::draft::{Draft, DraftInput, DraftStage, Pin, todo};
use super::{init, settle, yaml};
use crate::error::{Error, Result};
use crate::recipe::{digest_at, read_params};
use sealstone_spec::recipe::{RecipePath, StageKind};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use verify::{Found, verify};

/// Reads a project of DVC as a draft. `note` is told what needs attention.
///
/// # Errors
/// If there is no `dvc.yaml`, or one of the files cannot be read.
pub fn import(directory: &Path, note: &mut dyn FnMut(&str)) -> Result<Draft> {
    let root = fs::canonicalize(directory)
        .map_err(|source| Error::io(format!("opening \"{}\"", directory.display()), source))?;
    let yaml = optional(&root, "dvc.yaml")?;
    let lock = optional(&root, "dvc.lock")?;
    if yaml.is_none() && lock.is_none() {
        return Err(Error::not_found(format!(
            "\"{}\" has no dvc.yaml",
            directory.display()
        )));
    }
    if lock.is_none() {
        note(
            "there is no dvc.lock: data is pinned as it lies there, without being compared with what was used",
        );
    }
    let found = read(yaml.as_deref().unwrap_or_default(), lock.as_deref())?;
    let mut draft = Draft::new(init::name(&root), "sealstone import dvc");
    draft.environment = init::environment(&root);
    draft.notes.push(
        "Commands were run by the caller's shell; here it is sh, without the caller's variables."
            .to_owned(),
    );
    if found.is_empty() {
        return Err(Error::not_found("dvc.yaml has no stages"));
    }
    let mut files = BTreeSet::new();
    for stage in &found {
        let drafted = stage_of(stage, &mut files);
        draft.stages.push(drafted);
    }
    params(&root, &found, &files, &mut draft, note);
    inputs(&root, &found, &mut draft, note)?;
    metrics(&root, &found, &mut draft);
    Ok(draft)
}

fn optional(root: &Path, name: &str) -> Result<Option<String>> {
    let path = root.join(name);
    match fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(found) if found.len() > yaml::MAX_YAML_BYTES as u64 => {
            return Err(Error::usage(format!(
                "\"{name}\" is longer than {} bytes",
                yaml::MAX_YAML_BYTES
            )));
        }
        _ => {}
    }
    fs::read_to_string(&path)
        .map(Some)
        .map_err(|source| Error::io(format!("reading \"{name}\""), source))
}

/// A path of DVC, which is relative to the directory in which its stage works.
fn place(stage: &DvcStage, path: &str) -> Result<String, String> {
    let mut parts: Vec<&str> = Vec::new();
    if path.contains("://") || path.starts_with('/') {
        return Err(todo(format!(
            "\"{path}\" lies outside the project: bring it in as an input"
        )));
    }
    for part in stage.directory.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.is_empty() => {
                return Err(todo(format!(
                    "\"{path}\" lies above the project: bring it in as an input"
                )));
            }
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

fn stage_of(stage: &DvcStage, files: &mut BTreeSet<String>) -> DraftStage {
    let base = stage.name.split('@').next().unwrap_or(&stage.name);
    let kind = stage_kind(base).unwrap_or(StageKind::Other);
    let mut drafted = DraftStage::new(plain_name(&stage.name, "stage"), kind, vec![command(stage)]);
    drafted.shell = true;
    drafted.description.clone_from(&stage.description);
    for tracked in &stage.reads {
        let path = place(stage, &tracked.path).unwrap_or_else(|task| task);
        drafted.read(if tracked.is_directory() {
            format!("{path}/")
        } else {
            path
        });
    }
    for tracked in &stage.writes {
        let path = place(stage, &tracked.path).unwrap_or_else(|task| task);
        drafted.writes.push(if tracked.is_directory() {
            format!("{path}/")
        } else {
            path
        });
    }
    if drafted.writes.is_empty() {
        drafted
            .writes
            .push(todo("dvc.yaml names nothing that it writes"));
    }
    for (file, values) in &stage.params {
        let Ok(path) = place(stage, file) else {
            continue;
        };
        files.insert(path.clone());
        // Scripts under DVC read the file themselves.
        drafted.read(&path);
        for (name, value) in values {
            drafted.params.push(match value {
                Value::Object(_) => format!("{name}.*"),
                _ => name.clone(),
            });
        }
    }
    let note = |text: &str| text.to_owned();
    if stage.frozen {
        drafted.notes.push(note("It was frozen in DVC: its result was kept whatever changed. Here it is run again when it has changed."));
    }
    if stage.always_changed {
        drafted.notes.push(note("DVC ran it every time (always_changed): something decides its result that is not declared. Find it."));
    }
    if stage.persists {
        drafted.notes.push(note(
            "It kept its old output (persist): here a stage begins in an empty place.",
        ));
    }
    drafted.notes.extend(stage.notes.iter().cloned());
    drafted
}

/// The command for sh. Several commands end at the first that fails.
fn command(stage: &DvcStage) -> String {
    let mut lines = Vec::new();
    if !stage.directory.is_empty() {
        lines.push(format!("cd '{}'", stage.directory.replace('\'', "'\\''")));
    }
    lines.extend(stage.commands.iter().cloned());
    let text = match lines.as_slice() {
        [] => {
            return todo(
                "dvc.yaml has no command for it that could be resolved: run dvc repro, then import again",
            );
        }
        [one] => one.clone(),
        several => format!("set -e\n{}", several.join("\n")),
    };
    text.replace('{', "{{").replace('}', "}}")
}

/// The file of parameters: one, as DVC's default is. Others stay files that stages read.
fn params(
    root: &Path,
    found: &[DvcStage],
    files: &BTreeSet<String>,
    draft: &mut Draft,
    note: &mut dyn FnMut(&str),
) {
    let first = ["params.yaml"]
        .iter()
        .map(|name| (*name).to_owned())
        .find(|name| files.contains(name));
    let Some(main) = first.or_else(|| files.first().cloned()) else {
        return;
    };
    settle::params(root, draft, std::slice::from_ref(&main));
    for file in files.iter().filter(|file| **file != main) {
        draft.notes.push(format!("Parameters of {file} are not declared one by one: a recipe has one file of them, {main}."));
    }
    let Ok(now) = read_params(&root.join(&main)) else {
        return;
    };
    // What was run with, and what stands in the file now.
    let mut changed = BTreeMap::new();
    for stage in found {
        for (file, values) in &stage.params {
            if place(stage, file).is_ok_and(|path| path == main) {
                for (name, value) in values
                    .iter()
                    .filter(|(_, value)| !value.is_object() && !value.is_null())
                {
                    if now.get(name).is_some_and(|now| now != value) {
                        changed.insert(name.clone(), value.clone());
                    }
                }
            }
        }
    }
    for (name, value) in changed {
        let text =
            format!("{main} says another value of {name} now than dvc.lock, which has {value}.");
        note(&text);
        draft.notes.push(text);
    }
    // Patterns that name parameters of other files would fit nothing.
    for (stage, of) in draft.stages.iter_mut().zip(found) {
        let foreign: BTreeSet<&String> = of
            .params
            .iter()
            .filter(|(file, _)| !place(of, file).is_ok_and(|path| path == main))
            .flat_map(|(_, values)| values.keys())
            .collect();
        stage.params.retain(|pattern| {
            !foreign
                .iter()
                .any(|name| pattern.trim_end_matches(".*") == **name)
        });
    }
}

/// Data that no stage writes, by SHA-256 where it is what DVC recorded.
fn inputs(
    root: &Path,
    found: &[DvcStage],
    draft: &mut Draft,
    note: &mut dyn FnMut(&str),
) -> Result<()> {
    let mut seen = BTreeSet::new();
    for stage in found {
        for tracked in &stage.reads {
            let Ok(path) = place(stage, &tracked.path) else {
                continue;
            };
            let is_source = match tracked.is_directory() {
                true => !settle::is_data(root, &format!("{path}/")),
                false => is_code(&path),
            };
            if is_source || draft.writer_of(&path).is_some() || !seen.insert(path.clone()) {
                continue;
            }
            let shown = if tracked.is_directory() {
                format!("{path}/")
            } else {
                path.clone()
            };
            let mut notes = Vec::new();
            let verified = verify(&root.join(&path), tracked)?;
            let pin = match &verified {
                Found::Same | Found::NotRecorded => {
                    let place = path
                        .parse::<RecipePath>()
                        .map_err(|error| Error::usage(error.to_string()))?;
                    match digest_at(root, &place)? {
                        ("tree", digest) => Pin::Tree(digest),
                        (_, digest) => Pin::File(digest),
                    }
                }
                Found::Absent | Found::Other(_) => Pin::Todo,
            };
            match verified {
                Found::Same => {}
                Found::NotRecorded => {
                    notes.push("DVC recorded no digest of it: this is what lay there.".to_owned())
                }
                Found::Absent => {
                    notes.push(format!(
                        "It was not there. DVC knows it as md5 {}: dvc pull, then sealstone lint --fix-digests.",
                        tracked.md5.as_deref().unwrap_or("(none)")
                    ));
                    note(&format!(
                        "{shown} is not there, so it has no digest yet: dvc pull, then sealstone lint --fix-digests"
                    ));
                }
                Found::Other(now) => {
                    let mut text = format!(
                        "It is not what dvc.lock used: md5 {now} here, {} there.",
                        tracked.md5.as_deref().unwrap_or("(none)")
                    );
                    if tracked.is_directory() && root.join(".dvcignore").exists() {
                        text.push_str(
                            " Or it is, but for what .dvcignore leaves out: that counts here.",
                        );
                    }
                    note(&format!("{shown}: {text}"));
                    notes.push(text);
                }
            }
            draft.inputs.push(DraftInput {
                path: shown,
                pin,
                source: source(root, &path),
                notes,
            });
        }
    }
    draft.inputs.sort_by(|one, two| one.path.cmp(&two.path));
    Ok(())
}

/// Where data came from, as the file beside it says (`data.csv.dvc`).
fn source(root: &Path, path: &str) -> Option<String> {
    let name = format!("{path}.dvc");
    let text = optional(root, &name).ok().flatten()?;
    let value = yaml::read(&text, &name).ok()?;
    let from = yaml::list(&value, "deps").first()?;
    let path = yaml::text(from, "path")?;
    match from.get("repo") {
        Some(repository) => {
            let url = yaml::text(repository, "url")?;
            let commit = yaml::text(repository, "rev_lock")?;
            Some(format!(
                "git+{}@{commit}#{path}",
                url.trim_start_matches("git+")
            ))
        }
        None => path.contains("://").then(|| path.to_owned()),
    }
}

/// Numbers of the files that DVC knows as metrics; of one that is not there, one to be named.
fn metrics(root: &Path, found: &[DvcStage], draft: &mut Draft) {
    for stage in found {
        for tracked in stage.writes.iter().filter(|tracked| tracked.is_metric) {
            let Ok(path) = place(stage, &tracked.path) else {
                continue;
            };
            let is_json = path.ends_with(".json");
            if !is_json {
                draft.notes.push(format!(
                    "Metrics in {path} cannot be read here: write them as JSON."
                ));
            } else if root.join(&path).is_file() {
                settle::metrics_of(root, &path, draft);
            } else {
                let name = plain_name(path.trim_end_matches(".json"), "metric");
                draft.metrics.push(super::draft::DraftMetric {
                    name,
                    from: todo(format!(
                        "{path} was not there: write {path}#/NAME for each number in it"
                    )),
                    direction: None,
                    why: todo("nobody has chosen a tolerance"),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
