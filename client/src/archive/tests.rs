//! Archives: the same bytes every time, read where they lie, and refused when anything is odd.
#![allow(clippy::unwrap_used)]

use super::header::{self, BLOCK};
use super::*;
use crate::Outcome;
use crate::layout::LayoutStore;
use crate::pack::{PackOptions, pack};
use crate::stop::Stop;
use crate::store::Store;
use crate::transfer::{Place, TransferOptions, copy, export};
use crate::trust::{Judge, evidence_of, sign, sign_model};
use sealstone_spec::bundle::Bundle;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::media;
use sealstone_spec::model_signature::ModelManifest;
use sealstone_spec::name::{Reference, Tag};
use sealstone_spec::sigstore::{ANNOTATION_PREDICATE_TYPE, MAX_BUNDLE_BYTES};
use sealstone_spec::statement::predicate;
use serde_json::json;
use std::fs;
use std::path::PathBuf;

const CREATED: &str = "2026-01-01T00:00:00Z";

struct World {
    directory: tempfile::TempDir,
    layout: LayoutStore,
    manifest: VerifiedManifest,
}

fn key() -> SecretKey {
    SecretKey::p256_from_seed(&[2; 32]).unwrap()
}

impl World {
    async fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let model = directory.path().join("model");
        fs::create_dir(&model).unwrap();
        fs::write(model.join("model.safetensors"), vec![7; 3_000_000]).unwrap();
        fs::write(model.join("config.json"), b"{}").unwrap();
        let layout = LayoutStore::open_or_create(directory.path().join("out")).unwrap();
        let packed = pack(&model, &layout, &PackOptions::default(), None, &()).unwrap();
        let manifest = packed.manifest;
        sign(&layout, &manifest, "r.example/m", &key(), CREATED)
            .await
            .unwrap();
        sign_model(&layout, &manifest, "r.example/m", &key(), CREATED)
            .await
            .unwrap();
        World {
            directory,
            layout,
            manifest,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn export(&self, source: &Place, name: &str) -> PathBuf {
        let out = self.path(name);
        let tag: Tag = "1.0".parse().unwrap();
        let options = TransferOptions::default();
        let made = export(source, &self.manifest, Some(&tag), &out, false, &options);
        let made = made.await.unwrap();
        assert!(made.model_signature);
        assert_eq!(made.evidence, 2);
        assert_eq!(made.bytes, fs::metadata(&out).unwrap().len());
        out
    }
}

fn judge() -> Judge {
    Judge::from_keys([("alice", key().public_key().clone())], 1).unwrap()
}

#[tokio::test]
async fn an_archive_is_verified_without_unpacking_and_nothing_is_lost_on_the_way() {
    let world = World::new().await;
    let place = Place::Layout(world.layout.clone());
    let first = world.export(&place, "a.tar").await;
    let archive = ArchiveStore::open(&first).unwrap();
    let found = archive.find_tag("1.0").await;
    assert_eq!(found.digest(), world.manifest.digest());
    assert_eq!(
        archive.only_manifest().unwrap().unwrap().digest(),
        world.manifest.digest()
    );
    archive.check_all().unwrap();
    let evidence = evidence_of(&archive, &world.manifest).await.unwrap();
    assert_eq!(evidence.attached.len(), 2);
    let repository = "m".parse().unwrap();
    judge()
        .judge(&repository, &world.manifest, &evidence)
        .unwrap();

    // Into another layout and out again: the same archive, to the last byte.
    let other = LayoutStore::open_or_create(world.path("other")).unwrap();
    let (from, to) = (
        Place::Archive(archive.clone()),
        Place::Layout(other.clone()),
    );
    let tag: Tag = "1.0".parse().unwrap();
    let options = TransferOptions::default();
    copy(&from, &to, &world.manifest, Some(&tag), &options)
        .await
        .unwrap();
    for (place, name) in [(to, "b.tar"), (from, "c.tar")] {
        let again = world.export(&place, name).await;
        assert!(
            fs::read(&again).unwrap() == fs::read(&first).unwrap(),
            "{name}"
        );
    }
    // Never over another file, and never into an archive.
    let options = TransferOptions::default();
    let place = Place::Layout(world.layout.clone());
    let error = export(&place, &world.manifest, None, &first, false, &options).await;
    assert_eq!(error.unwrap_err().outcome(), Outcome::Conflict);
    assert!(archive.put_manifest(&world.manifest, None).await.is_err());
}

/// A referrer that calls itself a model signature and comes before any with the digest `before`.
fn planted(world: &World, content: &[u8], before: &Digest) -> VerifiedManifest {
    let digest = Digest::sha256(content);
    world.layout.write_blob(&digest, content).unwrap();
    let subject = &world.manifest;
    let planted = (0..).map(|number: u32| {
        let text = json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
            "artifactType": media::SIGSTORE_BUNDLE_V03,
            "config": {"mediaType": media::OCI_EMPTY, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
            "layers": [Descriptor::new(media::SIGSTORE_BUNDLE_V03, digest, content.len() as u64)],
            "subject": Descriptor::new(subject.media_type(), *subject.digest(), subject.size()),
            "annotations": {ANNOTATION_PREDICATE_TYPE: predicate::MODEL_SIGNATURE, "number": number.to_string()},
        });
        VerifiedManifest::check(text.to_string(), None, None, Algorithm::Sha256).unwrap()
    });
    let mut planted = planted.filter(|planted| planted.digest() < before);
    planted.next().unwrap()
}

/// Whoever may attach something could otherwise end every export, or choose what stands at the top of the archive.
#[tokio::test]
async fn what_calls_itself_a_model_signature_is_passed_over() {
    let world = World::new().await;
    let evidence = evidence_of(&world.layout, &world.manifest).await.unwrap();
    let is_own = |referrer: &VerifiedManifest| {
        let kind = referrer.annotations().get(ANNOTATION_PREDICATE_TYPE);
        kind.is_some_and(|kind| kind == predicate::MODEL_SIGNATURE)
    };
    let mut attached = evidence.attached.iter();
    let own = attached.find(|item| is_own(&item.referrer)).unwrap();

    let other = world.path("other-model");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("other.bin"), b"x").unwrap();
    let options = PackOptions::default();
    let other = pack(&other, &world.layout, &options, None, &()).unwrap();
    let other = Bundle::read(&other.manifest).unwrap();
    let other = ModelManifest::of("m", &other)
        .unwrap()
        .sign(&key())
        .unwrap();
    for content in [
        b"no bundle".to_vec(),
        vec![b' '; MAX_BUNDLE_BYTES + 1],
        other.to_bytes(),
    ] {
        let planted = planted(&world, &content, own.referrer.digest());
        world.layout.write_manifest(&planted, None).unwrap();
    }
    let place = Place::Layout(world.layout.clone());
    let (out, options) = (world.path("a.tar"), TransferOptions::default());
    let made = export(&place, &world.manifest, None, &out, false, &options);
    let made = made.await.unwrap();
    assert!(made.model_signature);
    assert_eq!(made.evidence, 5);
    let bytes = fs::read(&out).unwrap();
    let name = b"model.sig\0";
    let at = bytes.windows(name.len()).position(|it| it == name).unwrap();
    assert!(bytes[at + BLOCK..].starts_with(&own.bundle));
}

impl ArchiveStore {
    async fn find_tag(&self, tag: &str) -> VerifiedManifest {
        let tag = Reference::Tag(tag.parse().unwrap());
        self.manifest(&tag).await.unwrap()
    }
}

#[tokio::test]
async fn tar_itself_lists_what_is_in_an_archive() {
    let world = World::new().await;
    let archive = world
        .export(&Place::Layout(world.layout.clone()), "a.tar")
        .await;
    let Ok(output) = std::process::Command::new("tar")
        .arg("-tvf")
        .arg(&archive)
        .output()
    else {
        return;
    };
    assert!(output.status.success(), "{output:?}");
    let listed = String::from_utf8(output.stdout).unwrap();
    assert!(
        listed.contains("oci-layout") && listed.contains("model.sig"),
        "{listed}"
    );
    assert!(
        listed.lines().all(|line| line.contains(" 0/0 ")),
        "{listed}"
    );
}

#[tokio::test]
async fn no_changed_byte_of_an_archive_is_verified() {
    let world = World::new().await;
    let path = world
        .export(&Place::Layout(world.layout.clone()), "a.tar")
        .await;
    let good = fs::read(&path).unwrap();
    let changed_path = world.path("changed.tar");
    // Every header, every content: a byte of each block, and the whole first blocks.
    let places = (0..good.len()).step_by(BLOCK * 61).chain(0..2 * BLOCK);
    for place in places.chain(good.len() - 3 * BLOCK..good.len() - 2 * BLOCK) {
        let mut bad = good.clone();
        bad[place] ^= 0x10;
        fs::write(&changed_path, &bad).unwrap();
        let Ok(archive) = ArchiveStore::open(&changed_path) else {
            continue;
        };
        let checked = archive.check_all();
        // What a change may do unnoticed is to the filling behind a file's end, and to nothing else.
        let found = archive.manifest(&tag()).await;
        let is_other = found.is_ok_and(|found| found.digest() != world.manifest.digest());
        assert!(!(checked.is_ok() && is_other), "byte {place}");
    }
    for cut in [
        1,
        BLOCK - 1,
        BLOCK,
        10 * BLOCK,
        good.len() / 2,
        good.len() - 2 * BLOCK,
    ] {
        fs::write(&changed_path, &good[..cut]).unwrap();
        let error = ArchiveStore::open(&changed_path).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Halted, "{cut}");
    }
}

fn tag() -> Reference {
    Reference::Tag("1.0".parse().unwrap())
}

/// An archive of these entries: raw headers with content.
fn tar(entries: &[(Vec<u8>, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (headers, content) in entries {
        bytes.extend(headers);
        bytes.extend(*content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    bytes
}

fn entry<'a>(name: &str, content: &'a [u8]) -> (Vec<u8>, &'a [u8]) {
    (header::write(name, content.len() as u64), content)
}

#[test]
fn archives_that_could_lead_elsewhere_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.tar");
    let marker = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let index = br#"{"schemaVersion":2,"manifests":[]}"#;
    let base = || vec![entry("oci-layout", marker), entry("index.json", index)];
    let blob = format!("blobs/sha256/{}", Digest::sha256(b"x").hex());
    let open = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        ArchiveStore::open(&path)
    };
    open(&tar(&base())).unwrap();
    open(&tar(&[
        base(),
        vec![entry(&blob, b"x"), entry("blobs/sha256/", b"")],
    ]
    .concat()))
    .unwrap();

    let upper = format!("blobs/sha256/{}", Digest::sha256(b"x").hex().to_uppercase());
    for (name, reason) in [
        ("../../etc/passwd", "no place"),
        ("/etc/passwd", "no place"),
        ("blobs/sha256/../../x", "no place"),
        ("blobs/sha256/abc", "no place"),
        ("blobs/md5/abc", "no place"),
        (&upper, "no place"),
        ("note.txt", "no place"),
        ("index.json", "twice"),
        ("./index.json", "twice"),
        ("evil/", "no place"),
    ] {
        let bytes = tar(&[base(), vec![entry(name, b"")]].concat());
        let error = open(&bytes).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Halted);
        assert!(error.to_string().contains(reason), "{name}: {error}");
    }
    let twice = tar(&[base(), vec![entry(&blob, b"x"), entry(&blob, b"y")]].concat());
    assert!(open(&twice).unwrap_err().to_string().contains("twice"));
    // A size beyond the file, and one that overflows.
    for size in [1 << 40, u64::MAX] {
        let huge = (header::write(&blob, size), &b""[..]);
        let error = open(&tar(&[base(), vec![huge]].concat())).unwrap_err();
        assert!(error.to_string().contains("cut"), "{error}");
    }
    for missing in [0, 1] {
        let mut entries = base();
        entries.remove(missing);
        assert!(
            open(&tar(&entries))
                .unwrap_err()
                .to_string()
                .contains("has no")
        );
    }
    let second = [tar(&base()), tar(&base())].concat();
    assert!(
        open(&second)
            .unwrap_err()
            .to_string()
            .contains("follows its end")
    );
    assert!(open(b"").is_err());
    assert!(open(&vec![b'x'; 4096]).is_err());
    let odd = entry("oci-layout", br#"{"imageLayoutVersion":"2.0"}"#);
    let error = open(&tar(&[odd, entry("index.json", index)])).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Halted);
}

#[test]
fn names_that_do_not_fit_a_header_are_written_and_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.tar");
    let content = b"content".to_vec();
    let stop = Stop::default();
    let digest = Digest::of(sealstone_spec::digest::Algorithm::Sha512, &content);
    let files = [
        ("oci-layout", crate::layout::MARKER_TEXT.as_bytes().to_vec()),
        ("index.json", crate::layout::Index::of(&[])),
    ];
    write(
        &path,
        false,
        &files,
        [(digest, Source::Bytes(content.clone()))].into(),
        &stop,
    )
    .unwrap();
    assert_eq!(ArchiveStore::open(&path).unwrap().check_all().unwrap(), 1);
    // What is not its digest is not written.
    let wrong = Digest::sha256(b"other");
    let other = directory.path().join("y.tar");
    let error = write(
        &other,
        false,
        &files,
        [(wrong, Source::Bytes(b"x".to_vec()))].into(),
        &stop,
    );
    assert_eq!(error.unwrap_err().outcome(), Outcome::Halted);
    assert!(!other.exists());
    // Nor what nobody waits for any more.
    drop(stop.on_drop());
    let blobs = [(digest, Source::Bytes(content))].into();
    assert!(write(&other, false, &files, blobs, &stop).is_err());
    assert!(write(&other, false, &files, Default::default(), &stop).is_err());
    assert!(!other.exists());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}
