//! Which stages golden answers and metrics come of, and so what can decide about a file beside its bytes and numbers.
//!
//! Owns what follows from the recipe alone; what was measured and asked is a replay's. Invariant: what follows from the
//! graph of stages is worked out once for all files. A recipe comes from whoever wrote it, and may have many of them.

use super::measure::Check;
use super::path::RecipePath;
use super::{Recipe, Stage};
use crate::compare::Class;
use std::collections::BTreeSet;

/// What golden answers and metrics can decide about (chapter 7), of one recipe.
#[derive(Clone, Debug)]
pub struct Settling<'a> {
    /// Names of the stages that golden answers come of.
    asked: BTreeSet<&'a str>,
    /// Names of the stages that metrics come of.
    measured: BTreeSet<&'a str>,
    /// The files that metrics are read from.
    files: BTreeSet<&'a str>,
}

impl<'a> Settling<'a> {
    pub(super) fn of(recipe: &'a Recipe) -> Settling<'a> {
        let is_golden = |check: &Check| matches!(check, Check::Inference { .. });
        let tests = recipe.tests.iter().filter(|test| is_golden(&test.check));
        let files = || recipe.metrics.iter().map(|metric| &metric.from.path);
        Settling {
            asked: recipe.sources_of(tests.flat_map(|test| test.reads_of(recipe))),
            measured: recipe.sources_of(files()),
            files: files().map(RecipePath::as_str).collect(),
        }
    }

    /// Whether something in the recipe can still make a file good enough of which `class` is demanded, the one at `path`
    /// that `stage` writes.
    pub fn decides(&self, stage: &Stage, path: &str, class: Class) -> bool {
        match class {
            Class::BitExact | Class::ContentExact => false,
            _ if self.files.contains(path) => true,
            Class::Functional => self.asked.contains(stage.name.as_str()),
            Class::Statistical => self.measured.contains(stage.name.as_str()),
            Class::Numeric | Class::Divergent => false,
        }
    }

    /// Whether a metric is read from a file below a path.
    pub(super) fn measures_below(&self, path: &RecipePath) -> bool {
        let below = format!("{}/", path.as_str());
        let mut files = self.files.range::<&str, _>(below.as_str()..);
        files.next().is_some_and(|file| file.starts_with(&below))
    }
}

impl Recipe {
    /// The names of the stages that write something at, above or below these paths, and of all whose outputs those read,
    /// themselves or through others.
    pub fn sources_of<'p>(
        &self,
        paths: impl IntoIterator<Item = &'p RecipePath>,
    ) -> BTreeSet<&str> {
        let paths: BTreeSet<&RecipePath> = paths.into_iter().collect();
        let mut found: BTreeSet<&str> = BTreeSet::new();
        // Each stands after those that it reads from, so from the end one look at each is enough.
        for stage in self.stages.iter().rev() {
            let mut outputs = stage.writes.iter();
            let is_asked = outputs.any(|output| paths.iter().any(|path| path.overlaps(output)));
            if is_asked || found.contains(stage.name.as_str()) {
                found.insert(stage.name.as_str());
                let needs = self.dependencies(stage).into_iter();
                found.extend(needs.map(|need| need.name.as_str()));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_comes_of_a_stage_can_decide_about_its_files() {
        let recipe = Recipe::parse(
            "recipe = { version = 1, name = \"x\" }\nenvironment = { kind = \"host\" }\n\
            [stage.prepare]\nkind = \"prepare\"\nrun = [\"true\"]\nout = [\"work/tokens\"]\n\
            [stage.train]\nkind = \"train\"\nrun = [\"true\"]\nin = [\"work/\"]\nout = [\"model/\"]\n\
            [stage.evaluate]\nkind = \"evaluate\"\nrun = [\"true\"]\nin = [\"model/\"]\nout = [\"out/\"]\n\
            [stage.aside]\nkind = \"other\"\nrun = [\"true\"]\nin = [\"work/tokens\"]\nout = [\"out-aside/\"]\n\
            [metric.a]\nfrom = \"out/metrics.json#/a\"\n\
            [test.t]\nkind = \"inference\"\nrun = [\"true\"]\nmodel = \"model/w\"\ninputs = \"in\"\nexpect = \"expect\"\n",
        )
        .unwrap();
        let settling = recipe.settling();
        let decided = |name: &str, path: &str| {
            let stage = recipe.stage(name).unwrap();
            let classes = Class::ALL.into_iter();
            let classes = classes.filter(|class| settling.decides(stage, path, *class));
            classes.map(Class::as_str).collect::<Vec<_>>()
        };
        let cases: [(&str, &str, &[&str]); 5] = [
            ("prepare", "work/tokens", &["functional", "statistical"]),
            ("train", "model/other", &["functional", "statistical"]),
            ("evaluate", "out/answers.csv", &["statistical"]),
            (
                "evaluate",
                "out/metrics.json",
                &["numeric", "functional", "statistical", "divergent"],
            ),
            ("aside", "out-aside/x", &[]),
        ];
        for (stage, path, due) in cases {
            assert_eq!(decided(stage, path), due, "{path}");
        }
        for (path, due) in [("out", true), ("out-aside/", false), ("model", false)] {
            assert_eq!(settling.measures_below(&path.parse().unwrap()), due);
        }
    }
}
