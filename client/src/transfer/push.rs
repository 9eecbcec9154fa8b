//! From a layout to a registry.

use super::{Copied, Place, TransferOptions, copy};
use crate::error::Result;
use crate::layout::LayoutStore;
use crate::transport::RegistryStore;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::name::Tag;

/// Pushes `manifest` of a layout with its blobs and what was said about it; the tag last.
///
/// # Errors
/// As [`copy`](super::copy).
pub async fn push(
    layout: &LayoutStore,
    store: &RegistryStore,
    manifest: &VerifiedManifest,
    tag: Option<&Tag>,
    options: &TransferOptions,
) -> Result<Copied> {
    let (source, destination) = (
        Place::Layout(layout.clone()),
        Place::Registry(store.clone()),
    );
    copy::copy_as("push", &source, &destination, manifest, tag, options).await
}
