//! Whether a manifest may be a release: gathers the evidence and asks the policy.
//!
//! Invariant: all evidence is read before the policy is asked, because a later piece may stop what an
//! earlier one allows; where there is more than is read, nothing is released.

use super::{Error, Registry};
use crate::metadata::{self, ManifestRow, Referrer};
use bytes::Bytes;
use sealstone_spec::admission::Admission;
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::name::RepoName;
use sealstone_spec::policy::{Case, Circumstances, Denial, Evaluation, Evidence, Time};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Referrers read in one step.
const EVIDENCE_PAGE: usize = 100;
/// Most referrers that are read as evidence for one manifest.
const MOST_EVIDENCE: usize = 10_000;
/// Largest piece of evidence that is read: 4 MiB.
const LARGEST_EVIDENCE: u64 = 4 << 20;

/// Everything that a verdict depends on. It is kept by these, never by time; a verdict that time can
/// change says when, and is not used after that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct VerdictKey {
    repo: RepoName,
    manifest: Digest,
    policy: Digest,
    evidence: u64,
}

/// A verdict that is kept.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The refusal, if it is one.
    pub denial: Option<Denial>,
    /// Where the bundle stands: `released`, `revoked`, `deprecated (stale)`.
    pub state: String,
    /// Why it should not be used any more, if somebody said so.
    pub deprecated: Option<String>,
    until: Option<Time>,
}

impl Verdict {
    fn of(evaluation: &Evaluation, denial: Option<Denial>) -> Verdict {
        let mut words = evaluation.standing.words.iter();
        let deprecated =
            words
                .find(|word| word.kind == "deprecation")
                .map(|word| match &word.successor {
                    None => word.reason.clone(),
                    Some(successor) => format!("{}; use {successor}", word.reason),
                });
        Verdict {
            denial,
            state: evaluation.state_text(),
            deprecated,
            until: evaluation.until,
        }
    }
}

impl Registry {
    pub(super) fn time(&self) -> Time {
        Time::from_seconds(self.now().div_euclid(1000))
    }

    /// Judges a manifest on the evidence that the repository has now.
    pub(super) async fn judge(
        &self,
        repo: &RepoName,
        manifest: &VerifiedManifest,
        released: bool,
    ) -> Result<(Evaluation, Result<Admission, Denial>), Error> {
        let policy = self.policy();
        let mut case = Case::of(repo, manifest);
        let mut circumstances = Circumstances::at(self.time());
        circumstances.released = released;
        circumstances.registry = self.own_key().cloned();
        if !released || self.keeps_incidents(repo) {
            circumstances.damaged = self.damaged_content(repo, manifest).await?;
        }
        if policy.reads_evidence(repo) {
            circumstances.uses = self.metadata().exception_uses().await?;
            // Under no log of the policy a proof would say anything.
            let proofs = !policy.logs().is_empty();
            self.gather(repo, manifest.digest(), &mut case, proofs)
                .await?;
        }
        // Each signature is some 50 microseconds, so many of them are no work for this thread.
        let name = repo.clone();
        tokio::task::spawn_blocking(move || policy.hear(&name, &case, &circumstances))
            .await
            .map_err(|error| Error::Unavailable(error.to_string()))
    }

    /// Blobs of a manifest that are in quarantine now.
    async fn damaged_content(
        &self,
        repo: &RepoName,
        manifest: &VerifiedManifest,
    ) -> Result<BTreeSet<Digest>, Error> {
        let mut damaged = BTreeSet::new();
        // Nearly always there is none, and that is one row.
        if self.metadata().quarantined().await? == 0 {
            return Ok(damaged);
        }
        for descriptor in manifest.blobs() {
            let blob = self.metadata().blob(repo, &descriptor.digest).await?;
            if blob.is_some_and(|blob| blob.quarantined.is_some()) {
                damaged.insert(descriptor.digest);
            }
        }
        Ok(damaged)
    }

    async fn gather(
        &self,
        repo: &RepoName,
        manifest: &Digest,
        case: &mut Case,
        proofs: bool,
    ) -> Result<(), Error> {
        let mut after = None;
        let mut read = 0;
        loop {
            let kind = Some(media::SIGSTORE_BUNDLE_V03);
            let page = self
                .metadata()
                .referrers(repo, manifest, kind, after, EVIDENCE_PAGE)
                .await?;
            after = page.last().map(|referrer| referrer.digest);
            read += page.len();
            if read > MOST_EVIDENCE {
                case.cut_off(MOST_EVIDENCE);
                return Ok(());
            }
            for referrer in &page {
                if let Some(evidence) = self.read_evidence(repo, referrer).await? {
                    case.add(evidence);
                    if proofs && let Some(proof) = self.log_proof(repo, &referrer.digest).await? {
                        case.add_proof(&referrer.digest, proof);
                    }
                }
            }
            if page.len() < EVIDENCE_PAGE {
                return Ok(());
            }
        }
    }

    /// A referrer with its one layer; `None` if it is not of that shape, and so no evidence.
    async fn read_evidence(
        &self,
        repo: &RepoName,
        referrer: &Referrer,
    ) -> Result<Option<Evidence>, Error> {
        let manifest = self
            .read_manifest(repo, &referrer.digest, Some(&referrer.media_type))
            .await?;
        let [layer] = manifest.layers() else {
            return Ok(None);
        };
        if layer.size > LARGEST_EVIDENCE {
            return Ok(None);
        }
        let Some(blob) = self.metadata().blob(repo, &layer.digest).await? else {
            return Ok(None);
        };
        let bytes = self.read_whole(&layer.digest, &blob).await?;
        Ok(Some(Evidence::new(manifest, bytes)))
    }

    /// Judges a release again for somebody who pulls it. Nothing is judged twice on the same inputs;
    /// `None` where nothing can decide, because nothing is asked for.
    pub(super) async fn rejudge(
        &self,
        repo: &RepoName,
        digest: &Digest,
        row: &ManifestRow,
    ) -> Result<Option<Arc<Verdict>>, Error> {
        let policy = self.policy();
        if !policy.reads_evidence(repo) && policy.expires().is_none() {
            return Ok(None);
        }
        let key = VerdictKey {
            repo: repo.clone(),
            manifest: *digest,
            policy: *policy.digest(),
            evidence: row.evidence,
        };
        let now = self.time();
        if let Some(verdict) = self.inner.verdicts.get(&key)
            && verdict.until.is_none_or(|until| now < until)
        {
            return Ok(Some(verdict));
        }
        let manifest = self
            .read_manifest(repo, digest, Some(&row.media_type))
            .await?;
        // Could not decide: no verdict to keep, and no bytes either.
        let (evaluation, verdict) = self.judge(repo, &manifest, true).await?;
        let verdict = Arc::new(Verdict::of(&evaluation, verdict.err()));
        self.inner.verdicts.insert(key, verdict.clone());
        Ok(Some(verdict))
    }

    /// Shows or hides the releases of a manifest after its evidence changed, so that blobs follow too.
    pub(super) async fn follow_evidence(
        &self,
        repo: &RepoName,
        subject: &Digest,
    ) -> Result<(), Error> {
        if !self.policy().reads_evidence(repo) {
            return Ok(());
        }
        for tag in self.metadata().tags_of(repo, subject).await? {
            if !tag.is_evidence_list() {
                self.reassess_tag(repo, &tag).await?;
            }
        }
        Ok(())
    }

    /// A manifest of the store, checked since it left the disk.
    pub(super) async fn read_manifest(
        &self,
        repo: &RepoName,
        digest: &Digest,
        media_type: Option<&str>,
    ) -> Result<VerifiedManifest, Error> {
        self.check_manifest(repo, digest, media_type, "pull").await
    }

    /// The same at a `place` that is counted. Bytes that are missing or cannot be read are damage like any
    /// other: who pushes the manifest again writes them anew.
    pub(super) async fn check_manifest(
        &self,
        repo: &RepoName,
        digest: &Digest,
        media_type: Option<&str>,
        place: &'static str,
    ) -> Result<VerifiedManifest, Error> {
        let problem = match self.manifest_content(repo, digest).await {
            Ok(Some(bytes)) => {
                match VerifiedManifest::check(bytes, media_type, Some(digest), digest.algorithm()) {
                    Ok(manifest) => return Ok(manifest),
                    Err(error) => error.to_string(),
                }
            }
            Ok(None) => "its bytes are missing".to_owned(),
            Err(error @ metadata::Error::Damaged(_)) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        if self.metadata().manifest(repo, digest).await?.is_none() {
            return Err(Error::ManifestUnknown(digest.to_string()));
        }
        self.note_damage(place);
        tracing::error!(repo.name = %repo, manifest.digest = %digest, problem, "stored manifest is damaged");
        Err(Error::Damaged(*digest))
    }

    /// A manifest's bytes. Asked twice where they are missing: it may have been deleted and pushed again
    /// between the row and the bytes.
    async fn manifest_content(
        &self,
        repo: &RepoName,
        digest: &Digest,
    ) -> Result<Option<Bytes>, metadata::Error> {
        match self.metadata().manifest_bytes(repo, digest).await? {
            None if self.metadata().manifest(repo, digest).await?.is_some() => {
                self.metadata().manifest_bytes(repo, digest).await
            }
            found => Ok(found),
        }
    }
}
