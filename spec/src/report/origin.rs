//! The first divergence: which stage it began in.
//!
//! Stages are walked in an order in which they can run. A stage whose own key changed is suspect by
//! itself; one that differs only because a stage before it does has inherited; one whose key is the
//! same and whose inputs are the same, and whose outputs are not, is not deterministic or reads what
//! it does not declare. Running a stage on the baseline's inputs (`--isolated`) decides what a chained
//! replay can only infer, so that evidence wins.
//! Invariant: an inherited stage is never the origin.

use serde::{Deserialize, Serialize};

/// Why the outputs of a stage differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Cause {
    /// Code, parameters, environment or an input from outside are other ones.
    Changed,
    /// Everything that is known to decide them is the same.
    NondeterministicOrHidden,
    /// The outputs of a stage before it differ.
    Inherited,
}

impl Cause {
    /// The word in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Changed => "CHANGED",
            Cause::NondeterministicOrHidden => "NONDETERMINISTIC_OR_HIDDEN",
            Cause::Inherited => "INHERITED",
        }
    }
}

/// What is known of a stage when the origin is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageFacts {
    /// Its name.
    pub name: String,
    /// The stages whose outputs it reads.
    pub needs: Vec<String>,
    /// Whether its code, its parameters or an input from outside changed.
    pub changed: bool,
    /// Whether facts of the environment that stand in its key changed. They change for every stage at
    /// once, so they explain nothing about a stage whose inputs differ already.
    pub environment_changed: bool,
    /// Whether an output differs in its content.
    pub differs: bool,
    /// Whether something of it is not good enough: an output below its class, a metric, a test.
    pub fails: bool,
    /// Whether it differed when it was run on the baseline's inputs; `None` if it was not.
    pub differs_alone: Option<bool>,
}

/// Where it began, and what became of every stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Place of the origin in the list that was given.
    pub stage: usize,
    /// Whether nothing failed: every difference is tolerated.
    pub tolerated: bool,
    /// For each stage, why it differs; `None` if it does not.
    pub causes: Vec<Option<Cause>>,
}

/// Looks for the first divergent stage that has not inherited its divergence. Among stages that differ,
/// those that lead to a failure come before those that lead to none. `stages` stand in an order in which
/// they can run; `None` if nothing differs.
///
/// ```
/// use sealstone_spec::report::{Cause, StageFacts, walk};
/// let stage = |name: &str, needs: &[&str], differs| StageFacts {
///     name: name.into(),
///     needs: needs.iter().map(|&need| need.into()).collect(),
///     differs,
///     fails: differs,
///     ..StageFacts::default()
/// };
/// let origin = walk(&[stage("prepare", &[], false), stage("train", &["prepare"], true),
///     stage("evaluate", &["train"], true)]).unwrap();
/// assert_eq!(origin.stage, 1);
/// assert_eq!(origin.causes[2], Some(Cause::Inherited));
/// ```
pub fn walk(stages: &[StageFacts]) -> Option<Origin> {
    let place = |name: &str| stages.iter().position(|stage| stage.name == name);
    let mut causes: Vec<Option<Cause>> = Vec::with_capacity(stages.len());
    for (index, stage) in stages.iter().enumerate() {
        // A stage that is named but stands later would make a circle; recipes have none.
        let upstream_differs = stage
            .needs
            .iter()
            .filter_map(|name| place(name))
            .any(|need| need < index && causes[need].is_some());
        causes.push(cause(stage, upstream_differs));
    }
    let own = |index: &usize| matches!(causes[*index], Some(cause) if cause != Cause::Inherited);
    let leads_to_failure = before_failures(stages);
    let tolerated = !stages.iter().any(|stage| stage.fails);
    let origin = (0..stages.len())
        .filter(own)
        .find(|index| leads_to_failure[*index])
        .or_else(|| (0..stages.len()).find(own))?;
    Some(Origin {
        stage: origin,
        tolerated,
        causes,
    })
}

fn cause(stage: &StageFacts, upstream_differs: bool) -> Option<Cause> {
    if !stage.differs {
        return None;
    }
    let own = match stage.changed || stage.environment_changed {
        true => Cause::Changed,
        false => Cause::NondeterministicOrHidden,
    };
    Some(match stage.differs_alone {
        Some(true) => own,
        Some(false) if upstream_differs => Cause::Inherited,
        Some(false) => Cause::NondeterministicOrHidden,
        None if stage.changed => Cause::Changed,
        None if upstream_differs => Cause::Inherited,
        None => own,
    })
}

/// For each stage, whether it fails itself or something that reads its outputs does, at any distance.
fn before_failures(stages: &[StageFacts]) -> Vec<bool> {
    let mut leads: Vec<bool> = stages.iter().map(|stage| stage.fails).collect();
    for index in (0..stages.len()).rev() {
        if !leads[index] {
            continue;
        }
        for need in &stages[index].needs {
            if let Some(place) = stages[..index].iter().position(|stage| stage.name == *need) {
                leads[place] = true;
            }
        }
    }
    leads
}
