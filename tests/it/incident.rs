//! Damaged content of a release: in quarantine until somebody closes the incident whom the policy lets.

use crate::content::{get, head, push_blob};
use crate::policy_desk::{Desk, place, registry, released};
use data_encoding::BASE64;
use sealstone_spec::key::SecretKey;
use sealstone_tests::registry::TestRegistry;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

/// Flips a bit of the only blob that is a file of its own: the weights.
pub(crate) fn flip(registry: &TestRegistry) {
    let files = registry.objects();
    let [file] = &files[..] else {
        panic!("{files:?}")
    };
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 100_000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 100_000).unwrap();
}

/// Puts another key for statements in the place of the registry's, which has it from its next start on.
fn replace_statement_key(registry: &TestRegistry) {
    let path = registry.data().join("statements/key.pem");
    assert!(path.exists());
    let key = SecretKey::ed25519_from_seed(&[77; 32]).unwrap();
    let body = BASE64.encode(&key.to_pkcs8_der());
    let lines = body.as_bytes().chunks(64);
    let lines: Vec<&str> = lines
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let text = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    );
    fs::write(path, text).unwrap();
}

/// The kinds of everything that the registry noted, in order.
pub(crate) async fn operations(registry: &TestRegistry) -> Vec<String> {
    let events = get(registry, &registry.admin, "/api/v1/events").await;
    let events: Value = serde_json::from_slice(&events.expect(200).body).unwrap();
    let events = events["events"].as_array().unwrap().iter();
    events
        .map(|event| event["event"]["kind"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_puts_a_release_into_quarantine_until_the_incident_is_closed() {
    for by_scrub in [false, true] {
        let desk = Desk::new();
        let (mut registry, reader) = registry().await;
        let digest = released(&desk, &registry).await;
        let release = place(&registry, ":1.0.0");
        let weights = vec![3; 200_000];
        let blob = sealstone_spec::digest::Digest::sha256(&weights);
        let blob = format!("/v2/models/m/blobs/{blob}");
        flip(&registry);
        if by_scrub {
            let scrub = registry
                .request(&registry.admin, reqwest::Method::POST, "/api/v1/scrub")
                .send()
                .await
                .unwrap();
            assert_eq!(scrub.status(), 200);
        } else {
            assert_eq!(get(&registry, &reader, &blob).await.status, 500);
        }

        // The registry reports it, so the state follows from a statement, and pulls are refused with the reason.
        let deadline = Instant::now() + Duration::from_secs(30);
        let unmet = loop {
            let answer = get(&registry, &reader, "/v2/models/m/manifests/1.0.0").await;
            let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let unmet = told["errors"][0]["detail"]["unmet"].to_string();
            // Until the report is attached, the damage itself is the reason.
            if answer.status == 403 && unmet.contains("the registry reports") {
                break unmet;
            }
            assert!(
                Instant::now() < deadline,
                "not in quarantine: {} {unmet}",
                answer.status
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert!(
            unmet.contains("integrity") && unmet.contains("gina closes the incident"),
            "{unmet}"
        );
        let admin = Some((&registry, &registry.admin));
        let pull = |out: &str| {
            let words = ["pull", &release, "--registry-policy", "-o", out];
            desk.run(Some((&registry, &reader)), &words)
        };
        pull("one").expect(3).says("in quarantine");
        let bundle = place(&registry, &format!("@{digest}"));
        let status = desk.run(admin, &["status", &bundle]).expect(0);
        assert!(
            status.json["flags"]
                .as_array()
                .unwrap()
                .contains(&json!("quarantined")),
            "{}",
            status.everything
        );
        desk.run(admin, &["gate", "deploy", &release])
            .expect(3)
            .says("quarantined");
        let gauge = registry.metric("sealstone_blobs_quarantined", "");
        assert_eq!(gauge.await.unwrap(), 1.0);

        // A restart forgets nothing of it, also with another key. Pushing the content again repairs it, and closes nothing.
        if by_scrub {
            replace_statement_key(&registry);
        }
        registry.crash().await.unwrap();
        let gauge = registry.metric("sealstone_blobs_quarantined", "");
        assert_eq!(gauge.await.unwrap(), 1.0);
        assert_eq!(head(&registry, &registry.admin, &blob).await.status, 404);
        push_blob(&registry, &registry.admin, "models/m", &weights).await;
        let gauge = registry.metric("sealstone_blobs_quarantined", "");
        assert_eq!(gauge.await.unwrap(), 0.0);
        assert_eq!(get(&registry, &registry.admin, &blob).await.status, 200);
        let admin = Some((&registry, &registry.admin));
        let close = |key: &str| {
            let key = format!("{key}.key");
            let words = [
                "incident",
                "close",
                &bundle,
                "--key",
                &key,
                "--only",
                "--reason",
                "disk replaced",
            ];
            desk.run(Some((&registry, &registry.admin)), &words)
        };
        let pull = |out: &str| {
            let words = ["pull", &release, "--registry-policy", "-o", out];
            desk.run(Some((&registry, &reader)), &words)
        };
        pull("two").expect(3).says("in quarantine");
        close("alice")
            .expect(0)
            .says("no role that closes incidents");
        pull("three").expect(3).says("in quarantine");
        close("gina").expect(0).says("content sha256:");
        pull("four").expect(0);
        close("gina").expect(3).says("no incident");
        assert_eq!(
            desk.run(admin, &["status", &bundle]).expect(0).json["flags"],
            json!([])
        );
        desk.run(admin, &["gate", "deploy", &release]).expect(0);

        // Each step is recorded, and so becomes an entry of the log.
        let happened = operations(&registry).await;
        for kind in ["content_damaged", "content_repaired"] {
            assert_eq!(
                happened.iter().filter(|found| *found == kind).count(),
                1,
                "{kind}: {happened:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_by_somebody_whom_the_policy_lets_counts_and_no_other() {
    let desk = Desk::new();
    let (registry, reader) = registry().await;
    released(&desk, &registry).await;
    let release = place(&registry, ":1.0.0");
    let open = |key: &str| {
        let key = format!("{key}.key");
        let words = [
            "incident",
            "open",
            &release,
            "--key",
            &key,
            "--only",
            "--reason",
            "weights differ",
        ];
        desk.run(Some((&registry, &registry.admin)), &words)
            .expect(0)
    };
    let pull = |out: &str| {
        let words = ["pull", &release, "--registry-policy", "-o", out];
        desk.run(Some((&registry, &reader)), &words)
    };
    open("ci");
    pull("one").expect(0);
    open("sam");
    pull("two")
        .expect(3)
        .says("in quarantine: sam reports weights differ");
    let admin = Some((&registry, &registry.admin));
    let close = [
        "incident",
        "close",
        &release,
        "--key",
        "gina.key",
        "--only",
        "--reason",
        "looked at it",
    ];
    desk.run(admin, &close).expect(0);
    pull("three").expect(0);
    // The same report again is a new incident: its words carry another time.
    std::thread::sleep(Duration::from_millis(1_100));
    open("sam");
    pull("four").expect(3);
}

#[test]
fn a_replay_that_halts_on_other_bytes_reports_it() {
    let desk = Desk::new();
    desk.write(
        "policy.toml",
        &desk.policy(1, crate::policy_desk::LATER, ""),
    );
    let layout = "oci:bundle:1.0.0";
    let alice = [
        "sign",
        layout,
        "--key",
        "alice.key",
        "--only",
        "--compat",
        "none",
    ];
    desk.run(None, &alice).expect(0);
    let digest = sealstone_spec::digest::Digest::sha256(&[3; 200_000]);
    let blob = desk
        .directory
        .path()
        .join("bundle/blobs/sha256")
        .join(digest.hex());
    let mut bytes = fs::read(&blob).unwrap();
    bytes[5] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let status = || {
        let words = [
            "status",
            layout,
            "--policy",
            "policy.toml",
            "--repository",
            "models/m",
        ];
        desk.run(None, &words).expect(0)
    };
    let is_quarantined = |shown: &Value| {
        let flags = shown["flags"].as_array().unwrap();
        flags.contains(&json!("quarantined"))
    };
    assert!(!is_quarantined(&status().json));

    let replay = |trusted: &str, incidents: &str| {
        let words = [
            "replay",
            layout,
            "--key",
            trusted,
            "--sign-with",
            "sam.key",
            "--push",
            "--incidents",
            incidents,
        ];
        desk.run(None, &words).expect(3)
    };
    // Who trusts somebody else has not even looked at the bytes, and says nothing of the release.
    let elsewhere = replay("bob.pub", "elsewhere");
    assert_eq!(elsewhere.json["attached"], json!([]));
    assert!(!is_quarantined(&status().json));

    let halted = replay("alice.pub", ".sealstone/incidents");
    halted.says("halted; the incident is recorded");
    // The report that says so, the test result that follows from it, and the incident.
    let attached = halted.json["attached"].as_array().unwrap();
    assert_eq!(attached.len(), 3, "{}", halted.everything);
    let shown = status();
    assert!(is_quarantined(&shown.json), "{}", shown.everything);
    let is_said_by = |person: &str, shown: &Value| {
        let words = shown["evaluation"]["standing"]["words"].as_array().unwrap();
        words.iter().any(|word| {
            let reason = word["reason"].as_str().unwrap_or_default();
            word["kind"] == "incident"
                && word["by"] == person
                && reason.starts_with("bundle-digest of ")
        })
    };
    assert!(is_said_by("sam", &shown.json), "{}", shown.everything);

    // The record says the same, for those who sign by hand; and it is for this bundle.
    let folder = desk.directory.path().join(".sealstone/incidents");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut records = files.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let record = records.next().unwrap();
    let record = record.to_str().unwrap();
    let open = |place: &str| {
        let words = [
            "incident",
            "open",
            place,
            "--key",
            "alice.key",
            "--only",
            "--record",
            record,
        ];
        desk.run(None, &words)
    };
    open(layout).expect(0);
    let shown = status();
    assert!(is_said_by("alice", &shown.json), "{}", shown.everything);
    fs::write(
        desk.directory.path().join("model/config.json"),
        b"{\"a\":1}",
    )
    .unwrap();
    desk.run(None, &["pack", "model", "-o", "other:1.0.0"])
        .expect(0);
    open("oci:other:1.0.0")
        .expect(3)
        .says("about another bundle");
}
