//! The suite on RocksDB, and what is there after a restart.

use super::super::KvMetadata;
use super::super::rocks::RocksEngine;
use crate::metadata::suite::kit::{
    NOW, Shape, Store, begin, delete_tag, put_object, release, repo, tag, upload_row,
};
use crate::metadata::suite::{Fixture, random, run_suite};
use crate::metadata::{Error, Metadata as _};
use sealstone_spec::digest::Digest;
use std::path::Path;
use std::sync::Arc;

fn open(directory: &Path) -> Result<KvMetadata<RocksEngine>, Error> {
    KvMetadata::start(RocksEngine::open(directory)?, |_| {})
}

fn on_rocks() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    Fixture {
        store: Arc::new(store),
        _keep: Box::new(directory),
    }
}

run_suite!(on_rocks);

#[test]
fn any_sequence_of_operations_is_answered_as_by_the_model() {
    random::compare(on_rocks, 8);
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let here = repo("a/here");
    let mut releases: Vec<(String, Digest, Digest)> = Vec::new();
    for round in 0..4 {
        // Opened, written to, and dropped in the middle of its life, again and again.
        let store: Arc<dyn Store> = Arc::new(open(directory.path()).unwrap());
        for (name, blob, image) in &releases {
            let row = store.tag(&here, &tag(name)).await.unwrap().unwrap();
            assert_eq!((row.digest, row.tombstone), (*image, name == "v0"));
            assert_eq!(
                store.blob(&here, blob).await.unwrap().unwrap().visible,
                name != "v0"
            );
            assert!(store.manifest_bytes(&here, image).await.unwrap().is_some());
        }
        assert_eq!(store.open_uploads().await.unwrap(), round);
        assert_eq!(
            store.events(0, 100).await.unwrap().len() as u64,
            if round == 0 { 0 } else { round + 1 }
        );
        let (blob, _) = put_object(&*store, &here, format!("layer {round}").as_bytes()).await;
        let name = format!("v{round}");
        let image = release(&*store, &here, Shape::image(&[blob]), &[&name]).await;
        if round == 0 {
            delete_tag(&*store, &here, "v0").await.unwrap();
        }
        begin(&*store, upload_row(&here)).await;
        releases.push((name, blob, image));
        assert_eq!(
            store
                .server_value("key", vec![u8::try_from(round).unwrap()])
                .await
                .unwrap(),
            [0]
        );
    }
    let store = open(directory.path()).unwrap();
    let blobs = store.all_blobs(None, 10).await.unwrap();
    assert_eq!(blobs.len(), 4);
    assert!(
        blobs
            .iter()
            .all(|(_, row)| row.pin_until > NOW && row.links == 1)
    );
}

#[test]
fn a_directory_has_one_server() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path()).unwrap();
    assert!(
        matches!(open(directory.path()), Err(Error::Unavailable(text)) if text.contains("one server per directory"))
    );
    drop(first);
    open(directory.path()).unwrap();
}

#[test]
fn another_layout_version_is_refused_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).unwrap());
    super::write_schema(&RocksEngine::open(directory.path()).unwrap(), b"2");
    assert!(
        matches!(open(directory.path()), Err(Error::Damaged(text)) if text.contains("version 2"))
    );
}
