//! The evidence about a manifest, collected into the case that is judged.
//!
//! Invariant: all evidence is read before the policy is asked, because a later piece may stop what an
//! earlier one allows; where there is more than is read, nothing is released.

use super::{Error, Registry};
use crate::metadata::{KeptRevocation, RevocationRow};
use bytes::Bytes;
use sealstone_spec::digest::Digest;
use sealstone_spec::log::{LogError, LogProof, MAX_PROOF_FILE_BYTES};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::name::RepoName;
use sealstone_spec::policy::{Case, Evidence, MOST_EVIDENCE, MOST_EVIDENCE_BYTES, Policy};
use sealstone_spec::record::{self, MAX_RECORDS, statement_proof};
use sealstone_spec::sigstore::MAX_BUNDLE_BYTES;
use std::collections::{BTreeMap, BTreeSet};

/// Referrers read in one step.
const EVIDENCE_PAGE: usize = 100;

/// A case with all that speaks of the manifest.
pub(super) struct Gathered {
    pub(super) case: Case,
    /// Referrers whose bundles are in it, and where each is; one in two repositories stands here twice.
    attached: Vec<(RepoName, Digest)>,
    /// How many were read, and their bytes.
    read: usize,
    bytes: u64,
    /// Revocations that are kept, of every repository.
    pub(super) kept: Vec<KeptRevocation>,
    /// Whether a proof lacks cosignatures that the policy asks for.
    pub(super) is_unwitnessed: bool,
}

impl Gathered {
    pub(super) fn new(case: Case) -> Gathered {
        Gathered {
            case,
            attached: Vec::new(),
            read: 0,
            bytes: 0,
            kept: Vec::new(),
            is_unwitnessed: false,
        }
    }
}

impl Registry {
    /// Everything that speaks of a manifest in a repository, and what revokes it in others, with proofs that it was logged.
    pub(super) async fn gather(
        &self,
        repo: &RepoName,
        manifest: &VerifiedManifest,
        policy: &Policy,
    ) -> Result<Gathered, Error> {
        let mut gathered = Gathered::new(Case::of(repo, manifest));
        // What revokes it elsewhere revokes it here: a statement binds a digest, and no repository.
        gathered.kept = self.metadata().revocations(manifest.digest()).await?;
        let mut after = None;
        loop {
            let kind = Some(media::SIGSTORE_BUNDLE_V03);
            let page = self
                .metadata()
                .referrers(repo, manifest.digest(), kind, after, EVIDENCE_PAGE)
                .await?;
            after = page.next;
            for referrer in &page.referrers {
                let media_type = Some(referrer.media_type.as_str());
                if !self
                    .take_in(repo, &referrer.digest, media_type, &mut gathered)
                    .await?
                {
                    return Ok(gathered);
                }
            }
            if after.is_none() {
                break;
            }
        }
        for RevocationRow { repo, referrer } in
            gathered.kept.clone().into_iter().map(|kept| kept.row)
        {
            let mut attached = gathered.attached.iter();
            if attached.any(|(_, own)| *own == referrer) {
                // Read already, and said where it was attached first: a copy that was logged later must not stand for it.
                let first = (repo, referrer);
                if !gathered.attached.contains(&first) {
                    gathered.attached.push(first);
                }
                continue;
            }
            match self.take_in(&repo, &referrer, None, &mut gathered).await {
                Ok(true) => {}
                Ok(false) => return Ok(gathered),
                // It is kept for ever, so one that is gone was lost.
                Err(Error::ManifestUnknown(_)) => return Err(Error::Damaged(referrer)),
                Err(other) => return Err(other),
            }
        }
        // Under no log of the policy a proof would say anything.
        if !policy.logs().is_empty() {
            self.add_proofs(policy, &mut gathered).await?;
            self.add_recorded_proofs(repo, manifest.digest(), &mut gathered)
                .await?;
        }
        Ok(gathered)
    }

    /// Reads one referrer into the case; `false` if that was more than is read, and nothing is released.
    async fn take_in(
        &self,
        repo: &RepoName,
        referrer: &Digest,
        media_type: Option<&str>,
        gathered: &mut Gathered,
    ) -> Result<bool, Error> {
        let Gathered { case, read, .. } = gathered;
        if *read == MOST_EVIDENCE {
            case.cut_off(*read);
            return Ok(false);
        }
        let (found, size) = self.read_evidence(repo, referrer, media_type).await?;
        // Of the last as well, as clients count: the order in which it is read decides nothing.
        gathered.bytes += size;
        if gathered.bytes > MOST_EVIDENCE_BYTES {
            gathered.case.cut_off(gathered.read);
            return Ok(false);
        }
        match found {
            Ok(evidence) => {
                gathered.case.add(evidence);
                gathered.attached.push((repo.clone(), *referrer));
            }
            Err(reason) => gathered.case.set_aside(*referrer, reason),
        }
        gathered.read += 1;
        Ok(true)
    }

    /// Proofs of the registry's own log.
    async fn add_proofs(&self, policy: &Policy, gathered: &mut Gathered) -> Result<(), Error> {
        let Gathered {
            case,
            attached,
            is_unwitnessed,
            ..
        } = gathered;
        // They all lead to the same checkpoint or two.
        let mut looked_at = BTreeMap::new();
        for (repo, referrer) in attached.iter() {
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
            *is_unwitnessed |= *lacks_witnesses;
            case.add_proof(referrer, proof);
        }
        Ok(())
    }

    /// Proofs of other registries' logs, out of the records that travelled here with the release. Anybody who may push
    /// may attach a record, so where there is more than is read the case says so. One that is damaged refuses, like a
    /// statement: a proof is also what lets a revocation count by a key that was retired since.
    async fn add_recorded_proofs(
        &self,
        repo: &RepoName,
        manifest: &Digest,
        gathered: &mut Gathered,
    ) -> Result<(), Error> {
        let Gathered { case, attached, .. } = gathered;
        let names: BTreeMap<String, &Digest> = attached
            .iter()
            .map(|(_, referrer)| (statement_proof(referrer), referrer))
            .collect();
        let kind = Some(record::ARTIFACT_TYPE);
        let (mut records, mut after) = (Vec::new(), None);
        loop {
            let wanted = MAX_RECORDS + 1 - records.len();
            let page = self
                .metadata()
                .referrers(repo, manifest, kind, after, wanted)
                .await?;
            records.extend(page.referrers);
            if records.len() > MAX_RECORDS {
                case.proofs_cut_off();
                return Ok(());
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut bytes = 0_u64;
        let mut known: BTreeSet<(&Digest, Digest)> = BTreeSet::new();
        for record in records {
            let media_type = Some(record.media_type.as_str());
            let record = match self.read_manifest(repo, &record.digest, media_type).await {
                Ok(record) => record,
                // Deleted since it was listed.
                Err(Error::ManifestUnknown(_)) => continue,
                Err(other) => return Err(other),
            };
            bytes = bytes.saturating_add(record.size());
            if bytes > MOST_EVIDENCE_BYTES {
                case.proofs_cut_off();
                return Ok(());
            }
            for layer in record.layers() {
                let title = layer.annotations.get(media::ANNOTATION_TITLE);
                let Some(referrer) = title.and_then(|title| names.get(title)) else {
                    continue;
                };
                // First: a size that is false must not hide what another record has. The digest alone is read by.
                let fits = layer.size <= MAX_PROOF_FILE_BYTES as u64;
                if !fits || !known.insert((*referrer, layer.digest)) {
                    continue;
                }
                bytes = bytes.saturating_add(layer.size);
                if bytes > MOST_EVIDENCE_BYTES {
                    case.proofs_cut_off();
                    return Ok(());
                }
                // What is no proof proves nothing; that is all there is to say about it.
                if let Ok(proof) = LogProof::parse(&self.read_layer(repo, &layer.digest).await?) {
                    case.add_proof(referrer, proof);
                }
            }
        }
        Ok(())
    }

    /// A referrer with its one layer, and how many bytes that has; or why it cannot be evidence.
    pub(super) async fn read_evidence(
        &self,
        repo: &RepoName,
        referrer: &Digest,
        media_type: Option<&str>,
    ) -> Result<(Result<Evidence, String>, u64), Error> {
        let manifest = self.read_manifest(repo, referrer, media_type).await?;
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
    pub(super) async fn read_layer(
        &self,
        repo: &RepoName,
        digest: &Digest,
    ) -> Result<Bytes, Error> {
        let blob = self.metadata().blob(repo, digest).await?;
        let blob = blob.ok_or(Error::Damaged(*digest))?;
        self.read_whole(digest, &blob).await
    }
}
