//! A manifest with everything that belongs to it, from one place to another.
//!
//! The order is what makes an interruption harmless: blobs, manifests with children first, what was
//! said about them, what the source's log proves of that, and the tag last. A large blob of a registry that was cut is
//! kept, and gone on with by the next copy. Invariant: nothing is
//! stored at the destination under a digest that was not compared; a tag never appears before what
//! it leads to.

use super::graph::{self, Graph, Seen};
use super::kept::Hold;
use super::partial::{Partial, forget_old};
use super::progress::{Arrival, Track};
use super::{Place, TransferOptions, fetch, lost, record, upload};
use crate::error::{Error, Outcome, Result};
use crate::layout::LayoutStore;
use crate::stop::blocking;
use crate::store::Store;
use crate::transport::RegistryStore;
use crate::trust::{Listed, add_to_list, denial_of, denied, set_bill};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::name::Tag;
use serde::Serialize;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

/// What a copy did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Copied {
    /// The manifest.
    pub digest: Digest,
    /// The tag that was made, if one was.
    pub tag: Option<Tag>,
    /// Manifests that were stored, evidence included.
    pub manifests: usize,
    /// Referrers and signature lists among them.
    pub evidence: usize,
    /// Blobs that were moved.
    pub blobs_moved: usize,
    /// Blobs that were there already, or that the registry mounted.
    pub blobs_present: usize,
    /// Bytes of the blobs that were moved.
    pub bytes_moved: u64,
    /// Bytes of all blobs.
    pub bytes_total: u64,
}

#[derive(Default)]
struct Counts {
    moved: AtomicUsize,
    present: AtomicUsize,
    bytes: AtomicU64,
}

/// Copies `manifest`, which came from `source`, to `destination`, and tags it there.
///
/// # Errors
/// If anything is missing or not what its digest says, or the destination refuses something; what
/// was copied until then stays there without a tag.
pub async fn copy(
    source: &Place,
    destination: &Place,
    manifest: &VerifiedManifest,
    tag: Option<&Tag>,
    options: &TransferOptions,
) -> Result<Copied> {
    copy_as("copy", source, destination, manifest, tag, options).await
}

pub(super) async fn copy_as(
    verb: &'static str,
    source: &Place,
    destination: &Place,
    manifest: &VerifiedManifest,
    tag: Option<&Tag>,
    options: &TransferOptions,
) -> Result<Copied> {
    let mut options = options.clone();
    if let Some(from) = mountable(source, destination)
        && !options.mount_from.contains(from)
    {
        options.mount_from.push(from.clone());
    }
    let mut seen = Seen::default();
    let content = graph::gather(source.store(), manifest, &mut seen).await?;
    let evidence = match options.referrers {
        true => graph::gather_evidence(source.store(), &content, &mut seen).await?,
        false => graph::Evidence::default(),
    };
    let record = match options.referrers {
        true => record::of_news(source, destination, manifest, &evidence).await?,
        false => None,
    };
    let counts = Counts::default();
    let mut manifests = 0;
    make_room(destination, &options).await?;

    // All blobs at once: those of signatures are small and would otherwise each wait for a turn.
    let mut graphs: Vec<&Graph> = vec![&content];
    graphs.extend(&evidence.referrers);
    graphs.extend(evidence.lists.iter().map(|(_, graph)| graph));
    let mut blobs: Vec<&(Descriptor, String)> =
        graphs.iter().flat_map(|graph| &graph.blobs).collect();
    // Large ones first, so that none of them is left alone at the end.
    blobs.sort_by_key(|(blob, _)| std::cmp::Reverse(blob.size));
    let options = options.shared_among(blobs.iter().map(|(blob, _)| blob.size));
    futures_util::stream::iter(blobs)
        .map(|(blob, label)| deliver(verb, source, destination, blob, label, &options, &counts))
        .buffer_unordered(options.parallel.max(1))
        .try_collect::<Vec<()>>()
        .await?;

    let target = destination.store();
    for graph in std::iter::once(&content).chain(&evidence.referrers) {
        for manifest in &graph.manifests {
            target.put_manifest(manifest, None).await?;
            manifests += 1;
        }
    }
    for (list_tag, graph) in &evidence.lists {
        let Some((list, children)) = graph.manifests.split_last() else {
            continue;
        };
        for child in children {
            target.put_manifest(child, None).await?;
        }
        // Others may have signed there, and not here.
        let listed = match list_tag.as_str().ends_with(".sbom") {
            true => set_bill(target, list_tag, list).await?,
            false => add_to_list(target, list_tag, list, None).await?,
        };
        if let Listed::Beside(reason) = listed {
            keep_beside(destination, list).await?;
            // Whoever may push there made that list, and must not keep the release from arriving by it.
            options.progress.note(&format!(
                "note: tag {list_tag} of the destination stays as it is, and what the source has there was stored as {} without it: {}",
                list.digest(),
                crate::transport::printable(&reason.to_string())
            ));
        }
        manifests += graph.manifests.len();
    }
    let recorded = usize::from(record.is_some());
    if let Some((record, documents)) = record {
        let contents = documents.into_iter().map(|document| document.content);
        for content in contents.chain([b"{}".to_vec()]) {
            let digest = Digest::sha256(&content);
            target.put_blob_bytes(&digest, content).await?;
        }
        target.put_manifest(&record, None).await?;
        manifests += 1;
    }
    if let Some(tag) = tag {
        target
            .put_manifest(manifest, Some(tag))
            .await
            .map_err(|error| staged(error, destination, manifest))?;
    }
    Ok(Copied {
        digest: *manifest.digest(),
        tag: tag.cloned(),
        manifests,
        evidence: evidence.referrers.len() + evidence.lists.len() + recorded,
        blobs_moved: counts.moved.into_inner(),
        blobs_present: counts.present.into_inner(),
        bytes_moved: counts.bytes.into_inner(),
        bytes_total: graph::total(&graphs),
    })
}

/// Removes what earlier copies left at the destination, or on the way between registries, and nobody came back for.
async fn make_room(destination: &Place, options: &TransferOptions) -> Result<()> {
    let (destination, downloads) = (destination.clone(), options.downloads.clone());
    tokio::task::spawn_blocking(move || {
        let now = SystemTime::now();
        downloads.forget_old(now);
        if let Place::Layout(layout) = destination {
            for algorithm in Algorithm::ALL {
                let blobs = layout.root().join("blobs").join(algorithm.as_str());
                forget_old(&blobs, now);
            }
        }
    })
    .await
    .map_err(lost)
}

/// Stores a list by its digest alone.
async fn keep_beside(destination: &Place, list: &VerifiedManifest) -> Result<()> {
    let target = destination.store();
    match destination {
        // Listed without a tag, it could be taken for the bundle that the layout is of.
        Place::Layout(_) => {
            target
                .put_blob_bytes(list.digest(), list.bytes().to_vec())
                .await
        }
        Place::Registry(_) | Place::Archive(_) => target.put_manifest(list, None).await,
    }
}

/// What a refused tag leaves behind, said where the refusal is read.
fn staged(error: Error, destination: &Place, manifest: &VerifiedManifest) -> Error {
    if error.outcome() != crate::Outcome::Refused {
        return error;
    }
    let place = format!("{}@{}", destination.store().place(), manifest.digest());
    let error = denial_of(&error).map_or(error, |denial| denied(&denial, &place));
    error.hint(format!(
        "everything was stored and waits without a tag: bring what is missing (sealstone sign {place}), then: sealstone release {place} TAG"
    ))
}

/// The repository whose blobs the destination's registry may mount.
fn mountable<'a>(
    source: &'a Place,
    destination: &Place,
) -> Option<&'a sealstone_spec::name::RepoName> {
    match (source, destination) {
        (Place::Registry(from), Place::Registry(to))
            if from.registry().name() == to.registry().name() && from.name() != to.name() =>
        {
            Some(from.name())
        }
        _ => None,
    }
}

async fn deliver(
    verb: &'static str,
    source: &Place,
    destination: &Place,
    blob: &Descriptor,
    label: &str,
    options: &TransferOptions,
    counts: &Counts,
) -> Result<()> {
    let track: Arc<dyn Track> = Arc::from(options.progress.begin(verb, label, blob.size));
    let arrival = match destination {
        Place::Registry(to) => to_registry(source, to, blob, label, options, &track).await?,
        Place::Layout(to) => to_layout(source, to, blob, label, options, &track).await?,
        Place::Archive(_) => return Err(Error::usage("an archive is only read from")),
    };
    track.end(arrival);
    if arrival == Arrival::Moved {
        counts.moved.fetch_add(1, Ordering::Relaxed);
        counts.bytes.fetch_add(blob.size, Ordering::Relaxed);
    } else {
        counts.present.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn to_registry(
    source: &Place,
    to: &RegistryStore,
    blob: &Descriptor,
    label: &str,
    options: &TransferOptions,
    track: &Arc<dyn Track>,
) -> Result<Arrival> {
    if blob.size <= options.small {
        if to.has_blob(blob).await? {
            return Ok(Arrival::Present);
        }
        let content = source.store().blob_bytes(blob, options.small).await?;
        return upload::upload_bytes(to, blob, Bytes::from(content), options, track).await;
    }
    match source {
        Place::Layout(layout) => {
            let path = layout.blob_path(&blob.digest);
            let found = std::fs::metadata(&path)
                .map_err(|error| Error::io(format!("reading \"{}\"", path.display()), error))?;
            if found.len() != blob.size {
                return Err(super::mismatch(
                    label,
                    &blob.digest,
                    &format!(
                        "a file of {} bytes where {} are due",
                        found.len(),
                        blob.size
                    ),
                ));
            }
            upload::upload_file(to, blob, &path, options, track.clone()).await
        }
        Place::Registry(_) => {
            if to.has_blob(blob).await? {
                return Ok(Arrival::Present);
            }
            for from in &options.mount_from {
                match to.start_upload(&blob.digest, Some(from)).await? {
                    crate::transport::Start::Mounted => return Ok(Arrival::Mounted),
                    crate::transport::Start::Session(session) => {
                        to.cancel_upload(&session.location).await
                    }
                }
            }
            by_way_of_a_file(source, to, blob, label, options, track).await
        }
        Place::Archive(_) => {
            if to.has_blob(blob).await? {
                return Ok(Arrival::Present);
            }
            by_way_of_a_file(source, to, blob, label, options, track).await
        }
    }
}

/// Fetches a blob where it is kept. After a cut or an interruption it stays there, if the next run can go on with it;
/// anything else that fails may be wrong with these very bytes, or with the disk that they lie on.
async fn fetch_kept(
    source: &Place,
    blob: &Descriptor,
    partial: &Arc<Partial>,
    label: &str,
    options: &TransferOptions,
    track: Arc<dyn Track>,
) -> Result<()> {
    // What is of no use to the next run goes at once, also where a thread is not told soon that nobody waits.
    let mut hold: Option<Hold> = None;
    if fetch::goes_on(source, blob) {
        partial.keep();
        hold = Some(partial.clone());
    }
    let path = partial.blob();
    let fetched = fetch::fetch_into(source, blob, &path, label, options, track, hold).await;
    fetched.map_err(|error| {
        if error.outcome() != Outcome::Network {
            partial.discard();
        }
        match partial.stays() {
            true => error.hint(format!(
                "what has arrived of \"{label}\" is kept in \"{}\": the same command goes on from there",
                path.display()
            )),
            false => error,
        }
    })
}

/// The blob is verified before its first byte goes on, and either side can be resumed without the
/// other.
async fn by_way_of_a_file(
    source: &Place,
    to: &RegistryStore,
    blob: &Descriptor,
    label: &str,
    options: &TransferOptions,
    track: &Arc<dyn Track>,
) -> Result<Arrival> {
    let partial = options.downloads.begin(blob);
    let making = |error| Error::io("making a temporary directory", error);
    let partial = Arc::new(partial.map_err(making)?);
    let silent: Arc<dyn Track> = Arc::new(super::Silent);
    fetch_kept(source, blob, &partial, label, options, silent)
        .await
        .map_err(|error| match is_of_room(&error) {
            true => error.hint(
                "between two registries a blob waits in the cache, or where TMPDIR names a file system with more room: set it, or XDG_CACHE_HOME, to where there is room for the largest file",
            ),
            false => error,
        })?;
    let uploaded = upload::upload_file(to, blob, &partial.blob(), options, track.clone()).await;
    let waits = uploaded.as_ref().is_err_and(|error| {
        matches!(
            error.outcome(),
            Outcome::Network | Outcome::Unauthorised | Outcome::Refused
        )
    });
    if !waits {
        partial.discard();
    }
    uploaded
}

/// Whether a disk was full, or a quota of it used up.
fn is_of_room(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if let Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) = kind {
            return true;
        }
        cause = error.source();
    }
    false
}

async fn to_layout(
    source: &Place,
    to: &LayoutStore,
    blob: &Descriptor,
    label: &str,
    options: &TransferOptions,
    track: &Arc<dyn Track>,
) -> Result<Arrival> {
    // What lies there may be damaged, so it is read before it counts.
    if to.holds(blob) {
        let (layout, descriptor) = (to.clone(), blob.clone());
        let checked = blocking(move |stop| layout.check_blob_while(&descriptor, stop))
            .await
            .map_err(lost)?;
        if checked.is_ok() {
            return Ok(Arrival::Present);
        }
    }
    let name = to.blob_path(&blob.digest);
    let directory = name.parent().map(ToOwned::to_owned).unwrap_or_default();
    let writing = |error| fetch::writing(&name, error);
    std::fs::create_dir_all(&directory).map_err(writing)?;
    // Beside its final name, in a directory of its own.
    let partial = match options.kept_in_layouts {
        true => Partial::begin(&directory, &blob.digest),
        false => Partial::alone(&directory, &blob.digest),
    };
    let partial = Arc::new(partial.map_err(writing)?);
    fetch_kept(source, blob, &partial, label, options, track.clone()).await?;
    std::fs::rename(partial.blob(), &name).map_err(writing)?;
    File::open(&directory)
        .and_then(|directory| directory.sync_all())
        .map_err(writing)?;
    Ok(Arrival::Moved)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_full_disk_is_known_and_so_is_a_quota() {
        let failed = |number| {
            let system = io::Error::from_raw_os_error(number);
            is_of_room(&fetch::writing(std::path::Path::new("x"), system))
        };
        assert!(failed(libc::ENOSPC) && failed(libc::EDQUOT));
        assert!(!failed(libc::EACCES) && !is_of_room(&Error::other("x")));
        let inner = Error::io("writing", io::Error::from_raw_os_error(libc::ENOSPC));
        assert!(is_of_room(&Error::other("layer").source(inner)));
    }

    /// What lies in the layout takes longer to read than anybody waits who has interrupted it.
    #[test]
    fn what_is_there_is_not_read_to_its_end_once_nobody_waits() {
        const SIZE: u64 = 1 << 39;
        const PATIENCE: Duration = Duration::from_secs(60);
        let place = tempfile::tempdir().unwrap();
        let layout = |name| LayoutStore::open_or_create(place.path().join(name)).unwrap();
        let (source, to) = (Place::Layout(layout("source")), layout("to"));
        let blob = Descriptor::new("application/octet-stream", Digest::sha256(b"x"), SIZE);
        let path = to.blob_path(&blob.digest);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(&path).unwrap().set_len(SIZE).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let options = TransferOptions::default();
            let track: Arc<dyn Track> = Arc::new(super::super::Silent);
            let copied = to_layout(&source, &to, &blob, "x", &options, &track);
            let copied = tokio::time::timeout(Duration::from_millis(100), copied).await;
            assert!(copied.is_err());
        });
        let interrupted = Instant::now();
        runtime.shutdown_timeout(PATIENCE);
        assert!(interrupted.elapsed() < PATIENCE);
    }
}
