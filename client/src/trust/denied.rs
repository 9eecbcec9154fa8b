//! A denial as an error: the same words whether a registry said no or this machine did.

use crate::error::Error;
use sealstone_spec::policy::Denial;

/// The error for a denial: what is missing, who can mend it, what was set aside and why.
pub fn denied(denial: &Denial) -> Error {
    let mut error = Error::refused(format!(
        "{}@{} does not hold the policy",
        denial.repo, denial.manifest
    ));
    for unmet in &denial.unmet {
        error = error.hint(format!("missing: {}: {}", unmet.rule, unmet.reason));
        if !unmet.remedy.is_empty() {
            error = error.hint(format!("to mend it: {}", unmet.remedy));
        }
    }
    for ignored in &denial.ignored {
        error = error.hint(format!(
            "not counted: {}: {}",
            ignored.evidence, ignored.reason
        ));
    }
    match serde_json::to_value(denial) {
        Ok(detail) => error.detail(detail),
        Err(_) => error,
    }
}

/// The denial in a registry's refusal, if there is one.
pub fn denial_of(error: &Error) -> Option<Denial> {
    serde_json::from_value(error.details()?.clone()).ok()
}
