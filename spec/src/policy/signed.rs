//! The policy signed: one DSSE envelope, k of n signatures of root keys, over canonical JSON.
//!
//! Source: secure-systems-lab/dsse with several signatures; TUF's rules for the succession of roots.
//! Invariant: a [`SignedPolicy`] bears enough signatures of its own roots, and of those that were
//! trusted before, if any were. Every signature in the envelope holds, under one of these keys.

use super::document;
use super::{Edition, Policy, PolicyError, Roots, Time};
use crate::canonical::{JsonError, parse_value};
use crate::envelope::pae;
use crate::exact::parse_exact;
use crate::key::{KeyId, PublicKey, SignError, Signer};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Payload type of signed policies.
pub const PAYLOAD_TYPE: &str = "application/vnd.sealstone.policy.v2+json";

/// Most signatures in one envelope.
const MAX_SIGNATURES: usize = 64;
/// Longest envelope: base64 makes four bytes of three.
const MAX_ENVELOPE_BYTES: usize = super::MAX_POLICY_BYTES * 2;

/// Why a signed policy was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignedPolicyError {
    /// Not the JSON of an envelope.
    #[error("signed policy: {0}")]
    Json(#[from] JsonError),
    /// Something about the envelope.
    #[error("signed policy: {0}")]
    Envelope(String),
    /// A signature does not hold, or is of a key that has no say.
    #[error("signed policy: the signature of key {key} {problem}")]
    Signature {
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Too few signatures.
    #[error(
        "signed policy: {found} of the {whose} root keys have signed, {threshold} must: sign it with \"sealstone policy sign\""
    )]
    TooFew {
        /// `trusted` or `policy's own`.
        whose: &'static str,
        /// How many have.
        found: usize,
        /// How many must.
        threshold: u32,
    },
    /// The document within.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The payload says the same in other bytes than it should.
    #[error(
        "signed policy: its payload is not canonical JSON: sign it with \"sealstone policy sign\""
    )]
    NotCanonical,
    /// An older version than the one that is trusted.
    #[error(
        "policy version {found} is older than version {trusted}, which was seen before: a policy never goes back"
    )]
    Rollback {
        /// The version that was seen before.
        trusted: u64,
        /// The version of this one.
        found: u64,
    },
    /// Another document under the version that is trusted.
    #[error(
        "policy version {version} was seen before with other content: one of the two is forged, or a version was used twice"
    )]
    Fork {
        /// The version.
        version: u64,
    },
    /// It does not hold any more.
    #[error("policy version {version} expired at {expires}: get a newer one")]
    Expired {
        /// The version.
        version: u64,
        /// When it expired.
        expires: Time,
    },
    /// Documents of version 1 have no roots.
    #[error(
        "documents of \"sealstone-policy/v1\" cannot be signed: write one of \"sealstone-policy/v2\""
    )]
    Unsignable,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    payload_type: String,
    payload: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    keyid: String,
    sig: String,
}

/// An envelope as it was received, or is being signed: nothing in it may be believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyEnvelope {
    payload: Vec<u8>,
    signatures: Vec<(KeyId, Vec<u8>)>,
}

impl PolicyEnvelope {
    /// An envelope without signatures.
    ///
    /// # Errors
    /// If the document is of version 1.
    pub fn of(policy: &Policy) -> Result<PolicyEnvelope, SignedPolicyError> {
        if policy.edition() == Edition::V1 {
            return Err(SignedPolicyError::Unsignable);
        }
        Ok(PolicyEnvelope {
            payload: policy.to_canonical_json(),
            signatures: Vec::new(),
        })
    }

    /// Reads an envelope.
    ///
    /// # Errors
    /// Refuses unknown fields, duplicate keys, loose base64, another payload type, signatures without
    /// key id, and two of one key.
    pub fn parse(bytes: &[u8]) -> Result<PolicyEnvelope, SignedPolicyError> {
        let wire: Wire = parse_exact(bytes, MAX_ENVELOPE_BYTES)?;
        let refuse = |text: String| Err(SignedPolicyError::Envelope(text));
        if wire.payload_type != PAYLOAD_TYPE {
            let found: String = wire.payload_type.chars().take(120).collect();
            return refuse(format!(
                "payload type is \"{found}\", not \"{PAYLOAD_TYPE}\""
            ));
        }
        if wire.signatures.len() > MAX_SIGNATURES {
            return refuse(format!(
                "{} signatures, at most {MAX_SIGNATURES} are read",
                wire.signatures.len()
            ));
        }
        let decode = |text: &str| BASE64.decode(text.as_bytes());
        let Ok(payload) = decode(&wire.payload) else {
            return refuse("payload is not strict base64".to_owned());
        };
        let mut signatures: Vec<(KeyId, Vec<u8>)> = Vec::new();
        for signature in &wire.signatures {
            let key: KeyId = match signature.keyid.parse() {
                Ok(key) => key,
                Err(error) => return refuse(format!("{error}")),
            };
            let Ok(bytes) = decode(&signature.sig) else {
                return refuse("a signature is not strict base64".to_owned());
            };
            if signatures.iter().any(|(other, _)| *other == key) {
                return refuse(format!("key {key} has signed twice"));
            }
            signatures.push((key, bytes));
        }
        Ok(PolicyEnvelope {
            payload,
            signatures,
        })
    }

    /// Adds a signature; one of the same key that is there already is replaced.
    ///
    /// # Errors
    /// If the signer refuses.
    pub fn sign(&mut self, signer: &dyn Signer) -> Result<(), SignError> {
        let signature = signer.sign(&pae(PAYLOAD_TYPE, &self.payload))?;
        let key = *signer.public_key().id();
        self.signatures.retain(|(other, _)| *other != key);
        self.signatures.push((key, signature));
        self.signatures.sort();
        Ok(())
    }

    /// The envelope as compact JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire = Wire {
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload: BASE64.encode(&self.payload),
            signatures: self
                .signatures
                .iter()
                .map(|(key, signature)| WireSignature {
                    keyid: key.to_string(),
                    sig: BASE64.encode(signature),
                })
                .collect(),
        };
        serde_json::to_vec(&wire).expect("an envelope is made of text")
    }

    /// The keys that it names; their signatures have not been checked.
    pub fn claimed_signers(&self) -> impl Iterator<Item = &KeyId> {
        self.signatures.iter().map(|(key, _)| key)
    }

    /// The document as it claims to be, to be shown or signed by somebody who reads it. Nothing
    /// vouches for it.
    ///
    /// # Errors
    /// If it is no policy, or not in canonical form.
    pub fn unverified(&self) -> Result<Policy, SignedPolicyError> {
        let value = parse_value(&self.payload, super::MAX_POLICY_BYTES)?;
        let policy = Policy::assemble(document::read_json(&value)?);
        if policy.to_canonical_json() != self.payload {
            return Err(SignedPolicyError::NotCanonical);
        }
        Ok(policy)
    }

    /// Those of `keys` whose signatures are there; every one of theirs must hold.
    fn signed_by(&self, keys: &[PublicKey]) -> Result<BTreeSet<KeyId>, SignedPolicyError> {
        let message = pae(PAYLOAD_TYPE, &self.payload);
        let mut found = BTreeSet::new();
        for (id, signature) in &self.signatures {
            let Some(key) = keys.iter().find(|key| key.id() == id) else {
                continue;
            };
            key.verify(&message, signature)
                .map_err(|_| SignedPolicyError::Signature {
                    key: id.to_string(),
                    problem: "does not hold",
                })?;
            found.insert(*id);
        }
        Ok(found)
    }
}

fn enough(
    found: &BTreeSet<KeyId>,
    roots: &Roots,
    whose: &'static str,
) -> Result<(), SignedPolicyError> {
    if found.len() >= roots.threshold as usize {
        return Ok(());
    }
    Err(SignedPolicyError::TooFew {
        whose,
        found: found.len(),
        threshold: roots.threshold,
    })
}

/// A policy that its roots have signed.
///
/// ```compile_fail
/// use sealstone_spec::policy::{Policy, SignedPolicy};
/// let made_up = SignedPolicy { policy: Policy::default_policy() };
/// ```
#[derive(Clone, Debug)]
pub struct SignedPolicy {
    policy: Policy,
    envelope: PolicyEnvelope,
}

impl SignedPolicy {
    /// Checks an envelope against roots that are trusted already, for example from a file.
    ///
    /// # Errors
    /// If too few of them, or of the policy's own, have signed, or a signature does not hold.
    pub fn verify(
        envelope: PolicyEnvelope,
        trusted: &Roots,
    ) -> Result<SignedPolicy, SignedPolicyError> {
        // The trusted keys first: what they have not vouched for is not even read.
        let by_trusted = envelope.signed_by(&trusted.keys)?;
        enough(&by_trusted, trusted, "trusted")?;
        SignedPolicy::own(envelope, by_trusted)
    }

    /// Checks an envelope against the roots that it names itself: for whoever meets it for the first
    /// time, and pins it from then on.
    ///
    /// # Errors
    /// If too few of them have signed, or a signature does not hold.
    pub fn first(envelope: PolicyEnvelope) -> Result<SignedPolicy, SignedPolicyError> {
        SignedPolicy::own(envelope, BTreeSet::new())
    }

    fn own(
        envelope: PolicyEnvelope,
        mut by: BTreeSet<KeyId>,
    ) -> Result<SignedPolicy, SignedPolicyError> {
        let policy = envelope.unverified()?;
        let roots = policy.roots().ok_or(SignedPolicyError::Unsignable)?;
        let by_own = envelope.signed_by(&roots.keys)?;
        enough(&by_own, roots, "policy's own")?;
        by.extend(by_own);
        if let Some(stranger) = envelope.claimed_signers().find(|key| !by.contains(*key)) {
            return Err(SignedPolicyError::Signature {
                key: stranger.to_string(),
                problem: "is of no root key",
            });
        }
        Ok(SignedPolicy { policy, envelope })
    }

    /// Checks the successor of this policy: signed by these roots and by its own, not older, and not
    /// another document of the same version.
    ///
    /// # Errors
    /// See [`SignedPolicyError`].
    pub fn succeed(&self, next: PolicyEnvelope) -> Result<SignedPolicy, SignedPolicyError> {
        succeed(&self.policy, next)
    }

    /// Refuses a policy that does not hold any more.
    ///
    /// # Errors
    /// [`SignedPolicyError::Expired`].
    pub fn check_time(&self, now: Time) -> Result<(), SignedPolicyError> {
        match self.policy.expires() {
            Some(expires) if now >= expires => Err(SignedPolicyError::Expired {
                version: self.policy.version(),
                expires,
            }),
            _ => Ok(()),
        }
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The policy alone.
    pub fn into_policy(self) -> Policy {
        self.policy
    }

    /// The envelope, as it is to be handed on.
    pub fn envelope(&self) -> &PolicyEnvelope {
        &self.envelope
    }
}

/// The same for a policy that was trusted unsigned, from an operator's file: its roots are pinned too.
///
/// # Errors
/// See [`SignedPolicyError`]; also if the trusted document is of version 1 and so names no roots.
pub(super) fn succeed(
    trusted: &Policy,
    next: PolicyEnvelope,
) -> Result<SignedPolicy, SignedPolicyError> {
    let roots = trusted.roots().ok_or(SignedPolicyError::Unsignable)?;
    let next = SignedPolicy::verify(next, roots)?;
    check_version(trusted.version(), trusted.digest(), next.policy())?;
    Ok(next)
}

fn check_version(
    trusted: u64,
    digest: &crate::digest::Digest,
    next: &Policy,
) -> Result<(), SignedPolicyError> {
    let found = next.version();
    if found < trusted {
        return Err(SignedPolicyError::Rollback { trusted, found });
    }
    if found == trusted && next.digest() != digest {
        return Err(SignedPolicyError::Fork { version: found });
    }
    Ok(())
}

impl Policy {
    /// Checks a signed document that is to take this one's place; see [`SignedPolicy::succeed`].
    ///
    /// # Errors
    /// See [`SignedPolicyError`]. A document of version 1 has no roots that could have signed.
    pub fn succeed(&self, next: PolicyEnvelope) -> Result<SignedPolicy, SignedPolicyError> {
        succeed(self, next)
    }

    /// Refuses to follow a newer version with this one; for a version and digest that were noted.
    ///
    /// # Errors
    /// [`SignedPolicyError::Rollback`] or [`SignedPolicyError::Fork`].
    pub fn check_not_older(
        &self,
        version: u64,
        digest: &crate::digest::Digest,
    ) -> Result<(), SignedPolicyError> {
        check_version(version, digest, self)
    }
}
