//! The policy in force: replaced by a signed successor, handed out, and asked who pulled what.
//!
//! Invariant: a signed policy is followed only by a document that its roots signed, of a higher
//! version. Where the first comes from is the operator's decision: a file, or an administrator.

use super::{Error, Registry};
use crate::auth::{Administrator, Maintenance};
use crate::metadata::{PolicyChange, PullNote, PullRow};
use sealstone_spec::digest::Digest;
use sealstone_spec::name::RepoName;
use sealstone_spec::policy::{Edition, Policy, PolicyEnvelope, SignedPolicy, SignedPolicyError};
use std::sync::{Arc, PoisonError};

/// A pull by the same principal is noted again after so long, in milliseconds.
const PULL_NOTE_EVERY: u64 = 3_600_000;

/// What putting a policy in force did.
#[derive(Clone, Debug, serde::Serialize)]
pub struct PolicyAdopted {
    /// Its digest.
    pub policy: Digest,
    /// Its version.
    pub version: u64,
    /// Whether it is another one than before.
    pub changed: bool,
    /// Tags that are shown or hidden now and were not before.
    pub tags: u64,
}

impl From<SignedPolicyError> for Error {
    fn from(error: SignedPolicyError) -> Self {
        Error::PolicyRefused(Box::new(error))
    }
}

impl Registry {
    /// Takes a signed policy from an administrator, and waits until the log says so.
    ///
    /// # Errors
    /// [`Error::PolicyRefused`] if it is older, wrongly signed, expired, cannot be read, or says what no new one may.
    pub async fn put_policy(
        &self,
        by: &Administrator,
        envelope: &[u8],
    ) -> Result<PolicyAdopted, Error> {
        // One at a time: two successors of the same policy must not both be taken.
        let turn = self.inner.policy_turn.lock().await;
        let next = PolicyEnvelope::parse(envelope)?;
        let current = self.policy();
        let next = match current.edition() {
            Edition::V2 => current.succeed(next)?,
            // What is in force names no roots, so there is nobody to ask: the administrator decides.
            _ => SignedPolicy::first(next)?,
        };
        next.check_time(self.time())?;
        // What is in force already is not refused once more.
        if next.policy().digest() != current.digest() {
            next.policy()
                .check_new()
                .map_err(SignedPolicyError::Policy)?;
        }
        let document = next.envelope().to_bytes();
        let by = by.identity().to_string();
        let adopted = self.adopt(next.into_policy(), Some(document), &by).await?;
        drop(turn);
        self.await_policy_logged(&adopted.policy).await;
        Ok(adopted)
    }

    /// Puts a policy in force and judges every release under it.
    pub(super) async fn adopt(
        &self,
        policy: Policy,
        document: Option<Vec<u8>>,
        by: &str,
    ) -> Result<PolicyAdopted, Error> {
        let policy = Arc::new(policy);
        let changed = self.record_policy(&policy, document, by).await?;
        *self
            .inner
            .policy
            .write()
            .unwrap_or_else(PoisonError::into_inner) = policy.clone();
        let tags = self.judge_all_once().await?;
        Ok(PolicyAdopted {
            policy: *policy.digest(),
            version: policy.version(),
            changed,
            tags,
        })
    }

    /// Tells the store which policy is in force, as the operator's configuration says: that with which the registry was
    /// put together. `document` is its signed form, if it has one. Returns whether it is another one than before.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn note_policy(
        &self,
        _right: &Maintenance,
        document: Option<Vec<u8>>,
    ) -> Result<bool, Error> {
        self.record_policy(&self.policy(), document, "configuration")
            .await
    }

    /// Judges every release under the policy in force, if that was not done yet: what it no longer admits is hidden from
    /// consumers before they are served. Log and notary must be there, and the log must go on meanwhile: without them
    /// verdicts are others, and they would be kept. Returns how many tags are shown or hidden now.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub async fn follow_policy(&self, _right: &Maintenance) -> Result<u64, Error> {
        self.judge_all_once().await
    }

    async fn record_policy(
        &self,
        policy: &Policy,
        document: Option<Vec<u8>>,
        by: &str,
    ) -> Result<bool, Error> {
        let digest = *policy.digest();
        let change = PolicyChange {
            digest,
            document,
            keys: policy.key_records(),
            by: by.to_owned(),
            now: self.now(),
        };
        let changed = self.metadata().adopt_policy(change).await?;
        if changed {
            tracing::info!(policy.digest = %digest, policy.version = policy.version(), by, "another policy is in force");
        }
        Ok(changed)
    }

    async fn judge_all_once(&self) -> Result<u64, Error> {
        let digest = *self.policy().digest();
        if self.metadata().policy_judged().await? == Some(digest) {
            return Ok(0);
        }
        let tags = self.reassess_all().await?;
        // Last: a server that ends before judges all of them again when it starts.
        self.metadata().set_policy_judged(digest).await?;
        Ok(tags)
    }

    /// The signed document in force; `None` if the policy is not signed.
    pub async fn policy_document(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.metadata().policy_document().await?)
    }

    /// Notes that somebody pulled a release, at most once an hour for each.
    pub(super) fn note_pull(&self, repo: &RepoName, digest: &Digest, who: &str) {
        let note = PullNote {
            repo: repo.clone(),
            digest: *digest,
            who: who.to_owned(),
            at: self.now(),
        };
        let key = (note.repo.clone(), note.digest, note.who.clone());
        // Either way: a clock that was an hour ahead and was set back does not keep pulls from being noted until then.
        let last = self.inner.pulls.get(&key);
        if last.is_some_and(|last| note.at.abs_diff(last) < PULL_NOTE_EVERY) {
            return;
        }
        // Before it is written, so that many at once are one; if that fails, the next pull tries again.
        self.inner.pulls.insert(key.clone(), note.at);
        let registry = self.clone();
        self.inner.tasks.spawn(async move {
            if let Err(error) = registry.metadata().note_pull(note).await {
                registry.inner.pulls.invalidate(&key);
                tracing::warn!(%error, "a pull was not noted; the next one is");
            }
        });
    }

    /// Who pulled a release, for those who have to tell them that it was revoked.
    pub async fn pulls(
        &self,
        _by: &Administrator,
        repo: &RepoName,
        digest: &Digest,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, PullRow)>, Error> {
        Ok(self.metadata().pulls(repo, digest, after, limit).await?)
    }
}
