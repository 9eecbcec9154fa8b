//! What can go wrong between this client and a registry.
//!
//! Owns the decoding of OCI error bodies. Does not decide exit codes or hints: that is the command
//! line's. Invariant: no variant ever holds a secret, a token or a header's value.

use serde::Deserialize;
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// Largest error body that is read, in bytes.
pub(crate) const MAX_ERROR_BODY: usize = 64 * 1024;

/// Why a request to a registry did not give what it was sent for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The registry answered with an error. Branch on [`Refusal::reason`] and [`Refusal::status`].
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The registry does not accept the credentials, or asks for some and none are known.
    #[error("registry {registry} refused {what}: {problem}")]
    Unauthorized {
        /// Host and port.
        registry: String,
        /// What was asked for.
        what: String,
        /// Why, with what to do.
        problem: String,
    },
    /// No connection, or a connection that broke and could not be made again.
    #[error("registry {registry} cannot be reached: {problem}")]
    Unreachable {
        /// Host and port.
        registry: String,
        /// The cause.
        problem: String,
    },
    /// Nothing was received or taken for this long.
    #[error("{what} at registry {registry} stood still for {} s", .idle.as_secs())]
    Idle {
        /// Host and port.
        registry: String,
        /// What was going on.
        what: String,
        /// For how long.
        idle: Duration,
    },
    /// An answer that the OCI distribution specification does not allow.
    #[error("registry {registry} answered {what} in a way that is no OCI registry's: {problem}")]
    Protocol {
        /// Host and port.
        registry: String,
        /// The request.
        what: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// Content of another length than its descriptor says: what is there is not what was asked for.
    #[error("registry {registry} answered {what} with other content: {problem}")]
    OtherContent {
        /// Host and port.
        registry: String,
        /// The request.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A text that names no registry, or settings that cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// Something on this machine: credentials that cannot be read.
    #[error("{0}")]
    Local(crate::Error),
}

impl From<crate::Error> for TransportError {
    fn from(error: crate::Error) -> Self {
        TransportError::Local(error)
    }
}

impl From<TransportError> for crate::Error {
    fn from(error: TransportError) -> Self {
        use crate::{Error, Outcome};
        let text = error.to_string();
        match error {
            TransportError::Local(error) => error,
            TransportError::Invalid(_) => Error::usage(text),
            TransportError::Unreachable { .. } | TransportError::Idle { .. } => Error::network(
                text,
            )
            .hint("check the name, the port and whether it speaks TLS (--plain-http if not)"),
            TransportError::Protocol { .. } => Error::network(text),
            TransportError::OtherContent { .. } => Error::halted(text),
            TransportError::Unauthorized { registry, .. } => {
                Error::unauthorised(text).hint(format!("log in with: sealstone login {registry}"))
            }
            TransportError::Refused(refusal) => {
                let outcome = match (refusal.reason(), refusal.status) {
                    // Another account would be refused as well, so nobody is told to log in.
                    (Reason::ReleaseDenied | Reason::QuotaExceeded, _) => Outcome::Refused,
                    (Reason::TagImmutable { .. } | Reason::TagTombstoned, _) => Outcome::Conflict,
                    (Reason::Damaged, _) => Outcome::Halted,
                    (Reason::NotFound, _) => Outcome::NotFound,
                    (Reason::Other, 401 | 403) => Outcome::Unauthorised,
                    (Reason::Other, 409 | 412) => Outcome::Conflict,
                    (Reason::Other, status) if is_passing_status(status) => Outcome::Network,
                    (Reason::Other, _) if refusal.code == "DIGEST_INVALID" => Outcome::Halted,
                    (Reason::Other, _) => Outcome::Other,
                };
                let mut mapped = Error::new(outcome, text);
                if outcome == Outcome::Unauthorised {
                    mapped = mapped.hint(format!(
                        "the account may lack the right; another one logs in with: sealstone login {}",
                        refusal.registry
                    ));
                }
                if refusal.detail.is_null() {
                    mapped
                } else {
                    mapped.detail(refusal.detail)
                }
            }
        }
    }
}

/// An error answer of a registry, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Host and port.
    pub registry: String,
    /// The request, in words: `push of tag 1.0`.
    pub what: String,
    /// HTTP status.
    pub status: u16,
    /// The OCI error code, such as `DENIED`; empty if the body held none.
    pub code: String,
    /// The registry's own words, shortened, without control characters.
    pub message: String,
    /// The `detail` of the first error, whatever it is.
    pub detail: Value,
}

/// Refusals that callers treat differently, as Sealstone's registry names them in `detail.reason`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The tag exists with another digest and never moves.
    TagImmutable {
        /// What the tag names, if the registry said so.
        existing: Option<String>,
    },
    /// The tag was deleted, and its name is never used again.
    TagTombstoned,
    /// The repository's policy does not hold; `detail` says what is missing.
    ReleaseDenied,
    /// A quota of the registry leaves no room; `detail` says which, and how much is used of it.
    QuotaExceeded,
    /// What the registry stores is not what was pushed; it sends nothing of it.
    Damaged,
    /// The name, manifest or blob is not there.
    NotFound,
    /// Anything else.
    Other,
}

impl Refusal {
    /// What kind of refusal this is.
    pub fn reason(&self) -> Reason {
        match self.detail.get("reason").and_then(Value::as_str) {
            Some("tag_immutable") => Reason::TagImmutable {
                existing: self
                    .detail
                    .get("existing")
                    .and_then(Value::as_str)
                    .map(printable),
            },
            Some("tag_tombstoned") => Reason::TagTombstoned,
            Some("release_denied") => Reason::ReleaseDenied,
            Some("quota_exceeded") => Reason::QuotaExceeded,
            Some("damaged") => Reason::Damaged,
            // Other registries' words for the first of them: Quay, then Harbor.
            _ if self.code == "TAG_IMMUTABLE"
                || (self.status == 412 && self.message.contains("immutable")) =>
            {
                Reason::TagImmutable { existing: None }
            }
            _ if self.status == 404 => Reason::NotFound,
            _ => Reason::Other,
        }
    }

    /// Whether an upload's session stands elsewhere than was thought, or is gone: also because it came to its end.
    pub(crate) fn is_about_its_session(&self) -> bool {
        match self.status {
            404 | 409 | 416 => true,
            400 => self.code == "BLOB_UPLOAD_UNKNOWN" || self.code == "BLOB_UPLOAD_INVALID",
            _ => false,
        }
    }

    /// Reads an error body; one that is no OCI error leaves code and detail empty.
    pub(crate) fn decode(registry: &str, what: &str, status: u16, body: &[u8]) -> Refusal {
        #[derive(Deserialize)]
        struct Body {
            errors: Vec<Item>,
        }
        #[derive(Deserialize, Default)]
        struct Item {
            #[serde(default)]
            code: Value,
            #[serde(default)]
            message: Value,
            #[serde(default)]
            detail: Value,
        }
        let item = serde_json::from_slice::<Body>(body)
            .ok()
            .and_then(|body| body.errors.into_iter().next())
            .unwrap_or_default();
        let text = |value: &Value| value.as_str().map(printable).unwrap_or_default();
        Refusal {
            registry: registry.to_owned(),
            what: what.to_owned(),
            status,
            code: text(&item.code),
            message: text(&item.message),
            detail: item.detail,
        }
    }
}

/// At most 500 characters of a text from outside, safe to print on a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal {
            registry,
            what,
            status,
            code,
            message,
            ..
        } = self;
        write!(f, "registry {registry} refused {what} (status {status}")?;
        if !code.is_empty() {
            write!(f, ", {code}")?;
        }
        f.write_str(")")?;
        match self.reason() {
            Reason::TagImmutable {
                existing: Some(existing),
            } => {
                write!(
                    f,
                    ": the tag names {existing} already and never moves: choose another"
                )
            }
            Reason::TagImmutable { existing: None } => {
                f.write_str(": the tag exists already and never moves: choose another")
            }
            Reason::TagTombstoned => f.write_str(
                ": the tag was deleted and its name is never used again: choose another",
            ),
            Reason::ReleaseDenied => {
                write!(f, ": the repository's policy does not hold: {message}")
            }
            _ if message.is_empty() => Ok(()),
            _ => write!(f, ": {message}"),
        }
    }
}

impl TransportError {
    /// The refusal, if a registry answered at all.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            TransportError::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the registry said that the thing is not there.
    pub fn is_not_found(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.status == 404)
    }

    /// Whether the same request may well succeed a moment later.
    pub fn is_passing(&self) -> bool {
        match self {
            TransportError::Unreachable { .. } | TransportError::Idle { .. } => true,
            // Damaged content does not mend itself.
            TransportError::Refused(refusal) => {
                refusal.reason() != Reason::Damaged && is_passing_status(refusal.status)
            }
            _ => false,
        }
    }
}

/// Statuses after which the same request is worth sending again.
pub(crate) fn is_passing_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refusal(status: u16, body: &str) -> Refusal {
        Refusal::decode("h.example", "push of tag 1.0", status, body.as_bytes())
    }

    #[test]
    fn an_immutable_tag_is_told_from_other_denials() {
        let body = r#"{"errors":[{"code":"DENIED","message":"m","detail":{"reason":"tag_immutable","existing":"sha256:ab","tag":"1.0"}}]}"#;
        let found = refusal(409, body);
        assert_eq!(
            found.reason(),
            Reason::TagImmutable {
                existing: Some("sha256:ab".into())
            }
        );
        assert!(found.to_string().contains("sha256:ab"), "{found}");
        assert_eq!(
            refusal(403, r#"{"errors":[{"code":"DENIED"}]}"#).reason(),
            Reason::Other
        );
    }

    #[test]
    fn a_denied_release_is_a_refusal_with_its_detail() {
        let body = r#"{"errors":[{"code":"DENIED","message":"needs 1 more signature","detail":{"reason":"release_denied","unmet":[{"rule":"k","reason":"1 of 2 signatures","remedy":"sign it"},{"rule":"sbom"}]}}]}"#;
        let found = refusal(403, body);
        assert_eq!(found.reason(), Reason::ReleaseDenied);
        let error = crate::Error::from(TransportError::Refused(Box::new(found)));
        assert_eq!(error.outcome(), crate::Outcome::Refused);
        assert_eq!(error.details().unwrap()["unmet"][0]["rule"], "k");
    }

    #[test]
    fn a_full_quota_is_no_matter_of_rights_and_not_tried_again() {
        let body = r#"{"errors":[{"code":"DENIED","message":"namespace \"a\" is full: make room","detail":{"reason":"quota_exceeded","namespace":"a"}}]}"#;
        let found = refusal(403, body);
        assert_eq!(found.reason(), Reason::QuotaExceeded);
        assert!(found.to_string().ends_with("make room"), "{found}");
        let error = TransportError::Refused(Box::new(found));
        assert!(!error.is_passing());
        let error = crate::Error::from(error);
        assert_eq!(error.outcome(), crate::Outcome::Refused);
        assert_eq!(error.details().unwrap()["namespace"], "a");
    }

    #[test]
    fn other_content_halts_and_an_answer_that_makes_no_sense_is_the_network_s() {
        let (registry, what, problem) = (String::new(), String::new(), String::new());
        let strange = TransportError::Protocol {
            registry: registry.clone(),
            what: what.clone(),
            problem: problem.clone(),
        };
        let other = TransportError::OtherContent {
            registry,
            what,
            problem,
        };
        for (error, outcome) in [
            (strange, crate::Outcome::Network),
            (other, crate::Outcome::Halted),
        ] {
            assert!(!error.is_passing());
            assert_eq!(crate::Error::from(error).outcome(), outcome);
        }
    }

    #[test]
    fn bodies_that_are_no_oci_errors_do_no_harm() {
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"errors":[]}"#,
            r#"{"errors":"x"}"#,
            r#"{"errors":[{"code":7,"message":null}]}"#,
        ] {
            let found = refusal(502, body);
            assert_eq!(
                (found.code.as_str(), found.message.as_str()),
                ("", ""),
                "{body}"
            );
            assert!(TransportError::Refused(Box::new(found)).is_passing());
        }
    }

    #[test]
    fn control_characters_of_a_registry_do_not_reach_the_terminal() {
        let found = refusal(400, r#"{"errors":[{"code":"X","message":"a\u001b[2Jb"}]}"#);
        assert!(!found.to_string().contains('\u{1b}'));
    }
}
