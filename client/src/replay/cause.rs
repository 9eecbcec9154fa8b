//! Where it began, and what it is put down to: the evidence of a replay brought before `spec::report`.

use super::artifacts::First;
use sealstone_spec::report::{
    Attribution, Clue, Divergence, Finding, Runs, StageFacts, StageStatus, TraceDifference,
    attribute, hints_for, walk,
};

/// What is known of one stage when all have run.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) facts: StageFacts,
    pub(super) changes: Vec<(Attribution, String)>,
    pub(super) first: Option<First>,
    pub(super) clues: Vec<Clue>,
    pub(super) runs: Runs,
    pub(super) trace: Option<TraceDifference>,
    pub(super) ended_well: bool,
}

/// What follows.
#[derive(Debug, Default)]
pub(super) struct Cause {
    pub(super) divergence: Option<Divergence>,
    pub(super) attribution: Option<Attribution>,
    pub(super) evidence: Vec<Finding>,
    /// For each stage that differs and is not tolerated.
    pub(super) statuses: Vec<Option<StageStatus>>,
}

/// Finds the origin and puts it down to something. `drifted` are facts of the environment that differ.
pub(super) fn find(stages: &[Known], drifted: &[String]) -> Cause {
    let facts: Vec<StageFacts> = stages.iter().map(|stage| stage.facts.clone()).collect();
    let mut cause = Cause {
        statuses: vec![None; stages.len()],
        ..Cause::default()
    };
    let Some(origin) = walk(&facts) else {
        return cause;
    };
    let stage = &stages[origin.stage];
    let mut clues = stage.clues.clone();
    clues.extend(drifted.iter().map(|fact| Clue::Fact(fact.clone())));
    for (kind, text) in &stage.changes {
        match kind {
            Attribution::Params => clues.push(Clue::Params),
            Attribution::Environment => clues.push(Clue::Fact(text.clone())),
            _ => {}
        }
    }
    match stage.runs {
        Runs::Different => clues.push(Clue::RunsDiffer),
        Runs::Same if drifted.is_empty() && stage.changes.is_empty() => clues.push(Clue::Hidden),
        _ => {}
    }
    if let Some(trace) = &stage.trace {
        clues.push(Clue::Trace(trace.column.clone(), trace.at_start));
    }
    let first = stage.first.as_ref();
    cause.divergence = Some(Divergence {
        stage: stage.facts.name.clone(),
        artifact: first.map(|first| first.path.clone()),
        locator: first.and_then(|first| first.locator.clone()),
        base: first.and_then(|first| first.base.clone()),
        now: first.and_then(|first| first.now.clone()),
        cause: origin.causes[origin.stage]
            .unwrap_or(sealstone_spec::report::Cause::NondeterministicOrHidden),
        tolerated: origin.tolerated,
        trace: stage.trace.clone(),
        hints: hints_for(&clues),
    });
    if origin.tolerated {
        return cause;
    }
    let (attribution, evidence) = attribute(&stage.changes, stage.runs, drifted);
    cause.attribution = Some(attribution);
    cause.evidence = evidence;
    for (index, (known, found)) in stages.iter().zip(&origin.causes).enumerate() {
        let status = match found {
            _ if !known.ended_well => None,
            _ if index == origin.stage => Some(StageStatus::Origin),
            Some(sealstone_spec::report::Cause::Inherited) => Some(StageStatus::Inherited),
            // Differs by itself and fails: another beginning, further on.
            Some(_) if known.facts.fails => Some(StageStatus::Origin),
            _ => None,
        };
        cause.statuses[index] = status;
    }
    cause
}
