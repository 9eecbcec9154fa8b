//! Metrics, replicates with other seeds, and the recipe's tests.
//!
//! Invariant: a metric that is not a number, or beyond its bounds, makes no lock; nor does a failed test.

use super::baseline::{Run, make};
use super::logfile::LogFile;
use super::metric::read_metric_of;
use crate::check::{Against, TestResult, refuse_unmakable, run_test};
use crate::error::{Error, Result};
use crate::plan::{Given, Roots, plan, strictest};
use sealstone_spec::compare::Decimal;
use sealstone_spec::recipe::{Check, FileRole, Lock, LockedFile, LockedMetric, Test};
use std::collections::{BTreeMap, BTreeSet};

impl Run<'_> {
    pub(super) fn metric_source(&self, name: &str) -> String {
        let metric = self
            .recipe
            .metrics()
            .iter()
            .find(|metric| metric.name == name);
        metric
            .map(|metric| metric.from.to_string())
            .unwrap_or_default()
    }

    pub(super) fn metrics(&self, roots: &Roots) -> Result<BTreeMap<String, Decimal>> {
        let mut metrics = BTreeMap::new();
        for metric in self.recipe.metrics() {
            let name = &metric.name;
            let path = metric.from.path.as_str();
            let place = roots.place(self.recipe, path);
            let (value, digest) = read_metric_of(&place, &metric.from).map_err(|error| {
                Error::other(format!("metric \"{name}\" was not measured: {error}"))
            })?;
            // What runs with other seeds write lies where nobody else writes, and stands in no lock.
            let is_recorded = place == self.roots.place(self.recipe, path);
            let written = self.files.get(path).map(|file| file.digest);
            if is_recorded && written != Some(digest) {
                return Err(Error::other(format!(
                    "metric \"{name}\" was not measured: \"{path}\" is not what its stage wrote, it was changed since"
                ))
                .hint("run again while nothing else writes to the project"));
            }
            if value.value().is_nan() {
                return Err(Error::other(format!(
                    "metric \"{name}\" is NaN, which never passes"
                )));
            }
            let (rule, number) = (&metric.rule, value.value());
            let low = rule.min.as_ref().filter(|min| number < min.value());
            let high = rule.max.as_ref().filter(|max| number > max.value());
            if let Some(bound) = low.or(high) {
                let side = if low.is_some() { "min" } else { "max" };
                return Err(Error::other(format!(
                    "metric \"{name}\" is {value}, beyond its {side} {bound}"
                )));
            }
            metrics.insert(name.clone(), value);
        }
        Ok(metrics)
    }

    /// Runs stages with the other seeds, beside the project, and collects the metrics that these measure anew.
    pub(super) fn replicates(
        &mut self,
        metrics: &mut BTreeMap<String, LockedMetric>,
    ) -> Result<()> {
        let Some(replicates) = self.recipe.replicates() else {
            return Ok(());
        };
        // A metric that these runs do not measure anew would get the value of the one run as if it were a sample.
        let recipe = self.recipe;
        let measured = recipe.replicated_metrics().into_iter();
        let measured: BTreeSet<&str> = measured.map(|metric| metric.name.as_str()).collect();
        let due = |name: &str| match measured.contains(name) {
            true => replicates.seeds.len(),
            false => 0,
        };
        // What nothing changed need not be run again: the values stand in an earlier lock. That stages are reused says
        // little of it: a run that was cut short leaves stages of newer code, and the lock before it has older values.
        let unchanged = self.done.iter().all(|ran| ran.reused);
        let is_of_these = |lock: &Lock| {
            self.done.iter().all(|ran| {
                let (record, locked) = (&ran.record, lock.stage(&ran.name));
                locked.is_some_and(|locked| {
                    locked.key == record.key && locked.outputs == record.outputs
                })
            })
        };
        let known = self.earlier.iter().find(|lock| {
            lock.recipe.digest == *self.recipe.digest()
                && is_of_these(lock)
                && metrics.iter().all(|(name, metric)| {
                    lock.metrics.get(name).is_some_and(|other| {
                        other.replicates.len() == due(name)
                            && other.value.as_str() == metric.value.as_str()
                    })
                })
        });
        if let (true, Some(lock)) = (unchanged, known) {
            for (name, metric) in metrics {
                metric.replicates.clone_from(&lock.metrics[name].replicates);
            }
            return Ok(());
        }
        let main = self.recipe.determinism().seed;
        let usual = self.roots.clone();
        for seed in &replicates.seeds {
            let roots = match main == Some(*seed) {
                true => usual.clone(),
                false => {
                    let place = self.scratch.join(format!("seed-{seed}"));
                    make(&place)?;
                    let roots = usual.with_overlay(&replicates.stages, place);
                    self.roots = roots.clone();
                    let ran = self.replicate(&replicates.stages, *seed);
                    self.roots = usual.clone();
                    ran?;
                    roots
                }
            };
            for (name, value) in self.metrics(&roots)? {
                let metric = metrics.get_mut(&name);
                if let Some(metric) = metric.filter(|_| measured.contains(name.as_str())) {
                    metric.replicates.push(value);
                }
            }
        }
        Ok(())
    }

    fn replicate(&mut self, stages: &[String], seed: u64) -> Result<()> {
        let recipe = self.recipe;
        for stage in recipe
            .stages()
            .iter()
            .filter(|stage| stages.contains(&stage.name))
        {
            self.events
                .stage(&format!("{} (seed {seed})", stage.name), false);
            let planned = plan(self.given(Some(seed)), stage, strictest(recipe))?;
            let log_path = self.logs.join(format!("{}-seed-{seed}.log", stage.name));
            let mut sink = LogFile::create(&log_path, self.events)?;
            let outcome = self.runner.run(&planned.job, &mut sink)?;
            if let Some(problem) = outcome.failure() {
                return Err(Error::other(format!("with seed {seed}: {problem}"))
                    .hint(format!("its whole output is in \"{}\"", log_path.display())));
            }
        }
        Ok(())
    }

    /// Every test of data can be made, as far as that shows now, or nothing runs.
    pub(super) fn check_tests(&self) -> Result<()> {
        let mut tests = self.recipe.tests().iter();
        tests.try_for_each(|test| refuse_unmakable(self.recipe, &self.roots, test))
    }

    pub(super) fn tests(&mut self, seed: Option<u64>) -> Result<BTreeMap<String, TestResult>> {
        let mut results = BTreeMap::new();
        // Golden answers are those of the whole model, not of a profile's.
        let profiled = self.profile.is_some();
        let due = |test: &&Test| !profiled || !matches!(test.check, Check::Inference { .. });
        for test in self.recipe.tests().iter().filter(due) {
            self.events.stage(&format!("test {}", test.name), false);
            let log_path = self.logs.join(format!("test-{}.log", test.name));
            let given = Given {
                recipe: self.recipe,
                roots: &self.roots,
                params: &self.params,
                seed,
                machine: self.machine,
                scratch: &self.scratch,
            };
            let against = Against {
                runner: self.runner,
                compare: self.compare,
            };
            let mut sink = LogFile::create(&log_path, self.events)?;
            let result = run_test(given, test, against, true, &mut sink)?;
            if !result.ok {
                return Err(Error::other(format!(
                    "test \"{}\" failed: {}",
                    test.name, result.detail
                ))
                .hint(format!("its whole output is in \"{}\"", log_path.display())));
            }
            if result.recorded {
                self.events.warn(&format!("test \"{}\": the golden output was not there and was written from this model; look at it, then commit it", test.name));
            }
            for file in &result.files {
                let path = file.path.as_str().to_owned();
                let file = LockedFile {
                    role: FileRole::Test,
                    ..file.clone()
                };
                self.files.entry(path).or_insert(file);
            }
            results.insert(test.name.clone(), result);
        }
        Ok(results)
    }
}
