//! Python environments that are made once and used again.
//!
//! Owns the name of an environment: a digest of everything that it is made of. Does not decide where
//! environments lie.
//! Invariant: an environment that is used again holds the bytes that it held when it was made; one that was
//! cut short or changed since is made anew. None is removed for its age while somebody holds it.

use super::python::{Interpreter, PythonEnvironment, materialise, tree_digest};
use crate::error::{Error, Result};
use crate::recipe::{LinkPolicy, files_at, hash_path};
use sealstone_spec::digest::Digest;
use sealstone_spec::recipe::{RecipePath, listing_digest};
use serde_json::json;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long an environment stays that nothing uses.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

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
    let name = format!("venv-{}", &name_of(parts, &place)?.hex()[..16]);
    let directory = place.join(&name);
    let record = place.join(format!("{name}.digest"));
    let failed = |source| Error::io(format!("making \"{}\"", directory.display()), source);
    fs::create_dir_all(&place).map_err(failed)?;
    // Two runs of one project make one environment after the other, and the second finds it made.
    let lock = fs::File::create(place.join("venv.lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    if let Some(kept) = kept(&directory, &record, parts.interpreter)? {
        // When it was used last; that it cannot be noted costs an environment made again, and no more.
        let noted = fs::File::options().append(true).open(&record);
        let _ = noted.and_then(|file| file.set_modified(SystemTime::now()));
        return Ok(PythonEnvironment {
            in_use: Some(hold(&record).map_err(failed)?),
            ..kept
        });
    }
    forget_unused(&place);
    let _ = fs::remove_file(&record);
    if directory.exists() {
        fs::remove_dir_all(&directory).map_err(failed)?;
    }
    let requirements = parts.root.join(parts.lock.as_str());
    let wheels = parts.root.join(parts.wheels.as_str());
    let made =
        materialise(&requirements, &wheels, parts.interpreter, &directory).inspect_err(|_| {
            let _ = fs::remove_dir_all(&directory);
        })?;
    // Written last, and whole: without it, what lies there was cut short.
    let mut file = tempfile::NamedTempFile::new_in(&place).map_err(failed)?;
    writeln!(file, "{}", made.digest).map_err(failed)?;
    file.persist(&record).map_err(|error| failed(error.error))?;
    Ok(PythonEnvironment {
        in_use: Some(hold(&record).map_err(failed)?),
        ..made
    })
}

/// Locks a record together with all others who use its environment, for as long as the file is open: the time in it is
/// that of the beginning, and a training may run for longer than an environment stays.
fn hold(record: &Path) -> std::io::Result<Arc<fs::File>> {
    let file = fs::File::open(record)?;
    file.lock_shared()?;
    Ok(Arc::new(file))
}

/// Removes environments that nothing has used for a long time: every change of a lock file makes another one. One that
/// was cut short has no record, and counts from when it was begun.
fn forget_unused(place: &Path) {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|name| name.starts_with("venv-")) else {
            continue;
        };
        let of_record = name.strip_suffix(".digest");
        let Ok(found) = fs::symlink_metadata(&path) else {
            continue;
        };
        let is_cut_short = || found.is_dir() && !place.join(format!("{name}.digest")).exists();
        if of_record.is_none() && !is_cut_short() {
            continue;
        }
        let used = found.modified().ok();
        let idle = used.and_then(|used| used.elapsed().ok());
        if idle.is_some_and(|idle| idle > UNUSED) {
            if of_record.is_some() {
                let Ok(record) = fs::File::options().append(true).open(&path) else {
                    continue;
                };
                // Whoever holds it uses it still.
                if record.try_lock().is_err() {
                    continue;
                }
                // The record first: what is cut short is made anew.
                let _ = fs::remove_file(&path);
            }
            let _ = fs::remove_dir_all(place.join(of_record.unwrap_or(name)));
        }
    }
}

/// The environment that lies there, if its files are those that were recorded.
fn kept(
    directory: &Path,
    record: &Path,
    interpreter: &Interpreter,
) -> Result<Option<PythonEnvironment>> {
    let recorded = fs::read_to_string(record)
        .ok()
        .and_then(|text| Digest::parse(text.trim()).ok());
    let Some(recorded) = recorded.filter(|_| directory.join("bin/python").exists()) else {
        return Ok(None);
    };
    let (digest, files) = tree_digest(directory)?;
    Ok((digest == recorded).then(|| PythonEnvironment {
        directory: directory.to_owned(),
        interpreter: interpreter.clone(),
        digest,
        files,
        in_use: None,
    }))
}

/// The digest of what an environment is made of. Its own place counts: scripts in it hold their path.
fn name_of(parts: Parts<'_>, place: &Path) -> Result<Digest> {
    let (lock, _) = hash_path(&parts.root.join(parts.lock.as_str()))?;
    let (executable, _) = hash_path(&parts.interpreter.executable)?;
    let prefix = parts.wheels.as_str().len() + 1;
    let mut wheels = Vec::new();
    for (path, file) in files_at(parts.root, parts.wheels, LinkPolicy::Refuse)? {
        let (digest, _) = hash_path(&file.source)?;
        wheels.push((path[prefix..].to_owned(), digest));
    }
    if wheels.is_empty() {
        return Err(
            Error::not_found(format!("there are no wheels in \"{}\"", parts.wheels))
                .hint("fill it: sealstone env lock"),
        );
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_environment_that_is_held_is_not_removed_for_its_age() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("venv-held");
        fs::create_dir_all(directory.join("bin")).unwrap();
        let path = place.path().join("venv-held.digest");
        let record = fs::File::create(&path).unwrap();
        record.set_modified(SystemTime::now() - UNUSED * 2).unwrap();
        // Two runs that share it.
        let (one, two) = (hold(&path).unwrap(), hold(&path).unwrap());
        forget_unused(place.path());
        assert!(directory.exists() && path.exists());
        drop(one);
        forget_unused(place.path());
        assert!(directory.exists() && path.exists());
        drop(two);
        forget_unused(place.path());
        assert!(!directory.exists() && !path.exists());
    }

    #[test]
    fn only_environments_that_nothing_used_for_long_are_removed() {
        let place = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for (name, idle) in [("venv-old", UNUSED * 2), ("venv-new", UNUSED / 2)] {
            fs::create_dir_all(place.path().join(name).join("bin")).unwrap();
            let record = place.path().join(format!("{name}.digest"));
            let record = fs::File::create(record).unwrap();
            record.set_modified(now - idle).unwrap();
        }
        // Two that were cut short: what lies there says when they were begun.
        for (name, idle) in [("venv-cut", UNUSED * 2), ("venv-begun", UNUSED / 2)] {
            let directory = place.path().join(name);
            fs::create_dir_all(directory.join("bin")).unwrap();
            let directory = fs::File::open(directory).unwrap();
            directory.set_modified(now - idle).unwrap();
        }
        let other = fs::File::create(place.path().join("stages.digest")).unwrap();
        other.set_modified(now - UNUSED * 2).unwrap();
        forget_unused(place.path());
        let entries = fs::read_dir(place.path()).unwrap();
        let mut left: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let due = ["stages.digest", "venv-begun", "venv-new", "venv-new.digest"];
        assert_eq!(left, due);
    }
}
