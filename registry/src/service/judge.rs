//! Whether a manifest may be a release: gathers the evidence and asks the policy.
//!
//! Invariant: all evidence is read before the policy is asked, because a later piece may stop what an
//! earlier one allows; where there is more than is read, nothing is released.

use super::{Error, Registry};
use crate::log::Cosigned;
use crate::metadata::{self, ManifestRow, Referrer};
use bytes::Bytes;
use sealstone_spec::admission::Admission;
use sealstone_spec::digest::Digest;
use sealstone_spec::log::{LogError, LogProof};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::name::RepoName;
use sealstone_spec::policy::{
    Case, Circumstances, Denial, Evaluation, Evidence, MOST_EVIDENCE, MOST_EVIDENCE_BYTES, Policy,
    Time,
};
use sealstone_spec::record::{self, MAX_DOCUMENT_BYTES, MAX_RECORDS, statement_proof};
use sealstone_spec::sigstore::MAX_BUNDLE_BYTES;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Referrers read in one step.
const EVIDENCE_PAGE: usize = 100;
/// How often something is judged when policy or evidence change meanwhile.
pub(super) const JUDGEMENTS: usize = 5;

/// Everything that a verdict depends on. It is kept by these, never by time; a verdict that time can
/// change says when, and is not used after that, and one that rests on what too few witnesses have seen is not
/// used once more of them have.
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
    /// Digest of the policy that it was made under.
    pub(super) policy: Digest,
    until: Option<Time>,
    unwitnessed: Option<Cosigned>,
}

impl Verdict {
    fn of(judgement: Judgement) -> Verdict {
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
            until: evaluation.until,
            unwitnessed: judgement.unwitnessed,
            denial: judgement.verdict.err(),
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
    /// Whether content was damaged. That is no part of a verdict's key, so no verdict is kept then.
    rests_on_damage: bool,
}

/// A case with all that speaks of the manifest.
struct Gathered {
    case: Case,
    /// Whether a proof lacks cosignatures that the policy asks for.
    is_unwitnessed: bool,
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
        circumstances.registry = self.own_key().cloned();
        if !released || self.keeps_incidents(repo) {
            circumstances.damaged = self.damaged_content(repo, manifest).await?;
        }
        let mut case = Case::of(repo, manifest);
        let mut unwitnessed = None;
        if policy.reads_evidence(repo) {
            circumstances.uses = self.metadata().exception_uses().await?;
            let mut patience = (!released).then(|| self.witness_patience());
            case = loop {
                // First, so that whatever is cosigned while the evidence is read is seen to be new.
                let cosigned = self.cosigned();
                let gathered = self.gather(repo, manifest, &policy).await?;
                unwitnessed = cosigned.filter(|_| gathered.is_unwitnessed);
                let Some(cosigned) = unwitnessed else {
                    break gathered.case;
                };
                match patience.take() {
                    Some(deadline) if self.await_cosigned(cosigned, deadline).await => {
                        patience = Some(deadline);
                    }
                    _ => break gathered.case,
                }
            };
        }
        if let Some(known) = unwitnessed {
            self.judge_again_when_witnessed(repo, manifest.digest(), known);
        }
        let rests_on_damage = !circumstances.damaged.is_empty();
        // Each signature is some 50 microseconds, so many of them are no work for this thread.
        let name = repo.clone();
        let hearing =
            tokio::task::spawn_blocking(move || policy.hear(&name, &case, &circumstances));
        let (evaluation, verdict) = hearing
            .await
            .map_err(|error| Error::Unavailable(error.to_string()))?;
        self.inner.metrics.judgements.inc();
        Ok(Judgement {
            evaluation,
            verdict,
            unwitnessed,
            rests_on_damage,
        })
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
        manifest: &VerifiedManifest,
        policy: &Policy,
    ) -> Result<Gathered, Error> {
        let mut gathered = Gathered {
            case: Case::of(repo, manifest),
            is_unwitnessed: false,
        };
        let mut attached = Vec::new();
        let (mut after, mut read, mut bytes) = (None, 0, 0_u64);
        loop {
            let kind = Some(media::SIGSTORE_BUNDLE_V03);
            let page = self
                .metadata()
                .referrers(repo, manifest.digest(), kind, after, EVIDENCE_PAGE)
                .await?;
            after = page.next;
            for referrer in &page.referrers {
                if read == MOST_EVIDENCE {
                    gathered.case.cut_off(read);
                    return Ok(gathered);
                }
                let (found, size) = self.read_evidence(repo, referrer).await?;
                // Of the last as well, as clients count: the order in which it is read decides nothing.
                bytes += size;
                if bytes > MOST_EVIDENCE_BYTES {
                    gathered.case.cut_off(read);
                    return Ok(gathered);
                }
                match found {
                    Ok(evidence) => {
                        gathered.case.add(evidence);
                        attached.push(referrer.digest);
                    }
                    Err(reason) => gathered.case.set_aside(referrer.digest, reason),
                }
                read += 1;
            }
            if after.is_none() {
                break;
            }
        }
        // Under no log of the policy a proof would say anything.
        if !policy.logs().is_empty() {
            self.add_proofs(repo, policy, &attached, &mut gathered)
                .await?;
            self.add_recorded_proofs(repo, manifest.digest(), &attached, &mut gathered.case)
                .await?;
        }
        Ok(gathered)
    }

    /// Proofs of the registry's own log.
    async fn add_proofs(
        &self,
        repo: &RepoName,
        policy: &Policy,
        attached: &[Digest],
        gathered: &mut Gathered,
    ) -> Result<(), Error> {
        // They all lead to the same checkpoint or two.
        let mut looked_at = BTreeMap::new();
        for referrer in attached {
            let Some(proof) = self.log_proof(repo, referrer).await? else {
                continue;
            };
            let lacks_witnesses = looked_at
                .entry(proof.checkpoint.to_string())
                .or_insert_with(|| {
                    let mut logs = policy.log_trust().iter();
                    logs.any(|log| {
                        matches!(log.verify(&proof.checkpoint), Err(LogError::Quorum { .. }))
                    })
                });
            gathered.is_unwitnessed |= *lacks_witnesses;
            gathered.case.add_proof(referrer, proof);
        }
        Ok(())
    }

    /// Proofs of other registries' logs, out of the records that travelled here with the release.
    async fn add_recorded_proofs(
        &self,
        repo: &RepoName,
        manifest: &Digest,
        attached: &[Digest],
        case: &mut Case,
    ) -> Result<(), Error> {
        let names: BTreeMap<String, &Digest> = attached
            .iter()
            .map(|referrer| (statement_proof(referrer), referrer))
            .collect();
        let kind = Some(record::ARTIFACT_TYPE);
        let (mut records, mut after) = (Vec::new(), None);
        loop {
            let wanted = MAX_RECORDS - records.len();
            let page = self
                .metadata()
                .referrers(repo, manifest, kind, after, wanted)
                .await?;
            records.extend(page.referrers);
            after = page.next;
            if after.is_none() || records.len() >= MAX_RECORDS {
                break;
            }
        }
        for record in records {
            let media_type = Some(record.media_type.as_str());
            let record = self.read_manifest(repo, &record.digest, media_type);
            let Some(record) = undamaged(record.await)? else {
                continue;
            };
            for layer in record.layers() {
                let title = layer.annotations.get(media::ANNOTATION_TITLE);
                let Some(referrer) = title.and_then(|title| names.get(title)) else {
                    continue;
                };
                if layer.size > MAX_DOCUMENT_BYTES {
                    continue;
                }
                let bytes = undamaged(self.read_layer(repo, &layer.digest).await)?;
                // What is no proof proves nothing; that is all there is to say about it.
                if let Some(Ok(proof)) = bytes.map(|bytes| LogProof::parse(&bytes)) {
                    case.add_proof(referrer, proof);
                }
            }
        }
        Ok(())
    }

    /// A referrer with its one layer, and how many bytes that has; or why it cannot be evidence.
    async fn read_evidence(
        &self,
        repo: &RepoName,
        referrer: &Referrer,
    ) -> Result<(Result<Evidence, String>, u64), Error> {
        let manifest = self
            .read_manifest(repo, &referrer.digest, Some(&referrer.media_type))
            .await?;
        let own = manifest.size();
        let [layer] = manifest.layers() else {
            let reason = format!("it has {} layers, not one", manifest.layers().len());
            return Ok((Err(reason), own));
        };
        let (digest, size) = (layer.digest, layer.size);
        if size > MAX_BUNDLE_BYTES as u64 {
            let reason =
                format!("its layer has {size} bytes, a bundle has at most {MAX_BUNDLE_BYTES}");
            return Ok((Err(reason), own));
        }
        let bytes = self.read_layer(repo, &digest).await?;
        Ok((Ok(Evidence::new(manifest, bytes)), own + size))
    }

    /// The bytes of a small layer. A manifest that is stored has its layers, so one that is not there was lost:
    /// nothing can be decided without it.
    async fn read_layer(&self, repo: &RepoName, digest: &Digest) -> Result<Bytes, Error> {
        let blob = self.metadata().blob(repo, digest).await?;
        let blob = blob.ok_or(Error::Damaged(*digest))?;
        self.read_whole(digest, &blob).await
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
        let judgement = self.judge(repo, &manifest, true).await?;
        let rests_on_damage = judgement.rests_on_damage;
        let verdict = Arc::new(Verdict::of(judgement));
        if !rests_on_damage {
            let key = VerdictKey {
                repo: repo.clone(),
                manifest: *digest,
                policy: verdict.policy,
                evidence: row.evidence,
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

/// A proof that is damaged proves nothing, as if it were not there; unlike a statement, it could not have stopped
/// anything.
fn undamaged<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(Error::Damaged(_) | Error::ManifestUnknown(_)) => Ok(None),
        Err(other) => Err(other),
    }
}
