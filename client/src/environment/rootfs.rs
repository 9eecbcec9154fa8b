//! A root file system unpacked from the archive that the recipe pins.
//!
//! Invariant: the archive is compared with its digest before a byte of it is unpacked, and no entry is
//! written outside of the directory, through a link or otherwise. What is used again holds what was unpacked, file by
//! file: anything else is unpacked anew.

use super::unpack::{Marks, make_way, unpack};
use crate::error::{Error, Result};
use crate::recipe::hash_path;
use crate::runner::Rootfs;
use sealstone_spec::digest::{Algorithm, Digest, Hasher};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The root file system of `archive` in `place`, unpacked if it is not there.
///
/// # Errors
/// [`Outcome::Halted`](crate::Outcome::Halted) if the archive is not what its digest says; anything else if
/// it cannot be unpacked.
pub(super) fn kept_or_unpacked(archive: &Path, due: Digest, place: &Path) -> Result<Rootfs> {
    let (actual, _) = hash_path(archive)?;
    if actual != due {
        return Err(Error::halted(format!(
            "the root file system \"{}\" is {actual}, the recipe says {due}",
            archive.display()
        )));
    }
    let fill = |into: &Path| unpack(archive, into, Marks::Files);
    kept_or_made(due, place, fill)
        .map_err(|source| Error::io(format!("unpacking \"{}\"", archive.display()), source))
}

/// The root file system of this digest in `place`, filled if it is not there as it was filled before.
pub(super) fn kept_or_made(
    digest: Digest,
    place: &Path,
    fill: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<Rootfs> {
    let name = format!("rootfs-{}", &digest.hex()[..16]);
    let directory = place.join(&name);
    let record = place.join(format!("{name}.digest"));
    let rootfs = Rootfs {
        directory: directory.clone(),
        digest,
    };
    fs::create_dir_all(place)?;
    // Two runs of one project fill one directory after the other, and the second finds it filled.
    let lock = File::create(place.join("rootfs.lock"))?;
    lock.lock()?;
    if is_as_made(&directory, &record) {
        return Ok(rootfs);
    }
    make_way(&record)?;
    let part = tempfile::Builder::new()
        .prefix("rootfs-part-")
        .tempdir_in(place)?;
    fill(part.path())?;
    let made = tree_digest(part.path())?;
    make_way(&directory)?;
    fs::rename(part.path(), &directory)?;
    drop(part.keep());
    // Written last, and whole: without it, what lies there was cut short.
    let mut file = tempfile::NamedTempFile::new_in(place)?;
    writeln!(file, "{made}")?;
    file.persist(&record).map_err(|error| error.error)?;
    Ok(rootfs)
}

/// Whether the files that lie there are those that were recorded; what cannot be read is not.
fn is_as_made(directory: &Path, record: &Path) -> bool {
    let recorded = fs::read_to_string(record)
        .ok()
        .and_then(|text| Digest::parse(text.trim()).ok());
    let is_directory = fs::symlink_metadata(directory).is_ok_and(|found| found.is_dir());
    recorded.is_some_and(|recorded| {
        is_directory && tree_digest(directory).is_ok_and(|found| found == recorded)
    })
}

/// Digest of a tree: of the kind, mode, path and content of everything that lies in it. Lengths stand before what has
/// any, so that no two trees are one text.
fn tree_digest(root: &Path) -> io::Result<Digest> {
    let mut whole = Hasher::new(Algorithm::Sha256);
    let mut waiting = vec![PathBuf::new()];
    while let Some(directory) = waiting.pop() {
        let entries = fs::read_dir(root.join(&directory))?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names: Vec<OsString> = names.collect::<io::Result<_>>()?;
        names.sort();
        for name in names {
            let path = directory.join(name);
            let place = root.join(&path);
            let found = fs::symlink_metadata(&place)?;
            let (kind, content) = if found.is_dir() {
                waiting.push(path.clone());
                ("directory", Vec::new())
            } else if found.is_symlink() {
                ("link", fs::read_link(&place)?.into_os_string().into_vec())
            } else if found.is_file() {
                let (digest, _) = hash_path(&place).map_err(io::Error::other)?;
                ("file", digest.bytes().to_vec())
            } else {
                ("other", Vec::new())
            };
            let path = path.as_os_str().as_bytes();
            let mode = found.permissions().mode() & 0o7777;
            let head = format!("{kind} {mode:o} {} {}\n", path.len(), content.len());
            for part in [head.as_bytes(), path, &content] {
                whole.update(part);
            }
        }
    }
    Ok(whole.finalize())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::unpack::tests::tar_of;
    use super::*;
    use crate::Outcome;
    use tar::EntryType;

    fn archive(at: &Path, entries: &[(&str, EntryType, &str)]) -> Digest {
        let bytes = tar_of(entries);
        fs::write(at, &bytes).unwrap();
        Digest::sha256(&bytes)
    }

    #[test]
    fn an_archive_is_unpacked_once_and_never_outside_of_its_place() {
        let root = tempfile::tempdir().unwrap();
        let tar = root.path().join("rootfs.tar");
        let digest = archive(
            &tar,
            &[
                ("usr/bin/", EntryType::Directory, ""),
                ("usr/bin/tool", EntryType::Regular, "x"),
                ("bin", EntryType::Symlink, "usr/bin"),
                ("dev/null", EntryType::Char, ""),
            ],
        );
        let place = root.path().join("place");
        let made = kept_or_unpacked(&tar, digest, &place).unwrap();
        assert_eq!(fs::read(made.directory.join("bin/tool")).unwrap(), b"x");
        assert!(!made.directory.join("dev/null").exists());
        let unpacked = |path: &Path| fs::metadata(path).unwrap().created().ok();
        let before = unpacked(&made.directory);
        let again = kept_or_unpacked(&tar, digest, &place).unwrap();
        assert_eq!(unpacked(&again.directory), before, "nothing has changed");

        let other = kept_or_unpacked(&tar, Digest::sha256(b"other"), &place).unwrap_err();
        assert_eq!(other.outcome(), Outcome::Halted);
        for escape in [
            &[("../out", EntryType::Regular, "x")][..],
            &[("usr/../../out", EntryType::Regular, "x")],
        ] {
            let digest = archive(&tar, escape);
            let place = root.path().join("other");
            assert!(kept_or_unpacked(&tar, digest, &place).is_err());
            assert!(!root.path().join("out").exists());
            assert!(!place.join("out").exists());
            let left = fs::read_dir(&place).unwrap();
            let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(left, ["rootfs.lock"]);
        }
    }

    /// A file more, another content, another link, another mode, a link instead of a file: none of them is used.
    #[test]
    fn what_was_changed_since_is_unpacked_anew() {
        let root = tempfile::tempdir().unwrap();
        let tar = root.path().join("rootfs.tar");
        let digest = archive(
            &tar,
            &[
                ("usr/bin/tool", EntryType::Regular, "x"),
                ("usr/bin/more", EntryType::Regular, "y"),
                ("bin", EntryType::Symlink, "usr/bin"),
            ],
        );
        let place = root.path().join("place");
        let made = kept_or_unpacked(&tar, digest, &place).unwrap().directory;
        let due = tree_digest(&made).unwrap();
        let at = |name: &str| made.join(name);
        let changes: [&dyn Fn(); 8] = [
            &|| fs::write(at("marker"), "").unwrap(),
            &|| fs::create_dir(at("usr/empty")).unwrap(),
            &|| fs::write(at("usr/bin/tool"), "z").unwrap(),
            &|| fs::remove_file(at("usr/bin/more")).unwrap(),
            &|| {
                fs::remove_file(at("bin")).unwrap();
                std::os::unix::fs::symlink("/usr/bin", at("bin")).unwrap();
            },
            &|| {
                let mode = fs::Permissions::from_mode(0o777);
                fs::set_permissions(at("usr/bin/tool"), mode).unwrap();
            },
            &|| {
                fs::remove_file(at("usr/bin/tool")).unwrap();
                std::os::unix::fs::symlink("more", at("usr/bin/tool")).unwrap();
            },
            &|| fs::remove_dir_all(&made).unwrap(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            change();
            assert_ne!(tree_digest(&made).ok(), Some(due), "change {number}");
            kept_or_unpacked(&tar, digest, &place).unwrap();
            assert_eq!(tree_digest(&made).unwrap(), due, "change {number}");
        }
        // Cut short before its record was written.
        fs::remove_file(at("bin")).unwrap();
        let record = format!("rootfs-{}.digest", &digest.hex()[..16]);
        fs::remove_file(place.join(record)).unwrap();
        kept_or_unpacked(&tar, digest, &place).unwrap();
        assert_eq!(tree_digest(&made).unwrap(), due);
    }

    #[test]
    fn a_file_that_nobody_may_read_can_be_looked_at_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("rootfs.tar");
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_path("etc/shadow").unwrap();
        header.set_mode(0);
        header.set_size(1);
        header.set_cksum();
        builder.append(&header, &b"x"[..]).unwrap();
        let bytes = builder.into_inner().unwrap();
        fs::write(&path, &bytes).unwrap();
        let place = root.path().join("place");
        let made = kept_or_unpacked(&path, Digest::sha256(&bytes), &place).unwrap();
        assert_eq!(fs::read(made.directory.join("etc/shadow")).unwrap(), b"x");
    }
}
