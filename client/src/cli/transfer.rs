//! Arguments that say how blobs move; shared by push, pull and copy.

use super::Context;
use super::output::Format;
use sealstone::transfer::progress::{Audience, Bars, Events, Lines};
use sealstone::transfer::{Sessions, TransferOptions};
use sealstone::{Error, Result};
use std::future::Future;
use std::sync::Arc;

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
            Format::Human => Arc::new(Bars::default()),
            Format::Plain => Arc::new(Lines),
            Format::Json => Arc::new(Events),
        };
        TransferOptions {
            parallel: self.parallel.into(),
            ranges: self.ranges.map_or_else(default_ranges, usize::from),
            sessions: Sessions::in_user_cache(),
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

/// Runs a transfer to its end or to Ctrl-C or SIGTERM, and cleans up after itself in both cases:
/// whatever was in the making is dropped and with it removed. Its threads are told to stop, and the program ends when
/// they have; at a second signal it ends at once.
pub(crate) async fn interruptible<T>(transfer: impl Future<Output = Result<T>>) -> Result<T> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error| Error::io("waiting for signals", error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        result = transfer => return result,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    end_at_the_next_signal();
    Err(interrupted())
}

/// Gives both signals back what they do where nobody listens: whoever listened here has gone.
#[allow(unsafe_code)]
fn end_at_the_next_signal() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the default is no function of this program, and the one that it replaces only tells a runtime that
        // does without. That this may fail leaves things as they are.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

fn interrupted() -> Error {
    Error::other("interrupted; nothing half-done was left under its final name")
        .hint("the same command again goes on: an upload where the registry stands, a download from a registry with what is missing")
}
