//! Revocations by what they revoke. A statement binds a digest and no repository, so one row stands for all of them.
//!
//! Invariant: a row never goes, and neither does the manifest that it points to, nor what that names. There is one for
//! each word of somebody who may revoke, however often it is attached.

use super::engine::Family;
use super::keys;
use super::txn::{Txn, decode};
use crate::metadata::{Error, KeptRevocation, ManifestRow, PutManifest, RevocationRow};
use sealstone_spec::digest::Digest;
use sealstone_spec::name::RepoName;

/// What the names of these server values begin with; then comes the digest of what is revoked, and that of the word.
const REVOKED: &[u8] = b"revoked/";

pub(super) fn prefix(subject: &Digest) -> Vec<u8> {
    [REVOKED, &keys::digest(subject)].concat()
}

/// Reads a row; `word` is what its key has after [`prefix`].
pub(super) fn read(word: &[u8], value: &[u8]) -> Result<KeptRevocation, Error> {
    Ok(KeptRevocation {
        word: keys::read_digest(word)?.0,
        row: decode(Family::Server, value)?,
    })
}

/// The revocations of a manifest, by their words.
pub(super) fn of(txn: &Txn<'_>, subject: &Digest) -> Result<Vec<KeptRevocation>, Error> {
    let prefix = prefix(subject);
    let rows = txn.scan(Family::Server, &prefix, &prefix, usize::MAX)?;
    rows.iter()
        .map(|(key, value)| read(&key[prefix.len()..], value))
        .collect()
}

/// Whether a manifest is kept because it revokes `subject`.
pub(super) fn is_kept(
    txn: &Txn<'_>,
    repo: &RepoName,
    digest: &Digest,
    row: &ManifestRow,
) -> Result<bool, Error> {
    let Some(subject) = &row.subject else {
        return Ok(false);
    };
    let place = RevocationRow {
        repo: repo.clone(),
        referrer: *digest,
    };
    Ok(of(txn, subject)?.iter().any(|kept| kept.row == place))
}

/// Keeps what was just stored, if it revokes a manifest that is there. What names another size than that has is set aside
/// by whoever judges, and must not stand in the place of the same words that count; where the manifest is not there,
/// nobody can compare yet.
pub(super) fn keep_pushed(txn: &mut Txn<'_>, put: &PutManifest) -> Result<(), Error> {
    let (Some(word), Some(subject)) = (put.revokes, put.manifest.subject()) else {
        return Ok(());
    };
    let key = keys::repo_digest(&put.repo, &subject.digest);
    let found = txn.row::<ManifestRow>(Family::Manifest, &key)?;
    if found.is_some_and(|found| found.size == subject.size) {
        let row = RevocationRow {
            repo: put.repo.clone(),
            referrer: *put.manifest.digest(),
        };
        keep(txn, &subject.digest, &KeptRevocation { word, row })?;
    }
    Ok(())
}

/// Keeps a manifest that revokes `subject`; `true` if these words were not kept before.
pub(super) fn keep(
    txn: &mut Txn<'_>,
    subject: &Digest,
    kept: &KeptRevocation,
) -> Result<bool, Error> {
    let RevocationRow { repo, referrer } = &kept.row;
    let key = [prefix(subject), keys::digest(&kept.word)].concat();
    let is_there = txn.has(Family::Manifest, &keys::repo_digest(repo, referrer))?;
    if !is_there || txn.has(Family::Server, &key)? {
        return Ok(false);
    }
    txn.put_row(Family::Server, key, &kept.row);
    Ok(true)
}
