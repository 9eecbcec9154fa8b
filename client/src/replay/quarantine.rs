//! What a halted replay had brought here, put where nobody runs it by mistake.
//!
//! Invariants: nothing in quarantine can be executed or read by another user, also while it is put there; what lies there
//! is whole, and keeps its place no longer. One file that cannot be put there keeps no other from it.

use crate::layout::hash_file;
use sealstone_spec::digest::{Algorithm, Digest};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, DirEntry, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What became of the files.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// What lies in quarantine, by path.
    pub(super) files: BTreeMap<String, Digest>,
    /// What does not, or could not be read there, and why.
    problems: Vec<String>,
}

impl Held {
    /// Why not everything lies there, in words.
    pub(super) fn problem(&self) -> Option<String> {
        let first = self.problems.first()?;
        Some(match self.problems.len() - 1 {
            0 => first.clone(),
            more => format!("{first}; and {more} more"),
        })
    }

    fn tell(&mut self, path: &str, done: io::Result<()>) {
        if let Err(error) = done {
            self.problems.push(format!("\"{path}\": {error}"));
        }
    }
}

/// Moves `parts`, as far as they are there, into the new directory `to`, which is not made if there is nothing. What
/// cannot be moved stays where it was.
pub(super) fn quarantine(parts: &[PathBuf], to: &Path) -> Held {
    let mut held = Held::default();
    for part in parts.iter().filter(|part| part.is_dir()) {
        let name = part.file_name().unwrap_or_default();
        let path = name.to_string_lossy();
        let before = held.problems.len();
        take_all(part, &to.join(name), &path, &mut held);
        // Links, devices and empty files are no evidence.
        if held.problems.len() == before {
            held.tell(&path, fs::remove_dir_all(part));
        }
    }
    held
}

fn take_all(from: &Path, to: &Path, path: &str, held: &mut Held) {
    // All of them before one is moved: what a directory that changes shows is left to file systems.
    let entries: Vec<io::Result<DirEntry>> = match fs::read_dir(from) {
        Ok(entries) => entries.collect(),
        Err(error) => return held.tell(path, Err(error)),
    };
    for entry in entries {
        match entry {
            Ok(entry) => {
                let below = format!("{path}/{}", entry.file_name().to_string_lossy());
                let taken = take(&entry, to, &below, held);
                held.tell(&below, taken);
            }
            Err(error) => held.tell(path, Err(error)),
        }
    }
}

/// Takes plain files and nothing else: a link or a device in such a place is not followed.
fn take(entry: &DirEntry, to: &Path, path: &str, held: &mut Held) -> io::Result<()> {
    let (from, target) = (entry.path(), to.join(entry.file_name()));
    let kind = entry.file_type()?;
    if kind.is_dir() {
        take_all(&from, &target, path, held);
    } else if kind.is_file() && entry.metadata()?.len() > 0 {
        DirBuilder::new().recursive(true).mode(0o700).create(to)?;
        hand_over(&from, &target)?;
        let (digest, _) = hash_file(&File::open(&target)?, Algorithm::Sha256)?;
        held.files.insert(path.to_owned(), digest);
        // Where it was copied it has two places still.
        if from.symlink_metadata().is_ok() {
            fs::remove_file(&from)?;
        }
    }
    Ok(())
}

/// Gives a file another place, where that can be without a copy: there need be no room for one, and no other bytes come
/// to lie there than were found. A file that has another name as well is somebody else's too, and copied.
fn hand_over(from: &Path, to: &Path) -> io::Result<()> {
    let is_alone = fs::symlink_metadata(from)?.nlink() == 1;
    let is_moved = is_alone
        && fs::set_permissions(from, Permissions::from_mode(0o400)).is_ok()
        && fs::rename(from, to).is_ok();
    if is_moved {
        return Ok(());
    }
    let mut target = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o400))
        .tempfile_in(to.parent().unwrap_or(Path::new(".")))?;
    io::copy(&mut File::open(from)?, target.as_file_mut())?;
    target.as_file().sync_all()?;
    target.persist(to).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_are_moved_and_cannot_be_run() {
        let root = tempfile::tempdir().unwrap();
        let part = root.path().join("baseline");
        fs::create_dir_all(part.join("src")).unwrap();
        fs::write(part.join("src/run.sh"), "x").unwrap();
        fs::set_permissions(part.join("src/run.sh"), Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", part.join("link")).unwrap();
        let is = fs::metadata(part.join("src/run.sh")).unwrap().ino();
        let to = root.path().join("held");
        let parts = [part.clone(), root.path().join("absent")];
        let held = quarantine(&parts, &to);
        assert_eq!(held.problem(), None);
        assert_eq!(
            held.files.keys().collect::<Vec<_>>(),
            ["baseline/src/run.sh"]
        );
        let found = fs::metadata(to.join("baseline/src/run.sh")).unwrap();
        assert_eq!(found.mode() & 0o7777, 0o400);
        assert_eq!(found.ino(), is, "moved, and not copied");
        for directory in ["", "baseline", "baseline/src"] {
            let mode = fs::metadata(to.join(directory)).unwrap().mode();
            assert_eq!(mode & 0o077, 0, "{directory}");
        }
        assert!(!part.exists() && !to.join("baseline/link").exists());
        assert!(
            quarantine(&[part], &root.path().join("none"))
                .files
                .is_empty()
        );
        assert!(!root.path().join("none").exists());
    }

    #[test]
    fn a_file_with_another_name_keeps_it_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let (part, own) = (root.path().join("baseline"), root.path().join("own"));
        fs::create_dir(&part).unwrap();
        fs::write(&own, "x").unwrap();
        fs::set_permissions(&own, Permissions::from_mode(0o644)).unwrap();
        fs::hard_link(&own, part.join("x")).unwrap();
        let to = root.path().join("held");
        let held = quarantine(&[part], &to);
        assert_eq!(held.files["baseline/x"], Digest::sha256(b"x"));
        let (own, held) = (fs::metadata(own), fs::metadata(to.join("baseline/x")));
        let (own, held) = (own.unwrap(), held.unwrap());
        assert_eq!((own.mode() & 0o777, held.mode() & 0o777), (0o644, 0o400));
        assert_ne!(own.ino(), held.ino());
    }

    #[test]
    fn one_file_that_cannot_be_moved_keeps_no_other_from_it() {
        let root = tempfile::tempdir().unwrap();
        let part = root.path().join("baseline");
        // Its path is as long as the system lets a path be, and would be longer in quarantine.
        let mut deep = part.clone();
        while deep.as_os_str().len() < 3800 {
            deep.push("x".repeat(200));
        }
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("deep"), "x").unwrap();
        fs::write(part.join("near"), "y").unwrap();
        let to = root
            .path()
            .join("held")
            .join("y".repeat(250))
            .join("z".repeat(250));
        let held = quarantine(std::slice::from_ref(&part), &to);
        assert_eq!(held.files.keys().collect::<Vec<_>>(), ["baseline/near"]);
        assert!(held.problem().unwrap().contains("/deep\": "), "{held:?}");
        assert!(deep.join("deep").exists() && !part.join("near").exists());
        let left = fs::read_dir(to.join("baseline")).unwrap();
        assert_eq!(left.count(), 1, "nothing half copied");
    }
}
