//! The use cases: the only place where storage and trust meet.
//!
//! Every function takes a grant first and reads the repository from it; there is no second name that it
//! could be confused with. `api` holds a [`Registry`] and cannot reach the stores behind it.

mod blob;
mod body;
mod chunk;
mod contributor;
mod error;
mod gather;
mod judge;
mod locks;
mod log;
mod maintenance;
mod notary;
mod orphans;
mod policy;
mod pull;
mod push;
mod quota;
mod receiving;
mod revocations;
mod stuck;
mod upload;
mod witnessed;

pub use blob::{BlobBody, BlobFacts, ReadableBlob};
pub use body::Body;
pub use contributor::Contributor;
pub use error::Error;
pub use judge::Verdict;
pub use log::{LogTile, LoggedChange, WantedEntry};
pub use maintenance::{Job, ScrubReport, SweepReport, Unread};
pub use notary::{Notary, ReleaseStatements};
pub use orphans::OrphanReport;
pub use policy::PolicyAdopted;
pub use pull::ServedManifest;
pub use push::{PushManifest, Pushed};
pub use quota::{NamespaceUsage, QuotaLimits};
pub use upload::{BeginUpload, Begun, Received};

pub use crate::metadata::ReferrerPage;

use crate::blobs::BlobStore;
use crate::clock::Clock;
use crate::log::Log;
use crate::metadata::{Metadata, Millis, Quota, UploadId};
use crate::metrics::Metrics;
use bytes::Bytes;
use judge::VerdictKey;
use moka::sync::Cache;
use sealstone_spec::digest::Digest;
use sealstone_spec::name::RepoName;
use sealstone_spec::policy::Policy;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use tokio_util::task::TaskTracker;

/// Memory for manifests that were read lately, in bytes.
const MANIFEST_CACHE_BYTES: u64 = 4 << 20;
/// Verdicts kept.
const VERDICTS: u64 = 10_000;

/// Times that the operator can set, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// How long an existence check or an upload keeps a blob that nothing names yet.
    pub pin: Millis,
    /// How long an upload waits for its next request.
    pub upload: Millis,
    /// How long a manifest without a tag stays, where such are collected.
    pub untagged: Option<Millis>,
    /// How long bytes stay after nothing names them any more.
    pub trash: Millis,
}

impl Default for Lifetimes {
    fn default() -> Self {
        const HOUR: Millis = 3_600_000;
        Lifetimes {
            pin: 24 * HOUR,
            upload: 24 * HOUR,
            untagged: None,
            trash: 48 * HOUR,
        }
    }
}

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    metadata: Arc<dyn Metadata>,
    blobs: BlobStore,
    policy: RwLock<Arc<Policy>>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    lifetimes: Lifetimes,
    quotas: Vec<Quota>,
    manifests: Cache<(RepoName, Digest), Bytes>,
    verdicts: Cache<VerdictKey, Arc<Verdict>>,
    waiting: witnessed::Waiting,
    /// When a pull was noted last, by repository, manifest and principal.
    pulls: Cache<(RepoName, Digest, String), Millis>,
    policy_turn: tokio::sync::Mutex<()>,
    /// Of those who only approve: what one says of a manifest must not pass beside the same.
    words_turns: locks::Locks<(RepoName, Digest)>,
    locks: locks::Locks<UploadId>,
    receiving: receiving::Receiving,
    tasks: TaskTracker,
    log: OnceLock<Log>,
    notary: OnceLock<Notary>,
    attending: tokio::sync::Mutex<()>,
    /// Whether objects that no row names are kept.
    keeps_orphans: OnceLock<()>,
    /// Whether the metadata store takes no write until it is opened anew, as was found last.
    stuck: AtomicBool,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registry")
    }
}

impl Registry {
    /// Puts a registry together from its parts. `policy` must be the one that `metadata` was told, or is told before
    /// anything is judged.
    pub fn new(
        metadata: Arc<dyn Metadata>,
        blobs: BlobStore,
        policy: Policy,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        lifetimes: Lifetimes,
        quotas: Vec<Quota>,
    ) -> Registry {
        let manifests = Cache::builder()
            .weigher(|_, bytes: &Bytes| u32::try_from(bytes.len() + 300).unwrap_or(u32::MAX))
            .max_capacity(MANIFEST_CACHE_BYTES)
            .build();
        let inner = Inner {
            metadata,
            blobs,
            policy: RwLock::new(Arc::new(policy)),
            clock,
            metrics,
            lifetimes,
            quotas,
            manifests,
            verdicts: Cache::new(VERDICTS),
            waiting: witnessed::Waiting::default(),
            pulls: Cache::new(VERDICTS),
            policy_turn: tokio::sync::Mutex::new(()),
            words_turns: locks::Locks::default(),
            locks: locks::Locks::default(),
            receiving: receiving::Receiving::default(),
            tasks: TaskTracker::new(),
            log: OnceLock::new(),
            notary: OnceLock::new(),
            attending: tokio::sync::Mutex::new(()),
            keeps_orphans: OnceLock::new(),
            stuck: AtomicBool::new(false),
        };
        Registry {
            inner: Arc::new(inner),
        }
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.inner
            .policy
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Begins something, and does it to its end even if the caller goes away. What takes more than one step, each kept for
    /// itself, is not left between two of them by a connection that breaks: a policy is never in the store and not in force.
    /// It ends with [`Error::Unavailable`] if the server ends first, and with [`Error::Internal`] if the work panics.
    pub fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> + Send {
        let done = self.inner.tasks.spawn(work);
        async move { done.await.map_err(Error::from) }
    }

    /// Waits until everything that goes on without its caller has ended: what uploads have received is written down then.
    pub async fn drain(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    fn metadata(&self) -> &dyn Metadata {
        &*self.inner.metadata
    }

    fn blobs(&self) -> &BlobStore {
        &self.inner.blobs
    }

    fn now(&self) -> Millis {
        self.inner.clock.now()
    }

    fn pin_until(&self) -> Millis {
        self.now() + self.inner.lifetimes.pin
    }
}

#[cfg(test)]
mod tests;
