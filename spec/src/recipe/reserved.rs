//! Places that no run writes: those of tools, and the files by which a recipe is read.
//!
//! Whoever clones a project may run its recipe, for stages are kept from the machine. What a stage wrote is put
//! in place by the run, outside of all that: as `.git/hooks/post-commit` it would be a program that the next
//! commit starts. Files that a clone can bring along itself (`.envrc`, `.github`, a makefile) are files like any.
//!
//! Owns the rule, which is one of names. Whether a link leads to such a place is for whoever writes to look at.

use super::finding::{Code, Finding};
use super::listing::is_left_behind;
use super::measure::Check;
use super::path::RecipePath;
use super::{Environment, IMAGE_DIRECTORY, LOCK_FILE, RECIPE_FILE, Recipe};

/// Whether something lies there that is not the recipe's: a name that never counts (chapter 4.4), or `.git` and
/// `.sealstone` in other letters, which on some file systems are the same.
pub fn is_reserved(path: &str) -> bool {
    let is_kept_by_tools = |element: &str| {
        [".git", ".sealstone"]
            .iter()
            .any(|name| name.eq_ignore_ascii_case(element))
    };
    is_left_behind(path) || path.split('/').any(is_kept_by_tools)
}

impl Recipe {
    /// Why no stage may write `path`; `None` if one may.
    pub fn why_reserved(&self, path: &RecipePath) -> Option<String> {
        let baselines = self.profiles.iter().filter_map(|profile| {
            let what = format!("the lock of profile \"{}\"", profile.name);
            Some((what, profile.baseline.as_ref()?.as_str()))
        });
        let read = self.read_by_runs().into_iter();
        let read = read.map(|(what, other)| (what.to_owned(), other));
        why(path, read.chain(baselines))
    }

    /// What a run reads of the project beside declared paths, and its lock.
    fn read_by_runs(&self) -> Vec<(&'static str, &str)> {
        let mut read = vec![("the recipe", RECIPE_FILE), ("the lock", LOCK_FILE)];
        if let Some(file) = &self.params.file {
            read.push(("the parameters", file.as_str()));
        }
        match &self.environment {
            Environment::Venv { lock, wheels, .. } => {
                read.push(("the environment's lock", lock.as_str()));
                if let Some(wheels) = wheels {
                    read.push(("the environment's wheels", wheels.as_str()));
                }
            }
            Environment::Rootfs { path, .. } => {
                read.push(("the environment's file system", path.as_str()));
            }
            Environment::Oci { .. } => read.push(("the environment's image", IMAGE_DIRECTORY)),
            Environment::Host => {}
        }
        read
    }
}

fn why<'a>(path: &RecipePath, mut read: impl Iterator<Item = (String, &'a str)>) -> Option<String> {
    if is_reserved(path.as_str()) {
        return Some("tools keep things of their own under such a name".to_owned());
    }
    read.find(|(_, other)| overlaps(path.as_str(), other))
        .map(|(what, other)| format!("{what} lies at \"{other}\""))
}

/// Whether one lies at the other or below it, where letters of either case are the same.
fn overlaps(one: &str, other: &str) -> bool {
    let (one, other) = (one.to_ascii_lowercase(), other.to_ascii_lowercase());
    let holds = |above: &str, below: &str| {
        below
            .strip_prefix(above)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    holds(&one, &other) || holds(&other, &one)
}

/// Everything that a run would write to a place that is not a recipe's to write.
pub(super) fn check(recipe: &Recipe, findings: &mut Vec<Finding>) {
    let mut say = |place, what: String, why: String| {
        let hint = "write it to a place of its own, such as \"results/NAME\"".to_owned();
        let problem = format!("{what}, where no run may write: {why}");
        findings.push(Finding::new(Code::UnsafePath, place, problem, Some(hint)));
    };
    for stage in &recipe.stages {
        for path in &stage.writes {
            if let Some(why) = recipe.why_reserved(path) {
                let what = format!("stage \"{}\" writes \"{path}\"", stage.name);
                say(stage.place, what, why);
            }
        }
    }
    for profile in &recipe.profiles {
        let Some(path) = &profile.baseline else {
            continue;
        };
        let read = recipe.read_by_runs().into_iter();
        let read = read.map(|(what, other)| (what.to_owned(), other));
        if let Some(why) = why(path, read) {
            let what = format!("the lock of profile \"{}\" is \"{path}\"", profile.name);
            say(profile.place, what, why);
        }
    }
    for test in &recipe.tests {
        // A golden output that is not there is written by the first run.
        let Check::Inference { expect, .. } = &test.check else {
            continue;
        };
        if let Some(why) = why(expect, std::iter::empty()) {
            let what = format!("\"expect\" of test \"{}\" is \"{expect}\"", test.name);
            say(test.place, what, why);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn recipe(head: &str, out: &str, tail: &str) -> String {
        format!(
            "recipe = {{ version = 1, name = \"x\" }}\n{head}\n[stage.a]\nkind = \"other\"\nrun = [\"a\"]\nout = [\"{out}\"]\n{tail}"
        )
    }

    #[track_caller]
    fn refused(text: &str, due: &str) {
        let error = Recipe::parse(text).unwrap_err();
        let found = error.findings().iter();
        let mut of_places = found.filter(|finding| finding.code == Code::UnsafePath);
        let problem = &of_places.next().expect("a place is refused").problem;
        assert!(problem.contains(due), "{problem}");
    }

    #[test]
    fn no_output_lies_where_tools_keep_things_of_their_own() {
        let host = "environment = { kind = \"host\" }";
        for out in [
            ".git/",
            ".git/hooks/post-commit",
            ".GIT/config",
            "models/.Git/",
            ".sealstone/logs/",
            ".SealStone/x",
            "x/__pycache__/",
            "a.pyc",
        ] {
            refused(&recipe(host, out, ""), "tools keep");
        }
        for out in ["git/", ".gitattributes", ".github/x", "x.git/", ".envrc"] {
            assert!(Recipe::parse(&recipe(host, out, "")).is_ok(), "{out}");
        }
    }

    #[test]
    fn no_output_lies_over_what_a_run_reads() {
        let host = "environment = { kind = \"host\" }";
        for out in ["recipe.toml", "Recipe.Toml/", "recipe.lock"] {
            refused(&recipe(host, out, ""), "lies at \"recipe.");
        }
        let params = format!("{host}\nparams = {{ file = \"conf/params.toml\" }}");
        refused(&recipe(&params, "conf/", ""), "the parameters");
        let venv =
            "environment = { kind = \"venv\", lock = \"requirements.lock\", wheels = \"wheels/\" }";
        refused(&recipe(venv, "requirements.lock", ""), "environment's lock");
        refused(&recipe(venv, "wheels/a.whl", ""), "wheels");
        let rootfs = format!(
            "environment = {{ kind = \"rootfs\", path = \"root.tar\", sha256 = \"{}\" }}",
            "a".repeat(64)
        );
        refused(&recipe(&rootfs, "root.tar", ""), "file system");
        let profile = "[profile.smoke]\nbaseline = \"baselines/smoke.lock\"\n";
        refused(&recipe(host, "baselines/", profile), "profile \"smoke\"");
    }

    #[test]
    fn nor_do_a_profiles_lock_and_a_golden_output() {
        let host = "environment = { kind = \"host\" }";
        for baseline in [".git/config", "recipe.toml"] {
            let profile = format!("[profile.smoke]\nbaseline = \"{baseline}\"\n");
            refused(&recipe(host, "x", &profile), "the lock of profile");
        }
        let test = "[test.golden]\nkind = \"inference\"\nrun = [\"a\", \"{model}\", \"{in}\", \"{out}\"]\nmodel = \"x\"\ninputs = \"golden/in\"\nexpect = \".git/hooks/x\"\n";
        refused(&recipe(host, "x", test), "\"expect\" of test");
    }
}
