//! Rule `reproduction`: others made it again, closely enough, apart enough, lately enough.
//!
//! Invariant: a divergence that somebody trusted reports stands until the same one reports, later in
//! the same log, that it reproduces after all.

use super::super::Time;
use super::super::hearing::{Counted, Hearing};
use super::super::identity::Identity;
use super::super::reader::{Fields, PolicyError, suggest};
use super::{RuleResult, join, reachable, reading};
use crate::statement::predicate;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// Predicate type of reproduction reports.
pub(in super::super) const REPORT: &str = "https://sealstone.dev/attestation/reproduction/v0.1";

/// Classes of agreement, the weakest first.
const CLASSES: [&str; 6] = [
    "divergent",
    "statistical",
    "functional",
    "numeric",
    "content_exact",
    "bit_exact",
];
/// Levels of isolation, the weakest first.
const ISOLATIONS: [&str; 6] = ["I0", "I1", "I2", "I3", "I4", "I5"];

/// A report's time may lie ahead of the judge's clock by so much, in seconds.
const CLOCK_SKEW: i64 = 300;

/// Reports of replays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Reproduction {
    /// The role whose keys count.
    pub role: String,
    /// How many different identities must have reproduced it.
    pub threshold: u32,
    /// The weakest class of agreement that counts.
    pub class: String,
    /// The weakest isolation that counts.
    pub isolation: String,
    /// Whether only others than the builder count.
    pub independent: bool,
    /// How old a report may be, in days; `None` for any age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fresh_days: Option<u32>,
}

/// What a report says, as far as it is decided on.
struct Report {
    reproduced: bool,
    diverged: bool,
    class: usize,
    isolation: usize,
    finished: Option<Time>,
}

impl Reproduction {
    pub(super) const NAME: &str = "reproduction";

    pub(super) fn read(
        fields: Fields<'_>,
        identities: &[Identity],
    ) -> Result<Reproduction, PolicyError> {
        let fields = fields.only(&[
            "rule",
            "role",
            "threshold",
            "class",
            "isolation",
            "independent",
            "fresh_days",
        ])?;
        let source = fields.source();
        let one_of = |key: &str, known: &[&str], default: Option<&str>| {
            let node = match (fields.get(key), default) {
                (Some(node), _) => node,
                (None, Some(default)) => return Ok(default.to_owned()),
                (None, None) => fields.require(key)?,
            };
            let text = source.text(node, key)?;
            if known.contains(&text) {
                return Ok(text.to_owned());
            }
            let shown: String = text.chars().take(60).collect();
            let problem = format!("{key} cannot be \"{shown}\"");
            Err(source.error(node.place(), problem, suggest(&shown, known)))
        };
        let rule = Reproduction {
            role: reading::role(&fields, "reproducer")?,
            threshold: reading::threshold(&fields)?,
            class: one_of("class", &CLASSES[1..], None)?,
            isolation: one_of("isolation", &ISOLATIONS, Some("I0"))?,
            independent: fields
                .get("independent")
                .map_or(Ok(true), |node| source.flag(node, "independent"))?,
            fresh_days: fields
                .get("fresh_days")
                .map(|node| source.count(node, "fresh_days"))
                .transpose()?,
        };
        reachable(&fields, rule.threshold, &[], Some(&rule.role), identities)?;
        Ok(rule)
    }

    pub(super) fn predicate_types(&self) -> &'static [&'static str] {
        // Who built it is read from provenance.
        match self.independent {
            true => &[REPORT, predicate::SLSA_PROVENANCE],
            false => &[REPORT],
        }
    }

    pub(super) fn describe(&self) -> String {
        let who = match (self.independent, self.threshold) {
            (true, 1) => "somebody other than the builder".to_owned(),
            (true, number) => format!("{number} different people other than the builder"),
            (false, 1) => "somebody".to_owned(),
            (false, number) => format!("{number} different people"),
        };
        let fresh = match self.fresh_days {
            None => String::new(),
            Some(days) => format!(", in the last {days} days"),
        };
        format!(
            "a reproduction of class {} or better, isolated by {} or better, by {who} with a key of role \"{}\"{fresh}",
            self.class, self.isolation, self.role
        )
    }

    pub(super) fn evaluate(&self, hearing: &Hearing<'_>) -> RuleResult {
        let mut problems = Vec::new();
        let reports: Vec<(&Counted<'_>, Report)> = hearing
            .with_role(&[REPORT], &self.role, &mut problems)
            .into_iter()
            .filter_map(|counted| match read_report(counted) {
                Ok(report) => Some((counted, report)),
                Err(problem) => {
                    let name = &counted.identity.name;
                    problems.push(format!("the report by {name} cannot be read: {problem}"));
                    None
                }
            })
            .collect();
        let builders = hearing.builders();
        let unknown_builder = self.independent && builders.is_empty();
        let mut people: BTreeSet<&str> = BTreeSet::new();
        let mut evidence = Vec::new();
        for (counted, report) in &reports {
            let name = counted.identity.name.as_str();
            match self.check(report, hearing) {
                Err(problem) => problems.push(format!("the report by {name} {problem}")),
                Ok(()) if self.independent && builders.contains(name) => problems.push(format!(
                    "the report by {name} does not count: {name} built the bundle"
                )),
                Ok(()) => {
                    people.insert(name);
                    evidence.push(counted.evidence);
                }
            }
        }
        let divergence = reports.iter().find(|(counted, report)| {
            let taken_back = |(later, other): &(&Counted<'_>, Report)| {
                other.reproduced && later.takes_back(counted)
            };
            report.diverged && !reports.iter().any(taken_back)
        });
        let enough = people.len() >= self.threshold as usize;
        let satisfied = enough && divergence.is_none() && !unknown_builder;
        let mut reasons = vec![match people.len() {
            0 => format!("needs {}: none is there", self.describe()),
            _ => format!("needs {}: by {}", self.describe(), join(&people, "and")),
        }];
        if let Some((counted, _)) = divergence {
            let name = &counted.identity.name;
            reasons.push(format!("{name} reports that it does not reproduce"));
        }
        if unknown_builder {
            reasons.push(
                "no provenance says who built the bundle, so nobody can be told from the builder"
                    .to_owned(),
            );
        }
        if !satisfied {
            reasons.append(&mut problems);
        }
        let remedy = (!satisfied).then(|| {
            let command = format!("\"sealstone replay {}\"", hearing.place());
            if let Some((counted, _)) = divergence {
                let name = &counted.identity.name;
                return format!("find out why it diverged; then {name} must run {command} again");
            }
            if unknown_builder {
                return format!(
                    "the builder must attach provenance: \"sealstone attest {}\"",
                    hearing.place()
                );
            }
            format!("{} must run {command}", hearing.somebody(&self.role))
        });
        RuleResult::new(Reproduction::NAME, reasons, remedy, evidence)
    }

    fn check(&self, report: &Report, hearing: &Hearing<'_>) -> Result<(), String> {
        let rank = |known: &[&str], name: &str| known.iter().position(|&other| other == name);
        if !report.reproduced {
            return Err("does not say that it reproduced".to_owned());
        }
        // A name that is not known here ranks above all, so nothing reaches it.
        if report.class < rank(&CLASSES, &self.class).unwrap_or(usize::MAX) {
            return Err(format!("has class {} only", CLASSES[report.class]));
        }
        if report.isolation < rank(&ISOLATIONS, &self.isolation).unwrap_or(usize::MAX) {
            return Err(format!(
                "was isolated by {} only",
                ISOLATIONS[report.isolation]
            ));
        }
        let Some(days) = self.fresh_days else {
            return Ok(());
        };
        let Some(finished) = report.finished else {
            return Err("does not say when it was made, so it may be old".to_owned());
        };
        let from = finished.plus_seconds(-CLOCK_SKEW);
        let until = finished.plus_days(days);
        hearing.changes_at(from);
        hearing.changes_at(until);
        if hearing.now < from {
            return Err(format!("is of {finished}, which is yet to come"));
        }
        if hearing.now >= until {
            return Err(format!("is stale: it is of {finished}"));
        }
        Ok(())
    }
}

fn read_report(counted: &Counted<'_>) -> Result<Report, String> {
    let predicate = counted.statement.predicate().ok_or("it is empty")?;
    let text = |path: [&str; 2]| -> Result<&str, String> {
        let value = predicate.get(path[0]).and_then(|value| value.get(path[1]));
        let value = value.and_then(Value::as_str);
        value.ok_or_else(|| format!("it lacks {}", path.join(".")))
    };
    let rank = |known: &[&str], name: &str| {
        let place = known.iter().position(|&other| other == name);
        place.ok_or_else(|| {
            let shown: String = name.chars().take(40).collect();
            format!("\"{shown}\" is not known")
        })
    };
    let verdict = predicate.get("verdict").and_then(Value::as_str);
    let verdict = verdict.ok_or("it lacks verdict")?;
    let reproduced = ["REPRODUCED", "REPRODUCED_WITH_WARNINGS"].contains(&verdict);
    if !reproduced {
        // Of the others only a divergence says anything about the bundle.
        return Ok(Report {
            reproduced,
            diverged: verdict == "DIVERGED",
            class: 0,
            isolation: 0,
            finished: None,
        });
    }
    let finished = predicate.get("finishedOn").and_then(Value::as_str);
    Ok(Report {
        reproduced,
        diverged: false,
        class: rank(&CLASSES, text(["class", "achieved"])?)?,
        isolation: rank(&ISOLATIONS, text(["isolation", "achieved"])?)?,
        finished: finished.and_then(|text| text.parse().ok()),
    })
}

/// Whether a report only confirms.
pub(in super::super) fn confirms(counted: &Counted<'_>) -> bool {
    read_report(counted).is_ok_and(|report| report.reproduced)
}
