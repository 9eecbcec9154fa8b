//! The streams of one HTTP/2 connection: an answer that nobody takes is given up, and it is known how long nothing was
//! asked.
//!
//! Over HTTP/1 an answer that nobody takes stands still in the socket, which has a deadline (`server`). Over HTTP/2 each
//! stream has a window that only the peer opens: with it shut the connection lives on, and hyper waits without a clock.
//! Owns: the deadline for answers, and pieces so small that a slow reader is seen to read. Does not own: a socket
//! that stands still, and bodies of requests (`context`).
//! Invariant: of an answer whose reader has taken nothing for `idle`, nothing is held any more: no memory, no open file, no
//! place among the streams. What h2 has taken over and not sent counts as held.

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::time::Instant;

/// Most bytes that are handed over at once. Who takes less in `idle` counts as who takes nothing; over HTTP/1 that is
/// what fits into a socket, which is more.
const PIECE: usize = 64 * 1024;

tokio::task_local! {
    /// Whoever reads the answer on the stream whose task this is.
    static READER: Arc<Reader>;
}

/// Runs the streams of a connection; hyper gives it each as a task.
#[derive(Clone)]
pub(super) struct Streams {
    idle: Duration,
    asked: Arc<Mutex<Asked>>,
}

struct Asked {
    speaks_http2: bool,
    /// Streams that have not ended.
    live: usize,
    /// When the last one ended, or the connection began.
    since: Instant,
}

impl Streams {
    pub(super) fn new(idle: Duration) -> Streams {
        let asked = Asked {
            speaks_http2: false,
            live: 0,
            since: Instant::now(),
        };
        Streams {
            idle,
            asked: Arc::new(Mutex::new(asked)),
        }
    }

    /// The peer speaks HTTP/2.
    pub(super) fn begin(&self) {
        let mut asked = lock(&self.asked);
        asked.speaks_http2 = true;
        asked.since = Instant::now();
    }

    /// Waits until there has been no stream for `limit`, from now on. For ever over HTTP/1, where hyper has a deadline
    /// for the next head.
    pub(super) async fn unused(&self, limit: Duration) {
        let from = Instant::now();
        let idle_since = || {
            let asked = lock(&self.asked);
            let is_idle = asked.speaks_http2 && asked.live == 0;
            is_idle.then_some(asked.since.max(from))
        };
        lasts(limit, idle_since).await;
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let (live, idle) = (Live::begin(&self.asked), self.idle);
        let reader = Arc::<Reader>::default();
        let read = Arc::clone(&reader);
        let watched = async move {
            let _live = live;
            tokio::select! {
                biased;
                () = stream => {}
                // That drops it: the stream is reset, and h2 throws away what it has of the answer.
                () = lasts(idle, || read.waits_since()) => {
                    tracing::debug!("an answer was given up that nobody takes");
                }
            }
        };
        tokio::spawn(READER.scope(reader, watched));
    }
}

/// A stream that has not ended.
struct Live(Arc<Mutex<Asked>>);

impl Live {
    fn begin(asked: &Arc<Mutex<Asked>>) -> Live {
        lock(asked).live += 1;
        Live(Arc::clone(asked))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut asked = lock(&self.0);
        asked.live -= 1;
        asked.since = Instant::now();
    }
}

/// The answer in pieces of which it is known when they were sent, if it goes out on a stream.
pub(super) fn watched(answer: Response<Body>) -> Response<Body> {
    match READER.try_with(Arc::clone) {
        Ok(reader) if !answer.body().is_end_stream() => {
            answer.map(|body| Body::new(Pieces::new(body, reader)))
        }
        _ => answer,
    }
}

/// A body that hands over a piece at a time, and ends when all of them were sent: until then its stream has a task, and
/// somebody looks at the clock.
struct Pieces {
    /// `None` once it has ended.
    body: Option<Body>,
    /// What it gave and was not handed over yet.
    rest: Bytes,
    reader: Arc<Reader>,
}

impl Pieces {
    fn new(body: Body, reader: Arc<Reader>) -> Pieces {
        Pieces {
            body: Some(body),
            rest: Bytes::new(),
            reader,
        }
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        while this.rest.is_empty() {
            let Some(body) = &mut this.body else {
                ready!(this.reader.poll_all_sent(context));
                return Poll::Ready(None);
            };
            match ready!(Pin::new(body).poll_frame(context)) {
                None => this.body = None,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => this.rest = bytes,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(this.reader.hand(piece)))))
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.rest.len() as u64;
        match &self.body {
            None => SizeHint::with_exact(left),
            Some(body) => match body.size_hint().exact() {
                Some(more) => SizeHint::with_exact(left + more),
                None => SizeHint::default(),
            },
        }
    }
}

/// How far the reader of an answer has come.
#[derive(Default)]
struct Reader(Mutex<Handed>);

#[derive(Default)]
struct Handed {
    /// Pieces that were handed over and are not sent.
    pieces: usize,
    /// When the last one was handed over or sent.
    moved: Option<Instant>,
    /// Who waits until all are sent.
    waiting: Option<Waker>,
}

impl Reader {
    /// Since when it has taken nothing of what it could have.
    fn waits_since(&self) -> Option<Instant> {
        let handed = lock(&self.0);
        handed.moved.filter(|_| handed.pieces > 0)
    }

    fn poll_all_sent(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut handed = lock(&self.0);
        if handed.pieces == 0 {
            return Poll::Ready(());
        }
        handed.waiting = Some(context.waker().clone());
        Poll::Pending
    }

    fn hand(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        let mut handed = lock(&self.0);
        handed.pieces += 1;
        handed.moved = Some(Instant::now());
        drop(handed);
        Bytes::from_owner(Piece {
            bytes,
            reader: Arc::clone(self),
        })
    }

    fn note_sent(&self) {
        let mut handed = lock(&self.0);
        handed.pieces -= 1;
        handed.moved = Some(Instant::now());
        let waiting = match handed.pieces {
            0 => handed.waiting.take(),
            _ => None,
        };
        drop(handed);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

/// A piece of an answer. h2 drops it when it has written the last byte of it to the connection, or throws it away.
struct Piece {
    bytes: Bytes,
    reader: Arc<Reader>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.reader.note_sent();
    }
}

/// Waits until `since` has told of one and the same moment for `limit`; `None` is that nothing stands still.
async fn lasts(limit: Duration, since: impl Fn() -> Option<Instant>) {
    loop {
        let (now, moved) = (Instant::now(), since());
        if moved.is_some_and(|moved| now.duration_since(moved) >= limit) {
            return;
        }
        match moved.unwrap_or(now).checked_add(limit) {
            Some(next) => tokio::time::sleep_until(next).await,
            None => std::future::pending().await,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body_util::BodyExt as _;
    use hyper::rt::Executor as _;
    use std::future::pending;
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn an_answer_is_handed_over_in_pieces_and_ends_when_all_are_sent() {
        let reader = Arc::<Reader>::default();
        let bytes = vec![7; 3 * PIECE + 5];
        let mut body = Pieces::new(Body::from(bytes.clone()), reader.clone());
        assert_eq!(body.size_hint().exact(), Some(bytes.len() as u64));
        let mut held = Vec::new();
        for len in [PIECE, PIECE, PIECE, 5] {
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(piece.len(), len);
            held.push(piece);
        }
        assert_eq!(held.concat(), bytes);
        // Whoever has only dropped some of them has not sent the last.
        held.truncate(1);
        assert!(reader.waits_since().is_some());
        assert!(timeout(SHORT, body.frame()).await.is_err());
        let ends = tokio::spawn(async move { body.frame().await.is_none() });
        tokio::task::yield_now().await;
        drop(held);
        assert!(timeout(LONG, ends).await.unwrap().unwrap());
        assert_eq!(reader.waits_since(), None);
    }

    /// A stream that does `work` with its reader; the receiver hears when its task is gone.
    fn stream<W>(
        streams: &Streams,
        work: impl FnOnce(Arc<Reader>) -> W + Send + 'static,
    ) -> oneshot::Receiver<()>
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let (sender, gone) = oneshot::channel();
        streams.execute(async move {
            let _sender = sender;
            work(READER.with(Arc::clone)).await;
        });
        gone
    }

    #[tokio::test]
    async fn a_stream_is_given_up_when_nothing_of_its_answer_is_taken() {
        let streams = Streams::new(SHORT);
        let held = stream(&streams, |reader| async move {
            let _piece = reader.hand(Bytes::from_static(b"x"));
            pending().await
        });
        assert!(timeout(LONG, held).await.unwrap().is_err());
        // Neither one that is read slowly, nor one on which the server works itself.
        let slow = stream(&streams, |reader| async move {
            for _ in 0..10 {
                let piece = reader.hand(Bytes::from_static(b"x"));
                tokio::time::sleep(SHORT / 4).await;
                drop(piece);
            }
            tokio::time::sleep(4 * SHORT).await;
            drop(reader.hand(Bytes::from_static(b"the end")));
            pending().await
        });
        assert!(timeout(8 * SHORT, slow).await.is_err());
    }

    #[tokio::test]
    async fn a_connection_is_unused_when_no_stream_has_been_live() {
        let streams = Streams::new(LONG);
        assert!(timeout(4 * SHORT, streams.unused(SHORT)).await.is_err());
        streams.begin();
        let (sender, receiver) = oneshot::channel::<()>();
        let live = stream(&streams, |_| async move { receiver.await.unwrap() });
        assert!(timeout(4 * SHORT, streams.unused(SHORT)).await.is_err());
        sender.send(()).unwrap();
        assert!(timeout(LONG, live).await.unwrap().is_err());
        assert!(timeout(LONG, streams.unused(SHORT)).await.is_ok());
    }
}
