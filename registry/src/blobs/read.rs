//! Out again: groups that were compared with the tree since they left the disk.

use super::buffers::{BUFFER_BYTES, BufferPool};
use super::publish::tree_bytes;
use super::{BlobStore, Error, SealedBytes, object_path};
use crate::metadata::PhysicalKey;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use object_store::{ObjectStore, ObjectStoreExt as _};
use sealstone_spec::tree::{
    ChainingValue, GROUP_BYTES, SEGMENT_GROUPS, SegmentIndex, group_count, group_value, segment_len,
};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

/// Checked bytes of a blob, in order. It ends with an error before the first group that is damaged.
///
/// Only this file makes one: from an object whose groups it compares with the tree, or from a
/// [`SealedBytes`]. Nobody else can, of bytes that nobody looked at:
/// ```compile_fail,E0423
/// use futures_util::stream;
/// use sealstone_registry::blobs::GroupStream;
/// let unchecked = GroupStream(Box::pin(stream::empty()));
/// ```
/// nor is any stream of bytes one:
/// ```compile_fail,E0308
/// use bytes::Bytes;
/// use futures_util::stream;
/// use sealstone_registry::blobs::GroupStream;
/// fn send(unchecked: Bytes) -> GroupStream {
///     Box::pin(stream::iter([Ok(unchecked)]))
/// }
/// ```
pub struct GroupStream(Groups);
/// Checked pieces of a blob's tree.
pub type TreeStream = GroupStream;

type Groups = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

impl GroupStream {
    /// A part of bytes that were compared with their digest since they left the metadata store.
    pub(crate) fn part_of(sealed: SealedBytes, part: Range<usize>) -> GroupStream {
        let (_, bytes) = sealed.into_parts();
        GroupStream(Box::pin(stream::iter([Ok(bytes.slice(part))])))
    }

    /// The same stream once its first bytes are here.
    ///
    /// # Errors
    /// The stream's, if it ends with one before that.
    pub(crate) async fn begun(mut self) -> Result<GroupStream, Error> {
        let first = self.0.next().await.transpose()?;
        let first = stream::iter(first.map(Ok::<_, Error>));
        Ok(GroupStream(Box::pin(first.chain(self.0))))
    }

    /// The same bytes; `tell` hears of the error that ends them, and says which one the reader gets.
    pub(crate) fn telling<F, Told>(self, mut tell: F) -> GroupStream
    where
        F: FnMut(Error) -> Told + Send + 'static,
        Told: Future<Output = Error> + Send + 'static,
    {
        GroupStream(Box::pin(self.0.then(move |item| {
            let item = item.map_err(&mut tell);
            async move {
                match item {
                    Ok(bytes) => Ok(bytes),
                    Err(told) => Err(told.await),
                }
            }
        })))
    }
}

impl Stream for GroupStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Error>>> {
        self.0.as_mut().poll_next(context)
    }
}

/// Reads under way ahead of the one that is being sent.
const READ_AHEAD: usize = 2;

/// Where an object's bytes come from.
#[derive(Clone)]
enum Source {
    File(Arc<File>),
    Object(Arc<dyn ObjectStore>, object_store::path::Path),
}

/// A segment's number and its values.
type CheckedSegment = (u64, Arc<Vec<ChainingValue>>);

#[derive(Clone)]
struct CheckedObject {
    source: Source,
    key: PhysicalKey,
    size: u64,
    root: ChainingValue,
    buffers: BufferPool,
    index: Arc<SegmentIndex>,
    /// The segment of the tree that was read and checked last.
    segment: Arc<Mutex<Option<CheckedSegment>>>,
}

impl BlobStore {
    /// Streams `range` of a blob of `size` bytes whose tree has the root `root`.
    ///
    /// # Errors
    /// If the object cannot be opened, or its tree is damaged. Damage of the bytes themselves ends the
    /// stream.
    pub async fn read(
        &self,
        key: &PhysicalKey,
        size: u64,
        root: ChainingValue,
        range: Range<u64>,
    ) -> Result<GroupStream, Error> {
        let object = self.open(key, size, root).await?;
        let first = range.start / BUFFER_BYTES as u64;
        let last = range.end.div_ceil(BUFFER_BYTES as u64).max(first);
        let pieces = stream::iter(first..last).map(move |number| {
            let object = object.clone();
            let range = range.clone();
            async move {
                let start = number * BUFFER_BYTES as u64;
                let end = (start + BUFFER_BYTES as u64).min(object.size);
                let bytes = object.checked(start..end).await?;
                let from = range.start.saturating_sub(start) as usize;
                let to = (range.end.min(end) - start) as usize;
                Ok(bytes.slice(from..to))
            }
        });
        Ok(GroupStream(Box::pin(pieces.buffered(READ_AHEAD))))
    }

    /// Streams the tree of a blob: 32 bytes for each group.
    ///
    /// # Errors
    /// If the object cannot be opened, or its tree is damaged.
    pub async fn read_tree(
        &self,
        key: &PhysicalKey,
        size: u64,
        root: ChainingValue,
    ) -> Result<TreeStream, Error> {
        let object = self.open(key, size, root).await?;
        let segments = group_count(size).div_ceil(SEGMENT_GROUPS as u64);
        let pieces = stream::iter(0..segments).then(move |number| {
            let object = object.clone();
            async move {
                Ok(Bytes::from(
                    object.segment_values(number).await?.as_flattened().to_vec(),
                ))
            }
        });
        Ok(GroupStream(Box::pin(pieces)))
    }

    /// Reads a whole blob and throws it away: its size if every byte is what it was.
    ///
    /// # Errors
    /// [`Error::Damaged`] at the first group that is not.
    pub async fn scrub(
        &self,
        key: &PhysicalKey,
        size: u64,
        root: ChainingValue,
    ) -> Result<u64, Error> {
        // Not from the cache: the point is what lies on the disk.
        self.trees.invalidate(key);
        let mut stream = self.read(key, size, root, 0..size).await?;
        let mut read = 0;
        while let Some(piece) = stream.next().await {
            read += piece?.len() as u64;
        }
        Ok(read)
    }

    async fn open(
        &self,
        key: &PhysicalKey,
        size: u64,
        root: ChainingValue,
    ) -> Result<CheckedObject, Error> {
        let source = match &self.local {
            Some(local) => {
                let (local, key) = (local.clone(), key.clone());
                let file = tokio::task::spawn_blocking(move || local.open(&key))
                    .await
                    .map_err(|_| Error::Stopping)??;
                Source::File(Arc::new(file))
            }
            None => Source::Object(self.objects.clone(), object_path(key)),
        };
        let index = match self.trees.get(key) {
            Some(index) => index,
            None => {
                let index = Arc::new(check_tree(&source, key, size, root).await?);
                self.trees.insert(key.clone(), index.clone());
                index
            }
        };
        Ok(CheckedObject {
            source,
            key: key.clone(),
            size,
            root,
            buffers: self.buffers.clone(),
            index,
            segment: Arc::default(),
        })
    }
}

fn damaged(key: &PhysicalKey, problem: impl Into<String>) -> Error {
    Error::Damaged {
        key: key.to_string(),
        problem: problem.into(),
    }
}

/// Reads the tree piece by piece and folds it; it must lead to the root that the metadata store holds.
async fn check_tree(
    source: &Source,
    key: &PhysicalKey,
    size: u64,
    root: ChainingValue,
) -> Result<SegmentIndex, Error> {
    let groups = group_count(size);
    let mut segments = Vec::new();
    for number in 0..groups.div_ceil(SEGMENT_GROUPS as u64) {
        let values = read_segment(source, key, size, root, number).await?;
        segments.push(values);
        // The outboard of a very large blob is folded as it is read: 32 KiB at a time would do, but
        // 2 GiB of blob are 256 KiB here.
    }
    SegmentIndex::check(size, &root, |number| {
        Ok::<_, Error>(std::mem::take(&mut segments[number as usize]))
    })?
    .ok_or_else(|| damaged(key, "its tree does not lead to its root"))
}

async fn read_segment(
    source: &Source,
    key: &PhysicalKey,
    size: u64,
    root: ChainingValue,
    number: u64,
) -> Result<Vec<ChainingValue>, Error> {
    if tree_bytes(size) == 0 {
        return Ok(vec![root]);
    }
    let start = size + number * SEGMENT_GROUPS as u64 * 32;
    let len = segment_len(group_count(size), number) * 32;
    let bytes = match source {
        Source::File(file) => {
            let (file, key) = (file.clone(), key.clone());
            let read = move || {
                let mut bytes = vec![0; len as usize];
                read_exact(&file, &mut bytes, start, &key)?;
                Ok::<_, Error>(bytes)
            };
            tokio::task::spawn_blocking(read)
                .await
                .map_err(|_| Error::Stopping)??
        }
        Source::Object(objects, path) => fetch(objects, path, start..start + len, key)
            .await?
            .to_vec(),
    };
    Ok(bytes
        .chunks_exact(32)
        .map(|value| value.try_into().expect("chunks have 32 bytes"))
        .collect())
}

/// Reads a range of an object that once reached as far.
async fn fetch(
    objects: &Arc<dyn ObjectStore>,
    path: &object_store::path::Path,
    range: Range<u64>,
    key: &PhysicalKey,
) -> Result<Bytes, Error> {
    let (end, len) = (range.end, range.end - range.start);
    match objects.get_range(path, range).await {
        Ok(bytes) if bytes.len() as u64 == len => Ok(bytes),
        Ok(_) => Err(damaged(key, "it is shorter than it was")),
        // A range behind the end is an error that each store words in its own way.
        Err(error) => match objects.head(path).await {
            Ok(found) if found.size < end => Err(damaged(key, "it is shorter than it was")),
            _ => Err(Error::object("read", key)(error)),
        },
    }
}

fn read_exact(file: &File, buffer: &mut [u8], offset: u64, key: &PhysicalKey) -> Result<(), Error> {
    file.read_exact_at(buffer, offset)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => damaged(key, "it is shorter than it was"),
            _ => Error::io("read", key)(error),
        })
}

impl CheckedObject {
    async fn segment_values(&self, number: u64) -> Result<Arc<Vec<ChainingValue>>, Error> {
        let held = self
            .segment
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some((found, values)) = held
            && found == number
        {
            return Ok(values);
        }
        let values = read_segment(&self.source, &self.key, self.size, self.root, number).await?;
        if !self.index.holds(number, &values) {
            return Err(damaged(
                &self.key,
                format!("segment {number} of its tree is not what it was"),
            ));
        }
        let values = Arc::new(values);
        *self.segment.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((number, values.clone()));
        Ok(values)
    }

    /// Reads a range of whole groups, at most a buffer, and compares each with its value in the tree.
    async fn checked(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let first_group = range.start / GROUP_BYTES as u64;
        // A buffer never crosses a segment: both are powers of two groups.
        let segment = first_group / SEGMENT_GROUPS as u64;
        let values = self.segment_values(segment).await?;
        let within = (first_group % SEGMENT_GROUPS as u64) as usize;
        let is_only = self.index.groups() == 1;
        let key = self.key.clone();
        let check = move |bytes: &[u8]| -> Result<(), Error> {
            let groups: Vec<&[u8]> = if bytes.is_empty() {
                vec![bytes]
            } else {
                bytes.chunks(GROUP_BYTES).collect()
            };
            for (number, group) in groups.into_iter().enumerate() {
                let index = first_group + number as u64;
                if values.get(within + number) != Some(&group_value(index, group, is_only)) {
                    return Err(damaged(
                        &key,
                        format!("bytes of group {index} (256 KiB each) are not what they were"),
                    ));
                }
            }
            Ok(())
        };
        let len = (range.end - range.start) as usize;
        let blocking: Box<dyn FnOnce() -> Result<Bytes, Error> + Send> = match &self.source {
            Source::File(file) => {
                let (file, mut buffer, key) =
                    (file.clone(), self.buffers.take(len), self.key.clone());
                Box::new(move || {
                    read_exact(&file, buffer.as_mut(), range.start, &key)?;
                    check(buffer.as_ref())?;
                    Ok(buffer.into_bytes())
                })
            }
            Source::Object(objects, path) => {
                let bytes = fetch(objects, path, range, &self.key).await?;
                Box::new(move || check(&bytes).map(|()| bytes))
            }
        };
        tokio::task::spawn_blocking(blocking)
            .await
            .map_err(|_| Error::Stopping)?
    }
}
