//! An answer of a registry: its headers read, its body bounded and watched.
//!
//! Invariant: no body is read without a limit on its size or on standing still.

use super::address;
use super::challenge::{self, Challenge};
use super::error::{MAX_ERROR_BODY, Refusal, TransportError};
use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_LENGTH, HeaderName, LOCATION, WWW_AUTHENTICATE};
use std::time::Duration;
use url::Url;

/// An answer whose body has not been read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) response: reqwest::Response,
    pub(super) registry: String,
    pub(super) what: String,
    pub(super) idle: Duration,
    /// Whether HTTP without TLS may be spoken to any host.
    pub(super) plain_http: bool,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// A header that has no constant.
    pub(crate) fn named_header(&self, name: &'static str) -> Option<&str> {
        self.header(HeaderName::from_static(name))
    }

    /// Every line of a header.
    pub(crate) fn lines(&self, name: HeaderName) -> Vec<&str> {
        self.response
            .headers()
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect()
    }

    /// The address that answered, after redirects.
    pub(crate) fn url(&self) -> &Url {
        self.response.url()
    }

    pub(super) fn challenge(&self) -> Option<Challenge> {
        challenge::strongest(self.lines(WWW_AUTHENTICATE))
    }

    /// The Location header, resolved.
    pub(crate) fn location(&self) -> Result<Url, TransportError> {
        let location = self.header(LOCATION);
        let resolved =
            location.and_then(|location| address::resolve(self.url(), location, self.plain_http));
        resolved.ok_or_else(|| {
            let remedy = location.map_or("", |location| address::remedy(self.url(), location));
            self.protocol(format!(
                "the answer has no Location that can be used{remedy}"
            ))
        })
    }

    pub(crate) fn protocol(&self, problem: impl Into<String>) -> TransportError {
        TransportError::Protocol {
            registry: self.registry.clone(),
            what: self.what.clone(),
            problem: problem.into(),
        }
    }

    pub(crate) fn other_content(&self, problem: impl Into<String>) -> TransportError {
        TransportError::OtherContent {
            registry: self.registry.clone(),
            what: self.what.clone(),
            problem: problem.into(),
        }
    }

    /// The answer itself if its status is one of these, else the refusal in its body.
    pub(crate) async fn expect(self, statuses: &[u16]) -> Result<Answer, TransportError> {
        if statuses.contains(&self.status()) {
            Ok(self)
        } else {
            Err(self.refusal().await)
        }
    }

    /// Reads the body as an OCI error.
    pub(crate) async fn refusal(self) -> TransportError {
        let (registry, what, status) = (self.registry.clone(), self.what.clone(), self.status());
        let body = self.bytes(MAX_ERROR_BODY).await.unwrap_or_default();
        TransportError::Refused(Box::new(Refusal::decode(&registry, &what, status, &body)))
    }

    /// The next bytes of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, TransportError> {
        match tokio::time::timeout(self.idle, self.response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(failure(&self.registry, &self.what, &error)),
            Err(_) => Err(TransportError::Idle {
                registry: self.registry.clone(),
                what: self.what.clone(),
                idle: self.idle,
            }),
        }
    }

    /// The whole body, which must not have more than `limit` bytes.
    pub(crate) async fn bytes(mut self, limit: usize) -> Result<Bytes, TransportError> {
        match self.up_to(limit).await? {
            Some(body) => Ok(body),
            None => Err(self.protocol(format!("the answer has more than {limit} bytes"))),
        }
    }

    /// The whole body, where `due` bytes are stored content: more of it is other content. Less is for whoever compares it
    /// with its digest.
    pub(crate) async fn stored(mut self, due: usize) -> Result<Bytes, TransportError> {
        let stated = self.header(CONTENT_LENGTH);
        let stated: Option<u64> = stated.and_then(|text| text.parse().ok());
        if let Some(stated) = stated.filter(|stated| *stated > due as u64) {
            let problem = format!("it has {stated} bytes where {due} are due");
            return Err(self.other_content(problem));
        }
        match self.up_to(due).await? {
            Some(body) => Ok(body),
            None => {
                Err(self.other_content(format!("it has more than the {due} bytes that are due")))
            }
        }
    }

    async fn up_to(&mut self, limit: usize) -> Result<Option<Bytes>, TransportError> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > limit {
                return Ok(None);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Some(body.freeze()))
    }
}

/// Sorts an error of the HTTP library: what cannot pass is a breach of protocol.
pub(super) fn failure(registry: &str, what: &str, error: &reqwest::Error) -> TransportError {
    let mut problem = String::new();
    let mut is_parse_error = false;
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        if !problem.is_empty() {
            problem.push_str(": ");
        }
        let text = error.to_string();
        is_parse_error |= text.contains("invalid HTTP")
            || text.contains("InvalidCertificate")
            || text.contains("invalid peer certificate");
        problem.push_str(&text);
        cause = error.source();
    }
    if problem.is_empty() {
        // Without the address, which may hold a registry's signature.
        problem = "the connection failed".to_owned();
    }
    if is_parse_error {
        let what = what.to_owned();
        return TransportError::Protocol {
            registry: registry.to_owned(),
            what,
            problem,
        };
    }
    TransportError::Unreachable {
        registry: registry.to_owned(),
        problem,
    }
}
