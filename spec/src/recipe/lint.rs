//! What could be better in a recipe that reads well, and what does not fit the project around it.
//!
//! Owns the warnings and the checks that need to know which files there are. The caller looks at the
//! files; this module decides. Does not repeat what [`Recipe::parse`] refuses.

use super::finding::{Code, Finding, Place};
use super::measure::Check;
use super::params::Params;
use super::path::RecipePath;
use super::pins::requirements;
use super::reader::{left_to_fill, suggest};
use super::stage::Stage;
use super::substitution::placeholders;
use super::words::{Risk, Role, StageKind};
use super::{Environment, Origin, RECIPE_FILE, Recipe};
use crate::compare::Class;
use crate::environment::Day;

/// What the project around a recipe looks like. What is not known is not judged.
#[derive(Default)]
pub struct Project<'a> {
    /// Today, to tell what has expired.
    pub today: Option<Day>,
    /// The parameters' file, read.
    pub params: Option<&'a Params>,
    /// The text of the environment's requirements.
    pub requirements: Option<&'a str>,
    /// Whether a path is there; without it no path is looked for.
    pub exists: Option<&'a dyn Fn(&str) -> bool>,
    /// Files of the project that differ from what is committed, where it lies in a repository.
    pub uncommitted: &'a [String],
}

/// Extensions of files that are data, whatever stage reads them.
const DATA: [&str; 16] = [
    "csv",
    "tsv",
    "jsonl",
    "parquet",
    "arrow",
    "feather",
    "npy",
    "npz",
    "h5",
    "hdf5",
    "safetensors",
    "gguf",
    "onnx",
    "pt",
    "pth",
    "bin",
];

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
    texts_to_write(recipe, &mut say);
    for test in &recipe.tests {
        if let Check::Inference { tolerance, .. } = &test.check
            && tolerance.is_stated()
            && is_missing(test.why.as_deref())
        {
            let hint = "add why = \"...\": whoever meets a failure wants to know";
            say(
                Code::NoWhy,
                test.place,
                format!("test \"{}\" has a tolerance without a reason", test.name),
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

/// Whether a reason is missing; one that is to be written is told as that.
fn is_missing(why: Option<&str>) -> bool {
    why.is_none_or(|why| why.trim().is_empty())
}

/// Texts for people that `init` or an import left to be written.
fn texts_to_write(recipe: &Recipe, say: &mut impl FnMut(Code, Place, String, &str)) {
    let places = &recipe.places;
    let mut look = |place: Place, what: String, text: Option<&str>| {
        let Some(task) = text.and_then(left_to_fill) else {
            return;
        };
        let task = if task.is_empty() {
            "nobody has written it"
        } else {
            task
        };
        let task: String = task.chars().take(200).collect();
        say(
            Code::ToDo,
            place,
            format!("{what}: {task}"),
            "write it, or remove it if there is nothing to say",
        );
    };
    let header = places.header;
    look(header, "the owner".into(), recipe.owner());
    look(
        header,
        "the model's description".into(),
        recipe.description(),
    );
    let why = places.why.unwrap_or(header);
    look(
        why,
        "why of [determinism]".into(),
        recipe.determinism.why.as_deref(),
    );
    for input in &recipe.inputs {
        let what = format!("the source of input \"{}\"", input.path);
        look(input.place, what, input.source.as_deref());
    }
    for exemption in &recipe.overrides {
        let what = format!("why of the override of \"{}\"", exemption.rule.fact);
        look(exemption.place, what, Some(&exemption.rule.why));
    }
    for stage in &recipe.stages {
        let what = format!("stage \"{}\"", stage.name);
        look(stage.place, what, stage.description.as_deref());
        for (path, tolerance) in &stage.tolerance {
            let what = format!("why of the tolerance for \"{path}\"");
            look(tolerance.place, what, tolerance.bounds.why.as_deref());
        }
    }
    for metric in &recipe.metrics {
        look(
            metric.place,
            format!("why of metric \"{}\"", metric.name),
            metric.why.as_deref(),
        );
    }
    for test in &recipe.tests {
        look(
            test.place,
            format!("why of test \"{}\"", test.name),
            test.why.as_deref(),
        );
    }
    for profile in &recipe.profiles {
        look(
            profile.place,
            format!("why of profile \"{}\"", profile.name),
            profile.why.as_deref(),
        );
    }
}

/// Whether a stage calculates, so that threads and seeds matter.
fn computes(stage: &Stage) -> bool {
    matches!(
        stage.kind,
        StageKind::Prepare | StageKind::Train | StageKind::Infer | StageKind::Evaluate
    )
}

fn check_stage(recipe: &Recipe, stage: &Stage, say: &mut impl FnMut(Code, Place, String, &str)) {
    let name = &stage.name;
    let seeded = recipe.determinism.seed.is_some()
        || recipe
            .params
            .roles
            .iter()
            .any(|(_, role)| *role == Role::Seed);
    if matches!(stage.kind, StageKind::Prepare | StageKind::Train) && !seeded {
        let hint = "state seed = 1 under [determinism] and use SEALSTONE_SEED, or give a parameter the role \"seed\"";
        say(
            Code::NoSeed,
            stage.place,
            format!("stage \"{name}\" has no seed"),
            hint,
        );
    }
    if matches!(stage.kind, StageKind::Train | StageKind::Infer) && stage.device.is_none() {
        let hint = "state device = \"cpu\" or \"cuda:0\"";
        say(
            Code::NoDevice,
            stage.place,
            format!("stage \"{name}\" does not say on which device it runs"),
            hint,
        );
    }
    let unenforced = [
        ("gpu", stage.gpu.is_some()),
        ("checkpoint_every", stage.checkpoint_every.is_some()),
    ];
    for (key, _) in unenforced.iter().filter(|(_, stated)| *stated) {
        let hint = "it is for people: accelerators are compared as facts of the environment, checkpoints are the code's";
        say(
            Code::Unenforced,
            stage.place,
            format!("nothing holds stage \"{name}\" to {key}"),
            hint,
        );
    }
    let accelerated = stage.gpu.is_some()
        || stage
            .device
            .as_deref()
            .is_some_and(|device| device != "cpu");
    let has_batch = recipe
        .params
        .roles
        .iter()
        .any(|(_, role)| *role == Role::Batch);
    if stage.kind == StageKind::Train && accelerated && !has_batch {
        let hint = "give the parameter with the batch size the role \"batch\"";
        say(
            Code::NoBatchSize,
            stage.place,
            format!(
                "stage \"{name}\" trains on an accelerator, and no parameter is its batch size"
            ),
            hint,
        );
    }
    if stage.shell {
        let hint =
            "write the program and its arguments as a list; what needs a shell can be a script";
        say(
            Code::Shell,
            stage.place,
            format!("stage \"{name}\" leaves its command line to a shell"),
            hint,
        );
    }
    for (path, tolerance) in &stage.tolerance {
        if is_missing(tolerance.bounds.why.as_deref()) {
            let hint = "add why = \"...\": whoever meets a failure wants to know";
            say(
                Code::NoWhy,
                tolerance.place,
                format!("the tolerance for \"{path}\" has no reason"),
                hint,
            );
        }
    }
    for path in &stage.reads {
        let extension = path
            .as_str()
            .rsplit_once('.')
            .map_or("", |(_, extension)| extension);
        if recipe.origin_of(path) == Origin::Source && DATA.contains(&extension) {
            let hint = "declare it under [[input]] with its digest: `sealstone lint --fix-digests` fills that in";
            say(
                Code::DataAsSource,
                stage.place,
                format!("stage \"{name}\" reads \"{path}\", which no input pins"),
                hint,
            );
        }
        if recipe
            .params
            .file
            .as_ref()
            .is_some_and(|file| path.overlaps(file))
        {
            let hint = "read the parameters from the file that SEALSTONE_PARAMS names: it has the profile's values";
            say(
                Code::ReadsParametersFile,
                stage.place,
                format!(
                    "stage \"{name}\" reads \"{path}\" itself, so a profile cannot change its parameters"
                ),
                hint,
            );
        }
    }
}

fn check_params(recipe: &Recipe, params: &Params, findings: &mut Vec<Finding>) {
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

fn check_files(recipe: &Recipe, exists: &dyn Fn(&str) -> bool, findings: &mut Vec<Finding>) {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const BARE: &str = "recipe = { version = 1, name = \"x\" }\nenvironment = { kind = \"host\" }\n\
        [stage.train]\nkind = \"train\"\nrun = [\"python3\", \"train.py\", \"{params.lr}\"]\n\
        in = [\"data.csv\", \"train.py\"]\nparams = [\"lr\"]\nout = [\"m.json\"]\n\
        tolerance = { \"m.json\" = { abs = 1e-6 } }\n[metric.a]\nfrom = \"m.json#/a\"\n";

    fn codes(findings: &[Finding]) -> Vec<&'static str> {
        findings
            .iter()
            .map(|finding| finding.code.as_str())
            .collect()
    }

    #[test]
    fn a_bare_recipe_is_warned_about_and_a_good_one_is_not() {
        let found = lint(&Recipe::parse(BARE).unwrap(), &Project::default());
        let due = [
            "RW05", "RW06", "RW10", "RW11", "RW08", "RW01", "RW03", "RW09", "RW02", "RW13", "RW15",
        ];
        assert_eq!(codes(&found), due, "{found:#?}");
        assert!(found.iter().all(|finding| !finding.is_error()));
        let good = include_str!("../../vectors/recipe/sklearn.toml");
        let found = lint(&Recipe::parse(good).unwrap(), &Project::default());
        assert_eq!(codes(&found), ["RW02", "RW02"], "{found:#?}"); // logloss and golden have no why
    }

    #[test]
    fn files_that_are_missing_or_undeclared_are_errors() {
        let recipe = Recipe::parse(&BARE.replace(", \"train.py\"]\np", "]\np")).unwrap();
        let there = |path: &str| path == "train.py";
        let project = Project {
            exists: Some(&there),
            ..Project::default()
        };
        let found = lint(&recipe, &project);
        let errors: Vec<String> = found
            .iter()
            .filter(|finding| finding.is_error())
            .map(ToString::to_string)
            .collect();
        assert_eq!(errors.len(), 2, "{errors:#?}");
        assert!(
            errors[0].contains("RE08") && errors[0].contains("add \"train.py\""),
            "{errors:#?}"
        );
        assert!(
            errors[1].contains("RE13") && errors[1].contains("data.csv"),
            "{errors:#?}"
        );
    }

    #[test]
    fn parameters_that_are_named_have_to_be_there() {
        let recipe = Recipe::parse(BARE).unwrap();
        let params = Params::from_toml("rate = 1").unwrap();
        let project = Project {
            params: Some(&params),
            ..Project::default()
        };
        let found = lint(&recipe, &project);
        assert!(
            codes(&found).contains(&"RW12") && codes(&found).contains(&"RE12"),
            "{found:#?}"
        );
        let params = Params::from_toml("lr = 1").unwrap();
        let project = Project {
            params: Some(&params),
            ..Project::default()
        };
        assert!(!codes(&lint(&recipe, &project)).contains(&"RE12"));
    }

    #[test]
    fn requirements_are_told_in_their_own_file() {
        let text = BARE.replace("kind = \"host\"", "kind = \"venv\", lock = \"r.lock\"");
        let recipe = Recipe::parse(&text).unwrap();
        let project = Project {
            requirements: Some("numpy>=1\n"),
            ..Project::default()
        };
        let found = lint(&recipe, &project);
        let last = found.last().unwrap();
        assert_eq!(
            (last.code, last.file.as_deref(), last.place.line),
            (Code::Unpinned, Some("r.lock"), 1)
        );
    }

    #[test]
    fn code_is_committed_where_the_risk_is_not_low() {
        let files: Vec<String> = ["m.json", "notes.txt", "train.py"].map(String::from).into();
        let project = Project {
            uncommitted: &files,
            ..Project::default()
        };
        let of = |text: &str| lint(&Recipe::parse(text).unwrap(), &project);
        let stated = BARE.replace("name = \"x\"", "name = \"x\", risk = \"medium\"");
        for (text, column) in [(BARE, 10), (&stated, 44)] {
            let found = of(text);
            let error = found.iter().find(|finding| finding.is_error()).unwrap();
            assert_eq!(
                (error.code, error.place.column),
                (Code::Uncommitted, column)
            );
            assert!(error.problem.contains("\"train.py\" differ"), "{error}");
        }
        let low = of(&stated.replace("medium", "low"));
        assert!(low.iter().all(|finding| !finding.is_error()), "{low:#?}");
    }

    #[test]
    fn conditions_that_nothing_enforces_are_told() {
        let of = |from: &str, to: &str| {
            let text = BARE.replace(from, to);
            let found = lint(&Recipe::parse(&text).unwrap(), &Project::default());
            let found = found.into_iter().filter(|one| one.code == Code::Unenforced);
            found.map(|one| one.problem).collect::<Vec<_>>()
        };
        assert_eq!(of("", ""), [""; 0]);
        let stage = "kind = \"train\"\n";
        assert_eq!(
            of(
                stage,
                &format!("{stage}gpu = {{ count = 2 }}\ncheckpoint_every = 5\n")
            ),
            [
                "nothing holds stage \"train\" to gpu",
                "nothing holds stage \"train\" to checkpoint_every"
            ]
        );
        let torch = of(
            "[stage.train]",
            "[determinism]\ntorch = { allow_tf32 = false }\n[stage.train]",
        );
        assert!(torch[0].starts_with("nothing sets the switches of torch"));
    }

    #[test]
    fn what_is_left_to_fill_in_is_told_where_it_stands() {
        let text = BARE.replace(
            "{ abs = 1e-6 }",
            "{ abs = 1e-6, why = \"TODO: ask the team\" }",
        );
        let found = lint(&Recipe::parse(&text).unwrap(), &Project::default());
        let todo = found.iter().find(|found| found.code == Code::ToDo).unwrap();
        assert!(todo.problem.ends_with("ask the team"), "{todo}");
        assert_eq!(todo.place.line, 9);
        for (from, to) in [
            ("\"m.json\"]", "\"TODO: what does it write?\"]"),
            ("\"train.py\",", "\"TODO\","),
            ("\"host\"", "\"TODO: venv?\""),
            ("\"m.json#/a\"", "\"TODO\""),
        ] {
            let error = Recipe::parse(&BARE.replace(from, to)).unwrap_err();
            let codes = codes(error.findings());
            assert!(codes.contains(&"RE14"), "{to}: {codes:?}");
        }
        let params = Params::from_toml("lr = \"TODO: a number\"").unwrap();
        let project = Project {
            params: Some(&params),
            ..Project::default()
        };
        let found = lint(&Recipe::parse(BARE).unwrap(), &project);
        assert!(codes(&found).contains(&"RE14"), "{found:#?}");
    }

    #[test]
    fn overrides_expire() {
        let text = format!(
            "override = [{{ fact = \"gpu.name\", level = \"W\", why = \"x\", expires = 2026-02-01 }}]\n{BARE}"
        );
        let recipe = Recipe::parse(&text).unwrap();
        for (today, due) in [(Day::new(2026, 2, 1), false), (Day::new(2026, 2, 2), true)] {
            let project = Project {
                today,
                ..Project::default()
            };
            assert_eq!(codes(&lint(&recipe, &project)).contains(&"RW14"), due);
        }
    }
}
