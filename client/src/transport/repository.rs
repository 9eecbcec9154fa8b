//! One repository of a registry as a [`Store`]: manifests, small blobs, tags.
//!
//! Large blobs go through `uploads` and `downloads`. Invariant: nothing is returned that was not
//! compared with the digest it was asked for by; for a tag, with the digest the registry states.

use super::answer::Answer;
use super::client::{Call, Registry};
use super::error::TransportError;
use crate::error::{Error, Result};
use crate::store::Store;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::log::Rekord;
use sealstone_spec::manifest::{Descriptor, MAX_MANIFEST_BYTES, VerifiedManifest};
use sealstone_spec::media;
use sealstone_spec::name::{Reference, RepoName, Tag};
use sealstone_spec::record::Document;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.artifact.manifest.v1+json";

/// A repository in a registry. Cloning it shares connections and tokens.
#[derive(Clone, Debug)]
pub struct RegistryStore {
    registry: Registry,
    name: RepoName,
    /// Cleared when the registry turns out to have no referrers API.
    pub(super) lists_referrers: Arc<AtomicBool>,
}

/// What a request does in the repository, for the token it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    Delete,
}

impl RegistryStore {
    /// The repository `name` of a registry.
    pub fn new(registry: Registry, name: RepoName) -> RegistryStore {
        RegistryStore {
            registry,
            name,
            lists_referrers: Arc::new(AtomicBool::new(true)),
        }
    }

    /// The registry.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The repository's name.
    pub fn name(&self) -> &RepoName {
        &self.name
    }

    pub(super) fn scope(&self, access: Access) -> String {
        let actions = match access {
            Access::Read => "pull",
            Access::Write => "pull,push",
            Access::Delete => "delete",
        };
        format!("repository:{}:{actions}", self.name)
    }

    /// A request to a path below the repository.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        access: Access,
        what: impl Into<String>,
    ) -> Result<Call, TransportError> {
        let mut call = self
            .registry
            .call(method, &format!("v2/{}/{path}", self.name), what)
            .await?;
        call.scopes.push(self.scope(access));
        Ok(call)
    }

    /// A request to an address that the registry gave for this repository.
    pub(super) fn call_at(&self, method: Method, url: url::Url, what: impl Into<String>) -> Call {
        let mut call = self.registry.call_at(method, url, what);
        call.scopes.push(self.scope(Access::Write));
        call
    }

    /// The manifest under a reference, or `None` if the registry says that it is not there.
    pub(crate) async fn find_manifest(
        &self,
        reference: &Reference,
    ) -> Result<Option<VerifiedManifest>> {
        let what = match reference {
            Reference::Tag(tag) => format!("tag \"{tag}\" of {}", self.place()),
            Reference::Digest(digest) => format!("manifest {digest} of {}", self.place()),
        };
        let mut call = self
            .call(
                Method::GET,
                &format!("manifests/{reference}"),
                Access::Read,
                what.clone(),
            )
            .await?;
        call.headers
            .insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        let answer = self.registry.send(&call).await?;
        if answer.status() == 404 {
            return Ok(None);
        }
        let answer = answer.expect(&[200]).await?;
        let stated = stated_digest(&answer)?;
        let claimed = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(_) => stated,
        };
        let content_type = answer.header(CONTENT_TYPE).map(str::to_owned);
        let body = answer.bytes(MAX_MANIFEST_BYTES).await?;
        VerifiedManifest::check(
            body,
            content_type.as_deref(),
            claimed.as_ref(),
            Algorithm::Sha256,
        )
        .map(Some)
        .map_err(|error| Error::halted(format!("{what} is not what it should be")).source(error))
    }

    /// Stores a manifest under a tag or its digest. Says whether the registry took note of its
    /// subject (OCI-Subject).
    async fn send_manifest(&self, manifest: &VerifiedManifest, tag: Option<&Tag>) -> Result<bool> {
        let digest = manifest.digest();
        let (path, what) = match tag {
            // A PUT by tag is hashed with sha256, so another digest has to be said.
            Some(tag) if digest.algorithm() != Algorithm::Sha256 => (
                format!("manifests/{digest}?tag={tag}"),
                format!("push of tag \"{tag}\""),
            ),
            Some(tag) => (format!("manifests/{tag}"), format!("push of tag \"{tag}\"")),
            None => (
                format!("manifests/{digest}"),
                format!("push of manifest {digest}"),
            ),
        };
        let mut call = self.call(Method::PUT, &path, Access::Write, what).await?;
        let media_type = HeaderValue::from_str(manifest.media_type())
            .map_err(|_| Error::usage("the manifest's media type cannot be sent"))?;
        call.headers.insert(CONTENT_TYPE, media_type);
        call.body = manifest.bytes().clone();
        let answer = self
            .registry
            .send(&call)
            .await?
            .expect(&[201, 200, 202])
            .await?;
        if let Some(stored) = stated_digest(&answer)?
            && stored != *digest
            && stored.algorithm() == digest.algorithm()
        {
            return Err(Error::halted(format!(
                "registry {} stored manifest {digest} as {stored}: it changes what it is given",
                self.registry.name()
            )));
        }
        if let Some(tag) = tag
            && digest.algorithm() != Algorithm::Sha256
            && answer.named_header("oci-tag").is_none()
        {
            return Err(Error::other(format!(
                "registry {} stored {digest}, but does not tag manifests with a {} digest: \"{tag}\" was not made",
                self.registry.name(),
                digest.algorithm()
            )));
        }
        Ok(answer.named_header("oci-subject").is_some())
    }

    /// Deletes what a reference names.
    ///
    /// # Errors
    /// If it is not there, or the registry does not let this caller delete it.
    pub async fn delete_manifest(&self, reference: &Reference) -> Result<()> {
        let what = format!("deletion of \"{reference}\"");
        let call = self
            .call(
                Method::DELETE,
                &format!("manifests/{reference}"),
                Access::Delete,
                what,
            )
            .await?;
        self.registry
            .send(&call)
            .await?
            .expect(&[202, 200, 204])
            .await?;
        Ok(())
    }

    async fn read_small_blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        let Descriptor { digest, size, .. } = descriptor;
        if *size > limit {
            return Err(Error::halted(format!(
                "blob {digest} has {size} bytes, at most {limit} are read here"
            )));
        }
        let what = format!("blob {digest} of {}", self.place());
        let call = self
            .call(Method::GET, &format!("blobs/{digest}"), Access::Read, what)
            .await?;
        let answer = self.registry.send(&call).await?.expect(&[200]).await?;
        let content = answer.stored(*size as usize).await?;
        check_content(&content, digest, *size)?;
        Ok(content.to_vec())
    }

    async fn find_blob(&self, descriptor: &Descriptor) -> Result<bool> {
        let Descriptor { digest, size, .. } = descriptor;
        let what = format!("blob {digest} of {}", self.place());
        let call = self
            .call(Method::HEAD, &format!("blobs/{digest}"), Access::Read, what)
            .await?;
        let answer = self.registry.send(&call).await?;
        if answer.status() == 404 {
            return Ok(false);
        }
        let answer = answer.expect(&[200]).await?;
        let found: Option<u64> = answer
            .header(CONTENT_LENGTH)
            .and_then(|text| text.parse().ok());
        match found {
            Some(found) if found != *size => Err(Error::halted(format!(
                "registry {} has blob {digest} with {found} bytes, its descriptor says {size}",
                self.registry.name()
            ))),
            _ => Ok(true),
        }
    }
}

/// Compares content with digest and size.
pub(super) fn check_content(content: &[u8], digest: &Digest, size: u64) -> Result<()> {
    if content.len() as u64 != size {
        return Err(Error::halted(format!(
            "blob {digest} has {} bytes, its descriptor says {size}",
            content.len()
        )));
    }
    let actual = Digest::of(digest.algorithm(), content);
    if actual != *digest {
        return Err(Error::halted(format!(
            "blob was asked for as {digest}, but what came has {actual}"
        )));
    }
    Ok(())
}

fn stated_digest(answer: &Answer) -> Result<Option<Digest>, TransportError> {
    answer
        .named_header("docker-content-digest")
        .map(|text| Digest::parse(text).map_err(|error| answer.protocol(error.to_string())))
        .transpose()
}

impl Store for RegistryStore {
    fn place(&self) -> String {
        format!("{}/{}", self.registry.name(), self.name)
    }

    fn manifest<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<VerifiedManifest>> {
        Box::pin(async move {
            self.find_manifest(reference).await?.ok_or_else(|| {
                Error::not_found(format!("\"{reference}\" is not in {}", self.place())).hint(
                    format!("list what is there with: sealstone list {}", self.place()),
                )
            })
        })
    }

    fn blob_bytes<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        limit: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>>> {
        Box::pin(self.read_small_blob(descriptor, limit))
    }

    fn has_blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.find_blob(descriptor))
    }

    fn put_blob_bytes<'a>(
        &'a self,
        digest: &'a Digest,
        content: Vec<u8>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let content = Bytes::from(content);
            check_content(&content, digest, content.len() as u64)?;
            self.upload_small(digest, content).await
        })
    }

    fn put_manifest<'a>(
        &'a self,
        manifest: &'a VerifiedManifest,
        tag: Option<&'a Tag>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let was_noted = self.send_manifest(manifest, tag).await?;
            if let Some(subject) = manifest.subject()
                && !was_noted
            {
                self.lists_referrers.store(false, Ordering::Relaxed);
                self.add_to_fallback(subject, manifest).await?;
            }
            Ok(())
        })
    }

    fn referrers<'a>(
        &'a self,
        subject: &'a Digest,
        artifact_type: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Descriptor>>> {
        Box::pin(self.list_referrers(subject, artifact_type))
    }

    fn log_signature<'a>(&'a self, rekord: &'a Rekord) -> BoxFuture<'a, Result<Option<Value>>> {
        Box::pin(self.submit_signature(rekord))
    }

    fn record<'a>(
        &'a self,
        tag: Option<&'a Tag>,
        statements: &'a [Digest],
    ) -> BoxFuture<'a, Result<Vec<Document>>> {
        Box::pin(self.documents(tag, statements))
    }

    fn tags(&self) -> BoxFuture<'_, Result<Vec<Tag>>> {
        Box::pin(self.list_tags())
    }
}

impl RegistryStore {
    /// Stores an index under a tag, whatever was there: for fallback lists of referrers only.
    pub(super) async fn send_fallback(&self, index: &VerifiedManifest, tag: &Tag) -> Result<()> {
        debug_assert!(index.is_index() && tag.is_evidence_list());
        debug_assert_eq!(media::essence(index.media_type()), media::OCI_INDEX);
        self.send_manifest(index, Some(tag)).await.map(drop)
    }
}
