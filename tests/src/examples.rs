//! The projects in `tests/examples`, copied where a test may do with them what it likes.
//!
//! Owns: finding what `tests/setup/install.sh examples` fetched, and saying so where it is missing. Does not own: what
//! the projects do, and what a missing one means ([`crate::skips`]).

use crate::skips;
use std::fs;
use std::path::{Path, PathBuf};

/// An example with its wheels and data.
#[derive(Clone, Debug)]
pub struct Example {
    /// Its sources, in the clone.
    pub sources: PathBuf,
    /// `wheels/`, `data/` and `venv/`, as set-up left them.
    pub fetched: PathBuf,
}

/// The example of this name; `None`, and counted as skipped, if set-up did not bring what it needs.
///
/// # Panics
/// If it is missing where [`skips::not_installed`] does not let that pass.
pub fn example(name: &str) -> Option<Example> {
    let tools = std::env::var_os("SEALSTONE_TOOLS").map_or_else(
        || {
            PathBuf::from(std::env::var_os("HOME").unwrap_or_default())
                .join(".cache/sealstone/tools")
        },
        PathBuf::from,
    );
    let fetched = tools.join(format!("example-{name}"));
    if !fetched.join("ready").is_file() {
        skips::not_installed(&format!("what the example {name} needs"));
        return None;
    }
    let fetched = fs::canonicalize(fetched).ok()?;
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name);
    Some(Example { sources, fetched })
}

impl Example {
    /// The Python of an environment that was made of the example's lock, for a test's own figures.
    pub fn python(&self) -> PathBuf {
        self.fetched.join("venv/bin/python")
    }

    /// Copies the whole project to `directory`; wheels are linked, since no test changes one in place.
    ///
    /// # Errors
    /// If the disk says so.
    pub fn copy_to(&self, directory: &Path) -> std::io::Result<()> {
        copy(&self.sources, directory, false)?;
        for (folder, link) in [("data", false), ("wheels", true)] {
            let from = self.fetched.join(folder);
            if from.is_dir() {
                copy(&from, &directory.join(folder), link)?;
            }
        }
        // Set-up writes one beside wheels that it made and that are not those which the lock in the clone names.
        let lock = self.fetched.join("requirements.lock");
        if lock.is_file() {
            fs::copy(&lock, directory.join("requirements.lock"))?;
        }
        Ok(())
    }
}

/// Copies files of a directory; with `link`, as further names of the same files where that can be done.
fn copy(from: &Path, to: &Path, link: bool) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&source, &target, link)?;
        } else if !link || fs::hard_link(&source, &target).is_err() {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}
