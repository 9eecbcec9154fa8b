//! What a comparison found.
//!
//! Numbers are exact text, so that a report can be signed and read back without losing a digit.
//! Invariant: `ok` is `class` held against `required` and nothing else.

use super::locator::Locator;
use sealstone_spec::compare::{Class, Decimal, ElementType, Fingerprint};
use serde::Serialize;

/// How many rows of a table of tensors or files are kept; further ones are only counted.
pub const MAX_ROWS: usize = 1000;

/// Two files, compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactComparison {
    /// How the files were read: `safetensors`, `csv`, `bytes` ...
    pub format: &'static str,
    /// The strongest class that holds. [`Class::Functional`] only where the rule states bounds on predictions.
    pub class: Class,
    /// The class that the rule demands.
    pub required: Class,
    /// Whether `class` satisfies `required`. For weights of which only function or statistics are demanded
    /// this says what their bytes show; golden outputs and metrics decide.
    pub ok: bool,
    /// Size of the baseline, in bytes.
    pub base_size: u64,
    /// Size of the other, in bytes.
    pub now_size: u64,
    /// The first difference that counts: the one that kept the class from being `numeric` if it is weaker,
    /// else the first of all. `None` for the same bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Difference>,
    /// The tensor that is furthest off, where tensors were compared; one that makes the class weaker before one that
    /// does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst: Option<TensorComparison>,
    /// Sums over all tensors, where tensors were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<TensorCounts>,
    /// Tensors that differ, in the order of their names; at most [`MAX_ROWS`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tensors: Vec<TensorComparison>,
    /// What was found of rows, where the files are tables or lists of documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowComparison>,
    /// What was found of predictions, where the rule asks for them; of an archive, in all members that differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predictions: Option<PredictionComparison>,
    /// What was levelled out to reach `content_exact`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stabilizers: Vec<Stabilizer>,
    /// What a reader should know: bounds that failed, why a file was compared as bytes only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Where.
    pub locator: Locator,
    /// What differs, in a few words: `value`, `shape`, `missing` ...
    pub what: String,
    /// What the baseline has there; bytes as hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// What the other has there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
}

/// Two tensors of one name, compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TensorComparison {
    /// Its name; a JSON pointer for arrays in a document, a column for tables.
    pub tensor: String,
    /// Type of its elements.
    pub element: ElementType,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Whether its gate let it pass.
    pub ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Elements.
    pub elements: u64,
    /// Elements whose bits differ.
    pub changed: u64,
    /// Elements that are above zero on one side and below it on the other.
    pub sign_flips: u64,
    /// NaN in the baseline.
    pub base_nan: u64,
    /// NaN in the other.
    pub now_nan: u64,
    /// `|now - base|_2 / |base|_2`.
    pub rel_l2: Decimal,
    /// `max|now - base| / rms(base)`.
    pub scaled_max: Decimal,
    /// `max|now - base|`.
    pub max_abs: Decimal,
    /// The mean of `|now - base|`.
    pub mean_abs: Decimal,
    /// The cosine of the angle between the two; 1 where nothing differs.
    pub cosine: Decimal,
    /// 99 of 100 elements are at most this many ULP of their own type apart, rounded up to a power of two
    /// (less one); `None` for types without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ulp: Option<Decimal>,
    /// The first element that no bound lets pass (NaN where it is not allowed, another infinity), else the one with the
    /// largest difference, or the first that differs where none has a size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Element>,
    /// The first element whose bits differ, from 0 in each dimension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_index: Option<Vec<u64>>,
}

/// One element on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Element {
    /// Its place, from 0 in each dimension.
    pub index: Vec<u64>,
    /// Its value in the baseline; bytes as hex where they are no number.
    pub base: String,
    /// Its value in the other.
    pub now: String,
}

/// Sums over all tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TensorCounts {
    /// Tensors on both sides.
    pub tensors: u64,
    /// Of these, those with a difference.
    pub tensors_differing: u64,
    /// Tensors of the baseline that the other lacks, or has with another type or shape.
    pub tensors_missing: u64,
    /// Tensors that only the other has.
    pub tensors_added: u64,
    /// Elements of tensors on both sides.
    pub elements: u64,
    /// Elements whose bits differ.
    pub elements_changed: u64,
    /// Elements whose sign differs.
    pub sign_flips: u64,
    /// NaN in the baseline.
    pub base_nan: u64,
    /// NaN in the other.
    pub now_nan: u64,
}

/// Rows of two tables, compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RowComparison {
    /// Fingerprints of the baseline's rows.
    pub base: Fingerprint,
    /// Fingerprints of the other's.
    pub now: Fingerprint,
    /// Whether these are the same rows in another order.
    pub reordered: bool,
    /// Rows that differ in place; rows that only one side has count.
    pub changed: u64,
}

/// Predictions, compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PredictionComparison {
    /// Examples, of all tensors of predictions.
    pub examples: u64,
    /// Examples whose label differs, of all of them.
    pub flips: u64,
    /// Part of the examples whose label is the same, in the tensor in which it is the least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_agreement: Option<Decimal>,
    /// Mean part of the highest scores that is the same, in the tensor in which it is the least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topk_overlap: Option<Decimal>,
    /// Why the rule's demands on predictions are not met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A rule by which differences that mean nothing were levelled out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stabilizer {
    /// Its name.
    pub name: &'static str,
    /// Its version: another number may level out something else.
    pub version: u32,
    /// What it levels out.
    pub reason: &'static str,
}

/// Two directories, compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TreeComparison {
    /// The weakest class of all files; `divergent` if one is missing or added.
    pub class: Class,
    /// Whether every file reached the class that its rule demands, and none is missing or added.
    pub ok: bool,
    /// Files on both sides that have the same bytes.
    pub same: u64,
    /// Files that differ, by path.
    pub changed: Vec<FileComparison>,
    /// Files that only the baseline has.
    pub missing: Vec<String>,
    /// Files that only the other has.
    pub added: Vec<String>,
}

/// A file of a tree, compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileComparison {
    /// Its path.
    pub path: String,
    /// What was found.
    #[serde(flatten)]
    pub comparison: ArtifactComparison,
}
