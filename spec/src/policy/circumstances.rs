//! What a verdict depends on beside policy and evidence, given by whoever asks for it.

use super::Time;
use crate::digest::Digest;
use crate::key::PublicKey;
use std::collections::{BTreeMap, BTreeSet};

/// The time, and what the asker knows of earlier decisions and of the content.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Circumstances {
    /// What time it is.
    pub now: Time,
    /// Manifests that were released under an exception, by [`ExceptionUse::key`]. Whoever makes
    /// releases has to know them; for whoever only reads one, the release has counted already.
    pub uses: BTreeMap<String, BTreeSet<Digest>>,
    /// Content of the bundle that is not what its digest says: an incident, whatever the rules say.
    pub damaged: BTreeSet<Digest>,
    /// Keys for the registry's own statements, as far as they are known for certain: also those that it had before, and those
    /// of another registry that the bundle came from. Each is heard, for the word of one takes back nothing that another
    /// said. It can stop a release, because a registry is the one who sees damage; it never lets one through.
    pub registry: Vec<PublicKey>,
    /// Whether a release tag names the manifest. Changes nothing about the verdict, only the word for
    /// where the bundle stands.
    pub released: bool,
}

impl Circumstances {
    /// At this time, with nothing else known.
    pub fn at(now: Time) -> Circumstances {
        Circumstances {
            now,
            uses: BTreeMap::new(),
            damaged: BTreeSet::new(),
            registry: Vec::new(),
            released: false,
        }
    }
}

/// An exception that a verdict made use of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[non_exhaustive]
pub struct ExceptionUse {
    /// What uses are counted under.
    pub key: String,
    /// Its name.
    pub id: String,
    /// The rule that it waives.
    pub rule: String,
    /// How many manifests may be released under it.
    pub max_uses: u32,
    /// When it ends.
    pub expires: Time,
}
