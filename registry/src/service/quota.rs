//! Quotas of namespaces: which ones apply, how room is held for what is coming, and what is told where there is none.
//!
//! Does not own the comparison: that is made by the metadata store, in the step that adds something.
//! Invariant: what only reads or deletes asks nothing here.

use super::{Contributor, Error, Registry};
use crate::blobs::INLINE_LIMIT;
use crate::metadata::{Progress, Quota, Refusal, UploadId, UploadRow, Usage};
use crate::metrics::NamespaceLabel;
use sealstone_spec::digest::Digest;
use serde::Serialize;

/// Uploads of one account that go on at a time though a quota has no room for them. What they are is known when they end;
/// whoever never ends them holds no more than 64 KiB in each. Each account has its own, so that nobody takes those that a
/// revocation needs.
pub(super) const MOST_WITHOUT_ROOM: u64 = 16;

/// Uploads that are looked at in one step.
const PAGE: usize = 500;

/// What a namespace holds, and what it may hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamespaceUsage {
    /// Its name; empty for the whole registry.
    pub namespace: String,
    /// What is there.
    #[serde(flatten)]
    pub usage: Usage,
    /// What is set for this very namespace; those above it and below it may have quotas as well.
    pub quota: Option<QuotaLimits>,
}

/// The limits of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct QuotaLimits {
    /// Bytes.
    pub bytes: Option<u64>,
    /// Blobs and manifests.
    pub objects: Option<u64>,
}

/// What a body has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// So many bytes of the upload stay reserved while it comes.
    Room(u64),
    /// None is needed for so many bytes: the repository has a blob of that size under the digest that was named. What is
    /// longer cannot be that blob.
    Copy(u64),
}

impl Hold {
    /// Whether an upload that has come so far needs no room.
    pub(super) fn is_free(self, offset: u64) -> bool {
        matches!(self, Hold::Copy(size) if offset <= size)
    }

    /// Bytes to be reserved for an upload that has come so far and goes on; `None` leaves them as they are.
    pub(super) fn at(self, offset: u64) -> Option<u64> {
        match self {
            Hold::Room(end) => Some(end.max(offset)),
            Hold::Copy(_) => (!self.is_free(offset)).then_some(offset),
        }
    }
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Registry {
    /// Those that must leave room for what somebody adds. What the registry itself says is counted and never refused.
    pub(super) fn quotas_for(&self, who: &Contributor) -> Vec<Quota> {
        if who.is_registry() {
            return Vec::new();
        }
        let applies = |quota: &&Quota| quota.covers(who.repository());
        self.inner.quotas.iter().filter(applies).cloned().collect()
    }

    /// The error for a refusal by the metadata store. A quota's is counted and logged: somebody has to make room.
    pub(super) fn refused(&self, who: &Contributor, refusal: Refusal) -> Error {
        if let Refusal::QuotaExceeded(exceeded) = &refusal {
            let refusals = &self.inner.metrics.quota_refusals;
            let label = NamespaceLabel::of(&exceeded.namespace);
            refusals.get_or_create(&label).inc();
            tracing::warn!(repo.name = %who.repository(), by = who.name(), reason = %exceeded, "refused by a quota");
        }
        refusal.into()
    }

    /// What a namespace holds; nothing for one that nobody has pushed to.
    pub async fn usage(&self, namespace: &str) -> Result<NamespaceUsage, Error> {
        let mut quotas = self.inner.quotas.iter();
        let quota = quotas.find(|quota| quota.namespace == namespace);
        Ok(NamespaceUsage {
            namespace: namespace.to_owned(),
            usage: self.metadata().usage(namespace).await?,
            quota: quota.map(|quota| QuotaLimits {
                bytes: quota.bytes,
                objects: quota.objects,
            }),
        })
    }

    /// Shows how much is used of each quota. Only of those: a label for each repository would have no end.
    pub async fn show_quotas(&self) {
        let metrics = &self.inner.metrics;
        for quota in &self.inner.quotas {
            let label = NamespaceLabel::of(&quota.namespace);
            let usage = match self.metadata().usage(&quota.namespace).await {
                Ok(usage) => usage,
                Err(error) => {
                    tracing::warn!(namespace = quota.namespace, %error, "it is not known how much is used of a quota");
                    continue;
                }
            };
            for (limit, used, limits, uses) in [
                (
                    quota.bytes,
                    usage.taken(),
                    &metrics.quota_bytes,
                    &metrics.quota_used_bytes,
                ),
                (
                    quota.objects,
                    usage.objects(),
                    &metrics.quota_objects,
                    &metrics.quota_used_objects,
                ),
            ] {
                if let Some(limit) = limit {
                    limits.get_or_create(&label).set(gauge(limit));
                    uses.get_or_create(&label).set(gauge(used));
                }
            }
            // So that an alert on a rate sees the first one.
            drop(metrics.quota_refusals.get_or_create(&label));
        }
    }

    /// The size of a blob that the repository has, so that it costs nothing to send so many bytes of it again: whole, or to
    /// repair it. Asked only where a quota applies.
    pub(super) async fn costs_nothing(
        &self,
        who: &Contributor,
        digest: &Digest,
    ) -> Result<Option<u64>, Error> {
        if self.quotas_for(who).is_empty() {
            return Ok(None);
        }
        let (now, until) = (self.now(), self.pin_until());
        let found = self
            .metadata()
            .pin_blob(who.repository(), digest, now, until)
            .await?;
        Ok(found.map(|blob| blob.size))
    }

    /// Takes hold of room for a body that goes on from `start`, before it is read: one that cannot fit is refused at
    /// once, and so is one that is longer than they may add. Before any is taken on the disk as well. What is small is
    /// judged when all of it is there: it may be a revocation, which always has room.
    pub(super) async fn hold(
        &self,
        who: &Contributor,
        row: &mut UploadRow,
        start: u64,
        announced: Option<u64>,
        digest: Option<&Digest>,
    ) -> Result<Hold, Error> {
        let more = announced.unwrap_or(0);
        let end = start.saturating_add(more);
        who.check_blob(end)?;
        if let Some(digest) = digest
            && let Some(size) = self.costs_nothing(who, digest).await?
            && end <= size
        {
            return Ok(Hold::Copy(size));
        }
        let quotas = self.quotas_for(who);
        // Where none applies, room is counted when progress is noted, and that is soon enough.
        if quotas.is_empty() || end <= row.reserved {
            return Ok(Hold::Room(end));
        }
        // First the disk: a body that it has no room for must not hold any here.
        self.blobs().staging().check_space(more)?;
        let held = self.metadata().reserve_upload(row.id, end, quotas).await?;
        if let Err(Refusal::QuotaExceeded(_)) = &held
            && self.goes_on_without_room(row.id, end).await?
        {
            return Ok(Hold::Room(end));
        }
        match held {
            Ok(true) => {
                row.reserved = end;
                Ok(Hold::Room(end))
            }
            Ok(false) => Err(Error::UploadUnknown),
            Err(refusal) => Err(self.refused(who, refusal)),
        }
    }

    /// Whether an upload that a quota has no room for goes on all the same, up to where it is to come now: if it is small,
    /// and its account has no more of such under way than [`MOST_WITHOUT_ROOM`].
    pub(super) async fn goes_on_without_room(&self, id: UploadId, end: u64) -> Result<bool, Error> {
        if end > INLINE_LIMIT {
            return Ok(false);
        }
        let goes_on = self.metadata().go_on_without_room(id, MOST_WITHOUT_ROOM);
        Ok(goes_on.await?)
    }

    /// After a request that failed: no more stays reserved than is noted of its upload. What was announced may never
    /// come, and others want the room.
    pub(super) async fn let_go(&self, who: &Contributor, id: UploadId) {
        let Ok(Some(row)) = self.metadata().upload(who.repository(), id).await else {
            return;
        };
        let id = row.id;
        if let Err(error) = self.give_back(row).await {
            tracing::warn!(upload.id = %id, %error, "room that was held for an upload stays so until it goes on or expires");
        }
    }

    /// The same at a start: whoever announced something to the last server does not send it to this one.
    pub(super) async fn give_back_announced(&self) -> Result<(), Error> {
        let mut after = None;
        loop {
            let rows = self.metadata().uploads(after, PAGE).await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = Some(last.id);
            for row in rows {
                self.give_back(row).await?;
            }
        }
    }

    async fn give_back(&self, row: UploadRow) -> Result<(), Error> {
        if row.reserved <= row.offset {
            return Ok(());
        }
        let progress = Progress {
            offset: row.offset,
            hash_state: row.hash_state,
            boot: row.boot,
            sealing: row.sealing,
            reserve: Some(row.offset),
            expires_at: row.expires_at,
        };
        // Less than before is never refused, so there is nothing to compare with.
        let noted = self.metadata().advance_upload(row.id, progress, Vec::new());
        noted.await?.map(drop).map_err(Error::from)
    }
}
