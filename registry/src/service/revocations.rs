//! Revocations are final: each is kept for ever, and heard in every repository that has what it revokes.
//!
//! Owns when one is known: at its push, where the policy in force gives its key the word, or when a judgement hears it,
//! because the policy or the log gave it the word later. What that changes for a release is decided by the policy.

use super::judge::Judgement;
use super::{Error, Registry};
use crate::metadata::{KeptRevocation, RevocationRow};
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::name::RepoName;
use sealstone_spec::policy::{Evidence, Policy, Revocation};
use sealstone_spec::sigstore::{MAX_BUNDLE_BYTES, is_statement};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

impl Registry {
    /// The name of the words with which a manifest revokes another, if it does, and the key counts without a log.
    pub(super) async fn revokes(
        &self,
        repo: &RepoName,
        manifest: &VerifiedManifest,
    ) -> Result<Option<Digest>, Error> {
        let policy = self.policy();
        if !is_statement(manifest) || !policy.reads_evidence(repo) {
            return Ok(None);
        }
        let [layer] = manifest.layers() else {
            return Ok(None);
        };
        if layer.size > MAX_BUNDLE_BYTES as u64 {
            return Ok(None);
        }
        let bytes = match self.read_layer(repo, &layer.digest).await {
            Ok(bytes) => bytes,
            // What is not there, or not whole, is asked for again by the store.
            Err(Error::Damaged(_)) => return Ok(None),
            Err(other) => return Err(other),
        };
        let evidence = Evidence::new(manifest.clone(), bytes);
        let found = read_revocation(policy, evidence).await?;
        Ok(found
            .filter(|revocation| revocation.counts_unlogged)
            .map(|revocation| revocation.word))
    }

    /// Keeps the revocations that a judgement heard in this repository and that were not known as such before.
    pub(super) async fn keep_heard(
        &self,
        repo: &RepoName,
        subject: &Digest,
        policy: &Arc<Policy>,
        judgement: &Judgement,
    ) -> Result<(), Error> {
        let mut is_new = false;
        for word in &judgement.evaluation.standing.words {
            let mut known = judgement.kept.iter();
            if word.kind != "revocation" || known.any(|kept| kept.row.referrer == word.evidence) {
                continue;
            }
            let (found, _) = self.read_evidence(repo, &word.evidence, None).await?;
            let Ok(evidence) = found else {
                continue;
            };
            let Some(revocation) = read_revocation(policy.clone(), evidence).await? else {
                continue;
            };
            // The same words in other wrapping: one of them is enough.
            if judgement
                .kept
                .iter()
                .any(|kept| kept.word == revocation.word)
            {
                continue;
            }
            let row = RevocationRow {
                repo: repo.clone(),
                referrer: word.evidence,
            };
            let word = revocation.word;
            let kept = KeptRevocation { word, row };
            is_new |= self.metadata().keep_revocation(subject, kept).await?;
        }
        match is_new {
            true => self.follow_elsewhere(repo, subject).await,
            false => Ok(()),
        }
    }

    /// Shows or hides the releases of a manifest in all repositories but this one, after it was revoked here.
    ///
    /// Boxed, because judging there may end here again.
    pub(super) fn follow_elsewhere<'a>(
        &'a self,
        repo: &'a RepoName,
        subject: &'a Digest,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>> {
        Box::pin(async move {
            for other in self.metadata().repositories_with(subject).await? {
                if other != *repo {
                    self.follow_evidence(&other, subject).await?;
                }
            }
            Ok(())
        })
    }
}

/// Reading is parsing and checking a signature: no work for a thread that answers requests.
async fn read_revocation(
    policy: Arc<Policy>,
    evidence: Evidence,
) -> Result<Option<Revocation>, Error> {
    let reading = tokio::task::spawn_blocking(move || policy.revocation(&evidence));
    reading
        .await
        .map_err(|error| Error::Unavailable(error.to_string()))
}
