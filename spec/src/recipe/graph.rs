//! Stages as a graph by the paths that they read and write: who waits for whom, and what cannot be.
//!
//! Invariant: a recipe that passes here has one writer for each path, an order in which every stage
//! comes after those whose outputs it reads, and no name that leads nowhere.

use super::finding::{Code, Finding, Place};
use super::measure::{Check, Metric, Test};
use super::path::RecipePath;
use super::reader::suggest;
use super::replication::Replication;
use super::reserved;
use super::stage::Stage;
use super::substitution::placeholders;
use super::{MAX_PATHS, Recipe};
use crate::compare::{MIN_BASELINE_REPLICATES, RegressionMethod, ReplayMethod};
use std::collections::BTreeMap;

/// Everything that is wrong between the parts of a recipe. Puts the stages in order if it can.
///
/// Where a part could not be read, names that seem to lead nowhere may lead there, so `is_whole` says
/// whether they are looked at.
pub(super) fn check(recipe: &mut Recipe, is_whole: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let paths: usize = recipe
        .stages
        .iter()
        .map(|stage| stage.reads.len() + stage.writes.len())
        .sum();
    if paths + recipe.inputs.len() > MAX_PATHS {
        let problem = format!("more than {MAX_PATHS} paths in one recipe");
        let hint = "declare directories: \"src/\" is everything below it".to_owned();
        return vec![Finding::new(
            Code::WrongValue,
            Place { line: 1, column: 1 },
            problem,
            Some(hint),
        )];
    }
    inputs(recipe, &mut findings);
    writers(recipe, &mut findings);
    reserved::check(recipe, &mut findings);
    order(recipe, &mut findings);
    if !is_whole {
        return findings;
    }
    names(recipe, &mut findings);
    for test in &recipe.tests {
        check_test(recipe, test, &mut findings);
    }
    findings
}

fn inputs(recipe: &Recipe, findings: &mut Vec<Finding>) {
    for (index, input) in recipe.inputs.iter().enumerate() {
        let earlier = recipe.inputs[..index]
            .iter()
            .find(|other| other.path.overlaps(&input.path));
        if let Some(earlier) = earlier {
            let problem = format!("inputs \"{}\" and \"{}\" overlap", earlier.path, input.path);
            let hint = "declare each place once".to_owned();
            findings.push(Finding::new(Code::Twice, input.place, problem, Some(hint)));
        }
    }
}

fn writers(recipe: &Recipe, findings: &mut Vec<Finding>) {
    let mut seen: Vec<(&Stage, &RecipePath)> = Vec::new();
    for stage in &recipe.stages {
        for path in &stage.writes {
            if let Some((other, other_path)) = seen.iter().find(|(_, seen)| seen.overlaps(path)) {
                let problem = match other.name == stage.name {
                    true => format!(
                        "stage \"{}\" declares \"{other_path}\" and \"{path}\", which overlap",
                        stage.name
                    ),
                    false => format!(
                        "stages \"{}\" and \"{}\" both write \"{path}\"",
                        other.name, stage.name
                    ),
                };
                let hint = "each path has one writer: give one of them another name".to_owned();
                findings.push(Finding::new(
                    Code::TwoWriters,
                    stage.place,
                    problem,
                    Some(hint),
                ));
            }
            seen.push((stage, path));
            if let Some(input) = recipe.inputs.iter().find(|input| input.path.overlaps(path)) {
                let problem = format!(
                    "stage \"{}\" writes \"{path}\" over the input \"{}\"",
                    stage.name, input.path
                );
                let hint = "write the result beside it, under another name".to_owned();
                findings.push(Finding::new(
                    Code::TwoWriters,
                    stage.place,
                    problem,
                    Some(hint),
                ));
            }
            if let Some(read) = stage.reads.iter().find(|read| read.overlaps(path)) {
                let problem = format!(
                    "stage \"{}\" reads \"{read}\", which it writes itself (\"{path}\")",
                    stage.name
                );
                let hint =
                    "a stage that changes its own input cannot be run again: write to another path"
                        .to_owned();
                findings.push(Finding::new(Code::Cycle, stage.place, problem, Some(hint)));
            }
        }
    }
}

/// The stages whose outputs a stage reads, by their places in `stages`.
pub(super) fn dependencies(stages: &[Stage], stage: &Stage) -> Vec<usize> {
    let reads_from = |other: &Stage| {
        other
            .writes
            .iter()
            .any(|output| stage.reads.iter().any(|read| read.overlaps(output)))
    };
    let others = stages.iter().enumerate();
    others
        .filter(|(_, other)| other.name != stage.name && reads_from(other))
        .map(|(index, _)| index)
        .collect()
}

/// Puts the stages in an order in which each comes after those that it reads from; among those that
/// could come next, the first in the text.
fn order(recipe: &mut Recipe, findings: &mut Vec<Finding>) {
    let waits: Vec<Vec<usize>> = recipe
        .stages
        .iter()
        .map(|stage| dependencies(&recipe.stages, stage))
        .collect();
    let mut placed = vec![false; waits.len()];
    let mut order = Vec::with_capacity(waits.len());
    while let Some(next) = (0..waits.len())
        .find(|index| !placed[*index] && waits[*index].iter().all(|other| placed[*other]))
    {
        placed[next] = true;
        order.push(next);
    }
    if order.len() < waits.len() {
        let circle = circle(&waits, &placed);
        let names: Vec<String> = circle
            .iter()
            .map(|index| format!("\"{}\"", recipe.stages[*index].name))
            .collect();
        let problem = format!("stages wait for each other: {}", names.join(" reads from "));
        let hint = "split a stage, or let one of them read another path".to_owned();
        let place = circle
            .first()
            .map_or(Place::default(), |index| recipe.stages[*index].place);
        findings.push(Finding::new(Code::Cycle, place, problem, Some(hint)));
        return;
    }
    let mut stages: BTreeMap<usize, Stage> = std::mem::take(&mut recipe.stages)
        .into_iter()
        .enumerate()
        .collect();
    recipe.stages = order
        .into_iter()
        .filter_map(|index| stages.remove(&index))
        .collect();
}

/// A circle among what could not be placed, with its first stage again at its end.
fn circle(waits: &[Vec<usize>], placed: &[bool]) -> Vec<usize> {
    let mut walk: Vec<usize> = placed
        .iter()
        .position(|placed| !placed)
        .into_iter()
        .collect();
    // Each that is not placed waits for another that is not, so this comes back to where it was.
    while let Some(next) = walk
        .last()
        .and_then(|last| waits[*last].iter().find(|other| !placed[**other]))
    {
        if let Some(start) = walk.iter().position(|index| index == next) {
            walk.push(*next);
            return walk.split_off(start);
        }
        walk.push(*next);
    }
    walk
}

fn names(recipe: &Recipe, findings: &mut Vec<Finding>) {
    let outputs: Vec<&RecipePath> = recipe
        .stages
        .iter()
        .flat_map(|stage| &stage.writes)
        .collect();
    let near = |path: &str| {
        let known: Vec<&str> = outputs.iter().map(|output| output.as_str()).collect();
        suggest(path, &known)
    };
    let replicates = recipe.replicates.as_ref();
    let replication = replicates.map(|known| Replication::of(recipe, &known.stages));
    for metric in &recipe.metrics {
        if recipe.writer_of(metric.from.path.as_str()).is_none() {
            let problem = format!(
                "metric \"{}\" is read from \"{}\", which no stage writes",
                metric.name, metric.from.path
            );
            findings.push(Finding::new(
                Code::UndeclaredPath,
                metric.place,
                problem,
                near(metric.from.path.as_str()),
            ));
        }
        replicates_are_enough(recipe, replication.as_ref(), metric, findings);
    }
    let stages: Vec<&str> = recipe
        .stages
        .iter()
        .map(|stage| stage.name.as_str())
        .collect();
    if let Some(replicates) = &recipe.replicates {
        for name in replicates
            .stages
            .iter()
            .filter(|name| !stages.contains(&name.as_str()))
        {
            let problem = format!("replicates name the stage \"{name}\", which is not defined");
            findings.push(Finding::new(
                Code::UnknownName,
                replicates.place,
                problem,
                suggest(name, &stages),
            ));
        }
    }
    let inputs: Vec<&str> = recipe
        .inputs
        .iter()
        .map(|input| input.path.as_str())
        .collect();
    for profile in &recipe.profiles {
        for from in profile
            .inputs
            .keys()
            .filter(|from| !inputs.contains(&from.as_str()))
        {
            let problem = format!(
                "profile \"{}\" replaces \"{from}\", which is no input",
                profile.name
            );
            findings.push(Finding::new(
                Code::UndeclaredPath,
                profile.place,
                problem,
                suggest(from.as_str(), &inputs),
            ));
        }
    }
    for stage in &recipe.stages {
        let uses_in = stage
            .run
            .iter()
            .flat_map(|item| placeholders(item))
            .any(|word| word.0 == "in");
        if uses_in && stage.reads.is_empty() {
            let problem = format!("stage \"{}\" uses {{in}}, but reads nothing", stage.name);
            findings.push(Finding::new(Code::UnknownName, stage.place, problem, None));
        }
    }
}

/// A metric that a sample judges needs one: of as many runs as say anything, and each of them a run of its own.
fn replicates_are_enough(
    recipe: &Recipe,
    replication: Option<&Replication<'_>>,
    metric: &Metric,
    findings: &mut Vec<Finding>,
) {
    let rule = &metric.rule;
    let method = match (rule.replay.method, rule.regression.method) {
        (ReplayMethod::Interval, _) => "an interval",
        (ReplayMethod::Tost, _) | (_, RegressionMethod::Tost) => "a test of equivalence",
        _ => return,
    };
    let hint = "add replicates = { seeds = [1, 2, 3, 4, 5], stages = [...] }";
    let (code, problem, hint) = match recipe.replicates.as_ref().zip(replication) {
        Some((known, _)) if known.seeds.len() < MIN_BASELINE_REPLICATES => {
            let seeds = known.seeds.len();
            let problem =
                format!("{seeds} replicates are too few: {MIN_BASELINE_REPLICATES} are needed");
            (Code::WrongValue, problem, hint)
        }
        Some((_, replication)) => {
            let Some(stage) = replication.lacks(metric) else {
                return;
            };
            let problem = format!(
                "the replicates do not run stage \"{}\", so that all of them would be one run",
                stage.name
            );
            let hint = "name in replicates.stages the stage that writes the metric, and each between it and another that is named";
            (Code::WrongValue, problem, hint)
        }
        None => {
            let problem = "there are no replicates to make one from".to_owned();
            (Code::MissingKey, problem, hint)
        }
    };
    let problem = format!(
        "metric \"{}\" is judged by {method}, but {problem}",
        metric.name
    );
    let hint = Some(hint.to_owned());
    findings.push(Finding::new(code, metric.place, problem, hint));
}

/// What a test is held against has to be the baseline's. What a stage writes is this run's own, also in a replay.
fn yardsticks(recipe: &Recipe, test: &Test, findings: &mut Vec<Finding>) {
    let held: Vec<(&str, &RecipePath)> = match &test.check {
        Check::Inference { inputs, expect, .. } => vec![("inputs", inputs), ("expect", expect)],
        Check::Data { schema, .. } => schema.iter().map(|path| ("schema", path)).collect(),
        Check::Serialization { .. } => Vec::new(),
    };
    for (key, path) in held {
        let writes = |stage: &&Stage| stage.writes.iter().any(|output| output.overlaps(path));
        let Some(stage) = recipe.stages.iter().find(writes) else {
            continue;
        };
        let problem = format!(
            "\"{key}\" of test \"{}\" is \"{path}\", which stage \"{}\" writes: a run would be held against itself",
            test.name, stage.name
        );
        let hint =
            "keep a file of its own for the test, beside the outputs, and commit it".to_owned();
        findings.push(Finding::new(
            Code::WrongValue,
            test.place,
            problem,
            Some(hint),
        ));
    }
}

fn check_test(recipe: &Recipe, test: &Test, findings: &mut Vec<Finding>) {
    yardsticks(recipe, test, findings);
    let is_known = |path: &RecipePath| {
        recipe.writer_of(path.as_str()).is_some()
            || recipe.inputs.iter().any(|input| input.path.contains(path))
    };
    match &test.check {
        Check::Data { file, .. } if !is_known(file) => {
            let problem = format!(
                "test \"{}\" looks at \"{file}\", which is no input and no output",
                test.name
            );
            let hint = "declare it as an input".to_owned();
            findings.push(Finding::new(
                Code::UndeclaredPath,
                test.place,
                problem,
                Some(hint),
            ));
        }
        Check::Data { .. } => {}
        Check::Serialization { run, model, .. } | Check::Inference { run, model, .. } => {
            let uses_model = run
                .iter()
                .flat_map(|item| placeholders(item))
                .any(|word| word.0 == "model");
            match model {
                Some(path) if recipe.writer_of(path.as_str()).is_none() => {
                    let problem = format!(
                        "test \"{}\" loads the model \"{path}\", which no stage writes",
                        test.name
                    );
                    findings.push(Finding::new(
                        Code::UndeclaredPath,
                        test.place,
                        problem,
                        None,
                    ));
                }
                None if (uses_model || test.check.kind() == "serialization")
                    && recipe.model().is_none() =>
                {
                    let problem = format!(
                        "test \"{}\" needs a model, and no or several stages of the kind \"train\" make one",
                        test.name
                    );
                    let hint = "say which with model = \"...\"".to_owned();
                    findings.push(Finding::new(
                        Code::UnknownName,
                        test.place,
                        problem,
                        Some(hint),
                    ));
                }
                _ => {}
            }
        }
    }
}
