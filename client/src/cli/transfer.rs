//! Arguments that say how blobs move; shared by push, pull and copy.

use super::Context;
use super::output::Format;
use sealstone::transfer::progress::{Audience, Events, Lines, for_people};
use sealstone::transfer::{Sessions, TransferOptions};
use sealstone::{Error, Result};
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// How blobs move.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Transfer")]
pub(crate) struct TransferArgs {
    /// Blobs that move at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,

    /// Ranges of large blobs that are fetched at the same time, shared among them; 1 fetches each as
    /// one stream. Without it: as many as there are processors, from 2 to 4
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    ranges: Option<u16>,
}

impl TransferArgs {
    /// The same, for the library.
    pub(crate) fn options(&self, context: &Context) -> TransferOptions {
        let progress: Audience = match context.output.format() {
            Format::Human => for_people(),
            Format::Plain => Arc::new(Lines),
            Format::Json => Arc::new(Events),
        };
        TransferOptions {
            parallel: self.parallel.into(),
            ranges: self.ranges.map_or_else(default_ranges, usize::from),
            sessions: Sessions::in_user_cache(),
            downloads: sealstone::transfer::Downloads::in_user_cache(),
            progress,
            ..TransferOptions::default()
        }
    }
}

/// Each range has a thread that checks it: more of them than processors only get in each other's way.
fn default_ranges() -> usize {
    std::thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(2, 4)
}

/// Tells the transfer that runs, if one does, to end.
static RUNNING: Mutex<Option<oneshot::Sender<()>>> = Mutex::new(None);

fn running() -> MutexGuard<'static, Option<oneshot::Sender<()>>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a transfer to its end or to Ctrl-C or SIGTERM, and cleans up after itself in both cases:
/// whatever was in the making is dropped and with it removed. Its threads are told to stop, and the program ends when
/// they have; at a second signal it ends at once.
pub(crate) async fn interruptible<T>(transfer: impl Future<Output = Result<T>>) -> Result<T> {
    unless_interrupted(transfer).await?
}

/// The same for whoever goes on where a transfer has failed: its own end, and the error outside only if it was interrupted,
/// or could not be.
pub(crate) async fn unless_interrupted<T>(transfer: impl Future<Output = T>) -> Result<T> {
    static LISTENING: OnceLock<io::Result<()>> = OnceLock::new();
    if let Err(error) = LISTENING.get_or_init(listen) {
        let error = io::Error::new(error.kind(), error.to_string());
        return Err(Error::io("waiting for signals", error));
    }
    let (tell, told) = oneshot::channel();
    *running() = Some(tell);
    tokio::select! {
        ended = transfer => {
            *running() = None;
            Ok(ended)
        }
        _ = told => Err(interrupted()),
    }
}

/// Listens for both signals from now on, on a thread of its own: the runtime of the transfers may be waiting for theirs.
fn listen() -> io::Result<()> {
    let (ready, is_ready) = std::sync::mpsc::channel();
    let begin = || -> io::Result<(Runtime, Signal, Signal)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let inside = runtime.enter();
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        drop(inside);
        Ok((runtime, interrupt, terminate))
    };
    let listening = move || match begin() {
        Ok((runtime, interrupt, terminate)) => {
            let _ = ready.send(Ok(()));
            runtime.block_on(tell(interrupt, terminate));
        }
        Err(error) => {
            let _ = ready.send(Err(error));
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(listening)?;
    let ended = |_| Err(io::Error::other("the thread that listens has ended"));
    is_ready.recv().unwrap_or_else(ended)
}

/// Tells the transfer that runs. Where none does, also because it was told already, the program ends: whoever listens
/// once keeps signals from ending it by themselves, also in the hours of a run that come after a transfer.
async fn tell(mut interrupt: Signal, mut terminate: Signal) {
    loop {
        let kind = tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
        };
        let is_told = running().take().is_some_and(|tell| tell.send(()).is_ok());
        if !is_told {
            // What a shell says of a program that a signal has ended.
            std::process::exit(128 + kind.as_raw_value());
        }
    }
}

fn interrupted() -> Error {
    Error::other("interrupted; nothing half-done was left under its final name")
        .hint("the same command again goes on: an upload where the registry stands, a download from a registry with what is missing; an archive is made anew")
}
