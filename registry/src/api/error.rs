//! What each outcome looks like on the wire. The only file that maps errors to status codes.
//!
//! Codes follow the OCI distribution specification, "Error codes"; the list is closed, so reasons of our
//! own stand in `detail.reason`. Never 5xx where a client's retry could not help: containerd and docker
//! send whole layers again on those.

use super::answer::{Answer, name};
use crate::auth::authorize::AdministratorRefusal;
use crate::auth::challenge::{self, BearerError};
use crate::auth::scope::Scope;
use crate::auth::{AuthError, Refusal};
use crate::service::Error;
use axum::body::Body;
use http::{HeaderValue, Method, Response, StatusCode, header};
use sealstone_spec::range::UploadRange;
use serde_json::{Value, json};

/// An answer that is an error.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    detail: Value,
    headers: Vec<(http::HeaderName, HeaderValue)>,
}

/// What a challenge needs to know of the request.
#[derive(Clone, Debug)]
pub(super) struct Realm {
    /// URL of the token endpoint.
    pub(super) url: String,
    /// The service's name.
    pub(super) service: String,
}

impl ApiError {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
    ) -> ApiError {
        ApiError {
            status,
            code,
            message: message.into(),
            detail: Value::Null,
            headers: Vec::new(),
        }
    }

    pub(super) fn detail(mut self, detail: Value) -> ApiError {
        self.detail = detail;
        self
    }

    pub(super) fn header(mut self, name: http::HeaderName, value: impl AsRef<str>) -> ApiError {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.push((name, value));
        }
        self
    }

    /// The path is one on which only the `allowed` methods are possible (RFC 9110, 15.5.6).
    pub(super) fn unsupported(method: &Method, allowed: &str) -> ApiError {
        let message = format!("{method} is not possible here, but {allowed}");
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
            .header(header::ALLOW, allowed)
    }

    pub(super) fn bad_request(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Asks for credentials.
    pub(super) fn challenge(
        message: impl Into<String>,
        realm: &Realm,
        scopes: &[Scope],
        error: Option<BearerError>,
    ) -> ApiError {
        let value = challenge::bearer(&realm.url, &realm.service, scopes, error);
        let mut refused = ApiError::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message);
        refused.headers.push((header::WWW_AUTHENTICATE, value));
        refused
    }

    pub(super) fn from_refusal(refusal: &Refusal, realm: &Realm) -> ApiError {
        match refusal {
            Refusal::Unauthenticated { .. } => {
                ApiError::challenge(refusal.to_string(), realm, &[refusal.scope()], None)
            }
            Refusal::InsufficientScope { .. } => ApiError::challenge(
                refusal.to_string(),
                realm,
                &[refusal.scope()],
                Some(BearerError::InsufficientScope),
            ),
            Refusal::Forbidden { .. } => {
                ApiError::new(StatusCode::FORBIDDEN, "DENIED", refusal.to_string())
            }
        }
    }

    pub(super) fn from_administrator_refusal(refusal: &AdministratorRefusal) -> ApiError {
        match refusal {
            AdministratorRefusal::Unauthenticated => {
                let mut error = ApiError::new(
                    StatusCode::UNAUTHORIZED,
                    "UNAUTHORIZED",
                    refusal.to_string(),
                );
                error.headers.push((
                    header::WWW_AUTHENTICATE,
                    challenge::basic("sealstone administration"),
                ));
                error
            }
            AdministratorRefusal::Forbidden(_) => {
                ApiError::new(StatusCode::FORBIDDEN, "DENIED", refusal.to_string())
            }
        }
    }

    pub(super) fn from_auth(error: &AuthError, realm: &Realm) -> ApiError {
        let later = |status, code, seconds: u64| {
            ApiError::new(status, code, error.to_string())
                .header(header::RETRY_AFTER, seconds.max(1).to_string())
        };
        match error {
            AuthError::Malformed(_) | AuthError::InvalidCredentials => {
                ApiError::challenge(error.to_string(), realm, &[], None)
            }
            AuthError::InvalidToken => ApiError::challenge(
                error.to_string(),
                realm,
                &[],
                Some(BearerError::InvalidToken),
            ),
            AuthError::TooManyAttempts { retry_after } => later(
                StatusCode::TOO_MANY_REQUESTS,
                "TOOMANYREQUESTS",
                retry_after.as_secs(),
            ),
            AuthError::Busy { retry_after } => later(
                StatusCode::SERVICE_UNAVAILABLE,
                "UNAVAILABLE",
                retry_after.as_secs(),
            ),
            AuthError::Directory(_) => later(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", 5),
        }
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut entry = json!({"code": self.code, "message": self.message});
        if !self.detail.is_null() {
            entry["detail"] = self.detail;
        }
        let mut response = Answer::json(self.status, &json!({"errors": [entry]})).build();
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<super::route::RouteError> for ApiError {
    fn from(error: super::route::RouteError) -> Self {
        use super::route::RouteError;
        match error {
            RouteError::Unknown => ApiError::new(
                StatusCode::NOT_FOUND,
                "UNSUPPORTED",
                "there is nothing at this path",
            ),
            RouteError::Name(text) => ApiError::bad_request("NAME_INVALID", text),
            RouteError::Digest(text) => ApiError::bad_request("DIGEST_INVALID", text),
            RouteError::Tag(text) => ApiError::bad_request("MANIFEST_INVALID", text),
            RouteError::Upload => ApiError::new(
                StatusCode::NOT_FOUND,
                "BLOB_UPLOAD_UNKNOWN",
                "this is not an upload of this registry",
            ),
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let of = |status, code| ApiError::new(status, code, message.clone());
        let not_found = |code| of(StatusCode::NOT_FOUND, code);
        let bad = |code| of(StatusCode::BAD_REQUEST, code);
        match error {
            Error::ManifestUnknown(_) => not_found("MANIFEST_UNKNOWN"),
            Error::TagRetracted { tag, existing } => not_found("MANIFEST_UNKNOWN")
                .detail(json!({"reason": "tag_tombstoned", "tag": tag, "existing": existing})),
            Error::BlobUnknown(digest) => {
                not_found("BLOB_UNKNOWN").detail(json!({"digest": digest}))
            }
            Error::RepositoryUnknown => not_found("NAME_UNKNOWN"),
            Error::UploadUnknown => not_found("BLOB_UPLOAD_UNKNOWN"),
            Error::UploadBusy => of(StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID"),
            Error::OutOfOrder { offset } => {
                of(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID")
                    .header(header::RANGE, UploadRange::received(offset))
                    .detail(json!({"reason": "out_of_order", "offset": offset}))
            }
            Error::BodyInterrupted(_) => bad("BLOB_UPLOAD_INVALID"),
            Error::LengthMismatch { offset, .. } => {
                let refused = bad("SIZE_INVALID");
                match offset {
                    Some(offset) => refused.header(header::RANGE, UploadRange::received(offset)),
                    None => refused,
                }
            }
            Error::DigestMismatch { expected, actual } => {
                bad("DIGEST_INVALID").detail(json!({"expected": expected, "actual": actual}))
            }
            Error::ManifestInvalid(_) => bad("MANIFEST_INVALID"),
            Error::ManifestTooLarge(_) => of(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID"),
            Error::Missing { blobs, manifests } => {
                bad("MANIFEST_BLOB_UNKNOWN").detail(json!({"blobs": blobs, "manifests": manifests}))
            }
            Error::TagTaken { tag, existing } => of(StatusCode::CONFLICT, "DENIED")
                .detail(json!({"reason": "tag_immutable", "tag": tag, "existing": existing})),
            Error::TagBurnt { tag, existing } => of(StatusCode::CONFLICT, "DENIED")
                .detail(json!({"reason": "tag_tombstoned", "tag": tag, "existing": existing})),
            Error::ConditionFailed { tag, existing } => {
                of(StatusCode::PRECONDITION_FAILED, "DENIED")
                    .detail(json!({"reason": "condition_failed", "tag": tag, "existing": existing}))
            }
            Error::DigestConditionFailed { digest, exists } => {
                let existing = exists.then_some(digest);
                of(StatusCode::PRECONDITION_FAILED, "DENIED")
                    .detail(json!({"reason": "condition_failed", "existing": existing}))
            }
            Error::EvidenceLost { tag, lost } => of(StatusCode::CONFLICT, "DENIED")
                .detail(json!({"reason": "evidence_is_append_only", "tag": tag, "lost": lost})),
            Error::Held => {
                of(StatusCode::CONFLICT, "DENIED").detail(json!({"reason": "held_by_release"}))
            }
            Error::Final => {
                of(StatusCode::CONFLICT, "DENIED").detail(json!({"reason": "revocation_is_final"}))
            }
            Error::BlobInUse(count) => of(StatusCode::CONFLICT, "DENIED")
                .detail(json!({"reason": "blob_in_use", "manifests": count})),
            // Not 429, which clients repeat until they give up, nor 413, after which they send the same in pieces.
            Error::QuotaExceeded(exceeded) => of(StatusCode::FORBIDDEN, "DENIED").detail(json!({
                "reason": "quota_exceeded",
                "namespace": exceeded.namespace,
                "counted": exceeded.counted,
                "limit": exceeded.limit,
                "used": exceeded.used,
                "wanted": exceeded.wanted,
            })),
            Error::Denied(denial) => {
                let mut detail = serde_json::to_value(&*denial).unwrap_or(Value::Null);
                if let Value::Object(fields) = &mut detail {
                    fields.insert("reason".into(), "release_denied".into());
                }
                of(StatusCode::FORBIDDEN, "DENIED")
                    .header(name("sealstone-policy"), denial.policy.to_string())
                    .header(name("sealstone-verdict"), "denied")
                    .detail(detail)
            }
            Error::PolicyRefused(reason) => {
                use sealstone_spec::policy::SignedPolicyError;
                let word = match *reason {
                    SignedPolicyError::Rollback { .. } => "policy_rollback",
                    SignedPolicyError::Fork { .. } => "policy_fork",
                    SignedPolicyError::Expired { .. } => "policy_expired",
                    SignedPolicyError::TooFew { .. } | SignedPolicyError::Signature { .. } => {
                        "policy_signatures"
                    }
                    _ => "policy_invalid",
                };
                let status = match word {
                    "policy_rollback" | "policy_fork" => StatusCode::CONFLICT,
                    "policy_signatures" => StatusCode::FORBIDDEN,
                    _ => StatusCode::BAD_REQUEST,
                };
                of(status, "DENIED").detail(json!({"reason": word}))
            }
            Error::NotEvidence
            | Error::NotApproval(_)
            | Error::MayOnlyTag
            | Error::MayNotTag(_)
            | Error::MayNotReadLog => of(StatusCode::FORBIDDEN, "DENIED"),
            Error::Damaged(digest) => of(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN")
                .detail(json!({"reason": "damaged", "digest": digest})),
            Error::Unwitnessed(_) => {
                tracing::warn!(error = message, "request failed");
                of(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE")
                    .header(header::RETRY_AFTER, "5")
                    .detail(json!({"reason": "not_witnessed"}))
            }
            Error::Full(_) => {
                tracing::warn!(error = message, "request failed");
                of(StatusCode::INSUFFICIENT_STORAGE, "UNAVAILABLE")
                    .detail(json!({"reason": "storage_full"}))
            }
            Error::Unavailable(_) => {
                tracing::warn!(error = message, "request failed");
                of(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE").header(header::RETRY_AFTER, "2")
            }
            Error::Internal(_) => {
                tracing::error!(error = message, "request failed inside");
                ApiError::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "UNKNOWN",
                    "the server failed; its log says why",
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metadata::{Counted, QuotaExceeded};
    use sealstone_spec::digest::Digest;
    use sealstone_spec::policy::{Case, Circumstances, Policy, SignedPolicyError, Time};
    use serde_json::Value;

    /// Every outcome of the service that has a row of its own in chapter 12.
    fn outcomes() -> Vec<Error> {
        let digest = Digest::sha256(b"x");
        let tag = || "v1".parse().unwrap();
        let repo = "a".parse().unwrap();
        let elsewhere = Case::new(&"b".parse().unwrap(), digest, 1);
        let now = Circumstances::at(Time::from_seconds(0));
        let denial = Policy::default_policy()
            .judge(&repo, &elsewhere, &now)
            .unwrap_err();
        let refused = |error| Error::PolicyRefused(Box::new(error));
        vec![
            Error::ManifestUnknown("v1".into()),
            Error::TagRetracted {
                tag: tag(),
                existing: digest,
            },
            Error::BlobUnknown(digest),
            Error::RepositoryUnknown,
            Error::UploadUnknown,
            Error::UploadBusy,
            Error::OutOfOrder { offset: 1 },
            Error::BodyInterrupted("reset".into()),
            Error::LengthMismatch {
                found: 1,
                announced: 2,
                offset: Some(1),
            },
            Error::DigestMismatch {
                expected: digest,
                actual: digest,
            },
            Error::ManifestInvalid("no".into()),
            Error::ManifestTooLarge("no".into()),
            Error::Missing {
                blobs: vec![digest],
                manifests: vec![],
            },
            Error::TagTaken {
                tag: tag(),
                existing: digest,
            },
            Error::TagBurnt {
                tag: tag(),
                existing: digest,
            },
            Error::ConditionFailed {
                tag: tag(),
                existing: None,
            },
            Error::DigestConditionFailed {
                digest,
                exists: true,
            },
            Error::EvidenceLost {
                tag: tag(),
                lost: vec![digest],
            },
            Error::Held,
            Error::Final,
            Error::BlobInUse(1),
            Error::QuotaExceeded(QuotaExceeded {
                namespace: "a".into(),
                counted: Counted::Bytes,
                limit: 2,
                used: 1,
                wanted: 2,
            }),
            Error::Denied(Box::new(denial)),
            refused(SignedPolicyError::Rollback {
                trusted: 2,
                found: 1,
            }),
            refused(SignedPolicyError::Fork { version: 1 }),
            Error::NotEvidence,
            Error::NotApproval("no".into()),
            Error::MayOnlyTag,
            Error::MayNotTag(tag()),
            Error::MayNotReadLog,
            Error::Damaged(digest),
            Error::Unwitnessed("late".into()),
            Error::Full("full".into()),
            Error::Unavailable("later".into()),
            Error::Internal("fault".into()),
        ]
    }

    /// Whether the list above has the outcome; a new one does not compile until somebody says so.
    fn is_listed(error: &Error) -> bool {
        match error {
            Error::ManifestUnknown(_)
            | Error::TagRetracted { .. }
            | Error::BlobUnknown(_)
            | Error::RepositoryUnknown
            | Error::UploadUnknown
            | Error::UploadBusy
            | Error::OutOfOrder { .. }
            | Error::BodyInterrupted(_)
            | Error::LengthMismatch { .. }
            | Error::DigestMismatch { .. }
            | Error::ManifestInvalid(_)
            | Error::ManifestTooLarge(_)
            | Error::Missing { .. }
            | Error::TagTaken { .. }
            | Error::TagBurnt { .. }
            | Error::ConditionFailed { .. }
            | Error::DigestConditionFailed { .. }
            | Error::EvidenceLost { .. }
            | Error::Held
            | Error::Final
            | Error::BlobInUse(_)
            | Error::QuotaExceeded(_)
            | Error::Denied(_)
            | Error::PolicyRefused(_)
            | Error::NotEvidence
            | Error::NotApproval(_)
            | Error::MayOnlyTag
            | Error::MayNotTag(_)
            | Error::MayNotReadLog
            | Error::Damaged(_)
            | Error::Unwitnessed(_)
            | Error::Full(_)
            | Error::Unavailable(_)
            | Error::Internal(_) => true,
        }
    }

    #[test]
    fn every_outcome_is_one_of_the_vectors() {
        let text = include_str!("../../../spec/vectors/errors/outcomes.json");
        let vectors: Value = serde_json::from_str(text).unwrap();
        let vectors = vectors["outcomes"].as_array().unwrap();
        for outcome in outcomes() {
            assert!(is_listed(&outcome));
            let shown = format!("{outcome:?}");
            let answer = ApiError::from(outcome);
            let reason = answer.detail["reason"].as_str();
            let status = Value::from(answer.status.as_u16());
            let found = vectors.iter().any(|vector| {
                vector["code"] == answer.code
                    && vector["reason"].as_str() == reason
                    && vector["status"].as_array().unwrap().contains(&status)
            });
            assert!(found, "{shown}: {status} {} {reason:?}", answer.code);
        }
        // Each reason of the vectors can be met: there is no row that nothing leads to.
        let source = include_str!("error.rs");
        for vector in vectors {
            if let Some(reason) = vector["reason"].as_str() {
                assert!(source.contains(&format!("\"{reason}\"")), "{reason}");
            }
        }
    }
}
