//! A root file system unpacked from the archive that the recipe pins.
//!
//! Invariant: the archive is compared with its digest before a byte of it is unpacked, and no entry is
//! written outside of the directory, through a link or otherwise.

use crate::error::{Error, Result};
use crate::recipe::hash_path;
use crate::runner::Rootfs;
use flate2::read::MultiGzDecoder;
use sealstone_spec::digest::Digest;
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek as _};
use std::path::Path;
use tar::{Archive, EntryType};

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
    let directory = place.join(format!("rootfs-{}", &due.hex()[..16]));
    let rootfs = Rootfs {
        directory: directory.clone(),
        digest: due,
    };
    if directory.is_dir() {
        return Ok(rootfs);
    }
    let failed = |source| Error::io(format!("unpacking \"{}\"", archive.display()), source);
    fs::create_dir_all(place).map_err(failed)?;
    let part = tempfile::Builder::new()
        .prefix("rootfs-part-")
        .tempdir_in(place)
        .map_err(failed)?;
    unpack(archive, part.path()).map_err(failed)?;
    // In one rename: a directory of this name is whole, also one that another run has put there meanwhile.
    match fs::rename(part.path(), &directory) {
        Ok(()) => drop(part.keep()),
        Err(_) if directory.is_dir() => {}
        Err(source) => return Err(failed(source)),
    }
    Ok(rootfs)
}

fn unpack(archive: &Path, directory: &Path) -> std::io::Result<()> {
    let mut file = File::open(archive)?;
    let mut magic = [0; 4];
    let read = file.read(&mut magic)?;
    file.rewind()?;
    let reader: Box<dyn Read> = match &magic[..read] {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(BufReader::new(file))),
        [0x28, 0xb5, 0x2f, 0xfd] => {
            return Err(std::io::Error::other(
                "it is compressed with zstd, which is not read here: use tar or tar.gz",
            ));
        }
        _ => Box::new(BufReader::new(file)),
    };
    let mut archive = Archive::new(reader);
    archive.set_preserve_permissions(false);
    archive.set_preserve_mtime(true);
    archive.set_overwrite(false);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        // Devices are made anew for each run, and nothing else is a part of a file system.
        if !matches!(
            kind,
            EntryType::Regular
                | EntryType::Continuous
                | EntryType::Directory
                | EntryType::Symlink
                | EntryType::Link
        ) {
            continue;
        }
        let name = entry.path()?.display().to_string();
        if !entry.unpack_in(directory)? {
            return Err(std::io::Error::other(format!(
                "its entry \"{name}\" lies outside of it"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Outcome;

    fn archive(at: &Path, entries: &[(&str, EntryType, &str)]) -> Digest {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            // Names that the builder itself refuses.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            let body = match kind {
                EntryType::Symlink => {
                    header.set_link_name(content).unwrap();
                    ""
                }
                _ => content,
            };
            header.set_size(body.len() as u64);
            header.set_cksum();
            builder.append(&header, body.as_bytes()).unwrap();
        }
        let bytes = builder.into_inner().unwrap();
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
            &[
                ("up", EntryType::Symlink, "../.."),
                ("up/out", EntryType::Regular, "x"),
            ],
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
