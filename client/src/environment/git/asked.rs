//! Git, asked so that it runs nothing that a repository names.
//!
//! A project may be a stranger's, and the configuration of its repository with it: in a tarball as it stands, in a clone
//! as that of a repository whose parts are committed as files. Git runs programs of a configuration where it compares
//! files (filters, also those of submodules), watches them, shows differences, and fetches objects that are missing.
//! Owns every call of git. Filters count where the user's own configuration names them (git-lfs).
//! Invariant: what is run is git, what its user's own configuration names, and git-lfs as `git lfs install --local` asks for
//! it, word for word: a program of the user's own `PATH`, with nothing of the repository in its arguments. Where that cannot
//! be had, git is not asked, and the reason is told.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What holds whatever a repository's own configuration says.
const SETTINGS: [&str; 6] = [
    // Empty: any other word was the name of a program once.
    "core.fsmonitor=",
    "core.hooksPath=/dev/null",
    // Git 2.38 and later; [`top_of`] looks for the same.
    "safe.bareRepository=explicit",
    // Else a submodule is asked for its differences, and shows them by its own programs.
    "diff.submodule=short",
    "status.submoduleSummary=false",
    // Not a part of git itself, but a program beside it: where that is absent, another name for anything would be taken.
    "alias.submodule=",
];

/// Variables that say where the parts of one repository are.
const OF_ONE_REPOSITORY: [&str; 6] = [
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
];

/// Scopes of configuration that are the user's, or the machine's.
const OF_USER: [&[u8]; 3] = [b"system", b"global", b"command"];

/// What of a filter is run, and whether git fails where none is; with what says that there is none.
const FILTER: [(&str, &str); 4] = [
    ("clean", ""),
    ("smudge", ""),
    ("process", ""),
    ("required", "false"),
];

/// What git-lfs writes for itself of what is asked here; files are not taken out of a repository. `actions/checkout` has it
/// written into the repository's configuration alone.
const OF_LFS: [(&str, &str); 2] = [
    ("clean", "git-lfs clean -- %f"),
    ("process", "git-lfs filter-process"),
];

/// The repository around a directory, asked from there.
pub(super) struct Git {
    directory: PathBuf,
    /// Where no repository is looked for any more. `None` where the user names the repository (`GIT_DIR`).
    above: Option<PathBuf>,
    /// Settings that take the place of filters which a repository names.
    filters: Vec<OsString>,
    /// Names of filters that are not run, since only the repository names them.
    pub(super) left_out: Vec<String>,
}

impl Git {
    /// The repository around `directory`.
    ///
    /// # Errors
    /// If there is none, if git does not run or does not read it, or if it cannot be asked without running what it names:
    /// the text says why.
    pub(super) fn around(directory: &Path) -> Result<Git, String> {
        let directory = directory
            .canonicalize()
            .map_err(|error| format!("\"{}\" cannot be opened: {error}", directory.display()))?;
        let above = match std::env::var_os("GIT_DIR") {
            Some(_) => None,
            None => top_of(&directory)?.parent().map(Path::to_owned),
        };
        let mut git = Git {
            directory,
            above,
            filters: Vec::new(),
            left_out: Vec::new(),
        };
        let own = git.path("--absolute-git-dir")?;
        let top = git.path("--show-toplevel")?;
        let mut found = Filters::default();
        found.look_into(&own, top)?;
        git.filters = found.settings()?;
        git.left_out = found.left_out();
        Ok(git)
    }

    /// What git answers.
    ///
    /// # Errors
    /// If it does not run, or does not end well: with the last that it said.
    pub(super) fn ask(&self, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let mut command = command(&self.directory, &self.filters);
        command.args(arguments);
        if let Some(above) = &self.above {
            command.env("GIT_CEILING_DIRECTORIES", above);
        }
        answer(ended(command)?)
    }

    /// The same as a line of text.
    pub(super) fn line(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.ask(arguments)?;
        Ok(String::from_utf8_lossy(&output).trim().to_owned())
    }

    /// A path that `rev-parse` tells.
    pub(super) fn path(&self, what: &str) -> Result<PathBuf, String> {
        Ok(path_of(self.ask(&["rev-parse", what])?))
    }
}

/// Paths that the repository with its top in `top` holds at or below a name in `directory`, in letters of either case, from
/// there. Nothing of its configuration is run for that, so it may as well be somebody else's.
pub(super) fn held(top: &Path, directory: &Path, name: &str) -> Result<Vec<u8>, String> {
    let mut git = command(directory, &[]);
    for name in OF_ONE_REPOSITORY {
        git.env_remove(name);
    }
    git.arg("--git-dir").arg(top.join(".git"));
    git.arg("--work-tree").arg(top);
    git.args(["--icase-pathspecs", "ls-files", "-z", "--", name]);
    answer(ended(git)?)
}

/// The top of a repository as it can be seen without git.
pub(in super::super) fn top_by_sight(directory: &Path) -> Option<&Path> {
    let mut places = directory.ancestors();
    places.find(|place| place.join(".git").exists())
}

/// The same, if no directory from there on is laid out as a repository itself: its parts are files like others, which a
/// clone brings, and before 2.38 git takes its configuration for that of any other.
fn top_of(directory: &Path) -> Result<&Path, String> {
    for place in directory.ancestors() {
        let holds = |name: &str| place.join(name).symlink_metadata().is_ok();
        if holds("HEAD") && ["objects", "refs", "commondir"].into_iter().any(holds) {
            return Err(format!(
                "\"{}\" is laid out as a repository itself, and git is not asked there: its settings came with its files",
                place.display()
            ));
        }
        if place.join(".git").exists() {
            return Ok(place);
        }
    }
    Err("there is no repository around it".to_owned())
}

/// Git in a directory, with these settings beside [`SETTINGS`].
pub(super) fn command(directory: &Path, more: &[OsString]) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory);
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    for setting in more {
        command.arg("-c").arg(setting);
    }
    command
        .env("GIT_OPTIONAL_LOCKS", "0")
        // What is missing in a partial clone is not fetched: the repository says from where, and by which program. No
        // protocol is allowed besides, for versions that do not know the first.
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_ALLOW_PROTOCOL", "")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C");
    command
}

fn ended(mut command: Command) -> Result<Output, String> {
    command
        .output()
        .map_err(|error| format!("git does not run: {error}"))
}

pub(super) fn answer(output: Output) -> Result<Vec<u8>, String> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().last().unwrap_or("git failed").to_owned())
}

fn path_of(mut line: Vec<u8>) -> PathBuf {
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    PathBuf::from(OsString::from_vec(line))
}

/// Filters that the configuration of a repository names, or that of one of its submodules.
#[derive(Default)]
struct Filters {
    /// Their names.
    named: BTreeSet<Vec<u8>>,
    /// What the user's own configuration says of filters, by key.
    of_user: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Those of [`OF_LFS`] that the repository names as they stand there.
    of_lfs: BTreeSet<&'static str>,
    /// Whether a repository says where git-lfs is to keep its files.
    lfs_writes_elsewhere: bool,
    /// Where was looked.
    seen: BTreeSet<PathBuf>,
}

impl Filters {
    /// Looks into the configuration of the repository with its own files in `first` and its work in `top`, and into that of
    /// submodules there: git asks each for its state by a command of its own.
    fn look_into(&mut self, first: &Path, top: PathBuf) -> Result<(), String> {
        let git_at = |own: &Path, top: &Path| {
            let mut command = command(top, &[]);
            if own != first {
                // As git itself does: these are about the repository that it was called in.
                for name in OF_ONE_REPOSITORY {
                    command.env_remove(name);
                }
            }
            command.arg("--git-dir").arg(own);
            command
        };
        let mut waiting = vec![(first.to_owned(), top)];
        while let Some((own, top)) = waiting.pop() {
            if !self.seen.insert(own.clone()) {
                continue;
            }
            self.read(git_at(&own, &top))?;
            let mut listing = git_at(&own, &top);
            listing.args(["ls-files", "--stage", "-z"]);
            for entry in answer(ended(listing)?)?.split(|byte| *byte == 0) {
                // The mode of a submodule; its path stands behind a tab.
                let Some(at) = entry.iter().position(|byte| *byte == b'\t') else {
                    continue;
                };
                if !entry.starts_with(b"160000 ") {
                    continue;
                }
                let place = top.join(OsStr::from_bytes(&entry[at + 1..]));
                let own = place.join(".git");
                let is_there = place.symlink_metadata().is_ok_and(|found| found.is_dir());
                if !is_there || !own.exists() {
                    continue;
                }
                let mut asked = git_at(&own, &place);
                asked.args(["rev-parse", "--show-toplevel"]);
                let top = path_of(answer(ended(asked)?)?);
                waiting.push((own, top));
            }
        }
        Ok(())
    }

    /// Reads what the configuration says of filters: pairs of a scope and a key, with a line feed before its value.
    fn read(&mut self, mut git: Command) -> Result<(), String> {
        git.args(["config", "--show-scope", "-z", "--get-regexp"]);
        git.arg(r"^(filter\.|lfs\.extension\.|lfs\.storage$)");
        let output = ended(git)?;
        let told = match output.status.code() {
            // There is none.
            Some(1) if output.stdout.is_empty() => return Ok(()),
            // Its answer to what it does not know.
            Some(129) => {
                return Err(
                    "this git does not tell where a setting comes from: 2.26 or later does"
                        .to_owned(),
                );
            }
            _ => answer(output)?,
        };
        let mut parts = told.split(|byte| *byte == 0);
        while let (Some(scope), Some(entry)) = (parts.next(), parts.next()) {
            let end = entry.iter().position(|byte| *byte == b'\n');
            let (key, value) = match end {
                Some(end) => (&entry[..end], &entry[end + 1..]),
                None => (entry, &b"true"[..]),
            };
            if OF_USER.contains(&scope) {
                self.of_user.insert(key.to_owned(), value.to_owned());
                continue;
            }
            if key == b"lfs.storage" {
                // It would write there.
                self.lfs_writes_elsewhere = true;
                continue;
            }
            let Some(rest) = key.strip_prefix(b"filter.") else {
                // Programs that git-lfs runs, which may well be a filter of the user's own.
                return Err("its configuration names extensions of git-lfs, which are programs: git is not asked".to_owned());
            };
            if let Some(end) = rest.iter().rposition(|byte| *byte == b'.') {
                self.named.insert(rest[..end].to_owned());
            }
            let of_lfs = OF_LFS.iter().filter(|(part, program)| {
                rest.strip_prefix(b"lfs.") == Some(part.as_bytes()) && value == program.as_bytes()
            });
            self.of_lfs.extend(of_lfs.map(|(part, _)| *part));
        }
        Ok(())
    }

    /// For each of them what the user's own configuration says, and where it says nothing, that there is none.
    fn settings(&self) -> Result<Vec<OsString>, String> {
        let mut settings = Vec::new();
        for name in &self.named {
            if name.contains(&b'=') {
                let name = String::from_utf8_lossy(name);
                return Err(format!(
                    "its configuration names the filter \"{name}\", which git cannot be told to leave out"
                ));
            }
            for (part, none) in FILTER {
                let value = self.program(name, part);
                let mut setting = key(name, part);
                setting.push(b'=');
                setting.extend_from_slice(value.unwrap_or(none.as_bytes()));
                settings.push(OsString::from_vec(setting));
            }
        }
        Ok(settings)
    }

    /// What is run as this part of a filter.
    fn program(&self, name: &[u8], part: &str) -> Option<&[u8]> {
        if let Some(value) = self.of_user.get(&key(name, part)) {
            return Some(value);
        }
        // Whoever says something of git-lfs himself has said all of it.
        let of_user = FILTER
            .iter()
            .any(|(part, _)| self.of_user.contains_key(&key(name, part)));
        if name != b"lfs" || of_user || self.lfs_writes_elsewhere || !self.of_lfs.contains(part) {
            return None;
        }
        let own = OF_LFS.iter().find(|(known, _)| *known == part);
        own.map(|(_, program)| program.as_bytes())
    }

    /// The names of those of which nothing is run.
    fn left_out(&self) -> Vec<String> {
        let runs = |name: &[u8], part: &str| {
            let program = self.program(name, part);
            program.is_some_and(|it| !it.is_empty())
        };
        let left_out = self
            .named
            .iter()
            .filter(|name| !runs(name, "clean") && !runs(name, "process"));
        left_out
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect()
    }
}

/// The key of a part of a filter.
fn key(name: &[u8], part: &str) -> Vec<u8> {
    [&b"filter."[..], name, &b"."[..], part.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn of_filters_that_only_the_repository_names_only_the_own_words_of_lfs_are_run() {
        let directory = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let mut git = command(directory.path(), &[]);
            // Nothing is the user's here, whatever this machine says of git-lfs.
            git.env("GIT_CONFIG_NOSYSTEM", "1")
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .env("HOME", directory.path())
                .env("XDG_CONFIG_HOME", directory.path())
                .args(arguments);
            git
        };
        let run = |arguments: &[&str]| ended(git(arguments)).and_then(answer);
        if run(&["init", "-q"]).is_err() {
            return crate::skips::not_installed("git");
        }
        let set = |key: &str, value: &str| {
            run(&["config", "--local", key, value]).unwrap();
        };
        let found = || {
            let mut found = Filters::default();
            found.read(git(&[])).unwrap();
            let settings = found.settings().unwrap().into_iter();
            let settings: Vec<String> = settings.map(|it| it.into_string().unwrap()).collect();
            (settings, found.left_out())
        };
        // As `git lfs install --local` writes it.
        set("filter.lfs.clean", "git-lfs clean -- %f");
        set("filter.lfs.smudge", "git-lfs smudge -- %f");
        set("filter.lfs.process", "git-lfs filter-process");
        set("filter.lfs.required", "true");
        set("filter.git-crypt.clean", "\"git-crypt\" clean");
        let none = [
            "filter.git-crypt.clean=",
            "filter.git-crypt.smudge=",
            "filter.git-crypt.process=",
            "filter.git-crypt.required=false",
        ];
        let lfs = [
            "filter.lfs.clean=git-lfs clean -- %f",
            "filter.lfs.smudge=",
            "filter.lfs.process=git-lfs filter-process",
            "filter.lfs.required=false",
        ];
        let (settings, left_out) = found();
        assert_eq!(settings, [&none[..], &lfs].concat());
        assert_eq!(left_out, ["git-crypt"]);
        // Other words are anybody's, and so is the same under another name.
        set("filter.lfs.clean", "git-lfs clean -- %f; touch RAN");
        set("filter.lfs.process", "./git-lfs filter-process");
        set("filter.x.clean", "git-lfs clean -- %f");
        let (settings, left_out) = found();
        assert!(
            !settings.iter().any(|it| it.contains("git-lfs")),
            "{settings:?}"
        );
        assert_eq!(left_out, ["git-crypt", "lfs", "x"]);
        // Nor does it write where a repository wants it to.
        set("filter.lfs.clean", "git-lfs clean -- %f");
        set("filter.lfs.process", "git-lfs filter-process");
        set("lfs.storage", "../elsewhere");
        let (settings, _) = found();
        assert!(
            !settings.iter().any(|it| it.contains("git-lfs")),
            "{settings:?}"
        );
    }
}
