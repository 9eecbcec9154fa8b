//! A metadata store that takes no write any more, though its disk would.
//!
//! One file that could not be opened is enough: from then on RocksDB refuses every write until it is opened anew. To open
//! it anew beside those who read, and beside what is kept in memory of the last state, could not be shown to be right. So
//! the server ends, whoever runs it starts it again, and clients try again. Where the disk itself takes nothing, a start
//! would only take away what can still be read, so there it stays.
//!
//! Owns: the question, and what is told meanwhile. Does not own when it has lasted too long ([`jobs`](crate::jobs)).

use super::Registry;
use crate::auth::Maintenance;
use std::sync::atomic::Ordering;

impl Registry {
    /// Looks whether only another start helps, and keeps the answer for [`Registry::was_stuck`].
    pub async fn is_stuck(&self, _right: &Maintenance) -> bool {
        let found = self.metadata().is_stuck().await;
        let stuck = found.unwrap_or_else(|error| {
            tracing::warn!(%error, "it is not known whether the metadata store can be written");
            false
        });
        self.inner.stuck.store(stuck, Ordering::Release);
        stuck
    }

    /// What [`Registry::is_stuck`] found last.
    pub fn was_stuck(&self) -> bool {
        self.inner.stuck.load(Ordering::Acquire)
    }
}
