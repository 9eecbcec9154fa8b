//! That the objects lie where the metadata look for them.
//!
//! Invariant: where what is there is not theirs, no start takes that for damage. A volume that is not mounted leaves an
//! empty folder, or none, or what a start before it was there has made beneath; so an id in both says that they belong
//! together, and none is written into a second folder: both sides of a mount would have it. Who accepts that objects are
//! lost writes the id down there.

use crate::blobs::{BlobStore, StoreId};
use crate::metadata::{BlobPlace, Metadata};
use anyhow::{Context as _, bail};
use sealstone_spec::digest::Digest;
use std::path::Path;

/// Rows that are read at once.
const PAGE: usize = 1000;
/// The server's value that is the id of the store of objects.
const ID: &str = "blob-store";

/// The store of objects that belongs to the metadata.
#[derive(Clone, Copy, Debug)]
pub(super) struct Belonging {
    pub(super) id: StoreId,
    /// Whether objects lie there though the metadata name none: what named them may have been lost, and be put back.
    pub(super) is_strange: bool,
}

/// The store of objects that belongs to the metadata. Refuses a data directory that holds another one, or none, where the
/// metadata name an object.
pub(super) async fn check_there(
    directory: &Path,
    metadata: &dyn Metadata,
) -> anyhow::Result<Belonging> {
    let there = BlobStore::id_in(directory)?;
    let kept = metadata.kept_value(ID).await?;
    let kept = kept
        .map(|kept| {
            StoreId::parse(&kept).context("the stored id of the store of objects is damaged")
        })
        .transpose()?;
    let theirs = |id| Belonging {
        id,
        is_strange: false,
    };
    if let Some(kept) = kept.filter(|kept| there == Some(*kept)) {
        return Ok(theirs(kept));
    }
    // Those of versions that gave none have one object at least where they look for it.
    let Some(named) = named(directory, metadata, kept.is_none()).await? else {
        let id = match (kept, there) {
            // A start was cut before they had it, or they are new.
            (None, Some(there)) => there,
            // The folder with the one that they have may lie beneath a volume, so this one gets another.
            _ => StoreId::random(),
        };
        return Ok(Belonging {
            id,
            is_strange: BlobStore::has_objects_in(directory)?,
        });
    };
    let id = kept.unwrap_or(named.id);
    if kept.is_none() && (named.is_found || there == Some(id)) {
        // Some object of theirs lies there, or a start was cut before they had it, or somebody has said that it is theirs.
        return Ok(theirs(there.unwrap_or(id)));
    }
    let named = named.digest;
    let found = match there {
        Some(other) => format!("that is the store {other}, and theirs is {id}"),
        None => "nothing there says so".to_owned(),
    };
    let file = BlobStore::id_path(directory);
    bail!(
        "the metadata name objects ({named} for one), and these do not lie in {} ({found}): a volume is not mounted, or another one is, or this part of a backup was not put back. Nothing was changed. Mount it, or put it back. If they do lie there, or are lost for good, say so as the server's user, and what is pushed again takes the place of what is missing: mkdir -p {} && echo {id} > {}",
        directory.join("blobs").display(),
        quoted(crate::file::folder(&file)),
        quoted(&file)
    )
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// Has the metadata keep the id.
pub(super) async fn keep(id: StoreId, metadata: &dyn Metadata) -> anyhow::Result<()> {
    let id = id.to_string().into_bytes();
    if metadata.kept_value(ID).await?.as_ref() != Some(&id) {
        metadata.replace_value(ID, id).await?;
    }
    Ok(())
}

/// What the rows say of objects.
struct Named {
    /// The first blob that lies in no row.
    digest: Digest,
    /// The id of their store, if it has none yet.
    id: StoreId,
    /// Whether one of them lies in the directory; `false` where nobody looked.
    is_found: bool,
}

/// The blobs that lie in no row, if there are any; with `look`, until one of these lies in the directory.
async fn named(
    directory: &Path,
    metadata: &dyn Metadata,
    look: bool,
) -> anyhow::Result<Option<Named>> {
    let (mut after, mut first) = (None, None::<Named>);
    loop {
        let rows = metadata.all_blobs(after, PAGE).await?;
        let Some((last, _)) = rows.last() else {
            return Ok(first);
        };
        after = Some(*last);
        for (digest, row) in &rows {
            let BlobPlace::Object { key, .. } = &row.place else {
                continue;
            };
            let is_found = look && BlobStore::has_object_in(directory, key);
            let named = first.get_or_insert_with(|| Named {
                digest: *digest,
                id: StoreId::of_object(digest, key),
                is_found,
            });
            named.is_found |= is_found;
            if is_found || !look {
                return Ok(first);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metadata::kv::KvMetadata;
    use crate::metadata::kv::memory::MemoryEngine;
    use crate::metadata::suite::kit::upload_row;
    use crate::metadata::{NewBlob, NewContent, PhysicalKey, UploadId};

    /// Stores a blob in a row, or as an object.
    async fn store(metadata: &dyn Metadata, content: &[u8], as_object: bool) {
        let (repo, now) = ("a/b".parse::<sealstone_spec::name::RepoName>().unwrap(), 1);
        let row = upload_row(&repo);
        let id = row.id;
        if as_object {
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

    /// The file of the object that rows name.
    async fn object(directory: &Path, metadata: &dyn Metadata) -> std::path::PathBuf {
        let rows = metadata.all_blobs(None, 10_000).await.unwrap();
        let mut keys = rows.iter().filter_map(|(_, row)| match &row.place {
            BlobPlace::Object { key, .. } => Some(key),
            BlobPlace::Inline => None,
        });
        directory.join("blobs").join(keys.next().unwrap().as_str())
    }

    async fn check_there(directory: &Path, metadata: &dyn Metadata) -> anyhow::Result<StoreId> {
        Ok(super::check_there(directory, metadata).await?.id)
    }

    fn opened(directory: &Path, id: StoreId) {
        let store = BlobStore::local(directory, 0).unwrap();
        store.with_id(id).unwrap();
    }

    async fn refused(directory: &Path, metadata: &dyn Metadata) -> String {
        let refused = super::check_there(directory, metadata).await.unwrap_err();
        let refused = refused.to_string();
        assert!(refused.contains("not mounted"), "{refused}");
        assert!(refused.contains(&Digest::sha256(b"object").to_string()));
        refused
    }

    #[tokio::test]
    async fn where_rows_name_objects_their_store_has_to_be_there() {
        let directory = tempfile::tempdir().unwrap();
        // The command has to work for any path.
        let path = &directory.path().join("my data; it's $HOME");
        std::fs::create_dir(path).unwrap();
        let metadata = KvMetadata::start(MemoryEngine::default(), |_| {}).unwrap();
        check_there(path, &metadata).await.unwrap();
        for number in 0..1100_u32 {
            store(&metadata, &number.to_be_bytes(), false).await;
        }
        let mut id = check_there(path, &metadata).await.unwrap();
        opened(path, id);
        keep(id, &metadata).await.unwrap();
        assert_eq!(check_there(path, &metadata).await.unwrap(), id);

        // Nothing is missed where rows name none, and what is there becomes theirs. Its id is a new one: the folder that had
        // theirs may be there still, beneath.
        for beneath in [None, Some(StoreId::random())] {
            std::fs::remove_dir_all(path.join("blobs")).unwrap();
            if let Some(beneath) = beneath {
                opened(path, beneath);
            }
            let next = check_there(path, &metadata).await.unwrap();
            assert!(next != id && Some(next) != beneath);
            opened(path, next);
            assert_eq!(BlobStore::id_in(path).unwrap(), Some(next));
            // The start was cut here: the next one takes another.
            let last = check_there(path, &metadata).await.unwrap();
            assert!(last != id && last != next);
            opened(path, last);
            keep(last, &metadata).await.unwrap();
            assert_eq!(check_there(path, &metadata).await.unwrap(), last);
            id = last;
        }

        store(&metadata, b"object", true).await;
        assert_eq!(check_there(path, &metadata).await.unwrap(), id);
        std::fs::remove_dir_all(path.join("blobs")).unwrap();
        refused(path, &metadata).await;
        std::fs::create_dir(path.join("blobs")).unwrap();
        refused(path, &metadata).await;
        assert_eq!(std::fs::read_dir(path.join("blobs")).unwrap().count(), 0);
        // Beneath a volume, what a start made there before it; also with objects.
        BlobStore::local(path, 0).unwrap();
        refused(path, &metadata).await;
        std::fs::write(object(path, &metadata).await, b"object").unwrap();
        refused(path, &metadata).await;
        let other = StoreId::random();
        opened(path, other);
        let says = refused(path, &metadata).await;
        assert!(says.contains(&other.to_string()), "{says}");
        assert_eq!(BlobStore::id_in(path).unwrap(), Some(other));
        // As it says.
        let (_, command) = says.split_once("missing: ").unwrap();
        std::fs::remove_dir_all(path.join("blobs")).unwrap();
        let done = std::process::Command::new("sh")
            .args(["-c", command])
            .status();
        assert!(done.unwrap().success(), "{command}");
        assert_eq!(check_there(path, &metadata).await.unwrap(), id);
    }

    /// The first start came before the volume was mounted, the second after that.
    #[tokio::test]
    async fn what_the_first_start_made_beneath_a_volume_is_not_the_volume() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let (blobs, beneath, volume) = (
            path.join("blobs"),
            path.join("beneath"),
            path.join("volume"),
        );
        let metadata = KvMetadata::start(MemoryEngine::default(), |_| {}).unwrap();
        for aside in [&beneath, &volume] {
            let id = check_there(path, &metadata).await.unwrap();
            opened(path, id);
            keep(id, &metadata).await.unwrap();
            if aside == &volume {
                store(&metadata, b"object", true).await;
            }
            std::fs::rename(&blobs, aside).unwrap();
        }
        std::fs::rename(&beneath, &blobs).unwrap();
        refused(path, &metadata).await;
        std::fs::remove_dir_all(&blobs).unwrap();
        std::fs::rename(&volume, &blobs).unwrap();
        check_there(path, &metadata).await.unwrap();
    }

    #[tokio::test]
    async fn a_store_of_a_version_without_ids_gets_one_where_its_objects_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let metadata = KvMetadata::start(MemoryEngine::default(), |_| {}).unwrap();
        store(&metadata, b"object", true).await;
        refused(path, &metadata).await;
        // Folders alone are what lies beneath a volume.
        BlobStore::local(path, 0).unwrap();
        refused(path, &metadata).await;
        assert_eq!(metadata.kept_value(ID).await.unwrap(), None);
        let object = object(path, &metadata).await;
        std::fs::write(&object, b"object").unwrap();
        let id = check_there(path, &metadata).await.unwrap();
        opened(path, id);
        // The start was cut here: the next one goes on, whatever is lost by then.
        std::fs::remove_file(&object).unwrap();
        assert_eq!(check_there(path, &metadata).await.unwrap(), id);
        keep(id, &metadata).await.unwrap();
        assert_eq!(check_there(path, &metadata).await.unwrap(), id);
        std::fs::remove_file(BlobStore::id_path(path)).unwrap();
        refused(path, &metadata).await;
    }

    /// A backup by a version without ids, put back beside what a start of this one has made; its objects are not there yet.
    #[tokio::test]
    async fn metadata_without_an_id_take_no_folder_that_lacks_their_objects() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let metadata = KvMetadata::start(MemoryEngine::default(), |_| {}).unwrap();
        store(&metadata, b"object", true).await;
        let fresh = StoreId::random();
        opened(path, fresh);
        let says = refused(path, &metadata).await;
        assert_eq!(refused(path, &metadata).await, says);
        assert_eq!(BlobStore::id_in(path).unwrap(), Some(fresh));
        // The objects come as well, with the folder's id or without.
        let object = object(path, &metadata).await;
        std::fs::write(&object, b"object").unwrap();
        assert_eq!(check_there(path, &metadata).await.unwrap(), fresh);
        // Or they are given up, as it says.
        std::fs::remove_file(&object).unwrap();
        let (_, command) = says.split_once("missing: ").unwrap();
        let done = std::process::Command::new("sh")
            .args(["-c", command])
            .status();
        assert!(done.unwrap().success(), "{command}");
        let id = BlobStore::id_in(path).unwrap();
        assert_ne!(id, Some(fresh));
        assert_eq!(check_there(path, &metadata).await.ok(), id);
    }

    #[tokio::test]
    async fn objects_beside_metadata_that_name_none_are_strange() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let metadata = KvMetadata::start(MemoryEngine::default(), |_| {}).unwrap();
        let strange = async || {
            super::check_there(path, &metadata)
                .await
                .unwrap()
                .is_strange
        };
        assert!(!strange().await);
        let id = StoreId::random();
        opened(path, id);
        assert!(!strange().await);
        let upload = UploadId(uuid::Uuid::now_v7());
        let object = path
            .join("blobs")
            .join(PhysicalKey::of_upload(upload).as_str());
        // No name of an object.
        std::fs::write(object.with_extension("txt"), b"other").unwrap();
        assert!(!strange().await);
        std::fs::write(&object, b"object").unwrap();
        assert!(strange().await);
        assert_eq!(check_there(path, &metadata).await.unwrap(), id);
        // Once they belong together, objects that no row names are what a crash has left.
        keep(id, &metadata).await.unwrap();
        assert!(!strange().await);
    }
}
