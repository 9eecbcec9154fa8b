//! Runs with the other seeds, for metrics that a test of two samples judges.
//!
//! One run shows nothing about a mean: where a metric's method is `tost`, a replay of everything runs the recipe's
//! replicates as the baseline did, seed by seed, each seed's stages on what those before them wrote with that seed.
//! Invariant: a seed whose stages did not all end well gives no value, so that the sample is short and says nothing.

use super::execute::{Ran, failed};
use super::room::{Produced, Room};
use super::session::Session;
use crate::error::{Outcome, Result};
use crate::run::read_metric;
use sealstone_spec::compare::{Decimal, ReplayMethod};
use sealstone_spec::recipe::Stage;
use sealstone_spec::report::{ReplayScope, Verdict};
use std::collections::BTreeMap;

/// The values of each metric, in the order of the seeds.
pub(super) type Samples = BTreeMap<String, Vec<Decimal>>;

impl Session<'_> {
    /// Metrics of which this replay, by its scope, has too few runs to say anything.
    pub(super) fn needs_more_runs(&self) -> Vec<String> {
        if self.settings.scope == ReplayScope::Full {
            return Vec::new();
        }
        let metrics = self.project.recipe.metrics().iter();
        metrics
            .filter(|metric| metric.rule.replay.method == ReplayMethod::Tost)
            .filter(|metric| {
                let writer = self.project.recipe.writer_of(metric.from.path.as_str());
                writer.is_some_and(|stage| self.is_due(stage))
            })
            .map(|metric| metric.name.clone())
            .collect()
    }

    /// What the recipe's replicates measure in this replay; nothing where no metric needs more than one run.
    pub(super) fn replicates(&mut self) -> Result<Samples> {
        let recipe = &self.project.recipe;
        let mut metrics = recipe.metrics().iter();
        let is_needed = metrics.any(|metric| metric.rule.replay.method == ReplayMethod::Tost);
        let Some(replicates) = recipe.replicates() else {
            return Ok(Samples::new());
        };
        let is_whole = self.settings.scope == ReplayScope::Full && self.broken.is_empty();
        if !is_needed || !is_whole {
            return Ok(Samples::new());
        }
        let stages = recipe.stages().iter();
        let stages: Vec<&Stage> = stages
            .filter(|stage| replicates.stages.contains(&stage.name))
            .collect();
        let mut samples = Samples::new();
        for seed in &replicates.seeds {
            let made = match recipe.determinism().seed == Some(*seed) {
                true => self.made.clone(),
                false => match self.with_seed(&stages, *seed)? {
                    Some(made) => made,
                    None => continue,
                },
            };
            for metric in recipe.metrics() {
                let place = made.get(metric.from.path.as_str());
                let value = place.and_then(|(place, _)| read_metric(place, &metric.from).ok());
                samples
                    .entry(metric.name.clone())
                    .or_default()
                    .extend(value);
            }
        }
        Ok(samples)
    }

    /// What stages write with another seed; `None` if one of them did not end well.
    fn with_seed(&mut self, stages: &[&Stage], seed: u64) -> Result<Option<Produced>> {
        let mut made = self.made.clone();
        for stage in stages {
            let ran = match self.seeded(stage, &made, seed) {
                Ok(ran) => ran,
                Err(error) if error.outcome() == Outcome::Halted => return Err(error),
                Err(error) => {
                    let text = format!("with seed {seed}: {}", error.in_words());
                    self.reason(Verdict::Error, "stage", &stage.name, text);
                    return Ok(None);
                }
            };
            if failed(&ran.outcome) {
                let problem = ran.outcome.failure();
                let problem = problem.unwrap_or_else(|| "it did not end well".into());
                let text = format!("with seed {seed}: {problem}");
                self.reason(Verdict::Error, "stage", &stage.name, text);
                return Ok(None);
            }
            made.extend(ran.produced);
        }
        Ok(Some(made))
    }

    /// Runs one stage with another seed on what those before it have made with it.
    fn seeded(&mut self, stage: &Stage, made: &Produced, seed: u64) -> Result<Ran> {
        let workspace = &self.settings.workspace;
        let roots = self.project.roots_with(made, workspace);
        let room = Room::make(workspace, &format!("{}.seed-{seed}", stage.name))?;
        let planned = self.plan(stage, &roots, &room, Some(seed))?;
        self.run(stage, &planned, &room, RunAs::Replicate(seed))
    }
}

/// What a run of a stage is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunAs {
    /// To be held against the baseline.
    Replay,
    /// The same again, to see whether it does the same twice.
    Again,
    /// With another seed.
    Replicate(u64),
}
