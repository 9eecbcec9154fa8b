//! Two files, compared as what they are: tensors, tables, documents, archives, bytes.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `comparison`, `locator` | what is found, and where |
//!
//! Owns reading and measuring. What may differ is `sealstone_spec::compare`'s.
//! Invariants: nothing in a file is ever executed; memory does not grow with the size of tensors or tables;
//! figures do not depend on the number of threads; a file that cannot be read as its format is compared as
//! bytes, and the result says so.

mod comparison;
mod locator;

pub use comparison::{
    ArtifactComparison, Difference, Element, FileComparison, MAX_ROWS, PredictionComparison,
    RowComparison, Stabilizer, TensorComparison, TensorCounts, TreeComparison,
};
pub use locator::{Locator, Place};
pub use sealstone_spec::compare::ArtifactRule;
