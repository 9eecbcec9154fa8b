//! Turns: one request at a time for each upload, and for what is said about each manifest. Owns nothing of either.

use super::Error;
use crate::metadata::UploadId;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// How long a request waits for another that writes to the same upload, before it is told so. A client
/// whose connection broke comes back sooner than the server sees the break.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// One at a time for each key.
#[derive(Debug)]
pub(super) struct Locks<K> {
    locks: Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>,
}

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Locks {
            locks: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash> Locks<K> {
    /// Waits for whoever came before with the same key, however long they take.
    pub(super) async fn turn(&self, key: K) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            let lock = locks.get(&key).and_then(Weak::upgrade).unwrap_or_default();
            locks.insert(key, Arc::downgrade(&lock));
            lock
        };
        lock.lock_owned().await
    }
}

impl Locks<UploadId> {
    pub(super) async fn acquire(
        &self,
        id: UploadId,
    ) -> Result<tokio::sync::OwnedMutexGuard<()>, Error> {
        tokio::time::timeout(BUSY_WAIT, self.turn(id))
            .await
            .map_err(|_| Error::UploadBusy)
    }
}
