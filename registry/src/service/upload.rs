//! Receiving blobs: sessions that survive broken connections and restarts.

use super::body::{Body, Small, cut, read_small};
use super::chunk::Chunk;
use super::{Contributor, Error, Registry};
use crate::blobs::{self, INLINE_LIMIT, SealedBytes, StagedUpload};
use crate::metadata::{
    CommitOutcome, NewBlob, NewContent, PhysicalKey, Progress, Refusal, StoredAlgorithm, UploadId,
    UploadRow,
};
use bytes::Bytes;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::range::UploadRange;
use std::time::Duration;

/// How a client begins an upload.
#[derive(Clone, Copy, Debug, Default)]
pub struct BeginUpload {
    /// The algorithm of the digest that it will name, if it says.
    pub algorithm: Option<Algorithm>,
    /// Bytes for which room is to be held, if it says how many will come.
    pub len: Option<u64>,
}

/// An upload that was begun.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// Its session.
    pub id: UploadId,
}

/// Where an upload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes received.
    pub offset: u64,
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, blobs::Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await?
        .map_err(Error::from)
}

impl Registry {
    /// Begins an upload. Its key is reserved from here on.
    pub async fn begin_upload(
        &self,
        who: &Contributor,
        begin: BeginUpload,
    ) -> Result<Begun, Error> {
        let reserved = begin.len.unwrap_or(0);
        self.blobs().staging().check_space(reserved)?;
        let id = UploadId(uuid::Uuid::now_v7());
        let row = UploadRow {
            id,
            repo: who.repository().clone(),
            key: PhysicalKey::of_upload(id),
            algorithm: StoredAlgorithm(begin.algorithm.unwrap_or(blobs::SPECULATIVE)),
            offset: 0,
            hash_state: Vec::new(),
            boot: None,
            sealing: false,
            reserved,
            roomless: false,
            by: who.name(),
            expires_at: self.now() + self.inner.lifetimes.upload,
        };
        let quotas = self.quotas_for(who);
        let begun = self.metadata().begin_upload(row, quotas).await?;
        begun.map_err(|refusal| self.refused(who, refusal))?;
        self.inner.metrics.uploads_open.inc();
        Ok(Begun { id })
    }

    /// Where an upload stands.
    pub async fn upload_status(&self, who: &Contributor, id: UploadId) -> Result<Received, Error> {
        // What was hashed again is noted, and not begun anew by each who asks.
        self.to_its_end(who, id, move |registry, who, row| async move {
            registry.stands_at(&who, &row).await
        })
        .await
    }

    async fn stands_at(&self, who: &Contributor, row: &UploadRow) -> Result<Received, Error> {
        if !self.blobs().has_staged(row) {
            return Ok(Received { offset: 0 });
        }
        let upload = self.resume(row).await?;
        if row.offset > 0 && row.boot.as_deref() != Some(upload.boot()) {
            // All of it was hashed again. The request that goes on from here should not have to do that once more.
            self.checkpoint(who, &upload, false, None).await?;
        }
        Ok(Received {
            offset: upload.offset(),
        })
    }

    /// Gives an upload up. Whoever still sends to it is not waited for.
    pub async fn cancel_upload(&self, who: &Contributor, id: UploadId) -> Result<(), Error> {
        // First whether it is one of theirs to give up.
        self.upload_row(who, id).await?;
        let _given_up = self.inner.receiving.give_up(id);
        let _lock = self.inner.locks.acquire(id).await?;
        self.upload_row(who, id).await?;
        self.abort(id).await
    }

    async fn abort(&self, id: UploadId) -> Result<(), Error> {
        if self.metadata().abort_upload(id, self.now()).await? {
            self.inner.metrics.uploads_open.dec();
        }
        self.discard(id).await;
        Ok(())
    }

    async fn upload_row(&self, who: &Contributor, id: UploadId) -> Result<UploadRow, Error> {
        self.metadata()
            .upload(who.repository(), id)
            .await?
            .ok_or(Error::UploadUnknown)
    }

    async fn resume(&self, row: &UploadRow) -> Result<Box<StagedUpload>, Error> {
        let (store, row) = (self.blobs().clone(), row.clone());
        blocking(move || store.resume(&row).map(Box::new)).await
    }

    /// Adds a body to an upload. Runs to its end even if the caller goes away: what was received is kept.
    pub async fn receive(
        &self,
        who: &Contributor,
        id: UploadId,
        range: Option<UploadRange>,
        announced: Option<u64>,
        body: Body,
    ) -> Result<Received, Error> {
        self.to_its_end(who, id, move |registry, who, row| async move {
            let body = registry.inner.receiving.until_given_up(id, body);
            registry.add(&who, row, range, announced, body).await
        })
        .await
    }

    async fn add(
        &self,
        who: &Contributor,
        mut row: UploadRow,
        range: Option<UploadRange>,
        announced: Option<u64>,
        body: Body,
    ) -> Result<Received, Error> {
        let mut upload = self.resume(&row).await?;
        let (start, chunk) = (upload.offset(), Chunk::new(range, announced));
        chunk.check_order(start)?;
        let body = chunk.within(body);
        let hold = self.hold(who, &mut row, start, announced, None).await?;
        if let Some(len) = announced {
            upload = blocking(move || upload.expect(len).map(|()| upload)).await?;
        }
        let (upload, ended) = self.take_body(who, upload, Vec::new(), body, hold).await;
        let upload = upload?;
        // Of what was announced, no more stays reserved than has come.
        self.checkpoint(who, &upload, false, Some(upload.offset()))
            .await?;
        ended?;
        chunk.check_length(upload.offset() - start, upload.offset())?;
        Ok(Received {
            offset: upload.offset(),
        })
    }

    /// Does something with an upload, behind whoever still writes to it, and to its end even if the caller goes away.
    /// One for which a quota has no room is over, one that is longer than they may add, and one that is not what was named:
    /// nothing that was received of it could ever be used.
    async fn to_its_end<T, F>(
        &self,
        who: &Contributor,
        id: UploadId,
        work: impl FnOnce(Registry, Contributor, UploadRow) -> F + Send + 'static,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (registry, who) = (self.clone(), who.clone());
        let task = async move {
            let _lock = registry.inner.locks.acquire(id).await?;
            let row = registry.upload_row(&who, id).await?;
            let work = work(registry.clone(), who.clone(), row.clone());
            let done = registry.kept(&row, work).await;
            if matches!(done, Err(Error::DigestMismatch { .. })) {
                registry.note_damage("push");
            }
            let over = |error: &Error| error.ends_upload();
            let failed = done.as_ref().err().map(over);
            match failed {
                None => {}
                Some(false) => registry.let_go(&who, id).await,
                Some(true) => {
                    if let Err(error) = registry.abort(id).await {
                        tracing::warn!(upload.id = %id, %error, "an upload that can never be used stays until it expires");
                    }
                }
            }
            done
        };
        self.to_the_end(task).await?
    }

    /// Does something with an upload, and says all the while that it is not to be given up. A body has a limit
    /// on standing still and none on the whole, and 64 MiB can take longer than a silent session is kept.
    async fn kept<T>(&self, row: &UploadRow, work: impl Future<Output = T>) -> T {
        let keep_for = self.inner.lifetimes.upload;
        let every = (keep_for / 4).max(100);
        let left = row.expires_at - self.now();
        let mut work = std::pin::pin!(work);
        let mut wait = (left - keep_for + every).clamp(0, every);
        loop {
            let wait_over = tokio::time::sleep(Duration::from_millis(wait.unsigned_abs()));
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = wait_over => {}
            }
            let until = self.now() + keep_for;
            if let Err(error) = self.metadata().keep_upload(row.id, until).await {
                tracing::warn!(upload.id = %row.id, %error, "an upload that is being received could not be kept");
            }
            wait = every;
        }
    }

    /// Ends an upload with the rest of its bytes and its digest.
    pub async fn finish_upload(
        &self,
        who: &Contributor,
        id: UploadId,
        digest: Digest,
        range: Option<UploadRange>,
        announced: Option<u64>,
        body: Body,
    ) -> Result<(), Error> {
        let work = move |registry: Registry, who: Contributor, row: UploadRow| async move {
            let body = registry.inner.receiving.until_given_up(id, body);
            registry
                .finish(&who, row, digest, range, announced, body)
                .await
        };
        self.to_its_end(who, id, work).await
    }

    async fn finish(
        &self,
        who: &Contributor,
        mut row: UploadRow,
        digest: Digest,
        range: Option<UploadRange>,
        announced: Option<u64>,
        body: Body,
    ) -> Result<(), Error> {
        let chunk = Chunk::new(range, announced);
        let mut body = chunk.within(body);
        let mut first = Vec::new();
        if !self.blobs().has_staged(&row) {
            chunk.check_order(0)?;
            if announced.is_some_and(|len| len > INLINE_LIMIT) {
                self.hold(who, &mut row, 0, announced, Some(&digest))
                    .await?;
            }
            // Now the algorithm is certain, and no byte has been hashed with another.
            row.algorithm = StoredAlgorithm(digest.algorithm());
            let small = read_small(&mut body).await;
            match small {
                Small::Whole(bytes) => {
                    chunk.check_length(bytes.len() as u64, 0)?;
                    return self.commit_small(who, Some(row.id), bytes, digest).await;
                }
                Small::Longer(pieces) => first = pieces,
                Small::Cut(pieces, reason) if pieces.is_empty() => {
                    return Err(Error::BodyInterrupted(reason));
                }
                // What came is written down like the beginning of a longer one, or a link that breaks early never gets on.
                Small::Cut(pieces, reason) => (first, body) = (pieces, cut(reason)),
            }
        }
        let already: u64 = first.iter().map(|piece| piece.len() as u64).sum();
        let mut upload = self.resume(&row).await?;
        let start = upload.offset();
        chunk.check_order(start)?;
        debug_assert!(already == 0 || start == 0);
        let hold = self
            .hold(who, &mut row, start, announced, Some(&digest))
            .await?;
        if let Some(len) = announced.filter(|len| *len > 0) {
            upload = blocking(move || upload.expect(len).map(|()| upload)).await?;
        }
        let (upload, ended) = self.take_body(who, upload, first, body, hold).await;
        let upload = upload?;
        let came = upload.offset() - start;
        let ended = ended.and_then(|()| chunk.check_length(came, upload.offset()));
        if ended.is_err() {
            // Whatever digest was named: nobody knows yet what this is, so it takes room like anything else.
            self.checkpoint(who, &upload, false, Some(upload.offset()))
                .await?;
        }
        ended?;
        let reserve = Some(upload.offset()).filter(|offset| !hold.is_free(*offset));
        self.checkpoint(who, &upload, true, reserve).await?;
        let sealed = blocking(move || upload.seal(&digest)).await?;
        who.check_blob(sealed.size())?;
        if sealed.size() <= INLINE_LIMIT {
            let bytes = blocking(move || sealed.read_all()).await?;
            self.commit_small(who, Some(row.id), bytes, digest).await?;
        } else {
            let published = self.blobs().publish(sealed).await?;
            let content = NewContent::Object(published.root());
            self.commit(
                who,
                Some(row.id),
                *published.digest(),
                published.size(),
                content,
            )
            .await?;
        }
        self.discard(row.id).await;
        Ok(())
    }

    /// Stores a blob that came with one request, without a session if it is small.
    pub async fn put_blob(
        &self,
        who: &Contributor,
        digest: Digest,
        announced: Option<u64>,
        mut body: Body,
    ) -> Result<(), Error> {
        who.check_blob(announced.unwrap_or(0))?;
        if announced.is_some_and(|len| len <= INLINE_LIMIT) {
            self.blobs().staging().check_space(0)?;
            match read_small(&mut body).await {
                Small::Whole(bytes) => {
                    let stored = self.commit_small(who, None, bytes, digest).await;
                    if matches!(stored, Err(Error::DigestMismatch { .. })) {
                        self.note_damage("push");
                    }
                    return stored;
                }
                Small::Longer(_) => {
                    return Err(Error::LengthMismatch {
                        found: INLINE_LIMIT + 1,
                        announced: announced.unwrap_or(0),
                        offset: None,
                    });
                }
                Small::Cut(_, reason) => return Err(Error::BodyInterrupted(reason)),
            }
        }
        // To its end even if the caller goes away: nobody was told of the session, so nobody else could end it.
        let (registry, who) = (self.clone(), who.clone());
        let task = async move { registry.put_in_session(&who, digest, announced, body).await };
        self.to_the_end(task).await?
    }

    async fn put_in_session(
        &self,
        who: &Contributor,
        digest: Digest,
        announced: Option<u64>,
        body: Body,
    ) -> Result<(), Error> {
        let len = match self.costs_nothing(who, &digest).await? {
            Some(size) if announced.is_none_or(|len| len <= size) => None,
            _ => announced,
        };
        let begin = BeginUpload {
            algorithm: Some(digest.algorithm()),
            len,
        };
        let begun = self.begin_upload(who, begin).await?;
        let stored = self
            .finish_upload(who, begun.id, digest, None, announced, body)
            .await;
        if stored.is_err() {
            self.abort(begun.id).await?;
        }
        stored
    }

    async fn commit_small(
        &self,
        who: &Contributor,
        upload: Option<UploadId>,
        bytes: Bytes,
        digest: Digest,
    ) -> Result<(), Error> {
        let len = bytes.len() as u64;
        let (digest, bytes) = SealedBytes::seal(bytes, &digest)?.into_parts();
        if upload.is_none() {
            self.inner.metrics.bytes_received.inc_by(len);
        }
        self.commit(who, upload, digest, len, NewContent::Inline(bytes))
            .await
    }

    async fn commit(
        &self,
        who: &Contributor,
        upload: Option<UploadId>,
        digest: Digest,
        size: u64,
        content: NewContent,
    ) -> Result<(), Error> {
        let blob = NewBlob {
            repo: who.repository().clone(),
            digest,
            size,
            content,
            upload,
            quotas: self.quotas_for(who),
            now: self.now(),
            pin_until: self.pin_until(),
        };
        let mut committed = self.metadata().commit_blob(blob.clone()).await?;
        if let Err(Refusal::QuotaExceeded(_)) = &committed
            && let NewContent::Inline(bytes) = &blob.content
            && self
                .must_have_room(who.repository(), &digest, bytes)
                .await?
        {
            let quotas = Vec::new();
            let blob = NewBlob { quotas, ..blob };
            committed = self.metadata().commit_blob(blob).await?;
        }
        match committed.map_err(|refusal| self.refused(who, refusal))? {
            outcome @ (CommitOutcome::Committed | CommitOutcome::Repaired) => {
                if outcome == CommitOutcome::Repaired {
                    tracing::info!(blob.digest = %digest, by = who.name(), "a damaged blob came again and is whole");
                    self.count_quarantined().await;
                    self.attend_later();
                }
                if upload.is_some() {
                    self.inner.metrics.uploads_open.dec();
                }
                Ok(())
            }
            CommitOutcome::NoSession => Err(Error::UploadUnknown),
        }
    }

    /// Notes how far an upload has come, and that it reserves so many bytes from here on. What is small goes on without
    /// where there is no room, as in [`Registry::hold`].
    pub(super) async fn checkpoint(
        &self,
        who: &Contributor,
        upload: &StagedUpload,
        sealing: bool,
        reserve: Option<u64>,
    ) -> Result<(), Error> {
        let progress = Progress {
            offset: upload.offset(),
            hash_state: upload.hash_state(),
            boot: Some(upload.boot().to_owned()),
            sealing,
            reserve,
            expires_at: self.now() + self.inner.lifetimes.upload,
        };
        let (id, quotas) = (upload.id(), self.quotas_for(who));
        let metadata = self.metadata();
        let mut noted = metadata
            .advance_upload(id, progress.clone(), quotas)
            .await?;
        if let Err(Refusal::QuotaExceeded(_)) = &noted
            && self.goes_on_without_room(id, upload.offset()).await?
        {
            let unreserved = Progress {
                reserve: None,
                ..progress
            };
            noted = metadata.advance_upload(id, unreserved, Vec::new()).await?;
        }
        match noted {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::UploadUnknown),
            Err(refusal) => Err(self.refused(who, refusal)),
        }
    }

    /// Removes the staged files of an upload that no row names any more.
    /// `false` if they stay, until the next start.
    pub(super) async fn discard(&self, id: UploadId) -> bool {
        let staging = self.blobs().staging().clone();
        let removed = blocking(move || staging.discard(id)).await;
        if let Err(error) = &removed {
            tracing::warn!(upload.id = %id, %error, "staged files of an ended upload stay until the next start");
        }
        removed.is_ok()
    }
}
