//! The metadata store once more, as naively as can be: maps, and searches from the tags down where the
//! store keeps counters. Shares no code with it. Every pin is over when it collects.

use super::kit::Shape;
use crate::metadata::{PutOutcome, Refusal, TagClass, TagCondition};
use sealstone_spec::digest::Digest;
use sealstone_spec::name::{RepoName, Tag};
use std::collections::{BTreeMap, BTreeSet};

/// A tag, or what is left of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelTag {
    pub(crate) digest: Digest,
    pub(crate) tombstone: bool,
    pub(crate) immutable: bool,
    pub(crate) visible: bool,
}

/// A tag to be set.
#[derive(Clone, Debug)]
pub(crate) struct WantedTag {
    pub(crate) tag: Tag,
    pub(crate) class: TagClass,
    pub(crate) condition: TagCondition,
    pub(crate) visible: bool,
}

/// One repository.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelRepo {
    pub(crate) blobs: BTreeSet<Digest>,
    pub(crate) manifests: BTreeMap<Digest, Shape>,
    pub(crate) tags: BTreeMap<Tag, ModelTag>,
    pub(crate) used: bool,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) repos: BTreeMap<RepoName, ModelRepo>,
    pub(crate) damaged: BTreeSet<Digest>,
    pub(crate) events: usize,
}

impl ModelRepo {
    pub(crate) fn live(&self) -> impl Iterator<Item = (&Tag, &ModelTag)> {
        self.tags.iter().filter(|(_, tag)| !tag.tombstone)
    }

    pub(crate) fn referrers(&self, subject: &Digest) -> Vec<Digest> {
        let speaks = |shape: &Shape| shape.subject == Some(*subject);
        self.manifests
            .iter()
            .filter(|(_, shape)| speaks(shape))
            .map(|(digest, _)| *digest)
            .collect()
    }

    pub(crate) fn parents(&self, child: &Digest) -> Vec<Digest> {
        let lists = |shape: &Shape| shape.children.contains(child);
        self.manifests
            .iter()
            .filter(|(_, shape)| lists(shape))
            .map(|(digest, _)| *digest)
            .collect()
    }

    /// Everything that manifests lead to, these included.
    fn below(&self, from: impl IntoIterator<Item = Digest>) -> BTreeSet<Digest> {
        let mut found = BTreeSet::new();
        let mut work: Vec<Digest> = from.into_iter().collect();
        while let Some(digest) = work.pop() {
            if found.insert(digest) {
                work.extend(
                    self.manifests
                        .get(&digest)
                        .into_iter()
                        .flat_map(|shape| shape.children.clone()),
                );
                work.extend(self.referrers(&digest));
            }
        }
        found
    }

    fn reached(
        &self,
        counts: impl Fn(&ModelTag) -> bool,
        gives: impl Fn(&Shape, &Digest) -> bool,
    ) -> BTreeSet<Digest> {
        let starts = self
            .live()
            .filter(|(_, tag)| counts(tag))
            .map(|(_, tag)| tag.digest);
        // Nothing is reached through a manifest that is not there.
        let mut found = BTreeSet::new();
        let mut work: Vec<Digest> = starts.collect();
        while let Some(digest) = work.pop() {
            if let Some(shape) = self.manifests.get(&digest)
                && found.insert(digest)
            {
                let given = shape.children.iter().copied();
                work.extend(given.filter(|child| gives(shape, child)));
                work.extend(self.referrers(&digest));
            }
        }
        found
    }

    /// What speaks of a manifest shows nothing but what speaks of the same.
    pub(crate) fn visible(&self) -> BTreeSet<Digest> {
        self.reached(
            |tag| tag.visible,
            |shape, child| shape.subject.is_none() || self.subject(child) == shape.subject,
        )
    }

    pub(crate) fn held(&self) -> BTreeSet<Digest> {
        self.reached(|tag| tag.immutable, |_, _| true)
    }

    fn subject(&self, digest: &Digest) -> Option<Digest> {
        self.manifests.get(digest).and_then(|shape| shape.subject)
    }

    pub(crate) fn uses(&self, blob: &Digest) -> u64 {
        self.manifests
            .values()
            .filter(|shape| shape.blobs.contains(blob))
            .count() as u64
    }

    fn point(&mut self, wanted: &WantedTag, digest: Digest) -> Result<(bool, usize), Refusal> {
        let tag = wanted.tag.clone();
        let found = self.tags.get(&tag).cloned();
        if let Some(ModelTag {
            tombstone: true,
            digest,
            ..
        }) = found
        {
            return Err(Refusal::TagBurnt {
                tag,
                existing: digest,
            });
        }
        let existing = found.as_ref().map(|tag| tag.digest);
        check(&tag, wanted.condition, existing)?;
        let visible = match wanted.class {
            TagClass::EvidenceList => self.subject_of(&tag).is_some_and(|subject| {
                self.visible().contains(&subject) && self.lists_evidence(&tag, &subject, &digest)
            }),
            _ => wanted.visible,
        };
        let before = self.visible();
        if let Some(found) = &found {
            if found.digest == digest {
                let shown = visible && !found.visible;
                let fixed = wanted.class == TagClass::Immutable && !found.immutable;
                self.tags.insert(
                    tag,
                    ModelTag {
                        visible: found.visible || visible,
                        immutable: found.immutable || fixed,
                        ..found.clone()
                    },
                );
                self.follow_since(&before);
                return Ok((shown || fixed, usize::from(fixed)));
            }
            if found.immutable || wanted.class == TagClass::Immutable {
                return Err(Refusal::TagTaken {
                    tag,
                    existing: found.digest,
                });
            }
            if wanted.class == TagClass::EvidenceList {
                // A layer is what its bytes and their signature are, a child what it is.
                let named = |digest: &Digest| -> Vec<(Digest, Option<String>)> {
                    let shape = self.manifests.get(digest).cloned().unwrap_or_default();
                    let layers = shape.blobs.into_iter().skip(1);
                    let layers = layers.map(|layer| (layer, shape.signature.clone()));
                    let children = shape.children.into_iter();
                    layers.chain(children.map(|child| (child, None))).collect()
                };
                let kept = named(&digest);
                let lost: Vec<Digest> = named(&found.digest)
                    .into_iter()
                    .filter(|entry| !kept.contains(entry))
                    .map(|(digest, _)| digest)
                    .collect();
                if !lost.is_empty() {
                    return Err(Refusal::EvidenceLost { tag, lost });
                }
            }
        }
        let immutable = wanted.class == TagClass::Immutable;
        // What the tag showed goes, and then what it shows comes.
        self.tags.remove(&tag);
        let between = self.visible();
        self.tags.insert(
            tag,
            ModelTag {
                digest,
                tombstone: false,
                immutable,
                visible,
            },
        );
        let (gone, come) = (&before - &between, &self.visible() - &between);
        self.follow(gone, false);
        self.follow(come, true);
        Ok((true, 1))
    }

    /// The manifest that a list of evidence speaks of, if it is here. The model's digests are all short enough.
    fn subject_of(&self, list: &Tag) -> Option<Digest> {
        let subject = list.evidence_subject()?;
        self.manifests.contains_key(&subject).then_some(subject)
    }

    /// Shows or hides the lists of evidence about what came into view since, or went, and so on.
    fn follow_since(&mut self, before: &BTreeSet<Digest>) {
        let now = self.visible();
        self.follow(before - &now, false);
        self.follow(&now - before, true);
    }

    /// The same for manifests that are seen now, or are not, until no list changes any more.
    fn follow(&mut self, mut changed: BTreeSet<Digest>, visible: bool) {
        while !changed.is_empty() {
            let before = self.visible();
            let follows = |name: &Tag, tag: &ModelTag| {
                name.evidence_subject().is_some_and(|subject| {
                    changed.contains(&subject)
                        && before.contains(&subject) == visible
                        && (!visible || self.lists_evidence(name, &subject, &tag.digest))
                })
            };
            let lists = self.live().filter(|(name, tag)| follows(name, tag));
            let lists: Vec<Tag> = lists.map(|(name, _)| name.clone()).collect();
            for name in lists {
                if let Some(tag) = self.tags.get_mut(&name) {
                    tag.visible = visible;
                }
            }
            changed = &before ^ &self.visible();
        }
    }

    /// Whether a list of signatures, or an index of referrers, is one, and is about nothing but the manifest in its name.
    fn lists_evidence(&self, name: &Tag, subject: &Digest, list: &Digest) -> bool {
        let Some(shape) = self.manifests.get(list) else {
            return false;
        };
        // The first blob is the configuration; where nobody signed, further ones are layers of some other type.
        let is_of_kind = match name.as_str().ends_with(".sig") {
            true => {
                shape.blobs.len() == 1 || (!shape.blobs.is_empty() && shape.signature.is_some())
            }
            false => shape.blobs.is_empty(),
        };
        let mut listed = shape.children.iter();
        is_of_kind && list != subject && listed.all(|child| self.subject(child) == Some(*subject))
    }

    /// Whether a tag that is no list of evidence names a manifest.
    fn is_tagged(&self, digest: &Digest) -> bool {
        self.live()
            .any(|(name, tag)| tag.digest == *digest && !name.is_evidence_list())
    }

    fn is_needed_evidence(&self, shape: &Shape) -> bool {
        let mut subject = shape.subject.iter().filter(|_| shape.is_statement());
        subject.any(|subject| self.is_tagged(subject))
    }

    fn remove_tag(&mut self, name: &Tag, class: TagClass) -> Result<(), Refusal> {
        let subject = self.subject_of(name);
        if subject.is_some_and(|subject| self.held().contains(&subject)) {
            return Err(Refusal::Held);
        }
        let before = self.visible();
        let Some(tag) = self.tags.get_mut(name) else {
            return Err(Refusal::NotFound);
        };
        if tag.immutable || class == TagClass::Immutable {
            tag.tombstone = true;
        } else {
            self.tags.remove(name);
        }
        self.follow_since(&before);
        Ok(())
    }
}

fn check(tag: &Tag, condition: TagCondition, existing: Option<Digest>) -> Result<(), Refusal> {
    let holds = match condition {
        TagCondition::Any => true,
        TagCondition::Absent => existing.is_none(),
        TagCondition::Present => existing.is_some(),
        TagCondition::Names(digest) => existing == Some(digest),
    };
    if holds {
        Ok(())
    } else {
        Err(Refusal::ConditionFailed {
            tag: tag.clone(),
            existing,
        })
    }
}

impl Model {
    pub(crate) fn repo(&mut self, name: &RepoName) -> &mut ModelRepo {
        self.repos.entry(name.clone()).or_default()
    }

    pub(crate) fn put_blob(&mut self, repo: &RepoName, digest: Digest) {
        if self.damaged.remove(&digest) {
            self.events += self.holders(&digest);
        }
        self.repo(repo).blobs.insert(digest);
    }

    pub(crate) fn mount(&mut self, from: &RepoName, to: &RepoName, digest: Digest) -> bool {
        let given = self.repo(from).blobs.contains(&digest) && !self.damaged.contains(&digest);
        if given {
            self.repo(to).blobs.insert(digest);
        }
        given
    }

    pub(crate) fn unlink(&mut self, repo: &RepoName, digest: &Digest) -> Result<(), Refusal> {
        let repo = self.repo(repo);
        if !repo.blobs.contains(digest) {
            return Err(Refusal::NotFound);
        }
        match repo.uses(digest) {
            0 => {
                repo.blobs.remove(digest);
                Ok(())
            }
            uses => Err(Refusal::BlobInUse(uses)),
        }
    }

    /// Whether any repository has a blob, or it waits to be collected: then damage is noted.
    pub(crate) fn quarantine(&mut self, digest: Digest) {
        let holders = self.holders(&digest);
        if holders > 0 && self.damaged.insert(digest) {
            self.events += holders;
        }
    }

    /// Number of repositories that have a blob: each hears of its damage and of its repair.
    fn holders(&self, digest: &Digest) -> usize {
        let repos = self.repos.values();
        repos.filter(|repo| repo.blobs.contains(digest)).count()
    }

    pub(crate) fn put(
        &mut self,
        name: &RepoName,
        digest: Digest,
        shape: &Shape,
        tags: &[WantedTag],
    ) -> Result<PutOutcome, Refusal> {
        let damaged = self.damaged.clone();
        let mut repo = self.repo(name).clone();
        let (mut changed, mut events) = (false, 0);
        if !repo.manifests.contains_key(&digest) {
            let sorted = |missing: BTreeSet<Digest>| missing.into_iter().collect::<Vec<_>>();
            let lacks = |blob: &&Digest| !repo.blobs.contains(*blob) || damaged.contains(*blob);
            let blobs = sorted(shape.blobs.iter().filter(lacks).copied().collect());
            let manifests = sorted(
                shape
                    .children
                    .iter()
                    .filter(|child| !repo.manifests.contains_key(*child))
                    .copied()
                    .collect(),
            );
            if !blobs.is_empty() || !manifests.is_empty() {
                return Err(Refusal::Missing { blobs, manifests });
            }
            let above: BTreeSet<Digest> = repo
                .parents(&digest)
                .into_iter()
                .chain(shape.subject)
                .collect();
            let before = repo.visible();
            repo.manifests.insert(digest, shape.clone());
            if let Some(through) = repo.below([digest]).intersection(&above).next() {
                return Err(Refusal::Circular { through: *through });
            }
            repo.follow_since(&before);
            repo.follow(shape.subject.into_iter().collect(), true);
            repo.used = true;
            changed = true;
            events += usize::from(shape.is_statement());
        }
        for wanted in tags {
            let (this, noted) = repo.point(wanted, digest)?;
            changed |= this;
            events += noted;
        }
        *self.repo(name) = repo;
        self.events += events;
        Ok(if changed {
            PutOutcome::Created
        } else {
            PutOutcome::Existed
        })
    }

    pub(crate) fn delete_manifest(
        &mut self,
        name: &RepoName,
        digest: &Digest,
        class: TagClass,
    ) -> Result<(), Refusal> {
        let mut repo = self.repo(name).clone();
        let Some(shape) = repo.manifests.get(digest) else {
            return Err(Refusal::NotFound);
        };
        let is_release = class == TagClass::Immutable && repo.is_tagged(digest);
        if repo.held().contains(digest) || is_release || repo.is_needed_evidence(shape) {
            return Err(Refusal::Held);
        }
        let named = repo.live().filter(|(_, tag)| tag.digest == *digest);
        let names: Vec<Tag> = named.map(|(name, _)| name.clone()).collect();
        for tag in &names {
            repo.remove_tag(tag, TagClass::Mutable)?;
        }
        let before = repo.visible();
        repo.manifests.remove(digest);
        repo.follow_since(&before);
        *self.repo(name) = repo;
        self.events += names.len() + 1;
        Ok(())
    }

    pub(crate) fn delete_tag(
        &mut self,
        name: &RepoName,
        tag: &Tag,
        class: TagClass,
        condition: TagCondition,
    ) -> Result<(), Refusal> {
        let repo = self.repo(name);
        let Some(found) = repo.tags.get(tag).filter(|tag| !tag.tombstone) else {
            return Err(Refusal::NotFound);
        };
        check(tag, condition, Some(found.digest))?;
        repo.remove_tag(tag, class)?;
        self.events += 1;
        Ok(())
    }

    pub(crate) fn show(
        &mut self,
        name: &RepoName,
        tag: &Tag,
        digest: &Digest,
        visible: bool,
    ) -> bool {
        let repo = self.repo(name);
        let before = repo.visible();
        let Some(found) = repo.tags.get_mut(tag) else {
            return false;
        };
        let changes = !found.tombstone && found.digest == *digest && found.visible != visible;
        if changes {
            found.visible = visible;
            repo.follow_since(&before);
        }
        changes
    }

    /// Collects until nothing more can go.
    pub(crate) fn collect(&mut self) {
        for repo in self.repos.values_mut() {
            loop {
                let is_garbage = |digest: &Digest, shape: &Shape| {
                    repo.live().all(|(_, tag)| tag.digest != *digest)
                        && repo.parents(digest).is_empty()
                        && shape
                            .subject
                            .is_none_or(|subject| !repo.manifests.contains_key(&subject))
                };
                let garbage = repo
                    .manifests
                    .iter()
                    .find(|(digest, shape)| is_garbage(digest, shape));
                let Some(digest) = garbage.map(|(digest, _)| *digest) else {
                    break;
                };
                repo.manifests.remove(&digest);
            }
            let kept = repo
                .blobs
                .iter()
                .filter(|blob| repo.uses(blob) > 0)
                .copied()
                .collect();
            repo.blobs = kept;
        }
        let repos = &self.repos;
        self.damaged
            .retain(|digest| repos.values().any(|repo| repo.blobs.contains(digest)));
    }
}
