//! Documents that live with a project, held against what recipe and lock say now.
//!
//! Only those that are made of these two alone: what a policy adds to the others, a replay does not know.
//! Invariant: a document decides nothing; one that is stale is told.

use super::project::Project;
use crate::docs::{Sources, stale};
use crate::error::Result;
use crate::recipe;
use sealstone_spec::report::TestRow;
use std::path::Path;

/// The documents that are looked at, where they are there.
const NAMES: [&str; 2] = ["REBUILD.md", "CRITERIA.md"];

/// A row for each document; one that is stale has a note. None where the project has no documents.
pub(super) fn look(project: &Project) -> Vec<TestRow> {
    let directory = project.root.join("docs");
    let is_there = |name: &&str| directory.join(name).is_file();
    let there: Vec<&str> = NAMES.into_iter().filter(is_there).collect();
    if there.is_empty() {
        return Vec::new();
    }
    let found = stale_in(project, &directory);
    let row = |name: &str| {
        let note = match &found {
            Ok(stale) if !stale.contains(&name) => None,
            Ok(_) => Some("stale: write it anew with sealstone docs".to_owned()),
            Err(error) => Some(format!("it could not be made to compare with: {error}")),
        };
        TestRow {
            id: format!("docs/{name}"),
            kind: "docs".to_owned(),
            ok: true,
            undecided: false,
            duration_ms: None,
            evidence: None,
            base: None,
            now: None,
            rule: None,
            locator: None,
            why: None,
            line: None,
            note,
        }
    };
    there.into_iter().map(row).collect()
}

fn stale_in(project: &Project, directory: &Path) -> Result<Vec<&'static str>> {
    let project = recipe::Project::open(&project.root)?;
    let lock = project.lock(None)?;
    let sources = Sources {
        project: &project,
        lock: lock.as_ref(),
        policy: None,
    };
    stale(&sources, directory)
}
