//! A refusal, for people and for programs: what is missing and who can mend it.

use super::{Evaluation, Ignored, Policy, Time};
use crate::digest::Digest;
use crate::name::RepoName;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A rule that is not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Unmet {
    /// Name of the rule.
    pub rule: String,
    /// What is missing.
    pub reason: String,
    /// Who can mend it, and how.
    pub remedy: String,
}

/// Why a manifest may not be released: every rule that is not met. It can be read back from a
/// server's answer; unlike an [`crate::admission::Admission`] it proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Denial {
    /// The repository.
    pub repo: RepoName,
    /// The manifest.
    pub manifest: Digest,
    /// Digest of the policy.
    pub policy: Digest,
    /// At least one.
    pub unmet: Vec<Unmet>,
    /// What was attached and does not count: often the reason behind the reason.
    pub ignored: Vec<Ignored>,
    /// The first moment at which the same inputs may give another verdict; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

impl Denial {
    pub(super) fn new(policy: &Policy, evaluation: Evaluation) -> Denial {
        let failed = evaluation
            .results
            .into_iter()
            .filter(|result| !result.satisfied);
        Denial {
            repo: evaluation.repository,
            manifest: evaluation.manifest,
            policy: *policy.digest(),
            unmet: failed
                .map(|result| Unmet {
                    rule: result.rule,
                    reason: result.reasons.join("; "),
                    remedy: result.remedy.unwrap_or_default(),
                })
                .collect(),
            ignored: evaluation.ignored,
            until: evaluation.until,
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} may not be released", self.repo, self.manifest)?;
        for unmet in &self.unmet {
            write!(f, "\n  {}: {}", unmet.rule, unmet.reason)?;
            if !unmet.remedy.is_empty() {
                write!(f, "\n    to mend it: {}", unmet.remedy)?;
            }
        }
        for ignored in &self.ignored {
            write!(
                f,
                "\n  not counted: {}: {}",
                ignored.evidence, ignored.reason
            )?;
        }
        write!(f, "\n  policy: {}", self.policy)
    }
}

impl std::error::Error for Denial {}
