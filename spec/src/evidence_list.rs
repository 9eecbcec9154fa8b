//! What may stand under a tag that lists evidence.
//!
//! cosign keeps signatures, attestations and bills of materials of the digest N under `sha256-N.sig`, `.att` and
//! `.sbom`; clients of registries without the referrers API keep an index of referrers under `sha256-N` (distribution
//! specification 1.1, "Referrers tag schema"). Whoever may push sets such a tag, no policy judges it, and readers see it
//! beside a release. So it must not be a way to show them anything else. Does not look into what is listed.

use crate::digest::Digest;
use crate::manifest::VerifiedManifest;
use crate::media::{self, essence};
use crate::name::Tag;

/// Layers of a list of attestations: a DSSE envelope each.
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// Layers of a list of bills of materials, as cosign (SBOM_SPEC.md), ko and apko name them, and the registered names of
/// the same.
const BILLS: [&str; 12] = [
    "application/vnd.cyclonedx",
    "application/vnd.cyclonedx+json",
    "application/vnd.cyclonedx+xml",
    "text/spdx",
    "text/spdx+json",
    "text/spdx+xml",
    "spdx+json",
    "application/spdx+json",
    "application/vnd.syft",
    "application/vnd.syft+json",
    "application/vnd.go.version-m",
    "application/vnd.apko.installed-db",
];

/// Whether a digest is the one that a list's tag speaks of; of longer ones, whether it begins as the tag says.
pub fn speaks_of(tag: &Tag, digest: &Digest) -> bool {
    tag.evidence_prefix().is_some_and(|(algorithm, start)| {
        digest.algorithm() == algorithm && digest.bytes().starts_with(&start)
    })
}

/// What is wrong with a manifest under a tag that lists evidence; `None` if nothing is, or the tag is no such one.
///
/// Of an index, that each child has the subject that the tag speaks of is for the caller to see: a child is not at hand
/// here.
pub fn list_problem(tag: &Tag, manifest: &VerifiedManifest) -> Option<String> {
    tag.evidence_prefix()?;
    let name = tag.as_str();
    if speaks_of(tag, manifest.digest()) {
        return Some(format!(
            "tag {name} lists what was said about its own manifest"
        ));
    }
    let (what, types): (&str, &[&str]) = match name.rsplit_once('.') {
        None if manifest.is_index() => return None,
        None => {
            return Some(format!(
                "tag {name} is an index of referrers, and this is no index"
            ));
        }
        Some((_, "sig")) => ("signatures", &[media::COSIGN_SIMPLE_SIGNING]),
        Some((_, "att")) => ("attestations", &[ENVELOPE]),
        Some(_) => ("bills of materials", &BILLS),
    };
    if manifest.is_index() {
        return Some(format!("tag {name} lists {what}, and this is an index"));
    }
    let other = manifest.layers().iter().find(|layer| {
        let found = essence(&layer.media_type);
        !types.contains(&found.as_str())
    })?;
    let (digest, found) = (other.digest, &other.media_type);
    Some(format!(
        "tag {name} lists {what}, and its layer {digest} is of the type \"{found}\""
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::digest::Algorithm;
    use serde_json::{Value, json};

    fn manifest(document: &Value) -> VerifiedManifest {
        let bytes = document.to_string().into_bytes();
        VerifiedManifest::check(bytes, None, None, Algorithm::Sha256).unwrap()
    }

    fn descriptor(media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": Digest::sha256(b"x"), "size": 1})
    }

    fn image(layers: &[&str]) -> VerifiedManifest {
        let layers: Vec<Value> = layers.iter().map(|layer| descriptor(layer)).collect();
        manifest(&json!({
            "schemaVersion": 2,
            "mediaType": media::OCI_MANIFEST,
            "config": descriptor(media::OCI_IMAGE_CONFIG),
            "layers": layers,
        }))
    }

    fn list(suffix: &str) -> Tag {
        let hex = Digest::sha256(b"subject").hex();
        format!("sha256-{hex}{suffix}").parse().unwrap()
    }

    #[test]
    fn a_list_holds_what_its_name_says_and_nothing_else() {
        let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
        let good: [(&str, &[&str]); 6] = [
            (".sig", &[media::COSIGN_SIMPLE_SIGNING]),
            (".sig", &[media::COSIGN_SIMPLE_SIGNING; 3]),
            (".sig", &[]),
            (".att", &[ENVELOPE, ENVELOPE]),
            (".sbom", &["text/spdx+json"]),
            (".sbom", &["application/vnd.CycloneDX+json; version=1.6"]),
        ];
        for (suffix, layers) in good {
            assert_eq!(
                list_problem(&list(suffix), &image(layers)),
                None,
                "{suffix}"
            );
        }
        let bad: [(&str, &[&str], &str); 6] = [
            (".sig", &[gzip], "lists signatures, and its layer"),
            (".sig", &[media::COSIGN_SIMPLE_SIGNING, gzip], gzip),
            (".sig", &[ENVELOPE], ENVELOPE),
            (
                ".att",
                &[media::COSIGN_SIMPLE_SIGNING],
                "lists attestations",
            ),
            (".sbom", &[ENVELOPE], "lists bills of materials"),
            ("", &[media::COSIGN_SIMPLE_SIGNING], "this is no index"),
        ];
        for (suffix, layers, problem) in bad {
            let found = list_problem(&list(suffix), &image(layers)).unwrap();
            assert!(found.contains(problem), "{suffix}: {found}");
        }
    }

    #[test]
    fn only_referrers_are_an_index() {
        let index = manifest(&json!({
            "schemaVersion": 2,
            "mediaType": media::OCI_INDEX,
            "manifests": [descriptor(media::OCI_MANIFEST)],
        }));
        assert_eq!(list_problem(&list(""), &index), None);
        for suffix in [".sig", ".att", ".sbom"] {
            let found = list_problem(&list(suffix), &index).unwrap();
            assert!(found.contains("this is an index"), "{found}");
        }
    }

    #[test]
    fn a_list_does_not_speak_of_itself_and_other_tags_are_free() {
        let signatures = image(&[media::COSIGN_SIMPLE_SIGNING]);
        let own: Tag = format!("sha256-{}.sig", signatures.digest().hex())
            .parse()
            .unwrap();
        let found = list_problem(&own, &signatures).unwrap();
        assert!(found.contains("its own manifest"), "{found}");
        let free: Tag = "v1.sig".parse().unwrap();
        assert_eq!(list_problem(&free, &image(&["text/plain"])), None);
        let long = Digest::of(Algorithm::Sha512, b"x");
        let cut: Tag = format!("sha512-{}", &long.hex()[..64]).parse().unwrap();
        assert!(speaks_of(&cut, &long));
        assert!(!speaks_of(&cut, &Digest::of(Algorithm::Sha512, b"y")));
    }
}
