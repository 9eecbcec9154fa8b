//! Descriptors of content that a predicate speaks of: in-toto's ResourceDescriptor.
//!
//! Owns their shape and the digests in them. Subjects of statements are [`super::Subject`]: they must
//! have a digest, these need not.
//! Invariant: a descriptor that was read says what it means by a URI, a digest, or the content itself.

use super::MAX_DIGESTS;
use super::predicate::{Problem, entries, text, uri};
use crate::digest::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Longest embedded content, in base64: in-toto asks for less than 1 KiB, this is generous.
const MAX_CONTENT_BYTES: usize = 65_536;

/// Something that a predicate speaks of: a source, a data set, a policy, a log.
///
/// ```
/// use sealstone_spec::{digest::Digest, statement::ResourceDescriptor};
/// let lock = ResourceDescriptor::named("lockfile", &Digest::sha256(b"lock"));
/// assert!(lock.names(&Digest::sha256(b"lock")) && lock.is_pinned());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceDescriptor {
    /// What it is called here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is called everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Digests by algorithm, in lowercase hex.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, String>,
    /// The content itself, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Where to fetch it, if that is not the URI. Never followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download_location: Option<String>,
    /// Media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What else the producer had to say.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub annotations: Map<String, Value>,
}

/// Algorithms under which a digest can only mean one content, with the length of their hex form.
const PINNING: [(&str, usize); 9] = [
    ("sha256", 64),
    ("sha384", 96),
    ("sha512", 128),
    ("sha512_256", 64),
    ("sha3_256", 64),
    ("sha3_384", 96),
    ("sha3_512", 128),
    ("blake2b", 128),
    ("blake3", 64),
];

/// Names of git's objects; SHA-1 or SHA-256, as the repository has it.
const GIT: [&str; 3] = ["gitCommit", "gitTree", "gitBlob"];

impl ResourceDescriptor {
    /// A descriptor with a name and one digest.
    pub fn named(name: impl Into<String>, digest: &Digest) -> ResourceDescriptor {
        ResourceDescriptor {
            name: Some(name.into()),
            digest: [(digest.algorithm().as_str().to_owned(), digest.hex())].into(),
            ..ResourceDescriptor::default()
        }
    }

    /// The same with a URI.
    #[must_use]
    pub fn at(mut self, uri: impl Into<String>) -> ResourceDescriptor {
        self.uri = Some(uri.into());
        self
    }

    /// Whether this names `digest`, under its own algorithm.
    pub fn names(&self, digest: &Digest) -> bool {
        self.digest.get(digest.algorithm().as_str()) == Some(&digest.hex())
    }

    /// Whether a digest fixes the content: a strong hash, or the name of a git object.
    pub fn is_pinned(&self) -> bool {
        self.digest.keys().any(|algorithm| {
            GIT.contains(&algorithm.as_str()) || PINNING.iter().any(|(known, _)| known == algorithm)
        })
    }

    /// Checks the shape.
    pub(crate) fn check(&self, at: &str) -> Result<(), Problem> {
        self.check_fields().map_err(|problem| problem.within(at))
    }

    fn check_fields(&self) -> Result<(), Problem> {
        if self.uri.is_none() && self.digest.is_empty() && self.content.is_none() {
            let problem = "has neither uri nor digest nor content, so it names nothing";
            return Err(Problem::new("", problem));
        }
        if let Some(name) = &self.name {
            text("name", name)?;
        }
        if let Some(it) = &self.uri {
            uri("uri", it)?;
        }
        if let Some(it) = &self.download_location {
            uri("downloadLocation", it)?;
        }
        if let Some(media_type) = &self.media_type {
            text("mediaType", media_type)?;
        }
        if self
            .content
            .as_ref()
            .is_some_and(|it| it.len() > MAX_CONTENT_BYTES)
        {
            let problem = format!("has more than {MAX_CONTENT_BYTES} bytes");
            return Err(Problem::new("content", problem));
        }
        digests("digest", &self.digest)
    }
}

/// A set of digests: at most 32, in the form of their algorithm where that is known.
pub(crate) fn digests(at: &str, digests: &BTreeMap<String, String>) -> Result<(), Problem> {
    if digests.len() > MAX_DIGESTS {
        let problem = format!(
            "has {} digests, at most {MAX_DIGESTS} are read",
            digests.len()
        );
        return Err(Problem::new(at, problem));
    }
    for (algorithm, value) in digests {
        text(at, algorithm)?;
        let at = format!("{at}.{algorithm}");
        text(&at, value)?;
        let hex = value
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let pinning = PINNING.iter().find(|(known, _)| known == algorithm);
        let fits = match pinning {
            Some((_, length)) => hex && value.len() == *length,
            None if GIT.contains(&algorithm.as_str()) => hex && [40, 64].contains(&value.len()),
            // Others are kept as they are: nothing is decided by them.
            None => true,
        };
        if !fits {
            let problem = format!("is no {algorithm} in lowercase hex");
            return Err(Problem::new(at, problem));
        }
    }
    Ok(())
}

/// A list of descriptors.
pub(crate) fn list(at: &str, items: &[ResourceDescriptor]) -> Result<(), Problem> {
    entries(at, items.len())?;
    items
        .iter()
        .enumerate()
        .try_for_each(|(index, item)| item.check(&format!("{at}[{index}]")))
}

/// No two of the list under one name; those without a name do not count.
pub(crate) fn unique_names(at: &str, items: &[ResourceDescriptor]) -> Result<(), Problem> {
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        if let Some(name) = &item.name
            && !seen.insert(name)
        {
            let problem = format!("\"{name}\" stands twice");
            return Err(Problem::new(format!("{at}[{index}].name"), problem));
        }
    }
    Ok(())
}
