//! Keys: Ed25519 and ECDSA P-256 public keys as people paste them, and the signing side of both.
//!
//! Sources: RFC 8032, RFC 5280 (SPKI), RFC 5958 (PKCS#8), RFC 7468 (PEM), RFC 4253 section 6.6, RFC 5656
//! and PROTOCOL.key (OpenSSH).
//! Owns parsing, the key's identity and the check of one signature. Does not read files, decrypt
//! private keys or draw random numbers: callers bring bytes.
//! Invariant: the algorithm of a check is the key's own. Nothing that comes with a signature can
//! choose it, so a signature made under one algorithm is never tried under the other.

mod id;
mod lines;
mod openssh;
mod pem;
mod secret;
mod ssh;

pub use id::KeyId;
pub use lines::{ListedKey, MAX_LIST_BYTES};
pub use openssh::OpensshPrivateKey;
pub use pem::{MAX_PEM_BYTES, Pem};
pub use secret::{SecretKey, SignError, Signer};

use crate::digest::Digest;
use ed25519_dalek::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use p256::pkcs8::{LineEnding, ObjectIdentifier};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Longest text or DER document that is read as one public key, in bytes.
pub const MAX_PUBLIC_KEY_BYTES: usize = 4096;

const ED25519_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC_PUBLIC_KEY_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// L, the order of the group of Ed25519, the least byte first (RFC 8032, section 5.1).
const ED25519_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Algorithms and curves that people have keys of and that are not supported, by their names.
const OTHER_ALGORITHMS: [(&str, &str); 12] = [
    ("1.2.840.113549.1.1.1", "RSA"),
    ("1.2.840.113549.1.1.10", "RSA-PSS"),
    ("1.2.840.10040.4.1", "DSA"),
    ("1.3.101.110", "X25519, which only agrees on keys"),
    ("1.3.101.111", "X448, which only agrees on keys"),
    ("1.3.101.113", "Ed448"),
    ("1.3.132.0.33", "ECDSA P-224"),
    ("1.3.132.0.34", "ECDSA P-384"),
    ("1.3.132.0.35", "ECDSA P-521"),
    ("1.3.132.0.10", "ECDSA secp256k1"),
    ("2.16.840.1.101.3.4.3.17", "ML-DSA-44"),
    ("2.16.840.1.101.3.4.3.18", "ML-DSA-65"),
];

/// Why a text or document is no key that Sealstone can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Longer than any supported key.
    #[error("public key has {0} bytes, at most {MAX_PUBLIC_KEY_BYTES} are read")]
    TooLong(usize),
    /// A private key where a public one is due.
    #[error("this is a private key: keep it secret and give the public key that belongs to it")]
    Private,
    /// Neither PEM nor a line of OpenSSH.
    #[error(
        "not a public key: give \"-----BEGIN PUBLIC KEY-----\" PEM, or a line \"ssh-ed25519 ...\" or \"ecdsa-sha2-nistp256 ...\""
    )]
    UnknownForm,
    /// The form is known, the content is not well formed.
    #[error("{form} key is malformed: {problem}")]
    Malformed {
        /// `SPKI`, `PKCS#8` or `OpenSSH`.
        form: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A key of another algorithm.
    #[error("key algorithm {0} is not supported: use Ed25519 or ECDSA P-256")]
    UnsupportedAlgorithm(String),
    /// A line of a list.
    #[error("line {line}: {problem}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// An option beside a key that narrows what it may do.
    #[error(
        "option \"{0}\" narrows what this key may do, and nothing here would keep to it: give the key without it"
    )]
    Narrowed(String),
    /// A point that would accept signatures that nobody made.
    #[error("ed25519 key is weak or not in canonical form: make a new one")]
    WeakPoint,
    /// 32 bytes that are no private scalar; one draw in 2^32 meets it.
    #[error("these 32 bytes are no P-256 private key: draw new ones")]
    Seed,
    /// Not the fingerprint of a key.
    #[error("key id \"{0}\" is not valid: write it as \"SHA256:<43 base64 characters>\"")]
    KeyId(String),
}

/// Why a signature does not hold. There is deliberately no detail: whoever forges learns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The bytes are not in the strict form of the key's algorithm.
    #[error("signature is not in the strict form of {0}")]
    Malformed(&'static str),
    /// The other of the two forms that every ECDSA signature has.
    #[error(
        "ecdsa signature has the high one of its two possible s, which anybody can make of the low one: sign again with a signer that writes low s, as sealstone sign does"
    )]
    HighS,
    /// S is not below the order of the group: whoever has a signature can add the order to its S, and a
    /// verifier that reduces would take both.
    #[error("ed25519 signature is not canonical: its s is not below the order of the group")]
    NotReduced,
    /// The signature is not of this key over this message.
    #[error("signature does not verify with this key")]
    Mismatch,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Point {
    Ed25519(ed25519_dalek::VerifyingKey),
    P256(p256::ecdsa::VerifyingKey),
}

/// A public key that signatures are checked with.
///
/// ```
/// use sealstone_spec::key::PublicKey;
/// let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO1JKMYo0cLG6ukDOJBZlWEpWSc6XGP5NjbBRhSshzfR me@host";
/// let key: PublicKey = line.parse().unwrap();
/// assert_eq!(key.id().to_string(), "SHA256:zbv/nU7iZdO0fB0DalMI70dP6/yFD8sctXvvW4+OokY");
/// assert_eq!(key.to_pem().parse::<PublicKey>().unwrap(), key);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    point: Point,
    id: KeyId,
}

impl PublicKey {
    /// Reads SPKI PEM or one line of OpenSSH: a `.pub` file, or a line of `authorized_keys` or
    /// `allowed_signers`.
    ///
    /// # Errors
    /// Says which form was recognised and what is wrong with it.
    pub fn parse(text: &str) -> Result<PublicKey, KeyError> {
        if text.len() > MAX_PUBLIC_KEY_BYTES {
            return Err(KeyError::TooLong(text.len()));
        }
        let text = text.trim();
        if text.contains("PRIVATE KEY-----") {
            return Err(KeyError::Private);
        }
        if text.starts_with("-----BEGIN") {
            let pem = Pem::parse(text)?;
            if pem.label != "PUBLIC KEY" {
                let problem = format!("PEM label is \"{}\", not \"PUBLIC KEY\"", pem.label);
                return Err(malformed("SPKI", problem));
            }
            return PublicKey::from_spki_der(&pem.content);
        }
        if text.contains('\n') {
            return Err(malformed("OpenSSH", "there is more than one line"));
        }
        lines::read(text).map(|listed| listed.key)
    }

    /// Reads a DER document of SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// If it is not strict DER, of another algorithm, or not a point that may be trusted.
    pub fn from_spki_der(der: &[u8]) -> Result<PublicKey, KeyError> {
        if der.len() > MAX_PUBLIC_KEY_BYTES {
            return Err(KeyError::TooLong(der.len()));
        }
        let info =
            SubjectPublicKeyInfoRef::try_from(der).map_err(|error| malformed("SPKI", error))?;
        match info.algorithm.oid {
            ED25519_OID => {
                let key = ed25519_dalek::VerifyingKey::from_public_key_der(der)
                    .map_err(|error| malformed("SPKI", error))?;
                PublicKey::from_ed25519_bytes(key.as_bytes())
            }
            EC_PUBLIC_KEY_OID => {
                check_curve(&info.algorithm)?;
                p256::ecdsa::VerifyingKey::from_public_key_der(der)
                    .map(|key| PublicKey::new(Point::P256(key)))
                    .map_err(|error| malformed("SPKI", error))
            }
            other => Err(unsupported(&other)),
        }
    }

    /// A key from the 32 bytes of RFC 8032.
    ///
    /// # Errors
    /// [`KeyError::WeakPoint`] if the bytes are no point, a point of small order, or a second
    /// encoding of one: then one key would have two identities.
    pub fn from_ed25519_bytes(bytes: &[u8; 32]) -> Result<PublicKey, KeyError> {
        let key =
            ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::WeakPoint)?;
        let canonical = ed25519_dalek::VerifyingKey::from(key.to_edwards());
        if key.is_weak() || canonical.as_bytes() != bytes {
            return Err(KeyError::WeakPoint);
        }
        Ok(PublicKey::new(Point::Ed25519(key)))
    }

    /// A key from an SEC1 point.
    pub(crate) fn from_p256_point(bytes: &[u8]) -> Result<PublicKey, KeyError> {
        p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes)
            .map(|key| PublicKey::new(Point::P256(key)))
            .map_err(|_| malformed("OpenSSH", "its bytes are no point of P-256"))
    }

    fn new(point: Point) -> PublicKey {
        let id = KeyId::of_blob(&ssh::blob(&point));
        PublicKey { point, id }
    }

    /// The key's identity: its OpenSSH fingerprint, what `ssh-keygen -l` shows.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// `ed25519` or `ecdsa-p256-sha256`.
    pub fn algorithm(&self) -> &'static str {
        match self.point {
            Point::Ed25519(_) => "ed25519",
            Point::P256(_) => "ecdsa-p256-sha256",
        }
    }

    /// Checks `signature` over `message`: pure Ed25519 by the strict rules (canonical S, no points of
    /// small order), or ECDSA P-256 over SHA-256 in strict DER with the low one of the two S.
    ///
    /// So a signature has one form, and nobody but the key's holder can make a second one of it. Go's
    /// signers, cosign's among them, write either S; one of theirs that is refused here for its S has a
    /// twin that is not, see [`PublicKey::canonical_signature`].
    ///
    /// # Errors
    /// [`SignatureError`], always with the same text for the same kind of failure.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        match &self.point {
            Point::Ed25519(key) => {
                let signature = ed25519_dalek::Signature::from_slice(signature)
                    .map_err(|_| SignatureError::Malformed("ed25519"))?;
                if !is_reduced(signature.s_bytes()) {
                    return Err(SignatureError::NotReduced);
                }
                key.verify_strict(message, &signature)
                    .map_err(|_| SignatureError::Mismatch)
            }
            Point::P256(key) => {
                let signature = p256::ecdsa::Signature::from_der(signature)
                    .map_err(|_| SignatureError::Malformed("ecdsa p-256 (der)"))?;
                key.verify(message, &signature)
                    .map_err(|_| SignatureError::Mismatch)?;
                if signature.normalize_s() != signature {
                    return Err(SignatureError::HighS);
                }
                Ok(())
            }
        }
    }

    /// What a signer elsewhere answered, in the one form that [`PublicKey::verify`] reads, verified:
    /// key services and tokens write ECDSA as DER or as plain r and s, with either s.
    ///
    /// # Errors
    /// [`SignatureError`] if it is no signature of this key over `message` in any of these forms.
    pub fn canonical_signature(
        &self,
        message: &[u8],
        answer: &[u8],
    ) -> Result<Vec<u8>, SignatureError> {
        let canonical = match &self.point {
            Point::Ed25519(_) => answer.to_vec(),
            Point::P256(_) => p256::ecdsa::Signature::from_der(answer)
                .or_else(|_| p256::ecdsa::Signature::from_slice(answer))
                .map_err(|_| SignatureError::Malformed("ecdsa p-256 (der, or r and s)"))?
                .normalize_s()
                .to_der()
                .as_bytes()
                .to_vec(),
        };
        self.verify(message, &canonical)?;
        Ok(canonical)
    }

    /// SubjectPublicKeyInfo in DER.
    pub fn to_spki_der(&self) -> Vec<u8> {
        let document = match &self.point {
            Point::Ed25519(key) => key.to_public_key_der(),
            Point::P256(key) => key.to_public_key_der(),
        };
        document.expect("a valid key has a DER form").into_vec()
    }

    /// SubjectPublicKeyInfo in PEM, with LF and a final newline.
    pub fn to_pem(&self) -> String {
        let pem = match &self.point {
            Point::Ed25519(key) => key.to_public_key_pem(LineEnding::LF),
            Point::P256(key) => key.to_public_key_pem(LineEnding::LF),
        };
        pem.expect("a valid key has a PEM form")
    }

    /// One line of OpenSSH, without a comment.
    pub fn to_openssh(&self) -> String {
        ssh::write(&self.point)
    }

    /// SHA-256 of the SPKI PEM text: how OpenSSF Model Signing refers to a key.
    pub fn pem_digest(&self) -> Digest {
        Digest::sha256(self.to_pem().as_bytes())
    }
}

/// Whether S, the least byte first, is below the order of the group.
fn is_reduced(s: &[u8; 32]) -> bool {
    s.iter().rev().lt(ED25519_ORDER.iter().rev())
}

/// Checks that the parameters beside an elliptic-curve key name P-256.
fn check_curve(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<(), KeyError> {
    match algorithm.parameters_oid() {
        Ok(P256_OID) => Ok(()),
        Ok(other) => Err(unsupported(&other)),
        Err(_) => Err(KeyError::UnsupportedAlgorithm(
            "ECDSA with a curve that is spelled out".into(),
        )),
    }
}

fn unsupported(oid: &ObjectIdentifier) -> KeyError {
    let oid = oid.to_string();
    let known = OTHER_ALGORITHMS.iter().find(|(other, _)| *other == oid);
    KeyError::UnsupportedAlgorithm(known.map_or(oid, |(_, name)| (*name).to_owned()))
}

fn malformed(form: &'static str, problem: impl ToString) -> KeyError {
    KeyError::Malformed {
        form,
        problem: problem.to_string(),
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        PublicKey::parse(text)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.algorithm(), self.id)
    }
}

impl Serialize for PublicKey {
    /// As SPKI PEM, so that the same key pasted in two forms is written in one.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_pem())
    }
}

#[cfg(test)]
mod tests;
