//! From a registry or layout into a directory, verified before anything has its final name.
//!
//! The order: judgement, path safety, then blobs with size and digest while they stream, then one
//! rename. Invariant: there is no way to pull without saying how the bundle is judged, and no path on
//! which bytes that failed a check stay under a name that somebody could use.

use super::progress::{Arrival, Track};
use super::staging::Staging;
use super::{Place, TransferOptions, fetch, lost};
use crate::error::{Error, Outcome, Result};
use futures_util::{StreamExt as _, TryStreamExt as _};
use sealstone_spec::admission::Admission;
use sealstone_spec::bundle::{Bundle, BundleFile};
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What must hold before a bundle is fetched.
#[derive(Clone, Copy, Debug)]
pub enum Requirement<'a> {
    /// A policy or keys have admitted this very manifest.
    Admitted(&'a Admission),
    /// Nothing: the user has said that signatures do not matter. Digests and paths are checked all
    /// the same.
    NoSignatures,
}

impl Requirement<'_> {
    /// Checks that the admission, if one is required, is for this manifest.
    ///
    /// # Errors
    /// [`Outcome::Halted`](crate::Outcome::Halted) if it is for another.
    pub fn check(&self, manifest: &VerifiedManifest) -> Result<()> {
        match self {
            Requirement::NoSignatures => Ok(()),
            Requirement::Admitted(admission) if admission.manifest() == manifest.digest() => Ok(()),
            Requirement::Admitted(admission) => Err(Error::halted(format!(
                "manifest {} was admitted, but {} is to be pulled",
                admission.manifest(),
                manifest.digest()
            ))),
        }
    }
}

/// What a pull brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pulled {
    /// The manifest.
    pub digest: Digest,
    /// The directory.
    pub directory: PathBuf,
    /// Number of files.
    pub files: usize,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Pulls the bundle `manifest`, which came from `source`, into `destination`.
///
/// An existing directory is refused unless `overwrite` is set; then it is replaced as a whole, after
/// everything was verified.
///
/// # Errors
/// [`Outcome::Halted`](crate::Outcome::Halted) if anything is not what it should be, admitted or not;
/// nothing is left then, but in quarantine where the options name one.
pub async fn pull(
    source: &Place,
    manifest: &VerifiedManifest,
    requirement: Requirement<'_>,
    destination: &Path,
    overwrite: bool,
    options: &TransferOptions,
) -> Result<Pulled> {
    requirement.check(manifest)?;
    let bundle = Bundle::read(manifest).map_err(|error| {
        Error::halted(format!("manifest {} cannot be unpacked", manifest.digest()))
            .source(error)
            .hint(
                "anything can be pulled into a layout as it is, without unpacking: --oci DIRECTORY",
            )
    })?;
    if let Some(archive) = bundle.files().iter().find(|file| file.archive) {
        return Err(Error::other(format!(
            "layer \"{}\" is a tar archive, which this version does not unpack",
            archive.path
        ))
        .hint("pull into a layout instead: --oci DIRECTORY"));
    }
    let staging = begin(destination, overwrite).await?;
    let options = &options.shared_among(bundle.files().iter().map(|file| file.size));
    let mut files: Vec<(usize, &BundleFile)> = bundle.files().iter().enumerate().collect();
    // Large ones first, so that none of them is left alone at the end.
    files.sort_by_key(|(_, file)| std::cmp::Reverse(file.size));
    let fetched = futures_util::stream::iter(files)
        .map(|(number, file)| fetch_file(source, manifest, number, file, &staging, options))
        .buffer_unordered(options.parallel.max(1))
        .try_collect::<Vec<()>>()
        .await;
    if let Err(error) = fetched {
        if let (Outcome::Halted, Some(place)) = (error.outcome(), &options.quarantine) {
            staging.quarantine(place);
        }
        return Err(error);
    }
    tokio::task::spawn_blocking(move || staging.publish())
        .await
        .map_err(lost)??;
    Ok(Pulled {
        digest: *manifest.digest(),
        directory: destination.to_owned(),
        files: bundle.files().len(),
        bytes: bundle
            .files()
            .iter()
            .fold(0, |sum, file| sum.saturating_add(file.size)),
    })
}

async fn begin(destination: &Path, overwrite: bool) -> Result<Staging> {
    let destination = destination.to_owned();
    tokio::task::spawn_blocking(move || Staging::begin(&destination, overwrite))
        .await
        .map_err(lost)?
}

async fn fetch_file(
    source: &Place,
    manifest: &VerifiedManifest,
    number: usize,
    file: &BundleFile,
    staging: &Staging,
    options: &TransferOptions,
) -> Result<()> {
    // Files stand in the order of the layers they were read from.
    let descriptor: &Descriptor = manifest
        .layers()
        .get(number)
        .filter(|layer| layer.digest == file.digest && layer.size == file.size)
        .ok_or_else(|| {
            Error::halted(format!(
                "file \"{}\" is not the layer it was read from",
                file.path
            ))
        })?;
    let label = file.path.as_str();
    let track: Arc<dyn Track> = Arc::from(options.progress.begin("pull", label, file.size));
    fetch::fetch(
        source,
        descriptor,
        &staging.incoming(number),
        label,
        options,
        track.clone(),
    )
    .await?;
    staging.settle(number, &file.path, file.executable)?;
    track.end(Arrival::Moved);
    Ok(())
}
