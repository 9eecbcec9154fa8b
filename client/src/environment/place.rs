//! Where the environments of a user's runs lie: `environments` in the user's cache.
//!
//! Never in a project: a clone or an archive of one brings what its author likes, an environment and a fitting record of it
//! too, and what a run uses is what its lock and its signature speak of.
//! Invariant: nothing is taken from a directory into which anybody but its user may write.

use super::git::{is_tracked, top_by_sight};
use crate::error::{Error, Result};
use std::fs::{self, DirBuilder, TryLockError};
use std::io::{ErrorKind, Result as IoResult};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Rights of others to write, and those of the group as well.
const BY_OTHERS: u32 = 0o002;
const BY_GROUP_OR_OTHERS: u32 = 0o022;

/// The directory in which environments are kept for the project in `root`, made if it is not there; or why none can be.
///
/// # Errors
/// If something lies there that cannot be trusted.
pub(super) fn of_user(root: &Path) -> Result<std::result::Result<PathBuf, String>> {
    match crate::cache::of_user() {
        Some(cache) => in_cache(&cache, root),
        None => Ok(Err("XDG_CACHE_HOME and HOME are not set".to_owned())),
    }
}

fn in_cache(cache: &Path, root: &Path) -> Result<std::result::Result<PathBuf, String>> {
    let cache = match std::path::absolute(cache) {
        Ok(cache) => real(&cache),
        Err(error) => return Ok(Err(cannot(cache, "be found", &error))),
    };
    if may_have_come(&cache, &real(root)) {
        return Ok(Err(format!(
            "the cache \"{}\" lies in the project, or in a repository, and may have come with it",
            cache.display()
        )));
    }
    let place = cache.join("environments");
    let made = fs::create_dir_all(&cache).and_then(|()| make_private(&place));
    if let Err(error) = made {
        return Ok(Err(cannot(&place, "be made", &error)));
    }
    // First of all: through a link nothing is made.
    if let Some(problem) = problem(&place, None, BY_GROUP_OR_OTHERS) {
        return Err(untrusted(&place, &problem));
    }
    // A file that was made now belongs to whom this process acts for, and tells whether files can be made and locked.
    let own = match tempfile::tempfile_in(&place) {
        Ok(file) => file,
        Err(error) => return Ok(Err(cannot(&place, "be written", &error))),
    };
    if let Err(TryLockError::Error(error)) = own.try_lock_shared() {
        return Ok(Err(cannot(&place, "be locked", &error)));
    }
    let user = match own.metadata() {
        Ok(found) => found.uid(),
        Err(error) => return Ok(Err(cannot(&place, "be read", &error))),
    };
    if let Some(problem) = problem(&place, Some(user), BY_GROUP_OR_OTHERS) {
        return Err(untrusted(&place, &problem));
    }
    // Whoever may write into the cache can put another directory in the place of this one.
    if let Some(problem) = problem(&cache, Some(user), BY_OTHERS) {
        return Ok(Err(format!("\"{}\" {problem}", cache.display())));
    }
    Ok(Ok(place))
}

/// Whether a cache lies in the project, or in its repository, or is committed in another one.
fn may_have_come(cache: &Path, root: &Path) -> bool {
    let top = |path: &Path| top_by_sight(path).map(Path::to_owned);
    if cache.starts_with(top(root).as_deref().unwrap_or(root)) {
        return true;
    }
    // People keep the files of their home in a repository, and seldom their cache.
    top(cache).is_some_and(|top| {
        let below = cache.strip_prefix(&top).ok().and_then(Path::to_str);
        below.is_none_or(|below| is_tracked(&top, below) != Ok(false))
    })
}

/// What is wrong with a directory of the user's: nobody else may have these rights to it.
fn problem(directory: &Path, user: Option<u32>, rights: u32) -> Option<String> {
    let found = match fs::symlink_metadata(directory) {
        Ok(found) => found,
        Err(error) => return Some(format!("cannot be read: {error}")),
    };
    if found.is_symlink() {
        return Some("is a symbolic link".to_owned());
    }
    if !found.is_dir() {
        return Some("is no directory".to_owned());
    }
    if user.is_some_and(|user| user != found.uid()) {
        return Some(format!("belongs to somebody else, user {}", found.uid()));
    }
    let mode = found.permissions().mode() & 0o7777;
    (mode & rights != 0).then(|| format!("can be written by others (mode {mode:o})"))
}

fn untrusted(directory: &Path, problem: &str) -> Error {
    Error::refused(format!(
        "\"{}\" {problem}: environments of runs are kept there, which nobody else may change",
        directory.display()
    ))
    .hint("remove it, it is made again; or name another cache: XDG_CACHE_HOME")
}

fn cannot(path: &Path, what: &str, error: &std::io::Error) -> String {
    format!("\"{}\" cannot {what}: {error}", path.display())
}

fn make_private(place: &Path) -> IoResult<()> {
    match DirBuilder::new().mode(0o700).create(place) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// A path without links; its end need not be there yet.
fn real(path: &Path) -> PathBuf {
    for place in path.ancestors() {
        if let (Ok(found), Ok(rest)) = (place.canonicalize(), path.strip_prefix(place)) {
            return found.components().chain(rest.components()).collect();
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Outcome;
    use std::fs::Permissions;
    use std::os::unix::fs::{chown, symlink};

    struct World(tempfile::TempDir);

    impl World {
        /// A cache and a project in a repository.
        fn new() -> World {
            let world = World(tempfile::tempdir().unwrap());
            fs::create_dir_all(world.at("repository/.git")).unwrap();
            fs::create_dir_all(world.at("repository/model")).unwrap();
            world
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(path)
        }

        fn place(&self, cache: &str) -> Result<std::result::Result<PathBuf, String>> {
            in_cache(&self.at(cache), &self.at("repository/model"))
        }

        #[track_caller]
        fn refuses(&self, due: &str) {
            let error = self.place("cache").unwrap_err();
            assert_eq!(error.outcome(), Outcome::Refused);
            assert!(error.message().contains(due), "{error}");
        }
    }

    #[test]
    fn environments_lie_in_a_directory_of_the_user_alone() {
        let world = World::new();
        let place = world.at("cache/environments");
        assert_eq!(world.place("cache").unwrap(), Ok(place.clone()));
        let mode = fs::metadata(&place).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(world.place("cache").unwrap(), Ok(place.clone()), "again");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
        // By a way that leads through a link, it is the same.
        symlink("cache", world.at("other")).unwrap();
        assert_eq!(world.place("other").unwrap(), Ok(place));
    }

    #[test]
    fn a_place_that_others_may_have_written_to_is_refused() {
        let world = World::new();
        let place = world.at("cache/environments");
        fs::create_dir(world.at("cache")).unwrap();
        fs::create_dir(world.at("theirs")).unwrap();
        symlink("../theirs", &place).unwrap();
        world.refuses("symbolic link");
        fs::remove_file(&place).unwrap();
        fs::write(&place, "").unwrap();
        world.refuses("no directory");
        fs::remove_file(&place).unwrap();
        world.place("cache").unwrap().unwrap();
        for mode in [0o770, 0o702, 0o777, 0o1777] {
            fs::set_permissions(&place, Permissions::from_mode(mode)).unwrap();
            world.refuses("can be written by others");
        }
        fs::set_permissions(&place, Permissions::from_mode(0o755)).unwrap();
        world.place("cache").unwrap().unwrap();
        if chown(&place, Some(12345), None).is_err() {
            return crate::skips::not_possible("only root gives a directory away");
        }
        world.refuses("somebody else");
    }

    #[test]
    fn a_cache_in_which_the_place_could_be_exchanged_is_not_used() {
        let world = World::new();
        let cache = world.at("cache");
        world.place("cache").unwrap().unwrap();
        fs::set_permissions(&cache, Permissions::from_mode(0o777)).unwrap();
        let reason = world.place("cache").unwrap().unwrap_err();
        assert!(reason.contains("can be written by others"), "{reason}");
        fs::set_permissions(&cache, Permissions::from_mode(0o775)).unwrap();
        world.place("cache").unwrap().unwrap();
        if chown(&cache, Some(12345), None).is_err() {
            return crate::skips::not_possible("only root gives a directory away");
        }
        let reason = world.place("cache").unwrap().unwrap_err();
        assert!(reason.contains("somebody else"), "{reason}");
    }

    #[test]
    fn what_lies_in_a_project_or_cannot_be_made_is_no_place() {
        let world = World::new();
        for cache in ["repository/model/.cache", "repository/.cache", "repository"] {
            let reason = world.place(cache).unwrap().unwrap_err();
            assert!(reason.contains("may have come"), "{reason}");
        }
        assert!(!world.at("repository/.cache").exists(), "nothing was made");
        symlink("repository", world.at("way")).unwrap();
        let reason = world.place("way/.cache").unwrap().unwrap_err();
        assert!(reason.contains("may have come"), "{reason}");
        // Nor is one in another repository of which nothing can be told.
        fs::create_dir_all(world.at("broken/.git")).unwrap();
        let reason = world.place("broken/.cache").unwrap().unwrap_err();
        assert!(reason.contains("may have come"), "{reason}");
        fs::write(world.at("file"), "").unwrap();
        let reason = world.place("file/sealstone").unwrap().unwrap_err();
        assert!(reason.contains("cannot be made"), "{reason}");
        // Without a repository the project alone counts.
        fs::remove_dir(world.at("repository/.git")).unwrap();
        assert!(world.place("repository/.cache").unwrap().is_ok());
        assert!(world.place("repository/model/.cache").unwrap().is_err());
    }
}
