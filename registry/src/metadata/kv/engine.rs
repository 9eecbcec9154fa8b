//! The ordered key-value store under [`super::KvMetadata`]: families of sorted keys, and batches that
//! are written whole and durably or not at all.

use crate::metadata::{Error, Millis};

/// A group of keys with one meaning: a column family in RocksDB. The key layout stands at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// repository -> time of its first push.
    Repository,
    /// digest -> [`crate::metadata::BlobRow`].
    Blob,
    /// digest -> bytes of a small blob.
    Inline,
    /// repository 0 digest -> [`crate::metadata::LinkRow`].
    Link,
    /// digest, repository 0 -> nothing: the repositories that have a blob.
    Holder,
    /// repository 0 digest -> [`crate::metadata::ManifestRow`].
    Manifest,
    /// repository 0 digest -> bytes of the manifest.
    Body,
    /// repository 0 parent, kind, child -> nothing.
    Edge,
    /// repository 0 child, parent -> nothing: the indexes that list a manifest.
    Parent,
    /// repository 0 subject, referrer -> descriptor.
    Referrer,
    /// repository 0 tag -> [`crate::metadata::TagRow`].
    Tag,
    /// repository 0 digest 0 tag -> nothing: the live tags on a manifest.
    TagOf,
    /// upload id -> [`crate::metadata::UploadRow`].
    Upload,
    /// key -> nothing: keys that uploads or blobs hold.
    LiveKey,
    /// key -> time from which its object may be deleted.
    Trash,
    /// kind, rest of the row's key -> nothing: rows to look at for collection.
    Review,
    /// number -> [`crate::metadata::Event`].
    Event,
    /// repository 0 digest who -> [`crate::metadata::PullRow`].
    Pull,
    /// namespace 0 -> [`crate::metadata::Usage`].
    Usage,
    /// number -> an entry of the transparency log.
    LogEntry,
    /// level, number -> hashes of a tile of the log.
    LogTile,
    /// kind, repository 0 tag or statement, or leaf -> where it is in the log.
    LogPlace,
    /// number -> what waits to become an entry and is no event.
    LogWaiting,
    /// name -> account.
    Account,
    /// id -> API token.
    Token,
    /// name -> value of the server's own; `revoked/` subject, word -> [`crate::metadata::RevocationRow`]; `roomless/`
    /// account -> number of its uploads that go on without room; `owned/` account 0
    /// id -> nothing: the API tokens of an account; `file/` account -> since when the htpasswd file has had it so.
    Server,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 26] = [
        Family::Repository,
        Family::Blob,
        Family::Inline,
        Family::Link,
        Family::Holder,
        Family::Manifest,
        Family::Body,
        Family::Edge,
        Family::Parent,
        Family::Referrer,
        Family::Tag,
        Family::TagOf,
        Family::Upload,
        Family::LiveKey,
        Family::Trash,
        Family::Review,
        Family::Event,
        Family::Pull,
        Family::Usage,
        Family::LogEntry,
        Family::LogTile,
        Family::LogPlace,
        Family::LogWaiting,
        Family::Account,
        Family::Token,
        Family::Server,
    ];

    /// Its name on disk.
    pub fn name(self) -> &'static str {
        match self {
            Family::Repository => "repository",
            Family::Blob => "blob",
            Family::Inline => "inline",
            Family::Link => "link",
            Family::Holder => "holder",
            Family::Manifest => "manifest",
            Family::Body => "body",
            Family::Edge => "edge",
            Family::Parent => "parent",
            Family::Referrer => "referrer",
            Family::Tag => "tag",
            Family::TagOf => "tag_of",
            Family::Upload => "upload",
            Family::LiveKey => "live_key",
            Family::Trash => "trash",
            Family::Review => "review",
            Family::Event => "event",
            Family::Pull => "pull",
            Family::Usage => "usage",
            Family::LogEntry => "log_entry",
            Family::LogTile => "log_tile",
            Family::LogPlace => "log_place",
            Family::LogWaiting => "log_waiting",
            Family::Account => "account",
            Family::Token => "token",
            Family::Server => "server",
        }
    }
}

/// A key and its family.
pub type FullKey = (Family, Vec<u8>);

/// Changes by family and key; `None` deletes.
pub type Changes = std::collections::BTreeMap<FullKey, Option<Vec<u8>>>;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// An ordered store. Reads see every batch whose `write` has returned.
pub trait Engine: Send + Sync + 'static {
    /// The value of a key.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// Calls `visit` with the entries whose key begins with `prefix` and is greater than or equal to
    /// `from`, in byte order, until it returns `false`.
    fn scan(
        &self,
        family: Family,
        prefix: &[u8],
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error>;

    /// The last key of a family.
    fn last_key(&self, family: Family) -> Result<Option<Vec<u8>>, Error>;

    /// Writes all changes as one; when it returns, they survive a power cut if `durable`, and the end
    /// of the process in any case.
    fn write(&self, changes: &Changes, durable: bool) -> Result<(), Error>;

    /// Whether its disk takes a new file now, so that an engine which was opened anew could write. One without a disk has
    /// nothing to ask.
    ///
    /// # Errors
    /// If the disk does not.
    fn check_disk(&self) -> Result<(), Error> {
        Ok(())
    }

    /// When a server ended before this engine was opened, so that it be opened anew; `None` if that is not known.
    fn last_end(&self) -> Option<Millis> {
        None
    }

    /// Notes that a server ends so, for whoever opens the engine next. One without a disk keeps nothing.
    ///
    /// # Errors
    /// If it cannot be noted.
    fn note_end(&self, _at: Millis) -> Result<(), Error> {
        Ok(())
    }
}
