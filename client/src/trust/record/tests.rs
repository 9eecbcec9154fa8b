//! Records that anybody may have attached: how much of them is read.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::layout::LayoutStore;
use sealstone_spec::digest::Algorithm;
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::manifest::Descriptor;
use serde_json::{Value, json};

fn key(seed: u8) -> SecretKey {
    SecretKey::ed25519_from_seed(&[seed; 32]).unwrap()
}

fn checked(document: &Value) -> VerifiedManifest {
    VerifiedManifest::check(document.to_string(), None, None, Algorithm::Sha256).unwrap()
}

/// A layer as a record has it; its blob is nowhere.
fn layer(name: &str, content: &[u8], size: u64) -> Descriptor {
    let mut layer = Descriptor::new("text/plain", Digest::sha256(content), size);
    let title = media::ANNOTATION_TITLE.to_owned();
    layer.annotations.insert(title, name.to_owned());
    layer
}

struct World {
    _directory: tempfile::TempDir,
    layout: LayoutStore,
    manifest: VerifiedManifest,
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let layout = LayoutStore::open_or_create(directory.path().join("out")).unwrap();
        let manifest = checked(&json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
            "config": {"mediaType": media::OCI_EMPTY, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
            "layers": [],
        }));
        layout.write_manifest(&manifest, None).unwrap();
        World {
            _directory: directory,
            layout,
            manifest,
        }
    }

    /// Attaches a record with these layers; `note` makes it another one.
    fn attach(&self, note: &str, layers: &[Descriptor]) {
        let record = checked(&json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": ARTIFACT_TYPE,
            "config": {"mediaType": media::OCI_EMPTY, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
            "layers": layers, "subject": self.manifest.descriptor(),
            "annotations": {"dev.example.note": note},
        }));
        self.layout.write_manifest(&record, None).unwrap();
    }

    /// How many documents of this name are read; `None` if there is more than that.
    async fn read(&self, name: &str, longest: u64) -> Option<usize> {
        let mut count = 0;
        let take = |_: Vec<u8>| count += 1;
        let all = each_document(&self.layout, &self.manifest, name, longest, take);
        let is_all = all.await.unwrap();
        is_all.then_some(count)
    }
}

#[tokio::test]
async fn documents_are_read_once_and_within_a_sum() {
    let world = World::new();
    world
        .layout
        .write_blob(&Digest::sha256(b"x"), b"x")
        .unwrap();
    // A false size hides nothing, and one that is too long is not read.
    let own = layer(POLICY, b"x", 1);
    let layers = [
        layer(POLICY, b"x", MAX_DOCUMENT_BYTES + 1),
        layer(POLICY, b"x", 2),
        own.clone(),
        own.clone(),
    ];
    world.attach("one", &layers);
    world.attach("other", &[own]);
    assert_eq!(world.read(POLICY, MAX_DOCUMENT_BYTES).await, Some(1));
    assert_eq!(world.read(TAG_PROOF, MAX_DOCUMENT_BYTES).await, Some(0));

    // The same one counts once, others add up.
    let most = MOST_EVIDENCE_BYTES / MAX_DOCUMENT_BYTES;
    let large = |number: u64| layer(POLICY, &number.to_be_bytes(), MAX_DOCUMENT_BYTES);
    let same: Vec<_> = (0..=most).map(|_| large(0)).collect();
    world.attach("same", &same);
    assert_eq!(world.read(POLICY, MAX_DOCUMENT_BYTES).await, Some(1));
    let others: Vec<_> = (0..=most).map(large).collect();
    world.attach("others", &others);
    assert_eq!(world.read(POLICY, MAX_DOCUMENT_BYTES).await, None);
    assert_eq!(
        world.read(POLICY, MAX_PROOF_FILE_BYTES as u64).await,
        Some(1)
    );

    let roots = Roots::new(1, vec![key(20).public_key().clone()]);
    let error = policy_by_roots(&world.layout, &world.manifest, &roots).await;
    let error = error.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused);
    assert!(error.to_string().contains("more records"), "{error}");
}
