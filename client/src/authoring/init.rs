//! From a project without a recipe to a draft of one.
//!
//! Scripts are found by name and content; what they read and write is taken from a traced run where one was asked
//! for, else from their text. Invariant: an existing recipe is replaced only when that was asked for.

use super::classify::{plain_name, stage_kind};
use super::draft::{Draft, DraftEnvironment, DraftStage, todo};
use super::scan::{FoundScript, Scanned, scan, stem};
use super::settle;
use super::trace::{Traced, trace};
use super::watch::{self, SEED, Watched, own_environment};
use super::{python, write};
use crate::environment::{find_interpreter, stated_version};
use crate::error::{Error, Result};
use crate::run::write_whole;
use sealstone_spec::recipe::{RECIPE_FILE, StageKind};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The lock that `env lock` writes.
pub(super) const LOCK: &str = "requirements.lock";
/// The directory of its wheels.
pub(super) const WHEELS: &str = "wheels/";

/// What `init` was asked for.
#[derive(Clone, Debug, Default)]
pub struct InitOptions {
    /// Run the scripts, or the command, and watch them.
    pub trace: bool,
    /// The command to watch in place of the scripts that are found.
    pub command: Vec<String>,
    /// Replace a recipe that is there.
    pub force: bool,
}

/// A recipe that was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// Where it lies.
    pub path: PathBuf,
    /// What it holds.
    pub draft: Draft,
}

/// Writes a recipe for the project in `directory`. `note` is told what goes on.
///
/// # Errors
/// If there is a recipe already, no script is found, or a traced script fails.
pub fn init(
    directory: &Path,
    options: &InitOptions,
    note: &mut dyn FnMut(&str),
) -> Result<Written> {
    let root = fs::canonicalize(directory)
        .map_err(|source| Error::io(format!("opening \"{}\"", directory.display()), source))?;
    // Before anything runs: a trace may take hours.
    may_write(&root, options.force)?;
    let scanned = scan(&root)?;
    let origin = match (options.trace, options.command.is_empty()) {
        (true, true) => "sealstone init --trace".to_owned(),
        (true, false) => format!("sealstone init --trace -- {}", options.command.join(" ")),
        _ => "sealstone init".to_owned(),
    };
    let mut draft = Draft::new(name(&root), origin);
    draft.environment = environment(&root);
    draft.predicts = scanned
        .scripts
        .iter()
        .find(|script| script.kind == StageKind::Infer)
        .map(|script| script.path.clone());
    let steps: Vec<&FoundScript> = scanned
        .scripts
        .iter()
        .filter(|script| script.kind != StageKind::Infer)
        .collect();
    if steps.is_empty() && options.command.is_empty() {
        return Err(Error::not_found(format!(
            "\"{}\" has no script that looks like preparing, training or evaluating",
            directory.display()
        ))
        .hint(
            "name the command that makes the model: sealstone init --trace -- python3 my_script.py",
        ));
    }
    if options.trace {
        traced(&root, &scanned, &steps, options, &mut draft, note)?;
    } else {
        from_text(&root, &scanned, &steps, &mut draft);
    }
    settle::params(&root, &mut draft, &scanned.params);
    settle::inputs(&root, &mut draft)?;
    settle::metrics(&root, &mut draft);
    write_recipe(&root, draft, options.force)
}

/// Writes a draft as the project's recipe.
///
/// # Errors
/// If there is one already and it is not to be replaced.
pub fn write_recipe(root: &Path, draft: Draft, force: bool) -> Result<Written> {
    may_write(root, force)?;
    let path = root.join(RECIPE_FILE);
    write_whole(&path, write::text(&draft).as_bytes())?;
    Ok(Written { path, draft })
}

/// Whether a recipe may be written there.
///
/// # Errors
/// If there is one already and it is not to be replaced.
pub fn may_write(root: &Path, force: bool) -> Result<()> {
    let path = root.join(RECIPE_FILE);
    if force || path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(
        Error::conflict(format!("\"{}\" is there already", path.display()))
            .hint("check it with: sealstone lint; to write it anew: --force"),
    )
}

/// The project's name: what its packaging says, else that of its directory.
pub(super) fn name(root: &Path) -> String {
    let stated = fs::read_to_string(root.join("pyproject.toml"))
        .ok()
        .and_then(|text| text.parse::<toml::Table>().ok())
        .and_then(|table| Some(table.get("project")?.get("name")?.as_str()?.to_owned()));
    let own = root
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    plain_name(&stated.or(own).unwrap_or_default(), "model")
}

/// What the project says of its environment; the lock may be still to be made.
pub(super) fn environment(root: &Path) -> DraftEnvironment {
    let has = |name: &str| root.join(name).is_file();
    let wanted = [
        LOCK,
        "requirements.txt",
        "pyproject.toml",
        "uv.lock",
        "pylock.toml",
    ];
    if !wanted.iter().any(|name| has(name)) {
        return DraftEnvironment::Host;
    }
    DraftEnvironment::Venv {
        python: python_version(root),
        lock: LOCK.to_owned(),
        wheels: WHEELS.to_owned(),
    }
}

/// The version of the project's own environment, else of the interpreter on `PATH`.
pub(super) fn python_version(root: &Path) -> Option<String> {
    let own = own_environment(root)
        .and_then(|place| fs::read_to_string(place.join("pyvenv.cfg")).ok())
        .and_then(|text| {
            let lines = text.lines().filter_map(|line| line.split_once('='));
            let mut versions =
                lines.filter(|(key, _)| ["version", "version_info"].contains(&key.trim()));
            let (_, version) = versions.next()?;
            Some(
                version
                    .trim()
                    .split('.')
                    .take(3)
                    .collect::<Vec<_>>()
                    .join("."),
            )
        });
    own.or_else(|| find_interpreter(None).ok().map(|found| found.version))
        .and_then(|version| stated_version(&version))
}

fn traced(
    root: &Path,
    scanned: &Scanned,
    steps: &[&FoundScript],
    options: &InitOptions,
    draft: &mut Draft,
    note: &mut dyn FnMut(&str),
) -> Result<()> {
    let watched = Watched::new(root, &scanned.params, note)?;
    let mut found: Vec<(Traced, Option<StageKind>)> = Vec::new();
    if options.command.is_empty() {
        for script in steps {
            let command = command_of(root, &script.path);
            note(&format!("tracing: {}", command.join(" ")));
            let run = trace(root, &command, &watched.programs, SEED, &|_, _| false)?;
            found.extend(run.into_iter().map(|mut step| {
                step.arguments.clone_from(&command);
                (step, Some(script.kind))
            }));
        }
    } else {
        note(&format!("tracing: {}", options.command.join(" ")));
        let is_step =
            |words: &[String], directory: &str| script_of(root, words, directory).is_some();
        let run = trace(root, &options.command, &watched.programs, SEED, &is_step)?;
        found.extend(run.into_iter().map(|step| (step, None)));
    }
    let mut stages: Vec<(DraftStage, Traced)> = Vec::new();
    for (step, kind) in found {
        let mut stage = stage_of(root, &step, kind);
        let taken: Vec<&DraftStage> = stages.iter().map(|(stage, _)| stage).collect();
        stage.name = unused(&stage.name, &taken);
        let script = scanned
            .scripts
            .iter()
            .find(|script| stage.run.contains(&script.path));
        details(root, script, &mut stage);
        stages.push((stage, step));
    }
    draft.stages = watch::declare(&scanned.files, stages);
    Ok(())
}

/// A stage of what a step was.
fn stage_of(root: &Path, step: &Traced, kind: Option<StageKind>) -> DraftStage {
    let script = script_of(
        root,
        &step.arguments,
        &root.join(&step.directory).to_string_lossy(),
    );
    let stem = script.as_deref().map_or("make", stem);
    let kind = kind
        .or_else(|| stage_kind(stem))
        .unwrap_or(StageKind::Other);
    let mut run: Vec<String> = step.arguments.clone();
    if let Some(program) = run.first_mut() {
        let name = program.rsplit('/').next().unwrap_or(program).to_owned();
        let place = root.join(&step.directory).join(program.as_str());
        // A program of the project is found by its path alone.
        let is_own = program.contains('/')
            && fs::canonicalize(place).is_ok_and(|place| place.starts_with(root));
        if name.starts_with("python") {
            "python3".clone_into(program);
        } else if !is_own {
            *program = name;
        }
    }
    let prefix = format!("{}/", root.display());
    for word in &mut run {
        if let Some(inside) = word.strip_prefix(&prefix) {
            *word = inside.to_owned();
        }
        // Braces are words for a recipe.
        *word = word.replace('{', "{{").replace('}', "}}");
    }
    if !step.directory.is_empty() {
        let quoted: Vec<String> = run
            .iter()
            .map(|word| format!("'{}'", word.replace('\'', "'\\''")))
            .collect();
        let line = format!(
            "cd '{}' && {}",
            step.directory.replace('\'', "'\\''"),
            quoted.join(" ")
        );
        run = vec!["sh".to_owned(), "-c".to_owned(), line];
    }
    DraftStage::new(plain_name(stem, "stage"), kind, run)
}

/// Parameters from Sealstone, accelerators: what the script's text says beside files.
fn details(root: &Path, script: Option<&FoundScript>, stage: &mut DraftStage) {
    let Some(script) = script else {
        return;
    };
    let text = fs::read_to_string(root.join(&script.path)).unwrap_or_default();
    if text.contains("SEALSTONE_PARAMS") {
        stage.params = vec!["*".to_owned()];
    }
    if script.text.names_cuda && stage.device.is_some() {
        stage
            .notes
            .push("It names CUDA: say device = \"cuda:0\" if that is where it runs.".to_owned());
    }
}

/// The script of the project that a command runs, by its path; with `-m`, the module.
fn script_of(root: &Path, words: &[String], directory: &str) -> Option<String> {
    let program = words.first()?.rsplit('/').next()?;
    let interprets = ["python", "Rscript", "julia"]
        .iter()
        .any(|name| program.starts_with(name));
    if !interprets {
        return None;
    }
    let mut rest = words[1..].iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-c" => return None,
            "-m" => {
                let module = rest.next()?.replace('.', "/");
                let candidates = [format!("{module}.py"), format!("{module}/__main__.py")];
                return candidates
                    .into_iter()
                    .find(|path| root.join(path).is_file());
            }
            "-X" | "-W" => drop(rest.next()),
            option if option.starts_with('-') => {}
            path => {
                let whole = fs::canonicalize(Path::new(directory).join(path)).ok()?;
                let inside = whole.strip_prefix(root).ok()?.to_str()?.to_owned();
                return whole.is_file().then_some(inside);
            }
        }
    }
    None
}

fn command_of(root: &Path, script: &str) -> Vec<String> {
    let first = fs::read_to_string(root.join(script)).unwrap_or_default();
    let program = match script.ends_with(".py") {
        true => "python3",
        false
            if first
                .lines()
                .next()
                .is_some_and(|line| line.contains("bash")) =>
        {
            "bash"
        }
        false => "sh",
    };
    vec![program.to_owned(), script.to_owned()]
}

fn unused(name: &str, stages: &[&DraftStage]) -> String {
    let taken = |name: &str| stages.iter().any(|stage| stage.name == name);
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.to_owned())
        .chain(numbered)
        .find(|name| !taken(name))
        .unwrap_or_default()
}

/// Stages as the texts of the scripts tell them.
fn from_text(root: &Path, scanned: &Scanned, steps: &[&FoundScript], draft: &mut Draft) {
    draft.notes.push(
        "What stages read and write was taken from the text of the scripts. A run that is watched knows better:\n\
         sealstone init --force --trace"
            .to_owned(),
    );
    let written: BTreeMap<&str, &str> = steps
        .iter()
        .flat_map(|script| {
            script
                .text
                .writes
                .iter()
                .map(|path| (path.as_str(), script.path.as_str()))
        })
        .collect();
    for script in steps {
        let stem = stem(&script.path);
        let taken: Vec<&DraftStage> = draft.stages.iter().collect();
        let name = unused(&plain_name(stem, "stage"), &taken);
        let mut stage = DraftStage::new(name, script.kind, command_of(root, &script.path));
        for path in &script.text.reads {
            let is_own = script.text.writes.contains(path);
            if scanned.files.contains_key(path) || (written.contains_key(path.as_str()) && !is_own)
            {
                stage.read(path);
            } else if root.join(path).is_dir() {
                stage.read(format!("{}/", path.trim_end_matches('/')));
            } else if !is_own {
                stage
                    .notes
                    .push(format!("It names \"{path}\", which is not there."));
            }
        }
        for path in modules(root, script) {
            stage.read(path);
        }
        stage.read(&script.path);
        stage.writes = script.text.writes.iter().cloned().collect();
        if stage.writes.is_empty() {
            stage.writes = vec![todo("which files does it write?")];
        }
        details(root, Some(script), &mut stage);
        draft.stages.push(stage);
    }
}

/// Modules of the project that a script imports, and those that they import.
fn modules(root: &Path, script: &FoundScript) -> BTreeSet<String> {
    let directory = script
        .path
        .rsplit_once('/')
        .map_or("", |(directory, _)| directory);
    let mut found = BTreeSet::new();
    let mut queue: Vec<String> = script.text.imports.iter().cloned().collect();
    let mut seen = BTreeSet::new();
    while let Some(module) = queue.pop() {
        if !seen.insert(module.clone()) || seen.len() > 500 {
            continue;
        }
        let at = |base: &str| match base {
            "" => module.clone(),
            base => format!("{base}/{module}"),
        };
        for place in [at(directory), at("")] {
            let package = place.split('/').next().unwrap_or_default().to_owned() + "/__init__.py";
            let candidates = [
                format!("{place}.py"),
                format!("{place}/__init__.py"),
                package,
            ];
            for path in candidates {
                if path != script.path && root.join(&path).is_file() && found.insert(path.clone()) {
                    let text = fs::read_to_string(root.join(&path)).unwrap_or_default();
                    queue.extend(python::read(&text, &path).imports);
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_program_of_the_project_keeps_its_path() {
        let place = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(place.path()).unwrap();
        fs::create_dir_all(root.join("bin")).unwrap();
        for name in ["bin/feat", "bin/python3.11"] {
            fs::write(root.join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("/bin/sh", root.join("bin/sh")).unwrap();
        let whole = root.join("bin/feat").display().to_string();
        for (program, due) in [
            ("./bin/feat", "./bin/feat"),
            (whole.as_str(), "bin/feat"),
            ("bin/sh", "sh"),
            ("/usr/bin/awk", "awk"),
            ("awk", "awk"),
            ("bin/python3.11", "python3"),
        ] {
            let step = Traced {
                arguments: vec![program.to_owned()],
                ..Traced::default()
            };
            assert_eq!(stage_of(&root, &step, None).run, [due], "{program}");
        }
    }
}
