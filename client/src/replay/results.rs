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
use sealstone_spec::report::{MetricRow, StageRow, TestRow, Verdict};
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
        let lowest = tests.iter().filter_map(|(_, isolation)| *isolation).min();
        let achieved = &mut self.report.isolation.achieved;
        *achieved = (*achieved).into_iter().chain(lowest).min();
        let mut tests: Vec<TestRow> = tests.into_iter().map(|(row, _)| row).collect();
        for row in &tests {
            self.note("test.run", &row.id, row.ok, row.note.clone());
            if !row.ok {
                let verdict = match row.undecided {
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
        let golden: Vec<Held> = tests
            .iter()
            .filter(|test| test.kind == "inference")
            .map(|test| Held::of(test.ok, test.undecided))
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
        settle(
            &mut self.report.stages,
            &judged,
            &golden,
            !left_out.is_empty(),
        );
        self.report.metrics = judged.into_iter().map(|(row, _)| row).collect();
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

/// What metrics and golden answers say about files: where only function or statistics are demanded of weights,
/// these decide; and a file of metrics is as good as the metrics in it, unless its bytes are demanded. Where they say
/// nothing, neither do they of files. `left_out` says that a metric was not asked in this scope.
fn settle(stages: &mut [StageRow], judged: &[(MetricRow, Class)], golden: &[Held], left_out: bool) {
    let metrics = judged.iter().map(|(row, _)| Held::of_metric(row)).max();
    let metrics = metrics.max(left_out.then_some(Held::Open));
    let golden = golden.iter().copied().max();
    for row in stages.iter_mut().flat_map(|stage| &mut stage.artifacts) {
        let Some(class) = row
            .class
            .filter(|_| !row.ok && row.now.is_some() && row.base.is_some())
        else {
            continue;
        };
        let in_file = |metric: &MetricRow| {
            let from = metric.from.as_deref();
            from.and_then(|from| from.split('#').next()) == Some(&row.path)
        };
        let of_file: Vec<&(MetricRow, Class)> =
            judged.iter().filter(|(row, _)| in_file(row)).collect();
        let in_it = of_file.iter().map(|(row, _)| Held::of_metric(row)).max();
        let (said, reached) = match row.required {
            Class::BitExact | Class::ContentExact => continue,
            required if in_it.is_some() => {
                let lowest = of_file.iter().map(|(_, class)| *class).min();
                let lowest = lowest.unwrap_or(class).min(Class::Numeric);
                (in_it, lowest.max(required.min(Class::Numeric)))
            }
            Class::Functional => (golden, Class::Functional),
            Class::Statistical => (metrics, Class::Statistical),
            _ => continue,
        };
        match said {
            Some(Held::Holds) => {
                row.class = Some(reached.max(class));
                row.ok = reached.satisfies(row.required);
            }
            Some(Held::Open) => row.class = None,
            Some(Held::Fails) | None => {}
        }
    }
}

fn shown(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or("nothing")
}
