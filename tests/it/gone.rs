//! Clients that go away while the server works: what they asked for is done or not done, and never half.
//!
//! Owns: connections that are closed after the last byte of a request. Does not own: bodies that break off (`uploads`).

use crate::content::*;
use crate::raw::Raw;
use sealstone_spec::digest::Digest;
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::policy::{Policy, PolicyEnvelope};
use sealstone_tests::registry::{Setup, TestRegistry};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

fn root() -> SecretKey {
    SecretKey::ed25519_from_seed(&[1; 32]).unwrap()
}

fn policy(version: u32) -> String {
    format!(
        "schema = \"sealstone-policy/v2\"\nversion = {version}\nexpires = \"2099-01-01T00:00:00Z\"\n[roots]\nthreshold = 1\nkeys = [\"{}\"]\n\
         [[identity]]\nname = \"alice\"\nroles = [\"release\"]\nkeys = [\"{}\"]\n\
         [[scope]]\nrepositories = [\"**\"]\n[[scope.require]]\nrule = \"signatures\"\n",
        root().public_key().to_openssh(),
        SecretKey::ed25519_from_seed(&[2; 32])
            .unwrap()
            .public_key()
            .to_openssh(),
    )
}

fn signed(version: u32) -> Vec<u8> {
    let policy = Policy::parse(&policy(version)).unwrap();
    let mut envelope = PolicyEnvelope::of(&policy).unwrap();
    envelope.sign(&root()).unwrap();
    envelope.to_bytes()
}

/// Sends a request, waits for a moment and closes.
async fn ask_and_go(
    registry: &TestRegistry,
    method: &str,
    path: &str,
    body: &[u8],
    moment: Duration,
) {
    let mut raw = Raw::head(registry, &registry.admin, method, path, body.len());
    raw.send(body);
    tokio::time::sleep(moment).await;
}

/// The policy by which the server judges, and the last that the store took.
async fn policies(registry: &TestRegistry) -> (String, Option<String>) {
    let admin = &registry.admin;
    let judging = get(registry, admin, "/api/v1/policy").await.expect(200);
    let events = get(registry, admin, "/api/v1/events").await.expect(200);
    let events = events.json();
    let taken = events["events"].as_array().unwrap().iter().rev();
    let mut taken = taken.filter(|entry| entry["event"]["kind"] == "policy_changed");
    let digest = |entry: &serde_json::Value| entry["event"]["digest"].as_str().unwrap().to_owned();
    (
        judging.header("sealstone-policy").to_owned(),
        taken.next().map(digest),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_whose_upload_was_cut_is_in_force_or_it_is_not() {
    let registry = Setup {
        policy: policy(1),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let (first, _) = policies(&registry).await;
    for version in 2..=40 {
        let moment = Duration::from_micros(300 * u64::from(version));
        let path = "/api/v1/policy";
        ask_and_go(&registry, "PUT", path, &signed(version), moment).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (judging, taken) = policies(&registry).await;
            if taken.is_none_or(|taken| taken == judging) {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "version {version} is in the store, and the server judges by {judging}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert_ne!(policies(&registry).await.0, first, "none was taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_clients_that_went_away_are_there_or_gone_and_counted() {
    let mut registry = Setup::default().start().await.unwrap();
    let admin = registry.admin.clone();
    let mut uploads = Vec::new();
    for _ in 0..60 {
        let upload = begin(&registry, &admin, "a").await;
        patch(&registry, &admin, &upload, None, &bytes(100 * KIB))
            .await
            .expect(202);
        uploads.push(upload);
    }
    for (number, upload) in (0_u64..).zip(&uploads) {
        let moment = Duration::from_micros(100 * number);
        ask_and_go(&registry, "DELETE", upload, b"", moment).await;
        ask_and_go(&registry, "POST", "/v2/a/blobs/uploads/", b"", moment).await;
        let blob = bytes(100 * KIB);
        let wrong = Digest::sha256(b"something else");
        let path = format!("/v2/a/blobs/uploads/?digest={wrong}");
        ask_and_go(&registry, "POST", &path, &blob, moment).await;
    }
    // Until nothing changes any more. What is begun and given up now comes to the store behind all that waits there.
    let deadline = Instant::now() + PATIENCE;
    let mut before = None;
    let ended = loop {
        let last = begin(&registry, &admin, "a").await;
        delete(&registry, &admin, &last).await.expect(204);
        let open = registry.metric("sealstone_uploads_open", "").await.unwrap();
        let files = registry.files("uploads");
        let (mut ended, mut left) = (0, Vec::new());
        for upload in &uploads {
            if get(&registry, &admin, upload).await.status == 204 {
                continue;
            }
            ended += 1;
            let id = upload.rsplit('/').next().unwrap();
            let of_it = |path: &&PathBuf| path.display().to_string().contains(id);
            left.extend(files.iter().filter(of_it).cloned());
        }
        let now = Some((open, ended, files));
        if left.is_empty() && now == before {
            break ended;
        }
        assert!(
            Instant::now() < deadline,
            "{ended} were given up, {open} are open, of the former there is {left:?}"
        );
        before = now;
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    assert!(ended > 0, "none was given up");
    // A start counts what is there.
    let counted = registry.metric("sealstone_uploads_open", "").await.unwrap();
    registry.crash().await.unwrap();
    let there = registry.metric("sealstone_uploads_open", "").await.unwrap();
    assert_eq!(counted, there);
}
