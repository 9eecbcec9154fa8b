//! Releases: this content was published under this name and version. Said by the registry.

use super::predicate::{self, Predicate, Problem, text};
use crate::purl::Purl;
use serde::{Deserialize, Serialize};

/// The predicate of [`predicate::RELEASE`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Package URL with a version.
    pub purl: Purl,
    /// What stays the same over all versions of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package_id: Option<String>,
}

impl Predicate for Release {
    const TYPE: &'static str = predicate::RELEASE;

    fn check(&self) -> Result<(), Problem> {
        if self.purl.version.is_none() {
            let problem = format!("\"{}\" has no version, so it names no release", self.purl);
            return Err(Problem::new("purl", problem));
        }
        match &self.package_id {
            Some(id) => text("packageId", id),
            None => Ok(()),
        }
    }
}
