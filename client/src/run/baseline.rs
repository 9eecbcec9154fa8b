//! The run: what is reused and what is run, what came of it, and the lock.
//!
//! Invariant: recipe.lock is written once, at the end, by one rename, and only if every stage, metric and
//! test ended well. A stage that ended well is remembered even if a later one did not, so that nothing is
//! trained twice.

use super::check::{Compare, TestResult, run_test};
use super::metric::read_metric;
use super::plan::{Given, Machine, Planned, contents, plan, strictest};
use super::publish::{publish, write_whole};
use super::roots::Roots;
use super::trace;
use crate::error::{Error, Result};
use crate::recipe::{Project, fingerprint, hash_path, read_lock};
use crate::runner::{LogSink, Measured, Runner, StageJob, StageOutcome, Stream};
use sealstone_spec::compare::{Decimal, Fingerprint};
use sealstone_spec::digest::{Algorithm, Hasher};
use sealstone_spec::recipe::{
    Environment, FileRole, Finding, Input, LOCK_SCHEMA, Lock, LockDocument, LockedEnvironment,
    LockedFile, LockedInput, LockedMetric, LockedRecipe, LockedStage, LockedTest, LogDigest,
    Params, PathDigest, Profile, Recipe, RecipePath, Stage, Usage,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// These stages and what they need; all if there is none.
    pub stages: Vec<String>,
    /// The profile.
    pub profile: Option<String>,
    /// Run stages also if their keys have not changed: the named ones, or all.
    pub force: bool,
}

/// What a caller hears while stages run.
pub trait RunEvents {
    /// A stage begins, or is taken from the last run.
    fn stage(&mut self, name: &str, reused: bool) {
        let _ = (name, reused);
    }
    /// A stage printed something.
    fn printed(&mut self, stream: Stream, bytes: &[u8]) {
        let _ = (stream, bytes);
    }
    /// Something that should be looked at.
    fn warn(&mut self, text: &str) {
        let _ = text;
    }
}

/// Says nothing.
impl RunEvents for () {}

/// A stage of a run.
#[derive(Clone, Debug)]
pub struct StageRan {
    /// Its name.
    pub name: String,
    /// Whether it was taken from the last run.
    pub reused: bool,
    /// The record of it.
    pub record: LockedStage,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The lock; `None` if only some stages were asked for, and others are not up to date.
    pub lock: Option<Lock>,
    /// Where the lock lies.
    pub lock_path: PathBuf,
    /// The stages, in order.
    pub stages: Vec<StageRan>,
    /// Stages that are not up to date.
    pub stale: Vec<String>,
    /// The tests.
    pub tests: BTreeMap<String, TestResult>,
}

/// Runs the stages of a project and writes its lock.
///
/// # Errors
/// [`Outcome::Halted`](crate::Outcome::Halted) if an input is not what the recipe says, before anything
/// runs; [`Outcome::Usage`](crate::Outcome::Usage) if the recipe has errors; anything else if a stage,
/// metric or test failed.
pub fn run(
    project: &Project,
    options: &RunOptions,
    machine: &Machine,
    runner: &dyn Runner,
    compare: Compare,
    events: &mut dyn RunEvents,
) -> Result<Ran> {
    let profile = options
        .profile
        .as_deref()
        .map(|name| project.profile(name))
        .transpose()?;
    let home = project.root().join(".sealstone");
    make_home(&home)?;
    let scratch = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(&home)
        .map_err(|source| {
            Error::io(
                format!("making a directory in \"{}\"", home.display()),
                source,
            )
        })?;
    let name = profile.map_or("last.lock".to_owned(), |profile| {
        format!("last-{}.lock", profile.name)
    });
    let mut run = Run {
        project,
        recipe: project.recipe(),
        profile,
        params: project.params_of(profile)?,
        roots: Roots::of(project, profile),
        machine,
        compare,
        runner,
        events,
        scratch: scratch.path().to_owned(),
        logs: home.join("logs"),
        earlier: Vec::new(),
        last: home.join(name),
        files: BTreeMap::new(),
        done: Vec::new(),
    };
    run.check_recipe()?;
    run.remember_earlier(options.force)?;
    let selected = run.selected(&options.stages)?;
    let inputs = run.inputs()?;
    let stale = run.stages(&selected, options)?;
    let lock_path = project.lock_path(profile)?;
    if !stale.is_empty() {
        return Ok(Ran {
            lock: None,
            lock_path,
            stages: run.done,
            stale,
            tests: BTreeMap::new(),
        });
    }
    let seed = run.recipe.determinism().seed;
    let mut metrics = BTreeMap::new();
    for (name, value) in run.metrics(&run.roots.clone())? {
        let from = run.metric_source(&name);
        metrics.insert(
            name,
            LockedMetric {
                from,
                value,
                replicates: Vec::new(),
            },
        );
    }
    run.replicates(&mut metrics)?;
    let tests = run.tests(seed)?;
    let lock = run.document(inputs, metrics, &tests)?;
    let lock = seal(lock)?;
    let disagreements = lock.disagreements(run.recipe);
    if !disagreements.is_empty() {
        return Err(Error::other(format!(
            "the lock does not fit its recipe: {}",
            disagreements.join("; ")
        )));
    }
    write_whole(&lock_path, lock.as_bytes())?;
    let _ = fs::remove_file(&run.last);
    Ok(Ran {
        lock: Some(lock),
        lock_path,
        stages: run.done,
        stale,
        tests,
    })
}

fn seal(document: LockDocument) -> Result<Lock> {
    Lock::seal(document).map_err(|error| Error::other(error.to_string()))
}

/// `.sealstone`, which Git is told to pass over.
fn make_home(home: &Path) -> Result<()> {
    let failed = |source| {
        Error::io(
            format!("making the directory \"{}\"", home.display()),
            source,
        )
    };
    fs::create_dir_all(home.join("logs")).map_err(failed)?;
    let ignore = home.join(".gitignore");
    if !ignore.exists() {
        fs::write(ignore, "*\n").map_err(failed)?;
    }
    Ok(())
}

struct Run<'a> {
    project: &'a Project,
    recipe: &'a Recipe,
    profile: Option<&'a Profile>,
    params: Params,
    roots: Roots,
    machine: &'a Machine,
    compare: Compare,
    runner: &'a dyn Runner,
    events: &'a mut dyn RunEvents,
    scratch: PathBuf,
    logs: PathBuf,
    /// Locks of earlier runs, the newest first.
    earlier: Vec<Lock>,
    /// Where stages are remembered that ended well in a run that did not.
    last: PathBuf,
    files: BTreeMap<String, LockedFile>,
    done: Vec<StageRan>,
}

impl Run<'_> {
    fn given(&self, seed: Option<u64>) -> Given<'_> {
        Given {
            recipe: self.recipe,
            roots: &self.roots,
            params: &self.params,
            seed,
            machine: self.machine,
            scratch: &self.scratch,
            compare: self.compare,
        }
    }

    fn check_recipe(&mut self) -> Result<()> {
        let findings = self.project.lint(None)?;
        let errors: Vec<&Finding> = findings
            .iter()
            .filter(|finding| finding.is_error())
            .collect();
        if errors.is_empty() {
            return Ok(());
        }
        let shown: Vec<String> = errors
            .iter()
            .map(|finding| format!("  {finding}"))
            .collect();
        Err(Error::usage(format!(
            "the recipe cannot be run:\n{}",
            shown.join("\n")
        )))
    }

    fn remember_earlier(&mut self, force: bool) -> Result<()> {
        // What a broken run left is a help and no promise: if it cannot be read, it is not used.
        self.earlier.extend(read_lock(&self.last).ok().flatten());
        match self.project.lock(self.profile) {
            Ok(lock) => self.earlier.extend(lock),
            Err(_) if force => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The named stages and all that they need; every stage if none is named.
    fn selected(&self, names: &[String]) -> Result<BTreeSet<String>> {
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

    /// Every input is what the recipe says, or nothing runs.
    fn inputs(&mut self) -> Result<Vec<LockedInput>> {
        let mut locked = Vec::new();
        for input in self.recipe.inputs() {
            let mut job = StageJob::new("inputs", Vec::new(), &self.scratch, &self.scratch);
            let (content, files) = contents(self.recipe, &self.roots, &input.path, &mut job)?;
            let replaced = self
                .profile
                .is_some_and(|profile| profile.inputs.contains_key(&input.path));
            let print = match content.files {
                None => fingerprint(&self.roots.place(self.recipe, input.path.as_str()))?,
                Some(_) => None,
            };
            if !replaced {
                self.check_input(input, &content, print.as_ref())?;
            }
            self.files.extend(
                files
                    .into_iter()
                    .map(|file| (file.path.as_str().to_owned(), file)),
            );
            locked.push(LockedInput {
                content,
                source: input.source.clone(),
                rows: print.as_ref().map(|print| print.rows),
                ordered: print.as_ref().map(|print| print.ordered),
                multiset: print.as_ref().map(|print| print.multiset),
                embedded: input.embed,
            });
        }
        Ok(locked)
    }

    fn check_input(
        &self,
        input: &Input,
        found: &PathDigest,
        print: Option<&Fingerprint>,
    ) -> Result<()> {
        let path = &input.path;
        if found.files.is_some() != input.is_tree {
            let due = if input.is_tree {
                "a directory"
            } else {
                "a file"
            };
            return Err(Error::halted(format!(
                "input \"{path}\" is not {due}, as the recipe says"
            )));
        }
        if found.digest != input.digest {
            let mut error = Error::halted(format!(
                "input \"{path}\" is {}, the recipe says {}; nothing was run",
                found.digest, input.digest
            ))
            .hint("bring back the data that the recipe names, or take the new with: sealstone lint --fix-digests");
            let before = self
                .earlier
                .iter()
                .flat_map(|lock| &lock.inputs)
                .find(|other| other.content.path == *path);
            let multiset = input
                .multiset
                .or_else(|| before.and_then(|before| before.multiset));
            if let (Some(multiset), Some(print)) = (multiset, print) {
                error = error.hint(match multiset == print.multiset {
                    true => "it has the same rows in a different order",
                    false => "its rows are other rows",
                });
            }
            return Err(error);
        }
        let stated = [
            (
                "rows in their order",
                input.ordered,
                print.map(|print| print.ordered),
            ),
            ("rows", input.multiset, print.map(|print| print.multiset)),
        ];
        for (what, due, is) in stated {
            if due.is_some() && due != is {
                return Err(Error::halted(format!(
                    "the {what} of input \"{path}\" are not those that the recipe names"
                )));
            }
        }
        // Whether people count the header of a table is theirs to decide.
        let counts =
            |due: u64| print.is_none_or(|print| print.rows == due || print.rows == due + 1);
        if let Some(due) = input.rows.filter(|due| !counts(*due)) {
            let rows = print.map_or(0, |print| print.rows);
            return Err(Error::halted(format!(
                "input \"{path}\" has {rows} rows, the recipe says {due}"
            )));
        }
        if input.files.is_some() && input.files != found.files {
            return Err(Error::halted(format!(
                "input \"{path}\" has {:?} files, the recipe says {:?}",
                found.files, input.files
            )));
        }
        Ok(())
    }

    /// Runs or reuses every selected stage. What is left is what is not up to date.
    fn stages(&mut self, selected: &BTreeSet<String>, options: &RunOptions) -> Result<Vec<String>> {
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
            let planned = match plan(self.given(seed), stage) {
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
            self.done.push(StageRan {
                name: stage.name.clone(),
                reused,
                record,
            });
            if !reused {
                self.remember_stage();
            }
        }
        Ok(stale)
    }

    /// The record of an earlier run with the same key, if its outputs are still what they were.
    fn reusable(&mut self, stage: &Stage, planned: &Planned) -> Result<Option<LockedStage>> {
        let key = planned.parts.key();
        let earlier = self
            .earlier
            .iter()
            .filter_map(|lock| lock.stage(&stage.name));
        let mut same = earlier.filter(|record| record.key == key);
        let Some(record) = same.next().cloned() else {
            return Ok(None);
        };
        match self.outputs(stage) {
            Ok((outputs, files)) if outputs == record.outputs => {
                self.files.extend(files);
                Ok(Some(record))
            }
            Ok(_) => Ok(None),
            Err(error) if error.outcome() == crate::Outcome::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What lies at the places of a stage's outputs.
    fn outputs(&self, stage: &Stage) -> Result<(Vec<PathDigest>, BTreeMap<String, LockedFile>)> {
        let mut job = StageJob::new("outputs", Vec::new(), &self.scratch, &self.scratch);
        let (mut outputs, mut files) = (Vec::new(), BTreeMap::new());
        for path in &stage.writes {
            let (content, found) = contents(self.recipe, &self.roots, path, &mut job)?;
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
        publish(
            &written,
            self.roots.outputs_of(&stage.name),
            &stage.writes,
            &self.scratch,
        )?;
        let (outputs, files) = self.outputs(stage)?;
        self.files.extend(files);
        let trace = match &stage.trace {
            Some(path) => Some(trace::summary(
                &self.roots.place(self.recipe, path.as_str()),
                path,
            )?),
            None => None,
        };
        let determinism = self.recipe.determinism();
        let env = determinism.env.iter().chain(&stage.env);
        Ok(LockedStage {
            name: stage.name.clone(),
            kind: stage.kind,
            command: stage.run.clone(),
            shell: stage.shell,
            argv: job.argv,
            env: env
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            params: planned.params.clone(),
            seed: planned.seed,
            hash_seed: determinism.hash_seed,
            threads: determinism.threads,
            device: stage.device.clone(),
            key: planned.parts.key(),
            key_parts: planned.parts,
            sources: planned.sources.clone(),
            inputs: planned.inputs.clone(),
            outputs,
            undeclared: outcome.undeclared.clone(),
            exit: 0,
            started,
            log,
            usage: usage(&outcome),
            runner: outcome.runner.to_string(),
            isolation: outcome.isolation,
            trace,
        })
    }

    /// Keeps what ended well, for the next run. It helps and promises nothing, so a failure is no error.
    fn remember_stage(&self) {
        let stages = self.done.iter().map(|ran| ran.record.clone()).collect();
        let document = LockDocument {
            stages,
            ..self.empty()
        };
        if let Ok(lock) = Lock::seal(document) {
            let _ = write_whole(&self.last, lock.as_bytes());
        }
    }

    fn metric_source(&self, name: &str) -> String {
        let metric = self
            .recipe
            .metrics()
            .iter()
            .find(|metric| metric.name == name);
        metric
            .map(|metric| metric.from.to_string())
            .unwrap_or_default()
    }

    fn metrics(&self, roots: &Roots) -> Result<BTreeMap<String, Decimal>> {
        let mut metrics = BTreeMap::new();
        for metric in self.recipe.metrics() {
            let name = &metric.name;
            let place = roots.place(self.recipe, metric.from.path.as_str());
            let value = read_metric(&place, &metric.from).map_err(|error| {
                Error::other(format!("metric \"{name}\" was not measured: {error}"))
            })?;
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

    /// Runs stages with the other seeds, beside the project, and collects the metrics.
    fn replicates(&mut self, metrics: &mut BTreeMap<String, LockedMetric>) -> Result<()> {
        let Some(replicates) = self.recipe.replicates() else {
            return Ok(());
        };
        // What nothing changed need not be run again: the values stand in an earlier lock.
        let unchanged = self.done.iter().all(|ran| ran.reused);
        let known = self.earlier.iter().find(|lock| {
            lock.recipe.digest == *self.recipe.digest()
                && metrics.iter().all(|(name, metric)| {
                    lock.metrics.get(name).is_some_and(|other| {
                        other.replicates.len() == replicates.seeds.len()
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
                if let Some(metric) = metrics.get_mut(&name) {
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
            let planned = plan(self.given(Some(seed)), stage)?;
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

    fn tests(&mut self, seed: Option<u64>) -> Result<BTreeMap<String, TestResult>> {
        let mut results = BTreeMap::new();
        for test in self.recipe.tests() {
            self.events.stage(&format!("test {}", test.name), false);
            let log_path = self.logs.join(format!("test-{}.log", test.name));
            let given = Given {
                recipe: self.recipe,
                roots: &self.roots,
                params: &self.params,
                seed,
                machine: self.machine,
                scratch: &self.scratch,
                compare: self.compare,
            };
            let mut sink = LogFile::create(&log_path, self.events)?;
            let result = run_test(given, test, self.runner, self.profile.is_none(), &mut sink)?;
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

    fn empty(&self) -> LockDocument {
        let recipe = self.recipe;
        LockDocument {
            schema: LOCK_SCHEMA.into(),
            recipe: LockedRecipe {
                digest: *recipe.digest(),
                name: recipe.name().into(),
                model_version: recipe.model_version().map(str::to_owned),
                owner: recipe.owner().map(str::to_owned),
                risk: recipe.risk(),
            },
            profile: self.profile.map(|profile| profile.name.clone()),
            params: self.params.texts(),
            inputs: Vec::new(),
            files: self.files.values().cloned().collect(),
            environment: LockedEnvironment::new(
                recipe.environment().kind(),
                strictest(recipe),
                &self.machine.facts,
            ),
            stages: Vec::new(),
            metrics: BTreeMap::new(),
            tests: BTreeMap::new(),
            writer: concat!("sealstone/", env!("CARGO_PKG_VERSION")).into(),
        }
    }

    fn document(
        &mut self,
        inputs: Vec<LockedInput>,
        metrics: BTreeMap<String, LockedMetric>,
        tests: &BTreeMap<String, TestResult>,
    ) -> Result<LockDocument> {
        self.environment_files()?;
        let tests = tests.iter().map(|(name, result)| {
            let test = self.recipe.tests().iter().find(|test| test.name == *name);
            let kind = test.map_or("", |test| test.check.kind()).to_owned();
            let locked = LockedTest {
                kind,
                ok: result.ok,
                detail: result.detail.clone(),
                output: result.output.clone(),
            };
            (name.clone(), locked)
        });
        let tests = tests.collect();
        let stages = self.done.iter().map(|ran| ran.record.clone()).collect();
        Ok(LockDocument {
            inputs,
            metrics,
            tests,
            stages,
            ..self.empty()
        })
    }

    /// What the environment is made of and travels in the bundle, and the parameters' file.
    fn environment_files(&mut self) -> Result<()> {
        let (mut needed, mut optional): (Vec<RecipePath>, Vec<RecipePath>) =
            (Vec::new(), Vec::new());
        match self.recipe.environment() {
            Environment::Venv { lock, wheels, .. } => {
                needed.push(lock.clone());
                optional.extend(wheels.clone());
            }
            Environment::Rootfs { path, .. } => needed.push(path.clone()),
            _ => {}
        }
        let params = self.recipe.params().file.clone();
        let parts = needed
            .iter()
            .chain(&optional)
            .map(|path| (path, FileRole::Environment));
        for (path, role) in parts.chain(params.iter().map(|path| (path, FileRole::Params))) {
            for (name, file) in self.project.files_at(path)? {
                let (digest, size) = hash_path(&file.source)?;
                let parsed = name
                    .parse()
                    .map_err(|error| Error::usage(format!("{error}")))?;
                let locked = LockedFile {
                    path: parsed,
                    digest,
                    size,
                    executable: file.executable,
                    role,
                };
                self.files.entry(name).or_insert(locked);
            }
        }
        Ok(())
    }
}

fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).map_err(|source| {
        Error::io(
            format!("making the directory \"{}\"", directory.display()),
            source,
        )
    })
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
        gpu_memory: None,
        data_wait_ms: None,
    }
}

/// A stage's output: into a file, through a hash, and on to whoever listens.
struct LogFile<'a> {
    file: File,
    path: PathBuf,
    hasher: Hasher,
    size: u64,
    tail: Vec<u8>,
    failure: Option<std::io::Error>,
    events: &'a mut dyn RunEvents,
}

/// How much of the end of a log is shown when a stage fails.
const TAIL_BYTES: usize = 2000;

impl<'a> LogFile<'a> {
    fn create(path: &Path, events: &'a mut dyn RunEvents) -> Result<LogFile<'a>> {
        let file = File::create(path).map_err(|source| {
            Error::io(format!("writing the log \"{}\"", path.display()), source)
        })?;
        Ok(LogFile {
            file,
            path: path.to_owned(),
            hasher: Hasher::new(Algorithm::Sha256),
            size: 0,
            tail: Vec::new(),
            failure: None,
            events,
        })
    }

    fn finish(self, outcome: &StageOutcome) -> Result<(LogDigest, String)> {
        if let Some(source) = self.failure {
            return Err(Error::io(
                format!("writing the log \"{}\"", self.path.display()),
                source,
            ));
        }
        let text = String::from_utf8_lossy(&self.tail).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(12)..].join("\n");
        let truncated = outcome.stdout.dropped + outcome.stderr.dropped > 0;
        Ok((
            LogDigest {
                digest: self.hasher.finalize(),
                size: self.size,
                truncated,
            },
            tail,
        ))
    }
}

impl LogSink for LogFile<'_> {
    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if self.failure.is_none() {
            self.failure = self.file.write_all(bytes).err();
        }
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.tail.extend_from_slice(bytes);
        let cut = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..cut);
        self.events.printed(stream, bytes);
    }
}
