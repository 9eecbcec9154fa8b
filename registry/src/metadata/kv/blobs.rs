//! Blobs, the repositories that have them, and the uploads that bring them.

use super::engine::Family;
use super::keys::{self, ReviewKind};
use super::txn::Txn;
use super::usage::{self, Object};
use super::{Stop, events};
use crate::metadata::{
    BlobPlace, BlobRow, CommitOutcome, Error, Event, EventKind, LinkRow, LinkedBlob, Millis,
    NewBlob, NewContent, PhysicalKey, Progress, Quota, Refusal, UploadId, UploadRow, Wanted,
};
use sealstone_spec::digest::Digest;
use sealstone_spec::name::RepoName;

pub(super) fn upload_key(id: UploadId) -> Vec<u8> {
    id.0.as_bytes().to_vec()
}

pub(super) fn key_bytes(key: &PhysicalKey) -> Vec<u8> {
    key.as_str().as_bytes().to_vec()
}

pub(super) fn linked(blob: BlobRow, link: &LinkRow) -> LinkedBlob {
    LinkedBlob {
        size: blob.size,
        place: blob.place,
        visible: link.visible > 0,
        quarantined: blob.quarantined,
    }
}

/// Whether half of a pin's time is gone. Renewing only then makes existence checks cheap.
pub(super) fn pin_is_old(pinned: Millis, now: Millis, until: Millis) -> bool {
    pinned < now + (until - now) / 2
}

/// Finds a blob for somebody who will rely on it.
pub(super) fn pin(
    txn: &mut Txn<'_>,
    repo: &RepoName,
    digest: &Digest,
    now: Millis,
    until: Millis,
) -> Result<Option<LinkedBlob>, Error> {
    let key = keys::repo_digest(repo, digest);
    let Some(mut link) = txn.row::<LinkRow>(Family::Link, &key)? else {
        return Ok(None);
    };
    let Some(blob) = txn.row::<BlobRow>(Family::Blob, &keys::digest(digest))? else {
        return Err(Error::Damaged(format!(
            "{repo} has {digest}, which nobody has"
        )));
    };
    if pin_is_old(link.pin_until, now, until) {
        link.pin_until = until;
        txn.put_row(Family::Link, key, &link);
    }
    Ok(Some(linked(blob, &link)))
}

/// Gives a repository a blob that is in the store. Only what it has not got yet has to fit into its quotas.
fn link(
    txn: &mut Txn<'_>,
    repo: &RepoName,
    digest: &Digest,
    mut blob: BlobRow,
    until: Millis,
    quotas: &[Quota],
) -> Result<(), Stop> {
    let key = keys::repo_digest(repo, digest);
    let row = match txn.row::<LinkRow>(Family::Link, &key)? {
        Some(mut row) => {
            row.pin_until = row.pin_until.max(until);
            row
        }
        None => {
            let wanted = Wanted {
                bytes: blob.size,
                objects: 1,
                headroom: blob.place == BlobPlace::Inline,
            };
            usage::check(txn, quotas, wanted)?;
            usage::add(txn, repo, Object::Blob, blob.size)?;
            blob.links += 1;
            txn.put(Family::Holder, keys::digest_repo(digest, repo), Vec::new());
            txn.put(
                Family::Review,
                keys::review(ReviewKind::Link, &key),
                Vec::new(),
            );
            LinkRow {
                refs: 0,
                visible: 0,
                pin_until: until,
            }
        }
    };
    txn.put_row(Family::Link, key, &row);
    txn.put_row(Family::Blob, keys::digest(digest), &blob);
    Ok(())
}

pub(super) fn mount(
    txn: &mut Txn<'_>,
    from: &RepoName,
    to: &RepoName,
    digest: &Digest,
    until: Millis,
    quotas: &[Quota],
) -> Result<bool, Stop> {
    let has = txn.has(Family::Link, &keys::repo_digest(from, digest))?;
    match txn.row::<BlobRow>(Family::Blob, &keys::digest(digest))? {
        Some(blob) if has && blob.quarantined.is_none() => {
            link(txn, to, digest, blob, until, quotas)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

pub(super) fn unlink(txn: &mut Txn<'_>, repo: &RepoName, digest: &Digest) -> Result<(), Stop> {
    let key = keys::repo_digest(repo, digest);
    let row = txn
        .row::<LinkRow>(Family::Link, &key)?
        .ok_or(Stop::Refused(Refusal::NotFound))?;
    if row.refs > 0 {
        return Err(Stop::Refused(Refusal::BlobInUse(row.refs)));
    }
    drop_link(txn, repo, digest)?;
    Ok(())
}

/// Takes a blob that no manifest names from a repository.
pub(super) fn drop_link(txn: &mut Txn<'_>, repo: &RepoName, digest: &Digest) -> Result<(), Error> {
    txn.delete(Family::Link, keys::repo_digest(repo, digest));
    txn.delete(Family::Holder, keys::digest_repo(digest, repo));
    let key = keys::digest(digest);
    if let Some(mut blob) = txn.row::<BlobRow>(Family::Blob, &key)? {
        usage::take(txn, repo, Object::Blob, blob.size)?;
        blob.links = blob.links.saturating_sub(1);
        if blob.links == 0 {
            txn.put(
                Family::Review,
                keys::review(ReviewKind::Blob, &key),
                Vec::new(),
            );
        }
        txn.put_row(Family::Blob, key, &blob);
    }
    Ok(())
}

/// Name of the server value that counts blobs in quarantine.
pub(super) const QUARANTINED: &[u8] = b"quarantined";

/// What damage is found and mended by.
const REGISTRY: &str = "registry";

/// Concerns the copy at `place` and no other: while somebody read that, the blob may have come again.
pub(super) fn quarantine(
    txn: &mut Txn<'_>,
    digest: &Digest,
    place: &BlobPlace,
    reason: &str,
    now: Millis,
) -> Result<bool, Error> {
    let key = keys::digest(digest);
    let found = txn.row::<BlobRow>(Family::Blob, &key)?;
    let is_that_copy = |blob: &BlobRow| blob.quarantined.is_none() && blob.place == *place;
    let Some(mut blob) = found.filter(is_that_copy) else {
        return Ok(false);
    };
    blob.quarantined = Some(reason.to_owned());
    txn.put_row(Family::Blob, key, &blob);
    count_quarantined(txn, true)?;
    tell_holders(txn, digest, EventKind::ContentDamaged, now)?;
    Ok(true)
}

/// The other way, for a copy that was read since and is whole.
pub(super) fn lift_quarantine(
    txn: &mut Txn<'_>,
    digest: &Digest,
    place: &BlobPlace,
    now: Millis,
) -> Result<bool, Error> {
    let key = keys::digest(digest);
    let found = txn.row::<BlobRow>(Family::Blob, &key)?;
    let is_that_copy = |blob: &BlobRow| blob.quarantined.is_some() && blob.place == *place;
    let Some(mut blob) = found.filter(is_that_copy) else {
        return Ok(false);
    };
    blob.quarantined = None;
    txn.put_row(Family::Blob, key, &blob);
    count_quarantined(txn, false)?;
    tell_holders(txn, digest, EventKind::ContentRepaired, now)?;
    Ok(true)
}

pub(super) fn count_quarantined(txn: &mut Txn<'_>, up: bool) -> Result<(), Error> {
    let count = txn.row::<u64>(Family::Server, QUARANTINED)?.unwrap_or(0);
    let count = if up {
        count + 1
    } else {
        count.saturating_sub(1)
    };
    txn.put_row(Family::Server, QUARANTINED.to_vec(), &count);
    Ok(())
}

/// An event in each repository that has a blob.
fn tell_holders(
    txn: &mut Txn<'_>,
    digest: &Digest,
    kind: EventKind,
    now: Millis,
) -> Result<(), Error> {
    let prefix = keys::digest(digest);
    for (key, _) in txn.scan(Family::Holder, &prefix, &prefix, usize::MAX)? {
        let event = Event {
            repo: Some(keys::read_repo(&key[prefix.len()..])?.0),
            ..Event::new(kind, *digest, REGISTRY, now)
        };
        events::append(txn, &event)?;
    }
    Ok(())
}

pub(super) fn begin_upload(
    txn: &mut Txn<'_>,
    row: &UploadRow,
    quotas: &[Quota],
) -> Result<(), Stop> {
    let key = key_bytes(&row.key);
    if txn.has(Family::LiveKey, &key)? || txn.has(Family::Trash, &key)? {
        let problem = format!("key {} was handed out twice", row.key);
        return Err(Error::Damaged(problem).into());
    }
    usage::reserve(txn, &row.repo, 0, row.reserved, quotas)?;
    txn.put(Family::LiveKey, key, Vec::new());
    txn.put_row(Family::Upload, upload_key(row.id), row);
    Ok(())
}

pub(super) fn advance_upload(
    txn: &mut Txn<'_>,
    id: UploadId,
    progress: Progress,
    quotas: &[Quota],
) -> Result<bool, Stop> {
    let key = upload_key(id);
    let Some(mut row) = txn.row::<UploadRow>(Family::Upload, &key)? else {
        return Ok(false);
    };
    if let Some(bytes) = progress.reserve {
        usage::reserve(txn, &row.repo, row.reserved, bytes, quotas)?;
        row.reserved = bytes;
    }
    if row.reserved >= progress.offset {
        count_room(txn, &mut row)?;
    }
    row.offset = progress.offset;
    row.hash_state = progress.hash_state;
    row.boot = progress.boot;
    row.sealing = progress.sealing;
    row.expires_at = progress.expires_at;
    txn.put_row(Family::Upload, key, &row);
    Ok(true)
}

pub(super) fn reserve_upload(
    txn: &mut Txn<'_>,
    id: UploadId,
    bytes: u64,
    quotas: &[Quota],
) -> Result<bool, Stop> {
    let key = upload_key(id);
    let Some(mut row) = txn.row::<UploadRow>(Family::Upload, &key)? else {
        return Ok(false);
    };
    if bytes > row.reserved {
        usage::reserve(txn, &row.repo, row.reserved, bytes, quotas)?;
        row.reserved = bytes;
        if bytes >= row.offset {
            count_room(txn, &mut row)?;
        }
        txn.put_row(Family::Upload, key, &row);
    }
    Ok(true)
}

/// What the names of the server values begin with that count the uploads which an account has under way without room.
const ROOMLESS: &[u8] = b"roomless/";

fn roomless_key(account: &str) -> Vec<u8> {
    [ROOMLESS, account.as_bytes()].concat()
}

pub(super) fn go_on_without_room(
    txn: &mut Txn<'_>,
    id: UploadId,
    most: u64,
) -> Result<bool, Error> {
    let key = upload_key(id);
    let Some(mut row) = txn.row::<UploadRow>(Family::Upload, &key)? else {
        return Ok(false);
    };
    if row.roomless {
        return Ok(true);
    }
    let count_key = roomless_key(&row.by);
    let count = txn.row::<u64>(Family::Server, &count_key)?.unwrap_or(0);
    if count >= most {
        return Ok(false);
    }
    txn.put_row(Family::Server, count_key, &(count + 1));
    row.roomless = true;
    txn.put_row(Family::Upload, key, &row);
    Ok(true)
}

/// An upload has room from here on, or is over: its account may have another without. Whoever calls this writes the row.
fn count_room(txn: &mut Txn<'_>, row: &mut UploadRow) -> Result<(), Error> {
    if !row.roomless {
        return Ok(());
    }
    row.roomless = false;
    let key = roomless_key(&row.by);
    let count = txn.row::<u64>(Family::Server, &key)?.unwrap_or(0);
    match count.saturating_sub(1) {
        0 => txn.delete(Family::Server, key),
        left => txn.put_row(Family::Server, key, &left),
    }
    Ok(())
}

pub(super) fn keep_upload(
    txn: &mut Txn<'_>,
    id: UploadId,
    expires_at: Millis,
) -> Result<bool, Error> {
    let key = upload_key(id);
    let Some(mut row) = txn.row::<UploadRow>(Family::Upload, &key)? else {
        return Ok(false);
    };
    row.expires_at = row.expires_at.max(expires_at);
    txn.put_row(Family::Upload, key, &row);
    Ok(true)
}

pub(super) fn abort_upload(txn: &mut Txn<'_>, id: UploadId, now: Millis) -> Result<bool, Error> {
    let key = upload_key(id);
    let Some(mut row) = txn.row::<UploadRow>(Family::Upload, &key)? else {
        return Ok(false);
    };
    txn.delete(Family::Upload, key);
    count_room(txn, &mut row)?;
    usage::release(txn, &row.repo, row.reserved)?;
    // Nobody downloads from a key that was never a blob's, so there is nothing to wait for.
    to_trash(txn, &row.key, now);
    Ok(true)
}

pub(super) fn to_trash(txn: &mut Txn<'_>, key: &PhysicalKey, not_before: Millis) {
    txn.delete(Family::LiveKey, key_bytes(key));
    txn.put_row(Family::Trash, key_bytes(key), &not_before);
}

pub(super) fn commit(txn: &mut Txn<'_>, new: NewBlob) -> Result<CommitOutcome, Stop> {
    let mut reserved = None;
    if let Some(id) = new.upload {
        let Some(mut row) = txn.row::<UploadRow>(Family::Upload, &upload_key(id))? else {
            return Ok(CommitOutcome::NoSession);
        };
        txn.delete(Family::Upload, upload_key(id));
        count_room(txn, &mut row)?;
        // First, so that the blob does not have to fit beside the room that was held for it.
        usage::release(txn, &row.repo, row.reserved)?;
        reserved = Some(row.key);
    }
    let blob_key = keys::digest(&new.digest);
    let mut outcome = CommitOutcome::Committed;
    let known = txn.row::<BlobRow>(Family::Blob, &blob_key)?;
    let mut blob = match known {
        Some(blob) if blob.quarantined.is_none() => {
            if let Some(key) = reserved {
                to_trash(txn, &key, new.now);
            }
            blob
        }
        damaged_or_new => {
            let place = match new.content {
                NewContent::Inline(bytes) => {
                    txn.put(Family::Inline, blob_key, bytes.to_vec());
                    if let Some(key) = &reserved {
                        // No object was ever written under it.
                        txn.delete(Family::LiveKey, key_bytes(key));
                    }
                    BlobPlace::Inline
                }
                NewContent::Object(root) => {
                    let key = reserved.ok_or_else(|| {
                        Error::Damaged("a blob came to the blob store without an upload".into())
                    })?;
                    BlobPlace::Object { key, root }
                }
            };
            let mut links = 0;
            if let Some(damaged) = damaged_or_new {
                // The same content came again: it takes the place of the damaged copy.
                links = damaged.links;
                outcome = CommitOutcome::Repaired;
                count_quarantined(txn, false)?;
                tell_holders(txn, &new.digest, EventKind::ContentRepaired, new.now)?;
                if let BlobPlace::Object { key, .. } = damaged.place {
                    to_trash(txn, &key, new.now);
                }
            }
            BlobRow {
                size: new.size,
                place,
                links,
                pin_until: new.pin_until,
                quarantined: None,
            }
        }
    };
    blob.pin_until = blob.pin_until.max(new.pin_until);
    link(
        txn,
        &new.repo,
        &new.digest,
        blob,
        new.pin_until,
        &new.quotas,
    )?;
    Ok(outcome)
}
