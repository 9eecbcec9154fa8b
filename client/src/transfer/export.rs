//! A manifest with everything that belongs to it, from any place into one archive.
//!
//! What goes in is what a copy takes along: content, referrers and their referrers, cosign's older lists;
//! the registry's record of now (its signed policy, its log's proofs) as one more referrer; and the model
//! signature once more under the name that its tools look for.
//! Invariant: two exports of the same release with the same statements and record are the same bytes.

use super::graph::{self, Graph, Seen};
use super::progress::{Arrival, Silent, Track};
use super::{Place, TransferOptions, fetch, lost, record};
use crate::archive::{self, Source};
use crate::error::{Error, Result};
use crate::layout::{Index, MARKER_TEXT};
use crate::stop::Stop;
use crate::trust::model_claims;
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::media;
use sealstone_spec::name::Tag;
use sealstone_spec::sigstore::{ANNOTATION_PREDICATE_TYPE, MAX_BUNDLE_BYTES, SigstoreBundle};
use sealstone_spec::statement::predicate;
use serde::Serialize;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// What an export made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exported {
    /// The manifest.
    pub digest: Digest,
    /// The archive.
    pub archive: PathBuf,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Manifests in it, evidence included.
    pub manifests: usize,
    /// Referrers and signature lists among them.
    pub evidence: usize,
    /// Blobs in it.
    pub blobs: usize,
    /// Whether `model.sig` stands at its top.
    pub model_signature: bool,
}

/// Exports `manifest`, which came from `source`, with its tag into the archive `out`.
///
/// # Errors
/// If anything is missing or not what its digest says; no archive is left then.
pub async fn export(
    source: &Place,
    manifest: &VerifiedManifest,
    tag: Option<&Tag>,
    out: &Path,
    overwrite: bool,
    options: &TransferOptions,
) -> Result<Exported> {
    if !overwrite && out.symlink_metadata().is_ok() {
        return Err(
            Error::conflict(format!("\"{}\" exists already", out.display()))
                .hint("choose another name, or replace it: --overwrite"),
        );
    }
    let mut seen = Seen::default();
    let content = graph::gather(source.store(), manifest, &mut seen).await?;
    let evidence = match options.referrers {
        true => graph::gather_evidence(source.store(), &content, &mut seen).await?,
        false => graph::Evidence::default(),
    };
    let record = match options.referrers {
        true => record::of_now(source, manifest, tag, &evidence).await?,
        false => None,
    };
    let mut graphs: Vec<&Graph> = vec![&content];
    graphs.extend(&evidence.referrers);
    graphs.extend(evidence.lists.iter().map(|(_, graph)| graph));

    // The bundle first, then by digest and by tag: not in the order in which a place lists them.
    let root = |graph: &Graph| graph.manifests.last().map(VerifiedManifest::descriptor);
    let mut listed: Vec<(Descriptor, Option<Tag>)> = Vec::new();
    listed.extend(
        evidence
            .referrers
            .iter()
            .filter_map(root)
            .map(|d| (d, None)),
    );
    // A record that came along from elsewhere may be this very one.
    let referrers = evidence.referrers.iter();
    let there: BTreeSet<Digest> = referrers
        .filter_map(|graph| graph.manifests.last())
        .map(|referrer| *referrer.digest())
        .collect();
    let record = record.filter(|(new, _)| !there.contains(new.digest()));
    listed.extend(
        record
            .as_ref()
            .map(|(manifest, _)| (manifest.descriptor(), None)),
    );
    listed.sort_by_key(|(descriptor, _)| descriptor.digest);
    listed.insert(0, (manifest.descriptor(), tag.cloned()));
    for (list_tag, graph) in &evidence.lists {
        listed.extend(root(graph).map(|descriptor| (descriptor, Some(list_tag.clone()))));
    }
    let mut files = vec![
        ("oci-layout", MARKER_TEXT.as_bytes().to_vec()),
        ("index.json", Index::of(&listed)),
    ];
    let model_signature = model_signature(source, manifest, &evidence.referrers).await?;
    let has_model_signature = model_signature.is_some();
    files.extend(model_signature.map(|bytes| (archive::MODEL_SIGNATURE, bytes)));

    let mut sources: BTreeMap<Digest, Source> = BTreeMap::new();
    let mut manifests = 0;
    for graph in &graphs {
        for manifest in &graph.manifests {
            manifests += 1;
            let bytes = Source::Bytes(manifest.bytes().to_vec());
            sources.insert(*manifest.digest(), bytes);
        }
    }
    let mut blobs = 0;
    let (ask, mut asked) = mpsc::channel::<Wanted>(1);
    for (blob, label) in graphs.iter().flat_map(|graph| &graph.blobs) {
        blobs += 1;
        let opened = stream(source, blob, label, out, options, &ask);
        sources.insert(blob.digest, opened);
    }
    let mut recorded = 0;
    if let Some((manifest, documents)) = record {
        recorded = 1;
        manifests += 1;
        sources.insert(*manifest.digest(), Source::Bytes(manifest.bytes().to_vec()));
        let config = b"{}".to_vec();
        for content in documents
            .into_iter()
            .map(|each| each.content)
            .chain([config])
        {
            if let Entry::Vacant(place) = sources.entry(Digest::sha256(&content)) {
                place.insert(Source::Bytes(content));
                blobs += 1;
            }
        }
    }
    let target = out.to_owned();
    let stop = Stop::default();
    let _told = stop.on_drop();
    let write = move || archive::write(&target, overwrite, &files, sources, &stop);
    let mut writing = tokio::task::spawn_blocking(write);
    let bytes = loop {
        tokio::select! {
            written = &mut writing => break written.map_err(lost)??,
            Some(wanted) = asked.recv() => wanted.fetch(source, options).await,
        }
    };
    Ok(Exported {
        digest: *manifest.digest(),
        archive: out.to_owned(),
        bytes,
        manifests,
        evidence: evidence.referrers.len() + evidence.lists.len() + recorded,
        blobs,
        model_signature: has_model_signature,
    })
}

/// A blob that the thread that writes cannot go on without. It is fetched by whoever waits for that thread, and so not
/// at all once nobody does: by the thread itself it would go on, in a runtime that ends.
struct Wanted {
    blob: Descriptor,
    label: String,
    path: PathBuf,
    done: oneshot::Sender<Result<()>>,
}

impl Wanted {
    async fn fetch(self, source: &Place, options: &TransferOptions) {
        let silent: Arc<dyn Track> = Arc::new(Silent);
        let (blob, path, label) = (&self.blob, &self.path, &self.label);
        let fetched = fetch::fetch(source, blob, path, label, options, silent).await;
        // Whoever asked waits for nothing else.
        let _ = self.done.send(fetched);
    }
}

fn given_up() -> Error {
    Error::other("the export was given up")
}

/// A blob that is opened when its turn comes. From a registry it is fetched then, into a file beside
/// the archive, so that ranges and resuming work and one blob at a time takes room.
fn stream(
    source: &Place,
    blob: &Descriptor,
    label: &str,
    out: &Path,
    options: &TransferOptions,
    ask: &mpsc::Sender<Wanted>,
) -> Source {
    let (source, blob, label) = (source.clone(), blob.clone(), label.to_owned());
    let (beside, progress) = (out.parent().map(Path::to_owned), options.progress.clone());
    let ask = ask.clone();
    let size = blob.size;
    let open = move || -> Result<Box<dyn Read>> {
        let track: Arc<dyn Track> = Arc::from(progress.begin("export", &label, blob.size));
        let opened: Box<dyn Read> = match &source {
            Place::Archive(archive) => Box::new(archive.open_blob(&blob.digest)?),
            Place::Layout(layout) => {
                let path = layout.blob_path(&blob.digest);
                let reading = |error| Error::io(format!("reading \"{}\"", path.display()), error);
                Box::new(std::fs::File::open(&path).map_err(reading)?)
            }
            Place::Registry(_) => {
                let beside = beside.filter(|path| !path.as_os_str().is_empty());
                let spool = tempfile::Builder::new()
                    .prefix(".partial-")
                    .tempdir_in(beside.unwrap_or_else(|| PathBuf::from(".")))
                    .map_err(|error| Error::io("making a temporary directory", error))?;
                let path = spool.path().join("blob");
                let (done, fetched) = oneshot::channel();
                let wanted = Wanted {
                    blob,
                    label,
                    path: path.clone(),
                    done,
                };
                ask.blocking_send(wanted).map_err(|_| given_up())?;
                fetched.blocking_recv().map_err(|_| given_up())??;
                let reading = |error| Error::io(format!("reading \"{}\"", path.display()), error);
                // The open file outlives its directory.
                Box::new(std::fs::File::open(&path).map_err(reading)?)
            }
        };
        Ok(Box::new(Told {
            inner: opened,
            track,
        }))
    };
    Source::Stream {
        size,
        open: Box::new(open),
    }
}

/// The bytes of the first model signature of `manifest`, by digest of its referrer. Whoever may push may attach others, so
/// what is too large, is none, or lists other files is passed over; whose key made it is for its reader to ask.
async fn model_signature(
    source: &Place,
    manifest: &VerifiedManifest,
    referrers: &[Graph],
) -> Result<Option<Vec<u8>>> {
    let Some(is_of_these_files) = model_claims(manifest) else {
        return Ok(None);
    };
    let mut found: Vec<&VerifiedManifest> = referrers
        .iter()
        .filter_map(|graph| graph.manifests.last())
        .filter(|referrer| may_be_model_signature(referrer, manifest))
        .collect();
    found.sort_by_key(|referrer| *referrer.digest());
    for layer in found.iter().flat_map(|referrer| referrer.layers()) {
        let content = source.store().blob_bytes(layer, MAX_BUNDLE_BYTES as u64);
        let content = content.await?;
        if SigstoreBundle::parse(&content).is_ok_and(|bundle| is_of_these_files(&bundle)) {
            return Ok(Some(content));
        }
    }
    Ok(None)
}

/// Whether a referrer says that it is one, in a form in which it can be.
fn may_be_model_signature(referrer: &VerifiedManifest, manifest: &VerifiedManifest) -> bool {
    let kind = referrer.annotations().get(ANNOTATION_PREDICATE_TYPE);
    let subject = referrer.subject().map(|subject| subject.digest);
    let [layer] = referrer.layers() else {
        return false;
    };
    kind.is_some_and(|kind| kind == predicate::MODEL_SIGNATURE)
        && subject == Some(*manifest.digest())
        && referrer.artifact_type() == Some(media::SIGSTORE_BUNDLE_V03)
        && layer.media_type == media::SIGSTORE_BUNDLE_V03
        && layer.size <= MAX_BUNDLE_BYTES as u64
}

/// A reader that tells how far it is.
struct Told {
    inner: Box<dyn Read>,
    track: Arc<dyn Track>,
}

impl Read for Told {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.track.advance(count as u64);
        if count == 0 && !buffer.is_empty() {
            self.track.end(Arrival::Moved);
        }
        Ok(count)
    }
}
