//! What the store keeps of the transparency log: entries, tiles, and how far events have become entries.
//!
//! [`LogStore`] is a trait of its own, which the same stores implement. The log is made of what the store
//! recorded ([`Event`](super::Event)s) and of entries that were submitted: [`LogStore::integrate`] turns what waits into
//! leaves, in order, and does all of a batch in one durable step. So there is one tree for each size,
//! whatever stops the server, and nothing has to be undone.
//!
//! Does not sign anything: a checkpoint is signed by whoever holds the key, after the step that it speaks
//! of is durable, and handed in by [`LogStore::publish`], which refuses one that is not of the stored tree. A store that
//! can asks a [`Scribe`] for the signature within the step that records what happened, and all of it becomes durable at once.

use super::Answer;
use bytes::Bytes;
use sealstone_spec::digest::Digest;
use sealstone_spec::log::{Hash, Rekord};
use sealstone_spec::name::{RepoName, Tag};
use serde::{Deserialize, Serialize};
use std::sync::Weak;

/// How far the log has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogState {
    /// Number of entries.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
    /// Number of the last event that is an entry.
    pub events: u64,
    /// Number of the last submission that is an entry.
    pub submissions: u64,
    /// Whether nothing was waiting when this was read.
    pub is_caught_up: bool,
}

/// Numbers of what was recorded last, whether it is an entry yet or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The last event.
    pub events: u64,
    /// The last submission.
    pub submissions: u64,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedAt {
    /// Its number.
    pub index: u64,
    /// Its hash.
    pub leaf: Hash,
}

/// What is looked up in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogQuery {
    /// The last event of a tag.
    Tag(RepoName, Tag),
    /// The event that attached a statement: by the manifest that carries it.
    Statement(RepoName, Digest),
    /// An entry that was submitted.
    Entry(Hash),
    /// The last event of a key: by the SHA-256 of its SPKI DER.
    Key(Digest),
}

/// A checkpoint that was, or may be, served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedCheckpoint {
    /// Number of entries.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
    /// Number of the last event that it contains.
    pub events: u64,
    /// Number of the last submission that it contains.
    pub submissions: u64,
    /// The signed note, with the cosignatures that have come.
    pub note: String,
}

/// Whoever holds the log's key, for a store that grows the tree in the step that records what happened. Has no store: the
/// thread that writes may be the last to let go of it.
pub trait Scribe: Send + Sync {
    /// The checkpoint over a tree that is about to be durable; `None` if it cannot be signed now. Runs where the store
    /// writes, so it does nothing but sign.
    fn sign(&self, state: &LogState) -> Option<PublishedCheckpoint>;
    /// Tells that a checkpoint is durable, and its tree: it can be served.
    fn stored(&self, checkpoint: PublishedCheckpoint);
}

/// The log's part of a store.
pub trait LogStore: Send + Sync + 'static {
    /// Takes a signature in, to become an entry; its number among submissions. The same one twice becomes
    /// one entry.
    fn submit(&self, rekord: Rekord) -> Answer<'_, u64>;
    /// Turns up to `limit` events and submissions that wait into entries, in one durable step.
    fn integrate(&self, limit: usize) -> Answer<'_, LogState>;
    /// From now on, while `scribe` is there, each step that records something also makes its entries, and has a checkpoint
    /// over them: one sync instead of two. A store that cannot do that does nothing here; whoever holds the key goes on with
    /// [`LogStore::integrate`] and [`LogStore::publish`] in any case, for what was left over.
    fn follow(&self, scribe: Weak<dyn Scribe>) {
        drop(scribe);
    }
    /// How far the log has come.
    fn log_state(&self) -> Answer<'_, LogState>;
    /// What was recorded last. Whoever has seen a change happen sees its number here.
    fn recorded(&self) -> Answer<'_, Recorded>;
    /// Entries from number `from` on, at most `limit`.
    fn log_entries(&self, from: u64, limit: usize) -> Answer<'_, Vec<Bytes>>;
    /// The hashes of a tile, as many as it has now.
    fn log_tile(&self, level: u8, index: u64) -> Answer<'_, Option<Bytes>>;
    /// Where something is in the log.
    fn logged<'a>(&'a self, what: &'a LogQuery) -> Answer<'a, Option<LoggedAt>>;
    /// Keeps a checkpoint as the latest; `false` if it is not of the tree that is stored now, or older than
    /// the latest.
    fn publish(&self, checkpoint: PublishedCheckpoint) -> Answer<'_, bool>;
    /// The latest checkpoint.
    fn published(&self) -> Answer<'_, Option<PublishedCheckpoint>>;
    /// Keeps the latest checkpoint that enough witnesses cosigned, beside the latest of all.
    fn keep_witnessed(&self, checkpoint: PublishedCheckpoint) -> Answer<'_, ()>;
    /// That checkpoint.
    fn witnessed(&self) -> Answer<'_, Option<PublishedCheckpoint>>;
}
