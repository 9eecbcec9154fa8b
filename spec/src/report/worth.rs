//! Whether a report is worth anything as somebody's word that a bundle reproduces, apart from who signed it and what a
//! policy asks.
//!
//! Invariant: the same test decides what counts for a policy, and what takes back a divergence.

use super::ReplayScope;
use super::document::Report;
use crate::compare::Class;

/// Kinds of overrides with which a report vouches for nothing: who made it did not look at signatures, or took wider
/// bounds than the baseline's.
const WAIVED: [&str; 2] = ["insecure", "tolerance"];

impl Report {
    /// Whether it is one that can count: neither a divergence is taken back nor an approval left alive by one that
    /// nobody would count.
    pub fn vouches(&self) -> bool {
        self.verdict.is_reproduced() && self.waived().is_none() && !self.measured_baseline()
    }

    /// Whether it is of at least as much as one that diverged, so that it can take that back: of the same scope, of
    /// everything, or of a wider scope that is no profile, which has a baseline of its own; and chained if the other was,
    /// since stages on recorded inputs say nothing of what goes from one to the next.
    pub fn covers(&self, diverged: &Report) -> bool {
        let scope = self.scope == diverged.scope
            || self.scope == ReplayScope::Full
            || (self.scope > diverged.scope && self.scope != ReplayScope::Smoke);
        scope && (self.mode.chained || !diverged.mode.chained)
    }

    /// The override with which it vouches for nothing, if it has one.
    pub fn waived(&self) -> Option<&'static str> {
        let is_there = |kind: &&str| self.overrides.iter().any(|waived| waived.kind == *kind);
        WAIVED.into_iter().find(is_there)
    }

    /// Whether what it has reached rests on metrics that were measured with files of the baseline. A stage that is the
    /// same on recorded inputs is the same in a chain of such; one whose metrics hold on them shows nothing about the
    /// files that others made.
    pub fn measured_baseline(&self) -> bool {
        !self.mode.chained && self.class.achieved == Some(Class::Statistical)
    }
}
