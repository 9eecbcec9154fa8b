//! The run: what is reused and what is run, what came of it, and the lock.
//!
//! Invariant: recipe.lock is written once, at the end, by one rename, and only if every stage, metric and
//! test ended well. A project has one run at a time.

use super::publish::write_whole;
use super::remembered::{came_with_project, forget, place_of_records, records};
use crate::check::{Compare, TestResult};
use crate::error::{Error, Result};
use crate::plan::{Given, Machine, Roots};
use crate::recipe::Project;
use crate::runner::{Runner, Stream};
use sealstone_spec::recipe::{
    Finding, Lock, LockDocument, LockedFile, LockedMetric, LockedStage, Params, Profile, Recipe,
};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// These stages and what they need; all if there is none.
    pub stages: Vec<String>,
    /// The profile.
    pub profile: Option<String>,
    /// Run stages also if their keys have not changed: the named ones, or all.
    pub force: bool,
    /// Directories outside of the project in which outputs may lie, where a link in the project leads there.
    pub outside: Vec<PathBuf>,
}

/// What a caller hears while stages run.
pub trait RunEvents {
    /// A stage begins, or is taken from the last run.
    fn stage(&mut self, name: &str, reused: bool) {
        let _ = (name, reused);
    }
    /// A stage printed something.
    fn printed(&mut self, stream: Stream, bytes: &[u8]) {
        let _ = (stream, bytes);
    }
    /// Something that should be looked at.
    fn warn(&mut self, text: &str) {
        let _ = text;
    }
}

/// Says nothing.
impl RunEvents for () {}

/// A stage of a run.
#[derive(Clone, Debug)]
pub struct StageRan {
    /// Its name.
    pub name: String,
    /// Whether it was taken from the last run.
    pub reused: bool,
    /// The record of it.
    pub record: LockedStage,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The lock; `None` if only some stages were asked for, and others are not up to date.
    pub lock: Option<Lock>,
    /// Where the lock lies.
    pub lock_path: PathBuf,
    /// The stages, in order.
    pub stages: Vec<StageRan>,
    /// Stages that are not up to date.
    pub stale: Vec<String>,
    /// The tests.
    pub tests: BTreeMap<String, TestResult>,
}

/// Runs the stages of a project and writes its lock.
///
/// # Errors
/// [`Outcome::Halted`](crate::Outcome::Halted) if an input is not what the recipe says, before anything
/// runs; [`Outcome::Usage`](crate::Outcome::Usage) if the recipe has errors;
/// [`Outcome::Conflict`](crate::Outcome::Conflict) if another run of this project is under way; anything
/// else if a stage, metric or test failed.
pub fn run(
    project: &Project,
    options: &RunOptions,
    machine: &Machine,
    runner: &dyn Runner,
    compare: Compare<'_>,
    events: &mut dyn RunEvents,
) -> Result<Ran> {
    let profile = options
        .profile
        .as_deref()
        .map(|name| project.profile(name))
        .transpose()?;
    let home = home(project.root())?;
    let _turn = take_turn(&home, events)?;
    let scratch = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(&home)
        .map_err(|source| {
            Error::io(
                format!("making a directory in \"{}\"", home.display()),
                source,
            )
        })?;
    let mut run = Run {
        project,
        recipe: project.recipe(),
        profile,
        params: project.params_of(profile)?,
        roots: Roots::of(project.root(), profile),
        machine,
        compare,
        runner,
        events,
        scratch: scratch.path().to_owned(),
        logs: home.join("logs"),
        outside: outside(&options.outside)?,
        earlier: Vec::new(),
        last: place_of_records(&home, profile),
        files: BTreeMap::new(),
        done: Vec::new(),
    };
    run.check_recipe()?;
    run.check_tests()?;
    run.remember_earlier(options.force)?;
    let selected = run.selected(&options.stages)?;
    let inputs = run.inputs()?;
    let stale = run.stages(&selected, options)?;
    let lock_path = project.lock_path(profile)?;
    if !stale.is_empty() {
        return Ok(Ran {
            lock: None,
            lock_path,
            stages: run.done,
            stale,
            tests: BTreeMap::new(),
        });
    }
    let seed = run.recipe.determinism().seed;
    let mut metrics = BTreeMap::new();
    for (name, value) in run.metrics(&run.roots.clone())? {
        let from = run.metric_source(&name);
        metrics.insert(
            name,
            LockedMetric {
                from,
                value,
                replicates: Vec::new(),
            },
        );
    }
    run.replicates(&mut metrics)?;
    let tests = run.tests(seed)?;
    let lock = run.document(inputs, metrics, &tests)?;
    let lock = seal(lock)?;
    let disagreements = lock.disagreements(run.recipe);
    if !disagreements.is_empty() {
        return Err(Error::other(format!(
            "the lock does not fit its recipe: {}",
            disagreements.join("; ")
        )));
    }
    write_whole(&lock_path, lock.as_bytes())?;
    // Every stage stands in the lock now.
    forget(&run.last, run.recipe);
    Ok(Ran {
        lock: Some(lock),
        lock_path,
        stages: run.done,
        stale,
        tests,
    })
}

/// Takes the project for one run, or refuses: of two runs at a time, one would record what the other wrote, with all
/// profiles too, whose logs lie side by side. The system lets go of it when the run ends, however it ends.
fn take_turn(home: &Path, events: &mut dyn RunEvents) -> Result<File> {
    let path = home.join("run.lock");
    let failed = |source| Error::io(format!("locking \"{}\"", path.display()), source);
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    let file = options.open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::conflict(
            "another run is under way in this project; nothing was run",
        )
        .hint("wait until it has ended: two at a time would mix what they write")),
        // Some file systems of clusters have no locks, and runs all the same.
        Err(TryLockError::Error(source)) if has_no_locks(&source) => {
            events.warn("this file system has no locks: nothing keeps a second run from this project while this one is under way");
            Ok(file)
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// NFS without its lock service and Lustre without `flock` say ENOLCK, for which the standard library has no kind.
fn has_no_locks(source: &std::io::Error) -> bool {
    source.kind() == ErrorKind::Unsupported || source.raw_os_error() == Some(libc::ENOLCK)
}

fn seal(document: LockDocument) -> Result<Lock> {
    Lock::seal(document).map_err(|error| Error::other(error.to_string()))
}

/// Makes `.sealstone` in a project, which Git is told to pass over; returns it.
///
/// # Errors
/// If it cannot be made, or if it is a link or holds one where a run writes: it may have come with the project.
pub fn home(root: &Path) -> Result<PathBuf> {
    let home = root.join(".sealstone");
    let failed = |source| {
        Error::io(
            format!("making the directory \"{}\"", home.display()),
            source,
        )
    };
    refuse_links(&home).map_err(failed)??;
    fs::create_dir_all(home.join("logs")).map_err(failed)?;
    let ignore = home.join(".gitignore");
    if !ignore.exists() {
        fs::write(ignore, "*\n").map_err(failed)?;
    }
    Ok(home)
}

/// Git clones a `.sealstone` as it clones anything else. Through a link there, logs, records and what outputs replace
/// would be written, and removed, where the project's author likes. (What leads from `profiles` elsewhere is looked at
/// with the places of outputs.)
fn refuse_links(home: &Path) -> std::io::Result<Result<()>> {
    let refused = |path: &Path| {
        let error = Error::usage(format!(
            "\"{}\" is a symbolic link, through which a run would write",
            path.display()
        ));
        Err(error.hint("remove the link: a run makes a directory or file of its own there"))
    };
    match home.symlink_metadata() {
        Ok(found) if found.is_symlink() => return Ok(refused(home)),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Ok(())),
        Err(error) => return Err(error),
    }
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        if entry.file_name() != "profiles" && entry.file_type()?.is_symlink() {
            return Ok(refused(&entry.path()));
        }
    }
    Ok(Ok(()))
}

pub(super) struct Run<'a> {
    pub(super) project: &'a Project,
    pub(super) recipe: &'a Recipe,
    pub(super) profile: Option<&'a Profile>,
    pub(super) params: Params,
    pub(super) roots: Roots,
    pub(super) machine: &'a Machine,
    pub(super) compare: Compare<'a>,
    pub(super) runner: &'a dyn Runner,
    pub(super) events: &'a mut dyn RunEvents,
    pub(super) scratch: PathBuf,
    pub(super) logs: PathBuf,
    /// Directories to which links may lead outputs.
    pub(super) outside: Vec<PathBuf>,
    /// Locks of earlier runs, the newest first.
    pub(super) earlier: Vec<Lock>,
    /// Where stages are remembered that ended well, and stand in no lock yet.
    pub(super) last: PathBuf,
    pub(super) files: BTreeMap<String, LockedFile>,
    pub(super) done: Vec<StageRan>,
}

impl Run<'_> {
    pub(super) fn given(&self, seed: Option<u64>) -> Given<'_> {
        Given {
            recipe: self.recipe,
            roots: &self.roots,
            params: &self.params,
            seed,
            machine: self.machine,
            scratch: &self.scratch,
        }
    }

    fn check_recipe(&mut self) -> Result<()> {
        // A model is made before its code is committed as often as after: the lock tells, and `pack` refuses.
        let findings = self.project.lint_content(None)?;
        let errors: Vec<&Finding> = findings
            .iter()
            .filter(|finding| finding.is_error())
            .collect();
        if errors.is_empty() {
            return Ok(());
        }
        let shown: Vec<String> = errors
            .iter()
            .map(|finding| format!("  {finding}"))
            .collect();
        Err(Error::usage(format!(
            "the recipe cannot be run:\n{}",
            shown.join("\n")
        )))
    }

    fn remember_earlier(&mut self, force: bool) -> Result<()> {
        let remembered = records(&self.last, self.recipe);
        if !remembered.is_empty() {
            match came_with_project(self.project.root(), &self.last) {
                None => self.earlier.extend(remembered),
                Some(reason) => self.events.warn(&format!(
                    "what \"{}\" says of stages is not taken: {reason}",
                    self.last.display()
                )),
            }
        }
        match self.project.lock(self.profile) {
            Ok(lock) => self.earlier.extend(lock),
            Err(_) if force => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Directories by their own paths, without links.
fn outside(directories: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let own = directories.iter().map(|directory| {
        fs::canonicalize(directory)
            .map_err(|source| Error::io(format!("opening \"{}\"", directory.display()), source))
    });
    own.collect()
}

/// Makes a directory.
pub(super) fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).map_err(|source| {
        Error::io(
            format!("making the directory \"{}\"", directory.display()),
            source,
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_is_written_through_a_link_that_came_with_the_project() {
        let root = tempfile::tempdir().unwrap();
        let (project, other) = (root.path().join("project"), root.path().join("other"));
        fs::create_dir(&project).unwrap();
        fs::create_dir(&other).unwrap();
        let own = project.join(".sealstone");
        symlink("../other", &own).unwrap();
        let error = home(&project).unwrap_err();
        assert!(error.message().contains("link"), "{}", error.message());
        fs::remove_file(&own).unwrap();

        fs::create_dir(&own).unwrap();
        for name in [
            "logs",
            "last",
            "last-smoke",
            "replaced",
            "run.lock",
            ".gitignore",
        ] {
            symlink("../../other", own.join(name)).unwrap();
            let error = home(&project).unwrap_err();
            assert!(error.message().contains(name), "{}", error.message());
            fs::remove_file(own.join(name)).unwrap();
        }
        symlink("../../other/made", own.join(".gitignore")).unwrap();
        assert!(home(&project).is_err(), "also one that leads nowhere");
        fs::remove_file(own.join(".gitignore")).unwrap();
        assert_eq!(fs::read_dir(&other).unwrap().count(), 0);

        assert_eq!(home(&project).unwrap(), own);
        assert_eq!(home(&project).unwrap(), own, "and again");
        assert!(own.join("logs").is_dir());
    }

    #[test]
    fn a_file_system_without_locks_is_known_by_what_it_answers() {
        for (number, due) in [
            (libc::ENOLCK, true),
            (libc::ENOSYS, true),
            (libc::EOPNOTSUPP, true),
            (libc::EACCES, false),
            (libc::EIO, false),
        ] {
            let source = std::io::Error::from_raw_os_error(number);
            assert_eq!(has_no_locks(&source), due, "{source}");
        }
    }
}
