//! The one way in which a tag changes: pushes, moves, deletions, and the deletion of what it names
//! all come through [`point`] and [`remove`].

use super::Stop;
use super::engine::Family;
use super::keys;
use super::reach::{self, Reach};
use super::txn::{Txn, decode};
use super::{events, manifests, policies, revocations};
use crate::metadata::{
    Error, Event, EventKind, Judged, ManifestRow, Millis, NewTag, Refusal, TagClass, TagCondition,
    TagRow,
};
use sealstone_spec::admission::Admission;
use sealstone_spec::digest::Digest;
use sealstone_spec::evidence_list::{list_problem, speaks_of};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::name::{RepoName, Tag};
use sealstone_spec::policy::ExceptionUse;
use std::collections::{BTreeMap, BTreeSet};

/// Who changes a tag, where and when.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) repo: &'a RepoName,
    pub(super) by: &'a str,
    pub(super) now: Millis,
    pub(super) admission: Option<&'a Admission>,
    pub(super) statements_due: bool,
}

/// Points a tag at a manifest; `true` if that changed anything.
pub(super) fn point(
    txn: &mut Txn<'_>,
    change: Change<'_>,
    new: &NewTag,
    manifest: &VerifiedManifest,
) -> Result<bool, Stop> {
    let digest = *manifest.digest();
    let key = keys::repo_text(change.repo, new.tag.as_str());
    let row = txn.row::<TagRow>(Family::Tag, &key)?;
    let refuse = |refusal| Err(Stop::Refused(refusal));
    let live = row.as_ref().filter(|row| !row.tombstone);

    if let Some(burnt) = row.as_ref().filter(|row| row.tombstone) {
        return refuse(Refusal::TagBurnt {
            tag: new.tag.clone(),
            existing: burnt.digest,
        });
    }
    check_condition(&new.tag, live, new.condition)?;
    // Nobody judges a list of evidence, so consumers see it only beside what it speaks of.
    let visible = match new.class {
        TagClass::EvidenceList => {
            subject_of(txn, change.repo, &new.tag)?.is_some_and(|(_, subject)| subject.visible > 0)
                && lists_evidence(txn, change.repo, &new.tag, manifest)?
        }
        _ => new.visible,
    };
    let mut hidden = Vec::new();
    if let Some(live) = live {
        if live.digest == digest {
            // Admitted again, after a policy had hidden it.
            let shown = visible && show(txn, change.repo, &new.tag, &digest, true)?;
            // Set when tags could move here, and pushed once more under the rule that they never do.
            let fixed = new.class == TagClass::Immutable && !live.immutable;
            if fixed {
                fix(txn, change, &new.tag)?;
            }
            return Ok(shown || fixed);
        }
        if live.immutable || new.class == TagClass::Immutable {
            return refuse(Refusal::TagTaken {
                tag: new.tag.clone(),
                existing: live.digest,
            });
        }
        if new.class == TagClass::EvidenceList {
            let lost = lost_evidence(txn, change.repo, &live.digest, manifest)?;
            if !lost.is_empty() {
                return refuse(Refusal::EvidenceLost {
                    tag: new.tag.clone(),
                    lost,
                });
            }
        }
        hidden = detach(txn, change, &new.tag, live)?;
    }

    let row = TagRow {
        digest,
        tombstone: false,
        immutable: new.class == TagClass::Immutable,
        visible,
        version: live.map_or(1, |row| row.version + 1),
        by: change.by.to_owned(),
        at: change.now,
    };
    let kind = if live.is_some() {
        EventKind::TagMoved
    } else {
        EventKind::TagCreated
    };
    let shown = attach(txn, change, &new.tag, &row)?;
    txn.put_row(Family::Tag, key, &row);
    follow(txn, change.repo, hidden, false)?;
    follow(txn, change.repo, shown, true)?;
    let mut event = event(change, kind, &new.tag, digest);
    event.immutable = row.immutable;
    event.statement_due = row.immutable && change.statements_due;
    events::append(txn, &event)?;
    Ok(true)
}

/// Makes a tag that could move one that never does.
fn fix(txn: &mut Txn<'_>, change: Change<'_>, tag: &Tag) -> Result<(), Stop> {
    let key = keys::repo_text(change.repo, tag.as_str());
    let Some(mut row) = txn.row::<TagRow>(Family::Tag, &key)? else {
        return Ok(());
    };
    row.immutable = true;
    row.version += 1;
    change.by.clone_into(&mut row.by);
    row.at = change.now;
    txn.put_row(Family::Tag, key, &row);
    reach::change(txn, change.repo, &row.digest, Reach::Held, true)?;
    let mut event = event(change, EventKind::TagMoved, tag, row.digest);
    event.immutable = true;
    event.statement_due = change.statements_due;
    events::append(txn, &event)?;
    Ok(())
}

/// Deletes a tag. One that is immutable, or was set before the rule that is in force now made it so, leaves a
/// tombstone; a list of evidence stays while a release keeps what it speaks of.
pub(super) fn remove(
    txn: &mut Txn<'_>,
    change: Change<'_>,
    tag: &Tag,
    class: TagClass,
    condition: TagCondition,
) -> Result<(), Stop> {
    let key = keys::repo_text(change.repo, tag.as_str());
    let live = txn
        .row::<TagRow>(Family::Tag, &key)?
        .filter(|row| !row.tombstone);
    let Some(mut row) = live else {
        return Err(Stop::Refused(Refusal::NotFound));
    };
    check_condition(tag, Some(&row), condition)?;
    if subject_of(txn, change.repo, tag)?.is_some_and(|(_, subject)| subject.held > 0) {
        return Err(Stop::Refused(Refusal::Held));
    }
    let hidden = detach(txn, change, tag, &row)?;
    if row.immutable || class == TagClass::Immutable {
        row.tombstone = true;
        row.version += 1;
        change.by.clone_into(&mut row.by);
        row.at = change.now;
        txn.put_row(Family::Tag, key, &row);
    } else {
        txn.delete(Family::Tag, key);
    }
    follow(txn, change.repo, hidden, false)?;
    events::append(txn, &event(change, EventKind::TagDeleted, tag, row.digest))?;
    Ok(())
}

/// Shows what a tag names to consumers, or hides it; `true` if that changed anything.
pub(super) fn show(
    txn: &mut Txn<'_>,
    repo: &RepoName,
    tag: &Tag,
    digest: &Digest,
    visible: bool,
) -> Result<bool, Error> {
    let Some(changed) = set_visible(txn, repo, tag, digest, visible)? else {
        return Ok(false);
    };
    follow(txn, repo, changed, visible)?;
    Ok(true)
}

/// Applies a verdict to a tag; `true` if that changed anything. One that was made of another policy or of other
/// evidence than there is now is refused: it must not undo what a newer one did. What is shown on an exception counts
/// as released under it, as if it had been pushed now.
pub(super) fn show_judged(
    txn: &mut Txn<'_>,
    repo: &RepoName,
    tag: &Tag,
    judged: Judged,
    visible: bool,
) -> Result<bool, Stop> {
    let row = txn.row::<TagRow>(Family::Tag, &keys::repo_text(repo, tag.as_str()))?;
    let names_it = |row: &TagRow| !row.tombstone && row.digest == judged.manifest;
    let Some(row) = row.filter(names_it) else {
        return Ok(false);
    };
    // Also where it is shown already: what was released before its rule came has not been counted.
    let due: &[ExceptionUse] = match visible {
        true => &judged.exceptions,
        false => &[],
    };
    if row.visible == visible && due.is_empty() {
        return Ok(false);
    }
    let key = keys::repo_digest(repo, &judged.manifest);
    let manifest = txn.row::<ManifestRow>(Family::Manifest, &key)?;
    let is_current = manifest.is_some_and(|row| row.evidence == judged.evidence)
        && revocations::of(txn, &judged.manifest)?.len() == judged.revocations
        && manifests::is_policy(txn, &judged.policy)?;
    if !is_current {
        return Err(Stop::Refused(Refusal::Rejudge));
    }
    policies::count_uses(txn, &judged.manifest, due, judged.now)?;
    Ok(show(txn, repo, tag, &judged.manifest, visible)?)
}

/// The manifest that a list of evidence speaks of, if the repository has it. The name of a list has no room for
/// more than 32 bytes of a digest; that is enough to find it by.
pub(super) fn subject_of(
    txn: &Txn<'_>,
    repo: &RepoName,
    list: &Tag,
) -> Result<Option<(Digest, ManifestRow)>, Error> {
    let Some((algorithm, start)) = list.evidence_prefix() else {
        return Ok(None);
    };
    let prefix = keys::repo_digest_start(repo, algorithm, &start);
    let found = txn.scan(Family::Manifest, &prefix, &prefix, 1)?;
    let Some((key, row)) = found.first() else {
        return Ok(None);
    };
    let (digest, _) = keys::read_digest(&key[keys::repo(repo).len()..])?;
    Ok(Some((digest, decode(Family::Manifest, row)?)))
}

fn is_visible(txn: &Txn<'_>, repo: &RepoName, digest: &Digest) -> Result<bool, Error> {
    let row = txn.row::<ManifestRow>(Family::Manifest, &keys::repo_digest(repo, digest))?;
    Ok(row.is_some_and(|row| row.visible > 0))
}

/// Shows or hides the lists of evidence about manifests that are seen from now on, or no longer; with them those about
/// the lists, and about what these show. One way at a time: each tag then changes once at most, and lists that speak of
/// each other in a circle come to an end.
pub(super) fn follow(
    txn: &mut Txn<'_>,
    repo: &RepoName,
    mut changed: Vec<Digest>,
    visible: bool,
) -> Result<(), Error> {
    while let Some(subject) = changed.pop() {
        // What a tag that moves takes away, it may give back.
        if is_visible(txn, repo, &subject)? != visible {
            continue;
        }
        let hex = subject.hex();
        for suffix in ["", ".sig", ".att", ".sbom"] {
            // No algorithm has fewer digits; of longer digests the first 64 stand in the name.
            let name = format!("{}-{}{suffix}", subject.algorithm(), &hex[..64]);
            let Ok(tag) = name.parse::<Tag>() else {
                continue;
            };
            let key = keys::repo_text(repo, tag.as_str());
            let Some(row) = txn.row::<TagRow>(Family::Tag, &key)? else {
                continue;
            };
            if row.visible == visible || !tag.is_evidence_list() {
                continue;
            }
            if visible && !names_evidence(txn, repo, &tag, &row.digest)? {
                continue;
            }
            let below = set_visible(txn, repo, &tag, &row.digest, visible)?;
            changed.extend(below.into_iter().flatten());
        }
    }
    Ok(())
}

/// Whether the stored manifest under the tag of a list of evidence is such a list. One that cannot be read is shown to
/// nobody; what it speaks of is released all the same.
pub(super) fn names_evidence(
    txn: &Txn<'_>,
    repo: &RepoName,
    list: &Tag,
    digest: &Digest,
) -> Result<bool, Error> {
    match manifests::read(txn, repo, digest) {
        Ok(Some(manifest)) => lists_evidence(txn, repo, list, &manifest),
        Ok(None) => Ok(false),
        Err(Error::Damaged(problem)) => {
            tracing::warn!(repo.name = %repo, tag = %list, manifest.digest = %digest, problem, "a list of evidence cannot be read, and is not shown");
            Ok(false)
        }
        Err(other) => Err(other),
    }
}

/// Whether a list of evidence is of the kind that its name says, and lists no manifest but such as speak of the one in
/// the name. A push is held to that only where something is hidden from consumers, and what was pushed before that was so
/// must not show anything else either: any image could stand under such a name. Of a child that is not there, or is a
/// blob, nobody knows what it speaks of.
fn lists_evidence(
    txn: &Txn<'_>,
    repo: &RepoName,
    list: &Tag,
    manifest: &VerifiedManifest,
) -> Result<bool, Error> {
    if list_problem(list, manifest).is_some() {
        return Ok(false);
    }
    for child in manifest.children() {
        let key = keys::repo_digest(repo, &child.digest);
        let row = txn.row::<ManifestRow>(Family::Manifest, &key)?;
        let subject = row.and_then(|row| row.subject);
        if !subject.is_some_and(|subject| speaks_of(list, &subject)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What is seen from now on, or no longer; `None` if nothing was to be changed at the tag.
fn set_visible(
    txn: &mut Txn<'_>,
    repo: &RepoName,
    tag: &Tag,
    digest: &Digest,
    visible: bool,
) -> Result<Option<Vec<Digest>>, Error> {
    let key = keys::repo_text(repo, tag.as_str());
    let Some(mut row) = txn.row::<TagRow>(Family::Tag, &key)? else {
        return Ok(None);
    };
    if row.tombstone || row.digest != *digest || row.visible == visible {
        return Ok(None);
    }
    row.visible = visible;
    txn.put_row(Family::Tag, key, &row);
    reach::change(txn, repo, digest, Reach::Visible, visible).map(Some)
}

fn check_condition(tag: &Tag, live: Option<&TagRow>, condition: TagCondition) -> Result<(), Stop> {
    let existing = live.map(|row| row.digest);
    let holds = match condition {
        TagCondition::Any => true,
        TagCondition::Absent => existing.is_none(),
        TagCondition::Present => existing.is_some(),
        TagCondition::Names(digest) => existing == Some(digest),
    };
    if holds {
        return Ok(());
    }
    Err(Stop::Refused(Refusal::ConditionFailed {
        tag: tag.clone(),
        existing,
    }))
}

/// What the list of evidence under a tag holds that `next` has not.
fn lost_evidence(
    txn: &Txn<'_>,
    repo: &RepoName,
    current: &Digest,
    next: &VerifiedManifest,
) -> Result<Vec<Digest>, Error> {
    let Some(current) = manifests::read(txn, repo, current)? else {
        return Ok(Vec::new());
    };
    let kept: BTreeSet<Entry<'_>> = entries(next).collect();
    Ok(entries(&current)
        .filter(|entry| !kept.contains(entry))
        .map(|(digest, _)| *digest)
        .collect())
}

/// What a list of evidence lists: by its digest and, where it is a layer, by its annotations.
type Entry<'a> = (&'a Digest, Option<&'a BTreeMap<String, String>>);

/// The config is left out: cosign rewrites it with every signature that it adds. A layer of cosign's is the payload, the
/// same bytes for everybody who signs one manifest in one place; who signed it is in the annotations. A child says
/// everything itself, and what the index repeats of it is a hint.
fn entries(list: &VerifiedManifest) -> impl Iterator<Item = Entry<'_>> {
    let layers = list.layers().iter();
    let layers = layers.map(|layer| (&layer.digest, Some(&layer.annotations)));
    let children = list.children().iter();
    layers.chain(children.map(|child| (&child.digest, None)))
}

/// Counts what a tag leads to. Returns what is seen from now on; the lists about that follow once the tag is written.
fn attach(
    txn: &mut Txn<'_>,
    change: Change<'_>,
    tag: &Tag,
    row: &TagRow,
) -> Result<Vec<Digest>, Error> {
    count(txn, change.repo, &row.digest, true)?;
    txn.put(
        Family::TagOf,
        keys::repo_digest_text(change.repo, &row.digest, tag.as_str()),
        Vec::new(),
    );
    reached(txn, change.repo, row, true)
}

/// Uncounts it. Returns what is no longer seen.
fn detach(
    txn: &mut Txn<'_>,
    change: Change<'_>,
    tag: &Tag,
    row: &TagRow,
) -> Result<Vec<Digest>, Error> {
    count(txn, change.repo, &row.digest, false)?;
    txn.delete(
        Family::TagOf,
        keys::repo_digest_text(change.repo, &row.digest, tag.as_str()),
    );
    reached(txn, change.repo, row, false)
}

fn reached(
    txn: &mut Txn<'_>,
    repo: &RepoName,
    row: &TagRow,
    up: bool,
) -> Result<Vec<Digest>, Error> {
    let mut changed = Vec::new();
    if row.visible {
        changed = reach::change(txn, repo, &row.digest, Reach::Visible, up)?;
    }
    if row.immutable {
        reach::change(txn, repo, &row.digest, Reach::Held, up)?;
    }
    Ok(changed)
}

fn count(txn: &mut Txn<'_>, repo: &RepoName, digest: &Digest, up: bool) -> Result<(), Error> {
    let key = keys::repo_digest(repo, digest);
    if let Some(mut row) = txn.row::<ManifestRow>(Family::Manifest, &key)? {
        row.tags = if up {
            row.tags + 1
        } else {
            row.tags.saturating_sub(1)
        };
        if row.tags == 0 {
            txn.put(
                Family::Review,
                keys::review(keys::ReviewKind::Manifest, &key),
                Vec::new(),
            );
        }
        txn.put_row(Family::Manifest, key, &row);
    }
    Ok(())
}

fn event(change: Change<'_>, kind: EventKind, tag: &Tag, digest: Digest) -> Event {
    let admission = change.admission;
    Event {
        repo: Some(change.repo.clone()),
        tag: Some(tag.clone()),
        policy: admission.map(|admission| *admission.policy()),
        evidence: admission
            .map(|admission| admission.evidence().to_vec())
            .unwrap_or_default(),
        ..Event::new(kind, digest, change.by, change.now)
    }
}
