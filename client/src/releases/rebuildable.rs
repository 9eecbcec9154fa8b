//! Can this model be made again with no step that nobody wrote down? Somebody else did, or the answer is no.
//!
//! A recipe that looks complete is not enough: yes takes a replay of everything, each stage on what the ones before
//! it made, cut off from the machine and the network, with the signature of somebody trusted who is not the builder.
//! Invariant: whatever cannot be read, is missing or is only claimed is a gap, and never a yes.

use super::sealed::SealedRelease;
use super::voices::{Heard, Hearing};
use crate::error::Result;
use sealstone_spec::digest::Digest;
use sealstone_spec::environment::Isolation;
use sealstone_spec::recipe::{FileRole, LOCK_FILE};
use sealstone_spec::report::{PREDICATE_TYPE, ReplayScope, Report, Verdict};
use sealstone_spec::statement::predicate;
use sealstone_spec::statement::provenance::is_rebuild;
use serde::Serialize;
use std::collections::BTreeSet;

/// The isolation from which on only declared files can be read and the network is denied.
const ISOLATION: Isolation = Isolation::I3;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rebuildable {
    /// The bundle.
    pub digest: Digest,
    /// Whether somebody else has made it again.
    pub rebuildable: bool,
    /// Who built it, by provenance.
    pub builders: BTreeSet<String>,
    /// Replays that show it.
    pub by: Vec<Proof>,
    /// What is missing; empty for a yes.
    pub gaps: Vec<String>,
    /// What whoever makes it again has to bring: data that the bundle names by digest and does not hold.
    pub fetch: Vec<String>,
}

/// A replay that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// Who replayed.
    pub by: String,
    /// The manifest that attaches the report.
    pub referrer: Digest,
    /// When it ended, as the replayer says.
    pub finished_on: String,
    /// How it was isolated.
    pub isolation: Isolation,
    /// Facts of the environment that differed and that the recipe lets go, each with why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub let_go: Vec<String>,
}

/// Answers for a bundle, from what trusted voices have said about it. `sealed` is the bundle's recipe and lock,
/// or why there are none.
pub fn rebuildable(
    digest: Digest,
    sealed: &Result<SealedRelease>,
    hearing: &Hearing,
) -> Rebuildable {
    let mut answer = Rebuildable {
        digest,
        rebuildable: false,
        builders: hearing
            .of(predicate::SLSA_PROVENANCE)
            .filter(|heard| !heard.statement.predicate().is_some_and(is_rebuild))
            .map(|heard| heard.by.clone())
            .collect(),
        by: Vec::new(),
        gaps: Vec::new(),
        fetch: Vec::new(),
    };
    match sealed {
        Ok(release) => answer.look_into(release),
        Err(error) => answer.gaps.push(error.message().to_owned()),
    }
    if answer.builders.is_empty() {
        answer.gaps.push(
            "no provenance by a trusted key says who built it, so nobody can be told from the builder"
                .to_owned(),
        );
    }
    answer.listen(hearing);
    answer.gaps.dedup();
    answer.rebuildable = answer.gaps.is_empty() && !answer.by.is_empty();
    answer
}

impl Rebuildable {
    fn look_into(&mut self, release: &SealedRelease) {
        for file in release.absent() {
            let mut inputs = release.lock.inputs.iter();
            let input = inputs.find(|input| input.content.path.contains(&file.path));
            match (file.role, input.and_then(|input| input.source.as_ref())) {
                (FileRole::Input, Some(source)) => {
                    self.fetch
                        .push(format!("{} ({}) from {source}", file.path, file.digest));
                }
                (FileRole::Input, None) => self.gaps.push(format!(
                    "data \"{}\" is not in the bundle, and nothing says where it is",
                    file.path
                )),
                // Outputs are made again.
                (FileRole::Output, _) => {}
                _ => self.gaps.push(format!(
                    "\"{}\" of {LOCK_FILE} is not in the bundle",
                    file.path
                )),
            }
        }
    }

    fn listen(&mut self, hearing: &Hearing) {
        let mut problems = Vec::new();
        let mut said: Vec<(&str, Report)> = Vec::new();
        for heard in hearing.of(PREDICATE_TYPE) {
            match read(heard, &self.digest) {
                Err(problem) => problems.push(format!("the report by {}: {problem}", heard.by)),
                Ok(report) => {
                    match self.counts(heard, &report) {
                        Ok(isolation) => self.by.push(Proof {
                            by: heard.by.clone(),
                            referrer: heard.referrer,
                            finished_on: report.finished_on.clone(),
                            isolation,
                            let_go: let_go(&report),
                        }),
                        // What diverged stands among the gaps, or was taken back.
                        Err(_) if report.verdict == Verdict::Diverged => {}
                        Err(problem) => {
                            problems.push(format!("the replay by {} {problem}", heard.by));
                        }
                    }
                    said.push((&heard.by, report));
                }
            }
        }
        for by in diverging(&said) {
            self.gaps
                .push(format!("{by} reports that it does not reproduce"));
        }
        for other in &hearing.unheard {
            if other.predicate_type.as_deref() == Some(PREDICATE_TYPE) {
                problems.push(format!(
                    "a report ({}) does not count: {}",
                    other.referrer, other.reason
                ));
            }
        }
        if self.by.is_empty() {
            self.gaps.push(format!(
                "nobody trusted but the builder has made all of it again, each stage on what was made before, isolated by {ISOLATION} or better"
            ));
            self.gaps.append(&mut problems);
        }
    }

    fn counts(&self, heard: &Heard, report: &Report) -> Result<Isolation, String> {
        if self.builders.contains(&heard.by) {
            return Err("is by the builder".to_owned());
        }
        shows(report)
    }
}

/// Those whose word is that it does not reproduce. Bad news stand, whoever brings them and however he isolated it, until
/// he himself says otherwise: later, of at least as much, and in a report that could count for a policy and waived no more
/// than the recipe does. Who built it
/// cannot show that it is rebuildable, and can take back what he said all the same.
fn diverging<'a>(said: &[(&'a str, Report)]) -> BTreeSet<&'a str> {
    let stands = |by: &str, diverged: &Report| {
        !said.iter().any(|(other, later)| {
            *other == by
                && later.vouches()
                && later.covers(diverged)
                && waives_no_more(later)
                && is_after(&later.finished_on, &diverged.finished_on)
        })
    };
    said.iter()
        .filter(|(by, report)| report.verdict == Verdict::Diverged && stands(by, report))
        .map(|(by, _)| *by)
        .collect()
}

/// Whether nothing was waived but what the recipe itself lets go.
fn waives_no_more(report: &Report) -> bool {
    report.overrides.iter().all(|it| it.is_of_the_recipe())
}

/// Whether a report shows that all was made again, and under which isolation. Facts that the recipe lets go are no step
/// that nobody wrote down: it says which, why and until when. Whatever else was waived, known here or not, leaves it open.
fn shows(report: &Report) -> Result<Isolation, String> {
    if !report.verdict.is_reproduced() {
        return Err(format!("ended as {}", report.verdict));
    }
    if report.scope != ReplayScope::Full {
        return Err(format!("was of {} only", report.scope));
    }
    if !report.mode.chained {
        return Err("ran stages on recorded inputs, not on what it had made itself".to_owned());
    }
    if let Some(waived) = report.overrides.iter().find(|it| !it.is_of_the_recipe()) {
        return Err(format!("waived \"{}\" ({})", waived.id, waived.kind));
    }
    match report.isolation.achieved {
        Some(isolation) if isolation >= ISOLATION => Ok(isolation),
        Some(isolation) => Err(format!("was isolated by {isolation} only")),
        None => Err("does not say how it was isolated".to_owned()),
    }
}

/// The facts that the recipe let go in a replay.
fn let_go(report: &Report) -> Vec<String> {
    let facts = report.overrides.iter().filter(|it| it.is_of_the_recipe());
    facts
        .map(|fact| match &fact.reason {
            Some(why) => format!("{}: {why}", fact.id),
            None => fact.id.clone(),
        })
        .collect()
}

/// Whether one time lies after another; times that cannot be read do not.
fn is_after(one: &str, other: &str) -> bool {
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    matches!((time(one), time(other)), (Some(one), Some(other)) if one > other)
}

fn read(heard: &Heard, digest: &Digest) -> Result<Report, String> {
    let predicate = heard.statement.predicate().ok_or("it is empty")?;
    let report = Report::from_predicate(predicate).map_err(|error| error.to_string())?;
    match report.baseline.digest.0 == *digest {
        true => Ok(report),
        false => Err("it is held against another bundle".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sealstone_spec::report::Override;

    #[test]
    fn a_divergence_is_taken_back_by_the_same_one_alone() {
        let good = Report::parse(include_bytes!(
            "../../../spec/vectors/report/reproduced.json"
        ))
        .unwrap();
        let at = |hour: u32, report: &Report| Report {
            finished_on: format!("2026-02-01T{hour:02}:00:00Z"),
            ..report.clone()
        };
        let mut unchained = good.clone();
        unchained.mode.chained = false;
        let bad = at(
            10,
            &Report {
                verdict: Verdict::Diverged,
                scope: ReplayScope::Eval,
                mode: unchained.mode,
                ..good.clone()
            },
        );
        let of = |by: &'static str, hour: u32, report: &Report| {
            let said = [("builder", bad.clone()), (by, at(hour, report))];
            diverging(&said).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(of("builder", 11, &good), Vec::<&str>::new());
        // Neither isolated nor chained, and of no more than what had diverged: that says nothing for the bundle, and
        // enough against what was said before.
        let mut plain = good.clone();
        plain.isolation.achieved = Some(Isolation::I1);
        plain.mode.chained = false;
        plain.scope = ReplayScope::Eval;
        assert!(shows(&plain).is_err());
        assert_eq!(of("builder", 11, &plain), Vec::<&str>::new());
        // Earlier, at the same moment, by another, of less, or worth nothing.
        let stands = ["builder"];
        assert_eq!(of("builder", 9, &good), stands);
        assert_eq!(of("builder", 10, &good), stands);
        assert_eq!(of("other", 11, &good), stands);
        let less = Report {
            scope: ReplayScope::Infer,
            ..good.clone()
        };
        assert_eq!(of("builder", 11, &less), stands);
        let undecided = Report {
            verdict: Verdict::Inconclusive,
            ..good.clone()
        };
        assert_eq!(of("builder", 11, &undecided), stands);
        let waived = Report {
            overrides: vec![Override {
                kind: "tolerance".to_owned(),
                id: "auc".to_owned(),
                expires: None,
                reason: None,
            }],
            ..good.clone()
        };
        assert_eq!(of("builder", 11, &waived), stands);
        // A profile is held against a baseline of its own.
        let smoke = Report {
            scope: ReplayScope::Smoke,
            ..good.clone()
        };
        assert_eq!(of("builder", 11, &smoke), stands);
        // Stages on recorded inputs say nothing of a chain that broke.
        let chain = Report {
            verdict: Verdict::Diverged,
            ..good.clone()
        };
        let chain = |report: &Report| {
            let said = [("ci", at(10, &chain)), ("ci", at(11, report))];
            diverging(&said).len()
        };
        assert_eq!((chain(&unchained), chain(&good)), (1, 0));
        // And what is said last stands.
        assert_eq!(of("builder", 12, &bad), stands);
    }

    #[test]
    fn facts_that_the_recipe_lets_go_are_told_and_nothing_else_is_waived() {
        let text = include_bytes!("../../../spec/vectors/report/reproduced.json");
        let good = Report::parse(text).unwrap();
        assert_eq!(shows(&good), Ok(Isolation::I4));
        assert!(let_go(&good).is_empty());
        let waived = |kind: &str| Override {
            kind: kind.to_owned(),
            id: "gpu.name".to_owned(),
            expires: None,
            reason: Some("both were tried".to_owned()),
        };
        let with = |overrides: Vec<Override>| Report {
            overrides,
            ..good.clone()
        };
        let fact = with(vec![waived("fact")]);
        assert_eq!(shows(&fact), Ok(Isolation::I4));
        assert_eq!(let_go(&fact), ["gpu.name: both were tried"]);
        // Also a kind that a later version writes: what is not understood is a gap.
        for kind in [
            "insecure",
            "accept-isolation",
            "tolerance",
            "exception",
            "?",
        ] {
            let problem = shows(&with(vec![waived("fact"), waived(kind)])).unwrap_err();
            assert_eq!(problem, format!("waived \"gpu.name\" ({kind})"));
        }
    }
}
