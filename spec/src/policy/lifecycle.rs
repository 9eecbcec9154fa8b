//! What people say about a bundle beside what its rules ask: that they approve or reject it, that it is
//! superseded or revoked, that a rule may be passed over this once.
//!
//! Owns the predicates of these statements, both ways. Approvals are in-toto's "simple verification
//! result", so that other tools can list them; the others are Sealstone's own.
//! Invariant: what stops a release is read generously, what lets one through strictly. A revocation
//! without a reason still revokes; an approval that lacks a digest approves nothing.

use super::evaluate::Evaluation;
use super::hearing::Counted;
use super::{Glob, Rule, Time};
use crate::canonical::to_canonical_json;
use crate::digest::Digest;
use crate::name::RepoName;
use crate::statement::{Statement, Subject, predicate};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Predicate type: this bundle shall not be released.
pub const REJECTION: &str = "https://sealstone.dev/attestation/rejection/v0.1";
/// Predicate type: use another one.
pub const DEPRECATION: &str = "https://sealstone.dev/attestation/deprecation/v0.1";
/// Predicate type: nobody shall use this one any more.
pub const REVOCATION: &str = "https://sealstone.dev/attestation/revocation/v0.1";
/// Predicate type: content of this bundle is not what its digests say.
pub const INCIDENT: &str = "https://sealstone.dev/attestation/incident/v0.1";
/// Predicate type: incidents of this bundle are dealt with.
pub const INCIDENT_CLOSE: &str = "https://sealstone.dev/attestation/incident-close/v0.1";
/// Predicate type: a rule is waived for this bundle.
pub const EXCEPTION: &str = "https://sealstone.dev/attestation/exception/v0.1";

/// Predicate types of what people say about a bundle: everything that is read here, approvals with it.
pub const WORDS: [&str; 7] = [
    predicate::SVR,
    REJECTION,
    DEPRECATION,
    REVOCATION,
    INCIDENT,
    INCIDENT_CLOSE,
    EXCEPTION,
];

/// The property of a simple verification result that makes it an approval.
pub const APPROVED: &str = "SEALSTONE_APPROVED";

/// Most pieces of evidence in an approval.
const MAX_EVIDENCE: usize = 1000;

/// What an approval is given for, beside the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Binding {
    /// Digest of the rules; see [`super::Policy::rules_digest`].
    pub rules: Digest,
    /// Digest of the whole policy, where the approval names it.
    #[serde(skip)]
    pub policy: Option<Digest>,
    /// Digests of the payloads that the approver saw.
    pub evidence: BTreeSet<Digest>,
}

impl Binding {
    /// The digest of the evidence set: SHA-256 of its canonical JSON, a sorted list.
    pub fn evidence_digest(&self) -> Digest {
        evidence_digest(&self.evidence)
    }

    /// Reads an approval.
    pub(super) fn of_approval(predicate: &Map<String, Value>) -> Result<Binding, String> {
        let properties = predicate.get("properties").and_then(Value::as_array);
        let is_approval = properties
            .into_iter()
            .flatten()
            .any(|property| property.as_str() == Some(APPROVED));
        if !is_approval {
            return Err(format!("it lacks the property {APPROVED}"));
        }
        let policies = predicate
            .get("verifier")
            .and_then(|verifier| verifier.get("policies"))
            .and_then(Value::as_array);
        let named = |name: &str| -> Vec<&Value> {
            let items = policies.into_iter().flatten();
            items
                .filter(|item| item.get("name").and_then(Value::as_str) == Some(name))
                .collect()
        };
        let rules = named("rules");
        let [rules] = rules.as_slice() else {
            return Err("it names no rules, or several".to_owned());
        };
        let rules = sha256_of(rules).ok_or("the digest of its rules cannot be read")?;
        let policy = match named("policy").as_slice() {
            [policy] => sha256_of(policy),
            _ => None,
        };
        let set = predicate
            .get("evidence")
            .ok_or("it names no evidence set")?;
        let items = set.get("items").and_then(Value::as_array);
        let items = items.ok_or("its evidence set lists nothing")?;
        if items.len() > MAX_EVIDENCE {
            return Err(format!(
                "it lists more than {MAX_EVIDENCE} pieces of evidence"
            ));
        }
        let evidence: Option<BTreeSet<Digest>> = items
            .iter()
            .map(|item| item.as_str()?.parse().ok())
            .collect();
        let evidence = evidence.ok_or("its evidence set holds what is no digest")?;
        if sha256_of(set) != Some(evidence_digest(&evidence)) {
            return Err("its evidence set is not the one that its digest names".to_owned());
        }
        Ok(Binding {
            rules,
            policy,
            evidence,
        })
    }
}

fn evidence_digest(evidence: &BTreeSet<Digest>) -> Digest {
    let bytes = to_canonical_json(evidence).expect("a list of texts is JSON");
    Digest::sha256(&bytes)
}

fn sha256_of(value: &Value) -> Option<Digest> {
    let hex = value.get("digest")?.get("sha256")?.as_str()?;
    Digest::parse(&format!("sha256:{hex}")).ok()
}

fn named(name: &str, digest: &Digest) -> Value {
    json!({"name": name, "digest": {digest.algorithm().as_str(): digest.hex()}})
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The statement by which somebody approves what an evaluation shows. `who` names the approver, for
/// readers; the signature says who it was.
pub fn approval(subject: Vec<Subject>, shown: &Evaluation, who: &str, now: Time) -> Statement {
    let binding = &shown.binding;
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_@".contains(c);
    let who: String = who
        .chars()
        .map(|c| if plain(c) { c } else { '-' })
        .collect();
    let items: Vec<String> = binding.evidence.iter().map(Digest::to_string).collect();
    let predicate = json!({
        "verifier": {
            "id": format!("https://sealstone.dev/approver/{who}"),
            "policies": [named("rules", &binding.rules), named("policy", &shown.policy)],
        },
        "timeCreated": now,
        "properties": [APPROVED],
        "evidence": {"digest": {"sha256": binding.evidence_digest().hex()}, "items": items},
    });
    Statement::new(subject, predicate::SVR, object(predicate))
}

/// The statement that a bundle shall not be released. `approvals` are the digests of the signed payloads by
/// which the same one approved it before: they take this back nowhere, also where nothing shows any more that
/// they came first.
pub fn rejection(
    subject: Vec<Subject>,
    reason: &str,
    approvals: &BTreeSet<Digest>,
    now: Time,
) -> Statement {
    let mut predicate = json!({"reason": reason, "timeCreated": now});
    if !approvals.is_empty() {
        predicate["approvals"] = json!(approvals);
    }
    Statement::new(subject, REJECTION, object(predicate))
}

/// The statement that a release is superseded, by `successor` if there is one.
pub fn deprecation(
    subject: Vec<Subject>,
    reason: &str,
    successor: Option<(&str, &Digest)>,
    now: Time,
) -> Statement {
    let mut predicate = json!({"reason": reason, "timeCreated": now});
    if let Some((name, digest)) = successor {
        predicate["successor"] = named(name, digest);
    }
    Statement::new(subject, DEPRECATION, object(predicate))
}

/// The statement that nobody shall use a release any more.
pub fn revocation(subject: Vec<Subject>, reason: &str, now: Time) -> Statement {
    let predicate = json!({"reason": reason, "timeCreated": now});
    Statement::new(subject, REVOCATION, object(predicate))
}

/// The report that content of a bundle is not what its digests say: `content` names what is known of it.
pub fn incident(
    subject: Vec<Subject>,
    reason: &str,
    content: &[Digest],
    now: impl Serialize,
) -> Statement {
    let predicate = json!({"reason": reason, "content": content, "timeCreated": now});
    Statement::new(subject, INCIDENT, object(predicate))
}

/// The statement that incidents are dealt with: `incidents` are the digests of their signed payloads, so
/// that it holds for these reports, however often they are attached, and for no later one.
pub fn incident_close(
    subject: Vec<Subject>,
    reason: &str,
    incidents: &BTreeSet<Digest>,
    now: Time,
) -> Statement {
    let predicate = json!({"reason": reason, "incidents": incidents, "timeCreated": now});
    Statement::new(subject, INCIDENT_CLOSE, object(predicate))
}

/// The reports that a closing statement names; what is no digest names nothing.
pub(super) fn closed_by(predicate: Option<&Map<String, Value>>) -> BTreeSet<Digest> {
    digests_in(predicate, "incidents")
}

/// The approvals that a rejection takes back; what is no digest names nothing.
pub(super) fn approvals_in(predicate: Option<&Map<String, Value>>) -> BTreeSet<Digest> {
    digests_in(predicate, "approvals")
}

fn digests_in(predicate: Option<&Map<String, Value>>, field: &str) -> BTreeSet<Digest> {
    let named = predicate.and_then(|predicate| predicate.get(field));
    named
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .take(MAX_EVIDENCE)
        .filter_map(|item| item.as_str()?.parse().ok())
        .collect()
}

/// A signed exception: one rule, for the bundles that the statement names, for a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exception {
    /// A name for it.
    pub id: String,
    /// Where it holds: a pattern over repositories.
    pub scope: String,
    /// The rule that it waives.
    pub rule: String,
    /// Why.
    pub reason: String,
    /// Where that is discussed.
    pub ticket: String,
    /// When it ends.
    pub expires: Time,
    /// How many manifests may be released under it.
    pub max_uses: u32,
}

impl Exception {
    /// The statement that grants it.
    pub fn statement(&self, subject: Vec<Subject>) -> Statement {
        let predicate = serde_json::to_value(self).expect("an exception is text and numbers");
        Statement::new(subject, EXCEPTION, object(predicate))
    }

    /// What its uses are counted under: whoever changes a word has another exception.
    pub fn key(&self) -> String {
        let bytes = to_canonical_json(self).expect("an exception is text and numbers");
        Digest::sha256(&bytes).to_string()
    }

    pub(super) fn read(predicate: &Map<String, Value>) -> Result<Exception, String> {
        let value = Value::Object(predicate.clone());
        let exception: Exception =
            serde_json::from_value(value).map_err(|error| error.to_string())?;
        let texts = [&exception.id, &exception.reason, &exception.ticket];
        if texts.iter().any(|text| text.trim().is_empty()) {
            return Err("id, reason or ticket is empty".to_owned());
        }
        if exception.max_uses == 0 {
            return Err("it may be used zero times".to_owned());
        }
        if !Rule::NAMES.contains(&exception.rule.as_str()) {
            return Err("it waives a rule that is not known".to_owned());
        }
        Ok(exception)
    }

    pub(super) fn covers(&self, repo: &RepoName) -> bool {
        let scope = self.scope.parse::<Glob>();
        scope.is_ok_and(|glob| glob.matches(repo.as_str()))
    }
}

/// Text of a statement for people; signed, but by somebody who may write anything.
pub(super) fn reason_of(counted: &Counted<'_>) -> String {
    reason_in(counted.statement.predicate())
}

/// The same, of a predicate.
pub(super) fn reason_in(predicate: Option<&Map<String, Value>>) -> String {
    let reason = predicate.and_then(|predicate| predicate.get("reason"));
    let reason = reason.and_then(Value::as_str).unwrap_or_default();
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let reason: String = reason.chars().take(300).map(clean).collect();
    match reason.trim() {
        "" => "no reason was given".to_owned(),
        reason => reason.to_owned(),
    }
}
