//! The build type `https://sealstone.dev/buildtypes/model-train/v1`: a training run.
//!
//! Owns the parameters that whoever asks for a training may choose, and what must stand among the
//! materials beside them. Its JSON schema is `spec/schemas/model-train-v1.schema.json`; a test keeps both
//! the same.
//! Invariant: provenance of this build type names nothing that it does not know (a verifier that passes
//! over a parameter would judge another run), and every source, data set and base model that was asked
//! for stands among the materials with a digest.

use super::predicate::{Problem, entries, no_fractions, text, texts, uri};
use super::provenance::{BuildDefinition, repository};
use super::resource::{self, ResourceDescriptor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The build type.
pub const BUILD_TYPE: &str = "https://sealstone.dev/buildtypes/model-train/v1";

/// Name of the material that holds the code.
pub const SOURCE: &str = "source";
/// Name of the material that holds the base model.
pub const BASE_MODEL: &str = "base-model";
/// Name of the material that pins the packages.
pub const LOCKFILE: &str = "lockfile";
/// Name of the material that describes the machine and its software.
pub const ENVIRONMENT: &str = "environment";
/// Start of the names of the materials that are data sets.
pub const DATASET: &str = "dataset:";

/// `externalParameters` of a training run. Numbers are written as text: no two readers round a text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Parameters {
    /// The code that was asked for: a repository with a revision.
    pub source: Source,
    /// The recipe in it that says what to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// The program in it, where there is no recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_point: Option<String>,
    /// Arguments of the program, or the stages of the recipe that were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// The configuration file in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// Data sets, by URI.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub datasets: Vec<String>,
    /// The model that training started from, by URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model: Option<String>,
    /// Hyperparameters that were set from outside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// The seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<String>,
    /// Variables of the environment that were set from outside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// The workflow that ran it, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<Workflow>,
}

/// Code that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// A repository with a revision, for example `git+https://git.example/demo@refs/tags/v1.2.0`.
    pub uri: String,
}

/// A workflow of a CI system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workflow {
    /// The repository that holds it.
    pub repository: String,
    /// The revision of the repository that was asked for.
    #[serde(rename = "ref")]
    pub revision: String,
    /// Its file, or its name where it has none.
    pub path: String,
    /// What whoever started it filled in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
}

impl Parameters {
    /// Reads them.
    ///
    /// # Errors
    /// If one is not known, is missing, or is not what it should be.
    pub fn read(parameters: &Map<String, Value>) -> Result<Parameters, Problem> {
        let read = Parameters::deserialize(parameters)
            .map_err(|error| Problem::new("", error.to_string()))?;
        if serde_json::to_value(&read)
            .ok()
            .as_ref()
            .and_then(Value::as_object)
            != Some(parameters)
        {
            let problem = "a field is empty or null, or a list stands where an object is due";
            return Err(Problem::new("", problem));
        }
        read.check()?;
        Ok(read)
    }

    /// As JSON, for [`BuildDefinition::external_parameters`].
    pub fn to_map(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            _ => unreachable!("texts, lists and maps of texts make a JSON object"),
        }
    }

    fn check(&self) -> Result<(), Problem> {
        uri("source.uri", &self.source.uri)?;
        if self.recipe.is_none() && self.entry_point.is_none() {
            let problem = "neither recipe nor entryPoint is there, so nothing says what ran";
            return Err(Problem::new("", problem));
        }
        let single = [
            ("recipe", &self.recipe),
            ("entryPoint", &self.entry_point),
            ("config", &self.config),
        ];
        for (at, value) in single {
            if let Some(value) = value {
                text(at, value)?;
            }
        }
        entries("arguments", self.arguments.len())?;
        for (index, argument) in self.arguments.iter().enumerate() {
            // An argument may well be empty.
            if !argument.is_empty() {
                text(&format!("arguments[{index}]"), argument)?;
            }
        }
        texts("datasets", self.datasets.iter())?;
        for (index, dataset) in self.datasets.iter().enumerate() {
            uri(&format!("datasets[{index}]"), dataset)?;
        }
        if let Some(base) = &self.base_model {
            uri("baseModel", base)?;
        }
        if let Some(seed) = &self.seed
            && (seed.is_empty() || seed.len() > 40 || !seed.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(Problem::new("seed", "is no whole number in decimal digits"));
        }
        pairs("parameters", &self.parameters)?;
        pairs("environment", &self.environment)?;
        if let Some(workflow) = &self.workflow {
            uri("workflow.repository", &workflow.repository)?;
            text("workflow.ref", &workflow.revision)?;
            text("workflow.path", &workflow.path)?;
            pairs("workflow.inputs", &workflow.inputs)?;
        }
        Ok(())
    }
}

/// Names with values; a value may be empty or have several lines.
fn pairs(at: &str, pairs: &BTreeMap<String, String>) -> Result<(), Problem> {
    entries(at, pairs.len())?;
    for (name, value) in pairs {
        text(at, name)?;
        if value.len() > super::predicate::MAX_TEXT_BYTES {
            return Err(Problem::new(format!("{at}.{name}"), "is too long"));
        }
    }
    Ok(())
}

/// Checks a build definition of this type.
pub(super) fn check(definition: &BuildDefinition) -> Result<(), Problem> {
    let parameters = Parameters::read(&definition.external_parameters)
        .map_err(|problem| problem.within("externalParameters"))?;
    for (key, value) in &definition.internal_parameters {
        no_fractions(&format!("internalParameters.{key}"), value)?;
    }
    let materials = &definition.resolved_dependencies;
    resource::unique_names("resolvedDependencies", materials)?;

    let source = pinned(materials, "the source", |material| {
        material.name.as_deref() == Some(SOURCE)
    })?;
    let resolved = source.uri.as_deref().unwrap_or_default();
    if repository(resolved) != repository(&parameters.source.uri) {
        let problem = format!(
            "source was asked for from \"{}\" and resolved to \"{resolved}\", another repository",
            parameters.source.uri
        );
        return Err(Problem::new("resolvedDependencies", problem));
    }
    for dataset in parameters.datasets.iter().chain(&parameters.base_model) {
        pinned(materials, dataset, |material| {
            material.uri.as_deref() == Some(dataset)
        })?;
    }
    Ok(())
}

/// The material that `is` says, which must have a digest that fixes it.
fn pinned<'a>(
    materials: &'a [ResourceDescriptor],
    what: &str,
    is: impl Fn(&ResourceDescriptor) -> bool,
) -> Result<&'a ResourceDescriptor, Problem> {
    let refused = |problem: &str| Problem::new("resolvedDependencies", format!("{what} {problem}"));
    let found = materials
        .iter()
        .find(|material| is(material))
        .ok_or_else(|| refused("was asked for and is not among them"))?;
    if !found.is_pinned() {
        return Err(refused("is among them without a digest that fixes it"));
    }
    Ok(found)
}
