//! What is moved: a bundle of a large and a small file, in a layout and in a registry; and a pull of it.
//!
//! Owns no expectation; each test states its own.

use crate::error::Result;
use crate::layout::LayoutStore;
use crate::transfer::{Copied, Place, Pulled, Requirement, TransferOptions, pull, push};
use crate::transport::testing::{FakeRegistry, Quirks};
use sealstone_spec::bundle::FileKind;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::media;
use sealstone_spec::name::Tag;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

pub(super) const LARGE: usize = 9 * 1024 * 1024 + 123;

/// Sizes that make a few mebibytes a large blob.
pub(super) fn options() -> TransferOptions {
    TransferOptions {
        small: 64 * 1024,
        ranges_from: 2 * 1024 * 1024,
        range_bytes: 1024 * 1024,
        ..TransferOptions::default()
    }
}

pub(super) fn one_stream() -> TransferOptions {
    TransferOptions {
        ranges: 1,
        ..options()
    }
}

pub(super) fn content(seed: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| ((i * 31 + seed * 7 + i / 251) % 256) as u8)
        .collect()
}

pub(super) fn layer(path: &str, content: &[u8]) -> Value {
    json!({"mediaType": FileKind::Weight.raw_media_type(), "digest": Digest::sha256(content), "size": content.len(),
        "annotations": {media::ANNOTATION_FILEPATH: path}})
}

pub(super) fn bundle_of(layers: &[Value]) -> VerifiedManifest {
    let text = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": media::MODEL_ARTIFACT,
        "config": {"mediaType": media::MODEL_CONFIG, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
        "layers": layers});
    VerifiedManifest::check(text.to_string(), None, None, Algorithm::Sha256).unwrap()
}

pub(super) fn referrer(subject: &VerifiedManifest, note: &str) -> VerifiedManifest {
    let text = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": media::SIGSTORE_BUNDLE_V03,
        "config": {"mediaType": media::OCI_EMPTY, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
        "layers": [layer("s", note.as_bytes())],
        "subject": Descriptor::new(subject.media_type(), *subject.digest(), subject.size())});
    VerifiedManifest::check(text.to_string(), None, None, Algorithm::Sha256).unwrap()
}

/// A layout with a bundle of a large and a small file.
pub(super) fn packed(root: &Path) -> (LayoutStore, VerifiedManifest, Vec<u8>) {
    let layout = LayoutStore::open_or_create(root.join("layout")).unwrap();
    let (large, small) = (content(1, LARGE), content(2, 1000));
    for blob in [&large[..], &small, b"{}"] {
        layout.write_blob(&Digest::sha256(blob), blob).unwrap();
    }
    let manifest = bundle_of(&[
        layer("weights/model.bin", &large),
        layer("README.md", &small),
    ]);
    layout.write_manifest(&manifest, Some(&tag("1.0"))).unwrap();
    (layout, manifest, large)
}

pub(super) fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

/// Pushes a bundle to `a/b` under this tag.
pub(super) async fn push_as(
    layout: &LayoutStore,
    fake: &FakeRegistry,
    manifest: &VerifiedManifest,
    name: &str,
) -> Result<Copied> {
    push(
        layout,
        &fake.store("a/b"),
        manifest,
        Some(&tag(name)),
        &options(),
    )
    .await
}

/// A registry that holds that bundle in `a/b`.
pub(super) async fn stocked(
    quirks: Quirks,
) -> (FakeRegistry, VerifiedManifest, Vec<u8>, tempfile::TempDir) {
    let root = tempfile::tempdir().unwrap();
    let (layout, manifest, large) = packed(root.path());
    let fake = FakeRegistry::start(Quirks::default()).await;
    push_as(&layout, &fake, &manifest, "1.0").await.unwrap();
    fake.state().quirks = quirks;
    fake.state().log.clear();
    (fake, manifest, large, root)
}

pub(super) async fn pull_from(
    fake: &FakeRegistry,
    manifest: &VerifiedManifest,
    to: &Path,
    options: &TransferOptions,
) -> Result<Pulled> {
    let place = Place::Registry(fake.store("a/b"));
    pull(
        &place,
        manifest,
        Requirement::NoSignatures,
        to,
        false,
        options,
    )
    .await
}

pub(in crate::transfer) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
