//! Rule `approvals`: people agreed to this bundle, under these rules, on this evidence.
//!
//! Invariant: an approval is void as soon as what it was given for is not what is judged: another
//! bundle, other rules, evidence that is gone or that says something new. Whoever built the bundle
//! does not approve it.

use super::super::hearing::{Counted, Hearing};
use super::super::identity::Identity;
use super::super::lifecycle::Binding;
use super::super::reader::{Fields, PolicyError, suggest};
use super::{RuleResult, join, reachable, reading};
use crate::statement::predicate;
use serde::Serialize;
use std::collections::BTreeSet;

/// Approvals, and provenance, which says who built it.
pub(super) const READS: &[&str] = &[predicate::SVR, predicate::SLSA_PROVENANCE];

/// What an approval is given for, beside the bundle and the evidence, and is void without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Binds {
    /// The rules of the repository: new people, rotated keys and a later end of the policy change nothing.
    #[default]
    Rules,
    /// The whole document: every change of it voids the approval.
    Policy,
}

impl Binds {
    fn read(fields: &Fields<'_>) -> Result<Binds, PolicyError> {
        let source = fields.source();
        let Some(node) = fields.get("binds") else {
            return Ok(Binds::Rules);
        };
        match source.text(node, "binds")? {
            "rules" => Ok(Binds::Rules),
            "policy" => Ok(Binds::Policy),
            other => {
                let shown: String = other.chars().take(60).collect();
                let problem = format!("binds cannot be \"{shown}\"");
                let known = ["rules", "policy"];
                Err(source.error(node.place(), problem, suggest(&shown, &known)))
            }
        }
    }

    fn is_default(&self) -> bool {
        *self == Binds::Rules
    }
}

/// Approvals by people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Approvals {
    /// The role whose keys count.
    pub role: String,
    /// How many different people must approve.
    pub threshold: u32,
    /// Roles that must be among them: for each, an approval with a key that has it too.
    pub roles: BTreeSet<String>,
    /// How many of them must be of no team that the builder is of.
    pub different_team: u32,
    /// What they are given for.
    #[serde(skip_serializing_if = "Binds::is_default")]
    pub binds: Binds,
}

impl Approvals {
    pub(super) const NAME: &str = "approvals";

    pub(super) fn read(
        fields: Fields<'_>,
        identities: &[Identity],
    ) -> Result<Approvals, PolicyError> {
        let known = [
            "rule",
            "role",
            "threshold",
            "roles",
            "different_team",
            "binds",
        ];
        let fields = fields.only(&known)?;
        let source = fields.source();
        let different_team = fields
            .get("different_team")
            .map_or(Ok(0), |node| source.index(node, "different_team"))?;
        let rule = Approvals {
            role: reading::role(&fields, "approver")?,
            threshold: reading::threshold(&fields)?,
            roles: super::super::document::words(source, fields.get("roles"), "a role")?,
            different_team: u32::try_from(different_team).unwrap_or(u32::MAX),
            binds: Binds::read(&fields)?,
        };
        if rule.different_team > rule.threshold {
            let problem = format!(
                "of {} approvals {} cannot be of another team",
                rule.threshold, rule.different_team
            );
            return Err(source.error(fields.place(), problem, None));
        }
        reachable(&fields, rule.threshold, &[], Some(&rule.role), identities)?;
        for role in &rule.roles {
            let holds_both = |identity: &&Identity| {
                let keys = identity.keys.iter();
                keys.into_iter()
                    .any(|key| key.roles.contains(role) && key.roles.contains(&rule.role))
            };
            if !identities.iter().any(|identity| holds_both(&identity)) {
                let problem = format!(
                    "nobody has a key with both roles \"{}\" and \"{role}\"",
                    rule.role
                );
                return Err(source.error(fields.place(), problem, None));
            }
        }
        Ok(rule)
    }

    pub(super) fn describe(&self) -> String {
        let mut text = match self.threshold {
            1 => format!("an approval by somebody with role \"{}\"", self.role),
            number => format!(
                "approvals by {number} different people with role \"{}\"",
                self.role
            ),
        };
        if !self.roles.is_empty() {
            text += &format!(", among them the roles {}", join(&self.roles, "and"));
        }
        if self.different_team > 0 {
            text += &format!(
                ", {} of another team than the builder's",
                self.different_team
            );
        }
        text += ", and not by the builder";
        if self.binds == Binds::Policy {
            text += ", given under this very policy";
        }
        text
    }

    pub(super) fn evaluate(&self, hearing: &Hearing<'_>) -> RuleResult {
        let builders = hearing.builders();
        let builder_teams = hearing.teams_of(&builders);
        // Of no team anybody would be of another one.
        let teamless: Vec<&str> = match self.different_team {
            0 => Vec::new(),
            _ => hearing.without_team(&builders),
        };
        let mut problems = Vec::new();
        let mut approved: Vec<&Counted<'_>> = Vec::new();
        for counted in hearing.with_role(&[predicate::SVR], &self.role, &mut problems) {
            let name = counted.identity.name.as_str();
            if builders.contains(name) {
                problems.push(format!(
                    "the approval by {name} does not count: {name} built the bundle"
                ));
                continue;
            }
            let bound = counted.statement.predicate().map(Binding::of_approval);
            match bound.unwrap_or_else(|| Err("it is empty".to_owned())) {
                Ok(binding) => match hearing.still_holds(&binding, self.binds) {
                    Ok(()) => approved.push(counted),
                    Err(problem) => {
                        problems.push(format!("the approval by {name} is void: {problem}"));
                    }
                },
                Err(problem) => {
                    problems.push(format!("the statement by {name} is no approval: {problem}"));
                }
            }
        }
        let people: BTreeSet<&str> = approved
            .iter()
            .map(|counted| counted.identity.name.as_str())
            .collect();
        let others: BTreeSet<&str> = approved
            .iter()
            .filter(|counted| counted.identity.teams.is_disjoint(&builder_teams))
            .filter(|counted| !counted.identity.teams.is_empty())
            .map(|counted| counted.identity.name.as_str())
            .collect();
        let uncovered: Vec<&str> = self
            .roles
            .iter()
            .filter(|role| !approved.iter().any(|by| by.key.roles.contains(role)))
            .map(String::as_str)
            .collect();
        let unknown_builder = builders.is_empty();
        let mut lacking = Vec::new();
        if unknown_builder {
            lacking.push(
                "no provenance says who built the bundle, so it is not known who may not approve"
                    .to_owned(),
            );
        }
        if !uncovered.is_empty() {
            lacking.push(format!(
                "nobody with role {} approved",
                join(&uncovered, "and")
            ));
        }
        if !teamless.is_empty() {
            lacking.push(format!(
                "the team of the builder ({}) is not known, so nobody can be told to be of another one",
                join(&teamless, "and")
            ));
        } else if others.len() < self.different_team as usize {
            lacking.push(format!(
                "{} of those who approved are of another team than the builder's",
                others.len()
            ));
        }
        let satisfied = people.len() >= self.threshold as usize && lacking.is_empty();
        let mut reasons = vec![match people.len() {
            0 => format!("needs {}: none is there", self.describe()),
            _ => format!(
                "needs {}: approved by {}",
                self.describe(),
                join(&people, "and")
            ),
        }];
        if !satisfied {
            reasons.append(&mut lacking);
            reasons.append(&mut problems);
        }
        let remedy = (!satisfied).then(|| {
            if unknown_builder {
                return format!(
                    "the builder must attach provenance: \"sealstone attest {}\"",
                    hearing.place()
                );
            }
            if !teamless.is_empty() {
                return format!("name the teams of {} in the policy", join(&teamless, "and"));
            }
            let due = (self.threshold as usize)
                .saturating_sub(people.len())
                .max(1);
            let able: Vec<&str> = hearing
                .holders(&self.role)
                .into_iter()
                .filter(|name| !people.contains(name) && !builders.contains(name))
                .collect();
            let who = match able.as_slice() {
                [] => return "nobody else may approve: change the policy".to_owned(),
                able if due == 1 => join(able, "or"),
                able => format!("{due} of {}", join(able, "and")),
            };
            format!("{who} must run \"sealstone approve {}\"", hearing.place())
        });
        let evidence = approved.iter().map(|counted| counted.evidence);
        RuleResult::new(Approvals::NAME, reasons, remedy, evidence)
    }
}
