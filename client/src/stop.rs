//! How a blocking thread learns that nobody waits for it any more.
//!
//! A future that is dropped has ended, what it gave to a blocking thread goes on to its end, and the program with it:
//! an interrupted export wrote its archive to the last byte and published it. Owns the word between the two. Whoever
//! works in pieces asks before each, and before anything gets its final name.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinError;

/// What a thread asks.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

/// Held by whoever waits; tells the thread to stop when it is dropped.
#[derive(Debug)]
pub struct StopOnDrop(Stop);

impl Stop {
    /// What tells it.
    pub fn on_drop(&self) -> StopOnDrop {
        StopOnDrop(self.clone())
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// Once nobody waits any more: nobody reads it either.
    pub fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::Relaxed) {
            // Not `Interrupted`: that is tried again.
            true => Err(io::Error::other("nobody waits for it any more")),
            false => Ok(()),
        }
    }

    /// The same bytes, as long as somebody waits for them.
    pub fn reading<R: Read>(&self, inner: R) -> Stoppable<R> {
        Stoppable {
            inner,
            stop: self.clone(),
        }
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// A reader that ends with an error once nobody waits for it.
#[derive(Debug)]
pub struct Stoppable<R> {
    inner: R,
    stop: Stop,
}

impl<R: Read> Read for Stoppable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stop.check()?;
        self.inner.read(buffer)
    }
}

/// Runs `work` on a blocking thread, and tells it to stop if this future is dropped before it has ended.
///
/// # Errors
/// If it panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&Stop) -> T + Send + 'static,
) -> Result<T, JoinError> {
    let stop = Stop::default();
    let _told = stop.on_drop();
    tokio::task::spawn_blocking(move || work(&stop)).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[tokio::test]
    async fn a_thread_stops_when_its_future_is_dropped_and_not_before() {
        assert!(blocking(|stop| stop.check().is_ok()).await.unwrap());
        let (ended, end) = mpsc::channel();
        let work = move |stop: &Stop| {
            let mut endless = stop.reading(io::repeat(7));
            let error = io::copy(&mut endless, &mut io::sink()).unwrap_err();
            ended.send(error.kind()).unwrap();
        };
        let working = tokio::time::timeout(Duration::from_millis(20), blocking(work));
        assert!(working.await.is_err());
        let kind = end.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(kind, io::ErrorKind::Other);
    }
}
