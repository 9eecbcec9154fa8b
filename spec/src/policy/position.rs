//! Where a statement stands in a transparency log, proven.
//!
//! Invariant: a [`LogPosition`] is made by whoever has checked an inclusion proof against a checkpoint
//! that a log of the policy signed, and by nobody else.

use serde::Serialize;

/// A proven place in a log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct LogPosition {
    /// The log.
    pub origin: String,
    /// The number of the leaf, from 0.
    pub index: u64,
}
