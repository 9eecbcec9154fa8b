//! The one writer: what waits becomes entries, the batch becomes durable, a checkpoint is signed.
//!
//! Order of steps: entries and tree become durable (one step of the store); the checkpoint over exactly that
//! tree is signed and kept; then it is served; then the copy outside the store. A stop after the first leaves a
//! tree without checkpoint, which the next start signs; a stop after the second, one that nobody has seen.
//!
//! Where checkpoints need not be spaced, the store does the first two in the step that records an event
//! ([`LogStore::follow`](crate::metadata::log::LogStore::follow)), and this loop finds only what was left over.

use super::{Error, Log, Pen};
use crate::metadata;
use crate::metadata::log::{LogState, PublishedCheckpoint, Scribe};
use sealstone_spec::log::Checkpoint;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Most entries in one step of the store.
const BATCH: usize = 512;
/// How often it looks for what nobody told it of, and when it tries again after a failure.
const POLL: Duration = Duration::from_secs(1);
/// Least time between two copies of the checkpoint outside the store.
const COPY_EVERY: Duration = Duration::from_secs(1);

impl Log {
    /// Appends until `stop`. There must be no other appender over the same store.
    pub async fn run(self, stop: CancellationToken) {
        let mut last = Instant::now();
        let (mut tried, mut kept) = (Instant::now(), 0);
        loop {
            tokio::select! {
                () = self.inner.nudge.notified() => {}
                () = tokio::time::sleep(POLL) => {}
                () = stop.cancelled() => break,
            }
            let since = last.elapsed();
            if since < self.inner.settings.batch {
                tokio::time::sleep(self.inner.settings.batch - since).await;
            }
            last = Instant::now();
            if let Err(error) = self.advance().await {
                self.inner.metrics.log_failures.inc();
                tracing::error!(%error, "the transparency log cannot go on; pushes wait for it");
                tokio::time::sleep(POLL).await;
            }
            let size = self.latest().size;
            if size > kept && tried.elapsed() >= COPY_EVERY {
                if self.copy_checkpoint().await {
                    kept = size;
                }
                tried = Instant::now();
            }
        }
        // Requests have ended; what they recorded and did not wait for is in the last checkpoint.
        if let Err(error) = self.advance().await {
            tracing::error!(%error, "the transparency log could not be brought up to date");
        }
        self.copy_checkpoint().await;
    }

    /// Does something while the log goes on, before [`Log::run`] is there. What was recorded before is in a checkpoint
    /// when it begins, so whoever judges finds every statement's proof; what it records itself, and waits for, becomes
    /// entries beside it.
    ///
    /// # Errors
    /// If what waits cannot become entries; then nothing was done.
    pub async fn run_beside<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        // A long backlog is published piece by piece.
        while !self.inner.store.log_state().await?.is_caught_up {
            self.advance().await?;
        }
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = work.as_mut() => return Ok(done),
                () = self.inner.nudge.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
            if let Err(error) = self.advance().await {
                self.inner.metrics.log_failures.inc();
                tracing::error!(%error, "the transparency log cannot go on; the start waits for it");
                tokio::time::sleep(POLL).await;
            }
        }
    }

    /// Makes entries of all that waits, and has a checkpoint over them.
    pub(super) async fn advance(&self) -> Result<(), Error> {
        let latest = self.latest();
        let mut state = self.inner.store.log_state().await?;
        if state.is_caught_up
            && state.size == latest.size
            && !latest.note.is_empty()
            && state.events == latest.events
            && state.submissions == latest.submissions
        {
            return Ok(());
        }
        while !state.is_caught_up {
            state = self.inner.store.integrate(BATCH).await?;
            // A long backlog is published piece by piece; nobody waits for its end.
            if !state.is_caught_up && state.size >= latest.size + 16 * BATCH as u64 {
                self.inner.nudge.notify_one();
                break;
            }
        }
        // The store may have had it signed in the same step, or the tree has gone on since.
        if self.inner.pen.serves(&state) {
            return Ok(());
        }
        let checkpoint = self.inner.pen.checkpoint(&state)?;
        if !self.inner.store.publish(checkpoint.clone()).await? {
            if self.inner.pen.serves(&state) {
                return Ok(());
            }
            return Err(Error::Contradiction(format!(
                "a checkpoint of {} entries is not of the stored tree: is there a second appender?",
                checkpoint.size
            )));
        }
        self.inner.pen.stored(checkpoint);
        Ok(())
    }

    /// Keeps the latest checkpoint outside the store.
    pub(super) async fn keep_checkpoint(&self) -> Result<(), Error> {
        let guard = self.inner.guard.clone();
        let note = self.latest().note;
        tokio::task::spawn_blocking(move || guard.write(&note))
            .await
            .map_err(|error| metadata::Error::Unavailable(error.to_string()))?
    }

    /// The same while the log runs, and whether it went well. A failure stops no push: until the next attempt, an older
    /// copy is there.
    pub(super) async fn copy_checkpoint(&self) -> bool {
        let kept = self.keep_checkpoint().await;
        if let Err(error) = &kept {
            self.inner.metrics.log_copy_failures.inc();
            tracing::warn!(%error, "the last checkpoint could not be kept outside the store");
        }
        kept.is_ok()
    }
}

impl Pen {
    /// The signed checkpoint of a tree.
    fn checkpoint(&self, state: &LogState) -> Result<PublishedCheckpoint, Error> {
        let key = self.key.verifier();
        let checkpoint = Checkpoint::new(key.name(), state.size, state.root);
        Ok(PublishedCheckpoint {
            size: state.size,
            root: state.root,
            events: state.events,
            submissions: state.submissions,
            note: checkpoint.sign(key, self.key.secret())?.to_string(),
        })
    }

    /// Whether what is served contains all of a tree.
    fn serves(&self, state: &LogState) -> bool {
        let latest = self.published.borrow();
        !latest.note.is_empty()
            && latest.size >= state.size
            && latest.events >= state.events
            && latest.submissions >= state.submissions
    }
}

impl Scribe for Pen {
    fn sign(&self, state: &LogState) -> Option<PublishedCheckpoint> {
        // The appender tries again, and tells why it cannot.
        self.checkpoint(state).ok()
    }

    fn stored(&self, checkpoint: PublishedCheckpoint) {
        self.metrics.log_checkpoints.inc();
        self.metrics
            .log_last_checkpoint
            .set(self.clock.now() / 1000);
        self.published.send_if_modified(|latest| {
            // The appender and the store may tell of two in the wrong order.
            let goes_on = checkpoint.size >= latest.size
                && checkpoint.events >= latest.events
                && checkpoint.submissions >= latest.submissions;
            if goes_on {
                let size = i64::try_from(checkpoint.size).unwrap_or(i64::MAX);
                self.metrics.log_size.set(size);
                *latest = checkpoint;
            }
            goes_on
        });
    }
}
