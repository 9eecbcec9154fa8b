//! That the objects lie where the metadata look for them.
//!
//! Invariant: where nothing of them is there, no start takes that for damage. A volume that is not mounted leaves an empty
//! folder, or none.

use crate::blobs::BlobStore;
use crate::metadata::{BlobPlace, Metadata};
use anyhow::bail;
use sealstone_spec::digest::Digest;
use std::path::Path;

/// Rows that are read at once.
const PAGE: usize = 1000;

/// Refuses a data directory in which no blob store was ever made, where the metadata name an object of one.
pub(super) async fn check_there(directory: &Path, metadata: &dyn Metadata) -> anyhow::Result<()> {
    if BlobStore::is_in(directory) {
        return Ok(());
    }
    let Some(named) = first_object(metadata).await? else {
        return Ok(());
    };
    let blobs = directory.join("blobs");
    bail!(
        "the metadata name objects ({named} for one), and in {} there is nothing that they could lie in: a volume is not mounted, or this part of a backup was not put back. Nothing was changed. Mount it, or put it back; if all objects are lost for good, make the folder {}, and what is pushed again takes their place",
        blobs.display(),
        blobs.join("b").display()
    )
}

/// A blob that lies in no row.
async fn first_object(metadata: &dyn Metadata) -> anyhow::Result<Option<Digest>> {
    let mut after = None;
    loop {
        let rows = metadata.all_blobs(after, PAGE).await?;
        let Some((last, _)) = rows.last() else {
            return Ok(None);
        };
        after = Some(*last);
        let object = rows
            .iter()
            .find(|(_, row)| matches!(row.place, BlobPlace::Object { .. }));
        if let Some((digest, _)) = object {
            return Ok(Some(*digest));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metadata::kv::KvMetadata;
    use crate::metadata::kv::memory::MemoryEngine;
    use crate::metadata::{NewBlob, NewContent, PhysicalKey, StoredAlgorithm, UploadId, UploadRow};
    use sealstone_spec::digest::Algorithm;

    /// Stores a blob in a row, or as an object.
    async fn store(metadata: &dyn Metadata, content: &[u8], as_object: bool) {
        let (repo, now) = ("a/b".parse::<sealstone_spec::name::RepoName>().unwrap(), 1);
        let id = UploadId(uuid::Uuid::now_v7());
        if as_object {
            let row = UploadRow {
                id,
                repo: repo.clone(),
                key: PhysicalKey::of_upload(id),
                algorithm: StoredAlgorithm(Algorithm::Sha256),
                offset: 0,
                hash_state: Vec::new(),
                boot: None,
                sealing: false,
                reserved: 0,
                roomless: false,
                by: "user:tester".into(),
                expires_at: 1000,
            };
            let begun = metadata.begin_upload(row, Vec::new()).await.unwrap();
            begun.unwrap();
        }
        let blob = NewBlob {
            repo,
            digest: Digest::sha256(content),
            size: content.len() as u64,
            content: match as_object {
                true => NewContent::Object([7; 32]),
                false => NewContent::Inline(content.to_vec().into()),
            },
            upload: as_object.then_some(id),
            quotas: Vec::new(),
            now,
            pin_until: 1000,
        };
        metadata.commit_blob(blob).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn where_rows_name_objects_there_has_to_be_a_place_for_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let metadata = KvMetadata::start(MemoryEngine::default(), |_| {}).unwrap();
        check_there(path, &metadata).await.unwrap();
        for number in 0..1100_u32 {
            store(&metadata, &number.to_be_bytes(), false).await;
        }
        check_there(path, &metadata).await.unwrap();
        store(&metadata, b"object", true).await;
        for mounted in [false, true] {
            if mounted {
                std::fs::create_dir(path.join("blobs")).unwrap();
            }
            let refused = check_there(path, &metadata).await.unwrap_err().to_string();
            assert!(refused.contains("not mounted"), "{refused}");
            assert!(refused.contains(&Digest::sha256(b"object").to_string()));
        }
        assert_eq!(std::fs::read_dir(path.join("blobs")).unwrap().count(), 0);
        BlobStore::local(path, 0).unwrap();
        check_there(path, &metadata).await.unwrap();
    }
}
