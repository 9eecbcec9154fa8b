//! The closed set of rules, and how each is evaluated.
//!
//! A rule sees every statement that was verified for the case and says what is missing. A new rule is
//! a variant here, a reader in `document.rs`, and nothing else: the compiler names the places.

use super::evaluate::Counted;
use super::evidence::Case;
use crate::digest::Digest;
use crate::statement::predicate;
use serde::Serialize;
use std::collections::BTreeSet;

/// One requirement of a scope. As JSON it has its name under `rule`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "rule", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Rule {
    /// At least so many of these identities signed the manifest.
    Signatures(Signatures),
}

/// k of n signatures over the manifest's digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Signatures {
    /// How many different identities must have signed; from 1 to the number of identities.
    pub threshold: u32,
    /// Names of the identities that count, each once.
    pub identities: Vec<String>,
}

/// What one rule found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RuleResult {
    /// Name of the rule.
    pub rule: String,
    /// Whether it is met.
    pub satisfied: bool,
    /// What was found and what is missing, in plain words.
    pub reasons: Vec<String>,
    /// Who can mend it and how; `None` if it is met.
    pub remedy: Option<String>,
    /// Digests of the referrer manifests that it rests on, sorted.
    pub evidence: Vec<Digest>,
}

impl Rule {
    /// The names of all rules.
    pub const NAMES: [&str; 1] = [Signatures::NAME];

    /// Its name in documents and verdicts.
    pub fn name(&self) -> &'static str {
        match self {
            Rule::Signatures(_) => Signatures::NAME,
        }
    }

    /// The identities that it names.
    pub fn identities(&self) -> &[String] {
        match self {
            Rule::Signatures(rule) => &rule.identities,
        }
    }

    /// Predicate types of the statements that it reads. Others are never evidence for it: an
    /// attestation by the same key is no release signature.
    pub fn predicate_types(&self) -> &'static [&'static str] {
        match self {
            Rule::Signatures(_) => &[predicate::COSIGN_SIGN],
        }
    }

    /// What a release needs, in plain words.
    pub fn describe(&self) -> String {
        match self {
            Rule::Signatures(rule) => rule.describe(),
        }
    }

    pub(super) fn evaluate(&self, case: &Case, statements: &[Counted<'_>]) -> RuleResult {
        let own: Vec<&Counted<'_>> = statements
            .iter()
            .filter(|counted| {
                self.predicate_types()
                    .contains(&counted.statement.predicate_type())
            })
            .filter(|counted| counted.statement.digest() == case.manifest())
            .collect();
        match self {
            Rule::Signatures(rule) => rule.evaluate(case, &own),
        }
    }
}

impl Signatures {
    pub(super) const NAME: &str = "signatures";

    pub(super) fn new(threshold: u32, identities: Vec<String>) -> Signatures {
        Signatures {
            threshold,
            identities,
        }
    }

    fn describe(&self) -> String {
        match self.identities.as_slice() {
            [one] => format!("a signature by {one}"),
            several if self.threshold as usize == several.len() => {
                format!("signatures by {}", join(several, "and"))
            }
            several => {
                let noun = if self.threshold == 1 {
                    "signature"
                } else {
                    "signatures"
                };
                format!("{} {noun} by {}", self.threshold, join(several, "or"))
            }
        }
    }

    fn evaluate(&self, case: &Case, statements: &[&Counted<'_>]) -> RuleResult {
        let mut signed: BTreeSet<&str> = BTreeSet::new();
        let mut evidence: BTreeSet<Digest> = BTreeSet::new();
        let mut others: BTreeSet<&str> = BTreeSet::new();
        for counted in statements {
            let name = counted.identity.name.as_str();
            if self.identities.iter().any(|wanted| wanted == name) {
                signed.insert(name);
                evidence.insert(counted.evidence);
            } else {
                others.insert(name);
            }
        }
        // Identities and not signatures: one person with two keys is one person.
        let satisfied = signed.len() >= self.threshold as usize;
        let missing: Vec<&str> = self
            .identities
            .iter()
            .map(String::as_str)
            .filter(|name| !signed.contains(name))
            .collect();
        let mut reasons = vec![match signed.len() {
            0 => format!("needs {}: none is there", self.describe()),
            _ => format!(
                "needs {}: signed by {}",
                self.describe(),
                join(&signed, "and")
            ),
        }];
        if !satisfied && !others.is_empty() {
            let names = join(&others, "and");
            reasons.push(format!("signatures by {names} do not count for this rule"));
        }
        let remedy = (!satisfied).then(|| {
            let due = self.threshold as usize - signed.len();
            let (who, all) = (join(&missing, "or"), join(&missing, "and"));
            let command = format!(
                "\"sealstone sign {}@{}\"",
                case.repository(),
                case.manifest()
            );
            match (due, missing.len()) {
                (1, _) => format!("{who} must run {command}"),
                (due, left) if due == left => format!("{all} must each run {command}"),
                (due, _) => format!("{due} of {all} must each run {command}"),
            }
        });
        RuleResult {
            rule: Signatures::NAME.to_owned(),
            satisfied,
            reasons,
            remedy,
            evidence: evidence.into_iter().collect(),
        }
    }
}

fn join<T: AsRef<str>>(items: impl IntoIterator<Item = T>, word: &str) -> String {
    let items: Vec<T> = items.into_iter().collect();
    let (last, head) = match items.split_last() {
        Some((last, head)) => (last.as_ref(), head),
        None => return String::new(),
    };
    if head.is_empty() {
        return last.to_owned();
    }
    let head: Vec<&str> = head.iter().map(AsRef::as_ref).collect();
    format!("{} {word} {last}", head.join(", "))
}
