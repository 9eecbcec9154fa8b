//! A root file system unpacked from the archive that the recipe pins.
//!
//! Invariant: the archive is compared with its digest before a byte of it is unpacked, and no entry is
//! written outside of the directory, through a link or otherwise. What is used again holds what was unpacked, file by
//! file: anything else is unpacked anew.

use super::kept::{Found, find};
use super::unpack::{Marks, unpack};
use crate::error::{Error, Result};
use crate::recipe::hash_path;
use crate::runner::Rootfs;
use sealstone_spec::digest::Digest;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Where a root file system is to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted<'a> {
    /// Among those that are kept in this directory, where it may be already.
    Kept(&'a Path),
    /// In a directory that is not there yet.
    Anew(&'a Path),
}

/// A root file system; where it is kept, with what holds it.
pub(super) type Held = (Rootfs, Option<Arc<File>>);

/// The root file system of `archive`, unpacked if it is not there.
///
/// # Errors
/// [`Outcome::Halted`](crate::Outcome::Halted) if the archive is not what its digest says; anything else if
/// it cannot be unpacked.
pub(super) fn unpacked(archive: &Path, due: Digest, wanted: Wanted<'_>) -> Result<Held> {
    let (actual, _) = hash_path(archive)?;
    if actual != due {
        return Err(Error::halted(format!(
            "the root file system \"{}\" is {actual}, the recipe says {due}",
            archive.display()
        )));
    }
    let fill = |into: &Path| unpack(archive, into, Marks::Files);
    filled(due, wanted, fill)
        .map_err(|source| Error::io(format!("unpacking \"{}\"", archive.display()), source))
}

/// The root file system of this digest, filled if it is not there as it was filled before.
pub(super) fn filled(
    digest: Digest,
    wanted: Wanted<'_>,
    fill: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<Held> {
    let rootfs = |directory: &Path| Rootfs {
        directory: directory.to_owned(),
        digest,
    };
    let place = match wanted {
        Wanted::Kept(place) => place,
        Wanted::Anew(directory) => {
            fs::create_dir_all(directory)?;
            fill(directory)?;
            return Ok((rootfs(directory), None));
        }
    };
    let name = format!("rootfs-{}", &digest.hex()[..16]);
    // A part of the digest is the name, and another project may have chosen its image for that.
    let due = digest.to_string();
    let read = |_: &Path, told: &str| (told == due).then_some(());
    let slot = match find(place, &name, read)? {
        Found::Free(slot) => slot,
        Found::Kept {
            directory, in_use, ..
        } => return Ok((rootfs(&directory), Some(in_use))),
    };
    slot.clear()?;
    let part = tempfile::Builder::new()
        .prefix("rootfs-part-")
        .tempdir_in(place)?;
    fill(part.path())?;
    fs::rename(part.path(), slot.directory())?;
    drop(part.keep());
    let rootfs = rootfs(slot.directory());
    Ok((rootfs, Some(slot.seal(&due)?)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tree::whole_digest;
    use super::super::unpack::tests::tar_of;
    use super::*;
    use crate::Outcome;
    use std::os::unix::fs::PermissionsExt as _;
    use tar::EntryType;

    /// One that is kept in `place`.
    fn kept_or_unpacked(archive: &Path, due: Digest, place: &Path) -> Result<Rootfs> {
        unpacked(archive, due, Wanted::Kept(place)).map(|(rootfs, _)| rootfs)
    }

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
            let lock = format!("rootfs-{}.lock", &digest.hex()[..16]);
            assert_eq!(left, [lock.as_str()]);
            fs::remove_dir_all(&place).unwrap();
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
        let due = whole_digest(&made).unwrap();
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
            assert_ne!(whole_digest(&made).ok(), Some(due), "change {number}");
            kept_or_unpacked(&tar, digest, &place).unwrap();
            assert_eq!(whole_digest(&made).unwrap(), due, "change {number}");
        }
        // Cut short before its record was written.
        fs::remove_file(at("bin")).unwrap();
        let record = format!("rootfs-{}.digest", &digest.hex()[..16]);
        fs::remove_file(place.join(record)).unwrap();
        kept_or_unpacked(&tar, digest, &place).unwrap();
        assert_eq!(whole_digest(&made).unwrap(), due);
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
