//! What the metadata store remembers, one type a row.

use crate::clock::Millis;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::log::KeyEntry;
use sealstone_spec::manifest::Descriptor;
use sealstone_spec::name::{RepoName, Tag};
use sealstone_spec::tree::ChainingValue;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The name of an object in the blob store: unique for ever, reserved here before the first byte is
/// written, never used twice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PhysicalKey(String);

impl PhysicalKey {
    /// What every key begins with.
    pub const TOP: &'static str = "b";

    /// Every folder in which a key can lie.
    pub fn folders() -> impl Iterator<Item = String> {
        (0..=u8::MAX).map(|last| format!("{}/{last:02x}", PhysicalKey::TOP))
    }

    /// The key of an upload's bytes: `b/<last two hex digits>/<upload id>`. A version 7 UUID begins
    /// with the time, so its last digits spread keys evenly where its first would not.
    pub fn of_upload(id: UploadId) -> PhysicalKey {
        let id = id.0.simple().to_string();
        let top = PhysicalKey::TOP;
        PhysicalKey(format!("{top}/{}/{id}", &id[id.len() - 2..]))
    }

    /// Reads a key that [`PhysicalKey::of_upload`] made; `None` for every other name.
    pub fn parse(text: &str) -> Option<PhysicalKey> {
        let id = text.rsplit('/').next()?;
        let key = PhysicalKey::of_upload(UploadId(uuid::Uuid::try_parse(id).ok()?));
        (key.as_str() == text).then_some(key)
    }

    /// The key as a path with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PhysicalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names an upload session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UploadId(pub uuid::Uuid);

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// An upload that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRow {
    /// The session.
    pub id: UploadId,
    /// Where its blob will belong.
    pub repo: RepoName,
    /// Where its bytes go.
    pub key: PhysicalKey,
    /// What is hashed while receiving.
    pub algorithm: StoredAlgorithm,
    /// Bytes that `hash_state` covers; more may lie in the part file.
    pub offset: u64,
    /// The running hash at `offset`, or empty at the start.
    pub hash_state: Vec<u8>,
    /// The start of the machine under which the bytes that `hash_state` covers were written. They were not synced:
    /// under another start, or if this is not known, the file is hashed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// Set before the bytes move to their key: nothing after `offset` belongs to the blob then.
    pub sealing: bool,
    /// Bytes for which it has taken hold of room in its namespaces.
    #[serde(default)]
    pub reserved: u64,
    /// Whether it goes on though a quota had no room for it. Counted by who began it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub roomless: bool,
    /// Who began it.
    pub by: String,
    /// When it is given up unless bytes come.
    pub expires_at: Millis,
}

/// An algorithm as it is written in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredAlgorithm(pub Algorithm);

impl Serialize for StoredAlgorithm {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for StoredAlgorithm {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map(StoredAlgorithm)
            .map_err(serde::de::Error::custom)
    }
}

/// Blobs up to this size live in the metadata store, under its group-committed log: 64 KiB.
pub const INLINE_LIMIT: u64 = 64 * 1024;

/// Where a blob's bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlobPlace {
    /// In the metadata store itself.
    Inline,
    /// In the blob store.
    Object {
        /// Under this key.
        key: PhysicalKey,
        /// Root of the BLAKE3 tree over the bytes.
        root: ChainingValue,
    },
}

/// A blob, once for all repositories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRow {
    /// Size, in bytes.
    pub size: u64,
    /// Where its bytes are.
    pub place: BlobPlace,
    /// Number of repositories that have it.
    pub links: u64,
    /// Not collected before this time.
    pub pin_until: Millis,
    /// Why its bytes must not be read any more, if so.
    pub quarantined: Option<String>,
}

/// A repository's right to a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRow {
    /// Number of the repository's manifests that name it.
    pub refs: u64,
    /// Number of those that consumers may see.
    pub visible: u64,
    /// Not collected before this time.
    pub pin_until: Millis,
}

/// A blob as one repository has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedBlob {
    /// Size, in bytes.
    pub size: u64,
    /// Where its bytes are.
    pub place: BlobPlace,
    /// Whether a visible manifest names it.
    pub visible: bool,
    /// Why its bytes must not be read any more, if so.
    pub quarantined: Option<String>,
}

/// A manifest of a repository, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestRow {
    /// Media type that it is served with.
    pub media_type: String,
    /// Size, in bytes.
    pub size: u64,
    /// The manifest that it speaks of.
    pub subject: Option<Digest>,
    /// Number of tags on it.
    pub tags: u64,
    /// Number of indexes that list it.
    pub parents: u64,
    /// Number of visible tags, indexes and subjects that it is seen through; 0 is staging.
    pub visible: u64,
    /// Number of immutable tags, and of indexes and subjects held by such, that keep it.
    pub held: u64,
    /// Another number with each referrer that comes or goes, and never one that it had before, so that whoever
    /// judged the evidence can tell whether it is still the same.
    pub evidence: u64,
    /// Not collected before this time.
    pub pin_until: Millis,
    /// Who pushed it.
    pub by: String,
    /// When it was pushed.
    pub at: Millis,
}

/// A tag, or what is left of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagRow {
    /// The manifest that it names or, in a tombstone, named last.
    pub digest: Digest,
    /// Set when the tag was deleted and its name may never be used again.
    pub tombstone: bool,
    /// Whether it may never name anything else.
    pub immutable: bool,
    /// Whether consumers see what it names.
    pub visible: bool,
    /// Grows with each change.
    pub version: u64,
    /// Who changed it last.
    pub by: String,
    /// When.
    pub at: Millis,
}

/// Where a revocation is that is kept for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationRow {
    /// The repository in which it was attached first.
    pub repo: RepoName,
    /// The manifest that carries it.
    pub referrer: Digest,
}

/// A referrer in a listing.
pub type Referrer = Descriptor;

/// Something that happened to a tag or a manifest; the transparency log and auditors read these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// Where; a policy changes everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<RepoName>,
    /// The tag, for events of tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// The manifest, or the policy.
    pub digest: Digest,
    /// Digest of the policy under which it was admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Digest>,
    /// Evidence that was counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Digest>,
    /// Whether the tag may never name anything else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub immutable: bool,
    /// What the statement in `digest` is about, for statements that were attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
    /// The predicate type that the statement's manifest claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicate_type: Option<String>,
    /// What became of a key, for events of keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyEntry>,
    /// Whether the registry has to sign statements about it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub statement_due: bool,
    /// Who did it.
    pub by: String,
    /// When.
    pub at: Millis,
}

impl Event {
    /// An event of which only these are known.
    pub fn new(kind: EventKind, digest: Digest, by: impl Into<String>, at: Millis) -> Event {
        Event {
            kind,
            repo: None,
            tag: None,
            digest,
            policy: None,
            evidence: Vec::new(),
            immutable: false,
            subject: None,
            predicate_type: None,
            key: None,
            statement_due: false,
            by: by.into(),
            at,
        }
    }
}

/// The kinds of [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A tag was created.
    TagCreated,
    /// A mutable tag or an evidence list was pointed elsewhere.
    TagMoved,
    /// A tag was deleted.
    TagDeleted,
    /// A manifest was deleted.
    ManifestDeleted,
    /// Another policy came into force.
    PolicyChanged,
    /// A manifest was stored that carries a sigstore bundle about another.
    StatementAttached,
    /// A key was added, changed or removed: of the policy, or of the registry.
    KeyChanged,
    /// A blob of a repository turned out to be damaged; `digest` is the blob.
    ContentDamaged,
    /// A damaged blob of a repository came again.
    ContentRepaired,
}

/// That somebody pulled a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRow {
    /// For the first time.
    pub first: Millis,
    /// For the last time, give or take an hour.
    pub last: Millis,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_upload_noted_before_starts_and_reservations_is_read() {
        let row = serde_json::json!({
            "id": "018f5a3e-7c1d-7b2a-9c4e-1a2b3c4d5e6f",
            "repo": "a/b",
            "key": PhysicalKey::of_upload(UploadId(uuid::Uuid::now_v7())),
            "algorithm": "sha256",
            "offset": 7,
            "hash_state": [1, 2],
            "sealing": false,
            "by": "user:a",
            "expires_at": 9,
        });
        let row: UploadRow = serde_json::from_value(row).unwrap();
        assert_eq!((row.offset, row.boot, row.reserved), (7, None, 0));
    }
}
