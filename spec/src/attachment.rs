//! One document attached to a manifest: the referrer that carries it.
//!
//! Owns the exact bytes of that manifest, the shape that OCI image-spec 1.1 states for artifacts without a
//! configuration. Reads nothing, and does not know what the document says.

use crate::digest::Digest;
use crate::manifest::Descriptor;
use crate::media;
use serde::Serialize;
use std::collections::BTreeMap;

/// The manifest that attaches `content` to `subject`, as exact bytes: the same inputs give the same digest.
///
/// Push the content under its SHA-256 digest and `{}` as [`media::OCI_EMPTY`] first.
pub fn attachment_manifest(
    subject: &Descriptor,
    media_type: &'static str,
    content: &[u8],
    annotations: &BTreeMap<&str, &str>,
) -> Vec<u8> {
    let manifest = Attachment {
        schema_version: 2,
        media_type: media::OCI_MANIFEST,
        artifact_type: media_type,
        config: Descriptor::new(media::OCI_EMPTY, Digest::sha256(b"{}"), 2),
        layers: [Descriptor::new(
            media_type,
            Digest::sha256(content),
            content.len() as u64,
        )],
        subject: Descriptor::new(subject.media_type.clone(), subject.digest, subject.size),
        annotations,
    };
    serde_json::to_vec(&manifest).expect("a manifest is made of text and numbers")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attachment<'a> {
    schema_version: u8,
    media_type: &'static str,
    artifact_type: &'static str,
    config: Descriptor,
    layers: [Descriptor; 1],
    subject: Descriptor,
    annotations: &'a BTreeMap<&'a str, &'a str>,
}
