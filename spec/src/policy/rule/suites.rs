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
use serde::Serialize;
use serde_json::Value;
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
        let results: Vec<(&Counted<'_>, BTreeSet<&str>, bool)> = hearing
            .with_role(READS, &self.role, &mut problems)
            .into_iter()
            .map(|counted| (counted, suites_of(counted), has_passed(counted)))
            .collect();
        let mut evidence: BTreeSet<Digest> = BTreeSet::new();
        let mut missing: Vec<&str> = Vec::new();
        for suite in &self.suites {
            let own = || {
                results
                    .iter()
                    .filter(|(_, suites, _)| suites.contains(suite.as_str()))
            };
            let failure = own().filter(|(_, _, passed)| !passed).find(|(failed, ..)| {
                !own().any(|(later, _, passed)| *passed && later.takes_back(failed))
            });
            let passed: Vec<Digest> = own()
                .filter(|(_, _, passed)| *passed)
                .map(|(counted, ..)| counted.evidence)
                .collect();
            if let Some((failed, ..)) = failure {
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

fn suites_of<'a>(counted: &'a Counted<'_>) -> BTreeSet<&'a str> {
    let configuration = counted
        .statement
        .predicate()
        .and_then(|predicate| predicate.get("configuration"))
        .and_then(Value::as_array);
    configuration
        .into_iter()
        .flatten()
        .filter_map(|item| item.get("name").and_then(Value::as_str))
        .collect()
}

/// `WARNED` has not passed: whoever wants to release with warnings asks for an exception.
pub(in super::super) fn has_passed(counted: &Counted<'_>) -> bool {
    let predicate = counted.statement.predicate();
    let result = predicate.and_then(|predicate| predicate.get("result"));
    result.and_then(Value::as_str) == Some("PASSED")
}
