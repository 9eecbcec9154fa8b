//! What the code is: commit, tree, and a digest of what was not committed.
//!
//! A project may lie anywhere in its repository. Commit and tree are those of the repository; what was not committed is
//! looked for in the project alone.
//! Invariant: a repository whose state cannot be read has no facts of git, and the reason is told; where there is one that
//! cannot be read, nobody says that there is none.

use super::capture::Captured;
use sealstone_spec::digest::Digest;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn git(repository: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(repository)
        // Neither hooks nor programs of the repository's configuration are run.
        .args([
            "-c",
            "core.fsmonitor=false",
            "-c",
            "core.hooksPath=/dev/null",
        ])
        .args(arguments)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("LC_ALL", "C");
    let output = command
        .output()
        .map_err(|error| format!("git does not run: {error}"))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(said.lines().last().unwrap_or("git failed").to_owned())
    }
}

fn line(repository: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = git(repository, arguments)?;
    Ok(String::from_utf8_lossy(&output).trim().to_owned())
}

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
    let ask = |what: &str| -> Result<Vec<u8>, String> {
        let mut answer = git(directory, &["rev-parse", what])?;
        if answer.last() == Some(&b'\n') {
            answer.pop();
        }
        Ok(answer)
    };
    let prefix = String::from_utf8(ask("--show-prefix")?)
        .map_err(|_| "the way to the project in its repository is not UTF-8".to_owned())?;
    Ok(Repository {
        top: PathBuf::from(OsString::from_vec(ask("--show-toplevel")?)),
        prefix,
    })
}

/// The top of a repository as it can be seen without git.
fn top_by_sight(directory: &Path) -> Option<&Path> {
    let mut places = directory.ancestors();
    places.find(|place| place.join(".git").exists())
}

/// Files below `directory` that differ from what is committed, or are not known to git, by their paths from
/// there, sorted. `None` where there is no repository, or no git.
pub fn changed_files(directory: &Path) -> Option<Vec<String>> {
    let prefix = around(directory).ok()?.prefix;
    let listing = git(
        directory,
        &[
            "status",
            "--porcelain=v1",
            "-z",
            "--untracked-files=all",
            ".",
        ],
    )
    .ok()?;
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

/// The facts of the repository around a project.
pub(super) fn record(project: &Path, captured: &mut Captured) {
    let read = || -> Result<_, String> {
        let commit = line(project, &["rev-parse", "HEAD"])?;
        let tree = line(project, &["rev-parse", "HEAD^{tree}"])?;
        let diff = git(
            project,
            &[
                "diff",
                "HEAD",
                "--binary",
                "--no-ext-diff",
                "--no-textconv",
                "--no-color",
                "--",
                ".",
            ],
        )?;
        let untracked = git(
            project,
            &["ls-files", "--others", "--exclude-standard", "-z"],
        )?;
        let modules = line(project, &["submodule", "status", "--recursive"])?;
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
    let top = &repository.top;
    let kept = named(git(
        top,
        &["ls-tree", "-r", "-z", "--name-only", "--full-tree", commit],
    )?);
    let changed = named(git(
        top,
        &[
            "diff",
            "--name-only",
            "-z",
            "--no-renames",
            "--no-ext-diff",
            "--no-textconv",
            commit,
        ],
    )?);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Git in a directory, under somebody's name.
    fn run(directory: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let who = [
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.invalid",
            "-c",
            "commit.gpgsign=false",
        ];
        git(directory, &[&who, arguments].concat())
    }

    #[test]
    fn a_project_below_the_top_has_its_own_changes_and_the_commit_of_all() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let project = root.join("models/a b");
        write("models/a b/train.py", "1\n");
        write("models/c/train.py", "1\n");
        assert_eq!(repository(&project), Ok(None));
        assert_eq!(prefix_in_repository(&project), "");
        if run(&root, &["init", "-q"]).is_err() {
            return crate::skips::not_installed("git");
        }
        run(&root, &["add", "."]).unwrap();
        run(&root, &["commit", "-q", "-m", "first"]).unwrap();
        let here = repository(&project).unwrap().unwrap();
        assert_eq!(here.top.canonicalize().unwrap(), root);
        assert_eq!(here.prefix, "models/a b/");
        assert_eq!(prefix_in_repository(&project), here.prefix);
        let commit = line(&root, &["rev-parse", "HEAD"]).unwrap();
        let fact = |name: &str| {
            let mut captured = Captured::default();
            record(&project, &mut captured);
            captured.facts.get(name).unwrap().to_string()
        };
        let open = || uncommitted(&here, &commit, ["train.py"].into_iter()).unwrap();
        // Others work in the same repository.
        write("models/c/train.py", "2\n");
        write("models/c/new.py", "2\n");
        assert_eq!(
            (fact("git.commit"), fact("git.changes")),
            (commit.clone(), "none".to_owned())
        );
        assert_eq!(open(), Vec::<String>::new());
        // Whoever likes to be shown paths from where he stands is asked no less.
        run(&root, &["config", "diff.relative", "true"]).unwrap();
        write("models/a b/train.py", "2\n");
        assert_eq!(open(), ["\"train.py\" was changed after it"]);
        assert!(fact("git.changes").starts_with("sha256:"));
        // Of a repository that git does not read nobody says that it is none.
        std::fs::write(root.join(".git/HEAD"), "").unwrap();
        assert!(repository(&project).is_err());
        assert_eq!(prefix_in_repository(&project), "models/a b/");
    }

    #[test]
    fn changes_have_a_digest_and_none_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let run = |arguments: &[&str]| run(directory.path(), arguments);
        if run(&["init", "-q"]).is_err() {
            return crate::skips::not_installed("git");
        }
        let facts = || {
            let mut captured = Captured::default();
            record(directory.path(), &mut captured);
            captured
        };
        assert!(facts().facts.is_empty() && !facts().left_out.is_empty());
        std::fs::write(directory.path().join("train.py"), "a\n").unwrap();
        run(&["add", "."]).unwrap();
        run(&["commit", "-q", "-m", "first"]).unwrap();
        let changes = || facts().facts.get("git.changes").unwrap().to_string();
        assert_eq!(changes(), "none");
        let commit = line(directory.path(), &["rev-parse", "HEAD"]).unwrap();
        let here = repository(directory.path()).unwrap().unwrap();
        assert_eq!(here.prefix, "");
        let open = |paths: &[&str]| uncommitted(&here, &commit, paths.iter().copied()).unwrap();
        assert_eq!(open(&["train.py"]), Vec::<String>::new());
        std::fs::write(directory.path().join("train.py"), "b\n").unwrap();
        assert!(open(&["train.py"])[0].contains("changed after"));
        assert!(open(&["other.py"])[0].contains("not in it"));
        let unknown = "0".repeat(40);
        assert!(uncommitted(&here, &unknown, ["train.py"].into_iter()).is_err());
        assert!(uncommitted(&here, "--help", ["train.py"].into_iter()).is_err());
        let first = changes();
        assert!(first.starts_with("sha256:"));
        std::fs::write(directory.path().join("new.py"), "c\n").unwrap();
        assert_ne!(changes(), first);
        let dirty = |at: &str| changed_files(&directory.path().join(at)).unwrap();
        assert_eq!(dirty(""), ["new.py", "train.py"]);
        std::fs::create_dir(directory.path().join("sub")).unwrap();
        std::fs::write(directory.path().join("sub/a b.py"), "").unwrap();
        assert_eq!(dirty("sub"), ["a b.py"]);
        run(&["add", "."]).unwrap();
        run(&["commit", "-q", "-m", "second"]).unwrap();
        run(&["mv", "new.py", "newer.py"]).unwrap();
        assert_eq!(dirty(""), ["newer.py"]);
    }
}
