//! The recipe's tests on the model that a replay has at hand: golden answers, and saving it again.
//!
//! Tests of data are not run again: they hold of bytes, and these bytes were compared with the lock's.
//! Invariant: a test whose command fails, or writes nothing, does not hold.

use super::changes::{Produced, ReadFile};
use super::execute::{Ran, run};
use super::job::{Given, Room, inputs};
use super::project::{Project, files_at};
use super::session::Tools;
use crate::error::Result;
use sealstone_spec::compare::{ArtifactRule, Class, Purpose};
use sealstone_spec::recipe::{Check, Params, RecipePath, Test};
use sealstone_spec::report::{DigestRef, TestRow};
use std::path::{Path, PathBuf};

/// A test by its parts: what it runs, reads and is held against.
struct Trial<'a> {
    run: &'a [String],
    reads: &'a [RecipePath],
    model: Option<&'a RecipePath>,
    input: Option<&'a RecipePath>,
    /// What its answer has to be; the model itself if `None`.
    expect: Option<&'a RecipePath>,
    rule: ArtifactRule,
}

/// Runs every test that has a command. `model` says where the files of the model lie.
pub(super) fn run_all(
    project: &Project,
    model: &Produced,
    tools: &Tools<'_>,
    workspace: &Path,
) -> Result<Vec<TestRow>> {
    let mut rows = Vec::new();
    for test in project.recipe.tests() {
        let trial = match &test.check {
            Check::Inference {
                run,
                reads,
                model,
                inputs,
                expect,
                tolerance,
                ..
            } => {
                let mut rule = tolerance.bounds.clone();
                rule.purpose = Purpose::Output;
                rule.class =
                    tolerance
                        .class
                        .unwrap_or(match tolerance.bounds == ArtifactRule::default() {
                            true => project
                                .recipe
                                .determinism()
                                .class
                                .unwrap_or(Class::BitExact),
                            false if tolerance.bounds.label_agreement.is_some() => {
                                Class::Functional
                            }
                            false => Class::Numeric,
                        });
                Trial {
                    run,
                    reads,
                    model: model.as_ref(),
                    input: Some(inputs),
                    expect: Some(expect),
                    rule,
                }
            }
            Check::Serialization {
                run,
                reads,
                model,
                compare,
            } => Trial {
                run,
                reads,
                model: model.as_ref(),
                input: None,
                expect: None,
                rule: ArtifactRule::of(*compare),
            },
            _ => continue,
        };
        rows.push(one(project, test, &trial, model, tools, workspace)?);
    }
    Ok(rows)
}

fn one(
    project: &Project,
    test: &Test,
    trial: &Trial<'_>,
    model: &Produced,
    tools: &Tools<'_>,
    workspace: &Path,
) -> Result<TestRow> {
    let kind = test.check.kind();
    let mut row = TestRow {
        id: format!("{kind}/{}", test.name),
        kind: kind.to_owned(),
        ok: false,
        duration_ms: None,
        evidence: None,
        base: None,
        now: None,
        rule: Some(trial.rule.class.to_string()),
        locator: None,
        why: test.why.clone(),
        line: Some(test.place.line as u64),
        note: None,
    };
    let Some(path) = trial.model.or(project.recipe.model()) else {
        row.note = Some("the recipe does not say which file is the model".into());
        return Ok(row);
    };
    let mut files: Vec<ReadFile> = model
        .iter()
        .filter(|(produced, _)| path.contains_path(produced))
        .map(|(path, (place, digest))| ReadFile {
            path: path.clone(),
            place: place.clone(),
            digest: *digest,
        })
        .collect();
    if files.is_empty() {
        row.note = Some(format!("the model \"{path}\" is not there"));
        return Ok(row);
    }
    // A script that the command names is part of the test, as it was when the baseline was made.
    let named = trial.run.iter().filter_map(|item| item.parse().ok());
    let scripts: Vec<RecipePath> = named
        .filter(|path: &RecipePath| project.root.join(path.as_str()).is_file())
        .collect();
    for declared in trial.reads.iter().chain(trial.input).chain(&scripts) {
        for (path, digest) in files_at(&project.root, declared)? {
            files.push(ReadFile {
                place: project.root.join(&path),
                path,
                digest,
            });
        }
    }
    let beside: Vec<ReadFile> = model
        .iter()
        .filter(|(produced, _)| {
            trial
                .reads
                .iter()
                .any(|declared| declared.contains_path(produced))
        })
        .map(|(path, (place, digest))| ReadFile {
            path: path.clone(),
            place: place.clone(),
            digest: *digest,
        })
        .collect();
    files.extend(beside);
    files.sort_by(|one, two| one.path.cmp(&two.path));
    files.dedup_by(|one, two| one.path == two.path);
    let like = trial.expect.unwrap_or(path).as_str();
    let out = format!("answer/{}", like.rsplit('/').next().unwrap_or("out"));
    let given = Given {
        project,
        name: &test.name,
        params: Params::default(),
        first_in: trial.input.map(ToString::to_string),
        first_out: Some(out.clone()),
        model: Some(path.to_string()),
    };
    let make = |name: String| Room::make(workspace, &name);
    let room = make(format!("test-{}", test.name))?;
    let mut job = given.job(given.argv(trial.run)?, &room, &tools.software)?;
    job.inputs.extend(inputs(&files));
    job.outputs = vec![out.clone()];
    let ran: Ran = run(
        tools.runner,
        job,
        room,
        || make(format!("test-{}-again", test.name)),
        |_, _| (),
    )?;
    row.duration_ms = ran.outcome.usage.wall_ms.map(|wall| wall.value);
    if let Some(problem) = ran.outcome.failure() {
        row.note = Some(format!("{problem}: {}", ran.last_words));
        return Ok(row);
    }
    let Some((answer, digest)) = ran.produced.get(&out) else {
        row.note = Some("its command wrote no answer".into());
        return Ok(row);
    };
    row.evidence = Some(DigestRef::from(*digest));
    let expected: PathBuf = match trial.expect {
        Some(expect) => project.root.join(expect.as_str()),
        None => files
            .iter()
            .find(|file| path.contains_path(&file.path))
            .map(|file| file.place.clone())
            .unwrap_or_default(),
    };
    let comparison = (tools.compare)(&expected, answer, &trial.rule)?;
    row.ok = comparison.class.satisfies(trial.rule.class);
    if let Some(first) = comparison.first.filter(|_| !row.ok) {
        row.locator = Some(first.locator.to_string());
        row.base = first.base;
        row.now = first.now;
        row.note = Some(format!(
            "{} was reached, {} is demanded: {}",
            comparison.class, trial.rule.class, first.what
        ));
    }
    if let Some(problem) = comparison
        .predictions
        .and_then(|predictions| predictions.problem)
    {
        row.note = Some(problem);
    }
    Ok(row)
}
