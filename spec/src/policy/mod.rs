//! Policy: who must have said what about a manifest before it may be released.
//!
//! Owns the document, the closed set of rules, and the one function that decides. The registry calls
//! it when a release tag is created, the client when it pulls; both get the same answer from the same
//! bytes. Does not fetch evidence and has no clock.
//! Invariant: whatever cannot be decided is refused. An [`Admission`] comes from [`Policy::judge`]
//! and from nowhere else.

mod denial;
mod document;
mod evaluate;
mod evidence;
mod glob;
mod reader;
mod rule;

pub use denial::{Denial, Unmet};
pub use evaluate::Evaluation;
pub use evidence::{Case, Evidence, Ignored};
pub use glob::{Glob, GlobError};
pub use reader::PolicyError;
pub use rule::{Rule, RuleResult, Signatures};

use crate::admission::Admission;
use crate::canonical::to_canonical_json;
use crate::digest::Digest;
use crate::key::{KeyId, PublicKey};
use crate::name::RepoName;
use serde::Serialize;
use std::collections::BTreeMap;

/// `schema` of the documents that are read here.
pub const SCHEMA: &str = "sealstone-policy/v1";

/// Longest policy document that is read, in bytes.
pub const MAX_POLICY_BYTES: usize = 1024 * 1024;

/// Somebody, or something, that signs: a name for people and the keys that speak for it. All of them
/// count as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Identity {
    /// The name that rules use.
    pub name: String,
    /// At least one.
    pub keys: Vec<PublicKey>,
}

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scope {
    repositories: Vec<Glob>,
    tags: TagRule,
    staging: bool,
    require: Vec<Rule>,
}

impl Scope {
    /// What holds where no scope of the document matches: immutable tags, staging, no rule.
    fn fallback() -> Scope {
        Scope {
            repositories: Vec::new(),
            tags: TagRule::Immutable,
            staging: true,
            require: Vec::new(),
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
}

/// A policy document that has been read and understood as a whole.
///
/// ```
/// use sealstone_spec::policy::{Policy, TagRule};
/// let policy = Policy::parse(r#"
///     schema = "sealstone-policy/v1"
///     [[scope]]
///     repositories = ["cache/**"]
///     tags = "mutable"
///     staging = false
/// "#)?;
/// assert_eq!(policy.scope_for(&"cache/busybox".parse()?).tag_rule(), TagRule::Mutable);
/// assert_eq!(policy.scope_for(&"models/x".parse()?).tag_rule(), TagRule::Immutable);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Policy {
    identities: Vec<Identity>,
    scopes: Vec<Scope>,
    fallback: Scope,
    by_key: BTreeMap<KeyId, usize>,
    digest: Digest,
}

/// The document in its canonical form: defaults written out, keys as SPKI PEM.
#[derive(Serialize)]
struct Canonical<'a> {
    schema: &'static str,
    identity: Vec<&'a Identity>,
    scope: Vec<&'a Scope>,
}

impl Canonical<'_> {
    fn digest(&self) -> Digest {
        let bytes = to_canonical_json(self).expect("a policy is made of text and small numbers");
        Digest::sha256(&bytes)
    }
}

impl Policy {
    /// Reads a TOML document.
    ///
    /// # Errors
    /// Names line, column and what is wrong: unknown keys and rules, identities that nobody defined,
    /// a key that two identities share, thresholds that nobody can reach, scopes that tie.
    pub fn parse(toml: &str) -> Result<Policy, PolicyError> {
        let (identities, scopes) = document::read(toml)?;
        Ok(Policy::assemble(identities, scopes))
    }

    /// The policy of a registry that has been given none: tags are immutable, content is staged, and
    /// a release needs no signature.
    pub fn default_policy() -> Policy {
        Policy::assemble(Vec::new(), Vec::new())
    }

    fn assemble(identities: Vec<Identity>, scopes: Vec<Scope>) -> Policy {
        let by_key = identities
            .iter()
            .enumerate()
            .flat_map(|(index, identity)| identity.keys.iter().map(move |key| (*key.id(), index)))
            .collect();
        let digest = Canonical {
            schema: SCHEMA,
            identity: identities.iter().collect(),
            scope: scopes.iter().collect(),
        }
        .digest();
        Policy {
            identities,
            scopes,
            fallback: Scope::fallback(),
            by_key,
            digest,
        }
    }

    /// SHA-256 of the document's canonical JSON (RFC 8785), with defaults written out and keys as
    /// SPKI PEM: comments, spaces and the form of a key do not change it.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The identities, in the order of the document.
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }

    /// The scopes, in the order of the document.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// The scope that holds for a repository: the one with the most specific matching pattern. An
    /// exact name is more specific than any pattern with `*`, then the longer literal start wins;
    /// documents in which two scopes could tie are not read.
    pub fn scope_for(&self, repo: &RepoName) -> &Scope {
        let specificity = |scope: &Scope| {
            let matching = scope
                .repositories
                .iter()
                .filter(|glob| glob.matches(repo.as_str()));
            matching.map(Glob::specificity).max()
        };
        let ranked = self
            .scopes
            .iter()
            .filter_map(|scope| Some((specificity(scope)?, scope)));
        ranked
            .max_by_key(|(rank, _)| *rank)
            .map_or(&self.fallback, |(_, scope)| scope)
    }

    /// The digest of what decides for one repository: its scope and the identities that its rules
    /// name. When only this is unchanged, an older judgement still holds.
    pub fn scope_digest(&self, repo: &RepoName) -> Digest {
        let scope = self.scope_for(repo);
        let named = |identity: &&Identity| {
            scope
                .require
                .iter()
                .any(|rule| rule.identities().contains(&identity.name))
        };
        Canonical {
            schema: SCHEMA,
            identity: self.identities.iter().filter(named).collect(),
            scope: vec![scope],
        }
        .digest()
    }

    /// The identity that a key speaks for.
    pub fn identity_of(&self, key: &KeyId) -> Option<&Identity> {
        self.by_key.get(key).map(|&index| &self.identities[index])
    }

    /// Decides whether the manifest of `case` may be released in `repo`.
    ///
    /// # Errors
    /// A [`Denial`] with every rule that is not met and what would meet it. A case made for another
    /// repository is denied whatever it holds.
    #[allow(clippy::result_large_err)] // a refusal is rare, and its caller decides where it lives
    pub fn judge(&self, repo: &RepoName, case: &Case) -> Result<Admission, Denial> {
        let evaluation = self.evaluate(repo, case);
        if evaluation.satisfied() {
            Ok(Admission::grant(self, &evaluation))
        } else {
            Err(Denial::new(self, evaluation))
        }
    }
}

#[cfg(test)]
mod tests;
