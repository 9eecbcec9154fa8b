//! The Docker token flow: `GET /token?service=…&scope=…` with an account's secret, an API token, or none.
//!
//! Invariant: no session makes another. One that was caught in a log would go on for ever.

use super::answer::Answer;
use super::context::Context;
use super::error::ApiError;
use crate::auth::scope::Scope;
use axum::body::Body;
use http::{Method, Request, Response, StatusCode, header};
use serde_json::json;

pub(super) async fn token(
    context: &Context,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        // On 404 clients of the OAuth2 form fall back to this one.
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "UNSUPPORTED",
            "ask for tokens with GET",
        ));
    }
    let principal = context.principal().await?;
    if principal.has_session() && !principal.is_anonymous() {
        return Err(ApiError::challenge(
            "a session token makes no other: send the account's secret, or an API token",
            &context.realm(),
            &[],
            None,
        ));
    }
    let inner = &context.app.inner;
    let scopes = Scope::parse_all(context.parameters("scope"));
    let access = inner.authorizer.narrow(&principal, &scopes);
    if principal.is_anonymous() && access.is_empty() {
        return Err(ApiError::challenge(
            "log in to get a token",
            &context.realm(),
            &[],
            None,
        ));
    }
    let issued =
        inner
            .authenticator
            .sessions()
            .issue(&principal, access, (inner.clock)(), &mut rand::rng());
    let body = json!({
        "token": issued.token,
        "access_token": issued.token,
        "expires_in": issued.expires_in,
        "issued_at": issued.issued_at,
    });
    Ok(Answer::json(StatusCode::OK, &body)
        .header(header::CACHE_CONTROL, "no-store")
        .build())
}
