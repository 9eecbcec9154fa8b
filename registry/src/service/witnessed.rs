//! What too few witnesses had seen when it was judged is judged again when more have.
//!
//! A statement counts, where the policy asks for witnesses, once they have cosigned a checkpoint that contains it;
//! that is some time after it was attached. Owns what waits for that, and the waiting. Decides nothing.
//! Invariant: what waits is a set with a bound; beyond it, everything is judged again.

use super::{Error, Registry};
use crate::log::Cosigned;
use sealstone_spec::digest::Digest;
use sealstone_spec::log::Entry;
use sealstone_spec::name::RepoName;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Most manifests that are noted to wait.
const MOST_WAITING: usize = 10_000;
/// Entries of the log that are read at once.
const PAGE: usize = 256;

/// What waits for witnesses.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    manifests: Mutex<BTreeSet<(RepoName, Digest)>>,
    /// Told of what came to wait after the witnesses had gone on.
    late: Notify,
}

impl Waiting {
    fn note(&self, repo: &RepoName, manifest: &Digest) {
        let mut waiting = self
            .manifests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // One more than is named stands for all.
        if waiting.len() <= MOST_WAITING {
            waiting.insert((repo.clone(), *manifest));
        }
    }

    fn take(&self) -> BTreeSet<(RepoName, Digest)> {
        let mut waiting = self
            .manifests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *waiting)
    }
}

impl Registry {
    /// What the witnesses have seen; `None` without a log.
    pub(super) fn cosigned(&self) -> Option<Cosigned> {
        let log = self.inner.log.get()?;
        Some(*log.cosigned().borrow())
    }

    /// Until when something that is to be released waits for witnesses.
    pub(super) fn witness_patience(&self) -> Instant {
        let now = Instant::now();
        match self.inner.log.get() {
            Some(log) => now + log.witness_patience(),
            None => now,
        }
    }

    /// Waits until the witnesses have seen more than `known`; whether they have before `deadline`.
    pub(super) async fn await_cosigned(&self, known: Cosigned, deadline: Instant) -> bool {
        let Some(log) = self.inner.log.get() else {
            return false;
        };
        let mut cosigned = log.cosigned();
        let more = cosigned.wait_for(|found| *found != known);
        matches!(tokio::time::timeout_at(deadline, more).await, Ok(Ok(_)))
    }

    /// Notes what was judged when the witnesses had seen `known`.
    pub(super) fn judge_again_when_witnessed(
        &self,
        repo: &RepoName,
        manifest: &Digest,
        known: Cosigned,
    ) {
        self.inner.waiting.note(repo, manifest);
        if self.cosigned() != Some(known) {
            self.inner.waiting.late.notify_one();
        }
    }

    /// Shows and hides what the witnesses change, until `stop`.
    pub async fn follow_witnesses(self, stop: CancellationToken) {
        let Some(log) = self.inner.log.get() else {
            return;
        };
        let mut cosigned = log.cosigned();
        if let Err(error) = self.note_unwitnessed().await {
            tracing::error!(%error, "what waits for witnesses could not be read; a pull of it judges it again");
        }
        loop {
            tokio::select! {
                changed = cosigned.changed() => if changed.is_err() { return },
                () = self.inner.waiting.late.notified() => {}
                () = stop.cancelled() => return,
            }
            let waiting = self.inner.waiting.take();
            if let Err(error) = self.judge_waiting(&waiting).await {
                tracing::warn!(%error, "releases could not be judged again after their evidence was cosigned");
                for (repo, manifest) in &waiting {
                    self.inner.waiting.note(repo, manifest);
                }
            }
        }
    }

    async fn judge_waiting(&self, waiting: &BTreeSet<(RepoName, Digest)>) -> Result<(), Error> {
        if waiting.len() > MOST_WAITING {
            return self.reassess_all().await.map(drop);
        }
        for (repo, manifest) in waiting {
            self.follow_evidence(repo, manifest).await?;
        }
        Ok(())
    }

    /// Notes what the last run of the server left waiting.
    async fn note_unwitnessed(&self) -> Result<(), Error> {
        let Some(log) = self.inner.log.get() else {
            return Ok(());
        };
        let mut index = self.cosigned().unwrap_or_default().size;
        loop {
            let entries = log.entries_from(index, PAGE).await?;
            if entries.is_empty() {
                return Ok(());
            }
            index += entries.len() as u64;
            for entry in entries {
                if let Entry::Event(event) = entry
                    && let (Some(repo), Some(_)) = (&event.repository, &event.statement)
                {
                    self.inner.waiting.note(repo, &event.digest);
                }
            }
        }
    }
}
