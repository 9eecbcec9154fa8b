//! From a sealed upload to a durable object under its key.

use super::{BlobStore, Error, SealedUpload, object_path};
use crate::metadata::UploadId;
use object_store::{ObjectStoreExt as _, PutPayload, WriteMultipart};
use sealstone_spec::digest::Digest;
use sealstone_spec::tree::{ChainingValue, group_count};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

/// Size of the parts that go to an object store: 8 MiB.
const PART_BYTES: usize = 8 << 20;

/// A blob whose bytes are durable under the key of its upload.
#[derive(Debug)]
pub struct PublishedBlob {
    upload: UploadId,
    digest: Digest,
    size: u64,
    root: ChainingValue,
}

impl PublishedBlob {
    /// The upload that brought it.
    pub fn upload(&self) -> UploadId {
        self.upload
    }

    /// Its digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its size, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of its BLAKE3 tree.
    pub fn root(&self) -> ChainingValue {
        self.root
    }
}

impl BlobStore {
    /// Puts a sealed upload under its key. When this returns, its bytes survive a power cut. What is left
    /// of it in the staging directory is discarded by the caller, once the metadata name the blob.
    ///
    /// # Errors
    /// If they cannot be written; the upload can then be resumed.
    pub async fn publish(&self, sealed: SealedUpload) -> Result<PublishedBlob, Error> {
        let published = PublishedBlob {
            upload: sealed.id,
            digest: sealed.digest,
            size: sealed.size,
            root: sealed.root,
        };
        match self.local.clone() {
            Some(local) => {
                let move_into_place = move || {
                    append_tree(&sealed)?;
                    let file = sealed.part.file();
                    file.sync_data().map_err(Error::io("sync", sealed.id))?;
                    local.adopt(&sealed.data_path, &sealed.key)
                };
                tokio::task::spawn_blocking(move_into_place)
                    .await
                    .map_err(|_| Error::Stopping)??;
            }
            None => self.copy_to_objects(sealed).await?,
        }
        Ok(published)
    }

    async fn copy_to_objects(&self, sealed: SealedUpload) -> Result<(), Error> {
        let path = object_path(&sealed.key);
        let tree_len = tree_bytes(sealed.size);
        let parts = [(false, sealed.size), (true, tree_len)];
        let sealed = std::sync::Arc::new(sealed);
        let object = |action| Error::object(action, &sealed.key);
        if sealed.size + tree_len <= PART_BYTES as u64 {
            let mut whole = Vec::new();
            for (tree, len) in parts {
                whole.extend(read_part(&sealed, tree, 0, len as usize).await?);
            }
            self.objects
                .put(&path, PutPayload::from(whole))
                .await
                .map_err(object("write"))?;
        } else {
            let upload = self
                .objects
                .put_multipart(&path)
                .await
                .map_err(object("begin"))?;
            let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
            for (tree, len) in parts {
                let mut offset = 0;
                while offset < len {
                    let piece = (len - offset).min(PART_BYTES as u64) as usize;
                    writer.wait_for_capacity(2).await.map_err(object("write"))?;
                    writer.write(&read_part(&sealed, tree, offset, piece).await?);
                    offset += piece as u64;
                }
            }
            writer.finish().await.map_err(object("finish"))?;
        }
        Ok(())
    }
}

/// Bytes of tree behind a blob of `size` bytes: none where the root in the metadata store says it all.
pub(super) fn tree_bytes(size: u64) -> u64 {
    match group_count(size) {
        1 => 0,
        groups => groups * 32,
    }
}

fn append_tree(sealed: &SealedUpload) -> Result<(), Error> {
    let io = |action| Error::io(action, sealed.id);
    let mut data = sealed.part.file();
    // Space may have been reserved behind the last byte that came.
    sealed.part.give_back().map_err(io("truncate"))?;
    data.set_len(sealed.size).map_err(io("truncate"))?;
    if tree_bytes(sealed.size) == 0 {
        return Ok(());
    }
    data.seek(SeekFrom::Start(sealed.size))
        .map_err(io("seek in"))?;
    let mut tree = &sealed.tree;
    tree.seek(SeekFrom::Start(0)).map_err(io("seek in"))?;
    std::io::copy(&mut tree, &mut data).map_err(io("write the tree of"))?;
    data.flush().map_err(io("write the tree of"))
}

async fn read_part(
    sealed: &std::sync::Arc<SealedUpload>,
    tree: bool,
    offset: u64,
    len: usize,
) -> Result<Vec<u8>, Error> {
    let sealed = sealed.clone();
    let read = move || {
        let mut part = vec![0; len];
        let file = if tree {
            &sealed.tree
        } else {
            sealed.part.file()
        };
        file.read_exact_at(&mut part, offset)
            .map_err(Error::io("read", sealed.id))?;
        Ok(part)
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| Error::Stopping)?
}
