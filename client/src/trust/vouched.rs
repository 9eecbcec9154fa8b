//! What the registry itself says about a release, and how its key is known.
//!
//! Owns the choice of the keys and the reading of what they signed. Decides nothing: no release is taken on
//! the registry's word. A report of damage counts only by a key that is known for certain, because it stops; and by every
//! such key, so that no key that anybody attaches takes the place of another.

use super::evidence::Evidence;
use sealstone_spec::digest::Digest;
use sealstone_spec::key::{KeyId, PublicKey};
use sealstone_spec::log::{Entry, LogProof};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::name::{RepoName, Tag};
use sealstone_spec::notary::{self, Vouched};
use sealstone_spec::policy::{Policy, lifecycle};
use sealstone_spec::sigstore::{ANNOTATION_PREDICATE_TYPE, SigstoreBundle};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What a log calls the key of a registry's statements.
const KEY_KIND: &str = "registry-statements";

/// How a registry's key came to be known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "by", rename_all = "camelCase")]
pub enum KnownBy {
    /// The policy gives it to somebody.
    Policy {
        /// Who that is.
        identity: String,
    },
    /// A log that the policy trusts tells of it.
    Log {
        /// The log.
        origin: String,
        /// Number of the entry.
        index: u64,
    },
    /// The registry that was asked hands it out.
    Registry,
    /// It came along with the release, and nothing proves that it is the registry's.
    Companion,
}

impl std::fmt::Display for KnownBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KnownBy::Policy { identity } => write!(f, "in the policy as \"{identity}\""),
            KnownBy::Log { origin, index } => write!(f, "entry {index} of the log {origin}"),
            KnownBy::Registry => f.write_str("as the registry hands it out"),
            KnownBy::Companion => {
                f.write_str("came along with the release; nothing proves whose it is")
            }
        }
    }
}

/// A key that signs for a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryKey {
    /// The key.
    pub key: PublicKey,
    /// How it is known.
    pub known: KnownBy,
}

impl RegistryKey {
    /// Those of these keys that are heard, each once and the best known first; `proofs` are what may show that a log tells
    /// of one. Whoever may attach records can bring as many as he likes, but none that is certain: of those that only came
    /// along the first is kept, and only where there is no other.
    pub(super) fn heard(
        candidates: Vec<RegistryKey>,
        proofs: &[LogProof],
        policy: &Policy,
    ) -> Vec<RegistryKey> {
        let in_logs = keys_in_logs(proofs, policy);
        let known = |candidate: RegistryKey| {
            let in_policy = policy.identity_of(candidate.key.id());
            let known = match in_policy {
                Some(identity) => KnownBy::Policy {
                    identity: identity.name.clone(),
                },
                None => {
                    let digest = Digest::sha256(&candidate.key.to_spki_der());
                    in_logs.get(&digest).cloned().unwrap_or(candidate.known)
                }
            };
            RegistryKey { known, ..candidate }
        };
        let mut keys: Vec<RegistryKey> = candidates.into_iter().map(known).collect();
        keys.sort_by(|one, other| one.known.cmp(&other.known));
        let mut seen = BTreeSet::new();
        keys.retain(|candidate| seen.insert(*candidate.key.id()));
        let certain = keys.iter().filter(|key| key.is_certain()).count();
        keys.truncate(certain.max(1));
        keys
    }

    /// Whether its word about damage counts.
    pub fn is_certain(&self) -> bool {
        self.known != KnownBy::Companion
    }
}

/// The keys of registries of which logs of the policy tell. Each proof is checked once, whatever is to be looked up:
/// whoever may attach records can attach many keys and many proofs.
fn keys_in_logs(proofs: &[LogProof], policy: &Policy) -> BTreeMap<Digest, KnownBy> {
    let mut found = BTreeMap::new();
    for trust in policy.log_trust() {
        for proof in proofs {
            let Ok((Entry::Event(event), evidence)) = proof.verify_entry(trust) else {
                continue;
            };
            if event.key.as_ref().is_some_and(|key| key.kind == KEY_KIND) {
                found.entry(event.digest).or_insert_with(|| KnownBy::Log {
                    origin: evidence.origin().to_owned(),
                    index: evidence.index(),
                });
            }
        }
    }
    found
}

/// What a registry said of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryWord {
    /// Its key.
    pub key_id: KeyId,
    /// How that is known.
    pub known: KnownBy,
    /// What holds, each once.
    pub said: Vec<Vouched>,
    /// What names its key and does not hold.
    pub refused: Vec<String>,
}

impl RegistryWord {
    /// A line for each thing that was said.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for said in &self.said {
            lines.push(match said {
                Vouched::Released { place, tag } => format!("released as {place}:{tag}"),
                Vouched::Judged {
                    verifier,
                    policy,
                    evidence,
                    at,
                    ..
                } => {
                    let policy = policy.map_or("no digest".to_owned(), |policy| policy.to_string());
                    format!(
                        "judged PASSED by {verifier} under policy {policy}, on {} statements{}",
                        evidence.len(),
                        at.as_ref()
                            .map(|at| format!(", at {at}"))
                            .unwrap_or_default()
                    )
                }
                _ => continue,
            });
        }
        lines.extend(
            self.refused
                .iter()
                .map(|why| format!("not its word: {why}")),
        );
        if !lines.is_empty() {
            lines.push(format!("by key {}, {}", self.key_id, self.known));
        }
        lines
            .iter()
            .map(|line| crate::transport::printable(line))
            .collect()
    }
}

/// Whether a listing says that a registry could have signed this.
pub(super) fn may_be_registrys(referrer: &VerifiedManifest) -> bool {
    let claimed = referrer.annotations().get(ANNOTATION_PREDICATE_TYPE);
    claimed.is_some_and(|claimed| {
        notary::TYPES.contains(&claimed.as_str()) || claimed == lifecycle::INCIDENT
    })
}

impl Evidence {
    /// What the registry said of this release; `None` if no key of it is known. With a tag, its word about
    /// other tags is left out. Of several keys the best known that said anything is shown.
    pub fn registry_word(
        &self,
        manifest: &VerifiedManifest,
        repository: &RepoName,
        tag: Option<&Tag>,
    ) -> Option<RegistryWord> {
        let keys = self.registry.iter();
        let words = keys.map(|registry| self.word_of(registry, manifest, repository, tag));
        words.min_by_key(|word| (word.said.is_empty(), word.refused.is_empty()))
    }

    fn word_of(
        &self,
        registry: &RegistryKey,
        manifest: &VerifiedManifest,
        repository: &RepoName,
        tag: Option<&Tag>,
    ) -> RegistryWord {
        let mut word = RegistryWord {
            key_id: *registry.key.id(),
            known: registry.known.clone(),
            said: Vec::new(),
            refused: Vec::new(),
        };
        for item in &self.attached {
            let Ok(bundle) = SigstoreBundle::parse(&item.bundle) else {
                continue;
            };
            let claimed = item.referrer.annotations().get(ANNOTATION_PREDICATE_TYPE);
            let is_told = claimed.is_some_and(|kind| notary::TYPES.contains(&kind.as_str()));
            if !is_told || !notary::is_named(&bundle, &registry.key) {
                continue;
            }
            match Vouched::read(&bundle, &registry.key, manifest.digest()) {
                Ok(Vouched::Released { place, tag: told }) => {
                    let here = place.ends_with(&format!("/{repository}"));
                    let this = tag.is_none_or(|tag| tag.as_str() == told);
                    if here && this {
                        word.said.push(Vouched::Released { place, tag: told });
                    }
                }
                Ok(other) => word.said.push(other),
                Err(why) => word
                    .refused
                    .push(format!("{}: {why}", item.referrer.digest())),
            }
        }
        word.said.dedup();
        word
    }
}
