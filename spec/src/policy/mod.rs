//! Policy: who must have said what about a manifest before it may be released.
//!
//! Owns the document, signed and unsigned, the closed set of rules, and the one function that decides.
//! The registry calls it when a release tag is created, the client when it pulls; both get the same
//! answer from the same bytes. Does not fetch evidence and has no clock.
//! Invariant: whatever cannot be decided is refused. An [`Admission`] comes from [`Policy::judge`]
//! and from nowhere else.

mod canonical;
mod circumstances;
mod denial;
mod diff;
mod document;
mod evaluate;
mod evidence;
mod exception;
mod explain;
mod glob;
mod hearing;
mod identity;
mod keys;
pub mod lifecycle;
mod lint;
mod position;
mod reader;
mod registry;
mod revocation;
mod rule;
mod scope;
mod signed;
mod standing;
mod time;

pub use circumstances::{Circumstances, ExceptionUse};
pub use denial::{Denial, Unmet};
pub use evaluate::Evaluation;
pub use evidence::{Case, Evidence, Ignored, MOST_EVIDENCE, MOST_EVIDENCE_BYTES, MOST_PROOFS};
pub use glob::{Glob, GlobError};
pub use identity::{Identity, Key, Roles, Status};
pub use keys::KeyRecord;
pub use lifecycle::{Binding, Exception};
pub use lint::Finding;
pub use position::LogPosition;
pub use reader::PolicyError;
pub use revocation::Revocation;
pub use rule::{
    Approvals, Binds, Bom, Logged, Provenance, Reproduction, Rule, RuleResult, Signatures, Suites,
    UriPattern,
};
pub use scope::{Authority, ExceptionRule, Roots, Scope, StandingException, TagRule, TrustedLog};
pub use signed::{PAYLOAD_TYPE, PolicyEnvelope, SignedPolicy, SignedPolicyError};
pub use standing::{Flag, Standing, State, Word};
pub use time::{Time, TimeError};

use crate::admission::Admission;
use crate::digest::Digest;
use crate::key::KeyId;
use crate::name::RepoName;
use document::Parts;
use serde_json::json;
use std::collections::BTreeMap;

/// `schema` of documents that only ask for signatures, and are not signed themselves.
pub const SCHEMA: &str = "sealstone-policy/v1";
/// `schema` of documents with everything; see chapter 5 of the specification.
pub const SCHEMA_V2: &str = "sealstone-policy/v2";

/// Longest policy document that is read, in bytes.
pub const MAX_POLICY_BYTES: usize = 1024 * 1024;

/// The editions of the document's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Edition {
    /// Signatures only; no version, no expiry, no roles.
    V1,
    /// Everything.
    V2,
}

impl Edition {
    /// Its `schema`.
    pub fn schema(self) -> &'static str {
        match self {
            Edition::V1 => SCHEMA,
            Edition::V2 => SCHEMA_V2,
        }
    }

    fn of(schema: &str) -> Option<Edition> {
        [Edition::V1, Edition::V2]
            .into_iter()
            .find(|edition| edition.schema() == schema)
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
    parts: Parts,
    fallback: Scope,
    by_key: BTreeMap<KeyId, usize>,
    log_trust: Vec<crate::log::LogTrust>,
    digest: Digest,
}

impl Policy {
    /// Reads a TOML document, of either edition.
    ///
    /// # Errors
    /// Names line, column and what is wrong: unknown keys and rules, identities that nobody defined,
    /// a key that two identities share, thresholds that nobody can reach, scopes that tie.
    pub fn parse(toml: &str) -> Result<Policy, PolicyError> {
        Ok(Policy::assemble(document::read_toml(toml)?))
    }

    /// Reads a document of version 2 in its canonical form, as a registry hands it out. Nothing vouches
    /// for it; [`SignedPolicy`] is what is to be believed.
    ///
    /// # Errors
    /// If it is no policy, or not in canonical form.
    pub fn parse_canonical(json: &[u8]) -> Result<Policy, PolicyError> {
        let value = crate::canonical::parse_value(json, MAX_POLICY_BYTES)
            .map_err(|error| PolicyError::nowhere(error.to_string()))?;
        let policy = Policy::assemble(document::read_json(&value)?);
        match policy.to_canonical_json() == json {
            true => Ok(policy),
            false => Err(PolicyError::nowhere("it is not in canonical form")),
        }
    }

    /// The policy of a registry that has been given none: tags are immutable, content is staged, and
    /// a release needs no signature.
    pub fn default_policy() -> Policy {
        Policy::assemble(Parts::empty())
    }

    fn assemble(parts: Parts) -> Policy {
        let by_key = parts
            .identities
            .iter()
            .enumerate()
            .flat_map(|(index, identity)| identity.keys.iter().map(move |key| (*key.id(), index)))
            .collect();
        let digest = Policy::digest_of(&canonical::document(&parts));
        let log_trust = parts
            .logs
            .iter()
            .filter_map(|log| log.trust().ok())
            .collect();
        Policy {
            log_trust,
            parts,
            fallback: Scope::fallback(),
            by_key,
            digest,
        }
    }

    fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The edition of the document.
    pub fn edition(&self) -> Edition {
        self.parts.edition
    }

    /// The number that grows with every change; 0 in documents of version 1, which have none.
    pub fn version(&self) -> u64 {
        self.parts.version
    }

    /// From this moment on it admits nothing; `None` in documents of version 1.
    pub fn expires(&self) -> Option<Time> {
        self.parts.expires
    }

    /// The keys that sign it; `None` in documents of version 1, which are not signed.
    pub fn roots(&self) -> Option<&Roots> {
        self.parts.roots.as_ref()
    }

    /// SHA-256 of the document's canonical JSON (RFC 8785), with defaults written out and keys as
    /// SPKI PEM: comments, spaces and the form of a key do not change it.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The identities, in the order of the document.
    pub fn identities(&self) -> &[Identity] {
        &self.parts.identities
    }

    /// The scopes, in the order of the document.
    pub fn scopes(&self) -> &[Scope] {
        &self.parts.scopes
    }

    /// The logs that it trusts.
    pub fn logs(&self) -> &[TrustedLog] {
        &self.parts.logs
    }

    /// The same, as the log's own code checks them.
    pub fn log_trust(&self) -> &[crate::log::LogTrust] {
        &self.log_trust
    }

    /// Who may stop a release.
    pub fn authority(&self) -> &Authority {
        &self.parts.authority
    }

    /// Exceptions that the document itself makes.
    pub fn exceptions(&self) -> &[StandingException] {
        &self.parts.exceptions
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
            .parts
            .scopes
            .iter()
            .filter_map(|scope| Some((specificity(scope)?, scope)));
        ranked
            .max_by_key(|(rank, _)| *rank)
            .map_or(&self.fallback, |(_, scope)| scope)
    }

    /// The digest of what decides for one repository: its scope and the identities that its rules
    /// name or could count. When only this is unchanged, an older judgement still holds.
    pub fn scope_digest(&self, repo: &RepoName) -> Digest {
        let scope = self.scope_for(repo);
        let edition = self.parts.edition;
        let named = |identity: &&Identity| {
            let mut rules = scope.require.iter();
            edition == Edition::V2 || rules.any(|rule| rule.identities().contains(&identity.name))
        };
        let identities: Vec<_> = self
            .parts
            .identities
            .iter()
            .filter(named)
            .map(|identity| canonical::identity(identity, edition))
            .collect();
        let mut value = json!({
            "schema": edition.schema(), "identity": identities,
            "scope": [canonical::scope(scope, edition)],
        });
        if edition == Edition::V2 {
            value["log"] = json!(self.parts.logs);
            value["authority"] = json!(self.parts.authority);
            value["exception"] = json!(self.parts.exceptions);
            value["expires"] = json!(self.parts.expires);
        }
        Policy::digest_of(&value)
    }

    /// The digest of what is asked for in one repository, without whom it is asked of: what an
    /// approval is bound to. New people and rotated keys do not change it, other rules do.
    pub fn rules_digest(&self, repo: &RepoName) -> Digest {
        let edition = self.parts.edition;
        Policy::digest_of(&json!({
            "schema": edition.schema(),
            "scope": [canonical::scope(self.scope_for(repo), edition)],
        }))
    }

    /// The identity that a key speaks for.
    pub fn identity_of(&self, key: &KeyId) -> Option<&Identity> {
        self.by_key
            .get(key)
            .map(|&index| &self.parts.identities[index])
    }

    /// Whether evidence can change anything in a repository: a rule asks for it, or somebody may stop
    /// a release there.
    pub fn reads_evidence(&self, repo: &RepoName) -> bool {
        let authority = &self.parts.authority;
        let somebody_stops = || {
            let keys = self
                .parts
                .identities
                .iter()
                .flat_map(|identity| &identity.keys);
            keys.into_iter().any(|key| {
                let stopping = authority.revoke.iter().chain(&authority.reject);
                let mut stopping = stopping.chain(&authority.incident).chain(&authority.close);
                stopping.any(|role| key.roles.contains(role))
            })
        };
        !self.scope_for(repo).rules().is_empty()
            || (self.parts.edition == Edition::V2 && somebody_stops())
    }

    /// Decides whether the manifest of `case` may be released in `repo`, at the time and under the
    /// circumstances that the caller states.
    ///
    /// # Errors
    /// A [`Denial`] with every rule that is not met and what would meet it. A case made for another
    /// repository is denied whatever it holds, and so is every case once the policy has expired.
    #[allow(clippy::result_large_err)] // a refusal is rare, and its caller decides where it lives
    pub fn judge(
        &self,
        repo: &RepoName,
        case: &Case,
        circumstances: &Circumstances,
    ) -> Result<Admission, Denial> {
        self.hear(repo, case, circumstances).1
    }

    /// The same, with the evaluation that the decision follows from.
    #[allow(clippy::result_large_err)]
    pub fn hear(
        &self,
        repo: &RepoName,
        case: &Case,
        circumstances: &Circumstances,
    ) -> (Evaluation, Result<Admission, Denial>) {
        let evaluation = self.evaluate(repo, case, circumstances);
        let verdict = if evaluation.satisfied() {
            Ok(Admission::grant(self, &evaluation))
        } else {
            Err(Denial::new(self, evaluation.clone()))
        };
        (evaluation, verdict)
    }
}

#[cfg(test)]
mod tests;
