//! A recipe with gaps: what `init` and the imports know of a project.
//!
//! Invariant: a text that could not be known begins with `TODO`; [`todo`] makes it.

use sealstone_spec::digest::Digest;
use sealstone_spec::recipe::StageKind;

/// A text that lint reports as left to fill in.
pub(super) fn todo(task: impl std::fmt::Display) -> String {
    format!("TODO: {task}")
}

/// What the stages' programs are taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DraftEnvironment {
    /// Locked wheels.
    Venv {
        /// Version of Python, where it is known.
        python: Option<String>,
        /// The lock.
        lock: String,
        /// The directory of wheels.
        wheels: String,
    },
    /// A container image, as it was named.
    Oci(String),
    /// Whatever the machine has.
    Host,
}

/// How an input is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// A file by its digest.
    File(Digest),
    /// A directory by the digest of its listing.
    Tree(Digest),
    /// Not yet: the data is not there, or not what it should be.
    Todo,
}

/// Data from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftInput {
    /// Where it lies, with a slash at its end if it is a directory.
    pub path: String,
    /// What it is.
    pub pin: Pin,
    /// Where it came from.
    pub source: Option<String>,
    /// Comments before it.
    pub notes: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftStage {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: StageKind,
    /// The command.
    pub run: Vec<String>,
    /// Whether a shell reads it.
    pub shell: bool,
    /// What it reads.
    pub reads: Vec<String>,
    /// What it writes.
    pub writes: Vec<String>,
    /// Patterns of its parameters.
    pub params: Vec<String>,
    /// Where it runs.
    pub device: Option<String>,
    /// What it does, or what is to be decided about it.
    pub description: Option<String>,
    /// Comments before it.
    pub notes: Vec<String>,
}

impl DraftStage {
    /// A stage of which only the command is known.
    pub fn new(name: impl Into<String>, kind: StageKind, run: Vec<String>) -> DraftStage {
        let device = matches!(kind, StageKind::Train | StageKind::Infer);
        DraftStage {
            name: name.into(),
            kind,
            run,
            shell: false,
            reads: Vec::new(),
            writes: Vec::new(),
            params: Vec::new(),
            device: device.then(|| "cpu".to_owned()),
            description: None,
            notes: Vec::new(),
        }
    }

    /// Whether it writes `path`, itself or as part of a directory.
    pub fn writes_path(&self, path: &str) -> bool {
        self.writes.iter().any(|output| holds(output, path))
    }

    /// Adds to what it reads, once.
    pub fn read(&mut self, path: impl Into<String>) {
        let path = path.into();
        if !self.reads.contains(&path) {
            self.reads.push(path);
        }
    }
}

/// Whether `path` is `place` or lies below it.
pub(super) fn holds(place: &str, path: &str) -> bool {
    let place = place.trim_end_matches('/');
    path.trim_end_matches('/')
        .strip_prefix(place)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A number that is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DraftMetric {
    /// Its name.
    pub name: String,
    /// Where it stands: `FILE#/pointer`.
    pub from: String,
    /// Which way is better, where the name says it.
    pub direction: Option<&'static str>,
    /// Why the tolerance is what it is.
    pub why: String,
}

/// Where parameters come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DraftParams {
    /// The file.
    pub file: String,
    /// Names and what they do.
    pub roles: Vec<(String, &'static str)>,
}

/// All that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The model's name.
    pub name: String,
    /// What the recipe was made from: `init`, with a trace, an import.
    pub origin: String,
    /// Comments at the top.
    pub notes: Vec<String>,
    /// The environment.
    pub environment: DraftEnvironment,
    /// The parameters.
    pub params: Option<DraftParams>,
    /// The inputs.
    pub inputs: Vec<DraftInput>,
    /// The stages.
    pub stages: Vec<DraftStage>,
    /// The metrics.
    pub metrics: Vec<DraftMetric>,
    /// A script that could be asked by a golden test.
    pub predicts: Option<String>,
}

impl Draft {
    /// A draft that holds nothing yet.
    pub fn new(name: impl Into<String>, origin: impl Into<String>) -> Draft {
        Draft {
            name: name.into(),
            origin: origin.into(),
            notes: Vec::new(),
            environment: DraftEnvironment::Host,
            params: None,
            inputs: Vec::new(),
            stages: Vec::new(),
            metrics: Vec::new(),
            predicts: None,
        }
    }

    /// The stage that writes `path`.
    pub fn writer_of(&self, path: &str) -> Option<&DraftStage> {
        self.stages.iter().find(|stage| stage.writes_path(path))
    }
}
