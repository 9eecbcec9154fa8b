//! An archive as a place that bundles are read from, without unpacking it.

use super::scan::{Contents, Part, scan};
use crate::error::{Error, Result};
use crate::layout::listing::{self, Manifests as _};
use crate::layout::{Index, check_marker};
use crate::store::Store;
use futures_util::future::BoxFuture;
use sealstone_spec::digest::{Digest, Hasher};
use sealstone_spec::manifest::{Descriptor, MAX_MANIFEST_BYTES, VerifiedManifest};
use sealstone_spec::name::{Reference, Tag};
use serde_json::json;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest `index.json` that is read.
const MAX_INDEX_BYTES: u64 = 32 * 1024 * 1024;
const BUFFER_BYTES: usize = 1024 * 1024;

/// An open archive. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ArchiveStore {
    path: PathBuf,
    file: Arc<File>,
    contents: Arc<Contents>,
    index: Arc<Index>,
}

impl ArchiveStore {
    /// Opens an archive: reads every header and the index, and no content.
    ///
    /// # Errors
    /// [`Outcome::Halted`](crate::Outcome::Halted) if it is no archive of a release: cut, with entries of other
    /// names or kinds, or with one name twice.
    pub fn open(path: impl Into<PathBuf>) -> Result<ArchiveStore> {
        let path = path.into();
        let shown = path.display().to_string();
        let file = File::open(&path)
            .map_err(|source| Error::io(format!("opening the archive \"{shown}\""), source))?;
        let broken = |problem: String| {
            Error::halted(format!("\"{shown}\" is no archive of a release: {problem}"))
        };
        let contents = scan(&file).map_err(broken)?;
        let read = |part: Option<Part>, name: &str| {
            let part = part.ok_or_else(|| broken(format!("it has no \"{name}\"")))?;
            read_part(&file, part, MAX_INDEX_BYTES).map_err(&broken)
        };
        let halted = |error: Error| Error::halted(error.to_string());
        let marker = read(contents.marker, "oci-layout")?;
        check_marker(&marker, &format!("\"{shown}\"")).map_err(halted)?;
        let index = read(contents.index, "index.json")?;
        let index = Index::parse(&index, &format!("{shown}/index.json")).map_err(halted)?;
        Ok(ArchiveStore {
            path,
            file: Arc::new(file),
            contents: Arc::new(contents),
            index: Arc::new(index),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a small blob and checks it.
    ///
    /// # Errors
    /// If it is not there, larger than `limit`, or not what its descriptor says.
    pub fn read_blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        let part = self.part(&descriptor.digest)?;
        if part.size != descriptor.size {
            return Err(Error::halted(format!(
                "blob {} has {} bytes where {} are due",
                descriptor.digest, part.size, descriptor.size
            )));
        }
        self.read_small(&descriptor.digest, limit)
    }

    /// Reads every blob to its end and compares it with the digest that names it, in bounded memory;
    /// returns their number.
    ///
    /// # Errors
    /// If one has other content, or the model signature beside them is none of them.
    pub fn check_all(&self) -> Result<usize> {
        for digest in self.contents.blobs.keys() {
            let mut hasher = Hasher::new(digest.algorithm());
            let mut buffer = vec![0; BUFFER_BYTES];
            let mut content = self.open_blob(digest)?;
            loop {
                match content.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => hasher.update(&buffer[..count]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(self.reading(error)),
                }
            }
            let actual = hasher.finalize();
            if actual != *digest {
                return Err(self.damaged(digest, &actual));
            }
        }
        if let Some(part) = self.contents.model_signature {
            let content = read_part(&self.file, part, MAX_INDEX_BYTES).map_err(Error::halted)?;
            if !self.contents.blobs.contains_key(&Digest::sha256(&content)) {
                return Err(Error::halted(format!(
                    "\"{}\" in \"{}\" is no signature of this release",
                    super::MODEL_SIGNATURE,
                    self.path.display()
                )));
            }
        }
        Ok(self.contents.blobs.len())
    }

    /// A blob as a stream, unchecked: whoever reads it compares it with the digest.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<impl Read + Send + use<>> {
        let part = self.part(digest)?;
        Ok(PartReader {
            file: self.file.clone(),
            at: part.offset,
            end: part.offset + part.size,
        })
    }

    fn part(&self, digest: &Digest) -> Result<Part> {
        self.contents.blobs.get(digest).copied().ok_or_else(|| {
            Error::not_found(format!(
                "blob {digest} is not in the archive \"{}\"",
                self.path.display()
            ))
        })
    }

    fn read_small(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let content = read_part(&self.file, self.part(digest)?, limit).map_err(|problem| {
            Error::halted(format!(
                "blob {digest} in \"{}\": {problem}",
                self.path.display()
            ))
        })?;
        let actual = Digest::of(digest.algorithm(), &content);
        match actual == *digest {
            true => Ok(content),
            false => Err(self.damaged(digest, &actual)),
        }
    }

    fn damaged(&self, digest: &Digest, actual: &Digest) -> Error {
        Error::halted(format!(
            "blob {digest} in \"{}\" has other content: its digest is {actual}",
            self.path.display()
        ))
        .detail(json!({"expected": digest, "actual": actual}))
    }

    fn reading(&self, error: io::Error) -> Error {
        Error::io(format!("reading \"{}\"", self.path.display()), error)
    }

    fn find(&self, reference: &Reference) -> Result<VerifiedManifest> {
        match reference {
            Reference::Digest(digest) => self.by_digest(digest, None),
            Reference::Tag(tag) => listing::tagged(&self.index, self, tag),
        }
    }

    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(ArchiveStore) -> Result<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let archive = self.clone();
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || work(archive)).await {
                Ok(result) => result,
                Err(error) => Err(Error::other("a task on the archive ended early").source(error)),
            }
        })
    }

    fn read_only(&self) -> Error {
        Error::usage(format!(
            "the archive \"{}\" is only read",
            self.path.display()
        ))
        .hint("an archive is made as a whole: sealstone export")
    }
}

impl listing::Manifests for ArchiveStore {
    fn place(&self) -> String {
        format!("the archive \"{}\"", self.path.display())
    }

    fn by_digest(&self, digest: &Digest, media_type: Option<&str>) -> Result<VerifiedManifest> {
        let bytes = self.read_small(digest, MAX_MANIFEST_BYTES as u64)?;
        VerifiedManifest::check(bytes, media_type, Some(digest), digest.algorithm()).map_err(
            |error| {
                Error::halted(format!(
                    "manifest {digest} in {} is none",
                    self.path.display()
                ))
                .source(error)
            },
        )
    }
}

impl Store for ArchiveStore {
    fn place(&self) -> String {
        format!("archive:{}", self.path.display())
    }

    fn manifest<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<VerifiedManifest>> {
        let reference = reference.clone();
        self.blocking(move |archive| archive.find(&reference))
    }

    fn blob_bytes<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        limit: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>>> {
        let descriptor = descriptor.clone();
        self.blocking(move |archive| archive.read_blob(&descriptor, limit))
    }

    fn has_blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<bool>> {
        let part = self.contents.blobs.get(&descriptor.digest);
        let is_there = part.is_some_and(|part| part.size == descriptor.size);
        Box::pin(async move { Ok(is_there) })
    }

    fn put_blob_bytes<'a>(
        &'a self,
        _digest: &'a Digest,
        _content: Vec<u8>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { Err(self.read_only()) })
    }

    fn put_manifest<'a>(
        &'a self,
        _manifest: &'a VerifiedManifest,
        _tag: Option<&'a Tag>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { Err(self.read_only()) })
    }

    fn referrers<'a>(
        &'a self,
        subject: &'a Digest,
        artifact_type: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Descriptor>>> {
        let (subject, artifact_type) = (*subject, artifact_type.map(str::to_owned));
        self.blocking(move |archive| {
            listing::referrers(&archive.index, &archive, &subject, artifact_type.as_deref())
        })
    }

    fn tags(&self) -> BoxFuture<'_, Result<Vec<Tag>>> {
        let mut tags = self.index.tags();
        tags.sort();
        tags.dedup();
        Box::pin(async move { Ok(tags) })
    }

    fn only_manifest(&self) -> Option<Result<VerifiedManifest>> {
        Some(listing::only(&self.index, self))
    }

    fn as_archive(&self) -> Option<&ArchiveStore> {
        Some(self)
    }
}

/// Reads a part of the archive into memory; an error is a text.
fn read_part(file: &File, part: Part, limit: u64) -> Result<Vec<u8>, String> {
    if part.size > limit {
        return Err(format!(
            "it has {} bytes where at most {limit} are read",
            part.size
        ));
    }
    let size = usize::try_from(part.size).map_err(|error| error.to_string())?;
    let mut content = vec![0; size];
    file.read_exact_at(&mut content, part.offset)
        .map_err(|error| format!("reading it failed: {error}"))?;
    Ok(content)
}

struct PartReader {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for PartReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..wanted], self.at)?;
        if count == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += count as u64;
        Ok(count)
    }
}
