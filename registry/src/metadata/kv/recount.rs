//! What consumers see, counted anew, once: for stores of builds that showed more.
//!
//! An index with a subject once gave on what it was seen by to whatever it listed, and a list of evidence was shown whatever
//! it listed, or was; a list about what has no tag of its own was shown or hidden when it was pushed, and stayed so. What was shown
//! so would stay visible for ever, because a counter only follows what comes and goes, and what was hidden so would stay
//! hidden. Rows may be of all these times, so nothing is subtracted: from the tags down, all is counted as [`reach`] would
//! count it now. Whether a list of evidence is shown is not asked: it is with the manifest of which it speaks.
//! Invariant: a repository is written whole, and before anything else writes.

use super::engine::{Changes, Engine, Family};
use super::keys::{self, EdgeKind};
use super::reach::{self, Reach};
use super::txn::{Txn, decode, encode};
use super::{read_tag, tags, usage};
use crate::metadata::{Error, LinkRow, ManifestRow, TagRow};
use sealstone_spec::digest::Digest;
use sealstone_spec::name::RepoName;
use std::collections::BTreeMap;

/// Name of the server value that says that this was done. Under "visible" it was done by builds that left the lists about
/// what they hid, under "visible-2" by such as showed no list that was hidden, under "visible-3" by such as took any image
/// for a list.
pub(super) const DONE: &[u8] = b"visible-4";

/// Counts what is visible in a store that was written before evidence showed nothing but evidence.
pub(super) fn once(engine: &dyn Engine) -> Result<(), Error> {
    if engine.get(Family::Server, DONE)?.is_some() {
        return Ok(());
    }
    let nothing = Changes::new();
    let mut rows = 0;
    for key in Txn::new(engine, &nothing).keys(Family::Repository, b"")? {
        let changes = of_repository(engine, &keys::read_repo(&key)?.0)?;
        if !changes.is_empty() {
            rows += changes.len();
            engine.write(&changes, true)?;
        }
    }
    let done = Changes::from([((Family::Server, DONE.to_vec()), Some(b"1".to_vec()))]);
    engine.write(&done, true)?;
    if rows > 0 {
        tracing::warn!(
            rows,
            "counted anew what consumers see: a server before this one showed or hid evidence, or what it lists, otherwise"
        );
    }
    Ok(())
}

/// The rows of a repository that say something else than its tags.
fn of_repository(engine: &dyn Engine, repo: &RepoName) -> Result<Changes, Error> {
    let nothing = Changes::new();
    let store = Txn::new(engine, &nothing);
    let prefix = keys::repo(repo);
    let mut changes = Changes::new();
    let mut work = Vec::new();
    // By what they speak of: each counts once that does.
    let mut lists: BTreeMap<Digest, Vec<(Vec<u8>, TagRow)>> = BTreeMap::new();
    usage::each_row(&store, Family::Tag, &prefix, |key, value| {
        let mut row: TagRow = decode(Family::Tag, value)?;
        if row.tombstone {
            return Ok(());
        }
        let tag = read_tag(&key[prefix.len()..])?;
        if !tag.is_evidence_list() {
            if row.visible {
                work.push(row.digest);
            }
            return Ok(());
        }
        match tags::subject_of(&store, repo, &tag)? {
            Some((subject, _)) if tags::names_evidence(&store, repo, &tag, &row.digest)? => {
                let about = lists.entry(subject).or_default();
                about.push((key.to_vec(), row));
            }
            _ if row.visible => {
                row.visible = false;
                changes.insert((Family::Tag, key.to_vec()), Some(encode(&row)));
            }
            _ => {}
        }
        Ok(())
    })?;

    let mut manifests: BTreeMap<Digest, u64> = BTreeMap::new();
    let mut links: BTreeMap<Digest, u64> = BTreeMap::new();
    while let Some(digest) = work.pop() {
        let key = keys::repo_digest(repo, &digest);
        let Some(row) = store.row::<ManifestRow>(Family::Manifest, &key)? else {
            continue;
        };
        let ways = manifests.entry(digest).or_default();
        *ways += 1;
        if *ways > 1 {
            continue;
        }
        for (kind, child) in reach::children(&store, repo, &digest)? {
            match kind {
                EdgeKind::Blob => *links.entry(child).or_default() += 1,
                EdgeKind::Manifest => {
                    let subject = row.subject.as_ref();
                    if reach::carries(&store, repo, Reach::Visible, subject, &child)? {
                        work.push(child);
                    }
                }
            }
        }
        work.extend(reach::referrers(&store, repo, &digest)?);
        for (key, mut row) in lists.remove(&digest).unwrap_or_default() {
            work.push(row.digest);
            if !row.visible {
                row.visible = true;
                changes.insert((Family::Tag, key), Some(encode(&row)));
            }
        }
    }
    for (key, mut row) in lists.into_values().flatten().filter(|(_, row)| row.visible) {
        row.visible = false;
        changes.insert((Family::Tag, key), Some(encode(&row)));
    }

    usage::each_row(&store, Family::Manifest, &prefix, |key, value| {
        let mut row: ManifestRow = decode(Family::Manifest, value)?;
        let digest = keys::read_digest(&key[prefix.len()..])?.0;
        let counted = manifests.get(&digest).copied().unwrap_or(0);
        if row.visible != counted {
            row.visible = counted;
            changes.insert((Family::Manifest, key.to_vec()), Some(encode(&row)));
        }
        Ok(())
    })?;
    usage::each_row(&store, Family::Link, &prefix, |key, value| {
        let mut row: LinkRow = decode(Family::Link, value)?;
        let digest = keys::read_digest(&key[prefix.len()..])?.0;
        let counted = links.get(&digest).copied().unwrap_or(0);
        if row.visible != counted {
            row.visible = counted;
            changes.insert((Family::Link, key.to_vec()), Some(encode(&row)));
        }
        Ok(())
    })?;
    Ok(changes)
}
