//! Rule `bom`: a bill of materials is there, and every file of the bundle stands in it by its hash.

use super::super::hearing::Hearing;
use super::super::identity::Identity;
use super::super::reader::{Fields, PolicyError};
use super::{RuleResult, join, reachable, reading};
use crate::digest::Digest;
use crate::statement::predicate;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

pub(super) const READS: &[&str] = &[predicate::CYCLONEDX];

/// Deepest nesting of components that is read.
const MAX_NESTING: usize = 16;

/// A CycloneDX bill of materials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Bom {
    /// The role whose keys count.
    pub role: String,
    /// Whether every file of the bundle must be in it.
    pub complete: bool,
}

impl Bom {
    pub(super) const NAME: &str = "bom";

    pub(super) fn read(fields: Fields<'_>, identities: &[Identity]) -> Result<Bom, PolicyError> {
        let fields = fields.only(&["rule", "role", "complete"])?;
        let rule = Bom {
            role: reading::role(&fields, "builder")?,
            complete: fields
                .get("complete")
                .map_or(Ok(true), |node| fields.source().flag(node, "complete"))?,
        };
        reachable(&fields, 1, &[], Some(&rule.role), identities)?;
        Ok(rule)
    }

    pub(super) fn describe(&self) -> String {
        let what = match self.complete {
            true => "a bill of materials with every file of the bundle",
            false => "a bill of materials",
        };
        format!("{what}, signed with a key of role \"{}\"", self.role)
    }

    pub(super) fn evaluate(&self, hearing: &Hearing<'_>) -> RuleResult {
        let mut evidence = Vec::new();
        let mut problems = Vec::new();
        for counted in hearing.with_role(READS, &self.role, &mut problems) {
            let predicate = counted.statement.predicate();
            match predicate.map_or(Err("it is empty".into()), |bom| self.check(bom, hearing)) {
                Ok(()) => evidence.push(counted.evidence),
                Err(problem) => problems.push(format!(
                    "bill of materials by {}: {problem}",
                    counted.identity.name
                )),
            }
        }
        let satisfied = !evidence.is_empty();
        let mut reasons = vec![match satisfied {
            true => format!("needs {}: it is there", self.describe()),
            false => format!("needs {}: none is there that will do", self.describe()),
        }];
        if !satisfied {
            reasons.append(&mut problems);
        }
        let remedy = (!satisfied).then(|| {
            format!(
                "{} must run \"sealstone bom\" and \"sealstone attest {}\"",
                hearing.somebody(&self.role),
                hearing.place()
            )
        });
        RuleResult::new(Bom::NAME, reasons, remedy, evidence)
    }

    fn check(&self, bom: &Map<String, Value>, hearing: &Hearing<'_>) -> Result<(), String> {
        if bom.get("bomFormat").and_then(Value::as_str) != Some("CycloneDX") {
            return Err("it is not of format CycloneDX".to_owned());
        }
        if !self.complete {
            return Ok(());
        }
        let files = hearing
            .case
            .files()
            .ok_or("which files the bundle has is not known to this judge")?;
        let listed = listed(bom)?;
        let missing: Vec<&str> = files
            .iter()
            .filter(|file| !listed.contains(&file.digest))
            .map(|file| file.path.as_str())
            .collect();
        match missing.as_slice() {
            [] => Ok(()),
            missing => {
                let shown = join(
                    missing.iter().take(5).map(|path| format!("\"{path}\"")),
                    "and",
                );
                Err(format!(
                    "{} of the bundle's files are not in it: {shown}",
                    missing.len()
                ))
            }
        }
    }
}

fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// The SHA-256 hashes of all components.
fn listed(bom: &Map<String, Value>) -> Result<BTreeSet<Digest>, String> {
    let mut found = BTreeSet::new();
    let main = bom.get("metadata").and_then(|it| it.get("component"));
    let mut open: Vec<(&Value, usize)> = main.into_iter().map(|value| (value, 0)).collect();
    open.extend(items(bom.get("components")).map(|value| (value, 0)));
    while let Some((component, depth)) = open.pop() {
        if depth > MAX_NESTING {
            return Err("its components are nested too deep".to_owned());
        }
        for hash in items(component.get("hashes")) {
            let field = |key: &str| hash.get(key).and_then(Value::as_str);
            if field("alg") == Some("SHA-256")
                && let Some(hex) = field("content")
                && let Ok(digest) = Digest::parse(&format!("sha256:{hex}"))
            {
                found.insert(digest);
            }
        }
        let inner = items(component.get("components"));
        open.extend(inner.map(|value| (value, depth + 1)));
    }
    Ok(found)
}
