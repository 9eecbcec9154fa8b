//! The programs of a recipe, made from what lies in its directory.
//!
//! Used by a run and by a replay alike; a run keeps what it made, a replay has a place of its own. Images
//! that only a registry holds are brought by [`fetch_image`](super::fetch_image) before.
//! Invariant: what is made has a digest in the recipe or in the lock that it names; nothing is fetched.

use super::cache::{Parts, kept_or_made};
use super::python::{Interpreter, find_interpreter};
use super::{image, rootfs};
use crate::error::{Error, Result};
use crate::runner::Software;
use sealstone_spec::digest::Digest;
use sealstone_spec::recipe::{Environment, Recipe};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// The programs of a recipe's environment.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// What stages see of them.
    pub software: Software,
    /// Digest of a materialised Python environment.
    pub python_environment: Option<Digest>,
    /// Holds that environment: it may be removed for its age once this and its copies are dropped.
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

/// Makes the environment of the recipe in `root`, in `place`; what lies there already, made of the same, is
/// used again. A virtual environment is made with `interpreter`, or with the one that the recipe names.
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
            let made = kept_or_made(parts, place)?;
            Ok(Prepared {
                software: made.software(),
                python_environment: Some(made.digest),
                in_use: made.in_use,
            })
        }
        Environment::Rootfs { path, digest } => Ok(Prepared {
            software: Software {
                rootfs: Some(rootfs::kept_or_unpacked(
                    &root.join(path.as_str()),
                    *digest,
                    place,
                )?),
                ..Software::default()
            },
            ..Prepared::default()
        }),
        Environment::Oci {
            digest,
            rootfs_in_bundle,
            ..
        } => Ok(Prepared {
            software: image::kept_or_unpacked(root, digest, *rootfs_in_bundle, place)?,
            ..Prepared::default()
        }),
        other => Err(Error::refused(format!(
            "environments of the kind \"{}\" are not known to this version",
            other.kind()
        ))),
    }
}
