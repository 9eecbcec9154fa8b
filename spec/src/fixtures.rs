//! Fixed keys, manifests and evidence for tests and vectors. Test code only.

#![allow(clippy::unwrap_used)]

use crate::digest::{Algorithm, Digest};
use crate::key::{SecretKey, Signer};
use crate::manifest::{Descriptor, VerifiedManifest};
use crate::media;
use crate::policy::Evidence;
use crate::sigstore::{SigstoreBundle, referrer_manifest};
use crate::statement::{Statement, Subject, predicate};

pub(crate) const CREATED: &str = "2026-01-01T00:00:00Z";

/// Ed25519 keys by seed byte: 1 alice, 3 bob, 4 mallory. P-256: 2 alice.
pub(crate) fn ed25519(seed: u8) -> SecretKey {
    SecretKey::ed25519_from_seed(&[seed; 32]).unwrap()
}

pub(crate) fn p256(seed: u8) -> SecretKey {
    SecretKey::p256_from_seed(&[seed; 32]).unwrap()
}

/// The manifest that everything is about.
pub(crate) fn manifest() -> VerifiedManifest {
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{}","size":2}},"layers":[]}}"#,
        media::OCI_MANIFEST,
        media::OCI_EMPTY,
        media::EMPTY_JSON_DIGEST
    );
    VerifiedManifest::check(text, None, None, Algorithm::Sha256).unwrap()
}

/// A bundle with two files of weights and one of documentation.
pub(crate) fn bundle_manifest() -> VerifiedManifest {
    let layer = |kind: &str, path: &str| {
        serde_json::json!({
            "mediaType": format!("application/vnd.cncf.model.{kind}.v1.raw"),
            "digest": Digest::sha256(path.as_bytes()), "size": 1,
            "annotations": {"org.cncf.model.filepath": path},
        })
    };
    let document = serde_json::json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": {"mediaType": "application/vnd.cncf.model.config.v1+json",
            "digest": media::EMPTY_JSON_DIGEST, "size": 2},
        "layers": [layer("weight", "a.safetensors"), layer("weight", "b.safetensors"), layer("doc", "README.md")],
    });
    VerifiedManifest::check(document.to_string(), None, None, Algorithm::Sha256).unwrap()
}

pub(crate) fn statement(digest: &Digest) -> Statement {
    Statement::signature(vec![Subject::new("registry.example/models/x", digest)])
}

pub(crate) fn bundle(signer: &dyn Signer) -> Vec<u8> {
    let bundle = SigstoreBundle::sign(&statement(manifest().digest()), signer).unwrap();
    bundle.to_bytes()
}

/// The manifest that attaches `bundle` to [`manifest`].
pub(crate) fn referrer(bundle: &[u8]) -> Vec<u8> {
    referrer_to(&manifest().descriptor(), bundle)
}

pub(crate) fn referrer_to(subject: &Descriptor, bundle: &[u8]) -> Vec<u8> {
    referrer_manifest(subject, bundle, predicate::COSIGN_SIGN, CREATED)
}

pub(crate) fn evidence(referrer: Vec<u8>, bundle: Vec<u8>) -> Evidence {
    let referrer = VerifiedManifest::check(referrer, None, None, Algorithm::Sha256).unwrap();
    Evidence::new(referrer, bundle)
}

/// Identities alice (two keys) and bob, as the start of a policy document.
pub(crate) fn identities() -> String {
    let quote = |key: &SecretKey| format!("\"\"\"\n{}\"\"\"", key.public_key().to_pem());
    format!(
        "schema = \"sealstone-policy/v1\"\n\n[[identity]]\nname = \"alice\"\nkeys = [{}, {}]\n\n[[identity]]\nname = \"bob\"\nkeys = [\"{} bob@example.com\"]\n",
        quote(&ed25519(1)),
        quote(&p256(2)),
        ed25519(3).public_key().to_openssh()
    )
}

pub(crate) fn policy(threshold: u32, names: &str) -> String {
    format!(
        "{}\n[[scope]]\nrepositories = [\"models/**\"]\n\n[[scope.require]]\nrule = \"signatures\"\nthreshold = {threshold}\nidentities = [{names}]\n",
        identities()
    )
}
