//! Stages run in order, or taken from an earlier run that had the same key.
//!
//! Invariant: what is reused has the key and the outputs that its record says; what is recorded of a stage is what it
//! wrote, whatever becomes of that in the project.

use super::baseline::{Run, RunOptions, StageRan, make};
use super::logfile::LogFile;
use super::trace;
use crate::error::{Error, Result};
use crate::plan::{Planned, Roots, contents, plan, strictest};
use crate::runner::{Measured, StageJob, StageOutcome};
use sealstone_spec::recipe::{LockedFile, LockedStage, PathDigest, Stage, Usage};
use std::collections::{BTreeMap, BTreeSet};

impl Run<'_> {
    /// The named stages and all that they need; every stage if none is named.
    pub(super) fn selected(&self, names: &[String]) -> Result<BTreeSet<String>> {
        let all = self.recipe.stages().iter().map(|stage| stage.name.clone());
        if names.is_empty() {
            return Ok(all.collect());
        }
        let mut queue = Vec::new();
        for name in names {
            let stage = self.recipe.stage(name).ok_or_else(|| {
                let known: Vec<String> = all.clone().collect();
                Error::usage(format!("the recipe has no stage \"{name}\""))
                    .hint(format!("it has: {}", known.join(", ")))
            })?;
            queue.push(stage);
        }
        let mut selected = BTreeSet::new();
        while let Some(stage) = queue.pop() {
            if selected.insert(stage.name.clone()) {
                queue.extend(self.recipe.dependencies(stage));
            }
        }
        Ok(selected)
    }

    /// Runs or reuses every selected stage. What is left is what is not up to date.
    pub(super) fn stages(
        &mut self,
        selected: &BTreeSet<String>,
        options: &RunOptions,
    ) -> Result<Vec<String>> {
        self.check_places(selected)?;
        let recipe = self.recipe;
        let seed = recipe.determinism().seed;
        let mut stale: Vec<String> = Vec::new();
        for stage in recipe.stages() {
            let wanted = selected.contains(&stage.name);
            let waits = recipe
                .dependencies(stage)
                .iter()
                .any(|other| stale.contains(&other.name));
            if waits {
                stale.push(stage.name.clone());
                continue;
            }
            let planned = match plan(self.given(seed), stage, strictest(recipe)) {
                Ok(planned) => planned,
                Err(_) if !wanted => {
                    stale.push(stage.name.clone());
                    continue;
                }
                Err(error) => return Err(error),
            };
            let named = options.stages.is_empty() || options.stages.contains(&stage.name);
            let kept = match options.force && named {
                true => None,
                false => self.reusable(stage, &planned)?,
            };
            let (record, reused) = match kept {
                Some(record) => {
                    self.events.stage(&stage.name, true);
                    (record, true)
                }
                None if !wanted => {
                    stale.push(stage.name.clone());
                    continue;
                }
                None => {
                    self.events.stage(&stage.name, false);
                    (self.run_stage(stage, &planned)?, false)
                }
            };
            self.files.extend(
                planned
                    .files
                    .into_iter()
                    .map(|file| (file.path.as_str().to_owned(), file)),
            );
            if !reused {
                self.remember(&record);
            }
            self.done.push(StageRan {
                name: stage.name.clone(),
                reused,
                record,
            });
        }
        Ok(stale)
    }

    /// The record of an earlier run with the same key, if its outputs are still what they were.
    fn reusable(&mut self, stage: &Stage, planned: &Planned) -> Result<Option<LockedStage>> {
        let key = planned.parts.key();
        let is_same = |record: &&LockedStage| {
            let traced = record.trace.as_ref().map(|trace| &trace.path);
            // With another trace, its summary would be that of another file.
            record.key == key && traced == stage.trace.as_ref()
        };
        let earlier = self.earlier.iter();
        let same: Vec<LockedStage> = earlier
            .filter_map(|lock| lock.stage(&stage.name))
            .filter(is_same)
            .cloned()
            .collect();
        if same.is_empty() {
            return Ok(None);
        }
        let (outputs, files) = match self.outputs(&self.roots, stage) {
            Ok(found) => found,
            Err(error) if error.outcome() == crate::Outcome::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // Two runs of one key may have written two things: the one that lies there counts.
        let Some(record) = same.into_iter().find(|record| record.outputs == outputs) else {
            return Ok(None);
        };
        self.files.extend(files);
        // What a stage is for is nothing that it does: the key leaves it out.
        Ok(Some(LockedStage {
            kind: stage.kind,
            ..record
        }))
    }

    /// What lies at the places of a stage's outputs.
    fn outputs(
        &self,
        roots: &Roots,
        stage: &Stage,
    ) -> Result<(Vec<PathDigest>, BTreeMap<String, LockedFile>)> {
        let mut job = StageJob::new("outputs", Vec::new(), &self.scratch, &self.scratch);
        let (mut outputs, mut files) = (Vec::new(), BTreeMap::new());
        for path in &stage.writes {
            let (content, found) = contents(self.recipe, roots, path, &mut job)?;
            outputs.push(content);
            files.extend(
                found
                    .into_iter()
                    .map(|file| (file.path.as_str().to_owned(), file)),
            );
        }
        Ok((outputs, files))
    }

    fn run_stage(&mut self, stage: &Stage, planned: &Planned) -> Result<LockedStage> {
        let written = self.scratch.join(format!("out-{}", stage.name));
        make(&written)?;
        let mut job = planned.job.clone();
        job.destination.clone_from(&written);
        let log_path = self.logs.join(match self.profile {
            Some(profile) => format!("{}-{}.log", profile.name, stage.name),
            None => format!("{}.log", stage.name),
        });
        let started = jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string();
        let mut sink = LogFile::create(&log_path, self.events)?;
        let outcome = self.runner.run(&job, &mut sink)?;
        let (log, tail) = sink.finish(&outcome)?;
        for path in &outcome.undeclared {
            self.events.warn(&format!(
                "stage \"{}\" wrote \"{path}\", which it does not declare: it was thrown away",
                stage.name
            ));
        }
        for row in outcome.enforcement.iter().filter(|row| !row.is_enforced()) {
            self.events.warn(&format!(
                "stage \"{}\": the limit {} = {} is not enforced here",
                stage.name, row.limit, row.requested
            ));
        }
        if let Some(problem) = outcome.failure() {
            let mut error = Error::other(problem)
                .hint(format!("its whole output is in \"{}\"", log_path.display()));
            if !outcome.missing.is_empty() {
                error = error.hint("every path in \"out\" has to be written; the stage runs in a directory that holds only what it declares");
            }
            if !tail.is_empty() {
                error = error.hint(format!("it ended with:\n{tail}"));
            }
            return Err(error);
        }
        // Read before it is put in place: in the project, others can write too.
        let own = std::slice::from_ref(&stage.name);
        let own = self.roots.with_overlay(own, written.clone());
        let found = self.outputs(&own, stage);
        let traced = stage.trace.as_ref().map(|path| {
            let place = own.place(self.recipe, path.as_str());
            (trace::data_wait_ms(&place), trace::summary(&place, path))
        });
        self.publish(stage, &written, &outcome.outputs)?;
        // What cannot be recorded fails only now: a long training is in place, and not lost with this run's directory.
        let (outputs, files) = found?;
        self.files.extend(files);
        let (data_wait_ms, trace) = match traced {
            Some((wait, summary)) => (wait, Some(summary?)),
            None => (None, None),
        };
        let determinism = self.recipe.determinism();
        Ok(LockedStage {
            name: stage.name.clone(),
            kind: stage.kind,
            command: stage.run.clone(),
            shell: stage.shell,
            argv: job.argv,
            env: planned.env.clone(),
            params: planned.params.clone(),
            seed: planned.seed,
            hash_seed: determinism.hash_seed,
            threads: planned.threads,
            cpus: stage.resources.cpus,
            device: stage.device.clone(),
            key: planned.parts.key(),
            key_parts: planned.parts,
            first_read: planned.first_read.clone(),
            sources: planned.sources.clone(),
            inputs: planned.inputs.clone(),
            outputs,
            undeclared: outcome.undeclared.clone(),
            exit: 0,
            started,
            log,
            usage: Usage {
                data_wait_ms,
                ..usage(&outcome)
            },
            runner: outcome.runner.to_string(),
            isolation: outcome.isolation,
            trace,
        })
    }
}

fn usage(outcome: &StageOutcome) -> Usage {
    let used = &outcome.usage;
    let value = |measured: Option<Measured>| measured.map(|measured| measured.value);
    let method = used.peak_rss_bytes.and_then(|measured| {
        let word = serde_json::to_value(measured.method).ok()?;
        word.as_str().map(str::to_owned)
    });
    Usage {
        wall_ms: value(used.wall_ms).unwrap_or(0),
        user_ms: value(used.user_ms),
        system_ms: value(used.system_ms),
        peak_memory: value(used.peak_rss_bytes),
        peak_memory_method: method,
        read_bytes: value(used.read_bytes),
        written_bytes: value(used.written_bytes),
        max_threads: value(used.max_threads),
        gpu_memory: value(used.accelerator_bytes),
        data_wait_ms: None,
    }
}
