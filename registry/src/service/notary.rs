//! What the registry signs itself: that a release was published and judged, and that its content is damaged.
//!
//! Owns when a statement is due and how it comes to be: events are worked off in their order, so that a
//! server which ends between a release and its statements makes them at its next start. A statement is a
//! function of its event, so what is made twice is the same referrer. Nothing is released on these words.
//! Invariant: an event counts as attended only after everything that follows from it is stored.

use super::{Contributor, Error, Registry};
use crate::auth::Maintenance;
use crate::metadata::{Event, EventKind, PutManifest, TagCondition};
use bytes::Bytes;
use futures_util::stream;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::key::{PublicKey, SecretKey, Signer as _};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::name::RepoName;
use sealstone_spec::notary::{Files, Released, subjects};
use sealstone_spec::policy::{Edition, lifecycle};
use sealstone_spec::sigstore::{SigstoreBundle, referrer_manifest};
use sealstone_spec::statement::{Statement, Timestamp};
use serde::{Deserialize, Serialize};

/// Events read in one step.
const PAGE: usize = 500;

/// About which releases the registry signs statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReleaseStatements {
    /// Where a policy of version 2 has rules for the repository.
    Policy,
    /// About every tag that never moves.
    Always,
    /// About none.
    Never,
}

/// Who signs for the registry.
#[derive(Debug)]
pub struct Notary {
    key: SecretKey,
    /// Public keys that it had before.
    former: Vec<PublicKey>,
    origin: String,
    releases: ReleaseStatements,
    right: Maintenance,
}

impl Notary {
    /// Signs with `key` for the registry that is called `origin`.
    pub fn new(
        key: SecretKey,
        origin: String,
        releases: ReleaseStatements,
        right: Maintenance,
    ) -> Notary {
        Notary {
            key,
            former: Vec::new(),
            origin,
            releases,
            right,
        }
    }

    /// Also hears what was signed with these keys: an incident that one of them reported stands until it is closed, also
    /// where the key was replaced since.
    pub fn with_former(mut self, keys: impl IntoIterator<Item = PublicKey>) -> Notary {
        self.former.extend(keys);
        self.former.retain(|key| key != self.key.public_key());
        self
    }
}

impl Registry {
    /// Gives the registry a key of its own. Without one, it signs nothing.
    pub fn attach_notary(&self, notary: Notary) {
        // Only boot calls this, once.
        let _ = self.inner.notary.set(notary);
    }

    /// The key that the registry signs statements with.
    pub fn statement_key(&self) -> Result<&PublicKey, Error> {
        let absent = || Error::ManifestUnknown("this registry signs no statements".into());
        self.own_key().ok_or_else(absent)
    }

    /// The same with those that it had before, the present one first.
    pub fn statement_keys(&self) -> Result<Vec<PublicKey>, Error> {
        self.statement_key()?;
        Ok(self.own_keys())
    }

    fn own_key(&self) -> Option<&PublicKey> {
        let notary = self.inner.notary.get()?;
        Some(notary.key.public_key())
    }

    /// Every key that the registry signs statements with or has signed any with, the present one first.
    pub(super) fn own_keys(&self) -> Vec<PublicKey> {
        let Some(notary) = self.inner.notary.get() else {
            return Vec::new();
        };
        let present = std::iter::once(notary.key.public_key());
        present.chain(&notary.former).cloned().collect()
    }

    /// Whether releases in a repository are followed by statements.
    pub(super) fn states_releases(&self, repo: &RepoName) -> bool {
        let policy = self.policy();
        match self.inner.notary.get().map(|notary| notary.releases) {
            None | Some(ReleaseStatements::Never) => false,
            Some(ReleaseStatements::Always) => true,
            Some(ReleaseStatements::Policy) => {
                policy.edition() == Edition::V2 && !policy.scope_for(repo).rules().is_empty()
            }
        }
    }

    /// Whether damage to a release stands until somebody closes it: where a policy can say who does.
    pub(super) fn keeps_incidents(&self, repo: &RepoName) -> bool {
        let policy = self.policy();
        policy.edition() == Edition::V2 && policy.reads_evidence(repo)
    }

    /// Acts on what happened and was not acted on yet; returns how many statements were made. Nothing without a notary:
    /// every server has one, and a command on a store that nobody has open must not take for done what it could not do.
    ///
    /// # Errors
    /// If a store fails; the next call goes on from there.
    pub async fn attend(&self) -> Result<u64, Error> {
        let Some(notary) = self.inner.notary.get() else {
            return Ok(0);
        };
        // One at a time: the second would only find everything done.
        let _turn = self.inner.attending.lock().await;
        let mut made = 0;
        let mut after = self.metadata().events_attended().await?;
        loop {
            let events = self.metadata().events(after, PAGE).await?;
            let Some((last, _)) = events.last() else {
                return Ok(made);
            };
            let last = *last;
            for (_, event) in &events {
                made += self.act_on(notary, event).await?;
            }
            self.metadata().set_events_attended(last).await?;
            after = last;
        }
    }

    /// The same beside whoever noticed that there is something to do.
    pub(super) fn attend_later(&self) {
        let registry = self.clone();
        self.inner.tasks.spawn(async move {
            if let Err(error) = registry.attend().await {
                tracing::warn!(%error, "statements of the registry are late");
            }
        });
    }

    async fn act_on(&self, notary: &Notary, event: &Event) -> Result<u64, Error> {
        let Some(repo) = &event.repo else {
            return Ok(0);
        };
        let outcome = match event.kind {
            EventKind::TagCreated | EventKind::TagMoved if event.statement_due => {
                self.state_release(notary, repo, event).await
            }
            EventKind::ContentDamaged => self.report_damage(notary, repo, event).await,
            // Whoever attached it follows it too, but may have ended before.
            EventKind::StatementAttached => match &event.subject {
                Some(subject) => self.follow_attached(repo, subject).await.map(|()| 0),
                None => Ok(0),
            },
            // Elsewhere no verdict on a release looks at damage.
            EventKind::ContentRepaired if self.keeps_incidents(repo) => {
                // Verdicts are kept by their evidence, and that is the same as before.
                self.inner.verdicts.invalidate_all();
                for manifest in self.metadata().releases_with(repo, &event.digest).await? {
                    self.follow_evidence(repo, &manifest).await?;
                }
                Ok(0)
            }
            _ => Ok(0),
        };
        match outcome {
            // There is nothing left to speak of, or it cannot be read: no later attempt changes that.
            Err(error @ (Error::ManifestUnknown(_) | Error::Damaged(_))) => {
                tracing::warn!(repo.name = %repo, manifest.digest = %event.digest, %error, "no statement was made about this");
                Ok(0)
            }
            other => other,
        }
    }

    async fn state_release(
        &self,
        notary: &Notary,
        repo: &RepoName,
        event: &Event,
    ) -> Result<u64, Error> {
        let (Some(tag), Some(policy)) = (&event.tag, event.policy) else {
            return Ok(0);
        };
        let manifest = self.subject(repo, &event.digest).await?;
        let released = Released {
            origin: &notary.origin,
            repository: repo,
            tag,
            manifest: &manifest,
            policy,
            evidence: &event.evidence,
            at: at(event),
        };
        let internal = |error: &dyn std::fmt::Display| Error::Internal(error.to_string());
        let release = released.release().map_err(|error| internal(&error))?;
        let summary = released.summary().map_err(|error| internal(&error))?;
        let made = tokio::try_join!(
            self.attach_own(notary, repo, &manifest, &release, event),
            self.attach_own(notary, repo, &manifest, &summary, event),
        )?;
        Ok(made.0 + made.1)
    }

    async fn report_damage(
        &self,
        notary: &Notary,
        repo: &RepoName,
        event: &Event,
    ) -> Result<u64, Error> {
        if !self.keeps_incidents(repo) {
            return Ok(0);
        }
        let mut made = 0;
        for digest in self.metadata().releases_with(repo, &event.digest).await? {
            let manifest = self.subject(repo, &digest).await?;
            let place = format!("{}/{repo}", notary.origin);
            let statement = lifecycle::incident(
                subjects(&place, &manifest, Files::None),
                &format!("content {} is damaged", event.digest),
                &[event.digest],
                at(event),
            );
            made += self
                .attach_own(notary, repo, &manifest, &statement, event)
                .await?;
            self.follow_evidence(repo, &digest).await?;
        }
        Ok(made)
    }

    async fn subject(&self, repo: &RepoName, digest: &Digest) -> Result<VerifiedManifest, Error> {
        let row = self.metadata().manifest(repo, digest).await?;
        let row = row.ok_or_else(|| Error::ManifestUnknown(digest.to_string()))?;
        self.read_manifest(repo, digest, Some(&row.media_type))
            .await
    }

    /// Signs a statement and attaches it; how many were new.
    async fn attach_own(
        &self,
        notary: &Notary,
        repo: &RepoName,
        manifest: &VerifiedManifest,
        statement: &Statement,
        event: &Event,
    ) -> Result<u64, Error> {
        let internal = |error: &dyn std::fmt::Display| Error::Internal(error.to_string());
        let bundle = SigstoreBundle::sign(statement, &notary.key)
            .map_err(|error| internal(&error))?
            .to_bytes();
        let document = referrer_manifest(
            &manifest.descriptor(),
            &bundle,
            &statement.predicate_type,
            at(event).as_str(),
        );
        let referrer = VerifiedManifest::check(document, None, None, Algorithm::Sha256)
            .map_err(|error| internal(&error))?;
        if self
            .metadata()
            .manifest(repo, referrer.digest())
            .await?
            .is_some()
        {
            return Ok(0);
        }
        let who = Contributor::from(notary.right.grant(repo));
        for bytes in [Bytes::from(bundle), Bytes::from_static(b"{}")] {
            let (digest, size) = (Digest::sha256(&bytes), bytes.len() as u64);
            if !self.has_blob(&who, &digest).await? {
                let body = Box::pin(stream::iter([Ok(bytes)]));
                self.put_blob(&who, digest, Some(size), body).await?;
            }
        }
        let put = PutManifest {
            repo: repo.clone(),
            manifest: referrer,
            tags: Vec::new(),
            condition: TagCondition::Any,
            only_known: false,
            admission: None,
            referrers: Vec::new(),
            revocations: Vec::new(),
            revokes: None,
            statements_due: false,
            // Counted, and never refused.
            quotas: Vec::new(),
            by: who.name(),
            now: self.now(),
            pin_until: self.pin_until(),
        };
        self.metadata().put_manifest(put).await??;
        self.inner.metrics.statements.inc();
        Ok(1)
    }
}

/// When it happened, by whole seconds: the same however often it is asked.
fn at(event: &Event) -> Timestamp {
    let seconds = event.at.div_euclid(1000);
    Timestamp::from_unix(seconds)
        .or_else(|| Timestamp::from_unix(0))
        .expect("1970 is a year that can be written")
}
