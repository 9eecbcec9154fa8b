//! What a project asks for: `requirements.txt`, `pyproject.toml`, or another tool's lock.
//!
//! Another lock (`uv.lock`, `pylock.toml`) decides versions and which bytes are right; `pyproject.toml` beside it
//! says what was asked for. Does not resolve anything.

use super::wheel::Wheel;
use crate::error::{Error, Result};
use sealstone_spec::bom::lockfile::{parse_pylock, parse_uv};
use sealstone_spec::bom::{BomError, Package};
use sealstone_spec::purl::pypi_name;
use std::fs;
use std::path::Path;

/// What is to be installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The file that says it.
    pub from: String,
    /// A requirements file for pip to read, relative to the project.
    pub file: Option<String>,
    /// Requirements by themselves.
    pub requirements: Vec<String>,
    /// Versions that another lock decided.
    pub constraints: Vec<String>,
    /// Hashes that another lock names, by package.
    known: Vec<Package>,
}

impl Wanted {
    /// Whether another lock says which bytes are right.
    pub(super) fn is_locked(&self) -> bool {
        !self.known.is_empty()
    }

    /// The wheels that are none of the files that the other lock names, each with what it names in its place. They were
    /// built here, now or earlier, or come from somebody else: their bytes alone do not say from what.
    ///
    /// # Errors
    /// If the other lock does not have the package at all.
    pub(super) fn unnamed<'a>(
        &'a self,
        wheels: &'a [Wheel],
    ) -> Result<Vec<(&'a Wheel, &'a Package)>> {
        let mut unnamed = Vec::new();
        if !self.is_locked() {
            return Ok(unnamed);
        }
        for wheel in wheels {
            let Some(package) = self.known.iter().find(|package| package.name == wheel.name) else {
                return Err(Error::refused(format!(
                    "{} has no {}, which is needed",
                    self.from, wheel.name
                ))
                .hint("renew that lock with the tool that made it"));
            };
            let hex = wheel.digest.hex();
            let named = package
                .archives
                .iter()
                .any(|archive| archive.hash.content == *hex);
            if !named {
                unnamed.push((wheel, package));
            }
        }
        Ok(unnamed)
    }
}

/// Finds what the project in `root` asks for.
///
/// # Errors
/// If nothing says it, or the file cannot be read.
pub fn wanted(root: &Path, stated: Option<&Path>) -> Result<Wanted> {
    let read = |name: &str| -> Result<Option<String>> {
        match fs::read_to_string(root.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io(format!("reading \"{name}\""), source)),
        }
    };
    if let Some(path) = stated {
        let name = path.to_string_lossy().into_owned();
        if !root.join(path).is_file() {
            return Err(Error::not_found(format!(
                "there is no \"{name}\" in the project"
            )));
        }
        return Ok(of_file(name));
    }
    let project = read("pyproject.toml")?;
    type Parse = fn(&str) -> std::result::Result<Vec<Package>, BomError>;
    let locks: [(&str, Parse); 2] = [("uv.lock", parse_uv), ("pylock.toml", parse_pylock)];
    for (name, parse) in locks {
        if let Some(text) = read(name)? {
            let packages =
                parse(&text).map_err(|error| Error::usage(format!("{name}: {error}")))?;
            return Ok(of_lock(name, packages, project.as_deref()));
        }
    }
    if read("requirements.txt")?.is_some() {
        return Ok(of_file("requirements.txt".to_owned()));
    }
    if let Some(text) = &project
        && let Some(requirements) = dependencies(text)
    {
        return Ok(Wanted {
            from: "pyproject.toml".to_owned(),
            requirements,
            ..Wanted::default()
        });
    }
    Err(
        Error::not_found("nothing says which packages the project needs").hint(
            "write them into requirements.txt, one a line; or name the file with --requirements",
        ),
    )
}

fn of_file(name: String) -> Wanted {
    Wanted {
        from: name.clone(),
        file: Some(name),
        ..Wanted::default()
    }
}

fn of_lock(name: &str, packages: Vec<Package>, project: Option<&str>) -> Wanted {
    let pinned = |package: &Package| format!("{}=={}", package.name, package.version);
    // Without a project, what no other package asks for was asked for.
    let roots = || {
        let needed = |name: &String| packages.iter().any(|other| other.requires.contains(name));
        let top = packages.iter().filter(|package| !needed(&package.name));
        top.map(pinned).collect()
    };
    Wanted {
        from: name.to_owned(),
        file: None,
        requirements: project.and_then(dependencies).unwrap_or_else(roots),
        constraints: packages.iter().map(pinned).collect(),
        known: packages,
    }
}

/// `project.dependencies` of a `pyproject.toml`.
fn dependencies(text: &str) -> Option<Vec<String>> {
    let table: toml::Table = text.parse().ok()?;
    let list = table.get("project")?.get("dependencies")?.as_array()?;
    Some(
        list.iter()
            .filter_map(|item| Some(item.as_str()?.to_owned()))
            .collect(),
    )
}

/// The name at the beginning of a requirement, and the version if it states exactly one.
pub(super) fn named(requirement: &str) -> Option<(String, Option<String>)> {
    let text = requirement
        .split(';')
        .next()?
        .split(" #")
        .next()?
        .split(" --")
        .next()?
        .trim();
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c))
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = match rest.trim_start().strip_prefix('[') {
        Some(extras) => extras.split_once(']').map_or("", |(_, rest)| rest),
        None => rest,
    };
    let version = rest
        .trim()
        .strip_prefix("==")
        .map(|version| version.trim().to_owned());
    let version =
        version.filter(|version| !version.contains(['*', ',', '=']) && !version.is_empty());
    let is_name = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    is_name.then(|| (pypi_name(name), version))
}
