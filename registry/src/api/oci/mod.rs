//! The OCI distribution API: one file for each thing that paths name.
//!
//! Invariant: what may change something is answered to its end, whether anybody waits for the answer or not. Only who it
//! is that asks is found out before: whoever cannot say so holds nothing longer than a connection.

mod blobs;
mod manifests;
mod referrers;
mod tags;
mod uploads;

use super::answer::Answer;
use super::context::Context;
use super::error::ApiError;
use super::route::{OciRoute, RouteError};
use crate::auth::Principal;
use axum::body::Body;
use http::{Method, Request, Response, StatusCode};

pub(super) async fn handle(
    context: Context,
    route: OciRoute,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    // First who it is: wrong credentials are told so even where anonymous ones would do.
    let principal = context.principal().await?;
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return answer(&context, principal, route, request).await;
    }
    let registry = context.registry().clone();
    let work = async move { answer(&context, principal, route, request).await };
    registry.to_the_end(work).await?
}

async fn answer(
    context: &Context,
    principal: Principal,
    route: OciRoute,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let method = request.method().clone();
    let body = request.into_body();
    let is_read = matches!(method, Method::GET | Method::HEAD);
    let allowed = route.methods();
    match (route, method) {
        (OciRoute::Ping, _) if is_read => ping(context),
        (OciRoute::Catalog, _) if is_read => tags::catalog(context, &principal).await,
        (OciRoute::Tags(repo), _) if is_read => tags::list(context, &principal, &repo).await,
        (OciRoute::Manifest(repo, reference), _) if is_read => {
            manifests::get(context, &principal, &repo, &reference).await
        }
        (OciRoute::Manifest(repo, reference), Method::PUT) => {
            manifests::put(context, &principal, &repo, reference, body).await
        }
        (OciRoute::Manifest(repo, reference), Method::DELETE) => {
            manifests::delete(context, &principal, &repo, &reference).await
        }
        (OciRoute::Blob(repo, digest), Method::GET) => {
            blobs::get(context, &principal, &repo, &digest).await
        }
        (OciRoute::Blob(repo, digest), Method::HEAD) => {
            blobs::head(context, &principal, &repo, &digest).await
        }
        (OciRoute::Blob(repo, digest), Method::DELETE) => {
            blobs::delete(context, &principal, &repo, &digest).await
        }
        (OciRoute::Tree(repo, digest), _) if is_read => {
            blobs::tree(context, &principal, &repo, &digest).await
        }
        (OciRoute::Uploads(repo), Method::POST) => {
            uploads::begin(context, &principal, &repo, body).await
        }
        (OciRoute::Upload(repo, id), Method::PATCH) => {
            uploads::patch(context, &principal, &repo, id, body).await
        }
        (OciRoute::Upload(repo, id), Method::PUT) => {
            uploads::put(context, &principal, &repo, id, body).await
        }
        (OciRoute::Upload(repo, id), _) if is_read => {
            uploads::status(context, &principal, &repo, id).await
        }
        (OciRoute::Upload(repo, id), Method::DELETE) => {
            uploads::cancel(context, &principal, &repo, id).await
        }
        (OciRoute::Referrers(repo, subject), _) if is_read => {
            referrers::list(context, &principal, &repo, &subject).await
        }
        (_, method) => Err(ApiError::unsupported(&method, allowed)),
    }
}

/// An unreadable path below `/v2/` still tells nothing to strangers.
pub(super) async fn refuse_route(
    context: &Context,
    method: &Method,
    error: RouteError,
) -> Result<Response<Body>, ApiError> {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    if matches!(error, RouteError::Tag(_)) && is_read {
        // No manifest can have such a tag: the answer to a question, not a fault of it.
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "MANIFEST_UNKNOWN",
            "no manifest has such a tag",
        ));
    }
    if error != RouteError::Unknown {
        context.principal().await?;
    }
    Err(error.into())
}

fn ping(context: &Context) -> Result<Response<Body>, ApiError> {
    if !context.has_credentials() {
        // Also where strangers may read: docker and others log in only if this asks them to.
        return Err(ApiError::challenge(
            "log in, or ask for an anonymous token",
            &context.realm(),
            &[],
            None,
        ));
    }
    Ok(Answer::json(StatusCode::OK, &serde_json::json!({})).build())
}
