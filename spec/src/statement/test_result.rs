//! Results of tests: in-toto's test-result.
//!
//! Owns the fields, and that they do not contradict each other. What a test's name means is between
//! whoever runs it and the policy that asks for it.

use super::predicate::{self, Predicate, Problem, entries, texts, uri};
use super::resource::{self, ResourceDescriptor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// How tests ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// At least one did not hold.
    Failed,
    /// None failed, some want to be looked at.
    Warned,
    /// All held.
    Passed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Failed => "FAILED",
            Outcome::Warned => "WARNED",
            Outcome::Passed => "PASSED",
        })
    }
}

/// The predicate of [`predicate::TEST_RESULT`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestResult {
    /// How they ended.
    pub result: Outcome,
    /// What was run and on what: suites and data, at least one.
    pub configuration: Vec<ResourceDescriptor>,
    /// Where the run can be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Tests that held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_tests: Vec<String>,
    /// Tests that want to be looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warned_tests: Vec<String>,
    /// Tests that did not hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_tests: Vec<String>,
}

impl Predicate for TestResult {
    const TYPE: &'static str = predicate::TEST_RESULT;

    fn check(&self) -> Result<(), Problem> {
        if self.configuration.is_empty() {
            let problem = "is empty: name at least the suite that was run";
            return Err(Problem::new("configuration", problem));
        }
        resource::list("configuration", &self.configuration)?;
        if let Some(url) = &self.url {
            uri("url", url)?;
        }
        let lists = [
            ("passedTests", &self.passed_tests),
            ("warnedTests", &self.warned_tests),
            ("failedTests", &self.failed_tests),
        ];
        let mut seen = BTreeSet::new();
        for (at, list) in lists {
            texts(at, list.iter())?;
            if let Some(twice) = list.iter().find(|name| seen.contains(name)) {
                return Err(Problem::new(at, format!("\"{twice}\" ended in two ways")));
            }
            seen.extend(list);
        }
        entries("passedTests", seen.len())?;
        let contradicts = match self.result {
            Outcome::Passed => !self.failed_tests.is_empty() || !self.warned_tests.is_empty(),
            Outcome::Warned => !self.failed_tests.is_empty(),
            Outcome::Failed => false,
        };
        if contradicts {
            let problem = format!("is {}, but tests are listed that ended worse", self.result);
            return Err(Problem::new("result", problem));
        }
        Ok(())
    }
}
