//! The environment of a replay, made of what the baseline names, in a place of its own.
//!
//! Whether another Python than the baseline's will do is the table's to say (chapter 8): where it has to
//! match, nothing is installed for it, and the report says which differ.
//! Invariant: nothing is taken from the network or from an earlier run; bytes that are not what the lock says
//! halt the replay.

use super::facts;
use super::halt::Halt;
use super::project::{Project, ProjectError};
use crate::environment::{Interpreter, Prepared, find_interpreter, prepare};
use crate::error::Outcome;
use sealstone_spec::environment::{Facts, Level};
use sealstone_spec::recipe::Environment;
use sealstone_spec::report::Verdict;
use std::path::Path;

/// Why an environment was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmade {
    /// The best verdict that this leaves.
    pub verdict: Verdict,
    /// In words.
    pub text: String,
}

/// What stages of a replay can use.
#[derive(Clone, Debug, Default)]
pub struct Materialised {
    /// The programs; only those of the machine if the environment was not made.
    pub prepared: Prepared,
    /// Why it was not made.
    pub unmade: Option<Unmade>,
}

/// Makes the environment of a project in `place`; `now` is the time, RFC 3339 in UTC.
///
/// # Errors
/// Halts if a wheel, a root file system or an image is not what its digest says.
pub fn materialise(
    project: &Project,
    place: &Path,
    now: &str,
) -> Result<Materialised, ProjectError> {
    let interpreter = interpreter(project);
    if let Some(text) = other_machine(project, interpreter.as_ref(), now) {
        return Ok(Materialised {
            prepared: Prepared::of_machine(interpreter.as_ref()),
            unmade: Some(Unmade {
                verdict: Verdict::Inconclusive,
                text,
            }),
        });
    }
    match prepare(project.recipe(), &project.root, place, interpreter.as_ref()) {
        Ok(prepared) => Ok(Materialised {
            prepared,
            unmade: None,
        }),
        Err(error) if error.outcome() == Outcome::Halted => {
            let subject = match project.recipe().environment() {
                Environment::Venv { lock, wheels, .. } => wheels.as_ref().unwrap_or(lock).as_str(),
                Environment::Rootfs { path, .. } => path.as_str(),
                Environment::Oci { image, .. } => image.as_str(),
                _ => "environment",
            };
            // Wheels and root file systems travel in the bundle; an image that does not is another place's.
            let travels = match project.recipe().environment() {
                Environment::Venv { .. } | Environment::Rootfs { .. } => true,
                Environment::Oci {
                    rootfs_in_bundle, ..
                } => *rootfs_in_bundle,
                _ => false,
            };
            Err(ProjectError::Halt(Halt {
                owner: project.recipe().owner().map(str::to_owned),
                about_bundle: travels && project.is_sealed(),
                ..Halt::new("file-digest", subject, error.to_string())
            }))
        }
        Err(error) => Ok(Materialised {
            prepared: Prepared::of_machine(interpreter.as_ref()),
            unmade: Some(Unmade {
                verdict: match error.outcome() {
                    Outcome::Refused | Outcome::NotFound => Verdict::Inconclusive,
                    _ => Verdict::Error,
                },
                text: std::iter::once(error.to_string())
                    .chain(error.causes())
                    .collect::<Vec<_>>()
                    .join(": "),
            }),
        }),
    }
}

/// The interpreter that the baseline had; if it is not here, the one that comes closest.
fn interpreter(project: &Project) -> Option<Interpreter> {
    let stated = match project.recipe().environment() {
        Environment::Venv { python, .. } => python.as_deref(),
        Environment::Host => None,
        // A root file system brings its own, or none.
        _ => return None,
    };
    let base = project.lock().environment.facts().unwrap_or_default();
    let due = base.get("python.version").map(ToString::to_string);
    let as_stated = find_interpreter(stated).ok();
    let is_due = |found: &Interpreter| due.as_ref().is_none_or(|due| found.version == *due);
    if as_stated.as_ref().is_some_and(is_due) {
        return as_stated;
    }
    let minor = due
        .as_deref()
        .and_then(|due| due.rsplit_once('.'))
        .map(|(minor, _)| minor);
    find_interpreter(due.as_deref())
        .ok()
        .or(as_stated)
        .or_else(|| find_interpreter(minor).ok())
        .or_else(|| find_interpreter(None).ok())
}

/// Why nothing is installed on this machine: what differs and has to match.
fn other_machine(
    project: &Project,
    interpreter: Option<&Interpreter>,
    now: &str,
) -> Option<String> {
    let Environment::Venv { .. } = project.recipe().environment() else {
        return None;
    };
    let base = project.lock().environment.facts().ok()?;
    let mut then = Facts::default();
    let mut here = Facts::default();
    for name in ["machine.arch", "python.version"] {
        if let Some(value) = base.get(name) {
            then.set(name, value.clone()).ok()?;
        }
    }
    here.set("machine.arch", std::env::consts::ARCH).ok()?;
    if let Some(interpreter) = interpreter {
        here.set("python.version", interpreter.version.as_str())
            .ok()?;
    }
    let difference = facts::compare(project, &then, &here, now);
    let told: Vec<String> = difference
        .at(Level::Must)
        .map(|row| {
            let value = |side: &Option<String>| side.clone().unwrap_or_else(|| "none".to_owned());
            format!(
                "{} is {} here and was {}",
                row.fact,
                value(&row.now),
                value(&row.base)
            )
        })
        .collect();
    (!told.is_empty()).then(|| told.join(", "))
}
