//! Where a bundle stands: derived from what was signed, each time anew. Nothing stores these words.

use super::evaluate::Evaluation;
use super::hearing::Hearing;
use super::lifecycle::{
    DEPRECATION, INCIDENT, INCIDENT_CLOSE, REJECTION, REVOCATION, closed_by, reason_of,
};
use super::rule::{Rule, RuleResult};
use crate::digest::Digest;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// How far a bundle has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum State {
    /// It is there.
    Candidate,
    /// The rule on reproductions is met, by reports and not by an exception.
    Reproduced,
    /// Every rule is met.
    Approved,
    /// A release tag names it, and every rule is met.
    Released,
    /// Released, and superseded.
    Deprecated,
    /// Nobody shall use it any more.
    Revoked,
}

/// What is wrong beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Flag {
    /// Somebody with the right to has rejected it.
    Rejected,
    /// Its content is damaged.
    Quarantined,
    /// It was admitted once; time or the policy went on.
    Stale,
}

/// Something that was said and changes where a bundle stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Word {
    /// `rejection`, `deprecation`, `revocation` or `incident`.
    pub kind: String,
    /// Who said it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What to use instead, of a deprecation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
    /// Digest of the referrer manifest.
    pub evidence: Digest,
    /// Digest of what was signed, of an incident: what closes it names this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<Digest>,
}

/// Where a bundle stands, and on whose word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Standing {
    /// How far it has come.
    pub state: State,
    /// What is wrong beside.
    pub flags: Vec<Flag>,
    /// Words that count.
    pub words: Vec<Word>,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Candidate => "candidate",
            State::Reproduced => "reproduced",
            State::Approved => "approved",
            State::Released => "released",
            State::Deprecated => "deprecated",
            State::Revoked => "revoked",
        })
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flag::Rejected => "rejected",
            Flag::Quarantined => "quarantined",
            Flag::Stale => "stale",
        })
    }
}

/// What was said about the bundle by those who may; `reported` is what the registry itself said.
pub(super) fn words(hearing: &Hearing<'_>, reported: Vec<Word>) -> Vec<Word> {
    let authority = hearing.policy.authority();
    let kinds = [
        (REJECTION, "rejection", &authority.reject),
        (DEPRECATION, "deprecation", &authority.deprecate),
        (REVOCATION, "revocation", &authority.revoke),
        (INCIDENT, "incident", &authority.incident),
    ];
    let mut words = reported;
    for (predicate_type, kind, roles) in kinds {
        for counted in hearing.of(&[predicate_type]) {
            if !roles.iter().any(|role| counted.key.roles.contains(role)) {
                continue;
            }
            if kind == "rejection" && hearing.is_taken_back(counted) {
                continue;
            }
            let successor = counted
                .statement
                .predicate()
                .and_then(|predicate| predicate.get("successor")?.get("name")?.as_str())
                .map(|name| name.chars().filter(|c| !c.is_control()).take(300).collect());
            words.push(Word {
                kind: kind.to_owned(),
                by: counted.identity.name.clone(),
                reason: reason_of(counted),
                successor: successor.filter(|_| kind == "deprecation"),
                evidence: counted.evidence,
                said: (kind == "incident").then_some(counted.said),
            });
        }
    }
    let closed: BTreeSet<Digest> = hearing
        .of(&[INCIDENT_CLOSE])
        .filter(|counted| {
            let mut roles = authority.close.iter();
            roles.any(|role| counted.key.roles.contains(role))
        })
        .flat_map(|counted| closed_by(counted.statement.predicate()))
        .collect();
    words.retain(|word| word.said.is_none_or(|said| !closed.contains(&said)));
    words.sort();
    words.dedup();
    words
}

/// Results that stop a release, from what was said.
pub(super) fn stops(hearing: &Hearing<'_>, words: &[Word]) -> Vec<RuleResult> {
    let revoked = words.iter().filter(|word| word.kind == "revocation");
    let revoked = revoked.map(|word| {
        RuleResult::stop(
            "revocation",
            format!("revoked by {}: {}", word.by, word.reason),
            "a revocation is final: release another bundle",
            [word.evidence],
        )
    });
    let rejected = words.iter().filter(|word| word.kind == "rejection");
    let rejected = rejected.map(|word| {
        RuleResult::stop(
            "rejection",
            format!("rejected by {}: {}", word.by, word.reason),
            format!(
                "mend what {} found and release another bundle, or have it approved by {} later in the log",
                word.by, word.by
            ),
            [word.evidence],
        )
    });
    let closers: Vec<String> = hearing.policy.authority().close.iter().cloned().collect();
    let closers: Vec<String> = closers.iter().map(|role| hearing.somebody(role)).collect();
    let incidents = words.iter().filter(|word| word.kind == "incident");
    let incidents = incidents.map(|word| {
        RuleResult::stop(
            "integrity",
            format!("in quarantine: {} reports {}", word.by, word.reason),
            format!(
                "{} closes the incident once it is dealt with: sealstone incident close {}",
                closers.join(" or "),
                hearing.place()
            ),
            [word.evidence],
        )
    });
    revoked.chain(rejected).chain(incidents).collect()
}

/// The word for where the bundle stands.
pub(super) fn standing(
    rules: &[Rule],
    results: &[RuleResult],
    satisfied: bool,
    damaged: bool,
    released: bool,
    words: Vec<Word>,
) -> Standing {
    let said = |kind: &str| words.iter().any(|word| word.kind == kind);
    // What was waived was not done.
    let is_met = |result: &RuleResult| result.satisfied && result.exception.is_none();
    let reproduced = rules
        .iter()
        .zip(results)
        .any(|(rule, result)| matches!(rule, Rule::Reproduction(_)) && is_met(result));
    let state = if said("revocation") {
        State::Revoked
    } else if released && said("deprecation") {
        State::Deprecated
    } else if released && satisfied {
        State::Released
    } else if satisfied {
        State::Approved
    } else if reproduced {
        State::Reproduced
    } else {
        State::Candidate
    };
    let mut flags = Vec::new();
    if said("rejection") {
        flags.push(Flag::Rejected);
    }
    if damaged || said("incident") {
        flags.push(Flag::Quarantined);
    }
    if released && !satisfied && state != State::Revoked {
        flags.push(Flag::Stale);
    }
    Standing {
        state,
        flags,
        words,
    }
}

impl Evaluation {
    /// The state and its flags in one line: `released`, `candidate (rejected)`.
    pub fn state_text(&self) -> String {
        let flags: Vec<String> = self.standing.flags.iter().map(Flag::to_string).collect();
        match flags.is_empty() {
            true => self.standing.state.to_string(),
            false => format!("{} ({})", self.standing.state, flags.join(", ")),
        }
    }
}
