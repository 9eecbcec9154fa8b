//! Metrics and tests of a replay, and what they say about artifacts.
//!
//! Invariant: a metric is read from what a stage of this replay has written, and from nowhere else.

use super::checks;
use super::documents;
use super::metrics;
use super::room::Produced;
use super::session::Session;
use crate::error::Result;
use sealstone_spec::compare::Class;
use sealstone_spec::recipe::{Check, Recipe, RecipePath, Stage};
use sealstone_spec::report::{MetricRow, StageRow, TestRow, Verdict};
use std::collections::BTreeSet;
use std::time::Instant;

impl Session<'_> {
    /// Metrics, tests, and what they say about artifacts.
    pub(super) fn results(&mut self) -> Result<()> {
        let project = self.project;
        let samples = self.replicates()?;
        // Only what stages of this replay have written is read.
        let written = |path: &str| {
            project
                .recipe
                .writer_of(path)
                .is_some_and(|stage| self.ran.contains(&stage.name))
        };
        let due = |path: &str| {
            project
                .recipe
                .writer_of(path)
                .is_some_and(|stage| self.is_due(stage))
        };
        let fresh: Produced = self
            .made
            .iter()
            .filter(|(path, _)| written(path))
            .map(|(path, file)| (path.clone(), file.clone()))
            .collect();
        let began = Instant::now();
        let left_out = self.needs_more_runs();
        let judged = metrics::judge(project, &fresh, &samples, |metric| {
            due(metric.from.path.as_str()) && !left_out.contains(&metric.name)
        });
        self.spend("compare", began);
        let began = Instant::now();
        let tests = checks::run_all(project, &self.made, self.tools, &self.settings.workspace)?;
        self.spend("test", began);
        let lowest = tests.iter().filter_map(|tried| tried.isolation).min();
        let achieved = &mut self.report.isolation.achieved;
        *achieved = (*achieved).into_iter().chain(lowest).min();
        for tried in &tests {
            let row = &tried.row;
            self.note("test.run", &row.id, row.ok, row.note.clone());
            if !row.ok {
                let verdict = match row.undecided {
                    true if tried.machine_failed => Verdict::Error,
                    true => Verdict::Inconclusive,
                    false => Verdict::Diverged,
                };
                let text = row.note.clone();
                self.reason(
                    verdict,
                    "test",
                    &row.id,
                    text.unwrap_or_else(|| "it does not hold".into()),
                );
            }
        }
        let mut tests: Vec<TestRow> = tests.into_iter().map(|tried| tried.row).collect();
        let is_tested = !tests.is_empty();
        for row in documents::look(project) {
            self.note(
                "docs.compare",
                &row.id,
                row.note.is_none(),
                row.note.clone(),
            );
            // What a bundle holds was written by the client that packed it, whose words another version may not use.
            if let Some(text) = row.note.as_ref().filter(|_| !project.is_sealed()) {
                let warned = Verdict::ReproducedWithWarnings;
                self.reason(warned, "docs", &row.id, text.clone());
            }
            tests.push(row);
        }
        let golden: Vec<Golden> = project
            .recipe
            .tests()
            .iter()
            .filter(|test| matches!(test.check, Check::Inference { .. }))
            .map(|test| {
                // One that was not asked is open.
                let row = tests.iter().find(|row| row.id == checks::id(test));
                let held = row.map_or(Held::Open, |row| Held::of(row.ok, row.undecided));
                Golden::of(&project.recipe, held, test.reads_of(&project.recipe))
            })
            .collect();
        self.report.tests = tests;
        for (row, _) in &judged {
            if row.undecided {
                self.reason(
                    Verdict::Inconclusive,
                    "metric",
                    &row.name,
                    row.note
                        .clone()
                        .unwrap_or_else(|| "it was not measured".into()),
                );
            } else if !row.ok {
                let text = format!(
                    "{} then, {} now: {}",
                    shown(&row.base),
                    shown(&row.now),
                    row.note.as_deref().unwrap_or("outside of its tolerance")
                );
                self.reason(Verdict::Diverged, "metric", &row.name, text);
            } else if row.base.is_none() {
                self.reason(
                    Verdict::ReproducedWithWarnings,
                    "metric",
                    &row.name,
                    "the baseline has no such metric",
                );
            }
        }
        for name in &left_out {
            let text = "its test needs replicates, which only a replay of everything runs";
            self.reason(Verdict::ReproducedWithWarnings, "metric", name, text);
        }
        let metrics = project.recipe.metrics().iter();
        let unmeasured = Unmeasured {
            files: metrics
                .filter(|metric| left_out.contains(&metric.name))
                .map(|metric| metric.from.path.as_str())
                .collect(),
            isolated: self.settings.isolated,
        };
        let said = Said::of(&project.recipe, &judged, &golden, &unmeasured);
        settle(&mut self.report.stages, &said);
        self.report.metrics = judged.into_iter().map(|(row, _)| row).collect();
        let mut stages = self.report.stages.iter();
        let is_compared = stages.any(|stage| !stage.artifacts.is_empty());
        let is_measured = is_tested || !self.report.metrics.is_empty();
        // A stage that did not end well has its own reason.
        if !is_compared && !is_measured && self.broken.is_empty() {
            let scope = self.settings.scope;
            let text = "the recipe has nothing that this scope runs, measures or tests";
            self.reason(Verdict::Inconclusive, "unmeasured", scope.as_str(), text);
        }
        Ok(())
    }
}

/// What came of something that was measured or tried, or of several such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    /// It is as it should be.
    Holds,
    /// It was measured, and nothing can be said.
    Open,
    /// It is not.
    Fails,
}

impl Held {
    fn of(ok: bool, undecided: bool) -> Held {
        match (ok, undecided) {
            (true, _) => Held::Holds,
            (_, true) => Held::Open,
            _ => Held::Fails,
        }
    }

    /// A metric that was not even measured is none that is open.
    fn of_metric(row: &MetricRow) -> Held {
        Held::of(row.ok, row.undecided && row.now.is_some())
    }
}

/// What came of a golden answer, and the paths that it was asked of.
struct Golden<'a> {
    held: Held,
    reads: Vec<&'a RecipePath>,
    /// Names of the stages that it comes of.
    sources: BTreeSet<&'a str>,
}

impl<'a> Golden<'a> {
    fn of(recipe: &'a Recipe, held: Held, reads: Vec<&'a RecipePath>) -> Golden<'a> {
        Golden {
            held,
            sources: recipe.sources_of(reads.iter().copied()),
            reads,
        }
    }
}

/// What no metric or golden answer of a replay says anything about, because of how much of it there is.
#[derive(Default)]
struct Unmeasured<'a> {
    /// Files of metrics that were left out.
    files: BTreeSet<&'a str>,
    /// Whether each stage has read the baseline's files: then what is measured, or asked of what another stage has made, is
    /// nothing that this replay has made.
    isolated: bool,
}

/// What was measured and asked in a replay.
struct Said<'a> {
    recipe: &'a Recipe,
    judged: &'a [(MetricRow, Class)],
    golden: &'a [Golden<'a>],
    unmeasured: &'a Unmeasured<'a>,
    /// What came of each metric, with the names of the stages that it comes of.
    measured: Vec<(Held, BTreeSet<&'a str>)>,
}

impl<'a> Said<'a> {
    fn of(
        recipe: &'a Recipe,
        judged: &'a [(MetricRow, Class)],
        golden: &'a [Golden<'a>],
        unmeasured: &'a Unmeasured<'a>,
    ) -> Said<'a> {
        let measured = judged
            .iter()
            .map(|(row, _)| (Held::of_metric(row), file_of(row)));
        let left_out = unmeasured
            .files
            .iter()
            .map(|file| (Held::Open, Some(*file)));
        let measured = measured.chain(left_out).filter_map(|(held, file)| {
            let file: RecipePath = file?.parse().ok()?;
            Some((held, recipe.sources_of([&file])))
        });
        Said {
            recipe,
            judged,
            golden,
            unmeasured,
            measured: measured.collect(),
        }
    }

    /// What metrics say of the files of a stage: those that it, or a stage after it, has written. What is measured
    /// beside it says nothing of it.
    fn by_metrics(&self, stage: &Stage) -> Option<Held> {
        let measured = self.measured.iter();
        let of_stage = measured.filter(|(_, sources)| sources.contains(stage.name.as_str()));
        let held = of_stage.map(|(held, _)| *held).max();
        match self.unmeasured.isolated {
            true => held.and(Some(Held::Open)),
            false => held,
        }
    }

    /// What golden answers say of the files of a stage: those that were asked of what it, or a stage after it, has made.
    /// Where each stage has read the baseline's files, what one after it has made shows nothing of them.
    fn by_golden(&self, stage: &Stage) -> Option<Held> {
        let is_of_stage = |golden: &&Golden<'_>| golden.sources.contains(stage.name.as_str());
        let is_own = |golden: &Golden<'_>| {
            let mut reads = golden.reads.iter();
            reads.any(|read| stage.writes.iter().any(|output| output.overlaps(read)))
        };
        let asked = self.golden.iter().filter(is_of_stage);
        let held = asked.map(|golden| match self.unmeasured.isolated && !is_own(golden) {
            true => Held::Open,
            false => golden.held,
        });
        held.max()
    }
}

/// The file that a metric was read from.
fn file_of(metric: &MetricRow) -> Option<&str> {
    metric.from.as_deref()?.split('#').next()
}

/// What metrics and golden answers say about files: where only function or statistics are demanded of weights,
/// those decide that come of the stage that wrote them; and a file of metrics is as good as the metrics in it, unless its
/// bytes are demanded. Where they say nothing, neither do they of files. A golden answer that was not asked is an open
/// one, and so is a metric that was left out or measured something else. A sample says less than a number: what it
/// decides is as good as it, and no more is demanded of that file.
fn settle(stages: &mut [StageRow], said: &Said<'_>) {
    let open_if = |is_open: bool| is_open.then_some(Held::Open);
    for stage in stages.iter_mut() {
        let written = said.recipe.stage(&stage.name);
        let metrics = written.and_then(|stage| said.by_metrics(stage));
        let golden = written.and_then(|stage| said.by_golden(stage));
        for row in &mut stage.artifacts {
            let Some(class) = row
                .class
                .filter(|_| !row.ok && row.now.is_some() && row.base.is_some())
            else {
                continue;
            };
            let of_file: Vec<&(MetricRow, Class)> = (said.judged.iter())
                .filter(|(metric, _)| file_of(metric) == Some(&row.path))
                .collect();
            let in_it = of_file.iter().map(|(row, _)| Held::of_metric(row)).max();
            let in_it = in_it.max(open_if(said.unmeasured.files.contains(row.path.as_str())));
            // One that the baseline has not is held against nothing.
            let held = of_file.iter().filter(|(metric, _)| metric.base.is_some());
            let by_sample = held
                .clone()
                .any(|(metric, _)| metric.rule.contains_key("method"));
            let sampled = held.map(|(_, class)| *class).min();
            let (found, reached) = match row.required {
                Class::BitExact | Class::ContentExact => continue,
                _ if by_sample => (in_it, sampled.unwrap_or(class).min(Class::Numeric)),
                required if in_it.is_some() => {
                    let lowest = of_file.iter().map(|(_, class)| *class).min();
                    let lowest = lowest.unwrap_or(class).min(Class::Numeric);
                    (in_it, lowest.max(required.min(Class::Numeric)))
                }
                Class::Functional => (golden, Class::Functional),
                Class::Statistical => (metrics, Class::Statistical),
                _ => continue,
            };
            match found {
                Some(Held::Holds) => {
                    if by_sample {
                        row.required = row.required.min(reached);
                    }
                    row.class = Some(reached.max(class));
                    row.ok = reached.satisfies(row.required);
                }
                Some(Held::Open) => row.class = None,
                Some(Held::Fails) | None => {}
            }
        }
    }
}

fn shown(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or("nothing")
}

#[cfg(test)]
mod tests;
