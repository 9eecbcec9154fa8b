//! The suite on each engine, and what only this store has: a layout version, and a disk.

#![allow(clippy::unwrap_used)]

use super::KvMetadata;
use super::engine::{Changes, Engine, Family};
use super::memory::MemoryEngine;
use super::{recount, usage};
use crate::metadata::suite::Fixture;
use crate::metadata::suite::kit::{
    Shape, Store, begin, delete_tag, mount, put, put_inline, put_object, release, repo, sees,
    store_manifest, try_put, upload_row,
};
use crate::metadata::{
    Error, LinkRow, ManifestRow, Metadata as _, PutManifest, TagClass, TagRow, UploadRow, Usage,
};
use sealstone_spec::digest::Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

fn on_memory() -> Fixture {
    let store = KvMetadata::start(MemoryEngine::default(), |_| {}).unwrap();
    Fixture {
        store: Arc::new(store),
        _keep: Box::new(()),
    }
}

mod memory {
    crate::metadata::suite::run_suite!(super::on_memory);

    #[test]
    fn any_sequence_of_operations_is_answered_as_by_the_model() {
        crate::metadata::suite::random::compare(super::on_memory, 96);
    }
}

fn write_schema(engine: &impl Engine, version: &[u8]) {
    let changes = Changes::from([((Family::Server, b"schema".to_vec()), Some(version.to_vec()))]);
    engine.write(&changes, true).unwrap();
}

#[test]
fn another_layout_version_is_refused() {
    for version in [&b"2"[..], b"0", b"", b"10"] {
        let engine = MemoryEngine::default();
        write_schema(&engine, version);
        assert!(matches!(
            KvMetadata::start(engine, |_| {}),
            Err(Error::Damaged(_))
        ));
    }
}

/// An engine that outlives its store.
#[derive(Clone, Default)]
struct Kept(Arc<MemoryEngine>);

impl Engine for Kept {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.0.get(family, key)
    }

    fn scan(
        &self,
        family: Family,
        prefix: &[u8],
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Error> {
        self.0.scan(family, prefix, from, visit)
    }

    fn last_key(&self, family: Family) -> Result<Option<Vec<u8>>, Error> {
        self.0.last_key(family)
    }

    fn write(&self, changes: &Changes, durable: bool) -> Result<(), Error> {
        self.0.write(changes, durable)
    }
}

fn rows(engine: &Kept, family: Family) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    let visit = &mut |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        true
    };
    engine.scan(family, b"", b"", visit).unwrap();
    rows
}

/// Every row that says what a namespace holds.
fn usage_rows(engine: &Kept) -> Vec<(Vec<u8>, Vec<u8>)> {
    rows(engine, Family::Usage)
}

/// What a store has whose rows were written before there were any of these.
#[tokio::test]
async fn what_was_there_before_usage_was_counted_is_counted_once() {
    let engine = Kept::default();
    let store = KvMetadata::start(engine.clone(), |_| {}).unwrap();
    let dynamic: &dyn Store = &store;
    let (here, there) = (repo("team/a/b"), repo("other"));
    let small = put_inline(dynamic, &here, b"small").await;
    let (large, _) = put_object(dynamic, &here, b"large one").await;
    mount(dynamic, &here, &there, &large).await;
    let image = release(dynamic, &here, Shape::image(&[small, large]), &["v1"]).await;
    store_manifest(dynamic, &here, Shape::image(&[small]).about(image)).await;
    // More than are read at once.
    for number in 0..1_100_u32 {
        put_inline(dynamic, &there, &number.to_be_bytes()).await;
    }
    let held = UploadRow {
        reserved: 77,
        ..upload_row(&there)
    };
    begin(dynamic, held).await;
    drop(store);
    let counted = usage_rows(&engine);
    assert_eq!(counted.len(), 5, "of the registry, two paths, two names");

    // As an older server leaves it, and with rows that no server would.
    let wrong = Usage {
        blobs: 9,
        ..Usage::default()
    };
    let mut forgotten = Changes::from([
        ((Family::Server, usage::COUNTED.to_vec()), None),
        (
            (Family::Usage, b"gone\0".to_vec()),
            Some(serde_json::to_vec(&wrong).unwrap()),
        ),
    ]);
    for (key, _) in &counted[1..] {
        forgotten.insert((Family::Usage, key.clone()), None);
    }
    engine.write(&forgotten, true).unwrap();
    assert_eq!(usage_rows(&engine).len(), 2);
    let store = KvMetadata::start(engine.clone(), |_| {}).unwrap();
    assert_eq!(usage_rows(&engine), counted);
    let usage = store.usage("other").await.unwrap();
    assert_eq!((usage.blobs, usage.reserved), (1_101, 77));
    drop(store);

    // Once: a store that says that it was counted is believed.
    let changed = Changes::from([((Family::Usage, b"gone\0".to_vec()), Some(b"{}".to_vec()))]);
    engine.write(&changed, true).unwrap();
    drop(KvMetadata::start(engine.clone(), |_| {}).unwrap());
    assert_eq!(usage_rows(&engine).len(), 6);
}

/// Changes every row of a family behind the store's back.
fn tamper<R: Serialize + DeserializeOwned>(engine: &Kept, family: Family, change: impl Fn(&mut R)) {
    let mut changes = Changes::new();
    for (key, value) in rows(engine, family) {
        let mut row: R = serde_json::from_slice(&value).unwrap();
        change(&mut row);
        changes.insert((family, key), Some(serde_json::to_vec(&row).unwrap()));
    }
    engine.write(&changes, true).unwrap();
}

/// What says that something is visible.
const SHOWN: [Family; 3] = [Family::Manifest, Family::Link, Family::Tag];

/// As if all of it were seen.
fn show_all(engine: &Kept) {
    tamper(engine, Family::Manifest, |row: &mut ManifestRow| {
        row.visible += 1;
    });
    tamper(engine, Family::Link, |row: &mut LinkRow| row.visible += 2);
    tamper(engine, Family::Tag, |row: &mut TagRow| {
        row.visible |= !row.tombstone;
    });
}

/// A start after which all that is visible has been counted anew.
fn count_anew(engine: &Kept) {
    let forgotten = Changes::from([((Family::Server, recount::DONE.to_vec()), None)]);
    engine.write(&forgotten, true).unwrap();
    drop(KvMetadata::start(engine.clone(), |_| {}).unwrap());
}

/// Whoever opens a store may find that it is not the one that was served.
#[tokio::test]
async fn a_store_that_is_refused_is_left_as_it_is() {
    let engine = Kept::default();
    let all = |engine: &Kept| Family::ALL.map(|family| rows(engine, family));
    let nothing = all(&engine);
    let opened = KvMetadata::open(engine.clone(), |_| {}).unwrap();
    assert!(opened.log().published().await.unwrap().is_none());
    drop(opened);
    assert_eq!(all(&engine), nothing, "not even a new one is made");

    let store = KvMetadata::start(engine.clone(), |_| {}).unwrap();
    let dynamic: &dyn Store = &store;
    let here = repo("a/here");
    let blob = put_inline(dynamic, &here, b"config").await;
    release(dynamic, &here, Shape::image(&[blob]), &["v1"]).await;
    drop(store);
    let right = all(&engine);
    show_all(&engine);
    let uncounted =
        [usage::COUNTED, recount::DONE].map(|name| ((Family::Server, name.to_vec()), None));
    engine.write(&Changes::from(uncounted), true).unwrap();
    let older = all(&engine);
    let opened = KvMetadata::open(engine.clone(), |_| {}).unwrap();
    assert_eq!(opened.log().recorded().await.unwrap().events, 1);
    drop(opened);
    assert_eq!(all(&engine), older);
    let opened = KvMetadata::open(engine.clone(), |_| {}).unwrap();
    drop(opened.counted().unwrap());
    assert_eq!(all(&engine), right);
}

/// As it is where rows were written when evidence showed whatever it listed.
#[tokio::test]
async fn what_was_visible_beside_evidence_is_counted_once() {
    let engine = Kept::default();
    let store = KvMetadata::start(engine.clone(), |_| {}).unwrap();
    let dynamic: &dyn Store = &store;
    let here = repo("a/here");
    let mut blobs = Vec::new();
    for content in [&b"config"[..], b"weights", b"note", b"other"] {
        blobs.push(put_inline(dynamic, &here, content).await);
    }
    let image = Shape::image(&blobs[..1]);
    let about = release(dynamic, &here, image, &["v1", "v2"]).await;
    let note = store_manifest(dynamic, &here, Shape::image(&blobs[2..3]).about(about)).await;
    let staged = store_manifest(dynamic, &here, Shape::image(&blobs[1..2])).await;
    let inner = store_manifest(dynamic, &here, Shape::index(&[staged]).about(note)).await;
    store_manifest(
        dynamic,
        &here,
        Shape::index(&[staged, inner, note]).about(about),
    )
    .await;
    // One that a tag of its own shows, another that is hidden, and names that nobody sees any more.
    let own = release(dynamic, &here, Shape::image(&blobs[3..]), &["own", "gone"]).await;
    store_manifest(dynamic, &here, Shape::index(&[own]).about(about)).await;
    delete_tag(dynamic, &here, "gone").await.unwrap();
    let list = Shape::index(&[staged]).marked("list").build();
    let name = format!("sha256-{}", about.hex());
    let list = PutManifest {
        admission: None,
        ..put(&here, &list, TagClass::EvidenceList, &[&name])
    };
    try_put(dynamic, list).await.unwrap();
    drop(store);
    let right = SHOWN.map(|family| rows(&engine, family));

    show_all(&engine);
    assert_ne!(SHOWN.map(|family| rows(&engine, family)), right);
    count_anew(&engine);
    assert_eq!(SHOWN.map(|family| rows(&engine, family)), right);

    // Once: a store that says that it was counted is believed.
    tamper(&engine, Family::Link, |row: &mut LinkRow| row.visible += 2);
    drop(KvMetadata::start(engine.clone(), |_| {}).unwrap());
    assert_ne!(SHOWN.map(|family| rows(&engine, family)), right);
}

/// Stores an image under the name of a list of signatures about a release.
async fn image_as_a_list(store: &dyn Store) -> Digest {
    let here = repo("a/here");
    let config = put_inline(store, &here, b"config").await;
    let weights = put_inline(store, &here, b"weights").await;
    let about = release(store, &here, Shape::image(&[config]), &["v1"]).await;
    let image = Shape::image(&[config, weights]).build();
    let name = format!("sha256-{}.sig", about.hex());
    let list = PutManifest {
        admission: None,
        ..put(&here, &image, TagClass::EvidenceList, &[&name])
    };
    try_put(store, list).await.unwrap();
    *image.digest()
}

/// As it is where the last server took whatever lists no manifest for a list of evidence.
#[tokio::test]
async fn an_image_that_was_shown_as_a_list_is_hidden_once() {
    let engine = Kept::default();
    let store = KvMetadata::start(engine.clone(), |_| {}).unwrap();
    let image = image_as_a_list(&store).await;
    assert!(!sees(&store, &repo("a/here"), &image).await);
    drop(store);
    let right = SHOWN.map(|family| rows(&engine, family));
    show_all(&engine);
    let as_before = Changes::from([((Family::Server, b"visible-3".to_vec()), Some(b"1".to_vec()))]);
    engine.write(&as_before, true).unwrap();
    count_anew(&engine);
    assert_eq!(SHOWN.map(|family| rows(&engine, family)), right);
}

/// Whoever releases something answers for no list about it.
#[tokio::test]
async fn a_list_that_cannot_be_read_is_hidden_and_stops_no_release() {
    let engine = Kept::default();
    let store = KvMetadata::start(engine.clone(), |_| {}).unwrap();
    let dynamic: &dyn Store = &store;
    let here = repo("a/here");
    let config = put_inline(dynamic, &here, b"config").await;
    let subject = Shape::image(&[config]).marked("subject");
    let list = Shape::image(&[config]).marked("list").build();
    let name = format!("sha256-{}.sig", subject.build().digest().hex());
    let list_put = || PutManifest {
        admission: None,
        ..put(&here, &list, TagClass::EvidenceList, &[&name])
    };
    try_put(dynamic, list_put()).await.unwrap();
    let mut damaged = Changes::new();
    for (key, _) in rows(&engine, Family::Body) {
        damaged.insert((Family::Body, key), Some(b"{".to_vec()));
    }
    engine.write(&damaged, true).unwrap();
    let about = release(dynamic, &here, subject, &["v1"]).await;
    assert!(sees(dynamic, &here, &about).await);
    assert!(!sees(dynamic, &here, list.digest()).await);
    // The next push of the same bytes mends and shows it.
    try_put(dynamic, list_put()).await.unwrap();
    assert!(sees(dynamic, &here, list.digest()).await);
}

/// What cosign writes lists no manifest, so it is not known by itself from a list about what is seen.
#[tokio::test]
async fn a_list_of_evidence_is_counted_with_what_it_speaks_of() {
    let engine = Kept::default();
    let store = KvMetadata::start(engine.clone(), |_| {}).unwrap();
    let dynamic: &dyn Store = &store;
    let here = repo("a/here");
    let config = put_inline(dynamic, &here, b"config").await;
    let payload = put_inline(dynamic, &here, b"payload").await;
    let about = release(dynamic, &here, Shape::image(&[config]), &["v1"]).await;
    let staged = Shape::image(&[config]).marked("staged");
    let staged = store_manifest(dynamic, &here, staged).await;
    // By this it was seen once.
    store_manifest(dynamic, &here, Shape::index(&[staged]).about(about)).await;
    let list = async |subject: Digest| {
        let list = Shape::image(&[payload]).marked(subject).build();
        let name = format!("sha256-{}.sig", subject.hex());
        let list_put = PutManifest {
            admission: None,
            ..put(&here, &list, TagClass::EvidenceList, &[&name])
        };
        try_put(dynamic, list_put).await.unwrap();
        *list.digest()
    };
    // Each with a list about the list.
    let seen = list(about).await;
    let hidden = list(staged).await;
    for (list, is_seen) in [
        (seen, true),
        (list(seen).await, true),
        (hidden, false),
        (list(hidden).await, false),
    ] {
        assert_eq!(sees(dynamic, &here, &list).await, is_seen);
    }
    drop(store);
    let right = SHOWN.map(|family| rows(&engine, family));
    show_all(&engine);
    count_anew(&engine);
    assert_eq!(SHOWN.map(|family| rows(&engine, family)), right);
    // Nor by its tag, where a build hid it until it was pushed again.
    tamper(&engine, Family::Tag, |row: &mut TagRow| {
        row.visible = row.immutable;
    });
    tamper(&engine, Family::Manifest, |row: &mut ManifestRow| {
        row.visible = row.held.min(1);
    });
    count_anew(&engine);
    assert_eq!(SHOWN.map(|family| rows(&engine, family)), right);
}

#[cfg(feature = "rocksdb")]
mod rocks;
