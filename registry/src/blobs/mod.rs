//! The content store: bytes under keys, hashed while they come and checked before they go.
//!
//! Receiving: [`StagedUpload`] takes bytes and hashes them on the way to disk; its `seal` compares with
//! the digest that the client named and is the only maker of a [`SealedUpload`]; [`BlobStore::publish`]
//! takes nothing else, and returns when the bytes are durable under their key.
//! Sending: [`BlobStore::read`] returns a stream of groups each of which was compared with the BLAKE3
//! tree since it left the disk; no other reader exists outside this module.
//!
//! An object is a blob's bytes followed by its tree: 32 bytes for each group of 256 KiB, if there are two
//! groups or more. The tree's root stands in the metadata store, so a damaged tree is noticed as well.
//!
//! **Invariant**: nothing here knows a digest's path. Which key belongs to which digest is metadata.
//! Shortcuts that need a local directory live in [`local`]; everything else goes through `object_store`.

mod batch;
mod buffers;
mod error;
mod hashing;
mod inventory;
mod local;
mod part;
mod publish;
mod read;
mod staging;
mod store_id;
mod sys;

pub use crate::metadata::INLINE_LIMIT;
pub use batch::Batch;
pub use error::Error;
pub use hashing::BlobHasher;
pub use inventory::Stored;
pub use local::LocalDirectory;
pub use publish::PublishedBlob;
pub use read::{GroupStream, TreeStream};
pub(crate) use staging::SPECULATIVE;
pub use staging::{BatchWriter, SealedBytes, SealedUpload, StagedUpload, Staging};
pub use store_id::StoreId;

use crate::metadata::{PhysicalKey, UploadRow};
use buffers::{BUFFER_BYTES, BufferPool};
use moka::sync::Cache;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt as _};
use sealstone_spec::tree::SegmentIndex;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Memory for folded trees of blobs that were read lately, in bytes.
const TREE_CACHE_BYTES: u64 = 4 << 20;

/// Buffers for reading that are kept: 8 MiB.
const READ_BUFFERS_KEPT: usize = 16;

/// The folder of objects in a data directory.
const FOLDER: &str = "blobs";

/// The blob store.
#[derive(Clone, Debug)]
pub struct BlobStore {
    objects: Arc<dyn ObjectStore>,
    local: Option<LocalDirectory>,
    staging: Staging,
    buffers: BufferPool,
    trees: Cache<PhysicalKey, Arc<SegmentIndex>>,
}

impl BlobStore {
    /// A store in a local directory: objects below `directory/blobs`, uploads below `directory/uploads`.
    ///
    /// Keeps `reserve` bytes of the disk free: uploads are refused below that, so that the metadata
    /// store beside it never meets a full disk.
    ///
    /// # Errors
    /// If the directories cannot be made or written, or nothing can be moved from one to the other.
    pub fn local(directory: &Path, reserve: u64) -> Result<BlobStore, Error> {
        let blobs = directory.join(FOLDER);
        let local = LocalDirectory::create(&blobs)?;
        let objects = object_store::local::LocalFileSystem::new_with_prefix(&blobs)
            .map_err(Error::object("open", "blobs"))?
            .with_fsync(true);
        let staging = Staging::create(directory.join("uploads"), reserve)?;
        local.try_move(staging.directory())?;
        Ok(BlobStore::over(Arc::new(objects), Some(local), staging))
    }

    /// Which store has its objects in a data directory, if that is known.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn id_in(directory: &Path) -> Result<Option<StoreId>, Error> {
        StoreId::read(&directory.join(FOLDER))
    }

    /// The file that says it.
    pub fn id_path(directory: &Path) -> PathBuf {
        StoreId::path(&directory.join(FOLDER))
    }

    /// Whether an object lies in a data directory.
    pub fn has_object_in(directory: &Path, key: &PhysicalKey) -> bool {
        directory.join(FOLDER).join(key.as_str()).is_file()
    }

    /// The same as the store with an id, which is written down where it is not yet. Where another one is found later, or
    /// none, the directory is taken for another: nothing is put there, and nothing that is missing there is damaged. A store
    /// that is no local directory has no id.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn with_id(self, id: StoreId) -> Result<BlobStore, Error> {
        let local = self.local.clone();
        let local = local.map(|local| local.with_id(id)).transpose()?;
        Ok(BlobStore { local, ..self })
    }

    /// Whether an object that is not there has gone by itself, and not the folders of all, as where a volume went away.
    /// Asks the disk, so it blocks.
    pub fn has_folder_of(&self, key: &PhysicalKey) -> bool {
        let local = self.local.as_ref();
        local.is_none_or(|local| local.has_folder_of(key))
    }

    /// A store over any object store, with uploads staged in the local directory `staging`.
    ///
    /// # Errors
    /// If the staging directory cannot be made.
    pub fn remote(
        objects: Arc<dyn ObjectStore>,
        staging: PathBuf,
        reserve: u64,
    ) -> Result<BlobStore, Error> {
        Ok(BlobStore::over(
            objects,
            None,
            Staging::create(staging, reserve)?,
        ))
    }

    fn over(
        objects: Arc<dyn ObjectStore>,
        local: Option<LocalDirectory>,
        staging: Staging,
    ) -> BlobStore {
        let trees = Cache::builder()
            .weigher(|_, index: &Arc<SegmentIndex>| {
                u32::try_from(index.groups() / 32 + 200).unwrap_or(u32::MAX)
            })
            .max_capacity(TREE_CACHE_BYTES)
            .build();
        BlobStore {
            objects,
            local,
            staging,
            buffers: BufferPool::new(BUFFER_BYTES, READ_BUFFERS_KEPT),
            trees,
        }
    }

    /// The same with uploads written past the page cache, where the file system can do that.
    pub fn with_direct_writes(self) -> BlobStore {
        BlobStore {
            staging: self.staging.past_the_cache(),
            ..self
        }
    }

    /// Where uploads are staged.
    pub fn staging(&self) -> &Staging {
        &self.staging
    }

    /// Whether bytes of an upload are staged, or were moved to its key without being committed.
    pub fn has_staged(&self, row: &UploadRow) -> bool {
        self.staging.holds(row.id)
            || (row.sealing
                && self
                    .local
                    .as_ref()
                    .is_some_and(|local| local.path(&row.key).exists()))
    }

    /// Opens an upload where it stands: at its start, after the last request, or after a crash. Blocks.
    ///
    /// # Errors
    /// If its files cannot be opened or read.
    pub fn resume(&self, row: &UploadRow) -> Result<StagedUpload, Error> {
        if let (true, Some(local), false) = (row.sealing, &self.local, self.staging.holds(row.id)) {
            let object = local.path(&row.key);
            if object.exists() {
                // The process ended between the move and the commit: go back by one step.
                std::fs::rename(object, self.staging.data_file(row.id))
                    .map_err(Error::io("take back", &row.key))?;
            }
        }
        self.staging.resume(row)
    }

    /// Deletes the object under a key, if there is one.
    ///
    /// # Errors
    /// If the store refuses; an object that is not there is no error.
    pub async fn delete(&self, key: &PhysicalKey) -> Result<(), Error> {
        self.trees.invalidate(key);
        match self.objects.delete(&object_path(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::object("delete", key.as_str())(error)),
        }
    }

    /// Whether uploads can be staged, and objects made where that can be asked without making one.
    ///
    /// # Errors
    /// Which folder cannot be written, and why.
    pub fn check_writable(&self) -> Result<(), Error> {
        self.staging.check_writable()?;
        match &self.local {
            Some(local) => {
                local.check_writable()?;
                local.check_moves(self.staging.directory())
            }
            None => Ok(()),
        }
    }

    /// Free space where uploads are staged, in bytes.
    ///
    /// # Errors
    /// If the file system does not tell.
    pub fn free_bytes(&self) -> Result<u64, Error> {
        self.staging.free_bytes()
    }
}

fn object_path(key: &PhysicalKey) -> ObjectPath {
    ObjectPath::from(key.as_str())
}

#[cfg(test)]
mod tests;
