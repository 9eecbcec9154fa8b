//! Revocations are final: each is kept for ever, and heard in every repository that has what it revokes.
//!
//! Owns when one is known: at its push, where the policy in force gives its key the word, or when a judgement hears it,
//! because the policy or the log gave it the word later; and that it finds room. What that changes for a release is decided
//! by the policy.

use super::judge::Judgement;
use super::{Error, Registry};
use crate::metadata::{KeptRevocation, RevocationRow};
use bytes::Bytes;
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
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

    /// Whether a blob must have room where a quota leaves none: it is the bundle of a revocation that is not kept yet, of a
    /// manifest that is here, by a key that may revoke and counts; or what every statement names beside its bundle, in a
    /// repository that is there. Whoever may push can use up what statements have beyond a quota, and must not silence
    /// whoever revokes by that.
    pub(super) async fn must_have_room(
        &self,
        repo: &RepoName,
        digest: &Digest,
        bytes: &Bytes,
    ) -> Result<bool, Error> {
        if digest.to_string() == media::EMPTY_JSON_DIGEST {
            return Ok(self.metadata().has_repository(repo).await?);
        }
        let policy = self.policy();
        if !policy.reads_evidence(repo) {
            return Ok(false);
        }
        let bytes = bytes.clone();
        let reading = tokio::task::spawn_blocking(move || policy.revocations_in(&bytes));
        let found = reading.await?;
        for Revocation {
            subject,
            word,
            counts_unlogged,
            ..
        } in found
        {
            let is_here = self.metadata().manifest(repo, &subject).await?.is_some();
            if counts_unlogged && is_here && !self.is_kept(&subject, &word).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The same of the manifest that attaches such a bundle, whose words are `word`.
    pub(super) async fn revokes_anew(
        &self,
        repo: &RepoName,
        manifest: &VerifiedManifest,
        word: Option<&Digest>,
    ) -> Result<bool, Error> {
        let (Some(subject), Some(word)) = (manifest.subject(), word) else {
            return Ok(false);
        };
        let row = self.metadata().manifest(repo, &subject.digest).await?;
        let is_here = row.is_some_and(|row| row.size == subject.size);
        Ok(is_here && !self.is_kept(&subject.digest, word).await?)
    }

    async fn is_kept(&self, subject: &Digest, word: &Digest) -> Result<bool, Error> {
        let kept = self.metadata().revocations(subject).await?;
        Ok(kept.iter().any(|kept| kept.word == *word))
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
    Ok(reading.await?)
}
