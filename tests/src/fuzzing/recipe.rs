//! Targets for recipes and locks.

use super::as_text;
use sealstone_spec::recipe::{Lock, Recipe};

/// A recipe that is read has a place in an order for each stage, and says the same when it is read again.
pub(super) fn recipe(input: &[u8]) -> bool {
    let Some(text) = as_text(input) else {
        return false;
    };
    let recipe = match Recipe::parse(text) {
        Ok(recipe) => recipe,
        Err(error) => {
            assert!(!error.findings().is_empty(), "refused without a reason");
            return false;
        }
    };
    assert_eq!(Recipe::parse(text).as_ref().ok(), Some(&recipe));
    for (place, stage) in recipe.stages().iter().enumerate() {
        for needed in recipe.dependencies(stage) {
            let before = &recipe.stages()[..place];
            let is_before = before.iter().any(|other| other.name == needed.name);
            assert!(is_before, "{} comes before {}", stage.name, needed.name);
        }
        for written in &stage.writes {
            let writer = recipe.writer_of(written.as_str()).map(|it| &it.name);
            assert_eq!(writer, Some(&stage.name));
        }
    }
    true
}

/// A lock that is read is its own bytes, and every declared path in it has files.
pub(super) fn lock(input: &[u8]) -> bool {
    let Ok(lock) = Lock::parse(input) else {
        return false;
    };
    assert_eq!(lock.as_bytes(), input);
    for stage in &lock.stages {
        for item in stage
            .sources
            .iter()
            .chain(&stage.inputs)
            .chain(&stage.outputs)
        {
            assert!(lock.files_at(&item.path).next().is_some());
        }
    }
    for file in &lock.files {
        assert_eq!(lock.file(file.path.as_str()), Some(file));
    }
    let again = Lock::seal(lock.clone().into_document()).expect("what was read can be written");
    assert_eq!(again.digest(), lock.digest());
    true
}
