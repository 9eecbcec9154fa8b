//! HTTP. Parses, authorises, calls one use case, renders. Holds a [`Registry`] and no store, so there is no
//! way around the use cases.

mod admin;
mod answer;
mod context;
mod ending;
mod error;
mod lingering;
mod log;
mod oci;
mod opening;
mod ops;
mod route;
mod server;
mod streams;
mod token;

pub use server::{Limits, Listening, serve};

use crate::auth::directory::Directory;
use crate::auth::{Authenticator, Authorizer, Clock, Maintenance};
use crate::metrics::{RequestLabels, RouteLabel};
use crate::service::Registry;
use axum::body::Body;
use context::Context;
use error::ApiError;
use http::{HeaderValue, Method, Request, Response};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// What every request may use.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    authenticator: Authenticator,
    authorizer: Authorizer,
    directory: Arc<dyn Directory>,
    maintenance: Maintenance,
    clock: Clock,
    settings: Settings,
    /// Held by a collection that somebody asked for, and by such a scrub: they may take hours.
    collecting: Mutex<()>,
    scrubbing: Mutex<()>,
}

/// What the operator sets about HTTP.
#[derive(Clone, Debug)]
pub struct Settings {
    /// URL under which clients reach the server; without it, the request's host is taken.
    pub public_url: Option<String>,
    /// Whether the last address of `X-Forwarded-For` is whoever sent a request.
    pub trust_forwarded_for: bool,
    /// Longest wait for the next bytes of a body.
    pub body_idle: Duration,
    /// Smallest chunk that clients are asked to send, in bytes; 0 for no wish.
    pub chunk_min_bytes: u64,
    /// Whether connections are encrypted here.
    pub tls: bool,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("App")
    }
}

impl App {
    /// Puts the application together.
    pub fn new(
        registry: Registry,
        authenticator: Authenticator,
        authorizer: Authorizer,
        directory: Arc<dyn Directory>,
        maintenance: Maintenance,
        clock: Clock,
        settings: Settings,
    ) -> App {
        let inner = Inner {
            registry,
            authenticator,
            authorizer,
            directory,
            maintenance,
            clock,
            settings,
            collecting: Mutex::default(),
            scrubbing: Mutex::default(),
        };
        App {
            inner: Arc::new(inner),
        }
    }

    /// Answers a request.
    pub async fn handle(&self, request: Request<Body>) -> Response<Body> {
        let started = Instant::now();
        let method = request.method().clone();
        let metrics = self.inner.registry.metrics().clone();
        metrics.in_flight.inc();
        // Counted down even if the client goes away and this future is dropped.
        let _in_flight = OnDrop(|| {
            metrics.in_flight.dec();
        });
        let (label, mut response) = self.dispatch(request).await;
        let headers = response.headers_mut();
        headers.insert(
            "docker-distribution-api-version",
            HeaderValue::from_static("registry/2.0"),
        );
        headers.insert(
            "x-content-type-options",
            HeaderValue::from_static("nosniff"),
        );
        let status = response.status();
        let labels = RequestLabels {
            method: method_label(&method),
            route: label,
            status: status.as_u16(),
        };
        metrics.requests.get_or_create(&labels).inc();
        let elapsed = started.elapsed();
        metrics
            .request_seconds
            .get_or_create(&RouteLabel { route: label })
            .observe(elapsed.as_secs_f64());
        if status.is_server_error() {
            tracing::warn!(http.method = %method, http.route = label, http.status = status.as_u16(), "request failed");
        } else {
            tracing::debug!(http.method = %method, http.route = label, http.status = status.as_u16(), seconds = elapsed.as_secs_f64(), "request");
        }
        response
    }

    async fn dispatch(&self, mut request: Request<Body>) -> (&'static str, Response<Body>) {
        let path = request.uri().path().to_owned();
        let is_head = request.method() == Method::HEAD;
        let is_read = is_head || request.method() == Method::GET;
        let (label, outcome) = match path.as_str() {
            "/livez" | "/readyz" | "/metrics" | "/" if !is_read => (
                "none",
                Err(ApiError::unsupported(request.method(), route::READING)),
            ),
            "/livez" => ("livez", Ok(ops::livez(&self.inner.registry))),
            "/readyz" => ("readyz", Ok(ops::readyz(&self.inner.registry).await)),
            "/metrics" => ("metrics", Ok(ops::metrics(&self.inner.registry).await)),
            "/token" => (
                "token",
                token::token(&Context::new(self.clone(), &mut request), request).await,
            ),
            _ if log::is_static_path(&path) => (
                "log",
                log::serve(&Context::new(self.clone(), &mut request), request).await,
            ),
            _ if path.starts_with("/api/v1/log/") => (
                "log",
                log::handle(Context::new(self.clone(), &mut request), request).await,
            ),
            _ if path.starts_with("/api/v1/") => (
                "api",
                admin::handle(Context::new(self.clone(), &mut request), request).await,
            ),
            "/" => ("root", Ok(ops::root())),
            _ => match route::OciRoute::parse(&path) {
                Ok(route) => (
                    route.label(),
                    oci::handle(Context::new(self.clone(), &mut request), route, request).await,
                ),
                Err(error) => (
                    "none",
                    oci::refuse_route(
                        &Context::new(self.clone(), &mut request),
                        request.method(),
                        error,
                    )
                    .await,
                ),
            },
        };
        let mut response = outcome.unwrap_or_else(ApiError::into_response);
        if is_head {
            *response.body_mut() = Body::empty();
        }
        (label, response)
    }
}

/// Methods that a client invents must not make new time series.
fn method_label(method: &Method) -> std::borrow::Cow<'static, str> {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    known
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("other")
        .into()
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
