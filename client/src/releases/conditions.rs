//! What decides what a stage makes, beside the contents of files: as a lock has it, and as a recipe states it now.
//!
//! Owns the names of these conditions and their texts. Says nothing of files and data, which have rows of their own.
//! Invariant: a recipe that was run and not changed since states exactly what its lock has; whatever of it changes a
//! stage's key, or lets the stage reach the network, is another text.

use crate::plan::{told_threads, variables};
use sealstone_spec::recipe::{Lock, LockedStage, Recipe, RecipePath, Stage, StageKind, first_read};
use std::collections::{BTreeMap, BTreeSet};

/// The conditions of one stage, by name.
pub(super) type Conditions = BTreeMap<String, String>;

/// The stages of a lock. Of the parameters that stages got, those for which `counts`: one that came or went is told by
/// itself.
pub(super) fn locked(lock: &Lock, counts: impl Fn(&str) -> bool) -> BTreeMap<String, Conditions> {
    let stages = lock.stages.iter();
    stages
        .map(|stage| (stage.name.clone(), of_locked(stage, &counts)))
        .collect()
}

/// The stages of a recipe; `params` are the names of the parameters that count.
pub(super) fn stated<'a>(
    recipe: &Recipe,
    params: impl Iterator<Item = &'a str> + Clone,
) -> BTreeMap<String, Conditions> {
    let stages = recipe.stages().iter();
    stages
        .map(|stage| (stage.name.clone(), of_stated(recipe, stage, params.clone())))
        .collect()
}

fn of_locked(stage: &LockedStage, counts: impl Fn(&str) -> bool) -> Conditions {
    let read = stage.sources.iter().chain(&stage.inputs);
    let names = stage.params.keys().map(String::as_str);
    Terms {
        kind: stage.kind,
        command: &stage.command,
        shell: stage.shell,
        first_read: stage.first_read.as_ref(),
        reads: read.map(|item| &item.path).collect(),
        writes: stage.outputs.iter().map(|item| &item.path).collect(),
        params: names.filter(|name| counts(name)).collect(),
        seed: stage.seed,
        hash_seed: stage.hash_seed,
        threads: stage.threads,
        cpus: stage.cpus,
        device: stage.device.as_deref(),
        env: stage.env.clone(),
    }
    .texts()
}

fn of_stated<'a>(
    recipe: &Recipe,
    stage: &Stage,
    params: impl Iterator<Item = &'a str>,
) -> Conditions {
    let gets = |name: &&str| stage.params.iter().any(|pattern| pattern.matches(name));
    Terms {
        kind: stage.kind,
        command: &stage.run,
        shell: stage.shell,
        first_read: first_read(&stage.run, &stage.reads),
        reads: stage.reads.iter().collect(),
        writes: stage.writes.iter().collect(),
        params: params.filter(gets).collect(),
        seed: recipe.determinism().seed,
        hash_seed: recipe.determinism().hash_seed,
        threads: told_threads(recipe, stage),
        cpus: stage.resources.cpus,
        device: stage.device.as_deref(),
        env: variables(recipe, stage),
    }
    .texts()
}

/// The same of both.
struct Terms<'a> {
    kind: StageKind,
    command: &'a [String],
    shell: bool,
    first_read: Option<&'a RecipePath>,
    /// In no order: what is read is read.
    reads: BTreeSet<&'a RecipePath>,
    /// In the recipe's order. Only the first counts as it stands: it is what `{out}` names, with the slash of a directory.
    writes: Vec<&'a RecipePath>,
    params: BTreeSet<&'a str>,
    seed: Option<u64>,
    hash_seed: u64,
    threads: u64,
    cpus: Option<u64>,
    device: Option<&'a str>,
    env: BTreeMap<String, String>,
}

impl Terms<'_> {
    fn texts(self) -> Conditions {
        let mut others = self.writes.iter();
        let first = others.next().map(ToString::to_string);
        let others: BTreeSet<&str> = others.map(|path| path.as_str()).collect();
        let written = first.as_deref().into_iter().chain(others);
        let stated = [
            ("kind", Some(self.kind.to_string())),
            (
                "command",
                Some(words(self.command.iter().map(String::as_str))),
            ),
            ("shell", Some(self.shell.to_string())),
            ("in", self.first_read.map(ToString::to_string)),
            (
                "reads",
                Some(words(self.reads.iter().map(|path| path.as_str()))),
            ),
            ("writes", Some(words(written))),
            ("params", Some(words(self.params.iter().copied()))),
            ("seed", self.seed.map(|seed| seed.to_string())),
            ("hash_seed", Some(self.hash_seed.to_string())),
            ("threads", Some(self.threads.to_string())),
            ("cpus", self.cpus.map(|cpus| cpus.to_string())),
            ("device", self.device.map(str::to_owned)),
        ];
        let stated = stated
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let env = self.env.into_iter();
        let env = env.map(|(name, value)| (format!("env.{name}"), value));
        stated.chain(env).collect()
    }
}

/// Words in a row, so that no two lists have one text: a word with a space in it is not two.
fn words<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let plain = |word: &str| {
        let quoted = |c: char| c.is_whitespace() || c.is_control() || "\"\\".contains(c);
        !word.is_empty() && !word.contains(quoted)
    };
    let shown = words.map(|word| match plain(word) {
        true => word.to_owned(),
        false => format!("{word:?}"),
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sealstone_spec::digest::Digest;
    use sealstone_spec::environment::Isolation;
    use sealstone_spec::recipe::{KeyParts, LogDigest, PathDigest, Usage};

    const RECIPE: &str = r#"recipe = { version = 1, name = "small", risk = "low" }
environment = { kind = "host" }
params = { file = "params.toml" }
determinism = { class = "bit_exact", seed = 7, threads = 2, env = { LANG = "C" } }
[stage.train]
kind = "train"
run = ["sh", "src/train.sh", "--epochs", "20"]
in = ["src/", "b.txt"]
params = ["lr"]
env = { DEBUG = "0" }
device = "cpu"
resources = { cpus = 2 }
out = ["model/", "metrics.json"]
"#;

    /// What a run of [`RECIPE`] writes down.
    fn ran() -> LockedStage {
        let recipe = Recipe::parse(RECIPE).unwrap();
        let stage = &recipe.stages()[0];
        let nothing = Digest::sha256(b"");
        let there = |path: &RecipePath| PathDigest {
            path: path.clone(),
            digest: nothing,
            size: 0,
            files: None,
        };
        LockedStage {
            name: stage.name.clone(),
            kind: stage.kind,
            command: stage.run.clone(),
            shell: false,
            argv: stage.run.clone(),
            env: [("DEBUG", "0"), ("LANG", "C")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            params: [("lr".to_owned(), "0.1".to_owned())].into(),
            seed: Some(7),
            hash_seed: 0,
            threads: 2,
            cpus: Some(2),
            device: Some("cpu".into()),
            key: nothing,
            key_parts: KeyParts {
                code: nothing,
                params: nothing,
                environment: nothing,
                inputs: nothing,
            },
            first_read: None,
            // A lock has what stages share in any order.
            sources: stage.reads.iter().rev().map(there).collect(),
            inputs: Vec::new(),
            outputs: stage.writes.iter().map(there).collect(),
            undeclared: Vec::new(),
            exit: 0,
            started: "2026-01-31T12:00:00Z".into(),
            log: LogDigest {
                digest: nothing,
                size: 0,
                truncated: false,
            },
            usage: Usage::default(),
            runner: "process".into(),
            isolation: Isolation::I1,
            trace: None,
        }
    }

    /// The conditions that differ from those of the lock when the recipe has another text.
    fn changed(from: &str, to: &str) -> Vec<String> {
        assert!(RECIPE.contains(from), "{from}");
        let recipe = Recipe::parse(&RECIPE.replace(from, to)).unwrap();
        let base = of_locked(&ran(), |_| true);
        let now = stated(&recipe, ["lr", "momentum"].into_iter())
            .remove("train")
            .unwrap();
        let names: BTreeSet<&String> = base.keys().chain(now.keys()).collect();
        names
            .into_iter()
            .filter(|name| base.get(*name) != now.get(*name))
            .cloned()
            .collect()
    }

    #[test]
    fn each_condition_is_named_by_itself_and_none_where_nothing_changed() {
        assert_eq!(changed("small", "other"), Vec::<String>::new());
        for (from, to, due) in [
            ("\"20\"", "\"200\"", "command"),
            ("\"--epochs\", \"20\"", "\"--epochs 20\"", "command"),
            ("kind = \"train\"", "kind = \"fetch\"", "kind"),
            ("seed = 7", "seed = 8", "seed"),
            ("seed = 7, ", "", "seed"),
            ("seed = 7", "seed = 7, hash_seed = 1", "hash_seed"),
            ("threads = 2", "threads = 1", "threads"),
            ("cpus = 2", "cpus = 4", "cpus"),
            ("device = \"cpu\"", "device = \"cuda\"", "device"),
            ("DEBUG = \"0\"", "DEBUG = \"1\"", "env.DEBUG"),
            ("LANG", "TZ", "env.LANG env.TZ"),
            ("\"src/\", \"b.txt\"", "\"src/\"", "reads"),
            ("\"src/\", \"b.txt\"", "\"b.txt\", \"src/\"", ""),
            (
                "\"model/\", \"metrics.json\"",
                "\"metrics.json\", \"model/\"",
                "writes",
            ),
            ("\"model/\", ", "\"model\", ", "writes"),
            ("\"metrics.json\"", "\"metrics.json/\"", ""),
            ("params = [\"lr\"]", "params = [\"*\"]", "params"),
        ] {
            assert_eq!(changed(from, to).join(" "), due, "{from} -> {to}");
        }
    }
}
