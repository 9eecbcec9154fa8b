//! For those who run the server: is it alive, is it ready, what does it count.

use super::answer::Answer;
use crate::service::Registry;
use axum::body::Body;
use http::{Response, StatusCode, header};
use std::time::Duration;

pub(super) fn livez(registry: &Registry) -> Response<Body> {
    let (status, text) = match registry.was_stuck() {
        false => (StatusCode::OK, "ok\n"),
        true => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the metadata store takes no write until the server is started again\n",
        ),
    };
    Answer::new(status)
        .header(header::CONTENT_TYPE, "text/plain")
        .text(text)
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

/// Longest wait for a disk to say how full it is: what else is counted is wanted most when it does not answer.
const DISK_WAIT: Duration = Duration::from_secs(1);

pub(super) async fn metrics(registry: &Registry) -> Response<Body> {
    registry.show_quotas().await;
    // Who scrapes may be the only one who asks: without this the gauge stood at 0 until somebody asked /readyz.
    match tokio::time::timeout(DISK_WAIT, registry.measure_disk()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "free space is not known"),
        Err(_) => tracing::warn!("free space is not known: the disk does not answer"),
    }
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
