//! The environment of a run as a document: facts from an allow-list, compared by how much each matters.
//!
//! Owns the levels of isolation, the table of facts, the canonical document with its digest, and the
//! comparison of two documents. Does not capture anything: the client reads the machine. Facts that
//! change from one second to the next (time, process id, free memory) are no part of a document.
//! Invariant: a difference in a fact that must match makes a comparison inconclusive unless a recorded
//! exception that has not expired says otherwise.

mod day;
mod difference;
mod facts;
mod isolation;
mod level;
mod secret;

pub use day::{Day, DayError};
pub use difference::{Comparing, Difference, Exception, Override, OverrideError, Row, compare};
pub use facts::{FactError, FactValue, Facts, MAX_FACTS_BYTES, SCHEMA};
pub use isolation::{Isolation, IsolationError};
pub use level::{FACTS, FactRule, Level, NOT_SET, RANDOM_PACKAGES, Strictness, fact_rule};
pub use secret::{is_secret_name, looks_secret};
