//! Where bundles live: a repository in a registry, an OCI layout directory, or an archive of one.
//!
//! Owns the words in which commands name a place ([`Location`]) and what every place can do
//! ([`Store`]). Large blobs are not moved through here: that is [`crate::transfer`]'s.
//! Invariant: everything that a [`Store`] returns has been checked against the digest that it was
//! asked for by; an implementation that cannot check returns an error.

use crate::archive::ArchiveStore;
use crate::error::{Error, Result};
use crate::layout::LayoutStore;
use crate::transport::{self, ConnectOptions};
use futures_util::future::BoxFuture;
use sealstone_spec::digest::Digest;
use sealstone_spec::image::ImageReference;
use sealstone_spec::log::Rekord;
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::name::{Reference, Tag};
use sealstone_spec::record::Document;
use serde_json::Value;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

/// A place that holds bundles. Every method is safe to call at once from several tasks.
pub trait Store: Send + Sync + fmt::Debug {
    /// The place as people write it, without tag or digest: `oci:model` or `registry.example/a/b`.
    fn place(&self) -> String;

    /// The manifest under a tag or digest; [`Outcome::NotFound`](crate::Outcome::NotFound) if there
    /// is none.
    fn manifest<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<VerifiedManifest>>;

    /// The content of a small blob; an error if its size is over `limit` bytes.
    fn blob_bytes<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        limit: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>>>;

    /// Whether the blob is there.
    fn has_blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<bool>>;

    /// Stores a small blob under its digest. Storing what is there already is no error.
    fn put_blob_bytes<'a>(
        &'a self,
        digest: &'a Digest,
        content: Vec<u8>,
    ) -> BoxFuture<'a, Result<()>>;

    /// Stores a manifest by digest, and under `tag` if there is one.
    ///
    /// A tag that may not move is [`Outcome::Conflict`](crate::Outcome::Conflict); a refused release
    /// is [`Outcome::Refused`](crate::Outcome::Refused) with the registry's `detail` in
    /// [`Error::details`].
    fn put_manifest<'a>(
        &'a self,
        manifest: &'a VerifiedManifest,
        tag: Option<&'a Tag>,
    ) -> BoxFuture<'a, Result<()>>;

    /// Descriptors of the manifests that name `subject`, with their artifact types and annotations;
    /// only those of `artifact_type` if one is given. None at all is an empty list.
    fn referrers<'a>(
        &'a self,
        subject: &'a Digest,
        artifact_type: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Descriptor>>>;

    /// Every tag, sorted.
    fn tags(&self) -> BoxFuture<'_, Result<Vec<Tag>>>;

    /// Puts a P-256 signature into the place's log; the element for a bundle's `tlogEntries`, unchecked.
    /// `None` where there is no log.
    fn log_signature<'a>(&'a self, _rekord: &'a Rekord) -> BoxFuture<'a, Result<Option<Value>>> {
        Box::pin(async { Ok(None) })
    }

    /// What the place says about a release beside what is attached to it: the policy in force, proofs of
    /// its log for the tag and for statements. Unchecked.
    fn record<'a>(
        &'a self,
        _tag: Option<&'a Tag>,
        _statements: &'a [Digest],
    ) -> BoxFuture<'a, Result<Vec<Document>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// The manifest that is meant when none is named, where a place can say so.
    fn only_manifest(&self) -> Option<Result<VerifiedManifest>> {
        None
    }

    /// The layout, when this is one.
    fn as_layout(&self) -> Option<&LayoutStore> {
        None
    }

    /// The archive, when this is one.
    fn as_archive(&self) -> Option<&ArchiveStore> {
        None
    }
}

/// A place as a command line names it: `host[:port]/repository[:tag][@digest]`, a layout as
/// `oci:DIRECTORY[:tag|@digest]`, or an archive as `archive:FILE[:tag|@digest]`; a file name that ends in
/// `.tar` and cannot be a repository's needs no prefix.
///
/// ```
/// use sealstone::store::Location;
/// let location: Location = "oci:./model:1.0".parse().unwrap();
/// assert_eq!(location.to_string(), "oci:./model:1.0");
/// assert_eq!("release.tar".parse::<Location>().unwrap().to_string(), "archive:release.tar");
/// assert!("model".parse::<Location>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A repository in a registry.
    Registry(ImageReference),
    /// An OCI layout directory.
    Layout {
        /// The directory.
        path: PathBuf,
        /// The manifest in it; without one, the only one that is there is meant.
        reference: Option<Reference>,
    },
    /// A release archive, which is only read.
    Archive {
        /// The file.
        path: PathBuf,
        /// The manifest in it; without one, the only one that is there is meant.
        reference: Option<Reference>,
    },
}

/// Prefix of layouts.
const LAYOUT: &str = "oci:";
/// Prefix of archives.
const ARCHIVE: &str = "archive:";

impl Location {
    /// Tag or digest, if one was given; a digest wins over a tag beside it.
    pub fn reference(&self) -> Option<Reference> {
        match self {
            Location::Layout { reference, .. } | Location::Archive { reference, .. } => {
                reference.clone()
            }
            Location::Registry(image) => match (&image.digest, &image.tag) {
                (Some(digest), _) => Some(Reference::Digest(*digest)),
                (None, Some(tag)) => Some(Reference::Tag(tag.clone())),
                (None, None) => None,
            },
        }
    }

    /// The tag, if one was given.
    pub fn tag(&self) -> Option<&Tag> {
        match self {
            Location::Registry(image) => image.tag.as_ref(),
            Location::Layout { reference, .. } | Location::Archive { reference, .. } => {
                match reference {
                    Some(Reference::Tag(tag)) => Some(tag),
                    _ => None,
                }
            }
        }
    }

    /// The name that a signature states for what lies here: `registry/repository`, or the name of
    /// the directory or file.
    pub fn name(&self) -> String {
        match self {
            Location::Registry(image) => format!("{}/{}", image.registry, image.repository),
            Location::Layout { path, .. } => match path.file_name() {
                Some(name) => name.to_string_lossy().into_owned(),
                None => "model".to_owned(),
            },
            Location::Archive { path, .. } => match path.file_stem() {
                Some(name) => name.to_string_lossy().into_owned(),
                None => "model".to_owned(),
            },
        }
    }

    /// Opens the place.
    ///
    /// # Errors
    /// If a layout is not one; a registry is asked nothing yet.
    pub fn open(&self, options: &ConnectOptions) -> Result<Arc<dyn Store>> {
        match self {
            Location::Registry(image) => Ok(Arc::new(transport::connect(image, options)?)),
            Location::Layout { path, .. } => Ok(Arc::new(LayoutStore::open(path)?)),
            Location::Archive { path, .. } => Ok(Arc::new(ArchiveStore::open(path)?)),
        }
    }

    /// The manifest that this names in `store`: by digest or tag, and where both are given the tag
    /// must lead to the digest. Without either, the only tagged manifest of a layout.
    ///
    /// # Errors
    /// If it is not there, is not what its digest says, or nothing was named.
    pub async fn resolve(&self, store: &dyn Store) -> Result<VerifiedManifest> {
        let Some(reference) = self.reference() else {
            if let Some(manifest) = store.only_manifest() {
                return manifest;
            }
            return Err(
                Error::usage(format!("\"{self}\" names no tag and no digest"))
                    .hint(format!("write {self}:TAG, or {self}@sha256:...")),
            );
        };
        let manifest = store.manifest(&reference).await?;
        if let (Reference::Digest(digest), Location::Registry(image)) = (&reference, self)
            && let Some(tag) = &image.tag
        {
            let tagged = store.manifest(&Reference::Tag(tag.clone())).await?;
            if tagged.digest() != digest {
                return Err(Error::halted(format!(
                    "tag \"{tag}\" of {} leads to {}, not to {digest}",
                    store.place(),
                    tagged.digest()
                ))
                .hint("the name and the digest speak of two different bundles: ask where they came from"));
            }
        }
        Ok(manifest)
    }
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (rest, is_layout) = match (text.strip_prefix(LAYOUT), text.strip_prefix(ARCHIVE)) {
            (Some(rest), _) => (rest, true),
            (None, Some(rest)) => (rest, false),
            (None, None) if is_archive_name(text) => (text, false),
            (None, None) => {
                return text.parse().map(Location::Registry).map_err(|problem| {
                    Error::usage(format!("{problem}")).hint(
                        "a place is host[:port]/repository[:tag][@digest], oci:DIRECTORY[:tag] for a layout on disk, or archive:FILE for an exported release",
                    )
                });
            }
        };
        let parsed = |text: &str| {
            Reference::parse(text).map_err(|problem| Error::usage(problem.to_string()))
        };
        // A digest has a colon of its own, so it goes first. A colon before the last slash belongs
        // to the directory's name.
        let (path, reference) = match rest.rsplit_once('@') {
            Some((path, digest)) if digest.contains(':') => (path, Some(parsed(digest)?)),
            _ => match rest.rsplit_once(':') {
                Some((path, tag)) if !tag.contains('/') => (path, Some(parsed(tag)?)),
                _ => (rest, None),
            },
        };
        if path.is_empty() {
            return Err(
                Error::usage(format!("\"{text}\" names no directory or file"))
                    .hint("write oci:DIRECTORY[:tag] or archive:FILE[:tag]"),
            );
        }
        let path = PathBuf::from(path);
        Ok(match is_layout {
            true => Location::Layout { path, reference },
            false => Location::Archive { path, reference },
        })
    }
}

/// Whether a text without a prefix is an archive's name: it ends in `.tar` and begins like a path, not
/// like a registry.
fn is_archive_name(text: &str) -> bool {
    let is_path = text.starts_with(['/', '.', '~']) || !text.contains('/');
    is_path && text.ends_with(".tar")
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Registry(image) => image.fmt(f),
            Location::Layout { path, reference } | Location::Archive { path, reference } => {
                let prefix = match self {
                    Location::Archive { .. } => ARCHIVE,
                    _ => LAYOUT,
                };
                write!(f, "{prefix}{}", path.display())?;
                match reference {
                    Some(Reference::Tag(tag)) => write!(f, ":{tag}"),
                    Some(Reference::Digest(digest)) => write!(f, "@{digest}"),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        let digest = Digest::sha256(b"x");
        for text in [
            "oci:model".to_owned(),
            "oci:/a/b:1.0".to_owned(),
            format!("oci:./m@{digest}"),
            "oci:a:b/c".to_owned(),
            "localhost:5000/models/a:1".to_owned(),
            format!("h.example/a@{digest}"),
            "archive:release.tar:1.0".to_owned(),
            "localhost:5000/models/a.tar".to_owned(),
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(location.to_string(), text);
        }
        for file in ["release.tar", "./a/b.tar", "/a/b.tar"] {
            let location: Location = file.parse().unwrap();
            assert!(matches!(location, Location::Archive { .. }), "{file}");
        }
        let odd: Location = "oci:a:b/c".parse().unwrap();
        assert_eq!(odd.reference(), None);
        assert_eq!(odd.name(), "c");
    }

    #[test]
    fn nonsense_is_a_usage_error() {
        for bad in [
            "",
            "oci:",
            "oci::tag",
            "model",
            "oci:a:-bad",
            "oci:a@sha256:12",
        ] {
            let error = bad.parse::<Location>().unwrap_err();
            assert_eq!(error.outcome(), crate::Outcome::Usage, "{bad}");
        }
    }
}
