//! A root file system unpacked from the archive that the recipe pins.
//!
//! Invariant: the archive is compared with its digest before a byte of it is unpacked, and no entry is
//! written outside of the directory, through a link or otherwise.

use super::unpack::{Marks, unpack};
use crate::error::{Error, Result};
use crate::recipe::hash_path;
use crate::runner::Rootfs;
use sealstone_spec::digest::Digest;
use std::fs;
use std::io;
use std::path::Path;

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

/// The root file system of this digest in `place`, filled if it is not there.
pub(super) fn kept_or_made(
    digest: Digest,
    place: &Path,
    fill: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<Rootfs> {
    let directory = place.join(format!("rootfs-{}", &digest.hex()[..16]));
    let rootfs = Rootfs {
        directory: directory.clone(),
        digest,
    };
    if directory.is_dir() {
        return Ok(rootfs);
    }
    fs::create_dir_all(place)?;
    let part = tempfile::Builder::new()
        .prefix("rootfs-part-")
        .tempdir_in(place)?;
    fill(part.path())?;
    // In one rename: a directory of this name is whole, also one that another run has put there meanwhile.
    match fs::rename(part.path(), &directory) {
        Ok(()) => drop(part.keep()),
        Err(_) if directory.is_dir() => {}
        Err(source) => return Err(source),
    }
    Ok(rootfs)
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
        fs::write(made.directory.join("marker"), "").unwrap();
        let again = kept_or_unpacked(&tar, digest, &place).unwrap();
        assert!(again.directory.join("marker").exists());

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
            assert!(fs::read_dir(&place).unwrap().next().is_none());
        }
    }
}
