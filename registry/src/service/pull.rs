//! Reading manifests, tags, referrers and the catalog.

use super::judge::JUDGEMENTS;
use super::{Error, Registry, Verdict};
use crate::auth::{Delete, Grant, Pull};
use crate::metadata::{Event, Judged, ManifestRow, ReferrerPage, Refusal, TagCondition};
use bytes::Bytes;
use sealstone_spec::digest::Digest;
use sealstone_spec::name::{Reference, RepoName, Tag};
use std::sync::Arc;

/// A manifest that may be sent. Only [`Registry::manifest`] makes one.
#[derive(Clone, Debug)]
pub struct ServedManifest {
    pub(super) bytes: Bytes,
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Whether consumers see it: released, or beside what it speaks of; or else staged.
    pub released: bool,
    /// Whether it is something said about another manifest: consumers see it beside that, and nobody judged it.
    pub evidence: bool,
    /// Digest of the policy in force.
    pub policy: Digest,
    /// What that policy says of it now, where it asks for anything.
    pub verdict: Option<Arc<Verdict>>,
}

impl ServedManifest {
    /// Its bytes, exactly as they were pushed, checked since they left the disk.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// As what a manifest stands in its repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// A tag makes it something that the policy judges: one that never moves, or, where the policy reads evidence, any
    /// but a list of evidence.
    Release,
    /// Something said about another manifest: it has a subject and no such tag, or no name but those of lists of
    /// evidence.
    Evidence,
    /// Part of something else, or named where nothing is judged.
    Other,
}

impl Registry {
    /// A manifest by tag or digest.
    pub async fn manifest(
        &self,
        grant: &Grant<Pull>,
        reference: &Reference,
    ) -> Result<ServedManifest, Error> {
        let repo = grant.repository();
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => self.resolve(repo, tag).await?,
        };
        let unknown = || Error::ManifestUnknown(reference.to_string());
        let row = self
            .find_manifest(grant, &digest)
            .await?
            .ok_or_else(unknown)?;
        let standing = self.standing(repo, reference, &digest, &row).await?;
        let is_release = standing == Standing::Release;
        let verdict = self
            .check_visible(grant, &digest, &row, reference, is_release)
            .await?;
        // What is judged can be revoked, so it is known who has it, also where its tag moves.
        let is_kept = row.held > 0 && row.subject.is_none();
        if is_kept || (is_release && !self.is_open(repo)) {
            self.note_pull(repo, &digest, &grant.principal().to_string());
        }
        let key = (repo.clone(), digest);
        let bytes = match self.inner.manifests.get(&key) {
            Some(bytes) => bytes,
            None => {
                let manifest = self
                    .read_manifest(repo, &digest, Some(&row.media_type))
                    .await?;
                self.inner.manifests.insert(key, manifest.bytes().clone());
                manifest.bytes().clone()
            }
        };
        Ok(ServedManifest {
            bytes,
            digest,
            media_type: row.media_type,
            released: row.visible > 0,
            evidence: standing == Standing::Evidence,
            policy: *self.policy().digest(),
            verdict,
        })
    }

    /// A manifest's row. For somebody who may push, and so may be about to list it in an index, it is kept
    /// from being collected for a while, where such are.
    async fn find_manifest(
        &self,
        grant: &Grant<Pull>,
        digest: &Digest,
    ) -> Result<Option<ManifestRow>, Error> {
        let repo = grant.repository();
        let found = match self.inner.lifetimes.untagged {
            Some(keep) if grant.sees_staging() => {
                let now = self.now();
                self.metadata()
                    .pin_manifest(repo, digest, now, now + keep)
                    .await?
            }
            _ => self.metadata().manifest(repo, digest).await?,
        };
        Ok(found)
    }

    async fn resolve(&self, repo: &RepoName, tag: &Tag) -> Result<Digest, Error> {
        match self.metadata().tag(repo, tag).await? {
            Some(row) if row.tombstone => Err(Error::TagRetracted {
                tag: tag.clone(),
                existing: row.digest,
            }),
            Some(row) => Ok(row.digest),
            None => Err(Error::ManifestUnknown(tag.to_string())),
        }
    }

    /// Whether this reader may see a manifest. Who writes to the repository sees its staging; everybody
    /// else needs a release through which it is visible, where the repository has staging. A release that the policy
    /// does not admit any more is refused in any case, whatever else makes it visible, but where nothing is asked for.
    ///
    /// A release that the policy has hidden is not unknown: whoever may pull is told why it is refused.
    async fn check_visible(
        &self,
        grant: &Grant<Pull>,
        digest: &Digest,
        row: &ManifestRow,
        reference: &Reference,
        is_release: bool,
    ) -> Result<Option<Arc<Verdict>>, Error> {
        let repo = grant.repository();
        // What is seen only through something else was admitted with that.
        let verdict = match is_release {
            true => self.rejudge(repo, digest, row).await?,
            false => None,
        };
        if grant.sees_staging() || self.is_open(repo) {
            return Ok(verdict);
        }
        let verdict = match is_release {
            true => self.follow_verdict(repo, digest, row, verdict).await?,
            false => verdict,
        };
        if let Some(denial) = verdict.as_ref().and_then(|verdict| verdict.denial.clone()) {
            return Err(Error::Denied(Box::new(denial)));
        }
        let is_staged = row.visible == 0 && !is_release;
        match is_staged && self.policy().scope_for(repo).staging() {
            true => Err(Error::ManifestUnknown(reference.to_string())),
            false => Ok(verdict),
        }
    }

    /// Shows or hides the tags of a release after its verdict, where time has changed that or a change is being applied:
    /// blobs follow the tags. One that is let through on an exception is counted under it; if that is used up, the
    /// verdict is another one.
    async fn follow_verdict(
        &self,
        repo: &RepoName,
        digest: &Digest,
        row: &ManifestRow,
        verdict: Option<Arc<Verdict>>,
    ) -> Result<Option<Arc<Verdict>>, Error> {
        let (mut row, mut verdict) = (row.clone(), verdict);
        for _ in 0..JUDGEMENTS {
            let denial = verdict.as_ref().and_then(|found| found.denial.as_ref());
            let is_admitted = denial.is_none();
            let is_uncounted = verdict.as_ref().is_some_and(|found| found.is_uncounted());
            if is_admitted == (row.visible > 0) && !is_uncounted {
                return Ok(verdict);
            }
            let judged = match &verdict {
                Some(found) => found.judged(*digest, row.evidence, self.now()),
                None => Judged {
                    manifest: *digest,
                    policy: *self.policy().digest(),
                    evidence: row.evidence,
                    revocations: self.metadata().revocations(digest).await?.len(),
                    exceptions: Vec::new(),
                    now: self.now(),
                },
            };
            let is_applied = self.apply(repo, judged, is_admitted).await?;
            // Whoever changed it since applies what follows from that; but nobody else counts a use.
            if is_applied || !is_uncounted {
                return Ok(verdict);
            }
            let found = self.metadata().manifest(repo, digest).await?;
            row = found.ok_or_else(|| Error::ManifestUnknown(digest.to_string()))?;
            verdict = self.rejudge(repo, digest, &row).await?;
        }
        Err(Refusal::Rejudge.into())
    }

    /// Applies a verdict to every tag of a release that does not follow it yet; `false` if it is out of date.
    async fn apply(
        &self,
        repo: &RepoName,
        judged: Judged,
        is_admitted: bool,
    ) -> Result<bool, Error> {
        let mut is_current = true;
        for tag in self.metadata().tags_of(repo, &judged.manifest).await? {
            // What is visible through an index or a subject as well may have tags that follow already.
            let row = self.metadata().tag(repo, &tag).await?;
            let follows = row.is_none_or(|row| row.visible == is_admitted);
            if tag.is_evidence_list() || (follows && judged.exceptions.is_empty()) {
                continue;
            }
            let shown = self
                .metadata()
                .show_tag(repo, &tag, judged.clone(), is_admitted);
            match shown.await? {
                Ok(_) => {}
                Err(Refusal::Rejudge) => is_current = false,
                Err(other) => return Err(other.into()),
            }
        }
        Ok(is_current)
    }

    /// As what it stands here: its own tags come first, then what it speaks of. Reads the names only where they decide
    /// something.
    async fn standing(
        &self,
        repo: &RepoName,
        reference: &Reference,
        digest: &Digest,
        row: &ManifestRow,
    ) -> Result<Standing, Error> {
        let by_itself = match row.subject {
            Some(_) => Standing::Evidence,
            None => Standing::Other,
        };
        if row.tags == 0 {
            return Ok(by_itself);
        }
        // What speaks of a release is held by that; whether it is one itself, only its own tags tell.
        if row.held > 0 && row.subject.is_none() {
            return Ok(Standing::Release);
        }
        let is_judged = self.policy().reads_evidence(repo);
        let by_name = matches!(reference, Reference::Tag(tag) if !tag.is_evidence_list());
        let is_named = by_name && row.subject.is_none();
        // Where nothing is judged, nobody takes a tag for more than a name.
        if !self.hides(repo) || (is_named && !is_judged) {
            return Ok(by_itself);
        }
        let mut tags = self.metadata().tags_of(repo, digest).await?;
        tags.retain(|tag| !tag.is_evidence_list());
        if tags.is_empty() {
            return Ok(Standing::Evidence);
        }
        if is_judged {
            return Ok(Standing::Release);
        }
        if row.subject.is_some() {
            for tag in &tags {
                let found = self.metadata().tag(repo, tag).await?;
                if found.is_some_and(|row| row.immutable) {
                    return Ok(Standing::Release);
                }
            }
        }
        Ok(by_itself)
    }

    /// Tags after `after`, at most `limit`. An unknown repository is an error only if nothing was ever
    /// pushed to it.
    pub async fn tags(
        &self,
        grant: &Grant<Pull>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Tag>, Error> {
        let repo = grant.repository();
        let staging = self.policy().scope_for(repo).staging();
        let tags = self
            .metadata()
            .tags(repo, after, limit, staging && !grant.sees_staging())
            .await?;
        if tags.is_empty() && !self.metadata().has_repository(repo).await? {
            return Err(Error::RepositoryUnknown);
        }
        Ok(tags)
    }

    /// Deletes a tag. That of a release leaves a tombstone: the release is retracted.
    pub async fn delete_tag(
        &self,
        grant: &Grant<Delete>,
        tag: &Tag,
        condition: TagCondition,
    ) -> Result<(), Error> {
        let repo = grant.repository();
        let (by, class) = (grant.principal().to_string(), self.tag_class(repo, tag));
        match self
            .metadata()
            .delete_tag(repo, tag, class, condition, &by, self.now())
            .await?
        {
            Ok(()) => {
                tracing::info!(repo.name = %repo, tag = %tag, by, "tag deleted");
                self.await_log(repo, None).await;
                Ok(())
            }
            Err(Refusal::NotFound) => Err(Error::ManifestUnknown(tag.to_string())),
            Err(other) => Err(other.into()),
        }
    }

    /// [`Registry::delete_manifest`] under a condition. All that can change about a digest is whether it is there.
    pub async fn delete_manifest_if(
        &self,
        grant: &Grant<Delete>,
        digest: &Digest,
        condition: TagCondition,
    ) -> Result<(), Error> {
        let row = self.metadata().manifest(grant.repository(), digest).await?;
        let holds = match condition {
            TagCondition::Any | TagCondition::Present => true,
            TagCondition::Absent => false,
            TagCondition::Names(named) => named == *digest,
        };
        if row.is_some() && !holds {
            return Err(Error::DigestConditionFailed {
                digest: *digest,
                exists: true,
            });
        }
        self.delete_manifest(grant, digest).await
    }

    /// Deletes a manifest that no release keeps.
    pub async fn delete_manifest(
        &self,
        grant: &Grant<Delete>,
        digest: &Digest,
    ) -> Result<(), Error> {
        let repo = grant.repository();
        let (by, class) = (grant.principal().to_string(), self.release_class(repo));
        let row = self.metadata().manifest(repo, digest).await?;
        let subject = row.and_then(|row| row.subject);
        match self
            .metadata()
            .delete_manifest(repo, digest, class, &by, self.now())
            .await?
        {
            Ok(()) => {
                tracing::info!(repo.name = %repo, manifest.digest = %digest, by, "manifest deleted");
                if let Some(subject) = subject {
                    self.follow_evidence(repo, &subject).await?;
                }
                self.await_log(repo, None).await;
                Ok(())
            }
            Err(Refusal::NotFound) => Err(Error::ManifestUnknown(digest.to_string())),
            Err(other) => Err(other.into()),
        }
    }

    /// Manifests that speak of `subject`, which need not exist. A page has at most `limit`, and ends sooner where they say
    /// much of themselves.
    pub async fn referrers(
        &self,
        grant: &Grant<Pull>,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<ReferrerPage, Error> {
        let repo = grant.repository();
        if !grant.sees_staging() && self.policy().scope_for(repo).staging() {
            let visible = self
                .metadata()
                .manifest(repo, subject)
                .await?
                .is_some_and(|row| row.visible > 0);
            if !visible {
                return Ok(ReferrerPage::default());
            }
        }
        let listed = self.metadata();
        let page = listed.referrers(repo, subject, artifact_type, after, limit);
        Ok(page.await?)
    }

    /// What happened after event number `after`, for auditors.
    pub async fn events(&self, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, Error> {
        Ok(self.metadata().events(after, limit).await?)
    }

    /// Repositories after `after` that `may_read` lets through, at most `limit`.
    pub async fn repositories(
        &self,
        after: Option<String>,
        limit: usize,
        may_read: impl Fn(&RepoName) -> bool,
    ) -> Result<Vec<RepoName>, Error> {
        let mut found = Vec::new();
        let mut after = after;
        loop {
            let page = self.metadata().repositories(after.as_deref(), 1000).await?;
            let Some(last) = page.last() else {
                return Ok(found);
            };
            after = Some(last.to_string());
            for repo in page {
                if may_read(&repo) {
                    found.push(repo);
                    if found.len() == limit {
                        return Ok(found);
                    }
                }
            }
        }
    }
}
