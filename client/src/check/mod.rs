//! The recipe's tests: data is what it should be, a model survives saving, golden inputs give golden
//! outputs.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `data`, `schema` over `rows` | rows, gaps, and the schema of a table or document |
//! | `answer` | a test's command, and what it answers |
//!
//! A run and a replay test with the same functions. What a failed test means is theirs to say.
//! Invariant: a test that could not be made has not passed.

mod answer;
mod data;
mod rows;
mod schema;

use crate::compare::{ArtifactComparison, unsound};
use crate::error::{Error, Result};
use crate::plan::{Given, Roots, lock_files};
use crate::runner::{LogSink, Runner};
use answer::Asked;
pub(crate) use data::column_digests;
use sealstone_spec::compare::{ArtifactRule, Class, Purpose};
use sealstone_spec::environment::Isolation;
use sealstone_spec::recipe::{Check, Content, LockedFile, Recipe, RecipePath, Test, Tolerance};
use std::path::Path;

/// Holds one file against another.
pub type Compare<'a> =
    &'a (dyn Fn(&Path, &Path, &ArtifactRule) -> Result<ArtifactComparison> + Sync);

/// What a test is made with.
#[derive(Clone, Copy)]
pub struct Against<'a> {
    /// Runs commands.
    pub runner: &'a dyn Runner,
    /// Compares what they wrote.
    pub compare: Compare<'a>,
}

/// What became of a test.
#[derive(Clone, Debug)]
pub struct TestResult {
    /// Whether it passed.
    pub ok: bool,
    /// What was seen, in a sentence.
    pub detail: String,
    /// What the command wrote, if there is one.
    pub output: Option<Content>,
    /// How that compares with what is expected.
    pub comparison: Option<ArtifactComparison>,
    /// The files that were read, beside stages' outputs.
    pub files: Vec<LockedFile>,
    /// Whether the golden output was written, because there was none.
    pub recorded: bool,
    /// What the command took, in milliseconds.
    pub wall_ms: Option<u64>,
    /// How far the command was kept from the machine, if there is one.
    pub isolation: Option<Isolation>,
}

impl TestResult {
    fn new(ok: bool, detail: impl Into<String>) -> TestResult {
        TestResult {
            ok,
            detail: detail.into(),
            output: None,
            comparison: None,
            files: Vec::new(),
            recorded: false,
            wall_ms: None,
            isolation: None,
        }
    }
}

/// Runs a test. With `record`, a golden output that is not there is written from what the model says now.
///
/// # Errors
/// If something that it reads is not there, or the machine does not let it run; a failed test is a result.
pub fn run_test(
    given: Given<'_>,
    test: &Test,
    against: Against<'_>,
    record: bool,
    log: &mut dyn LogSink,
) -> Result<TestResult> {
    match &test.check {
        Check::Data {
            file,
            schema,
            nulls,
            rows,
            columns,
        } => {
            let path = given.roots.place(given.recipe, file.as_str());
            let schema = match schema {
                Some(path) => Some(read_schema(given, path)?),
                None => None,
            };
            let due = data::Due {
                schema: schema.as_ref(),
                nulls,
                rows: *rows,
                columns,
            };
            let mut result = data::data(&path, file.as_str(), due)?;
            let reads: Vec<RecipePath> = test.reads().into_iter().cloned().collect();
            result.files = lock_files(given.recipe, given.roots, &reads)?;
            Ok(result)
        }
        Check::Serialization {
            run, reads, model, ..
        } => {
            let model = model_of(given.recipe, test, model.as_ref())?;
            // What cannot be loaded, or must not be, is not loaded.
            for (path, file) in given.roots.files(given.recipe, &model)? {
                if let Some(problem) = unsound(&file.source)? {
                    return Ok(TestResult::new(false, format!("\"{path}\": {problem}")));
                }
            }
            let base = given.roots.place(given.recipe, model.as_str());
            let asked = Asked {
                run,
                reads,
                model: Some(&model),
                golden: None,
                name: file_name(model.as_str()),
                batch: None,
            };
            let rule = rule_of(given.recipe, test);
            asked.hold_against(given, test, against, &base, &rule, log)
        }
        Check::Inference {
            run,
            reads,
            model,
            inputs,
            expect,
            batch_sizes,
            ..
        } => {
            let model = model.clone().or_else(|| given.recipe.model().cloned());
            let base = given.roots.place(given.recipe, expect.as_str());
            let asked = Asked {
                run,
                reads,
                model: model.as_ref(),
                golden: Some(inputs),
                name: file_name(expect.as_str()),
                batch: None,
            };
            let recorded = record && !base.exists();
            if recorded {
                asked.record(given, test, against, &base, log)?;
            }
            let mut sizes: Vec<Option<u64>> = batch_sizes.iter().copied().map(Some).collect();
            if sizes.is_empty() {
                sizes.push(None);
            }
            let rule = rule_of(given.recipe, test);
            let mut result = TestResult::new(false, "it was not run");
            for batch in sizes {
                result = Asked { batch, ..asked }
                    .hold_against(given, test, against, &base, &rule, log)?;
                if !result.ok {
                    if let Some(size) = batch {
                        result.detail = format!("with batches of {size}: {}", result.detail);
                    }
                    break;
                }
            }
            result.recorded = recorded;
            Ok(result)
        }
        _ => Ok(TestResult::new(
            false,
            "this sealstone does not know the test",
        )),
    }
}

/// Refuses a test that could not be made, as far as that shows before anything runs: else a run would find out after
/// its training. How long a file is that a stage has yet to write shows then only.
///
/// # Errors
/// The reason.
pub(crate) fn refuse_unmakable(recipe: &Recipe, roots: &Roots, test: &Test) -> Result<()> {
    let Check::Data { file, .. } = &test.check else {
        return Ok(());
    };
    let name = file.as_str();
    let refused = match recipe.writer_of(name) {
        Some(_) => rows::refuse_form(name),
        None => rows::refuse_unreadable(&roots.place(recipe, name), name),
    };
    refused.map_err(|error| {
        let text = format!("test \"{}\" cannot be made: {}", test.name, error.message());
        let mut told = Error::new(error.outcome(), text);
        for hint in error.hints() {
            told = told.hint(hint.clone());
        }
        told
    })
}

/// What is demanded of a test's answer; a test without a command demands nothing of one.
pub fn rule_of(recipe: &Recipe, test: &Test) -> ArtifactRule {
    match &test.check {
        Check::Serialization { compare, .. } => ArtifactRule::of(*compare),
        Check::Inference { tolerance, .. } => golden_rule(recipe, tolerance),
        _ => ArtifactRule::default(),
    }
}

/// What is demanded of golden outputs: a bound that is stated says how, else the recipe's class.
fn golden_rule(recipe: &Recipe, tolerance: &Tolerance) -> ArtifactRule {
    let mut rule = tolerance.bounds.clone();
    rule.purpose = Purpose::Output;
    let stated = match tolerance.bounds == ArtifactRule::default() {
        true => recipe.determinism().class.unwrap_or(Class::BitExact),
        false if tolerance.bounds.label_agreement.is_some() => Class::Functional,
        false => Class::Numeric,
    };
    rule.class = tolerance.class.unwrap_or(stated);
    rule
}

fn read_schema(given: Given<'_>, path: &RecipePath) -> Result<serde_json::Value> {
    let place = given.roots.place(given.recipe, path.as_str());
    let bytes = rows::document(&place, path.as_str())?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::usage(format!("\"{path}\" is no JSON: {error}")))
}

fn model_of(recipe: &Recipe, test: &Test, stated: Option<&RecipePath>) -> Result<RecipePath> {
    stated
        .or_else(|| recipe.model())
        .cloned()
        .ok_or_else(|| Error::usage(format!("test \"{}\" has no model", test.name)))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
