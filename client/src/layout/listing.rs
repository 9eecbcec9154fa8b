//! What an index says about the manifests in a place: which one is tagged, meant, or speaks of another.
//!
//! For layouts and archives alike; where the manifests come from is theirs.

use super::index::Index;
use crate::error::{Error, Result};
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::media;
use sealstone_spec::name::Tag;

/// A place with manifests in it.
pub(crate) trait Manifests {
    /// The place in errors: `the layout "x"`.
    fn place(&self) -> String;

    /// A manifest, checked.
    fn by_digest(&self, digest: &Digest, media_type: Option<&str>) -> Result<VerifiedManifest>;
}

/// The manifest under a tag.
pub(crate) fn tagged(
    index: &Index,
    manifests: &impl Manifests,
    tag: &Tag,
) -> Result<VerifiedManifest> {
    let entry = index.tagged(tag)?.ok_or_else(|| {
        Error::not_found(format!("tag \"{tag}\" is not in {}", manifests.place()))
            .hint(index.tags_hint())
    })?;
    manifests.by_digest(&entry.digest, Some(&entry.media_type))
}

/// The only manifest that speaks of no other and is no list of evidence; tagged ones win over others.
pub(crate) fn only(index: &Index, manifests: &impl Manifests) -> Result<VerifiedManifest> {
    let mut tagged = Vec::new();
    let mut others = Vec::new();
    for entry in index.entries()? {
        let tag = entry.annotations.get(media::ANNOTATION_REF_NAME);
        if tag.is_some_and(|tag| tag.parse::<Tag>().is_ok_and(|tag| tag.is_evidence_list())) {
            continue;
        }
        let manifest = manifests.by_digest(&entry.digest, Some(&entry.media_type))?;
        let list = if tag.is_some() {
            &mut tagged
        } else {
            &mut others
        };
        let is_known = |known: &VerifiedManifest| known.digest() == manifest.digest();
        if manifest.subject().is_none() && !list.iter().any(is_known) {
            list.push(manifest);
        }
    }
    let mut candidates = if tagged.is_empty() { others } else { tagged };
    let place = manifests.place();
    match candidates.len() {
        1 => Ok(candidates.remove(0)),
        0 => Err(Error::not_found(format!("{place} holds no bundle"))),
        count => Err(
            Error::usage(format!("{place} holds {count} bundles: say which"))
                .hint(index.tags_hint()),
        ),
    }
}

/// Descriptors of the listed manifests whose subject is `subject`.
pub(crate) fn referrers(
    index: &Index,
    manifests: &impl Manifests,
    subject: &Digest,
    artifact_type: Option<&str>,
) -> Result<Vec<Descriptor>> {
    let mut found: Vec<Descriptor> = Vec::new();
    let mut entries = index.entries()?;
    let mut next = 0;
    while let Some(entry) = entries.get(next).cloned() {
        next += 1;
        let manifest = manifests.by_digest(&entry.digest, Some(&entry.media_type))?;
        // The referrers fallback: an index under the tag `sha256-<hex>`, its children not listed.
        let tag = entry.annotations.get(media::ANNOTATION_REF_NAME);
        let is_fallback = tag
            .and_then(|tag| tag.parse::<Tag>().ok())
            .is_some_and(|tag| {
                tag.evidence_subject().as_ref() == Some(subject) && !tag.as_str().contains('.')
            });
        if is_fallback && manifest.is_index() {
            entries.extend(manifest.children().iter().cloned());
            continue;
        }
        let speaks_of_it = manifest.subject().is_some_and(|s| s.digest == *subject);
        let is_known = found.iter().any(|known| known.digest == *manifest.digest());
        let is_wanted = artifact_type.is_none() || manifest.artifact_type() == artifact_type;
        if speaks_of_it && is_wanted && !is_known {
            found.push(manifest.descriptor());
        }
    }
    Ok(found)
}
