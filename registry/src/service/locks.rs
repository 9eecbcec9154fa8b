//! Who may write to an upload: one request at a time. Owns nothing of the upload itself.

use super::Error;
use crate::metadata::UploadId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// How long a request waits for another that writes to the same upload, before it is told so. A client
/// whose connection broke comes back sooner than the server sees the break.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// One writer at a time for each upload.
#[derive(Debug, Default)]
pub(super) struct Locks {
    locks: Mutex<HashMap<UploadId, Weak<tokio::sync::Mutex<()>>>>,
}

impl Locks {
    pub(super) async fn acquire(
        &self,
        id: UploadId,
    ) -> Result<tokio::sync::OwnedMutexGuard<()>, Error> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            let lock = locks.get(&id).and_then(Weak::upgrade).unwrap_or_default();
            locks.insert(id, Arc::downgrade(&lock));
            lock
        };
        tokio::time::timeout(BUSY_WAIT, lock.lock_owned())
            .await
            .map_err(|_| Error::UploadBusy)
    }
}
