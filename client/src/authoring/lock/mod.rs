//! Requirements locked: every package with its version and the hash of its wheel, and the wheels beside them.
//!
//! | part | what it owns |
//! | --- | --- |
//! | `wanted` | what the project asks for, from whichever file says it |
//! | `wheel` | name, version and hash of a wheel |
//! | `fetch` | pip, which resolves and fetches |
//! | `check` | whether lock and wheels agree |
//! | `adopt` | the line of the recipe that names them |
//!
//! The one place of authoring that reaches a network, and only through pip, as the caller has set it up: no
//! index is named here. Invariant: a lock names exactly the wheels that lie beside it when it is written; where another
//! lock says which bytes are right, each is a file that it names, or was built from one whose hash pip held against it.

mod adopt;
mod check;
mod fetch;
mod wanted;
mod wheel;

pub use adopt::{Adopted, adopt};
pub use check::check;
pub use wanted::{Wanted, wanted};
pub use wheel::Wheel;

use super::init::{LOCK, WHEELS, python_version};
use crate::environment::{Interpreter, find_interpreter};
use crate::error::{Error, Result};
use crate::run::write_whole;
use sealstone_spec::recipe::Environment;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What is to be locked, and how.
#[derive(Clone, Debug, Default)]
pub struct LockOptions {
    /// The requirements, if not those that are found.
    pub requirements: Option<PathBuf>,
    /// Version of Python; without it, that of the recipe or the project's environment.
    pub python: Option<String>,
}

/// Where lock and wheels of a project lie: where its recipe says, else under their usual names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The lock, relative to the project.
    pub lock: String,
    /// The wheels, relative to the project, with a slash at their end.
    pub wheels: String,
    /// The version of Python that the recipe states.
    pub python: Option<String>,
}

impl Places {
    /// Those of a project. A recipe that has errors says nothing.
    pub fn of(root: &Path) -> Places {
        let usual = Places {
            lock: LOCK.to_owned(),
            wheels: WHEELS.to_owned(),
            python: None,
        };
        let Ok(project) = crate::recipe::Project::open(root) else {
            return usual;
        };
        match project.recipe().environment() {
            Environment::Venv {
                python,
                lock,
                wheels,
            } => Places {
                lock: lock.to_string(),
                wheels: wheels
                    .as_ref()
                    .map_or(usual.wheels, |path| format!("{}/", path.as_str())),
                python: python.clone(),
            },
            _ => usual,
        }
    }
}

/// A lock that was written.
#[derive(Clone, Debug)]
pub struct Locked {
    /// Where it lies, relative to the project.
    pub places: Places,
    /// The version of Python that it is for.
    pub python: String,
    /// What was locked from.
    pub from: String,
    /// The wheels, by name.
    pub wheels: Vec<Wheel>,
    /// Packages of which no wheel was published, so that one was built here.
    pub built: Vec<String>,
    /// Files that were taken out of the directory of wheels.
    pub removed: Vec<String>,
}

/// Resolves, fetches and locks the requirements of the project in `root`. `note` is told what goes on.
///
/// # Errors
/// If nothing says what is required, pip fails, or a wheel is not what another lock says.
pub fn lock(root: &Path, options: &LockOptions, note: &mut dyn FnMut(&str)) -> Result<Locked> {
    let places = Places::of(root);
    let due = options.python.clone().or_else(|| places.python.clone());
    let interpreter = match &due {
        Some(version) => find_interpreter(Some(version))?,
        None => match python_version(root).map(|version| find_interpreter(Some(&version))) {
            Some(Ok(found)) => found,
            _ => find_interpreter(None)?,
        },
    };
    let wanted = wanted(root, options.requirements.as_deref())?;
    note(&format!(
        "resolving {} for Python {}",
        wanted.from, interpreter.version
    ));
    let directory = root.join(&places.wheels);
    // Beside its place, so that it can be moved there in one step.
    let parent = directory.parent().unwrap_or(root);
    fs::create_dir_all(parent)
        .map_err(|source| Error::io("making the directory of wheels", source))?;
    let fetched = tempfile::Builder::new()
        .prefix(".wheels-")
        .tempdir_in(parent)
        .map_err(|source| Error::io("making a directory for wheels", source))?;
    let mut built = fetch::fetch(&interpreter, root, &wanted, fetched.path(), &directory)?;
    if wanted.is_locked() {
        built = from_named_files(&interpreter, root, &wanted, fetched.path(), note)?;
    }
    let wheels = wheel::wheels_in(fetched.path())?;
    if wheels.is_empty() {
        return Err(Error::other(format!("{} names no package", wanted.from)));
    }
    let removed = put(fetched.path(), &directory, &wheels)?;
    let text = text(&wheels, &interpreter.version, &wanted.from);
    write_whole(&root.join(&places.lock), text.as_bytes())?;
    Ok(Locked {
        places,
        python: interpreter.version,
        from: wanted.from,
        wheels,
        built,
        removed,
    })
}

/// Makes each wheel that is no file of the other lock again from one that is; returns the packages that were built so.
fn from_named_files(
    interpreter: &Interpreter,
    root: &Path,
    wanted: &Wanted,
    fetched: &Path,
    note: &mut dyn FnMut(&str),
) -> Result<Vec<String>> {
    let wheels = wheel::wheels_in(fetched)?;
    let mut made = BTreeSet::new();
    for (wheel, package) in wanted.unnamed(&wheels)? {
        note(&format!(
            "{} is made from the file that {} names",
            wheel.name, wanted.from
        ));
        let place = fetched.join(&wheel.file);
        fs::remove_file(&place)
            .map_err(|source| Error::io(format!("removing \"{}\"", place.display()), source))?;
        fetch::again(interpreter, root, package, &wanted.from, fetched)?;
        made.insert(wheel.name.as_str());
    }
    // Code of packages ran meanwhile: what it left of the others is looked at.
    let left = wheel::wheels_in(fetched)?;
    let mut built = Vec::new();
    for (wheel, _) in wanted.unnamed(&left)? {
        if !made.contains(wheel.name.as_str()) {
            return Err(Error::halted(format!(
                "\"{}\" is not one of the files that {} names for {}",
                wheel.file, wanted.from, wheel.name
            )));
        }
        built.push(wheel.name.clone());
    }
    Ok(built)
}

/// The lock's text: sorted by name, one hash for each package.
fn text(wheels: &[Wheel], python: &str, from: &str) -> String {
    let mut text = format!(
        "# Made by `sealstone env lock` from {from}, for Python {python} on this kind of machine.\n"
    );
    for wheel in wheels {
        text.push_str(&format!(
            "{}=={} \\\n    --hash=sha256:{}\n",
            wheel.name,
            wheel.version,
            wheel.digest.hex()
        ));
    }
    text
}

/// Moves the wheels to their place, and takes away those of before.
fn put(from: &Path, to: &Path, wheels: &[Wheel]) -> Result<Vec<String>> {
    let what = |path: &Path| format!("putting \"{}\" in place", path.display());
    fs::create_dir_all(to).map_err(|source| Error::io(what(to), source))?;
    for wheel in wheels {
        let place = to.join(&wheel.file);
        fs::rename(from.join(&wheel.file), &place)
            .map_err(|source| Error::io(what(&place), source))?;
    }
    let mut removed = Vec::new();
    for entry in fs::read_dir(to).map_err(|source| Error::io(what(to), source))? {
        let entry = entry.map_err(|source| Error::io(what(to), source))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".whl") && !wheels.iter().any(|wheel| wheel.file == name) {
            fs::remove_file(entry.path())
                .map_err(|source| Error::io(what(&entry.path()), source))?;
            removed.push(name);
        }
    }
    removed.sort();
    Ok(removed)
}

#[cfg(test)]
mod tests;
