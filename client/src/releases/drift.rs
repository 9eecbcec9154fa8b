//! What has changed since a baseline, also where every metric passes: parameters, data, code, stages, packages,
//! environment.
//!
//! Owns the rows and their areas. Facts of the environment have the level that their table gives them for the
//! recipe's class; everything else that changed is worth a warning.
//! Invariant: two locks of the same recipe, files and machine have no row above information.

use super::conditions::{Conditions, locked, stated};
use super::difference::DEPENDENCIES;
use super::regression::{Regression, regressions};
use crate::run::Disagreement;
use sealstone_spec::compare::{Class, Outcome};
use sealstone_spec::digest::Digest;
use sealstone_spec::environment::{Comparing, Day, Facts, Level, Override, compare};
use sealstone_spec::recipe::{FileRole, Lock, LockedInput, Recipe, RecipePath, param_changes};
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
    /// A command, what it reads, writes and gets, a seed, number of threads, variable or device.
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
            || self.metrics.iter().any(|metric| {
                // Too few replicates say nothing of a change, and a new metric has lost nothing.
                matches!(metric.verdict.outcome, Outcome::Fail | Outcome::Unmeasured)
            })
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
    let in_both = |name: &str| base.params.contains_key(name) && now.params.contains_key(name);
    stages(&mut drift, &locked(base, in_both), &locked(now, in_both));
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
        let text = |digest: &Digest| Some(digest.to_string());
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
    let known = base.params.keys().map(String::as_str);
    stages(&mut drift, &locked(base, |_| true), &stated(recipe, known));
    pinned(&mut drift, recipe, base);
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

fn stages(
    drift: &mut Drift,
    base: &BTreeMap<String, Conditions>,
    now: &BTreeMap<String, Conditions>,
) {
    let names: BTreeSet<&String> = base.keys().chain(now.keys()).collect();
    for name in names {
        match (base.get(name), now.get(name)) {
            (Some(before), Some(after)) => {
                let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
                for key in keys {
                    if before.get(key) != after.get(key) {
                        let name = format!("{name}.{key}");
                        let value = |side: &Conditions| side.get(key).cloned();
                        drift.add(Area::Stage, &name, value(before), value(after));
                    }
                }
            }
            (one, two) => {
                let command =
                    |stage: Option<&Conditions>| stage.and_then(|it| it.get("command").cloned());
                drift.add(Area::Stage, name, command(one), command(two));
            }
        }
    }
}

/// Data that the recipe pins otherwise than the lock. Files do not always tell: what is not embedded need not lie here.
fn pinned(drift: &mut Drift, recipe: &Recipe, base: &Lock) {
    let locked = base.inputs.iter().map(|input| &input.content.path);
    let stated = recipe.inputs().iter().map(|input| &input.path);
    let paths: BTreeSet<&RecipePath> = locked.chain(stated).collect();
    for path in paths {
        let mut locked = base.inputs.iter();
        let locked = locked.find(|input| input.content.path == *path);
        let mut stated = recipe.inputs().iter();
        let stated = stated.find(|input| input.path == *path);
        let before = locked.map(|input| input.content.digest);
        let after = stated.map(|input| input.digest);
        let is_told = drift
            .rows
            .iter()
            .any(|row| row.area == Area::Data && path.contains_path(&row.name));
        if before != after && !is_told {
            let shown = |digest: Option<Digest>| digest.map(|digest| digest.to_string());
            drift.add(Area::Data, path.as_str(), shown(before), shown(after));
        }
    }
}
