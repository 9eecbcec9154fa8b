//! Rule `log`: every statement that this release rests on is in a log that the policy trusts.

use super::super::hearing::Hearing;
use super::super::reader::{Fields, PolicyError};
use super::RuleResult;
use serde::Serialize;
use std::collections::BTreeSet;

/// Log inclusion.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Logged {}

impl Logged {
    pub(super) const NAME: &str = "log";

    pub(super) fn read(fields: Fields<'_>) -> Result<Logged, PolicyError> {
        fields.only(&["rule"])?;
        Ok(Logged {})
    }

    pub(super) fn describe(&self) -> String {
        "a proof for each statement that counts that it is in the transparency log".to_owned()
    }

    pub(super) fn evaluate(&self, hearing: &Hearing<'_>) -> RuleResult {
        let (inside, outside): (Vec<_>, Vec<_>) = hearing
            .statements
            .iter()
            .partition(|counted| counted.log.is_some());
        // A statement outside of the log is as good as absent where this rule holds (`evaluate`);
        // what is left to ask is whether anything is inside at all.
        let satisfied = !inside.is_empty();
        let mut reasons = vec![match inside.len() {
            0 => format!("needs {}: nothing is proven to be in one", self.describe()),
            number => format!("needs {}: so it is for {number}", self.describe()),
        }];
        if !satisfied && !outside.is_empty() {
            let names: BTreeSet<&str> = outside
                .iter()
                .map(|counted| counted.identity.name.as_str())
                .collect();
            let names = super::join(&names, "and");
            reasons.push(format!("statements by {names} are not proven to be logged"));
        }
        let remedy = (!satisfied).then(|| {
            format!(
                "push the statements to a registry that logs, or fetch their proofs: \"sealstone log proof {}\"",
                hearing.place()
            )
        });
        let evidence = inside.iter().map(|counted| counted.evidence);
        RuleResult::new(Logged::NAME, reasons, remedy, evidence)
    }
}
