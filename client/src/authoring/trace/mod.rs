//! One run watched with strace: what each step read and wrote in the project, and what it reached beyond it.
//!
//! | part | what it owns |
//! | --- | --- |
//! | `record` | a line of strace |
//! | `files` | calls of all processes as steps with files |
//!
//! The run is an ordinary one, in the project itself, with the caller's variables and network: it shows what the
//! programs do, and proves nothing. Invariant: a command that failed proposes nothing.

mod files;
mod record;

pub use files::{IsStep, Process, Step, steps};
pub use record::{Call, read_line};

use crate::error::{Error, Result};
use sealstone_spec::recipe::is_left_behind;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Most bytes of records that are read of one run.
const MAX_RECORD_BYTES: u64 = 4 << 30;
const CALLS: &str = "trace=?open,?openat,?openat2,?creat,?rename,?renameat,?renameat2,?link,?linkat,?symlink,\
    ?symlinkat,?truncate,?unlink,?unlinkat,?chdir,?fchdir,?execve,?clone,?clone3,?fork,?vfork,?connect";

/// The programs with which a trace runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Programs {
    /// Directories that are looked through first.
    pub(super) path: Vec<PathBuf>,
    /// Where the programs and their libraries lie: what is read there is the environment.
    pub(super) prefixes: Vec<PathBuf>,
    /// Variables that the programs get beside the caller's.
    pub(super) variables: Vec<(String, String)>,
}

/// What a step did, with paths inside the project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Traced {
    /// Its command.
    pub(super) arguments: Vec<String>,
    /// The directory in which it was started, relative to the project; empty for the project itself.
    pub(super) directory: String,
    /// Files that it read.
    pub(super) reads: BTreeSet<String>,
    /// Files that it wrote and that are there.
    pub(super) writes: BTreeSet<String>,
    /// Files that it read and then changed.
    pub(super) changes: BTreeSet<String>,
    /// Directories that it listed.
    pub(super) lists: BTreeSet<String>,
    /// Files outside the project that it read, and that are no part of the programs.
    pub(super) outside: BTreeSet<String>,
    /// Addresses beyond this machine that it tried.
    pub(super) reached: BTreeSet<String>,
}

/// Runs a command in `root` and watches it. `is_step` says which of the commands that it starts are steps of
/// their own. What the programs print goes to standard error.
///
/// # Errors
/// If there is no strace that works, or the command fails.
pub(super) fn trace(
    root: &Path,
    command: &[String],
    programs: &Programs,
    seed: u64,
    is_step: IsStep<'_>,
) -> Result<Vec<Traced>> {
    let scratch = tempfile::tempdir()
        .map_err(|source| Error::io("making a directory for the trace", source))?;
    let prefix = scratch.path().join("t");
    let path = search_path(programs)?;
    let mut strace = Command::new("strace");
    strace
        .args([
            "-ff",
            "-qq",
            "-ttt",
            "-y",
            "-s",
            "4096",
            "-e",
            "signal=none",
            "-e",
            CALLS,
            "-o",
        ])
        .arg(&prefix)
        .arg("--")
        .args(command)
        .current_dir(root)
        .env("PATH", path)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONHASHSEED", "0")
        .env("SEALSTONE_SEED", seed.to_string())
        .envs(programs.variables.iter().cloned())
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .stderr(std::io::stderr());
    let status = strace.status().map_err(|source| {
        let error = match source.kind() {
            std::io::ErrorKind::NotFound => {
                Error::not_found("there is no strace, with which runs are traced")
            }
            _ => Error::io("starting strace", source),
        };
        error.hint("Debian: apt-get install strace; or leave out --trace")
    })?;
    let processes = processes(scratch.path())?;
    let first = processes
        .iter()
        .filter_map(|process| Some((process.calls.first()?.0, process.id)))
        .min();
    let shown = command.join(" ");
    let Some((_, first)) = first else {
        return Err(Error::other(format!("strace saw nothing of \"{shown}\""))
            .hint("containers often forbid ptrace: allow it, or leave out --trace"));
    };
    if !status.success() {
        return Err(
            Error::other(format!("\"{shown}\" failed while it was traced ({status})"))
                .hint("what it printed stands above; if packages are missing: sealstone env lock, then again"),
        );
    }
    let root_text = root
        .to_str()
        .ok_or_else(|| Error::usage(format!("the path \"{}\" is not UTF-8", root.display())))?;
    let found = steps(&processes, first, root_text, is_step);
    Ok(found
        .into_iter()
        .map(|step| inside(root, step, programs))
        .collect())
}

fn search_path(programs: &Programs) -> Result<OsString> {
    let inherited = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let all = programs
        .path
        .iter()
        .cloned()
        .chain(std::env::split_paths(&inherited));
    std::env::join_paths(all)
        .map_err(|error| Error::usage(format!("PATH cannot be written: {error}")))
}

fn processes(directory: &Path) -> Result<Vec<Process>> {
    let what = |source| Error::io("reading the trace", source);
    let mut processes = Vec::new();
    let mut bytes = 0;
    for entry in fs::read_dir(directory).map_err(what)? {
        let entry = entry.map_err(what)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(id) = name.strip_prefix("t.").and_then(|id| id.parse().ok()) else {
            continue;
        };
        bytes += entry.metadata().map_err(what)?.len();
        if bytes > MAX_RECORD_BYTES {
            return Err(Error::other("the trace is longer than 4 GiB")
                .hint("trace a shorter run: fewer epochs open the same files"));
        }
        let mut process = Process {
            id,
            calls: Vec::new(),
        };
        for line in BufReader::new(File::open(entry.path()).map_err(what)?).split(b'\n') {
            let line = line.map_err(what)?;
            process
                .calls
                .extend(read_line(&String::from_utf8_lossy(&line)));
        }
        processes.push(process);
    }
    processes.sort_by_key(|process| process.id);
    Ok(processes)
}

/// Places of the system: what is read there is the machine, not the project.
const SYSTEM: [&str; 14] = [
    "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc", "/proc", "/sys", "/dev", "/run",
    "/snap", "/nix", "/var/lib",
];

fn inside(root: &Path, step: Step, programs: &Programs) -> Traced {
    let relative = |path: &str| -> Option<String> {
        let path = Path::new(path)
            .strip_prefix(root)
            .ok()?
            .to_str()?
            .to_owned();
        let hidden = path
            .split('/')
            .any(|part| [".git", ".sealstone", "site-packages"].contains(&part));
        (!path.is_empty() && !hidden && !in_environment(root, &path)).then_some(path)
    };
    let is_file = |path: &String| {
        root.join(path)
            .symlink_metadata()
            .is_ok_and(|found| found.is_file())
    };
    let kept = |paths: &BTreeSet<String>| -> BTreeSet<String> {
        let inside = paths.iter().filter_map(|path| relative(path));
        inside
            .filter(|path| !is_left_behind(path))
            .filter(|path| is_file(path))
            .collect()
    };
    let mut traced = Traced {
        arguments: step.arguments,
        directory: relative(&step.directory).unwrap_or_default(),
        reads: kept(&step.reads),
        writes: kept(&step.writes),
        changes: kept(&step.changes),
        lists: step
            .lists
            .iter()
            .filter_map(|path| relative(path))
            .collect(),
        outside: BTreeSet::new(),
        reached: step.reached,
    };
    for path in &step.reads {
        if let Some(compiled) = relative(path)
            .and_then(|path| source_of(&path))
            .filter(|path| is_file(path))
        {
            traced.reads.insert(compiled);
        }
        let path = Path::new(path);
        let known = path.starts_with(root)
            || SYSTEM.iter().any(|place| path.starts_with(place))
            || programs
                .prefixes
                .iter()
                .any(|place| path.starts_with(place))
            || !path.is_file();
        if !known {
            traced.outside.insert(path.display().to_string());
        }
    }
    traced
}

/// `a/b.py` of `a/__pycache__/b.cpython-311.pyc`: the source decides, whatever was kept of it.
fn source_of(path: &str) -> Option<String> {
    let (directory, name) = path.rsplit_once('/')?;
    let above = directory.strip_suffix("__pycache__")?;
    let module = name.strip_suffix(".pyc")?.split('.').next()?;
    Some(format!("{above}{module}.py"))
}

/// Whether a path lies in a Python environment inside the project.
fn in_environment(root: &Path, path: &str) -> bool {
    path.match_indices('/')
        .any(|(end, _)| root.join(&path[..end]).join("pyvenv.cfg").is_file())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A shell pipeline under the real strace; skipped where there is none that works.
    #[test]
    fn a_real_run_is_seen() {
        let place = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(place.path()).unwrap();
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        fs::write(root.join("in.txt"), "x").unwrap();
        // A program of the project, of which the kernel alone reads.
        fs::create_dir(root.join("tools")).unwrap();
        fs::copy("/bin/cat", root.join("tools/cat")).unwrap();
        fs::write(
            root.join("one.sh"),
            "mkdir -p out; tools/cat in.txt > out/tmp; mv out/tmp 'out/é x.txt'\n",
        )
        .unwrap();
        fs::write(root.join("two.sh"), "cat out/*.txt \"$1\" > two.txt\n").unwrap();
        let all = format!(
            "sh one.sh && cd . && sh two.sh {}",
            elsewhere.path().display()
        );
        let command = ["sh", "-c", &all].map(str::to_owned);
        let is_step = |words: &[String], _: &str| words.len() > 1 && words[1].ends_with(".sh");
        let found = match trace(&root, &command, &Programs::default(), 1, &is_step) {
            Ok(found) => found,
            Err(error) if error.message().contains("there is no strace") => {
                return crate::skips::not_installed("strace");
            }
            Err(error) if error.message().contains("strace") => {
                return crate::skips::not_possible(&format!("{error:?}"));
            }
            Err(error) => panic!("{error:?}"),
        };
        let set = |paths: &[&str]| {
            paths
                .iter()
                .map(|path| (*path).to_owned())
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(found.len(), 2, "{found:#?}");
        assert_eq!(found[0].reads, set(&["in.txt", "one.sh", "tools/cat"]));
        assert_eq!(found[0].writes, set(&["out/é x.txt"]));
        assert_eq!(found[1].reads, set(&["out/é x.txt", "two.sh"]));
        assert_eq!(found[1].writes, set(&["two.txt"]));
        assert!(found[1].lists.contains("out"), "{:?}", found[1].lists);
        assert_eq!(found[1].outside, set(&[elsewhere.path().to_str().unwrap()]));
        let fails = ["sh", "-c", "cat in.txt; exit 3"].map(str::to_owned);
        assert!(trace(&root, &fails, &Programs::default(), 1, &is_step).is_err());
    }

    #[test]
    fn sources_of_compiled_modules_are_named() {
        assert_eq!(
            source_of("a/__pycache__/b.cpython-311.pyc").unwrap(),
            "a/b.py"
        );
        assert_eq!(
            source_of("__pycache__/b.cpython-311.opt-1.pyc").unwrap(),
            "b.py"
        );
        assert_eq!(source_of("a/b.pyc"), None);
    }
}
