//! cosign's older form: the tag `sha256-<hex>.sig`, for Harbor, policy-controller, podman and Kyverno.
//!
//! Written, never believed: Sealstone's own judgement reads bundles. A list that is there already is
//! kept as it is and added to at its end, by a signature as by a copy of another list; that is also the only change that a
//! registry which keeps such lists append-only accepts. Whoever may push chose what is there: one that cannot be added to
//! stays, and stops nothing but itself.

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
use std::collections::{BTreeMap, BTreeSet};

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
    let list = VerifiedManifest::check(fresh.manifest, None, None, Algorithm::Sha256)
        .map_err(|error| Error::other("cannot write the list of signatures").source(error))?;
    match add_to_list(store, &tag, &list, Some(&fresh.config)).await? {
        Listed::Whole => Ok(Some(tag)),
        Listed::Beside(reason) => Err(reason),
    }
}

/// What became of a list that was to have a tag.
#[derive(Debug)]
#[must_use]
pub(crate) enum Listed {
    /// The tag names one with all of it.
    Whole,
    /// The tag names another, which cannot hold it as well and stays as it is; why.
    Beside(Error),
}

/// Leaves a list that is there as it is, if the error is its own and not that of the store.
fn left(error: Error) -> Result<Listed> {
    match error.outcome() {
        Outcome::Conflict | Outcome::Halted | Outcome::NotFound => Ok(Listed::Beside(error)),
        _ => Err(error),
    }
}

/// Sets `tag`, which ends in `.sig` or `.att`, to a list that holds what it lists now, and what `fresh` lists, if there can
/// be such a one. The blobs of `fresh` are in the store; its config may be given instead.
///
/// # Errors
/// If the store cannot be read or written.
pub(crate) async fn add_to_list(
    store: &dyn Store,
    tag: &Tag,
    fresh: &VerifiedManifest,
    config: Option<&[u8]>,
) -> Result<Listed> {
    let mut tries = 0;
    loop {
        tries += 1;
        let existing = match store.manifest(&Reference::Tag(tag.clone())).await {
            Ok(existing) => Some(existing),
            Err(error) if error.outcome() == Outcome::NotFound => None,
            Err(error) => return left(error),
        };
        let mut is_longer = false;
        let (config, list) = match existing {
            Some(existing) if lists_all_of(&existing, fresh) => return Ok(Listed::Whole),
            // What has everything goes as it is: its digest stays the one that it has elsewhere.
            Some(existing) if !continues(fresh, &existing) => {
                is_longer = true;
                match append(store, &existing, fresh.bytes()).await {
                    Ok(Some((config, list))) => (Some(config), list),
                    Ok(None) => return Ok(Listed::Whole),
                    Err(error) => return left(error),
                }
            }
            _ => (config.map(<[u8]>::to_vec), fresh.clone()),
        };
        if let Some(config) = config {
            store
                .put_blob_bytes(&Digest::sha256(&config), config)
                .await?;
        }
        match store.put_manifest(&list, Some(tag)).await {
            Ok(()) => return Ok(Listed::Whole),
            Err(error) => match error.outcome() {
                Outcome::Conflict if tries < TRIES => {}
                Outcome::Conflict => return Ok(Listed::Beside(error)),
                // What was there may lack blobs, or be what its name must not be any more.
                Outcome::NotFound | Outcome::Other if is_longer => {
                    return Ok(Listed::Beside(error));
                }
                _ => return Err(error),
            },
        }
    }
}

/// Sets `tag`, which ends in `.sbom`, to `fresh`, unless it names another: a bill of materials is one layer, and of a list
/// of several cosign reads none.
///
/// # Errors
/// If the store cannot be read or written.
pub(crate) async fn set_bill(
    store: &dyn Store,
    tag: &Tag,
    fresh: &VerifiedManifest,
) -> Result<Listed> {
    match store.manifest(&Reference::Tag(tag.clone())).await {
        Ok(existing) if existing.bytes() == fresh.bytes() => return Ok(Listed::Whole),
        Ok(existing) => {
            let reason = format!("{} is another bill of materials", existing.digest());
            return Ok(Listed::Beside(Error::conflict(reason)));
        }
        Err(error) if error.outcome() == Outcome::NotFound => {}
        Err(error) => return left(error),
    }
    match store.put_manifest(fresh, Some(tag)).await {
        Ok(()) => Ok(Listed::Whole),
        Err(error) if error.outcome() == Outcome::Conflict => Ok(Listed::Beside(error)),
        Err(error) => Err(error),
    }
}

/// Whether nothing that `fresh` lists is missing from `existing`.
fn lists_all_of(existing: &VerifiedManifest, fresh: &VerifiedManifest) -> bool {
    let held = Held::by(existing);
    fresh.layers().iter().all(|layer| held.says(layer)) && held.has_children_of(fresh)
}

/// Whether `list` holds each entry of `before` just as it stands there; registries ask that of what replaces it.
fn continues(list: &VerifiedManifest, before: &VerifiedManifest) -> bool {
    let held = Held::by(list);
    before.layers().iter().all(|layer| held.has(layer)) && held.has_children_of(before)
}

/// What a list holds. Whoever may push wrote it, and may have listed tens of thousands of entries.
struct Held<'a> {
    layers: BTreeSet<(Digest, &'a BTreeMap<String, String>)>,
    signatures: BTreeSet<(Digest, Vec<u8>)>,
    children: BTreeSet<Digest>,
}

impl<'a> Held<'a> {
    fn by(list: &'a VerifiedManifest) -> Held<'a> {
        let layers = list.layers().iter();
        let children = list.children().iter();
        Held {
            layers: layers
                .clone()
                .map(|layer| (layer.digest, &layer.annotations))
                .collect(),
            signatures: layers.filter_map(signature).collect(),
            children: children.map(|child| child.digest).collect(),
        }
    }

    /// Whether it has this layer as it is.
    fn has(&self, layer: &Descriptor) -> bool {
        self.layers.contains(&(layer.digest, &layer.annotations))
    }

    /// Whether it says what this layer does. Beside a signature others may have noted what they know of it, such as a
    /// log's proof: the first one stays.
    fn says(&self, layer: &Descriptor) -> bool {
        let is_known = |signature: (Digest, Vec<u8>)| self.signatures.contains(&signature);
        self.has(layer) || signature(layer).is_some_and(is_known)
    }

    fn has_children_of(&self, other: &VerifiedManifest) -> bool {
        let mut children = other.children().iter();
        children.all(|child| self.children.contains(&child.digest))
    }
}

/// The payload of a layer, and the signature over it.
fn signature(layer: &Descriptor) -> Option<(Digest, Vec<u8>)> {
    let text = layer.annotations.get(ANNOTATION_SIGNATURE)?;
    let signature = BASE64.decode(text.as_bytes()).ok()?;
    Some((layer.digest, signature))
}

/// What [`extend_legacy`] makes of `existing` as it is in the store.
async fn append(
    store: &dyn Store,
    existing: &VerifiedManifest,
    fresh: &[u8],
) -> Result<Option<(Vec<u8>, VerifiedManifest)>> {
    let config = config_of(existing)?;
    let config = store.blob_bytes(config, MAX_CONFIG_BYTES).await?;
    let Some((config, list)) = extend_legacy(existing, &config, fresh)? else {
        return Ok(None);
    };
    let list = VerifiedManifest::check(list, None, None, Algorithm::Sha256).map_err(|error| {
        let text = format!("the list {} cannot be added to", existing.digest());
        Error::conflict(text).source(error)
    })?;
    Ok(Some((config, list)))
}

/// Config and manifest of a `.sig` list with the layers of the list `fresh` that it has not yet, after its own;
/// `None` if it has them all. `config` is the content of its config. Whoever may push wrote both.
///
/// # Errors
/// If one of them is none of cosign's, or `fresh` is an index: an image lists no other.
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
    let held = Held::by(existing);
    if !held.has_children_of(&fresh) {
        let (one, other) = (existing.digest(), fresh.digest());
        return Err(Error::conflict(format!(
            "the list {one} is an image and {other} an index: they make no list together"
        )));
    }
    let layers = fresh.layers().iter();
    let missing: Vec<&Descriptor> = layers.filter(|layer| !held.says(layer)).collect();
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
        "the list {} is none of cosign's: {problem}",
        list.digest()
    ))
    .hint("leave it as it is: sign with --compat none, copy or push with --without-referrers")
}

fn to_value(descriptor: &Descriptor) -> Value {
    serde_json::to_value(descriptor).expect("a descriptor can be written as JSON")
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
