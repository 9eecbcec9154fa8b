//! A release compared with the one before it, as a statement: an in-toto test result that a policy can ask for, with
//! what changed beside it.
//!
//! Invariant: only a metric that the newer recipe's rule keeps has passed; a comparison in which none was judged has not.
//! A metric that the older release has not is held against nothing, and decides nothing.

use super::drift::{Drift, drift_between};
use super::sealed::SealedRelease;
use crate::error::{Error, Result};
use sealstone_spec::compare::Outcome as Kept;
use sealstone_spec::environment::Day;
use sealstone_spec::statement::ResourceDescriptor;
use sealstone_spec::statement::predicate;
use sealstone_spec::statement::test_result::{Outcome, TestResult};
use serde_json::{Map, Value, json};

/// The suite by which policies ask for it.
pub const REGRESSION_SUITE: &str = "regression";

/// The field that holds what changed.
const DIFFERENCE: &str = "sealstone:difference";

/// Most rows of it; how many there were is stated.
const MAX_ROWS: usize = 1000;

/// The predicate of a test result: `now` against `base`, by the rules of `now`.
///
/// # Errors
/// If the rows cannot be written.
pub fn comparison(
    base: &SealedRelease,
    now: &SealedRelease,
    today: Day,
) -> Result<Map<String, Value>> {
    let drift = drift_between(&now.recipe, &base.lock, &now.lock, today);
    let written = |error| Error::other("the comparison cannot be written").source(error);
    let mut predicate = predicate::write(&result(base, now, &drift))
        .map_err(|error| Error::other("the comparison cannot be stated").source(error))?;
    let rows = &drift.rows[..drift.rows.len().min(MAX_ROWS)];
    let difference = json!({
        "base": base.name(),
        "now": now.name(),
        "changed": drift.rows.len(),
        "rows": serde_json::to_value(rows).map_err(written)?,
        "metrics": serde_json::to_value(&drift.metrics).map_err(written)?,
    });
    predicate.insert(DIFFERENCE.to_owned(), difference);
    Ok(predicate)
}

fn result(base: &SealedRelease, now: &SealedRelease, drift: &Drift) -> TestResult {
    let mut result = TestResult {
        result: Outcome::Warned,
        configuration: vec![
            ResourceDescriptor::named(REGRESSION_SUITE, &now.lock.recipe.digest),
            ResourceDescriptor::named("baseline", &base.digest),
        ],
        url: None,
        passed_tests: Vec::new(),
        warned_tests: Vec::new(),
        failed_tests: Vec::new(),
    };
    for metric in &drift.metrics {
        let name = format!("metric.{}", metric.name);
        match metric.verdict.outcome {
            Kept::Pass => result.passed_tests.push(name),
            Kept::Fail | Kept::Unmeasured => result.failed_tests.push(name),
            // It stands in the difference.
            Kept::New => {}
            _ => result.warned_tests.push(name),
        }
    }
    let lists = (
        &result.passed_tests,
        &result.warned_tests,
        &result.failed_tests,
    );
    result.result = match (lists.0.is_empty(), lists.1.is_empty(), lists.2.is_empty()) {
        (_, _, false) => Outcome::Failed,
        (false, true, true) => Outcome::Passed,
        _ => Outcome::Warned,
    };
    result
}
