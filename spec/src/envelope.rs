//! DSSE envelopes: a typed payload and one signature over both.
//!
//! Source: secure-systems-lab/dsse, envelope.md and protocol.md. Owns the pre-authentication encoding
//! and the check. Does not decide whose key is trusted.
//! Invariant: a payload can be read only from a [`VerifiedEnvelope`], which only
//! [`Envelope::verify`] makes, so nothing believes bytes that nobody has vouched for. What is told of an unverified
//! payload is the type that its statement claims, by which a registry sorts what it is sent, and whether it is a model
//! signature that lists the files of a bundle, without which it is not handed on as one.

use crate::canonical::{JsonError, parse_value};
use crate::exact::parse_exact;
use crate::key::{KeyId, PublicKey, SignError, SignatureError, Signer};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest envelope that is read, in bytes.
pub const MAX_ENVELOPE_BYTES: usize = 16 * 1024 * 1024;

/// Longest signature that is read, in bytes; an ECDSA P-256 signature has at most 72.
const MAX_SIGNATURE_BYTES: usize = 512;

/// Why an envelope was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Not the JSON of an envelope.
    #[error("envelope: {0}")]
    Json(#[from] JsonError),
    /// Another number of signatures than one: verifiers disagree about which of several counts.
    #[error("envelope has {0} signatures where exactly one is due: make one envelope per key")]
    SignatureCount(usize),
    /// A field is not canonical base64 (standard alphabet, with padding).
    #[error("envelope field {0} is not strict base64")]
    Base64(&'static str),
    /// The envelope names another key than the one that it was checked with.
    #[error("envelope is signed by key \"{named}\", not by {tried}")]
    OtherKey {
        /// The key id in the envelope.
        named: String,
        /// The key of the check.
        tried: KeyId,
    },
    /// The signature does not hold.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

/// The bytes that are signed: `DSSEv1 <len> <type> <len> <payload>`.
///
/// ```
/// use sealstone_spec::envelope::pae;
/// assert_eq!(pae("http://example.com/HelloWorld", b"hello world"),
///     b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
/// ```
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let header = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    [header.as_bytes(), payload].concat()
}

/// An envelope as it was received: nothing in it may be believed yet, and its payload cannot be read but for the type
/// that it claims.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    key_id: Option<String>,
    signature: Vec<u8>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
    sig: String,
}

impl TryFrom<Wire> for Envelope {
    type Error = EnvelopeError;

    fn try_from(mut wire: Wire) -> Result<Self, Self::Error> {
        let signature = match wire.signatures.pop() {
            Some(signature) if wire.signatures.is_empty() => signature,
            None => return Err(EnvelopeError::SignatureCount(0)),
            Some(_) => return Err(EnvelopeError::SignatureCount(wire.signatures.len() + 1)),
        };
        let decode = |field, text: &str| {
            BASE64
                .decode(text.as_bytes())
                .map_err(|_| EnvelopeError::Base64(field))
        };
        let envelope = Envelope {
            payload: decode("payload", &wire.payload)?,
            signature: decode("signatures[0].sig", &signature.sig)?,
            payload_type: wire.payload_type,
            key_id: signature.keyid,
        };
        if envelope.signature.len() > MAX_SIGNATURE_BYTES {
            return Err(EnvelopeError::Signature(SignatureError::Malformed(
                "any known key",
            )));
        }
        Ok(envelope)
    }
}

impl From<Envelope> for Wire {
    fn from(envelope: Envelope) -> Wire {
        Wire {
            payload_type: envelope.payload_type,
            payload: BASE64.encode(&envelope.payload),
            signatures: vec![WireSignature {
                keyid: envelope.key_id,
                sig: BASE64.encode(&envelope.signature),
            }],
        }
    }
}

impl Envelope {
    /// Reads an envelope from JSON.
    ///
    /// # Errors
    /// Refuses unknown fields, duplicate keys, loose base64 and any number of signatures but one.
    pub fn parse(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
        // The count first: serde would bury it in a text about JSON.
        #[derive(Deserialize)]
        struct Count {
            signatures: Vec<serde::de::IgnoredAny>,
        }
        match serde_json::from_slice::<Count>(bytes) {
            Ok(Count { signatures }) if signatures.len() != 1 => {
                Err(EnvelopeError::SignatureCount(signatures.len()))
            }
            _ => Ok(parse_exact(bytes, MAX_ENVELOPE_BYTES)?),
        }
    }

    /// The envelope as compact JSON in the order of the DSSE specification.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an envelope is made of text")
    }

    /// The predicate type that the payload states, if it is a statement. Believed as little as all the rest: it says
    /// what somebody asks to be taken for.
    pub(crate) fn claimed_predicate_type(&self) -> Option<String> {
        let statement = parse_value(&self.payload, MAX_ENVELOPE_BYTES).ok()?;
        statement.get("predicateType")?.as_str().map(str::to_owned)
    }

    /// Type and payload, for [`crate::model_signature`] to leave out what is about other files.
    pub(crate) fn unverified(&self) -> (&str, &[u8]) {
        (&self.payload_type, &self.payload)
    }

    /// The id of the signing key that the envelope itself names, if it does. It can only select a key
    /// among those that are trusted, never add one.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref().filter(|id| !id.is_empty())
    }

    /// SHA-256 of what is signed: how a log names it. Says nothing about the payload.
    pub fn signed_digest(&self) -> [u8; 32] {
        let digest = crate::digest::Digest::sha256(&pae(&self.payload_type, &self.payload));
        digest.bytes().try_into().expect("sha-256 has 32 bytes")
    }

    /// The signature as it came.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Checks the signature with `key` and makes the payload readable.
    ///
    /// # Errors
    /// If the envelope names another key, or the signature does not hold.
    pub fn verify(&self, key: &PublicKey) -> Result<VerifiedEnvelope, EnvelopeError> {
        if let Some(named) = self.key_id()
            && named != key.id().to_string()
        {
            let named = named.chars().take(80).collect();
            return Err(EnvelopeError::OtherKey {
                named,
                tried: *key.id(),
            });
        }
        key.verify(&pae(&self.payload_type, &self.payload), &self.signature)?;
        Ok(VerifiedEnvelope {
            payload_type: self.payload_type.clone(),
            payload: self.payload.clone(),
            key_id: *key.id(),
        })
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Envelope(unverified, {} bytes, key {:?})",
            self.payload.len(),
            self.key_id
        )
    }
}

/// Signs a payload.
///
/// # Errors
/// If the signer refuses.
///
/// ```
/// use sealstone_spec::{envelope::seal, key::{SecretKey, Signer}};
/// let key = SecretKey::ed25519_from_seed(&[7; 32])?;
/// let envelope = seal("text/plain", b"hello", &key)?;
/// assert_eq!(envelope.verify(key.public_key())?.payload(), b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn seal(
    payload_type: &str,
    payload: &[u8],
    signer: &dyn Signer,
) -> Result<Envelope, SignError> {
    let key_id = signer.public_key().id().to_string();
    seal_as(payload_type, payload, signer, Some(key_id))
}

/// As [`seal`], with another key id in the envelope, or none: for formats that demand it.
pub(crate) fn seal_as(
    payload_type: &str,
    payload: &[u8],
    signer: &dyn Signer,
    key_id: Option<String>,
) -> Result<Envelope, SignError> {
    Ok(Envelope {
        payload_type: payload_type.to_owned(),
        payload: payload.to_vec(),
        key_id,
        signature: signer.sign(&pae(payload_type, payload))?,
    })
}

/// An envelope whose signature holds under one key.
///
/// There is no way to make one but [`Envelope::verify`], and none to read an unverified payload:
/// ```compile_fail
/// fn read(envelope: &sealstone_spec::envelope::Envelope) -> &[u8] {
///     envelope.payload()
/// }
/// ```
/// ```compile_fail
/// let made_up: sealstone_spec::envelope::VerifiedEnvelope = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct VerifiedEnvelope {
    payload_type: String,
    payload: Vec<u8>,
    key_id: KeyId,
}

impl VerifiedEnvelope {
    /// The payload, exactly as it was signed.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Its type, which is signed too.
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// The key under which the signature holds.
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::key::SecretKey;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn sealed() -> (Value, SecretKey) {
        let key = SecretKey::ed25519_from_seed(&[1; 32]).unwrap();
        let envelope = seal("a/b", b"payload", &key).unwrap();
        (serde_json::to_value(&envelope).unwrap(), key)
    }

    #[test]
    fn exactly_one_signature() {
        let (mut value, _) = sealed();
        let signature = value["signatures"][0].clone();
        for (list, count) in [(json!([]), 0), (json!([signature, signature]), 2)] {
            value["signatures"] = list;
            let error = Envelope::parse(value.to_string().as_bytes()).unwrap_err();
            assert!(matches!(error, EnvelopeError::SignatureCount(n) if n == count));
        }
    }

    #[test]
    fn nothing_but_the_exact_form_is_read() {
        let (good, _) = sealed();
        let text = good.to_string();
        let sig = good["signatures"][0]["sig"].as_str().unwrap().to_owned();
        let variants = [
            text.replacen('{', r#"{"x":1,"#, 1),
            text.replacen('{', r#"{"payloadType":"a/b","#, 1),
            text.replace("payloadType", "payload_type"),
            text.replace("cGF5bG9hZA==", "cGF5bG9hZA"),
            text.replace("cGF5bG9hZA==", "cGF5bG9hZB=="),
            text.replace("cGF5bG9hZA==", "cGF5\\nbG9hZA=="),
            text.replace(
                &sig,
                &sig.replace('+', "-").replace('/', "_").replace('=', ""),
            ),
            text.replace(r#""keyid""#, r#""cert":"x","keyid""#),
            format!(r#"["a/b","cGF5bG9hZA==",{}]"#, good["signatures"]),
            format!("{text} {text}"),
        ];
        for variant in variants {
            assert_ne!(variant, text);
            assert!(Envelope::parse(variant.as_bytes()).is_err(), "{variant}");
        }
        let mut null = good;
        null["signatures"][0]["keyid"] = Value::Null;
        assert!(Envelope::parse(null.to_string().as_bytes()).is_err());
    }

    #[test]
    fn a_signature_covers_type_and_payload_and_their_border() {
        let (mut value, key) = sealed();
        value["payloadType"] = json!("a/");
        value["payload"] = json!(BASE64.encode(b"bpayload"));
        let moved = Envelope::parse(value.to_string().as_bytes()).unwrap();
        assert!(moved.verify(key.public_key()).is_err());
    }

    #[test]
    fn a_key_id_that_is_not_the_keys_own_is_refused_and_an_absent_one_is_not() {
        let (mut value, key) = sealed();
        value["signatures"][0]["keyid"] = json!("SHA256:other");
        let other = Envelope::parse(value.to_string().as_bytes()).unwrap();
        assert!(matches!(
            other.verify(key.public_key()),
            Err(EnvelopeError::OtherKey { .. })
        ));
        value["signatures"][0]["keyid"] = json!("");
        let empty = Envelope::parse(value.to_string().as_bytes()).unwrap();
        assert!(empty.verify(key.public_key()).is_ok());
        value["signatures"][0]
            .as_object_mut()
            .unwrap()
            .remove("keyid");
        let absent = Envelope::parse(value.to_string().as_bytes()).unwrap();
        assert!(absent.verify(key.public_key()).is_ok());
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,200}") {
            let _ = Envelope::parse(text.as_bytes());
        }

        #[test]
        fn text_round_trips(payload in proptest::collection::vec(any::<u8>(), 0..100), kind in "[a-z/+.]{0,20}") {
            let key = SecretKey::p256_from_seed(&[3; 32]).unwrap();
            let envelope = seal(&kind, &payload, &key).unwrap();
            let again = Envelope::parse(&envelope.to_bytes()).unwrap();
            prop_assert_eq!(&again, &envelope);
            let verified = again.verify(key.public_key()).unwrap();
            prop_assert_eq!(verified.payload(), payload.as_slice());
        }
    }
}
