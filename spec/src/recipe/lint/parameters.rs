//! Names of parameters that the parameters' file has to have, and values that were left to be filled in.

use super::super::Recipe;
use super::super::finding::{Code, Finding};
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
        for word in stage.run.iter().flat_map(|item| placeholders(item)) {
            let Some(name) = word.parameter() else {
                continue;
            };
            if share.get(name).is_none() {
                let problem = format!(
                    "stage \"{}\" uses {{params.{name}}}, which is not among its \"params\"",
                    stage.name
                );
                let known: Vec<&str> = share.iter().map(|(name, _)| name).collect();
                findings.push(Finding::new(
                    Code::UnknownName,
                    stage.place,
                    problem,
                    suggest(name, &known),
                ));
            }
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
