//! The collector's decisions. Each is a predicate on one row that whoever needs the row also writes:
//! `refs`, `links`, `tags`, `parents` and the pin. Its safety was checked by exhausting the states of
//! a model (tests/src/model); no clock is needed for it, only for how soon garbage goes.

use super::blobs;
use super::engine::Family;
use super::keys::{self, ReviewKind};
use super::txn::Txn;
use super::{manifests, revocations};
use crate::metadata::{
    BlobPlace, BlobRow, CollectRules, Collected, Error, LinkRow, ManifestRow, UploadRow,
};

/// What a cursor begins with that stands in the uploads. No kind of entry in the review queue is this.
const UPLOADS: u8 = 0;

/// One pass over at most `limit` rows from `cursor` on: uploads first, then entries of the review queue.
pub(super) fn pass(
    txn: &mut Txn<'_>,
    rules: CollectRules,
    cursor: Option<Vec<u8>>,
    limit: usize,
) -> Result<Collected, Error> {
    let mut collected = Collected::default();
    let mut looked_at = 0;
    let mut from = match cursor {
        Some(cursor) if cursor.first() != Some(&UPLOADS) => cursor,
        in_uploads => {
            let from = in_uploads.as_ref().map_or(&[][..], |cursor| &cursor[1..]);
            let mut rows = txn.scan(Family::Upload, b"", from, limit.saturating_add(1))?;
            let next = (rows.len() > limit).then(|| rows.pop()).flatten();
            looked_at += rows.len();
            for (_, value) in rows {
                expire_upload(txn, rules, &value, &mut collected)?;
            }
            if let Some((next, _)) = next {
                collected.next = Some([&[UPLOADS][..], &next].concat());
                return Ok(collected);
            }
            Vec::new()
        }
    };
    // Entries for what a removed row named come later in the queue: manifests before links before blobs.
    loop {
        let Some((entry, _)) = txn.scan(Family::Review, b"", &from, 1)?.pop() else {
            return Ok(collected);
        };
        if looked_at == limit {
            collected.next = Some(entry);
            return Ok(collected);
        }
        looked_at += 1;
        review(txn, rules, &entry, &mut collected)?;
        from = entry;
        from.push(0);
    }
}

fn expire_upload(
    txn: &mut Txn<'_>,
    rules: CollectRules,
    value: &[u8],
    collected: &mut Collected,
) -> Result<(), Error> {
    let row: UploadRow = super::txn::decode(Family::Upload, value)?;
    if row.expires_at < rules.now {
        blobs::abort_upload(txn, row.id, rules.now)?;
        collected.uploads.push(row.id);
    }
    Ok(())
}

fn review(
    txn: &mut Txn<'_>,
    rules: CollectRules,
    entry: &[u8],
    collected: &mut Collected,
) -> Result<(), Error> {
    let row_key = &entry[1..];
    let done = match entry[0] {
        kind if kind == ReviewKind::Manifest as u8 => {
            review_manifest(txn, rules, row_key, collected)?
        }
        kind if kind == ReviewKind::Link as u8 => review_link(txn, rules, row_key, collected)?,
        kind if kind == ReviewKind::Blob as u8 => review_blob(txn, rules, row_key, collected)?,
        other => {
            return Err(Error::Damaged(format!(
                "the review queue has an entry of unknown kind {other}"
            )));
        }
    };
    if done {
        txn.delete(Family::Review, entry.to_vec());
    }
    Ok(())
}

/// Each of these says whether the entry is settled; one that waits for a pin to end stays.
fn review_manifest(
    txn: &mut Txn<'_>,
    rules: CollectRules,
    key: &[u8],
    collected: &mut Collected,
) -> Result<bool, Error> {
    let Some(row) = txn.row::<ManifestRow>(Family::Manifest, key)? else {
        return Ok(true);
    };
    let (repo, rest) = keys::read_repo(key)?;
    let digest = keys::read_digest(rest)?.0;
    if row.tags > 0 || row.parents > 0 || row.held > 0 {
        return Ok(true);
    }
    // A referrer lives as long as its subject, whether that has come yet or not is the pusher's affair
    // until the pin ends.
    if let Some(subject) = row.subject
        && txn.has(Family::Manifest, &keys::repo_digest(&repo, &subject))?
    {
        return Ok(true);
    }
    if revocations::is_kept(txn, &repo, &digest, &row)? {
        return Ok(true);
    }
    if !rules.untagged_manifests || row.pin_until >= rules.now {
        return Ok(false);
    }
    manifests::remove(txn, &repo, &digest)?;
    collected.manifests += 1;
    Ok(true)
}

fn review_link(
    txn: &mut Txn<'_>,
    rules: CollectRules,
    key: &[u8],
    collected: &mut Collected,
) -> Result<bool, Error> {
    let Some(row) = txn.row::<LinkRow>(Family::Link, key)? else {
        return Ok(true);
    };
    if row.refs > 0 {
        return Ok(true);
    }
    if row.pin_until >= rules.now {
        return Ok(false);
    }
    let (repo, rest) = keys::read_repo(key)?;
    blobs::drop_link(txn, &repo, &keys::read_digest(rest)?.0)?;
    collected.links += 1;
    Ok(true)
}

fn review_blob(
    txn: &mut Txn<'_>,
    rules: CollectRules,
    key: &[u8],
    collected: &mut Collected,
) -> Result<bool, Error> {
    let Some(row) = txn.row::<BlobRow>(Family::Blob, key)? else {
        return Ok(true);
    };
    if row.links > 0 {
        return Ok(true);
    }
    if row.pin_until >= rules.now {
        return Ok(false);
    }
    match &row.place {
        BlobPlace::Inline => txn.delete(Family::Inline, key.to_vec()),
        BlobPlace::Object { key, .. } => blobs::to_trash(txn, key, rules.now + rules.trash_for),
    }
    txn.delete(Family::Blob, key.to_vec());
    if row.quarantined.is_some() {
        blobs::count_quarantined(txn, false)?;
    }
    collected.blobs += 1;
    collected.bytes += row.size;
    Ok(true)
}
