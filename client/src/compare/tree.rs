//! Directories, file by file.
//!
//! Links are compared by where they lead and not followed.

use super::archive::Budget;
use super::comparison::{ArtifactComparison, Difference, FileComparison, TreeComparison};
use super::content::{self, Side};
use super::locator::{Locator, Place, name_of};
use crate::error::{Error, Result};
use sealstone_spec::compare::{ArtifactRule, Class};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Files of one directory.
const MAX_FILES: usize = 1_000_000;
/// Directories in directories.
const MAX_DEPTH: usize = 256;

enum Entry {
    File(PathBuf),
    Link(PathBuf),
}

fn list(root: &Path) -> Result<BTreeMap<String, Entry>> {
    let mut found = BTreeMap::new();
    let mut queue = vec![(root.to_owned(), String::new(), 0)];
    while let Some((directory, prefix, depth)) = queue.pop() {
        let what = || format!("listing \"{}\"", directory.display());
        let entries = fs::read_dir(&directory).map_err(|error| Error::io(what(), error))?;
        for entry in entries {
            let entry = entry.map_err(|error| Error::io(what(), error))?;
            let kind = entry
                .file_type()
                .map_err(|error| Error::io(what(), error))?;
            let name = format!("{prefix}{}", name_of(entry.file_name().as_bytes()));
            let path = entry.path();
            if kind.is_dir() {
                if depth >= MAX_DEPTH {
                    return Err(Error::usage(format!(
                        "\"{}\" is nested too deep",
                        path.display()
                    )));
                }
                queue.push((path, format!("{name}/"), depth + 1));
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).map_err(|error| Error::io(what(), error))?;
                found.insert(name, Entry::Link(target));
            } else if kind.is_file() {
                found.insert(name, Entry::File(path));
            } else {
                return Err(Error::usage(format!(
                    "\"{}\" is neither file nor directory",
                    path.display()
                )));
            }
            if found.len() > MAX_FILES {
                return Err(Error::usage(format!(
                    "\"{}\" has more than {MAX_FILES} files",
                    root.display()
                )));
            }
        }
    }
    Ok(found)
}

/// See [`super::compare_tree`].
pub(super) fn compare(
    base: &Path,
    now: &Path,
    rule: &dyn Fn(&str) -> ArtifactRule,
) -> Result<TreeComparison> {
    let (before, mut after) = (list(base)?, list(now)?);
    let mut result = TreeComparison {
        class: Class::BitExact,
        ok: true,
        same: 0,
        changed: Vec::new(),
        missing: Vec::new(),
        added: Vec::new(),
    };
    for (path, entry) in before {
        let Some(other) = after.remove(&path) else {
            result.missing.push(path);
            continue;
        };
        let comparison = match (entry, other) {
            (Entry::File(one), Entry::File(two)) => {
                let (one, two) = (Side::open(&one)?, Side::open(&two)?);
                content::compare(&one, &two, &rule(&path), &mut Budget::default(), 0)?
            }
            (Entry::Link(one), Entry::Link(two)) if one == two => {
                result.same += 1;
                continue;
            }
            (one, two) => {
                let text = |entry: Entry| match entry {
                    Entry::File(_) => "file".to_owned(),
                    Entry::Link(target) => format!("link to {}", target.display()),
                };
                odd(text(one), text(two), &rule(&path))
            }
        };
        result.class = result.class.min(comparison.class);
        result.ok &= comparison.ok;
        match comparison.class {
            Class::BitExact => result.same += 1,
            _ => result.changed.push(FileComparison { path, comparison }),
        }
    }
    result.added = after.into_keys().collect();
    if !result.added.is_empty() || !result.missing.is_empty() {
        result.class = Class::Divergent;
        result.ok = false;
    }
    Ok(result)
}

/// Two entries of which at least one is no file.
fn odd(base: String, now: String, rule: &ArtifactRule) -> ArtifactComparison {
    ArtifactComparison {
        format: "link",
        class: Class::Divergent,
        required: rule.class,
        ok: Class::Divergent.satisfies(rule.class),
        base_size: 0,
        now_size: 0,
        first: Some(Difference {
            locator: Locator::at(Place::Whole),
            what: "kind".to_owned(),
            base: Some(base),
            now: Some(now),
        }),
        worst: None,
        counts: None,
        tensors: Vec::new(),
        rows: None,
        predictions: None,
        stabilizers: Vec::new(),
        notes: Vec::new(),
    }
}
