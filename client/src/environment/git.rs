//! What the code is: commit, tree, and a digest of what was not committed.
//!
//! A project may lie anywhere in its repository. Commit and tree are those of the repository; what was not committed is
//! looked for in the project alone.
//! Invariant: a repository whose state cannot be read has no facts of git, and the reason is told; where there is one that
//! cannot be read, nobody says that there is none.

mod asked;

use super::capture::Captured;
use crate::report::clean;
pub(super) use asked::top_by_sight;
use asked::{Git, held};
use sealstone_spec::digest::Digest;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The repository around a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Its top.
    pub top: PathBuf,
    /// The way from there to the directory: nothing at the top, else with a slash at its end.
    pub prefix: String,
}

/// The repository around a directory that is named by its whole path; none where there is none.
///
/// # Errors
/// If there is one and git does not run or does not read it, as one that is somebody else's: the text says why.
pub fn repository(directory: &Path) -> Result<Option<Repository>, String> {
    match around(directory) {
        Ok(found) => Ok(Some(found)),
        Err(reason) => match top_by_sight(directory) {
            Some(_) => Err(reason),
            None => Ok(None),
        },
    }
}

/// The way from the top of its repository to a directory: nothing at the top, or where there is no repository. Also
/// where git does not run, as far as it can be seen.
pub fn prefix_in_repository(directory: &Path) -> String {
    if let Ok(found) = around(directory) {
        return found.prefix;
    }
    let Ok(directory) = directory.canonicalize() else {
        return String::new();
    };
    let below = top_by_sight(&directory).and_then(|top| directory.strip_prefix(top).ok());
    match below.and_then(Path::to_str) {
        None | Some("") => String::new(),
        Some(path) => format!("{path}/"),
    }
}

fn around(directory: &Path) -> Result<Repository, String> {
    let git = Git::around(directory)?;
    let prefix = git.path("--show-prefix")?.into_os_string();
    Ok(Repository {
        top: git.path("--show-toplevel")?,
        prefix: prefix
            .into_string()
            .map_err(|_| "the way to the project in its repository is not UTF-8".to_owned())?,
    })
}

/// Files below `directory` that differ from what is committed, or are not known to git, by their paths from
/// there, sorted. `None` where there is no repository, or no git.
pub fn changed_files(directory: &Path) -> Option<Vec<String>> {
    let git = Git::around(directory).ok()?;
    let prefix = git.path("--show-prefix").ok()?;
    let prefix = prefix.to_string_lossy().into_owned();
    let status = [
        "status",
        "--porcelain=v1",
        "-z",
        "--untracked-files=all",
        ".",
    ];
    let listing = git.ask(&status).ok()?;
    let listing = String::from_utf8_lossy(&listing).into_owned();
    let mut entries = listing.split('\0');
    let mut paths = Vec::new();
    while let Some(entry) = entries.next() {
        let Some((state, path)) = entry.split_at_checked(3) else {
            continue;
        };
        if state.starts_with(['R', 'C']) {
            entries.next(); // what it was called before
        }
        paths.push(path.strip_prefix(&prefix).unwrap_or(path).to_owned());
    }
    paths.sort();
    Some(paths)
}

/// What to tell beside files that were changed: filters that only the repository's own configuration names are not run,
/// and what goes through one on its way into a commit is another file without it. Nothing where there are none.
pub fn filters_left_out(directory: &Path) -> Option<String> {
    let names = Git::around(directory).ok()?.left_out;
    let shown: Vec<String> = names.iter().take(5).map(|name| clean(name, 60)).collect();
    (!shown.is_empty()).then(|| {
        format!(
            "filters that only this repository's own configuration names are not run: {}; if they are yours: git config --global filter.NAME.clean COMMAND",
            shown.join(", ")
        )
    })
}

/// The facts of the repository around a project.
pub(super) fn record(project: &Path, captured: &mut Captured) {
    let read = || -> Result<_, String> {
        let git = Git::around(project)?;
        let commit = git.line(&["rev-parse", "HEAD"])?;
        let tree = git.line(&["rev-parse", "HEAD^{tree}"])?;
        let diff = git.ask(&[
            "diff",
            "HEAD",
            "--binary",
            "--no-ext-diff",
            "--no-textconv",
            "--no-color",
            "--",
            ".",
        ])?;
        let untracked = git.ask(&["ls-files", "--others", "--exclude-standard", "-z"])?;
        let modules = git.line(&["submodule", "status", "--recursive"])?;
        Ok((commit, tree, diff, untracked, modules))
    };
    match read() {
        Ok((commit, tree, diff, untracked, modules)) => {
            captured.set("git.commit", commit);
            captured.set("git.tree", tree);
            let mut changes = diff;
            for name in untracked
                .split(|byte| *byte == 0)
                .filter(|name| !name.is_empty())
            {
                let path = project.join(String::from_utf8_lossy(name).as_ref());
                let content = std::fs::read(path).unwrap_or_default();
                changes.extend_from_slice(name);
                changes.extend_from_slice(format!("\0{}\n", Digest::sha256(&content)).as_bytes());
            }
            let changes = match changes.is_empty() {
                true => "none".to_owned(),
                false => Digest::sha256(&changes).to_string(),
            };
            captured.set("git.changes", changes);
            let modules: Vec<String> = modules.lines().map(|line| line.trim().to_owned()).collect();
            if !modules.is_empty() {
                captured.set("git.submodules", modules);
            }
        }
        Err(reason) => captured.left_out.push(format!("git: {reason}")),
    }
}

/// Those of `paths` that are not in the repository at `commit` as they lie in its directory now, each with
/// what is wrong. Paths are relative to the directory whose repository it is.
///
/// # Errors
/// If git does not run or does not know the commit: then nothing is known, and the text says why.
pub fn uncommitted<'a>(
    repository: &Repository,
    commit: &str,
    paths: impl Iterator<Item = &'a str>,
) -> Result<Vec<String>, String> {
    if commit.is_empty() || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(format!("\"{commit}\" is no commit"));
    }
    let named = |output: Vec<u8>| -> BTreeSet<String> {
        let names = output.split(|byte| *byte == 0);
        let names = names.map(|name| String::from_utf8_lossy(name).into_owned());
        names.collect()
    };
    // At the top all paths begin there, however the user's own settings want them shown.
    let git = Git::around(&repository.top)?;
    let tree = ["ls-tree", "-r", "-z", "--name-only", "--full-tree", commit];
    let kept = named(git.ask(&tree)?);
    let changed = named(git.ask(&[
        "diff",
        "--name-only",
        "-z",
        "--no-renames",
        "--no-ext-diff",
        "--no-textconv",
        commit,
    ])?);
    let told = paths.filter_map(|path| {
        let whole = format!("{}{path}", repository.prefix);
        if !kept.contains(&whole) {
            return Some(format!("\"{path}\" is not in it"));
        }
        changed
            .contains(&whole)
            .then(|| format!("\"{path}\" was changed after it"))
    });
    Ok(told.collect())
}

/// Whether git holds something at `place`, or below or above it: then it came with a clone. `place` is relative to
/// `directory`, which is named by its whole path.
///
/// # Errors
/// If there is a repository, and nothing can be said of it: the text says why.
pub(crate) fn is_tracked(directory: &Path, place: &str) -> Result<bool, String> {
    let Some(top) = top_by_sight(directory) else {
        return Ok(false);
    };
    // Some file systems take letters of either case for the same.
    let place = place.to_ascii_lowercase();
    let first = place.split('/').next().unwrap_or_default();
    let listed = held(top, directory, first)?;
    let is_below = |path: &str, other: &str| {
        let rest = path.strip_prefix(other);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let mut paths = listed
        .split(|byte| *byte == 0)
        .map(|path| String::from_utf8_lossy(path).to_ascii_lowercase())
        .filter(|path| !path.is_empty());
    // What lies above is a repository in this one, with whatever that holds.
    Ok(paths.any(|path| is_below(&path, &place) || is_below(&place, &path)))
}

#[cfg(test)]
mod tests;
