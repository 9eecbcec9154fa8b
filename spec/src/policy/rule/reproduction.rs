//! Rule `reproduction`: others made it again, closely enough, apart enough, lately enough.
//!
//! Invariant: a divergence that somebody trusted reports stands until the same one reports, later in
//! the same log and of at least as much, that it reproduces after all.

use super::super::Time;
use super::super::hearing::{Counted, Hearing};
use super::super::identity::Identity;
use super::super::reader::{Fields, PolicyError, suggest};
use super::{RuleResult, join, reachable, reading};
use crate::compare::Class;
use crate::digest::Digest;
use crate::environment::Isolation;
use crate::report::{PREDICATE_TYPE as REPORT, ReplayScope, Report, Verdict};
use crate::statement::predicate;
use serde::Serialize;
use std::collections::BTreeSet;

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
    pub class: Class,
    /// The weakest isolation that counts. Nobody can say of himself that he is somebody else (I5): what
    /// is asked of the machine is I4 then, and the rest by `independent`.
    pub isolation: Isolation,
    /// How much must have been replayed.
    pub scope: ReplayScope,
    /// Whether only others than the builder count.
    pub independent: bool,
    /// How old a report may be, in days; `None` for any age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fresh_days: Option<u32>,
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
            "scope",
            "independent",
            "fresh_days",
        ])?;
        let source = fields.source();
        let rule = Reproduction {
            role: reading::role(&fields, "reproducer")?,
            threshold: reading::threshold(&fields)?,
            class: one_of(&fields, "class", &Class::ALL[..5], None)?,
            isolation: one_of(&fields, "isolation", &Isolation::ALL, Some(Isolation::I0))?,
            scope: one_of(&fields, "scope", &ReplayScope::ALL, Some(ReplayScope::Full))?,
            independent: fields
                .get("independent")
                .map_or(Ok(true), |node| source.flag(node, "independent"))?,
            fresh_days: fields
                .get("fresh_days")
                .map(|node| source.count(node, "fresh_days"))
                .transpose()?,
        };
        if rule.isolation == Isolation::I5 && !rule.independent {
            let problem = "isolation I5 is a machine of somebody else: it needs independent = true";
            return Err(source.error(fields.place(), problem, None));
        }
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
            "a {} replay of class {} or better, isolated by {} or better, by {who} with a key of role \"{}\"{fresh}",
            self.scope, self.class, self.isolation, self.role
        )
    }

    pub(super) fn evaluate(&self, hearing: &Hearing<'_>) -> RuleResult {
        let mut problems = Vec::new();
        let reports: Vec<(&Counted<'_>, Report)> = hearing
            .with_role(&[REPORT], &self.role, &mut problems)
            .into_iter()
            .filter_map(
                |counted| match read_report(counted, hearing.case.manifest()) {
                    Ok(report) => Some((counted, report)),
                    Err(problem) => {
                        let name = &counted.identity.name;
                        problems.push(format!("the report by {name} cannot be read: {problem}"));
                        None
                    }
                },
            )
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
                other.vouches() && other.covers(report) && later.takes_back(counted)
            };
            report.verdict == Verdict::Diverged && !reports.iter().any(taken_back)
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
            if let Some((counted, report)) = divergence {
                let name = &counted.identity.name;
                return format!(
                    "find out why it diverged; then {name} must run {command} again, with \"--scope {}\" or more",
                    report.scope
                );
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
        if !report.verdict.is_reproduced() {
            return Err(format!("says {}", report.verdict.as_str()));
        }
        if let Some(kind) = report.waived() {
            return Err(format!("was made with something waived: {kind}"));
        }
        if report.scope < self.scope {
            return Err(format!("replayed {} only", report.scope));
        }
        match report.class.achieved {
            Some(class) if class.satisfies(self.class) => {}
            Some(class) => return Err(format!("has class {class} only")),
            None => return Err("compared nothing".to_owned()),
        }
        if report.measured_baseline() {
            return Err(format!(
                "has class {} by metrics of the baseline's own files: it ran stages on recorded inputs",
                Class::Statistical
            ));
        }
        let due = self.isolation.min(Isolation::I4);
        match report.isolation.achieved {
            Some(isolation) if isolation >= due => {}
            Some(isolation) => return Err(format!("was isolated by {isolation} only")),
            None if due == Isolation::I0 => {}
            None => return Err("was not isolated".to_owned()),
        }
        let Some(days) = self.fresh_days else {
            return Ok(());
        };
        let finished: Time = report
            .finished_on
            .parse()
            .map_err(|_| "does not say when it was made, so it may be old")?;
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

/// One of the names that are known, as what it means.
fn one_of<T: Copy + std::fmt::Display>(
    fields: &Fields<'_>,
    key: &str,
    known: &[T],
    default: Option<T>,
) -> Result<T, PolicyError> {
    let node = match (fields.get(key), default) {
        (Some(node), _) => node,
        (None, Some(default)) => return Ok(default),
        (None, None) => fields.require(key)?,
    };
    let text = fields.source().text(node, key)?;
    if let Some(found) = known.iter().find(|value| value.to_string() == text) {
        return Ok(*found);
    }
    let shown: String = text.chars().take(60).collect();
    let names: Vec<String> = known.iter().map(T::to_string).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let problem = format!("{key} cannot be \"{shown}\"");
    Err(fields
        .source()
        .error(node.place(), problem, suggest(&shown, &names)))
}

/// The report's own reader refuses a verdict that is better than what stands beside it.
fn read_report(counted: &Counted<'_>, manifest: &Digest) -> Result<Report, String> {
    let predicate = counted.statement.predicate().ok_or("it is empty")?;
    let report = Report::from_predicate(predicate).map_err(|error| error.to_string())?;
    match report.baseline.digest.0 == *manifest {
        true => Ok(report),
        false => Err("it is held against another bundle".to_owned()),
    }
}

/// Whether a report only confirms.
pub(in super::super) fn confirms(counted: &Counted<'_>) -> bool {
    read_report(counted, counted.statement.digest()).is_ok_and(|report| report.vouches())
}
