//! Answers, and what they can carry.
//!
//! Owns every body that leaves the server. There is one method for each kind of content, and none that takes bytes:
//! those of a blob get here as a [`BlobBody`] or not at all.

use crate::blobs::{self, GroupStream};
use crate::service::{BlobBody, LogTile, ServedManifest};
use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A blob's bytes on their way out. Made from a [`BlobBody`], which only the service makes and which holds
/// nothing but checked bytes; there is no other constructor.
struct VerifiedBody {
    stream: GroupStream,
    left: u64,
}

impl From<BlobBody> for VerifiedBody {
    fn from(body: BlobBody) -> Self {
        VerifiedBody {
            left: body.len(),
            stream: body.into_stream(),
        }
    }
}

impl http_body::Body for VerifiedBody {
    type Data = Bytes;
    type Error = blobs::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, blobs::Error>>> {
        let next = ready!(self.stream.poll_next_unpin(context));
        if let Some(Ok(bytes)) = &next {
            self.left = self.left.saturating_sub(bytes.len() as u64);
        }
        Poll::Ready(next.map(|item| item.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Builds an answer.
pub(super) struct Answer(Response<Body>);

impl Answer {
    pub(super) fn new(status: StatusCode) -> Answer {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        Answer(response)
    }

    pub(super) fn json(status: StatusCode, value: &impl serde::Serialize) -> Answer {
        let text = serde_json::to_vec(value).expect("answers have text keys only");
        Answer::new(status)
            .header(header::CONTENT_TYPE, "application/json")
            .with(Body::from(text))
    }

    pub(super) fn header(mut self, name: impl Into<HeaderName>, value: impl AsRef<str>) -> Answer {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.0.headers_mut().append(name.into(), value);
        }
        self
    }

    /// With text of the server's own.
    pub(super) fn text(self, text: impl Into<String>) -> Answer {
        let text: String = text.into();
        self.with(Body::from(text))
    }

    /// With a manifest.
    pub(super) fn manifest(self, manifest: &ServedManifest) -> Answer {
        self.with(Body::from(manifest.bytes().clone()))
    }

    /// With a tile of the transparency log.
    pub(super) fn tile(self, tile: &LogTile) -> Answer {
        self.with(Body::from(tile.bytes().clone()))
    }

    /// With bytes of a blob.
    pub(super) fn blob(self, body: BlobBody) -> Answer {
        self.with(Body::new(VerifiedBody::from(body)))
    }

    fn with(mut self, body: Body) -> Answer {
        *self.0.body_mut() = body;
        self
    }

    pub(super) fn build(self) -> Response<Body> {
        self.0
    }
}

/// A name of ours in a header.
pub(super) const fn name(text: &'static str) -> HeaderName {
    HeaderName::from_static(text)
}

/// Text of a client in a message: short, and without control characters.
pub(super) fn shown(text: &str) -> String {
    text.chars()
        .take(80)
        .collect::<String>()
        .escape_debug()
        .to_string()
}
