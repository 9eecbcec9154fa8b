//! Files that have to be there, and those that a command is given and does not declare.
//!
//! Whether a path is there the caller says; nothing is opened here.

use super::super::finding::{Code, Finding, Place};
use super::super::measure::Check;
use super::super::path::RecipePath;
use super::super::stage::Stage;
use super::super::{Environment, Origin, Recipe};

pub(super) fn check_files(
    recipe: &Recipe,
    exists: &dyn Fn(&str) -> bool,
    findings: &mut Vec<Finding>,
) {
    let mut need = |path: &RecipePath, place: Place, what: String, hint: &str| {
        if !exists(path.as_str()) {
            let problem = format!("{what} \"{path}\" is not there");
            findings.push(Finding::new(
                Code::MissingFile,
                place,
                problem,
                Some(hint.to_owned()),
            ));
        }
    };
    let places = &recipe.places;
    if let Environment::Venv { lock, wheels, .. } = &recipe.environment {
        let hint = "make it: sealstone env lock";
        need(
            lock,
            places.environment,
            "the environment's lock".into(),
            hint,
        );
        if let Some(wheels) = wheels {
            need(
                wheels,
                places.environment,
                "the directory of wheels".into(),
                hint,
            );
        }
    }
    if let Environment::Rootfs { path, .. } = &recipe.environment {
        need(
            path,
            places.environment,
            "the root file system".into(),
            "bring it here",
        );
    }
    if let Some(file) = &recipe.params.file {
        need(
            file,
            places.params.unwrap_or(places.header),
            "the parameters' file".into(),
            "write it, or remove params.file",
        );
    }
    for input in &recipe.inputs {
        let hint = match &input.source {
            Some(source) => format!("fetch it from {source}"),
            None => "bring it here".to_owned(),
        };
        need(&input.path, input.place, "the input".into(), &hint);
    }
    let declares =
        |stage: &Stage, path: &RecipePath| stage.reads.iter().any(|read| read.contains(path));
    for stage in &recipe.stages {
        for path in stage
            .reads
            .iter()
            .filter(|path| recipe.origin_of(path) == Origin::Source)
        {
            let hint = "a stage reads files of the project, inputs, and what other stages write";
            need(
                path,
                stage.place,
                format!("stage \"{}\" reads a file that", stage.name),
                hint,
            );
        }
    }
    for test in &recipe.tests {
        // The first run writes golden outputs, for somebody to look at.
        let expected = match &test.check {
            Check::Inference { expect, .. } => Some(expect),
            _ => None,
        };
        for path in test.reads() {
            if recipe.origin_of(path) == Origin::Source && Some(path) != expected {
                need(
                    path,
                    test.place,
                    format!("test \"{}\" reads a file that", test.name),
                    "write it",
                );
            }
        }
    }
    for stage in recipe.stages.iter().filter(|stage| !stage.shell) {
        // What a command names and the project has is read, whether or not it is declared.
        for path in stage
            .run
            .iter()
            .filter_map(|item| item.parse::<RecipePath>().ok())
        {
            let written = stage.writes.iter().any(|output| output.overlaps(&path));
            if !declares(stage, &path) && !written && exists(path.as_str()) {
                let problem = format!(
                    "stage \"{}\" is given \"{path}\", which it does not declare",
                    stage.name
                );
                let hint = format!("add \"{path}\" to its \"in\"");
                findings.push(Finding::new(
                    Code::UndeclaredPath,
                    stage.place,
                    problem,
                    Some(hint),
                ));
            }
        }
    }
}
