//! One registry: its connections, and requests that are authenticated, redirected and tried again.
//!
//! Owns what every request has in common. Knows no endpoint but `/v2/`.
//! Invariants: Authorization goes to the registry's own origin only, whatever a redirect or a
//! Location says; nothing for loopback goes through a proxy, nor for a host and port that `NO_PROXY` names; there is a
//! limit on standing still, never on the length of a transfer.

use super::address;
use super::answer::{Answer, failure};
use super::auth::Authoriser;
use super::backoff::retry_after;
use super::error::{TransportError, is_passing_status};
use super::options::ConnectOptions;
use super::proxy::Spared;
use crate::credentials::{Credential, CredentialSource};
use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{Method, RequestBuilder};
use sealstone_spec::name::RepoName;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;
use url::Url;

/// What this client calls itself.
pub(crate) const USER_AGENT: &str = concat!("sealstone/", env!("CARGO_PKG_VERSION"));

/// Most redirects that one request follows.
const MAX_REDIRECTS: usize = 5;

/// A registry. Cloning it shares connections and tokens.
#[derive(Clone, Debug)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    repository: Option<RepoName>,
    candidates: Vec<Url>,
    base: OnceCell<Url>,
    http: reqwest::Client,
    /// The same without any proxy that the environment names.
    direct: reqwest::Client,
    spared: Spared,
    options: ConnectOptions,
    source: Arc<dyn CredentialSource>,
    authoriser: Authoriser,
    pub(super) posts_blobs_at_once: AtomicBool,
}

/// A request, before it is authenticated.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Token scopes that it needs: `repository:a/b:pull`.
    pub(crate) scopes: Vec<String>,
    /// Whether it shows the account's secret itself, where no session is enough.
    pub(crate) shows_secret: bool,
    /// In words, for errors: `push of tag 1.0`.
    pub(crate) what: String,
    /// How long the answer may take once everything was sent.
    pub(crate) wait: Duration,
}

/// Bytes of a streamed body that the connection has taken, for the watch over standing still.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken(Arc<AtomicU64>);

impl Taken {
    /// Counts bytes.
    pub(crate) fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Registry {
    /// A registry by its name, such as `registry.example:5000`. Nothing is asked yet.
    ///
    /// `repository` is the one that will be used, because credentials may be kept per repository.
    ///
    /// # Errors
    /// If the name is none, or the certificate authorities cannot be read.
    pub fn new(
        name: &str,
        repository: Option<&RepoName>,
        options: &ConnectOptions,
    ) -> crate::Result<Registry> {
        // Two providers may be linked through other crates; without a choice rustls would panic.
        // An error means that the choice was made already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let candidates = address::candidates(name, options.plain_http)?;
        let http = options.client(reqwest::Client::builder())?;
        let direct = options.client(reqwest::Client::builder().no_proxy())?;
        Ok(Registry(Arc::new(Inner {
            name: name.to_owned(),
            repository: repository.cloned(),
            candidates,
            base: OnceCell::new(),
            http,
            direct,
            spared: Spared::from_environment(),
            source: options.source(),
            options: options.clone(),
            authoriser: Authoriser::default(),
            posts_blobs_at_once: AtomicBool::new(true),
        })))
    }

    /// Host and port as they were given.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn options(&self) -> &ConnectOptions {
        &self.0.options
    }

    /// The connections for an address. What goes to this machine never leaves it: a proxy would read the account's
    /// secret, which loopback is told without TLS.
    pub(crate) fn http(&self, url: &Url) -> &reqwest::Client {
        match address::is_loopback(url) || self.0.spared.names(url) {
            true => &self.0.direct,
            false => &self.0.http,
        }
    }

    /// Whether the registry is known to take a blob with the POST that announces it.
    pub(crate) fn posts_blobs_at_once(&self) -> &AtomicBool {
        &self.0.posts_blobs_at_once
    }

    pub(crate) async fn find_credential(&self) -> Result<Option<Credential>, TransportError> {
        Ok(self
            .0
            .source
            .find(self.name(), self.0.repository.as_ref())
            .await?)
    }

    /// Whether a credential is known for this registry.
    ///
    /// # Errors
    /// If the places where they are kept cannot be read.
    pub async fn has_credential(&self) -> crate::Result<bool> {
        Ok(self.0.authoriser.has_credential(self).await?)
    }

    /// The registry's address, found by asking for `/v2/` once.
    pub(crate) async fn base(&self) -> Result<Url, TransportError> {
        self.0
            .base
            .get_or_try_init(|| self.find_base())
            .await
            .cloned()
    }

    async fn find_base(&self) -> Result<Url, TransportError> {
        let last = self.0.candidates.len() - 1;
        for (index, candidate) in self.0.candidates.iter().enumerate() {
            let url = candidate
                .join("v2/")
                .expect("a base address can be joined to");
            let mut attempt = 1;
            loop {
                let found = self
                    .follow(&self.call_at(Method::GET, url.clone(), "/v2/"), None)
                    .await;
                let failure = match found {
                    Ok(answer) if matches!(answer.status(), 200 | 401 | 403) => {
                        if let Some(challenge) = answer.challenge() {
                            self.0.authoriser.learn(challenge, &[], None).await;
                        }
                        return Ok(candidate.clone());
                    }
                    // Some servers with TLS answer plain HTTP with a 400.
                    Ok(answer) if index < last && answer.status() == 400 => break,
                    Ok(answer) if is_passing_status(answer.status()) => answer.refusal().await,
                    Ok(answer) => {
                        return Err(TransportError::Protocol {
                            registry: self.0.name.clone(),
                            what: "GET /v2/".to_owned(),
                            problem: format!("status {}", answer.status()),
                        });
                    }
                    Err(TransportError::Protocol { .. }) if index < last => break,
                    Err(error) => error,
                };
                if !(failure.is_passing() && self.0.options.patience.pause(attempt, None).await) {
                    return Err(failure);
                }
                attempt += 1;
            }
        }
        Err(TransportError::Invalid(format!(
            "\"{}\" has no address",
            self.0.name
        )))
    }

    /// Asks `/v2/` as whoever the credentials say: what `login` tries before it keeps them.
    ///
    /// # Errors
    /// [`TransportError::Unauthorized`] if the registry does not accept the credentials.
    pub async fn ping(&self) -> Result<(), TransportError> {
        let call = self.call(Method::GET, "v2/", "access").await?;
        self.send(&call).await?.expect(&[200]).await.map(drop)
    }

    /// A request to a path below the registry's root.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        what: impl Into<String>,
    ) -> Result<Call, TransportError> {
        let url = self.base().await?.join(path).map_err(|error| {
            TransportError::Invalid(format!("\"{path}\" makes no address: {error}"))
        })?;
        Ok(self.call_at(method, url, what))
    }

    /// A request to an address that the registry gave.
    pub(crate) fn call_at(&self, method: Method, url: Url, what: impl Into<String>) -> Call {
        Call {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            scopes: Vec::new(),
            shows_secret: false,
            what: what.into(),
            wait: self.0.options.idle,
        }
    }

    /// Sends an idempotent request; again after failures that pass, and once with new credentials
    /// after a 401. Other refusals are answers.
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer, TransportError> {
        let mut attempt = 1;
        loop {
            let (failure, asked) = match self.send_once(call).await {
                Ok(answer) if !is_passing_status(answer.status()) => return Ok(answer),
                Ok(answer) => {
                    let asked = retry_after(answer.header(RETRY_AFTER));
                    (answer.refusal().await, asked)
                }
                Err(error) => (error, None),
            };
            if !(failure.is_passing() && self.0.options.patience.pause(attempt, asked).await) {
                return Err(failure);
            }
            tracing::debug!(attempt, call.what, error = %failure, "trying again");
            attempt += 1;
        }
    }

    /// Sends a request that must not be sent twice: nothing is tried again but a 401.
    pub(crate) async fn send_unrepeated(&self, call: &Call) -> Result<Answer, TransportError> {
        self.send_once(call).await
    }

    async fn send_once(&self, call: &Call) -> Result<Answer, TransportError> {
        let mut sent = self.authorization(call).await?;
        let mut answer = self.follow(call, sent.as_ref()).await?;
        if answer.status() == 401
            && answer.response.url().origin() == self.base().await?.origin()
            && let Some(challenge) = answer.challenge()
        {
            let previous = sent.clone();
            self.0
                .authoriser
                .learn(challenge, &call.scopes, sent.as_ref())
                .await;
            sent = self.authorization(call).await?;
            // The same secret again would be refused again, and might lock the account.
            if sent.is_some() && sent != previous {
                answer = self.follow(call, sent.as_ref()).await?;
            }
        }
        if answer.status() == 401 {
            return Err(self.unauthorised(call, sent.is_some()));
        }
        Ok(answer)
    }

    async fn authorization(&self, call: &Call) -> Result<Option<HeaderValue>, TransportError> {
        if call.url.origin() != self.base().await?.origin() {
            return Ok(None);
        }
        match call.shows_secret {
            true => self.0.authoriser.secret(self).await,
            false => self.0.authoriser.header(self, &call.scopes).await,
        }
    }

    fn unauthorised(&self, call: &Call, had_credential: bool) -> TransportError {
        let problem = if had_credential {
            "the credentials that are known for it are not accepted"
        } else {
            "it asks who you are, and no credentials are known for it"
        };
        TransportError::Unauthorized {
            registry: self.0.name.clone(),
            what: call.what.clone(),
            problem: problem.to_owned(),
        }
    }

    /// Sends a request and follows its redirects; Authorization stays with the origin it is for.
    async fn follow(
        &self,
        call: &Call,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, TransportError> {
        let home = call.url.origin();
        let mut url = call.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.request(call, &url).body(call.body.clone());
            if let Some(value) = authorization
                && url.origin() == home
            {
                request = request.header(AUTHORIZATION, value.clone());
            }
            // A slow link must have the time to take the body: 16 KiB/s are assumed.
            let wait = call.wait + Duration::from_secs(call.body.len() as u64 / (16 * 1024));
            let response = match tokio::time::timeout(wait, request.send()).await {
                Ok(response) => response.map_err(|error| self.failure(&call.what, &error))?,
                Err(_) => return Err(self.idle(&call.what, wait)),
            };
            let answer = self.answer(response, call);
            let is_read = call.method == Method::GET || call.method == Method::HEAD;
            let moves = match answer.status() {
                301..=303 => is_read,
                307 | 308 => true,
                _ => false,
            };
            if !moves {
                return Ok(answer);
            }
            let location = answer.header(LOCATION);
            let next = location
                .and_then(|location| address::resolve(&url, location, self.0.options.plain_http));
            let Some(next) = next else {
                let remedy = location.map_or("", |location| address::remedy(&url, location));
                return Err(self.protocol(
                    &call.what,
                    format!("a redirect to no address, or to one without TLS and not on this machine{remedy}"),
                ));
            };
            url = next;
        }
        Err(self.protocol(&call.what, "more than 5 redirects"))
    }

    /// Sends a streamed body once. Whoever calls it must know how to go on after a failure.
    pub(crate) async fn send_stream(
        &self,
        call: &Call,
        body: reqwest::Body,
        length: u64,
        taken: &Taken,
    ) -> Result<Answer, TransportError> {
        let mut request = self
            .request(call, &call.url)
            .body(body)
            .header(reqwest::header::CONTENT_LENGTH, length);
        let authorization = self.authorization(call).await?;
        if let Some(value) = &authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        let sending = request.send();
        tokio::pin!(sending);
        let mut moved = (taken.get(), Instant::now());
        let response = loop {
            tokio::select! {
                response = &mut sending => break response.map_err(|error| self.failure(&call.what, &error))?,
                () = tokio::time::sleep(self.0.options.idle.min(Duration::from_secs(1))) => {
                    let now = taken.get();
                    if now != moved.0 {
                        moved = (now, Instant::now());
                        continue;
                    }
                    let limit = if now >= length { call.wait } else { self.0.options.idle };
                    if moved.1.elapsed() >= limit {
                        return Err(self.idle(&call.what, limit));
                    }
                }
            }
        };
        let answer = self.answer(response, call);
        if answer.status() != 401 {
            return Ok(answer);
        }
        // A token that ran out between two parts. The stream is spent, so the caller asks where to
        // go on, with a new token.
        match answer.challenge() {
            Some(challenge) if authorization.is_some() => {
                self.0
                    .authoriser
                    .learn(challenge, &call.scopes, authorization.as_ref())
                    .await;
                Err(TransportError::Unreachable {
                    registry: self.0.name.clone(),
                    problem: "the token ran out before the upload went on".to_owned(),
                })
            }
            _ => Err(self.unauthorised(call, authorization.is_some())),
        }
    }

    fn request(&self, call: &Call, url: &Url) -> RequestBuilder {
        self.http(url)
            .request(call.method.clone(), url.clone())
            .headers(call.headers.clone())
            // Blobs are compared with their digests: no hop may compress them.
            .header(ACCEPT_ENCODING, "identity")
    }

    fn answer(&self, response: reqwest::Response, call: &Call) -> Answer {
        tracing::trace!(status = response.status().as_u16(), method = %call.method, path = call.url.path(), "answer");
        Answer {
            response,
            registry: self.0.name.clone(),
            what: call.what.clone(),
            idle: self.0.options.idle,
            plain_http: self.0.options.plain_http,
        }
    }

    /// Sends a request outside of the registry's own authentication; returns status and body.
    pub(crate) async fn exchange(
        &self,
        request: RequestBuilder,
        limit: usize,
    ) -> Result<(u16, Bytes), TransportError> {
        let what = "a token";
        let response = match tokio::time::timeout(self.0.options.idle, request.send()).await {
            Ok(response) => response.map_err(|error| self.failure(what, &error))?,
            Err(_) => return Err(self.idle(what, self.0.options.idle)),
        };
        let answer = Answer {
            response,
            registry: self.0.name.clone(),
            what: what.to_owned(),
            idle: self.0.options.idle,
            plain_http: self.0.options.plain_http,
        };
        let status = answer.status();
        Ok((status, answer.bytes(limit).await?))
    }

    pub(crate) fn protocol(&self, what: &str, problem: impl Into<String>) -> TransportError {
        TransportError::Protocol {
            registry: self.0.name.clone(),
            what: what.to_owned(),
            problem: problem.into(),
        }
    }

    fn idle(&self, what: &str, idle: Duration) -> TransportError {
        TransportError::Idle {
            registry: self.0.name.clone(),
            what: what.to_owned(),
            idle,
        }
    }

    fn failure(&self, what: &str, error: &reqwest::Error) -> TransportError {
        failure(&self.0.name, what, error)
    }
}
