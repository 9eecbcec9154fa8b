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
        let missing = format!("missing: {}: {}", unmet.rule, unmet.reason);
        error = error.hint(plain(&missing));
        if !unmet.remedy.is_empty() {
            let remedy = unmet.remedy.replace(&stated, place);
            error = error.hint(plain(&format!("to mend it: {remedy}")));
        }
    }
    for ignored in &denial.ignored {
        let set_aside = format!("not counted: {}: {}", ignored.evidence, ignored.reason);
        error = error.hint(plain(&set_aside));
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

/// A denial may be a registry's answer, and then every text in it is.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sealstone_spec::digest::Digest;
    use serde_json::json;

    #[test]
    fn a_registry_s_denial_gives_a_terminal_no_orders() {
        let digest = Digest::sha256(b"x");
        let denial: Denial = serde_json::from_value(json!({
            "repo": "a/b", "manifest": digest, "policy": digest,
            "unmet": [{"rule": "r\u{1b}[2J", "reason": "a\nb", "remedy": "\u{9b}31mc"}],
            "ignored": [{"evidence": digest, "reason": "\u{1b}]0;owned\u{7}"}],
        }))
        .unwrap();
        let error = denied(&denial, "r.example/a/b@sha256:1");
        assert_eq!(error.hints().len(), 3);
        for hint in error.hints() {
            assert!(!hint.contains(char::is_control), "{hint:?}");
        }
    }
}
