//! Python environments: an interpreter found, and an environment made of locked wheels.
//!
//! Only wheels of a directory are installed, each by a digest that stands in the requirements; nothing is
//! fetched, built or compiled. Does not resolve versions: the lock has them, and what `lock` makes of it is all that pip
//! is given.
//! Invariant: the digest of an environment depends on what is installed, not on where or when. Nothing here runs a
//! program that a bundle or a repository names.

mod lock;

use crate::error::{Error, Result};
use crate::runner::Software;
use sealstone_spec::digest::Digest;
use sealstone_spec::recipe::is_python_version;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

/// A Python interpreter of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// The program itself, not a link or a shim.
    pub executable: PathBuf,
    /// Where it is installed.
    pub prefix: PathBuf,
    /// For example `3.11.7`.
    pub version: String,
}

impl Interpreter {
    /// What a stage must see of this machine to run it.
    pub fn software(&self) -> Software {
        let mut software = Software::default();
        if !self.prefix.starts_with("/usr") {
            software.read_only.push(self.prefix.clone());
        }
        if let Some(directory) = self.executable.parent() {
            software.path.push(directory.to_path_buf());
        }
        software
    }
}

/// An environment that was made.
#[derive(Clone, Debug)]
pub struct PythonEnvironment {
    /// Where it is.
    pub directory: PathBuf,
    /// The interpreter below it.
    pub interpreter: Interpreter,
    /// Digest of the installed files.
    pub digest: Digest,
    /// How many files these are.
    pub files: usize,
    /// Held open and locked where it is one of several that are kept: while it is, it is not removed for its age.
    pub in_use: Option<Arc<fs::File>>,
}

impl PythonEnvironment {
    /// What a stage must see of this machine to use it.
    pub fn software(&self) -> Software {
        let mut software = self.interpreter.software();
        software.read_only.push(self.directory.clone());
        software.path.insert(0, self.directory.join("bin"));
        software
    }
}

#[derive(Deserialize)]
struct Told {
    executable: PathBuf,
    prefix: PathBuf,
    version: String,
}

const ASK: &str = "import json,os,platform,sys; print(json.dumps({'executable': os.path.realpath(sys.executable), \
     'prefix': sys.base_prefix, 'version': platform.python_version()}))";

/// Where programs are looked for if nothing says it.
const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Finds an interpreter on `PATH`; with a version, one that is it or begins with it (`3.11` finds `3.11.7`).
///
/// The version may be a stranger's word, and so may be what lies in the current directory: only absolute directories of
/// `PATH` are looked into, and whatever is found there is asked from the root, so that a shim reads no file of a checkout.
///
/// # Errors
/// [`Outcome::NotFound`](crate::Outcome::NotFound) with what was found instead;
/// [`Outcome::Usage`](crate::Outcome::Usage) if the version is none.
pub fn find_interpreter(version: Option<&str>) -> Result<Interpreter> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| USUAL_PATH.into());
    find_on(&path, version)
}

fn find_on(path: &OsStr, version: Option<&str>) -> Result<Interpreter> {
    if let Some(version) = version.filter(|version| !is_python_version(version)) {
        return Err(Error::usage(format!(
            "\"{version}\" is no version of Python"
        )));
    }
    let directories: Vec<PathBuf> = std::env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .collect();
    let searched = std::env::join_paths(&directories).unwrap_or_default();
    let ask = |program: &Path| {
        let mut command = Command::new(program);
        command
            .args(["-I", "-c", ASK])
            .env_clear()
            .env("PATH", &searched)
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/");
        if let Some(home) = std::env::var_os("HOME") {
            command.env("HOME", home);
        }
        if let Some(version) = version {
            // Of several versions, shims choose by a file of the current directory if nothing else says it.
            command
                .env("PYENV_VERSION", version)
                .env("ASDF_PYTHON_VERSION", version);
        }
        command.output()
    };
    let mut names = vec!["python3".to_owned(), "python".to_owned()];
    if let Some(version) = version {
        let minor: Vec<&str> = version.split('.').take(2).collect();
        names.insert(0, format!("python{}", minor.join(".")));
    }
    let mut others = Vec::new();
    for name in names {
        let mut places = directories.iter().map(|directory| directory.join(&name));
        let Some(program) = places.find(|place| is_program(place)) else {
            continue;
        };
        let Ok(output) = ask(&program) else {
            continue;
        };
        let Ok(told) = serde_json::from_slice::<Told>(&output.stdout) else {
            continue;
        };
        let fits = version
            .is_none_or(|due| told.version == due || told.version.starts_with(&format!("{due}.")));
        if fits {
            return Ok(Interpreter {
                executable: told.executable,
                prefix: told.prefix,
                version: told.version,
            });
        }
        others.push(told.version);
    }
    let due = version.map_or_else(
        || "Python".to_owned(),
        |version| format!("Python {version}"),
    );
    let error = Error::not_found(format!("there is no {due} on PATH"));
    Err(match others.is_empty() {
        true => error,
        false => error.hint(format!("found: Python {}", others.join(", "))),
    })
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// A version as a recipe can state it: where it is more than numbers (a pre-release, a build of one's own), its first
/// two, which that interpreter begins with.
pub(crate) fn stated_version(version: &str) -> Option<String> {
    if is_python_version(version) {
        return Some(version.to_owned());
    }
    let minor: Vec<&str> = version.split('.').take(2).collect();
    Some(minor.join(".")).filter(|minor| is_python_version(minor))
}

/// Makes an environment in a new directory from a requirements file with hashes and a directory of wheels.
///
/// # Errors
/// [`Outcome::Usage`](crate::Outcome::Usage) if the requirements name addresses or lack hashes, or could mean something
/// else to pip, or if a file named `*.whl` in the directory of wheels is none;
/// [`Outcome::Halted`](crate::Outcome::Halted) if a wheel is not what its hash says.
pub fn materialise(
    requirements: &Path,
    wheels: &Path,
    interpreter: &Interpreter,
    directory: &Path,
) -> Result<PythonEnvironment> {
    let text = fs::read_to_string(requirements)
        .map_err(|source| Error::io(format!("reading \"{}\"", requirements.display()), source))?;
    let list = lock::written_anew(&text, requirements)?;
    let held = lock::wheels_in(wheels)?;
    if directory.exists() {
        return Err(Error::conflict(format!(
            "\"{}\" is there already",
            directory.display()
        )));
    }
    let home =
        tempfile::tempdir().map_err(|source| Error::io("making a directory for pip", source))?;
    let python = |program: &Path| {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", home.path())
            .env("TMPDIR", home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("SOURCE_DATE_EPOCH", "315532800")
            .env("PIP_CONFIG_FILE", "/dev/null")
            .current_dir(home.path());
        command
    };
    let run = |mut command: Command, what: &str| -> Result<Output> {
        command.output().map_err(|source| Error::io(what, source))
    };
    let directory = absolute(directory)?;
    // All that pip is given lies here, and was made here.
    let given = |source| Error::io("preparing what pip is given", source);
    let (requirements, shelf) = (
        home.path().join("requirements.txt"),
        home.path().join("wheels"),
    );
    fs::write(&requirements, list).map_err(given)?;
    fs::create_dir(&shelf).map_err(given)?;
    shelve(&held, &shelf)?;

    let mut command = python(&interpreter.executable);
    command
        .args(["-I", "-m", "venv", "--without-pip"])
        .arg(&directory);
    let made = run(command, "making a Python environment")?;
    if !made.status.success() {
        return Err(failed("cannot make a Python environment", &made));
    }
    let mut command = with_pip(interpreter, &python)?;
    command
        .arg("--python")
        .arg(directory.join("bin/python"))
        .args([
            "--isolated",
            "--disable-pip-version-check",
            "--no-input",
            "--no-cache-dir",
            "--quiet",
            "install",
        ])
        .args([
            "--no-index",
            "--require-hashes",
            "--only-binary",
            ":all:",
            "--no-compile",
            // What a wheel requires may be an address, which would be asked before its hash is missed.
            "--no-deps",
        ])
        .arg("--find-links")
        .arg(&shelf)
        .arg("-r")
        .arg(&requirements);
    let installed = run(command, "installing wheels")?;
    if !installed.status.success() {
        let said = String::from_utf8_lossy(&installed.stderr);
        let error = failed("cannot install the locked wheels", &installed);
        if said.contains("DO NOT MATCH THE HASHES") {
            return Err(Error::halted(other_wheel(&said)).source(error));
        }
        return Err(error.hint(format!(
            "every package of the requirements must be there as a wheel in \"{}\"",
            wheels.display()
        )));
    }
    let (digest, files) = tree_digest(&directory)?;
    Ok(PythonEnvironment {
        directory,
        interpreter: interpreter.clone(),
        digest,
        files,
        in_use: None,
    })
}

/// Puts links to the wheels, which save copies of them, where pip looks for wheels; it is shown no other place.
fn shelve(wheels: &[PathBuf], shelf: &Path) -> Result<()> {
    for wheel in wheels {
        let name = wheel.file_name().unwrap_or_default();
        symlink(absolute(wheel)?, shelf.join(name))
            .map_err(|source| Error::io("preparing what pip is given", source))?;
    }
    Ok(())
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|source| Error::io(format!("resolving \"{}\"", path.display()), source))
}

/// What pip says of a wheel with another hash, in one sentence.
fn other_wheel(said: &str) -> String {
    let lines = || said.lines().map(str::trim);
    let after = |word: &str| {
        lines()
            .find_map(|line| line.strip_prefix(word))
            .map(str::trim)
            .filter(|hash| hash.len() == 64)
    };
    let name = lines()
        .find_map(|line| line.split_once(" from file:"))
        .map(|(name, _)| name);
    match (name, after("Expected sha256"), after("Got")) {
        (Some(name), Some(expected), Some(actual)) => format!(
            "the wheel of {name} is not what its hash in the requirements says: expected sha256:{expected}, found sha256:{actual}"
        ),
        _ => "a wheel is not what its hash in the requirements says".to_owned(),
    }
}

/// `python`'s command with the pip of the interpreter, or with the one that the standard library brings to make
/// environments.
fn with_pip(interpreter: &Interpreter, python: &impl Fn(&Path) -> Command) -> Result<Command> {
    let mut command = python(&interpreter.executable);
    let ask = |code: &str| {
        python(&interpreter.executable)
            .args(["-I", "-c", code])
            .output()
            .ok()
    };
    let module = "import pip, sys; sys.exit(tuple(int(part) for part in pip.__version__.split('.')[:2]) < (22, 3))";
    if ask(module).is_some_and(|output| output.status.success()) {
        command.args(["-I", "-m", "pip"]);
        return Ok(command);
    }
    let bundled = "import ensurepip, glob, os; d = getattr(ensurepip, '_WHEEL_PKG_DIR', None) or os.path.join(os.path.dirname(ensurepip.__file__), '_bundled'); print(sorted(glob.glob(os.path.join(d, 'pip-*.whl')))[-1])";
    let wheel = ask(bundled)
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    let Some(wheel) = wheel else {
        return Err(Error::not_found(format!(
            "there is no pip for {}",
            interpreter.executable.display()
        ))
        .hint("Debian: apt-get install python3-venv"));
    };
    command.arg("-I").arg(Path::new(wheel.trim()).join("pip"));
    Ok(command)
}

/// pip of an interpreter, as the caller has set it up: with its configuration, variables and network.
///
/// # Errors
/// If there is none.
pub fn pip_command(interpreter: &Interpreter) -> Result<Command> {
    with_pip(interpreter, &|program: &Path| Command::new(program))
}

/// The error of a program of Python's that did not end well, with the last that it said.
pub(crate) fn failed(what: &str, output: &Output) -> Error {
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = lines[lines.len().saturating_sub(12)..].join("; ");
    Error::other(what).source(if last.is_empty() {
        "it said nothing".to_owned()
    } else {
        last
    })
}

/// Files that say how and where something was installed, not what.
const INSTALLATION: [&str; 4] = ["RECORD", "INSTALLER", "REQUESTED", "direct_url.json"];

/// Digest of an environment: of one line for each installed file, with its digest and path, sorted by path.
/// Scripts in `bin` and the configuration hold the environment's own path, and are left out.
pub(super) fn tree_digest(directory: &Path) -> Result<(Digest, usize)> {
    let mut files = BTreeMap::new();
    let mut queue = vec![(directory.join("lib"), "lib/".to_owned())];
    while let Some((next, prefix)) = queue.pop() {
        let what = |source| Error::io(format!("reading \"{}\"", next.display()), source);
        for entry in fs::read_dir(&next).map_err(what)? {
            let entry = entry.map_err(what)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(what)?;
            if kind.is_dir() {
                if name != "__pycache__" {
                    queue.push((entry.path(), format!("{prefix}{name}/")));
                }
            } else if kind.is_file() {
                let about =
                    prefix.ends_with(".dist-info/") && INSTALLATION.contains(&name.as_str());
                if !about && !name.ends_with(".pyc") {
                    let bytes = fs::read(entry.path()).map_err(what)?;
                    files.insert(format!("{prefix}{name}"), Digest::sha256(&bytes));
                }
            }
        }
    }
    let listing: String = files
        .iter()
        .map(|(path, digest)| format!("{digest} {path}\n"))
        .collect();
    Ok((Digest::sha256(listing.as_bytes()), files.len()))
}

#[cfg(test)]
mod tests;
