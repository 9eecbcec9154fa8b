//! Environments that are made once and used again: the record of each, its lock, and how long it stays.
//!
//! What an environment is made of is for `cache` and `rootfs` to say, where they lie for `place`.
//! Invariant: what is used again holds what it held when it was made, every file, mode and link of it; what was cut short or
//! changed since is made anew. Nothing is removed while somebody holds it.

use super::tree::whole_digest;
use super::unpack::make_way;
use sealstone_spec::digest::Digest;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long an environment stays that nothing uses.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How names of environments begin.
const KINDS: [&str; 2] = ["venv-", "rootfs-"];

/// An environment that was asked for.
pub(super) enum Found<T> {
    /// It is there as it was made.
    Kept {
        /// Where.
        directory: PathBuf,
        /// What was recorded of it.
        told: T,
        /// Keeps it from being removed.
        in_use: Arc<File>,
    },
    /// It is to be made there.
    Free(Slot),
}

/// The environment of this name in `place`. `read` makes something of its directory and of what was recorded of it; where
/// it makes nothing, that is no record.
///
/// One that was changed since, and that somebody uses all the same, is left to them: another one is made beside it.
pub(super) fn find<T>(
    place: &Path,
    name: &str,
    read: impl Fn(&Path, &str) -> Option<T>,
) -> io::Result<Found<T>> {
    fs::create_dir_all(place)?;
    let mut number = 1;
    loop {
        let numbered = match number {
            1 => name.to_owned(),
            _ => format!("{name}-{number}"),
        };
        // Two runs make one environment after the other, and the second finds it made.
        let slot = Slot::take(place, &numbered)?;
        if let Some(told) = slot
            .recorded()
            .and_then(|told| read(&slot.directory, &told))
        {
            // When it was used last; that it cannot be noted costs an environment made again, and no more.
            let noted = File::options().append(true).open(&slot.record);
            let _ = noted.and_then(|file| file.set_modified(SystemTime::now()));
            let in_use = hold(&slot.record)?;
            return Ok(Found::Kept {
                directory: slot.directory,
                told,
                in_use,
            });
        }
        if !slot.is_in_use() {
            forget_unused(place);
            return Ok(Found::Free(slot));
        }
        number += 1;
    }
}

/// The place of one environment: a directory, beside it a record of what was made there, and a lock, which is held:
/// nobody else makes it or removes it.
pub(super) struct Slot {
    directory: PathBuf,
    record: PathBuf,
    lock: PathBuf,
    _turn: File,
}

impl Slot {
    /// Waits for the turn.
    fn take(place: &Path, name: &str) -> io::Result<Slot> {
        loop {
            let lock = place.join(format!("{name}.lock"));
            let turn = File::create(&lock)?;
            turn.lock()?;
            if let Some(slot) = Slot::of(place, name, lock, turn) {
                return Ok(slot);
            }
        }
    }

    /// If it is nobody's turn.
    fn try_take(place: &Path, name: &str) -> Option<Slot> {
        let lock = place.join(format!("{name}.lock"));
        let turn = File::create(&lock).ok()?;
        turn.try_lock().ok()?;
        Slot::of(place, name, lock, turn)
    }

    /// `None` where the lock was removed before it was taken, together with its environment.
    fn of(place: &Path, name: &str, lock: PathBuf, turn: File) -> Option<Slot> {
        let number = |found: io::Result<fs::Metadata>| found.ok().map(|found| found.ino());
        let own = number(turn.metadata())?;
        (number(fs::symlink_metadata(&lock)) == Some(own)).then(|| Slot {
            directory: place.join(name),
            record: place.join(format!("{name}.digest")),
            lock,
            _turn: turn,
        })
    }

    /// Where it is to be made.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What was recorded beside the digest of everything that lies there, if that is what lies there. What cannot be read
    /// is not.
    fn recorded(&self) -> Option<String> {
        let record = fs::read_to_string(&self.record).ok()?;
        let (whole, told) = record.split_once('\n')?;
        let whole = Digest::parse(whole).ok()?;
        let is_directory = fs::symlink_metadata(&self.directory).is_ok_and(|found| found.is_dir());
        let is_as_made = is_directory && whole_digest(&self.directory).is_ok_and(|it| it == whole);
        is_as_made.then(|| told.trim_end().to_owned())
    }

    /// Whether somebody holds what lies there.
    fn is_in_use(&self) -> bool {
        let record = File::options().append(true).open(&self.record);
        record.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Removes what lies there; the record first: what is cut short is made anew.
    pub(super) fn clear(&self) -> io::Result<()> {
        make_way(&self.record)?;
        make_way(&self.directory)
    }

    /// Records what was made there, and holds it. Written last, and whole: without it, what lies there was cut short.
    pub(super) fn seal(self, told: &str) -> io::Result<Arc<File>> {
        let whole = whole_digest(&self.directory)?;
        let place = self.record.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(place)?;
        writeln!(file, "{whole}\n{told}")?;
        file.persist(&self.record).map_err(|error| error.error)?;
        hold(&self.record)
    }
}

/// Locks a record together with all others who use its environment, for as long as the file is open: the time in it is
/// that of the beginning, and a training may run for longer than an environment stays.
fn hold(record: &Path) -> io::Result<Arc<File>> {
    let file = File::open(record)?;
    file.lock_shared()?;
    Ok(Arc::new(file))
}

/// Removes environments that nothing has used for a long time: every change of a lock file makes another one. One that
/// was cut short has no record, and counts from when it was begun.
fn forget_unused(place: &Path) {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let is_directory = || fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        let is_recorded = || place.join(format!("{name}.digest")).exists();
        let name = match name.strip_suffix(".digest") {
            Some(name) => name,
            None if is_directory() && !is_recorded() => name,
            None => continue,
        };
        if !KINDS.iter().any(|kind| name.starts_with(kind)) || !is_idle(&path) {
            continue;
        }
        // Once more with the turn: somebody may have taken it up meanwhile.
        if let Some(slot) = Slot::try_take(place, name)
            && is_idle(&path)
            && !slot.is_in_use()
            && slot.clear().is_ok()
        {
            let _ = fs::remove_file(&slot.lock);
        }
    }
}

/// Whether a record, or a directory without one, has not been touched for long.
fn is_idle(path: &Path) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|found| found.modified());
    let idle = modified.ok().and_then(|modified| modified.elapsed().ok());
    idle.is_some_and(|idle| idle > UNUSED)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    /// The environment of this name: where it is, and whether it was there.
    fn asked(place: &Path, name: &str) -> (PathBuf, bool, Arc<File>) {
        let read = |_: &Path, told: &str| (told == "told").then_some(());
        match find(place, name, read).unwrap() {
            Found::Kept {
                directory, in_use, ..
            } => (directory, true, in_use),
            Found::Free(slot) => {
                slot.clear().unwrap();
                let directory = slot.directory().to_owned();
                fs::create_dir_all(directory.join("bin")).unwrap();
                fs::create_dir_all(directory.join("lib/site-packages")).unwrap();
                fs::write(directory.join("pyvenv.cfg"), "home = /usr/bin\n").unwrap();
                symlink("/usr/bin/python3", directory.join("bin/python")).unwrap();
                (directory, false, slot.seal("told").unwrap())
            }
        }
    }

    #[test]
    fn what_was_changed_since_is_made_anew() {
        let place = tempfile::tempdir().unwrap();
        let ask = || asked(place.path(), "venv-x");
        let (made, was_there, in_use) = ask();
        assert!(!was_there);
        drop(in_use);
        assert!(ask().1);
        let at = |name: &str| made.join(name);
        let record = place.path().join("venv-x.digest");
        let changes: [&dyn Fn(); 8] = [
            // A module without its source is imported like any other.
            &|| fs::write(at("lib/site-packages/sitecustomize.pyc"), "x").unwrap(),
            &|| fs::write(at("pyvenv.cfg"), "home = /tmp\n").unwrap(),
            &|| {
                fs::remove_file(at("bin/python")).unwrap();
                symlink("/tmp/python", at("bin/python")).unwrap();
            },
            &|| {
                let mode = fs::Permissions::from_mode(0o666);
                fs::set_permissions(at("pyvenv.cfg"), mode).unwrap();
            },
            &|| fs::remove_dir(at("lib/site-packages")).unwrap(),
            &|| fs::remove_file(&record).unwrap(),
            &|| {
                let whole = whole_digest(&made).unwrap();
                fs::write(&record, format!("{whole}\nother\n")).unwrap();
            },
            &|| {
                fs::rename(&made, place.path().join("elsewhere")).unwrap();
                symlink("elsewhere", &made).unwrap();
            },
        ];
        for (number, change) in changes.into_iter().enumerate() {
            change();
            let (directory, was_there, _) = ask();
            assert!(!was_there && directory == made, "change {number}");
            assert!(ask().1, "change {number}");
        }
    }

    /// Whoever uses it began with what was right.
    #[test]
    fn what_is_in_use_and_was_changed_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let (first, _, in_use) = asked(place.path(), "venv-x");
        fs::write(first.join("bin/more"), "x").unwrap();
        let (second, was_there, _) = asked(place.path(), "venv-x");
        assert!(!was_there && second != first);
        assert!(first.join("bin/more").exists());
        assert_eq!(asked(place.path(), "venv-x").0, second);
        drop(in_use);
        assert_eq!(asked(place.path(), "venv-x").0, first);
        assert!(!first.join("bin/more").exists());
    }

    #[test]
    fn an_environment_that_is_held_is_not_removed_for_its_age() {
        let place = tempfile::tempdir().unwrap();
        let (directory, _, one) = asked(place.path(), "rootfs-held");
        // Two runs that share it.
        let (_, _, two) = asked(place.path(), "rootfs-held");
        let path = place.path().join("rootfs-held.digest");
        let record = File::options().append(true).open(&path).unwrap();
        record.set_modified(SystemTime::now() - UNUSED * 2).unwrap();
        drop(record);
        forget_unused(place.path());
        assert!(directory.exists() && path.exists());
        drop(one);
        forget_unused(place.path());
        assert!(directory.exists() && path.exists());
        drop(two);
        // Nor while somebody takes it up.
        let turn = Slot::take(place.path(), "rootfs-held").unwrap();
        forget_unused(place.path());
        assert!(directory.exists() && path.exists());
        drop(turn);
        forget_unused(place.path());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_environments_that_nothing_used_for_long_are_removed() {
        let place = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for (name, idle) in [("venv-old", UNUSED * 2), ("venv-new", UNUSED / 2)] {
            fs::create_dir_all(place.path().join(name).join("bin")).unwrap();
            let record = place.path().join(format!("{name}.digest"));
            let record = File::create(record).unwrap();
            record.set_modified(now - idle).unwrap();
        }
        // Three that were cut short: what lies there says when they were begun.
        for (name, idle) in [
            ("venv-cut", UNUSED * 2),
            ("rootfs-part-cut", UNUSED * 2),
            ("venv-begun", UNUSED / 2),
        ] {
            let directory = place.path().join(name);
            fs::create_dir_all(directory.join("bin")).unwrap();
            let directory = File::open(directory).unwrap();
            directory.set_modified(now - idle).unwrap();
        }
        let other = File::create(place.path().join("stages.digest")).unwrap();
        other.set_modified(now - UNUSED * 2).unwrap();
        forget_unused(place.path());
        let entries = fs::read_dir(place.path()).unwrap();
        let mut left: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let due = ["stages.digest", "venv-begun", "venv-new", "venv-new.digest"];
        assert_eq!(left, due);
    }
}
