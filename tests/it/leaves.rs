//! Everything that can happen to a release, and what the log shows of it: read from its tiles, kind by kind.

use crate::content::{KIB, delete, descriptor, get, manifest, push_blob, push_image, put_manifest};
use crate::incident::{flip, operations};
use crate::log::logged;
use crate::policy_desk::{Desk, LATER, place, registry, released};
use sealstone_spec::digest::Digest;
use sealstone_spec::media;
use sealstone_spec::policy::{Policy, lifecycle};
use sealstone_spec::statement::predicate;
use sealstone_tests::registry::TestRegistry;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Waits until the registry has noted that something happened which nobody asked it to do.
async fn noted(registry: &TestRegistry, kind: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !operations(registry).await.iter().any(|found| found == kind) {
        assert!(Instant::now() < deadline, "nothing is {kind}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_a_release_is_a_leaf_of_its_kind() {
    let desk = Desk::new();
    let (registry, reader) = registry().await;
    // The policy, a bundle with a signature and provenance, an approval, the release.
    let digest = released(&desk, &registry).await;
    let user = &registry.admin;
    let admin = Some((&registry, user));
    let bundle = place(&registry, &format!("@{digest}"));

    // The disk changes its weights, and they come again.
    let weights = vec![3_u8; 200_000];
    let blob = Digest::sha256(&weights);
    flip(&registry);
    let damaged = get(&registry, &reader, &format!("/v2/models/m/blobs/{blob}")).await;
    assert_eq!(damaged.status, 500);
    noted(&registry, "content_damaged").await;
    push_blob(&registry, user, "models/m", &weights).await;
    noted(&registry, "content_repaired").await;

    // Everybody says what there is to say.
    let say = |words: &[&str], who: &str| {
        let key = format!("{who}.key");
        let by = ["--key", &key, "--only"];
        desk.run(admin, &[words, &by].concat()).expect(0)
    };
    say(
        &["incident", "open", &bundle, "--reason", "weights differ"],
        "sam",
    );
    say(
        &["incident", "close", &bundle, "--reason", "looked at it"],
        "gina",
    );
    say(&["reject", &bundle, "--reason", "fails on group B"], "bob");
    say(
        &["deprecate", &bundle, "--reason", "there is a better one"],
        "alice",
    );
    say(&["revoke", &bundle, "--reason", "poisoned data"], "sam");
    let exception = [
        "except",
        &bundle,
        "--rule",
        "provenance",
        "--id",
        "EX-1",
        "--reason",
        "the builder is down",
        "--ticket",
        "OPS-1",
        "--expires",
        LATER,
    ];
    say(&exception, "gina");

    // The rules change; something that was staged goes, a list of evidence comes, the tag goes.
    let rules = desk.policy(2, LATER, "");
    desk.signed("p2.json", &rules);
    let host = registry.address().to_string();
    desk.run(admin, &["policy", "push", &host, "p2.json"])
        .expect(0);
    let policy = Policy::parse(&rules).unwrap();
    let staged = push_image(&registry, user, "models/m", None, KIB).await;
    let path = format!("/v2/models/m/manifests/{}", staged.digest);
    delete(&registry, user, &path).await.expect(202);
    let list = format!("{}.sig", digest.replace(':', "-"));
    let mut signatures = manifest(&[]);
    signatures["layers"] = json!([descriptor(media::COSIGN_SIMPLE_SIGNING, b"{}")]);
    let listed = signatures.to_string();
    put_manifest(&registry, user, "models/m", &list, listed.as_bytes())
        .await
        .expect(201);
    delete(&registry, user, "/v2/models/m/manifests/1.0.0")
        .await
        .expect(202);

    let all = logged(&registry).await;
    for (operation, kind) in [
        ("attach", predicate::COSIGN_SIGN),
        ("attach", predicate::SLSA_PROVENANCE),
        ("approve", predicate::SVR),
        ("incident", lifecycle::INCIDENT),
        ("incident", lifecycle::INCIDENT_CLOSE),
        ("retract", lifecycle::REJECTION),
        ("retract", lifecycle::DEPRECATION),
        ("retract", lifecycle::REVOCATION),
        ("except", lifecycle::EXCEPTION),
    ] {
        let mut entries = all.iter();
        let entry = entries
            .find(|entry| entry["op"] == operation && entry["predicateType"] == kind)
            .unwrap_or_else(|| panic!("no {operation} of {kind} in {all:#?}"));
        assert_eq!(entry["repository"], "models/m");
        assert_eq!(entry["digest"], digest);
        assert!(entry["statement"].is_string(), "{entry}");
    }
    for (operation, about) in [
        ("policy", policy.digest().to_string()),
        ("release", digest.clone()),
        ("damage", blob.to_string()),
        ("repair", blob.to_string()),
        ("delete", staged.digest.to_string()),
        ("tag", Digest::sha256(listed.as_bytes()).to_string()),
        ("untag", digest.clone()),
    ] {
        let mut entries = all.iter();
        assert!(
            entries.any(|entry| entry["op"] == operation && entry["digest"] == about),
            "no {operation} of {about} in {all:#?}"
        );
    }
    // Nothing else is known to the log than these, and the keys that came with the policy.
    let operations: BTreeSet<&str> = all
        .iter()
        .filter_map(|entry| entry["op"].as_str())
        .collect();
    let known = [
        "approve", "attach", "damage", "delete", "except", "incident", "key", "policy", "release",
        "repair", "retract", "tag", "untag",
    ];
    assert_eq!(operations, BTreeSet::from(known));
}
