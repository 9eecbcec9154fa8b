//! People who approve, and people who release: each with that right alone.

use crate::content::*;
use sealstone_spec::digest::Digest;
use sealstone_spec::key::SecretKey;
use sealstone_spec::manifest::Descriptor;
use sealstone_spec::policy::lifecycle;
use sealstone_spec::sigstore::{SigstoreBundle, referrer_manifest};
use sealstone_spec::statement::{Statement, Subject, predicate};
use sealstone_tests::registry::{Setup, TestRegistry, User};
use serde_json::json;

const ACCESS: &str = r#"
[[access]]
repositories = ["m/x"]
who = ["user:approver"]
verbs = ["pull", "approve"]
[[access]]
repositories = ["m/x"]
who = ["user:manager"]
verbs = ["pull", "tag"]
[[access]]
repositories = ["m/x"]
who = ["user:signer"]
verbs = ["pull", "sign", "tag"]
"#;

async fn ready() -> TestRegistry {
    Setup {
        access: ACCESS.into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap()
}

/// A statement about an image, as a bundle.
fn said(image: &Image, kind: &str) -> Vec<u8> {
    let statement = Statement::new(
        vec![Subject::new("x", &image.digest)],
        kind,
        serde_json::Map::new(),
    );
    let key = SecretKey::ed25519_from_seed(&[7; 32]).unwrap();
    SigstoreBundle::sign(&statement, &key).unwrap().to_bytes()
}

/// Attaches a bundle under what its annotation is to claim.
async fn attach(
    registry: &TestRegistry,
    who: &User,
    image: &Image,
    bundle: &[u8],
    claim: &str,
) -> Answer {
    push_blob(registry, who, "m/x", bundle).await;
    push_blob(registry, who, "m/x", b"{}").await;
    let subject = Descriptor::new(MANIFEST, image.digest, image.manifest.len() as u64);
    let manifest = referrer_manifest(&subject, bundle, claim, "2026-01-01T00:00:00Z");
    let digest = Digest::sha256(&manifest).to_string();
    put_manifest(registry, who, "m/x", &digest, &manifest).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approver_says_what_approvers_say_and_adds_nothing_else() {
    let registry = ready().await;
    let approver = registry.account("approver", "user").await.unwrap();
    let image = push_image(&registry, &registry.admin, "m/x", None, 2 * KIB).await;
    for kind in lifecycle::WORDS {
        let bundle = said(&image, kind);
        attach(&registry, &approver, &image, &bundle, kind)
            .await
            .expect(201);
    }
    // What the bundle says counts, not what is written beside it.
    for (kind, claim) in [
        (predicate::COSIGN_SIGN, predicate::COSIGN_SIGN),
        (predicate::SLSA_PROVENANCE, predicate::SVR),
    ] {
        let bundle = said(&image, kind);
        let refused = attach(&registry, &approver, &image, &bundle, claim)
            .await
            .expect(403);
        assert_eq!(refused.code(), "DENIED");
    }
    attach(&registry, &approver, &image, b"no bundle", predicate::SVR)
        .await
        .expect(403);
    // Nor does an approval show more than itself.
    let bundle = said(&image, predicate::SVR);
    let subject = Descriptor::new(MANIFEST, image.digest, image.manifest.len() as u64);
    let sound = referrer_manifest(&subject, &bundle, predicate::SVR, "2026-01-02T00:00:00Z");
    let mut two: serde_json::Value = serde_json::from_slice(&sound).unwrap();
    let mut config = two.clone();
    let layer = descriptor("application/octet-stream", &image.blob);
    two["layers"].as_array_mut().unwrap().push(layer.clone());
    config["config"] = layer;
    let mut plain = manifest(&[&image.blob]);
    // Another one than the image's own, which they may see.
    plain["annotations"] = json!({"n": "1"});
    for with_subject in [false, true] {
        if with_subject {
            plain["subject"] = json!(subject);
        }
        for wrong in [&two, &config, &plain] {
            let text = wrong.to_string();
            let digest = Digest::sha256(text.as_bytes()).to_string();
            put_manifest(&registry, &approver, "m/x", &digest, text.as_bytes())
                .await
                .expect(403);
            get(&registry, &approver, &format!("/v2/m/x/manifests/{digest}"))
                .await
                .expect(404);
        }
    }
    let list = format!("sha256-{}", image.digest.hex());
    for tag in ["v1", &list] {
        for content in [&image.manifest, &sound] {
            put_manifest(&registry, &approver, "m/x", tag, content)
                .await
                .expect(403);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_tag_releases_what_is_there_and_adds_nothing() {
    let registry = ready().await;
    let admin = &registry.admin;
    let manager = registry.account("manager", "user").await.unwrap();
    let signer = registry.account("signer", "user").await.unwrap();
    let image = push_image(&registry, admin, "m/x", None, 2 * KIB).await;
    let digest = image.digest.to_string();
    let staged = get(&registry, &manager, &format!("/v2/m/x/manifests/{digest}")).await;
    assert_eq!(staged.expect(200).body, image.manifest);
    for (who, tag) in [(&manager, "v1"), (&signer, "v2")] {
        put_manifest(&registry, who, "m/x", tag, &image.manifest)
            .await
            .expect(201);
        // By its digest it is there already, and nobody asked for a tag.
        put_manifest(&registry, who, "m/x", &digest, &image.manifest)
            .await
            .expect(403);
        // Other bytes are another manifest.
        let mut other = image.manifest.clone();
        other.push(b'\n');
        put_manifest(&registry, who, "m/x", "v3", &other)
            .await
            .expect(403);
        let other = Digest::sha256(&other);
        get(&registry, admin, &format!("/v2/m/x/manifests/{other}"))
            .await
            .expect(404);
        // A list of evidence is no release.
        let list = format!("sha256-{}.sig", "a".repeat(64));
        put_manifest(&registry, who, "m/x", &list, &image.manifest)
            .await
            .expect(403);
    }
    let path = "/v2/m/x/blobs/uploads/";
    send(registry.request(&manager, reqwest::Method::POST, path))
        .await
        .expect(403);
    let tags = get(&registry, admin, "/v2/m/x/tags/list").await.json();
    assert_eq!(tags["tags"], json!(["v1", "v2"]));
}
