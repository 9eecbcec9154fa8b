//! Rule `signatures`: k of n people signed the manifest's digest.

use super::super::Edition;
use super::super::document;
use super::super::hearing::Hearing;
use super::super::identity::Identity;
use super::super::reader::{Fields, PolicyError};
use super::{RuleResult, identity_names, join, reachable, threshold};
use crate::digest::Digest;
use crate::statement::predicate;
use serde::Serialize;
use std::collections::BTreeSet;

/// k of n signatures over the manifest's digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Signatures {
    /// How many different identities must have signed; from 1 to the number of those that can.
    pub threshold: u32,
    /// The role whose keys count; in documents of version 1 there are none, and every key counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Names of the identities that count, each once; none for whoever has the role.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<String>,
}

impl Signatures {
    pub(super) const NAME: &str = "signatures";

    pub(super) fn read(
        fields: Fields<'_>,
        identities: &[Identity],
        edition: Edition,
    ) -> Result<Signatures, PolicyError> {
        let (fields, role) = match edition {
            Edition::V1 => (fields.only(&["rule", "threshold", "identities"])?, None),
            Edition::V2 => {
                let fields = fields.only(&["rule", "threshold", "role", "identities"])?;
                let role = match fields.get("role") {
                    None => "release".to_owned(),
                    Some(node) => document::word(fields.source(), node, "a role")?,
                };
                (fields, Some(role))
            }
        };
        let names = match (fields.get("identities"), edition) {
            (None, Edition::V2) => Vec::new(),
            _ => identity_names(fields.source(), fields.require("identities")?, identities)?,
        };
        let threshold = threshold(&fields)?;
        reachable(&fields, threshold, &names, role.as_deref(), identities)?;
        Ok(Signatures {
            threshold,
            role,
            identities: names,
        })
    }

    pub(super) fn describe(&self) -> String {
        let noun = match self.threshold {
            1 => "signature",
            _ => "signatures",
        };
        match (self.identities.as_slice(), &self.role) {
            ([], Some(role)) if self.threshold == 1 => {
                format!("a signature by somebody with role \"{role}\"")
            }
            ([], Some(role)) => format!(
                "{} signatures by different people with role \"{role}\"",
                self.threshold
            ),
            ([one], _) => format!("a signature by {one}"),
            (several, _) if self.threshold as usize == several.len() => {
                format!("signatures by {}", join(several, "and"))
            }
            (several, _) => format!("{} {noun} by {}", self.threshold, join(several, "or")),
        }
    }

    pub(super) fn evaluate(&self, hearing: &Hearing<'_>) -> RuleResult {
        let counting: Vec<&str> = match self.identities.as_slice() {
            [] => hearing.holders(self.role.as_deref().unwrap_or_default()),
            names => names.iter().map(String::as_str).collect(),
        };
        let mut signed: BTreeSet<&str> = BTreeSet::new();
        let mut evidence: BTreeSet<Digest> = BTreeSet::new();
        let mut others: BTreeSet<&str> = BTreeSet::new();
        let mut wrong_keys: BTreeSet<String> = BTreeSet::new();
        for counted in hearing.of(&[predicate::COSIGN_SIGN]) {
            let name = counted.identity.name.as_str();
            let has_role = self
                .role
                .as_deref()
                .is_none_or(|role| counted.key.roles.contains(role));
            if !has_role {
                wrong_keys.insert(format!("{name} (a key for {})", counted.key.roles));
            } else if self.identities.is_empty() || counting.contains(&name) {
                signed.insert(name);
                evidence.insert(counted.evidence);
            } else {
                others.insert(name);
            }
        }
        // Identities and not signatures: one person with two keys is one person.
        let satisfied = signed.len() >= self.threshold as usize;
        let missing: Vec<&str> = counting
            .into_iter()
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
        if !satisfied && !wrong_keys.is_empty() {
            reasons.push(format!(
                "signed with a key of another role: {}",
                join(&wrong_keys, "and")
            ));
        }
        let remedy = (!satisfied).then(|| {
            let due = (self.threshold as usize).saturating_sub(signed.len());
            let (who, all) = (join(&missing, "or"), join(&missing, "and"));
            let command = format!("\"sealstone sign {}\"", hearing.place());
            match (due, missing.len()) {
                (_, 0) => "nobody who could sign has an active key: change the policy".to_owned(),
                (1, _) => format!("{who} must run {command}"),
                (due, left) if due == left => format!("{all} must each run {command}"),
                (due, _) => format!("{due} of {all} must each run {command}"),
            }
        });
        RuleResult::new(Signatures::NAME, reasons, remedy, evidence)
    }
}
