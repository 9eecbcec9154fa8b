//! Continuous integration: which system runs this, and what it says of the run, by an allow-list.
//!
//! Owns the variables that are read of each system, by name. Nothing else of the environment is looked at,
//! and a value that looks like a secret is refused and not repeated.
//! Does not believe any of it: it is what the job says of itself, worth as much as the key that signs it.

mod github;
mod gitlab;
mod jenkins;
mod locked;
mod record;

pub(crate) use locked::{is_address, is_model};
pub use record::BuildRecord;

use crate::error::{Error, Result};
use sealstone_spec::environment::looks_secret;
use sealstone_spec::statement::model_train::Workflow;
use std::collections::BTreeMap;

/// A run of a CI system.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// The system: `github`, `gitlab` or `jenkins`.
    pub system: &'static str,
    /// Who vouches: the workflow or runner, as a URI.
    pub builder_id: String,
    /// The repository with the revision that was asked for.
    pub source: String,
    /// The commit that it was.
    pub commit: String,
    /// The workflow.
    pub workflow: Option<Workflow>,
    /// The run's own address.
    pub invocation_id: Option<String>,
    /// What is known of the machine.
    pub runner: BTreeMap<String, String>,
}

/// Reads variables of the environment by name; a test gives others.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The variables of this process.
pub fn variables(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The run that this process is part of, if a system is recognised.
///
/// # Errors
/// If a system is recognised and a variable that is due is missing or looks like a secret.
pub fn recognise(variables: Variables<'_>) -> Result<Option<Run>> {
    let is = |name: &str, value: &str| variables(name).as_deref() == Some(value);
    if is("GITHUB_ACTIONS", "true") {
        return github::run(&Reader { variables }).map(Some);
    }
    if is("GITLAB_CI", "true") {
        return gitlab::run(&Reader { variables }).map(Some);
    }
    if variables("JENKINS_URL").is_some() && variables("BUILD_URL").is_some() {
        return jenkins::run(&Reader { variables }).map(Some);
    }
    Ok(None)
}

/// Variables, read with the checks that hold for all of them.
struct Reader<'a> {
    variables: Variables<'a>,
}

impl Reader<'_> {
    fn maybe(&self, name: &str) -> Result<Option<String>> {
        let Some(value) = (self.variables)(name).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        if looks_secret(&value) || value.chars().any(char::is_control) || value.len() > 2048 {
            return Err(Error::refused(format!(
                "variable {name} looks like a secret, or is no single line: it does not go into a statement"
            )));
        }
        Ok(Some(value))
    }

    fn due(&self, name: &str) -> Result<String> {
        self.maybe(name)?.ok_or_else(|| {
            Error::usage(format!(
                "this looks like a CI run, but variable {name} is not set"
            ))
            .hint("give --ci none to say everything yourself")
        })
    }

    /// Those of these variables that are set, under the names beside them.
    fn listed(&self, names: &[(&str, &str)]) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for (name, shown) in names {
            if let Some(value) = self.maybe(name)? {
                found.insert((*shown).to_owned(), value);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
