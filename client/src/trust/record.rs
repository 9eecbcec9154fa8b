//! Records that travel with a release: the signed policy in one is found, and believed only if trusted
//! root keys signed it; the repository that one names, which may be the word of a log or of nobody.

use crate::error::{Error, Outcome, Result};
use crate::store::Store;
use sealstone_spec::digest::Digest;
use sealstone_spec::log::{Entry, LogProof, MAX_PROOF_FILE_BYTES, Operation};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::name::{Reference, RepoName};
use sealstone_spec::policy::{
    MOST_EVIDENCE_BYTES, Policy, PolicyEnvelope, Roots, Rule, Scope, SignedPolicy, Time,
};
use sealstone_spec::record::{ARTIFACT_TYPE, MAX_DOCUMENT_BYTES, MAX_RECORDS, POLICY, TAG_PROOF};
use std::collections::BTreeSet;

/// The newest policy in the records of `manifest` that enough of the root keys `trusted`, and as many of its own
/// as it demands, have signed, and that still holds. Whether a newer one was seen before is for
/// [`KeptPolicies`](super::KeptPolicies) to say.
///
/// # Errors
/// [`Outcome::Refused`] if there is none; the hints say what was found and why it does not count. And if there are
/// more records, or more in them, than is read: the newest could be in what is left out.
pub async fn policy_by_roots(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    trusted: &Roots,
) -> Result<SignedPolicy> {
    let now = Time::from_seconds(jiff::Timestamp::now().as_second());
    let mut newest: Option<SignedPolicy> = None;
    let mut refused = Vec::new();
    let take = |bytes: Vec<u8>| {
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
    };
    if !each_document(store, manifest, POLICY, MAX_DOCUMENT_BYTES, take).await? {
        return Err(Error::refused(format!(
            "more records are attached to {} than are read, {MAX_RECORDS} with {MOST_EVIDENCE_BYTES} bytes, and the newest policy may be in another one",
            manifest.digest()
        ))
        .hint("somebody floods this manifest: judge by a file, --policy FILE"));
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

impl ToldRepository {
    /// Why its rules must not hold before somebody else has named it; `None` if they may. Whoever made an archive chose
    /// what is in it: also of proofs that hold, those of the repository of which least is asked.
    pub fn doubt(&self, policy: &Policy) -> Option<&'static str> {
        match self.is_proved {
            false => Some("nobody vouches for that"),
            true if judges_the_same_everywhere(policy) => None,
            true => Some(
                "whoever made it chose which proofs came along, and by the policy it can matter which repository it is",
            ),
        }
    }
}

/// Whether it makes no difference which of the repositories in its scopes one names: neither to what is asked, nor to
/// what is heard as an answer.
fn judges_the_same_everywhere(policy: &Policy) -> bool {
    let Some((first, others)) = policy.scopes().split_first() else {
        return false;
    };
    // An exception holds in some repositories, whether the document makes it or people sign it.
    let excepts = |scope: &Scope| scope.exceptions().is_some();
    let is_bound = |rule: &Rule| matches!(rule, Rule::Approvals(_));
    // Approvals are given for one scope, with its patterns: those for another count there alone.
    let is_one_scope = others.is_empty() || !first.rules().iter().any(is_bound);
    !first.rules().is_empty()
        && others.iter().all(|scope| scope.rules() == first.rules())
        && is_one_scope
        && policy.exceptions().is_empty()
        && !policy.scopes().iter().any(excepts)
}

/// The repository in which the records of `manifest` show that a tag was set to it; `None` if they show none, or several.
/// Where `policy` trusts logs, only what one of them says is heard. Whether its rules may hold, [`ToldRepository::doubt`] says.
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
    let mut names = BTreeSet::new();
    let take = |bytes: Vec<u8>| {
        let entry = LogProof::parse(&bytes).ok().and_then(entry_of);
        if let Some(Entry::Event(event)) = entry
            && matches!(event.op, Operation::Tag | Operation::Release)
            && event.digest == *manifest.digest()
        {
            names.extend(event.repository);
        }
    };
    let longest = MAX_PROOF_FILE_BYTES as u64;
    if !each_document(store, manifest, TAG_PROOF, longest, take).await? {
        return Ok(None);
    }
    let name = names.pop_first().filter(|_| names.is_empty());
    Ok(name.map(|name| ToldRepository {
        name,
        is_proved: !logs.is_empty(),
    }))
}

/// Hands each document of this name in the records of `manifest` to `take`, one at a time and each once; `false` if there
/// is more than is read. Anybody may have attached them: what cannot be read, or is longer than `longest`, is none.
async fn each_document(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    name: &str,
    longest: u64,
    mut take: impl FnMut(Vec<u8>),
) -> Result<bool> {
    let listed = store
        .referrers(manifest.digest(), Some(ARTIFACT_TYPE))
        .await?;
    if listed.len() > MAX_RECORDS {
        return Ok(false);
    }
    let mut bytes = 0_u64;
    // With the size that is stated: one that is false must not hide what another record has.
    let mut known: BTreeSet<(Digest, u64)> = BTreeSet::new();
    for descriptor in listed {
        let reference = Reference::Digest(descriptor.digest);
        let Some(record) = readable(store.manifest(&reference).await)? else {
            continue;
        };
        bytes = bytes.saturating_add(record.size());
        if bytes > MOST_EVIDENCE_BYTES {
            return Ok(false);
        }
        for layer in record.layers() {
            let title = layer.annotations.get(media::ANNOTATION_TITLE);
            if title.map(String::as_str) != Some(name)
                || layer.size > longest
                || !known.insert((layer.digest, layer.size))
            {
                continue;
            }
            bytes = bytes.saturating_add(layer.size);
            if bytes > MOST_EVIDENCE_BYTES {
                return Ok(false);
            }
            if let Some(content) = readable(store.blob_bytes(layer, longest).await)? {
                take(content);
            }
        }
    }
    Ok(true)
}

/// Missing or damaged is nothing to use; that a place cannot be asked is an error.
fn readable<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.outcome(), Outcome::Halted | Outcome::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
