//! Records that travel with a release: the signed policy in one is found, and believed only if trusted
//! root keys signed it.

use crate::error::{Error, Outcome, Result};
use crate::store::Store;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::name::Reference;
use sealstone_spec::policy::{PolicyEnvelope, Roots, SignedPolicy, Time};
use sealstone_spec::record::{ARTIFACT_TYPE, MAX_DOCUMENT_BYTES, MAX_RECORDS, POLICY};

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
        for bytes in policies(store, &Reference::Digest(descriptor.digest)).await? {
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

/// The policies in one record. What cannot be read is no policy.
async fn policies(store: &dyn Store, reference: &Reference) -> Result<Vec<Vec<u8>>> {
    let Some(record) = readable(store.manifest(reference).await)? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for layer in record.layers() {
        let title = layer.annotations.get(media::ANNOTATION_TITLE);
        if title.map(String::as_str) == Some(POLICY) {
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
