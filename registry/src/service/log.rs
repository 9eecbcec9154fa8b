//! What is read of the transparency log, and what is put into it on request.

use super::{Contributor, Error, Registry};
use crate::auth::{Grant, Pull};
use crate::log::{self, Log, Proved};
use crate::metadata::log::{LogQuery, PublishedCheckpoint};
use bytes::Bytes;
use sealstone_spec::digest::Digest;
use sealstone_spec::log::{Entry, LogProof, Rekord, TilePath, TlogEntry, VerifierKey};
use sealstone_spec::name::{RepoName, Tag};

/// Where a change stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedChange {
    /// The log's name.
    pub origin: String,
    /// Number of the entry.
    pub index: u64,
    /// Size of the checkpoint that contains it.
    pub size: u64,
    /// How many witnesses cosigned one that contains it, where a push waits for them.
    pub witnesses: Option<usize>,
}

/// What of a push the witnesses must have seen before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The event of its tag.
    Tag,
    /// All that had been recorded when it was settled: what the registry said about the release has entries after it.
    Recorded,
}

impl Awaited {
    /// The entry that must be in a cosigned checkpoint.
    fn last_entry(self, change: &LoggedChange) -> u64 {
        match self {
            Awaited::Tag => change.index,
            // A tag that has moved meanwhile has a later one.
            Awaited::Recorded => change.index.max(change.size.saturating_sub(1)),
        }
    }
}

/// An entry that a reader asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedEntry {
    /// The last event of a tag.
    Tag(Tag),
    /// The event that attached a statement.
    Statement(Digest),
}

/// A tile of the log, of hashes or of entries, for a reader who may see it.
#[derive(Clone, Debug)]
pub struct LogTile(Bytes);

impl LogTile {
    /// Its bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl From<log::Error> for Error {
    fn from(error: log::Error) -> Self {
        match error {
            log::Error::Store(error) => error.into(),
            log::Error::Late => Error::Unavailable(error.to_string()),
            log::Error::Unwitnessed { .. } => Error::Unwitnessed(error.to_string()),
            other => Error::Internal(other.to_string()),
        }
    }
}

impl Registry {
    /// Gives the registry its log. Without one, pushes are not logged and nothing of a log is served.
    pub fn attach_log(&self, log: Log) {
        // Only boot calls this, once; a second log would contradict the first.
        let _ = self.inner.log.set(log);
    }

    fn log(&self) -> Result<&Log, Error> {
        let absent = || Error::ManifestUnknown("this registry has no transparency log".into());
        self.inner.log.get().ok_or_else(absent)
    }

    /// The log's key.
    pub fn log_key(&self) -> Result<VerifierKey, Error> {
        Ok(self.log()?.key().clone())
    }

    /// The latest checkpoint.
    pub fn latest_checkpoint(&self) -> Result<PublishedCheckpoint, Error> {
        Ok(self.log()?.latest())
    }

    /// The latest checkpoint that the witnesses cosigned.
    pub async fn witnessed_checkpoint(&self) -> Result<Option<PublishedCheckpoint>, Error> {
        Ok(self.log()?.witnessed().await?)
    }

    /// A tile of hashes.
    pub async fn log_tile(&self, path: TilePath) -> Result<Option<LogTile>, Error> {
        Ok(self.log()?.tile(path).await?.map(LogTile))
    }

    /// A tile of entries, for a reader who may pull from the repositories that `may_pull` says. `None` if there is no
    /// such tile; [`Error::MayNotReadLog`] if it names another repository.
    pub async fn log_entries(
        &self,
        path: TilePath,
        may_pull: impl Fn(&RepoName) -> bool,
    ) -> Result<Option<LogTile>, Error> {
        let Some(entries) = self.log()?.entries(path).await? else {
            return Ok(None);
        };
        for entry in &entries {
            check_readable(&Entry::parse(entry).map_err(log::Error::from)?, &may_pull)?;
        }
        Ok(Some(LogTile(Bytes::from(Log::encode(&entries)?))))
    }

    /// The proof of something in a repository, once it is in a checkpoint. `None` if it was never logged.
    pub async fn prove(
        &self,
        grant: &Grant<Pull>,
        wanted: WantedEntry,
        witnessed: bool,
    ) -> Result<Option<Proved>, Error> {
        let repo = grant.repository().clone();
        let query = match wanted {
            WantedEntry::Tag(tag) => LogQuery::Tag(repo, tag),
            WantedEntry::Statement(digest) => LogQuery::Statement(repo, digest),
        };
        let log = self.log()?;
        log.settle().await?;
        match log.find(&query).await? {
            Some(at) => Ok(log.prove(at.index, witnessed).await?),
            None => Ok(None),
        }
    }

    /// The proof that a statement was logged, for the policy; `None` where there is no log, or not yet.
    pub(super) async fn log_proof(
        &self,
        repo: &RepoName,
        statement: &Digest,
    ) -> Result<Option<LogProof>, Error> {
        let Some(log) = self.inner.log.get() else {
            return Ok(None);
        };
        let query = LogQuery::Statement(repo.clone(), *statement);
        let mut found = log.find(&query).await?;
        if found.is_none() {
            // Attached a moment ago: it is in the next checkpoint.
            log.settle().await?;
            found = log.find(&query).await?;
        }
        match found {
            Some(at) => Ok(log.prove(at.index, true).await?.map(|proved| proved.proof)),
            None => Ok(None),
        }
    }

    /// The proof of the last event of a key, once it is in a checkpoint. Keys are no secret.
    pub async fn prove_key(&self, key: &Digest, witnessed: bool) -> Result<Option<Proved>, Error> {
        let log = self.log()?;
        log.settle().await?;
        match log.find(&LogQuery::Key(*key)).await? {
            Some(at) => Ok(log.prove(at.index, witnessed).await?),
            None => Ok(None),
        }
    }

    /// The proof of an entry by its number, for a reader who may pull from the repositories that `may_pull` says.
    pub async fn prove_index(
        &self,
        index: u64,
        witnessed: bool,
        may_pull: impl Fn(&RepoName) -> bool,
    ) -> Result<Option<Proved>, Error> {
        let proved = self.log()?.prove(index, witnessed).await?;
        if let Some(proved) = &proved {
            check_readable(&proved.entry, &may_pull)?;
        }
        Ok(proved)
    }

    /// Logs a signature by a P-256 key, for somebody who may contribute to a repository.
    pub async fn log_signature(
        &self,
        who: &Contributor,
        rekord: Rekord,
    ) -> Result<TlogEntry, Error> {
        let entry = self.log()?.submit(rekord).await?;
        tracing::info!(repo.name = %who.repository(), by = who.name(), log.index = entry.index(), "signature logged");
        Ok(entry)
    }

    /// Waits as [`Registry::await_log`] does, and until enough witnesses have cosigned what is `awaited`, where the operator
    /// wants that.
    ///
    /// # Errors
    /// [`Error::Unwitnessed`] if that takes too long. The change is made and logged all the same.
    pub(super) async fn await_witnesses(
        &self,
        repo: &RepoName,
        tag: &Tag,
        awaited: Awaited,
    ) -> Result<Option<LoggedChange>, Error> {
        let entry = LogQuery::Tag(repo.clone(), tag.clone());
        let mut logged = self.await_log(repo, Some(entry)).await;
        let Some(log) = self.inner.log.get() else {
            return Ok(None);
        };
        let index = logged.as_ref().map(|change| awaited.last_entry(change));
        let witnesses = log.settle_witnessed(index).await?;
        if let Some(change) = logged.as_mut() {
            change.witnesses = witnesses;
        }
        Ok(logged)
    }

    /// Waits until what was just recorded is in a checkpoint, and finds an `entry` there. It is done all the same if
    /// that is late: then there is nothing to say about it yet.
    pub(super) async fn await_log(
        &self,
        repo: &RepoName,
        entry: Option<LogQuery>,
    ) -> Option<LoggedChange> {
        match self.settle_log(entry).await {
            Ok(logged) => logged,
            Err(error) => {
                tracing::warn!(repo.name = %repo, %error, "a change is stored and not in a checkpoint yet");
                None
            }
        }
    }

    /// The same for a policy, which is no repository's.
    pub(super) async fn await_policy_logged(&self, policy: &Digest) {
        if let Err(error) = self.settle_log(None).await {
            tracing::warn!(policy.digest = %policy, %error, "a policy is in force and not in a checkpoint yet");
        }
    }

    async fn settle_log(
        &self,
        entry: Option<LogQuery>,
    ) -> Result<Option<LoggedChange>, log::Error> {
        let Some(log) = self.inner.log.get() else {
            return Ok(None);
        };
        let checkpoint = log.settle().await?;
        let Some(entry) = entry else {
            return Ok(None);
        };
        let found = log.find(&entry).await?;
        Ok(found.map(|at| LoggedChange {
            origin: log.key().name().to_owned(),
            index: at.index,
            size: checkpoint.size,
            witnesses: None,
        }))
    }
}

fn check_readable(entry: &Entry, may_pull: &impl Fn(&RepoName) -> bool) -> Result<(), Error> {
    match entry {
        Entry::Event(event)
            if event
                .repository
                .as_ref()
                .is_some_and(|repo| !may_pull(repo)) =>
        {
            Err(Error::MayNotReadLog)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_about_a_release_is_awaited_with_it() {
        let change = |index: u64, size: u64| LoggedChange {
            origin: "log.example".into(),
            index,
            size,
            witnesses: None,
        };
        for (index, size, tag, recorded) in [(0, 1, 0, 0), (4, 7, 4, 6), (9, 7, 9, 9)] {
            let change = change(index, size);
            assert_eq!(Awaited::Tag.last_entry(&change), tag);
            assert_eq!(Awaited::Recorded.last_entry(&change), recorded);
        }
    }
}
