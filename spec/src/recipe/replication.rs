//! Which metrics the runs with several seeds measure anew, and what keeps them from measuring others.
//!
//! Invariant: what follows from the graph of stages is worked out once for all metrics. A recipe comes from whoever wrote
//! it, and may have many of both.

use super::graph::dependencies;
use super::{Metric, Recipe, Stage};
use std::collections::BTreeSet;

/// The stages of a recipe as runs of some of them see it.
pub(super) struct Replication<'a> {
    recipe: &'a Recipe,
    /// Whether a stage is among those that are run.
    is_run: Vec<bool>,
    /// Of each stage the first, of those that it waits for and of itself, whose result would change with the runs and that
    /// they do not run.
    missing: Vec<Option<usize>>,
}

impl<'a> Replication<'a> {
    pub(super) fn of(recipe: &'a Recipe, run: &[String]) -> Replication<'a> {
        let stages = &recipe.stages;
        let run: BTreeSet<&str> = run.iter().map(String::as_str).collect();
        let is_run: Vec<bool> = stages
            .iter()
            .map(|stage| run.contains(stage.name.as_str()))
            .collect();
        let mut changes = vec![false; stages.len()];
        let mut missing: Vec<Option<usize>> = vec![None; stages.len()];
        // Each stands after those that it reads from, so one look at each is enough.
        for (index, stage) in stages.iter().enumerate() {
            let waits = dependencies(stages, stage);
            changes[index] = is_run[index] || waits.iter().any(|other| changes[*other]);
            let own = (changes[index] && !is_run[index]).then_some(index);
            let before = waits.iter().filter_map(|other| missing[*other]);
            missing[index] = before.chain(own).min();
        }
        Replication {
            recipe,
            is_run,
            missing,
        }
    }

    /// The first stage that would have to be run too for the runs to measure a metric anew: the one that writes it, and
    /// every one between that and one that is run. `None` if each of them is.
    pub(super) fn lacks(&self, metric: &Metric) -> Option<&'a Stage> {
        let stages = &self.recipe.stages;
        let writes = |stage: &Stage| stage.output_of(metric.from.path.as_str()).is_some();
        let last = stages.iter().position(writes)?;
        let own = (!self.is_run[last]).then_some(last);
        self.missing[last].or(own).map(|index| &stages[index])
    }
}
