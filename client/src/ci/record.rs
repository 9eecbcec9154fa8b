//! Build records: what a build says of itself, made into provenance.
//!
//! A record is JSON with the fields of SLSA provenance, all optional, or a `recipe.lock`. What it lacks is
//! taken from the CI run; where both speak of one thing they must agree.

use super::{Run, locked};
use crate::error::{Error, Result};
use sealstone_spec::canonical::parse_strict;
use sealstone_spec::recipe::Lock;
use sealstone_spec::statement::ResourceDescriptor;
use sealstone_spec::statement::model_train::{self, BUILD_TYPE};
use sealstone_spec::statement::predicate;
use sealstone_spec::statement::provenance::{
    BuildDefinition, BuildMetadata, Builder, Provenance, RunDetails, repository,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Longest record that is read.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// A record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BuildRecord {
    /// What was chosen from outside; see [`model_train::Parameters`].
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub external_parameters: Map<String, Value>,
    /// What the builder chose.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub internal_parameters: Map<String, Value>,
    /// What went in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resolved_dependencies: Vec<ResourceDescriptor>,
    /// Who vouches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder: Option<Builder>,
    /// Which run it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BuildMetadata>,
    /// What came out beside the bundle.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub byproducts: Vec<ResourceDescriptor>,
}

impl BuildRecord {
    /// Reads a record, or a `recipe.lock`.
    ///
    /// # Errors
    /// If it is neither.
    pub fn parse(bytes: &[u8]) -> Result<BuildRecord> {
        let value: Value = parse_strict(bytes, MAX_BYTES)
            .map_err(|error| Error::usage("the build record cannot be read").source(error))?;
        if value.get("schema").is_some() {
            let lock = Lock::parse(bytes)
                .map_err(|error| Error::usage("the recipe.lock cannot be read").source(error))?;
            return Ok(BuildRecord::of_lock(&lock));
        }
        parse_strict(bytes, MAX_BYTES)
            .map_err(|error| Error::usage("the build record cannot be read").source(error))
    }

    /// The record of the run that a lock came from.
    pub fn of_lock(lock: &Lock) -> BuildRecord {
        locked::record(lock)
    }

    /// The bytes of a file that [`BuildRecord::parse`] reads.
    ///
    /// # Errors
    /// Not for a record that was read or made here.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self)
            .map_err(|error| Error::other("the build record cannot be written").source(error))
    }

    /// States where the code came from: a repository, with the revision that was asked for.
    ///
    /// # Errors
    /// If the record says another repository.
    pub fn from_source(&mut self, uri: &str) -> Result<()> {
        let stated = self.external_parameters.get("source");
        match stated.and_then(|it| it["uri"].as_str()) {
            Some(stated) if repository(stated) != repository(uri) => Err(Error::refused(format!(
                "the record was built from {}, not from {}",
                repository(stated),
                repository(uri)
            ))),
            Some(_) => Ok(()),
            None => {
                self.external_parameters
                    .insert("source".into(), json!({ "uri": uri }));
                self.locate_source(uri);
                Ok(())
            }
        }
    }

    /// Gives the material `source` its address, where it has none.
    fn locate_source(&mut self, uri: &str) {
        let mut materials = self.resolved_dependencies.iter_mut();
        let is_source =
            |it: &&mut ResourceDescriptor| it.name.as_deref() == Some(model_train::SOURCE);
        if let Some(material) = materials.find(is_source) {
            material.uri.get_or_insert_with(|| uri.to_owned());
        }
    }

    /// Completes the record from a run of a CI system, and from then on it says who built it.
    ///
    /// # Errors
    /// If both contradict each other.
    pub fn completed(mut self, run: &Run) -> Result<BuildRecord> {
        self.complete(run)?;
        let metadata = self.metadata.get_or_insert_default();
        if metadata.invocation_id.is_none() {
            metadata.invocation_id.clone_from(&run.invocation_id);
        }
        let builder = self.builder.get_or_insert_default();
        if builder.id.is_empty() {
            builder.id.clone_from(&run.builder_id);
        }
        Ok(self)
    }

    /// The provenance predicate: of the record, completed from the run, under `builder_id` if one is given.
    ///
    /// # Errors
    /// If both contradict each other, or something that the build type demands is missing.
    pub fn provenance(
        self,
        run: Option<&Run>,
        builder_id: Option<&str>,
    ) -> Result<Map<String, Value>> {
        let record = match run {
            Some(run) => self.completed(run)?,
            None => self,
        };
        let metadata = record.metadata.unwrap_or_default();
        let mut builder = record.builder.unwrap_or_default();
        if let Some(id) = builder_id {
            builder.id = id.to_owned();
        }
        if builder.id.is_empty() {
            return Err(Error::usage("nobody says who built it")
                .hint("give --builder-id URI: the one who vouches for the build"));
        }
        let provenance = Provenance {
            build_definition: BuildDefinition {
                build_type: BUILD_TYPE.into(),
                external_parameters: record.external_parameters,
                internal_parameters: record.internal_parameters,
                resolved_dependencies: record.resolved_dependencies,
            },
            run_details: RunDetails {
                builder,
                metadata: (metadata != BuildMetadata::default()).then_some(metadata),
                byproducts: record.byproducts,
            },
        };
        predicate::write(&provenance)
            .map_err(|error| Error::usage("the build record makes no provenance").source(error))
    }

    fn complete(&mut self, run: &Run) -> Result<()> {
        let external = &mut self.external_parameters;
        match external.get("source").and_then(|it| it["uri"].as_str()) {
            Some(stated) if repository(stated) != repository(&run.source) => {
                return Err(Error::refused(format!(
                    "the record was built from {}, this run from {}",
                    repository(stated),
                    repository(&run.source)
                ))
                .hint("attest in the run that built it, or give --ci none"));
            }
            Some(_) => {}
            None => {
                external.insert("source".into(), json!({"uri": run.source}));
            }
        }
        if let Some(workflow) = &run.workflow
            && !external.contains_key("workflow")
        {
            external.insert("workflow".into(), json!(workflow));
        }
        let source = self
            .resolved_dependencies
            .iter()
            .find(|material| material.name.as_deref() == Some(model_train::SOURCE));
        match source.map(|material| material.digest.get("gitCommit")) {
            Some(Some(commit)) if *commit != run.commit => {
                return Err(Error::refused(format!(
                    "the record was built from commit {commit}, this run from {}",
                    run.commit
                )));
            }
            Some(known) => {
                let is_known = known.is_some();
                self.locate_source(&run.source);
                let mut materials = self.resolved_dependencies.iter_mut();
                let source = materials
                    .find(|material| material.name.as_deref() == Some(model_train::SOURCE))
                    .filter(|_| !is_known);
                if let Some(source) = source {
                    let commit = run.commit.clone();
                    source.digest.insert("gitCommit".into(), commit);
                }
            }
            None => self.resolved_dependencies.insert(
                0,
                ResourceDescriptor {
                    name: Some(model_train::SOURCE.into()),
                    uri: Some(run.source.clone()),
                    digest: [("gitCommit".to_owned(), run.commit.clone())].into(),
                    ..ResourceDescriptor::default()
                },
            ),
        }
        if !run.runner.is_empty() && !self.internal_parameters.contains_key("runner") {
            self.internal_parameters
                .insert("runner".into(), json!(run.runner));
        }
        Ok(())
    }
}
