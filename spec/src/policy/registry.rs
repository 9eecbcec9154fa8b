//! What the registry itself says among the evidence: that a release was published and judged, and that its
//! content is damaged.
//!
//! Owns which of its statements matter to a verdict: reports of damage, and nothing else. Its word can
//! stop a release and never let one through, so it does not matter where its key was learned from.

use super::evidence::Attached;
use super::lifecycle::{INCIDENT, reason_in};
use super::standing::Word;
use crate::digest::Digest;
use crate::key::PublicKey;
use crate::notary;
use crate::statement::VerifiedStatement;

/// Who a report of the registry is by.
const NAME: &str = "the registry";

/// A statement by the registry.
pub(super) enum Heard {
    /// One that changes no verdict.
    Told,
    /// Content is damaged.
    Incident(Box<Word>),
    /// It names the registry's key and does not hold; why.
    Nothing(String),
}

/// Reads a bundle that names the registry's key; `None` if it names another, or none.
pub(super) fn hear(attached: &Attached, key: &PublicKey, manifest: &Digest) -> Option<Heard> {
    if !notary::is_named(&attached.bundle, key) {
        return None;
    }
    let envelope = match attached.bundle.envelope().verify(key) {
        Ok(envelope) => envelope,
        Err(error) => {
            let reason = format!("it names the registry's key, but {error}");
            return Some(Heard::Nothing(reason));
        }
    };
    let [release, summary] = notary::TYPES;
    let types = [INCIDENT, release, summary];
    Some(
        match VerifiedStatement::check(&envelope, &types, manifest) {
            Err(error) => Heard::Nothing(format!("signed by the registry, but {error}")),
            Ok(statement) if statement.predicate_type() == INCIDENT => {
                Heard::Incident(Box::new(Word {
                    kind: "incident".to_owned(),
                    by: NAME.to_owned(),
                    reason: reason_in(statement.predicate()),
                    successor: None,
                    evidence: attached.evidence,
                    said: Some(Digest::sha256(envelope.payload())),
                }))
            }
            Ok(_) => Heard::Told,
        },
    )
}
