//! Whether a lock, the wheels beside it and the requirements agree.
//!
//! Invariant: nothing is fetched and nothing is changed; what is not said here agrees.

use super::wanted::{named, wanted};
use super::{Places, wheel};
use crate::error::{Error, Result};
use sealstone_spec::purl::pypi_name;
use sealstone_spec::recipe::requirements;
use std::fs;
use std::path::Path;

/// What does not agree, sorted as it was looked at: the lock, its wheels, what was asked for.
///
/// # Errors
/// If there is no lock, or it cannot be read.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let places = Places::of(root);
    let path = root.join(&places.lock);
    let text = fs::read_to_string(&path).map_err(|source| {
        Error::io(format!("reading \"{}\"", path.display()), source)
            .hint("make it: sealstone env lock")
    })?;
    let (locked, findings) = requirements(&text);
    let mut problems: Vec<String> = findings
        .iter()
        .map(|finding| format!("{} {finding}", places.lock))
        .collect();
    let wheels = wheel::wheels_in(&root.join(&places.wheels))?;
    for entry in &locked {
        let name = pypi_name(&entry.name);
        let shown = format!("{} {}", name, entry.version);
        match wheels.iter().find(|wheel| wheel.name == name) {
            None => problems.push(format!("{shown} has no wheel in {}", places.wheels)),
            Some(wheel) if wheel.version != entry.version => {
                problems.push(format!(
                    "{shown} is locked, and \"{}\" is {}",
                    wheel.file, wheel.version
                ));
            }
            Some(wheel) if !entry.hashes.contains(&wheel.digest) => {
                problems.push(format!(
                    "\"{}\" is not what its hash in {} says",
                    wheel.file, places.lock
                ));
            }
            Some(_) => {}
        }
    }
    for wheel in &wheels {
        if !locked
            .iter()
            .any(|entry| pypi_name(&entry.name) == wheel.name)
        {
            problems.push(format!("\"{}\" is not locked", wheel.file));
        }
    }
    // Only names and exact versions: ranges and markers are for pip to understand.
    if let Ok(wanted) = wanted(root, None) {
        let lines = match &wanted.file {
            Some(file) => fs::read_to_string(root.join(file)).unwrap_or_default(),
            None => wanted.requirements.join("\n"),
        };
        for line in lines.lines().filter(|line| !line.contains(';')) {
            let Some((name, version)) = named(line) else {
                continue;
            };
            match locked.iter().find(|entry| pypi_name(&entry.name) == name) {
                None => problems.push(format!(
                    "{} asks for {name}, which is not locked",
                    wanted.from
                )),
                Some(entry)
                    if version
                        .as_ref()
                        .is_some_and(|version| *version != entry.version) =>
                {
                    problems.push(format!(
                        "{} asks for {name} {}, and {} is locked",
                        wanted.from,
                        version.unwrap_or_default(),
                        entry.version
                    ));
                }
                Some(_) => {}
            }
        }
    }
    Ok(problems)
}
