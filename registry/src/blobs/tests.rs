//! Bytes in, bytes out, and damage between: on a local directory and on an object store alike.

#![allow(clippy::unwrap_used)]

mod damage;
mod upload;

use super::*;
use crate::metadata::{StoredAlgorithm, UploadId};
use bytes::Bytes;
use futures_util::StreamExt as _;
use proptest::prelude::*;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::tree::{ChainingValue, GROUP_BYTES, group_count, group_value};
use std::ops::Range;
use tempfile::TempDir;

/// A store, and the directory in which it lives.
struct Place {
    store: BlobStore,
    directory: TempDir,
}

impl Place {
    fn local() -> Place {
        let directory = tempfile::tempdir().unwrap();
        Place {
            store: BlobStore::local(directory.path(), 0)
                .unwrap()
                .with_direct_writes(),
            directory,
        }
    }

    fn remote() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let objects = Arc::new(object_store::memory::InMemory::new());
        Place {
            store: BlobStore::remote(objects, directory.path().join("uploads"), 0).unwrap(),
            directory,
        }
    }

    fn both() -> [Place; 2] {
        [Place::local(), Place::remote()]
    }
}

impl StagedUpload {
    /// Adds bytes as a request would.
    fn append(&mut self, pieces: &[Bytes]) -> Result<(), Error> {
        for mut piece in pieces.iter().cloned() {
            while !piece.is_empty() {
                let mut batch = self.batch_after(None);
                batch.fill(&mut piece);
                let batch = Arc::new(batch);
                self.writing(&batch)?.write()?;
                self.hash(&batch)?;
            }
        }
        Ok(())
    }
}

fn bytes_of(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i * 31 + i / 255 + i / GROUP_BYTES) as u8)
        .collect()
}

fn new_row(algorithm: Algorithm) -> UploadRow {
    let id = UploadId(uuid::Uuid::now_v7());
    UploadRow {
        id,
        repo: "a/b".parse().unwrap(),
        key: PhysicalKey::of_upload(id),
        algorithm: StoredAlgorithm(algorithm),
        offset: 0,
        hash_state: Vec::new(),
        boot: None,
        sealing: false,
        reserved: 0,
        roomless: false,
        by: "user:tester".into(),
        expires_at: 0,
    }
}

/// Notes in a row how far an upload has come, as the service does.
fn note(row: &mut UploadRow, upload: &StagedUpload) {
    row.offset = upload.offset();
    row.hash_state = upload.hash_state();
    row.boot = Some(upload.boot().to_owned());
}

/// A blob in a store.
#[derive(Clone)]
struct Stored {
    data: Vec<u8>,
    key: PhysicalKey,
    root: ChainingValue,
}

impl Stored {
    async fn publish(store: &BlobStore, data: Vec<u8>) -> Stored {
        let row = new_row(Algorithm::Sha256);
        let mut upload = store.resume(&row).unwrap();
        for piece in data.chunks(100_000) {
            upload.append(&[Bytes::copy_from_slice(piece)]).unwrap();
        }
        let published = store
            .publish(upload.seal(&Digest::sha256(&data)).unwrap())
            .await
            .unwrap();
        assert_eq!(
            (published.size(), published.upload()),
            (data.len() as u64, row.id)
        );
        store.staging().discard(row.id).unwrap();
        Stored {
            root: published.root(),
            key: row.key,
            data,
        }
    }

    fn len(&self) -> u64 {
        self.data.len() as u64
    }

    /// What a reader gets before the end, and the error that ended it.
    async fn read(&self, store: &BlobStore, range: Range<u64>) -> (Vec<u8>, Option<Error>) {
        let mut found = Vec::new();
        let mut stream = match store.read(&self.key, self.len(), self.root, range).await {
            Ok(stream) => stream,
            Err(error) => return (found, Some(error)),
        };
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => found.extend_from_slice(&piece),
                Err(error) => return (found, Some(error)),
            }
        }
        (found, None)
    }

    async fn read_tree(&self, store: &BlobStore) -> Result<Vec<u8>, Error> {
        let mut stream = store.read_tree(&self.key, self.len(), self.root).await?;
        let mut found = Vec::new();
        while let Some(piece) = stream.next().await {
            found.extend_from_slice(&piece?);
        }
        Ok(found)
    }
}

#[tokio::test]
async fn what_was_put_comes_back() {
    const G: usize = GROUP_BYTES;
    for place in Place::both() {
        for len in [0, 1, G - 1, G, G + 1, 2 * G, 2 * G + 1, 4 * G, 5 * G + 77] {
            let blob = Stored::publish(&place.store, bytes_of(len)).await;
            assert_eq!(blob.root, *blake3::hash(&blob.data).as_bytes());
            let (found, error) = blob.read(&place.store, 0..blob.len()).await;
            assert!(
                error.is_none() && found == blob.data,
                "{len} bytes: {error:?}"
            );
            let groups = group_count(blob.len());
            let values: Vec<u8> = match len {
                0 => group_value(0, b"", true).to_vec(),
                _ => blob
                    .data
                    .chunks(G)
                    .zip(0..)
                    .flat_map(|(data, index)| group_value(index, data, groups == 1))
                    .collect(),
            };
            assert_eq!(blob.read_tree(&place.store).await.unwrap(), values);
            assert_eq!(
                place
                    .store
                    .scrub(&blob.key, blob.len(), blob.root)
                    .await
                    .unwrap(),
                blob.len()
            );
        }
        assert_eq!(place.store.staging().uploads().unwrap(), []);
        assert!(place.store.free_bytes().unwrap() > 0 && place.directory.path().exists());
    }
}

#[tokio::test]
async fn a_large_blob_goes_to_an_object_store_in_parts() {
    let place = Place::remote();
    for len in [(8 << 20) - 1024, 8 << 20, (17 << 20) + 5] {
        let blob = Stored::publish(&place.store, bytes_of(len)).await;
        let (found, error) = blob.read(&place.store, 0..blob.len()).await;
        assert!(error.is_none() && found == blob.data);
    }
}

#[test]
fn ranges_are_slices() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for place in Place::both() {
        let len = 5 * GROUP_BYTES + 1234;
        let blob = runtime.block_on(Stored::publish(&place.store, bytes_of(len)));
        let near_borders = (0..6_usize, 0..3_usize)
            .prop_map(|(group, off)| group * GROUP_BYTES + off)
            .boxed();
        let edge = prop_oneof![0..=len, near_borders.prop_map(move |at| at.min(len))];
        proptest!(ProptestConfig::with_cases(48), |(one in edge.clone(), two in edge)| {
            let (start, end) = (one.min(two), one.max(two));
            let (found, error) = runtime.block_on(blob.read(&place.store, start as u64..end as u64));
            prop_assert!(error.is_none());
            prop_assert!(found == blob.data[start..end]);
        });
    }
}

#[tokio::test]
async fn deleting_twice_is_as_good_as_once() {
    for place in Place::both() {
        let blob = Stored::publish(&place.store, bytes_of(300_000)).await;
        let other = Stored::publish(&place.store, bytes_of(300_001)).await;
        for _ in 0..2 {
            place.store.delete(&blob.key).await.unwrap();
            assert!(blob.read(&place.store, 0..10).await.1.is_some());
        }
        assert_eq!(other.read(&place.store, 0..other.len()).await.0, other.data);
    }
}
