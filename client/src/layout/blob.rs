//! Blobs of a layout: written and hashed in one pass, read and checked in one pass.

use super::writer::{PREFIX, Writer};
use crate::error::{Error, Result};
use crate::stop::Stop;
use sealstone_spec::digest::{Algorithm, Digest, Hasher};
use sealstone_spec::manifest::Descriptor;
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Bytes read or written at once: larger brings no speed, smaller costs system calls.
const BUFFER_BYTES: usize = 1024 * 1024;

/// A nameless file in `directory`, with the mode that the umask gives; gone when dropped.
pub(crate) fn temporary_in(directory: &Path) -> io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt as _;
    tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(directory)
}

/// A blob that is being written. Dropped before it is sealed, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    file: NamedTempFile,
    directory: PathBuf,
    hasher: Hasher,
    size: u64,
    _writer: Writer,
}

impl BlobWriter {
    pub(super) fn begin(root: &Path, algorithm: Algorithm) -> Result<BlobWriter> {
        let directory = root.join("blobs").join(algorithm.as_str());
        let begin = || -> io::Result<(NamedTempFile, Writer)> {
            fs::create_dir_all(&directory)?;
            // First: without it, whoever begins to write now would take the file for one that was left.
            let writer = Writer::join(root);
            Ok((temporary_in(&directory)?, writer))
        };
        let (file, writer) = begin().map_err(|source| {
            Error::io(format!("writing into \"{}\"", directory.display()), source)
        })?;
        Ok(BlobWriter {
            file,
            directory,
            hasher: Hasher::new(algorithm),
            size: 0,
            _writer: writer,
        })
    }

    /// Puts the blob on disk under the digest of what was written; returns digest and size.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn seal(self) -> Result<(Digest, u64)> {
        let digest = self.hasher.finalize();
        let publish = || -> io::Result<()> {
            self.file.as_file().sync_data()?;
            // Over one that is there already: that one may be damaged, this one is not.
            let name = self.directory.join(digest.hex());
            self.file.persist(name).map_err(|error| error.error)?;
            File::open(&self.directory)?.sync_all()
        };
        publish().map_err(|source| Error::io(format!("storing blob {digest}"), source))?;
        Ok((digest, self.size))
    }

    /// As [`BlobWriter::seal`], when the digest is known beforehand.
    ///
    /// # Errors
    /// If something else was written; nothing is stored then.
    pub fn seal_as(self, expected: &Digest) -> Result<()> {
        let actual = self.hasher.clone().finalize();
        if actual != *expected {
            return Err(other_content(expected, &actual));
        }
        self.seal().map(|_| ())
    }

    /// Writes all of `source`; returns the number of bytes.
    ///
    /// # Errors
    /// If reading or writing fails.
    pub fn copy_from(&mut self, mut source: impl Read) -> io::Result<u64> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut total = 0;
        loop {
            let count = match source.read(&mut buffer) {
                Ok(0) => return Ok(total),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.write_all(&buffer[..count])?;
            total += count as u64;
        }
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// See [`super::LayoutStore::link_blob`].
pub(super) fn link(
    root: &Path,
    source: &Path,
    opened: &File,
    mut content: &mut dyn Read,
    algorithm: Algorithm,
) -> Result<Option<(Digest, u64)>> {
    let directory = root.join("blobs").join(algorithm.as_str());
    let what = || {
        format!(
            "linking \"{}\" into \"{}\"",
            source.display(),
            directory.display()
        )
    };
    let failed = |source: io::Error| Error::io(what(), source);
    fs::create_dir_all(&directory).map_err(failed)?;
    let _writer = Writer::join(root);
    // A link to the link's target: hard links to symbolic links stay symbolic.
    let real = fs::canonicalize(source).map_err(failed)?;
    let linked = tempfile::Builder::new()
        .prefix(PREFIX)
        .make_in(&directory, |path| fs::hard_link(&real, path));
    let Ok(linked) = linked else {
        return Ok(None);
    };
    // By now the name may lead to another file than the one that was opened, anywhere on this machine.
    let there = fs::symlink_metadata(linked.path()).map_err(failed)?;
    let here = opened.metadata().map_err(failed)?;
    if (there.dev(), there.ino()) != (here.dev(), here.ino()) {
        return Ok(None);
    }
    let (digest, size) = hash(&mut content, algorithm).map_err(failed)?;
    opened.sync_data().map_err(failed)?;
    let (name, temporary) = (directory.join(digest.hex()), linked.path().to_owned());
    linked.persist(name).map_err(|error| failed(error.error))?;
    // Where the blob is a link to this very file already, renaming has done nothing, and said that it did.
    let _ = fs::remove_file(temporary);
    File::open(&directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed)?;
    Ok(Some((digest, size)))
}

/// Reads a file of at most `limit` bytes.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let what = || format!("reading \"{}\"", path.display());
    let file = File::open(path).map_err(|source| Error::io(what(), source))?;
    let mut content = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(|source| Error::io(what(), source))?;
    if content.len() as u64 > limit {
        return Err(Error::halted(format!(
            "\"{}\" is larger than the {limit} bytes that are read",
            path.display()
        )));
    }
    Ok(content)
}

/// Reads a blob whole and checks size and digest.
pub(super) fn read_checked(path: &Path, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
    if descriptor.size > limit {
        return Err(Error::halted(format!(
            "blob {} has {} bytes where at most {limit} are read",
            descriptor.digest, descriptor.size
        )));
    }
    let content = read_bounded(path, descriptor.size)?;
    let actual = Digest::of(descriptor.digest.algorithm(), &content);
    judge(descriptor, &actual, content.len() as u64)?;
    Ok(content)
}

/// Reads a blob of any size and checks size and digest, as long as somebody waits for it.
pub(super) fn check(path: &Path, descriptor: &Descriptor, stop: &Stop) -> Result<()> {
    let what = || format!("reading \"{}\"", path.display());
    let file = File::open(path).map_err(|source| Error::io(what(), source))?;
    let mut file = stop.reading(file);
    let (actual, size) = hash(&mut file, descriptor.digest.algorithm())
        .map_err(|source| Error::io(what(), source))?;
    judge(descriptor, &actual, size)
}

/// Digest and size of everything that `source` holds.
pub(crate) fn hash(source: &mut impl Read, algorithm: Algorithm) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut size = 0;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finalize(), size)),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Digest and size of a file, from where it stands to its end.
pub(crate) fn hash_file(mut file: &File, algorithm: Algorithm) -> io::Result<(Digest, u64)> {
    hash(&mut file, algorithm)
}

fn judge(descriptor: &Descriptor, actual: &Digest, size: u64) -> Result<()> {
    let expected = &descriptor.digest;
    if size != descriptor.size {
        return Err(Error::halted(format!(
            "blob {expected} has {size} bytes where {} are due",
            descriptor.size
        )));
    }
    if actual != expected {
        return Err(other_content(expected, actual));
    }
    Ok(())
}

fn other_content(expected: &Digest, actual: &Digest) -> Error {
    Error::halted(format!(
        "blob {expected} has other content: its digest is {actual}"
    ))
    .detail(json!({"expected": expected, "actual": actual}))
}
