//! Sealstone's administration API: accounts, tokens, storage.
//!
//! Owns the requests; their JSON is passed on as it is, so that a newer registry's fields are shown.
//! Requests show the account's secret, since sessions administer nothing.
//! Invariant: what makes something new (an account, a token) is sent once, never tried again.

use super::client::Registry;
use super::error::TransportError;
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;

const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// The administration API of a registry.
#[derive(Clone, Debug)]
pub struct Admin {
    registry: Registry,
}

impl Admin {
    /// The API of this registry.
    pub fn new(registry: Registry) -> Admin {
        Admin { registry }
    }

    /// Sends one request to `/api/v1/<path>`; the answer's JSON, null if it has none.
    ///
    /// # Errors
    /// What the registry refuses, and if it is no Sealstone registry.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> crate::Result<Value> {
        let what = format!("{method} /api/v1/{path}");
        let mut call = self
            .registry
            .call(method.clone(), &format!("api/v1/{path}"), &what)
            .await?;
        call.shows_secret = true;
        call.wait = self.registry.options().settle;
        if let Some(body) = body {
            call.headers
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            call.body = Bytes::from(body.to_string());
        }
        let is_repeatable = method != Method::POST;
        let answer = match is_repeatable {
            true => self.registry.send(&call).await,
            false => self.registry.send_unrepeated(&call).await,
        }?;
        let answer = match answer.expect(&[200, 201, 202, 204]).await {
            Err(error)
                if error
                    .refusal()
                    .is_some_and(|refusal| refusal.status == 404 && refusal.code.is_empty()) =>
            {
                return Err(crate::Error::not_found(format!(
                    "registry {} has no {what}: it is no Sealstone registry, or an older one",
                    self.registry.name()
                )));
            }
            other => other?,
        };
        let body = answer.bytes(MAX_ANSWER).await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        // The answer may hold a new secret: it is not quoted.
        serde_json::from_slice(&body).map_err(|_| {
            let error: TransportError = self.registry.protocol(&what, "the answer is not JSON");
            error.into()
        })
    }
}
