//! Who sees a manifest, and what keeps it: two counters that run from tags down to blobs.
//!
//! A manifest is *visible* through visible tags, visible indexes that list it and a visible subject;
//! it is *held* in the same way by immutable tags. When a counter leaves or reaches zero, everything
//! below counts it too. So whether a consumer may read a blob is one row, and no reader walks a graph. The tag of a list of
//! evidence is visible while what it speaks of is: whoever changes a counter lets the lists follow.
//!
//! Invariant: whoever is seen through a subject speaks of it. Nobody judges what is said about a manifest, so an index
//! with a subject shows no manifest but those that speak of the same ([`carries`]). Hence what is visible, has no
//! subject and is no list of evidence is reached from a tag by lists alone: it was admitted with that.

use super::engine::Family;
use super::keys::{self, EdgeKind};
use super::txn::Txn;
use crate::metadata::{Error, LinkRow, ManifestRow};
use sealstone_spec::digest::Digest;
use sealstone_spec::name::RepoName;
use std::collections::BTreeSet;

/// The two counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Visible,
    Held,
}

impl Reach {
    fn counter(self, row: &mut ManifestRow) -> &mut u64 {
        match self {
            Reach::Visible => &mut row.visible,
            Reach::Held => &mut row.held,
        }
    }

    pub(super) fn of(self, row: &ManifestRow) -> u64 {
        match self {
            Reach::Visible => row.visible,
            Reach::Held => row.held,
        }
    }
}

/// Adds one way in which a manifest is reached, or takes one away. Returns the manifests that are seen from now on, or
/// no longer: lists of evidence about them go with them ([`follow`](super::tags::follow)). None where it is about what
/// is held.
pub(super) fn change(
    txn: &mut Txn<'_>,
    repo: &RepoName,
    digest: &Digest,
    reach: Reach,
    up: bool,
) -> Result<Vec<Digest>, Error> {
    let mut changed = Vec::new();
    // A list instead of recursion: chains of subjects can be as long as somebody cares to push them.
    let mut work = vec![*digest];
    while let Some(digest) = work.pop() {
        let key = keys::repo_digest(repo, &digest);
        let Some(mut row) = txn.row::<ManifestRow>(Family::Manifest, &key)? else {
            continue;
        };
        let counter = reach.counter(&mut row);
        let before = *counter;
        *counter = step(before, up);
        let crossed = (before == 0) != (*counter == 0);
        txn.put_row(Family::Manifest, key, &row);
        if !crossed {
            continue;
        }
        if reach == Reach::Visible {
            changed.push(digest);
        }
        for (kind, child) in children(txn, repo, &digest)? {
            match kind {
                EdgeKind::Manifest => {
                    if carries(txn, repo, reach, row.subject.as_ref(), &child)? {
                        work.push(child);
                    }
                }
                EdgeKind::Blob if reach == Reach::Visible => change_link(txn, repo, &child, up)?,
                EdgeKind::Blob => {}
            }
        }
        work.extend(referrers(txn, repo, &digest)?);
    }
    Ok(changed)
}

/// Whether an index gives on to a child what it is reached by; `subject` is the index's. All that is held is held
/// together; what is visible beside a subject shows only what speaks of that too.
pub(super) fn carries(
    txn: &Txn<'_>,
    repo: &RepoName,
    reach: Reach,
    subject: Option<&Digest>,
    child: &Digest,
) -> Result<bool, Error> {
    let (Reach::Visible, Some(subject)) = (reach, subject) else {
        return Ok(true);
    };
    let row = txn.row::<ManifestRow>(Family::Manifest, &keys::repo_digest(repo, child))?;
    Ok(row.is_some_and(|row| row.subject.as_ref() == Some(subject)))
}

fn change_link(txn: &mut Txn<'_>, repo: &RepoName, blob: &Digest, up: bool) -> Result<(), Error> {
    let key = keys::repo_digest(repo, blob);
    if let Some(mut link) = txn.row::<LinkRow>(Family::Link, &key)? {
        link.visible = step(link.visible, up);
        txn.put_row(Family::Link, key, &link);
    }
    Ok(())
}

fn step(count: u64, up: bool) -> u64 {
    if up {
        count + 1
    } else {
        count.saturating_sub(1)
    }
}

/// Whether a manifest leads down to one of `above`, which lead to it: the counters of such a circle
/// would never return to zero. Asked for every new manifest, so that there is none.
pub(super) fn leads_to(
    txn: &Txn<'_>,
    repo: &RepoName,
    from: &Digest,
    above: &[Digest],
) -> Result<Option<Digest>, Error> {
    let mut seen = BTreeSet::from([*from]);
    let mut work = if above.is_empty() {
        vec![]
    } else {
        vec![*from]
    };
    while let Some(digest) = work.pop() {
        let mut below = referrers(txn, repo, &digest)?;
        for (kind, child) in children(txn, repo, &digest)? {
            if kind == EdgeKind::Manifest {
                below.push(child);
            }
        }
        if let Some(through) = below.iter().find(|digest| above.contains(digest)) {
            return Ok(Some(*through));
        }
        work.extend(below.into_iter().filter(|digest| seen.insert(*digest)));
    }
    Ok(None)
}

/// What a manifest names: blobs and manifests.
pub(super) fn children(
    txn: &Txn<'_>,
    repo: &RepoName,
    parent: &Digest,
) -> Result<Vec<(EdgeKind, Digest)>, Error> {
    let prefix = keys::repo_digest(repo, parent);
    let mut found = Vec::new();
    for (key, _) in txn.scan(Family::Edge, &prefix, &prefix, usize::MAX)? {
        let kind = match key[prefix.len()] {
            kind if kind == EdgeKind::Blob as u8 => EdgeKind::Blob,
            kind if kind == EdgeKind::Manifest as u8 => EdgeKind::Manifest,
            other => {
                return Err(Error::Damaged(format!(
                    "an edge has the unknown kind {other}"
                )));
            }
        };
        found.push((kind, keys::read_digest(&key[prefix.len() + 1..])?.0));
    }
    Ok(found)
}

/// The manifests that speak of a manifest.
pub(super) fn referrers(
    txn: &Txn<'_>,
    repo: &RepoName,
    subject: &Digest,
) -> Result<Vec<Digest>, Error> {
    last_digests(txn, Family::Referrer, &keys::repo_digest(repo, subject))
}

/// The indexes that list a manifest.
pub(super) fn parents(
    txn: &Txn<'_>,
    repo: &RepoName,
    child: &Digest,
) -> Result<Vec<Digest>, Error> {
    last_digests(txn, Family::Parent, &keys::repo_digest(repo, child))
}

fn last_digests(txn: &Txn<'_>, family: Family, prefix: &[u8]) -> Result<Vec<Digest>, Error> {
    let found = txn.keys(family, prefix)?;
    found
        .iter()
        .map(|key| Ok(keys::read_digest(&key[prefix.len()..])?.0))
        .collect()
}
