//! Python environments: an interpreter found, and an environment made of locked wheels.
//!
//! Only wheels of a directory are installed, each by a digest that stands in the requirements; nothing is
//! fetched, built or compiled. Does not resolve versions: the lock has them.
//! Invariant: the digest of an environment depends on what is installed, not on where or when.

use crate::error::{Error, Result};
use crate::runner::Software;
use sealstone_spec::digest::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
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

/// Finds an interpreter on `PATH`; with a version, one that is it or begins with it (`3.11` finds `3.11.7`).
///
/// # Errors
/// [`Outcome::NotFound`](crate::Outcome::NotFound) with what was found instead.
pub fn find_interpreter(version: Option<&str>) -> Result<Interpreter> {
    let mut names = vec!["python3".to_owned(), "python".to_owned()];
    if let Some(version) = version {
        let minor: Vec<&str> = version.split('.').take(2).collect();
        names.insert(0, format!("python{}", minor.join(".")));
    }
    let mut others = Vec::new();
    for name in names {
        let Ok(output) = Command::new(&name).args(["-I", "-c", ASK]).output() else {
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

/// Makes an environment in a new directory from a requirements file with hashes and a directory of wheels.
///
/// # Errors
/// [`Outcome::Usage`](crate::Outcome::Usage) if the requirements name addresses or lack hashes;
/// [`Outcome::Halted`](crate::Outcome::Halted) if a wheel is not what its hash says.
pub fn materialise(
    requirements: &Path,
    wheels: &Path,
    interpreter: &Interpreter,
    directory: &Path,
) -> Result<PythonEnvironment> {
    let text = fs::read_to_string(requirements)
        .map_err(|source| Error::io(format!("reading \"{}\"", requirements.display()), source))?;
    check_requirements(&text, requirements)?;
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
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .map_err(|source| Error::io(format!("resolving \"{}\"", path.display()), source))
    };
    let (requirements, wheels, directory) = (
        absolute(requirements)?,
        absolute(wheels)?,
        absolute(directory)?,
    );

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
        ])
        .arg("--find-links")
        .arg(&wheels)
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

/// Requirements that could reach out are refused here, before pip reads them.
fn check_requirements(text: &str, path: &Path) -> Result<()> {
    for (index, line) in text.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        let refused = if line.starts_with('#') {
            None
        } else if line.contains("://") {
            Some("names an address: only wheels of the wheels directory are installed")
        } else if line.starts_with("-r")
            || line.starts_with("-c")
            || line.starts_with("--requirement")
            || line.starts_with("--constraint")
        {
            Some("names another file: one file locks an environment")
        } else if line.starts_with("-e")
            || line.starts_with("--editable")
            || line.contains("@ file:")
        {
            Some("names a directory: only wheels are installed")
        } else if line.starts_with('-') && !line.starts_with("--hash=") {
            Some("is an option of pip: the lock has only packages and their hashes")
        } else {
            None
        };
        if let Some(refused) = refused {
            return Err(Error::usage(format!(
                "line {} of \"{}\" {refused}",
                index + 1,
                path.display()
            )));
        }
    }
    if !text.contains("--hash=")
        && text
            .lines()
            .any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    {
        return Err(Error::usage(format!("\"{}\" has no hashes", path.display()))
            .hint("lock it with: pip-compile --generate-hashes, uv pip compile --generate-hashes, or pip hash"));
    }
    Ok(())
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
