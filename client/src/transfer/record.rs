//! A registry's record of a release as of now (its signed policy, its log's proofs), made into one more referrer, so
//! that what a policy asks a log for travels with exports and copies.
//!
//! Believes none of the documents: each has a signature of its own.

use super::Place;
use super::graph::Evidence;
use crate::error::{Error, Outcome, Result};
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::name::{Reference, Tag};
use sealstone_spec::record::{self, Document, record_manifest};
use std::collections::BTreeSet;

/// A record and what lies in it.
pub(super) type Record = (VerifiedManifest, Vec<Document>);

/// The record of `manifest` and of everything among `evidence` that is about it; `None` if the place says nothing.
pub(super) async fn of_now(
    source: &Place,
    manifest: &VerifiedManifest,
    tag: Option<&Tag>,
    evidence: &Evidence,
) -> Result<Option<Record>> {
    let referrers = evidence.referrers.iter();
    let statements: Vec<Digest> = referrers
        .filter_map(|graph| graph.manifests.last())
        .filter(|referrer| {
            let subject = referrer.subject();
            subject.is_some_and(|subject| subject.digest == *manifest.digest())
        })
        .map(|referrer| *referrer.digest())
        .collect();
    let documents = source.store().record(tag, &statements).await?;
    if documents.is_empty() {
        return Ok(None);
    }
    let bytes = record_manifest(&manifest.descriptor(), &documents);
    let made = VerifiedManifest::check(bytes, None, None, Algorithm::Sha256)
        .map_err(|error| Error::other("the registry's record makes no manifest").source(error))?;
    Ok(Some((made, documents)))
}

/// The same for a copy to `destination`; `None` also if the records that are there or come along say all of it
/// already. A copy that is made every night would leave a record each time otherwise.
pub(super) async fn of_news(
    source: &Place,
    destination: &Place,
    manifest: &VerifiedManifest,
    evidence: &Evidence,
) -> Result<Option<Record>> {
    let Some((made, documents)) = of_now(source, manifest, None, evidence).await? else {
        return Ok(None);
    };
    let mut known: BTreeSet<(String, Digest)> = BTreeSet::new();
    let mut note = |record: &VerifiedManifest| {
        let is_of_this = record
            .subject()
            .is_some_and(|subject| subject.digest == *manifest.digest());
        if !is_of_this || record.artifact_type() != Some(record::ARTIFACT_TYPE) {
            return;
        }
        for layer in record.layers() {
            let title = layer.annotations.get(media::ANNOTATION_TITLE);
            known.extend(title.map(|title| (title.clone(), layer.digest)));
        }
    };
    let coming = evidence.referrers.iter();
    coming
        .filter_map(|graph| graph.manifests.last())
        .for_each(&mut note);
    let there = destination
        .store()
        .referrers(manifest.digest(), Some(record::ARTIFACT_TYPE));
    for descriptor in there.await? {
        let reference = Reference::Digest(descriptor.digest);
        match destination.store().manifest(&reference).await {
            Ok(record) => note(&record),
            // Whatever cannot be read says nothing.
            Err(error) if matches!(error.outcome(), Outcome::Halted | Outcome::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    // A proof under a newer checkpoint proves the same.
    let is_news = |document: &Document| {
        let digest = Digest::sha256(&document.content);
        let is_proof = document.name.ends_with(record::PROOF_ENDING);
        !known
            .iter()
            .any(|(name, known)| *name == document.name && (is_proof || *known == digest))
    };
    Ok(documents.iter().any(is_news).then_some((made, documents)))
}
