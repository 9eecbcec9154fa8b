//! What lies in a project: scripts that make a model, parameters, requirements, locks.
//!
//! Looks at names and at the text of scripts, not at data. Passes over what programs leave behind,
//! environments, tests and hidden directories. Invariant: what is found is sorted, so that two runs say the same.

use super::classify::{is_params, stage_kind};
use super::python::{self, Script};
use crate::error::{Error, Result};
use sealstone_spec::recipe::{StageKind, is_left_behind};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Deepest directory in which scripts are looked for.
const MAX_DEPTH: usize = 4;
/// Most files that are looked at.
const MAX_FILES: usize = 20_000;
/// Longest script that is read, in bytes.
const MAX_SCRIPT_BYTES: u64 = 1 << 20;

/// A script that is a step.
#[derive(Clone, Debug)]
pub(super) struct FoundScript {
    /// Where it lies.
    pub(super) path: String,
    /// What it is for.
    pub(super) kind: StageKind,
    /// What its text says, where it is Python.
    pub(super) text: Script,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Scanned {
    /// Steps, in the order in which they probably run.
    pub(super) scripts: Vec<FoundScript>,
    /// Every plain file, by its path.
    pub(super) files: BTreeMap<String, u64>,
    /// Files with parameters.
    pub(super) params: Vec<String>,
}

/// Looks through a project.
///
/// # Errors
/// If a directory cannot be read.
pub(super) fn scan(root: &Path) -> Result<Scanned> {
    let mut scanned = Scanned::default();
    walk(root, "", 0, &mut scanned.files)?;
    scanned.params = scanned
        .files
        .keys()
        .filter(|path| is_params(path) && !path.contains('/'))
        .cloned()
        .collect();
    let mut others = Vec::new();
    for (path, size) in &scanned.files {
        if let Some(script) = script(root, path, *size) {
            match stage_kind(stem(path)) {
                Some(kind) => scanned.scripts.push(FoundScript {
                    path: path.clone(),
                    kind,
                    text: script,
                }),
                None => others.push((path.clone(), script)),
            }
        }
    }
    scanned
        .scripts
        .retain(|script| !is_imported(script, &scanned.files));
    // By content only where the names say nothing: a library calls fit() as well.
    for (path, text) in others {
        let Some(kind) = text.looks_like().filter(|_| text.is_program) else {
            continue;
        };
        if !scanned.scripts.iter().any(|known| known.kind == kind) {
            scanned.scripts.push(FoundScript { path, kind, text });
        }
    }
    scanned
        .scripts
        .sort_by(|one, two| (order(one.kind), &one.path).cmp(&(order(two.kind), &two.path)));
    Ok(scanned)
}

/// A module of a package that only defines things is no step, whatever it is called.
fn is_imported(script: &FoundScript, files: &BTreeMap<String, u64>) -> bool {
    let in_package = script
        .path
        .rsplit_once('/')
        .is_some_and(|(directory, _)| files.contains_key(&format!("{directory}/__init__.py")));
    script.path.ends_with(".py")
        && !script.text.is_program
        && (in_package || script.text.only_defines)
}

fn order(kind: StageKind) -> u8 {
    match kind {
        StageKind::Fetch => 0,
        StageKind::Prepare => 1,
        StageKind::Train => 2,
        StageKind::Evaluate => 3,
        _ => 4,
    }
}

/// A script's name without directory and extension.
pub(super) fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

fn script(root: &Path, path: &str, size: u64) -> Option<Script> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_python = name.ends_with(".py");
    let passed_over = name.starts_with("test_")
        || name.ends_with("_test.py")
        || ["setup.py", "conftest.py", "__init__.py", "noxfile.py"].contains(&name)
        || path
            .split('/')
            .any(|part| ["tests", "test", "docs", "notebooks"].contains(&part));
    if passed_over || size > MAX_SCRIPT_BYTES || !(is_python || name.ends_with(".sh")) {
        return None;
    }
    if path.matches('/').count() >= MAX_DEPTH {
        return None;
    }
    if !is_python {
        return Some(Script::unread());
    }
    let text = fs::read_to_string(root.join(path)).ok()?;
    Some(python::read(&text, path))
}

fn walk(root: &Path, prefix: &str, depth: usize, files: &mut BTreeMap<String, u64>) -> Result<()> {
    let directory = root.join(prefix);
    let what = || format!("reading \"{}\"", directory.display());
    let mut entries: Vec<_> = fs::read_dir(&directory)
        .and_then(Iterator::collect)
        .map_err(|source| Error::io(what(), source))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = match prefix {
            "" => name.clone(),
            _ => format!("{prefix}/{name}"),
        };
        let kind = entry
            .file_type()
            .map_err(|source| Error::io(what(), source))?;
        if name.starts_with('.') || is_left_behind(&path) || files.len() >= MAX_FILES {
            continue;
        }
        if kind.is_dir() {
            let passed_over = ["node_modules", "site-packages", "wheels", "mlruns", "dist"];
            let is_environment = entry.path().join("pyvenv.cfg").is_file();
            if depth < 8 && !is_environment && !passed_over.contains(&name.as_str()) {
                walk(root, &path, depth + 1, files)?;
            }
        } else if kind.is_file() {
            let size = entry.metadata().map_or(0, |metadata| metadata.len());
            files.insert(path, size);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn steps_are_found_by_name_then_by_content_and_libraries_are_not() {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("prepare.py", "import csv\nopen('a')\n"),
            (
                "fitting.py",
                "from sklearn import x\nm = x.M().fit(a, b)\nprint(m)\n",
            ),
            ("evaluate.py", "print(1)\n"),
            ("lib/__init__.py", ""),
            ("lib/train.py", "def train():\n    model.fit(1)\n"),
            ("tests/train.py", "print()\n"),
            ("test_train.py", "print()\n"),
            (".venv/lib/train.py", "print()\n"),
            ("env/pyvenv.cfg", ""),
            ("env/train.py", "print()\n"),
            ("params.yaml", "a: 1\n"),
            ("data/raw.csv", "x\n"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let scanned = scan(root.path()).unwrap();
        let found: Vec<_> = scanned
            .scripts
            .iter()
            .map(|script| (script.path.as_str(), script.kind))
            .collect();
        assert_eq!(
            found,
            [
                ("prepare.py", StageKind::Prepare),
                ("fitting.py", StageKind::Train),
                ("evaluate.py", StageKind::Evaluate),
            ]
        );
        assert_eq!(scanned.params, ["params.yaml"]);
        assert!(
            scanned.files.contains_key("data/raw.csv")
                && !scanned.files.contains_key("env/train.py")
        );
    }
}
