//! From a registry or layout into a directory, verified before anything has its final name.
//!
//! The order: judgement, path safety, then blobs with size and digest while they stream, then one
//! rename. Invariant: there is no way to pull without saying how the bundle is judged, and no path on
//! which bytes that failed a check stay under a name that somebody could use.

use super::progress::{Arrival, Track};
use super::staging::Staging;
use super::{Downloads, Place, TransferOptions, fetch, lost, unpack};
use crate::error::{Error, Outcome, Result};
use crate::layout::LayoutStore;
use crate::stop::{Stop, blocking};
use futures_util::{StreamExt as _, TryStreamExt as _};
use sealstone_spec::admission::Admission;
use sealstone_spec::bundle::{Bundle, BundleFile};
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

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
    /// Number of files, those from archives included.
    pub files: usize,
    /// Bytes of all these files.
    pub bytes: u64,
}

/// Pulls the bundle `manifest`, which came from `source`, into `destination`.
///
/// An existing directory is refused unless `overwrite` is set; then it is replaced as a whole, after
/// everything was verified. One in which the source itself lies is never replaced.
///
/// # Errors
/// [`Outcome::Halted`](crate::Outcome::Halted) if anything is not what it should be, admitted or not;
/// nothing is left then, but in quarantine where the options name one.
/// After a cut, what has arrived stays in a hidden directory beside the destination,
/// and the next pull of the same bundle to the same place checks it and goes on from there.
pub async fn pull(
    source: &Place,
    manifest: &VerifiedManifest,
    requirement: Requirement<'_>,
    destination: &Path,
    overwrite: bool,
    options: &TransferOptions,
) -> Result<Pulled> {
    requirement.check(manifest)?;
    refuse_own_source(source, manifest, destination)?;
    let bundle = Bundle::read(manifest).map_err(|error| {
        Error::halted(format!("manifest {} cannot be unpacked", manifest.digest()))
            .source(error)
            .hint(
                "anything can be pulled into a layout as it is, without unpacking: --oci DIRECTORY",
            )
    })?;
    let staging = begin(
        destination,
        overwrite,
        manifest.digest(),
        bundle.files(),
        &options.downloads,
    )
    .await?;
    let staging = Arc::new(staging);
    if !matches!(source, Place::Registry(_)) {
        // What lies on this machine is copied anew: a part of it is of no use, and would only take room.
        staging.discard();
    }
    let options = &options.shared_among(bundle.files().iter().map(|file| file.size));
    let mut files: Vec<(usize, &BundleFile)> = bundle.files().iter().enumerate().collect();
    // Large ones first, so that none of them is left alone at the end.
    files.sort_by_key(|(_, file)| std::cmp::Reverse(file.size));
    let fetched: Result<Vec<Settled>> = futures_util::stream::iter(files)
        .map(|(number, file)| fetch_file(source, manifest, number, file, &staging, options))
        .buffer_unordered(options.parallel.max(1))
        .try_collect()
        .await;
    let settled = match fetched {
        Ok(settled) => settled,
        Err(error) => {
            left_alone(&staging).await;
            return Err(given_up(error, &staging, options));
        }
    };
    blocking(move |stop| {
        // Whoever settled an archive has ended, and with it its share of the staging.
        let staging = Arc::into_inner(staging)
            .ok_or_else(|| Error::other("a part of the pull is still at work"))?;
        stop.check()
            .map_err(|error| Error::io("putting the bundle in place", error))?;
        staging.publish()
    })
    .await
    .map_err(lost)??;
    Ok(Pulled {
        digest: *manifest.digest(),
        directory: destination.to_owned(),
        files: settled.iter().map(|settled| settled.files).sum(),
        bytes: settled
            .iter()
            .fold(0, |sum, settled| sum.saturating_add(settled.bytes)),
    })
}

/// What one layer brought.
struct Settled {
    files: usize,
    bytes: u64,
}

/// Refuses a destination with which the layout or archive would be replaced that the bundle comes from, and with it
/// whatever else lies there: other bundles, and all signatures. Parts of a layout may be links to other places.
fn refuse_own_source(
    source: &Place,
    manifest: &VerifiedManifest,
    destination: &Path,
) -> Result<()> {
    let (kind, path) = match source {
        Place::Registry(_) => return Ok(()),
        Place::Layout(layout) => ("layout", layout.root()),
        Place::Archive(archive) => ("archive", archive.path()),
    };
    // Where nothing is, nothing is replaced; what cannot be looked at cannot be replaced either.
    let Ok(found) = fs::metadata(destination) else {
        return Ok(());
    };
    let real = fs::canonicalize(path)
        .map_err(|error| Error::io(format!("finding \"{}\"", path.display()), error))?;
    let (blobs, files) = match source {
        Place::Layout(layout) => parts(layout, manifest),
        Place::Registry(_) | Place::Archive(_) => (BTreeSet::new(), BTreeSet::new()),
    };
    let is_within = fs::canonicalize(destination)
        .is_ok_and(|destination| blobs.iter().any(|blobs| destination.starts_with(blobs)));
    // Many files lie in few directories.
    let places = [real].into_iter().chain(blobs).chain(files);
    let mut around = BTreeSet::new();
    for place in places {
        for above in place.ancestors() {
            if !around.insert(above.to_owned()) {
                break;
            }
        }
    }
    // By what it is and not by its name, of which it may have several.
    let is_destination = |place: &PathBuf| {
        fs::metadata(place)
            .is_ok_and(|place| (place.dev(), place.ino()) == (found.dev(), found.ino()))
    };
    if !is_within && !around.iter().any(is_destination) {
        return Ok(());
    }
    Err(Error::usage(format!(
        "\"{}\" would be replaced, and with it the {kind} \"{}\", which the bundle comes from",
        destination.display(),
        path.display()
    ))
    .hint("choose another directory: -o DIR"))
}

/// Where a layout's directories of blobs lie, and its files that the bundle is read from. What is not there is nowhere.
fn parts(
    layout: &LayoutStore,
    manifest: &VerifiedManifest,
) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let top = layout.root().join("blobs");
    let mut blobs = vec![top.clone()];
    for algorithm in Algorithm::ALL {
        blobs.push(top.join(algorithm.as_str()));
    }
    let mut files = vec![
        layout.root().join("index.json"),
        layout.blob_path(manifest.digest()),
    ];
    files.extend(manifest.blobs().map(|blob| layout.blob_path(&blob.digest)));
    let real = |paths: &[PathBuf]| -> BTreeSet<PathBuf> {
        paths.iter().flat_map(fs::canonicalize).collect()
    };
    (real(&blobs), real(&files))
}

async fn begin(
    destination: &Path,
    overwrite: bool,
    bundle: &Digest,
    files: &[BundleFile],
    downloads: &Downloads,
) -> Result<Staging> {
    let (destination, bundle, files) = (destination.to_owned(), *bundle, files.to_vec());
    let downloads = downloads.clone();
    tokio::task::spawn_blocking(move || {
        // Copies may have left something there, and whoever only pulls would never have it back.
        downloads.forget_old(SystemTime::now());
        Staging::begin(&destination, overwrite, &bundle, &files)
    })
    .await
    .map_err(lost)?
}

/// Waits for the threads of files that were on their way when another failed. Each was told to stop, and has only the
/// piece to end that it is at; what is then kept, removed or put into quarantine changes no more.
async fn left_alone(staging: &Arc<Staging>) {
    while Arc::strong_count(staging) > 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Keeps what has arrived if only the network failed; anything else may be wrong with these very bytes, or
/// with the disk that they lie on.
fn given_up(error: Error, staging: &Staging, options: &TransferOptions) -> Error {
    if error.outcome() != Outcome::Network {
        if let (Outcome::Halted, Some(place)) = (error.outcome(), &options.quarantine) {
            staging.quarantine(place);
        }
        staging.discard();
        return error;
    }
    error.hint(format!(
        "what has arrived is kept in \"{}\": the same command goes on from there",
        staging.directory().display()
    ))
}

async fn fetch_file(
    source: &Place,
    manifest: &VerifiedManifest,
    number: usize,
    file: &BundleFile,
    staging: &Arc<Staging>,
    options: &TransferOptions,
) -> Result<Settled> {
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
    fetch::fetch_into(
        source,
        descriptor,
        &staging.incoming(number),
        label,
        options,
        track.clone(),
        Some(staging.clone()),
    )
    .await?;
    let settled = if file.form.is_archive() {
        let (staging, file) = (staging.clone(), file.clone());
        blocking(move |stop| settle_archive(&staging, number, &file, stop))
            .await
            .map_err(lost)??
    } else {
        staging.settle(&staging.incoming(number), &file.path, file.executable)?;
        Settled {
            files: 1,
            bytes: file.size,
        }
    };
    track.end(Arrival::Moved);
    Ok(settled)
}

/// Gives the files of a verified archive their paths.
fn settle_archive(
    staging: &Staging,
    number: usize,
    layer: &BundleFile,
    stop: &Stop,
) -> Result<Settled> {
    let archive = staging.incoming(number);
    let unpacked = unpack::unpack(&archive, layer, &staging.unpacking(number), stop)?;
    let mut settled = Settled { files: 0, bytes: 0 };
    for file in &unpacked {
        staging.settle(&file.file, &file.path, file.executable)?;
        settled.files += 1;
        settled.bytes = settled.bytes.saturating_add(file.size);
    }
    std::fs::remove_file(&archive)
        .map_err(|error| Error::io(format!("removing \"{}\"", archive.display()), error))?;
    Ok(settled)
}
