//! When two results are the same: classes of equality, tolerances, gates and statistics.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `class` | the ladder from `bit_exact` to `divergent` |
//! | `decimal` | numbers as exact text, so that no document loses a digit |
//! | `scalar` | one number against another: abs, rel, ulp, NaN and infinity |
//! | `tensor` | gates over many numbers, and their defaults by element type |
//! | `metric` | the verdict on a metric, in a replay and between releases |
//! | `statistics` | quantiles of Student's t, prediction intervals, Welch's test of equivalence |
//! | `prediction` | labels and ranks |
//! | `rule` | what is demanded of one file |
//! | `rows` | fingerprints that tell rows in another order from other rows |
//!
//! Reads no file and walks no tensor: a caller brings figures, this module judges them.
//! Invariant: a comparison that cannot be made is never a pass. Missing, NaN, an empty list and too
//! few replicates each have an outcome of their own, and none of them is [`Outcome::Pass`].

mod class;
mod decimal;
mod metric;
mod prediction;
mod rows;
mod rule;
mod scalar;
pub mod statistics;
mod tensor;

pub use class::{Class, UnknownClass};
pub use decimal::{Decimal, DecimalError};
pub use metric::{
    Baseline, Direction, MIN_BASELINE_REPLICATES, MetricRule, MetricVerdict, Outcome,
    RegressionMethod, RegressionRule, ReplayMethod, ReplayRule,
};
pub use prediction::{PredictionRule, Predictions, count_flips, labels_of_scores, topk_overlap};
pub use rows::{Fingerprint, RowFingerprint};
pub use rule::ArtifactRule;
pub use scalar::{NanRule, ScalarTolerance, ulp_distance};
pub use tensor::{ElementType, GateFailure, Purpose, TensorFigures, TensorGate};
