//! The first bytes of a connection, which tell HTTP/1 from HTTP/2: they must come in time.
//!
//! Owns: the deadline for them, and telling [`Streams`] which it is. Does not own: what follows; there the protocol's own
//! deadlines hold.
//! Invariant: a peer that sends nothing, or only a part of HTTP/2's preface, does not keep its place.

use super::streams::Streams;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How HTTP/2 begins: RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose reads fail when the peer does not say in time which protocol it speaks.
pub(super) struct Opening<S> {
    stream: S,
    /// Until when, and how many bytes of the preface have come; `None` once the protocol is known.
    waiting: Option<(Pin<Box<Sleep>>, usize)>,
    streams: Streams,
}

impl<S> Opening<S> {
    pub(super) fn new(stream: S, limit: Duration, streams: Streams) -> Opening<S> {
        Opening {
            stream,
            waiting: Some((Box::pin(tokio::time::sleep(limit)), 0)),
            streams,
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        let Some((_, seen)) = &mut self.waiting else {
            return;
        };
        let rest = &PREFACE[*seen..];
        let common = rest.len().min(bytes.len());
        *seen += common;
        let is_other = rest[..common] != bytes[..common];
        let is_whole = !is_other && *seen == PREFACE.len();
        if is_whole {
            self.streams.begin();
        }
        // The end of the stream, another protocol, or all of the preface.
        if bytes.is_empty() || is_other || is_whole {
            self.waiting = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(result) => {
                if result.is_ok() {
                    self.note(&buffer.filled()[before..]);
                }
                Poll::Ready(result)
            }
            Poll::Pending => {
                let Some((deadline, _)) = &mut self.waiting else {
                    return Poll::Pending;
                };
                ready!(deadline.as_mut().poll(context));
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the peer does not begin a request",
                )))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn only_a_peer_that_leaves_the_protocol_open_is_cut() {
        for (sent, cut) in [
            (&b""[..], true),
            (b"P", true),
            (&PREFACE[..23], true),
            (PREFACE, false),
            (b"G", false),
            (b"PU", false),
            (b"PRI * HTTP/1.1", false),
        ] {
            let (mut peer, stream) = tokio::io::duplex(64);
            let streams = Streams::new(Duration::from_secs(60));
            let mut opening = Opening::new(stream, Duration::from_millis(50), streams.clone());
            for byte in sent {
                peer.write_all(&[*byte]).await.unwrap();
            }
            let mut buffer = [0; 64];
            if !sent.is_empty() {
                opening.read_exact(&mut buffer[..sent.len()]).await.unwrap();
            }
            let next =
                tokio::time::timeout(Duration::from_millis(300), opening.read(&mut buffer)).await;
            assert_eq!(next.is_ok(), cut, "{:?}", String::from_utf8_lossy(sent));
            // Only where it is HTTP/2, a connection without streams is one that nobody uses.
            let unused = streams.unused(Duration::from_millis(10));
            let is_unused = tokio::time::timeout(Duration::from_millis(300), unused).await;
            assert_eq!(is_unused.is_ok(), sent == PREFACE);
        }
    }
}
