//! Documents that live with a recipe: how to rebuild, what counts as the same, why, and what to do if not.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `rebuild` | `REBUILD.md`: commands that a stranger types, in order |
//! | `criteria` | `CRITERIA.md`: every output, metric and test with its tolerance and its reason |
//! | `decisions` | `DECISIONS.md`: what somebody decided: overrides, weaker classes, exceptions |
//! | `trouble` | `TROUBLESHOOTING.md`: verdicts, rules and the catalogue of causes |
//! | `changes`, `rules` | `CHANGELOG.md`: rules that changed since the documents were last written |
//! | `page` | Markdown, with text of others safe in it |
//!
//! Made from recipe, lock and policy alone. Does not read clocks or repositories and decides nothing.
//! Invariant: the same sources give the same bytes, so a document that differs is stale.

mod changes;
mod criteria;
mod decisions;
mod page;
mod rebuild;
mod rules;
mod trouble;

#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::recipe::Project;
use crate::run::write_whole;
use sealstone_spec::policy::Policy;
use sealstone_spec::recipe::Lock;
use std::fs;
use std::path::Path;

/// What the documents are made from.
pub struct Sources<'a> {
    /// The recipe and its parameters.
    pub project: &'a Project,
    /// The baseline, if there is one.
    pub lock: Option<&'a Lock>,
    /// The policy that releases are judged by, and its text.
    pub policy: Option<(&'a Policy, &'a str)>,
}

/// A document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its file's name.
    pub name: &'static str,
    /// Its text.
    pub text: String,
}

const CHANGELOG: &str = "CHANGELOG.md";
const MAX_CHANGELOG_BYTES: u64 = 16 << 20;

/// Every document. `known` is the changelog so far: an entry is added to it if rules changed since.
///
/// # Errors
/// If the changelog so far is not one that was written here.
pub fn documents(sources: &Sources<'_>, known: Option<&str>) -> Result<Vec<Document>> {
    let rules = rules::rules(sources);
    let changelog = changes::changelog(known, &rules, sources)?;
    Ok(vec![
        Document {
            name: "REBUILD.md",
            text: rebuild::text(sources),
        },
        Document {
            name: "CRITERIA.md",
            text: criteria::text(sources),
        },
        Document {
            name: "DECISIONS.md",
            text: decisions::text(sources),
        },
        Document {
            name: "TROUBLESHOOTING.md",
            text: trouble::text(),
        },
        Document {
            name: CHANGELOG,
            text: changelog,
        },
    ])
}

/// Makes the documents of a project and writes them into `directory`; returns the names of those that changed.
///
/// # Errors
/// If one cannot be written.
pub fn write(sources: &Sources<'_>, directory: &Path) -> Result<Vec<&'static str>> {
    let mut changed = Vec::new();
    for document in documents(sources, changelog(directory)?.as_deref())? {
        if differs(directory, &document)? {
            fs::create_dir_all(directory).map_err(|source| {
                Error::io(format!("making \"{}\"", directory.display()), source)
            })?;
            write_whole(&directory.join(document.name), document.text.as_bytes())?;
            changed.push(document.name);
        }
    }
    Ok(changed)
}

/// The names of documents in `directory` that are not what the sources say now.
///
/// # Errors
/// If one cannot be read.
pub fn stale(sources: &Sources<'_>, directory: &Path) -> Result<Vec<&'static str>> {
    let mut stale = Vec::new();
    for document in documents(sources, changelog(directory)?.as_deref())? {
        if differs(directory, &document)? {
            stale.push(document.name);
        }
    }
    Ok(stale)
}

fn changelog(directory: &Path) -> Result<Option<String>> {
    let path = directory.join(CHANGELOG);
    match fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(found) if found.len() > MAX_CHANGELOG_BYTES => {
            return Err(Error::usage(format!("\"{}\" is too long", path.display())));
        }
        _ => {}
    }
    fs::read_to_string(&path)
        .map(Some)
        .map_err(|source| Error::io(format!("reading \"{}\"", path.display()), source))
}

fn differs(directory: &Path, document: &Document) -> Result<bool> {
    let path = directory.join(document.name);
    match fs::read(&path) {
        Ok(bytes) => Ok(bytes != document.text.as_bytes()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(Error::io(format!("reading \"{}\"", path.display()), source)),
    }
}
