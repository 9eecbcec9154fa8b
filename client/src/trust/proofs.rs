//! Proofs that statements were logged, for policies that ask for them: from the registry, or from the
//! records that travel with a release. Nothing here is believed; the policy's own logs decide.

use super::evidence::{Evidence, evidence_of};
use super::vouched::{KnownBy, RegistryKey, may_be_registrys};
use crate::error::{Error, Outcome, Result};
use crate::log::{KeptLogs, Seen, check_history, check_kept};
use crate::store::Store;
use sealstone_spec::digest::Digest;
use sealstone_spec::log::{
    LogProof, MAX_PROOF_FILE_BYTES, SignedCheckpoint, TlogEntry, VerifiedCheckpoint,
};
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::media;
use sealstone_spec::name::Reference;
use sealstone_spec::policy::{MOST_EVIDENCE_BYTES, Policy};
use sealstone_spec::record::{
    ARTIFACT_TYPE, MAX_RECORDS, STATEMENT_KEY, STATEMENT_KEY_PROOF, statement_proof,
};
use sealstone_spec::sigstore::SigstoreBundle;
use std::collections::{BTreeMap, BTreeSet};

/// Fetches what has been said about a manifest, and the proofs that `policy` can make use of. Where the place has
/// a log, `seen` is what it showed at this contact, and its proofs must be of that history; those of logs that nobody
/// can be asked about are held against what is kept of them.
///
/// # Errors
/// As [`evidence_of`]; [`Outcome::Contradicted`] if a log proves statements in another history.
pub async fn evidence_for(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    policy: &Policy,
    seen: Option<&Seen>,
) -> Result<Evidence> {
    // Without a place to keep anything in, nothing is kept that could be contradicted.
    let kept = KeptLogs::of_user().ok();
    evidence_against(store, manifest, policy, seen, kept.as_ref()).await
}

/// The same against the checkpoints that are kept there.
pub(super) async fn evidence_against(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    policy: &Policy,
    seen: Option<&Seen>,
    kept: Option<&KeptLogs>,
) -> Result<Evidence> {
    let mut evidence = evidence_of(store, manifest).await?;
    let mut attached = evidence.attached.iter();
    let says_registry = attached.any(|item| may_be_registrys(&item.referrer));
    if policy.logs().is_empty() && !says_registry {
        return Ok(evidence);
    }
    // Under no log of the policy a proof would say anything.
    let referrers: Vec<Digest> = match policy.logs().is_empty() {
        true => Vec::new(),
        false => {
            let attached = evidence.attached.iter();
            attached.map(|item| *item.referrer.digest()).collect()
        }
    };
    let mut found = Found::about(&referrers);
    for document in store.record(None, &referrers).await? {
        found.take(&document.name, &document.content, KnownBy::Registry);
    }
    let listed = store
        .referrers(manifest.digest(), Some(ARTIFACT_TYPE))
        .await?;
    evidence.lacks_proofs = !found.read_records(store, &listed).await?;
    if !policy.logs().is_empty() {
        evidence.unread.append(&mut found.lost);
    }
    evidence.proofs = found.proofs;
    let shown = checkpoints(&evidence, &found.key_proofs, policy);
    if let Some(seen) = seen {
        check_history(seen, &shown).await?;
    }
    if let Some(kept) = kept {
        let is_unseen = |other: &&VerifiedCheckpoint| {
            seen.is_none_or(|seen| seen.checkpoint.log() != other.log())
        };
        evidence.undecided = check_kept(kept, shown.iter().filter(is_unseen))?;
    }
    evidence.registry = RegistryKey::heard(found.keys, &found.key_proofs, policy);
    Ok(evidence)
}

/// What was found in records, by the registry's own hand or attached by whoever may.
struct Found {
    /// Names of proofs, and the referrers that they are about.
    names: BTreeMap<String, Digest>,
    proofs: Vec<(Digest, LogProof)>,
    keys: Vec<RegistryKey>,
    key_proofs: Vec<LogProof>,
    /// Records that are lost or damaged, or hold what is, and how that was found. What they prove may be what lets a word
    /// count that stops a release.
    lost: Vec<(Digest, String)>,
}

impl Found {
    fn about(referrers: &[Digest]) -> Found {
        Found {
            names: referrers
                .iter()
                .map(|referrer| (statement_proof(referrer), *referrer))
                .collect(),
            proofs: Vec::new(),
            keys: Vec::new(),
            key_proofs: Vec::new(),
            lost: Vec::new(),
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.names.contains_key(name) || [STATEMENT_KEY, STATEMENT_KEY_PROOF].contains(&name)
    }

    fn take(&mut self, name: &str, content: &[u8], known: KnownBy) {
        match name {
            STATEMENT_KEY => {
                let key = std::str::from_utf8(content)
                    .ok()
                    .and_then(|t| t.parse().ok());
                self.keys.extend(key.map(|key| RegistryKey { key, known }));
            }
            STATEMENT_KEY_PROOF => self.key_proofs.extend(LogProof::parse(content)),
            _ => {}
        }
        // What is no proof proves nothing; that is all there is to say about it.
        if let (Some(referrer), Ok(proof)) = (self.names.get(name), LogProof::parse(content)) {
            self.proofs.push((*referrer, proof));
        }
    }

    /// Reads records that anybody may have attached; `false` if there is more in them than is read.
    async fn read_records(&mut self, store: &dyn Store, listed: &[Descriptor]) -> Result<bool> {
        if listed.len() > MAX_RECORDS {
            return Ok(false);
        }
        let is_registry = store.as_layout().is_none() && store.as_archive().is_none();
        let mut bytes = 0_u64;
        // With the size that is stated: one that is false must not hide what another record has.
        let mut known: BTreeSet<(String, Digest, u64)> = BTreeSet::new();
        for descriptor in listed {
            let reference = Reference::Digest(descriptor.digest);
            let record = match store.manifest(&reference).await {
                Ok(record) => record,
                // Deleted since it was listed.
                Err(error) if is_registry && error.outcome() == Outcome::NotFound => continue,
                Err(error) => {
                    self.lost.push((descriptor.digest, lost_or_damaged(error)?));
                    continue;
                }
            };
            bytes = bytes.saturating_add(record.size());
            if bytes > MOST_EVIDENCE_BYTES {
                return Ok(false);
            }
            for layer in record.layers() {
                let title = layer.annotations.get(media::ANNOTATION_TITLE);
                let Some(title) = title.filter(|title| self.wants(title)) else {
                    continue;
                };
                let fits = layer.size <= MAX_PROOF_FILE_BYTES as u64;
                if !fits || !known.insert((title.clone(), layer.digest, layer.size)) {
                    continue;
                }
                bytes = bytes.saturating_add(layer.size);
                if bytes > MOST_EVIDENCE_BYTES {
                    return Ok(false);
                }
                match store.blob_bytes(layer, MAX_PROOF_FILE_BYTES as u64).await {
                    Ok(content) => self.take(title, &content, KnownBy::Companion),
                    Err(error) => self.lost.push((*record.digest(), lost_or_damaged(error)?)),
                }
            }
        }
        Ok(true)
    }
}

/// Every checkpoint under which a proof could count for the policy, each once.
fn checkpoints(
    evidence: &Evidence,
    key_proofs: &[LogProof],
    policy: &Policy,
) -> Vec<VerifiedCheckpoint> {
    let proofs = evidence.proofs.iter().map(|(_, proof)| proof);
    let mut notes: Vec<SignedCheckpoint> = proofs
        .chain(key_proofs)
        .map(|proof| proof.checkpoint.clone())
        .collect();
    for item in &evidence.attached {
        let bundle = SigstoreBundle::parse(&item.bundle).ok();
        let entries = bundle.iter().flat_map(SigstoreBundle::tlog_entries);
        let entries = entries.filter_map(|value| TlogEntry::read(value).ok());
        notes.extend(entries.map(|entry| entry.checkpoint().clone()));
    }
    notes.sort_by_cached_key(SignedCheckpoint::to_string);
    notes.dedup();
    let verified = |note: &SignedCheckpoint| {
        let mut trusts = policy.log_trust().iter();
        trusts.find_map(|trust| trust.verify(note).ok())
    };
    notes.iter().filter_map(verified).collect()
}

/// How something was found to be lost or damaged; that a place cannot be asked is an error.
fn lost_or_damaged(error: Error) -> Result<String> {
    match error.outcome() {
        Outcome::Halted | Outcome::NotFound => Ok(error.to_string()),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests;
