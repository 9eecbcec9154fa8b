//! The closed set of rules, and how each is evaluated.
//!
//! A rule sees every statement that was verified for the case and says what is missing. A new rule is
//! a file here and a variant; the compiler names the other places.

mod approvals;
mod bom;
mod logged;
mod provenance;
mod reading;
mod reproduction;
mod signatures;
mod suites;

pub use approvals::{Approvals, Binds};
pub use bom::Bom;
pub use logged::Logged;
pub use provenance::{Provenance, UriPattern};
pub use reproduction::Reproduction;
pub use signatures::Signatures;
pub use suites::Suites;

pub(super) use reading::{identity_names, reachable, threshold};
pub(super) use reproduction::confirms as report_confirms;
pub(super) use suites::confirms as test_passed;

use super::Edition;
use super::evidence::printable;
use super::hearing::Hearing;
use super::identity::Identity;
use super::reader::{Fields, Node, PolicyError, Source, suggest};
use crate::digest::Digest;
use serde::Serialize;

/// One requirement of a scope. As JSON it has its name under `rule`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "rule", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Rule {
    /// At least so many of these identities signed the manifest.
    Signatures(Signatures),
    /// Who built it, how, from which sources.
    Provenance(Provenance),
    /// A bill of materials is there, and lists everything.
    Bom(Bom),
    /// Suites of tests passed.
    Tests(Suites),
    /// Others made it again.
    Reproduction(Reproduction),
    /// People agreed to this bundle, these rules and this evidence.
    Approvals(Approvals),
    /// Everything that counts is in a log.
    Log(Logged),
}

/// What one rule found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RuleResult {
    /// Name of the rule.
    pub rule: String,
    /// Whether it is met, or waived.
    pub satisfied: bool,
    /// What was found and what is missing, in plain words.
    pub reasons: Vec<String>,
    /// Who can mend it and how; `None` if it is met.
    pub remedy: Option<String>,
    /// Digests of the referrer manifests that it rests on, sorted.
    pub evidence: Vec<Digest>,
    /// The exception that waives it; then `evidence` is what grants the exception.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
}

impl RuleResult {
    pub(super) fn new(
        rule: &str,
        reasons: Vec<String>,
        remedy: Option<String>,
        evidence: impl IntoIterator<Item = Digest>,
    ) -> RuleResult {
        let mut evidence: Vec<Digest> = evidence.into_iter().collect();
        evidence.sort_unstable();
        evidence.dedup();
        RuleResult {
            rule: rule.to_owned(),
            satisfied: remedy.is_none(),
            reasons: reasons.iter().map(|reason| printable(reason)).collect(),
            remedy: remedy.map(|remedy| printable(&remedy)),
            evidence,
            exception: None,
        }
    }

    /// A result that stops a release whatever the rules say.
    pub(super) fn stop(
        rule: &str,
        reason: impl Into<String>,
        remedy: impl Into<String>,
        evidence: impl IntoIterator<Item = Digest>,
    ) -> RuleResult {
        RuleResult::new(rule, vec![reason.into()], Some(remedy.into()), evidence)
    }
}

impl Rule {
    /// The names of all rules.
    pub const NAMES: [&str; 7] = [
        Signatures::NAME,
        Provenance::NAME,
        Bom::NAME,
        Suites::NAME,
        Reproduction::NAME,
        Approvals::NAME,
        Logged::NAME,
    ];

    /// Whether an exception from the rule of this name could change anything. What is in no log counts for no rule,
    /// so with `log` waived nothing would be left to judge.
    pub fn is_waivable(name: &str) -> bool {
        name != Logged::NAME
    }

    /// Its name in documents and verdicts.
    pub fn name(&self) -> &'static str {
        match self {
            Rule::Signatures(_) => Signatures::NAME,
            Rule::Provenance(_) => Provenance::NAME,
            Rule::Bom(_) => Bom::NAME,
            Rule::Tests(_) => Suites::NAME,
            Rule::Reproduction(_) => Reproduction::NAME,
            Rule::Approvals(_) => Approvals::NAME,
            Rule::Log(_) => Logged::NAME,
        }
    }

    /// The identities that it names.
    pub fn identities(&self) -> &[String] {
        match self {
            Rule::Signatures(rule) => &rule.identities,
            _ => &[],
        }
    }

    /// The role whose keys' statements it counts; `None` for every key of the identities that it names.
    pub fn role(&self) -> Option<&str> {
        match self {
            Rule::Signatures(rule) => rule.role.as_deref(),
            Rule::Provenance(rule) => Some(&rule.role),
            Rule::Bom(rule) => Some(&rule.role),
            Rule::Tests(rule) => Some(&rule.role),
            Rule::Reproduction(rule) => Some(&rule.role),
            Rule::Approvals(rule) => Some(&rule.role),
            Rule::Log(_) => None,
        }
    }

    /// Predicate types of the statements that it reads. Others are never evidence for it: an
    /// attestation by the same key is no release signature.
    pub fn predicate_types(&self) -> &'static [&'static str] {
        match self {
            Rule::Signatures(_) => &[crate::statement::predicate::COSIGN_SIGN],
            Rule::Provenance(_) => provenance::READS,
            Rule::Bom(_) => bom::READS,
            Rule::Tests(_) => suites::READS,
            Rule::Reproduction(rule) => rule.predicate_types(),
            Rule::Approvals(_) => approvals::READS,
            Rule::Log(_) => &[],
        }
    }

    /// Whether an approver looks at what this rule reads, so that an approval names it.
    pub(super) fn is_reviewed(&self) -> bool {
        match self {
            Rule::Provenance(_) | Rule::Bom(_) | Rule::Tests(_) | Rule::Reproduction(_) => true,
            Rule::Signatures(_) | Rule::Approvals(_) | Rule::Log(_) => false,
        }
    }

    /// What a release needs, in plain words.
    pub fn describe(&self) -> String {
        match self {
            Rule::Signatures(rule) => rule.describe(),
            Rule::Provenance(rule) => rule.describe(),
            Rule::Bom(rule) => rule.describe(),
            Rule::Tests(rule) => rule.describe(),
            Rule::Reproduction(rule) => rule.describe(),
            Rule::Approvals(rule) => rule.describe(),
            Rule::Log(rule) => rule.describe(),
        }
    }

    pub(super) fn evaluate(&self, hearing: &Hearing<'_>) -> RuleResult {
        match self {
            Rule::Signatures(rule) => rule.evaluate(hearing),
            Rule::Provenance(rule) => rule.evaluate(hearing),
            Rule::Bom(rule) => rule.evaluate(hearing),
            Rule::Tests(rule) => rule.evaluate(hearing),
            Rule::Reproduction(rule) => rule.evaluate(hearing),
            Rule::Approvals(rule) => rule.evaluate(hearing),
            Rule::Log(rule) => rule.evaluate(hearing),
        }
    }
}

/// Reads one `[[scope.require]]`.
pub(super) fn read<'a>(
    source: Source<'a>,
    node: &'a Node,
    identities: &[Identity],
    edition: Edition,
) -> Result<Rule, PolicyError> {
    let fields = Fields::of(source, node, "require")?;
    let name_node = fields.require("rule")?;
    let name = source.text(name_node, "rule")?;
    let known: &[&str] = match edition {
        Edition::V1 => &[Signatures::NAME],
        Edition::V2 => &Rule::NAMES,
    };
    if !known.contains(&name) {
        let shown: String = name.chars().take(60).collect();
        let problem = format!("rule \"{shown}\" is not known");
        return Err(source.error(name_node.place(), problem, suggest(&shown, known)));
    }
    match name {
        Provenance::NAME => Provenance::read(fields, identities).map(Rule::Provenance),
        Bom::NAME => Bom::read(fields, identities).map(Rule::Bom),
        Suites::NAME => Suites::read(fields, identities).map(Rule::Tests),
        Reproduction::NAME => Reproduction::read(fields, identities).map(Rule::Reproduction),
        Approvals::NAME => Approvals::read(fields, identities).map(Rule::Approvals),
        Logged::NAME => Logged::read(fields).map(Rule::Log),
        _ => Signatures::read(fields, identities, edition).map(Rule::Signatures),
    }
}

/// Why there is no exception from the rule of this name.
pub(super) fn not_waivable(name: &str) -> String {
    format!(
        "rule \"{name}\" cannot be waived: what is in no log counts for no rule, so an exception from it has no effect"
    )
}

/// "a, b and c".
pub(super) fn join<T: AsRef<str>>(items: impl IntoIterator<Item = T>, word: &str) -> String {
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
