//! cosign's older form: the tag `sha256-<hex>.sig`, for Harbor, policy-controller, podman and Kyverno.
//!
//! Written, never believed: Sealstone's own judgement reads bundles. A list that is there already is
//! kept as it is and added to at its end; that is also the only change that a registry which keeps
//! such lists append-only accepts.

use crate::error::{Error, Outcome, Result};
use crate::store::Store;
use data_encoding::BASE64;
use sealstone_spec::canonical::parse_value;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::key::Signer;
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::media;
use sealstone_spec::name::{Reference, Tag};
use sealstone_spec::sigstore::{legacy_image, legacy_payload, legacy_tag};
use serde_json::Value;

const ANNOTATION_SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const MAX_CONFIG_BYTES: u64 = 1024 * 1024;
/// Tries when another signer writes the same list at the same time.
const TRIES: usize = 5;

/// Adds a signature of each key to the `.sig` list of `manifest`; `docker_reference` is the
/// repository with its registry. Returns the tag; `None` for digests that cosign has no name for.
///
/// # Errors
/// If a signer refuses, the list there is none of cosign's, or the store cannot be written.
pub async fn sign_legacy(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    docker_reference: &str,
    signers: &[&(dyn Signer + Sync)],
) -> Result<Option<Tag>> {
    let Some(tag) = legacy_tag(manifest.digest()) else {
        return Ok(None);
    };
    let tag: Tag = tag.parse().expect("an algorithm, hex and .sig make a tag");
    let payload = legacy_payload(docker_reference, manifest.digest());
    let mut signatures = Vec::new();
    for signer in signers {
        let signature = signer
            .sign(&payload)
            .map_err(|error| Error::other("nothing was signed").source(error))?;
        signatures.push((payload.clone(), signature));
    }
    let fresh = legacy_image(&signatures);
    store
        .put_blob_bytes(&Digest::sha256(&payload), payload)
        .await?;

    let mut tries = 0;
    loop {
        tries += 1;
        let existing = match store.manifest(&Reference::Tag(tag.clone())).await {
            Ok(existing) => Some(existing),
            Err(error) if error.outcome() == Outcome::NotFound => None,
            Err(error) => return Err(error),
        };
        let (config, bytes) = match existing {
            None => (fresh.config.clone(), fresh.manifest.clone()),
            Some(existing) => match append(store, &existing, &fresh.manifest).await? {
                Some(appended) => appended,
                None => return Ok(Some(tag)),
            },
        };
        let list = VerifiedManifest::check(bytes, None, None, Algorithm::Sha256)
            .map_err(|error| Error::other("cannot write the .sig list").source(error))?;
        store
            .put_blob_bytes(&Digest::sha256(&config), config)
            .await?;
        match store.put_manifest(&list, Some(&tag)).await {
            Ok(()) => return Ok(Some(tag)),
            Err(error) if error.outcome() == Outcome::Conflict && tries < TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

/// What [`extend_legacy`] makes of `existing` as it is in the store.
async fn append(
    store: &dyn Store,
    existing: &VerifiedManifest,
    fresh: &[u8],
) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let config = config_of(existing)?;
    let config = store.blob_bytes(config, MAX_CONFIG_BYTES).await?;
    extend_legacy(existing, &config, fresh)
}

/// Config and manifest of a `.sig` list with the layers of the list `fresh` that it has not yet, after its own;
/// `None` if it has them all. `config` is the content of its config. Whoever may push wrote both.
///
/// # Errors
/// If one of them is none of cosign's.
pub fn extend_legacy(
    existing: &VerifiedManifest,
    config: &[u8],
    fresh: &[u8],
) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    config_of(existing)?;
    let foreign = |problem: &str| foreign(existing, problem);
    let read = |bytes: &[u8]| {
        parse_value(bytes, sealstone_spec::manifest::MAX_MANIFEST_BYTES)
            .map_err(|error| foreign(&error.to_string()))
    };
    let (mut manifest, mut config) = (read(existing.bytes())?, read(config)?);
    let fresh = VerifiedManifest::check(fresh.to_vec(), None, None, Algorithm::Sha256)
        .map_err(|error| foreign(&error.to_string()))?;
    let missing: Vec<&Descriptor> = fresh
        .layers()
        .iter()
        .filter(|layer| {
            !existing
                .layers()
                .iter()
                .any(|known| is_same_signature(known, layer))
        })
        .collect();
    if missing.is_empty() {
        return Ok(None);
    }
    let layers = manifest["layers"]
        .as_array_mut()
        .ok_or_else(|| foreign("it has no layers"))?;
    for layer in &missing {
        layers.push(to_value(layer));
    }
    // By pointer: an index into what is no object panics.
    let diff_ids = config
        .pointer_mut("/rootfs/diff_ids")
        .and_then(Value::as_array_mut)
        .ok_or_else(|| foreign("its config lists no layers"))?;
    diff_ids.extend(
        missing
            .iter()
            .map(|layer| Value::String(layer.digest.to_string())),
    );
    let config = config.to_string().into_bytes();
    manifest["config"] = to_value(&Descriptor::new(
        media::OCI_IMAGE_CONFIG,
        Digest::sha256(&config),
        config.len() as u64,
    ));
    Ok(Some((config, manifest.to_string().into_bytes())))
}

/// The descriptor of a list's config, if it is an image's.
fn config_of(list: &VerifiedManifest) -> Result<&Descriptor> {
    let config = list
        .config()
        .ok_or_else(|| foreign(list, "it has no config"))?;
    match config.media_type == media::OCI_IMAGE_CONFIG {
        true => Ok(config),
        false => Err(foreign(list, "its config is no image's")),
    }
}

fn foreign(list: &VerifiedManifest, problem: &str) -> Error {
    Error::conflict(format!(
        "the .sig list {} is none of cosign's: {problem}",
        list.digest()
    ))
    .hint("sign without it: --compat none")
}

fn to_value(descriptor: &Descriptor) -> Value {
    serde_json::to_value(descriptor).expect("a descriptor can be written as JSON")
}

/// Whether both layers hold the same signature over the same payload.
fn is_same_signature(one: &Descriptor, other: &Descriptor) -> bool {
    let signature = |layer: &Descriptor| {
        let text = layer.annotations.get(ANNOTATION_SIGNATURE)?;
        BASE64.decode(text.as_bytes()).ok()
    };
    one.digest == other.digest && signature(one).is_some() && signature(one) == signature(other)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Whoever may push writes the config of a list, and whoever signs reads it.
    #[test]
    fn a_list_with_an_odd_config_is_refused() {
        let list = |signature: &[u8]| legacy_image(&[(b"payload".to_vec(), signature.to_vec())]);
        let (first, second) = (list(b"first"), list(b"second"));
        let existing =
            VerifiedManifest::check(first.manifest.clone(), None, None, Algorithm::Sha256).unwrap();
        let extended = extend_legacy(&existing, &first.config, &second.manifest).unwrap();
        let (_, manifest) = extended.unwrap();
        let manifest = VerifiedManifest::check(manifest, None, None, Algorithm::Sha256).unwrap();
        assert_eq!(manifest.layers().len(), 2);
        for config in [
            "[]",
            "7",
            "null",
            "{}",
            r#"{"rootfs":[]}"#,
            r#"{"rootfs":{"diff_ids":{}}}"#,
        ] {
            let refused = extend_legacy(&existing, config.as_bytes(), &second.manifest);
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("lists no layers"), "{config}: {error}");
        }
    }
}
