//! What is said of a bundle in its bill of materials, before it is bytes.
//!
//! Owns the fields and what of them people write themselves ([`Card`], read from a file of theirs).

use super::package::Package;
use crate::bundle::{BundleFile, FileKind};
use crate::digest::Digest;
use crate::statement::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that a bill is made from.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The model.
    pub model: Model,
    /// When the bill was made; left out of it if nobody said.
    pub created: Option<Timestamp>,
    /// Every file of the bundle.
    pub files: Vec<File>,
    /// Every package.
    pub packages: Vec<Package>,
    /// What its author says.
    pub card: Card,
    /// Facts of the environment by name.
    pub environment: BTreeMap<String, String>,
}

/// The model as a whole.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// Digest of the bundle's manifest; of a directory there is none.
    pub manifest: Option<Digest>,
    /// Registry and repository, where it lies in one.
    pub place: Option<String>,
    /// A sentence about it.
    pub description: Option<String>,
    /// Who made it.
    pub authors: Vec<String>,
    /// Who gives it out.
    pub vendor: Option<String>,
    /// Licences, as SPDX expressions or names.
    pub licenses: Vec<String>,
    /// Where its source is.
    pub source_url: Option<String>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Path in the bundle.
    pub path: String,
    /// Digest of its content.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What it is for.
    pub kind: FileKind,
}

impl From<&BundleFile> for File {
    fn from(file: &BundleFile) -> File {
        File {
            path: file.path.to_string(),
            digest: file.digest,
            size: file.size,
            kind: file.kind,
        }
    }
}

/// What a model's author says of it: the model card and where it comes from. Every field may be absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Card {
    /// What it does: `classification`, `text-generation`.
    pub task: Option<String>,
    /// How it learned.
    pub approach: Option<Approach>,
    /// Family of architectures, such as `transformer`.
    pub architecture_family: Option<String>,
    /// The architecture.
    pub architecture: Option<String>,
    /// Formats of its inputs.
    pub inputs: Vec<String>,
    /// Formats of its outputs.
    pub outputs: Vec<String>,
    /// Who it is for.
    pub users: Vec<String>,
    /// What it is for.
    pub use_cases: Vec<String>,
    /// What it is not good at.
    pub limitations: Vec<String>,
    /// What was traded for what.
    pub tradeoffs: Vec<String>,
    /// Risks, and what was done about them.
    #[serde(rename = "risk")]
    pub risks: Vec<Risk>,
    /// How good it is.
    #[serde(rename = "metric")]
    pub metrics: Vec<Metric>,
    /// What it was trained and evaluated on.
    #[serde(rename = "dataset")]
    pub datasets: Vec<Input>,
    /// What training started from.
    #[serde(rename = "base-model")]
    pub base_models: Vec<Input>,
}

/// How a model learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approach {
    /// From labelled data.
    Supervised,
    /// From data without labels.
    Unsupervised,
    /// From rewards.
    ReinforcementLearning,
    /// From both kinds of data.
    SemiSupervised,
    /// From parts of the data that predict others.
    SelfSupervised,
}

/// A risk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Risk {
    /// What could happen.
    pub name: String,
    /// What was done about it.
    #[serde(rename = "mitigation")]
    pub mitigation: Option<String>,
}

/// A number that says how good a model is, as exact text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Its name.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its value.
    pub value: String,
    /// On which part of the data.
    pub slice: Option<String>,
}

/// A data set or a base model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// Where it is.
    pub uri: Option<String>,
    /// Digest of its content.
    pub digest: Option<Digest>,
    /// A sentence about it.
    pub description: Option<String>,
    /// How sensitive it is, such as `public`.
    pub classification: Option<String>,
    /// Files of the bundle that hold it.
    pub files: Vec<String>,
}
