//! The files of a layer that is a tar archive, as other ModelPack tools write them.
//!
//! The layer's digest was compared before a byte of it is read here; what it holds is still a
//! stranger's. Invariants: every file lands under a name that says nothing, below the staging
//! directory; only plain files with safe paths at or below the layer's own path are written; owners,
//! times and every bit of the mode but the owner's right to execute are ignored; what unpacks to more
//! than the limits is refused before the disk is full of it, and memory does not grow with it.

use super::headers::{bounded, is_sparse};
use crate::error::{Error, Result};
use crate::stop::Stop;
use flate2::read::MultiGzDecoder;
use sealstone_spec::bundle::{BundleFile, BundlePath, LayerForm, check_paths};
use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use tar::EntryType;

/// Most entries of one archive.
const MAX_ENTRIES: usize = 100_000;

/// Bytes that any archive may unpack to.
const MIN_BYTES: u64 = 64 * 1024 * 1024;

/// Times its own size that a large archive may unpack to.
const MAX_RATIO: u64 = 100;

/// Bytes copied at once.
const BUFFER: usize = 128 * 1024;

/// A file that came out of an archive, not yet at its path.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// Where it goes.
    pub(crate) path: BundlePath,
    /// Whether its owner may run it.
    pub(crate) executable: bool,
    /// Bytes.
    pub(crate) size: u64,
    /// Where it lies now.
    pub(crate) file: PathBuf,
}

/// Unpacks the verified layer `layer` of `file` into plain files in the new directory `into`.
/// Blocks, until it is told to stop; the files are on disk when it returns.
pub(crate) fn unpack(
    layer: &Path,
    file: &BundleFile,
    into: &Path,
    stop: &Stop,
) -> Result<Vec<Unpacked>> {
    let reading = |error| Error::io(format!("reading layer \"{}\"", file.path), error);
    std::fs::create_dir(into)
        .map_err(|error| Error::io(format!("making \"{}\"", into.display()), error))?;
    let source = stop.reading(File::open(layer).map_err(reading)?);
    let source = BufReader::with_capacity(BUFFER, source);
    let limit = file.size.saturating_mul(MAX_RATIO).max(MIN_BYTES);
    match file.form {
        LayerForm::Raw => Err(Error::other(format!("\"{}\" is no archive", file.path))),
        LayerForm::Tar => entries(source, file, limit, into),
        LayerForm::TarGzip => entries(MultiGzDecoder::new(source), file, limit, into),
    }
}

fn entries(
    source: impl Read,
    layer: &BundleFile,
    limit: u64,
    into: &Path,
) -> Result<Vec<Unpacked>> {
    let unsound = |error: io::Error| refused(layer, "is no sound tar archive").source(error);
    // The limit also bounds headers, long names and padding: everything that comes out of the layer.
    let (source, allowance) = bounded(source.take(limit.saturating_add(1)));
    let mut archive = tar::Archive::new(source);
    let mut unpacked: Vec<Unpacked> = Vec::new();
    let mut buffer = vec![0; BUFFER];
    let mut written = 0_u64;
    for (number, entry) in archive.entries().map_err(unsound)?.enumerate() {
        if number >= MAX_ENTRIES {
            return Err(refused(
                layer,
                &format!("holds more than {MAX_ENTRIES} entries"),
            ));
        }
        let mut entry = entry.map_err(unsound)?;
        allowance.pass(&entry);
        let sparse = is_sparse(&mut entry).map_err(unsound)?;
        let kind = entry.header().entry_type();
        let name = entry.path_bytes().into_owned();
        let path = path_of(&name, kind).map_err(|problem| refused(layer, &problem))?;
        match kind {
            EntryType::Directory => {
                // Directories come with their files; an empty one is nothing that a bundle holds.
                if let Some(path) = path {
                    check_below(layer, &path, true)?;
                }
                continue;
            }
            EntryType::XGlobalHeader => continue,
            EntryType::Regular | EntryType::Continuous if !sparse => {}
            other => {
                let what = if sparse {
                    "a sparse file"
                } else {
                    kind_name(other)
                };
                return Err(refused(
                    layer,
                    &format!("holds {}, which is {what}", shown(&name)),
                ));
            }
        }
        let path = path.ok_or_else(|| refused(layer, "holds a file without a name"))?;
        check_below(layer, &path, false)?;
        let executable = entry.header().mode().map_err(unsound)? & 0o100 != 0;
        let target = into.join(number.to_string());
        let writing = |error| Error::io(format!("writing \"{}\"", target.display()), error);
        let mut out = super::sink::create_new(&target).map_err(writing)?;
        let mut size = 0_u64;
        loop {
            let count = match entry.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unsound(error)),
            };
            size += count as u64;
            written += count as u64;
            if written > limit {
                return Err(refused(
                    layer,
                    &format!("unpacks to more than {limit} bytes"),
                ));
            }
            out.write_all(&buffer[..count]).map_err(writing)?;
        }
        if size != entry.size() {
            return Err(refused(
                layer,
                &format!(
                    "ends within {} or unpacks to more than {limit} bytes",
                    shown(&name)
                ),
            ));
        }
        out.sync_all().map_err(writing)?;
        unpacked.push(Unpacked {
            path,
            executable,
            size,
            file: target,
        });
    }
    check_paths(unpacked.iter().map(|file| &file.path))
        .map_err(|error| refused(layer, "holds paths that do not go together").source(error))?;
    Ok(unpacked)
}

/// An entry's path; `None` for the top itself.
fn path_of(name: &[u8], kind: EntryType) -> Result<Option<BundlePath>, String> {
    let text = std::str::from_utf8(name)
        .map_err(|_| format!("holds {}, whose name is not UTF-8", shown(name)))?;
    let mut text = text;
    while let Some(rest) = text.strip_prefix("./") {
        text = rest;
    }
    if kind == EntryType::Directory {
        text = text.strip_suffix('/').unwrap_or(text);
        if text.is_empty() || text == "." {
            return Ok(None);
        }
    }
    if kind == EntryType::XGlobalHeader {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|error| format!("holds {}: {error}", shown(name)))
}

/// Whether an entry lies where the manifest said that this layer's files lie. A directory may also be
/// one of those above.
fn check_below(layer: &BundleFile, path: &BundlePath, directory: bool) -> Result<()> {
    let (layer_path, path) = (layer.path.as_str(), path.as_str());
    let is_below = |above: &str, below: &str| {
        below
            .strip_prefix(above)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if is_below(layer_path, path) || (directory && is_below(path, layer_path)) {
        return Ok(());
    }
    Err(refused(
        layer,
        &format!("holds \"{path}\", which is not below the layer's path"),
    ))
}

fn shown(name: &[u8]) -> String {
    format!(
        "{:?}",
        String::from_utf8_lossy(name)
            .chars()
            .take(200)
            .collect::<String>()
    )
}

fn kind_name(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Link => "a hard link",
        EntryType::Symlink => "a symbolic link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a pipe",
        _ => "no plain file",
    }
}

fn refused(layer: &BundleFile, problem: &str) -> Error {
    Error::halted(format!("the archive of layer \"{}\" {problem}", layer.path))
        .hint("anything can be pulled into a layout as it is, without unpacking: --oci DIRECTORY")
}

#[cfg(test)]
mod tests;
