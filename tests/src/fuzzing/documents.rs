//! Targets for JSON documents: manifests, model bundles, canonical JSON.

use super::text::stays_inside;
use sealstone_spec::bundle::Bundle;
use sealstone_spec::canonical::{parse_value, to_canonical_json};
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::manifest::{MAX_DESCRIPTORS, ManifestError, VerifiedManifest};
use sealstone_spec::media;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const MAX_BYTES: usize = 1 << 20;

fn check(
    bytes: &[u8],
    content_type: Option<&str>,
    claimed: Option<&Digest>,
) -> Result<VerifiedManifest, ManifestError> {
    VerifiedManifest::check(bytes.to_vec(), content_type, claimed, Algorithm::Sha256)
}

/// Everything that was read from a manifest, to compare two readings.
fn content(m: &VerifiedManifest) -> Value {
    json!([
        m.media_type(),
        m.artifact_type(),
        m.config(),
        m.layers(),
        m.children(),
        m.subject(),
        m.annotations()
    ])
}

/// A manifest keeps its bytes, has their digest, is one kind of document only, and reads the same with
/// or without its media type in the header and space at its end.
pub(super) fn manifest(input: &[u8]) -> bool {
    let Ok(read) = check(input, None, None) else {
        // a claimed digest never makes a bad document good
        assert!(check(input, None, Some(&Digest::sha256(input))).is_err());
        return false;
    };
    assert_eq!(read.bytes().as_ref(), input);
    assert_eq!(*read.digest(), Digest::sha256(input));
    assert_eq!(read.size(), input.len() as u64);
    assert!(read.layers().len() + read.children().len() <= MAX_DESCRIPTORS);
    if read.is_index() {
        assert!(
            read.config().is_none() && read.layers().is_empty() && read.blobs().next().is_none()
        );
    } else {
        assert!(read.children().is_empty());
    }
    assert_eq!(read.descriptor().digest, *read.digest());

    for algorithm in [Algorithm::Sha512, Algorithm::Blake3] {
        let claimed = Digest::of(algorithm, input);
        let again =
            check(input, Some(read.media_type()), Some(&claimed)).expect("only the digest differs");
        assert_eq!(
            (again.digest(), content(&again)),
            (&claimed, content(&read))
        );
    }
    let foreign = Digest::sha256(b"something else");
    assert!(matches!(
        check(input, None, Some(&foreign)),
        Err(ManifestError::DigestMismatch { .. })
    ));

    let longer = [input, b" \n"].concat();
    let longer = check(&longer, None, None).expect("space at the end means nothing");
    assert_eq!(content(&longer), content(&read));
    assert_ne!(longer.digest(), read.digest());

    let stated = serde_json::from_slice::<Value>(input).expect("an accepted manifest is JSON");
    if stated["mediaType"].is_string() {
        let other = if read.is_index() {
            media::OCI_MANIFEST
        } else {
            media::OCI_INDEX
        };
        assert!(
            check(input, Some(other), None).is_err(),
            "two readers would see two documents"
        );
    }
    true
}

/// Input: paths, one a line, as files of a bundle; or a whole manifest. Files of an accepted bundle
/// stay inside it and are different files on every file system.
pub(super) fn model_bundle(input: &[u8]) -> bool {
    let bundle = match std::str::from_utf8(input) {
        Ok(text) if !text.trim_start().starts_with('{') => {
            let bytes = with_paths(&text.lines().collect::<Vec<_>>());
            let manifest = check(&bytes, None, None).expect("a well-formed manifest with any path");
            Bundle::read(&manifest)
        }
        _ => match check(input, None, None) {
            Ok(manifest) => Bundle::read(&manifest),
            Err(_) => return false,
        },
    };
    let Ok(bundle) = bundle else {
        return false;
    };
    let paths: Vec<&str> = bundle
        .files()
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    let mut folded = BTreeSet::new();
    for path in &paths {
        assert!(stays_inside(path), "{path:?}");
        assert!(
            folded.insert(path.to_lowercase()),
            "{path:?} stands twice in {paths:?}"
        );
    }
    for path in &paths {
        let below = format!("{}/", path.to_lowercase());
        assert!(
            !folded.iter().any(|other| other.starts_with(&below)),
            "{path:?} is also a directory"
        );
    }
    true
}

fn with_paths(paths: &[&str]) -> Vec<u8> {
    let empty =
        json!({"mediaType": media::MODEL_CONFIG, "digest": media::EMPTY_JSON_DIGEST, "size": 2});
    let layers: Vec<Value> = paths
        .iter()
        .map(|path| {
            json!({
                "mediaType": "application/vnd.cncf.model.weight.v1.raw",
                "digest": Digest::sha256(path.as_bytes()),
                "size": path.len(),
                "annotations": {media::ANNOTATION_FILEPATH: path, media::ANNOTATION_TITLE: path},
            })
        })
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "artifactType": media::MODEL_ARTIFACT,
        "config": empty,
        "layers": layers,
    });
    manifest.to_string().into_bytes()
}

/// What the strict parser reads, serde reads the same; the canonical form is a fixed point without
/// space or control characters.
pub(super) fn canonical_json(input: &[u8]) -> bool {
    let Ok(value) = parse_value(input, MAX_BYTES) else {
        return false;
    };
    let lenient = serde_json::from_slice::<Value>(input).expect("strict reads no more than serde");
    assert_eq!(lenient, value);

    let canonical = to_canonical_json(&value).expect("a JSON value has a canonical form");
    let again = parse_value(&canonical, usize::MAX).expect("the canonical form is strict JSON");
    assert_eq!(to_canonical_json(&again).expect("as before"), canonical);
    assert!(!has_space_between_tokens(&canonical));
    // one shape, whatever the input's layout: pretty printing it changes nothing
    let pretty = serde_json::to_vec_pretty(&value).expect("a JSON value can be printed");
    let pretty = parse_value(&pretty, usize::MAX).expect("printed JSON is JSON");
    assert_eq!(to_canonical_json(&pretty).expect("as before"), canonical);
    true
}

fn has_space_between_tokens(json: &[u8]) -> bool {
    let (mut in_text, mut escaped) = (false, false);
    for byte in json {
        if *byte < 0x20 || (!in_text && *byte == b' ') {
            return true;
        }
        if in_text && !escaped && *byte == b'\\' {
            escaped = true;
            continue;
        }
        if *byte == b'"' && !escaped {
            in_text = !in_text;
        }
        escaped = false;
    }
    false
}
