//! [`Metadata`] over an ordered key-value [`Engine`].
//!
//! Reads go straight to the engine, on the caller's thread: a point read takes microseconds. Writes are
//! operations run one after the other by the [`committer`], so that no two of them ever interleave.

mod blobs;
mod collect;
mod committer;
mod directory;
#[cfg(feature = "rocksdb")]
mod disk;
pub mod engine;
mod events;
mod key_events;
mod keys;
#[cfg(feature = "rocksdb")]
mod last_write;
mod log;
mod manifests;
pub mod memory;
mod opened;
mod policies;
mod reach;
mod recount;
mod revocations;
#[cfg(feature = "rocksdb")]
pub mod rocks;
mod tags;
mod txn;
mod usage;

use super::{
    Answer, BlobPlace, BlobRow, CollectRules, Collected, CommitOutcome, Error, Event,
    ExceptionUses, INLINE_LIMIT, Judged, KeptRevocation, LinkRow, LinkedBlob, ManifestRow,
    Metadata, Millis, NewBlob, PhysicalKey, PolicyChange, Progress, PullNote, PullRow, PutManifest,
    PutOutcome, Quota, Referrer, Refusal, TagClass, TagCondition, TagRow, TrashItem, UploadId,
    UploadRow, Usage,
};
use bytes::Bytes;
use committer::Committer;
use engine::{Engine, Family};
pub use opened::Opened;
use sealstone_spec::digest::Digest;
use sealstone_spec::key::PublicKey;
use sealstone_spec::name::{RepoName, Tag};
use sealstone_spec::policy::KeyRecord;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use txn::{Txn, decode};

/// Why an operation is rolled back.
enum Stop {
    Failed(Error),
    Refused(Refusal),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

fn answer<T>(outcome: Result<T, Stop>) -> Result<Result<T, Refusal>, Error> {
    match outcome {
        Ok(value) => Ok(Ok(value)),
        Err(Stop::Refused(refusal)) => Ok(Err(refusal)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

fn read_tag(bytes: &[u8]) -> Result<Tag, Error> {
    let damaged = || Error::Damaged("a key holds no tag where one is due".into());
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(damaged)
}

/// The metadata store over `E`.
pub struct KvMetadata<E: Engine> {
    engine: Arc<E>,
    committer: Committer,
    following: Arc<log::Following>,
}

impl<E: Engine> std::fmt::Debug for KvMetadata<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KvMetadata")
    }
}

impl<E: Engine> KvMetadata<E> {
    fn row<T: DeserializeOwned>(&self, family: Family, key: &[u8]) -> Result<Option<T>, Error> {
        self.engine
            .get(family, key)?
            .map(|value| decode(family, &value))
            .transpose()
    }

    /// A digest among the server's own values.
    fn server_digest(&self, name: &[u8]) -> Result<Option<Digest>, Error> {
        let Some(text) = self.engine.get(Family::Server, name)? else {
            return Ok(None);
        };
        let damaged = || Error::Damaged("a policy's digest cannot be read".into());
        let text = String::from_utf8(text).map_err(|_| damaged())?;
        text.parse().map(Some).map_err(|_| damaged())
    }

    /// Collects what `read` makes of the entries, skipping those that it makes nothing of.
    fn list<T>(
        &self,
        family: Family,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
        mut read: impl FnMut(&[u8], &[u8]) -> Result<Option<T>, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        let mut failed = None;
        if limit == 0 {
            return Ok(found);
        }
        self.engine.scan(
            family,
            prefix,
            from,
            &mut |key, value| match read(key, value) {
                Ok(item) => {
                    found.extend(item);
                    found.len() < limit
                }
                Err(error) => {
                    failed = Some(error);
                    false
                }
            },
        )?;
        failed.map_or(Ok(found), Err)
    }

    async fn write<T, F>(&self, operation: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> Result<T, Error> + Send + 'static,
    {
        self.committer.run(true, operation).await
    }
}

/// The first key after `key` and all that begin with it, as the start of a scan.
fn after(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

fn run_key(job: &str) -> Vec<u8> {
    format!("run/{job}").into_bytes()
}

fn value_key(name: &str) -> Vec<u8> {
    format!("value/{name}").into_bytes()
}

/// The least time between two ends of a server because nothing could be written, in milliseconds: an hour. If what stops the
/// writes is still there after a start, such as a sector that its first look meets, another one would only take away what
/// can be read meanwhile.
const BETWEEN_ENDS: u64 = 3_600_000;

impl<E: Engine> Metadata for KvMetadata<E> {
    fn blob<'a>(
        &'a self,
        repo: &'a RepoName,
        digest: &'a Digest,
    ) -> Answer<'a, Option<LinkedBlob>> {
        Box::pin(async move {
            let Some(link) = self.row::<LinkRow>(Family::Link, &keys::repo_digest(repo, digest))?
            else {
                return Ok(None);
            };
            let blob = self.row::<BlobRow>(Family::Blob, &keys::digest(digest))?;
            Ok(blob.map(|blob| blobs::linked(blob, &link)))
        })
    }

    fn pin_blob<'a>(
        &'a self,
        repo: &'a RepoName,
        digest: &'a Digest,
        now: Millis,
        until: Millis,
    ) -> Answer<'a, Option<LinkedBlob>> {
        Box::pin(async move {
            // Most checks find a pin that is young enough, or no blob: then there is nothing to write.
            let key = keys::repo_digest(repo, digest);
            match self.row::<LinkRow>(Family::Link, &key)? {
                None => return Ok(None),
                Some(link) if !blobs::pin_is_old(link.pin_until, now, until) => {
                    return self.blob(repo, digest).await;
                }
                Some(_) => {}
            }
            let (repo, digest) = (repo.clone(), *digest);
            self.write(move |txn| blobs::pin(txn, &repo, &digest, now, until))
                .await
        })
    }

    fn mount_blob<'a>(
        &'a self,
        from: &'a RepoName,
        to: &'a RepoName,
        digest: &'a Digest,
        _now: Millis,
        until: Millis,
        quotas: Vec<Quota>,
    ) -> Answer<'a, Result<bool, Refusal>> {
        let (from, to, digest) = (from.clone(), to.clone(), *digest);
        Box::pin(async move {
            let operation =
                move |txn: &mut Txn<'_>| blobs::mount(txn, &from, &to, &digest, until, &quotas);
            answer(self.committer.run(true, operation).await)
        })
    }

    fn blob_holders<'a>(&'a self, digest: &'a Digest, limit: usize) -> Answer<'a, Vec<RepoName>> {
        Box::pin(async move {
            let prefix = keys::digest(digest);
            self.list(Family::Holder, &prefix, &prefix, limit, |key, _| {
                Ok(Some(keys::read_repo(&key[prefix.len()..])?.0))
            })
        })
    }

    fn unlink_blob<'a>(
        &'a self,
        repo: &'a RepoName,
        digest: &'a Digest,
        _now: Millis,
    ) -> Answer<'a, Result<(), Refusal>> {
        let (repo, digest) = (repo.clone(), *digest);
        Box::pin(async move {
            answer(
                self.committer
                    .run(true, move |txn| blobs::unlink(txn, &repo, &digest))
                    .await,
            )
        })
    }

    fn inline_content<'a>(&'a self, digest: &'a Digest) -> Answer<'a, Option<Bytes>> {
        Box::pin(async move {
            Ok(self
                .engine
                .get(Family::Inline, &keys::digest(digest))?
                .map(Bytes::from))
        })
    }

    fn quarantine_blob<'a>(
        &'a self,
        digest: &'a Digest,
        place: &'a BlobPlace,
        reason: &'a str,
        now: Millis,
    ) -> Answer<'a, bool> {
        let (digest, place, reason) = (*digest, place.clone(), reason.to_owned());
        Box::pin(async move {
            self.write(move |txn| blobs::quarantine(txn, &digest, &place, &reason, now))
                .await
        })
    }

    fn lift_quarantine<'a>(
        &'a self,
        digest: &'a Digest,
        place: &'a BlobPlace,
        now: Millis,
    ) -> Answer<'a, bool> {
        let (digest, place) = (*digest, place.clone());
        Box::pin(async move {
            self.write(move |txn| blobs::lift_quarantine(txn, &digest, &place, now))
                .await
        })
    }

    fn quarantined(&self) -> Answer<'_, u64> {
        Box::pin(async move {
            Ok(self
                .row(Family::Server, blobs::QUARANTINED)?
                .unwrap_or_default())
        })
    }

    fn releases_with<'a>(
        &'a self,
        repo: &'a RepoName,
        blob: &'a Digest,
    ) -> Answer<'a, Vec<Digest>> {
        Box::pin(async move {
            // As many rows as the repository has manifests: no work for a thread that answers requests.
            let (engine, repo, blob) = (self.engine.clone(), repo.clone(), *blob);
            tokio::task::spawn_blocking(move || {
                let nothing = engine::Changes::new();
                manifests::releases_with(&Txn::new(&*engine, &nothing), &repo, &blob)
            })
            .await
            .map_err(|error| Error::Unavailable(error.to_string()))?
        })
    }

    fn events_attended(&self) -> Answer<'_, u64> {
        Box::pin(async move {
            Ok(self
                .row(Family::Server, events::ATTENDED)?
                .unwrap_or_default())
        })
    }

    fn set_events_attended(&self, number: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            // Not worth a sync: what is acted on twice comes out the same.
            self.committer
                .run(false, move |txn| {
                    txn.put_row(Family::Server, events::ATTENDED.to_vec(), &number);
                    Ok(())
                })
                .await
        })
    }

    fn note_registry_keys(&self, keys: Vec<KeyRecord>, now: Millis) -> Answer<'_, ()> {
        Box::pin(async move {
            self.write(move |txn| {
                let who = key_events::Who {
                    policy: None,
                    by: "registry",
                    now,
                };
                key_events::note(txn, key_events::OF_REGISTRY, &keys, who)
            })
            .await
        })
    }

    fn registry_keys(&self) -> Answer<'_, Vec<KeyRecord>> {
        Box::pin(async move {
            Ok(self
                .row(Family::Server, key_events::OF_REGISTRY)?
                .unwrap_or_default())
        })
    }

    fn keep_statement_key(&self, key: PublicKey) -> Answer<'_, Vec<PublicKey>> {
        Box::pin(async move {
            self.write(move |txn| key_events::keep_statement_key(txn, &key))
                .await
        })
    }

    fn all_blobs<'a>(
        &'a self,
        from: Option<Digest>,
        limit: usize,
    ) -> Answer<'a, Vec<(Digest, BlobRow)>> {
        Box::pin(async move {
            let from = from
                .map(|digest| after(keys::digest(&digest)))
                .unwrap_or_default();
            self.list(Family::Blob, b"", &from, limit, |key, value| {
                Ok(Some((
                    keys::read_digest(key)?.0,
                    decode(Family::Blob, value)?,
                )))
            })
        })
    }

    fn begin_upload(&self, row: UploadRow, quotas: Vec<Quota>) -> Answer<'_, Result<(), Refusal>> {
        // Not synced: a session that a power cut swallows is one that the client begins again.
        Box::pin(async move {
            let operation = move |txn: &mut Txn<'_>| blobs::begin_upload(txn, &row, &quotas);
            answer(self.committer.run(false, operation).await)
        })
    }

    fn upload<'a>(&'a self, repo: &'a RepoName, id: UploadId) -> Answer<'a, Option<UploadRow>> {
        Box::pin(async move {
            let row = self.row::<UploadRow>(Family::Upload, &blobs::upload_key(id))?;
            Ok(row.filter(|row| row.repo == *repo))
        })
    }

    fn advance_upload(
        &self,
        id: UploadId,
        progress: Progress,
        quotas: Vec<Quota>,
    ) -> Answer<'_, Result<bool, Refusal>> {
        // From here on the tree may lie behind the last byte, or the file under its key. Without the row that says so, a
        // power cut would make one upload of both, or leave one without bytes. What is small is never written so.
        let durable = progress.sealing && progress.offset > INLINE_LIMIT;
        Box::pin(async move {
            let operation =
                move |txn: &mut Txn<'_>| blobs::advance_upload(txn, id, progress, &quotas);
            answer(self.committer.run(durable, operation).await)
        })
    }

    fn reserve_upload(
        &self,
        id: UploadId,
        bytes: u64,
        quotas: Vec<Quota>,
    ) -> Answer<'_, Result<bool, Refusal>> {
        Box::pin(async move {
            let operation = move |txn: &mut Txn<'_>| blobs::reserve_upload(txn, id, bytes, &quotas);
            answer(self.committer.run(false, operation).await)
        })
    }

    fn go_on_without_room(&self, id: UploadId, most: u64) -> Answer<'_, bool> {
        Box::pin(async move {
            self.committer
                .run(false, move |txn| blobs::go_on_without_room(txn, id, most))
                .await
        })
    }

    fn keep_upload(&self, id: UploadId, expires_at: Millis) -> Answer<'_, bool> {
        Box::pin(async move {
            self.committer
                .run(false, move |txn| blobs::keep_upload(txn, id, expires_at))
                .await
        })
    }

    fn commit_blob(&self, blob: NewBlob) -> Answer<'_, Result<CommitOutcome, Refusal>> {
        Box::pin(async move {
            let operation = move |txn: &mut Txn<'_>| blobs::commit(txn, blob);
            answer(self.committer.run(true, operation).await)
        })
    }

    fn abort_upload(&self, id: UploadId, now: Millis) -> Answer<'_, bool> {
        Box::pin(async move {
            self.committer
                .run(false, move |txn| blobs::abort_upload(txn, id, now))
                .await
        })
    }

    fn has_upload(&self, id: UploadId) -> Answer<'_, bool> {
        Box::pin(async move {
            Ok(self
                .engine
                .get(Family::Upload, &blobs::upload_key(id))?
                .is_some())
        })
    }

    fn uploads(&self, from: Option<UploadId>, limit: usize) -> Answer<'_, Vec<UploadRow>> {
        Box::pin(async move {
            let from = from
                .map(|id| after(blobs::upload_key(id)))
                .unwrap_or_default();
            self.list(Family::Upload, b"", &from, limit, |_, value| {
                decode(Family::Upload, value).map(Some)
            })
        })
    }

    fn open_uploads(&self) -> Answer<'_, u64> {
        Box::pin(async move {
            Ok(self
                .list(Family::Upload, b"", b"", usize::MAX, |_, _| Ok(Some(())))?
                .len() as u64)
        })
    }

    fn usage<'a>(&'a self, namespace: &'a str) -> Answer<'a, Usage> {
        Box::pin(async move {
            let row = self.row::<Usage>(Family::Usage, &keys::namespace(namespace))?;
            Ok(row.unwrap_or_default())
        })
    }

    fn manifest<'a>(
        &'a self,
        repo: &'a RepoName,
        digest: &'a Digest,
    ) -> Answer<'a, Option<ManifestRow>> {
        Box::pin(async move { self.row(Family::Manifest, &keys::repo_digest(repo, digest)) })
    }

    fn pin_manifest<'a>(
        &'a self,
        repo: &'a RepoName,
        digest: &'a Digest,
        now: Millis,
        until: Millis,
    ) -> Answer<'a, Option<ManifestRow>> {
        Box::pin(async move {
            // As with blobs: mostly there is nothing to write.
            match self.manifest(repo, digest).await? {
                Some(row) if blobs::pin_is_old(row.pin_until, now, until) => {}
                young_or_none => return Ok(young_or_none),
            }
            let (repo, digest) = (repo.clone(), *digest);
            self.write(move |txn| manifests::pin(txn, &repo, &digest, now, until))
                .await
        })
    }

    fn manifest_bytes<'a>(
        &'a self,
        repo: &'a RepoName,
        digest: &'a Digest,
    ) -> Answer<'a, Option<Bytes>> {
        Box::pin(async move {
            Ok(self
                .engine
                .get(Family::Body, &keys::repo_digest(repo, digest))?
                .map(Bytes::from))
        })
    }

    fn manifests<'a>(
        &'a self,
        repo: &'a RepoName,
        from: Option<Digest>,
        limit: usize,
    ) -> Answer<'a, Vec<Digest>> {
        Box::pin(async move {
            let prefix = keys::repo(repo);
            let from = from.map_or_else(
                || prefix.clone(),
                |digest| after(keys::repo_digest(repo, &digest)),
            );
            self.list(Family::Manifest, &prefix, &from, limit, |key, _| {
                Ok(Some(keys::read_digest(&key[prefix.len()..])?.0))
            })
        })
    }

    fn put_manifest(&self, put: PutManifest) -> Answer<'_, Result<PutOutcome, Refusal>> {
        Box::pin(async move {
            answer(
                self.committer
                    .run(true, move |txn| manifests::put(txn, put))
                    .await,
            )
        })
    }

    fn delete_manifest<'a>(
        &'a self,
        repo: &'a RepoName,
        digest: &'a Digest,
        class: TagClass,
        by: &'a str,
        now: Millis,
    ) -> Answer<'a, Result<(), Refusal>> {
        let (repo, digest, by) = (repo.clone(), *digest, by.to_owned());
        Box::pin(async move {
            answer(
                self.committer
                    .run(true, move |txn| {
                        manifests::delete(txn, &repo, &digest, class, &by, now)
                    })
                    .await,
            )
        })
    }

    fn tag<'a>(&'a self, repo: &'a RepoName, tag: &'a Tag) -> Answer<'a, Option<TagRow>> {
        Box::pin(async move { self.row(Family::Tag, &keys::repo_text(repo, tag.as_str())) })
    }

    fn delete_tag<'a>(
        &'a self,
        repo: &'a RepoName,
        tag: &'a Tag,
        class: TagClass,
        condition: TagCondition,
        by: &'a str,
        now: Millis,
    ) -> Answer<'a, Result<(), Refusal>> {
        let (repo, tag, by) = (repo.clone(), tag.clone(), by.to_owned());
        Box::pin(async move {
            let operation = move |txn: &mut Txn<'_>| {
                let change = tags::Change {
                    repo: &repo,
                    by: &by,
                    now,
                    admission: None,
                    statements_due: false,
                };
                tags::remove(txn, change, &tag, class, condition)
            };
            answer(self.committer.run(true, operation).await)
        })
    }

    fn tags<'a>(
        &'a self,
        repo: &'a RepoName,
        from: Option<&'a str>,
        limit: usize,
        only_visible: bool,
    ) -> Answer<'a, Vec<Tag>> {
        Box::pin(async move {
            let prefix = keys::repo(repo);
            let from =
                from.map_or_else(|| prefix.clone(), |text| after(keys::repo_text(repo, text)));
            self.list(Family::Tag, &prefix, &from, limit, |key, value| {
                let row: TagRow = decode(Family::Tag, value)?;
                let listed = !row.tombstone && (row.visible || !only_visible);
                if listed {
                    read_tag(&key[prefix.len()..]).map(Some)
                } else {
                    Ok(None)
                }
            })
        })
    }

    fn referrers<'a>(
        &'a self,
        repo: &'a RepoName,
        subject: &'a Digest,
        artifact_type: Option<&'a str>,
        from: Option<Digest>,
        limit: usize,
    ) -> Answer<'a, super::ReferrerPage> {
        Box::pin(async move {
            let prefix = keys::repo_digest(repo, subject);
            let from = from.map_or_else(
                || prefix.clone(),
                |digest| after(keys::repo_two(repo, subject, &digest)),
            );
            let (mut found, mut more, mut last) = (Vec::new(), false, None);
            let (mut taken, mut seen) = (0, 0);
            // One row more than the page can hold says whether there is another page.
            self.list(Family::Referrer, &prefix, &from, 1, |key, value| {
                let descriptor: Referrer = decode(Family::Referrer, value)?;
                let wanted = artifact_type
                    .is_none_or(|wanted| descriptor.artifact_type.as_deref() == Some(wanted));
                let is_full = found.len() == limit
                    || (!found.is_empty() && taken + value.len() > super::REFERRERS_BYTES);
                if seen > super::REFERRERS_READ || (wanted && is_full) {
                    more = true;
                    return Ok(Some(()));
                }
                seen += value.len();
                last = Some(keys::read_digest(&key[prefix.len()..])?.0);
                if wanted {
                    taken += value.len();
                    found.push(descriptor);
                }
                Ok(None)
            })?;
            Ok(super::ReferrerPage {
                referrers: found,
                next: last.filter(|_| more),
            })
        })
    }

    fn revocations<'a>(&'a self, subject: &'a Digest) -> Answer<'a, Vec<KeptRevocation>> {
        Box::pin(async move {
            let prefix = revocations::prefix(subject);
            self.list(
                Family::Server,
                &prefix,
                &prefix,
                usize::MAX,
                |key, value| revocations::read(&key[prefix.len()..], value).map(Some),
            )
        })
    }

    fn keep_revocation<'a>(
        &'a self,
        subject: &'a Digest,
        kept: KeptRevocation,
    ) -> Answer<'a, bool> {
        let subject = *subject;
        Box::pin(async move {
            self.write(move |txn| revocations::keep(txn, &subject, &kept))
                .await
        })
    }

    fn repositories_with<'a>(&'a self, manifest: &'a Digest) -> Answer<'a, Vec<RepoName>> {
        Box::pin(async move {
            // As many lookups as there are repositories: no work for a thread that answers requests.
            let (engine, manifest) = (self.engine.clone(), *manifest);
            tokio::task::spawn_blocking(move || {
                let nothing = engine::Changes::new();
                manifests::repositories_with(&Txn::new(&*engine, &nothing), &manifest)
            })
            .await
            .map_err(|error| Error::Unavailable(error.to_string()))?
        })
    }

    fn repositories<'a>(
        &'a self,
        from: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<RepoName>> {
        Box::pin(async move {
            // The zero that ends a name lies below every character of one, so this is byte order.
            let from = from
                .map(|name| [name.as_bytes(), &[1]].concat())
                .unwrap_or_default();
            self.list(Family::Repository, b"", &from, limit, |key, _| {
                Ok(Some(keys::read_repo(key)?.0))
            })
        })
    }

    fn has_repository<'a>(&'a self, repo: &'a RepoName) -> Answer<'a, bool> {
        Box::pin(async move {
            Ok(self
                .engine
                .get(Family::Repository, &keys::repo(repo))?
                .is_some())
        })
    }

    fn events(&self, from: u64, limit: usize) -> Answer<'_, Vec<(u64, Event)>> {
        Box::pin(async move {
            self.list(
                Family::Event,
                b"",
                &from.saturating_add(1).to_be_bytes(),
                limit,
                |key, value| {
                    let number = key
                        .try_into()
                        .map_err(|_| Error::Damaged("an event has no number".into()))?;
                    Ok(Some((
                        u64::from_be_bytes(number),
                        decode(Family::Event, value)?,
                    )))
                },
            )
        })
    }

    fn show_tag<'a>(
        &'a self,
        repo: &'a RepoName,
        tag: &'a Tag,
        judged: Judged,
        visible: bool,
    ) -> Answer<'a, Result<bool, Refusal>> {
        let (repo, tag) = (repo.clone(), tag.clone());
        Box::pin(async move {
            let operation =
                move |txn: &mut Txn<'_>| tags::show_judged(txn, &repo, &tag, judged, visible);
            answer(self.committer.run(true, operation).await)
        })
    }

    fn policy(&self) -> Answer<'_, Option<Digest>> {
        Box::pin(async move { self.server_digest(manifests::POLICY) })
    }

    fn policy_judged(&self) -> Answer<'_, Option<Digest>> {
        Box::pin(async move { self.server_digest(policies::JUDGED) })
    }

    fn set_policy_judged(&self, policy: Digest) -> Answer<'_, ()> {
        Box::pin(async move {
            self.write(move |txn| {
                let text = policy.to_string().into_bytes();
                txn.put(Family::Server, policies::JUDGED.to_vec(), text);
                Ok(())
            })
            .await
        })
    }

    fn adopt_policy(&self, change: PolicyChange) -> Answer<'_, bool> {
        Box::pin(async move { self.write(move |txn| policies::adopt(txn, change)).await })
    }

    fn policy_document(&self) -> Answer<'_, Option<Vec<u8>>> {
        Box::pin(async move { self.engine.get(Family::Server, policies::DOCUMENT) })
    }

    fn exception_uses(&self) -> Answer<'_, ExceptionUses> {
        Box::pin(async move {
            let mut uses = ExceptionUses::new();
            let prefix = policies::USES;
            self.list(Family::Server, prefix, prefix, usize::MAX, |key, _| {
                policies::read_use(key, &mut uses)?;
                Ok(None::<()>)
            })?;
            Ok(uses)
        })
    }

    fn tags_of<'a>(&'a self, repo: &'a RepoName, digest: &'a Digest) -> Answer<'a, Vec<Tag>> {
        Box::pin(async move {
            let nothing = engine::Changes::new();
            manifests::tags_of(&Txn::new(&*self.engine, &nothing), repo, digest)
        })
    }

    fn note_pull(&self, note: PullNote) -> Answer<'_, ()> {
        Box::pin(async move {
            // Not worth a sync: after a power cut the last hour of pulls may be missing.
            self.committer
                .run(false, move |txn| policies::note_pull(txn, &note))
                .await
        })
    }

    fn pulls<'a>(
        &'a self,
        repo: &'a RepoName,
        digest: &'a Digest,
        from: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<(String, PullRow)>> {
        Box::pin(async move {
            let prefix = keys::repo_digest(repo, digest);
            let from = from.map_or_else(
                || prefix.clone(),
                |who| after(keys::repo_digest_text(repo, digest, who)),
            );
            self.list(Family::Pull, &prefix, &from, limit, |key, value| {
                let who = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
                Ok(Some((who, decode(Family::Pull, value)?)))
            })
        })
    }

    fn set_policy(&self, policy: Digest) -> Answer<'_, ()> {
        Box::pin(async move {
            self.write(move |txn| {
                let text = policy.to_string().into_bytes();
                txn.put(Family::Server, manifests::POLICY.to_vec(), text);
                Ok(())
            })
            .await
        })
    }

    fn collect(
        &self,
        rules: CollectRules,
        cursor: Option<Vec<u8>>,
        limit: usize,
    ) -> Answer<'_, Collected> {
        Box::pin(async move {
            if !rules.dry_run {
                return self
                    .write(move |txn| collect::pass(txn, rules, cursor, limit))
                    .await;
            }
            // A view that is never written: all of it at once, since what one pass frees the next counts.
            let engine = self.engine.clone();
            tokio::task::spawn_blocking(move || {
                let nothing = engine::Changes::new();
                collect::pass(&mut Txn::new(&*engine, &nothing), rules, None, usize::MAX)
            })
            .await
            .map_err(|error| Error::Unavailable(error.to_string()))?
        })
    }

    fn trash_due(
        &self,
        now: Millis,
        from: Option<PhysicalKey>,
        limit: usize,
    ) -> Answer<'_, Vec<TrashItem>> {
        Box::pin(async move {
            let from = from
                .map(|key| after(blobs::key_bytes(&key)))
                .unwrap_or_default();
            self.list(Family::Trash, b"", &from, limit, |key, value| {
                let not_before: Millis = decode(Family::Trash, value)?;
                let key = serde_json::from_value(String::from_utf8_lossy(key).into_owned().into())
                    .map_err(|_| Error::Damaged("the trash holds no key".into()))?;
                Ok((not_before <= now).then_some(TrashItem { key, not_before }))
            })
        })
    }

    fn trash_done(&self, items: Vec<TrashItem>) -> Answer<'_, ()> {
        Box::pin(async move {
            self.write(move |txn| {
                for item in items {
                    txn.delete(Family::Trash, blobs::key_bytes(&item.key));
                }
                Ok(())
            })
            .await
        })
    }

    fn knows_key<'a>(&'a self, key: &'a PhysicalKey) -> Answer<'a, bool> {
        Box::pin(async move {
            let key = blobs::key_bytes(key);
            Ok(self.engine.get(Family::LiveKey, &key)?.is_some()
                || self.engine.get(Family::Trash, &key)?.is_some())
        })
    }

    fn server_value<'a>(&'a self, name: &'a str, initial: Vec<u8>) -> Answer<'a, Vec<u8>> {
        let key = value_key(name);
        Box::pin(async move {
            self.write(move |txn| {
                if let Some(found) = txn.get(Family::Server, &key)? {
                    return Ok(found);
                }
                txn.put(Family::Server, key, initial.clone());
                Ok(initial)
            })
            .await
        })
    }

    fn replace_value<'a>(&'a self, name: &'a str, value: Vec<u8>) -> Answer<'a, ()> {
        let key = value_key(name);
        Box::pin(async move {
            self.write(move |txn| {
                txn.put(Family::Server, key, value);
                Ok(())
            })
            .await
        })
    }

    fn kept_value<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Vec<u8>>> {
        Box::pin(async move { self.engine.get(Family::Server, &value_key(name)) })
    }

    fn last_run<'a>(&'a self, job: &'a str) -> Answer<'a, Option<Millis>> {
        Box::pin(async move { self.row(Family::Server, &run_key(job)) })
    }

    fn note_run<'a>(&'a self, job: &'a str, at: Millis) -> Answer<'a, ()> {
        let key = run_key(job);
        Box::pin(async move {
            // Not worth a sync: after a power cut it runs once more.
            self.committer
                .run(false, move |txn| {
                    txn.put_row(Family::Server, key, &at);
                    Ok(())
                })
                .await
        })
    }

    fn check_health(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.write(|txn| {
                txn.put(Family::Server, b"health".to_vec(), b"ok".to_vec());
                Ok(())
            })
            .await
        })
    }

    fn is_stuck(&self, now: Millis) -> Answer<'_, bool> {
        Box::pin(async move {
            if !self.committer.is_failing() {
                return Ok(false);
            }
            // Since then, nobody may have tried.
            if self.check_health().await.is_ok() || !self.committer.is_failing() {
                return Ok(false);
            }
            let last = self.engine.last_end();
            if last.is_some_and(|at| now.abs_diff(at) < BETWEEN_ENDS) {
                tracing::error!(
                    "nothing can be written to the metadata store, and another start did not help lately: see its last error, and look at its disk"
                );
                return Ok(false);
            }
            let engine = self.engine.clone();
            let tried = tokio::task::spawn_blocking(move || engine.check_disk())
                .await
                .map_err(|error| Error::Unavailable(error.to_string()))?;
            Ok(tried.is_ok())
        })
    }

    fn note_end(&self, at: Millis) -> Answer<'_, ()> {
        Box::pin(async move {
            let engine = self.engine.clone();
            tokio::task::spawn_blocking(move || engine.note_end(at))
                .await
                .map_err(|error| Error::Unavailable(error.to_string()))?
        })
    }
}

#[cfg(test)]
mod tests;
