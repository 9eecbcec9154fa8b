//! Proofs that statements were logged, for policies that ask for them: from the registry, or from the
//! records that travel with a release. Nothing here is believed; the policy's own logs decide.

use super::evidence::{Evidence, evidence_of};
use crate::error::{Error, Outcome, Result};
use crate::store::Store;
use sealstone_spec::digest::Digest;
use sealstone_spec::log::LogProof;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::name::Reference;
use sealstone_spec::policy::Policy;
use sealstone_spec::record::{ARTIFACT_TYPE, MAX_DOCUMENT_BYTES, statement_proof};
use std::collections::BTreeMap;

/// Most records of one release that are read.
const MAX_RECORDS: usize = 100;

/// Fetches what has been said about a manifest, and the proofs that `policy` can make use of.
///
/// # Errors
/// As [`evidence_of`].
pub async fn evidence_for(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    policy: &Policy,
) -> Result<Evidence> {
    let mut evidence = evidence_of(store, manifest).await?;
    if policy.logs().is_empty() {
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
    let mut take = |name: &str, content: &[u8]| {
        // What is no proof proves nothing; that is all there is to say about it.
        if let (Some(referrer), Ok(proof)) = (names.get(name), LogProof::parse(content)) {
            evidence.proofs.push((*referrer, proof));
        }
    };
    for document in store.record(None, &referrers).await? {
        take(&document.name, &document.content);
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
            let Some(title) = title.filter(|title| names.contains_key(*title)) else {
                continue;
            };
            if let Some(content) = readable(store.blob_bytes(layer, MAX_DOCUMENT_BYTES).await)? {
                take(title, &content);
            }
        }
    }
    Ok(evidence)
}

/// Missing or damaged is nothing to use; that a place cannot be asked is an error.
fn readable<T>(result: Result<T, Error>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.outcome(), Outcome::Halted | Outcome::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
