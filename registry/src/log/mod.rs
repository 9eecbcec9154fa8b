//! The transparency log of this registry: one appender, its key, and what is read of it.
//!
//! The metadata store records what happened; the [`appender`] turns what waits into entries, in batches,
//! and signs a checkpoint when a batch is durable. Owns key, signing, proofs, collecting cosignatures.
//! Does not know HTTP, and does not decide who may read: [`crate::service`] and [`crate::api`] do.
//! Invariant: a checkpoint is served only after its tree and itself are durable, so no stop between two
//! steps leads to two trees of one size; and a store that is older than what was served signs nothing.

mod appender;
mod guard;
mod key;
mod proofs;
#[cfg(test)]
mod tests;
mod witnesses;

pub use guard::check_served;
pub use key::{LogKey, load_or_make, load_or_make_secret};
pub use witnesses::{Cosigned, WitnessParty};

use crate::clock::Clock;
use crate::metadata;
use crate::metadata::log::{LogQuery, LogStore, LoggedAt, PublishedCheckpoint, Scribe};
use crate::metrics::Metrics;
use bytes::Bytes;
use guard::Guard;
use sealstone_spec::log::{
    Entry, LogError, LogProof, Rekord, SignedCheckpoint, TILE_WIDTH, TileKind, TilePath, TlogEntry,
    VerifierKey, encode_entries,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Why something could not be done with the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] metadata::Error),
    /// What is stored makes no sense.
    #[error("the transparency log: {0}")]
    Format(#[from] LogError),
    /// The store and what was served before contradict each other.
    #[error("{0}")]
    Contradiction(String),
    /// The checkpoint did not come in time.
    #[error(
        "what was changed is stored, but no checkpoint of the transparency log contains it yet: ask again later"
    )]
    Late,
    /// Too few witnesses cosigned in time.
    #[error(
        "the tag is set and logged, but within {seconds} s fewer than {quorum} of {witnesses} witnesses cosigned a checkpoint that contains it: push it again to ask once more; nothing is set twice"
    )]
    Unwitnessed {
        /// How many are due.
        quorum: usize,
        /// How many there are.
        witnesses: usize,
        /// How long was waited.
        seconds: u64,
    },
    /// A file.
    #[error("{path}: {problem}")]
    File {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// What the operator sets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Least time between two checkpoints.
    pub batch: Duration,
    /// How long a push waits for the checkpoint that contains it.
    pub wait: Duration,
    /// Who is asked to cosign.
    pub witnesses: Vec<WitnessParty>,
    /// How many of them must have cosigned before a push that sets a tag is answered; 0 for none.
    pub quorum: usize,
    /// How long such a push waits for them.
    pub witness_wait: Duration,
    /// Where the last checkpoint is kept outside the store; a store that was rolled back is noticed by it.
    pub guard: Option<PathBuf>,
}

/// The log. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn LogStore>,
    pen: Arc<Pen>,
    settings: Settings,
    guard: Guard,
    metrics: Arc<Metrics>,
    nudge: Notify,
    cosigned: watch::Sender<Cosigned>,
}

/// What signs checkpoints, and serves them. Knows no store: a store has hold of it while it writes, and must not be what
/// it lets go of last.
struct Pen {
    key: LogKey,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    published: watch::Sender<PublishedCheckpoint>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Log({})", self.inner.pen.key.verifier())
    }
}

/// An entry with its proof.
#[derive(Debug)]
pub struct Proved {
    /// Where it is.
    pub at: LoggedAt,
    /// What it says.
    pub entry: Entry,
    /// The proof file.
    pub proof: LogProof,
}

impl Log {
    /// Opens the log of a store: brings it up to date, compares it with what was served before, and has a
    /// first checkpoint, which is kept outside the store as well.
    ///
    /// # Errors
    /// If the store, the key and what was served before do not go together, or the checkpoint cannot be kept. Such a log
    /// must not go on.
    pub async fn open(
        store: Arc<dyn LogStore>,
        key: LogKey,
        settings: Settings,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Log, Error> {
        let guard = Guard::new(settings.guard.clone());
        let kept = store.published().await?;
        if let Some(kept) = &kept {
            guard::check_key(kept, key.verifier())?;
        }
        let cosigned = match store.witnessed().await? {
            Some(kept) => Cosigned::of(&kept, &settings.witnesses)?,
            None => Cosigned::default(),
        };
        let empty = PublishedCheckpoint {
            size: 0,
            root: sealstone_spec::log::Hash::of_nothing(),
            events: 0,
            submissions: 0,
            note: String::new(),
        };
        let log = Log {
            inner: Arc::new(Inner {
                pen: Arc::new(Pen {
                    published: watch::Sender::new(kept.unwrap_or(empty)),
                    key,
                    clock,
                    metrics: metrics.clone(),
                }),
                cosigned: watch::Sender::new(cosigned),
                store,
                settings,
                guard,
                metrics,
                nudge: Notify::new(),
            }),
        };
        log.inner.guard.check(&*log.inner.store, log.key()).await?;
        log.advance().await?;
        // Before anything is served: without the copy, an older store would be believed at the next start.
        log.keep_checkpoint().await?;
        if log.inner.settings.batch.is_zero() {
            let scribe: Arc<dyn Scribe> = log.inner.pen.clone();
            log.inner.store.follow(Arc::downgrade(&scribe));
        }
        Ok(log)
    }

    /// Its key.
    pub fn key(&self) -> &VerifierKey {
        self.inner.pen.key.verifier()
    }

    /// The latest checkpoint.
    pub fn latest(&self) -> PublishedCheckpoint {
        self.inner.pen.published.borrow().clone()
    }

    /// The latest checkpoint that every configured witness cosigned.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn witnessed(&self) -> Result<Option<PublishedCheckpoint>, Error> {
        Ok(self.inner.store.witnessed().await?)
    }

    /// Waits until everything that is recorded now is in a checkpoint, and says which.
    ///
    /// # Errors
    /// [`Error::Late`] if that takes too long; what was recorded stays recorded.
    pub async fn settle(&self) -> Result<PublishedCheckpoint, Error> {
        let wanted = self.inner.store.recorded().await?;
        let started = std::time::Instant::now();
        let mut published = self.inner.pen.published.subscribe();
        let contains = |checkpoint: &PublishedCheckpoint| {
            checkpoint.events >= wanted.events && checkpoint.submissions >= wanted.submissions
        };
        if !contains(&published.borrow()) {
            self.inner.nudge.notify_one();
        }
        let waited =
            tokio::time::timeout(self.inner.settings.wait, published.wait_for(contains)).await;
        let seconds = started.elapsed().as_secs_f64();
        self.inner.metrics.log_wait_seconds.observe(seconds);
        match waited {
            Ok(Ok(found)) => Ok(found.clone()),
            _ => Err(Error::Late),
        }
    }

    /// Takes a signature in and waits for the checkpoint that contains it.
    ///
    /// # Errors
    /// If the store fails or the checkpoint is late.
    pub async fn submit(&self, rekord: Rekord) -> Result<TlogEntry, Error> {
        let query = LogQuery::Entry(rekord.leaf());
        let at = match self.inner.store.logged(&query).await? {
            Some(at) if at.index < self.latest().size => at,
            _ => {
                self.inner.store.submit(rekord.clone()).await?;
                self.settle().await?;
                self.inner.store.logged(&query).await?.ok_or(Error::Late)?
            }
        };
        let checkpoint = self.latest();
        let path = self.inclusion(at.index, checkpoint.size).await?;
        let note = SignedCheckpoint::parse(checkpoint.note.as_bytes())?;
        Ok(TlogEntry::new(&rekord, at.index, path, &note, self.key())?)
    }

    /// Where something is; `None` if it is not in the latest checkpoint.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn find(&self, query: &LogQuery) -> Result<Option<LoggedAt>, Error> {
        let at = self.inner.store.logged(query).await?;
        Ok(at.filter(|at| at.index < self.latest().size))
    }

    /// An entry with its proof; `None` if the log has no such number. With `witnessed`, under the latest
    /// cosigned checkpoint if that contains it.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn prove(&self, index: u64, witnessed: bool) -> Result<Option<Proved>, Error> {
        let mut checkpoint = self.latest();
        // Where pushes wait for witnesses, every proof shows that they did.
        if (witnessed || self.inner.settings.quorum > 0)
            && let Some(cosigned) = self.witnessed().await?.filter(|found| found.size > index)
        {
            checkpoint = cosigned;
        }
        if index >= checkpoint.size {
            return Ok(None);
        }
        let bytes = self.inner.store.log_entries(index, 1).await?;
        let Some(bytes) = bytes.into_iter().next() else {
            return Ok(None);
        };
        let entry = Entry::parse(&bytes)?;
        let proof = LogProof {
            extra: Some(bytes.to_vec()),
            index,
            hashes: self.inclusion(index, checkpoint.size).await?,
            checkpoint: SignedCheckpoint::parse(checkpoint.note.as_bytes())?,
        };
        let leaf = sealstone_spec::log::Hash::of_entry(&bytes);
        Ok(Some(Proved {
            at: LoggedAt { index, leaf },
            entry,
            proof,
        }))
    }

    /// A tile of hashes that the latest checkpoint has at least so wide.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn tile(&self, path: TilePath) -> Result<Option<Bytes>, Error> {
        let TileKind::Hashes(level) = path.kind else {
            return Ok(None);
        };
        if !self.is_published(path) {
            return Ok(None);
        }
        let tile = self.inner.store.log_tile(level, path.index).await?;
        let wanted = usize::from(path.width) * 32;
        Ok(tile
            .filter(|tile| tile.len() >= wanted)
            .map(|tile| tile.slice(..wanted)))
    }

    /// The entries of a tile that the latest checkpoint has at least so wide.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn entries(&self, path: TilePath) -> Result<Option<Vec<Bytes>>, Error> {
        if path.kind != TileKind::Entries || !self.is_published(path) {
            return Ok(None);
        }
        let width = usize::from(path.width);
        let entries = self
            .inner
            .store
            .log_entries(path.index * TILE_WIDTH, width)
            .await?;
        Ok((entries.len() == width).then_some(entries))
    }

    /// Entries from number `index` on, at most `limit`, whether a checkpoint has them yet or not.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn entries_from(&self, index: u64, limit: usize) -> Result<Vec<Entry>, Error> {
        let entries = self.inner.store.log_entries(index, limit).await?;
        let entries = entries.iter().map(|bytes| Entry::parse(bytes));
        Ok(entries.collect::<Result<_, _>>()?)
    }

    /// Entries as a tile holds them.
    ///
    /// # Errors
    /// If one is too long, which the store does not take.
    pub fn encode(entries: &[Bytes]) -> Result<Vec<u8>, Error> {
        Ok(encode_entries(entries.iter().map(|entry| &entry[..]))?)
    }

    fn is_published(&self, path: TilePath) -> bool {
        TilePath::at(path.kind, path.index, self.latest().size)
            .is_some_and(|widest| widest.width >= path.width)
    }
}
