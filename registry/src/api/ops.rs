//! For those who run the server: is it alive, is it ready, what does it count.

use super::answer::Answer;
use crate::service::Registry;
use axum::body::Body;
use http::{Response, StatusCode, header};

pub(super) fn livez() -> Response<Body> {
    Answer::new(StatusCode::OK)
        .header(header::CONTENT_TYPE, "text/plain")
        .text("ok\n")
        .build()
}

pub(super) async fn readyz(registry: &Registry) -> Response<Body> {
    let (status, text) = match registry.check_ready().await {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready: {error}\n"),
            )
        }
    };
    Answer::new(status)
        .header(header::CONTENT_TYPE, "text/plain")
        .text(text)
        .build()
}

pub(super) async fn metrics(registry: &Registry) -> Response<Body> {
    registry.show_quotas().await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Answer::new(StatusCode::OK)
        .header(header::CONTENT_TYPE, kind)
        .text(registry.metrics().render())
        .build()
}

pub(super) fn root() -> Response<Body> {
    let text = "This is a Sealstone registry. Container tools reach it as host/repository:tag; see /v2/.\n";
    Answer::new(StatusCode::OK)
        .header(header::CONTENT_TYPE, "text/plain")
        .text(text)
        .build()
}
