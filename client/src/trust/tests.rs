//! Signing and judging through a layout: what holds, and everything that must not.
#![allow(clippy::unwrap_used)]

use super::testing::Relisted;
use super::*;
use crate::Outcome;
use crate::error::Result;
use crate::layout::LayoutStore;
use crate::pack::{PackOptions, pack};
use crate::store::Store;
use sealstone_spec::bundle::Bundle;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::key::{SecretKey, Signer};
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::media;
use sealstone_spec::name::{Reference, RepoName};
use sealstone_spec::policy::{Policy, lifecycle};
use sealstone_spec::sigstore::{MAX_BUNDLE_BYTES, SigstoreBundle, legacy_tag, referrer_manifest};
use sealstone_spec::statement::Subject;
use sealstone_spec::words::three_words;
use std::fs;
use std::path::PathBuf;

const CREATED: &str = "2026-01-01T00:00:00Z";

struct World {
    directory: tempfile::TempDir,
    layout: LayoutStore,
    manifest: VerifiedManifest,
}

fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let model = directory.path().join("model");
    fs::create_dir(&model).unwrap();
    fs::write(model.join("model.safetensors"), b"weights").unwrap();
    fs::write(model.join("config.json"), b"{}").unwrap();
    let layout = LayoutStore::open_or_create(directory.path().join("out")).unwrap();
    let packed = pack(&model, &layout, &PackOptions::default(), None, &()).unwrap();
    World {
        directory,
        layout,
        manifest: packed.manifest,
    }
}

fn ed25519(seed: u8) -> SecretKey {
    SecretKey::ed25519_from_seed(&[seed; 32]).unwrap()
}

fn p256(seed: u8) -> SecretKey {
    SecretKey::p256_from_seed(&[seed; 32]).unwrap()
}

fn repository() -> RepoName {
    "models/x".parse().unwrap()
}

fn judge(keys: &[(&str, &SecretKey)], threshold: u32) -> Judge {
    let keys = keys
        .iter()
        .map(|(name, key)| (*name, key.public_key().clone()));
    Judge::from_keys(keys, threshold).unwrap()
}

impl World {
    async fn sign(&self, key: &SecretKey) -> Signed {
        sign(
            &self.layout,
            &self.manifest,
            "r.example/models/x",
            key,
            CREATED,
        )
        .await
        .unwrap()
    }

    async fn within(&self, items: usize, bytes: u64) -> Evidence {
        let limits = super::evidence::Limits { items, bytes };
        super::evidence::evidence_within(&self.layout, &self.manifest, limits)
            .await
            .unwrap()
    }

    async fn outcome(&self, judge: &Judge) -> Result<(), Outcome> {
        let evidence = evidence_of(&self.layout, &self.manifest).await.unwrap();
        let judged = judge.judge(&repository(), &self.manifest, &evidence);
        judged.map(|_| ()).map_err(|error| error.outcome())
    }
}

#[tokio::test]
async fn a_signature_holds_for_its_key_and_no_other() {
    let world = world();
    let (alice, mallory) = (ed25519(1), ed25519(4));
    assert_eq!(
        world.outcome(&judge(&[("alice", &alice)], 1)).await,
        Err(Outcome::Refused)
    );
    let signed = world.sign(&alice).await;
    assert!(!signed.was_there);
    assert_eq!(world.outcome(&judge(&[("alice", &alice)], 1)).await, Ok(()));
    assert_eq!(
        world.outcome(&judge(&[("mallory", &mallory)], 1)).await,
        Err(Outcome::Refused)
    );
    // Again, and at another time: nothing is added.
    let again = sign(
        &world.layout,
        &world.manifest,
        "r.example/models/x",
        &alice,
        "2027-01-01T00:00:00Z",
    );
    let again = again.await.unwrap();
    assert!(again.was_there);
    assert_eq!(again.referrer, signed.referrer);
}

#[tokio::test]
async fn two_keys_of_one_signer_are_one_signature() {
    let world = world();
    let (alice, companion, bob) = (ed25519(1), p256(2), ed25519(3));
    world.sign(&alice).await;
    world.sign(&companion).await;
    let two_of_two = judge(
        &[("alice", &alice), ("alice", &companion), ("bob", &bob)],
        2,
    );
    assert_eq!(world.outcome(&two_of_two).await, Err(Outcome::Refused));
    world.sign(&bob).await;
    assert_eq!(world.outcome(&two_of_two).await, Ok(()));
    assert!(Judge::from_keys([("a", alice.public_key().clone())], 2).is_err());
    assert!(Judge::from_keys(Vec::<(String, _)>::new(), 1).is_err());
}

#[test]
fn key_files_of_one_name_are_one_signer() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, key: &SecretKey| -> PathBuf {
        let path = directory.path().join(name);
        fs::write(&path, key.public_key().to_pem()).unwrap();
        path
    };
    let paths = [write("a.pub", &ed25519(1)), write("a-p256.pub", &p256(2))];
    assert!(
        Judge::from_key_files(&paths, 2).is_err(),
        "one signer cannot be two"
    );
    let both = [paths[0].clone(), write("b.pub", &ed25519(3))];
    assert!(Judge::from_key_files(&both, 2).is_ok());
    // However the paths are spelt, and whatever leads to them.
    let root = directory.path();
    fs::create_dir(root.join("c")).unwrap();
    std::os::unix::fs::symlink(&paths[1], root.join("linked.pub")).unwrap();
    for other in ["./a-p256.pub", "c/../a-p256.pub", "linked.pub"] {
        for pair in [
            [paths[0].clone(), root.join(other)],
            [root.join(other), paths[0].clone()],
        ] {
            assert!(Judge::from_key_files(&pair, 2).is_err(), "{other}");
        }
    }
}

#[test]
fn keys_of_one_principal_are_one_signer_in_any_file() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, principals: &str, key: &SecretKey| -> PathBuf {
        let path = directory.path().join(name);
        let line = format!("{principals} {}\n", key.public_key().to_openssh());
        fs::write(&path, line).unwrap();
        path
    };
    let one = write("one", "alice@a.example,alice@b.example", &ed25519(1));
    let two = write("two", "alice@b.example", &ed25519(2));
    for pair in [[&one, &two], [&two, &one]] {
        let pair = pair.map(PathBuf::clone);
        assert!(
            Judge::from_key_files(&pair, 2).is_err(),
            "one signer cannot be two"
        );
        assert!(Judge::from_key_files(&pair, 1).is_ok());
    }
    // Somebody else's, and one without a principal, are others.
    let bob = write("three", "bob@b.example", &ed25519(3));
    let plain = directory.path().join("four.pub");
    fs::write(&plain, ed25519(4).public_key().to_pem()).unwrap();
    let others = [one, two, bob, plain];
    assert!(Judge::from_key_files(&others, 3).is_ok());
    assert!(Judge::from_key_files(&others, 4).is_err());
}

#[tokio::test]
async fn no_changed_byte_of_the_evidence_is_accepted() {
    let world = world();
    let alice = ed25519(1);
    let signed = world.sign(&alice).await;
    let judge = judge(&[("alice", &alice)], 1);
    let referrer = world
        .layout
        .read_manifest(&Reference::Digest(signed.referrer))
        .unwrap();
    let bundle = world.layout.blob_path(&referrer.layers()[0].digest);
    let good = fs::read(&bundle).unwrap();
    for position in (0..good.len()).step_by(29) {
        let mut bad = good.clone();
        bad[position] ^= 1;
        fs::write(&bundle, bad).unwrap();
        assert_eq!(
            world.outcome(&judge).await,
            Err(Outcome::Refused),
            "byte {position}"
        );
    }
    fs::remove_file(&bundle).unwrap();
    assert_eq!(world.outcome(&judge).await, Err(Outcome::Refused));
    fs::write(&bundle, &good).unwrap();
    assert_eq!(world.outcome(&judge).await, Ok(()));
    // A damaged referrer cannot be told from one that matters: the layout itself is refused.
    fs::write(world.layout.blob_path(&signed.referrer), b"{}").unwrap();
    let error = evidence_of(&world.layout, &world.manifest)
        .await
        .unwrap_err();
    assert_eq!(error.outcome(), Outcome::Halted);
}

#[tokio::test]
async fn broken_evidence_of_others_spoils_nothing() {
    let world = world();
    let alice = ed25519(1);
    world.sign(&alice).await;
    let garbage = b"not a bundle".to_vec();
    let document = referrer_manifest(
        &world.manifest.descriptor(),
        &garbage,
        "https://sigstore.dev/cosign/sign/v1",
        CREATED,
    );
    let referrer = VerifiedManifest::check(document, None, None, Algorithm::Sha256).unwrap();
    world.layout.write_manifest(&referrer, None).unwrap();
    let judge = judge(&[("alice", &alice)], 1);
    // Nobody can tell garbage that is lost from a revocation that is.
    assert_eq!(
        world.outcome(&judge).await,
        Err(Outcome::Refused),
        "its blob is missing"
    );
    world
        .layout
        .write_blob(&Digest::sha256(&garbage), &garbage)
        .unwrap();
    assert_eq!(world.outcome(&judge).await, Ok(()), "its blob is no bundle");
}

#[tokio::test]
async fn what_can_be_no_evidence_is_set_aside_unread() {
    let world = world();
    let alice = ed25519(1);
    world.sign(&alice).await;
    let judge = judge(&[("alice", &alice)], 1);
    let document = referrer_manifest(
        &world.manifest.descriptor(),
        b"never read",
        "https://sigstore.dev/cosign/sign/v1",
        CREATED,
    );
    let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
    let (mut two, mut huge) = (document.clone(), document);
    let layer = two["layers"][0].clone();
    two["layers"].as_array_mut().unwrap().push(layer);
    huge["layers"][0]["size"] = (MAX_BUNDLE_BYTES + 1).into();
    let mut expected = Vec::new();
    for (document, reason) in [(two, "2 layers"), (huge, "16777217 bytes")] {
        let referrer =
            VerifiedManifest::check(document.to_string(), None, None, Algorithm::Sha256).unwrap();
        world.layout.write_manifest(&referrer, None).unwrap();
        expected.push((*referrer.digest(), reason));
    }
    let evidence = evidence_of(&world.layout, &world.manifest).await.unwrap();
    assert_eq!((evidence.attached.len(), evidence.unread.len()), (1, 0));
    let judged = judge
        .judge(&repository(), &world.manifest, &evidence)
        .unwrap();
    for (digest, reason) in expected {
        let mut ignored = judged.evaluation.ignored.iter();
        let found = ignored.find(|ignored| ignored.evidence == digest).unwrap();
        assert!(found.reason.contains(reason), "{}", found.reason);
    }
}

#[tokio::test]
async fn more_evidence_than_is_read_refuses_and_is_not_fetched() {
    let world = world();
    let (alice, bob) = (ed25519(1), ed25519(3));
    world.sign(&alice).await;
    world.sign(&bob).await;
    let judge = judge(&[("alice", &alice), ("bob", &bob)], 1);
    let all = evidence_of(&world.layout, &world.manifest).await.unwrap();
    let size = |item: &Attached| item.bundle.len() as u64 + item.referrer.size();
    let bytes: u64 = all.attached.iter().map(size).sum();
    let whole = world.within(2, bytes).await;
    assert_eq!((whole.attached.len(), whole.cut_off), (2, None));
    whole.demand_all(&world.manifest).unwrap();
    judge.judge(&repository(), &world.manifest, &whole).unwrap();
    for (items, bytes) in [(1, bytes), (2, bytes - 1), (1, bytes - 1)] {
        let part = world.within(items, bytes).await;
        assert_eq!((part.attached.len(), part.cut_off), (1, Some(1)));
        let error = part.demand_all(&world.manifest).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Halted);
        // What was read would do, and what was not may be what stops it.
        let error = judge
            .judge(&repository(), &world.manifest, &part)
            .unwrap_err();
        assert_eq!(error.outcome(), Outcome::Refused);
        let denial = denial_of(&error).unwrap();
        let [unmet] = &denial.unmet[..] else {
            panic!("{denial}")
        };
        assert_eq!(unmet.rule, "evidence");
    }
    // Whoever fetched them would find them missing.
    for item in &all.attached {
        let blob = world.layout.blob_path(&item.referrer.layers()[0].digest);
        fs::remove_file(blob).unwrap();
    }
    for (items, bytes) in [(0, bytes), (2, 0)] {
        let nothing = world.within(items, bytes).await;
        assert_eq!((nothing.unread.len(), nothing.cut_off), (0, Some(0)));
    }
    assert_eq!(world.within(2, bytes).await.unread.len(), 2);
}

#[tokio::test]
async fn manifests_that_attach_evidence_count_as_much_as_what_they_attach() {
    let world = world();
    let alice = ed25519(1);
    let signed = world.sign(&alice).await;
    let document = referrer_manifest(
        &world.manifest.descriptor(),
        b"small",
        "https://sigstore.dev/cosign/sign/v1",
        CREATED,
    );
    let mut document: serde_json::Value = serde_json::from_slice(&document).unwrap();
    document["annotations"]["dev.example.padding"] = "x".repeat(1 << 20).into();
    let large =
        VerifiedManifest::check(document.to_string(), None, None, Algorithm::Sha256).unwrap();
    world.layout.write_manifest(&large, None).unwrap();
    world
        .layout
        .write_blob(&Digest::sha256(b"small"), b"small")
        .unwrap();
    assert_eq!(world.within(2, 2 << 20).await.cut_off, None);
    let part = world.within(2, 1 << 20).await;
    assert!(part.cut_off.is_some());
    // The sum counts what came, and not only what the listing said.
    let limits = super::evidence::Limits {
        items: 2,
        bytes: 1 << 20,
    };
    // Its listing says that every referrer weighs nothing.
    let store = Relisted(
        &world.layout,
        |_: Option<&str>, listed: &mut Vec<Descriptor>| {
            for descriptor in listed {
                descriptor.size = 0;
            }
        },
    );
    let told = super::evidence::evidence_within(&store, &world.manifest, limits)
        .await
        .unwrap();
    assert!(told.cut_off.is_some());
    for found in [part, told] {
        let mut read = found.attached.iter().map(|item| item.referrer.digest());
        assert!(read.all(|digest| *digest == signed.referrer));
        assert!(found.unread.is_empty());
    }
}

#[tokio::test]
async fn a_revocation_whose_bytes_are_lost_still_refuses() {
    let world = world();
    let (alice, carol) = (ed25519(1), ed25519(5));
    let key = |key: &SecretKey| key.public_key().to_openssh();
    let text = format!(
        "schema = \"sealstone-policy/v2\"\nversion = 1\nexpires = \"2099-01-01T00:00:00Z\"\n\
         [roots]\nthreshold = 1\nkeys = [\"{}\"]\n\
         [[identity]]\nname = \"alice\"\nroles = [\"release\"]\nkeys = [\"{}\"]\n\
         [[identity]]\nname = \"carol\"\nroles = [\"security\"]\nkeys = [\"{}\"]\n\
         [[scope]]\nrepositories = [\"models/**\"]\n[[scope.require]]\nrule = \"signatures\"\n",
        key(&ed25519(9)),
        key(&alice),
        key(&carol)
    );
    let judge = Judge::from_policy(Policy::parse(&text).unwrap());
    let unmet = async || -> Vec<String> {
        let evidence = evidence_of(&world.layout, &world.manifest).await.unwrap();
        match judge.judge(&repository(), &world.manifest, &evidence) {
            Ok(_) => Vec::new(),
            Err(error) => {
                let denial = denial_of(&error).unwrap();
                denial.unmet.into_iter().map(|unmet| unmet.rule).collect()
            }
        }
    };
    world.sign(&alice).await;
    assert_eq!(unmet().await, Vec::<String>::new());
    let subject = vec![Subject::new("m", world.manifest.digest())];
    let statement = lifecycle::revocation(subject, "leaked", now());
    let bundle = SigstoreBundle::sign(&statement, &carol).unwrap().to_bytes();
    let blob = world.layout.blob_path(&Digest::sha256(&bundle));
    attach(
        &world.layout,
        &world.manifest,
        bundle.clone(),
        lifecycle::REVOCATION,
        CREATED,
    )
    .await
    .unwrap();
    assert_eq!(unmet().await, ["revocation"]);
    // Whoever cannot take the word back takes away its bytes, or spoils them.
    fs::remove_file(&blob).unwrap();
    assert_eq!(unmet().await, ["evidence"]);
    let blank = vec![b' '; bundle.len()];
    for spoilt in [&b"{}"[..], &bundle[1..], &blank[..]] {
        fs::write(&blob, spoilt).unwrap();
        assert_eq!(unmet().await, ["evidence"]);
    }
    fs::write(&blob, &bundle).unwrap();
    assert_eq!(unmet().await, ["revocation"]);
}

#[tokio::test]
async fn a_policy_that_asks_for_nothing_verifies_nothing() {
    let world = world();
    let path = world.directory.path().join("policy.toml");
    let key = ed25519(1).public_key().to_openssh();
    let text = format!(
        "schema = \"sealstone-policy/v1\"\n[[identity]]\nname = \"alice\"\nkeys = [\"{key}\"]\n\
         [[scope]]\nrepositories = [\"prod/**\"]\n[[scope.require]]\nrule = \"signatures\"\nidentities = [\"alice\"]\n"
    );
    fs::write(&path, text).unwrap();
    let judge = Judge::from_policy_file(&path).unwrap();
    world.sign(&ed25519(1)).await;
    let evidence = evidence_of(&world.layout, &world.manifest).await.unwrap();
    let error = judge
        .judge(&repository(), &world.manifest, &evidence)
        .unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused);
    assert!(error.to_string().contains("asks for nothing"), "{error}");
    let prod: RepoName = "prod/x".parse().unwrap();
    assert!(judge.judge(&prod, &world.manifest, &evidence).is_ok());
    fs::write(&path, "schema = \"sealstone-policy/v1\"\nunknown = 1\n").unwrap();
    assert_eq!(
        Judge::from_policy_file(&path).unwrap_err().outcome(),
        Outcome::Usage
    );
}

#[tokio::test]
async fn a_denial_says_what_is_missing_and_can_be_read_back() {
    let world = world();
    let alice = ed25519(1);
    let evidence = evidence_of(&world.layout, &world.manifest).await.unwrap();
    let error = judge(&[("alice", &alice)], 1)
        .judge(&repository(), &world.manifest, &evidence)
        .unwrap_err();
    assert!(
        error.hints().iter().any(|hint| hint.contains("alice")),
        "{:?}",
        error.hints()
    );
    let denial = denial_of(&error).unwrap();
    assert_eq!(denial.manifest, *world.manifest.digest());
    // As a registry sends it: with one more field.
    let mut detail = error.details().unwrap().clone();
    detail["reason"] = "release_denied".into();
    let sent = crate::Error::refused("denied").detail(detail);
    assert_eq!(denial_of(&sent).unwrap(), denial);
}

#[tokio::test]
async fn the_older_list_grows_and_keeps_what_it_has() {
    let world = world();
    let (alice, bob) = (ed25519(1), p256(2));
    let store = &world.layout;
    let name = "r.example/models/x";
    let read = || {
        let tag = legacy_tag(world.manifest.digest())
            .unwrap()
            .parse()
            .unwrap();
        world.layout.read_manifest(&Reference::Tag(tag)).unwrap()
    };
    sign_legacy(store, &world.manifest, name, &[&alice])
        .await
        .unwrap()
        .unwrap();
    let first = read();
    sign_legacy(store, &world.manifest, name, &[&alice])
        .await
        .unwrap();
    assert_eq!(
        read().digest(),
        first.digest(),
        "the same signature is not added twice"
    );
    sign_legacy(store, &world.manifest, name, &[&alice, &bob])
        .await
        .unwrap();
    let second = read();
    assert_eq!(second.layers().len(), 2);
    assert_eq!(second.layers()[0], first.layers()[0]);
    for (layer, key) in second.layers().iter().zip([&alice, &bob]) {
        let payload = store.read_blob(layer, 10_000).unwrap();
        let signature = &layer.annotations["dev.cosignproject.cosign/signature"];
        let signature = data_encoding::BASE64.decode(signature.as_bytes()).unwrap();
        key.public_key().verify(&payload, &signature).unwrap();
    }
    let config = store.read_blob(second.config().unwrap(), 10_000).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
    // The bundle is still the only one that a layout without a tag can mean.
    assert_eq!(
        store.only_manifest().unwrap().digest(),
        world.manifest.digest()
    );
}

#[tokio::test]
async fn signatures_are_referrers_in_the_form_that_others_read() {
    let world = world();
    let signed = world.sign(&p256(2)).await;
    let listed = world
        .layout
        .referrers(world.manifest.digest(), Some(media::SIGSTORE_BUNDLE_V03))
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].digest, signed.referrer);
    assert_eq!(
        listed[0].annotations["dev.sigstore.bundle.predicateType"],
        "https://sigstore.dev/cosign/sign/v1"
    );
}

#[test]
fn a_wrong_pair_of_tag_and_name_is_refused() {
    let digest = Digest::sha256(b"x");
    let name = three_words(&digest);
    expect_name(&name, &digest, "place").unwrap();
    expect_name(&name.replace('-', " ").to_uppercase(), &digest, "place").unwrap();
    for wrong in [
        "",
        "brisk-otter",
        &format!("{name}-x"),
        &three_words(&Digest::sha256(b"y")),
    ] {
        let error = expect_name(wrong, &digest, "place").unwrap_err();
        assert_eq!(error.outcome(), Outcome::Refused, "{wrong}");
    }
}

#[test]
fn a_directory_is_compared_file_by_file() {
    let world = world();
    let model = world.directory.path().join("model");
    let bundle = Bundle::read(&world.manifest).unwrap();
    assert_eq!(compare_files(&bundle, &model).unwrap(), []);

    fs::write(model.join("model.safetensors"), b"weightz").unwrap();
    fs::rename(model.join("config.json"), model.join("other.json")).unwrap();
    let problems = compare_files(&bundle, &model).unwrap();
    assert!(
        matches!(&problems[..], [
        FileProblem::Renamed { path: renamed, to },
        FileProblem::Differs { path: changed, .. },
    ] if renamed == "config.json" && to == "other.json" && changed == "model.safetensors"),
        "{problems:?}"
    );
    fs::write(model.join("other.json"), b"{\"other\": 1}").unwrap();
    let problems = compare_files(&bundle, &model).unwrap();
    assert!(
        matches!(&problems[..], [
        FileProblem::Missing { path: missing },
        FileProblem::Differs { .. },
        FileProblem::Added { path: added },
    ] if missing == "config.json" && added == "other.json"),
        "{problems:?}"
    );

    // A link to the right bytes is no file: it can be turned after it was verified.
    fs::write(world.directory.path().join("elsewhere"), b"weights").unwrap();
    fs::remove_file(model.join("model.safetensors")).unwrap();
    std::os::unix::fs::symlink("../elsewhere", model.join("model.safetensors")).unwrap();
    let problems = compare_files(&bundle, &model).unwrap();
    let missing = FileProblem::Missing {
        path: "model.safetensors".into(),
    };
    assert!(problems.contains(&missing), "{problems:?}");
}
