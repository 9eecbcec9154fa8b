//! Storing manifests and setting tags.

use super::judge::JUDGEMENTS;
use super::log::Awaited;
use super::{Contributor, Error, LoggedChange, Registry};
use crate::auth::{Grant, Tag as TagAction};
use crate::metadata::log::LogQuery;
use crate::metadata::{NewTag, PutManifest, PutOutcome, Refusal, TagClass, TagCondition};
use bytes::Bytes;
use sealstone_spec::bundle::{Bundle, check_names};
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::evidence_list::{list_problem, speaks_of};
use sealstone_spec::manifest::{Descriptor, ManifestError, VerifiedManifest};
use sealstone_spec::media;
use sealstone_spec::name::{Reference, RepoName, Tag};
use sealstone_spec::policy::TagRule;
use sealstone_spec::sigstore::is_statement;

/// From this size on a manifest is parsed on a blocking thread.
const LARGE: usize = 128 * 1024;
/// Referrers read in one step.
const REFERRERS: usize = 1000;
/// Most bytes of what stands in listings for a manifest with a subject: a page of them is read in one piece, and whoever
/// judges a release reads all pages.
const MOST_LISTED: usize = 256 * 1024;

/// A manifest as a client pushes it.
#[derive(Clone, Debug)]
pub struct PushManifest {
    /// The tag or digest in the path.
    pub reference: Reference,
    /// Further tags, from the query.
    pub tags: Vec<Tag>,
    /// Content-Type.
    pub content_type: Option<String>,
    /// The bytes.
    pub bytes: Bytes,
    /// From `If-Match` and `If-None-Match`.
    pub condition: TagCondition,
}

/// A manifest that was stored.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// Its digest.
    pub digest: Digest,
    /// What it speaks of.
    pub subject: Option<Digest>,
    /// The tags that it has now.
    pub tags: Vec<Tag>,
    /// Where its tag, or the statement that it is, stands in the transparency log; `None` if it is neither, and if
    /// that is late.
    pub logged: Option<LoggedChange>,
}

impl Registry {
    /// Stores a manifest and sets its tags, all or nothing.
    ///
    /// A tag that can be a release is set only with an admission, which the repository's policy gives
    /// for this very manifest.
    pub async fn push_manifest(
        &self,
        who: &Contributor,
        tagger: Option<&Grant<TagAction>>,
        push: PushManifest,
    ) -> Result<Pushed, Error> {
        let repo = who.repository();
        let claimed = match &push.reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(_) => None,
        };
        let manifest = check(push.bytes, push.content_type, claimed).await?;
        let asked = asked_tags(&push.reference, &push.tags);
        let mut turn = match manifest.subject() {
            Some(subject) if who.adds_words() => {
                let about = (repo.clone(), subject.digest);
                Some(self.inner.words_turns.turn(about).await)
            }
            _ => None,
        };
        let only_known = match self.check_may_add(who, &manifest, &asked).await {
            Ok(()) => false,
            Err(refused @ (Error::NotEvidence | Error::NotApproval(_) | Error::MayOnlyTag)) => {
                // Whoever may not add it may tag it all the same, where it is.
                let row = self.metadata().manifest(repo, manifest.digest()).await?;
                let lists = asked.iter().any(|tag| tag.is_evidence_list());
                if row.is_none() || asked.is_empty() || lists {
                    return Err(refused);
                }
                // Nothing is said any more for which others would have to wait.
                turn = None;
                true
            }
            Err(other) => return Err(other),
        };
        let paths = match Bundle::is_claimed_by(&manifest) {
            true => Bundle::read(&manifest).map(drop),
            false => check_names(&manifest),
        };
        paths.map_err(|error| Error::ManifestInvalid(error.to_string()))?;
        check_listing(&manifest)?;
        self.check_sizes(repo, &manifest).await?;

        let mut tags = push.tags;
        if let Reference::Tag(tag) = push.reference
            && !tags.contains(&tag)
        {
            tags.insert(0, tag);
        }
        if let Some(tag) = tags.iter().find(|tag| !tag.is_evidence_list())
            && tagger.is_none_or(|grant| grant.repository() != repo)
        {
            return Err(Error::MayNotTag(tag.clone()));
        }
        if self.hides(repo) {
            for tag in tags.iter().filter(|tag| tag.is_evidence_list()) {
                self.check_list(repo, tag, &manifest).await?;
            }
            self.check_evidence(repo, &manifest).await?;
        }

        let (digest, subject) = (
            *manifest.digest(),
            manifest.subject().map(|subject| subject.digest),
        );
        let revokes = self.revokes(repo, &manifest).await?;
        let mut must_have_room = false;
        for attempt in 1.. {
            let put = PutManifest {
                revokes,
                ..self.admitted(who, &manifest, &tags, push.condition).await?
            };
            let statements_due = put.statements_due;
            let mut put = PutManifest { only_known, ..put };
            if must_have_room {
                put.quotas = Vec::new();
            }
            let outcome = self.metadata().put_manifest(put).await?;
            if let Err(Refusal::QuotaExceeded(_)) = &outcome
                && !must_have_room
                && tags.is_empty()
                && self.revokes_anew(repo, &manifest, revokes.as_ref()).await?
            {
                must_have_room = true;
                continue;
            }
            match outcome {
                Ok(outcome) => {
                    drop(turn);
                    if let Some(subject) = &subject
                        && Registry::is_evidence(&manifest)
                    {
                        self.follow_evidence(repo, subject).await?;
                        if revokes.is_some() {
                            self.follow_elsewhere(repo, subject).await?;
                        }
                    }
                    if outcome == PutOutcome::Created {
                        let tags = tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(",");
                        tracing::info!(repo.name = %repo, manifest.digest = %digest, tags, by = who.name(), "manifest pushed");
                    }
                    let mut awaited = Awaited::Tag;
                    if statements_due && outcome == PutOutcome::Created {
                        // Before the answer, so that they are in the checkpoint that it waits for. What fails here
                        // is made later: the release stands.
                        if let Err(error) = self.attend().await {
                            tracing::warn!(repo.name = %repo, %error, "statements about a release are late");
                        }
                        awaited = Awaited::Recorded;
                    }
                    let logged = match tags.iter().find(|tag| !tag.is_evidence_list()) {
                        Some(tag) => self.await_witnesses(repo, tag, awaited).await?,
                        // Also where it was there before: whoever lost the first answer asks for the same.
                        None => match entry_of(repo, &manifest, &tags) {
                            Some(entry) => self.await_log(repo, Some(entry)).await,
                            None => None,
                        },
                    };
                    return Ok(Pushed {
                        digest,
                        subject,
                        tags,
                        logged,
                    });
                }
                Err(Refusal::Rejudge) if attempt < JUDGEMENTS => {}
                // It went since it was looked for.
                Err(Refusal::NotFound) => return Err(Error::MayOnlyTag),
                Err(refusal) => {
                    if matches!(refusal, Refusal::TagTaken { .. } | Refusal::TagBurnt { .. }) {
                        self.inner.metrics.tag_conflicts.inc();
                        tracing::info!(repo.name = %repo, manifest.digest = %digest, by = who.name(), ?refusal, "a tag that is taken was refused");
                    }
                    return Err(self.refused(who, refusal));
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Sets tags on a manifest that the repository has, for somebody who may add nothing.
    ///
    /// # Errors
    /// [`Error::MayOnlyTag`] if it has it not, or no tag is asked for.
    pub async fn tag_manifest(
        &self,
        tagger: &Grant<TagAction>,
        push: PushManifest,
    ) -> Result<Pushed, Error> {
        let who = Contributor::of_nothing(tagger);
        self.push_manifest(&who, Some(tagger), push).await
    }

    /// The write, with the policy's admission where one is due.
    async fn admitted(
        &self,
        who: &Contributor,
        manifest: &VerifiedManifest,
        tags: &[Tag],
        condition: TagCondition,
    ) -> Result<PutManifest, Error> {
        let repo = who.repository();
        let needs_admission = tags.iter().any(|tag| !tag.is_evidence_list());
        let (mut admission, mut referrers, mut revocations) = (None, Vec::new(), Vec::new());
        if needs_admission {
            // Before the evidence is read: what comes after this is seen to have come.
            referrers = self.all_referrers(repo, manifest.digest()).await?;
            let kept = self.metadata().revocations(manifest.digest()).await?;
            revocations = kept.iter().map(|kept| kept.word).collect();
            match self.judge(repo, manifest, false).await?.verdict {
                Ok(admitted) => admission = Some(admitted),
                Err(denial) => {
                    self.inner.metrics.release_denials.inc();
                    tracing::info!(repo.name = %repo, manifest.digest = %manifest.digest(), "the policy refused a release");
                    return Err(Error::Denied(Box::new(denial)));
                }
            }
        }
        let new_tag = |tag: &Tag| NewTag {
            tag: tag.clone(),
            class: self.tag_class(repo, tag),
            condition,
            visible: true,
        };
        Ok(PutManifest {
            repo: repo.clone(),
            manifest: manifest.clone(),
            tags: tags.iter().map(new_tag).collect(),
            condition,
            only_known: false,
            statements_due: needs_admission && self.states_releases(repo),
            admission,
            referrers,
            revocations,
            revokes: None,
            quotas: self.quotas_for(who),
            by: who.name(),
            now: self.now(),
            pin_until: self.now()
                + self
                    .inner
                    .lifetimes
                    .untagged
                    .unwrap_or(self.inner.lifetimes.pin),
        })
    }

    /// All that speaks of a manifest. Page after page: what they say of themselves is no more than passes through.
    async fn all_referrers(&self, repo: &RepoName, subject: &Digest) -> Result<Vec<Digest>, Error> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self
                .metadata()
                .referrers(repo, subject, None, after, REFERRERS)
                .await?;
            found.extend(page.referrers.iter().map(|referrer| referrer.digest));
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
        }
    }

    /// Whether anything of the repository is kept from consumers until it is judged. Elsewhere a name is a name: some
    /// tools mirror what has only a digest under `sha256-HEX`.
    pub(super) fn hides(&self, repo: &RepoName) -> bool {
        self.policy().scope_for(repo).staging() || self.policy().reads_evidence(repo)
    }

    /// Whether nothing is kept from whoever may pull: there is no staging, and a release needs nothing.
    pub(super) fn is_open(&self, repo: &RepoName) -> bool {
        let policy = self.policy();
        let scope = policy.scope_for(repo);
        !scope.staging() && scope.rules().is_empty()
    }

    /// A list of evidence is one: nobody judges it, and consumers see it beside what it speaks of.
    async fn check_list(
        &self,
        repo: &RepoName,
        tag: &Tag,
        manifest: &VerifiedManifest,
    ) -> Result<(), Error> {
        if let Some(problem) = list_problem(tag, manifest) {
            return Err(Error::ManifestInvalid(problem));
        }
        for child in manifest.children() {
            let Some(row) = self.metadata().manifest(repo, &child.digest).await? else {
                return Err(Error::Missing {
                    blobs: Vec::new(),
                    manifests: vec![child.digest],
                });
            };
            if !row.subject.is_some_and(|subject| speaks_of(tag, &subject)) {
                let digest = child.digest;
                return Err(Error::ManifestInvalid(format!(
                    "tag {tag} is an index of referrers, and {digest} is none of what it speaks of"
                )));
            }
        }
        Ok(())
    }

    /// What speaks of a manifest is seen beside it, and nobody judges it: it lists nothing but what speaks of the same.
    /// The store would show nothing else through it anyway; whoever pushes it is told.
    async fn check_evidence(
        &self,
        repo: &RepoName,
        manifest: &VerifiedManifest,
    ) -> Result<(), Error> {
        let Some(subject) = manifest.subject().map(|subject| subject.digest) else {
            return Ok(());
        };
        for child in manifest.children() {
            // One that is not there is refused with all that is missing.
            let row = self.metadata().manifest(repo, &child.digest).await?;
            if row.is_some_and(|row| row.subject != Some(subject)) {
                let digest = child.digest;
                return Err(Error::ManifestInvalid(format!(
                    "an index about {subject} lists {digest}, which does not speak of that: leave it out of the list, or the subject out of the index"
                )));
            }
        }
        Ok(())
    }

    /// How a tag may change under the rule that is in force.
    pub(super) fn tag_class(&self, repo: &RepoName, tag: &Tag) -> TagClass {
        match tag.is_evidence_list() {
            true => TagClass::EvidenceList,
            false => self.release_class(repo),
        }
    }

    /// The same for every tag that is no list of evidence.
    pub(super) fn release_class(&self, repo: &RepoName) -> TagClass {
        match self.policy().scope_for(repo).tag_rule() {
            TagRule::Mutable => TagClass::Mutable,
            // Also for whatever rule this code does not know yet.
            _ => TagClass::Immutable,
        }
    }

    /// What a descriptor says of a size must be true: a signature over the manifest vouches for it.
    async fn check_sizes(&self, repo: &RepoName, manifest: &VerifiedManifest) -> Result<(), Error> {
        let wrong = |descriptor: &Descriptor, size: u64| {
            let Descriptor {
                digest,
                size: stated,
                ..
            } = descriptor;
            Error::ManifestInvalid(format!(
                "manifest says that {digest} has {stated} bytes, it has {size}"
            ))
        };
        for descriptor in manifest.blobs() {
            if let Some(blob) = self.metadata().blob(repo, &descriptor.digest).await?
                && blob.size != descriptor.size
            {
                return Err(wrong(descriptor, blob.size));
            }
        }
        for descriptor in manifest.children().iter().chain(manifest.subject()) {
            if let Some(row) = self.metadata().manifest(repo, &descriptor.digest).await?
                && row.size != descriptor.size
            {
                return Err(wrong(descriptor, row.size));
            }
        }
        for descriptor in manifest.children() {
            if self
                .metadata()
                .manifest(repo, &descriptor.digest)
                .await?
                .is_some()
            {
                continue;
            }
            let Some(blob) = self.metadata().blob(repo, &descriptor.digest).await? else {
                continue;
            };
            // Build caches are indexes over layers; what calls itself a manifest has to be one.
            if calls_itself_manifest(&descriptor.media_type) {
                return Err(Error::Missing {
                    blobs: Vec::new(),
                    manifests: vec![descriptor.digest],
                });
            }
            if blob.size != descriptor.size {
                return Err(wrong(descriptor, blob.size));
            }
        }
        Ok(())
    }
}

/// All tags that a push asks for.
fn asked_tags<'a>(reference: &'a Reference, further: &'a [Tag]) -> Vec<&'a Tag> {
    let own = match reference {
        Reference::Tag(tag) => Some(tag),
        Reference::Digest(_) => None,
    };
    further.iter().chain(own).collect()
}

/// Lists of what speaks of a manifest hold what each says of itself.
fn check_listing(manifest: &VerifiedManifest) -> Result<(), Error> {
    if manifest.subject().is_none() {
        return Ok(());
    }
    let listed = serde_json::to_vec(&manifest.descriptor());
    let len = listed
        .map_err(|error| Error::Internal(error.to_string()))?
        .len();
    if len > MOST_LISTED {
        return Err(Error::ManifestInvalid(format!(
            "annotations and type of a manifest with a subject stand in every list of what speaks of that: with them its entry there has {len} bytes, at most {MOST_LISTED} are accepted"
        )));
    }
    Ok(())
}

/// What the log tells of a push that releases nothing: of its list of evidence, or of the statement that it is.
fn entry_of(repo: &RepoName, manifest: &VerifiedManifest, tags: &[Tag]) -> Option<LogQuery> {
    if let Some(tag) = tags.first() {
        return Some(LogQuery::Tag(repo.clone(), tag.clone()));
    }
    is_statement(manifest).then(|| LogQuery::Statement(repo.clone(), *manifest.digest()))
}

fn calls_itself_manifest(media_type: &str) -> bool {
    media::is_index(media_type)
        || [media::OCI_MANIFEST, media::DOCKER_MANIFEST].contains(&media_type)
}

async fn check(
    bytes: Bytes,
    content_type: Option<String>,
    claimed: Option<Digest>,
) -> Result<VerifiedManifest, Error> {
    let large = bytes.len() > LARGE;
    let work = move || {
        VerifiedManifest::check(
            bytes,
            content_type.as_deref(),
            claimed.as_ref(),
            Algorithm::Sha256,
        )
    };
    let checked = if large {
        tokio::task::spawn_blocking(work).await?
    } else {
        work()
    };
    checked.map_err(|error| match error {
        ManifestError::DigestMismatch { actual, claimed } => Error::DigestMismatch {
            expected: claimed,
            actual,
        },
        ManifestError::TooLarge(_) => Error::ManifestTooLarge(error.to_string()),
        other => Error::ManifestInvalid(other.to_string()),
    })
}
