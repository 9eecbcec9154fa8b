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
        let golden: Vec<bool> = tests
            .iter()
            .filter(|test| test.kind == "inference")
            .map(|test| test.ok)
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
        settle(&mut self.report.stages, &judged, &golden);
        self.report.metrics = judged.into_iter().map(|(row, _)| row).collect();
        Ok(())
    }
}

/// What metrics and golden answers say about files: where only function or statistics are demanded of weights,
/// these decide; and a file of metrics is as good as the metrics in it, unless its bytes are demanded.
fn settle(stages: &mut [StageRow], judged: &[(MetricRow, Class)], golden: &[bool]) {
    let all_metrics = !judged.is_empty() && judged.iter().all(|(row, _)| row.ok);
    let all_golden = !golden.is_empty() && golden.iter().all(|ok| *ok);
    for row in stages.iter_mut().flat_map(|stage| &mut stage.artifacts) {
        let Some(class) = row
            .class
            .filter(|_| !row.ok && row.now.is_some() && row.base.is_some())
        else {
            continue;
        };
        let of_file: Vec<&(MetricRow, Class)> = judged
            .iter()
            .filter(|(metric, _)| {
                metric
                    .from
                    .as_deref()
                    .and_then(|from| from.split('#').next())
                    == Some(&row.path)
            })
            .collect();
        let open = of_file.iter().any(|(metric, _)| metric.undecided)
            && of_file
                .iter()
                .all(|(metric, _)| metric.ok || metric.undecided);
        let reached = match row.required {
            Class::BitExact | Class::ContentExact => continue,
            // What a file of metrics is, nobody can say while they say nothing.
            _ if open => {
                row.class = None;
                continue;
            }
            required if !of_file.is_empty() && of_file.iter().all(|(metric, _)| metric.ok) => {
                let lowest = of_file.iter().map(|(_, class)| *class).min();
                lowest
                    .unwrap_or(class)
                    .min(Class::Numeric)
                    .max(required.min(Class::Numeric))
            }
            Class::Functional if all_golden => Class::Functional,
            Class::Statistical if all_metrics => Class::Statistical,
            _ => continue,
        };
        row.class = Some(reached.max(class));
        row.ok = reached.satisfies(row.required);
    }
}

fn shown(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or("nothing")
}
