//! Data that a release names and does not hold: brought by whoever has it, and held against the lock.
//!
//! Invariant: data counts only if each file has the digest of the lock, none is missing and none is too many.

use crate::error::{Error, Outcome, Result};
use crate::recipe::{LinkPolicy, files_at, hash_path};
use sealstone_spec::bundle::Bundle;
use sealstone_spec::recipe::{Lock, LockedFile, LockedInput, RecipePath};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where somebody has an input of a recipe, written `PATH=PLACE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataAt {
    /// The input's path in the recipe.
    pub path: RecipePath,
    /// A file, or the directory that the path is.
    pub place: PathBuf,
}

impl FromStr for DataAt {
    type Err = Error;

    fn from_str(text: &str) -> Result<DataAt> {
        let example = "write PATH=PLACE, such as data/raw.csv=/mnt/lake/raw.csv";
        let (path, place) = text.split_once('=').ok_or_else(|| {
            Error::usage(format!("\"{text}\" does not say where the data is")).hint(example)
        })?;
        let path = path.trim_end_matches('/').parse().map_err(|problem| {
            Error::usage(format!("\"{path}\" is no path of a recipe: {problem}")).hint(example)
        })?;
        Ok(DataAt {
            path,
            place: place.into(),
        })
    }
}

/// Inputs of a lock that a bundle does not hold.
pub fn absent_data<'a>(lock: &'a Lock, bundle: &Bundle) -> Vec<&'a LockedInput> {
    let holds = |file: &LockedFile| {
        let mut held = bundle.files().iter();
        held.any(|held| held.path.as_str() == file.path.as_str())
    };
    let is_absent =
        |input: &&LockedInput| files_of(lock, &input.content.path).any(|file| !holds(file));
    lock.inputs.iter().filter(is_absent).collect()
}

/// Compares data with the lock; how many files it is.
///
/// # Errors
/// [`Outcome::Usage`] if the lock has no such input; [`Outcome::Halted`] if it is not what the lock says.
pub fn check_data(lock: &Lock, data: &DataAt) -> Result<usize> {
    found_data(lock, data).map(|found| found.len())
}

/// Compares data with the lock and copies it below `root`, where nothing may lie in its place.
///
/// # Errors
/// As [`check_data`]; [`Outcome::Conflict`] if the bundle holds it already.
pub fn place_data(lock: &Lock, data: &DataAt, root: &Path) -> Result<usize> {
    let found = found_data(lock, data)?;
    for (path, place) in &found {
        let target = root.join(path);
        if target.symlink_metadata().is_ok() {
            return Err(Error::new(
                Outcome::Conflict,
                format!("the bundle holds \"{path}\" itself"),
            )
            .hint(format!("leave out --data {}=...", data.path)));
        }
        let parent = target.parent().unwrap_or(root);
        fs::create_dir_all(parent)
            .and_then(|()| fs::copy(place, &target))
            .map_err(|source| Error::io(format!("copying \"{}\"", place.display()), source))?;
    }
    Ok(found.len())
}

/// Files of an input by their path in the recipe, with where they were found.
fn found_data(lock: &Lock, data: &DataAt) -> Result<BTreeMap<String, PathBuf>> {
    if !lock
        .inputs
        .iter()
        .any(|input| input.content.path == data.path)
    {
        let known: Vec<&str> = lock
            .inputs
            .iter()
            .map(|input| input.content.path.as_str())
            .collect();
        return Err(
            Error::usage(format!("the recipe has no input \"{}\"", data.path))
                .hint(format!("its inputs are: {}", known.join(", "))),
        );
    }
    let mut due: BTreeMap<&str, &LockedFile> = files_of(lock, &data.path)
        .map(|file| (file.path.as_str(), file))
        .collect();
    let mut found = BTreeMap::new();
    for (rest, place) in files_below(&data.place)? {
        let path = match rest.is_empty() {
            true => data.path.to_string(),
            false => format!("{}/{rest}", data.path),
        };
        let Some(file) = due.remove(path.as_str()) else {
            return Err(other(&path, "nothing", &format!("\"{}\"", place.display())));
        };
        let (digest, _) = hash_path(&place)?;
        if digest != file.digest {
            return Err(other(&path, &file.digest.to_string(), &digest.to_string()));
        }
        found.insert(path, place);
    }
    match due.into_values().next() {
        Some(file) => Err(other(
            file.path.as_str(),
            &file.digest.to_string(),
            "nothing",
        )),
        None => Ok(found),
    }
}

/// Plain files at a place, by their path below it; one file is below itself without a name.
fn files_below(place: &Path) -> Result<Vec<(String, PathBuf)>> {
    let reading = |source| Error::io(format!("reading \"{}\"", place.display()), source);
    if fs::metadata(place).map_err(reading)?.is_file() {
        return Ok(vec![(String::new(), place.to_owned())]);
    }
    let (parent, name) = match (place.parent(), place.file_name()) {
        (Some(parent), Some(name)) => (parent, name.to_string_lossy().into_owned()),
        _ => return Err(Error::usage(format!("\"{}\" has no name", place.display()))),
    };
    let top: RecipePath = name.parse().map_err(|problem| {
        Error::usage(format!("\"{}\" cannot be read: {problem}", place.display()))
    })?;
    let files = files_at(parent, &top, LinkPolicy::Refuse)?.into_iter();
    let below = |path: &str| path.get(name.len() + 1..).unwrap_or_default().to_owned();
    Ok(files
        .map(|(path, file)| (below(&path), file.source))
        .collect())
}

fn files_of<'a>(lock: &'a Lock, path: &RecipePath) -> impl Iterator<Item = &'a LockedFile> {
    let files = lock.files.iter();
    files.filter(move |file| path.contains(&file.path))
}

fn other(path: &str, expected: &str, actual: &str) -> Error {
    Error::halted(format!(
        "input \"{path}\" is not what the lock says: expected {expected}, got {actual}"
    ))
    .detail(json!({"path": path, "expected": expected, "actual": actual}))
}
