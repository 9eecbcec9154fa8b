//! Reproduction reports: what a replay found, as one document that is signed and rendered.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `document` | the fields of the predicate, names as on the wire |
//! | `rows` | the tables in it: stages, artifacts, metrics, tests, facts, resources |
//! | `verdict` | verdicts, their precedence, the reasons behind one |
//! | `origin` | the first divergence: a walk over the graph of stages |
//! | `attribution` | what it is put down to, and on which evidence |
//! | `trace` | the first step of a training run that differs |
//! | `hints` | the catalogue of causes, ND-01 and on, and what points at which |
//! | `limits` | tables that were cut, and what may stand in a document |
//! | `worth` | whether a report vouches for anything, whoever signed it |
//! | `alert` | the one line that people are woken by |
//!
//! Does not compare artifacts or metrics ([`crate::compare`]) and runs nothing: a replay hands in what
//! it saw. Signing is the statement's ([`crate::statement`]).
//! Invariant: the verdict of a report that was read is never better than its own rows allow.

mod alert;
mod attribution;
mod document;
mod hints;
mod limits;
mod origin;
mod rows;
mod trace;
mod verdict;
mod worth;

pub use alert::{Failing, alert_line};
pub use attribution::{Attribution, Finding, Runs, attribute};
pub use document::{
    Baseline, Builder, ClassPair, Cut, DigestRef, DigestSet, Divergence, EnvironmentPair,
    IsolationPair, Mode, Override, ReplayScope, Report, ReportError, Stabilizer, TrailEntry,
};
pub use hints::{CATALOGUE, Clue, Hint, hint, hints_for};
pub use limits::{MAX_REPORT_BYTES, MAX_ROWS, MAX_WHOLE_BYTES};
pub use origin::{Cause, Origin, StageFacts, walk};
pub use rows::{
    ArtifactDetail, ArtifactRow, FactRow, Keys, MetricRow, ResourceRow, StageRow, StageStatus,
    TensorRow, TestRow, Worst,
};
pub use trace::{Trace, TraceDifference, TraceError, first_difference, first_difference_of_lines};
pub use verdict::{Reason, Verdict, worst};

/// The predicate type of a report in an in-toto statement.
pub const PREDICATE_TYPE: &str = "https://sealstone.dev/attestation/reproduction/v0.1";

/// Media type and artifact type of a whole report, attached beside the statement that holds it cut.
pub const WHOLE_MEDIA_TYPE: &str = "application/vnd.sealstone.report.v1+json";

#[cfg(test)]
mod tests;
