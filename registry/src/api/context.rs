//! A request's surroundings: who sent it, what they may do, and how its body is read.

use super::App;
use super::error::{ApiError, Realm};
use crate::auth::{Action, Approve, AuthError, Grant, Principal, Push, Refusal, Sign};
use crate::service::{Contributor, Registry};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt as _};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use sealstone_spec::name::RepoName;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Who is at the other end of a connection; the server puts it beside each request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// What handlers know of a request besides its body.
pub(super) struct Context {
    pub(super) app: App,
    pub(super) headers: HeaderMap,
    pub(super) query: Vec<(String, String)>,
    /// Which host the request was sent to, if its first line says.
    authority: Option<Authority>,
    peer: Option<IpAddr>,
}

impl Context {
    /// Takes the headers out of the request.
    pub(super) fn new(app: App, request: &mut Request<Body>) -> Context {
        let headers = std::mem::take(request.headers_mut());
        let query = request.uri().query().unwrap_or_default();
        let query = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        Context {
            app,
            headers,
            query,
            authority: request.uri().authority().cloned(),
            peer: request.extensions().get::<Peer>().map(|peer| peer.0),
        }
    }

    /// From which address the request was sent, as far as that is known.
    fn sender(&self) -> Option<IpAddr> {
        let forwarded = || forwarded_for(&self.headers);
        let trusts = self.app.inner.settings.trust_forwarded_for;
        trusts.then(forwarded).flatten().or(self.peer)
    }

    /// What a challenge says of where to log in.
    pub(super) fn realm(&self) -> Realm {
        let inner = &self.app.inner;
        let base = inner.settings.public_url.clone().unwrap_or_else(|| {
            let named = self.authority.as_ref().map(Authority::as_str);
            let host = named
                .or_else(|| self.header(&header::HOST))
                .unwrap_or_default();
            let scheme = if inner.settings.tls { "https" } else { "http" };
            format!("{scheme}://{host}")
        });
        Realm {
            url: format!("{}/token", base.trim_end_matches('/')),
            service: inner.authenticator.sessions().service().to_owned(),
        }
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.app.inner.registry
    }

    /// The first value of a query parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// All values of a query parameter.
    pub(super) fn parameters(&self, name: &str) -> impl Iterator<Item = &str> {
        self.query
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A header, if it is there and printable; of several lines the first. For what may be passed over.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        text(&self.headers, name)
    }

    /// A header on which it depends whether something is done. One that cannot be read, or is there twice, is not one that
    /// is missing: then what it guards would be done.
    pub(super) fn condition(&self, name: &HeaderName) -> Result<Option<&str>, ApiError> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        match value.to_str() {
            Ok(text) if values.next().is_none() => Ok(Some(text)),
            _ => Err(ApiError::bad_request(
                "UNSUPPORTED",
                format!("{name} has to be there once, in printable ASCII"),
            )),
        }
    }

    /// Whether the client has what has this tag, and need not be sent it again (RFC 9110, 13.1.2).
    pub(super) fn has_already(&self, etag: &str) -> bool {
        let lines = self.headers.get_all(header::IF_NONE_MATCH).iter();
        let texts = lines.filter_map(|line| line.to_str().ok());
        let mut tags = texts.flat_map(|text| text.split(',')).map(str::trim);
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
    }

    /// The size of a page: `n`, at most `most`; without it, `default`.
    pub(super) fn page_size(&self, default: usize, most: usize) -> Result<usize, ApiError> {
        match self.parameter("n") {
            None => Ok(default),
            Some(text) => {
                let number: usize = text.parse().map_err(|_| {
                    ApiError::bad_request(
                        "UNSUPPORTED",
                        format!(
                            "n=\"{}\" is not a number of entries",
                            super::answer::shown(text)
                        ),
                    )
                })?;
                Ok(number.min(most))
            }
        }
    }

    pub(super) fn has_credentials(&self) -> bool {
        self.headers.contains_key(header::AUTHORIZATION)
    }

    /// Who sent the request.
    pub(super) async fn principal(&self) -> Result<Principal, ApiError> {
        let mut values = self.headers.get_all(header::AUTHORIZATION).iter();
        let value = values.next();
        if values.next().is_some() {
            return Err(ApiError::bad_request(
                "UNAUTHORIZED",
                "more than one Authorization header",
            ));
        }
        let value = value.map(|value| value.to_str().unwrap_or("(not printable)"));
        self.app
            .inner
            .authenticator
            .authenticate(value, self.sender())
            .await
            .map_err(|error| {
                if matches!(
                    error,
                    AuthError::InvalidCredentials | AuthError::TooManyAttempts { .. }
                ) {
                    self.registry().metrics().login_failures.inc();
                }
                if let AuthError::Directory(_) = &error {
                    tracing::error!(%error, "accounts cannot be looked up; nobody is let in");
                }
                ApiError::from_auth(&error, &self.realm())
            })
    }

    /// Proof that the sender may do `A`.
    pub(super) fn grant<A: Action>(
        &self,
        principal: &Principal,
        repo: &RepoName,
    ) -> Result<Grant<A>, ApiError> {
        let granted = self.app.inner.authorizer.grant::<A>(principal, repo);
        granted.map_err(|refusal| self.refused(&refusal))
    }

    pub(super) fn refused(&self, refusal: &Refusal) -> ApiError {
        ApiError::from_refusal(refusal, &self.realm())
    }

    /// The same, where a refusal only narrows what is done.
    pub(super) fn optional_grant<A: Action>(
        &self,
        principal: &Principal,
        repo: &RepoName,
    ) -> Option<Grant<A>> {
        self.app.inner.authorizer.grant::<A>(principal, repo).ok()
    }

    /// Proof that the sender may add content: the widest that there is.
    pub(super) fn contributor(
        &self,
        principal: &Principal,
        repo: &RepoName,
    ) -> Result<Contributor, ApiError> {
        let found = self.may_contribute(principal, repo);
        found.map_err(|refusal| self.refused(&refusal))
    }

    /// The same, where there may be another way. Whoever may sign or approve, and has a session that covers neither, is not
    /// told that they may not push.
    pub(super) fn may_contribute(
        &self,
        principal: &Principal,
        repo: &RepoName,
    ) -> Result<Contributor, Refusal> {
        let authorizer = &self.app.inner.authorizer;
        let push = match authorizer.grant::<Push>(principal, repo) {
            Ok(grant) => return Ok(grant.into()),
            Err(refusal) => refusal,
        };
        let sign = match authorizer.grant::<Sign>(principal, repo) {
            Ok(grant) => return Ok(grant.into()),
            Err(refusal) => refusal,
        };
        let approve = match authorizer.grant::<Approve>(principal, repo) {
            Ok(grant) => return Ok(grant.into()),
            Err(refusal) => refusal,
        };
        Err(push.or(sign).or(approve))
    }

    /// The length that the client announced.
    pub(super) fn content_length(&self) -> Option<u64> {
        self.header(&header::CONTENT_LENGTH)
            .and_then(|text| text.parse().ok())
    }

    /// A body of unbounded length, as pieces. Each must come within the idle time; there is no limit on all.
    pub(super) fn body(&self, body: Body) -> crate::service::Body {
        pieces(
            body,
            self.app.inner.settings.body_idle,
            self.content_length(),
        )
    }

    /// A whole body of at most `limit` bytes.
    pub(super) async fn small_body(
        &self,
        body: Body,
        limit: usize,
        code: &'static str,
    ) -> Result<Bytes, ApiError> {
        let too_large = || {
            ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                code,
                format!("the body is longer than {limit} bytes"),
            )
        };
        if self.content_length().is_some_and(|len| len > limit as u64) {
            return Err(too_large());
        }
        let mut whole = BytesMut::new();
        let mut pieces = self.body(body);
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| {
                ApiError::bad_request(code, format!("the body ended early: {error}"))
            })?;
            if whole.len() + piece.len() > limit {
                return Err(too_large());
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}

/// A body that was cut ends with an error. Whoever reads it may outlive the connection, and of a connection that the server
/// lets go, all that is seen here is an end: so one that comes before the announced length is none.
fn pieces(body: Body, idle: Duration, announced: Option<u64>) -> crate::service::Body {
    Box::pin(stream::unfold(
        Some((body, announced)),
        move |rest| async move {
            let (mut body, missing) = rest?;
            loop {
                match tokio::time::timeout(idle, body.frame()).await {
                    Err(_) => {
                        return Some((
                            Err(format!("no bytes for {} seconds", idle.as_secs())),
                            None,
                        ));
                    }
                    Ok(None) => {
                        let missing = missing.filter(|missing| *missing > 0)?;
                        return Some((Err(format!("{missing} bytes did not come")), None));
                    }
                    Ok(Some(Err(error))) => return Some((Err(error.to_string()), None)),
                    Ok(Some(Ok(frame))) => {
                        // Trailers carry nothing that is wanted here.
                        if let Ok(bytes) = frame.into_data()
                            && !bytes.is_empty()
                        {
                            let came = bytes.len() as u64;
                            let missing = missing.map(|missing| missing.saturating_sub(came));
                            return Some((Ok(bytes), Some((body, missing))));
                        }
                    }
                }
            }
        },
    ))
}

/// Whom a proxy saw: the last address, since a proxy appends what it saw to what it was told.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let value = headers.get_all("x-forwarded-for").iter().next_back()?;
    let last = value.to_str().ok()?.rsplit(',').next()?.trim();
    let with_port = || last.parse().ok().map(|address: SocketAddr| address.ip());
    last.parse().ok().or_else(with_port)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn of_those_that_a_request_was_forwarded_for_the_last_is_taken() {
        for (values, expected) in [
            ("", None),
            ("192.0.2.1", Some("192.0.2.1")),
            ("198.51.100.7, 192.0.2.1 ", Some("192.0.2.1")),
            ("198.51.100.7|192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:4711", Some("192.0.2.1")),
            ("[2001:db8::1]:4711", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("192.0.2.1, unknown", None),
            ("192.0.2.1,", None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values.split('|').filter(|value| !value.is_empty()) {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            let expected: Option<IpAddr> = expected.map(|text| text.parse().unwrap());
            assert_eq!(forwarded_for(&headers), expected, "{values}");
        }
    }

    #[tokio::test]
    async fn an_end_before_the_announced_length_is_none() {
        for (announced, ends_well) in [(None, true), (Some(3), true), (Some(4), false)] {
            let pieces = pieces(Body::from("abc"), Duration::from_secs(60), announced);
            let all: Vec<Result<Bytes, String>> = pieces.collect().await;
            assert_eq!(all[0].as_deref(), Ok(&b"abc"[..]));
            assert_eq!(all.len() == 1, ends_well, "{announced:?}: {all:?}");
            assert!(all[1..].iter().all(Result::is_err));
        }
    }
}
