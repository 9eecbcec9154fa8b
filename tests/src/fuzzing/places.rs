//! Targets for what is read back from places where bundles lie: release archives, the index of a layout, cosign's
//! older lists of signatures.
//!
//! Archives and layouts are read from files, so each thread has a folder of its own for them.

use sealstone::archive::ArchiveStore;
use sealstone::layout::LayoutStore;
use sealstone::store::Store as _;
use sealstone::trust::extend_legacy;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::name::Reference;
use sealstone_spec::sigstore::{legacy_image, legacy_payload};
use serde_json::Value;
use std::fs;
use tempfile::TempDir;

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;

fn folder() -> TempDir {
    TempDir::new().expect("there is room for temporary files")
}

/// A layout that holds one manifest, whatever its index says.
struct Layout {
    _folder: TempDir,
    store: LayoutStore,
    manifest: VerifiedManifest,
}

impl Layout {
    fn new() -> Layout {
        let folder = folder();
        let store = LayoutStore::open_or_create(folder.path()).expect("an empty folder");
        let manifest = VerifiedManifest::check(MANIFEST, None, None, Algorithm::Sha256)
            .expect("a fixed, valid manifest");
        store
            .write_blob(manifest.digest(), MANIFEST.as_bytes())
            .expect("a small blob");
        Layout {
            _folder: folder,
            store,
            manifest,
        }
    }
}

thread_local! {
    static FOLDER: TempDir = folder();
    static LAYOUT: Layout = Layout::new();
}

fn open(archive: &[u8]) -> Option<ArchiveStore> {
    FOLDER.with(|folder| {
        let path = folder.path().join("release.tar");
        // A new file: what was opened before keeps its content.
        fs::remove_file(&path).ok();
        fs::write(&path, archive).expect("there is room for temporary files");
        ArchiveStore::open(path).ok()
    })
}

/// An archive that is opened ends where it says: zeros may follow and nothing else. A manifest out of it is the one that
/// its digest names, and its blobs are read to their ends or refused.
pub(super) fn release_archive(input: &[u8]) -> bool {
    let Some(archive) = open(input) else {
        return false;
    };
    if let Some(Ok(manifest)) = archive.only_manifest() {
        let digest = manifest.digest();
        assert_eq!(Digest::of(digest.algorithm(), manifest.bytes()), *digest);
    }
    let checked = archive.check_all().ok();
    let filled = open(&[input, &[0; 512][..]].concat()).expect("zeros at the end mean nothing");
    assert_eq!(filled.check_all().ok(), checked);
    assert!(
        open(&[input, input].concat()).is_none(),
        "two archives in one file"
    );
    true
}

/// Whatever an index lists, what comes out of the layout is the manifest that lies in it; tags are sorted, each once.
pub(super) fn layout_index(input: &[u8]) -> bool {
    LAYOUT.with(|layout| {
        let store = &layout.store;
        fs::write(store.root().join("index.json"), input)
            .expect("there is room for temporary files");
        if let Ok(only) = LayoutStore::only_manifest(store) {
            assert_eq!(only.digest(), layout.manifest.digest());
        }
        let Ok(tags) = store.read_tags() else {
            return false;
        };
        assert!(tags.windows(2).all(|pair| pair[0] < pair[1]));
        for tag in tags.into_iter().take(10) {
            if let Ok(found) = store.read_manifest(&Reference::Tag(tag)) {
                assert_eq!(found.digest(), layout.manifest.digest());
            }
        }
        if let Ok(referrers) = store.read_referrers(layout.manifest.digest(), None) {
            assert!(referrers.is_empty(), "the manifest speaks of no other");
        }
        true
    })
}

/// Input: the manifest of a list, a zero byte, its config. A list is added to at its end and can be read after that; what
/// it has is not added again.
pub(super) fn signature_list(input: &[u8]) -> bool {
    let Some(at) = input.iter().position(|byte| *byte == 0) else {
        return false;
    };
    let (manifest, config) = (&input[..at], &input[at + 1..]);
    let read =
        |bytes: &[u8]| VerifiedManifest::check(bytes.to_vec(), None, None, Algorithm::Sha256);
    let Ok(existing) = read(manifest) else {
        return false;
    };
    let payload = legacy_payload("r.example/x", &Digest::sha256(b"manifest"));
    let fresh = legacy_image(&[(payload, b"signature".to_vec())]).manifest;
    let Ok(extended) = extend_legacy(&existing, config, &fresh) else {
        return false;
    };
    let Some((config, manifest)) = extended else {
        return true;
    };
    let longer = read(&manifest).expect("what is written can be read");
    let before = existing.layers();
    assert_eq!(&longer.layers()[..before.len()], before);
    assert_eq!(longer.layers().len(), before.len() + 1);
    let names = longer.config().expect("a list has a config");
    assert_eq!(names.digest, Digest::sha256(&config));
    let lists = serde_json::from_slice::<Value>(&config).expect("what is written is JSON");
    let last = lists["rootfs"]["diff_ids"]
        .as_array()
        .and_then(|ids| ids.last());
    let added = longer.layers().last().map(|layer| layer.digest.to_string());
    assert_eq!(last.and_then(Value::as_str), added.as_deref());
    let again = extend_legacy(&longer, &config, &fresh).expect("it was read before");
    assert!(again.is_none(), "added twice");
    true
}
