//! What the registry signs itself about a release: made with it, once, logged, and checked by the client.

use crate::content::get;
use crate::policy_desk::{Desk, place, registry, released};
use sealstone_spec::digest::Digest;
use sealstone_spec::key::PublicKey;
use sealstone_spec::notary::{self, Vouched};
use sealstone_spec::policy::Policy;
use sealstone_spec::sigstore::SigstoreBundle;
use sealstone_tests::registry::{TestRegistry, User};
use serde_json::{Value, json};

const KINDS: [&str; 2] = [
    "https://in-toto.io/attestation/release/v0.1",
    "https://slsa.dev/verification_summary/v1",
];

async fn json_at(registry: &TestRegistry, who: &User, path: &str) -> Value {
    serde_json::from_slice(&get(registry, who, path).await.expect(200).body).unwrap()
}

/// The statements of the registry's own kinds: digest of the referrer, and its bundle.
async fn statements(registry: &TestRegistry, who: &User, digest: &str) -> Vec<(String, Vec<u8>)> {
    let listed = json_at(registry, who, &format!("/v2/models/m/referrers/{digest}")).await;
    let mut found = Vec::new();
    for referrer in listed["manifests"].as_array().unwrap() {
        let kind = referrer["annotations"]["dev.sigstore.bundle.predicateType"].as_str();
        if !kind.is_some_and(|kind| KINDS.contains(&kind)) {
            continue;
        }
        let own = referrer["digest"].as_str().unwrap().to_owned();
        let manifest = json_at(registry, who, &format!("/v2/models/m/manifests/{own}")).await;
        let blob = manifest["layers"][0]["digest"].as_str().unwrap();
        let blob = format!("/v2/models/m/blobs/{blob}");
        found.push((own, get(registry, who, &blob).await.expect(200).body));
    }
    found
}

async fn key(registry: &TestRegistry) -> PublicKey {
    let path = format!("/{}", notary::KEY_PATH);
    let answer = get(registry, &User::nobody(), &path).await.expect(200);
    String::from_utf8(answer.body).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_followed_by_statements_of_the_registry() {
    let desk = Desk::new();
    let (mut registry, reader) = registry().await;
    let digest = released(&desk, &registry).await;
    let release = place(&registry, ":1.0.0");

    // Both are there when the push is answered, signed by the key that is handed out, and consumers see them.
    let made = statements(&registry, &reader, &digest).await;
    assert_eq!(made.len(), 2);
    let key = key(&registry).await;
    let policy = Policy::parse(&desk.policy(1, crate::policy_desk::LATER, "")).unwrap();
    let mut seen = Vec::new();
    for (_, bundle) in &made {
        let bundle = SigstoreBundle::parse(bundle).unwrap();
        let manifest: Digest = digest.parse().unwrap();
        match Vouched::read(&bundle, &key, &manifest).unwrap() {
            Vouched::Released { place, tag } => {
                assert_eq!(
                    (place.as_str(), tag.as_str()),
                    ("localhost/models/m", "1.0.0")
                );
                seen.push("released");
            }
            Vouched::Judged {
                policy: told,
                evidence,
                verifier,
                ..
            } => {
                assert_eq!(told.as_ref(), Some(policy.digest()));
                assert_eq!(
                    (evidence.len(), verifier.as_str()),
                    (3, "https://localhost")
                );
                seen.push("judged");
            }
            other => panic!("{other:?}"),
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, ["judged", "released"]);

    // Each is an entry of the log, and so is the key.
    for (referrer, _) in &made {
        let path = format!("/api/v1/log/proof?repository=models/m&statement={referrer}");
        let proof = get(&registry, &reader, &path).await.expect(200).body;
        let proof = sealstone_spec::log::LogProof::parse(&proof).unwrap();
        let entry = String::from_utf8(proof.extra.unwrap()).unwrap();
        assert!(entry.contains("\"actor\":\"system\""), "{entry}");
    }
    let id = Digest::sha256(&key.to_spki_der());
    let path = format!("/api/v1/log/proof?key={id}");
    let proof = get(&registry, &User::nobody(), &path)
        .await
        .expect(200)
        .body;
    let proof = sealstone_spec::log::LogProof::parse(&proof).unwrap();
    let entry = String::from_utf8(proof.extra.unwrap()).unwrap();
    assert!(entry.contains("registry-statements"), "{entry}");

    // The client shows and checks them, and no rule rests on them.
    let consumer = Some((&registry, &reader));
    let verified = desk
        .run(consumer, &["verify", &release, "--policy", "policy.json"])
        .expect(0);
    assert_eq!(
        verified.json["registry"]["said"].as_array().unwrap().len(),
        2
    );
    assert_eq!(verified.json["registry"]["refused"], json!([]));
    assert_eq!(verified.json["evaluation"]["ignored"], json!([]));
    let inspected = desk.run(consumer, &["inspect", &release]).expect(0);
    let own = inspected.json["referrers"].as_array().unwrap().iter();
    assert_eq!(own.filter(|claim| claim["byRegistry"] == true).count(), 2);

    // They travel with an export, with the key.
    desk.run(consumer, &["export", &release, "release.tar"])
        .expect(0);
    let offline = [
        "verify",
        "release.tar",
        "--policy",
        "policy.json",
        "--repository",
        "models/m",
    ];
    let offline = desk.run(None, &offline).expect(0);
    assert_eq!(offline.json["registry"]["known"]["by"], "companion");
    assert_eq!(
        offline.json["registry"]["said"].as_array().unwrap().len(),
        2
    );

    // Neither another push of the tag nor a restart makes more of them.
    let admin = Some((&registry, &registry.admin));
    let bundle = place(&registry, &format!("@{digest}"));
    desk.run(admin, &["release", &bundle, "1.0.0"]).expect(0);
    registry.crash().await.unwrap();
    let again = statements(&registry, &reader, &digest).await;
    assert_eq!(again, made);
    // And a forged one changes nothing: it does not hold under the registry's key.
    let admin = Some((&registry, &registry.admin));
    desk.write(
        "forged.json",
        &json!({"purl": format!("pkg:oci/m@{}?repository_url=localhost/models/m&tag=9.9.9", digest.replace(':', "%3A"))}).to_string(),
    );
    let forged = [
        "attest",
        &release,
        "--key",
        "alice.key",
        "--only",
        "--type",
        KINDS[0],
        "--predicate",
        "forged.json",
    ];
    desk.run(admin, &forged).expect(0);
    let verified = desk
        .run(
            Some((&registry, &reader)),
            &["verify", &release, "--policy", "policy.json"],
        )
        .expect(0);
    let told = verified.json["registry"].to_string();
    assert!(!told.contains("9.9.9"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_keys_are_entries_of_the_log() {
    let desk = Desk::new();
    let (registry, _) = registry().await;
    let host = registry.address().to_string();
    let admin = Some((&registry, &registry.admin));
    let first = desk.policy(1, crate::policy_desk::LATER, "");
    desk.signed("p1.json", &first);
    desk.run(admin, &["policy", "push", &host, "p1.json"])
        .expect(0);
    // In the second version sam's key is revoked, and gina's is gone.
    let sam = format!("keys = [\"\"\"{}\"\"\"]", desk.public("sam"));
    let revoked = format!(
        "keys = [{{ key = \"\"\"{}\"\"\", status = \"revoked\", revoked_at_index = 3, reason = \"stolen\" }}]",
        desk.public("sam")
    );
    let second = first.replace("version = 1\n", "version = 2\n");
    let second = second.replace(&sam, &revoked);
    let gina = second.find("[[identity]]\nname = \"gina\"").unwrap();
    let end = second.find("[[scope]]").unwrap();
    let second = format!("{}{}", &second[..gina], &second[end..]);
    desk.signed("p2.json", &second);
    desk.run(admin, &["policy", "push", &host, "p2.json"])
        .expect(0);

    let events = json_at(&registry, &registry.admin, "/api/v1/events").await;
    let of_keys: Vec<Value> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["event"]["kind"] == "key_changed")
        .map(|event| event["event"]["key"].clone())
        .collect();
    let told = |change: &str, kind: &str, holder: Option<&str>| {
        let mut keys = of_keys.iter();
        keys.any(|key| {
            key["change"] == change && key["kind"] == kind && key["holder"].as_str() == holder
        })
    };
    assert!(told("added", "registry-log", Some("localhost")));
    assert!(told("added", "registry-statements", None));
    assert!(told("added", "identity", Some("sam")) && told("added", "root", None));
    assert!(told("changed", "identity", Some("sam")));
    assert!(told("removed", "identity", Some("gina")));
    // Two of the registry, five people and three roots came; one changed, one went.
    assert_eq!(of_keys.len(), 12, "{of_keys:#?}");
    let revoked = of_keys
        .iter()
        .find(|key| key["change"] == "changed")
        .unwrap();
    assert_eq!(
        (&revoked["status"], &revoked["until"]),
        (&json!("revoked"), &json!(3))
    );
    // Each is a leaf, which the client reads and checks from outside: the answer to the policy waited for them.
    let verified = desk.run(admin, &["log", "verify", &host]).expect(0);
    assert!(
        verified.json["size"]
            .as_u64()
            .is_some_and(|size| size >= 14),
        "{}",
        verified.everything
    );
}
