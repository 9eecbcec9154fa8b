//! Proofs that statements were logged, for policies that ask for them: from the registry, or from the
//! records that travel with a release. Nothing here is believed; the policy's own logs decide.

use super::evidence::{Evidence, evidence_of};
use super::vouched::{KnownBy, RegistryKey, may_be_registrys};
use crate::error::{Error, Outcome, Result};
use crate::log::{Seen, check_history};
use crate::store::Store;
use sealstone_spec::digest::Digest;
use sealstone_spec::log::{LogProof, SignedCheckpoint, TlogEntry, VerifiedCheckpoint};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::name::Reference;
use sealstone_spec::policy::Policy;
use sealstone_spec::record::{
    ARTIFACT_TYPE, MAX_DOCUMENT_BYTES, MAX_RECORDS, STATEMENT_KEY, STATEMENT_KEY_PROOF,
    statement_proof,
};
use sealstone_spec::sigstore::SigstoreBundle;
use std::collections::BTreeMap;

/// Fetches what has been said about a manifest, and the proofs that `policy` can make use of. Where the place has
/// a log, `seen` is what it showed at this contact, and its proofs must be of that history.
///
/// # Errors
/// As [`evidence_of`]; [`Outcome::Contradicted`] if the log proves statements in another history.
pub async fn evidence_for(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    policy: &Policy,
    seen: Option<&Seen>,
) -> Result<Evidence> {
    let mut evidence = evidence_of(store, manifest).await?;
    let mut attached = evidence.attached.iter();
    let says_registry = attached.any(|item| may_be_registrys(&item.referrer));
    if policy.logs().is_empty() && !says_registry {
        return Ok(evidence);
    }
    let referrers: Vec<Digest> = evidence
        .attached
        .iter()
        .map(|item| *item.referrer.digest())
        .collect();
    let names: BTreeMap<String, Digest> = referrers
        .iter()
        .map(|referrer| (statement_proof(referrer), *referrer))
        .collect();
    let mut keys = Vec::new();
    let mut key_proofs = Vec::new();
    let mut take = |name: &str, content: &[u8], known: KnownBy| {
        match name {
            STATEMENT_KEY => {
                let key = std::str::from_utf8(content)
                    .ok()
                    .and_then(|t| t.parse().ok());
                keys.extend(key.map(|key| RegistryKey { key, known }));
            }
            STATEMENT_KEY_PROOF => key_proofs.extend(LogProof::parse(content)),
            _ => {}
        }
        // What is no proof proves nothing; that is all there is to say about it.
        if let (Some(referrer), Ok(proof)) = (names.get(name), LogProof::parse(content)) {
            evidence.proofs.push((*referrer, proof));
        }
    };
    // Under no log of the policy a proof would say anything.
    let proofs: &[Digest] = match policy.logs().is_empty() {
        true => &[],
        false => &referrers,
    };
    for document in store.record(None, proofs).await? {
        take(&document.name, &document.content, KnownBy::Registry);
    }
    let listed = store
        .referrers(manifest.digest(), Some(ARTIFACT_TYPE))
        .await?;
    for descriptor in listed.into_iter().take(MAX_RECORDS) {
        let reference = Reference::Digest(descriptor.digest);
        let Some(record) = readable(store.manifest(&reference).await)? else {
            continue;
        };
        for layer in record.layers() {
            let title = layer.annotations.get(media::ANNOTATION_TITLE);
            let wanted = |title: &&String| {
                names.contains_key(*title)
                    || [STATEMENT_KEY, STATEMENT_KEY_PROOF].contains(&title.as_str())
            };
            let Some(title) = title.filter(wanted) else {
                continue;
            };
            if let Some(content) = readable(store.blob_bytes(layer, MAX_DOCUMENT_BYTES).await)? {
                take(title, &content, KnownBy::Companion);
            }
        }
    }
    if let Some(seen) = seen {
        let shown = checkpoints(&evidence, &key_proofs, policy);
        check_history(seen, &shown).await?;
    }
    evidence.registry = RegistryKey::choose(keys, &key_proofs, policy);
    Ok(evidence)
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

/// Missing or damaged is nothing to use; that a place cannot be asked is an error.
fn readable<T>(result: Result<T, Error>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.outcome(), Outcome::Halted | Outcome::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
