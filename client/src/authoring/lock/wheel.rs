//! A wheel: which package it is, by its own metadata, and the digest of its bytes.

use crate::error::{Error, Result};
use crate::recipe::hash_path;
use sealstone_spec::digest::Digest;
use sealstone_spec::purl::pypi_name;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

/// Longest metadata that is read, in bytes.
const MAX_METADATA: u64 = 4 << 20;

/// A wheel on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wheel {
    /// The file's name.
    pub file: String,
    /// The package's name, as indexes compare it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the file.
    pub digest: Digest,
}

/// Reads a wheel.
///
/// # Errors
/// If it is none, or its metadata does not say what its name says.
pub(super) fn read(path: &Path) -> Result<Wheel> {
    let file = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let refused = |problem: &str| Error::halted(format!("\"{file}\" {problem}"));
    let open = File::open(path)
        .map_err(|source| Error::io(format!("reading \"{}\"", path.display()), source))?;
    let mut archive =
        zip::ZipArchive::new(open).map_err(|error| refused("is no wheel").source(error))?;
    let inside = archive
        .file_names()
        .filter_map(|name| Some(name.ok()?.into_owned()))
        .find(|name| name.ends_with(".dist-info/METADATA") && name.matches('/').count() == 1)
        .ok_or_else(|| refused("has no metadata, so it is no wheel"))?;
    let member = archive
        .by_name(&inside)
        .map_err(|error| refused("is no wheel").source(error))?;
    let mut metadata = Vec::new();
    member
        .take(MAX_METADATA)
        .read_to_end(&mut metadata)
        .map_err(|error| refused("cannot be read").source(error))?;
    let metadata = String::from_utf8_lossy(&metadata).into_owned();
    let field = |key: &str| {
        let head = metadata.lines().take_while(|line| !line.trim().is_empty());
        let mut values = head.filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        values.next().map(|value| value.trim().to_owned())
    };
    let (Some(name), Some(version)) = (field("Name"), field("Version")) else {
        return Err(refused("names no package and version in its metadata"));
    };
    let name = pypi_name(&name);
    let stated = pypi_name(file.split('-').next().unwrap_or_default());
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || ".+!_-".contains(c))
    };
    if stated != name || !plain(&name) || !plain(&version) {
        return Err(refused(&format!(
            "is another package by its metadata: {name} {version}"
        )));
    }
    let (digest, _) = hash_path(path)?;
    Ok(Wheel {
        file,
        name,
        version,
        digest,
    })
}

/// The wheels of a directory, sorted by name. None if there is no such directory.
///
/// # Errors
/// If one is broken, or two are of one package.
pub(super) fn wheels_in(directory: &Path) -> Result<Vec<Wheel>> {
    let what = |source| Error::io(format!("reading \"{}\"", directory.display()), source);
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut wheels = Vec::new();
    for entry in fs::read_dir(directory).map_err(what)? {
        let path = entry.map_err(what)?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            wheels.push(read(&path)?);
        }
    }
    wheels.sort_by(|one, two| (&one.name, &one.file).cmp(&(&two.name, &two.file)));
    for pair in wheels.windows(2) {
        if pair[0].name == pair[1].name {
            return Err(Error::refused(format!(
                "\"{}\" and \"{}\" are both {}",
                pair[0].file, pair[1].file, pair[0].name
            ))
            .hint("one of them is left over: remove it, or run: sealstone env lock"));
        }
    }
    Ok(wheels)
}
