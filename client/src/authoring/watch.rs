//! A run that is watched for a recipe: with which programs, and what its steps declare afterwards.
//!
//! Between `trace`, which sees files, and the draft, which names what a stage reads and writes.
//! Invariant: what would keep a stage from running elsewhere stands in its description as a TODO.

use super::classify::is_code;
use super::draft::{DraftStage, todo};
use super::init::{LOCK, WHEELS, python_version};
use super::settle;
use super::trace::{Programs, Traced};
use super::write::quoted;
use crate::environment::{Prepared, prepare_kept};
use crate::error::{Error, Result};
use crate::recipe::read_params;
use crate::run::home;
use sealstone_spec::recipe::Recipe;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The seed that a new recipe states, and that a traced run gets.
pub(super) const SEED: u64 = 1;

/// Programs and variables of a run that is watched.
pub(super) struct Watched {
    /// The programs.
    pub(super) programs: Programs,
    /// Holds their environment while it runs.
    _environment: Option<Held>,
    /// Holds the parameters while it runs.
    _params: tempfile::TempDir,
}

impl Watched {
    /// For the project in `root`, with the values of its only file of parameters.
    pub(super) fn new(
        root: &Path,
        params: &[String],
        note: &mut dyn FnMut(&str),
    ) -> Result<Watched> {
        let (mut programs, environment) = programs(root, note)?;
        // Scripts that were written for Sealstone look for their parameters there.
        let scratch =
            tempfile::tempdir().map_err(|source| Error::io("making a directory", source))?;
        if let [file] = params
            && let Ok(values) = read_params(&root.join(file))
        {
            let path = scratch.path().join("params.json");
            fs::write(&path, values.to_value().to_string())
                .map_err(|source| Error::io("writing the parameters", source))?;
            let value = path.to_string_lossy().into_owned();
            programs
                .variables
                .push(("SEALSTONE_PARAMS".to_owned(), value));
            programs.prefixes.push(scratch.path().to_owned());
        }
        Ok(Watched {
            programs,
            _environment: environment,
            _params: scratch,
        })
    }
}

/// A recipe that says nothing but where the locked environment is.
fn locked(root: &Path) -> Result<Recipe> {
    let python = python_version(root)
        .map(|version| format!("python = {}, ", quoted(&version)))
        .unwrap_or_default();
    let text = format!(
        "recipe = {{ version = 1, name = \"x\" }}\n\
         environment = {{ kind = \"venv\", {python}lock = {}, wheels = {} }}\n\
         [stage.x]\nkind = \"other\"\nrun = [\"x\"]\nout = [\"x\"]\n",
        quoted(LOCK),
        quoted(WHEELS)
    );
    Recipe::parse(&text)
        .map_err(|error| Error::other("the locked environment cannot be named").source(error))
}

/// The virtual environment in the project, if there is one.
pub(super) fn own_environment(root: &Path) -> Option<PathBuf> {
    [".venv", "venv", "env"]
        .iter()
        .map(|name| root.join(name))
        .find(|place| place.join("pyvenv.cfg").is_file() && place.join("bin/python").exists())
}

/// An environment, and the directory in which it lies where it is not kept.
type Held = (Prepared, tempfile::TempDir);

/// The Python that a trace runs: the locked environment if there is one, which is held, the project's own, the caller's.
fn programs(root: &Path, note: &mut dyn FnMut(&str)) -> Result<(Programs, Option<Held>)> {
    let mut environment = None;
    let mut programs = if root.join(LOCK).is_file() && root.join(WHEELS).is_dir() {
        note("running in the locked environment");
        let scratch = tempfile::tempdir_in(home(root)?)
            .map_err(|source| Error::io("making a directory in .sealstone", source))?;
        let made = prepare_kept(&locked(root)?, root, scratch.path(), note)?;
        let software = made.software.clone();
        environment = Some((made, scratch));
        Programs {
            path: software.path,
            prefixes: software.read_only,
            variables: Vec::new(),
        }
    } else if let Some(own) = own_environment(root) {
        note(&format!("running in {}", own.display()));
        Programs {
            path: vec![own.join("bin")],
            ..Programs::default()
        }
    } else {
        Programs::default()
    };
    let program = match programs.path.first() {
        Some(place) => place.join("python3"),
        None => PathBuf::from("python3"),
    };
    let ask = "import os,site,sys; print('\\n'.join([os.path.dirname(sys.executable), sys.prefix, sys.base_prefix, \
        sys.exec_prefix, site.getusersitepackages(), os.path.realpath(sys.executable)]))";
    // Nothing is compiled into an environment that is kept.
    if let Ok(output) = Command::new(program).args(["-B", "-c", ask]).output()
        && output.status.success()
    {
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = told.lines().map(PathBuf::from);
        // The program itself and no shim in front of it, whose files would seem to be read.
        if programs.path.is_empty() {
            programs.path.extend(lines.next());
        } else {
            lines.next();
        }
        programs.prefixes.extend(lines);
    }
    Ok((programs, environment))
}

/// Stages with what their steps read and wrote. `files` are those of the project before the run.
pub(super) fn declare(
    files: &BTreeMap<String, u64>,
    found: Vec<(DraftStage, Traced)>,
) -> Vec<DraftStage> {
    let writes: Vec<BTreeSet<String>> = found.iter().map(|(_, step)| step.writes.clone()).collect();
    let mut stages = Vec::new();
    for (index, (mut stage, step)) in found.into_iter().enumerate() {
        let others: BTreeSet<&String> = writes
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .flat_map(|(_, paths)| paths)
            .collect();
        let below = |place: &str, path: &str| path.starts_with(&format!("{place}/"));
        let only_read = |place: &str| {
            !step.writes.iter().any(|path| below(place, path))
                && !others.iter().any(|path| below(place, path))
        };
        let reads: BTreeSet<String> = step.reads.difference(&step.changes).cloned().collect();
        stage.reads = settle::gather(&reads, &step.lists, &only_read);
        stage
            .reads
            .sort_by_key(|path| (is_code(path), path.clone()));
        let only_mine = |place: &str| {
            let foreign = |path: &String| below(place, path) && !step.writes.contains(path);
            !files.keys().any(foreign) && !others.iter().any(|path| below(place, path))
        };
        stage.writes = settle::gather(&step.writes, &BTreeSet::new(), &only_mine);
        if stage.writes.is_empty() {
            stage.writes = vec![todo(
                "the traced run wrote no file in the project: what comes out of this stage?",
            )];
        }
        gaps(&step, &mut stage);
        stages.push(stage);
    }
    stages
}

/// What keeps a traced step from being repeated elsewhere.
fn gaps(step: &Traced, stage: &mut DraftStage) {
    let mut tasks = Vec::new();
    let some = |paths: &BTreeSet<String>| {
        let named: Vec<&str> = paths.iter().take(4).map(String::as_str).collect();
        let more = if paths.len() > 4 { ", ..." } else { "" };
        format!("{}{more}", named.join(", "))
    };
    if !step.changes.is_empty() {
        tasks.push(format!(
            "it reads {} and then changes it: write the result under another name",
            some(&step.changes)
        ));
    }
    if !step.outside.is_empty() {
        tasks.push(format!(
            "it read {} outside the project, which stages cannot see: bring it into the project as an input",
            some(&step.outside)
        ));
    }
    if !step.reached.is_empty() {
        tasks.push(format!(
            "it used the network ({}), which stages do not have: fetch the data before, and pin it as an input",
            some(&step.reached)
        ));
    }
    if !tasks.is_empty() {
        stage.description = Some(todo(tasks.join("; ")));
    }
}
