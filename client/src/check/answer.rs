//! A test's command: what it is given, what it answers, and how that compares with what is expected.

use super::{Against, TestResult};
use crate::error::{Error, Result};
use crate::plan::{Given, command, contents, limits, lock_files, plain, settings};
use crate::recipe::hash_path;
use crate::runner::{LogSink, StageJob};
use sealstone_spec::compare::ArtifactRule;
use sealstone_spec::environment::Isolation;
use sealstone_spec::recipe::{Check, Content, LockedFile, Placeholder, RecipePath, Stage, Test};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a test may take where the stage of its model has no limit.
const LONGEST: Duration = Duration::from_secs(3600);
/// Where commands of tests write.
const OUT: &str = "test-output";

/// A command that answers.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) run: &'a [String],
    pub(super) reads: &'a [RecipePath],
    pub(super) model: Option<&'a RecipePath>,
    pub(super) golden: Option<&'a RecipePath>,
    pub(super) name: &'a str,
    pub(super) batch: Option<u64>,
}

/// What a command came to.
struct Answer {
    /// The path of what it wrote, or how it failed.
    written: std::result::Result<PathBuf, String>,
    files: Vec<LockedFile>,
    wall_ms: Option<u64>,
    isolation: Isolation,
}

impl Asked<'_> {
    /// Runs the command in its place.
    fn answer(
        &self,
        given: Given<'_>,
        test: &Test,
        against: Against<'_>,
        destination: &Path,
        log: &mut dyn LogSink,
    ) -> Result<Answer> {
        let recipe = given.recipe;
        let out = format!("{OUT}/{}", self.name);
        let mut job = StageJob::new(
            format!("test {}", test.name),
            Vec::new(),
            given.scratch,
            destination,
        );
        let writer: Option<&Stage> = self
            .model
            .and_then(|model| recipe.writer_of(model.as_str()));
        let mut files = Vec::new();
        for path in &self.paths(given, writer) {
            files.extend(contents(recipe, given.roots, path, &mut job)?.1);
        }
        let words = |word: Placeholder<'_>| match word.0 {
            "in" => self.golden.map(|path| path.as_str().to_owned()),
            "out" => Some(out.clone()),
            "model" => self.model.map(|path| path.as_str().to_owned()),
            "seed" => given.seed.map(|seed| seed.to_string()),
            _ => word
                .parameter()
                .and_then(|name| given.params.get(name))
                .map(plain),
        };
        let gets = "a test gets every parameter of the file that \"params\" names, and no other";
        job.argv = command(self.run, false, words, gets)?;
        job.outputs = vec![out.clone()];
        let device = writer.and_then(|stage| stage.device.as_deref());
        settings(recipe, given.seed, given.machine, device, &mut job)?;
        // It needs no more than what made the model; and no test is waited for without end.
        if let Some(stage) = writer {
            limits(stage, &mut job);
        }
        job.limits.wall.get_or_insert(LONGEST);
        job.env
            .insert("SEALSTONE_STAGE".into(), format!("test-{}", test.name));
        job.env.insert("SEALSTONE_OUT".into(), out.clone());
        if let Some(size) = self.batch {
            job.env
                .insert("SEALSTONE_BATCH_SIZE".into(), size.to_string());
        }
        let outcome = against.runner.run(&job, log)?;
        let written = match outcome.failure() {
            None => Ok(destination.join(out)),
            Some(problem) => Err(problem),
        };
        files.retain(|file| recipe.writer_of(file.path.as_str()).is_none());
        Ok(Answer {
            written,
            files,
            wall_ms: outcome.usage.wall_ms.map(|wall| wall.value),
            isolation: outcome.isolation,
        })
    }

    /// Everything that the command may read.
    fn paths(&self, given: Given<'_>, writer: Option<&Stage>) -> BTreeSet<RecipePath> {
        let mut reads: BTreeSet<RecipePath> =
            self.reads.iter().chain(self.golden).cloned().collect();
        // The model with whatever its stage wrote beside it, as far as that is at hand.
        reads.extend(self.model.cloned());
        let beside = writer.into_iter().flat_map(|stage| &stage.writes);
        let there = |path: &&RecipePath| given.roots.files(given.recipe, path).is_ok();
        reads.extend(beside.filter(there).cloned());
        // A script that the command names is part of the test.
        let named = self
            .run
            .iter()
            .filter_map(|item| item.parse::<RecipePath>().ok());
        let is_there = |path: &RecipePath| given.roots.place(given.recipe, path.as_str()).is_file();
        reads.extend(named.filter(is_there));
        reads
    }

    /// Runs the command and compares what it wrote with what is expected.
    pub(super) fn hold_against(
        &self,
        given: Given<'_>,
        test: &Test,
        against: Against<'_>,
        base: &Path,
        rule: &ArtifactRule,
        log: &mut dyn LogSink,
    ) -> Result<TestResult> {
        let place = scratch(given.scratch)?;
        let answer = self.answer(given, test, against, place.path(), log)?;
        let mut result = match answer.written {
            Err(problem) => TestResult::new(false, problem),
            Ok(_) if !base.exists() => TestResult::new(
                false,
                format!("\"{}\" is not there to compare with", base.display()),
            ),
            Ok(now) => compared(against, base, &now, rule)?,
        };
        result.wall_ms = answer.wall_ms;
        result.isolation = Some(answer.isolation);
        result.files = answer.files;
        if let Check::Inference { expect, .. } = &test.check
            && base.exists()
        {
            result.files.extend(lock_files(
                given.recipe,
                given.roots,
                std::slice::from_ref(expect),
            )?);
        }
        Ok(result)
    }

    /// Writes what the command answers now as what is expected from now on.
    pub(super) fn record(
        &self,
        given: Given<'_>,
        test: &Test,
        against: Against<'_>,
        base: &Path,
        log: &mut dyn LogSink,
    ) -> Result<()> {
        let place = scratch(given.scratch)?;
        let answer = self.answer(given, test, against, place.path(), log)?;
        let Ok(now) = answer.written else {
            return Ok(());
        };
        let parent = base.parent().unwrap_or(Path::new("."));
        let failed = |source| {
            Error::io(
                format!("writing the golden output \"{}\"", base.display()),
                source,
            )
        };
        fs::create_dir_all(parent).map_err(failed)?;
        // Copied beside its place first: a golden output is whole or not there.
        let whole = tempfile::NamedTempFile::new_in(parent).map_err(failed)?;
        fs::copy(&now, whole.path()).map_err(failed)?;
        whole.persist(base).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

fn compared(
    against: Against<'_>,
    base: &Path,
    now: &Path,
    rule: &ArtifactRule,
) -> Result<TestResult> {
    let found = (against.compare)(base, now, rule)?;
    let (digest, size) = hash_path(now)?;
    let mut result = TestResult::new(found.ok, format!("{} of {}", found.class, found.required));
    if let (Some(first), false) = (&found.first, found.ok) {
        result.detail = format!("{}, first at {}", result.detail, first.locator);
    }
    if let Some(problem) = found
        .predictions
        .as_ref()
        .and_then(|predictions| predictions.problem.clone())
    {
        result.detail = format!("{}: {problem}", result.detail);
    }
    result.output = Some(Content { digest, size });
    result.comparison = Some(found);
    Ok(result)
}

fn scratch(below: &Path) -> Result<tempfile::TempDir> {
    tempfile::tempdir_in(below).map_err(|source| {
        Error::io(
            format!("making a directory in \"{}\"", below.display()),
            source,
        )
    })
}
