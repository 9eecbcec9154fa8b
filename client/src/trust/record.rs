//! Records that travel with a release: the signed policy in one is found, and believed only if trusted
//! root keys signed it; the repository that one names, which may be the word of a log or of nobody.

use crate::error::{Error, Outcome, Result};
use crate::store::Store;
use sealstone_spec::log::{Entry, LogProof, Operation};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::name::{Reference, RepoName};
use sealstone_spec::policy::{Policy, PolicyEnvelope, Roots, SignedPolicy, Time};
use sealstone_spec::record::{ARTIFACT_TYPE, MAX_DOCUMENT_BYTES, MAX_RECORDS, POLICY, TAG_PROOF};
use std::collections::BTreeSet;

/// The newest policy in the records of `manifest` that enough of the root keys `trusted`, and as many of its own
/// as it demands, have signed, and that still holds. Whether a newer one was seen before is for
/// [`KeptPolicies`](super::KeptPolicies) to say.
///
/// # Errors
/// [`Outcome::Refused`] if there is none; the hints say what was found and why it does not count. And if there are
/// more records than are read: the newest could be in one of the others.
pub async fn policy_by_roots(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    trusted: &Roots,
) -> Result<SignedPolicy> {
    let now = Time::from_seconds(jiff::Timestamp::now().as_second());
    let mut newest: Option<SignedPolicy> = None;
    let mut refused = Vec::new();
    let listed = store
        .referrers(manifest.digest(), Some(ARTIFACT_TYPE))
        .await?;
    if listed.len() > MAX_RECORDS {
        return Err(Error::refused(format!(
            "more records are attached to {} than the {MAX_RECORDS} that are read, and the newest policy may be in another one",
            manifest.digest()
        ))
        .hint("somebody floods this manifest: judge by a file, --policy FILE"));
    }
    for descriptor in listed {
        for bytes in documents(store, &Reference::Digest(descriptor.digest), POLICY).await? {
            let checked = PolicyEnvelope::parse(&bytes)
                .and_then(|envelope| SignedPolicy::verify(envelope, trusted))
                .and_then(|signed| signed.check_time(now).map(|()| signed));
            match checked {
                Ok(signed) => {
                    let version = signed.policy().version();
                    if newest
                        .as_ref()
                        .is_none_or(|old| old.policy().version() < version)
                    {
                        newest = Some(signed);
                    }
                }
                Err(error) => refused.push(format!("not used: {error}")),
            }
        }
    }
    match newest {
        Some(signed) => Ok(signed),
        None => {
            let mut error = Error::refused(format!(
                "no policy that the root keys have signed travels with {}",
                manifest.digest()
            ));
            for reason in refused {
                error = error.hint(reason);
            }
            Err(error.hint(
                "export it from a registry with a signed policy, or judge by a file: --policy FILE",
            ))
        }
    }
}

/// A repository that a release says it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldRepository {
    /// Its name.
    pub name: RepoName,
    /// Whether a log that the policy trusts says so. Else nobody vouches for it.
    pub is_proved: bool,
}

/// The repository in which the records of `manifest` show that a tag was set to it; `None` if they show none, or several.
/// Where `policy` trusts logs, only what one of them says is heard.
///
/// # Errors
/// If the place cannot be asked.
pub async fn told_repository(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    policy: &Policy,
) -> Result<Option<ToldRepository>> {
    let logs = policy.log_trust();
    let entry_of = |proof: LogProof| match logs {
        [] => Entry::parse(proof.extra.as_deref()?).ok(),
        logs => {
            let mut proved = logs.iter().filter_map(|log| proof.verify_entry(log).ok());
            proved.next().map(|(entry, _)| entry)
        }
    };
    let listed = store
        .referrers(manifest.digest(), Some(ARTIFACT_TYPE))
        .await?;
    if listed.len() > MAX_RECORDS {
        return Ok(None);
    }
    let mut names = BTreeSet::new();
    for descriptor in listed {
        let reference = Reference::Digest(descriptor.digest);
        for bytes in documents(store, &reference, TAG_PROOF).await? {
            let entry = LogProof::parse(&bytes).ok().and_then(entry_of);
            if let Some(Entry::Event(event)) = entry
                && matches!(event.op, Operation::Tag | Operation::Release)
                && event.digest == *manifest.digest()
            {
                names.extend(event.repository);
            }
        }
    }
    let name = names.pop_first().filter(|_| names.is_empty());
    Ok(name.map(|name| ToldRepository {
        name,
        is_proved: !logs.is_empty(),
    }))
}

/// The documents of this name in one record. What cannot be read is none.
async fn documents(store: &dyn Store, reference: &Reference, name: &str) -> Result<Vec<Vec<u8>>> {
    let Some(record) = readable(store.manifest(reference).await)? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for layer in record.layers() {
        let title = layer.annotations.get(media::ANNOTATION_TITLE);
        if title.map(String::as_str) == Some(name) {
            found.extend(readable(store.blob_bytes(layer, MAX_DOCUMENT_BYTES).await)?);
        }
    }
    Ok(found)
}

/// Missing or damaged is nothing to use; that a place cannot be asked is an error.
fn readable<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.outcome(), Outcome::Halted | Outcome::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
