//! cosign's older form: an image under the tag `sha256-<hex>.sig` whose layers are signed payloads.
//!
//! Harbor, policy-controller, podman and Kyverno read it. Written for them only: Sealstone's own
//! decisions rest on bundles, because anybody who may push can rewrite a tag.

use crate::digest::{Algorithm, Digest};
use crate::manifest::Descriptor;
use crate::media;
use data_encoding::BASE64;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

/// Annotation of a layer that holds the signature of its bytes, in base64.
const ANNOTATION_SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// The payload to sign, as it is: without DSSE's encoding. `docker_reference` is the repository with
/// its registry, without tag and digest.
pub fn legacy_payload(docker_reference: &str, manifest: &Digest) -> Vec<u8> {
    // Written by hand around escaped text: the order of the fields is part of the form.
    let text = format!(
        r#"{{"critical":{{"identity":{{"docker-reference":{}}},"image":{{"docker-manifest-digest":"{manifest}"}},"type":"cosign container image signature"}},"optional":null}}"#,
        json!(docker_reference)
    );
    text.into_bytes()
}

/// The tag under which cosign looks; `None` for digests that it has no name for.
pub fn legacy_tag(manifest: &Digest) -> Option<String> {
    match manifest.algorithm() {
        algorithm @ (Algorithm::Sha256 | Algorithm::Sha512) => {
            Some(format!("{algorithm}-{}.sig", manifest.hex()))
        }
        Algorithm::Blake3 => None,
    }
}

/// What has to be pushed for one `.sig` tag: the payloads as layers, then config, then manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyImage {
    /// Image configuration, pushed as a blob.
    pub config: Vec<u8>,
    /// Image manifest, pushed under [`legacy_tag`].
    pub manifest: Vec<u8>,
}

/// The image that holds `signatures`: pairs of a payload of [`legacy_payload`] and the raw signature
/// over it. One layer each, in the order given.
pub fn legacy_image(signatures: &[(Vec<u8>, Vec<u8>)]) -> LegacyImage {
    let layers: Vec<Descriptor> = signatures
        .iter()
        .map(|(payload, signature)| {
            let mut layer = Descriptor::new(
                media::COSIGN_SIMPLE_SIGNING,
                Digest::sha256(payload),
                payload.len() as u64,
            );
            layer.annotations =
                BTreeMap::from([(ANNOTATION_SIGNATURE.into(), BASE64.encode(signature))]);
            layer
        })
        .collect();
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.digest).collect();
    let config = Config {
        architecture: "",
        config: BTreeMap::new(),
        created: "0001-01-01T00:00:00Z",
        os: "",
        rootfs: RootFs {
            kind: "layers",
            diff_ids,
        },
    };
    let config = serde_json::to_vec(&config).expect("a configuration is made of text");
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::OCI_MANIFEST,
        config: Descriptor::new(
            media::OCI_IMAGE_CONFIG,
            Digest::sha256(&config),
            config.len() as u64,
        ),
        layers,
    };
    let manifest = serde_json::to_vec(&manifest).expect("a manifest is made of text and numbers");
    LegacyImage { config, manifest }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// What cosign writes for an image without a platform.
#[derive(Serialize)]
struct Config {
    architecture: &'static str,
    config: BTreeMap<&'static str, &'static str>,
    created: &'static str,
    os: &'static str,
    rootfs: RootFs,
}

#[derive(Serialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: Vec<Digest>,
}
