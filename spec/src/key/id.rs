//! The identity of a key: its OpenSSH SHA-256 fingerprint, for every algorithm.
//!
//! Chosen because cosign's verifier computes the same text for a key without an id and skips
//! signatures that carry another one, and because `ssh-keygen -l` shows it to people.

use super::KeyError;
use crate::digest::Digest;
use data_encoding::BASE64_NOPAD;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "SHA256:";

/// `SHA256:` and 43 characters of base64 without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 32]);

impl KeyId {
    pub(super) fn of_blob(blob: &[u8]) -> KeyId {
        let digest = Digest::sha256(blob);
        KeyId(digest.bytes().try_into().expect("sha-256 has 32 bytes"))
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix(PREFIX)
            .and_then(|base64| BASE64_NOPAD.decode(base64.as_bytes()).ok())
            .and_then(|bytes| bytes.try_into().ok())
            .map(KeyId)
            .ok_or_else(|| KeyError::KeyId(text.chars().take(80).collect()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE64_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
