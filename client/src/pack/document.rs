//! The two JSON documents of a bundle: ModelPack configuration and manifest.
//!
//! Source: ModelPack docs/config.md and docs/annotations.md, schema of v0.0.7. The order of fields
//! and the compact form are part of the rule by which two machines make the same digest: frozen.

use super::{Description, PackedFile};
use crate::error::{Error, Result};
use sealstone_spec::bundle::{FileKind, FileMetadata};
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::media;
use sealstone_spec::role::ANNOTATION_ROLE;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The time of every file.
const EPOCH: &str = "1970-01-01T00:00:00Z";

#[derive(Serialize)]
struct Config<'a> {
    descriptor: ModelDescriptor<'a>,
    config: ModelConfig<'a>,
    modelfs: ModelFiles,
}

fn is_empty(list: &&[String]) -> bool {
    list.is_empty()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ModelDescriptor<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<&'a str>,
    #[serde(skip_serializing_if = "is_empty")]
    authors: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(rename = "sourceURL", skip_serializing_if = "Option::is_none")]
    source_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<&'a str>,
    #[serde(skip_serializing_if = "is_empty")]
    licenses: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ModelConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    architecture: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    param_size: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    precision: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantization: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ModelFiles {
    r#type: &'static str,
    diff_ids: Vec<Digest>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: &'static str,
    artifact_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// The configuration's bytes. `files` stand in the manifest's order.
pub(super) fn config(description: &Description, files: &[PackedFile]) -> Vec<u8> {
    let format = description.format.clone().or_else(|| common_format(files));
    let document = Config {
        descriptor: ModelDescriptor {
            created_at: description.created.as_deref(),
            authors: &description.authors,
            vendor: description.vendor.as_deref(),
            family: description.family.as_deref(),
            name: description.name.as_deref(),
            version: description.version.as_deref(),
            title: description.title.as_deref(),
            description: description.description.as_deref(),
            source_url: description.source_url.as_deref(),
            revision: description.revision.as_deref(),
            licenses: &description.licenses,
        },
        config: ModelConfig {
            architecture: description.architecture.as_deref(),
            format: format.as_deref(),
            param_size: description.param_size.as_deref(),
            precision: description.precision.as_deref(),
            quantization: description.quantization.as_deref(),
        },
        modelfs: ModelFiles {
            r#type: "layers",
            diff_ids: files.iter().map(|file| file.digest).collect(),
        },
    };
    serde_json::to_vec(&document).expect("text, lists and digests can be written as JSON")
}

/// The manifest. `files` stand in its order.
pub(super) fn manifest(
    description: &Description,
    config: &[u8],
    files: &[PackedFile],
) -> Result<VerifiedManifest> {
    let mut annotations = description.annotations.clone();
    let stated = [
        (media::ANNOTATION_CREATED, &description.created),
        (media::ANNOTATION_VERSION, &description.version),
    ];
    for (key, value) in stated {
        if let Some(value) = value {
            annotations.insert(key.to_owned(), value.clone());
        }
    }
    let document = Manifest {
        schema_version: 2,
        media_type: media::OCI_MANIFEST,
        artifact_type: media::MODEL_ARTIFACT,
        config: Descriptor::new(
            media::MODEL_CONFIG,
            Digest::sha256(config),
            config.len() as u64,
        ),
        layers: files.iter().map(layer).collect(),
        annotations,
    };
    let bytes = serde_json::to_vec(&document).expect("descriptors can be written as JSON");
    VerifiedManifest::check(bytes, Some(media::OCI_MANIFEST), None, Algorithm::Sha256).map_err(
        |error| {
            Error::usage("these files make no manifest that registries accept")
                .source(error)
                .hint("pack directories of many small files as one archive, or leave files out with --ignore")
        },
    )
}

fn layer(file: &PackedFile) -> Descriptor {
    let path = file.path.as_str();
    let metadata = FileMetadata {
        name: path.rsplit('/').next().unwrap_or(path).to_owned(),
        mode: if file.executable { 0o755 } else { 0o644 },
        uid: 0,
        gid: 0,
        size: i64::try_from(file.size).expect("no file system holds files of 2^63 bytes"),
        mtime: EPOCH.to_owned(),
        typeflag: 0,
    };
    let metadata = serde_json::to_string(&metadata).expect("plain fields can be written as JSON");
    let annotations = [
        (media::ANNOTATION_FILEPATH, path.to_owned()),
        (media::ANNOTATION_FILE_METADATA, metadata),
        (media::ANNOTATION_UNTESTED, "false".to_owned()),
        (media::ANNOTATION_TITLE, path.to_owned()),
    ];
    let role = file
        .role
        .map(|role| (ANNOTATION_ROLE, role.as_str().to_owned()));
    Descriptor {
        annotations: annotations
            .into_iter()
            .chain(role)
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
        ..Descriptor::new(file.kind.raw_media_type(), file.digest, file.size)
    }
}

/// The format of the weights, where all of them have one and its extension says so.
fn common_format(files: &[PackedFile]) -> Option<String> {
    let mut formats = BTreeSet::new();
    for file in files.iter().filter(|file| file.kind == FileKind::Weight) {
        let extension = file.path.as_str().rsplit_once('.')?.1.to_ascii_lowercase();
        formats.insert(extension);
    }
    let only = formats.pop_first()?;
    (formats.is_empty() && ["safetensors", "gguf", "onnx"].contains(&only.as_str())).then_some(only)
}
