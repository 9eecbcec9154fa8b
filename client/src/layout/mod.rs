//! OCI image layouts: a bundle as a directory, to carry, to keep and to verify without a network.
//!
//! Source: OCI image specification, image-layout.md. Owns `oci-layout`, `index.json` and `blobs/`.
//! Does not know what a bundle is, and collects no garbage.
//! Invariant: whatever is read is checked against the digest that it was asked for by; whatever is
//! written has its final name only when it is complete, checked and on disk.

mod blob;
mod index;
pub(crate) mod listing;
mod store;
mod writer;

pub use blob::BlobWriter;
pub(crate) use blob::{hash, hash_file, temporary_in};
pub(crate) use index::Index;
pub(crate) use writer::{KEPT_PREFIX, is_unfinished};

use crate::error::{Error, Result};
use crate::stop::Stop;
use listing::Manifests as _;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::manifest::{Descriptor, MAX_MANIFEST_BYTES, VerifiedManifest};
use sealstone_spec::name::{Reference, Tag};
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use writer::Writer;

const MARKER: &str = "oci-layout";
pub(crate) const MARKER_TEXT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// A layout directory. Cheap to clone; several may be open on one directory, also in several
/// processes: changes of the index are made under a lock.
#[derive(Clone, Debug)]
pub struct LayoutStore {
    root: PathBuf,
    /// Where it was opened to be written; as long as a copy of this is there.
    _writer: Option<Arc<Writer>>,
}

impl LayoutStore {
    /// Opens an existing layout.
    ///
    /// # Errors
    /// If the directory is no layout, or one of a version that is not known.
    pub fn open(root: impl Into<PathBuf>) -> Result<LayoutStore> {
        let root = root.into();
        let marker = root.join(MARKER);
        let text = fs::read(&marker).map_err(|source| {
            Error::io(format!("opening the layout \"{}\"", root.display()), source).hint(
                "a layout is a directory that `sealstone pack DIR -o LAYOUT` or `skopeo copy ... oci:LAYOUT` made",
            )
        })?;
        check_marker(&text, &format!("\"{}\"", root.display()))?;
        Ok(LayoutStore {
            root,
            _writer: None,
        })
    }

    /// Opens a layout to write into it, and makes an empty one first where there is nothing. What writers that were
    /// killed left in it more than a day ago is removed.
    ///
    /// # Errors
    /// If the directory holds something that is no layout, or cannot be written.
    pub fn open_or_create(root: impl Into<PathBuf>) -> Result<LayoutStore> {
        let root = root.into();
        if root.join(MARKER).exists() {
            return LayoutStore::open(root).map(LayoutStore::for_writing);
        }
        let what = || format!("making the layout \"{}\"", root.display());
        fs::create_dir_all(&root).map_err(|source| Error::io(what(), source))?;
        // What an interrupted making leaves is taken up; anything else is somebody's.
        let is_ours =
            |name: &str| name == "blobs" || name == index::NAME || name.starts_with(".partial-");
        for entry in fs::read_dir(&root).map_err(|source| Error::io(what(), source))? {
            let entry = entry.map_err(|source| Error::io(what(), source))?;
            if entry.file_name().to_str().is_some_and(is_ours) {
                continue;
            }
            return Err(Error::conflict(format!(
                "\"{}\" is neither empty nor a layout",
                root.display()
            ))
            .hint("choose another directory: a layout shares its directory with nothing"));
        }
        fs::create_dir_all(root.join("blobs").join(Algorithm::Sha256.as_str()))
            .map_err(|source| Error::io(what(), source))?;
        // The index first: a directory with the marker is taken to be complete.
        if !root.join(index::NAME).exists() {
            Index::default().write(&root)?;
        }
        write_whole(&root.join(MARKER), MARKER_TEXT.as_bytes())?;
        let made = LayoutStore {
            root,
            _writer: None,
        };
        Ok(made.for_writing())
    }

    fn for_writing(self) -> LayoutStore {
        // Other tools make an empty layout without it. Whether it can be made, whoever writes will learn.
        let _ = fs::create_dir_all(self.root.join("blobs"));
        let writer = Writer::begin(&self.root, SystemTime::now());
        LayoutStore {
            _writer: Some(Arc::new(writer)),
            ..self
        }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a blob lies, if it is there. What reads from there must hash what it reads: the disk's
    /// word is not proof.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root
            .join("blobs")
            .join(digest.algorithm().as_str())
            .join(digest.hex())
    }

    /// Whether a blob of that size is there; its content is not read.
    pub fn holds(&self, descriptor: &Descriptor) -> bool {
        fs::metadata(self.blob_path(&descriptor.digest))
            .is_ok_and(|found| found.is_file() && found.len() == descriptor.size)
    }

    /// Begins a blob that is hashed while it is written; it gets its name when it is sealed.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn begin_blob(&self, algorithm: Algorithm) -> Result<BlobWriter> {
        BlobWriter::begin(&self.root, algorithm)
    }

    /// Stores the file `opened` as a blob by a hard link to `source`, its name. It is hashed through `content`, which
    /// reads it from its beginning. `None`, and nothing was read, where it cannot be linked, for example from another
    /// file system, or where its name leads to another file by now. Whoever changes the file in place afterwards
    /// breaks the blob, which is found when it is read.
    ///
    /// # Errors
    /// If the file cannot be read, or the layout not be written.
    pub fn link_blob(
        &self,
        source: &Path,
        opened: &File,
        content: &mut dyn Read,
        algorithm: Algorithm,
    ) -> Result<Option<(Digest, u64)>> {
        blob::link(&self.root, source, opened, content, algorithm)
    }

    /// Stores a small blob.
    ///
    /// # Errors
    /// If the content has another digest, or the directory cannot be written.
    pub fn write_blob(&self, digest: &Digest, content: &[u8]) -> Result<()> {
        let mut writer = self.begin_blob(digest.algorithm())?;
        writer
            .write_all(content)
            .map_err(|source| Error::io(format!("writing blob {digest}"), source))?;
        writer.seal_as(digest)
    }

    /// Reads a small blob and checks it.
    ///
    /// # Errors
    /// If it is not there, larger than `limit`, or not what its descriptor says.
    pub fn read_blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        blob::read_checked(&self.blob_path(&descriptor.digest), descriptor, limit)
    }

    /// Reads a blob of any size to its end and checks it, in bounded memory.
    ///
    /// # Errors
    /// If it is not there or not what its descriptor says.
    pub fn check_blob(&self, descriptor: &Descriptor) -> Result<()> {
        self.check_blob_while(descriptor, &Stop::default())
    }

    /// As [`LayoutStore::check_blob`], until it is told to stop.
    pub(crate) fn check_blob_while(&self, descriptor: &Descriptor, stop: &Stop) -> Result<()> {
        blob::check(&self.blob_path(&descriptor.digest), descriptor, stop)
    }

    /// The manifest under a tag or digest, checked.
    ///
    /// # Errors
    /// If there is none, a tag stands twice, or the bytes are not what their digest says.
    pub fn read_manifest(&self, reference: &Reference) -> Result<VerifiedManifest> {
        match reference {
            Reference::Digest(digest) => self.by_digest(digest, None),
            Reference::Tag(tag) => listing::tagged(&Index::read(&self.root)?, self, tag),
        }
    }

    /// The manifest that is meant when none is named: the only one that speaks of no other and is no
    /// list of evidence; tagged ones win over others.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn only_manifest(&self) -> Result<VerifiedManifest> {
        listing::only(&Index::read(&self.root)?, self)
    }

    /// Stores a manifest, lists it in the index, and gives it `tag` if there is one. A tag that led
    /// elsewhere moves: a layout is a working directory, it is the registry that keeps tags for ever.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub fn write_manifest(&self, manifest: &VerifiedManifest, tag: Option<&Tag>) -> Result<()> {
        self.write_blob(manifest.digest(), manifest.bytes())?;
        Index::change(&self.root, |index| index.list(&manifest.descriptor(), tag))
    }

    /// Descriptors of the listed manifests whose subject is `subject`.
    ///
    /// # Errors
    /// If a listed manifest is missing or not what its digest says: what cannot be read may be the
    /// very statement that matters.
    pub fn read_referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>> {
        listing::referrers(&Index::read(&self.root)?, self, subject, artifact_type)
    }

    /// Every tag, sorted. Names in the index that are no tags are left out.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn read_tags(&self) -> Result<Vec<Tag>> {
        let mut tags: Vec<Tag> = Index::read(&self.root)?.tags();
        tags.sort();
        tags.dedup();
        Ok(tags)
    }
}

impl AsRef<Path> for LayoutStore {
    fn as_ref(&self) -> &Path {
        &self.root
    }
}

impl listing::Manifests for LayoutStore {
    fn place(&self) -> String {
        format!("the layout \"{}\"", self.root.display())
    }

    fn by_digest(&self, digest: &Digest, media_type: Option<&str>) -> Result<VerifiedManifest> {
        let path = self.blob_path(digest);
        let bytes = blob::read_bounded(&path, MAX_MANIFEST_BYTES as u64).map_err(|error| {
            match error.outcome() {
                crate::Outcome::NotFound => Error::not_found(format!(
                    "manifest {digest} is not in the layout \"{}\"",
                    self.root.display()
                )),
                _ => error,
            }
        })?;
        VerifiedManifest::check(bytes, media_type, Some(digest), digest.algorithm()).map_err(
            |error| {
                Error::halted(format!("{} is not manifest {digest}", path.display())).source(error)
            },
        )
    }
}

/// Checks the content of `oci-layout`; `place` is named in errors.
pub(crate) fn check_marker(text: &[u8], place: &str) -> Result<()> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marker {
        image_layout_version: String,
    }
    let marker: Marker = sealstone_spec::canonical::parse_strict(text, 4096)
        .map_err(|error| Error::other(format!("{place} is no layout")).source(error))?;
    if !marker.image_layout_version.starts_with("1.") {
        return Err(Error::other(format!(
            "{place} is a layout of version {}; only 1.x is known",
            marker.image_layout_version
        )));
    }
    Ok(())
}

/// Writes a file so that readers see the old or the new content, and a crash keeps one of them.
fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let what = || format!("writing \"{}\"", path.display());
    let directory = path.parent().unwrap_or(Path::new("."));
    let _writer = Writer::join(directory);
    let write = || -> std::io::Result<()> {
        let mut file = blob::temporary_in(directory)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|source| Error::io(what(), source))
}

#[cfg(test)]
mod tests;
