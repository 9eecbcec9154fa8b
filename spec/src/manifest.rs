//! Manifests as received: the bytes, and what they say once they have been checked.
//!
//! Sources: OCI image specification (manifest.md, image-index.md, descriptor.md), Docker's schema 2.
//! Owns the shape check. Does not ask whether what a manifest names exists: that is the store's.
//! Invariant: a [`VerifiedManifest`] holds exactly the bytes that its digest was computed from. It is
//! never written again from its parts: two parsers that disagree about field order would make two
//! identities of one manifest.

use crate::canonical::{JsonError, parse_value};
use crate::digest::{Algorithm, Digest, DigestError};
use crate::media;
use bytes::Bytes;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Largest manifest that is read: 4 MiB, as the OCI distribution specification recommends.
pub const MAX_MANIFEST_BYTES: usize = 4 * 1024 * 1024;

/// Most descriptors in one manifest. A bundle with more files packs them into a tar layer.
pub const MAX_DESCRIPTORS: usize = 40_000;

/// A pointer to content: what it is, its digest and its size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content, in bytes.
    pub size: u64,
    /// Type of the artifact, when the content is a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Free annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Places from which the content may be fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// The content itself in base64, when it is embedded; checked against digest and size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Platform that an index entry is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Value>,
}

impl Descriptor {
    /// A descriptor without optional fields.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.into(),
            digest,
            size,
            artifact_type: None,
            annotations: BTreeMap::new(),
            urls: Vec::new(),
            data: None,
            platform: None,
        }
    }
}

/// Why bytes are no manifest that Sealstone accepts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// More bytes than are read.
    #[error("manifest has {0} bytes, at most {MAX_MANIFEST_BYTES} are accepted")]
    TooLarge(usize),
    /// The bytes have another digest than the one that they were given under.
    #[error("manifest has digest {actual}, but was given as {claimed}")]
    DigestMismatch {
        /// What the bytes hash to.
        actual: Digest,
        /// What was claimed.
        claimed: Digest,
    },
    /// Not JSON, or JSON that parsers could read differently.
    #[error("manifest is not acceptable JSON: {0}")]
    Json(#[from] JsonError),
    /// The media type is none that can be stored as a manifest.
    #[error("media type \"{0}\" is not a manifest type that is known here: use {oci} or {index}", oci = media::OCI_MANIFEST, index = media::OCI_INDEX)]
    MediaType(String),
    /// Content-Type and the manifest's own field disagree.
    #[error("manifest says mediaType \"{field}\", but was sent as \"{header}\"")]
    MediaTypeMismatch {
        /// The field in the document.
        field: String,
        /// The type that it was sent with.
        header: String,
    },
    /// A field is missing or has the wrong shape.
    #[error("manifest field {field}: {problem}")]
    Field {
        /// Where: `layers[3].digest`.
        field: String,
        /// What is wrong there.
        problem: String,
    },
}

fn field_error(field: impl Into<String>, problem: impl ToString) -> ManifestError {
    ManifestError::Field {
        field: field.into(),
        problem: problem.to_string(),
    }
}

/// A manifest whose digest, shape and descriptors have been checked.
///
/// There is no way to make one but [`VerifiedManifest::check`]:
/// ```compile_fail
/// let made_up: sealstone_spec::manifest::VerifiedManifest = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct VerifiedManifest {
    bytes: Bytes,
    digest: Digest,
    media_type: String,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
    children: Vec<Descriptor>,
    subject: Option<Descriptor>,
    annotations: BTreeMap<String, String>,
}

impl VerifiedManifest {
    /// Hashes and reads a manifest.
    ///
    /// `content_type` is the type that it was sent with, if any; `claimed` the digest that it was
    /// asked for or pushed under. Without a claim the digest is computed with `algorithm`.
    ///
    /// # Errors
    /// Says what is wrong, and where; see [`ManifestError`].
    pub fn check(
        bytes: impl Into<Bytes>,
        content_type: Option<&str>,
        claimed: Option<&Digest>,
        algorithm: Algorithm,
    ) -> Result<VerifiedManifest, ManifestError> {
        let bytes: Bytes = bytes.into();
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        let digest = Digest::of(claimed.map_or(algorithm, Digest::algorithm), &bytes);
        if let Some(claimed) = claimed
            && *claimed != digest
        {
            return Err(ManifestError::DigestMismatch {
                actual: digest,
                claimed: *claimed,
            });
        }
        let document = parse_value(&bytes, MAX_MANIFEST_BYTES)?;
        let media_type = media_type(&document, content_type)?;
        let document = Document { fields: &document };
        let is_index = media::is_index(&media_type);
        let is_artifact = media_type == media::OCI_ARTIFACT;

        if !is_artifact && document.fields.get("schemaVersion") != Some(&Value::from(2)) {
            return Err(field_error("schemaVersion", "must be 2"));
        }
        // A document that is an index to one reader and an image to another (CVE-2021-41190).
        let foreign: &[&str] = if is_index {
            &["config", "layers", "blobs"]
        } else {
            &["manifests"]
        };
        for field in foreign {
            if document
                .fields
                .get(*field)
                .is_some_and(|value| !value.is_null())
            {
                return Err(field_error(
                    *field,
                    format!("does not belong in a {media_type}"),
                ));
            }
        }

        let (mut config, mut layers, mut children) = (None, Vec::new(), Vec::new());
        if is_index {
            children = document.descriptors("manifests", true)?;
        } else if is_artifact {
            layers = document.descriptors("blobs", false)?;
        } else {
            config = document.descriptor("config")?;
            if config.is_none() {
                return Err(field_error("config", "is missing"));
            }
            layers = document.descriptors("layers", false)?;
        }
        let subject = document.descriptor("subject")?;
        let stated = document.text("artifactType")?;
        let artifact_type = stated.or_else(|| config.as_ref().map(|c| c.media_type.clone()));
        let annotations = document.annotations()?;
        let verified = VerifiedManifest {
            digest,
            media_type,
            artifact_type,
            config,
            layers,
            children,
            subject,
            annotations,
            bytes,
        };
        if verified.descriptors().count() > MAX_DESCRIPTORS {
            return Err(field_error(
                "layers",
                format!("at most {MAX_DESCRIPTORS} are accepted"),
            ));
        }
        Ok(verified)
    }

    /// The digest of the bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The bytes, exactly as they were received.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Number of bytes.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Media type, without parameters.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// Whether this lists other manifests.
    pub fn is_index(&self) -> bool {
        media::is_index(&self.media_type)
    }

    /// The artifact type as the referrers listing states it: the field, else the config's media type.
    pub fn artifact_type(&self) -> Option<&str> {
        self.artifact_type.as_deref()
    }

    /// The configuration, in image manifests.
    pub fn config(&self) -> Option<&Descriptor> {
        self.config.as_ref()
    }

    /// The layers, in their order.
    pub fn layers(&self) -> &[Descriptor] {
        &self.layers
    }

    /// The manifests that an index lists.
    pub fn children(&self) -> &[Descriptor] {
        &self.children
    }

    /// The manifest that this one speaks of.
    pub fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// Annotations of the manifest itself.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }

    /// Configuration and layers: everything that must be stored as a blob, but for layers that are
    /// never distributed.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.config
            .iter()
            .chain(&self.layers)
            .filter(|descriptor| !media::is_non_distributable(&descriptor.media_type))
    }

    /// The descriptor under which others point to this manifest.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            artifact_type: self.artifact_type.clone(),
            annotations: self.annotations.clone(),
            ..Descriptor::new(self.media_type.clone(), self.digest, self.size())
        }
    }

    fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        self.config
            .iter()
            .chain(&self.layers)
            .chain(&self.children)
            .chain(&self.subject)
    }
}

/// Reads an answer that lists manifests: an index that nobody stored, of which only what it lists is of use. It may have
/// `most` bytes, more than a manifest has. What it says of a manifest is a hint: whoever believes it gets the manifest.
///
/// # Errors
/// As for an index that is a manifest.
pub fn read_listing(bytes: &[u8], most: usize) -> Result<Vec<Descriptor>, ManifestError> {
    let document = parse_value(bytes, most)?;
    media_type(&document, Some(media::OCI_INDEX))?;
    let document = Document { fields: &document };
    let listed = document.descriptors("manifests", true)?;
    if listed.len() > MAX_DESCRIPTORS {
        return Err(field_error(
            "manifests",
            format!("at most {MAX_DESCRIPTORS} are accepted"),
        ));
    }
    Ok(listed)
}

fn media_type(document: &Value, content_type: Option<&str>) -> Result<String, ManifestError> {
    if !document.is_object() {
        return Err(field_error("(document)", "must be a JSON object"));
    }
    let field = match document.get("mediaType") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(media::essence(text)),
        Some(_) => return Err(field_error("mediaType", "must be a string")),
    };
    let header = content_type
        .map(media::essence)
        // Clients without a better idea send these; the document then speaks for itself.
        .filter(|header| {
            !matches!(
                header.as_str(),
                "" | "application/octet-stream" | "application/json"
            )
        });
    let media_type = match (field, header) {
        (Some(field), Some(header)) if field != header => {
            return Err(ManifestError::MediaTypeMismatch { field, header });
        }
        (Some(media_type), _) | (None, Some(media_type)) => media_type,
        (None, None) if document.get("manifests").is_some() => media::OCI_INDEX.to_owned(),
        (None, None) => media::OCI_MANIFEST.to_owned(),
    };
    let known = [
        media::OCI_MANIFEST,
        media::OCI_INDEX,
        media::OCI_ARTIFACT,
        media::DOCKER_MANIFEST,
        media::DOCKER_LIST,
    ];
    if known.contains(&media_type.as_str()) {
        Ok(media_type)
    } else {
        Err(ManifestError::MediaType(
            media_type.chars().take(120).collect(),
        ))
    }
}

struct Document<'a> {
    fields: &'a Value,
}

impl Document<'_> {
    fn text(&self, field: &str) -> Result<Option<String>, ManifestError> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(field_error(field, "must be a string")),
        }
    }

    fn annotations(&self) -> Result<BTreeMap<String, String>, ManifestError> {
        match self.fields.get("annotations") {
            None | Some(Value::Null) => Ok(BTreeMap::new()),
            Some(value) => BTreeMap::deserialize(value).map_err(|error| {
                field_error("annotations", format!("must map text to text: {error}"))
            }),
        }
    }

    fn descriptor(&self, field: &str) -> Result<Option<Descriptor>, ManifestError> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read_descriptor(value, field).map(Some),
        }
    }

    fn descriptors(&self, field: &str, required: bool) -> Result<Vec<Descriptor>, ManifestError> {
        match self.fields.get(field) {
            None if required => Err(field_error(field, "is missing")),
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(list)) => list
                .iter()
                .enumerate()
                .map(|(index, value)| read_descriptor(value, &format!("{field}[{index}]")))
                .collect(),
            Some(_) => Err(field_error(field, "must be a list")),
        }
    }
}

fn read_descriptor(value: &Value, place: &str) -> Result<Descriptor, ManifestError> {
    // The digest first: its errors are the ones that people meet, and serde's text would bury them.
    match value.get("digest") {
        Some(Value::String(text)) => {
            Digest::parse(text)
                .map_err(|error: DigestError| field_error(format!("{place}.digest"), error))?;
        }
        _ => return Err(field_error(format!("{place}.digest"), "is missing")),
    }
    let descriptor = Descriptor::deserialize(value).map_err(|error| field_error(place, error))?;
    if descriptor.size > i64::MAX as u64 {
        return Err(field_error(
            format!("{place}.size"),
            "is larger than any content",
        ));
    }
    if let Some(data) = &descriptor.data {
        let content = BASE64.decode(data.as_bytes()).map_err(|error| {
            field_error(format!("{place}.data"), format!("is not base64: {error}"))
        })?;
        if content.len() as u64 != descriptor.size
            || Digest::of(descriptor.digest.algorithm(), &content) != descriptor.digest
        {
            return Err(field_error(
                format!("{place}.data"),
                "is not the content that digest and size describe",
            ));
        }
    }
    Ok(descriptor)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn image() -> Value {
        json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
            "config": {"mediaType": media::OCI_EMPTY, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
            "layers": [{"mediaType": "a/b", "digest": Digest::sha256(b"x"), "size": 1}],
        })
    }

    fn check(value: &Value) -> Result<VerifiedManifest, ManifestError> {
        VerifiedManifest::check(value.to_string(), None, None, Algorithm::Sha256)
    }

    #[test]
    fn reads_an_image_and_keeps_its_bytes() {
        let mut value = image();
        value["custom"] = json!({"kept": [1.5, "x"]});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let manifest = VerifiedManifest::check(
            text.clone(),
            Some(media::OCI_MANIFEST),
            None,
            Algorithm::Sha512,
        )
        .unwrap();
        assert_eq!(manifest.bytes(), text.as_bytes());
        assert_eq!(
            *manifest.digest(),
            Digest::of(Algorithm::Sha512, text.as_bytes())
        );
        assert_eq!(manifest.artifact_type(), Some(media::OCI_EMPTY));
        assert_eq!(manifest.blobs().count(), 2);
    }

    #[test]
    fn a_digest_names_its_bytes_and_no_others() {
        let text = image().to_string();
        let claimed = Digest::sha256(b"other");
        let error =
            VerifiedManifest::check(text, None, Some(&claimed), Algorithm::Sha256).unwrap_err();
        assert!(matches!(error, ManifestError::DigestMismatch { .. }));
    }

    #[test]
    fn refuses_shapes_that_mean_two_things() {
        let mut both = image();
        both["manifests"] = json!([]);
        assert!(check(&both).is_err());
        let index = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [], "layers": []});
        assert!(check(&index).is_err());
        let text = image().to_string();
        let error = VerifiedManifest::check(text, Some(media::OCI_INDEX), None, Algorithm::Sha256);
        assert!(matches!(
            error,
            Err(ManifestError::MediaTypeMismatch { .. })
        ));
    }

    #[test]
    fn says_where_a_field_is_wrong() {
        for (pointer, value, place) in [
            ("/layers/0/digest", json!("sha256:x"), "layers[0].digest"),
            ("/layers/0/digest", json!(5), "layers[0].digest"),
            ("/layers/0/size", json!(-1), "layers[0]"),
            ("/layers/0/size", json!(1.5), "layers[0]"),
            ("/layers/0/mediaType", json!(null), "layers[0]"),
            ("/config/digest", json!("md5:00"), "config.digest"),
            ("/schemaVersion", json!(1), "schemaVersion"),
            ("/layers", json!({}), "layers"),
            ("/config", json!(null), "config"),
        ] {
            let mut changed = image();
            *changed.pointer_mut(pointer).unwrap() = value;
            let text = check(&changed).unwrap_err().to_string();
            assert!(text.contains(place), "{pointer}: {text}");
        }
        let mut annotated = image();
        annotated["annotations"] = json!({"a": 1});
        assert!(
            check(&annotated)
                .unwrap_err()
                .to_string()
                .contains("annotations")
        );
    }

    #[test]
    fn embedded_content_must_be_the_content() {
        let mut value = image();
        value["config"]["data"] = json!("e30=");
        assert!(check(&value).is_ok());
        for bad in ["e31=", "e30", "e30=e30=", "W10="] {
            value["config"]["data"] = json!(bad);
            assert!(check(&value).is_err(), "{bad}");
        }
    }

    #[test]
    fn other_types_and_schema_1_are_refused() {
        for other in [
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "text/plain",
        ] {
            let value = json!({"schemaVersion": 2, "mediaType": other});
            assert!(matches!(check(&value), Err(ManifestError::MediaType(_))));
        }
    }

    #[test]
    fn a_listing_may_be_longer_than_a_manifest() {
        let entry = json!({"mediaType": media::OCI_MANIFEST, "digest": Digest::sha256(b"x"), "size": 1,
            "annotations": {"long": "x".repeat(MAX_MANIFEST_BYTES)}});
        let list = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [entry]});
        let text = list.to_string();
        assert!(check(&list).is_err());
        let listed = read_listing(text.as_bytes(), text.len()).unwrap();
        assert_eq!(listed[0].digest, Digest::sha256(b"x"));
        assert!(read_listing(text.as_bytes(), text.len() - 1).is_err());
        for bad in [image(), json!([]), json!({"manifests": [{"digest": "x"}]})] {
            assert!(
                read_listing(bad.to_string().as_bytes(), 10_000).is_err(),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,300}") {
            let _ = VerifiedManifest::check(text, None, None, Algorithm::Sha256);
        }

        #[test]
        fn no_changed_byte_keeps_the_digest(position in 0usize..200, flip in 1u8..255) {
            let text = image().to_string().into_bytes();
            let digest = Digest::sha256(&text);
            let mut changed = text.clone();
            let position = position % text.len();
            changed[position] ^= flip;
            prop_assert!(VerifiedManifest::check(changed, None, Some(&digest), Algorithm::Sha256).is_err());
        }
    }
}
