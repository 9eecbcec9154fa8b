//! The registry client. (Being written.)
use crate::error::Result;
use sealstone_spec::image::ImageReference;

/// How to reach a registry.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// Speak HTTP even to hosts other than loopback.
    pub plain_http: bool,
    /// PEM file with further certificate authorities.
    pub ca_file: Option<std::path::PathBuf>,
}

/// A repository in a registry.
#[derive(Debug)]
pub struct RegistryStore;

/// Opens a repository; asks nothing yet.
///
/// # Errors
/// If options or credentials cannot be read.
pub fn connect(_image: &ImageReference, _options: &ConnectOptions) -> Result<RegistryStore> {
    Err(crate::Error::other("transport is not written yet"))
}

impl crate::store::Store for RegistryStore {
    fn place(&self) -> String { String::new() }
    fn manifest<'a>(&'a self, _: &'a sealstone_spec::name::Reference) -> futures_util::future::BoxFuture<'a, Result<sealstone_spec::manifest::VerifiedManifest>> { unimplemented!() }
    fn blob_bytes<'a>(&'a self, _: &'a sealstone_spec::manifest::Descriptor, _: u64) -> futures_util::future::BoxFuture<'a, Result<Vec<u8>>> { unimplemented!() }
    fn has_blob<'a>(&'a self, _: &'a sealstone_spec::manifest::Descriptor) -> futures_util::future::BoxFuture<'a, Result<bool>> { unimplemented!() }
    fn put_blob_bytes<'a>(&'a self, _: &'a sealstone_spec::digest::Digest, _: Vec<u8>) -> futures_util::future::BoxFuture<'a, Result<()>> { unimplemented!() }
    fn put_manifest<'a>(&'a self, _: &'a sealstone_spec::manifest::VerifiedManifest, _: Option<&'a sealstone_spec::name::Tag>) -> futures_util::future::BoxFuture<'a, Result<()>> { unimplemented!() }
    fn referrers<'a>(&'a self, _: &'a sealstone_spec::digest::Digest, _: Option<&'a str>) -> futures_util::future::BoxFuture<'a, Result<Vec<sealstone_spec::manifest::Descriptor>>> { unimplemented!() }
    fn tags(&self) -> futures_util::future::BoxFuture<'_, Result<Vec<sealstone_spec::name::Tag>>> { unimplemented!() }
}
