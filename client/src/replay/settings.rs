//! How a replay is to be made.

use sealstone_spec::environment::Isolation;
use sealstone_spec::key::KeyId;
use sealstone_spec::report::{Override, ReplayScope, TrailEntry};
use std::path::PathBuf;

/// How a replay is to be made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How much.
    pub scope: ReplayScope,
    /// Each stage on the baseline's inputs.
    pub isolated: bool,
    /// Divergent stages a second time.
    pub twice: bool,
    /// A lower isolation that was accepted.
    pub accept_isolation: Option<Isolation>,
    /// What else was waived, for the report.
    pub overrides: Vec<Override>,
    /// What was done before: verified, downloaded, unpacked. The report's trail begins with it.
    pub trail: Vec<TrailEntry>,
    /// A name of this machine.
    pub builder: String,
    /// The key that will sign the report.
    pub key: Option<KeyId>,
    /// Digest of the policy under which the bundle was verified.
    pub policy: Option<sealstone_spec::digest::Digest>,
    /// An empty directory for everything that the replay writes.
    pub workspace: PathBuf,
}

impl Settings {
    /// Everything, chained, once, in `workspace`.
    pub fn new(workspace: impl Into<PathBuf>) -> Settings {
        Settings {
            scope: ReplayScope::Full,
            isolated: false,
            twice: false,
            accept_isolation: None,
            overrides: Vec::new(),
            trail: Vec::new(),
            builder: "unnamed".into(),
            key: None,
            policy: None,
            workspace: workspace.into(),
        }
    }

    /// Adds what was done at `at` to what the report's trail begins with.
    pub fn note(&mut self, at: String, event: &str, subject: &str, ok: bool, note: Option<String>) {
        self.trail.push(TrailEntry {
            seq: self.trail.len() as u64 + 1,
            at,
            event: event.to_owned(),
            subject: subject.to_owned(),
            ok,
            note,
        });
    }
}
