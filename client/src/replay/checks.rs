//! The recipe's tests on the model and data that a replay has at hand.
//!
//! Invariant: a test whose command fails, or writes nothing, does not hold; one that could not be made is
//! undecided, and takes nothing of what the others and the stages have shown with it.

use super::execute::{attempt, last_words};
use super::project::Project;
use super::room::{Produced, Room};
use super::session::Tools;
use crate::check::{Against, TestResult, rule_of, run_test};
use crate::error::{Outcome, Result};
use crate::plan::Given;
use crate::runner::{
    Capabilities, Kept, LogSink, Runner, RunnerKind, StageJob, StageOutcome, Stream,
};
use sealstone_spec::environment::Isolation;
use sealstone_spec::recipe::{Check, Test};
use sealstone_spec::report::{DigestRef, TestRow};
use std::path::Path;

/// What became of a test.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) row: TestRow,
    /// How far its command was kept from the machine, if it was run.
    pub(super) isolation: Option<Isolation>,
    /// Whether the machine kept it from being made, and not what the recipe asks for.
    pub(super) machine_failed: bool,
}

/// Runs every test on `made`: what stages wrote, or the baseline's files of those that did not run.
///
/// # Errors
/// [`Outcome::Halted`] alone: something that was checked is another now.
pub(super) fn run_all(
    project: &Project,
    made: &Produced,
    tools: &Tools<'_>,
    workspace: &Path,
) -> Result<Vec<Tried>> {
    let roots = project.roots_with(made, workspace);
    let patient = Patient(tools.runner);
    let mut found = Vec::new();
    for test in project
        .recipe
        .tests()
        .iter()
        .filter(|test| is_due(project, test))
    {
        let against = Against {
            runner: &patient,
            compare: tools.compare,
        };
        let rule = match &test.check {
            Check::Data { .. } => None,
            _ => Some(rule_of(&project.recipe, test).class.to_string()),
        };
        let mut logs = Kept::default();
        let room = Room::make(workspace, &format!("test-{}", test.name));
        let result = room.and_then(|room| {
            let given = Given {
                recipe: &project.recipe,
                roots: &roots,
                params: &project.params,
                seed: project.recipe.determinism().seed,
                machine: &tools.machine,
                scratch: &room.scratch,
            };
            run_test(given, test, against, false, &mut logs)
        });
        found.push(match result {
            Ok(result) => Tried {
                isolation: result.isolation,
                row: row(test, rule, result, &last_words(&logs)),
                machine_failed: false,
            },
            Err(error) if error.outcome() == Outcome::Halted => return Err(error),
            Err(error) => Tried {
                row: TestRow {
                    undecided: true,
                    note: Some(error.in_words()),
                    ..empty(test, rule)
                },
                isolation: None,
                // What it reads is not at hand, or makes no sense as it stands, on any machine.
                machine_failed: !matches!(
                    error.outcome(),
                    Outcome::NotFound | Outcome::Usage | Outcome::Refused
                ),
            },
        });
    }
    Ok(found)
}

/// Whether a test is made: golden answers are those of the whole model, not of a profile's.
pub(super) fn is_due(project: &Project, test: &Test) -> bool {
    project.lock.profile.is_none() || !matches!(test.check, Check::Inference { .. })
}

fn row(test: &Test, rule: Option<String>, result: TestResult, said: &str) -> TestRow {
    let detail = match result.output.is_none() && !said.is_empty() {
        true => format!("{}: {said}", result.detail),
        false => result.detail,
    };
    let mut row = TestRow {
        ok: result.ok,
        duration_ms: result.wall_ms,
        evidence: result.output.map(|output| DigestRef::from(output.digest)),
        note: (!result.ok).then_some(detail),
        ..empty(test, rule)
    };
    if let Some(first) = result
        .comparison
        .and_then(|comparison| comparison.first)
        .filter(|_| !row.ok)
    {
        row.locator = Some(first.locator.to_string());
        row.base = first.base;
        row.now = first.now;
    }
    row
}

/// The name of a test in a report.
pub(super) fn id(test: &Test) -> String {
    format!("{}/{}", test.check.kind(), test.name)
}

fn empty(test: &Test, rule: Option<String>) -> TestRow {
    let kind = test.check.kind();
    TestRow {
        id: id(test),
        kind: kind.to_owned(),
        ok: false,
        undecided: false,
        duration_ms: None,
        evidence: None,
        base: None,
        now: None,
        rule,
        locator: None,
        why: test.why.clone(),
        line: Some(test.place.line as u64),
        note: None,
    }
}

/// A runner that tries a command once more if it crashed.
struct Patient<'a>(&'a dyn Runner);

impl Runner for Patient<'_> {
    fn kind(&self) -> RunnerKind {
        self.0.kind()
    }

    fn probe(&self) -> Capabilities {
        self.0.probe()
    }

    fn run(&self, job: &StageJob, log: &mut dyn LogSink) -> Result<StageOutcome> {
        let (outcome, logs, _) = attempt(self.0, job, |_, _| ())?;
        log.write(Stream::Stdout, &logs.stdout);
        log.write(Stream::Stderr, &logs.stderr);
        Ok(outcome)
    }
}
