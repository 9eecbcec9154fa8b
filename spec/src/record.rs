//! A registry's record of a release: the policy in force and the log's proofs, as a referrer that travels
//! with the release.
//!
//! Owns the manifest's exact bytes and the names of the documents. Reads and believes none of them:
//! each has a signature of its own, and whoever uses one checks that.

use crate::digest::Digest;
use crate::manifest::Descriptor;
use crate::media;
use serde::Serialize;
use std::collections::BTreeMap;

/// `artifactType` of a record.
pub const ARTIFACT_TYPE: &str = "application/vnd.sealstone.record.v1";

/// The signed policy that is in force.
pub const POLICY: &str = "policy.json";
/// Media type of [`POLICY`]: a DSSE envelope.
pub const POLICY_MEDIA_TYPE: &str = "application/vnd.dsse.envelope.v1+json";
/// The proof that the log holds the tag's last event.
pub const TAG_PROOF: &str = "tag.tlog-proof";
/// The log's key, as a C2SP vkey.
pub const LOG_KEY: &str = "log.vkey";
/// The log's key as sigstore's tools read it.
pub const TRUSTED_ROOT: &str = "trusted_root.json";

/// The key of the registry's own statements, as PEM. Each that it had before is a document of its own under this name.
pub const STATEMENT_KEY: &str = "statements.pem";
/// The proof that the log tells of that key.
pub const STATEMENT_KEY_PROOF: &str = "statements.tlog-proof";

/// Most records of one release that are read. More are not cut off but end it, as with evidence. Each copy that
/// brings something new leaves one, so there can be many without anybody's ill will.
pub const MAX_RECORDS: usize = 1_000;
/// Longest document in a record, in bytes.
pub const MAX_DOCUMENT_BYTES: u64 = 4 * 1024 * 1024;

/// How names of proofs end.
pub const PROOF_ENDING: &str = ".tlog-proof";

/// Name of the proof that the log holds the event of a statement's arrival.
pub fn statement_proof(referrer: &Digest) -> String {
    format!("{}-{}.tlog-proof", referrer.algorithm(), referrer.hex())
}

/// One document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its name: one of those above.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// The manifest that attaches `documents` to `subject`, as exact bytes: sorted by name, without a time,
/// so that the same documents make the same record.
///
/// ```
/// use sealstone_spec::{digest::Digest, manifest::Descriptor, record::{Document, record_manifest}};
/// let subject = Descriptor::new("application/vnd.oci.image.manifest.v1+json", Digest::sha256(b"m"), 1);
/// let document = |name: &str| Document { name: name.into(), media_type: "text/plain".into(), content: b"x".to_vec() };
/// let one = record_manifest(&subject, &[document("a"), document("b")]);
/// assert_eq!(one, record_manifest(&subject, &[document("b"), document("a")]));
/// ```
pub fn record_manifest(subject: &Descriptor, documents: &[Document]) -> Vec<u8> {
    let mut documents: Vec<&Document> = documents.iter().collect();
    documents.sort_by(|one, other| one.name.cmp(&other.name));
    let layers = documents
        .into_iter()
        .map(|document| {
            let mut layer = Descriptor::new(
                document.media_type.clone(),
                Digest::sha256(&document.content),
                document.content.len() as u64,
            );
            layer.annotations =
                BTreeMap::from([(media::ANNOTATION_TITLE.to_owned(), document.name.clone())]);
            layer
        })
        .collect();
    let manifest = Record {
        schema_version: 2,
        media_type: media::OCI_MANIFEST,
        artifact_type: ARTIFACT_TYPE,
        config: Descriptor::new(media::OCI_EMPTY, Digest::sha256(b"{}"), 2),
        layers,
        subject: Descriptor::new(subject.media_type.clone(), subject.digest, subject.size),
    };
    serde_json::to_vec(&manifest).expect("a manifest is made of text and numbers")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    schema_version: u8,
    media_type: &'static str,
    artifact_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
    subject: Descriptor,
}
