//! Outputs put in place, whole or not at all.
//!
//! Invariant: at no time does half a file lie under an output's name; what was there before comes back if
//! something fails, and what the stage wrote is kept: it may have taken days.

use super::baseline::Run;
use super::replaced::{Records, keep, named, new_directory};
use crate::error::{Error, Result};
use crate::runner::Output;
use sealstone_spec::recipe::{Stage, is_left_behind, is_reserved};
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

impl Run<'_> {
    /// Moves what a stage wrote from `written` to the places of its outputs.
    pub(super) fn publish(
        &mut self,
        stage: &Stage,
        written: &Path,
        outputs: &[Output],
    ) -> Result<()> {
        let home = self.project.root().join(".sealstone");
        self.replace(stage, written, outputs, &home)
            .map_err(|error| match save(written, &home) {
                Ok(place) => error.hint(format!(
                    "what stage \"{}\" wrote lies in \"{}\"",
                    stage.name,
                    place.display()
                )),
                Err(_) => error,
            })
    }

    fn replace(
        &mut self,
        stage: &Stage,
        written: &Path,
        outputs: &[Output],
        home: &Path,
    ) -> Result<()> {
        let discarded = discard(written, outputs)?;
        if !discarded.is_empty() {
            self.events.warn(&format!(
                "stage \"{}\" wrote {}, which belongs to no output: it was thrown away",
                stage.name,
                named(&discarded)
            ));
        }
        let places = self.places(stage)?;
        let records = Records::of(&self.earlier, outputs);
        let kept = keep(&stage.writes, &places, &records, &home.join("replaced"))?;
        let pairs = stage.writes.iter().zip(places);
        let pairs: Vec<(PathBuf, PathBuf)> = pairs
            .map(|(output, place)| (written.join(output.as_str()), place))
            .collect();
        exchange_all(&pairs, &self.scratch)?;
        if let Some(kept) = kept {
            self.events.warn(&format!(
                "stage \"{}\" replaced {}, which no lock here records as an output; kept in \"{}\"",
                stage.name,
                named(&kept.paths),
                kept.directory.display()
            ));
        }
        Ok(())
    }
}

/// Keeps what could not be put in place; returns where.
fn save(written: &Path, home: &Path) -> Result<PathBuf> {
    let place = new_directory(&home.join("unplaced"))?;
    // Over the directory, which is empty: the scratch directory lies on the same file system.
    fs::rename(written, &place)
        .map_err(|source| Error::io(format!("keeping \"{}\"", written.display()), source))?;
    Ok(place)
}

/// Removes what lies in directories that a stage wrote under names that do not count; returns the paths.
///
/// No digest covers them, no later stage is given them, and with `.git` Git would be told to start programs.
fn discard(written: &Path, outputs: &[Output]) -> Result<Vec<String>> {
    let mut discarded = Vec::new();
    for output in outputs.iter().filter(|output| is_reserved(&output.path)) {
        if !is_left_behind(&output.path) {
            // It counts, so it cannot be left out.
            return Err(Error::other(format!(
                "\"{}\" cannot be put in place: tools keep things of their own under such a name",
                output.path
            )));
        }
        let file = written.join(&output.path);
        fs::remove_file(&file)
            .map_err(|source| Error::io(format!("removing \"{}\"", file.display()), source))?;
        let above = file.ancestors().skip(1);
        for directory in above.take_while(|directory| *directory != written) {
            if fs::remove_dir(directory).is_err() {
                break;
            }
        }
        discarded.push(output.path.clone());
    }
    Ok(discarded)
}

/// Moves each first path to the second; what was there is gone when all of them are in place.
fn exchange_all(pairs: &[(PathBuf, PathBuf)], scratch: &Path) -> Result<()> {
    let aside = tempfile::Builder::new()
        .prefix("old-")
        .tempdir_in(scratch)
        .map_err(|source| {
            Error::io(
                format!("making a directory in \"{}\"", scratch.display()),
                source,
            )
        })?;
    let mut exchanged: Vec<Exchanged> = Vec::new();
    for (index, (new, place)) in pairs.iter().enumerate() {
        match exchange(new, place, &aside.path().join(index.to_string())) {
            Ok(done) => exchanged.push(done),
            Err(source) => {
                for done in exchanged.into_iter().rev() {
                    done.undo();
                }
                return Err(Error::io(
                    format!("putting \"{}\" in place", place.display()),
                    source,
                ));
            }
        }
    }
    Ok(())
}

/// An output in its place, and how it can be taken back.
struct Exchanged {
    new: PathBuf,
    place: PathBuf,
    /// Where that lies which was there.
    old: Option<PathBuf>,
    /// The directory in which it lies if `new` was on another file system, and copied.
    beside: Option<tempfile::TempDir>,
}

impl Exchanged {
    /// Back to how it was, as far as the file system lets us.
    fn undo(self) {
        match &self.beside {
            Some(_) => remove(&self.place),
            None => drop(fs::rename(&self.place, &self.new)),
        }
        if let Some(old) = &self.old
            && fs::rename(old, &self.place).is_err()
            && let Some(beside) = self.beside
        {
            drop(beside.keep());
        }
    }
}

fn remove(place: &Path) {
    let _ = match place.is_dir() {
        true => fs::remove_dir_all(place),
        false => fs::remove_file(place),
    };
}

/// Puts `new` at `place`. What was there goes to `aside`, or beside its place where that is another file system.
fn exchange(new: &Path, place: &Path, aside: &Path) -> std::io::Result<Exchanged> {
    let parent = place.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent)?;
    match swap(new, place, aside) {
        Ok(old) => Ok(Exchanged {
            new: new.to_owned(),
            place: place.to_owned(),
            old,
            beside: None,
        }),
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            exchange_by_copy(new, place, parent)
        }
        Err(error) => Err(error),
    }
}

/// The same, from another file system: whole and on the disk before anything is moved.
fn exchange_by_copy(new: &Path, place: &Path, parent: &Path) -> std::io::Result<Exchanged> {
    let beside = tempfile::Builder::new()
        .prefix(".sealstone-")
        .tempdir_in(parent)?;
    let whole = beside.path().join("new");
    copy(new, &whole)?;
    let aside = beside.path().join("old");
    let swapped = match swap(&whole, place, &aside) {
        Err(error)
            if error.kind() == ErrorKind::CrossesDevices
                && place.symlink_metadata().is_ok_and(|found| found.is_dir())
                && aside.symlink_metadata().is_err() =>
        {
            swap_by_copy(&whole, place, &aside)
        }
        swapped => swapped,
    };
    let old = match swapped {
        Ok(old) => old,
        Err(error) => {
            if aside.symlink_metadata().is_ok() {
                // It could not be moved back: better here than nowhere.
                drop(beside.keep());
            }
            return Err(error);
        }
    };
    // Some file systems cannot; the files themselves are on the disk.
    let _ = File::open(parent).and_then(|directory| directory.sync_all());
    Ok(Exchanged {
        new: new.to_owned(),
        place: place.to_owned(),
        old,
        beside: Some(beside),
    })
}

/// By two renames: what was there to `aside`, which is returned, and `new` to its place.
fn swap(new: &Path, place: &Path, aside: &Path) -> std::io::Result<Option<PathBuf>> {
    let old = match place.symlink_metadata() {
        Ok(_) => {
            fs::rename(place, aside)?;
            Some(aside.to_owned())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Err(error) = fs::rename(new, place) {
        if let Some(old) = &old {
            let _ = fs::rename(old, place);
        }
        return Err(error);
    }
    Ok(old)
}

/// The same for a directory that cannot be renamed at all: in a container, one that came with the image.
fn swap_by_copy(new: &Path, place: &Path, aside: &Path) -> std::io::Result<Option<PathBuf>> {
    if let Err(error) = copy(place, aside) {
        remove(aside);
        return Err(error);
    }
    if let Err(error) = fs::remove_dir_all(place).and_then(|()| fs::rename(new, place)) {
        // What is gone of it comes back.
        if copy(aside, place).is_ok() {
            remove(aside);
        }
        return Err(error);
    }
    Ok(Some(aside.to_owned()))
}

/// Copies a file, link or directory onto the disk; what is there already stays.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let found = from.symlink_metadata()?;
    if found.is_dir() {
        if let Err(error) = fs::create_dir(to)
            && error.kind() != ErrorKind::AlreadyExists
        {
            return Err(error);
        }
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        // Some file systems cannot; the files themselves are on the disk.
        let _ = File::open(to).and_then(|directory| directory.sync_all());
        return Ok(());
    }
    if to.symlink_metadata().is_ok() {
        return Ok(());
    }
    if found.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    if !found.is_file() {
        // To read from a pipe would take for ever.
        return Err(ErrorKind::Unsupported.into());
    }
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

/// Writes a file in one rename, after its bytes are on the disk.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |source| Error::io(format!("writing \"{}\"", path.display()), source);
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(parent).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(file.path(), mode).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sealstone_spec::digest::Digest;

    fn pairs(from: &Path, to: &Path, names: &[&str]) -> Vec<(PathBuf, PathBuf)> {
        let pairs = names.iter();
        pairs.map(|name| (from.join(name), to.join(name))).collect()
    }

    #[test]
    fn what_was_there_comes_back_if_one_output_cannot_be_put_in_place() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        fs::create_dir_all(from.join("model")).unwrap();
        fs::create_dir_all(to.join("model")).unwrap();
        fs::write(from.join("model/new"), "new").unwrap();
        fs::write(to.join("model/old"), "old").unwrap();
        let due = pairs(&from, &to, &["model", "gone.json"]);
        assert!(exchange_all(&due, root.path()).is_err());
        assert_eq!(fs::read_to_string(to.join("model/old")).unwrap(), "old");
        assert!(!to.join("model/new").exists());
        assert!(
            from.join("model/new").exists(),
            "what the stage wrote is not lost"
        );

        exchange_all(&due[..1], root.path()).unwrap();
        assert!(to.join("model/new").exists() && !to.join("model/old").exists());
    }

    #[test]
    fn an_output_on_another_file_system_is_copied_and_can_be_taken_back() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        fs::create_dir_all(from.join("model/deep")).unwrap();
        fs::create_dir_all(to.join("model")).unwrap();
        fs::write(from.join("model/deep/new"), "new").unwrap();
        fs::write(to.join("model/old"), "old").unwrap();
        let copied = || exchange_by_copy(&from.join("model"), &to.join("model"), &to).unwrap();
        let names = || {
            let mut names: Vec<_> = fs::read_dir(&to)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            names
        };
        copied().undo();
        assert_eq!(fs::read_to_string(to.join("model/old")).unwrap(), "old");
        assert!(!to.join("model/deep").exists());
        assert_eq!(names(), ["model"]);

        drop(copied());
        assert_eq!(
            fs::read_to_string(to.join("model/deep/new")).unwrap(),
            "new"
        );
        assert!(!to.join("model/old").exists());
        assert_eq!(names(), ["model"], "nothing is left beside it");

        // And where there is a second file system, by what it answers.
        let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
            return;
        };
        fs::write(other.path().join("a"), "old").unwrap();
        fs::write(from.join("a"), "new").unwrap();
        exchange_all(&pairs(&from, other.path(), &["a"]), root.path()).unwrap();
        let content = fs::read_to_string(other.path().join("a")).unwrap();
        assert_eq!(content, "new");
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_that_cannot_be_renamed_is_replaced_and_comes_back_if_that_fails() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let (new, place, aside) = (at("new"), at("model"), at("aside"));
        fs::create_dir_all(place.join("deep")).unwrap();
        fs::write(place.join("deep/old"), "old").unwrap();
        std::os::unix::fs::symlink("nowhere", place.join("link")).unwrap();
        let is_as_it_was = |directory: &Path| {
            fs::read_to_string(directory.join("deep/old")).unwrap() == "old"
                && fs::read_link(directory.join("link")).unwrap() == Path::new("nowhere")
        };

        assert!(swap_by_copy(&new, &place, &aside).is_err(), "none is new");
        assert!(is_as_it_was(&place) && !aside.exists());

        fs::create_dir(&new).unwrap();
        fs::write(new.join("weights"), "new").unwrap();
        let old = swap_by_copy(&new, &place, &aside).unwrap();
        assert_eq!(old.as_deref(), Some(aside.as_path()));
        let weights = fs::read_to_string(place.join("weights")).unwrap();
        assert_eq!(weights, "new");
        assert!(is_as_it_was(&aside) && !place.join("deep").exists());

        // What was left by a removal that failed stays as it is.
        fs::write(place.join("link"), "left").unwrap();
        copy(&aside, &place).unwrap();
        assert_eq!(fs::read_to_string(place.join("link")).unwrap(), "left");
        assert!(place.join("deep/old").exists());
    }

    #[test]
    fn a_repository_that_a_stage_wrote_is_not_put_in_place() {
        let root = tempfile::tempdir().unwrap();
        let output = |path: &str| {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "x").unwrap();
            Output {
                path: path.to_owned(),
                digest: Digest::sha256(b"x"),
                size: 1,
            }
        };
        let written = [output("models/a"), output("models/.git/hooks/post-commit")];
        assert_eq!(
            discard(root.path(), &written).unwrap(),
            ["models/.git/hooks/post-commit"]
        );
        assert!(root.path().join("models/a").exists());
        assert!(!root.path().join("models/.git").exists());
        let other = [output("models/.GIT/config")];
        assert!(discard(root.path(), &other).is_err());
    }

    #[test]
    fn what_cannot_be_put_in_place_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let written = root.path().join("out");
        fs::create_dir(&written).unwrap();
        fs::write(written.join("model"), "days of work").unwrap();
        let place = save(&written, root.path()).unwrap();
        assert!(place.starts_with(root.path().join("unplaced")));
        let content = fs::read_to_string(place.join("model")).unwrap();
        assert_eq!(content, "days of work");
    }
}
