//! Sigstore bundles, version 0.3, with a public key: how a signature travels beside a manifest.
//!
//! Source: sigstore/protobuf-specs bundle.proto (as protojson), cosign's BUNDLE_SPEC.md. Owns the exact
//! bytes of a bundle, of the referrer manifest that carries it, and of cosign's older `.sig` form.
//! Does not read certificates (keyless signatures), and takes log entries and timestamps as they are:
//! they are evidence for whoever checks logs, and change nothing about the signature.
//! Invariant: a [`SigstoreBundle`] holds one envelope with one signature, and nothing unknown.

mod legacy;

pub use legacy::{LegacyImage, legacy_image, legacy_payload, legacy_tag};

use crate::attachment::attachment_manifest;
use crate::canonical::JsonError;
use crate::envelope::{Envelope, EnvelopeError, seal, seal_as};
use crate::exact::parse_exact;
use crate::key::{KeyId, PublicKey, SignError, Signer};
use crate::manifest::{Descriptor, VerifiedManifest};
use crate::media;
use crate::statement::Statement;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Longest bundle that is read, in bytes. A bill of materials with forty thousand files fits.
pub const MAX_BUNDLE_BYTES: usize = 16 * 1024 * 1024;

/// Annotation of a referrer: what its bundle holds, always `dsse-envelope` here.
pub const ANNOTATION_CONTENT: &str = "dev.sigstore.bundle.content";
/// Annotation of a referrer: predicate type of the statement, for listings. Never believed.
pub const ANNOTATION_PREDICATE_TYPE: &str = "dev.sigstore.bundle.predicateType";

/// Why a bundle was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigstoreError {
    /// Not the JSON of a bundle.
    #[error("sigstore bundle: {0}")]
    Json(#[from] JsonError),
    /// Another version.
    #[error("sigstore bundle has mediaType \"{0}\", not \"{want}\"", want = media::SIGSTORE_BUNDLE_V03)]
    MediaType(String),
    /// The hint and the envelope name two keys.
    #[error("sigstore bundle names key \"{hint}\" as hint, but \"{key_id}\" beside the signature")]
    TwoKeys {
        /// `verificationMaterial.publicKey.hint`.
        hint: String,
        /// `dsseEnvelope.signatures[0].keyid`.
        key_id: String,
    },
    /// The envelope within.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material {
    public_key: KeyHint,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tlog_entries: Option<Vec<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp_verification_data: Option<Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyHint {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// Which keys a bundle is to be tried with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChoice<'a> {
    /// Only with the key of this id; the text may be no id at all, then with none.
    Named(&'a str),
    /// With each key that is trusted: the signer named none (cosign does not).
    Any,
}

/// A bundle as it was received; its signature is not checked yet.
#[derive(Clone, Debug, PartialEq)]
pub struct SigstoreBundle {
    hint: Option<String>,
    tlog_entries: Option<Vec<Value>>,
    timestamps: Option<Value>,
    envelope: Envelope,
}

impl SigstoreBundle {
    /// Reads a bundle.
    ///
    /// # Errors
    /// Refuses unknown fields, duplicate keys, other versions, other content than one DSSE envelope
    /// with one signature, and a hint that contradicts the key id.
    pub fn parse(bytes: &[u8]) -> Result<SigstoreBundle, SigstoreError> {
        let wire: Wire = parse_exact(bytes, MAX_BUNDLE_BYTES)?;
        if wire.media_type != media::SIGSTORE_BUNDLE_V03 {
            let media_type = wire.media_type.chars().take(120).collect();
            return Err(SigstoreError::MediaType(media_type));
        }
        let bundle = SigstoreBundle {
            hint: wire.verification_material.public_key.hint,
            tlog_entries: wire.verification_material.tlog_entries,
            timestamps: wire.verification_material.timestamp_verification_data,
            envelope: wire.dsse_envelope,
        };
        if let (Some(hint), Some(key_id)) = (bundle.hint(), bundle.envelope.key_id())
            && hint != key_id
        {
            return Err(SigstoreError::TwoKeys {
                hint: hint.chars().take(80).collect(),
                key_id: key_id.chars().take(80).collect(),
            });
        }
        Ok(bundle)
    }

    /// Signs a statement.
    ///
    /// # Errors
    /// If the signer refuses.
    pub fn sign(statement: &Statement, signer: &dyn Signer) -> Result<SigstoreBundle, SignError> {
        let envelope = seal(media::IN_TOTO, &statement.to_bytes(), signer)?;
        Ok(SigstoreBundle {
            hint: Some(signer.public_key().id().to_string()),
            tlog_entries: Some(Vec::new()),
            timestamps: None,
            envelope,
        })
    }

    /// Signs a statement into a bundle that refers to its key by `hint` and has no key id: OpenSSF
    /// Model Signing has a reference of its own.
    pub(crate) fn sign_with_hint(
        statement: &Statement,
        signer: &dyn Signer,
        hint: String,
    ) -> Result<SigstoreBundle, SignError> {
        Ok(SigstoreBundle {
            hint: Some(hint),
            tlog_entries: Some(Vec::new()),
            timestamps: None,
            envelope: seal_as(media::IN_TOTO, &statement.to_bytes(), signer, None)?,
        })
    }

    /// The same bundle with a log's entry for its signature, in the shape of sigstore's
    /// `TransparencyLogEntry`, in place of any that it has.
    #[must_use]
    pub fn with_tlog_entry(mut self, entry: Value) -> SigstoreBundle {
        self.tlog_entries = Some(vec![entry]);
        self
    }

    /// The bundle as the exact bytes that are stored and pushed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire = Wire {
            media_type: media::SIGSTORE_BUNDLE_V03.to_owned(),
            verification_material: Material {
                public_key: KeyHint {
                    hint: self.hint.clone(),
                },
                tlog_entries: self.tlog_entries.clone(),
                timestamp_verification_data: self.timestamps.clone(),
            },
            dsse_envelope: self.envelope.clone(),
        };
        serde_json::to_vec(&wire).expect("a bundle is made of JSON values")
    }

    /// The envelope, to be verified.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The predicate type that the statement within claims, for whoever sorts bundles before anything is checked.
    /// `None` if the payload is no statement. Nothing may follow from it but a refusal.
    pub fn claimed_predicate_type(&self) -> Option<String> {
        self.envelope.claimed_predicate_type()
    }

    /// Log entries as they came; nothing about them has been checked.
    pub fn tlog_entries(&self) -> &[Value] {
        self.tlog_entries.as_deref().unwrap_or_default()
    }

    /// The key that this bundle asks to be tried with. cosign writes no key id, and a hint in a form
    /// of its own; such a hint is passed over, as cosign does.
    pub fn key_choice(&self) -> KeyChoice<'_> {
        let hint = self.hint().filter(|hint| hint.parse::<KeyId>().is_ok());
        match self.envelope.key_id().or(hint) {
            Some(named) => KeyChoice::Named(named),
            None => KeyChoice::Any,
        }
    }

    /// Whether `key` is one to try.
    pub fn may_be_by(&self, key: &PublicKey) -> bool {
        match self.key_choice() {
            KeyChoice::Named(named) => named == key.id().to_string(),
            KeyChoice::Any => true,
        }
    }

    /// How the bundle refers to its key, if it does.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref().filter(|hint| !hint.is_empty())
    }
}

/// Whether a manifest attaches a bundle to a subject: it is a statement, whatever that says.
pub fn is_statement(manifest: &VerifiedManifest) -> bool {
    manifest.subject().is_some() && manifest.artifact_type() == Some(media::SIGSTORE_BUNDLE_V03)
}

/// The manifest that attaches a bundle to `subject`, as exact bytes: the same inputs give the same
/// digest. `created` is RFC 3339 and is the caller's: this crate has no clock.
///
/// Push the bundle under its SHA-256 digest and `{}` as [`media::OCI_EMPTY`] first.
pub fn referrer_manifest(
    subject: &Descriptor,
    bundle: &[u8],
    predicate_type: &str,
    created: &str,
) -> Vec<u8> {
    let annotations = BTreeMap::from([
        (ANNOTATION_CONTENT, "dsse-envelope"),
        (ANNOTATION_PREDICATE_TYPE, predicate_type),
        (media::ANNOTATION_CREATED, created),
    ]);
    attachment_manifest(subject, media::SIGSTORE_BUNDLE_V03, bundle, &annotations)
}

#[cfg(test)]
mod tests;
