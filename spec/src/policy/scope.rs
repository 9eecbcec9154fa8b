//! What holds for the repositories that some patterns match.

use super::rule::Rule;
use super::{Glob, Time};
use crate::name::RepoName;
use serde::Serialize;
use std::collections::BTreeSet;

/// What may happen to a tag once it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TagRule {
    /// Created once, never moved, never reused.
    Immutable,
    /// May be moved.
    Mutable,
}

/// What holds for the repositories that some patterns match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub(super) repositories: Vec<Glob>,
    pub(super) tags: TagRule,
    pub(super) staging: bool,
    pub(super) require: Vec<Rule>,
    pub(super) exceptions: Option<ExceptionRule>,
}

impl Scope {
    /// What holds where no scope of the document matches: immutable tags, staging, no rule.
    pub(super) fn fallback() -> Scope {
        Scope {
            repositories: Vec::new(),
            tags: TagRule::Immutable,
            staging: true,
            require: Vec::new(),
            exceptions: None,
        }
    }

    /// The patterns; none in the scope that holds where nothing else does.
    pub fn repositories(&self) -> &[Glob] {
        &self.repositories
    }

    /// Whether tags may move.
    pub fn tag_rule(&self) -> TagRule {
        self.tags
    }

    /// Whether consumers read content only through a release. If not, whoever may pull reads it all.
    pub fn staging(&self) -> bool {
        self.staging
    }

    /// What a release needs; with no rule, nothing.
    pub fn rules(&self) -> &[Rule] {
        &self.require
    }

    /// Which rules signed exceptions can waive here, and who signs those.
    pub fn exceptions(&self) -> Option<&ExceptionRule> {
        self.exceptions.as_ref()
    }
}

/// Which rules can be waived for a single manifest, by whom, for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExceptionRule {
    /// Names of the rules.
    pub rules: BTreeSet<String>,
    /// The role whose keys sign.
    pub role: String,
    /// How many different people must sign.
    pub threshold: u32,
    /// How far ahead an exception may end, in days.
    pub max_days: u32,
}

/// An exception that the document itself makes: its signers approve it by signing the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StandingException {
    /// A name for it.
    pub id: String,
    /// Where it holds.
    pub repositories: Vec<Glob>,
    /// The rule that it waives.
    pub rule: String,
    /// Why.
    pub reason: String,
    /// Where that is discussed.
    pub ticket: String,
    /// Who answers for it: names of identities.
    pub approved_by: Vec<String>,
    /// When it ends.
    pub expires: Time,
    /// How many manifests may be released under it.
    pub max_uses: u32,
}

impl StandingException {
    pub(super) fn covers(&self, repo: &RepoName, rule: &str) -> bool {
        let name = repo.as_str();
        self.rule == rule && self.repositories.iter().any(|glob| glob.matches(name))
    }
}

/// Who may stop a release, beside the rules: roles whose keys' statements count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Authority {
    /// Whose rejection keeps a candidate from being released.
    pub reject: BTreeSet<String>,
    /// Who can say that a release is superseded.
    pub deprecate: BTreeSet<String>,
    /// Whose revocation stops pulls. One is enough: stopping must be easy.
    pub revoke: BTreeSet<String>,
    /// Whose report of damaged content puts a release into quarantine, beside the registry's own. Written
    /// down only if it is not the default, because documents were signed before this was known.
    #[serde(skip_serializing_if = "is_default_incident")]
    pub incident: BTreeSet<String>,
    /// Who takes a release out of quarantine again; written down as above.
    #[serde(skip_serializing_if = "is_default_close")]
    pub close: BTreeSet<String>,
}

const INCIDENT: [&str; 5] = ["approver", "evaluator", "release", "reproducer", "security"];
const CLOSE: [&str; 1] = ["governance"];

fn is_default_incident(roles: &BTreeSet<String>) -> bool {
    roles.iter().map(String::as_str).eq(INCIDENT)
}

fn is_default_close(roles: &BTreeSet<String>) -> bool {
    roles.iter().map(String::as_str).eq(CLOSE)
}

impl Default for Authority {
    fn default() -> Self {
        let of = |roles: &[&str]| roles.iter().map(|&role| role.to_owned()).collect();
        Authority {
            reject: of(&["approver"]),
            deprecate: of(&["approver", "release"]),
            revoke: of(&["approver", "release", "security"]),
            incident: of(&INCIDENT),
            close: of(&CLOSE),
        }
    }
}

/// A transparency log that the policy trusts to say what was logged, and in which order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TrustedLog {
    /// The log's verifier key, as C2SP writes it: name, key id, key.
    pub vkey: String,
    /// Verifier keys of witnesses.
    pub witnesses: Vec<String>,
    /// How many of them must have cosigned a checkpoint.
    pub quorum: u32,
}

/// The keys that sign the policy itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Roots {
    /// How many of the keys must have signed.
    pub threshold: u32,
    /// The keys.
    pub keys: Vec<crate::key::PublicKey>,
}

impl Roots {
    /// Roots that are trusted from elsewhere, a file for example. A threshold of 0 counts as 1.
    pub fn new(threshold: u32, keys: Vec<crate::key::PublicKey>) -> Roots {
        Roots {
            threshold: threshold.max(1),
            keys,
        }
    }
}
