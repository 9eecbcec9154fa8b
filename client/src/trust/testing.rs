//! For tests: a layout that lists other referrers than it has.

use crate::error::Result;
use crate::layout::LayoutStore;
use crate::store::Store;
use futures_util::future::BoxFuture;
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::name::{Reference, Tag};
use std::fmt;

/// The layout, and what it makes of a listing that was asked for by this type. It is no layout to whoever asks.
pub(super) struct Relisted<'l, F>(pub(super) &'l LayoutStore, pub(super) F);

impl<F> fmt::Debug for Relisted<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Relisted").field(self.0).finish()
    }
}

impl<F: Fn(Option<&str>, &mut Vec<Descriptor>) + Send + Sync> Store for Relisted<'_, F> {
    fn place(&self) -> String {
        Store::place(self.0)
    }

    fn manifest<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<VerifiedManifest>> {
        Store::manifest(self.0, reference)
    }

    fn blob_bytes<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        limit: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>>> {
        Store::blob_bytes(self.0, descriptor, limit)
    }

    fn has_blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<bool>> {
        Store::has_blob(self.0, descriptor)
    }

    fn put_blob_bytes<'a>(
        &'a self,
        digest: &'a Digest,
        content: Vec<u8>,
    ) -> BoxFuture<'a, Result<()>> {
        Store::put_blob_bytes(self.0, digest, content)
    }

    fn put_manifest<'a>(
        &'a self,
        manifest: &'a VerifiedManifest,
        tag: Option<&'a Tag>,
    ) -> BoxFuture<'a, Result<()>> {
        Store::put_manifest(self.0, manifest, tag)
    }

    fn referrers<'a>(
        &'a self,
        subject: &'a Digest,
        artifact_type: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Descriptor>>> {
        Box::pin(async move {
            let mut listed = Store::referrers(self.0, subject, artifact_type).await?;
            (self.1)(artifact_type, &mut listed);
            Ok(listed)
        })
    }

    fn tags(&self) -> BoxFuture<'_, Result<Vec<Tag>>> {
        Store::tags(self.0)
    }
}
