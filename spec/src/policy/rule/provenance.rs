//! Rule `provenance`: a trusted builder says how the bundle was made, from allowed sources.
//!
//! Source: SLSA v1.0 "Provenance" and "Verifying artifacts". Reads the few fields that it decides on.

use super::super::hearing::Hearing;
use super::super::identity::Identity;
use super::super::reader::{Fields, PolicyError};
use super::{RuleResult, join, reachable, reading};
use crate::statement::predicate::{self, read};
use crate::statement::provenance::{Provenance as Claim, is_rebuild, repository};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

pub(super) const READS: &[&str] = &[predicate::SLSA_PROVENANCE];

/// A URI, or the beginning of one with `*` at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct UriPattern(String);

impl UriPattern {
    /// Whether a URI matches.
    pub fn matches(&self, uri: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => uri.starts_with(start),
            None => uri == self.0,
        }
    }
}

/// SLSA provenance by a builder's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Provenance {
    /// The role whose keys count.
    pub role: String,
    /// How many different builders must say so.
    pub threshold: u32,
    /// Builder ids that count.
    pub builders: Vec<UriPattern>,
    /// Build types that count; any if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub build_types: Vec<UriPattern>,
    /// Sources that everything must come from; any if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<UriPattern>,
}

impl Provenance {
    pub(super) const NAME: &str = "provenance";

    pub(super) fn read(
        fields: Fields<'_>,
        identities: &[Identity],
    ) -> Result<Provenance, PolicyError> {
        let known = [
            "rule",
            "role",
            "threshold",
            "builders",
            "build_types",
            "sources",
        ];
        let fields = fields.only(&known)?;
        fields.require("builders")?;
        let patterns = |key: &str| -> Result<Vec<UriPattern>, PolicyError> {
            let texts = reading::texts(&fields, key)?;
            Ok(texts.into_iter().map(UriPattern).collect())
        };
        let rule = Provenance {
            role: reading::role(&fields, "builder")?,
            threshold: reading::threshold(&fields)?,
            builders: patterns("builders")?,
            build_types: patterns("build_types")?,
            sources: patterns("sources")?,
        };
        reachable(&fields, rule.threshold, &[], Some(&rule.role), identities)?;
        Ok(rule)
    }

    pub(super) fn describe(&self) -> String {
        let list = |patterns: &[UriPattern]| join(patterns.iter().map(|p| p.0.as_str()), "or");
        let mut text = format!("provenance by a builder {}", list(&self.builders));
        if self.threshold > 1 {
            text = format!(
                "provenance by {} different builders among {}",
                self.threshold,
                list(&self.builders)
            );
        }
        if !self.build_types.is_empty() {
            text += &format!(", of build type {}", list(&self.build_types));
        }
        if !self.sources.is_empty() {
            text += &format!(", from {}", list(&self.sources));
        }
        text + &format!(", signed with a key of role \"{}\"", self.role)
    }

    pub(super) fn evaluate(&self, hearing: &Hearing<'_>) -> RuleResult {
        let mut builders = BTreeSet::new();
        let mut evidence = Vec::new();
        let mut problems = Vec::new();
        for counted in hearing.with_role(READS, &self.role, &mut problems) {
            let name = counted.identity.name.as_str();
            let predicate = counted.statement.predicate();
            if predicate.is_some_and(is_rebuild) {
                problems.push(format!(
                    "provenance by {name} is of a replay, and says nothing of who built the bundle"
                ));
                continue;
            }
            match predicate.map_or(Err("it is empty".to_owned()), |it| self.check(it)) {
                Ok(()) => {
                    builders.insert(name);
                    evidence.push(counted.evidence);
                }
                Err(problem) => problems.push(format!("provenance by {name}: {problem}")),
            }
        }
        let satisfied = builders.len() >= self.threshold as usize;
        let mut reasons = vec![match builders.len() {
            0 => format!("needs {}: none is there", self.describe()),
            _ => format!("needs {}: by {}", self.describe(), join(&builders, "and")),
        }];
        if !satisfied {
            reasons.append(&mut problems);
        }
        let remedy = (!satisfied).then(|| {
            format!(
                "{} must build it and run \"sealstone attest {}\"",
                hearing.somebody(&self.role),
                hearing.place()
            )
        });
        RuleResult::new(Provenance::NAME, reasons, remedy, evidence)
    }

    fn check(&self, predicate: &Map<String, Value>) -> Result<(), String> {
        let claim: Claim = read(predicate).map_err(|error| error.to_string())?;
        let any = |patterns: &[UriPattern], uri: &str| patterns.iter().any(|p| p.matches(uri));
        let short = |text: &str| text.chars().take(120).collect::<String>();
        if !any(&self.builders, claim.builder_id()) {
            return Err(format!(
                "builder {} is not allowed",
                short(claim.builder_id())
            ));
        }
        if !self.build_types.is_empty() && !any(&self.build_types, claim.build_type()) {
            return Err(format!(
                "build type {} is not allowed",
                short(claim.build_type())
            ));
        }
        if self.sources.is_empty() {
            return Ok(());
        }
        let sources = sources(&claim);
        if sources.is_empty() {
            return Err("it names no source".to_owned());
        }
        match sources.iter().find(|uri| !any(&self.sources, uri)) {
            None => Ok(()),
            Some(uri) => Err(format!("source {} is not allowed", short(uri))),
        }
    }
}

/// Every source counts, that which the caller named and those which were resolved: a build that used
/// another one as well must not pass for one of the first.
fn sources(claim: &Claim) -> BTreeSet<&str> {
    let mut sources: BTreeSet<&str> = claim.sources().into_iter().collect();
    let named = claim.build_definition.external_parameters.get("source");
    let uri = named.and_then(|source| source.as_str().or_else(|| source.get("uri")?.as_str()));
    sources.extend(uri.map(repository));
    sources
}
