//! The evaluation: verify what is attached, then ask every rule.
//!
//! Invariant: a statement reaches a rule only with a key of the policy's own, under that key's
//! algorithm, with a signature that holds, about this manifest, and while the key counts. All rules
//! are asked, met or not, so that whoever is refused learns everything at once.

use super::evidence::{Attached, Case, Ignored};
use super::hearing::{Counted, Hearing};
use super::identity::Identity;
use super::lifecycle::{
    Binding, DEPRECATION, EXCEPTION, INCIDENT, INCIDENT_CLOSE, REJECTION, REVOCATION,
};
use super::position::{self, LogPosition, Placed};
use super::registry::{self, Heard};
use super::rule::{Rule, RuleResult};
use super::standing::{self, Standing};
use super::{Circumstances, ExceptionUse, Policy, Time, exception};
use crate::digest::Digest;
use crate::envelope::EnvelopeError;
use crate::key::SignatureError;
use crate::name::RepoName;
use crate::sigstore::KeyChoice;
use crate::statement::VerifiedStatement;
use serde::Serialize;
use std::fmt::Display;

/// What every rule of a scope found about one manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Evaluation {
    /// The repository.
    pub repository: RepoName,
    /// The manifest.
    pub manifest: Digest,
    /// Digest of the whole policy.
    pub policy: Digest,
    /// Digest of the scope and its identities; see [`Policy::scope_digest`].
    pub scope: Digest,
    /// One result for each rule, in the order of the document; then what stops the release whatever
    /// the rules say, if anything does.
    pub results: Vec<RuleResult>,
    /// What was attached and does not count, sorted.
    pub ignored: Vec<Ignored>,
    /// Exceptions that it makes use of.
    pub exceptions: Vec<ExceptionUse>,
    /// What an approval given on it is for.
    pub binding: Binding,
    /// Where the bundle stands.
    pub standing: Standing,
    /// The first moment at which the same inputs may give another verdict; `None` for never.
    pub until: Option<Time>,
}

impl Evaluation {
    /// Whether every rule is met and nothing stops the release.
    pub fn satisfied(&self) -> bool {
        self.results.iter().all(|result| result.satisfied)
    }
}

impl Policy {
    /// Evaluates every rule that holds for `repo`, without deciding; [`Policy::judge`] does.
    pub fn evaluate(
        &self,
        repo: &RepoName,
        case: &Case,
        circumstances: &Circumstances,
    ) -> Evaluation {
        let scope = self.scope_for(repo);
        let mut ignored = case.ignored().to_vec();
        let is_own_case = case.repository() == repo;
        // Without a rule nothing rests on evidence, so none is checked, and none is missed.
        let reads_evidence = is_own_case && self.reads_evidence(repo);
        let mut signed = Vec::new();
        let mut reported = Vec::new();
        if reads_evidence {
            let wanted = self.predicate_types(repo);
            for attached in case.attached() {
                match self.hear_registry(attached, circumstances, case.manifest()) {
                    Some(Heard::Told) => continue,
                    Some(Heard::Incident(word)) => {
                        reported.push(*word);
                        continue;
                    }
                    Some(Heard::Nothing(reason)) => {
                        ignored.push(Ignored::new(attached.evidence, reason));
                        continue;
                    }
                    None => {}
                }
                match self.verify(attached, &wanted, case.manifest()) {
                    Ok(statement) => signed.push(statement),
                    Err(reason) => ignored.push(Ignored::new(attached.evidence, reason)),
                }
            }
        }
        let mut rules = scope.rules().iter();
        let must_be_logged = rules.any(|rule| matches!(rule, Rule::Log(_)));
        let statements = self.those_in_time(signed, must_be_logged, &mut ignored);
        let hearing = Hearing::new(self, case, statements, circumstances.now);
        let mut results = Vec::new();
        let mut exceptions = Vec::new();
        let rules = if is_own_case { hearing.rules() } else { &[] };
        for rule in rules {
            let mut result = rule.evaluate(&hearing);
            if !result.satisfied {
                exceptions.extend(exception::waive(&hearing, circumstances, &mut result));
            }
            results.push(result);
        }
        if !is_own_case {
            results.push(RuleResult::stop(
                "repository",
                format!(
                    "the evidence was collected for {}, not for {repo}",
                    case.repository()
                ),
                "collect the evidence again in this repository",
                [],
            ));
        }
        let words = standing::words(&hearing, reported);
        results.extend(standing::stops(&hearing, &words));
        if reads_evidence && let Some((first, reason)) = case.lost().first_key_value() {
            let others = match case.lost().len() - 1 {
                0 => String::new(),
                others => format!(" (and {others} more)"),
            };
            results.push(RuleResult::stop(
                "evidence",
                format!(
                    "what is attached as {first}{others} cannot be read, and may stop it: {reason}"
                ),
                "bring what is lost or damaged again, from a place where it is whole",
                case.lost().keys().copied(),
            ));
        }
        if reads_evidence && let Some(read) = case.was_cut_off() {
            results.push(RuleResult::stop(
                "evidence",
                format!(
                    "more than {read} statements are attached, and what was not read may stop it"
                ),
                "find out who floods this manifest: release another one",
                [],
            ));
        }
        if reads_evidence && case.lacks_proofs() {
            results.push(RuleResult::stop(
                "evidence",
                "more proofs of logs are attached than are read, and what they prove may stop it",
                "find out who floods this manifest: release another one",
                [],
            ));
        }
        if let Some(damaged) = circumstances.damaged.first() {
            results.push(RuleResult::stop(
                "integrity",
                format!("content {damaged} is damaged"),
                "push the damaged content again",
                [],
            ));
        }
        if let Some(expires) = self.expires() {
            hearing.changes_at(expires);
            if circumstances.now >= expires {
                results.push(RuleResult::stop(
                    "policy",
                    format!("the policy expired at {expires}"),
                    "whoever holds the root keys must sign a new version of the policy",
                    [],
                ));
            }
        }
        ignored.sort();
        ignored.dedup();
        let satisfied = results.iter().all(|result| result.satisfied);
        Evaluation {
            repository: repo.clone(),
            manifest: *case.manifest(),
            policy: *self.digest(),
            scope: self.scope_digest(repo),
            standing: standing::standing(
                rules,
                &results,
                satisfied,
                !circumstances.damaged.is_empty(),
                circumstances.released,
                words,
            ),
            results,
            ignored,
            exceptions,
            binding: hearing.binding(),
            until: hearing.boundary(),
        }
    }

    /// Predicate types that count for something in a repository.
    fn predicate_types(&self, repo: &RepoName) -> Vec<&'static str> {
        let rules = self.scope_for(repo).rules().iter();
        let mut types: Vec<&str> = rules
            .flat_map(|rule| rule.predicate_types())
            .copied()
            .collect();
        types.extend([REJECTION, DEPRECATION, REVOCATION, EXCEPTION]);
        types.extend([INCIDENT, INCIDENT_CLOSE]);
        types.sort_unstable();
        types.dedup();
        types
    }

    /// What the registry itself says with a bundle; `None` if it is by no key of the registry, or by one that the policy has
    /// among those of its own: that silences no other.
    fn hear_registry(
        &self,
        attached: &Attached,
        circumstances: &Circumstances,
        manifest: &Digest,
    ) -> Option<Heard> {
        let mut keys = circumstances.registry.iter();
        keys.find_map(|key| match self.identity_of(key.id()) {
            Some(_) => None,
            None => registry::hear(attached, key, manifest),
        })
    }

    /// A statement whose signature holds, and where this copy of it is proven to stand. Whether its key counts is not
    /// asked here: that depends on every other copy.
    fn verify<'a>(
        &'a self,
        attached: &'a Attached,
        predicate_types: &[&str],
        manifest: &Digest,
    ) -> Result<(Counted<'a>, Placed), String> {
        let bundle = &attached.bundle;
        let keys = self
            .identities()
            .iter()
            .flat_map(|identity| identity.keys.iter().map(move |key| (identity, key)));
        let mut failure = match bundle.key_choice() {
            KeyChoice::Named(named) => {
                let named: String = named.chars().take(80).collect();
                format!("it is signed by key {named}, which the policy does not know")
            }
            KeyChoice::Any => {
                "its signature names no key and does not verify with any that the policy knows"
                    .to_owned()
            }
        };
        for (identity, key) in keys.filter(|(_, key)| bundle.may_be_by(&key.public)) {
            match bundle.envelope().verify(&key.public) {
                Ok(envelope) => {
                    let statement = VerifiedStatement::check(&envelope, predicate_types, manifest)
                        .map_err(|error| signed_but(identity, &error))?;
                    let placed = position::of(attached, manifest, &key.public, self.log_trust());
                    let counted = Counted {
                        evidence: attached.evidence,
                        said: Digest::sha256(envelope.payload()),
                        identity,
                        key,
                        statement,
                        log: None,
                    };
                    return Ok((counted, placed));
                }
                Err(error) if bundle.key_choice() != KeyChoice::Any => {
                    failure = format!("it names a key of {}, but {error}", identity.name);
                }
                // The key's own signature, in the form that is not read: whoever signed should learn that.
                Err(error @ EnvelopeError::Signature(SignatureError::HighS)) => {
                    failure = format!("it is signed by a key of {}, but {error}", identity.name);
                }
                Err(_) => {}
            }
        }
        Err(failure)
    }

    /// Those by keys that counted when they were said. Whoever attaches the same once more says nothing later, so what
    /// a key has signed stands where the first copy of it does: otherwise whoever may push could have it logged anew, and
    /// it would lie behind the key's beginning. Another key of the same identity lends no place: whoever stole one could
    /// say with its roles what the other had said before.
    fn those_in_time<'a>(
        &self,
        mut signed: Vec<(Counted<'a>, Placed)>,
        must_be_logged: bool,
        ignored: &mut Vec<Ignored>,
    ) -> Vec<Counted<'a>> {
        let words = |counted: &Counted<'_>| (*counted.key.id(), counted.said);
        let copies = signed.iter();
        let places = copies.map(|(counted, placed)| (words(counted), placed.position.as_ref()));
        let first = position::firsts(self.log_trust(), places);
        for (counted, placed) in &mut signed {
            placed.position = first.get(&words(counted)).cloned();
        }
        let mut statements = Vec::new();
        for (mut counted, placed) in signed {
            match self.in_time(&counted, &placed, must_be_logged) {
                Ok(()) => {
                    counted.log = placed.position;
                    statements.push(counted);
                }
                Err(reason) => {
                    let reason = signed_but(counted.identity, &reason);
                    ignored.push(Ignored::new(counted.evidence, reason));
                }
            }
        }
        statements
    }

    /// Whether the key counted when the statement was logged, and whether it had to be.
    fn in_time(
        &self,
        counted: &Counted<'_>,
        placed: &Placed,
        must_be_logged: bool,
    ) -> Result<(), String> {
        // Limits of keys are indexes of the first log; those of another say nothing about them.
        let first = self
            .log_trust()
            .first()
            .and_then(|trust| trust.logs().first());
        let is_first =
            |position: &&LogPosition| first.is_some_and(|log| *log.key.full_id() == position.log);
        let log = placed.position.as_ref();
        let index = log.filter(is_first).map(|position| position.index);
        let admitted = counted.key.admits(index);
        admitted.map_err(|reason| format!("{reason}{}", placed.because()))?;
        // Whoever stops a release need not wait for a log.
        let stops = [REJECTION, REVOCATION, INCIDENT].contains(&counted.statement.predicate_type());
        if must_be_logged && log.is_none() && !stops {
            return Err(format!(
                "nothing proves that it is in a log that the policy trusts{}",
                placed.because()
            ));
        }
        Ok(())
    }
}

fn signed_but(identity: &Identity, problem: &dyn Display) -> String {
    format!("signed by {}, but {problem}", identity.name)
}
