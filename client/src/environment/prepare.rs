//! The programs of a recipe, made from what lies in its directory.
//!
//! A run keeps what it made in the user's cache, for itself and for others; a replay has a place of its own. Images
//! that only a registry holds are brought by [`fetch_image`](super::fetch_image) before.
//! Invariant: what is made has a digest in the recipe or in the lock that it names; nothing is fetched, and nothing that is
//! made already is taken from the recipe's directory.

use super::cache::{self, Parts};
use super::python::{Interpreter, find_interpreter};
use super::rootfs::{self, Wanted};
use super::{image, place};
use crate::error::{Error, Result};
use crate::runner::Software;
use sealstone_spec::digest::Digest;
use sealstone_spec::recipe::{Environment, Recipe};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The programs of a recipe's environment.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// What stages see of them.
    pub software: Software,
    /// Digest of a materialised Python environment.
    pub python_environment: Option<Digest>,
    /// Holds an environment that is kept: it may be removed for its age once this and its copies are dropped.
    pub in_use: Option<Arc<File>>,
}

impl Prepared {
    /// An interpreter of this machine and nothing else.
    pub fn of_machine(interpreter: Option<&Interpreter>) -> Prepared {
        Prepared {
            software: interpreter.map(Interpreter::software).unwrap_or_default(),
            ..Prepared::default()
        }
    }
}

/// Makes the environment of the recipe in `root`, in the directory `place`, where none is yet. A virtual environment is
/// made with `interpreter`, or with the one that the recipe names.
///
/// # Errors
/// If it cannot be made as its lock says: [`Outcome::Halted`](crate::Outcome::Halted) if bytes are not what
/// a digest says.
pub fn prepare(
    recipe: &Recipe,
    root: &Path,
    place: &Path,
    interpreter: Option<&Interpreter>,
) -> Result<Prepared> {
    made(recipe, root, Making::Anew(place), interpreter)
}

/// The same for a run: what any run of this user has made of the same is used again, and what is made is kept. Where
/// nothing can be kept, it is made in `scratch`, an existing directory that has to stay for as long as it is used, and
/// `note` is told why.
///
/// # Errors
/// As [`prepare`]; [`Outcome::Refused`](crate::Outcome::Refused) if others may write where environments are kept.
pub fn prepare_kept(
    recipe: &Recipe,
    root: &Path,
    scratch: &Path,
    note: &mut dyn FnMut(&str),
) -> Result<Prepared> {
    if let Environment::Host = recipe.environment() {
        return prepare(recipe, root, scratch, None);
    }
    match place::of_user(root)? {
        Ok(kept) => made(recipe, root, Making::Kept(&kept), None),
        Err(reason) => {
            note(&format!(
                "the environment is made for this run alone: {reason}"
            ));
            prepare(recipe, root, scratch, None)
        }
    }
}

/// Where an environment is made.
#[derive(Clone, Copy)]
enum Making<'a> {
    /// In this directory, where none is yet.
    Anew(&'a Path),
    /// Among those that are kept there.
    Kept(&'a Path),
}

fn made(
    recipe: &Recipe,
    root: &Path,
    making: Making<'_>,
    interpreter: Option<&Interpreter>,
) -> Result<Prepared> {
    let own: PathBuf;
    let wanted = match making {
        Making::Kept(place) => Wanted::Kept(place),
        Making::Anew(place) => {
            own = place.join("rootfs");
            Wanted::Anew(&own)
        }
    };
    match recipe.environment() {
        // The interpreter that the caller would use, wherever it lies; a recipe without Python needs none.
        Environment::Host => Ok(match interpreter {
            Some(interpreter) => Prepared::of_machine(Some(interpreter)),
            None => Prepared::of_machine(find_interpreter(None).ok().as_ref()),
        }),
        Environment::Venv {
            python,
            lock,
            wheels,
        } => {
            let wheels = wheels.as_ref().ok_or_else(|| {
                Error::usage("the environment names no wheels")
                    .hint("add wheels = \"wheels/\" and fill it: sealstone env lock")
            })?;
            let found;
            let interpreter = match interpreter {
                Some(interpreter) => interpreter,
                None => {
                    found = find_interpreter(python.as_deref())?;
                    &found
                }
            };
            let parts = Parts {
                root,
                lock,
                wheels,
                interpreter,
            };
            let made = match making {
                Making::Anew(place) => cache::made(parts, &place.join("venv"))?,
                Making::Kept(place) => cache::kept_or_made(parts, place)?,
            };
            Ok(Prepared {
                software: made.software(),
                python_environment: Some(made.digest),
                in_use: made.in_use,
            })
        }
        Environment::Rootfs { path, digest } => {
            let (rootfs, in_use) = rootfs::unpacked(&root.join(path.as_str()), *digest, wanted)?;
            Ok(Prepared {
                software: Software {
                    rootfs: Some(rootfs),
                    ..Software::default()
                },
                in_use,
                ..Prepared::default()
            })
        }
        Environment::Oci {
            digest,
            rootfs_in_bundle,
            ..
        } => {
            let (software, in_use) = image::unpacked(root, digest, *rootfs_in_bundle, wanted)?;
            Ok(Prepared {
                software,
                in_use,
                ..Prepared::default()
            })
        }
        other => Err(Error::refused(format!(
            "environments of the kind \"{}\" are not known to this version",
            other.kind()
        ))),
    }
}
