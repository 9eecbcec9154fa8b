//! Stages that ended well in runs that did not, for the next run.
//!
//! A record is a lock of one stage, in `.sealstone/last/STAGE.lock` (`last-PROFILE` with a profile). It helps and
//! promises nothing: one that cannot be read or written is passed over, and the key and outputs of one that is used
//! are compared as those of any lock. One that a clone brought is none: it tells of runs that nobody here has seen.
//! Invariant: the record of a stage stays until the stage is run again or a lock is written, whatever other stages
//! are run or fail until then; so nothing is trained twice.

use super::baseline::Run;
use super::publish::write_whole;
use crate::environment::is_tracked;
use crate::recipe::read_lock;
use sealstone_spec::recipe::{Lock, LockDocument, LockedStage, Profile, Recipe, RecipePath};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the records of a project lie, or those of a profile.
pub(super) fn place_of_records(home: &Path, profile: Option<&Profile>) -> PathBuf {
    match profile {
        Some(profile) => home.join(format!("last-{}", profile.name)),
        None => home.join("last"),
    }
}

/// The records that are there.
pub(super) fn records(directory: &Path, recipe: &Recipe) -> Vec<Lock> {
    let stages = recipe.stages().iter();
    stages
        .filter_map(|stage| read_lock(&record_of(directory, &stage.name)).ok().flatten())
        .collect()
}

/// Why the records there are none of this project's runs here: its repository holds them, or what it holds cannot be told.
pub(super) fn came_with_project(root: &Path, directory: &Path) -> Option<String> {
    let place = directory.strip_prefix(root).ok().and_then(Path::to_str);
    match place.map(|place| is_tracked(root, place)) {
        Some(Ok(false)) => None,
        Some(Ok(true)) => Some(
            "it is committed, and came with the project: git rm -r --cached .sealstone".to_owned(),
        ),
        Some(Err(reason)) => Some(format!(
            "whether it came with the project cannot be told: {reason}"
        )),
        None => Some("it lies outside of the project".to_owned()),
    }
}

/// Removes the records, and nothing else that lies there.
pub(super) fn forget(directory: &Path, recipe: &Recipe) {
    for stage in recipe.stages() {
        let _ = fs::remove_file(record_of(directory, &stage.name));
    }
    let _ = fs::remove_dir(directory);
}

fn record_of(directory: &Path, stage: &str) -> PathBuf {
    directory.join(format!("{stage}.lock"))
}

impl Run<'_> {
    /// Keeps what ended well. A failure is no error.
    pub(super) fn remember(&self, record: &LockedStage) {
        let declared = || {
            let read = record.sources.iter().chain(&record.inputs);
            read.chain(&record.outputs)
        };
        let is_its = |path: &RecipePath| declared().any(|content| content.path.contains(path));
        let files = self.files.values().filter(|file| is_its(&file.path));
        let document = LockDocument {
            files: files.cloned().collect(),
            stages: vec![record.clone()],
            ..self.empty()
        };
        if let Ok(lock) = Lock::seal(document) {
            let _ = write_whole(&record_of(&self.last, &record.name), lock.as_bytes());
        }
    }
}
