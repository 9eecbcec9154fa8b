//! Whether a lock still says what lies in its project: every file, parameter and declared path.
//!
//! Looks at everything and names everything that differs, so that one look is enough. Does not look at the
//! machine: a lock is as good on another one. Invariant: an empty list means that the files of the project at
//! declared paths are exactly those of the lock, byte for byte and mode for mode.

use crate::error::{Error, Result};
use crate::plan::Roots;
use crate::recipe::{LinkPolicy, Project, files_at, hash_path_while};
use crate::stop::Stop;
use sealstone_spec::digest::Digest;
use sealstone_spec::recipe::{
    Environment, FileRole, Lock, LockedFile, Profile, RecipePath, param_changes,
};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::fs::PermissionsExt as _;

/// One way in which a project is not what its lock says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "problem")]
#[non_exhaustive]
pub enum Disagreement {
    /// The recipe is another one, or was run as another one.
    Recipe {
        /// What differs.
        what: String,
    },
    /// A parameter has another value.
    Parameter {
        /// Its name.
        name: String,
        /// Its value in the lock, as JSON text.
        locked: Option<String>,
        /// Its value now.
        now: Option<String>,
    },
    /// A file is not there.
    Missing {
        /// Its path.
        path: String,
    },
    /// A file has other bytes.
    Differs {
        /// Its path.
        path: String,
        /// What the lock says.
        expected: Digest,
        /// What is there.
        actual: Digest,
    },
    /// A file may be run that should not, or the other way round.
    Executable {
        /// Its path.
        path: String,
        /// What the lock says.
        expected: bool,
    },
    /// A file that the lock does not know, at a path that the recipe declares.
    Added {
        /// Its path.
        path: String,
    },
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        match self {
            Disagreement::Recipe { what } => f.write_str(what),
            Disagreement::Parameter { name, locked, now } => write!(
                f,
                "parameter \"{name}\" was {}, is {}",
                value(locked),
                value(now)
            ),
            Disagreement::Missing { path } => write!(f, "\"{path}\" is missing"),
            Disagreement::Differs {
                path,
                expected,
                actual,
            } => write!(
                f,
                "\"{path}\" has other content: the lock has {expected}, found {actual}"
            ),
            Disagreement::Executable {
                path,
                expected: true,
            } => write!(f, "\"{path}\" should be executable"),
            Disagreement::Executable { path, .. } => {
                write!(f, "\"{path}\" should not be executable")
            }
            Disagreement::Added { path } => {
                write!(f, "\"{path}\" is new: the lock does not know it")
            }
        }
    }
}

/// Everything in which a project differs from a lock of it; files of pinned inputs that the lock calls not
/// embedded may be missing. With a profile, its lock, and without outputs: those lie aside and are not kept.
///
/// # Errors
/// If something cannot be read.
pub fn disagreements(
    project: &Project,
    lock: &Lock,
    profile: Option<&Profile>,
) -> Result<Vec<Disagreement>> {
    disagreements_while(project, lock, profile, &Stop::default())
}

/// The same, as long as somebody waits for it: a project may have more data than is read in a while.
pub(crate) fn disagreements_while(
    project: &Project,
    lock: &Lock,
    profile: Option<&Profile>,
    stop: &Stop,
) -> Result<Vec<Disagreement>> {
    let recipe = project.recipe();
    let mut found: Vec<Disagreement> = lock
        .disagreements(recipe)
        .into_iter()
        .map(|what| Disagreement::Recipe { what })
        .collect();
    let due = profile.map(|profile| profile.name.clone());
    if lock.profile != due {
        let named = |name: &Option<String>| match name {
            Some(name) => format!("of the profile \"{name}\""),
            None => "of no profile".to_owned(),
        };
        let what = format!("the lock is {}, not {}", named(&lock.profile), named(&due));
        found.push(Disagreement::Recipe { what });
    }
    let now = project.params_of(profile)?.texts();
    let changes = param_changes(&lock.params, &now).into_iter();
    found.extend(changes.map(|change| Disagreement::Parameter {
        name: change.name,
        locked: change.base,
        now: change.now,
    }));
    let roots = Roots::of(project.root(), profile);
    for file in &lock.files {
        if profile.is_some() && file.role == FileRole::Output {
            continue;
        }
        found.extend(look_at(project, &roots, lock, file, stop)?);
    }
    found.extend(added(project, lock, profile)?);
    Ok(found)
}

/// Refuses what is not what its lock, a file of this name, says; with everything that differs.
///
/// # Errors
/// [`Outcome::Refused`](crate::Outcome::Refused) if anything differs.
pub fn refuse_disagreements(name: &str, found: &[Disagreement]) -> Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let mut error = Error::refused(format!(
        "{name} is not the lock of what lies here; differences: {}",
        found.len()
    ));
    for problem in found.iter().take(20) {
        error = error.hint(problem.to_string());
    }
    Err(error
        .hint("make it so with: sealstone run (what has not changed is not run again)")
        .detail(json!({ "problems": found })))
}

fn look_at(
    project: &Project,
    roots: &Roots,
    lock: &Lock,
    file: &LockedFile,
    stop: &Stop,
) -> Result<Option<Disagreement>> {
    let path = file.path.as_str().to_owned();
    let place = roots.place(project.recipe(), &path);
    let metadata = match place.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => metadata,
        _ if is_elsewhere(lock, &file.path) => return Ok(None),
        _ => return Ok(Some(Disagreement::Missing { path })),
    };
    let (actual, _) = hash_path_while(&place, stop)?;
    if actual != file.digest {
        return Ok(Some(Disagreement::Differs {
            path,
            expected: file.digest,
            actual,
        }));
    }
    let executable = metadata.permissions().mode() & 0o100 != 0;
    Ok(
        (executable != file.executable).then_some(Disagreement::Executable {
            path,
            expected: file.executable,
        }),
    )
}

/// Whether a file is data that need not lie beside its lock.
fn is_elsewhere(lock: &Lock, path: &RecipePath) -> bool {
    let mut inputs = lock.inputs.iter();
    inputs.any(|input| !input.embedded && input.content.path.contains(path))
}

/// Files at declared paths that the lock does not list.
fn added(
    project: &Project,
    lock: &Lock,
    profile: Option<&Profile>,
) -> Result<BTreeSet<Disagreement>> {
    let recipe = project.recipe();
    let mut declared: BTreeSet<&RecipePath> = BTreeSet::new();
    for stage in recipe.stages() {
        declared.extend(stage.reads.iter().chain(&stage.writes));
    }
    declared.extend(recipe.inputs().iter().map(|input| &input.path));
    if let Environment::Venv {
        wheels: Some(wheels),
        ..
    } = recipe.environment()
    {
        declared.insert(wheels);
    }
    let mut found = BTreeSet::new();
    for path in declared {
        for name in files_at(project.root(), path, LinkPolicy::Refuse)?.into_keys() {
            // A profile's outputs and some of its inputs lie elsewhere; what lies here is not its own.
            let is_its_own = profile.is_none_or(|profile| {
                let mut replaced = profile.inputs.keys();
                recipe.writer_of(&name).is_none() && !replaced.any(|from| from.contains_path(&name))
            });
            if is_its_own && lock.file(&name).is_none() {
                found.insert(Disagreement::Added { path: name });
            }
        }
    }
    Ok(found)
}

impl Ord for Disagreement {
    fn cmp(&self, other: &Disagreement) -> std::cmp::Ordering {
        self.to_string().cmp(&other.to_string())
    }
}

impl PartialOrd for Disagreement {
    fn partial_cmp(&self, other: &Disagreement) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
