//! Whoever may add content to a repository: a pusher, or a signer or approver who adds evidence.

use super::{Error, Registry};
use crate::auth::{Approve, Grant, Identity, Maintain, Push, Sign, Tag as TagAction};
use crate::metadata::ManifestRow;
use bytes::Bytes;
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::media;
use sealstone_spec::name::{RepoName, Tag};
use sealstone_spec::policy::{Evidence, MOST_EVIDENCE, MOST_EVIDENCE_BYTES, Policy, lifecycle};
use sealstone_spec::sigstore::{MAX_BUNDLE_BYTES, SigstoreBundle, is_statement};
use std::sync::Arc;

/// Referrers read in one step.
const REFERRERS: usize = 100;

/// Made from a grant to push, to sign or to approve, or from that of the server's own jobs.
///
/// ```compile_fail
/// use sealstone_registry::auth::{Grant, Pull};
/// fn reader_pushes(grant: Grant<Pull>) -> sealstone_registry::service::Contributor {
///     grant.into()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Contributor {
    who: Identity,
    repository: RepoName,
    adds: Adds,
}

/// Which manifests somebody may add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Adds {
    /// Every one.
    Anything,
    /// Those that speak of another.
    Evidence,
    /// Statements in which people say what they think of a bundle.
    Words,
    /// What the registry itself says.
    Own,
    /// None: whoever may only tag names what is there.
    Nothing,
}

impl Contributor {
    fn new<A>(grant: &Grant<A>, adds: Adds) -> Contributor {
        Contributor {
            who: grant.principal().clone(),
            repository: grant.repository().clone(),
            adds,
        }
    }

    /// Somebody who adds nothing. Only [`Registry::tag_manifest`] asks for one: uploads are not for them.
    pub(super) fn of_nothing(tagger: &Grant<TagAction>) -> Contributor {
        Contributor::new(tagger, Adds::Nothing)
    }

    /// Where.
    pub fn repository(&self) -> &RepoName {
        &self.repository
    }

    /// Who, as text for rows and logs.
    pub fn name(&self) -> String {
        self.who.to_string()
    }

    /// Whether a blob is one that they may add: whoever only approves has no use for one that no bundle can be.
    pub(super) fn check_blob(&self, size: u64) -> Result<(), Error> {
        if self.adds == Adds::Words && size > MAX_BUNDLE_BYTES as u64 {
            return Err(Error::NotApproval(format!(
                "a bundle has at most {MAX_BUNDLE_BYTES} bytes, and this blob has {size}"
            )));
        }
        Ok(())
    }

    /// Whether they add words, of which each is added once.
    pub(super) fn adds_words(&self) -> bool {
        self.adds == Adds::Words
    }

    /// Whether it is the registry itself, which has to speak also where a quota leaves no room for others.
    pub(super) fn is_registry(&self) -> bool {
        self.adds == Adds::Own
    }
}

impl From<Grant<Push>> for Contributor {
    fn from(grant: Grant<Push>) -> Self {
        Contributor::new(&grant, Adds::Anything)
    }
}

impl From<Grant<Sign>> for Contributor {
    fn from(grant: Grant<Sign>) -> Self {
        Contributor::new(&grant, Adds::Evidence)
    }
}

impl From<Grant<Approve>> for Contributor {
    fn from(grant: Grant<Approve>) -> Self {
        Contributor::new(&grant, Adds::Words)
    }
}

/// The registry attaches statements of its own, and nothing else.
impl From<Grant<Maintain>> for Contributor {
    fn from(grant: Grant<Maintain>) -> Self {
        Contributor::new(&grant, Adds::Own)
    }
}

impl Registry {
    /// Whether somebody may add a manifest, if these tags are to name it.
    ///
    /// # Errors
    /// [`Error::NotEvidence`], [`Error::NotApproval`] and [`Error::MayOnlyTag`] say why not.
    pub(super) async fn check_may_add(
        &self,
        who: &Contributor,
        manifest: &VerifiedManifest,
        tags: &[&Tag],
    ) -> Result<(), Error> {
        match who.adds {
            Adds::Anything => Ok(()),
            Adds::Evidence | Adds::Own if manifest.subject().is_some() => Ok(()),
            Adds::Evidence | Adds::Own => Err(Error::NotEvidence),
            Adds::Nothing => Err(Error::MayOnlyTag),
            // A list of evidence only grows: one that an approver begins would stand in the way of those who sign.
            Adds::Words if tags.iter().any(|tag| tag.is_evidence_list()) => Err(
                Error::NotApproval("this push sets a list of evidence".to_owned()),
            ),
            Adds::Words => self.check_words(who.repository(), manifest).await,
        }
    }

    /// What the annotations say of a bundle is not believed: it is read.
    async fn check_words(&self, repo: &RepoName, manifest: &VerifiedManifest) -> Result<(), Error> {
        let refused = |reason: &str| Err(Error::NotApproval(reason.to_owned()));
        // What it names is seen beside its subject, so it names nothing but the bundle.
        let names_more =
            |config: &Descriptor| config.digest.to_string() != media::EMPTY_JSON_DIGEST;
        if !is_statement(manifest) || manifest.config().is_some_and(names_more) {
            return refused("this manifest attaches no sigstore bundle");
        }
        let [layer] = manifest.layers() else {
            return refused("this manifest attaches more or less than one sigstore bundle");
        };
        let Some(blob) = self.metadata().blob(repo, &layer.digest).await? else {
            return Err(Error::Missing {
                blobs: vec![layer.digest],
                manifests: Vec::new(),
            });
        };
        if blob.size > MAX_BUNDLE_BYTES as u64 {
            return refused("its layer is too long for a bundle");
        }
        let bytes = self.read_whole(&layer.digest, &blob).await?;
        let read = bytes.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let bundle = SigstoreBundle::parse(&read).map_err(|error| error.to_string())?;
            let claimed = bundle.claimed_predicate_type();
            claimed.ok_or_else(|| "its bundle holds no statement".to_owned())
        });
        let claimed = reading.await?;
        match claimed {
            Ok(kind) if lifecycle::WORDS.contains(&kind.as_str()) => {
                self.check_speaker(repo, manifest, bytes).await
            }
            Ok(kind) => {
                let kind: String = kind.chars().take(120).collect();
                refused(&format!("this is a statement of the type \"{kind}\""))
            }
            Err(problem) => refused(&problem),
        }
    }

    /// Where what is attached is read, a release of which more is attached than is read is refused, and nobody can take a
    /// statement away while it has a tag. So whoever only approves adds what somebody of the policy said, about a manifest
    /// that is here, and nothing twice: nobody but the holders of keys makes more of it.
    async fn check_speaker(
        &self,
        repo: &RepoName,
        manifest: &VerifiedManifest,
        bundle: Bytes,
    ) -> Result<(), Error> {
        let refused = |reason: String| Err(Error::NotApproval(reason));
        let policy = self.policy();
        let Some(subject) = manifest.subject().map(|subject| subject.digest) else {
            return Ok(());
        };
        let is_here = self.metadata().manifest(repo, manifest.digest()).await?;
        if !policy.reads_evidence(repo) || is_here.is_some() {
            return Ok(());
        }
        // As whoever judges reads it: what says that the manifest has another size speaks of nothing.
        let Some(ManifestRow { size, .. }) = self.metadata().manifest(repo, &subject).await? else {
            return refused(format!("the repository does not have {subject}"));
        };
        let item = Evidence::new(manifest.clone(), bundle);
        let Some(words) = read_words(policy.clone(), item, size).await? else {
            return refused(format!(
                "this bundle is signed by no key of the policy in force, or says nothing of {subject}"
            ));
        };
        let (mut after, mut read, mut bytes) = (None, 0, 0);
        loop {
            let kind = Some(media::SIGSTORE_BUNDLE_V03);
            let page = self
                .metadata()
                .referrers(repo, &subject, kind, after, REFERRERS)
                .await?;
            after = page.next;
            for referrer in &page.referrers {
                read += 1;
                let media_type = Some(referrer.media_type.as_str());
                let found = self.read_evidence(repo, &referrer.digest, media_type).await;
                let (found, len) = match found {
                    Ok(found) => found,
                    // What is no evidence, is gone or cannot be read says nothing that could be said twice.
                    Err(Error::Damaged(_) | Error::ManifestUnknown(_)) => continue,
                    Err(other) => return Err(other),
                };
                // More than that is read nowhere, and nothing is released beside it.
                bytes += len;
                if bytes > MOST_EVIDENCE_BYTES {
                    return Ok(());
                }
                let Ok(item) = found else {
                    continue;
                };
                if read_words(policy.clone(), item, size).await? == Some(words) {
                    let digest = referrer.digest;
                    return refused(format!("{digest} says the same already"));
                }
            }
            if after.is_none() || read > MOST_EVIDENCE {
                return Ok(());
            }
        }
    }
}

/// Reading is parsing and checking a signature: no work for a thread that answers requests.
async fn read_words(
    policy: Arc<Policy>,
    item: Evidence,
    size: u64,
) -> Result<Option<Digest>, Error> {
    let reading = tokio::task::spawn_blocking(move || policy.words(&item, size));
    Ok(reading.await?)
}
