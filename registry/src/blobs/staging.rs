//! Uploads on their way in: a part file, the running hashes, and the seal.
//!
//! Everything here blocks and belongs on a blocking thread. Received bytes are never thrown away: if the
//! process dies, [`BlobStore::resume`](super::BlobStore::resume) finds them by the file's length and hashes the few that the saved
//! state does not cover.
//!
//! **Invariant**: no digest is a saved state's word for bytes that may not be on the disk. Nothing is synced before an
//! upload is published, so a state holds only under the start of the machine under which its bytes were written;
//! after another start all of the file is hashed again, whatever its length says.

use super::batch::{self, Batch};
use super::buffers::BufferPool;
use super::hashing::BlobHasher;
use super::part::{self, PartFile};
use super::{Error, sys};
use crate::metadata::{PhysicalKey, UploadId, UploadRow};
use crate::process;
use bytes::Bytes;
use sealstone_spec::digest::{Algorithm, Digest, Hasher};
use sealstone_spec::tree::{ChainingValue, GROUP_BYTES};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// After so many bytes free space is looked at again: 32 MiB.
const SPACE_CHECK_BYTES: u64 = 32 << 20;

/// Bytes for which space is reserved at a time when nobody said how many will come: 32 MiB.
const RESERVE_AHEAD_BYTES: u64 = 32 << 20;

/// The directory of part files.
#[derive(Clone, Debug)]
pub struct Staging {
    directory: Arc<PathBuf>,
    reserve: u64,
    /// Whether part files are written past the page cache.
    direct: bool,
    /// Names this start of the machine; where the kernel does not say, this start of the server, which is no longer.
    boot: Arc<str>,
    batches: BufferPool,
}

/// A name for the time in which bytes that were never synced are still there.
fn boot_or_process(boot: Option<String>) -> Arc<str> {
    boot.unwrap_or_else(|| uuid::Uuid::new_v4().to_string())
        .into()
}

impl Staging {
    pub(super) fn create(directory: PathBuf, reserve: u64) -> Result<Staging, Error> {
        std::fs::create_dir_all(&directory).map_err(Error::io("create", directory.display()))?;
        Ok(Staging {
            directory: Arc::new(directory),
            reserve,
            direct: false,
            boot: boot_or_process(sys::boot_id()),
            batches: batch::pool(),
        })
    }

    /// The same with part files written past the page cache, where the file system can do that.
    pub(super) fn past_the_cache(self) -> Staging {
        Staging {
            direct: true,
            ..self
        }
    }

    /// The same as it would be under another start of the machine; `None` where the kernel does not name its starts, and
    /// the server starts again.
    #[cfg(test)]
    pub(super) fn started_as(&self, boot: Option<&str>) -> Staging {
        Staging {
            boot: boot_or_process(boot.map(str::to_owned)),
            ..self.clone()
        }
    }

    /// Where part files lie.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether part files can be made.
    pub(super) fn check_writable(&self) -> Result<(), Error> {
        process::may_write(&self.directory).map_err(Error::io("write in", self.directory.display()))
    }

    pub(super) fn free_bytes(&self) -> Result<u64, Error> {
        sys::free_bytes(&self.directory)
            .map_err(Error::io("ask for free space of", self.directory.display()))
    }

    /// Refuses when an upload of `len` more bytes would use the reserve.
    ///
    /// # Errors
    /// [`Error::Full`].
    pub fn check_space(&self, len: u64) -> Result<(), Error> {
        let free = self.free_bytes()?;
        if free < self.reserve.saturating_add(len) {
            return Err(Error::Full {
                free,
                reserve: self.reserve,
            });
        }
        Ok(())
    }

    fn data_path(&self, id: UploadId) -> PathBuf {
        self.directory.join(format!("{id}.data"))
    }

    fn tree_path(&self, id: UploadId) -> PathBuf {
        self.directory.join(format!("{id}.tree"))
    }

    /// Opens an upload where it stands: at its start, after the last request, or after a crash.
    ///
    /// # Errors
    /// If its files cannot be opened or read.
    pub(super) fn resume(&self, row: &UploadRow) -> Result<StagedUpload, Error> {
        let open = |path: &PathBuf| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options
                .open(path)
                .and_then(process::with_spare)
                .map_err(Error::io("open", path.display()))
        };
        let data_path = self.data_path(row.id);
        let part = PartFile::open(&data_path, self.direct)
            .map_err(Error::io("open", data_path.display()))?;
        let data = part.file();
        let mut tree = open(&self.tree_path(row.id))?;
        let io = |action| Error::io(action, row.id);
        let mut received = data.metadata().map_err(io("measure"))?.len();
        if row.sealing && received > row.offset {
            // The tree was being written behind the last byte when the process ended.
            data.set_len(row.offset).map_err(io("truncate"))?;
            received = row.offset;
        }

        // Start from the saved state, or from nothing: if the machine was started since (a power cut leaves zeros
        // where bytes were never synced, and the file as long as it was), if the file is shorter than the state,
        // or if that is of another algorithm, because the digest that the last request named was not the expected
        // one.
        let fits = match row.algorithm.0 {
            Algorithm::Blake3 => true,
            algorithm => Hasher::restore(algorithm, &row.hash_state).is_some(),
        };
        let written_here = row.boot.as_deref() == Some(&*self.boot);
        let saved = if fits && written_here && received >= row.offset {
            row.offset
        } else {
            0
        };
        let state: &[u8] = if saved == 0 { &[] } else { &row.hash_state };
        let values =
            read_values(&mut tree, saved / GROUP_BYTES as u64).map_err(io("read the tree of"))?;
        let values = &values[..values.len().min((saved / GROUP_BYTES as u64) as usize)];
        tree.set_len(values.len() as u64 * 32)
            .map_err(io("truncate the tree of"))?;
        tree.seek(SeekFrom::End(0)).map_err(io("seek in"))?;
        let hasher =
            BlobHasher::resume(row.algorithm.0, state, values).ok_or_else(|| Error::Damaged {
                key: row.key.to_string(),
                problem: "its saved hash state cannot be read".into(),
            })?;

        let mut upload = StagedUpload {
            id: row.id,
            key: row.key.clone(),
            staging: self.clone(),
            part: Arc::new(part),
            tree,
            hasher,
            offset: 0,
            space_checked: received,
        };
        upload.rehash(values.len() as u64 * GROUP_BYTES as u64, saved, received)?;
        Ok(upload)
    }

    /// Whether bytes of an upload are here.
    pub(super) fn holds(&self, id: UploadId) -> bool {
        self.data_path(id).exists()
    }

    pub(super) fn data_file(&self, id: UploadId) -> PathBuf {
        self.data_path(id)
    }

    /// Gives back the space that a server reserved for an upload before it ended without doing so itself. Nobody may be
    /// writing to the upload.
    ///
    /// # Errors
    /// If its file is there and cannot be changed.
    pub fn give_back(&self, id: UploadId) -> Result<(), Error> {
        let path = self.data_path(id);
        match OpenOptions::new().write(true).open(&path) {
            Ok(file) => {
                part::cut_at_end(&file).map_err(Error::io("give back space of", path.display()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::io("open", path.display())(error)),
        }
    }

    /// Removes the files of an upload.
    ///
    /// # Errors
    /// If they are there and cannot be removed.
    pub fn discard(&self, id: UploadId) -> Result<(), Error> {
        for path in [self.data_path(id), self.tree_path(id)] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::io("remove", path.display())(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The uploads that have files here.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn uploads(&self) -> Result<Vec<UploadId>, Error> {
        let io = || Error::io("list", self.directory.display());
        let mut found = std::collections::BTreeSet::new();
        for entry in std::fs::read_dir(&*self.directory).map_err(io())? {
            let name = entry.map_err(io())?.file_name();
            let id = name
                .to_str()
                .and_then(|name| name.split('.').next())
                .and_then(|id| id.parse().ok());
            found.extend(id.map(UploadId));
        }
        Ok(found.into_iter().collect())
    }
}

fn read_values(tree: &mut File, most: u64) -> std::io::Result<Vec<ChainingValue>> {
    let mut bytes = Vec::new();
    tree.seek(SeekFrom::Start(0))?;
    tree.take(most * 32).read_to_end(&mut bytes)?;
    Ok(bytes
        .chunks_exact(32)
        .map(|value| value.try_into().expect("chunks have 32 bytes"))
        .collect())
}

/// An upload that is being received.
#[derive(Debug)]
pub struct StagedUpload {
    id: UploadId,
    key: PhysicalKey,
    staging: Staging,
    part: Arc<PartFile>,
    tree: File,
    hasher: BlobHasher,
    offset: u64,
    space_checked: u64,
}

impl StagedUpload {
    /// The session.
    pub fn id(&self) -> UploadId {
        self.id
    }

    /// Bytes received and hashed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The named hash's state at [`StagedUpload::offset`].
    pub fn hash_state(&self) -> Vec<u8> {
        self.hasher.state()
    }

    /// The start of the machine under which [`StagedUpload::hash_state`] may be used again.
    pub fn boot(&self) -> &str {
        &self.staging.boot
    }

    /// Reserves disk space for `len` more bytes that are announced.
    ///
    /// # Errors
    /// [`Error::Full`] if they would not fit.
    pub fn expect(&mut self, len: u64) -> Result<(), Error> {
        self.staging.check_space(len)?;
        self.part
            .reserve(self.offset, len)
            .map_err(Error::io("reserve space for", self.id))
    }

    /// Whether space is reserved for more than what has come.
    pub fn has_spare(&self) -> bool {
        self.part.reserved() > self.offset
    }

    /// Gives back the space that is reserved for what has not come. No batch may be on its way.
    ///
    /// # Errors
    /// If the file cannot be changed.
    pub fn give_back(&self) -> Result<(), Error> {
        self.part
            .give_back()
            .map_err(Error::io("give back space of", self.id))
    }

    /// An empty batch that begins where the upload stands, or where the batch before it ends.
    pub fn batch_after(&self, last: Option<&Batch>) -> Batch {
        let offset = last.map_or(self.offset, Batch::next_offset);
        Batch::at(&self.staging.batches, offset)
    }

    /// Prepares to add a batch, which must begin where the upload stands: what writes it to the file, and may run on
    /// another thread while [`StagedUpload::hash`] runs on this one. Both must have ended before the next batch.
    ///
    /// # Errors
    /// [`Error::Full`] if it would use the reserve.
    pub fn writing(&mut self, batch: &Arc<Batch>) -> Result<BatchWriter, Error> {
        assert_eq!(batch.offset(), self.offset, "batches follow each other");
        if self.offset >= self.part.reserved() {
            if self.offset >= self.space_checked + SPACE_CHECK_BYTES {
                self.staging.check_space(0)?;
                self.space_checked = self.offset;
            }
            // Only so that blocks lie together: that it does not fit is no reason to refuse the batch.
            let end = batch.next_offset() + RESERVE_AHEAD_BYTES;
            if batch.is_full() && self.staging.check_space(end - self.offset).is_ok() {
                let _ = self.part.reserve(self.offset, end - self.offset);
            }
        }
        Ok(BatchWriter {
            id: self.id,
            part: self.part.clone(),
            batch: batch.clone(),
        })
    }

    /// Adds a batch to both hashes.
    ///
    /// # Errors
    /// If the tree's values cannot be written.
    pub fn hash(&mut self, batch: &Batch) -> Result<(), Error> {
        self.hasher.update(batch.bytes());
        self.offset = batch.next_offset();
        self.write_values()
    }

    fn write_values(&mut self) -> Result<(), Error> {
        let values = self.hasher.take_values();
        if values.is_empty() {
            return Ok(());
        }
        self.tree
            .write_all(values.as_flattened())
            .map_err(Error::io("write the tree of", self.id))
    }

    /// Feeds the hashes from the file: the tree from `tree_from`, the named hash from `saved`.
    fn rehash(&mut self, tree_from: u64, saved: u64, received: u64) -> Result<(), Error> {
        let mut buffer = vec![0; GROUP_BYTES];
        let mut position = tree_from;
        while position < received {
            let end = if position < saved { saved } else { received };
            let len = (end - position).min(GROUP_BYTES as u64) as usize;
            let piece = &mut buffer[..len];
            self.part
                .file()
                .read_exact_at(piece, position)
                .map_err(Error::io("read", self.id))?;
            if position < saved {
                self.hasher.update_tree(piece)
            } else {
                self.hasher.update(piece)
            }
            position += len as u64;
        }
        self.offset = received;
        self.write_values()
    }

    /// Ends the upload: its bytes must have the digest that the client named.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] if they have not.
    pub fn seal(mut self, expected: &Digest) -> Result<SealedUpload, Error> {
        if expected.algorithm() != self.hasher.algorithm() {
            // The algorithm was not known before the last request; once more, then, from the file.
            self.hasher = BlobHasher::new(expected.algorithm());
            self.tree
                .set_len(0)
                .map_err(Error::io("truncate the tree of", self.id))?;
            self.tree
                .seek(SeekFrom::Start(0))
                .map_err(Error::io("seek in", self.id))?;
            self.rehash(0, 0, self.offset)?;
        }
        let (digests, values) = self.hasher.finish();
        if digests.named != *expected {
            return Err(Error::DigestMismatch {
                expected: *expected,
                actual: digests.named,
            });
        }
        self.tree
            .write_all(values.as_flattened())
            .map_err(Error::io("write the tree of", self.id))?;
        Ok(SealedUpload {
            id: self.id,
            key: self.key,
            digest: digests.named,
            size: self.offset,
            root: digests.root,
            part: self.part,
            data_path: self.staging.data_path(self.id),
            tree: self.tree,
        })
    }
}

/// Writes one batch to the part file.
#[derive(Debug)]
pub struct BatchWriter {
    id: UploadId,
    part: Arc<PartFile>,
    batch: Arc<Batch>,
}

impl BatchWriter {
    /// Writes it.
    ///
    /// # Errors
    /// If it cannot be written. Nothing of it is left in the file then, and the upload must be resumed from there.
    pub fn write(self) -> Result<(), Error> {
        self.part
            .write(&self.batch)
            .map_err(Error::io("write", self.id))
    }
}

/// An upload whose bytes were compared with the digest that it came under. Only
/// [`StagedUpload::seal`] makes one.
///
/// ```compile_fail
/// fn publish_unsealed(open: sealstone_registry::blobs::StagedUpload) -> sealstone_registry::blobs::SealedUpload {
///     open
/// }
/// ```
#[derive(Debug)]
pub struct SealedUpload {
    pub(super) id: UploadId,
    pub(super) key: PhysicalKey,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) root: ChainingValue,
    pub(super) part: Arc<PartFile>,
    pub(super) data_path: PathBuf,
    pub(super) tree: File,
}

impl SealedUpload {
    /// The digest that was checked.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Size, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of a small blob, for the metadata store.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read_all(&self) -> Result<Bytes, Error> {
        let mut bytes = vec![0; usize::try_from(self.size).unwrap_or(usize::MAX)];
        self.part
            .file()
            .read_exact_at(&mut bytes, 0)
            .map_err(Error::io("read", self.id))?;
        if Digest::of(self.digest.algorithm(), &bytes) != self.digest {
            let problem = "its bytes changed while they were staged".to_owned();
            return Err(Error::Damaged {
                key: self.key.to_string(),
                problem,
            });
        }
        Ok(Bytes::from(bytes))
    }
}

/// The digests of a small body that never touches a disk: the same gate for what stays in memory.
#[derive(Debug)]
pub struct SealedBytes {
    digest: Digest,
    bytes: Bytes,
}

impl SealedBytes {
    /// Compares bytes with the digest that they came under.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`].
    pub fn seal(bytes: Bytes, expected: &Digest) -> Result<SealedBytes, Error> {
        let actual = Digest::of(expected.algorithm(), &bytes);
        if actual != *expected {
            return Err(Error::DigestMismatch {
                expected: *expected,
                actual,
            });
        }
        Ok(SealedBytes {
            digest: actual,
            bytes,
        })
    }

    /// Digest and bytes.
    pub fn into_parts(self) -> (Digest, Bytes) {
        (self.digest, self.bytes)
    }
}

/// The algorithm that is hashed while nobody has said which it will be.
pub(crate) const SPECULATIVE: Algorithm = Algorithm::Sha256;
