//! What an earlier pull left of a file, and which of it is what the registry's tree says.
//!
//! Nothing here makes bytes trusted: the named digest is compared over all of them in the end, kept or
//! fetched. Invariant: only a plain file with one name that this directory's owner made is gone on with,
//! and a link is never followed.

use crate::stop::Stop;
use sealstone_spec::tree::{ChainingValue, GROUP_BYTES, group_value};
use std::any::Any;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

/// Keeps the directory of a file for this process as long as it is held.
pub(super) type Hold = Arc<dyn Any + Send + Sync>;

/// A file to go on with, and how many bytes of it there are.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) file: File,
    pub(super) bytes: u64,
    /// The directory that it is written in, if a later pull may take that over: not before nobody writes there any more,
    /// also where a pull was dropped and left a thread that hashes or writes.
    pub(super) hold: Option<Hold>,
}

/// Opens what is at `path`, if it can be the beginning of a blob of `size` bytes. Anything else that is
/// there is removed; what cannot be removed is an error.
pub(super) fn look(path: &Path, size: u64) -> io::Result<Option<Kept>> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_sound = found.is_file() && found.nlink() == 1 && (1..=size).contains(&found.len());
    if !is_sound {
        fs::remove_file(path)?;
        return Ok(None);
    }
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    let bytes = file.metadata()?.len();
    Ok(Some(Kept {
        file,
        bytes,
        hold: None,
    }))
}

/// The starts of those ranges of `range_bytes` (a multiple of the group) whose groups in the file all
/// have the values that the tree says. Holes of a file that was written in ranges do not.
pub(super) fn sound_ranges(
    kept: &Kept,
    size: u64,
    range_bytes: u64,
    values: &[ChainingValue],
    stop: &Stop,
) -> io::Result<BTreeSet<u64>> {
    let mut sound = BTreeSet::new();
    let mut group = vec![0; if kept.bytes == 0 { 0 } else { GROUP_BYTES }];
    let is_only = size <= GROUP_BYTES as u64;
    for start in (0..kept.bytes).step_by(range_bytes.max(1) as usize) {
        let end = (start + range_bytes).min(size);
        if end > kept.bytes {
            break;
        }
        stop.check()?;
        let mut is_sound = true;
        for at in (start..end).step_by(GROUP_BYTES) {
            let length = (end - at).min(GROUP_BYTES as u64) as usize;
            let index = at / GROUP_BYTES as u64;
            kept.file.read_exact_at(&mut group[..length], at)?;
            let expected = values.get(index as usize);
            if Some(&group_value(index, &group[..length], is_only)) != expected {
                is_sound = false;
                break;
            }
        }
        if is_sound {
            sound.insert(start);
        }
    }
    Ok(sound)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_a_plain_file_of_one_name_that_is_not_too_long_is_gone_on_with() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("0");
        assert!(look(&path, 5).unwrap().is_none());
        fs::write(&path, "abc").unwrap();
        assert_eq!(look(&path, 5).unwrap().unwrap().bytes, 3);
        assert!(look(&path, 2).unwrap().is_none(), "longer than the blob");
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        assert!(look(&path, 5).unwrap().is_none());
        let elsewhere = root.path().join("elsewhere");
        fs::write(&elsewhere, "mine").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(look(&path, 5).unwrap().is_none());
        fs::hard_link(&elsewhere, &path).unwrap();
        assert!(look(&path, 5).unwrap().is_none());
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "mine");
    }

    #[test]
    fn holes_and_damage_are_not_sound() {
        let content: Vec<u8> = (0..5 * GROUP_BYTES + 77)
            .map(|i| (i % 251) as u8 + 1)
            .collect();
        let values: Vec<ChainingValue> = (0..)
            .zip(content.chunks(GROUP_BYTES))
            .map(|(index, group)| group_value(index, group, false))
            .collect();
        let file = tempfile::tempfile().unwrap();
        file.set_len(content.len() as u64).unwrap();
        let range = 2 * GROUP_BYTES as u64;
        let write =
            |from: usize, to: usize| file.write_all_at(&content[from..to], from as u64).unwrap();
        write(0, 2 * GROUP_BYTES);
        write(3 * GROUP_BYTES, content.len());
        let kept = |file: &File| Kept {
            file: file.try_clone().unwrap(),
            bytes: content.len() as u64,
            hold: None,
        };
        let stop = Stop::default();
        let size = content.len() as u64;
        let sound = sound_ranges(&kept(&file), size, range, &values, &stop).unwrap();
        assert_eq!(sound, BTreeSet::from([0, 2 * range]));
        file.write_all_at(&[0], 9).unwrap();
        let sound = sound_ranges(&kept(&file), size, range, &values, &stop).unwrap();
        assert_eq!(sound, BTreeSet::from([2 * range]));
    }
}
