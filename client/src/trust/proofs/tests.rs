//! A statement in an archive with its proof: what is kept of the log contradicts it or not, and records in a flood.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::layout::LayoutStore;
use crate::log::KeptLog;
use crate::trust::testing::Relisted;
use crate::trust::{Judge, policy_by_roots, sign};
use sealstone_spec::digest::Algorithm;
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::log::{
    Checkpoint, Entry, EventEntry, Hash, KeyChange, KeyEntry, KeyKind, Operation, PROOF_MEDIA_TYPE,
    VerifierKey,
};
use sealstone_spec::name::RepoName;
use sealstone_spec::policy::{Roots, lifecycle};
use sealstone_spec::record::{Document, record_manifest};
use sealstone_spec::sigstore::referrer_manifest;
use sealstone_spec::statement::Subject;
use serde_json::json;
use std::fs;

const ORIGIN: &str = "log.example";

fn key(seed: u8) -> SecretKey {
    SecretKey::ed25519_from_seed(&[seed; 32]).unwrap()
}

fn repository() -> RepoName {
    "models/x".parse().unwrap()
}

struct World {
    directory: tempfile::TempDir,
    layout: LayoutStore,
    manifest: VerifiedManifest,
    log: VerifierKey,
    /// The one entry of the log: that the signature was attached.
    entry: Vec<u8>,
}

impl World {
    /// A layout with a manifest that alice signed, and a record with the proof that a log of one entry holds it.
    async fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let layout = LayoutStore::open_or_create(directory.path().join("out")).unwrap();
        let document = json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
            "config": {"mediaType": media::OCI_EMPTY, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
            "layers": [],
        });
        let check =
            |bytes: Vec<u8>| VerifiedManifest::check(bytes, None, None, Algorithm::Sha256).unwrap();
        let manifest = check(document.to_string().into_bytes());
        layout.write_blob(&Digest::sha256(b"{}"), b"{}").unwrap();
        layout.write_manifest(&manifest, None).unwrap();
        let created = "2026-01-01T00:00:00Z";
        let signed = sign(&layout, &manifest, "r.example/models/x", &key(1), created).await;
        let referrer = signed.unwrap().referrer;

        let mut event = EventEntry::new(Operation::Attach, *manifest.digest(), "user:x", 1);
        event.repository = Some(repository());
        event.statement = Some(referrer);
        let entry = Entry::Event(event).to_bytes().unwrap();
        let log = VerifierKey::new(ORIGIN, KeyKind::Log, key(5).public_key().clone()).unwrap();
        let world = World {
            directory,
            layout,
            manifest,
            log,
            entry,
        };
        let proof = LogProof {
            extra: Some(world.entry.clone()),
            index: 0,
            hashes: Vec::new(),
            checkpoint: world.checkpoint(1, &world.entry),
        };
        let document = Document {
            name: statement_proof(&referrer),
            media_type: PROOF_MEDIA_TYPE.to_owned(),
            content: proof.to_string().into_bytes(),
        };
        let digest = Digest::sha256(&document.content);
        world.layout.write_blob(&digest, &document.content).unwrap();
        let record = record_manifest(&world.manifest.descriptor(), &[document]);
        world.layout.write_manifest(&check(record), None).unwrap();
        world
    }

    /// A checkpoint of this size; the root is that of a log with one entry.
    fn checkpoint(&self, size: u64, entry: &[u8]) -> SignedCheckpoint {
        let checkpoint = Checkpoint::new(ORIGIN, size, Hash::of_entry(entry));
        checkpoint.sign(&self.log, &key(5)).unwrap()
    }

    /// Attaches a report of damage that a registry with this key made.
    fn attach_incident(&self, registry: &SecretKey) {
        let created = "2026-01-01T00:00:00Z";
        let subject = Subject::new("x", self.manifest.digest());
        let statement = lifecycle::incident(vec![subject], "content is damaged", &[], created);
        let bundle = SigstoreBundle::sign(&statement, registry).unwrap();
        let bundle = bundle.to_bytes();
        let digest = Digest::sha256(&bundle);
        self.layout.write_blob(&digest, &bundle).unwrap();
        let subject = self.manifest.descriptor();
        let referrer = referrer_manifest(&subject, &bundle, lifecycle::INCIDENT, created);
        let referrer = VerifiedManifest::check(referrer, None, None, Algorithm::Sha256).unwrap();
        self.layout.write_manifest(&referrer, None).unwrap();
    }

    /// Attaches a record with the key of a registry's statements, as anybody may; with the log's word about it, if the log
    /// has one.
    fn attach_key(&self, registry: &SecretKey, is_logged: bool) {
        let public = registry.public_key();
        let mut documents = vec![Document {
            name: STATEMENT_KEY.to_owned(),
            media_type: "application/x-pem-file".to_owned(),
            content: public.to_pem().into_bytes(),
        }];
        if is_logged {
            let digest = Digest::sha256(&public.to_spki_der());
            let mut event = EventEntry::new(Operation::Key, digest, "registry", 1);
            event.key = Some(KeyEntry {
                change: KeyChange::Added,
                kind: "registry-statements".to_owned(),
                holder: None,
                id: public.id().to_string(),
                roles: Vec::new(),
                status: None,
                from: None,
                until: None,
            });
            let entry = Entry::Event(event).to_bytes().unwrap();
            let proof = LogProof {
                index: 0,
                hashes: Vec::new(),
                checkpoint: self.checkpoint(1, &entry),
                extra: Some(entry),
            };
            documents.push(Document {
                name: STATEMENT_KEY_PROOF.to_owned(),
                media_type: PROOF_MEDIA_TYPE.to_owned(),
                content: proof.to_string().into_bytes(),
            });
        }
        for document in &documents {
            let digest = Digest::sha256(&document.content);
            self.layout.write_blob(&digest, &document.content).unwrap();
        }
        let record = record_manifest(&self.manifest.descriptor(), &documents);
        let record = VerifiedManifest::check(record, None, None, Algorithm::Sha256).unwrap();
        self.layout.write_manifest(&record, None).unwrap();
    }

    /// A place in which this checkpoint is kept of the log.
    fn kept(&self, name: &str, checkpoint: &SignedCheckpoint) -> KeptLogs {
        let state = self.directory.path().join(name);
        fs::create_dir_all(state.join("logs")).unwrap();
        let kept = KeptLogs::in_directory(&state);
        let log = KeptLog {
            key: self.log.clone(),
            checkpoint: checkpoint.verify(&self.log).unwrap(),
        };
        kept.write(&self.log.to_string(), &log).unwrap();
        kept
    }

    /// What alice signs counts if the log holds it.
    fn policy(&self) -> Policy {
        let public = |seed: u8| key(seed).public_key().to_openssh();
        let text = format!(
            "schema = \"sealstone-policy/v2\"\nversion = 1\nexpires = \"2099-01-01T00:00:00Z\"\n\
             [roots]\nthreshold = 1\nkeys = [\"{}\"]\n\
             [[identity]]\nname = \"alice\"\nroles = [\"release\"]\nkeys = [\"{}\"]\n\
             [[log]]\nvkey = \"{}\"\n\
             [[scope]]\nrepositories = [\"models/**\"]\n[[scope.require]]\nrule = \"signatures\"\n\
             [[scope.require]]\nrule = \"log\"\n",
            public(20),
            public(1),
            self.log
        );
        Policy::parse(&text).unwrap()
    }

    async fn evidence(&self, kept: Option<&KeptLogs>) -> Result<Evidence> {
        let policy = self.policy();
        evidence_against(&self.layout, &self.manifest, &policy, None, kept).await
    }

    fn judged(&self, evidence: &Evidence) -> Result<()> {
        let judge = Judge::from_policy(self.policy());
        let judged = judge.judge(&repository(), &self.manifest, evidence);
        judged.map(drop)
    }
}

#[tokio::test]
async fn a_fork_of_what_is_kept_of_the_log_is_noticed_without_it() {
    let world = World::new().await;
    let nothing = world.evidence(None).await.unwrap();
    assert_eq!(nothing.undecided, Vec::<String>::new());
    world.judged(&nothing).unwrap();

    let same = world.kept("same", &world.checkpoint(1, &world.entry));
    let same = world.evidence(Some(&same)).await.unwrap();
    assert_eq!(same.undecided, Vec::<String>::new());
    world.judged(&same).unwrap();

    let fork = world.kept("fork", &world.checkpoint(1, b"what others are shown"));
    let error = world.evidence(Some(&fork)).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Contradicted);
    let detail = error.details().unwrap();
    assert!(
        detail["kept"].is_string() && detail["proof"].is_string(),
        "{detail}"
    );

    // Whether a tree of another size is of the same history, only the log can show; that is said.
    let longer = world.kept("longer", &world.checkpoint(2, b"what others are shown"));
    let longer = world.evidence(Some(&longer)).await.unwrap();
    let [text] = &longer.undecided[..] else {
        panic!("{:?}", longer.undecided)
    };
    assert!(
        text.contains("2 entries") && text.contains(ORIGIN),
        "{text}"
    );
    world.judged(&longer).unwrap();
}

/// Adds so many records to a listing that the place has not.
fn more_records(count: usize) -> impl Fn(Option<&str>, &mut Vec<Descriptor>) + Send + Sync {
    move |artifact_type, listed| {
        if artifact_type == Some(ARTIFACT_TYPE) {
            listed.extend((0..count).map(|number| {
                let digest = Digest::sha256(number.to_string().as_bytes());
                Descriptor::new(media::OCI_MANIFEST, digest, 1)
            }));
        }
    }
}

#[tokio::test]
async fn more_records_than_are_read_refuse() {
    let world = World::new().await;
    let store = Relisted(&world.layout, more_records(MAX_RECORDS));
    let policy = world.policy();
    let found = evidence_against(&store, &world.manifest, &policy, None, None);
    let found = found.await.unwrap();
    assert!(found.lacks_proofs);
    let error = found.demand_all(&world.manifest).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Halted);
    let error = world.judged(&found).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused);

    // Nor is a policy chosen from some of them.
    let roots = Roots::new(1, vec![key(20).public_key().clone()]);
    let error = policy_by_roots(&store, &world.manifest, &roots).await;
    let error = error.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused);
    assert!(error.to_string().contains("more records"), "{error}");
}

#[tokio::test]
async fn a_record_that_is_lost_or_damaged_refuses_like_a_statement() {
    let world = World::new().await;
    let own = world.evidence(None).await.unwrap();
    let content = own.proofs[0].1.to_string().into_bytes();
    let blob = |bytes: &[u8]| {
        let blobs = world.directory.path().join("out/blobs/sha256");
        blobs.join(Digest::sha256(bytes).hex())
    };
    let refused = async || {
        let found = world.evidence(None).await.unwrap();
        assert_eq!((found.proofs.len(), found.unread.len()), (0, 1));
        let error = world.judged(&found).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Refused);
    };
    fs::remove_file(blob(&content)).unwrap();
    refused().await;
    fs::write(blob(&content), vec![b'x'; content.len()]).unwrap();
    refused().await;
    fs::write(blob(&content), &content).unwrap();
    world.judged(&world.evidence(None).await.unwrap()).unwrap();

    // At a registry a record may have been deleted since it was listed.
    let store = Relisted(&world.layout, more_records(1));
    let policy = world.policy();
    let found = evidence_against(&store, &world.manifest, &policy, None, None);
    let found = found.await.unwrap();
    assert_eq!(found.unread, Vec::new());
    world.judged(&found).unwrap();
}

#[tokio::test]
async fn proofs_that_do_not_hold_take_no_place_from_one_that_does() {
    let world = World::new().await;
    let own = world.evidence(None).await.unwrap();
    let [(referrer, good)] = &own.proofs[..] else {
        panic!("{:?}", own.proofs)
    };
    let mut crowded = own.clone();
    crowded.proofs.clear();
    for number in 0..10 {
        let mut bogus = good.clone();
        bogus.hashes.push(Hash::of_entry(&[number]));
        crowded.proofs.push((*referrer, bogus));
    }
    world.judged(&crowded).unwrap_err();
    crowded.proofs.push((*referrer, good.clone()));
    world.judged(&crowded).unwrap();
}

#[tokio::test]
async fn a_record_that_states_a_false_size_hides_no_proof() {
    let world = World::new().await;
    let own = world.evidence(None).await.unwrap();
    let [(referrer, good)] = &own.proofs[..] else {
        panic!("{:?}", own.proofs)
    };
    let content = good.to_string().into_bytes();
    let subject = world.manifest.descriptor();
    let genuine = Store::referrers(&world.layout, &subject.digest, Some(ARTIFACT_TYPE));
    let genuine = genuine.await.unwrap();
    for size in [MAX_PROOF_FILE_BYTES as u64 + 1, 1] {
        let mut layer = Descriptor::new(PROOF_MEDIA_TYPE, Digest::sha256(&content), size);
        let title = media::ANNOTATION_TITLE.to_owned();
        layer.annotations.insert(title, statement_proof(referrer));
        let record = json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": ARTIFACT_TYPE,
            "config": {"mediaType": media::OCI_EMPTY, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
            "layers": [layer], "subject": subject,
        });
        let record = VerifiedManifest::check(record.to_string(), None, None, Algorithm::Sha256);
        let record = record.unwrap();
        world.layout.write_manifest(&record, None).unwrap();
        let mut listed = vec![record.descriptor()];
        listed.extend(genuine.iter().cloned());
        let mut found = Found::about(&[*referrer]);
        assert!(found.read_records(&world.layout, &listed).await.unwrap());
        assert_eq!(found.proofs, [(*referrer, good.clone())], "{size}");
    }
}

#[tokio::test]
async fn no_attached_key_silences_a_registry() {
    let world = World::new().await;
    let registry = key(8);
    world.attach_incident(&registry);
    let verdict = async || {
        let found = world.evidence(None).await.unwrap();
        let verdict = world.judged(&found).map_err(|error| error.outcome());
        (found.registry.len(), verdict)
    };
    assert_eq!(verdict().await, (0, Ok(())));
    // What only came along may be anybody's: a stranger stops nobody's release with it, however many he brings.
    world.attach_key(&registry, false);
    world.attach_key(&key(9), false);
    assert_eq!(verdict().await, (1, Ok(())));

    world.attach_key(&registry, true);
    assert_eq!(verdict().await, (1, Err(Outcome::Refused)));
    // One that the policy gives to somebody, and that of another registry, or of the same one before.
    world.attach_key(&key(1), false);
    assert_eq!(verdict().await, (2, Err(Outcome::Refused)));
    world.attach_key(&key(10), true);
    assert_eq!(verdict().await, (3, Err(Outcome::Refused)));
    // The same keys once more are no others.
    world.attach_key(&key(10), false);
    assert_eq!(verdict().await, (3, Err(Outcome::Refused)));
}

#[test]
fn the_registry_that_was_asked_is_heard_beside_those_of_logs() {
    let known = |seed: u8, known: KnownBy| RegistryKey {
        key: key(seed).public_key().clone(),
        known,
    };
    let policy = Policy::parse("schema = \"sealstone-policy/v1\"\n").unwrap();
    let log = KnownBy::Log {
        origin: ORIGIN.to_owned(),
        index: 3,
    };
    let candidates = vec![
        known(1, KnownBy::Companion),
        known(2, KnownBy::Registry),
        known(3, KnownBy::Companion),
        known(4, log.clone()),
        known(2, KnownBy::Companion),
    ];
    let heard = RegistryKey::heard(candidates.clone(), &[], &policy);
    assert_eq!(heard, [known(4, log), known(2, KnownBy::Registry)]);
    let companions = vec![candidates[2].clone(), candidates[0].clone()];
    let heard = RegistryKey::heard(companions, &[], &policy);
    assert_eq!(heard, [known(3, KnownBy::Companion)]);
}
