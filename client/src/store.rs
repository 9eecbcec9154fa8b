//! Where bundles live: a repository in a registry, or an OCI layout directory.
//!
//! Owns the words in which commands name a place ([`Location`]) and what every place can do
//! ([`Store`]). Large blobs are not moved through here: that is [`crate::transfer`]'s.
//! Invariant: everything that a [`Store`] returns has been checked against the digest that it was
//! asked for by; an implementation that cannot check returns an error.

use crate::error::{Error, Result};
use crate::layout::LayoutStore;
use crate::transport::{self, ConnectOptions};
use futures_util::future::BoxFuture;
use sealstone_spec::digest::Digest;
use sealstone_spec::image::ImageReference;
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::name::{Reference, Tag};
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

    /// The layout, when this is one.
    fn as_layout(&self) -> Option<&LayoutStore> {
        None
    }
}

/// A place as a command line names it: `host[:port]/repository[:tag][@digest]`, or a layout as
/// `oci:DIRECTORY[:tag|@digest]`.
///
/// ```
/// use sealstone::store::Location;
/// let location: Location = "oci:./model:1.0".parse().unwrap();
/// assert_eq!(location.to_string(), "oci:./model:1.0");
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
}

impl Location {
    /// Tag or digest, if one was given; a digest wins over a tag beside it.
    pub fn reference(&self) -> Option<Reference> {
        match self {
            Location::Layout { reference, .. } => reference.clone(),
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
            Location::Layout {
                reference: Some(Reference::Tag(tag)),
                ..
            } => Some(tag),
            Location::Layout { .. } => None,
        }
    }

    /// The name that a signature states for what lies here: `registry/repository`, or the
    /// directory's name for a layout.
    pub fn name(&self) -> String {
        match self {
            Location::Registry(image) => format!("{}/{}", image.registry, image.repository),
            Location::Layout { path, .. } => match path.file_name() {
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
        }
    }

    /// The manifest that this names in `store`: by digest or tag, and where both are given the tag
    /// must lead to the digest. Without either, the only tagged manifest of a layout.
    ///
    /// # Errors
    /// If it is not there, is not what its digest says, or nothing was named.
    pub async fn resolve(&self, store: &dyn Store) -> Result<VerifiedManifest> {
        let Some(reference) = self.reference() else {
            if let Some(layout) = store.as_layout() {
                return layout.only_manifest();
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
        let Some(rest) = text.strip_prefix("oci:") else {
            return text.parse().map(Location::Registry).map_err(|problem| {
                Error::usage(format!("{problem}")).hint(
                    "a place is host[:port]/repository[:tag][@digest], or oci:DIRECTORY[:tag] for a layout on disk",
                )
            });
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
            return Err(Error::usage(format!("\"{text}\" names no directory"))
                .hint("write oci:DIRECTORY[:tag]"));
        }
        Ok(Location::Layout {
            path: PathBuf::from(path),
            reference,
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Registry(image) => image.fmt(f),
            Location::Layout { path, reference } => {
                write!(f, "oci:{}", path.display())?;
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
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(location.to_string(), text);
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
