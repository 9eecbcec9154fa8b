//! Names of parameters that the parameters' file has to have, values that were left to be filled in, and words in
//! braces that lead nowhere: a run would find these when everything before them has been trained.

use super::super::Recipe;
use super::super::finding::{Code, Finding};
use super::super::measure::Check;
use super::super::params::Params;
use super::super::reader::{left_to_fill, suggest};
use super::super::substitution::placeholders;

pub(super) fn check_params(recipe: &Recipe, params: &Params, findings: &mut Vec<Finding>) {
    let names: Vec<&str> = params.iter().map(|(name, _)| name).collect();
    let top = recipe.places.params.unwrap_or(recipe.places.header);
    for (name, value) in params.iter() {
        if let Some(task) = value.as_str().and_then(left_to_fill) {
            let problem = format!("parameter \"{name}\" is left for you to fill in: {task}");
            findings.push(Finding::new(Code::Unfinished, top, problem, None));
        }
    }
    for (pattern, role) in &recipe.params.roles {
        if !names.iter().any(|name| pattern.matches(name)) {
            let problem =
                format!("no parameter fits \"{pattern}\", which is to have the role \"{role}\"");
            findings.push(Finding::new(
                Code::UnusedPattern,
                top,
                problem,
                suggest(pattern.as_str(), &names),
            ));
        }
    }
    for stage in &recipe.stages {
        for pattern in &stage.params {
            if !names.iter().any(|name| pattern.matches(name)) {
                let problem = format!(
                    "no parameter fits \"{pattern}\" of stage \"{}\"",
                    stage.name
                );
                findings.push(Finding::new(
                    Code::UnusedPattern,
                    stage.place,
                    problem,
                    suggest(pattern.as_str(), &names),
                ));
            }
        }
        let share = params.select(&stage.params);
        let whose = "not among its \"params\"";
        for (problem, hint) in without_value(recipe, &stage.run, &share, whose) {
            let problem = format!("stage \"{}\" {problem}", stage.name);
            let finding = Finding::new(Code::UnknownName, stage.place, problem, hint);
            findings.push(finding);
        }
    }
    for test in &recipe.tests {
        let (Check::Serialization { run, .. } | Check::Inference { run, .. }) = &test.check else {
            continue;
        };
        let mut found = without_value(recipe, run, params, "no parameter");
        let mut words = run.iter().flat_map(|item| placeholders(item));
        let has_inputs = matches!(test.check, Check::Inference { .. });
        if !has_inputs && words.any(|word| word.0 == "in") {
            let hint = "tests of the kind \"inference\" have inputs; {model} is the model";
            found.push(("uses {in}, but has no inputs".into(), Some(hint.into())));
        }
        for (problem, hint) in found {
            let problem = format!("test \"{}\" {problem}", test.name);
            findings.push(Finding::new(Code::UnknownName, test.place, problem, hint));
        }
    }
    for profile in &recipe.profiles {
        if let Err(error) = params.with(&profile.params) {
            let problem = format!("profile \"{}\": {error}", profile.name);
            findings.push(Finding::new(
                Code::UnknownName,
                profile.place,
                problem,
                None,
            ));
        }
    }
}

/// The words of a command that will have no value, each as a problem and a hint; `share` are the parameters that it gets,
/// and what is not among them is `whose`.
fn without_value(
    recipe: &Recipe,
    run: &[String],
    share: &Params,
    whose: &str,
) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    for word in run.iter().flat_map(|item| placeholders(item)) {
        if let Some(name) = word.parameter()
            && share.get(name).is_none()
        {
            let known: Vec<&str> = share.iter().map(|(name, _)| name).collect();
            let problem = format!("uses {{params.{name}}}, which is {whose}");
            found.push((problem, suggest(name, &known)));
        }
        if word.0 == "seed" && recipe.determinism.seed.is_none() {
            let hint = "state seed under [determinism]".to_owned();
            found.push(("uses {seed}, and no seed is stated".to_owned(), Some(hint)));
        }
    }
    found
}
