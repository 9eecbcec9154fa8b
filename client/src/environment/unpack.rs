//! Archives of file systems, unpacked as if the directory were the root.
//!
//! Invariant: nothing is made, read or removed outside of the directory, whatever names and links say: every link
//! on the way is followed inside of it, as a system that has it for its root would.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufReader, Read, Seek as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};

use super::inside;
use crate::transfer::headers::{bounded, is_sparse};

/// Most entries of one archive.
const MAX_ENTRIES: usize = 2_000_000;

/// Bytes that any archive may unpack to.
const MIN_BYTES: u64 = 1 << 30;

/// Times its own size that a large archive may unpack to.
const MAX_RATIO: u64 = 200;

/// Marks what a layer removes from those below it; the second one, everything that they have in a directory.
/// Source: OCI image specification, layer.md, "Whiteouts".
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Whether names that begin with `.wh.` are marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marks {
    /// They are files like others: the archive is no layer.
    Files,
    /// They remove.
    Whiteouts,
}

/// Unpacks a tar, or tar.gz, into the directory `root`. Devices, owners and set-id bits are left out; sparse files
/// are refused.
pub(super) fn unpack(archive: &Path, root: &Path, marks: Marks) -> io::Result<()> {
    let mut file = File::open(archive)?;
    let limit = file
        .metadata()?
        .len()
        .saturating_mul(MAX_RATIO)
        .max(MIN_BYTES);
    let mut magic = [0; 4];
    let read = file.read(&mut magic)?;
    file.rewind()?;
    let reader: Box<dyn Read> = match &magic[..read] {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(BufReader::new(file))),
        [0x28, 0xb5, 0x2f, 0xfd] => {
            return Err(io::Error::other(
                "it is compressed with zstd, which is not read here: use tar or tar.gz",
            ));
        }
        _ => Box::new(BufReader::new(file)),
    };
    let mut layer = Layer {
        root,
        marks,
        written: BTreeSet::new(),
    };
    // The limit also bounds padding and what is skipped: everything that comes out of the archive.
    let mut reader = reader.take(limit);
    let (source, allowance) = bounded(&mut reader);
    for (number, entry) in Archive::new(source).entries()?.enumerate() {
        if number >= MAX_ENTRIES {
            let text = format!("it holds more than {MAX_ENTRIES} entries");
            return Err(io::Error::other(text));
        }
        let mut entry = entry?;
        // Left out, a file of the system would be missing; read as it stands, it would be another.
        if is_sparse(&mut entry)? {
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let name: String = name.chars().take(200).collect();
            return Err(io::Error::other(format!(
                "{name:?} is a sparse file: make the archive without --sparse"
            )));
        }
        allowance.pass(&entry);
        layer.apply(&mut entry)?;
    }
    match reader.limit() {
        0 => Err(io::Error::other(format!(
            "it unpacks to more than {limit} bytes"
        ))),
        _ => Ok(()),
    }
}

struct Layer<'a> {
    root: &'a Path,
    marks: Marks,
    /// What this archive has made: marks speak of what was there before it.
    written: BTreeSet<PathBuf>,
}

impl Layer<'_> {
    fn apply<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> io::Result<()> {
        let kind = entry.header().entry_type();
        let path = entry.path()?.into_owned();
        let Some((parent, name)) = self.split(&path)? else {
            return Ok(());
        };
        if self.marks == Marks::Whiteouts {
            let bytes = name.as_encoded_bytes();
            if bytes == OPAQUE {
                for below in fs::read_dir(&parent)? {
                    self.remove_older(&below?.path())?;
                }
                return Ok(());
            }
            if let Some(gone) = bytes.strip_prefix(WHITEOUT) {
                let gone = std::os::unix::ffi::OsStrExt::from_bytes(gone);
                return match Path::new::<OsStr>(gone).components().next() {
                    Some(Component::Normal(_)) => self.remove_older(&parent.join(gone)),
                    _ => Err(outside(&path)),
                };
            }
        }
        let target = parent.join(&name);
        let mode = entry.header().mode().unwrap_or(0o644) & 0o777;
        match kind {
            EntryType::Directory => {
                if !is_directory(&target) {
                    make_way(&target)?;
                    fs::create_dir(&target)?;
                }
                // Whoever unpacks has to write into it, and to remove it.
                fs::set_permissions(&target, Permissions::from_mode(mode | 0o700))?;
            }
            EntryType::Regular | EntryType::Continuous => {
                make_way(&target)?;
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&target)?;
                let size = entry.size();
                if io::copy(entry, &mut file)? != size {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        format!("it ends within \"{}\"", path.display()),
                    ));
                }
                // Compiled files of Python hold the time of their source.
                let time = Duration::from_secs(entry.header().mtime().unwrap_or(0));
                let time = SystemTime::UNIX_EPOCH.checked_add(time).ok_or_else(|| {
                    io::Error::other(format!("\"{}\" has a time that is none", path.display()))
                })?;
                file.set_modified(time)?;
                // Whoever unpacks has to read it again, to see that it is what was unpacked.
                file.set_permissions(Permissions::from_mode(mode | 0o400))?;
            }
            EntryType::Symlink => {
                let to = entry
                    .link_name()?
                    .ok_or_else(|| io::Error::other("a link leads nowhere"))?;
                make_way(&target)?;
                symlink(&to, &target)?;
            }
            EntryType::Link => {
                let to = entry
                    .link_name()?
                    .ok_or_else(|| io::Error::other("a link leads nowhere"))?;
                let (directory, name) = self.split(&to)?.ok_or_else(|| outside(&to))?;
                let source = directory.join(name);
                if source != target {
                    make_way(&target)?;
                    fs::hard_link(source, &target)?;
                }
            }
            // Devices are made anew for each run, and nothing else is a part of a file system.
            _ => return Ok(()),
        }
        self.written.insert(target);
        Ok(())
    }

    /// Removes what an older layer has put there; what is not there is gone already.
    fn remove_older(&self, path: &Path) -> io::Result<()> {
        let is_own = self.written.contains(path);
        let holds_own = self.written.range(path.to_owned()..).next();
        let holds_own = holds_own.is_some_and(|first| first.starts_with(path));
        match (is_own || holds_own, is_directory(path)) {
            (false, _) => make_way(path),
            (true, false) => Ok(()),
            (true, true) => {
                for below in fs::read_dir(path)? {
                    self.remove_older(&below?.path())?;
                }
                Ok(())
            }
        }
    }

    /// The directory that a name lies in, made if it is not there, and its last part; `None` for the root itself.
    fn split(&self, path: &Path) -> io::Result<Option<(PathBuf, OsString)>> {
        let mut parts: Vec<OsString> = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(part) => parts.push(part.to_owned()),
                Component::CurDir | Component::RootDir => {}
                Component::ParentDir | Component::Prefix(_) => return Err(outside(path)),
            }
        }
        match parts.pop() {
            None => Ok(None),
            Some(name) => Ok(Some((self.directory(parts)?, name))),
        }
    }

    fn directory(&self, parts: Vec<OsString>) -> io::Result<PathBuf> {
        inside::follow(self.root, parts, |here, found| match found {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(io::Error::other(format!(
                "\"{}\" is no directory, and something lies in it",
                here.display()
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir(here),
            Err(error) => Err(error),
        })
    }
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// Removes whatever lies there.
pub(super) fn make_way(path: &Path) -> io::Result<()> {
    let removed = match is_directory(path) {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn outside(path: &Path) -> io::Error {
    io::Error::other(format!(
        "its entry \"{}\" lies outside of it",
        path.display()
    ))
}

#[cfg(test)]
pub(super) mod tests;
