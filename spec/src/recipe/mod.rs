//! The recipe: how a model is made, written by hand; and the lock, what came of it.
//!
//! | part | what it owns |
//! | --- | --- |
//! | `finding` | codes, places, what is wrong and what to do |
//! | `reader`, `words`, `quantity`, `path`, `pattern` | TOML into values, each with its place |
//! | `conditions`, `stage`, `measure` | the sections of `recipe.toml` |
//! | `graph`, `replication`, `settling`, `reserved`, `pins`, `marker`, `lint` | what has to hold between sections; what decides about outputs; where no run may write; what counts as pinned; warnings |
//! | `params`, `substitution`, `key` | what a stage is given, and the key that says whether it changed |
//! | `lock`, `listing` | `recipe.lock`, digests of directories |
//!
//! Does not read files: the caller hands in texts and digests. Does not run or compare anything.
//! **Invariant:** a [`Recipe`] has been read without an error, and a [`Lock`] is consistent in itself;
//! both are only made by their parsers (a lock also by [`Lock::seal`], which makes the same checks).

mod conditions;
mod finding;
mod graph;
mod key;
mod lint;
mod listing;
mod lock;
mod marker;
mod measure;
mod params;
mod path;
mod pattern;
mod pins;
mod quantity;
mod reader;
mod replication;
mod reserved;
mod settling;
mod stage;
mod substitution;
mod words;

pub use conditions::{
    Determinism, Environment, Exemption, IsolationDemand, Replicates, Torch, UsageBounds,
    is_python_version,
};
pub use finding::{Code, Finding, Place, RecipeError, Severity};
pub use key::{KeyMaterial, KeyParts, PathDigest, first_read};
pub use lint::{Project, lint};
pub use listing::{LEFT_BEHIND, is_left_behind, listing_digest};
pub use lock::{
    Content, FileRole, LOCK_SCHEMA, Lock, LockDocument, LockError, LockedEnvironment, LockedFile,
    LockedInput, LockedMetric, LockedRecipe, LockedStage, LockedTest, LogDigest, MAX_LOCK_BYTES,
    TraceSummary, Usage, must_digest,
};
pub use measure::{Check, Metric, MetricSource, Profile, Test};
pub use params::{MAX_PARAMS_BYTES, ParamChange, Params, ParamsError, param_changes};
pub use path::RecipePath;
pub use pattern::{Pattern, PatternError};
pub use pins::{Requirement, requirements};
pub use reader::left_to_fill;
pub use reserved::is_reserved;
pub use settling::Settling;
pub use stage::{Gpu, Input, Resources, Stage, Tolerance};
pub use substitution::{Placeholder, placeholders, substitute};
pub use words::{Network, Risk, Role, RowOrder, RunnerChoice, StageKind};

#[cfg(test)]
pub(crate) use lock::tests::document as lock_fixture;

use crate::compare::{ArtifactRule, Class, Purpose};
use crate::digest::Digest;
use reader::{Fields, Source, shorten};
use replication::Replication;

/// The name of a recipe in a project and in a bundle.
pub const RECIPE_FILE: &str = "recipe.toml";
/// The name of its lock.
pub const LOCK_FILE: &str = "recipe.lock";
/// Where an image that travels in the bundle lies in a project and in a bundle: an OCI image layout.
pub const IMAGE_DIRECTORY: &str = "environment/image";
/// The version of recipes that is read here.
pub const RECIPE_VERSION: u64 = 1;
/// Longest recipe that is read, in bytes.
pub const MAX_RECIPE_BYTES: usize = 1 << 20;
/// Most paths that stages read and write in one recipe: all pairs of outputs are compared.
pub const MAX_PATHS: usize = 2000;

/// Where parameters come from and what they do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParamsRule {
    /// The file with the parameters: TOML, YAML or JSON.
    pub file: Option<RecipePath>,
    /// What parameters do; the first pattern that fits holds.
    pub roles: Vec<(Pattern, Role)>,
}

impl ParamsRule {
    /// What a parameter does, where the recipe says it.
    pub fn role_of(&self, name: &str) -> Option<Role> {
        let named = |exact: bool| {
            let mut roles = self.roles.iter();
            roles.find(|(pattern, _)| pattern.is_name() == exact && pattern.matches(name))
        };
        named(true).or_else(|| named(false)).map(|(_, role)| *role)
    }
}

/// Where a path that a stage reads comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// A pinned input, or a directory with some.
    Input,
    /// An output of this stage, or a directory with some.
    Output(&'a Stage),
    /// A file of the project, such as a script.
    Source,
}

/// Where sections stand, for findings about them as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Places {
    header: Place,
    risk: Option<Place>,
    environment: Place,
    determinism: Option<Place>,
    why: Option<Place>,
    params: Option<Place>,
}

/// A recipe that has been read without an error.
///
/// ```
/// use sealstone_spec::recipe::Recipe;
/// let recipe = Recipe::parse(r#"
/// recipe = { version = 1, name = "hello" }
/// environment = { kind = "host" }
/// [stage.train]
/// kind = "train"
/// run = ["python3", "train.py"]
/// in = ["train.py"]
/// out = ["model.json"]
/// "#).unwrap();
/// assert_eq!(recipe.stages()[0].writes[0].as_str(), "model.json");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    digest: Digest,
    name: String,
    model_version: Option<String>,
    owner: Option<String>,
    description: Option<String>,
    stated_risk: Option<Risk>,
    environment: Environment,
    determinism: Determinism,
    isolation: IsolationDemand,
    usage: UsageBounds,
    replicates: Option<Replicates>,
    params: ParamsRule,
    inputs: Vec<Input>,
    overrides: Vec<Exemption>,
    stages: Vec<Stage>,
    metrics: Vec<Metric>,
    tests: Vec<Test>,
    profiles: Vec<Profile>,
    places: Places,
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// Everything that is wrong in it, with line, column and what to do.
    pub fn parse(text: &str) -> Result<Recipe, RecipeError> {
        let source = Source::new(text);
        if text.len() > MAX_RECIPE_BYTES {
            let problem = format!("{} bytes, at most {MAX_RECIPE_BYTES} are read", text.len());
            source.report(&(0..0), Code::WrongValue, problem, None);
        }
        let recipe = (text.len() <= MAX_RECIPE_BYTES)
            .then(|| read(&source, Digest::sha256(text.as_bytes())))
            .flatten();
        let mut findings = source.into_findings();
        match recipe {
            Some(mut recipe) => {
                findings.extend(graph::check(&mut recipe, findings.is_empty()));
                match RecipeError::of(findings) {
                    None => Ok(recipe),
                    Some(error) => Err(error),
                }
            }
            None => Err(RecipeError::of(findings).unwrap_or_else(RecipeError::nothing)),
        }
    }

    /// SHA-256 of the recipe's bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model's version, if the recipe states one.
    pub fn model_version(&self) -> Option<&str> {
        self.model_version.as_deref()
    }

    /// Who answers for the model.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// What the model is, for people.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// The risk level: the highest where none is stated.
    pub fn risk(&self) -> Risk {
        self.stated_risk.unwrap_or(Risk::High)
    }

    /// What the stages' programs are taken from.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// What is done so that two runs do the same.
    pub fn determinism(&self) -> &Determinism {
        &self.determinism
    }

    /// How far stages have to be kept from the machine.
    pub fn isolation(&self) -> &IsolationDemand {
        &self.isolation
    }

    /// How much more than the baseline a replay may use.
    pub fn usage(&self) -> &UsageBounds {
        &self.usage
    }

    /// Runs with several seeds.
    pub fn replicates(&self) -> Option<&Replicates> {
        self.replicates.as_ref()
    }

    /// The metrics that runs with several seeds measure anew, each of them. Where they do not run the stage that
    /// writes one, or one between that and a stage that they run, its value is that of the one run.
    pub fn replicated_metrics(&self) -> Vec<&Metric> {
        let Some(replicates) = &self.replicates else {
            return Vec::new();
        };
        let replication = Replication::of(self, &replicates.stages);
        let metrics = self.metrics.iter();
        let is_measured = |metric: &&Metric| replication.lacks(metric).is_none();
        metrics.filter(is_measured).collect()
    }

    /// Where parameters come from.
    pub fn params(&self) -> &ParamsRule {
        &self.params
    }

    /// Data from outside, in the order of the text.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Exceptions from the levels of facts.
    pub fn overrides(&self) -> &[Exemption] {
        &self.overrides
    }

    /// The stages, each after those that it reads from.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The metrics, in the order of the text.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// The tests, in the order of the text.
    pub fn tests(&self) -> &[Test] {
        &self.tests
    }

    /// The profiles, in the order of the text.
    pub fn profiles(&self) -> &[Profile] {
        &self.profiles
    }

    /// The stage of this name.
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// The profile of this name.
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }

    /// The stage that writes `path`, itself or as part of a directory.
    pub fn writer_of(&self, path: &str) -> Option<&Stage> {
        self.stages
            .iter()
            .find(|stage| stage.output_of(path).is_some())
    }

    /// The stages whose outputs `stage` reads.
    pub fn dependencies(&self, stage: &Stage) -> Vec<&Stage> {
        let indexes = graph::dependencies(&self.stages, stage).into_iter();
        indexes.map(|index| &self.stages[index]).collect()
    }

    /// What golden answers and metrics can decide about.
    pub fn settling(&self) -> Settling<'_> {
        Settling::of(self)
    }

    /// Where a path that a stage reads comes from.
    pub fn origin_of(&self, path: &RecipePath) -> Origin<'_> {
        let writes = |stage: &&Stage| stage.writes.iter().any(|output| output.overlaps(path));
        if let Some(stage) = self.stages.iter().find(writes) {
            return Origin::Output(stage);
        }
        match self.inputs.iter().any(|input| input.path.overlaps(path)) {
            true => Origin::Input,
            false => Origin::Source,
        }
    }

    /// What is demanded of an output, and why. The class is that of its tolerance, its stage or the recipe, in this
    /// order, else bit by bit; the reason is that of the tolerance, or of whoever stated the class.
    pub fn rule_for(&self, stage: &Stage, path: &str) -> ArtifactRule {
        let tolerance = tolerance_for(stage, path);
        let mut rule = tolerance
            .map(|tolerance| tolerance.bounds.clone())
            .unwrap_or_default();
        let class = tolerance.and_then(|tolerance| tolerance.class);
        rule.class = class
            .or(stage.require)
            .or(self.determinism.class)
            .unwrap_or(Class::BitExact);
        rule.why = rule.why.or_else(|| match (class, stage.require) {
            (Some(_), _) => None,
            (None, Some(_)) => stage.why.clone(),
            (None, None) if self.determinism.class.is_some() => self.determinism.why.clone(),
            (None, None) => None,
        });
        rule.purpose = match stage.kind {
            StageKind::Train => Purpose::Trained,
            _ => Purpose::Output,
        };
        rule
    }

    /// The model file that tests load: the first output of the only stage that trains.
    pub fn model(&self) -> Option<&RecipePath> {
        let mut training = self
            .stages
            .iter()
            .filter(|stage| stage.kind == StageKind::Train);
        let stage = training.next()?;
        training.next().is_none().then_some(())?;
        stage.writes.first()
    }
}

/// The tolerance that a stage states for an output: the one for the longest path that holds it.
pub fn tolerance_for<'a>(stage: &'a Stage, path: &str) -> Option<&'a Tolerance> {
    let mut rules: Vec<_> = stage
        .tolerance
        .iter()
        .filter(|(place, _)| place.contains_path(path))
        .collect();
    rules.sort_by_key(|(place, _)| place.as_str().len());
    rules.pop().map(|(_, tolerance)| tolerance)
}

const SECTIONS: [&str; 12] = [
    "recipe",
    "environment",
    "determinism",
    "isolation",
    "usage",
    "replicates",
    "params",
    "input",
    "override",
    "stage",
    "metric",
    "test",
];

fn read(source: &Source<'_>, digest: Digest) -> Option<Recipe> {
    let document = source.document()?;
    let root = Fields::root(source, document.get_ref());
    let header = Fields::of(source, root.require("recipe")?, "[recipe]")?;
    // The version first: under another one, every other complaint would mislead.
    header.require("version")?;
    let version = header.integer("version", 0)?;
    if version != RECIPE_VERSION {
        let problem = format!("version {version} of recipes is not known here");
        let hint = format!("this sealstone reads version {RECIPE_VERSION}");
        source.report(
            &header.get("version")?.span(),
            Code::WrongValue,
            problem,
            Some(hint),
        );
        return None;
    }
    let known: Vec<&str> = SECTIONS.into_iter().chain(["profile"]).collect();
    let root = root.only(&known);
    let header = header.only(&[
        "version",
        "name",
        "model_version",
        "owner",
        "risk",
        "description",
    ]);
    let name = header.require_text("name");
    if let (Some(name), Some(node)) = (&name, header.get("name")) {
        stage::name_is_plain(source, &node.span(), name);
    }
    let environment = root.require("environment").and_then(|node| {
        let fields = Fields::of(source, node, "[environment]")?;
        Environment::read(&fields)
    });
    let determinism = root
        .table("determinism")
        .map(Determinism::read)
        .unwrap_or_default();
    let isolation = root
        .table("isolation")
        .map(IsolationDemand::read)
        .unwrap_or_default();
    let usage = root
        .table("usage")
        .map(UsageBounds::read)
        .unwrap_or_default();
    let replicates = root.table("replicates").and_then(Replicates::read);
    let params = root.table("params").map(params_rule).unwrap_or_default();
    let tables = |key: &'static str| {
        let nodes = root.list(key).iter();
        nodes.filter_map(move |node| Fields::of(source, node, format!("[[{key}]]")))
    };
    let inputs = tables("input").filter_map(Input::read).collect();
    let overrides = tables("override").filter_map(Exemption::read).collect();
    let named_stages = root.named("stage");
    if named_stages.is_empty() {
        let hint = "add a [stage.NAME] with kind, run, in and out".to_owned();
        source.report(
            &(0..0),
            Code::MissingKey,
            "a recipe without stages makes nothing",
            Some(hint),
        );
    }
    let stages = named_stages
        .into_iter()
        .filter_map(|(name, fields)| Stage::read(name, fields));
    let stages = stages.collect();
    let metrics = root.named("metric").into_iter();
    let mut metrics: Vec<Metric> = metrics
        .filter_map(|(name, fields)| Metric::read(name, fields))
        .collect();
    if let Some(replicates) = &replicates {
        for metric in &mut metrics {
            let rules = [
                &mut metric.rule.replay.confidence,
                &mut metric.rule.regression.confidence,
            ];
            for confidence in rules {
                confidence.get_or_insert_with(|| replicates.confidence.clone());
            }
        }
    }
    let tests = root.named("test").into_iter();
    let tests = tests
        .filter_map(|(name, fields)| Test::read(name, fields))
        .collect();
    let profiles = root.named("profile").into_iter();
    let profiles = profiles
        .filter_map(|(name, fields)| Profile::read(name, fields))
        .collect();
    let place = |node: &reader::Node<'_>| source.place(node.span().start);
    let determinism_key = root.get("determinism");
    let places = Places {
        header: source.place(header.place().start),
        risk: header.get("risk").map(place),
        environment: root.get("environment").map(place).unwrap_or_default(),
        determinism: determinism_key.map(place),
        why: determinism_key
            .and_then(|node| node.get_ref().as_table()?.get("why"))
            .map(place),
        params: root.get("params").map(place),
    };
    Some(Recipe {
        places,
        digest,
        model_version: header.text("model_version"),
        owner: header.words("owner"),
        description: header.words("description"),
        stated_risk: header.word("risk", words::RISKS),
        determinism,
        isolation,
        usage,
        replicates,
        params,
        inputs,
        overrides,
        stages,
        metrics,
        tests,
        profiles,
        name: name?,
        environment: environment?,
    })
}

fn params_rule(fields: Fields<'_, '_>) -> ParamsRule {
    let fields = fields.only(&["file", "roles"]);
    let mut roles = Vec::new();
    if let Some(table) = fields.table("roles") {
        for (key, place, _) in table.entries() {
            let role = table.word(key, words::ROLES);
            match key.parse::<Pattern>() {
                Ok(pattern) => roles.extend(role.map(|role| (place.start, pattern, role))),
                Err(error) => {
                    let problem = format!("{error}; \"{}\"", shorten(key));
                    fields
                        .source
                        .report(&place, Code::WrongValue, problem, None);
                }
            }
        }
    }
    roles.sort_by_key(|(start, _, _)| *start);
    ParamsRule {
        file: fields.path("file"),
        roles: roles
            .into_iter()
            .map(|(_, pattern, role)| (pattern, role))
            .collect(),
    }
}

#[cfg(test)]
mod tests;
