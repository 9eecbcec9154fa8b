//! The metadata store: which repository has what, what tags name, which uploads are under way.
//!
//! [`Metadata`] is a trait of domain operations, each one atomic, rather than of reads and writes:
//! every store does an operation in its best form, and its safety does not hang on how callers
//! combine smaller ones. An operation made of many
//! small ones would need a transaction level that no two databases mean the same by.
//!
//! Three rules carry the whole:
//! - a blob's bytes lie under a [`PhysicalKey`] that is unique for ever, not under their digest;
//! - every decision is a predicate on a row that both sides update;
//! - a key's life runs one way: reserved (in an upload), live (in a blob), trash, gone.
//!
//! Does not know HTTP, users' rights or policies: it compares what an [`Admission`] says with its
//! own rows and leaves judging to others. Nor does it know who set which limit: operations that add something are
//! given the quotas that apply, and compare them in the same step. Never touches the blob store. Accounts are a trait of their own,
//! [`Directory`](crate::auth::Directory), and so is what the transparency log keeps, [`LogStore`](log::LogStore); the same stores implement
//! both.

pub mod kv;
pub mod log;
mod rows;
#[cfg(test)]
pub mod suite;
mod usage;

pub use crate::clock::Millis;
pub use rows::{
    BlobPlace, BlobRow, Event, EventKind, INLINE_LIMIT, LinkRow, LinkedBlob, ManifestRow,
    PhysicalKey, PullRow, Referrer, RevocationRow, StoredAlgorithm, TagRow, UploadId, UploadRow,
};
pub(crate) use usage::Wanted;
pub use usage::{Counted, HEADROOM_BYTES, HEADROOM_OBJECTS, Quota, QuotaExceeded, Usage};

use bytes::Bytes;
use sealstone_spec::admission::Admission;
use sealstone_spec::digest::Digest;
use sealstone_spec::key::PublicKey;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::name::{RepoName, Tag};
use sealstone_spec::policy::{ExceptionUse, KeyRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;

/// What every operation returns.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// Why an operation did not happen. Nothing was changed, unless it says that it is not known.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot serve now: it is closing, its disk is full, or it answers no more.
    #[error("metadata store: {0}")]
    Unavailable(String),
    /// A row cannot be read, or contradicts another: an operator must look.
    #[error("metadata store is damaged: {0}")]
    Damaged(String),
}

/// Which tags may change, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagClass {
    /// Created once; never moved.
    Immutable,
    /// Moved at will.
    Mutable,
    /// A list of evidence under a digest's name: moved, but only to a manifest that holds
    /// everything which the last one held.
    EvidenceList,
}

/// A condition that the client put on a tag, or on the manifest that it named by digest, from `If-Match` or
/// `If-None-Match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagCondition {
    /// None.
    Any,
    /// The tag, or manifest, must not exist.
    Absent,
    /// The tag, or manifest, must exist.
    Present,
    /// The tag must name this digest, or the manifest must exist and have it.
    Names(Digest),
}

/// A tag that a manifest is to get.
#[derive(Debug)]
pub struct NewTag {
    /// The tag.
    pub tag: Tag,
    /// How it may change.
    pub class: TagClass,
    /// The client's condition.
    pub condition: TagCondition,
    /// Whether consumers see the manifest through it.
    pub visible: bool,
}

/// A manifest to be stored, with the tags that it is to get in the same step.
#[derive(Debug)]
pub struct PutManifest {
    /// Where.
    pub repo: RepoName,
    /// What; everything that it names must be there.
    pub manifest: VerifiedManifest,
    /// Its tags: all or none are set.
    pub tags: Vec<NewTag>,
    /// The client's condition on the manifest itself, where it is to get no tag.
    pub condition: TagCondition,
    /// Whether it has to be there: whoever sends it may name it, and not add it.
    pub only_known: bool,
    /// Proof that the repository's policy lets it have them; due unless every tag is a list of evidence.
    pub admission: Option<Admission>,
    /// What spoke of the manifest before that was judged, in the order of [`Metadata::referrers`]. If it is not
    /// the same any more, the admission does not count.
    pub referrers: Vec<Digest>,
    /// The words that revoked it before that, in the order of [`Metadata::revocations`]; the same holds.
    pub revocations: Vec<Digest>,
    /// The name of its words, if it revokes what it speaks of: then it is kept for ever.
    pub revokes: Option<Digest>,
    /// Whether a tag that is new here is a release about which the registry has to sign statements.
    pub statements_due: bool,
    /// What must leave room for it, if it is new.
    pub quotas: Vec<Quota>,
    /// Who.
    pub by: String,
    /// When.
    pub now: Millis,
    /// Not collected before this time.
    pub pin_until: Millis,
}

/// What a verdict was made of. It is applied only while that is still so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The manifest.
    pub manifest: Digest,
    /// The policy.
    pub policy: Digest,
    /// [`ManifestRow::evidence`], read before the evidence was.
    pub evidence: u64,
    /// How many revocations of it there were before that; there are never fewer.
    pub revocations: usize,
    /// Exceptions on which it is admitted and which may not have counted it yet.
    pub exceptions: Vec<ExceptionUse>,
    /// When it is applied.
    pub now: Millis,
}

/// Bytes of the rows in one page of referrers. What a row holds is up to whoever pushed the manifest, and clients read
/// a page in one piece: ours, of old, 4 MiB.
pub const REFERRERS_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of the rows that are read for one page, those with it that are of another type than was asked for.
pub const REFERRERS_READ: usize = 16 * 1024 * 1024;

/// A page of referrers, by their digests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferrerPage {
    /// Their descriptors.
    pub referrers: Vec<Referrer>,
    /// After which the next page begins; `None` if this is the last.
    pub next: Option<Digest>,
}

/// Why a manifest or tag was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The repository has not what the manifest names.
    Missing {
        /// Blobs that it names.
        blobs: Vec<Digest>,
        /// Manifests that it lists.
        manifests: Vec<Digest>,
    },
    /// The tag is immutable and names another digest.
    TagTaken {
        /// The tag.
        tag: Tag,
        /// What it names.
        existing: Digest,
    },
    /// The tag was deleted, and its name is never used again.
    TagBurnt {
        /// The tag.
        tag: Tag,
        /// What it named.
        existing: Digest,
    },
    /// The tag does not fulfil the client's condition.
    ConditionFailed {
        /// The tag.
        tag: Tag,
        /// What it names, if it exists.
        existing: Option<Digest>,
    },
    /// The manifest, which gets no tag, does not fulfil the client's condition.
    DigestConditionFailed {
        /// The manifest.
        digest: Digest,
        /// Whether it is there.
        exists: bool,
    },
    /// The new list of evidence has not everything that the old one had.
    EvidenceLost {
        /// The tag.
        tag: Tag,
        /// What is missing from it.
        lost: Vec<Digest>,
    },
    /// The manifest would lead to itself, because it lists what it speaks of: then neither would ever
    /// go out of view.
    Circular {
        /// What it speaks of, or what lists it.
        through: Digest,
    },
    /// The admission was made under other circumstances: judge again.
    Rejudge,
    /// An immutable tag names the manifest, or the index that lists it, or what it speaks of; or it is a
    /// statement about a manifest that has a tag.
    Held,
    /// The manifest revokes another one, and is kept for ever.
    Final,
    /// Manifests name the blob: this many.
    BlobInUse(u64),
    /// There is no such manifest or tag, and none was to be made.
    NotFound,
    /// A quota leaves no room for it.
    QuotaExceeded(QuotaExceeded),
}

/// What storing a manifest did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It, or one of its tags, is new.
    Created,
    /// Everything was there already.
    Existed,
}

/// A blob whose bytes are durable.
#[derive(Clone, Debug)]
pub struct NewBlob {
    /// Where it is to belong.
    pub repo: RepoName,
    /// Its digest.
    pub digest: Digest,
    /// Its size, in bytes.
    pub size: u64,
    /// Its bytes, or the key under which they are.
    pub content: NewContent,
    /// The session to end; `None` for a small blob that came in one piece.
    pub upload: Option<UploadId>,
    /// What must leave room for it, if the repository has it not.
    pub quotas: Vec<Quota>,
    /// When.
    pub now: Millis,
    /// Not collected before this time.
    pub pin_until: Millis,
}

/// Where the bytes of a [`NewBlob`] are.
#[derive(Clone, Debug)]
pub enum NewContent {
    /// Here.
    Inline(Bytes),
    /// In the blob store, under the session's key, with this root of their BLAKE3 tree.
    Object([u8; 32]),
}

/// What committing an upload did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The blob is the repository's. If it was known already, the new copy is trash.
    Committed,
    /// The same, and it took the place of a damaged copy.
    Repaired,
    /// The session ended before: nothing was changed.
    NoSession,
}

/// How far an upload has come.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Bytes that the state covers.
    pub offset: u64,
    /// The running hash at that point.
    pub hash_state: Vec<u8>,
    /// The start of the machine under which the bytes were written, if that is known.
    pub boot: Option<String>,
    /// Whether `offset` is the end of the blob.
    pub sealing: bool,
    /// Bytes that are reserved for it from here on, instead of those that were; `None` leaves them as they are.
    pub reserve: Option<u64>,
    /// When the session is given up unless more comes.
    pub expires_at: Millis,
}

/// What one pass of the collector over due rows did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Collected {
    /// Manifests removed.
    pub manifests: u64,
    /// Blobs taken from repositories.
    pub links: u64,
    /// Blobs removed altogether.
    pub blobs: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Uploads given up: their staged bytes can be deleted.
    pub uploads: Vec<UploadId>,
    /// Where the next pass goes on; `None` when all rows were looked at.
    #[serde(skip)]
    pub next: Option<Vec<u8>>,
}

/// A key whose object can be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrashItem {
    /// The key.
    pub key: PhysicalKey,
    /// Deleted at the earliest at this time.
    pub not_before: Millis,
}

/// Manifests that were released under exceptions, by what uses are counted under.
pub type ExceptionUses = BTreeMap<String, BTreeSet<Digest>>;

/// A policy that comes into force.
#[derive(Clone, Debug)]
pub struct PolicyChange {
    /// Its digest.
    pub digest: Digest,
    /// The signed document, if it was signed.
    pub document: Option<Vec<u8>>,
    /// Every key that it works by.
    pub keys: Vec<KeyRecord>,
    /// Who.
    pub by: String,
    /// When.
    pub now: Millis,
}

/// A revocation that is kept for ever, and heard in every repository that has what it revokes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRevocation {
    /// The name of its words: [`sealstone_spec::policy::Revocation::word`].
    pub word: Digest,
    /// Where it is.
    pub row: RevocationRow,
}

/// Somebody pulled a release.
#[derive(Clone, Debug)]
pub struct PullNote {
    /// Where.
    pub repo: RepoName,
    /// The manifest.
    pub digest: Digest,
    /// Who.
    pub who: String,
    /// When.
    pub at: Millis,
}

/// When rows may be collected.
#[derive(Clone, Copy, Debug)]
pub struct CollectRules {
    /// The time.
    pub now: Millis,
    /// How long an object stays after it left the last row, in milliseconds, so that downloads which
    /// have begun can end.
    pub trash_for: Millis,
    /// Whether manifests that no tag, index or subject names are removed.
    pub untagged_manifests: bool,
    /// Change nothing; only count.
    pub dry_run: bool,
}

/// The store. Implementations: [`kv`] on RocksDB or in memory; PostgreSQL fits the same trait.
pub trait Metadata: Send + Sync + 'static {
    /// A blob of a repository.
    fn blob<'a>(&'a self, repo: &'a RepoName, digest: &'a Digest)
    -> Answer<'a, Option<LinkedBlob>>;
    /// The same for a writer who will rely on it: keeps it from being collected before `until`.
    fn pin_blob<'a>(
        &'a self,
        repo: &'a RepoName,
        digest: &'a Digest,
        now: Millis,
        until: Millis,
    ) -> Answer<'a, Option<LinkedBlob>>;
    /// Gives `to` a blob that another repository has; `false` if that has not got it.
    /// [`Refusal::QuotaExceeded`] if that adds one and a quota leaves no room.
    fn mount_blob<'a>(
        &'a self,
        from: &'a RepoName,
        to: &'a RepoName,
        digest: &'a Digest,
        now: Millis,
        until: Millis,
        quotas: Vec<Quota>,
    ) -> Answer<'a, Result<bool, Refusal>>;
    /// Repositories that have a blob, at most `limit`.
    fn blob_holders<'a>(&'a self, digest: &'a Digest, limit: usize) -> Answer<'a, Vec<RepoName>>;
    /// Takes a blob from a repository; the collector removes it when nobody has it.
    fn unlink_blob<'a>(
        &'a self,
        repo: &'a RepoName,
        digest: &'a Digest,
        now: Millis,
    ) -> Answer<'a, Result<(), Refusal>>;
    /// Bytes of a blob in the store itself.
    fn inline_content<'a>(&'a self, digest: &'a Digest) -> Answer<'a, Option<Bytes>>;
    /// Stops a blob from being read: its bytes at `place` are not what they were. An event for each repository
    /// that has it; `false`, and nothing changed, if it was in quarantine before, or has come again since and
    /// lies elsewhere.
    fn quarantine_blob<'a>(
        &'a self,
        digest: &'a Digest,
        place: &'a BlobPlace,
        reason: &'a str,
        now: Millis,
    ) -> Answer<'a, bool>;
    /// Lets a blob be read again: its bytes at `place` were read, and are what they were. An event for each repository that
    /// has it, as when it comes again; `false`, and nothing changed, if it is not in quarantine, or lies elsewhere now.
    fn lift_quarantine<'a>(
        &'a self,
        digest: &'a Digest,
        place: &'a BlobPlace,
        now: Millis,
    ) -> Answer<'a, bool>;
    /// Number of blobs in quarantine.
    fn quarantined(&self) -> Answer<'_, u64>;
    /// Manifests with tags that a blob belongs to: those that name it, and indexes that lead to them.
    fn releases_with<'a>(&'a self, repo: &'a RepoName, blob: &'a Digest)
    -> Answer<'a, Vec<Digest>>;
    /// Every blob, for scrubbing: digests after `after`, at most `limit`.
    fn all_blobs<'a>(
        &'a self,
        after: Option<Digest>,
        limit: usize,
    ) -> Answer<'a, Vec<(Digest, BlobRow)>>;

    /// Begins an upload; its key is reserved from here on, and so is the room that the row says.
    /// [`Refusal::QuotaExceeded`] if a quota has not got so much.
    fn begin_upload(&self, row: UploadRow, quotas: Vec<Quota>) -> Answer<'_, Result<(), Refusal>>;
    /// An upload under way.
    fn upload<'a>(&'a self, repo: &'a RepoName, id: UploadId) -> Answer<'a, Option<UploadRow>>;
    /// Notes how far an upload has come; `false` if it is over. [`Refusal::QuotaExceeded`] if it is to reserve more
    /// than before and a quota has not got that: then nothing was noted. That one is whole is on the disk when this
    /// returns, if it is larger than [`INLINE_LIMIT`]; anything else may be lost in a power cut.
    fn advance_upload(
        &self,
        id: UploadId,
        progress: Progress,
        quotas: Vec<Quota>,
    ) -> Answer<'_, Result<bool, Refusal>>;
    /// Reserves room for so many bytes of an upload in all, before they come; nothing is given back. `false` if the
    /// upload is over.
    fn reserve_upload(
        &self,
        id: UploadId,
        bytes: u64,
        quotas: Vec<Quota>,
    ) -> Answer<'_, Result<bool, Refusal>>;
    /// Lets an upload go on for which a quota had no room, until it has some or is over: at most so many of those that
    /// one account began. `false` if there are as many, or the upload is over.
    fn go_on_without_room(&self, id: UploadId, most: u64) -> Answer<'_, bool>;
    /// Says that an upload is still being received, so that it is not given up before `expires_at`; `false`
    /// if it is over.
    fn keep_upload(&self, id: UploadId, expires_at: Millis) -> Answer<'_, bool>;
    /// Ends an upload with its blob, and with what it had reserved. [`Refusal::QuotaExceeded`] if that adds a blob to
    /// the repository and a quota leaves no room: then the upload goes on.
    fn commit_blob(&self, blob: NewBlob) -> Answer<'_, Result<CommitOutcome, Refusal>>;
    /// Ends an upload without, and gives back what it had reserved; `false` if it was over.
    fn abort_upload(&self, id: UploadId, now: Millis) -> Answer<'_, bool>;
    /// Whether an upload is under way.
    fn has_upload(&self, id: UploadId) -> Answer<'_, bool>;
    /// Uploads under way, by their ids after `after`, at most `limit`.
    fn uploads(&self, after: Option<UploadId>, limit: usize) -> Answer<'_, Vec<UploadRow>>;
    /// Number of uploads under way.
    fn open_uploads(&self) -> Answer<'_, u64>;
    /// What a namespace holds; all zero for one that nobody knows.
    fn usage<'a>(&'a self, namespace: &'a str) -> Answer<'a, Usage>;

    /// A manifest's row.
    fn manifest<'a>(
        &'a self,
        repo: &'a RepoName,
        digest: &'a Digest,
    ) -> Answer<'a, Option<ManifestRow>>;
    /// The same for a writer who will rely on it: keeps it from being collected before `until`.
    fn pin_manifest<'a>(
        &'a self,
        repo: &'a RepoName,
        digest: &'a Digest,
        now: Millis,
        until: Millis,
    ) -> Answer<'a, Option<ManifestRow>>;
    /// A manifest's bytes.
    fn manifest_bytes<'a>(
        &'a self,
        repo: &'a RepoName,
        digest: &'a Digest,
    ) -> Answer<'a, Option<Bytes>>;
    /// Manifests of a repository after `after`, at most `limit`.
    fn manifests<'a>(
        &'a self,
        repo: &'a RepoName,
        after: Option<Digest>,
        limit: usize,
    ) -> Answer<'a, Vec<Digest>>;
    /// Stores a manifest and sets its tags, all or nothing.
    fn put_manifest(&self, put: PutManifest) -> Answer<'_, Result<PutOutcome, Refusal>>;
    /// Deletes a manifest and, if they are mutable, its tags. `class` is what tags are in the repository now,
    /// lists of evidence apart.
    fn delete_manifest<'a>(
        &'a self,
        repo: &'a RepoName,
        digest: &'a Digest,
        class: TagClass,
        by: &'a str,
        now: Millis,
    ) -> Answer<'a, Result<(), Refusal>>;
    /// A tag or its tombstone.
    fn tag<'a>(&'a self, repo: &'a RepoName, tag: &'a Tag) -> Answer<'a, Option<TagRow>>;
    /// Deletes a tag. An immutable one leaves a tombstone, and so does one that would be immutable if it were
    /// set now, which `class` says. A list of evidence stays while a release keeps what it speaks of.
    fn delete_tag<'a>(
        &'a self,
        repo: &'a RepoName,
        tag: &'a Tag,
        class: TagClass,
        condition: TagCondition,
        by: &'a str,
        now: Millis,
    ) -> Answer<'a, Result<(), Refusal>>;
    /// Tags after `after` in byte order, at most `limit`; only visible ones if so asked.
    fn tags<'a>(
        &'a self,
        repo: &'a RepoName,
        after: Option<&'a str>,
        limit: usize,
        only_visible: bool,
    ) -> Answer<'a, Vec<Tag>>;
    /// Referrers of a manifest after `after`: at most `limit`, and no more than [`REFERRERS_BYTES`] of them, unless the
    /// first alone has more. Fewer than that is no sign that there are no others: `next` is.
    fn referrers<'a>(
        &'a self,
        repo: &'a RepoName,
        subject: &'a Digest,
        artifact_type: Option<&'a str>,
        after: Option<Digest>,
        limit: usize,
    ) -> Answer<'a, ReferrerPage>;
    /// Revocations of a manifest, wherever they were attached, by their words.
    fn revocations<'a>(&'a self, subject: &'a Digest) -> Answer<'a, Vec<KeptRevocation>>;
    /// Keeps a manifest of a repository for ever that revokes `subject`; `false`, and nothing changed, if it is gone, or
    /// the same words are kept already.
    fn keep_revocation<'a>(&'a self, subject: &'a Digest, kept: KeptRevocation)
    -> Answer<'a, bool>;
    /// Repositories that have a manifest. Asks each repository, so it is for what hardly ever happens.
    fn repositories_with<'a>(&'a self, manifest: &'a Digest) -> Answer<'a, Vec<RepoName>>;
    /// Repositories after `after`, at most `limit`.
    fn repositories<'a>(
        &'a self,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<RepoName>>;
    /// Whether anything was ever pushed to a repository.
    fn has_repository<'a>(&'a self, repo: &'a RepoName) -> Answer<'a, bool>;
    /// Events after number `after`, at most `limit`, oldest first.
    fn events(&self, after: u64, limit: usize) -> Answer<'_, Vec<(u64, Event)>>;
    /// Number of the last event on which the registry has acted.
    fn events_attended(&self) -> Answer<'_, u64>;
    /// Says that the registry has acted on every event up to this one.
    fn set_events_attended(&self, number: u64) -> Answer<'_, ()>;
    /// Shows a tag's manifest to consumers, or hides it, if the tag still names what was judged; whether that
    /// changed anything. What is shown is counted under its exceptions, once each. [`Refusal::Rejudge`] if policy or
    /// evidence are not those that were judged, it was revoked since, or an exception is used up.
    fn show_tag<'a>(
        &'a self,
        repo: &'a RepoName,
        tag: &'a Tag,
        judged: Judged,
        visible: bool,
    ) -> Answer<'a, Result<bool, Refusal>>;
    /// Digest of the policy in force.
    fn policy(&self) -> Answer<'_, Option<Digest>>;
    /// Makes `policy` the one under which admissions count.
    fn set_policy(&self, policy: Digest) -> Answer<'_, ()>;
    /// The same with everything that belongs to it, an event, and one for each key that came, changed or
    /// went; `true` if it is another than before.
    fn adopt_policy(&self, change: PolicyChange) -> Answer<'_, bool>;
    /// Notes the keys that the registry itself signs with; an event for each that is another than before.
    fn note_registry_keys(&self, keys: Vec<KeyRecord>, now: Millis) -> Answer<'_, ()>;
    /// The keys that were noted so.
    fn registry_keys(&self) -> Answer<'_, Vec<KeyRecord>>;
    /// Keeps a key that the registry signs statements with, for good; all that were ever kept, in the order in which they
    /// came.
    fn keep_statement_key(&self, key: PublicKey) -> Answer<'_, Vec<PublicKey>>;
    /// The signed document of the policy in force, if it was signed.
    fn policy_document(&self) -> Answer<'_, Option<Vec<u8>>>;
    /// Digest of the policy under which every tag has been judged.
    fn policy_judged(&self) -> Answer<'_, Option<Digest>>;
    /// Says that every tag has been judged under `policy`.
    fn set_policy_judged(&self, policy: Digest) -> Answer<'_, ()>;
    /// How exceptions were used.
    fn exception_uses(&self) -> Answer<'_, ExceptionUses>;
    /// Live tags on a manifest.
    fn tags_of<'a>(&'a self, repo: &'a RepoName, digest: &'a Digest) -> Answer<'a, Vec<Tag>>;
    /// Notes that somebody pulled a release: the first and the last time, however often.
    fn note_pull(&self, note: PullNote) -> Answer<'_, ()>;
    /// Who pulled a release: names after `after`, at most `limit`.
    fn pulls<'a>(
        &'a self,
        repo: &'a RepoName,
        digest: &'a Digest,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<(String, PullRow)>>;

    /// Looks at up to `limit` rows from `cursor` on, removes those that are due and that nobody needs,
    /// and moves their keys to the trash. A dry run looks at all rows at once.
    fn collect(
        &self,
        rules: CollectRules,
        cursor: Option<Vec<u8>>,
        limit: usize,
    ) -> Answer<'_, Collected>;
    /// Trash that is due, by key after `after`, at most `limit`.
    fn trash_due(
        &self,
        now: Millis,
        after: Option<PhysicalKey>,
        limit: usize,
    ) -> Answer<'_, Vec<TrashItem>>;
    /// The objects of these trash keys are deleted.
    fn trash_done(&self, items: Vec<TrashItem>) -> Answer<'_, ()>;
    /// Whether any row names the key.
    fn knows_key<'a>(&'a self, key: &'a PhysicalKey) -> Answer<'a, bool>;

    /// A small value of the server's own, such as its token signing key, made on first use: returns
    /// what is stored, which is `initial` unless there was something before.
    fn server_value<'a>(&'a self, name: &'a str, initial: Vec<u8>) -> Answer<'a, Vec<u8>>;
    /// Stores one in the place of what was there.
    fn replace_value<'a>(&'a self, name: &'a str, value: Vec<u8>) -> Answer<'a, ()>;
    /// What is stored, if it was made before. Makes none.
    fn kept_value<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Vec<u8>>>;
    /// When a job of the server last succeeded.
    fn last_run<'a>(&'a self, job: &'a str) -> Answer<'a, Option<Millis>>;
    /// Notes that it has.
    fn note_run<'a>(&'a self, job: &'a str, at: Millis) -> Answer<'a, ()>;
    /// Writes nothing, but durably: whether commits work.
    fn check_health(&self) -> Answer<'_, ()>;
    /// Whether nothing can be written, though the disk takes files and has room: then nothing but to open the store anew
    /// helps. Not where that was tried within the last hour ([`Metadata::note_end`]): whatever it is, it was there again, such
    /// as a sector that cannot be read. Does not ask the disk while commits work.
    fn is_stuck(&self, now: Millis) -> Answer<'_, bool>;
    /// Notes that the server ends because of that, so that whoever opens the store next knows.
    fn note_end(&self, at: Millis) -> Answer<'_, ()>;
}
