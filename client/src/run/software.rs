//! The machine as a recipe's environment makes it: programs, and the facts that a stage would see.
//!
//! A virtual environment is made once for each lock, from the wheels beside it, without an index. Images
//! and root file systems are not unpacked here: such a recipe is refused.
//! Invariant: what is installed has a hash in the lock; nothing is fetched.

use super::plan::{Machine, settings};
use super::publish::write_whole;
use crate::environment::{Capture, PythonEnvironment, capture, find_interpreter, materialise};
use crate::error::{Error, Result};
use crate::recipe::{Project, hash_path};
use crate::runner::{Runner, Software, StageJob};
use sealstone_spec::digest::Digest;
use sealstone_spec::recipe::Environment;
use std::fs;
use std::path::Path;

/// The programs of a recipe's environment.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// What stages see of them.
    pub software: Software,
    /// Digest of a materialised Python environment.
    pub python_environment: Option<Digest>,
}

/// The programs of a project; makes a virtual environment where it is not there yet.
///
/// # Errors
/// If the environment cannot be made as its lock says.
pub fn prepare(project: &Project) -> Result<Prepared> {
    match project.recipe().environment() {
        // The interpreter that the caller would use, wherever it lies; a recipe without Python needs none.
        Environment::Host => Ok(Prepared {
            software: find_interpreter(None)
                .map(|found| found.software())
                .unwrap_or_default(),
            python_environment: None,
        }),
        Environment::Venv {
            python,
            lock,
            wheels,
        } => {
            let lock = project.root().join(lock.as_str());
            let wheels = wheels.as_ref().ok_or_else(|| {
                Error::usage("the environment names no wheels")
                    .hint("add wheels = \"wheels/\" and fill it: pip download --require-hashes -r LOCK -d wheels")
            })?;
            let wheels = project.root().join(wheels.as_str());
            let made = venv(project.root(), python.as_deref(), &lock, &wheels)?;
            Ok(Prepared {
                software: made.software(),
                python_environment: Some(made.digest),
            })
        }
        other => Err(Error::refused(format!(
            "environments of the kind \"{}\" cannot be run from a project directory here",
            other.kind()
        ))
        .hint("use kind = \"venv\" with locked wheels")),
    }
}

fn venv(root: &Path, due: Option<&str>, lock: &Path, wheels: &Path) -> Result<PythonEnvironment> {
    let interpreter = find_interpreter(due)?;
    let (digest, _) = hash_path(lock)?;
    let name = format!("venv-{}", &digest.hex()[..16]);
    let directory = root.join(".sealstone").join(&name);
    // Written last: an environment that was cut short is made again.
    let made = root.join(".sealstone").join(format!("{name}.digest"));
    let known = fs::read_to_string(&made)
        .ok()
        .and_then(|text| Digest::parse(text.trim()).ok());
    if let Some(digest) = known.filter(|_| directory.is_dir()) {
        return Ok(PythonEnvironment {
            directory,
            interpreter,
            digest,
            files: 0,
        });
    }
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(root.join(".sealstone"))
        .map_err(|source| Error::io("making the directory .sealstone", source))?;
    let environment = materialise(lock, wheels, &interpreter, &directory)?;
    write_whole(&made, environment.digest.to_string().as_bytes())?;
    Ok(environment)
}

/// The machine with these programs, as the runner shows it to a stage.
///
/// # Errors
/// If the runner does not run at all.
pub fn machine(
    project: &Project,
    prepared: &Prepared,
    runner: &dyn Runner,
    source_date_epoch: u64,
) -> Result<Machine> {
    let scratch = tempfile::tempdir().map_err(|source| Error::io("making a directory", source))?;
    let mut machine = Machine {
        software: prepared.software.clone(),
        source_date_epoch,
        ..Machine::default()
    };
    let mut job = StageJob::new("capture", Vec::new(), scratch.path(), scratch.path());
    let recipe = project.recipe();
    let device = recipe
        .stages()
        .iter()
        .find_map(|stage| stage.device.as_deref());
    settings(
        recipe,
        recipe.determinism().seed,
        &machine,
        device,
        &mut job,
    )?;
    let in_git = project.root().join(".git").exists();
    machine.facts = capture(&Capture {
        runner,
        job: &job,
        repository: in_git.then_some(project.root()),
        python_environment: prepared.python_environment,
    })?
    .facts;
    Ok(machine)
}
