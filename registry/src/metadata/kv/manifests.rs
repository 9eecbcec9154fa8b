//! Storing and removing manifests.
//!
//! A manifest becomes visible in the same step that counts every blob and manifest which it names, and
//! goes in the same step that uncounts them. That is what the collector relies on.

use super::Stop;
use super::blobs::pin_is_old;
use super::engine::Family;
use super::keys::{self, EdgeKind, ReviewKind};
use super::reach::{self, Reach};
use super::txn::Txn;
use super::usage::{self, Object};
use super::{policies, revocations, tags};
use crate::metadata::{
    BlobRow, Error, Event, EventKind, LinkRow, ManifestRow, Millis, NewTag, PutManifest,
    PutOutcome, Referrer, Refusal, TagClass, TagCondition, Wanted,
};
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::name::{RepoName, Tag};
use sealstone_spec::sigstore::{ANNOTATION_PREDICATE_TYPE, is_statement};
use std::collections::BTreeSet;

/// Longest predicate type that is recorded; longer ones are cut.
const MOST_PREDICATE_CHARS: usize = 300;

/// Name of the server value that holds the digest of the policy in force.
pub(super) const POLICY: &[u8] = b"policy";
/// Name of the server value that every change of evidence takes its number from.
const EVIDENCE: &[u8] = b"evidence";
/// Where these numbers begin: above all that were counted for each manifest by itself, before there was this value.
const FIRST_EVIDENCE: u64 = 1 << 32;

/// Reads a manifest of the store back, checking it against its digest.
pub(super) fn read(
    txn: &Txn<'_>,
    repo: &RepoName,
    digest: &Digest,
) -> Result<Option<VerifiedManifest>, Error> {
    let key = keys::repo_digest(repo, digest);
    let (Some(row), Some(bytes)) = (
        txn.row::<ManifestRow>(Family::Manifest, &key)?,
        txn.get(Family::Body, &key)?,
    ) else {
        return Ok(None);
    };
    VerifiedManifest::check(
        bytes,
        Some(&row.media_type),
        Some(digest),
        digest.algorithm(),
    )
    .map(Some)
    .map_err(|error| Error::Damaged(format!("manifest {digest} of {repo}: {error}")))
}

/// Finds a manifest for somebody who will rely on it.
pub(super) fn pin(
    txn: &mut Txn<'_>,
    repo: &RepoName,
    digest: &Digest,
    now: Millis,
    until: Millis,
) -> Result<Option<ManifestRow>, Error> {
    let key = keys::repo_digest(repo, digest);
    let Some(mut row) = txn.row::<ManifestRow>(Family::Manifest, &key)? else {
        return Ok(None);
    };
    if pin_is_old(row.pin_until, now, until) {
        row.pin_until = until;
        txn.put_row(Family::Manifest, key, &row);
    }
    Ok(Some(row))
}

pub(super) fn put(txn: &mut Txn<'_>, put: PutManifest) -> Result<PutOutcome, Stop> {
    let digest = *put.manifest.digest();
    let key = keys::repo_digest(&put.repo, &digest);
    check_admission(txn, &put)?;
    let known = txn.row::<ManifestRow>(Family::Manifest, &key)?;
    check_condition(&put, known.is_some())?;

    let mut changed = false;
    match known {
        Some(mut row) => {
            if row.pin_until < put.pin_until {
                row.pin_until = put.pin_until;
                txn.put_row(Family::Manifest, key.clone(), &row);
            }
            repair(txn, &put, &key)?;
        }
        None if put.only_known => return Err(Stop::Refused(Refusal::NotFound)),
        None => {
            insert(txn, &put, &key)?;
            changed = true;
        }
    }
    revocations::keep_pushed(txn, &put)?;
    let change = tags::Change {
        repo: &put.repo,
        by: &put.by,
        now: put.now,
        admission: put.admission.as_ref(),
        statements_due: put.statements_due,
    };
    for tag in &put.tags {
        changed |= tags::point(txn, change, tag, &put.manifest)?;
    }
    Ok(if changed {
        PutOutcome::Created
    } else {
        PutOutcome::Existed
    })
}

/// The client's condition, where there is no tag that it is about.
fn check_condition(put: &PutManifest, exists: bool) -> Result<(), Stop> {
    let digest = *put.manifest.digest();
    let holds = match put.condition {
        TagCondition::Any => true,
        TagCondition::Absent => !exists,
        TagCondition::Present => exists,
        TagCondition::Names(named) => exists && named == digest,
    };
    if holds || !put.tags.is_empty() {
        return Ok(());
    }
    Err(Stop::Refused(Refusal::DigestConditionFailed {
        digest,
        exists,
    }))
}

/// Writes the bytes of a manifest that is known anew, where those that are stored are missing, unreadable
/// or others.
fn repair(txn: &mut Txn<'_>, put: &PutManifest, key: &[u8]) -> Result<(), Error> {
    let problem = match txn.get(Family::Body, key) {
        Ok(Some(stored)) if stored[..] == put.manifest.bytes()[..] => return Ok(()),
        Ok(Some(_)) => "they were not what they were",
        Ok(None) => "they were missing",
        Err(Error::Damaged(_)) => "they could not be read",
        Err(other) => return Err(other),
    };
    tracing::info!(repo.name = %put.repo, manifest.digest = %put.manifest.digest(), by = put.by, problem, "bytes of a manifest are written anew");
    txn.put(Family::Body, key.to_vec(), put.manifest.bytes().to_vec());
    Ok(())
}

/// A tag that can be a release needs a proof that was made for this manifest, here, under the policy
/// that is in force now, on evidence that is still there.
fn check_admission(txn: &mut Txn<'_>, put: &PutManifest) -> Result<(), Stop> {
    if put
        .tags
        .iter()
        .all(|tag| tag.class == TagClass::EvidenceList)
    {
        return Ok(());
    }
    let rejudge = || Stop::Refused(Refusal::Rejudge);
    let admission = put.admission.as_ref().ok_or_else(rejudge)?;
    let is_current = is_policy(txn, admission.policy())?;
    let is_for_this =
        admission.repo() == &put.repo && admission.manifest() == put.manifest.digest();
    if !is_current || !is_for_this {
        return Err(rejudge());
    }
    // What came meanwhile may stop what was admitted without it.
    if reach::referrers(txn, &put.repo, put.manifest.digest())? != put.referrers {
        return Err(rejudge());
    }
    let revoked = revocations::of(txn, put.manifest.digest())?;
    if !revoked.iter().map(|kept| &kept.word).eq(&put.revocations) {
        return Err(rejudge());
    }
    for evidence in admission.evidence() {
        if !txn.has(Family::Manifest, &keys::repo_digest(&put.repo, evidence))? {
            return Err(rejudge());
        }
    }
    let holds_until = admission.until().map(|until| until.seconds() * 1000);
    if holds_until.is_some_and(|until| put.now >= until) {
        return Err(rejudge());
    }
    policies::count_uses(txn, admission.manifest(), admission.exceptions(), put.now)
}

/// Whether a policy is the one in force.
pub(super) fn is_policy(txn: &Txn<'_>, policy: &Digest) -> Result<bool, Error> {
    let current = txn.get(Family::Server, POLICY)?;
    Ok(current.as_deref() == Some(policy.to_string().as_bytes()))
}

fn insert(txn: &mut Txn<'_>, put: &PutManifest, key: &[u8]) -> Result<(), Stop> {
    let (repo, manifest) = (&put.repo, &put.manifest);
    let digest = *manifest.digest();
    let blobs: BTreeSet<Digest> = manifest
        .blobs()
        .map(|descriptor| descriptor.digest)
        .collect();
    let children: BTreeSet<Digest> = manifest
        .children()
        .iter()
        .map(|descriptor| descriptor.digest)
        .collect();

    let mut edges = Vec::new();
    let (mut missing_blobs, mut missing_manifests) = (Vec::new(), Vec::new());
    for blob in blobs {
        if count_blob(txn, repo, &blob)? {
            edges.push((EdgeKind::Blob, blob))
        } else {
            missing_blobs.push(blob)
        }
    }
    for child in children {
        let child_key = keys::repo_digest(repo, &child);
        if let Some(mut row) = txn.row::<ManifestRow>(Family::Manifest, &child_key)? {
            row.parents += 1;
            txn.put_row(Family::Manifest, child_key, &row);
            edges.push((EdgeKind::Manifest, child));
        } else if !edges.contains(&(EdgeKind::Blob, child)) && count_blob(txn, repo, &child)? {
            // Build caches of older BuildKits are indexes over layers.
            edges.push((EdgeKind::Blob, child));
        } else {
            missing_manifests.push(child);
        }
    }
    if !missing_blobs.is_empty() || !missing_manifests.is_empty() {
        return Err(Stop::Refused(Refusal::Missing {
            blobs: missing_blobs,
            manifests: missing_manifests,
        }));
    }
    for (kind, child) in &edges {
        txn.put(
            Family::Edge,
            keys::edge(repo, &digest, *kind, child),
            Vec::new(),
        );
        if *kind == EdgeKind::Manifest {
            txn.put(
                Family::Parent,
                keys::repo_two(repo, child, &digest),
                Vec::new(),
            );
        }
    }

    // Indexes and a subject may have been here first: an index whose child was deleted and comes back.
    let parents = reach::parents(txn, repo, &digest)?;
    let mut row = ManifestRow {
        media_type: manifest.media_type().to_owned(),
        size: manifest.size(),
        subject: manifest.subject().map(|subject| subject.digest),
        tags: 0,
        parents: parents.len() as u64,
        visible: 0,
        held: 0,
        evidence: 0,
        pin_until: put.pin_until,
        by: put.by.clone(),
        at: put.now,
    };
    txn.put(Family::Body, key.to_vec(), manifest.bytes().to_vec());
    let mut above = parents;
    if let Some(subject) = row.subject {
        let descriptor = manifest.descriptor();
        txn.put_row(
            Family::Referrer,
            keys::repo_two(repo, &subject, &digest),
            &descriptor,
        );
        note_evidence(txn, repo, &subject)?;
        above.push(subject);
    }
    if let Some(through) = reach::leads_to(txn, repo, &digest, &above)? {
        return Err(Stop::Refused(Refusal::Circular { through }));
    }
    // Referrers outlive their subject, so a manifest that comes back must not begin to count anew: a verdict that
    // is kept under the same number would be taken for one on the same evidence.
    row.evidence = next_evidence(txn)?;
    let wanted = Wanted {
        bytes: row.size,
        objects: 1,
        headroom: speaks_of_another(put),
    };
    usage::check(txn, &put.quotas, wanted)?;
    usage::add(txn, repo, Object::Manifest, row.size)?;
    txn.put_row(Family::Manifest, key.to_vec(), &row);
    let mut shown = Vec::new();
    for giver in above {
        let Some(above) =
            txn.row::<ManifestRow>(Family::Manifest, &keys::repo_digest(repo, &giver))?
        else {
            continue;
        };
        for reach in [Reach::Visible, Reach::Held] {
            // What lists it cannot be what it speaks of: each would hold the other's digest.
            let given = row.subject == Some(giver)
                || reach::carries(txn, repo, reach, above.subject.as_ref(), &digest)?;
            if given && reach.of(&above) > 0 {
                shown.extend(reach::change(txn, repo, &digest, reach, true)?);
            }
        }
    }
    // Lists about it may have been here first, and one that lists it, about what it speaks of: that is not shown while
    // nobody knows what it lists. What nothing lists changes no list.
    shown.extend(row.subject.filter(|_| row.parents > 0));
    tags::follow(txn, repo, shown, true)?;
    note_statement(txn, put)?;
    txn.put(
        Family::Review,
        keys::review(ReviewKind::Manifest, key),
        Vec::new(),
    );
    let repo_key = keys::repo(repo);
    if !txn.has(Family::Repository, &repo_key)? {
        txn.put_row(Family::Repository, repo_key, &put.now);
    }
    Ok(())
}

/// Whether it says something about another manifest, by its subject, or as older tools do by the name of its tag. Such
/// is not shut out where a quota leaves no room: a revocation would be.
fn speaks_of_another(put: &PutManifest) -> bool {
    let is_list = |tag: &NewTag| tag.class == TagClass::EvidenceList;
    let by_name = !put.tags.is_empty() && put.tags.iter().all(is_list);
    by_name || put.manifest.subject().is_some()
}

/// A statement about a manifest is an event: approvals and revocations are such, and the log shows them.
fn note_statement(txn: &mut Txn<'_>, put: &PutManifest) -> Result<(), Error> {
    let manifest = &put.manifest;
    let Some(subject) = manifest.subject().filter(|_| is_statement(manifest)) else {
        return Ok(());
    };
    let claimed = manifest.annotations().get(ANNOTATION_PREDICATE_TYPE);
    let kind = EventKind::StatementAttached;
    let event = Event {
        repo: Some(put.repo.clone()),
        subject: Some(subject.digest),
        predicate_type: claimed.map(|text| text.chars().take(MOST_PREDICATE_CHARS).collect()),
        ..Event::new(kind, *manifest.digest(), &put.by, put.now)
    };
    super::events::append(txn, &event)
}

/// Counts one more manifest that names a blob; `false` if the repository has it not, or its bytes are
/// known to be damaged: then the client sends them again.
fn count_blob(txn: &mut Txn<'_>, repo: &RepoName, blob: &Digest) -> Result<bool, Error> {
    let key = keys::repo_digest(repo, blob);
    let Some(mut link) = txn.row::<LinkRow>(Family::Link, &key)? else {
        return Ok(false);
    };
    let sound = txn
        .row::<BlobRow>(Family::Blob, &keys::digest(blob))?
        .is_some_and(|row| row.quarantined.is_none());
    if sound {
        link.refs += 1;
        txn.put_row(Family::Link, key, &link);
    }
    Ok(sound)
}

fn note_evidence(txn: &mut Txn<'_>, repo: &RepoName, subject: &Digest) -> Result<(), Error> {
    let key = keys::repo_digest(repo, subject);
    if let Some(mut row) = txn.row::<ManifestRow>(Family::Manifest, &key)? {
        row.evidence = next_evidence(txn)?;
        txn.put_row(Family::Manifest, key, &row);
    }
    Ok(())
}

/// A number that no evidence had before.
fn next_evidence(txn: &mut Txn<'_>) -> Result<u64, Error> {
    let last = txn.row::<u64>(Family::Server, EVIDENCE)?;
    let next = last.map_or(FIRST_EVIDENCE, |last| last + 1);
    txn.put_row(Family::Server, EVIDENCE.to_vec(), &next);
    Ok(next)
}

/// Deletes a manifest with its mutable tags, because somebody asked for it. `class` is that of the repository's
/// tags: where they never move, one that was set before that rule keeps its manifest all the same.
pub(super) fn delete(
    txn: &mut Txn<'_>,
    repo: &RepoName,
    digest: &Digest,
    class: TagClass,
    by: &str,
    now: Millis,
) -> Result<(), Stop> {
    let key = keys::repo_digest(repo, digest);
    let Some(row) = txn.row::<ManifestRow>(Family::Manifest, &key)? else {
        return Err(Stop::Refused(Refusal::NotFound));
    };
    if revocations::is_kept(txn, repo, digest, &row)? {
        return Err(Stop::Refused(Refusal::Final));
    }
    let is_release = class == TagClass::Immutable && is_tagged(txn, repo, digest)?;
    if row.held > 0 || is_release || is_needed_evidence(txn, repo, digest, &row)? {
        return Err(Stop::Refused(Refusal::Held));
    }
    let change = tags::Change {
        repo,
        by,
        now,
        admission: None,
        statements_due: false,
    };
    for tag in tags_of(txn, repo, digest)? {
        let class = match tag.is_evidence_list() {
            true => TagClass::EvidenceList,
            false => class,
        };
        tags::remove(txn, change, &tag, class, TagCondition::Any)?;
    }
    remove(txn, repo, digest)?;
    let event = Event {
        repo: Some(repo.clone()),
        ..Event::new(EventKind::ManifestDeleted, *digest, by, now)
    };
    super::events::append(txn, &event)?;
    Ok(())
}

/// Whether a tag that can be a release names a manifest.
fn is_tagged(txn: &Txn<'_>, repo: &RepoName, digest: &Digest) -> Result<bool, Error> {
    let tags = tags_of(txn, repo, digest)?;
    Ok(tags.iter().any(|tag| !tag.is_evidence_list()))
}

/// Whether a manifest is a statement about one that has a tag. A tag that moves is judged on it as well, and without
/// it a revocation would be undone.
fn is_needed_evidence(
    txn: &Txn<'_>,
    repo: &RepoName,
    digest: &Digest,
    row: &ManifestRow,
) -> Result<bool, Error> {
    let Some(subject) = &row.subject else {
        return Ok(false);
    };
    let listed = txn.row::<Referrer>(Family::Referrer, &keys::repo_two(repo, subject, digest))?;
    let is_statement = listed.is_some_and(|referrer| {
        referrer.artifact_type.as_deref() == Some(media::SIGSTORE_BUNDLE_V03)
    });
    Ok(is_statement && is_tagged(txn, repo, subject)?)
}

pub(super) fn tags_of(txn: &Txn<'_>, repo: &RepoName, digest: &Digest) -> Result<Vec<Tag>, Error> {
    let prefix = keys::repo_digest(repo, digest);
    let entries = txn.scan(Family::TagOf, &prefix, &prefix, usize::MAX)?;
    entries
        .iter()
        .map(|(key, _)| super::read_tag(&key[prefix.len()..]))
        .collect()
}

/// Manifests with tags that a blob of the repository belongs to. Reads every manifest's row there, so it is
/// for what hardly ever happens.
pub(super) fn releases_with(
    txn: &Txn<'_>,
    repo: &RepoName,
    blob: &Digest,
) -> Result<Vec<Digest>, Error> {
    let prefix = keys::repo(repo);
    let mut work = Vec::new();
    for (key, _) in txn.scan(Family::Manifest, &prefix, &prefix, usize::MAX)? {
        let manifest = keys::read_digest(&key[prefix.len()..])?.0;
        let edge = keys::edge(repo, &manifest, EdgeKind::Blob, blob);
        if txn.has(Family::Edge, &edge)? {
            work.push(manifest);
        }
    }
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    while let Some(digest) = work.pop() {
        if !seen.insert(digest) {
            continue;
        }
        let row = txn.row::<ManifestRow>(Family::Manifest, &keys::repo_digest(repo, &digest))?;
        // What speaks of another manifest is a release only by a tag that can be one.
        if let Some(row) = row
            && row.tags > 0
            && (row.subject.is_none() || is_tagged(txn, repo, &digest)?)
        {
            found.push(digest);
        }
        work.extend(reach::parents(txn, repo, &digest)?);
    }
    Ok(found)
}

/// Repositories that have a manifest. Looks into each, so it is for what hardly ever happens.
pub(super) fn repositories_with(txn: &Txn<'_>, digest: &Digest) -> Result<Vec<RepoName>, Error> {
    let mut found = Vec::new();
    for (key, _) in txn.scan(Family::Repository, b"", b"", usize::MAX)? {
        let repo = keys::read_repo(&key)?.0;
        if txn.has(Family::Manifest, &keys::repo_digest(&repo, digest))? {
            found.push(repo);
        }
    }
    Ok(found)
}

/// Takes a manifest without tags out of the store and uncounts all that it names.
pub(super) fn remove(txn: &mut Txn<'_>, repo: &RepoName, digest: &Digest) -> Result<(), Error> {
    let key = keys::repo_digest(repo, digest);
    let Some(row) = txn.row::<ManifestRow>(Family::Manifest, &key)? else {
        return Ok(());
    };
    // First nobody sees or holds it any more, nor what only it leads to.
    let mut hidden = Vec::new();
    for reach in [Reach::Visible, Reach::Held] {
        for _ in 0..reach.of(&row) {
            hidden.extend(reach::change(txn, repo, digest, reach, false)?);
        }
    }
    tags::follow(txn, repo, hidden, false)?;
    for (kind, child) in reach::children(txn, repo, digest)? {
        txn.delete(Family::Edge, keys::edge(repo, digest, kind, &child));
        let child_key = keys::repo_digest(repo, &child);
        match kind {
            EdgeKind::Blob => {
                if let Some(mut link) = txn.row::<LinkRow>(Family::Link, &child_key)? {
                    link.refs = link.refs.saturating_sub(1);
                    txn.put(
                        Family::Review,
                        keys::review(ReviewKind::Link, &child_key),
                        Vec::new(),
                    );
                    txn.put_row(Family::Link, child_key, &link);
                }
            }
            EdgeKind::Manifest => {
                txn.delete(Family::Parent, keys::repo_two(repo, &child, digest));
                if let Some(mut row) = txn.row::<ManifestRow>(Family::Manifest, &child_key)? {
                    row.parents = row.parents.saturating_sub(1);
                    txn.put(
                        Family::Review,
                        keys::review(ReviewKind::Manifest, &child_key),
                        Vec::new(),
                    );
                    txn.put_row(Family::Manifest, child_key, &row);
                }
            }
        }
    }
    if let Some(subject) = row.subject {
        txn.delete(Family::Referrer, keys::repo_two(repo, &subject, digest));
        note_evidence(txn, repo, &subject)?;
    }
    for referrer in reach::referrers(txn, repo, digest)? {
        let review = keys::review(ReviewKind::Manifest, &keys::repo_digest(repo, &referrer));
        txn.put(Family::Review, review, Vec::new());
    }
    usage::take(txn, repo, Object::Manifest, row.size)?;
    txn.delete(Family::Manifest, key.clone());
    txn.delete(Family::Body, key);
    Ok(())
}
