//! Push, pull, copy and export: parallel, resumable, verified.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `push`, `pull`, `copy`, `export` | the four use cases and their order of steps |
//! | `graph` | which manifests and blobs belong to one |
//! | `check` | all of them read where they lie |
//! | `record` | what the source's registry and log say of it, as one more referrer |
//! | `upload`, `sessions`, `read_ahead` | one blob to a registry, over cuts and restarts |
//! | `fetch`, `sink`, `ranges` | one blob from a registry into a verified file |
//! | `disk` | writing past the page cache |
//! | `kept` | what an earlier run left of such a file |
//! | `partial`, `room` | where a blob arrives that goes into a layout, or from one registry to another |
//! | `staging` | a directory that appears whole or not at all |
//! | `exchange` | two names that change places at once |
//! | `unpack`, `headers` | the files of a layer that is an archive, and how much it may say beside them |
//! | [`progress`] | what is told while it goes on |
//!
//! Invariants: a file has its final name only after size and digest were compared; memory does not
//! grow with the size of blobs; a mismatch ends everything and is never tried again.

mod check;
mod copy;
mod disk;
mod exchange;
mod export;
mod fetch;
mod graph;
pub(crate) mod headers;
mod kept;
mod partial;
pub mod progress;
mod pull;
mod push;
mod ranges;
mod read_ahead;
mod record;
mod room;
mod sessions;
mod sink;
mod staging;
mod unpack;
mod upload;

#[cfg(test)]
mod tests;

pub use check::check_stored;
pub use copy::{Copied, copy};
pub use export::{Exported, export};
pub use partial::Downloads;
pub use pull::{Pulled, Requirement, pull};
pub use push::push;
pub use sessions::Sessions;

use crate::archive::ArchiveStore;
use crate::error::{Error, Result};
use crate::layout::LayoutStore;
use crate::store::{Location, Store};
use crate::transport::{self, ConnectOptions, RegistryStore};
use progress::{Audience, Silent};
use sealstone_spec::digest::Digest;
use sealstone_spec::name::RepoName;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// How transfers run.
#[derive(Clone, Debug)]
pub struct TransferOptions {
    /// Blobs that move at the same time.
    pub parallel: usize,
    /// Ranges of large blobs that are fetched at the same time, shared among them: several large
    /// blobs keep all connections busy by themselves. With 1, every blob comes as one stream.
    pub ranges: usize,
    /// Bytes of one such range, a multiple of 256 KiB.
    pub range_bytes: u64,
    /// Blobs from this size on, in bytes, are fetched in ranges where the registry has their tree.
    pub ranges_from: u64,
    /// Blobs up to this size, in bytes, are sent with one request and from memory.
    pub small: u64,
    /// Repositories of the destination's registry from which blobs may be mounted instead of sent.
    pub mount_from: Vec<RepoName>,
    /// Whether signatures and other referrers go along.
    pub referrers: bool,
    /// Where unfinished uploads are remembered.
    pub sessions: Sessions,
    /// Where blobs are kept on their way from one registry to another.
    pub downloads: Downloads,
    /// Whether what a cut leaves of a large blob on its way into a layout is kept there for the next run.
    pub kept_in_layouts: bool,
    /// Who is told.
    pub progress: Audience,
    /// Where a pull leaves what has arrived when bytes are not what they should be; without it, nowhere. On the
    /// same file system as the destination.
    pub quarantine: Option<PathBuf>,
}

impl TransferOptions {
    /// The same for a transfer of blobs of these sizes: each large one gets its share of the ranges.
    /// Ranges cost a second hash; they pay where one stream alone would not fill the line.
    pub(crate) fn shared_among(&self, sizes: impl Iterator<Item = u64>) -> TransferOptions {
        let large = sizes.filter(|size| *size >= self.ranges_from).count();
        let mut shared = self.clone();
        shared.ranges = (self.ranges / large.clamp(1, self.parallel.max(1))).max(1);
        shared
    }
}

impl Default for TransferOptions {
    fn default() -> Self {
        TransferOptions {
            parallel: 4,
            ranges: 4,
            range_bytes: 8 * 1024 * 1024,
            ranges_from: 32 * 1024 * 1024,
            small: 4 * 1024 * 1024,
            mount_from: Vec::new(),
            referrers: true,
            sessions: Sessions::none(),
            downloads: Downloads::none(),
            kept_in_layouts: true,
            progress: Arc::new(Silent),
            quarantine: None,
        }
    }
}

/// A place that large blobs move from or to.
#[derive(Clone, Debug)]
pub enum Place {
    /// A repository in a registry.
    Registry(RegistryStore),
    /// A layout directory.
    Layout(LayoutStore),
    /// An archive, which is only read from.
    Archive(ArchiveStore),
}

impl Place {
    /// Opens what is to be read.
    ///
    /// # Errors
    /// If a layout is none; a registry is asked nothing yet.
    pub fn open(location: &Location, options: &ConnectOptions) -> Result<Place> {
        Ok(match location {
            Location::Registry(image) => Place::Registry(transport::connect(image, options)?),
            Location::Layout { path, .. } => Place::Layout(LayoutStore::open(path)?),
            Location::Archive { path, .. } => Place::Archive(ArchiveStore::open(path)?),
        })
    }

    /// Opens what is to be written, and makes a layout where there is none.
    ///
    /// # Errors
    /// If there is something else in a layout's place.
    pub fn open_or_create(location: &Location, options: &ConnectOptions) -> Result<Place> {
        match location {
            Location::Layout { path, .. } => Ok(Place::Layout(LayoutStore::open_or_create(path)?)),
            Location::Registry(_) => Place::open(location, options),
            Location::Archive { .. } => Err(Error::usage(format!(
                "nothing can be added to the archive \"{location}\""
            ))
            .hint("an archive is made as a whole: sealstone export FROM FILE.tar")),
        }
    }

    /// The same as a store.
    pub fn store(&self) -> &dyn Store {
        match self {
            Place::Registry(store) => store,
            Place::Layout(store) => store,
            Place::Archive(store) => store,
        }
    }
}

/// The error of a blob that is not what its descriptor says. It ends the whole transfer.
pub(crate) fn mismatch(label: &str, expected: &Digest, actual: &str) -> Error {
    Error::halted(format!("layer \"{label}\" is not what the manifest says: expected {expected}, got {actual}"))
        .hint("nothing of it was kept; the copy that was asked is damaged or was tampered with: tell its operator")
        .detail(json!({"layer": label, "expected": expected, "actual": actual}))
}

/// The same where the bytes were not even taken, or where a cause says what they are.
pub(crate) fn other_bytes(label: &str, expected: &Digest) -> Error {
    Error::halted(format!(
        "layer \"{label}\" is not what the manifest says: expected {expected}"
    ))
    .detail(json!({"layer": label, "expected": expected}))
}

/// A task that ended without an answer: it was cancelled or has panicked.
pub(crate) fn lost(error: tokio::task::JoinError) -> Error {
    Error::other("a part of the transfer ended early").source(error)
}
