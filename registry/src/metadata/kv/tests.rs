//! The suite on each engine, and what only this store has: a layout version, and a disk.

#![allow(clippy::unwrap_used)]

use super::KvMetadata;
use super::engine::{Changes, Engine, Family};
use super::memory::MemoryEngine;
use super::usage;
use crate::metadata::suite::Fixture;
use crate::metadata::suite::kit::{
    Shape, Store, begin, mount, put_inline, put_object, release, repo, store_manifest, upload_row,
};
use crate::metadata::{Error, Metadata as _, UploadRow, Usage};
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

/// Every row that says what a namespace holds.
fn usage_rows(engine: &Kept) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    let visit = &mut |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        true
    };
    engine.scan(Family::Usage, b"", b"", visit).unwrap();
    rows
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

#[cfg(feature = "rocksdb")]
mod rocks;
