//! SLSA provenance: who made something, how, and out of what.
//!
//! Source: slsa.dev, build provenance v1. Owns the fields and what holds for every build type; the
//! parameters of our own build types are those of [`super::model_train`] and [`super::rebuild`], and are checked with it.
//! Does not say how much a builder's word is worth: `builder.id` states who vouches, policies decide.

use super::model_train::{self, Parameters};
use super::predicate::{self, Predicate, Problem, text, uri};
use super::rebuild;
use super::resource::{self, ResourceDescriptor};
use super::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

pub use super::rebuild::{EQUIVALENCE, REBUILD};

/// Whether provenance says how something was made again, and so nothing of who made it first. Looks at the
/// build type alone: what cannot be read is provenance of whoever signed it.
pub fn is_rebuild(predicate: &Map<String, Value>) -> bool {
    let stated = predicate
        .get("buildDefinition")
        .and_then(|definition| definition.get("buildType"))
        .and_then(Value::as_str);
    stated.is_some_and(|stated| [REBUILD, EQUIVALENCE].contains(&stated))
}

/// The predicate of [`predicate::SLSA_PROVENANCE`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// What was asked for, and what it was made of.
    pub build_definition: BuildDefinition,
    /// Who made it, and when.
    pub run_details: RunDetails,
}

/// The inputs of a build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// What the parameters mean.
    pub build_type: String,
    /// Everything that whoever asked for the build could choose.
    pub external_parameters: Map<String, Value>,
    /// What the builder chose.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub internal_parameters: Map<String, Value>,
    /// Everything that went in, with digests: the materials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolved_dependencies: Vec<ResourceDescriptor>,
}

/// One run of a build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunDetails {
    /// Who vouches for all of it.
    pub builder: Builder,
    /// Which run it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BuildMetadata>,
    /// What came out beside the subject: logs, metrics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub byproducts: Vec<ResourceDescriptor>,
}

/// A builder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Builder {
    /// Its URI; compared exactly.
    pub id: String,
    /// Versions of its parts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub version: BTreeMap<String, String>,
    /// What the builder itself is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builder_dependencies: Vec<ResourceDescriptor>,
}

/// A run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildMetadata {
    /// The run's own name at its builder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation_id: Option<String>,
    /// When it started, by the builder's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_on: Option<Timestamp>,
    /// When it ended, by the builder's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_on: Option<Timestamp>,
}

impl Provenance {
    /// Who vouches.
    pub fn builder_id(&self) -> &str {
        &self.run_details.builder.id
    }

    /// What the parameters mean.
    pub fn build_type(&self) -> &str {
        &self.build_definition.build_type
    }

    /// Everything that went in.
    pub fn materials(&self) -> &[ResourceDescriptor] {
        &self.build_definition.resolved_dependencies
    }

    /// The material of this name.
    pub fn material(&self, name: &str) -> Option<&ResourceDescriptor> {
        let mut materials = self.materials().iter();
        materials.find(|material| material.name.as_deref() == Some(name))
    }

    /// The repositories that code came from, without revisions: of the materials that name a git commit, or
    /// whose URI is a version-control one, or that are called `source`.
    pub fn sources(&self) -> Vec<&str> {
        let is_source = |material: &&ResourceDescriptor| {
            let uri = material.uri.as_deref().unwrap_or_default();
            material.name.as_deref() == Some(model_train::SOURCE)
                || material.digest.contains_key("gitCommit")
                || ["git+", "hg+", "svn+", "bzr+"]
                    .iter()
                    .any(|scheme| uri.starts_with(scheme))
        };
        let mut found: Vec<&str> = self
            .materials()
            .iter()
            .filter(is_source)
            .filter_map(|material| material.uri.as_deref())
            .map(repository)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The parameters, if this is our own build type.
    pub fn model_train(&self) -> Option<Parameters> {
        (self.build_type() == model_train::BUILD_TYPE)
            .then(|| Parameters::read(&self.build_definition.external_parameters).ok())
            .flatten()
    }
}

/// A version-control URI without its revision and path: `git+https://h/r@refs/heads/x#a` is
/// `git+https://h/r`.
pub fn repository(uri: &str) -> &str {
    let uri = uri.split('#').next().unwrap_or(uri);
    // An @ before the first slash of the path is a user's name.
    let path = match uri.find("://") {
        Some(at) => uri[at + 3..].find('/').map(|slash| at + 3 + slash),
        None => Some(0),
    };
    match path.and_then(|path| uri[path..].find('@').map(|at| path + at)) {
        Some(at) => &uri[..at],
        None => uri,
    }
}

impl Predicate for Provenance {
    const TYPE: &'static str = predicate::SLSA_PROVENANCE;

    fn check(&self) -> Result<(), Problem> {
        self.build_definition
            .check()
            .map_err(|problem| problem.within("buildDefinition"))?;
        self.run_details
            .check()
            .map_err(|problem| problem.within("runDetails"))?;
        if self.build_type() == model_train::BUILD_TYPE {
            return model_train::check(&self.build_definition)
                .map_err(|problem| problem.within("buildDefinition"));
        }
        if [REBUILD, EQUIVALENCE].contains(&self.build_type()) {
            return rebuild::check(&self.build_definition)
                .map_err(|problem| problem.within("buildDefinition"));
        }
        Ok(())
    }
}

impl BuildDefinition {
    fn check(&self) -> Result<(), Problem> {
        uri("buildType", &self.build_type)?;
        resource::list("resolvedDependencies", &self.resolved_dependencies)
    }
}

impl RunDetails {
    fn check(&self) -> Result<(), Problem> {
        uri("builder.id", &self.builder.id)?;
        for (part, version) in &self.builder.version {
            text("builder.version", part)?;
            text(&format!("builder.version.{part}"), version)?;
        }
        resource::list(
            "builder.builderDependencies",
            &self.builder.builder_dependencies,
        )?;
        resource::list("byproducts", &self.byproducts)?;
        let Some(metadata) = &self.metadata else {
            return Ok(());
        };
        if let Some(id) = &metadata.invocation_id {
            text("metadata.invocationId", id)?;
        }
        match (&metadata.started_on, &metadata.finished_on) {
            (Some(started), Some(finished)) if finished < started => Err(Problem::new(
                "metadata.finishedOn",
                format!("{finished} lies before startedOn, {started}"),
            )),
            _ => Ok(()),
        }
    }
}
