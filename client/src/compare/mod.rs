//! Two files, compared as what they are: tensors, tables, documents, archives, bytes.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `comparison`, `locator`, `stabilizer` | what is found, where, and what was levelled out |
//! | `format`, `content`, `tree` | what a file is; one file against another; directories |
//! | `bytes`, `cursor`, `limits` | positioned reads, headers, how much is read of what may be hostile |
//! | `numbers`, `lanes`, `accumulate` | elements, and sums over them |
//! | `tensors`, `passes`, `sets`, `predictions` over `lists` | tensors where they lie, pairs of them read in pieces, sets by name, labels; lists of lists as tables of them |
//! | `safetensors`, `npy`, `torch` over `pickle`, `onnx` over `protobuf`, `gguf` | where a format keeps its tensors |
//! | `json` over `digits`, `lightgbm` | documents with numbers in them; integers that no 64 bits hold |
//! | `sound` | whether one file is what its format says, and safe to load |
//! | `table` over `columns`, `delimited` | rows, as JSON lines, CSV and TSV hold them |
//! | `archive`, `zip_directory` | zip, tar, gzip; whether torch finds in a zip what is read here |
//!
//! Owns reading and measuring. What may differ is `sealstone_spec::compare`'s.
//! Invariants: nothing in a file is ever executed; memory does not grow with the size of tensors or tables;
//! figures do not depend on the number of threads; a file that cannot be read as its format is compared as
//! bytes, and the result says so.

mod accumulate;
mod archive;
mod bytes;
mod columns;
mod comparison;
mod content;
mod cursor;
mod delimited;
mod digits;
mod format;
mod gguf;
mod json;
mod lanes;
mod lightgbm;
mod limits;
mod lists;
mod locator;
mod npy;
mod numbers;
mod onnx;
mod passes;
mod pickle;
mod predictions;
mod protobuf;
mod safetensors;
mod sets;
mod sound;
mod stabilizer;
mod table;
mod tensors;
#[cfg(test)]
mod tests;
mod torch;
mod tree;
mod zip_directory;

pub use comparison::{
    ArtifactComparison, Difference, Element, FileComparison, MAX_ROWS, PredictionComparison,
    RowComparison, Stabilizer, TensorComparison, TensorCounts, TreeComparison,
};
pub(crate) use limits::LINE_BYTES;
pub use locator::{Locator, Place};
pub use sealstone_spec::compare::ArtifactRule;
pub use sound::unsound;
pub(crate) use table::Limited;

use crate::error::Result;
use std::path::Path;

/// Compares two files as what they are.
///
/// ```
/// use sealstone::compare::{ArtifactRule, compare_artifact};
/// use sealstone_spec::compare::Class;
/// let directory = tempfile::tempdir().unwrap();
/// let (base, now) = (directory.path().join("a.json"), directory.path().join("b.json"));
/// std::fs::write(&base, r#"{"auc": 0.91, "n": 1000}"#).unwrap();
/// std::fs::write(&now, r#"{"n": 1000, "auc": 0.9100000000000001}"#).unwrap();
/// let found = compare_artifact(&base, &now, &ArtifactRule::of(Class::Numeric)).unwrap();
/// assert_eq!((found.class, found.ok), (Class::Numeric, true));
/// assert_eq!(found.first.unwrap().locator.to_string(), "pointer:/auc");
/// ```
///
/// # Errors
/// If one of them is no file or cannot be read. What is malformed is compared as bytes.
pub fn compare_artifact(
    base: &Path,
    now: &Path,
    rule: &ArtifactRule,
) -> Result<ArtifactComparison> {
    let (base, now) = (content::Side::open(base)?, content::Side::open(now)?);
    let mut budget = archive::Budget::default();
    Ok(content::compare(&base, &now, rule, &mut budget, 0)?)
}

/// Compares two directories, each file by the rule that `rule` gives for its path.
///
/// # Errors
/// If a directory or file cannot be read, or there is something that is neither.
pub fn compare_tree(
    base: &Path,
    now: &Path,
    rule: &dyn Fn(&str) -> ArtifactRule,
) -> Result<TreeComparison> {
    tree::compare(base, now, rule)
}
