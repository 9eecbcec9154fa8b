//! Who speaks of a manifest: the referrers listing, and the tag that stands for it in registries
//! that have none.
//!
//! Source: OCI distribution specification 1.1, "Listing Referrers", "Referrers Tag Schema".
//! Does not judge what referrers say. Invariants: a listing is a hint where to look; every manifest
//! that it names is fetched and checked by digest before anybody believes it. A listing that breaks off is an error, never
//! a shorter one: what is missing may be what stops a release.

use super::link;
use super::repository::{Access, RegistryStore};
use crate::error::{Error, Outcome, Result};
use crate::store::Store as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, LINK};
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::manifest::{Descriptor, VerifiedManifest, read_listing};
use sealstone_spec::media;
use sealstone_spec::name::{Reference, Tag};
use serde_json::json;
use std::sync::atomic::Ordering;

/// Most pages of one listing: a registry that never ends it is not followed for ever.
const MAX_PAGES: usize = 1000;

/// Longest page of a listing that is read, in bytes. Pages of our registry end at 2 MiB; others may write all that they
/// have into one, and what a referrer says of itself has no limit everywhere.
const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Annotations of a listed manifest that are kept, in bytes: they are shown, and choose what is read first.
const MAX_KEPT: usize = 4096;

/// Most that is kept of one listing, in bytes: a thousand long pages are no list to hold in memory.
const MAX_LISTING: usize = 64 * 1024 * 1024;

/// Manifests that are fetched at once for the types that a list leaves out.
const PARALLEL: usize = 8;

/// Attempts to add to a fallback list that others write to at the same time.
const ATTEMPTS: usize = 8;

impl RegistryStore {
    pub(super) async fn list_referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>> {
        let listed = match self.lists_referrers.load(Ordering::Relaxed) {
            true => self.referrers_by_api(subject, artifact_type).await?,
            false => None,
        };
        let mut found = match listed {
            Some(listed) => listed,
            None => {
                let tag = fallback_tag(subject);
                let index = self.find_manifest(&Reference::Tag(tag)).await?;
                index
                    .map(|index| index.children().to_vec())
                    .unwrap_or_default()
            }
        };
        if let Some(wanted) = artifact_type {
            found = self.typed(found).await?;
            found.retain(|descriptor| {
                let stated = descriptor.artifact_type.as_deref();
                stated.is_none_or(|stated| stated == wanted)
            });
        }
        found.sort_by_key(|descriptor| descriptor.digest);
        found.dedup_by(|one, other| one.digest == other.digest);
        Ok(found)
    }

    /// The same list with the types that it leaves out, as the manifests themselves have them: some writers of such
    /// lists forget them (https://github.com/docker/buildx/issues/4010), and what is passed over could be what stops
    /// a release. What cannot be read keeps no type, and is in every list.
    async fn typed(&self, listed: Vec<Descriptor>) -> Result<Vec<Descriptor>> {
        stream::iter(listed)
            .map(|descriptor| async move {
                if descriptor.artifact_type.is_some() {
                    return Ok(descriptor);
                }
                let reference = Reference::Digest(descriptor.digest);
                match self.find_manifest(&reference).await {
                    Ok(Some(manifest)) => {
                        let mut read = manifest.descriptor();
                        // A manifest that has no type is of none that anybody asks for.
                        let own = manifest.artifact_type().unwrap_or_default();
                        read.artifact_type = Some(own.to_owned());
                        Ok(read)
                    }
                    Ok(None) => Ok(descriptor),
                    Err(error) if error.outcome() == Outcome::Halted => Ok(descriptor),
                    Err(error) => Err(error),
                }
            })
            .buffered(PARALLEL)
            .try_collect()
            .await
    }

    /// `None` if the registry has no such API.
    async fn referrers_by_api(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>> {
        let what = format!("the referrers of {subject}");
        let mut call = self
            .call(
                Method::GET,
                &format!("referrers/{subject}"),
                Access::Read,
                what.as_str(),
            )
            .await?;
        if let Some(artifact_type) = artifact_type {
            call.url
                .query_pairs_mut()
                .append_pair("artifactType", artifact_type);
        }
        let protocol = |problem: &str| self.registry().protocol(&what, problem);
        let mut found = Vec::new();
        let mut kept = 0;
        for page in 0..MAX_PAGES {
            let answer = self.registry().send(&call).await?;
            // Registries of the time before this API answer 404, some 400 or 405.
            let is_unknown = matches!(answer.status(), 400 | 404 | 405);
            // A front end that answers everything with its own page.
            let is_index = answer
                .header(CONTENT_TYPE)
                .is_some_and(|found| media::essence(found) == media::OCI_INDEX);
            if is_unknown || (answer.status() == 200 && !is_index) {
                // The fallback tag of a registry that has the API is of the time before.
                return match page {
                    0 => Ok(None),
                    _ => Err(protocol("a later page of the listing is none").into()),
                };
            }
            let answer = answer.expect(&[200]).await?;
            let next = {
                let links = answer.lines(LINK);
                let next = link::next_page(answer.url(), &links);
                let goes_on = links.iter().any(|line| link::next_target(line).is_some());
                if goes_on && next.is_none() {
                    return Err(protocol("the listing goes on at another host").into());
                }
                next
            };
            let body = answer.bytes(MAX_PAGE_BYTES).await?;
            let listed = read_listing(&body, MAX_PAGE_BYTES).map_err(|error| {
                Error::network(format!("{what} of {} are not an index", self.place())).source(error)
            })?;
            for descriptor in listed.into_iter().map(shortened) {
                kept += weight(&descriptor);
                if kept > MAX_LISTING {
                    return Err(protocol("the listing is longer than what is read of one").into());
                }
                found.push(descriptor);
            }
            match next {
                Some(next) if next != call.url => call.url = next,
                _ => return Ok(Some(found)),
            }
        }
        Err(protocol("the listing has more than 1,000 pages").into())
    }

    /// Adds a manifest to the fallback list of its subject.
    ///
    /// There is no lock on a tag, so what was written is read again, and written again if somebody
    /// else's list has replaced it.
    pub(super) async fn add_to_fallback(
        &self,
        subject: &Descriptor,
        manifest: &VerifiedManifest,
    ) -> Result<()> {
        let tag = fallback_tag(&subject.digest);
        let reference = Reference::Tag(tag.clone());
        for attempt in 1..=ATTEMPTS {
            let present = self.find_manifest(&reference).await?;
            let mut listed = present
                .as_ref()
                .map(|index| index.children().to_vec())
                .unwrap_or_default();
            if listed
                .iter()
                .any(|descriptor| descriptor.digest == *manifest.digest())
            {
                return Ok(());
            }
            if attempt == ATTEMPTS {
                break;
            }
            listed.push(manifest.descriptor());
            let index =
                json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": listed});
            let index = VerifiedManifest::check(
                index.to_string(),
                Some(media::OCI_INDEX),
                None,
                Algorithm::Sha256,
            )
            .map_err(|error| {
                Error::other(format!("the list \"{tag}\" cannot be made")).source(error)
            })?;
            self.send_fallback(&index, &tag).await?;
        }
        Err(Error::conflict(format!(
            "the list \"{tag}\" of {} is being changed by somebody else all the time",
            self.place()
        )))
    }
}

/// What is kept of a descriptor in a page: with all that some say of themselves, a thousand pages would be no list to
/// hold in memory.
fn shortened(mut listed: Descriptor) -> Descriptor {
    let mut left = MAX_KEPT;
    listed.annotations.retain(|key, value| {
        let len = key.len() + value.len();
        let fits = len <= left;
        if fits {
            left -= len;
        }
        fits
    });
    Descriptor {
        urls: Vec::new(),
        data: None,
        platform: None,
        ..listed
    }
}

/// What a descriptor takes in memory, about.
fn weight(listed: &Descriptor) -> usize {
    let annotations = listed.annotations.iter();
    let texts = annotations.map(|(key, value)| key.len() + value.len());
    let kind = listed.artifact_type.as_ref().map_or(0, String::len);
    size_of::<Descriptor>() + listed.media_type.len() + kind + texts.sum::<usize>()
}

/// The tag that lists the referrers of a digest where there is no API for it.
pub(super) fn fallback_tag(subject: &Digest) -> Tag {
    let text: String = format!("{}-{}", subject.algorithm(), subject.hex())
        .chars()
        .take(128)
        .collect();
    text.parse()
        .expect("an algorithm and hex digits make a tag")
}
