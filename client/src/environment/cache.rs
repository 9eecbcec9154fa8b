//! Python environments that are made once and used again.
//!
//! Owns the name of an environment: a digest of everything that it is made of. Where environments lie, and whether one is
//! still what was made, is not decided here.

use super::kept::{Found, find};
use super::python::{Interpreter, PythonEnvironment, materialise};
use crate::error::{Error, Result};
use crate::recipe::{FoundFile, LinkPolicy, files_at, hash_path};
use sealstone_spec::digest::Digest;
use sealstone_spec::recipe::{RecipePath, listing_digest};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// What a Python environment is made of: paths below `root`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) root: &'a Path,
    pub(super) lock: &'a RecipePath,
    pub(super) wheels: &'a RecipePath,
    pub(super) interpreter: &'a Interpreter,
}

/// The environment of these parts in `place`, made if it is not there as it was made.
///
/// # Errors
/// If it cannot be made as its lock says.
pub(super) fn kept_or_made(parts: Parts<'_>, place: &Path) -> Result<PythonEnvironment> {
    let place = std::path::absolute(place)
        .map_err(|source| Error::io(format!("finding \"{}\"", place.display()), source))?;
    let parts_digest = name_of(parts, &place)?;
    let name = format!("venv-{}", &parts_digest.hex()[..16]);
    let failed = |source| {
        let what = format!("making \"{}\"", place.join(&name).display());
        Error::io(what, source)
    };
    let read = |directory: &Path, told: &str| {
        let (whole_name, rest) = told.split_once(' ')?;
        let (digest, files) = rest.split_once(' ')?;
        let is_it = Digest::parse(whole_name).ok()? == parts_digest;
        let is_whole = is_it && directory.join("bin/python").exists();
        is_whole.then_some((Digest::parse(digest).ok()?, files.parse::<usize>().ok()?))
    };
    let slot = match find(&place, &name, read).map_err(failed)? {
        Found::Free(slot) => slot,
        Found::Kept {
            directory,
            told: (digest, files),
            in_use,
        } => {
            return Ok(PythonEnvironment {
                directory,
                interpreter: parts.interpreter.clone(),
                digest,
                files,
                in_use: Some(in_use),
            });
        }
    };
    slot.clear().map_err(failed)?;
    let made = made(parts, slot.directory()).inspect_err(|_| {
        let _ = slot.clear();
    })?;
    let told = format!("{parts_digest} {} {}", made.digest, made.files);
    let in_use = slot.seal(&told).map_err(failed)?;
    Ok(PythonEnvironment {
        in_use: Some(in_use),
        ..made
    })
}

/// The environment of these parts, made in a directory that is not there yet.
///
/// # Errors
/// If it cannot be made as its lock says.
pub(super) fn made(parts: Parts<'_>, directory: &Path) -> Result<PythonEnvironment> {
    wheels_of(parts)?;
    let requirements = parts.root.join(parts.lock.as_str());
    let wheels = parts.root.join(parts.wheels.as_str());
    materialise(&requirements, &wheels, parts.interpreter, directory)
}

/// The wheels, of which there has to be one.
fn wheels_of(parts: Parts<'_>) -> Result<BTreeMap<String, FoundFile>> {
    let wheels = files_at(parts.root, parts.wheels, LinkPolicy::Refuse)?;
    if wheels.is_empty() {
        return Err(
            Error::not_found(format!("there are no wheels in \"{}\"", parts.wheels))
                .hint("fill it: sealstone env lock"),
        );
    }
    Ok(wheels)
}

/// The digest of what an environment is made of. Its own place counts: scripts in it hold their path.
fn name_of(parts: Parts<'_>, place: &Path) -> Result<Digest> {
    let (lock, _) = hash_path(&parts.root.join(parts.lock.as_str()))?;
    let (executable, _) = hash_path(&parts.interpreter.executable)?;
    let prefix = parts.wheels.as_str().len() + 1;
    let mut wheels = Vec::new();
    for (path, file) in wheels_of(parts)? {
        let (digest, _) = hash_path(&file.source)?;
        wheels.push((path[prefix..].to_owned(), digest));
    }
    let wheels = listing_digest(wheels.iter().map(|(path, digest)| (path.as_str(), digest)));
    let text = json!([
        "sealstone-venv/v1",
        lock,
        wheels,
        parts.interpreter.version,
        parts.interpreter.executable,
        executable,
        place,
    ]);
    Ok(Digest::sha256(text.to_string().as_bytes()))
}
