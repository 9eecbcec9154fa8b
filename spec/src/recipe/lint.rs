//! What could be better in a recipe that reads well, and what does not fit the project around it.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `stages` | what a stage leaves open, or leaves to the machine |
//! | `classes` | classes of outputs that nothing decides |
//! | `devices` | devices that nobody here could run a stage on |
//! | `parameters` | names that the parameters' file has to have, words in braces without a value |
//! | `files` | files that have to be there, and those that are read undeclared |
//! | `texts` | texts for people: missing, or left to be written |
//!
//! Owns the warnings and the checks that need to know which files there are. The caller looks at the
//! files; this module decides. Does not repeat what [`Recipe::parse`] refuses. Of the files below,
//! only `stages` knows another: it asks `texts` for reasons.

mod classes;
mod devices;
mod files;
mod parameters;
mod stages;
#[cfg(test)]
mod tests;
mod texts;

use super::finding::{Code, Finding};
use super::measure::Check;
use super::params::Params;
use super::pins::requirements;
use super::stage::Stage;
use super::words::{Risk, StageKind};
use super::{Environment, Origin, RECIPE_FILE, Recipe};
use crate::compare::Class;
use crate::environment::Day;
use classes::check_classes;
use devices::check_devices;
use files::check_files;
use parameters::check_params;
use stages::check_stage;
use texts::{is_missing, texts_to_write};

/// What the project around a recipe looks like. What is not known is not judged.
#[derive(Default)]
pub struct Project<'a> {
    /// Today, to tell what has expired.
    pub today: Option<Day>,
    /// The parameters' file, read; empty where it is known that the recipe names none.
    pub params: Option<&'a Params>,
    /// The text of the environment's requirements.
    pub requirements: Option<&'a str>,
    /// Whether a path is there; without it no path is looked for.
    pub exists: Option<&'a dyn Fn(&str) -> bool>,
    /// Files of the project that differ from what is committed, where it lies in a repository.
    pub uncommitted: &'a [String],
    /// The kinds of devices that stages can be run on: what stands before the colon.
    pub devices: Option<&'a [&'a str]>,
}

/// Everything that is worth saying, in the order of the text.
pub fn lint(recipe: &Recipe, project: &Project<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |code, place, problem: String, hint: &str| {
        findings.push(Finding::new(code, place, problem, Some(hint.to_owned())));
    };
    let places = &recipe.places;
    let determinism = places.determinism.unwrap_or(places.header);
    if recipe.stated_risk.is_none() {
        let hint = "state risk = \"low\", \"medium\" or \"high\" under [recipe]";
        say(
            Code::NoRisk,
            places.header,
            "no risk level is stated, so the strictest rules hold".into(),
            hint,
        );
    }
    if recipe.owner.is_none() {
        let hint = "state owner = \"team-x\" under [recipe]: alerts name it";
        say(
            Code::NoOwner,
            places.header,
            "nobody is named who answers for the model".into(),
            hint,
        );
    }
    if matches!(recipe.environment, Environment::Host) {
        let hint = "use kind = \"venv\" with a lock, \"oci\" with a digest, or \"rootfs\"";
        say(
            Code::UnlockedEnvironment,
            places.environment,
            "the environment is whatever the machine has".into(),
            hint,
        );
    }
    if let Environment::Venv { python: None, .. } = recipe.environment {
        let hint = "add python = \"3.11.7\" (or another): wheels and random streams depend on it";
        say(
            Code::UnlockedEnvironment,
            places.environment,
            "the version of Python is whatever the machine has".into(),
            hint,
        );
    }
    if recipe.determinism.threads.is_none() && recipe.stages.iter().any(computes) {
        let hint = "state threads = 1 (or another number) under [determinism]: sums change with it";
        say(
            Code::NoThreads,
            determinism,
            "the number of threads is whatever the machine has".into(),
            hint,
        );
    }
    if recipe
        .determinism
        .class
        .is_some_and(|class| class < Class::BitExact)
        && is_missing(recipe.determinism.why.as_deref())
    {
        let hint = "add why = \"...\" under [determinism]";
        say(
            Code::NoWhy,
            determinism,
            "outputs need not be the same bit by bit, and nobody says why".into(),
            hint,
        );
    }
    if recipe.determinism.torch.is_some() {
        let hint = "set them in the code, as torch.use_deterministic_algorithms(True), and keep the lines here for people";
        say(
            Code::Unenforced,
            determinism,
            "nothing sets the switches of torch, or looks whether the code does".into(),
            hint,
        );
    }
    let files: Vec<&str> = project
        .uncommitted
        .iter()
        .map(String::as_str)
        .filter(|path| is_code(recipe, path))
        .collect();
    if recipe.risk() >= Risk::Medium && !files.is_empty() {
        let named: Vec<String> = files
            .iter()
            .take(3)
            .map(|file| format!("\"{file}\""))
            .collect();
        let more = match files.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let problem = format!(
            "{}{more} differ from what is committed, which risk \"{}\" does not allow",
            named.join(", "),
            recipe.risk()
        );
        let hint = "commit them, so that the code of a release has a name; or state risk = \"low\"";
        say(
            Code::Uncommitted,
            places.risk.unwrap_or(places.header),
            problem,
            hint,
        );
    }
    for stage in &recipe.stages {
        check_stage(recipe, stage, &mut say);
    }
    check_classes(recipe, &mut say);
    if let Some(devices) = project.devices {
        check_devices(recipe, devices, &mut say);
    }
    texts_to_write(recipe, &mut say);
    for test in &recipe.tests {
        let weakened = match &test.check {
            Check::Inference { tolerance, .. } if tolerance.is_stated() => "has a tolerance",
            Check::Serialization { compare, .. } if *compare < Class::ContentExact => {
                "takes a weaker class than content_exact"
            }
            _ => continue,
        };
        if is_missing(test.why.as_deref()) {
            let hint = "add why = \"...\": whoever meets a failure wants to know";
            say(
                Code::NoWhy,
                test.place,
                format!("test \"{}\" {weakened} without a reason", test.name),
                hint,
            );
        }
    }
    let has_model = recipe
        .stages
        .iter()
        .any(|stage| stage.kind == StageKind::Train);
    if has_model
        && !recipe
            .tests
            .iter()
            .any(|test| test.check.kind() == "inference")
    {
        let hint = "add a [test.golden] of kind \"inference\" with inputs and expected outputs";
        say(
            Code::NoGoldenTest,
            places.header,
            "no test asks the model anything".into(),
            hint,
        );
    }
    for metric in &recipe.metrics {
        let name = &metric.name;
        if !metric.has_direction {
            let hint = "state direction = \"higher\", \"lower\" or \"none\"";
            say(
                Code::NoDirection,
                metric.place,
                format!("metric \"{name}\" does not say which way is better"),
                hint,
            );
        }
        if !metric.has_replay_rule {
            let hint = "state replay = { abs = 1e-6 }, or abs = 0 if it has to be the same number";
            say(
                Code::NoTolerance,
                metric.place,
                format!(
                    "metric \"{name}\" has no tolerance for replays, so it must be the same number"
                ),
                hint,
            );
        } else if is_missing(metric.why.as_deref()) {
            let hint = "add why = \"...\": whoever meets a failure wants to know";
            say(
                Code::NoWhy,
                metric.place,
                format!("metric \"{name}\" has a tolerance without a reason"),
                hint,
            );
        }
    }
    for exemption in &recipe.overrides {
        if let (Some(today), Some(expires)) = (project.today, exemption.rule.expires)
            && expires < today
        {
            let hint = "decide again, or remove it";
            say(
                Code::Expired,
                exemption.place,
                format!(
                    "the override of \"{}\" ended on {expires}",
                    exemption.rule.fact
                ),
                hint,
            );
        }
    }
    if let Some(params) = project.params {
        check_params(recipe, params, &mut findings);
    }
    if let Some(exists) = project.exists {
        check_files(recipe, exists, &mut findings);
    }
    if let (Some(text), Environment::Venv { lock, .. }) =
        (project.requirements, &recipe.environment)
    {
        let (_, found) = requirements(text);
        findings.extend(
            found
                .into_iter()
                .map(|finding| finding.in_file(lock.as_str())),
        );
    }
    findings.sort_by(|one, two| {
        (&one.file, one.place, one.code).cmp(&(&two.file, two.place, two.code))
    });
    findings
}

/// Whether a file decides what the model becomes, beside the inputs, which have digests of their own.
fn is_code(recipe: &Recipe, path: &str) -> bool {
    let reads = recipe.stages.iter().flat_map(|stage| &stage.reads);
    let tests = recipe.tests.iter().flat_map(|test| test.reads());
    let lock = match &recipe.environment {
        Environment::Venv { lock, .. } => Some(lock),
        _ => None,
    };
    path == RECIPE_FILE
        || (recipe.params.file.iter().chain(lock)).any(|file| file.as_str() == path)
        || reads.chain(tests).any(|declared| {
            declared.contains_path(path) && recipe.origin_of(declared) == Origin::Source
        })
}

/// Whether a stage calculates, so that threads and seeds matter.
fn computes(stage: &Stage) -> bool {
    matches!(
        stage.kind,
        StageKind::Prepare | StageKind::Train | StageKind::Infer | StageKind::Evaluate
    )
}
