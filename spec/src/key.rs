//! Keys: Ed25519 and ECDSA P-256 public keys as people paste them, and the signing side of both.
//!
//! Sources: RFC 8032, RFC 5280 (SPKI), RFC 5958 (PKCS#8), RFC 4253 section 6.6 and RFC 5656 (OpenSSH).
//! Owns parsing, the key's identity and the check of one signature. Does not read files, decrypt
//! private keys or draw random numbers: callers bring bytes.
//! Invariant: the algorithm of a check is the key's own. Nothing that comes with a signature can
//! choose it, so a signature made under one algorithm is never tried under the other.

mod id;
mod secret;
mod ssh;

pub use id::KeyId;
pub use secret::{SecretKey, SignError, Signer};

use crate::digest::Digest;
use ed25519_dalek::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::spki::SubjectPublicKeyInfoRef;
use p256::pkcs8::{LineEnding, ObjectIdentifier};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Longest text or DER document that is read as one public key, in bytes.
pub const MAX_PUBLIC_KEY_BYTES: usize = 4096;

const ED25519_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC_PUBLIC_KEY_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

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
        "not a public key: give \"-----BEGIN PUBLIC KEY-----\" PEM, or one line \"ssh-ed25519 ...\" or \"ecdsa-sha2-nistp256 ...\""
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
    /// Reads SPKI PEM or one line of an OpenSSH public key, whichever the text is.
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
            let (label, document) =
                p256::pkcs8::Document::from_pem(text).map_err(|error| malformed("SPKI", error))?;
            if label != "PUBLIC KEY" {
                let problem = format!("PEM label is \"{label}\", not \"PUBLIC KEY\"");
                return Err(malformed("SPKI", problem));
            }
            return PublicKey::from_spki_der(document.as_bytes());
        }
        match text.split_once(' ') {
            Some((kind, rest)) if ssh::is_kind(kind) => ssh::read(kind, rest),
            _ => Err(KeyError::UnknownForm),
        }
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
            EC_PUBLIC_KEY_OID => p256::ecdsa::VerifyingKey::from_public_key_der(der)
                .map(|key| PublicKey::new(Point::P256(key)))
                .map_err(|_| KeyError::UnsupportedAlgorithm("of another curve than P-256".into())),
            other => Err(KeyError::UnsupportedAlgorithm(other.to_string())),
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
    /// small order), or ECDSA P-256 over SHA-256 in strict DER.
    ///
    /// Both halves of an ECDSA signature's S are accepted: Go's signers, cosign's among them, make
    /// either. Nothing here may therefore take a signature's bytes as an identity; what is counted is
    /// the key's identity, and what is named is the digest of the document that holds the signature.
    ///
    /// # Errors
    /// [`SignatureError`], always with the same text for the same kind of failure.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        match &self.point {
            Point::Ed25519(key) => {
                let signature = ed25519_dalek::Signature::from_slice(signature)
                    .map_err(|_| SignatureError::Malformed("ed25519"))?;
                key.verify_strict(message, &signature)
                    .map_err(|_| SignatureError::Mismatch)
            }
            Point::P256(key) => {
                let signature = p256::ecdsa::Signature::from_der(signature)
                    .map_err(|_| SignatureError::Malformed("ecdsa p-256 (der)"))?;
                key.verify(message, &signature)
                    .map_err(|_| SignatureError::Mismatch)
            }
        }
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
