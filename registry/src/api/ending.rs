//! Bodies that end with an error when a stopping server waits no longer.
//!
//! Owns: the error. Does not own: when it is time (`server`), and what becomes of the bytes that came (whoever reads the
//! body writes them down, as after any broken connection).
//! Invariant: a body that the server has cut never looks as if it had come to its end. What is whole and what was
//! cut would not be told apart, and an upload would be compared with its digest and thrown away.

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A request's body until `cut`.
pub(super) struct Ending {
    body: Body,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Ending {
    pub(super) fn wrap(body: Body, cut: CancellationToken) -> Body {
        Body::new(Ending {
            body,
            cut: Box::pin(cut.cancelled_owned()),
        })
    }
}

impl http_body::Body for Ending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // What is here is taken. The end is not believed any more: the connection may just have been dropped.
        if matches!(polled, Poll::Ready(Some(Ok(_))))
            || self.cut.as_mut().poll(context).is_pending()
        {
            return polled;
        }
        Poll::Ready(Some(Err(axum::Error::new("the server is stopping"))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures_util::{StreamExt as _, stream};
    use http_body_util::BodyExt as _;
    use std::convert::Infallible;

    #[tokio::test]
    async fn a_cut_body_ends_with_an_error_and_never_well() {
        let piece = || stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"a"))]);
        // More may follow, or the connection is gone and nothing does.
        let bodies = [
            Body::from_stream(piece().chain(stream::pending())),
            Body::from_stream(piece()),
        ];
        for body in bodies {
            let cut = CancellationToken::new();
            let mut body = Ending::wrap(body, cut.clone());
            let first = body.frame().await.unwrap().unwrap();
            assert_eq!(first.into_data().unwrap(), "a");
            cut.cancel();
            for _ in 0..2 {
                assert!(body.frame().await.unwrap().is_err());
            }
        }
    }

    #[tokio::test]
    async fn who_waits_for_bytes_hears_of_the_cut() {
        let body = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let cut = CancellationToken::new();
        let mut body = Ending::wrap(body, cut.clone());
        let cutting = async {
            tokio::task::yield_now().await;
            cut.cancel();
        };
        let (next, ()) = tokio::join!(body.frame(), cutting);
        assert!(next.unwrap().is_err());
    }
}
