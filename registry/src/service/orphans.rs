//! Objects that no row names: their rows were among the last that a metadata store lost, or it is of an older day.
//!
//! Owns finding and removing them, and how often that is done. Does not own the list: that is the blob store's.
//! Invariant: where rows are known to be missing, nothing is removed.

use super::upload::blocking;
use super::{Error, Job, Registry};
use crate::auth::Maintenance;
use futures_util::TryStreamExt as _;
use serde::Serialize;
use std::time::Duration;

/// An object that no row names is left alone for so long.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);

/// They are looked for as often at most: it takes one question for each object that there is.
const SWEEP_EVERY: Duration = Duration::from_secs(24 * 3600);

/// What a sweep of the object store found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OrphanReport {
    /// Objects listed.
    pub objects: u64,
    /// Objects that no row names and that are older than a day.
    pub orphans: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that no row names and that are too young to be removed.
    pub young: u64,
    /// Orphans that could not be deleted.
    pub failed: u64,
}

impl Registry {
    /// [`Registry::sweep_orphans`], if that was not done within a day; `None` if it was.
    pub async fn sweep_when_due(&self, right: &Maintenance) -> Result<Option<OrphanReport>, Error> {
        let last = self.last_success(Job::Sweep).await?;
        // Either way: a clock that was ahead puts it off by a day at most.
        let since = last.map(|last| Duration::from_millis(self.now().abs_diff(last)));
        if since.is_some_and(|since| since < SWEEP_EVERY) {
            return Ok(None);
        }
        self.sweep_orphans(right, false).await.map(Some)
    }

    /// Removes objects that no row names and that are older than a day. A key is reserved in the metadata
    /// before its first byte is written and forgotten after its last one is gone, so such an object was
    /// left behind: by a metadata store that lost its last rows (versions before this one did not sync that an
    /// upload is whole), or was put back to an older day. The day is for the second: what is young may still be named
    /// by a store that is about to be mended.
    pub async fn sweep_orphans(
        &self,
        _right: &Maintenance,
        only_look: bool,
    ) -> Result<OrphanReport, Error> {
        let dry_run = only_look || self.keeps_orphans();
        if !dry_run {
            // What lies in another store's folder is nobody's here, and somebody's there.
            let store = self.blobs().clone();
            blocking(move || store.check_writable()).await?;
        }
        let before = self.now() - ORPHAN_AGE.as_millis() as i64;
        let mut report = OrphanReport::default();
        let mut listed = self.blobs().inventory();
        while let Some(stored) = listed.try_next().await? {
            report.objects += 1;
            if self.metadata().knows_key(&stored.key).await? {
                continue;
            }
            if stored.written > before {
                report.young += 1;
                continue;
            }
            report.orphans += 1;
            report.bytes += stored.size;
            tracing::warn!(object.key = %stored.key, size_bytes = stored.size, dry_run, "no row names this object");
            if dry_run {
                continue;
            }
            match self.blobs().delete(&stored.key).await {
                Ok(()) => {
                    self.inner.metrics.orphans_removed.inc();
                }
                Err(error) => {
                    tracing::error!(object.key = %stored.key, %error, "this object cannot be deleted");
                    report.failed += 1;
                }
            }
        }
        if !only_look {
            self.note_run(Job::Sweep).await;
        }
        Ok(report)
    }

    /// From now on nothing is removed because no row names it: rows are known to be missing.
    pub fn keep_orphans(&self) {
        let _ = self.inner.keeps_orphans.set(());
    }

    pub(super) fn keeps_orphans(&self) -> bool {
        self.inner.keeps_orphans.get().is_some()
    }
}
