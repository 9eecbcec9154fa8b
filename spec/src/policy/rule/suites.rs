//! Rule `tests`: named suites passed, in the words of somebody trusted to run them.
//!
//! Source: in-toto test-result v0.1. A suite is named by an item of `configuration`.
//! Invariant: a suite that failed has not passed, however often it is said to have: only the same
//! evaluator takes a failure back, by a later statement in the same log.

use super::super::hearing::{Counted, Hearing};
use super::super::identity::Identity;
use super::super::reader::{Fields, PolicyError};
use super::{RuleResult, join, reachable, reading};
use crate::digest::Digest;
use crate::statement::predicate;
use crate::statement::test_result::{Outcome, TestResult};
use serde::Serialize;
use std::collections::BTreeSet;

pub(super) const READS: &[&str] = &[predicate::TEST_RESULT];

/// Suites of tests that must have passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Suites {
    /// The role whose keys count.
    pub role: String,
    /// The suites.
    pub suites: Vec<String>,
}

impl Suites {
    pub(super) const NAME: &str = "tests";

    pub(super) fn read(fields: Fields<'_>, identities: &[Identity]) -> Result<Suites, PolicyError> {
        let fields = fields.only(&["rule", "role", "suites"])?;
        fields.require("suites")?;
        let rule = Suites {
            role: reading::role(&fields, "evaluator")?,
            suites: reading::texts(&fields, "suites")?,
        };
        reachable(&fields, 1, &[], Some(&rule.role), identities)?;
        Ok(rule)
    }

    pub(super) fn describe(&self) -> String {
        let noun = match self.suites.len() {
            1 => "suite",
            _ => "suites",
        };
        format!(
            "test {noun} {} passed, signed with a key of role \"{}\"",
            join(&self.suites, "and"),
            self.role
        )
    }

    pub(super) fn evaluate(&self, hearing: &Hearing<'_>) -> RuleResult {
        let mut problems = Vec::new();
        let mut results: Vec<(&Counted<'_>, TestResult)> = Vec::new();
        for counted in hearing.with_role(READS, &self.role, &mut problems) {
            match read(counted) {
                Ok(result) => results.push((counted, result)),
                Err(problem) => problems.push(format!(
                    "the result by {} cannot be read: {problem}",
                    counted.identity.name
                )),
            }
        }
        let mut evidence: BTreeSet<Digest> = BTreeSet::new();
        let mut missing: Vec<&str> = Vec::new();
        for suite in &self.suites {
            let own = || results.iter().filter(|(_, result)| names(result, suite));
            let failure = own()
                .filter(|(_, result)| !has_passed(result))
                .find(|(failed, _)| {
                    !own().any(|(later, other)| has_passed(other) && later.takes_back(failed))
                });
            let passed: Vec<Digest> = own()
                .filter(|(_, result)| has_passed(result))
                .map(|(counted, _)| counted.evidence)
                .collect();
            if let Some((failed, _)) = failure {
                let name = &failed.identity.name;
                problems.push(format!("suite {suite} did not pass, says {name}"));
                missing.push(suite);
            } else if passed.is_empty() {
                problems.push(format!("of suite {suite} there is no result"));
                missing.push(suite);
            } else {
                evidence.extend(passed);
            }
        }
        let satisfied = missing.is_empty();
        let mut reasons = vec![match satisfied {
            true => format!("needs {}: so it is", self.describe()),
            false => format!("needs {}", self.describe()),
        }];
        if !satisfied {
            reasons.append(&mut problems);
        }
        let remedy = (!satisfied).then(|| {
            format!(
                "{} must run {} and attach the result with \"sealstone attest {}\"",
                hearing.somebody(&self.role),
                join(&missing, "and"),
                hearing.place()
            )
        });
        RuleResult::new(Suites::NAME, reasons, remedy, evidence)
    }
}

fn read(counted: &Counted<'_>) -> Result<TestResult, String> {
    let predicate = counted.statement.predicate().ok_or("it is empty")?;
    predicate::read(predicate).map_err(|error| error.to_string())
}

fn names(result: &TestResult, suite: &str) -> bool {
    let mut items = result.configuration.iter();
    items.any(|item| item.name.as_deref() == Some(suite))
}

/// `WARNED` has not passed: whoever wants to release with warnings asks for an exception.
fn has_passed(result: &TestResult) -> bool {
    result.result == Outcome::Passed
}

/// Whether a result only confirms.
pub(in super::super) fn confirms(counted: &Counted<'_>) -> bool {
    read(counted).is_ok_and(|result| has_passed(&result))
}
