//! Build records: what a build says of itself, made into provenance.
//!
//! A record is JSON with the fields of SLSA provenance, all optional, or a `recipe.lock`. What it lacks is
//! taken from the CI run; where both speak of one thing they must agree.

use super::Run;
use crate::error::{Error, Result};
use sealstone_spec::canonical::parse_strict;
use sealstone_spec::recipe::Lock;
use sealstone_spec::statement::ResourceDescriptor;
use sealstone_spec::statement::model_train::{self, BUILD_TYPE};
use sealstone_spec::statement::predicate;
use sealstone_spec::statement::provenance::{
    BuildDefinition, BuildMetadata, Builder, Provenance, RunDetails, repository,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Longest record that is read.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// A record.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BuildRecord {
    /// What was chosen from outside; see [`model_train::Parameters`].
    pub external_parameters: Map<String, Value>,
    /// What the builder chose.
    pub internal_parameters: Map<String, Value>,
    /// What went in.
    pub resolved_dependencies: Vec<ResourceDescriptor>,
    /// Who vouches.
    pub builder: Option<Builder>,
    /// Which run it was.
    pub metadata: Option<BuildMetadata>,
    /// What came out beside the bundle.
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

    fn of_lock(lock: &Lock) -> BuildRecord {
        let mut external = Map::new();
        external.insert("recipe".into(), json!("recipe.toml"));
        if !lock.params.is_empty() {
            external.insert("parameters".into(), json!(lock.params));
        }
        let mut materials = vec![
            ResourceDescriptor::named("recipe", &lock.recipe.digest),
            ResourceDescriptor::named(model_train::ENVIRONMENT, &lock.environment.digest),
        ];
        let mut datasets = Vec::new();
        for input in &lock.inputs {
            let name = format!("{}{}", model_train::DATASET, input.content.path);
            let mut material = ResourceDescriptor::named(name, &input.content.digest);
            // A path on somebody's disk is no address.
            if let Some(source) = input
                .source
                .as_ref()
                .filter(|source| source.contains("://"))
            {
                material = material.at(source);
                datasets.push(source.clone());
            }
            materials.push(material);
        }
        if !datasets.is_empty() {
            datasets.sort();
            datasets.dedup();
            external.insert("datasets".into(), json!(datasets));
        }
        let logs = lock.stages.iter();
        BuildRecord {
            external_parameters: external,
            resolved_dependencies: materials,
            byproducts: logs
                .map(|stage| {
                    ResourceDescriptor::named(format!("log:{}", stage.name), &stage.log.digest)
                })
                .collect(),
            ..BuildRecord::default()
        }
    }

    /// The provenance predicate: of the record, completed from the run, under `builder_id` if one is given.
    ///
    /// # Errors
    /// If both contradict each other, or something that the build type demands is missing.
    pub fn provenance(
        mut self,
        run: Option<&Run>,
        builder_id: Option<&str>,
    ) -> Result<Map<String, Value>> {
        let mut metadata = self.metadata.take().unwrap_or_default();
        let mut builder = self.builder.take().unwrap_or_default();
        if let Some(run) = run {
            self.complete(run)?;
            if metadata.invocation_id.is_none() {
                metadata.invocation_id.clone_from(&run.invocation_id);
            }
            if builder.id.is_empty() {
                builder.id.clone_from(&run.builder_id);
            }
        }
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
                external_parameters: self.external_parameters,
                internal_parameters: self.internal_parameters,
                resolved_dependencies: self.resolved_dependencies,
            },
            run_details: RunDetails {
                builder,
                metadata: (metadata != BuildMetadata::default()).then_some(metadata),
                byproducts: self.byproducts,
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
            Some(_) => {}
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
