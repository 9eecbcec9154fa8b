//! Connections: accepted, encrypted if so configured, bounded, and drained at the end.
//!
//! Heads of requests have a deadline, so have handshakes and writes that make no progress; bodies only
//! have one for each piece, either way. An HTTP/2 connection on which nothing is asked has the one of a head, as HTTP/1
//! has between requests. There is no limit on the time of a whole transfer, until the server stops.

use super::App;
use super::context::Peer;
use super::ending::Ending;
use super::lingering::Lingering;
use super::opening::Opening;
use super::streams::{Streams, watched};
use crate::process;
use axum::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long connections go on after their requests were cut, so that the answers which say so get out.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Most requests at once on an HTTP/2 connection. Clients ask for fewer (most for 3 to 8 layers); a proxy opens another one.
/// Each holds up to 2 MiB of a blob: what is sent, what was read ahead, what h2 has.
const MOST_STREAMS: u32 = 32;

/// Bytes of an answer that h2 takes over before the peer has room for them. Less makes its task and that of the
/// connection wait for each other with every piece; more is read from the disk for readers that may never take it.
const MOST_UNSENT: usize = 256 * 1024;

/// Largest head over HTTP/2: an Authorization header of 80 KiB (`auth::authorization`), and the others. HTTP/1 reads more.
const MOST_HEAD: u32 = 96 * 1024;

/// Bounds on connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// Longest wait for the head of a request, and for a handshake.
    pub head: Duration,
    /// Longest time in which a peer takes nothing that is ready for it.
    pub write_idle: Duration,
    /// How long a stopping server waits for requests to end before it cuts them.
    pub drain: Duration,
}

/// A socket to serve on.
pub struct Listening {
    /// The socket.
    pub listener: TcpListener,
    /// The certificate, if connections are encrypted.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Listening({:?}, tls: {})",
            self.listener.local_addr(),
            self.tls.is_some()
        )
    }
}

/// Serves until `stop`, then lets running requests end. Those that take too long are cut: their bodies end with an
/// error, and a moment later their connections.
///
/// # Errors
/// Only if the socket itself fails.
pub async fn serve(
    app: App,
    listening: Listening,
    limits: Limits,
    stop: CancellationToken,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let acceptor = listening.tls.map(TlsAcceptor::from);
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place.map_err(io::Error::other)?,
            () = stop.cancelled() => break,
        };
        let (stream, peer) = tokio::select! {
            accepted = listening.listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Too many open files, mostly: the listener itself is sound.
                    tracing::warn!(%error, "connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        // Uploads and downloads have files open as well, so the number of places alone does not say.
        if !process::leaves_spare(&stream) {
            tracing::warn!("a connection was closed at once: too many open files");
            drop(stream);
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let (app, acceptor) = (app.clone(), acceptor.clone());
        let ends = Ends {
            stop: stop.clone(),
            cut: cut.clone(),
        };
        connections.spawn(async move {
            let _place = place;
            let over = ends.clone().over();
            let ended = tokio::select! {
                ended = connection(app, stream, Peer(peer.ip()), acceptor, limits, ends) => ended,
                () = over => Err("cut, because the server stops".into()),
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, error, "connection ended");
            }
        });
    }
    // Closed at once: what is not accepted any more must be refused, so that clients go elsewhere, instead
    // of waiting in a queue that nobody serves.
    drop(listening.listener);
    connections.close();
    if tokio::time::timeout(limits.drain, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            open = connections.len(),
            "some requests did not end in time and are cut"
        );
        cut.cancel();
        connections.wait().await;
    }
    // For whoever still reads the body of a request whose connection is gone.
    cut.cancel();
    Ok(())
}

/// When a connection is asked to end, and when it has to.
#[derive(Clone)]
struct Ends {
    stop: CancellationToken,
    cut: CancellationToken,
}

impl Ends {
    /// Waits until the answers to requests that were cut have had their time.
    async fn over(self) {
        self.cut.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    }
}

async fn connection(
    app: App,
    stream: TcpStream,
    peer: Peer,
    acceptor: Option<TlsAcceptor>,
    limits: Limits,
    ends: Ends,
) -> Result<(), String> {
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    let stream = WriteDeadline::new(stream, limits.write_idle);
    match acceptor {
        None => requests(app, stream, peer, limits, ends).await,
        Some(acceptor) => {
            let handshake = tokio::time::timeout(limits.head, acceptor.accept(stream));
            let stream = handshake
                .await
                .map_err(|_| "handshake took too long")?
                .map_err(|error| error.to_string())?;
            requests(app, stream, peer, limits, ends).await
        }
    }
}

async fn requests<S>(
    app: App,
    stream: S,
    peer: Peer,
    limits: Limits,
    ends: Ends,
) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let streams = Streams::new(limits.write_idle);
    let mut builder = Builder::new(streams.clone());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(256 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_send_buf_size(MOST_UNSENT)
        .max_header_list_size(MOST_HEAD)
        .adaptive_window(true)
        // A peer that opened a connection and went away answers no ping either.
        .keep_alive_interval(limits.head)
        .keep_alive_timeout(limits.head);
    let Ends { stop, cut } = ends;
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let app = app.clone();
        let mut request = request.map(|body| Ending::wrap(Body::new(body), cut.clone()));
        request.extensions_mut().insert(peer);
        async move {
            let answer = app.handle(Lingering::wrap(request)).await;
            Ok::<_, std::convert::Infallible>(watched(answer))
        }
    });
    let opening = Opening::new(stream, limits.head, streams.clone());
    let connection = builder.serve_connection(TokioIo::new(opening), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(|error| error.to_string()),
        () = stop.cancelled() => {}
        () = streams.unused(limits.head) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection.as_mut() => ended.map_err(|error| error.to_string()),
        // HTTP/2 asks the peer whether more is on its way; it need not answer.
        () = streams.unused(limits.head) => Err("nothing is asked and the peer does not go".into()),
    }
}

/// A stream whose writes fail when the peer takes nothing for too long.
struct WriteDeadline<S> {
    stream: S,
    idle: Duration,
    waiting: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<S> WriteDeadline<S> {
    fn new(stream: S, idle: Duration) -> WriteDeadline<S> {
        WriteDeadline {
            stream,
            idle,
            waiting: None,
        }
    }

    /// Passes a result on; while it is pending, the clock runs.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.waiting = None;
            return poll;
        }
        let idle = self.idle;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer takes no bytes",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteDeadline<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, poll)
    }
}
