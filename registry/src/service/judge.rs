//! Whether a manifest may be a release: gathers the evidence and asks the policy.

use super::{Error, Registry};
use crate::metadata::{ManifestRow, Referrer};
use sealstone_spec::admission::Admission;
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::name::RepoName;
use sealstone_spec::policy::{Case, Circumstances, Denial, Evidence, Time};
use std::sync::Arc;

/// Referrers read before the policy is asked.
const EVIDENCE_PAGE: usize = 100;
/// Most referrers that are read as evidence for one manifest.
const MOST_EVIDENCE: usize = 10_000;
/// Largest piece of evidence that is read: 4 MiB.
const LARGEST_EVIDENCE: u64 = 4 << 20;

fn denied(denial: impl Into<Box<Denial>>) -> Error {
    Error::Denied(denial.into())
}

/// Everything that a verdict depends on. It is kept by these, never by time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct VerdictKey {
    repo: RepoName,
    manifest: Digest,
    policy: Digest,
    evidence: u64,
}

impl Registry {
    /// Judges a manifest on the evidence that the repository has now. Reads as much of it as the verdict
    /// needs: referrers that prove nothing must not hide those that do.
    pub(super) async fn judge(
        &self,
        repo: &RepoName,
        manifest: &Digest,
        size: u64,
    ) -> Result<Admission, Error> {
        let policy = self.policy();
        let mut case = Case::new(repo, *manifest, size);
        let circumstances = Circumstances::at(Time::from_seconds(self.now().div_euclid(1000)));
        if policy.scope_for(repo).rules().is_empty() {
            return policy.judge(repo, &case, &circumstances).map_err(denied);
        }
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
            for referrer in &page {
                if let Some(evidence) = self.read_evidence(repo, referrer).await? {
                    case.add(evidence);
                }
            }
            // Each signature is some 50 microseconds, so many of them are no work for this thread.
            let (judge, name, now) = (policy.clone(), repo.clone(), circumstances.clone());
            let judged =
                tokio::task::spawn_blocking(move || (judge.judge(&name, &case, &now), case)).await;
            let (verdict, judged_case) =
                judged.map_err(|error| Error::Unavailable(error.to_string()))?;
            case = judged_case;
            let at_end = page.len() < EVIDENCE_PAGE || read >= MOST_EVIDENCE;
            match verdict {
                Ok(admission) => return Ok(admission),
                Err(denial) if at_end => return Err(denied(denial)),
                Err(_) => {}
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

    /// Judges a release again for somebody who pulls it. Nothing is judged twice on the same inputs.
    pub(super) async fn rejudge(
        &self,
        repo: &RepoName,
        manifest: &Digest,
        row: &ManifestRow,
    ) -> Result<(), Error> {
        let policy = self.policy();
        if policy.scope_for(repo).rules().is_empty() {
            return Ok(());
        }
        let key = VerdictKey {
            repo: repo.clone(),
            manifest: *manifest,
            policy: *policy.digest(),
            evidence: row.evidence,
        };
        let verdict = match self.inner.verdicts.get(&key) {
            Some(verdict) => verdict,
            None => {
                let verdict = match self.judge(repo, manifest, row.size).await {
                    Ok(_) => Ok(()),
                    Err(Error::Denied(denial)) => Err(*denial),
                    // Could not decide: no verdict to keep, and no bytes either.
                    Err(other) => return Err(other),
                };
                let verdict = Arc::new(verdict);
                self.inner.verdicts.insert(key, verdict.clone());
                verdict
            }
        };
        match &*verdict {
            Ok(()) => Ok(()),
            Err(denial) => Err(Error::Denied(Box::new(denial.clone()))),
        }
    }

    /// A manifest of the store, checked since it left the disk.
    pub(super) async fn read_manifest(
        &self,
        repo: &RepoName,
        digest: &Digest,
        media_type: Option<&str>,
    ) -> Result<VerifiedManifest, Error> {
        let bytes = self
            .metadata()
            .manifest_bytes(repo, digest)
            .await?
            .ok_or_else(|| Error::ManifestUnknown(digest.to_string()))?;
        VerifiedManifest::check(bytes, media_type, Some(digest), digest.algorithm()).map_err(|error| {
            self.note_damage("pull");
            tracing::error!(repo.name = %repo, manifest.digest = %digest, %error, "stored manifest is damaged");
            Error::Damaged(*digest)
        })
    }
}
