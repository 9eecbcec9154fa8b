//! A metadata store that takes no write any more, though its disk would.
//!
//! One file that could not be opened is enough: from then on RocksDB refuses every write until it is opened anew. To open
//! it anew beside those who read, and beside what is kept in memory of the last state, could not be shown to be right. So
//! the server ends, whoever runs it starts it again, and clients try again. Where the disk itself takes nothing, a start
//! would only take away what can still be read, so there it stays. So it does for an hour after a start that did not help.
//!
//! Owns: the question, and what is told meanwhile. Does not own when it has lasted too long ([`jobs`](crate::jobs)), nor what
//! the store itself looks at ([`Metadata::is_stuck`](crate::metadata::Metadata::is_stuck)).
//! Invariant: for such a reason no two servers end within an hour.

use super::Registry;
use crate::auth::Maintenance;
use std::sync::atomic::Ordering;

impl Registry {
    /// Looks whether only another start helps, and keeps the answer for [`Registry::was_stuck`].
    pub async fn is_stuck(&self, _right: &Maintenance) -> bool {
        let found = self.metadata().is_stuck(self.now()).await;
        let stuck = found.unwrap_or_else(|error| {
            tracing::warn!(%error, "it is not known whether the metadata store can be written");
            false
        });
        self.inner.stuck.store(stuck, Ordering::Release);
        stuck
    }

    /// Notes that the server ends because of that.
    ///
    /// # Errors
    /// If it cannot be noted: then it must not end, or the next one could end as soon.
    pub async fn note_end(&self, _right: &Maintenance) -> Result<(), crate::metadata::Error> {
        self.metadata().note_end(self.now()).await
    }

    /// What [`Registry::is_stuck`] found last.
    pub fn was_stuck(&self) -> bool {
        self.inner.stuck.load(Ordering::Acquire)
    }
}
