//! What has changed since a baseline, also where every metric passes: parameters, data, code, stages, packages,
//! environment.
//!
//! Owns the rows and their areas. Facts of the environment have the level that their table gives them for the
//! recipe's class; everything else that changed is worth a warning.
//! Invariant: two locks of the same recipe, files and machine have no row above information.

use super::difference::DEPENDENCIES;
use super::regression::{Regression, regressions};
use crate::run::Disagreement;
use sealstone_spec::compare::{Class, Outcome};
use sealstone_spec::environment::{Comparing, Day, Facts, Level, Override, compare};
use sealstone_spec::recipe::{FileRole, Lock, LockedInput, LockedStage, Recipe, param_changes};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What part of a release a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Area {
    /// A parameter.
    Parameter,
    /// Pinned data.
    Data,
    /// A file of the project that stages or tests read.
    Code,
    /// A command, seed, number of threads or device.
    Stage,
    /// A package or library.
    Dependency,
    /// Another fact of the machine and its software.
    Environment,
    /// An output.
    Output,
    /// The recipe's text, beside what stands in the other areas: tolerances, tests, descriptions.
    Recipe,
}

impl Area {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Area::Parameter => "parameter",
            Area::Data => "data",
            Area::Code => "code",
            Area::Stage => "stage",
            Area::Dependency => "dependency",
            Area::Environment => "environment",
            Area::Output => "output",
            Area::Recipe => "recipe",
        }
    }
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DriftRow {
    /// What it is part of.
    pub area: Area,
    /// What it is called.
    pub name: String,
    /// What a parameter does, as the recipe says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// What it was; none if it was not there.
    pub base: Option<String>,
    /// What it is; none if it is gone.
    pub now: Option<String>,
    /// What that means.
    pub level: Level,
    /// More, where there is more to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Everything that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Rows, by area and name.
    pub rows: Vec<DriftRow>,
    /// Metrics, by the rule between releases; empty where nothing new was measured.
    pub metrics: Vec<Regression>,
}

impl Drift {
    /// Whether something changed that may matter.
    pub fn matters(&self) -> bool {
        self.rows.iter().any(|row| row.level != Level::Info)
            || self
                .metrics
                .iter()
                .any(|metric| metric.verdict.outcome == Outcome::Fail)
    }

    fn add(&mut self, area: Area, name: &str, base: Option<String>, now: Option<String>) {
        self.rows.push(DriftRow {
            area,
            name: name.to_owned(),
            role: None,
            base,
            now,
            level: Level::Warn,
            note: None,
        });
    }

    fn sorted(mut self) -> Drift {
        self.rows
            .sort_by(|one, two| (one.area, &one.name).cmp(&(two.area, &two.name)));
        self
    }

    fn parameters(
        &mut self,
        recipe: &Recipe,
        base: &BTreeMap<String, String>,
        now: &BTreeMap<String, String>,
    ) {
        for change in param_changes(base, now) {
            self.parameter(recipe, &change.name, change.base, change.now);
        }
    }

    fn parameter(
        &mut self,
        recipe: &Recipe,
        name: &str,
        base: Option<String>,
        now: Option<String>,
    ) {
        self.add(Area::Parameter, name, base, now);
        if let (Some(role), Some(row)) = (recipe.params().role_of(name), self.rows.last_mut()) {
            row.role = Some(role.as_str());
        }
    }

    /// Facts of the environment, at the levels of the recipe's class and with its overrides.
    fn environment(&mut self, recipe: &Recipe, class: Class, sides: (&Facts, &Facts), today: Day) {
        let exemptions = recipe.overrides().iter();
        let overrides: Vec<Override> = exemptions.map(|it| it.rule.clone()).collect();
        let comparing = Comparing {
            strictness: class.into(),
            replicate: false,
            overrides: &overrides,
            today,
        };
        for row in compare(sides.0, sides.1, &comparing).rows {
            // Files say what Git says, and declared seeds stand in the stages.
            if row.fact.starts_with("git.") || row.fact == "seeds.declared" {
                continue;
            }
            let area = match DEPENDENCIES.iter().any(|name| row.fact.starts_with(name)) {
                true => Area::Dependency,
                false => Area::Environment,
            };
            self.rows.push(DriftRow {
                area,
                name: row.fact,
                role: None,
                base: row.base,
                now: row.now,
                level: row.level,
                note: row.exception.map(|exception| exception.why),
            });
        }
    }
}

/// What changed from one lock to another. The newer recipe says what parameters do and which facts matter.
pub fn drift_between(recipe: &Recipe, base: &Lock, now: &Lock, today: Day) -> Drift {
    let mut drift = Drift::default();
    drift.parameters(recipe, &base.params, &now.params);
    data(&mut drift, base, now);
    files(&mut drift, base, now);
    stages(&mut drift, base, now);
    if let (Ok(one), Ok(two)) = (base.environment.facts(), now.environment.facts()) {
        drift.environment(recipe, now.environment.class, (&one, &two), today);
    }
    if base.recipe.digest != now.recipe.digest {
        drift.add(
            Area::Recipe,
            "recipe.toml",
            Some(base.recipe.digest.to_string()),
            Some(now.recipe.digest.to_string()),
        );
        // What it changes for a run stands in the other rows; the rest are rules and words.
        if let Some(row) = drift.rows.last_mut() {
            row.level = Level::Info;
        }
    }
    drift.metrics = regressions(recipe, base, now);
    drift.sorted()
}

/// What changed in a project since a lock: what lies there now, and the machine if its facts are known.
pub fn drift_since(
    recipe: &Recipe,
    base: &Lock,
    found: &[Disagreement],
    machine: Option<&Facts>,
    today: Day,
) -> Drift {
    let mut drift = Drift::default();
    for problem in found {
        let text = |digest: &sealstone_spec::digest::Digest| Some(digest.to_string());
        match problem {
            Disagreement::Parameter { name, locked, now } => {
                drift.parameter(recipe, name, locked.clone(), now.clone());
            }
            Disagreement::Recipe { what } => drift.add(Area::Recipe, what, None, None),
            Disagreement::Missing { path } => {
                let locked = base.file(path).and_then(|file| text(&file.digest));
                drift.add(area_of(base, path), path, locked, None);
            }
            Disagreement::Differs {
                path,
                expected,
                actual,
            } => drift.add(area_of(base, path), path, text(expected), text(actual)),
            Disagreement::Executable { path, expected } => {
                let mode = |executable: bool| {
                    Some(if executable { "executable" } else { "plain" }.to_owned())
                };
                drift.add(area_of(base, path), path, mode(*expected), mode(!expected));
            }
            Disagreement::Added { path } => {
                let area = match recipe.writer_of(path) {
                    Some(_) => Area::Output,
                    None if recipe.inputs().iter().any(|it| it.path.contains_path(path)) => {
                        Area::Data
                    }
                    None => Area::Code,
                };
                drift.add(area, path, None, Some("a new file".to_owned()));
            }
        }
    }
    // The parameters' own file says the same as the parameters.
    let has_parameters = drift.rows.iter().any(|row| row.area == Area::Parameter);
    let params = recipe.params().file.as_ref().map(|path| path.as_str());
    drift
        .rows
        .retain(|row| !(has_parameters && Some(row.name.as_str()) == params));
    if let (Some(now), Ok(facts)) = (machine, base.environment.facts()) {
        drift.environment(recipe, base.environment.class, (&facts, now), today);
    }
    drift.sorted()
}

fn area_of(lock: &Lock, path: &str) -> Area {
    match lock.file(path).map(|file| file.role) {
        Some(FileRole::Input) => Area::Data,
        Some(FileRole::Output) => Area::Output,
        Some(FileRole::Environment) => Area::Dependency,
        _ => Area::Code,
    }
}

fn data(drift: &mut Drift, base: &Lock, now: &Lock) {
    let by_path = |lock: &Lock| -> BTreeMap<String, LockedInput> {
        let inputs = lock.inputs.iter().cloned();
        inputs
            .map(|input| (input.content.path.as_str().to_owned(), input))
            .collect()
    };
    let (one, two) = (by_path(base), by_path(now));
    let paths: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
    for path in paths {
        let (before, after) = (one.get(path), two.get(path));
        let digest = |input: Option<&LockedInput>| input.map(|input| input.content.digest);
        if digest(before) == digest(after) {
            continue;
        }
        let shown = |input: Option<&LockedInput>| {
            input.map(|input| match input.rows {
                Some(rows) => format!("{}, {rows} rows", input.content.digest),
                None => input.content.digest.to_string(),
            })
        };
        drift.add(Area::Data, path, shown(before), shown(after));
        let same_rows = before
            .zip(after)
            .is_some_and(|(one, two)| one.multiset.is_some() && one.multiset == two.multiset);
        if let (true, Some(row)) = (same_rows, drift.rows.last_mut()) {
            row.note = Some("the same rows in another order".to_owned());
        }
    }
}

fn files(drift: &mut Drift, base: &Lock, now: &Lock) {
    let of = |lock: &Lock| -> BTreeMap<String, (Area, String)> {
        let files = lock.files.iter();
        let counts = files.filter_map(|file| {
            let area = match file.role {
                FileRole::Source | FileRole::Test => Area::Code,
                FileRole::Environment => Area::Dependency,
                // Data and parameters have rows of their own; outputs follow from all others.
                _ => return None,
            };
            let mode = if file.executable { " (executable)" } else { "" };
            Some((
                file.path.as_str().to_owned(),
                (area, format!("{}{mode}", file.digest)),
            ))
        });
        counts.collect()
    };
    let (one, two) = (of(base), of(now));
    let paths: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
    for path in paths {
        let (before, after) = (one.get(path), two.get(path));
        let content = |side: Option<&(Area, String)>| side.map(|(_, content)| content.clone());
        if content(before) != content(after) {
            let area = after.or(before).map_or(Area::Code, |(area, _)| *area);
            drift.add(area, path, content(before), content(after));
        }
    }
}

fn stages(drift: &mut Drift, base: &Lock, now: &Lock) {
    let said = |stage: &LockedStage| -> BTreeMap<String, String> {
        let mut said = BTreeMap::from([
            ("command".to_owned(), stage.command.join(" ")),
            ("hash_seed".to_owned(), stage.hash_seed.to_string()),
            ("shell".to_owned(), stage.shell.to_string()),
        ]);
        let more = [
            ("seed", stage.seed.map(|seed| seed.to_string())),
            ("threads", Some(stage.threads.to_string())),
            ("cpus", stage.cpus.map(|cpus| cpus.to_string())),
            ("in", stage.first_read.as_ref().map(ToString::to_string)),
            ("device", stage.device.clone()),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                said.insert(name.to_owned(), value);
            }
        }
        for (name, value) in &stage.env {
            said.insert(format!("env.{name}"), value.clone());
        }
        said
    };
    let names: BTreeSet<&str> = base
        .stages
        .iter()
        .chain(&now.stages)
        .map(|stage| stage.name.as_str())
        .collect();
    for name in names {
        match (base.stage(name), now.stage(name)) {
            (Some(one), Some(two)) => {
                let (before, after) = (said(one), said(two));
                let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
                for key in keys {
                    if before.get(key) != after.get(key) {
                        let name = format!("{name}.{key}");
                        let value = |side: &BTreeMap<String, String>| side.get(key).cloned();
                        drift.add(Area::Stage, &name, value(&before), value(&after));
                    }
                }
            }
            (one, two) => {
                let command =
                    |stage: Option<&LockedStage>| stage.map(|stage| stage.command.join(" "));
                drift.add(Area::Stage, name, command(one), command(two));
            }
        }
    }
}
