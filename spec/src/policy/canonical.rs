//! A policy written down: the canonical JSON that is hashed, and signed.
//!
//! Invariant: what is written here is what `document` reads, so that reading and writing again gives
//! the same bytes. Documents of version 1 are hashed in the form that they always had.

use super::document::Parts;
use super::identity::{Identity, Roles, Status};
use super::scope::{Roots, Scope};
use super::{Edition, Policy};
use crate::canonical::to_canonical_json;
use crate::digest::Digest;
use crate::key::PublicKey;
use serde_json::{Value, json};

pub(super) fn bytes(value: &Value) -> Vec<u8> {
    to_canonical_json(value).expect("a policy is made of text and small numbers")
}

/// The whole document.
pub(super) fn document(parts: &Parts) -> Value {
    let identities: Vec<Value> = parts
        .identities
        .iter()
        .map(|each| identity(each, parts.edition))
        .collect();
    let scopes: Vec<Value> = parts
        .scopes
        .iter()
        .map(|each| scope(each, parts.edition))
        .collect();
    match parts.edition {
        Edition::V1 => json!({
            "schema": parts.edition.schema(), "identity": identities, "scope": scopes,
        }),
        Edition::V2 => json!({
            "schema": parts.edition.schema(),
            "version": parts.version,
            "expires": parts.expires,
            "roots": parts.roots.as_ref().map(roots),
            "identity": identities,
            "log": parts.logs,
            "authority": parts.authority,
            "scope": scopes,
            "exception": parts.exceptions,
        }),
    }
}

pub(super) fn roots(roots: &Roots) -> Value {
    let keys: Vec<String> = roots.keys.iter().map(PublicKey::to_pem).collect();
    json!({"threshold": roots.threshold, "keys": keys})
}

pub(super) fn identity(identity: &Identity, edition: Edition) -> Value {
    match edition {
        Edition::V1 => {
            let keys = identity.keys.iter().map(|key| key.public.to_pem());
            json!({"name": identity.name, "keys": keys.collect::<Vec<_>>()})
        }
        Edition::V2 => {
            let keys: Vec<Value> = identity
                .keys
                .iter()
                .map(|key| {
                    let roles = match &key.roles {
                        Roles::Every => json!([]),
                        Roles::Of(roles) => json!(roles),
                    };
                    let pem = key.public.to_pem();
                    let mut value = match &key.status {
                        Status::Active => json!({"key": pem, "roles": roles, "status": "active"}),
                        Status::Retired { valid_until_index } => json!({
                            "key": pem, "roles": roles, "status": "retired",
                            "valid_until_index": valid_until_index,
                        }),
                        Status::Revoked {
                            revoked_at_index,
                            reason,
                        } => json!({
                            "key": pem, "roles": roles, "status": "revoked",
                            "revoked_at_index": revoked_at_index, "reason": reason,
                        }),
                    };
                    if key.valid_from_index > 0 {
                        value["valid_from_index"] = json!(key.valid_from_index);
                    }
                    value
                })
                .collect();
            json!({"name": identity.name, "teams": identity.teams, "keys": keys})
        }
    }
}

pub(super) fn scope(scope: &Scope, edition: Edition) -> Value {
    let mut value = json!({
        "repositories": scope.repositories, "tags": scope.tags,
        "staging": scope.staging, "require": scope.require,
    });
    if edition == Edition::V2
        && let Some(exceptions) = &scope.exceptions
    {
        value["exceptions"] = json!(exceptions);
    }
    value
}

impl Policy {
    /// The document as canonical JSON: what its digest is taken of, and what root keys sign.
    pub fn to_canonical_json(&self) -> Vec<u8> {
        bytes(&document(self.parts()))
    }

    pub(super) fn digest_of(value: &Value) -> Digest {
        Digest::sha256(&bytes(value))
    }
}
