//! The registry client: what travels between this machine and any OCI registry.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `client`, `answer` | connections; authenticated, redirected, repeated requests and their answers |
//! | `address`, `challenge`, `link`, `backoff`, `proxy` | grammars and small decisions |
//! | `auth` | Authorization headers and tokens |
//! | `repository` | [`RegistryStore`]: manifests and small blobs of one repository |
//! | `uploads`, `downloads` | large blobs, piece by piece |
//! | `referrers` | the referrers listing and its fallback tag |
//! | `listing` | tags and repositories |
//! | `admin` | Sealstone's own administration API |
//! | `record` | what a Sealstone registry says beside the OCI interface: its log's evidence, the policy in force |
//! | `options`, `error` | how registries are reached; what can go wrong on the way |
//!
//! Invariant: a manifest leaves this module only as a `VerifiedManifest`, a small blob only after its
//! digest was compared. Streams of large blobs are for [`crate::transfer`] only, which checks them.

pub(crate) mod address;
mod admin;
mod answer;
mod auth;
mod backoff;
pub(crate) mod challenge;
mod client;
mod downloads;
mod error;
mod link;
mod listing;
mod options;
mod proxy;
mod record;
mod referrers;
mod repository;
mod uploads;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use admin::Admin;
pub use backoff::Patience;
pub use client::Registry;
pub use error::{Reason, Refusal, TransportError};
pub use listing::repositories;
pub use options::ConnectOptions;
pub use repository::RegistryStore;

pub(crate) use client::Taken;
pub(crate) use downloads::Download;
pub(crate) use error::printable;
pub(crate) use proxy::Spared;
pub(crate) use uploads::{Start, UploadSession};

use sealstone_spec::image::ImageReference;

/// Opens a repository; asks nothing yet.
///
/// # Errors
/// If the registry's name is none, or the certificate authorities cannot be read.
pub fn connect(image: &ImageReference, options: &ConnectOptions) -> crate::Result<RegistryStore> {
    let registry = Registry::new(&image.registry, Some(&image.repository), options)?;
    Ok(RegistryStore::new(registry, image.repository.clone()))
}
