//! A denial as an error: the same words whether a registry said no or this machine did.

use crate::error::Error;
use sealstone_spec::policy::Denial;

/// The error for a denial: what is missing, who can mend it, what was set aside and why.
///
/// `place` names the bundle in the words of the command line, `registry.example/models/m@sha256:...`, so
/// that the remedy can be copied: a denial itself knows only the repository's name, not whose.
pub fn denied(denial: &Denial, place: &str) -> Error {
    let stated = format!("{}@{}", denial.repo, denial.manifest);
    let mut error = Error::refused(format!("the policy does not hold for {place}"));
    for unmet in &denial.unmet {
        error = error.hint(format!("missing: {}: {}", unmet.rule, unmet.reason));
        if !unmet.remedy.is_empty() {
            error = error.hint(format!(
                "to mend it: {}",
                unmet.remedy.replace(&stated, place)
            ));
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
