//! Reading and deleting blobs.

use super::{Contributor, Error, Registry};
use crate::auth::{Delete, Grant, Pull};
use crate::blobs::{self, GroupStream, INLINE_LIMIT, SealedBytes};
use crate::metadata::{self, BlobPlace, LinkedBlob, Refusal};
use crate::metrics::WhereLabel;
use bytes::Bytes;
use futures_util::StreamExt as _;
use sealstone_spec::digest::Digest;
use sealstone_spec::name::RepoName;
use std::ops::Range;

/// Repositories that are tried when a client names none to mount from.
const MOST_SOURCES: usize = 50;
/// Why a blob without bytes is in quarantine.
const MISSING: &str = "its bytes are missing";

/// What a HEAD tells.
#[derive(Clone, Copy, Debug)]
pub struct BlobFacts {
    /// Size, in bytes.
    pub size: u64,
}

/// A blob that somebody with a grant to pull may read. [`Registry::readable_blob`] makes these.
#[derive(Clone, Debug)]
pub struct ReadableBlob {
    digest: Digest,
    blob: LinkedBlob,
}

impl ReadableBlob {
    /// Size, in bytes.
    pub fn size(&self) -> u64 {
        self.blob.size
    }
}

/// Bytes that may leave the server: each was compared with the blob's tree or digest since it left the
/// disk. The service makes these and nobody else can:
///
/// ```compile_fail,E0451
/// use sealstone_registry::blobs::GroupStream;
/// use sealstone_registry::service::BlobBody;
/// fn of_another_repository(stream: GroupStream) -> BlobBody {
///     BlobBody { stream, len: 1 }
/// }
/// ```
pub struct BlobBody {
    stream: GroupStream,
    len: u64,
}

impl std::fmt::Debug for BlobBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobBody({} bytes)", self.len)
    }
}

impl BlobBody {
    /// Number of bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes. An error ends them before the first that is not what it was.
    pub fn into_stream(self) -> GroupStream {
        self.stream
    }
}

impl Registry {
    /// Looks a blob up for a reader. Somebody who may push, and so may be about to rely on it, also keeps
    /// it from being collected for a while.
    pub async fn stat_blob(
        &self,
        grant: &Grant<Pull>,
        digest: &Digest,
    ) -> Result<BlobFacts, Error> {
        let blob = self.find_blob(grant, digest).await?;
        Ok(BlobFacts { size: blob.size })
    }

    /// A blob for somebody who is about to read it.
    ///
    /// # Errors
    /// If it is not there, not visible, or in quarantine.
    pub async fn readable_blob(
        &self,
        grant: &Grant<Pull>,
        digest: &Digest,
    ) -> Result<ReadableBlob, Error> {
        let blob = self.find_sound(grant, digest).await?;
        Ok(ReadableBlob {
            digest: *digest,
            blob,
        })
    }

    /// A blob for somebody who asks whether it is there. A damaged one is as good as absent: a pusher who
    /// asks sends it again, and so repairs it.
    async fn find_blob(&self, grant: &Grant<Pull>, digest: &Digest) -> Result<LinkedBlob, Error> {
        match self.find_sound(grant, digest).await {
            Err(Error::Damaged(digest)) => Err(Error::BlobUnknown(digest)),
            found => found,
        }
    }

    /// A blob for somebody who wants its bytes, and whom its damage concerns.
    async fn find_sound(&self, grant: &Grant<Pull>, digest: &Digest) -> Result<LinkedBlob, Error> {
        let repo = grant.repository();
        let found = if grant.sees_staging() {
            self.metadata()
                .pin_blob(repo, digest, self.now(), self.pin_until())
                .await?
        } else {
            let staging = self.policy().scope_for(repo).staging();
            self.metadata()
                .blob(repo, digest)
                .await?
                .filter(|blob| blob.visible || !staging)
        };
        match found {
            None => Err(Error::BlobUnknown(*digest)),
            Some(blob) if blob.quarantined.is_some() => Err(Error::Damaged(*digest)),
            Some(blob) => Ok(blob),
        }
    }

    /// Opens a part of a blob, which must lie within it.
    pub async fn read_blob(
        &self,
        readable: &ReadableBlob,
        range: Range<u64>,
    ) -> Result<BlobBody, Error> {
        let ReadableBlob { digest, blob } = readable;
        let len = range.end - range.start;
        let stream = match &blob.place {
            BlobPlace::Inline => {
                let whole = self.read_inline(digest, "pull").await?;
                GroupStream::part_of(whole, range.start as usize..range.end as usize)
            }
            BlobPlace::Object { key, root } => {
                let opened = self.blobs().read(key, blob.size, *root, range).await;
                // The first bytes now: damage there still becomes a plain error instead of a cut answer.
                let begun = match opened {
                    Ok(stream) => stream.begun().await,
                    Err(error) => Err(error),
                };
                match begun {
                    Ok(stream) => self.watch(*digest, blob.place.clone(), stream),
                    Err(error) => {
                        return Err(self.fail_read(digest, &blob.place, error, "pull").await);
                    }
                }
            }
        };
        self.inner.metrics.bytes_sent.inc_by(len);
        Ok(BlobBody { stream, len })
    }

    /// The BLAKE3 tree of a blob, for clients that fetch its ranges in parallel; `None` for small ones.
    pub async fn read_tree(
        &self,
        grant: &Grant<Pull>,
        digest: &Digest,
    ) -> Result<Option<(BlobBody, [u8; 32])>, Error> {
        let blob = self.find_sound(grant, digest).await?;
        let BlobPlace::Object { key, root } = &blob.place else {
            return Ok(None);
        };
        let len = sealstone_spec::tree::group_count(blob.size) * 32;
        match self.blobs().read_tree(key, blob.size, *root).await {
            Ok(stream) => Ok(Some((
                BlobBody {
                    stream: self.watch(*digest, blob.place.clone(), stream),
                    len,
                },
                *root,
            ))),
            Err(error) => Err(self.fail_read(digest, &blob.place, error, "pull").await),
        }
    }

    /// Puts a blob into quarantine when its stream meets damage; the stream has ended by then.
    fn watch(&self, digest: Digest, copy: BlobPlace, stream: GroupStream) -> GroupStream {
        let registry = self.clone();
        stream.telling(move |error| {
            let (registry, copy) = (registry.clone(), copy.clone());
            async move {
                let problem = error.to_string();
                registry.fail_read(&digest, &copy, error, "pull").await;
                blobs::Error::Damaged {
                    key: digest.to_string(),
                    problem,
                }
            }
        })
    }

    pub(super) fn note_damage(&self, place: &'static str) {
        self.inner
            .metrics
            .verify_failures
            .get_or_create(&WhereLabel { r#where: place })
            .inc();
    }

    /// What a failed read of the copy at `copy` means; damage is counted, logged and quarantined.
    pub(super) async fn fail_read(
        &self,
        digest: &Digest,
        copy: &BlobPlace,
        error: blobs::Error,
        place: &'static str,
    ) -> Error {
        let gone = match &error {
            blobs::Error::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            blobs::Error::Object { source, .. } => {
                matches!(source, object_store::Error::NotFound { .. })
            }
            _ => false,
        };
        let blobs::Error::Damaged { problem, .. } = &error else {
            if gone && self.is_missed(copy).await {
                return self.quarantine(digest, copy, MISSING, place).await;
            }
            tracing::error!(blob.digest = %digest, %error, "blob could not be read");
            return error.into();
        };
        self.quarantine(digest, copy, problem, place).await
    }

    /// Whether an object that is not there has gone by itself. Where its folder has gone too, a volume did, and comes back
    /// with everything.
    async fn is_missed(&self, copy: &BlobPlace) -> bool {
        let BlobPlace::Object { key, .. } = copy else {
            return true;
        };
        let (store, key) = (self.blobs().clone(), key.clone());
        let asked = tokio::task::spawn_blocking(move || store.has_folder_of(&key));
        // Whoever cannot tell condemns nothing.
        asked.await.unwrap_or(false)
    }

    /// Lets a copy in quarantine be read again that was just read and is whole. What follows is the same as when it is
    /// pushed again.
    pub(super) async fn recover(&self, digest: &Digest, copy: &BlobPlace) -> Result<bool, Error> {
        let now = self.now();
        let lifted = self.metadata().lift_quarantine(digest, copy, now).await?;
        if lifted {
            tracing::info!(blob.digest = %digest, "a blob in quarantine is whole again");
            self.count_quarantined().await;
            self.attend_later();
        }
        Ok(lifted)
    }

    /// Concerns the copy that was read: one that came again meanwhile stays, and nobody is called for it.
    async fn quarantine(
        &self,
        digest: &Digest,
        copy: &BlobPlace,
        problem: &str,
        place: &'static str,
    ) -> Error {
        let (metadata, now) = (self.metadata(), self.now());
        match metadata.quarantine_blob(digest, copy, problem, now).await {
            Ok(true) => {
                self.note_damage(place);
                tracing::error!(blob.digest = %digest, problem, "stored blob is damaged; it is in quarantine now");
                self.attend_later();
            }
            Ok(false) => {
                tracing::info!(blob.digest = %digest, problem, "a copy is damaged that is in quarantine, or was replaced");
            }
            Err(error) => {
                self.note_damage(place);
                tracing::error!(blob.digest = %digest, problem, "stored blob is damaged");
                tracing::error!(blob.digest = %digest, %error, "damaged blob could not be put into quarantine");
            }
        }
        self.count_quarantined().await;
        Error::Damaged(*digest)
    }

    /// Shows how many blobs are in quarantine.
    pub async fn count_quarantined(&self) {
        if let Ok(count) = self.metadata().quarantined().await {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.inner.metrics.quarantined.set(count);
        }
    }

    /// A blob in the metadata store. What cannot be read there is damage like any other: the next pusher
    /// writes it anew.
    pub(super) async fn read_inline(
        &self,
        digest: &Digest,
        place: &'static str,
    ) -> Result<SealedBytes, Error> {
        let problem = match self.metadata().inline_content(digest).await {
            // At most 64 KiB: some 40 microseconds.
            Ok(Some(bytes)) => match SealedBytes::seal(bytes, digest) {
                Ok(sealed) => return Ok(sealed),
                Err(_) => "its bytes are not what they were".to_owned(),
            },
            Ok(None) => MISSING.to_owned(),
            Err(error @ metadata::Error::Damaged(_)) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        Err(self
            .quarantine(digest, &BlobPlace::Inline, &problem, place)
            .await)
    }

    /// A small blob in one piece.
    pub(super) async fn read_whole(
        &self,
        digest: &Digest,
        blob: &LinkedBlob,
    ) -> Result<Bytes, Error> {
        match &blob.place {
            BlobPlace::Inline => {
                let sealed = self.read_inline(digest, "pull").await?;
                Ok(sealed.into_parts().1)
            }
            BlobPlace::Object { key, root } => {
                let mut whole = Vec::new();
                let mut stream = match self.blobs().read(key, blob.size, *root, 0..blob.size).await
                {
                    Ok(stream) => stream,
                    Err(error) => {
                        return Err(self.fail_read(digest, &blob.place, error, "pull").await);
                    }
                };
                while let Some(piece) = stream.next().await {
                    match piece {
                        Ok(piece) => whole.extend_from_slice(&piece),
                        Err(error) => {
                            return Err(self.fail_read(digest, &blob.place, error, "pull").await);
                        }
                    }
                }
                Ok(Bytes::from(whole))
            }
        }
    }

    /// Takes a blob from a repository.
    pub async fn delete_blob(&self, grant: &Grant<Delete>, digest: &Digest) -> Result<(), Error> {
        match self
            .metadata()
            .unlink_blob(grant.repository(), digest, self.now())
            .await?
        {
            Ok(()) => Ok(()),
            Err(Refusal::NotFound) => Err(Error::BlobUnknown(*digest)),
            Err(other) => Err(other.into()),
        }
    }

    /// Gives a repository a blob that another one has, which the caller must be able to read there.
    /// `false` if it has it not; an error if a quota leaves no room, because an upload would be refused as well. Not so where
    /// it is small: it is read when it is uploaded, and then it may be a revocation, which always has room.
    pub async fn mount_blob(
        &self,
        to: &Contributor,
        from: &Grant<Pull>,
        digest: &Digest,
    ) -> Result<bool, Error> {
        let size = match self.find_blob(from, digest).await {
            Ok(blob) if to.check_blob(blob.size).is_ok() => blob.size,
            _ => return Ok(false),
        };
        let (now, until, quotas) = (self.now(), self.pin_until(), self.quotas_for(to));
        let (from, into) = (from.repository(), to.repository());
        let mounted = self
            .metadata()
            .mount_blob(from, into, digest, now, until, quotas)
            .await?;
        match mounted {
            Err(Refusal::QuotaExceeded(_)) if size <= INLINE_LIMIT => Ok(false),
            mounted => mounted.map_err(|refusal| self.refused(to, refusal)),
        }
    }

    /// Repositories from which a blob could be mounted. Whether the caller may read them is still to be asked.
    pub async fn mount_sources(
        &self,
        _who: &Contributor,
        digest: &Digest,
    ) -> Result<Vec<RepoName>, Error> {
        Ok(self.metadata().blob_holders(digest, MOST_SOURCES).await?)
    }

    /// Whether the repository itself has a blob already, so that an upload of it can be skipped.
    pub async fn has_blob(&self, who: &Contributor, digest: &Digest) -> Result<bool, Error> {
        let found = self
            .metadata()
            .pin_blob(who.repository(), digest, self.now(), self.pin_until())
            .await?;
        Ok(found.is_some_and(|blob| blob.quarantined.is_none()))
    }
}
