//! The keys of logs and of witnesses, as one line of text (C2SP signed-note, "verifier keys").

use super::LogError;
use super::hash::Hash;
use super::note::{NoteSignature, is_key_name};
use crate::key::{PublicKey, SignatureError};
use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// What a key may sign; it is part of the key's id, so that one never passes for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum KeyKind {
    /// A log's: Ed25519 over the text (type 0x01).
    Log,
    /// A witness's: Ed25519 over the text and a time (type 0x04, `cosignature/v1`).
    Witness,
}

impl KeyKind {
    fn byte(self) -> u8 {
        match self {
            KeyKind::Log => 1,
            KeyKind::Witness => 4,
        }
    }
}

/// The key of a log or a witness, with its name: `<name>+<id in hex>+<type and key in base64>`.
///
/// ```
/// use sealstone_spec::log::VerifierKey;
/// let line = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
/// let key: VerifierKey = line.parse().unwrap();
/// assert_eq!((key.name(), key.to_string().as_str()), ("example.com/foo", line));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    key: PublicKey,
    full_id: Hash,
}

impl VerifierKey {
    /// The key of a log or witness.
    ///
    /// # Errors
    /// If the name can be none of a key, or the key is not Ed25519.
    pub fn new(name: &str, kind: KeyKind, key: PublicKey) -> Result<VerifierKey, LogError> {
        if !is_key_name(name) {
            return Err(LogError::KeyName(name.chars().take(80).collect()));
        }
        let bytes = ed25519_bytes(&key).ok_or(LogError::KeyAlgorithm(key.algorithm()))?;
        let hasher = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', kind.byte()]);
        let full_id = Hash::from_bytes(hasher.chain_update(bytes).finalize().into());
        Ok(VerifierKey {
            name: name.to_owned(),
            kind,
            key,
            full_id,
        })
    }

    /// Its name; that of a log is its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a log's or a witness's.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key itself.
    pub fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// The four bytes that stand in signature lines.
    pub fn id(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = *self.full_id.as_bytes();
        [a, b, c, d]
    }

    /// All 32 bytes of the id: sigstore's `logId`.
    pub fn full_id(&self) -> &Hash {
        &self.full_id
    }

    /// Whether a signature line says that it is by this key.
    pub fn is_named_by(&self, signature: &NoteSignature) -> bool {
        signature.name == self.name && signature.key_id == self.id()
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        self.key.verify(message, signature)
    }
}

/// The 32 bytes of an Ed25519 key; `None` for other algorithms. They end its SPKI form.
fn ed25519_bytes(key: &PublicKey) -> Option<[u8; 32]> {
    let der = key.to_spki_der();
    let bytes = der.last_chunk::<32>()?;
    (key.algorithm() == "ed25519").then_some(*bytes)
}

impl FromStr for VerifierKey {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |problem| LogError::VerifierKey(problem);
        if text.len() > 1024 {
            return Err(bad("it is too long"));
        }
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad("it is not <name>+<id>+<key>"));
        };
        let id = HEXLOWER
            .decode(id.as_bytes())
            .map_err(|_| bad("its id is not lower-case hex"))?;
        let bytes = BASE64
            .decode(key.as_bytes())
            .map_err(|_| bad("its key is not strict base64"))?;
        let (kind, key) = match bytes.split_first() {
            Some((1, key)) => (KeyKind::Log, key),
            Some((4, key)) => (KeyKind::Witness, key),
            _ => {
                return Err(bad(
                    "its type is neither 1 (log) nor 4 (witness), both Ed25519",
                ));
            }
        };
        let key = <&[u8; 32]>::try_from(key).map_err(|_| bad("its key has not 32 bytes"))?;
        let key =
            PublicKey::from_ed25519_bytes(key).map_err(|_| bad("its key is no good point"))?;
        let key = VerifierKey::new(name, kind, key)?;
        if key.id()[..] != id {
            return Err(bad("its id is not that of its name and key"));
        }
        Ok(key)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = ed25519_bytes(&self.key).expect("the constructor takes no other key");
        let typed = [&[self.kind.byte()][..], &key].concat();
        let id = HEXLOWER.encode(&self.id());
        write!(f, "{}+{id}+{}", self.name, BASE64.encode(&typed))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for VerifierKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VerifierKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
