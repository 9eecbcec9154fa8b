//! One blob from a registry, layout or archive into a verified file.
//!
//! Owns the choice between one stream and parallel ranges, and going on after a cut, also that of an
//! earlier process.
//! Invariant: on success the file has exactly the descriptor's size and digest; on failure whoever
//! called removes it, or keeps it for the next run to check.

use super::kept::{self, Hold, Kept};
use super::progress::Track;
use super::sink::{Closed, Sink, create_new};
use super::{Place, TransferOptions, lost, mismatch, other_bytes, ranges};
use crate::error::{Error, Result};
use crate::stop::{Stop, blocking};
use crate::transport::{Download, RegistryStore, TransportError};
use bytes::Bytes;
use sealstone_spec::manifest::Descriptor;
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Blobs up to this size are fetched with one request into memory.
const IN_MEMORY: u64 = 1024 * 1024;

/// Whether a fetch goes on with what an earlier one left of a blob: from a registry, and where it is worth a file.
pub(super) fn goes_on(source: &Place, descriptor: &Descriptor) -> bool {
    matches!(source, Place::Registry(_)) && descriptor.size > IN_MEMORY
}

/// Fetches a blob into the file `path`. `label` is its name in errors and reports. What an earlier run
/// left there is checked like what comes, and fetched again if it is not right.
pub(crate) async fn fetch(
    source: &Place,
    descriptor: &Descriptor,
    path: &Path,
    label: &str,
    options: &TransferOptions,
    track: Arc<dyn Track>,
) -> Result<()> {
    fetch_into(source, descriptor, path, label, options, track, None).await
}

/// The same for a file in a directory that the next run may take over: not as long as a thread works on the file.
pub(crate) async fn fetch_into(
    source: &Place,
    descriptor: &Descriptor,
    path: &Path,
    label: &str,
    options: &TransferOptions,
    track: Arc<dyn Track>,
    hold: Option<Hold>,
) -> Result<()> {
    let found = kept::look(path, descriptor.size).map_err(|error| writing(path, error))?;
    if let Some(mut kept) = found {
        if goes_on(source, descriptor) {
            kept.hold = hold.clone();
            match fetch_behind(source, descriptor, kept, path, label, options, &track).await {
                // It may be what was kept that is wrong: a power cut can swallow bytes.
                Err(error) if error.outcome() == crate::Outcome::Halted => {
                    tracing::debug!(label, %error, "what an earlier run left is of no use");
                }
                other => return other,
            }
            track.stand_at(0);
        }
        std::fs::remove_file(path).map_err(|error| writing(path, error))?;
    }
    if descriptor.size <= IN_MEMORY {
        let content = source
            .store()
            .blob_bytes(descriptor, IN_MEMORY)
            .await
            .map_err(|error| in_layer(error, label, descriptor))?;
        write_small(path, content).await?;
        track.advance(descriptor.size);
        return Ok(());
    }
    let kept = Kept {
        file: create_new(path).map_err(|error| writing(path, error))?,
        bytes: 0,
        hold,
    };
    fetch_behind(source, descriptor, kept, path, label, options, &track).await
}

/// Fetches what is missing of a large blob.
async fn fetch_behind(
    source: &Place,
    descriptor: &Descriptor,
    kept: Kept,
    path: &Path,
    label: &str,
    options: &TransferOptions,
    track: &Arc<dyn Track>,
) -> Result<()> {
    match source {
        Place::Layout(layout) => {
            let from = layout.blob_path(&descriptor.digest);
            let reading = |error| Error::io(format!("reading \"{}\"", from.display()), error);
            let from = File::open(&from).map_err(reading)?;
            copy_file(from, kept, path, descriptor, label, track).await?;
        }
        Place::Archive(archive) => {
            let from = archive.open_blob(&descriptor.digest)?;
            copy_file(from, kept, path, descriptor, label, track).await?;
        }
        Place::Registry(store) => {
            let hold = kept.hold.clone();
            let mut kept = Some(kept);
            if options.ranges > 1
                && descriptor.size >= options.ranges_from
                && let Some(values) = tree_of(store, descriptor, label).await?
            {
                let taken = kept.take().expect("the file was opened by the caller");
                let fetched = ranges::fetch(
                    store, descriptor, values, taken, path, label, options, track,
                )
                .await?;
                if fetched == ranges::Fetched::NoRanges {
                    track.stand_at(0);
                    let file = File::options()
                        .read(true)
                        .write(true)
                        .truncate(true)
                        .open(path)
                        .map_err(|error| writing(path, error))?;
                    kept = Some(Kept {
                        file,
                        bytes: 0,
                        hold,
                    });
                }
            }
            if let Some(kept) = kept {
                fetch_stream(store, descriptor, kept, path, label, track).await?;
            }
        }
    }
    Ok(())
}

/// The blob's tree, if the registry offers one. That it cannot be had is no failure: the digest
/// decides in any case.
async fn tree_of(
    store: &RegistryStore,
    descriptor: &Descriptor,
    label: &str,
) -> Result<Option<Vec<sealstone_spec::tree::ChainingValue>>> {
    match store.blob_tree(descriptor).await {
        Ok(tree) => Ok(tree),
        Err(error @ TransportError::Protocol { .. }) => {
            Err(Error::halted(format!("the tree of layer \"{label}\" is not sound")).source(error))
        }
        Err(error) if error.is_passing() => Err(error.into()),
        Err(error) => {
            tracing::debug!(%error, "no tree, fetching as one stream");
            Ok(None)
        }
    }
}

/// A failed comparison of a small blob, in the words of the transfer.
fn in_layer(error: Error, label: &str, descriptor: &Descriptor) -> Error {
    if error.outcome() != crate::Outcome::Halted {
        return error;
    }
    let actual = error.details();
    match actual.and_then(|details| details.get("actual")?.as_str()) {
        Some(actual) => mismatch(label, &descriptor.digest, actual),
        None => other_bytes(label, &descriptor.digest).source(error),
    }
}

pub(super) fn writing(path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("writing \"{}\"", path.display()), error)
}

async fn write_small(path: &Path, content: Vec<u8>) -> Result<()> {
    let target: PathBuf = path.to_owned();
    let write = move || -> std::io::Result<()> {
        let mut file = create_new(&target)?;
        file.write_all(&content)?;
        file.sync_all()
    };
    tokio::task::spawn_blocking(write)
        .await
        .map_err(lost)?
        .map_err(|error| writing(path, error))
}

async fn copy_file(
    source: impl Read + Send + 'static,
    kept: Kept,
    path: &Path,
    descriptor: &Descriptor,
    label: &str,
    track: &Arc<dyn Track>,
) -> Result<()> {
    let track = track.clone();
    let algorithm = descriptor.digest.algorithm();
    let limit = descriptor.size;
    let copy = move |stop: &Stop| -> std::io::Result<(sealstone_spec::digest::Digest, u64)> {
        let Kept {
            mut file,
            hold: _hold,
            ..
        } = kept;
        let mut source = stop.reading(source);
        let mut hasher = sealstone_spec::digest::Hasher::new(algorithm);
        let mut buffer = vec![0; 1024 * 1024];
        let mut size = 0;
        loop {
            let count = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            size += count as u64;
            if size > limit {
                break;
            }
            hasher.update(&buffer[..count]);
            file.write_all(&buffer[..count])?;
            track.advance(count as u64);
        }
        stop.check()?;
        file.sync_all()?;
        Ok((hasher.finalize(), size))
    };
    let (actual, size) = blocking(copy)
        .await
        .map_err(lost)?
        .map_err(|error| writing(path, error))?;
    if size != descriptor.size {
        let found = format!(
            "{} {size} bytes where {} are due",
            if size > limit { "more than" } else { "only" },
            descriptor.size
        );
        return Err(mismatch(label, &descriptor.digest, &found));
    }
    if actual != descriptor.digest {
        return Err(mismatch(label, &descriptor.digest, &actual.to_string()));
    }
    Ok(())
}

/// Fetches a blob as one stream; after a cut it goes on where it stood.
async fn fetch_stream(
    store: &RegistryStore,
    descriptor: &Descriptor,
    kept: Kept,
    path: &Path,
    label: &str,
    track: &Arc<dyn Track>,
) -> Result<()> {
    let mut position = kept.bytes;
    let mut sink = Sink::begin(kept, descriptor.digest.algorithm());
    let mut farthest = position;
    let mut attempt = 1;
    track.stand_at(position);
    let streamed: Result<bool> = loop {
        if position == descriptor.size {
            break Ok(true);
        }
        let failure = match store.open_blob(descriptor, position, None).await {
            Ok(mut download) => {
                if download.start != position {
                    position = 0;
                    track.stand_at(0);
                    if sink.restart().await == Err(Closed) {
                        break Ok(false);
                    }
                }
                match pour(&mut download, &mut sink, &mut position, track).await {
                    Ok(()) => break Ok(true),
                    Err(Poured::Closed) => break Ok(false),
                    Err(Poured::Transport(error)) => error,
                }
            }
            Err(error) => error,
        };
        if position > farthest {
            (farthest, attempt) = (position, 1);
        }
        if let TransportError::OtherContent { .. } = failure {
            break Err(other_bytes(label, &descriptor.digest).source(failure));
        }
        if !(failure.is_passing()
            && store
                .registry()
                .options()
                .patience
                .pause(attempt, None)
                .await)
        {
            break Err(Error::from(failure));
        }
        tracing::debug!(position, label, error = %failure, "going on after a cut");
        attempt += 1;
    };
    // Also after a failure: what has arrived is to be on disk, and nobody may be writing, when the next one looks.
    let written = sink.finish().await?;
    let is_open = streamed?;
    let actual = written.map_err(|error| writing(path, error))?;
    if !is_open {
        return Err(Error::other(format!(
            "writing \"{}\" ended early",
            path.display()
        )));
    }
    if actual != descriptor.digest {
        return Err(mismatch(label, &descriptor.digest, &actual.to_string()));
    }
    Ok(())
}

enum Poured {
    Closed,
    Transport(TransportError),
}

async fn pour(
    download: &mut Download,
    sink: &mut Sink,
    position: &mut u64,
    track: &Arc<dyn Track>,
) -> Result<(), Poured> {
    loop {
        let chunk: Bytes = match download.chunk().await.map_err(Poured::Transport)? {
            Some(chunk) => chunk,
            None => return Ok(()),
        };
        let length = chunk.len() as u64;
        sink.write(chunk).await.map_err(|Closed| Poured::Closed)?;
        *position += length;
        track.advance(length);
    }
}
