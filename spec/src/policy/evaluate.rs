//! The evaluation: verify what is attached, then ask every rule.
//!
//! Invariant: a statement reaches a rule only with a key of the policy's own, under that key's
//! algorithm, with a signature that holds, about this manifest. All rules are asked, met or not, so
//! that whoever is refused learns everything at once.

use super::evidence::{Case, Ignored};
use super::rule::RuleResult;
use super::{Identity, Policy};
use crate::digest::Digest;
use crate::name::RepoName;
use crate::sigstore::{KeyChoice, SigstoreBundle};
use crate::statement::VerifiedStatement;
use serde::Serialize;

/// A verified statement, with the referrer that it came from and the identity that made it.
pub(super) struct Counted<'a> {
    pub(super) evidence: Digest,
    pub(super) identity: &'a Identity,
    pub(super) statement: VerifiedStatement,
}

/// What every rule of a scope found about one manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Evaluation {
    /// The repository.
    pub repository: RepoName,
    /// The manifest.
    pub manifest: Digest,
    /// Digest of the scope and its identities; see [`Policy::scope_digest`].
    pub scope: Digest,
    /// One result for each rule, in the order of the document.
    pub results: Vec<RuleResult>,
    /// What was attached and does not count, sorted.
    pub ignored: Vec<Ignored>,
}

impl Evaluation {
    /// Whether every rule is met.
    pub fn satisfied(&self) -> bool {
        self.results.iter().all(|result| result.satisfied)
    }
}

impl Policy {
    /// Evaluates every rule that holds for `repo`, without deciding; [`Policy::judge`] does.
    pub fn evaluate(&self, repo: &RepoName, case: &Case) -> Evaluation {
        let scope = self.scope_for(repo);
        let mut ignored = case.ignored().to_vec();
        let mut results = Vec::new();
        if case.repository() == repo {
            let wanted: Vec<&str> = scope
                .rules()
                .iter()
                .flat_map(|rule| rule.predicate_types())
                .copied()
                .collect();
            let mut statements = Vec::new();
            // Without a rule nothing rests on evidence, so none is checked.
            for (evidence, bundle) in case.bundles().filter(|_| !scope.rules().is_empty()) {
                match self.verify(bundle, &wanted, case.manifest()) {
                    Ok((identity, statement)) => {
                        statements.push(Counted {
                            evidence,
                            identity,
                            statement,
                        });
                    }
                    Err(reason) => ignored.push(Ignored::new(evidence, reason)),
                }
            }
            let rules = scope.rules().iter();
            results.extend(rules.map(|rule| rule.evaluate(case, &statements)));
        } else {
            results.push(RuleResult {
                rule: "repository".to_owned(),
                satisfied: false,
                reasons: vec![format!(
                    "the evidence was collected for {}, not for {repo}",
                    case.repository()
                )],
                remedy: Some("collect the evidence again in this repository".to_owned()),
                evidence: Vec::new(),
            });
        }
        ignored.sort();
        ignored.dedup();
        Evaluation {
            repository: repo.clone(),
            manifest: *case.manifest(),
            scope: self.scope_digest(repo),
            results,
            ignored,
        }
    }

    fn verify(
        &self,
        bundle: &SigstoreBundle,
        predicate_types: &[&str],
        manifest: &Digest,
    ) -> Result<(&Identity, VerifiedStatement), String> {
        let keys = self
            .identities
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
        for (identity, key) in keys.filter(|(_, key)| bundle.may_be_by(key)) {
            match bundle.envelope().verify(key) {
                Ok(envelope) => {
                    return VerifiedStatement::check(&envelope, predicate_types, manifest)
                        .map(|statement| (identity, statement))
                        .map_err(|error| format!("signed by {}, but {error}", identity.name));
                }
                Err(error) if bundle.key_choice() != KeyChoice::Any => {
                    failure = format!("it names a key of {}, but {error}", identity.name);
                }
                Err(_) => {}
            }
        }
        Err(failure)
    }
}
