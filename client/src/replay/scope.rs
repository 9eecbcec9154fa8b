//! Which stages a scope asks for.
//!
//! Invariant: an evaluation trains nothing, and what it measures are answers of the weights that were shipped, given in
//! this replay.

use super::session::Session;
use sealstone_spec::recipe::{Recipe, Stage, StageKind};
use sealstone_spec::report::ReplayScope;
use std::collections::BTreeSet;

impl Session<'_> {
    /// Whether the scope asks for a stage to be run.
    pub(super) fn is_due(&self, stage: &Stage) -> bool {
        match self.settings.scope {
            ReplayScope::Full | ReplayScope::Smoke => stage.kind != StageKind::Fetch,
            ReplayScope::Eval => self.evaluation.contains(stage.name.as_str()),
            _ => false,
        }
    }
}

/// The stages that a scope of only some of them asks for.
pub(super) fn evaluation_of(scope: ReplayScope, recipe: &Recipe) -> BTreeSet<&str> {
    match scope {
        ReplayScope::Eval => evaluation(recipe),
        _ => BTreeSet::new(),
    }
}

/// The stages of an evaluation: those that evaluate, those whose answers they read, and what works on these in between.
fn evaluation(recipe: &Recipe) -> BTreeSet<&str> {
    // Back from every evaluation as far as the weights. Without those that infer, it would read the baseline's answers.
    let evaluates = |stage: &&Stage| stage.kind == StageKind::Evaluate;
    let mut queue: Vec<&Stage> = recipe.stages().iter().filter(evaluates).collect();
    let mut leading: BTreeSet<&str> = BTreeSet::new();
    while let Some(stage) = queue.pop() {
        if leading.insert(&stage.name) {
            let needs = recipe.dependencies(stage).into_iter();
            queue.extend(
                needs.filter(|need| !matches!(need.kind, StageKind::Train | StageKind::Fetch)),
            );
        }
    }
    // Each stands after those that it reads from.
    let mut due: BTreeSet<&str> = BTreeSet::new();
    for stage in recipe.stages() {
        let answers = matches!(stage.kind, StageKind::Infer | StageKind::Evaluate);
        let needs = recipe.dependencies(stage);
        let follows = needs.iter().any(|need| due.contains(need.name.as_str()));
        if leading.contains(stage.name.as_str()) && (answers || follows) {
            due.insert(&stage.name);
        }
    }
    due
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The stages of an evaluation, of a recipe of stages as `name kind what it reads`.
    fn due(stages: &[(&str, &str, &[&str])]) -> Vec<String> {
        let mut recipe = String::from(
            "recipe = { version = 1, name = \"x\" }\nenvironment = { kind = \"host\" }\n",
        );
        for (name, kind, reads) in stages {
            let reads = reads.iter().map(|stage| format!("\"out/{stage}\""));
            let reads: Vec<String> = reads.collect();
            recipe += &format!(
                "[stage.{name}]\nkind = \"{kind}\"\nrun = [\"true\"]\nin = [{}]\nout = [\"out/{name}\"]\n",
                reads.join(", ")
            );
        }
        let recipe = Recipe::parse(&recipe).unwrap();
        let due = evaluation(&recipe).into_iter();
        due.map(str::to_owned).collect()
    }

    #[test]
    fn an_evaluation_runs_what_answers_and_trains_nothing() {
        let prepare: (&str, &str, &[&str]) = ("prepare", "prepare", &[]);
        let train: (&str, &str, &[&str]) = ("train", "train", &["prepare"]);
        let measure: (&str, &str, &[&str]) = ("measure", "evaluate", &["train", "prepare"]);
        assert_eq!(due(&[prepare, train, measure]), ["measure"]);
        let chain: [(&str, &str, &[&str]); 5] = [
            prepare,
            train,
            ("answer", "infer", &["train", "prepare"]),
            ("sort", "other", &["answer"]),
            ("measure", "evaluate", &["sort"]),
        ];
        assert_eq!(due(&chain), ["answer", "measure", "sort"]);
        // What infers for the training is before the weights, and what nobody evaluates is not asked.
        let before: [(&str, &str, &[&str]); 4] = [
            ("embed", "infer", &[]),
            ("train", "train", &["embed"]),
            ("measure", "evaluate", &["train"]),
            ("answer", "infer", &["train"]),
        ];
        assert_eq!(due(&before), ["measure"]);
        assert_eq!(due(&[prepare, train]), Vec::<String>::new());
    }
}
