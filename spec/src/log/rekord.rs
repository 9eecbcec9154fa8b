//! `hashedrekord` 0.0.2: a P-256 signature as a leaf that sigstore's verifiers read (Rekor v2).
//!
//! Ed25519 signatures cannot be logged so: the kind holds the hash of what was signed, and pure Ed25519
//! signs no hash. They are logged as events of ours, with the digest of the document that carries them.
//! Invariant: a [`Rekord`]'s signature holds under its key, and it has one spelling, the canonical one.

use super::LogError;
use super::hash::Hash;
use crate::canonical::to_canonical_json;
use crate::envelope::Envelope;
use crate::exact::parse_exact;
use crate::key::{PublicKey, SignatureError};
use data_encoding::BASE64;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::pkcs8::DecodePublicKey as _;
use serde::{Deserialize, Serialize};

/// Longest entry of this kind that is read, in bytes.
pub const MAX_REKORD_BYTES: usize = 4096;

const API_VERSION: &str = "0.0.2";
pub(super) const KIND: &str = "hashedrekord";
const HASH: &str = "SHA2_256";
const KEY_DETAILS: &str = "PKIX_ECDSA_P256_SHA_256";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    api_version: String,
    kind: String,
    spec: WireSpec,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSpec {
    #[serde(rename = "hashedRekordV002")]
    rekord: WireRekord,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRekord {
    data: WireData,
    signature: WireSignature,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireData {
    algorithm: String,
    digest: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    content: String,
    verifier: WireVerifier,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireVerifier {
    key_details: String,
    public_key: WireKey,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireKey {
    raw_bytes: String,
}

/// A P-256 signature over something of a known SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rekord {
    digest: [u8; 32],
    signature: Vec<u8>,
    key: PublicKey,
}

impl Rekord {
    /// The entry of a signature in strict DER over bytes with this SHA-256.
    ///
    /// # Errors
    /// If the key is not P-256, or the signature does not hold.
    pub fn new(digest: [u8; 32], signature: &[u8], key: &PublicKey) -> Result<Rekord, LogError> {
        let point =
            p256::ecdsa::VerifyingKey::from_public_key_der(&key.to_spki_der()).map_err(|_| {
                LogError::Entry("a hashedrekord needs a P-256 key; others are logged as statements")
            })?;
        let parsed = p256::ecdsa::Signature::from_der(signature)
            .map_err(|_| SignatureError::Malformed("ecdsa p-256 (der)"))?;
        point
            .verify_prehash(&digest, &parsed)
            .map_err(|_| SignatureError::Mismatch)?;
        Ok(Rekord {
            digest,
            signature: signature.to_vec(),
            key: key.clone(),
        })
    }

    /// The entry of an envelope's signature.
    ///
    /// # Errors
    /// As [`Rekord::new`].
    pub fn of_envelope(envelope: &Envelope, key: &PublicKey) -> Result<Rekord, LogError> {
        Rekord::new(envelope.signed_digest(), envelope.signature(), key)
    }

    /// Reads an entry and checks its signature.
    ///
    /// # Errors
    /// If it is not exactly what [`Rekord::to_bytes`] writes, or the signature does not hold.
    pub fn parse(bytes: &[u8]) -> Result<Rekord, LogError> {
        let wire: Wire = parse_exact(bytes, MAX_REKORD_BYTES)?;
        let bad = |problem| LogError::Entry(problem);
        if wire.api_version != API_VERSION || wire.kind != KIND {
            return Err(bad("it is no hashedrekord 0.0.2"));
        }
        let WireRekord { data, signature } = wire.spec.rekord;
        if data.algorithm != HASH || signature.verifier.key_details != KEY_DETAILS {
            return Err(bad("its algorithms are not P-256 and SHA-256"));
        }
        let decode = |text: &str| {
            BASE64
                .decode(text.as_bytes())
                .map_err(|_| bad("a field is not strict base64"))
        };
        let digest = decode(&data.digest)?
            .try_into()
            .map_err(|_| bad("its digest has not 32 bytes"))?;
        let key = PublicKey::from_spki_der(&decode(&signature.verifier.public_key.raw_bytes)?)
            .map_err(|_| bad("its key cannot be read"))?;
        let rekord = Rekord::new(digest, &decode(&signature.content)?, &key)?;
        if rekord.to_bytes() != bytes {
            return Err(bad("it is not in canonical form"));
        }
        Ok(rekord)
    }

    /// The entry, in canonical JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire = Wire {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            spec: WireSpec {
                rekord: WireRekord {
                    data: WireData {
                        algorithm: HASH.to_owned(),
                        digest: BASE64.encode(&self.digest),
                    },
                    signature: WireSignature {
                        content: BASE64.encode(&self.signature),
                        verifier: WireVerifier {
                            key_details: KEY_DETAILS.to_owned(),
                            public_key: WireKey {
                                raw_bytes: BASE64.encode(&self.key.to_spki_der()),
                            },
                        },
                    },
                },
            },
        };
        to_canonical_json(&wire).expect("it is made of text")
    }

    /// Its hash in the tree.
    pub fn leaf(&self) -> Hash {
        Hash::of_entry(&self.to_bytes())
    }

    /// SHA-256 of what was signed.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The signature, in DER.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }
}
