//! What every rule is shown: the statements that were verified, who made them, what time it is.

use super::evidence::Case;
use super::identity::{Identity, Key};
use super::lifecycle::{self, Binding};
use super::position::{self, LogPosition};
use super::rule::{Approvals, Binds, Rule};
use super::{Policy, Scope, Time};
use crate::digest::Digest;
use crate::statement::provenance::is_rebuild;
use crate::statement::{VerifiedStatement, predicate};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// A verified statement, with the referrer that it came from, and the identity and key that made it.
pub(super) struct Counted<'a> {
    /// Digest of the referrer manifest.
    pub(super) evidence: Digest,
    /// Digest of what was signed: the same however often, and in whatever wrapping, it is attached.
    pub(super) said: Digest,
    pub(super) identity: &'a Identity,
    pub(super) key: &'a Key,
    pub(super) statement: VerifiedStatement,
    /// Where it was first said, however often it was attached after that; see [`first_said`].
    pub(super) log: Option<LogPosition>,
}

impl Counted<'_> {
    /// Whether this is a later word of the same identity: only an order that a log gave counts.
    pub(super) fn takes_back(&self, earlier: &Counted<'_>) -> bool {
        let later = match (&self.log, &earlier.log) {
            (Some(own), Some(other)) => own.log == other.log && own.index > other.index,
            _ => false,
        };
        later && self.identity.name == earlier.identity.name
    }
}

/// Whoever attaches a statement once more says nothing anew: all copies of what one identity said stand where
/// the first of them is proven to, in the first log of the policy that has any. Otherwise whoever may push
/// could have an old approval logged after the rejection that followed it.
fn first_said<'a>(policy: &Policy, statements: &mut [Counted<'a>]) {
    let words = |counted: &Counted<'a>| (counted.identity.name.as_str(), counted.said);
    let copies = statements.iter();
    let places = copies.map(|counted| (words(counted), counted.log.as_ref()));
    let first = position::firsts(policy.log_trust(), places);
    for counted in statements.iter_mut() {
        counted.log = first.get(&words(counted)).cloned();
    }
}

/// One judgement while it is made.
pub(super) struct Hearing<'a> {
    pub(super) policy: &'a Policy,
    pub(super) scope: &'a Scope,
    pub(super) case: &'a Case,
    pub(super) statements: Vec<Counted<'a>>,
    pub(super) now: Time,
    rules: Digest,
    boundary: Cell<Option<Time>>,
}

impl<'a> Hearing<'a> {
    pub(super) fn new(
        policy: &'a Policy,
        case: &'a Case,
        mut statements: Vec<Counted<'a>>,
        now: Time,
    ) -> Hearing<'a> {
        first_said(policy, &mut statements);
        Hearing {
            policy,
            scope: policy.scope_for(case.repository()),
            case,
            statements,
            now,
            rules: policy.rules_digest(case.repository()),
            boundary: Cell::new(None),
        }
    }

    /// The manifest in the words of the command line.
    pub(super) fn place(&self) -> String {
        format!("{}@{}", self.case.repository(), self.case.manifest())
    }

    /// Says that the verdict may be another one from `time` on.
    pub(super) fn changes_at(&self, time: Time) {
        if time > self.now && self.boundary.get().is_none_or(|earlier| time < earlier) {
            self.boundary.set(Some(time));
        }
    }

    /// The first moment from which the verdict may be another one.
    pub(super) fn boundary(&self) -> Option<Time> {
        self.boundary.get()
    }

    /// Statements of these predicate types.
    pub(super) fn of(&self, types: &[&str]) -> impl Iterator<Item = &Counted<'a>> {
        self.statements
            .iter()
            .filter(move |counted| types.contains(&counted.statement.predicate_type()))
    }

    /// Statements of these types by keys that have the role; of the others `problems` is told.
    pub(super) fn with_role(
        &self,
        types: &[&str],
        role: &str,
        problems: &mut Vec<String>,
    ) -> Vec<&Counted<'a>> {
        let (good, bad): (Vec<_>, Vec<_>) = self
            .of(types)
            .partition(|counted| counted.key.roles.contains(role));
        problems.extend(bad.into_iter().map(|counted| {
            format!(
                "a statement by {} does not count: its key is for {}, not for \"{role}\"",
                counted.identity.name, counted.key.roles
            )
        }));
        good
    }

    /// Names of those who say that they built the bundle, with whatever key. Who says that he made it again
    /// is none of them: his report would not count as that of another otherwise.
    pub(super) fn builders(&self) -> BTreeSet<&str> {
        self.of(&[predicate::SLSA_PROVENANCE])
            .filter(|counted| !counted.statement.predicate().is_some_and(is_rebuild))
            .map(|counted| counted.identity.name.as_str())
            .collect()
    }

    /// Whether the same identity approved later, in the order of a log, what it had rejected: by an approval
    /// that counts for a rule of the scope, and that the rejection does not itself take back.
    pub(super) fn is_taken_back(&self, rejection: &Counted<'_>) -> bool {
        let rules: Vec<&Approvals> = self
            .rules()
            .iter()
            .filter_map(|rule| match rule {
                Rule::Approvals(rule) => Some(rule),
                _ => None,
            })
            .collect();
        let meant = lifecycle::approvals_in(rejection.statement.predicate());
        let mut approvals = self.of(&[predicate::SVR]);
        approvals.any(|approval| {
            let still_holds = || {
                let bound = approval.statement.predicate().map(Binding::of_approval);
                let Some(Ok(binding)) = bound else {
                    return false;
                };
                let mut own = rules
                    .iter()
                    .filter(|rule| approval.key.roles.contains(&rule.role));
                own.any(|rule| self.still_holds(&binding, rule.binds).is_ok())
            };
            approval.takes_back(rejection) && !meant.contains(&approval.said) && still_holds()
        })
    }

    /// The teams of these identities.
    pub(super) fn teams_of(&self, names: &BTreeSet<&str>) -> BTreeSet<String> {
        let identities = self.policy.identities().iter();
        identities
            .filter(|identity| names.contains(identity.name.as_str()))
            .flat_map(|identity| identity.teams.iter().cloned())
            .collect()
    }

    /// Those of these names of whom the policy knows no team.
    pub(super) fn without_team(&self, names: &BTreeSet<&str>) -> Vec<&'a str> {
        let identities = self.policy.identities().iter();
        identities
            .filter(|identity| names.contains(identity.name.as_str()) && identity.teams.is_empty())
            .map(|identity| identity.name.as_str())
            .collect()
    }

    /// Names of those who have an active key with the role.
    pub(super) fn holders(&self, role: &str) -> Vec<&'a str> {
        let identities = self.policy.identities().iter();
        identities
            .filter(|identity| identity.has_role(role))
            .map(|identity| identity.name.as_str())
            .collect()
    }

    /// Those who could mend what a role has to mend.
    pub(super) fn somebody(&self, role: &str) -> String {
        match self.holders(role).as_slice() {
            [] => format!("somebody with role \"{role}\" (nobody has it now)"),
            names if names.len() <= 5 => super::rule::join(names, "or"),
            _ => format!("somebody with role \"{role}\""),
        }
    }

    /// What an approver looks at: statements of the kinds that the scope's rules review, by keys that
    /// have the role which the rule asks for.
    fn reviewed(&self) -> BTreeMap<Digest, &Counted<'a>> {
        let is_reviewed = |counted: &&Counted<'a>| {
            self.scope
                .rules()
                .iter()
                .filter(|rule| rule.is_reviewed())
                .any(|rule| {
                    let types = rule.predicate_types();
                    types.contains(&counted.statement.predicate_type())
                        && rule
                            .role()
                            .is_none_or(|role| counted.key.roles.contains(role))
                })
        };
        self.statements
            .iter()
            .filter(is_reviewed)
            .map(|counted| (counted.said, counted))
            .collect()
    }

    /// What an approval given now is for.
    pub(super) fn binding(&self) -> Binding {
        Binding {
            rules: self.rules,
            policy: Some(*self.policy.digest()),
            evidence: self.reviewed().into_keys().collect(),
        }
    }

    /// Whether what an approval was given for is what is judged.
    pub(super) fn still_holds(&self, binding: &Binding, binds: Binds) -> Result<(), String> {
        if binding.rules != self.rules {
            return Err(format!(
                "it was given for rules {}, these are {}",
                binding.rules, self.rules
            ));
        }
        let policy = self.policy.digest();
        if binds == Binds::Policy && binding.policy.as_ref() != Some(policy) {
            let given = match &binding.policy {
                Some(other) => format!("policy {other}"),
                None => "a policy that it does not name".to_owned(),
            };
            return Err(format!("it was given under {given}, this is {policy}"));
        }
        let now = self.reviewed();
        if let Some(gone) = binding.evidence.iter().find(|said| !now.contains_key(said)) {
            return Err(format!("evidence {gone} is not there any more"));
        }
        // Another replay that succeeds, another suite that passes: they confirm what was approved.
        let confirms = |counted: &Counted<'_>| match counted.statement.predicate_type() {
            predicate::TEST_RESULT => super::rule::test_passed(counted),
            crate::report::PREDICATE_TYPE => super::rule::report_confirms(counted),
            _ => false,
        };
        let mut added = now
            .iter()
            .filter(|(said, _)| !binding.evidence.contains(*said));
        match added.find(|(_, counted)| !confirms(counted)) {
            None => Ok(()),
            Some((said, counted)) => Err(format!(
                "evidence {said} by {} came after it",
                counted.identity.name
            )),
        }
    }

    /// The rules of the scope.
    pub(super) fn rules(&self) -> &'a [Rule] {
        self.scope.rules()
    }
}
