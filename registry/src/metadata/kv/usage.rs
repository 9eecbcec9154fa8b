//! What each namespace holds: rows that change in the same step as the links, manifests and uploads that they count.
//!
//! The only writer of its family. A repository belongs to one namespace for each path above its name, to its own, and
//! to that of the whole registry; each has a row unless all of it is zero.
//! Invariant: a row is the sum of what is there. A step that would take from it what it has not got is undone: the
//! rows contradict each other, and whoever goes on would hide that.

use super::Stop;
use super::engine::{Changes, Engine, Family};
use super::keys;
use super::txn::{Txn, decode, encode};
use crate::metadata::{
    BlobRow, Error, INLINE_LIMIT, ManifestRow, Quota, Refusal, UploadRow, Usage, Wanted,
};
use sealstone_spec::name::RepoName;
use std::collections::BTreeMap;

/// Name of the server value that says that everything has been counted.
pub(super) const COUNTED: &[u8] = b"usage";

/// Rows that are read at once while everything is counted.
const PAGE: usize = 1_000;

/// What counts as one.
#[derive(Clone, Copy)]
pub(super) enum Object {
    Blob,
    Manifest,
}

impl Object {
    fn count(self, usage: &mut Usage) -> &mut u64 {
        match self {
            Object::Blob => &mut usage.blobs,
            Object::Manifest => &mut usage.manifests,
        }
    }
}

/// The namespaces that a repository belongs to.
fn namespaces(repo: &RepoName) -> impl Iterator<Item = &str> {
    let name = repo.as_str();
    let above = name.match_indices('/').map(move |(end, _)| &name[..end]);
    std::iter::once("")
        .chain(above)
        .chain(std::iter::once(name))
}

fn read(txn: &Txn<'_>, namespace: &str) -> Result<Usage, Error> {
    let row = txn.row(Family::Usage, &keys::namespace(namespace))?;
    Ok(row.unwrap_or_default())
}

/// Changes the rows of all namespaces of a repository. `step` returns `None` for what cannot be.
fn change(
    txn: &mut Txn<'_>,
    repo: &RepoName,
    mut step: impl FnMut(&mut Usage) -> Option<()>,
) -> Result<(), Error> {
    for namespace in namespaces(repo) {
        let before = read(txn, namespace)?;
        let mut usage = before;
        step(&mut usage).ok_or_else(|| {
            Error::Damaged(format!(
                "usage of namespace \"{namespace}\" is {before:?}, and a change in {repo} would lead below zero, or beyond all numbers"
            ))
        })?;
        let key = keys::namespace(namespace);
        if usage == Usage::default() {
            txn.delete(Family::Usage, key);
        } else {
            txn.put_row(Family::Usage, key, &usage);
        }
    }
    Ok(())
}

/// Counts something that is new in a repository.
pub(super) fn add(
    txn: &mut Txn<'_>,
    repo: &RepoName,
    object: Object,
    size: u64,
) -> Result<(), Error> {
    change(txn, repo, |usage| {
        let count = object.count(usage);
        *count = count.checked_add(1)?;
        usage.bytes = usage.bytes.checked_add(size)?;
        Some(())
    })
}

/// Uncounts something that a repository has not any more.
pub(super) fn take(
    txn: &mut Txn<'_>,
    repo: &RepoName,
    object: Object,
    size: u64,
) -> Result<(), Error> {
    change(txn, repo, |usage| {
        let count = object.count(usage);
        *count = count.checked_sub(1)?;
        usage.bytes = usage.bytes.checked_sub(size)?;
        Some(())
    })
}

/// Makes of `from` bytes that an upload has reserved `to`. More is refused if a quota leaves no room for it; what is
/// small enough to be kept here may be a statement, and has its headroom.
pub(super) fn reserve(
    txn: &mut Txn<'_>,
    repo: &RepoName,
    from: u64,
    to: u64,
    quotas: &[Quota],
) -> Result<(), Stop> {
    if to <= from {
        release(txn, repo, from - to)?;
        return Ok(());
    }
    let wanted = Wanted {
        bytes: to - from,
        // Not counted before it is there, but one that cannot come need not be sent.
        objects: 1,
        headroom: to <= INLINE_LIMIT,
    };
    check(txn, quotas, wanted)?;
    change(txn, repo, |usage| {
        usage.reserved = usage.reserved.checked_add(wanted.bytes)?;
        Some(())
    })?;
    Ok(())
}

/// Gives back what an upload had reserved.
pub(super) fn release(txn: &mut Txn<'_>, repo: &RepoName, bytes: u64) -> Result<(), Error> {
    if bytes == 0 {
        return Ok(());
    }
    change(txn, repo, |usage| {
        usage.reserved = usage.reserved.checked_sub(bytes)?;
        Some(())
    })
}

/// Refuses what one of the quotas leaves no room for.
pub(super) fn check(txn: &Txn<'_>, quotas: &[Quota], wanted: Wanted) -> Result<(), Stop> {
    for quota in quotas {
        let usage = read(txn, &quota.namespace)?;
        if let Some(exceeded) = quota.exceeded(&usage, wanted) {
            return Err(Stop::Refused(Refusal::QuotaExceeded(exceeded)));
        }
    }
    Ok(())
}

/// Counts everything in a store whose rows were written by a build that did not count. Before anything else writes.
pub(super) fn count_once(engine: &dyn Engine) -> Result<(), Error> {
    if engine.get(Family::Server, COUNTED)?.is_some() {
        return Ok(());
    }
    let nothing = Changes::new();
    let store = Txn::new(engine, &nothing);
    let mut own: BTreeMap<RepoName, Usage> = BTreeMap::new();
    each_row(&store, Family::Link, b"", |key, _| {
        let (repo, rest) = keys::read_repo(key)?;
        let (digest, _) = keys::read_digest(rest)?;
        let Some(blob) = store.row::<BlobRow>(Family::Blob, &keys::digest(&digest))? else {
            // When the link goes, nothing is uncounted for it either.
            tracing::error!(repo.name = %repo, blob.digest = %digest, "the repository has a blob that nobody has; it is not counted");
            return Ok(());
        };
        let usage = own.entry(repo).or_default();
        usage.blobs += 1;
        usage.bytes += blob.size;
        Ok(())
    })?;
    each_row(&store, Family::Manifest, b"", |key, value| {
        let row: ManifestRow = decode(Family::Manifest, value)?;
        let usage = own.entry(keys::read_repo(key)?.0).or_default();
        usage.manifests += 1;
        usage.bytes += row.size;
        Ok(())
    })?;
    each_row(&store, Family::Upload, b"", |_, value| {
        let row: UploadRow = decode(Family::Upload, value)?;
        own.entry(row.repo).or_default().reserved += row.reserved;
        Ok(())
    })?;

    let mut all: BTreeMap<Vec<u8>, Usage> = BTreeMap::new();
    for (repo, usage) in &own {
        for namespace in namespaces(repo) {
            let sum = all.entry(keys::namespace(namespace)).or_default();
            sum.blobs += usage.blobs;
            sum.manifests += usage.manifests;
            sum.bytes += usage.bytes;
            sum.reserved += usage.reserved;
        }
    }
    let mut changes = Changes::new();
    for (key, _) in store.scan(Family::Usage, b"", b"", usize::MAX)? {
        changes.insert((Family::Usage, key), None);
    }
    for (key, usage) in all {
        if usage != Usage::default() {
            changes.insert((Family::Usage, key), Some(encode(&usage)));
        }
    }
    changes.insert((Family::Server, COUNTED.to_vec()), Some(b"1".to_vec()));
    engine.write(&changes, true)?;
    tracing::info!(
        repositories = own.len(),
        "counted what every namespace holds: a server before this one did not"
    );
    Ok(())
}

/// Every row of a family whose key begins with `prefix`, a page at a time: a store may have more than fit into memory.
pub(super) fn each_row(
    store: &Txn<'_>,
    family: Family,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut from = Vec::new();
    loop {
        let mut page = store.scan(family, prefix, &from, PAGE)?;
        for (key, value) in &page {
            visit(key, value)?;
        }
        let Some((last, _)) = page.pop() else {
            return Ok(());
        };
        from = super::after(last);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::memory::MemoryEngine;
    use super::*;

    #[test]
    fn a_repository_belongs_to_every_path_above_it() {
        let of = |name: &str| -> Vec<String> {
            let repo: RepoName = name.parse().unwrap();
            namespaces(&repo).map(str::to_owned).collect()
        };
        assert_eq!(of("a"), ["", "a"]);
        assert_eq!(of("team-a/b/c"), ["", "team-a", "team-a/b", "team-a/b/c"]);
    }

    /// Each of these would hide that something was counted twice, or not at all.
    #[test]
    fn nothing_is_taken_that_is_not_there() {
        let (engine, nothing) = (MemoryEngine::default(), Changes::new());
        let repo: RepoName = "a/b".parse().unwrap();
        let mut txn = Txn::new(&engine, &nothing);
        add(&mut txn, &repo, Object::Blob, 5).unwrap();
        let is_damage = |found: Result<(), Error>| matches!(found, Err(Error::Damaged(_)));
        assert!(is_damage(take(&mut txn, &repo, Object::Blob, 6)));
        assert!(is_damage(take(&mut txn, &repo, Object::Manifest, 5)));
        assert!(is_damage(release(&mut txn, &repo, 1)));
        take(&mut txn, &repo, Object::Blob, 5).unwrap();
        assert!(is_damage(take(&mut txn, &repo, Object::Blob, 0)));
        // Rows in which nothing is left are gone.
        assert!(txn.scan(Family::Usage, b"", b"", 9).unwrap().is_empty());
    }
}
