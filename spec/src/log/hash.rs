//! Hashes of the log's tree, as RFC 6962 section 2.1 defines them.
//!
//! A leaf and a node begin with different bytes, so that no entry can pass for an inner node.

use super::LogError;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// The hash of an entry, of a node, or of a whole tree: 32 bytes, written in base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// The root of the tree without entries.
    pub fn of_nothing() -> Hash {
        Hash(Sha256::digest([]).into())
    }

    /// The hash of an entry.
    pub fn of_entry(entry: &[u8]) -> Hash {
        Hash(
            Sha256::new()
                .chain_update([0])
                .chain_update(entry)
                .finalize()
                .into(),
        )
    }

    /// The hash of the node above two others.
    pub fn of_node(left: &Hash, right: &Hash) -> Hash {
        let hasher = Sha256::new().chain_update([1]);
        Hash(
            hasher
                .chain_update(left.0)
                .chain_update(right.0)
                .finalize()
                .into(),
        )
    }

    /// From its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Hash {
        Hash(bytes)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Hash {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        BASE64
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Hash)
            .ok_or_else(|| LogError::Hash(text.chars().take(60).collect()))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
