//! What a client still sends when it has been refused: read for a moment and thrown away.
//!
//! A connection that is closed while the peer writes is reset, and the peer loses the answer that says
//! why. Owns: reading on, within bounds. Does not own: the answer.
//! Invariant: bounded in bytes and time, and nothing of it is kept.

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Most bytes that are read for nothing: 16 MiB.
const MOST_BYTES: usize = 16 << 20;
/// Longest wait for the next of them.
const IDLE: Duration = Duration::from_secs(1);
/// Longest time for all.
const MOST_TIME: Duration = Duration::from_secs(5);

/// A request's body that is read on when its handler has dropped it before the end.
pub(super) struct Lingering(Option<Body>);

impl Lingering {
    /// `body`, unless the client waits to be told to send it.
    pub(super) fn wrap(request: http::Request<Body>) -> http::Request<Body> {
        if request.headers().contains_key(http::header::EXPECT) {
            return request;
        }
        request.map(|body| Body::new(Lingering(Some(body))))
    }
}

impl http_body::Body for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |body| body.size_hint())
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let Some(body) = self.0.take()
            && !body.is_end_stream()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { tokio::time::timeout(MOST_TIME, read_on(body)).await });
        }
    }
}

async fn read_on(mut body: Body) {
    let mut read = 0;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(IDLE, body.frame()).await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > MOST_BYTES {
            return;
        }
    }
}
