//! An archive in the making: entries in the order of their names, complete or not there at all.

use super::header::{self, BLOCK};
use crate::error::{Error, Result};
use crate::stop::Stop;
use sealstone_spec::digest::{Digest, Hasher};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use tempfile::NamedTempFile;

/// Bytes that are copied at once.
const BUFFER_BYTES: usize = 1024 * 1024;

/// What is written under one digest.
pub(crate) enum Source {
    /// Bytes at hand.
    Bytes(Vec<u8>),
    /// A stream of that many bytes, opened when its turn comes.
    Stream {
        /// How many bytes.
        size: u64,
        /// Opens it.
        open: Box<dyn FnOnce() -> Result<Box<dyn Read>> + Send>,
    },
}

/// Writes an archive with these files and blobs to `out`; returns its size. Every blob is hashed on its
/// way, and the file appears under its name only when all of it was right and somebody still waits for it.
pub(crate) fn write(
    out: &Path,
    overwrite: bool,
    files: &[(&str, Vec<u8>)],
    blobs: BTreeMap<Digest, Source>,
    stop: &Stop,
) -> Result<u64> {
    let writing = |error| Error::io(format!("writing \"{}\"", out.display()), error);
    let directory = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let file = crate::layout::temporary_in(directory).map_err(writing)?;
    let mut archive = Archive {
        file: BufWriter::with_capacity(BUFFER_BYTES, file),
        size: 0,
    };
    for (name, content) in files {
        archive.begin(name, content.len() as u64).map_err(writing)?;
        archive.put(content).map_err(writing)?;
        archive.fill().map_err(writing)?;
    }
    archive.begin("blobs/", 0).map_err(writing)?;
    let mut folder = None;
    // Digests are ordered by algorithm, then by value: the order of their names.
    for (digest, source) in blobs {
        if folder.replace(digest.algorithm()) != Some(digest.algorithm()) {
            let name = format!("blobs/{}/", digest.algorithm());
            archive.begin(&name, 0).map_err(writing)?;
        }
        let name = format!("blobs/{}/{}", digest.algorithm(), digest.hex());
        let (size, mut content): (u64, Box<dyn Read>) = match source {
            Source::Bytes(bytes) => (bytes.len() as u64, Box::new(io::Cursor::new(bytes))),
            Source::Stream { size, open } => (size, open()?),
        };
        archive.begin(&name, size).map_err(writing)?;
        archive.pour(&digest, size, &mut stop.reading(&mut content), out)?;
        archive.fill().map_err(writing)?;
    }
    archive.put(&[0; 2 * BLOCK]).map_err(writing)?;
    let size = archive.size;
    let file = archive
        .file
        .into_inner()
        .map_err(|error| writing(error.into_error()))?;
    publish(file, out, overwrite, stop)?;
    Ok(size)
}

struct Archive {
    file: BufWriter<NamedTempFile>,
    size: u64,
}

impl Archive {
    fn begin(&mut self, name: &str, size: u64) -> io::Result<()> {
        self.put(&header::write(name, size))
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.size += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    fn fill(&mut self) -> io::Result<()> {
        let missing = self.size.next_multiple_of(BLOCK as u64) - self.size;
        let zeros = [0; BLOCK];
        self.put(&zeros[..usize::try_from(missing).unwrap_or_default()])
    }

    /// Copies a blob and compares it with its digest.
    fn pour(
        &mut self,
        digest: &Digest,
        size: u64,
        content: &mut dyn Read,
        out: &Path,
    ) -> Result<()> {
        let mut hasher = Hasher::new(digest.algorithm());
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut left = size;
        loop {
            let count = match content.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io(format!("reading blob {digest}"), error)),
            };
            let Some(rest) = left.checked_sub(count as u64) else {
                return Err(Error::halted(format!(
                    "blob {digest} has more than {size} bytes"
                )));
            };
            if count == 0 {
                break;
            }
            left = rest;
            hasher.update(&buffer[..count]);
            self.put(&buffer[..count])
                .map_err(|error| Error::io(format!("writing \"{}\"", out.display()), error))?;
        }
        let actual = hasher.finalize();
        if left != 0 || actual != *digest {
            return Err(Error::halted(format!(
                "blob {digest} has other content: {} bytes of {size}, digest {actual}",
                size - left
            )));
        }
        Ok(())
    }
}

fn publish(file: NamedTempFile, out: &Path, overwrite: bool, stop: &Stop) -> Result<()> {
    let writing = |error| Error::io(format!("writing \"{}\"", out.display()), error);
    stop.check().map_err(writing)?;
    file.as_file().sync_all().map_err(writing)?;
    stop.check().map_err(writing)?;
    let placed = match overwrite {
        true => file.persist(out),
        false => file.persist_noclobber(out),
    };
    match placed {
        Ok(_) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(
                Error::conflict(format!("\"{}\" exists already", out.display()))
                    .hint("choose another name, or replace it: --overwrite"),
            );
        }
        Err(error) => return Err(writing(error.error)),
    }
    let directory = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))
        .and_then(|directory| directory.sync_all())
        .map_err(writing)
}
