//! The life of a release under a policy of version 2, through the real binaries: judged, approved,
//! released, deprecated, revoked; and the policy's own succession.

use crate::content::{Answer, MANIFEST, get, head, push_blob, put_manifest};
use crate::policy_desk::{Desk, LATER, attach_provenance, place, registry};
use data_encoding::BASE64;
use sealstone_spec::digest::Digest;
use sealstone_spec::key::SecretKey;
use sealstone_spec::log::{
    Checkpoint, Entry, EventEntry, Hash, LogProof, Operation, PROOF_MEDIA_TYPE, VerifierKey,
};
use sealstone_spec::manifest::Descriptor;
use sealstone_spec::policy::Policy;
use sealstone_spec::record::{
    Document, POLICY, POLICY_MEDIA_TYPE, record_manifest, statement_proof,
};
use sealstone_spec::statement::predicate;
use sealstone_tests::registry::TestRegistry;
use serde_json::{Value, json};
use std::fs;

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_follows_its_predecessor_and_never_goes_back() {
    let desk = Desk::new();
    let (mut registry, reader) = registry().await;
    let host = registry.address().to_string();
    desk.signed("p3.json", &desk.policy(3, LATER, ""));
    desk.signed("p4.json", &desk.policy(4, LATER, ""));
    desk.signed("other4.json", &desk.policy(4, "2098-01-01T00:00:00Z", ""));
    desk.signed("old.json", &desk.policy(5, "2020-01-01T00:00:00Z", ""));
    let admin = Some((&registry, &registry.admin));
    let push = |file: &str| desk.run(admin, &["policy", "push", &host, file]);
    desk.run(
        Some((&registry, &reader)),
        &["policy", "push", &host, "p3.json"],
    )
    .expect(6);
    push("p3.json").expect(0);
    push("p4.json").expect(0);
    push("p4.json").expect(0);
    push("p3.json").expect(7).says("older than version 4");
    push("other4.json").expect(7).says("other content");
    push("old.json").says("expired");
    // One root alone is not enough.
    desk.write("draft.toml", &desk.policy(6, LATER, ""));
    desk.run(
        None,
        &[
            "policy",
            "sign",
            "draft.toml",
            "--key",
            "root1.key",
            "--only",
            "-o",
            "one.json",
        ],
    )
    .expect(0);
    let body: Value =
        serde_json::from_slice(&fs::read(desk.directory.path().join("one.json")).unwrap()).unwrap();
    let refused = registry
        .request(&registry.admin, reqwest::Method::PUT, "/api/v1/policy")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.unwrap().contains("policy_signatures"));
    // The events say so, and a restart keeps it.
    let events = registry
        .request(&registry.admin, reqwest::Method::GET, "/api/v1/events")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(events.matches("policy_changed").count() >= 2, "{events}");
    registry.crash().await.unwrap();
    let shown = desk
        .run(Some((&registry, &reader)), &["policy", "show", &host])
        .expect(0);
    assert_eq!(
        (&shown.json["version"], &shown.json["signed"]),
        (&json!(4), &json!(true))
    );
    // The client has seen version 4, so a file with version 3 is refused, though it is well signed.
    let admin = Some((&registry, &registry.admin));
    let pushed = desk
        .run(admin, &["push", "oci:bundle:1.0.0", &place(&registry, "")])
        .expect(0);
    let digest = pushed.json["digest"].as_str().unwrap();
    let bundle = place(&registry, &format!("@{digest}"));
    let verify = |file: &str| {
        desk.run(admin, &["verify", &bundle, "--policy", file])
            .expect(3)
    };
    verify("p3.json").says("policy version 3 is older than version 4");
    verify("other4.json").says("other content");
    verify("p4.json").says("approvals");

    // A file is no successor because roots that it names itself have signed it, and is not pinned.
    for name in ["evil1", "evil2"] {
        desk.run(None, &["keygen", "--out", name, "--no-passphrase"])
            .expect(0);
    }
    let mut evil = desk.policy(9, LATER, "");
    for (own, other) in [("root1", "evil1"), ("root2", "evil2")] {
        evil = evil.replace(&desk.public(own), &desk.public(other));
    }
    desk.write("evil.toml", &evil);
    for (from, key) in [("evil.toml", "evil1.key"), ("evil.json", "evil2.key")] {
        let sign = ["policy", "sign", from, "--key", key, "--only", "-o"];
        desk.run(None, &[&sign[..], &["evil.json"]].concat())
            .expect(0);
    }
    verify("evil.json").says("trusted root keys");
    verify("p4.json").says("approvals");
    desk.run(admin, &["policy", "show", &host]).expect(0);
    // Nor is the first one that anybody shows: the registry's own policy is taken after that.
    fs::remove_dir_all(
        desk.directory
            .path()
            .join(".local/state/sealstone/policies"),
    )
    .unwrap();
    verify("evil.json").says("approvals");
    desk.run(admin, &["policy", "show", &host]).expect(0);
    verify("evil.json").says("trusted root keys");

    // The policy that travels with the bundle is not older than what was seen either.
    let roots = ["root1", "root2", "root3"].map(|name| desk.public(name));
    desk.write("roots.pem", &roots.concat());
    let old = fs::read(desk.directory.path().join("p3.json")).unwrap();
    attach_policy(&registry, digest, old).await;
    let by_roots = ["--root", "roots.pem", "--root-threshold", "2"];
    desk.run(admin, &[&["verify", &bundle][..], &by_roots].concat())
        .expect(3)
        .says("policy version 3 is older than version 4");
}

/// Attaches a record with a signed policy.
async fn attach_policy(registry: &TestRegistry, digest: &str, content: Vec<u8>) {
    let path = format!("/v2/models/m/manifests/{digest}");
    let size = get(registry, &registry.admin, &path).await.body.len();
    for blob in [&content[..], b"{}"] {
        push_blob(registry, &registry.admin, "models/m", blob).await;
    }
    let document = Document {
        name: POLICY.to_owned(),
        media_type: POLICY_MEDIA_TYPE.to_owned(),
        content,
    };
    let subject = Descriptor::new(MANIFEST, digest.parse().unwrap(), size as u64);
    let record = record_manifest(&subject, &[document]);
    let reference = Digest::sha256(&record).to_string();
    put_manifest(registry, &registry.admin, "models/m", &reference, &record)
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_of_the_log_travel_with_a_copy() {
    let desk = Desk::new();
    let (registry, _) = registry().await;
    let host = registry.address().to_string();
    let admin = Some((&registry, &registry.admin));
    let log = crate::log::vkey(&registry).await;
    let more = format!(
        "[[scope.require]]\nrule = \"log\"\n[[log]]\nvkey = \"{}\"\n",
        log.trim()
    );
    desk.signed("policy.json", &desk.policy(1, LATER, &more));
    desk.run(admin, &["policy", "push", &host, "policy.json"])
        .expect(0);
    let pushed = desk
        .run(admin, &["push", "oci:bundle:1.0.0", &place(&registry, "")])
        .expect(0);
    let digest = pushed.json["digest"].as_str().unwrap().to_owned();
    let bundle = place(&registry, &format!("@{digest}"));
    let alice = ["--key", "alice.key", "--only", "--compat", "none"];
    desk.run(admin, &[&["sign", &bundle][..], &alice].concat())
        .expect(0);
    attach_provenance(&registry, &digest).await;
    desk.run(admin, &["approve", &bundle, "--key", "bob.key", "--only"])
        .expect(0);
    let copy = || desk.run(admin, &["copy", &bundle, "oci:carry:1.0.0"]);
    let first = copy().expect(0);
    assert_eq!(first.json["evidence"], 4, "{}", first.everything);
    let by = ["--policy", "policy.json", "--repository", "models/m"];
    desk.run(None, &[&["verify", "oci:carry:1.0.0"][..], &by].concat())
        .expect(0);
    // What the record says already is not said again.
    let again = copy().expect(0);
    assert_eq!(again.json["evidence"], 3, "{}", again.everything);
    let pull = [
        "pull",
        &bundle,
        "--policy",
        "policy.json",
        "--oci",
        "pulled",
    ];
    desk.run(admin, &pull).expect(0);
    let pulled = format!("oci:pulled@{digest}");
    desk.run(None, &[&["verify", &pulled][..], &by].concat())
        .expect(0);
}

/// The answer to a pull says in headers what the policy found, which policy that was, and how far the log is.
async fn assert_decided(registry: &TestRegistry, answer: &Answer, policy: &Digest, verdict: &str) {
    assert_eq!(answer.header("sealstone-policy"), policy.to_string());
    assert_eq!(answer.header("sealstone-verdict"), verdict);
    let size: u64 = answer.header("sealstone-log-checkpoint").parse().unwrap();
    assert_eq!(size, crate::log::size(registry).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_approved_released_deprecated_and_revoked() {
    let desk = Desk::new();
    let (registry, reader) = registry().await;
    let host = registry.address().to_string();
    let admin = Some((&registry, &registry.admin));
    let consumer = Some((&registry, &reader));
    desk.signed("policy.json", &desk.policy(1, LATER, ""));
    desk.run(admin, &["policy", "push", &host, "policy.json"])
        .expect(0);
    let pushed = desk
        .run(admin, &["push", "oci:bundle:1.0.0", &place(&registry, "")])
        .expect(0);
    let digest = pushed.json["digest"].as_str().unwrap().to_owned();
    let bundle = place(&registry, &format!("@{digest}"));
    let status = |who| desk.run(who, &["status", &bundle]).expect(0);
    assert_eq!(status(admin).json["state"], "candidate");

    // The builder signs provenance, the release manager signs, bob approves.
    desk.run(admin, &["release", &bundle, "1.0.0"])
        .expect(3)
        .says("approvals");
    desk.run(
        admin,
        &[
            "sign",
            &bundle,
            "--key",
            "alice.key",
            "--only",
            "--compat",
            "none",
        ],
    )
    .expect(0);
    // An approval without provenance counts for nothing: it is not known who built it.
    desk.run(admin, &["approve", &bundle, "--key", "bob.key", "--only"])
        .expect(0);
    desk.run(admin, &["release", &bundle, "1.0.0"])
        .expect(3)
        .says("no provenance says who built the bundle");
    attach_provenance(&registry, &digest).await;
    // And the provenance came after it, so it is void.
    let void = desk.run(admin, &["release", &bundle, "1.0.0"]).expect(3);
    void.says("the approval by bob is void");
    desk.run(admin, &["approve", &bundle, "--key", "bob.key", "--only"])
        .expect(0);
    assert_eq!(status(admin).json["state"], "approved");
    desk.run(admin, &["release", &bundle, "1.0.0"]).expect(0);
    let release = place(&registry, ":1.0.0");
    assert_eq!(status(admin).json["state"], "released");
    let eval = desk
        .run(consumer, &["policy", "eval", "policy.json", &release])
        .expect(0);
    assert_eq!(eval.json["admitted"], true);
    let pull = |out: &str| {
        desk.run(
            consumer,
            &["pull", &release, "--registry-policy", "-o", out],
        )
    };
    pull("one").expect(0);

    // Headers say what was decided.
    let policy = Policy::parse(&desk.policy(1, LATER, "")).unwrap();
    let path = "/v2/models/m/manifests/1.0.0";
    let admitted = get(&registry, &reader, path).await.expect(200);
    assert_eq!(admitted.header("sealstone-state"), "released");
    assert_decided(&registry, &admitted, policy.digest(), "admitted").await;

    // A stranger's revocation changes nothing, a deprecation is told, a revocation stops.
    let word = |command: &str, key: &str| {
        desk.run(
            admin,
            &[
                command,
                &release,
                "--key",
                &format!("{key}.key"),
                "--only",
                "--reason",
                "poisoned data",
            ],
        )
        .expect(0)
    };
    word("revoke", "ci");
    pull("two").expect(0);
    word("deprecate", "alice");
    assert_eq!(status(admin).json["state"], "deprecated");
    let told = get(&registry, &reader, "/v2/models/m/manifests/1.0.0")
        .await
        .expect(200);
    assert_eq!(told.header("sealstone-deprecated"), "poisoned data");
    assert_eq!(
        told.header("warning"),
        "299 - \"deprecated: poisoned data\""
    );
    pull("three").expect(0);
    word("revoke", "sam");
    let stopped = pull("four").expect(3);
    stopped.says("revoked by sam: poisoned data");
    assert!(!desk.directory.path().join("four").exists());
    // A refusal says under which policy, and how far the log was, as an answer does.
    for refused in [
        get(&registry, &reader, path).await,
        head(&registry, &reader, path).await,
        get(
            &registry,
            &reader,
            &format!("/v2/models/m/manifests/{digest}"),
        )
        .await,
    ] {
        assert_decided(&registry, &refused.expect(403), policy.digest(), "denied").await;
    }
    let after = desk.run(admin, &["status", &bundle, "--pulls"]).expect(0);
    assert_eq!(after.json["state"], "revoked");
    after.says("user:reader");
    // Also its files, by digest.
    let blobs = registry
        .request(
            &registry.admin,
            reqwest::Method::GET,
            &format!("/v2/models/m/manifests/{digest}"),
        )
        .send()
        .await
        .unwrap()
        .json::<Value>()
        .await
        .unwrap();
    let blob = blobs["layers"][0]["digest"].as_str().unwrap();
    let hidden = registry
        .request(
            &reader,
            reqwest::Method::GET,
            &format!("/v2/models/m/blobs/{blob}"),
        )
        .send()
        .await
        .unwrap();
    assert_eq!(hidden.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_is_granted_used_up_and_cannot_be_stretched() {
    let desk = Desk::new();
    let (registry, _) = registry().await;
    let host = registry.address().to_string();
    let admin = Some((&registry, &registry.admin));
    let more = "[scope.exceptions]\nrules = [\"provenance\", \"approvals\"]\nrole = \"governance\"\nmax_days = 7\n\
        [[exception]]\nid = \"EX-1\"\nrepositories = [\"models/**\"]\nrule = \"approvals\"\nreason = \"nobody is there\"\nticket = \"OPS-1\"\napproved_by = [\"bob\"]\nexpires = \"2098-01-01T00:00:00Z\"\nmax_uses = 1\n";
    desk.signed("policy.json", &desk.policy(1, LATER, more));
    desk.run(admin, &["policy", "push", &host, "policy.json"])
        .expect(0);
    let release = |content: &[u8], tag: &str| {
        fs::write(desk.directory.path().join("model/config.json"), content).unwrap();
        let layout = format!("bundle:{tag}");
        desk.run(None, &["pack", "model", "-o", &layout]).expect(0);
        let pushed = desk
            .run(
                admin,
                &["push", &format!("oci:{layout}"), &place(&registry, "")],
            )
            .expect(0);
        let digest = pushed.json["digest"].as_str().unwrap().to_owned();
        let bundle = place(&registry, &format!("@{digest}"));
        desk.run(
            admin,
            &[
                "sign",
                &bundle,
                "--key",
                "alice.key",
                "--only",
                "--compat",
                "none",
            ],
        )
        .expect(0);
        bundle
    };
    let except = |bundle: &str, key: &str, days: i64| {
        let end = jiff_text(days);
        desk.run(
            admin,
            &[
                "except",
                bundle,
                "--key",
                &format!("{key}.key"),
                "--only",
                "--rule",
                "provenance",
                "--id",
                "EX-2",
                "--reason",
                "the builder is down",
                "--ticket",
                "OPS-2",
                "--expires",
                &end,
            ],
        )
        .expect(0)
    };
    let first = release(b"{\"a\":1}", "1.0.0");
    desk.run(admin, &["release", &first, "1.0.0"])
        .expect(3)
        .says("provenance");
    except(&first, "alice", 3);
    except(&first, "gina", 30);
    desk.run(admin, &["release", &first, "1.0.0"])
        .expect(3)
        .says("longer than 7 days");
    except(&first, "gina", 3);
    desk.run(admin, &["release", &first, "1.0.0"]).expect(0);
    // The policy's own exception was for one manifest, and that was it.
    let second = release(b"{\"a\":2}", "1.0.1");
    except(&second, "gina", 3);
    desk.run(admin, &["release", &second, "1.0.1"])
        .expect(3)
        .says("exception EX-1: it is used up: 1 of 1");
}

/// A time so many days ahead.
fn jiff_text(days: i64) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let seconds = i64::try_from(now.as_secs()).unwrap() + days * 86_400;
    sealstone_spec::policy::Time::from_seconds(seconds).to_string()
}

/// The last referrer of a bundle with this predicate type, attached once more by a manifest that differs only in
/// its time: nothing that whoever may push could not do.
async fn attach_again(registry: &TestRegistry, digest: &str, predicate_type: &str) {
    let admin = &registry.admin;
    let path = format!("/v2/models/m/referrers/{digest}");
    let listed = get(registry, admin, &path).await.expect(200);
    let listed: Value = serde_json::from_slice(&listed.body).unwrap();
    let of_type =
        |item: &&Value| item["annotations"]["dev.sigstore.bundle.predicateType"] == predicate_type;
    let listed = listed["manifests"].as_array().unwrap();
    let found = listed.iter().find(of_type).unwrap();
    let found = found["digest"].as_str().unwrap();
    let referrer = get(registry, admin, &format!("/v2/models/m/manifests/{found}")).await;
    let mut referrer: Value = serde_json::from_slice(&referrer.expect(200).body).unwrap();
    referrer["annotations"]["org.opencontainers.image.created"] = json!("2020-01-01T00:00:00Z");
    let bytes = serde_json::to_vec(&referrer).unwrap();
    let reference = Digest::sha256(&bytes).to_string();
    assert_ne!(reference, found);
    put_manifest(registry, admin, "models/m", &reference, &bytes)
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_from_before_a_rejection_does_not_take_it_back() {
    let desk = Desk::new();
    let (registry, _) = registry().await;
    let host = registry.address().to_string();
    let admin = Some((&registry, &registry.admin));
    let log = crate::log::vkey(&registry).await;
    let more = format!("[[log]]\nvkey = \"{}\"\n", log.trim());
    desk.signed("policy.json", &desk.policy(1, LATER, &more));
    desk.run(admin, &["policy", "push", &host, "policy.json"])
        .expect(0);
    let pushed = desk
        .run(admin, &["push", "oci:bundle:1.0.0", &place(&registry, "")])
        .expect(0);
    let digest = pushed.json["digest"].as_str().unwrap().to_owned();
    let bundle = place(&registry, &format!("@{digest}"));
    let alice = ["--key", "alice.key", "--only", "--compat", "none"];
    desk.run(admin, &[&["sign", &bundle][..], &alice].concat())
        .expect(0);
    attach_provenance(&registry, &digest).await;
    let bob = ["--key", "bob.key", "--only"];
    let approve = || desk.run(admin, &[&["approve", &bundle][..], &bob].concat());
    let verify = || desk.run(admin, &["verify", &bundle, "--policy", "policy.json"]);
    approve().expect(0);
    verify().expect(0);
    let why = ["--reason", "fails on group B"];
    desk.run(admin, &[&["reject", &bundle][..], &bob, &why].concat())
        .expect(0);
    let refused = "rejected by bob: fails on group B";
    verify().expect(3).says(refused);
    attach_again(&registry, &digest, predicate::SVR).await;
    verify().expect(3).says(refused);
    let release = || desk.run(admin, &["release", &bundle, "1.0.0"]);
    release().expect(3).says(refused);
    // Words of another second are other words.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    approve().expect(0);
    verify().expect(0);
    release().expect(0);
}

/// The key that lies in a PEM file of the registry.
fn key_in(path: &std::path::Path) -> SecretKey {
    let text = fs::read_to_string(path).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    SecretKey::from_pkcs8_der(&BASE64.decode(body.as_bytes()).unwrap()).unwrap()
}

/// A log that shows one history to everybody, and proves a statement in another.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_proved_in_another_history_is_a_fork() {
    let desk = Desk::new();
    let (registry, _) = registry().await;
    let admin = Some((&registry, &registry.admin));
    let log: VerifierKey = crate::log::vkey(&registry).await.trim().parse().unwrap();
    desk.signed(
        "policy.json",
        &desk.policy(1, LATER, &format!("[[log]]\nvkey = \"{log}\"\n")),
    );
    let host = registry.address().to_string();
    desk.run(admin, &["policy", "push", &host, "policy.json"])
        .expect(0);
    let pushed = desk
        .run(admin, &["push", "oci:bundle:1.0.0", &place(&registry, "")])
        .expect(0);
    let digest = pushed.json["digest"].as_str().unwrap().to_owned();
    let bundle = place(&registry, &format!("@{digest}"));
    let alice = ["--key", "alice.key", "--only", "--compat", "none"];
    desk.run(admin, &[&["sign", &bundle][..], &alice].concat())
        .expect(0);
    attach_provenance(&registry, &digest).await;
    desk.run(admin, &["approve", &bundle, "--key", "bob.key", "--only"])
        .expect(0);
    let verify = || desk.run(admin, &["verify", &bundle, "--policy", "policy.json"]);
    verify().expect(0);

    let path = format!("/v2/models/m/referrers/{digest}");
    let listed = get(&registry, &registry.admin, &path).await.expect(200);
    let listed: Value = serde_json::from_slice(&listed.body).unwrap();
    let referrer: Digest = listed["manifests"][0]["digest"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let subject: Digest = digest.parse().unwrap();
    let mut event = EventEntry::new(Operation::Attach, subject, "user:mallory", 1);
    event.repository = Some("models/m".parse().unwrap());
    event.statement = Some(referrer);
    let entry = Entry::Event(event).to_bytes().unwrap();
    let checkpoint = Checkpoint::new(log.name(), 1, Hash::of_entry(&entry));
    let proof = LogProof {
        extra: Some(entry),
        index: 0,
        hashes: Vec::new(),
        checkpoint: checkpoint
            .sign(&log, &key_in(&registry.data().join("log/key.pem")))
            .unwrap(),
    };
    let path = format!("/v2/models/m/manifests/{digest}");
    let size = get(&registry, &registry.admin, &path).await.body.len();
    let document = Document {
        name: statement_proof(&referrer),
        media_type: PROOF_MEDIA_TYPE.to_owned(),
        content: proof.to_string().into_bytes(),
    };
    for blob in [&document.content[..], b"{}"] {
        push_blob(&registry, &registry.admin, "models/m", blob).await;
    }
    let descriptor = Descriptor::new(MANIFEST, subject, size as u64);
    let record = record_manifest(&descriptor, &[document]);
    let reference = Digest::sha256(&record).to_string();
    put_manifest(&registry, &registry.admin, "models/m", &reference, &record)
        .await
        .expect(201);
    verify().expect(9).says("shows different trees");
    desk.run(admin, &["status", &bundle, "--policy", "policy.json"])
        .expect(9);
    // Without what the log showed to this user, it is found out all the same: by what it shows now.
    fs::remove_dir_all(desk.directory.path().join(".local")).ok();
    verify().expect(9);
}
