//! Records that anybody may have attached: how much of them is read, and what a repository that they name is worth.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::layout::LayoutStore;
use sealstone_spec::digest::Algorithm;
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::log::{Checkpoint, EventEntry, Hash, KeyKind, VerifierKey};
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

/// A policy with one rule for `models/**`, and more in it.
fn policy(more: &str) -> Policy {
    let line = |seed: u8| key(seed).public_key().to_openssh();
    let text = format!(
        "schema = \"sealstone-policy/v2\"\nversion = 1\nexpires = \"2099-01-01T00:00:00Z\"\n\
         [roots]\nthreshold = 1\nkeys = [\"{}\"]\n\
         [[identity]]\nname = \"alice\"\nroles = [\"release\"]\nkeys = [\"{}\"]\n\
         [[scope]]\nrepositories = [\"models/**\"]\n[[scope.require]]\nrule = \"signatures\"\n{more}",
        line(20),
        line(1)
    );
    Policy::parse(&text).unwrap()
}

#[tokio::test]
async fn an_archive_does_not_choose_its_rules() {
    let world = World::new();
    let own = key(5);
    let log = VerifierKey::new("log.example", KeyKind::Log, own.public_key().clone()).unwrap();
    let digest = *world.manifest.digest();
    let mut event = EventEntry::new(Operation::Tag, digest, "user:x", 1);
    event.repository = Some("models/x".parse().unwrap());
    event.tag = Some("1.0.0".parse().unwrap());
    let entry = Entry::Event(event).to_bytes().unwrap();
    let checkpoint = Checkpoint::new("log.example", 1, Hash::of_entry(&entry));
    let proof = LogProof {
        extra: Some(entry),
        index: 0,
        hashes: Vec::new(),
        checkpoint: checkpoint.sign(&log, &own).unwrap(),
    };
    let proof = proof.to_string().into_bytes();
    world
        .layout
        .write_blob(&Digest::sha256(&proof), &proof)
        .unwrap();
    world.attach("proof", &[layer(TAG_PROOF, &proof, proof.len() as u64)]);

    let trusted = format!("[[log]]\nvkey = \"{log}\"\n");
    let other =
        |rules: &str| format!("{trusted}[[scope]]\nrepositories = [\"drafts/**\"]\n{rules}");
    let rule = "[[scope.require]]\nrule = \"signatures\"\n";
    let logged = "[[scope.require]]\nrule = \"log\"\n";
    let approved = "[[scope.require]]\nrule = \"approvals\"\nrole = \"release\"\n";
    let waived = "[scope.exceptions]\nrules = [\"signatures\"]\nrole = \"release\"\n";
    for (more, is_proved, is_usable) in [
        // Anybody writes an entry.
        (String::new(), false, false),
        (trusted.clone(), true, true),
        (other(rule), true, true),
        (other(""), true, false),
        (other(logged), true, false),
        (other(&format!("{rule}{logged}")), true, false),
        // Whoever signs an exception says in which repositories it holds.
        (format!("{waived}{trusted}"), true, false),
        (
            format!("{waived}{}", other(&format!("{rule}{waived}"))),
            true,
            false,
        ),
        // An approval is for one scope.
        (format!("{approved}{trusted}"), true, true),
        (
            format!("{approved}{}", other(&format!("{rule}{approved}"))),
            true,
            false,
        ),
    ] {
        let policy = policy(&more);
        let told = told_repository(&world.layout, &world.manifest, &policy).await;
        let told = told.unwrap().unwrap();
        assert_eq!(told.name.as_str(), "models/x");
        assert_eq!(told.is_proved, is_proved, "{more}");
        assert_eq!(told.doubt(&policy).is_none(), is_usable, "{more}");
    }
}
