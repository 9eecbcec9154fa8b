//! What the code is: commit, tree, and a digest of what was not committed.
//!
//! Invariant: a repository whose state cannot be read has no facts of git, and the reason is told.

use super::capture::Captured;
use sealstone_spec::digest::Digest;
use std::collections::BTreeSet;
use std::path::Path;
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

/// Files below `directory` that differ from what is committed, or are not known to git, by their paths from
/// there, sorted. `None` where there is no repository, or no git.
pub fn changed_files(directory: &Path) -> Option<Vec<String>> {
    let prefix = line(directory, &["rev-parse", "--show-prefix"]).ok()?;
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

pub(super) fn record(repository: &Path, captured: &mut Captured) {
    let read = || -> Result<_, String> {
        let commit = line(repository, &["rev-parse", "HEAD"])?;
        let tree = line(repository, &["rev-parse", "HEAD^{tree}"])?;
        let diff = git(
            repository,
            &[
                "diff",
                "HEAD",
                "--binary",
                "--no-ext-diff",
                "--no-textconv",
                "--no-color",
            ],
        )?;
        let untracked = git(
            repository,
            &["ls-files", "--others", "--exclude-standard", "-z"],
        )?;
        let modules = line(repository, &["submodule", "status", "--recursive"])?;
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
                let path = repository.join(String::from_utf8_lossy(name).as_ref());
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
/// what is wrong. Paths are relative to the repository's top.
///
/// # Errors
/// If git does not run or does not know the commit: then nothing is known, and the text says why.
pub fn uncommitted<'a>(
    repository: &Path,
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
    let kept = named(git(
        repository,
        &["ls-tree", "-r", "-z", "--name-only", "--full-tree", commit],
    )?);
    let changed = named(git(
        repository,
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
        if !kept.contains(path) {
            return Some(format!("\"{path}\" is not in it"));
        }
        changed
            .contains(path)
            .then(|| format!("\"{path}\" was changed after it"))
    });
    Ok(told.collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn changes_have_a_digest_and_none_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let run = |arguments: &[&str]| {
            let who = [
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@example.invalid",
                "-c",
                "commit.gpgsign=false",
            ];
            git(directory.path(), &[&who, arguments].concat())
        };
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
        let open =
            |paths: &[&str]| uncommitted(directory.path(), &commit, paths.iter().copied()).unwrap();
        assert_eq!(open(&["train.py"]), Vec::<String>::new());
        std::fs::write(directory.path().join("train.py"), "b\n").unwrap();
        assert!(open(&["train.py"])[0].contains("changed after"));
        assert!(open(&["other.py"])[0].contains("not in it"));
        let unknown = "0".repeat(40);
        assert!(uncommitted(directory.path(), &unknown, ["train.py"].into_iter()).is_err());
        assert!(uncommitted(directory.path(), "--help", ["train.py"].into_iter()).is_err());
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
