//! The signing side: a trait, and keys held in memory that implement it.
//!
//! Keys elsewhere (a command, a token, a key service) implement [`Signer`] in the client. Files,
//! passphrases and random numbers are the client's. Secret bytes are wiped when a key is dropped.

use super::{
    EC_PUBLIC_KEY_OID, ED25519_OID, KeyError, Point, PublicKey, check_curve, malformed, unsupported,
};
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::PrivateKeyInfoRef;
use std::fmt;
use zeroize::Zeroizing;

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign with key {key}: {problem}")]
pub struct SignError {
    /// Id of the key.
    pub key: super::KeyId,
    /// What its holder answered.
    pub problem: String,
}

/// Something that signs messages with one key.
pub trait Signer {
    /// The key that checks what [`Signer::sign`] makes.
    fn public_key(&self) -> &PublicKey;

    /// Signs `message` (not a hash of it), in the form that [`PublicKey::verify`] reads.
    ///
    /// # Errors
    /// If the key cannot be reached or its holder refuses.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

enum Scalar {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    P256(Box<p256::ecdsa::SigningKey>),
}

/// A private key in memory.
///
/// ```
/// use sealstone_spec::key::{SecretKey, Signer};
/// let key = SecretKey::ed25519_from_seed(&[7; 32]).unwrap();
/// let signature = key.sign(b"message").unwrap();
/// assert!(key.public_key().verify(b"message", &signature).is_ok());
/// assert!(key.public_key().verify(b"other", &signature).is_err());
/// ```
pub struct SecretKey {
    scalar: Scalar,
    public: PublicKey,
}

impl SecretKey {
    /// An Ed25519 key from 32 random bytes.
    ///
    /// # Errors
    /// Never in practice: a seed cannot be hit whose public key is weak.
    pub fn ed25519_from_seed(seed: &[u8; 32]) -> Result<SecretKey, KeyError> {
        SecretKey::ed25519(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// A P-256 key from 32 random bytes.
    ///
    /// # Errors
    /// [`KeyError::Seed`] if the bytes are zero or not below the order of the curve (once in 2^32
    /// draws): draw again.
    pub fn p256_from_seed(seed: &[u8; 32]) -> Result<SecretKey, KeyError> {
        let key = p256::ecdsa::SigningKey::from_slice(seed).map_err(|_| KeyError::Seed)?;
        Ok(SecretKey::p256(key))
    }

    /// Reads an unencrypted PKCS#8 document.
    ///
    /// # Errors
    /// If it is not strict DER, of another algorithm, or holds a public key that is not its own.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<SecretKey, KeyError> {
        let info = PrivateKeyInfoRef::try_from(der).map_err(|error| malformed("PKCS#8", error))?;
        match info.algorithm.oid {
            ED25519_OID => SecretKey::ed25519(
                ed25519_dalek::SigningKey::from_pkcs8_der(der)
                    .map_err(|error| malformed("PKCS#8", error))?,
            ),
            EC_PUBLIC_KEY_OID => {
                check_curve(&info.algorithm)?;
                p256::ecdsa::SigningKey::from_pkcs8_der(der)
                    .map(SecretKey::p256)
                    .map_err(|error| malformed("PKCS#8", error))
            }
            other => Err(unsupported(&other)),
        }
    }

    /// The key as an unencrypted PKCS#8 document, version 1: OpenSSL before 3.5 and Java do not read
    /// version 2, which adds the public key.
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        let document = match &self.scalar {
            Scalar::Ed25519(key) => KeypairBytes {
                secret_key: key.to_bytes(),
                public_key: None,
            }
            .to_pkcs8_der(),
            Scalar::P256(key) => key.to_pkcs8_der(),
        };
        document.expect("a valid key has a DER form").to_bytes()
    }

    fn ed25519(key: ed25519_dalek::SigningKey) -> Result<SecretKey, KeyError> {
        let public = PublicKey::from_ed25519_bytes(key.verifying_key().as_bytes())?;
        Ok(SecretKey {
            scalar: Scalar::Ed25519(Box::new(key)),
            public,
        })
    }

    fn p256(key: p256::ecdsa::SigningKey) -> SecretKey {
        let public = PublicKey::new(Point::P256(*key.verifying_key()));
        SecretKey {
            scalar: Scalar::P256(Box::new(key)),
            public,
        }
    }
}

impl Signer for SecretKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let refused = |problem: String| SignError {
            key: *self.public.id(),
            problem,
        };
        match &self.scalar {
            Scalar::Ed25519(key) => {
                let signature = key
                    .try_sign(message)
                    .map_err(|error| refused(error.to_string()))?;
                Ok(signature.to_bytes().to_vec())
            }
            // Deterministic (RFC 6979): no random number can be bad, and vectors can be compared. Low s,
            // because verifiers refuse the other.
            Scalar::P256(key) => {
                let signature: p256::ecdsa::Signature = key
                    .try_sign(message)
                    .map_err(|error| refused(error.to_string()))?;
                Ok(signature.normalize_s().to_der().as_bytes().to_vec())
            }
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SecretKey({} {})",
            self.public.algorithm(),
            self.public.id()
        )
    }
}
