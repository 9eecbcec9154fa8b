//! A layout as a [`Store`]: the blocking calls of [`LayoutStore`], off the asynchronous threads.

use super::LayoutStore;
use crate::error::{Error, Result};
use crate::store::Store;
use futures_util::future::BoxFuture;
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::name::{Reference, Tag};

impl LayoutStore {
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(LayoutStore) -> Result<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let layout = self.clone();
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || work(layout)).await {
                Ok(result) => result,
                Err(error) => Err(Error::other("a task on the layout ended early").source(error)),
            }
        })
    }
}

impl Store for LayoutStore {
    fn place(&self) -> String {
        format!("oci:{}", self.root().display())
    }

    fn manifest<'a>(&'a self, reference: &'a Reference) -> BoxFuture<'a, Result<VerifiedManifest>> {
        let reference = reference.clone();
        self.blocking(move |layout| layout.read_manifest(&reference))
    }

    fn blob_bytes<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        limit: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>>> {
        let descriptor = descriptor.clone();
        self.blocking(move |layout| layout.read_blob(&descriptor, limit))
    }

    fn has_blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<bool>> {
        let descriptor = descriptor.clone();
        self.blocking(move |layout| Ok(layout.holds(&descriptor)))
    }

    fn put_blob_bytes<'a>(
        &'a self,
        digest: &'a Digest,
        content: Vec<u8>,
    ) -> BoxFuture<'a, Result<()>> {
        let digest = *digest;
        self.blocking(move |layout| layout.write_blob(&digest, &content))
    }

    fn put_manifest<'a>(
        &'a self,
        manifest: &'a VerifiedManifest,
        tag: Option<&'a Tag>,
    ) -> BoxFuture<'a, Result<()>> {
        let (manifest, tag) = (manifest.clone(), tag.cloned());
        self.blocking(move |layout| layout.write_manifest(&manifest, tag.as_ref()))
    }

    fn referrers<'a>(
        &'a self,
        subject: &'a Digest,
        artifact_type: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Descriptor>>> {
        let (subject, artifact_type) = (*subject, artifact_type.map(str::to_owned));
        self.blocking(move |layout| layout.read_referrers(&subject, artifact_type.as_deref()))
    }

    fn tags(&self) -> BoxFuture<'_, Result<Vec<Tag>>> {
        self.blocking(|layout| layout.read_tags())
    }

    fn only_manifest(&self) -> Option<Result<VerifiedManifest>> {
        Some(LayoutStore::only_manifest(self))
    }

    fn as_layout(&self) -> Option<&LayoutStore> {
        Some(self)
    }
}
