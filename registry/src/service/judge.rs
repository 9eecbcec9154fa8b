//! Whether a manifest may be a release: asks the policy on the evidence that was gathered, and keeps verdicts.

use super::gather::Gathered;
use super::{Error, Registry};
use crate::log::Cosigned;
use crate::metadata::{self, Judged, KeptRevocation, ManifestRow, Millis};
use bytes::Bytes;
use sealstone_spec::admission::Admission;
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::name::{RepoName, Tag};
use sealstone_spec::policy::{Case, Circumstances, Denial, Evaluation, ExceptionUse, Time};
use sealstone_spec::record;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How often something is judged when policy or evidence change meanwhile.
pub(super) const JUDGEMENTS: usize = 5;

/// Everything that a verdict depends on. It is kept by these, never by time; a verdict that time can
/// change says when, and is not used after that, and one that rests on what too few witnesses have seen is not
/// used once more of them have.
///
/// How often exceptions were used is no part of it. Uses only grow, so a verdict that others' uses can change is one
/// that lets a manifest through on an exception under which that does not count yet; such a verdict is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct VerdictKey {
    repo: RepoName,
    manifest: Digest,
    policy: Digest,
    evidence: u64,
    /// How many revocations of the manifest are kept, wherever it was revoked; there are never fewer.
    revocations: usize,
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
    /// Digest of the policy that it was made under.
    pub(super) policy: Digest,
    /// How many revocations of the manifest were kept before the evidence was read.
    revocations: usize,
    /// Exceptions that it makes use of and that did not count it yet when it was made.
    uncounted: Vec<ExceptionUse>,
    until: Option<Time>,
    unwitnessed: Option<Cosigned>,
}

impl Verdict {
    fn of(judgement: Judgement, revocations: usize) -> Verdict {
        let evaluation = &judgement.evaluation;
        let mut words = evaluation.standing.words.iter();
        let deprecated =
            words
                .find(|word| word.kind == "deprecation")
                .map(|word| match &word.successor {
                    None => word.reason.clone(),
                    Some(successor) => format!("{}; use {successor}", word.reason),
                });
        Verdict {
            state: evaluation.state_text(),
            deprecated,
            policy: evaluation.policy,
            revocations,
            uncounted: judgement.uncounted,
            until: evaluation.until,
            unwitnessed: judgement.unwitnessed,
            denial: judgement.verdict.err(),
        }
    }

    /// Whether a use has to be counted before anybody relies on it.
    pub(super) fn is_uncounted(&self) -> bool {
        !self.uncounted.is_empty()
    }

    /// What is compared when it is applied to the tags of `manifest`, of which `evidence` was the number before.
    pub(super) fn judged(&self, manifest: Digest, evidence: u64, now: Millis) -> Judged {
        Judged {
            manifest,
            policy: self.policy,
            evidence,
            revocations: self.revocations,
            exceptions: self.uncounted.clone(),
            now,
        }
    }

    /// Whether the same inputs still give it.
    fn holds(&self, now: Time, cosigned: Option<Cosigned>) -> bool {
        self.until.is_none_or(|until| now < until)
            && (self.unwitnessed.is_none() || self.unwitnessed == cosigned)
    }
}

/// What a judgement found.
pub(super) struct Judgement {
    pub(super) evaluation: Evaluation,
    pub(super) verdict: Result<Admission, Denial>,
    /// Set if a proof did not count for want of cosignatures: then there is another verdict when more witnesses
    /// have seen the log than these.
    pub(super) unwitnessed: Option<Cosigned>,
    /// Revocations that were kept when it was judged, of every repository.
    pub(super) kept: Vec<KeptRevocation>,
    /// Exceptions of an admission under which the manifest did not count when it was judged.
    uncounted: Vec<ExceptionUse>,
    /// Whether content was damaged. That is no part of a verdict's key, so no verdict is kept then.
    rests_on_damage: bool,
}

impl Registry {
    pub(super) fn time(&self) -> Time {
        Time::from_seconds(self.now().div_euclid(1000))
    }

    /// Judges a manifest on the evidence that the repository has now. What is about to be released waits for the
    /// witnesses whom the policy asks for; what was released is judged at once, and again when they have seen it.
    pub(super) async fn judge(
        &self,
        repo: &RepoName,
        manifest: &VerifiedManifest,
        released: bool,
    ) -> Result<Judgement, Error> {
        let policy = self.policy();
        let mut circumstances = Circumstances::at(self.time());
        circumstances.released = released;
        circumstances.registry = self.own_keys();
        if !released || self.keeps_incidents(repo) {
            circumstances.damaged = self.damaged_content(repo, manifest).await?;
        }
        let mut gathered = Gathered::new(Case::of(repo, manifest));
        let mut unwitnessed = None;
        if policy.reads_evidence(repo) {
            circumstances.uses = self.metadata().exception_uses().await?;
            let mut patience = (!released).then(|| self.witness_patience());
            loop {
                // First, so that whatever is cosigned while the evidence is read is seen to be new.
                let cosigned = self.cosigned();
                gathered = self.gather(repo, manifest, &policy).await?;
                unwitnessed = cosigned.filter(|_| gathered.is_unwitnessed);
                let Some(cosigned) = unwitnessed else {
                    break;
                };
                match patience.take() {
                    Some(deadline) if self.await_cosigned(cosigned, deadline).await => {
                        patience = Some(deadline);
                    }
                    _ => break,
                }
            }
        }
        if let Some(known) = unwitnessed {
            self.judge_again_when_witnessed(repo, manifest.digest(), known);
        }
        let rests_on_damage = !circumstances.damaged.is_empty();
        let (name, under) = (repo.clone(), policy.clone());
        let Gathered { case, kept, .. } = gathered;
        let hear = move || {
            let heard = under.hear(&name, &case, &circumstances);
            (heard, circumstances.uses)
        };
        // Each signature is some 50 microseconds, so many of them are no work for this thread. None is not worth another.
        let ((evaluation, verdict), uses) = match policy.reads_evidence(repo) {
            true => tokio::task::spawn_blocking(hear).await?,
            false => hear(),
        };
        self.inner.metrics.judgements.inc();
        let exceptions = verdict.iter().flat_map(Admission::exceptions);
        let is_uncounted = |exception: &&ExceptionUse| {
            let used = uses.get(&exception.key);
            !used.is_some_and(|used| used.contains(manifest.digest()))
        };
        let uncounted = exceptions.filter(is_uncounted).cloned().collect();
        let judgement = Judgement {
            evaluation,
            verdict,
            unwitnessed,
            kept,
            uncounted,
            rests_on_damage,
        };
        self.keep_heard(repo, manifest.digest(), &policy, &judgement)
            .await?;
        Ok(judgement)
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
            revocations: self.metadata().revocations(digest).await?.len(),
        };
        if let Some(verdict) = self.inner.verdicts.get(&key)
            && verdict.holds(self.time(), self.cosigned())
        {
            return Ok(Some(verdict));
        }
        // Could not decide: no verdict to keep, and no bytes either.
        Ok(Some(self.judge_release(repo, digest, row).await?))
    }

    /// Judges a release on what is there now, whatever was found before, and keeps the verdict for those who pull it.
    pub(super) async fn judge_release(
        &self,
        repo: &RepoName,
        digest: &Digest,
        row: &ManifestRow,
    ) -> Result<Arc<Verdict>, Error> {
        let manifest = self
            .read_manifest(repo, digest, Some(&row.media_type))
            .await?;
        // First, as the number of the evidence was: what comes while it is read is seen to be new.
        let revocations = self.metadata().revocations(digest).await?.len();
        let judgement = self.judge(repo, &manifest, true).await?;
        let rests_on_damage = judgement.rests_on_damage;
        let verdict = Arc::new(Verdict::of(judgement, revocations));
        if !rests_on_damage && !verdict.is_uncounted() {
            let key = VerdictKey {
                repo: repo.clone(),
                manifest: *digest,
                policy: verdict.policy,
                evidence: row.evidence,
                revocations,
            };
            self.inner.verdicts.insert(key, verdict.clone());
        }
        Ok(verdict)
    }

    /// Whether a manifest speaks of its subject in a way that policies hear: a statement, or a record with proofs.
    pub(super) fn is_evidence(manifest: &VerifiedManifest) -> bool {
        [media::SIGSTORE_BUNDLE_V03, record::ARTIFACT_TYPE]
            .map(Some)
            .contains(&manifest.artifact_type())
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

    /// Does what follows from a statement about a manifest, if that was not done: here, and where it was revoked, in every
    /// repository that has it.
    pub(super) async fn follow_attached(
        &self,
        repo: &RepoName,
        subject: &Digest,
    ) -> Result<(), Error> {
        self.follow_missed(repo, subject).await?;
        if self.metadata().revocations(subject).await?.is_empty() {
            return Ok(());
        }
        for other in self.metadata().repositories_with(subject).await? {
            self.follow_missed(&other, subject).await?;
        }
        Ok(())
    }

    /// As [`Registry::follow_evidence`], but nothing is judged again where tags show what the last verdict says.
    async fn follow_missed(&self, repo: &RepoName, subject: &Digest) -> Result<(), Error> {
        if !self.policy().reads_evidence(repo) {
            return Ok(());
        }
        for tag in self.metadata().tags_of(repo, subject).await? {
            if !tag.is_evidence_list() && !self.shows_verdict(repo, &tag).await? {
                self.reassess_tag(repo, &tag).await?;
            }
        }
        Ok(())
    }

    /// Whether a verdict on what there is now is kept, and the tag is shown or hidden by it.
    async fn shows_verdict(&self, repo: &RepoName, tag: &Tag) -> Result<bool, Error> {
        let Some(shown) = self.metadata().tag(repo, tag).await? else {
            return Ok(true);
        };
        let Some(row) = self.metadata().manifest(repo, &shown.digest).await? else {
            return Ok(true);
        };
        let key = VerdictKey {
            repo: repo.clone(),
            manifest: shown.digest,
            policy: *self.policy().digest(),
            evidence: row.evidence,
            revocations: self.metadata().revocations(&shown.digest).await?.len(),
        };
        let verdict = self.inner.verdicts.get(&key);
        Ok(verdict.is_some_and(|verdict| {
            verdict.holds(self.time(), self.cosigned()) && verdict.denial.is_none() == shown.visible
        }))
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
