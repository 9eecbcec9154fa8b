//! Namespaces that are full: what has no room is refused at once and leaves nothing, and statements always have some.

use crate::content::*;
use crate::model_desk::{Desk, at};
use crate::raw::Raw;
use reqwest::Method;
use sealstone_spec::digest::Digest;
use sealstone_tests::registry::{Setup, TestRegistry, User};
use sealstone_tests::skips;
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

const LIMIT: u64 = 2 << 20;

/// A registry on which `team` and what lies below it may hold 2 MiB, and where garbage goes after a second.
async fn ready() -> TestRegistry {
    with_quota(&format!(
        "[[quota]]\nnamespace = \"team\"\nbytes = {LIMIT}\n"
    ))
    .await
}

async fn with_quota(quota: &str) -> TestRegistry {
    Setup {
        quota: quota.into(),
        collect: "every_seconds = 0\nkeep_unused_seconds = 1\nkeep_upload_seconds = 60\nkeep_trash_seconds = 0\n"
            .into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap()
}

async fn usage(registry: &TestRegistry, namespace: &str) -> Value {
    let path = format!("/api/v1/usage?namespace={namespace}");
    get(registry, &registry.admin, &path)
        .await
        .expect(200)
        .json()
}

/// Blobs, manifests, bytes, and bytes that are reserved.
async fn held(registry: &TestRegistry, namespace: &str) -> [u64; 4] {
    let usage = usage(registry, namespace).await;
    ["blobs", "manifests", "bytes", "reserved"].map(|key| usage[key].as_u64().unwrap())
}

/// The refusal, after which whatever came is gone.
#[track_caller]
fn assert_full(answer: Answer, used: u64, wanted: usize) {
    let answer = answer.expect(403);
    assert_eq!(answer.code(), "DENIED");
    let expected = json!({
        "reason": "quota_exceeded", "namespace": "team", "counted": "bytes",
        "limit": LIMIT, "used": used, "wanted": wanted,
    });
    assert_eq!(answer.detail(), expected);
    let message = answer.json()["errors"][0]["message"].to_string();
    assert!(
        message.contains("delete") && message.contains("[[quota]]"),
        "{message}"
    );
    // Neither asks to be tried again, nor leads to a session that is over.
    assert_eq!(answer.header("retry-after"), "");
    assert_eq!(answer.header("location"), "");
}

/// What is answered to the head of a request alone, whose body never comes.
async fn answer_to_head(registry: &TestRegistry, method: &str, path: &str, len: usize) -> String {
    let mut raw = Raw::connect(registry);
    raw.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nConnection: close\r\nContent-Type: application/octet-stream\r\nContent-Length: {len}\r\n\r\n",
        registry.address(),
        registry.admin.basic(),
    ));
    tokio::task::spawn_blocking(move || raw.rest())
        .await
        .unwrap()
}

async fn mount(registry: &TestRegistry, who: &User, from: &str, to: &str, blob: &Digest) -> Answer {
    let path = format!("/v2/{to}/blobs/uploads/?mount={blob}&from={from}");
    send(registry.request(who, Method::POST, &path)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_filled_and_no_further() {
    let registry = ready().await;
    let admin = &registry.admin;
    let image = push_image(&registry, admin, "team/a", Some("v1"), MIB).await;
    let bytes_held = (MIB + 2 + image.manifest.len()) as u64;
    let full = [2, 1, bytes_held, 0];
    for namespace in ["", "team", "team/a"] {
        assert_eq!(held(&registry, namespace).await, full, "{namespace}");
    }
    assert_eq!(held(&registry, "team/b").await, [0; 4]);
    let told = usage(&registry, "team").await;
    assert_eq!(told["quota"], json!({"bytes": LIMIT, "objects": null}));
    assert_eq!(usage(&registry, "team/a").await["quota"], Value::Null);

    // Refused by what the head says, before a byte of the body.
    let blob = bytes(MIB);
    let digest = Digest::sha256(&blob);
    let post = format!("/v2/team/b/blobs/uploads/?digest={digest}");
    let upload = begin(&registry, admin, "team/b").await;
    let other = begin(&registry, admin, "team/b").await;
    for (method, path) in [
        ("POST", post.clone()),
        ("PATCH", upload.clone()),
        ("PUT", format!("{other}?digest={digest}")),
    ] {
        let answer = answer_to_head(&registry, method, &path, blob.len()).await;
        let refused = answer.starts_with("HTTP/1.1 403") && answer.contains("quota_exceeded");
        assert!(refused, "{method}: {answer}");
    }
    for session in [&upload, &other] {
        get(&registry, admin, session).await.expect(404);
    }
    // And where the body comes along.
    let posted = send(
        registry
            .request(admin, Method::POST, &post)
            .body(blob.clone()),
    )
    .await;
    assert_full(posted, bytes_held, MIB);
    let upload = begin(&registry, admin, "team/b").await;
    let patched = patch(&registry, admin, &upload, None, &blob).await;
    assert_full(patched, bytes_held, MIB);
    // In pieces, one after the other, up to the one that does not fit.
    let upload = begin(&registry, admin, "team/b").await;
    let half = MIB / 2;
    patch(&registry, admin, &upload, None, &blob[..half])
        .await
        .expect(202);
    assert_eq!(held(&registry, "team/b").await[3], half as u64);
    let rest = finish(&registry, admin, &upload, &digest, &blob[half..]).await;
    assert_full(rest, bytes_held + half as u64, half);

    // A mount is no way round it.
    push_blob(&registry, admin, "free", &blob).await;
    let mounted = mount(&registry, admin, "free", "team/b", &digest).await;
    assert_full(mounted, bytes_held, MIB);

    // Nothing of all this is there.
    assert!(registry.files("uploads").is_empty());
    assert_eq!(registry.objects().len(), 2);
    head(&registry, admin, &format!("/v2/team/b/blobs/{digest}"))
        .await
        .expect(404);
    get(&registry, admin, &upload).await.expect(404);
    assert_eq!(held(&registry, "team").await, full);
    assert_eq!(held(&registry, "team/b").await, [0; 4]);

    // What is there costs nothing, and others have their own room.
    push_blob(&registry, admin, "team/a", &image.blob).await;
    put_manifest(&registry, admin, "team/a", "v1", &image.manifest)
        .await
        .expect(201);
    assert_eq!(held(&registry, "team").await, full);
    push_blob(&registry, admin, "teamwork/a", &blob).await;
    assert_eq!(held(&registry, "team").await, full);
    // And what does fit comes in.
    push_blob(&registry, admin, "team/b", &blob[..half]).await;

    let metric = |name: &'static str| registry.metric(name, "namespace=\"team\"");
    assert_eq!(metric("sealstone_quota_bytes").await.unwrap(), LIMIT as f64);
    assert_eq!(
        metric("sealstone_quota_used_bytes").await.unwrap(),
        (bytes_held + half as u64) as f64
    );
    assert_eq!(metric("sealstone_quota_refusals_total").await.unwrap(), 7.0);
    assert_eq!(
        registry.metric("sealstone_quota", "free").await.unwrap(),
        0.0
    );
    assert!(registry.log().contains("refused by a quota"));
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_and_collecting_makes_room() {
    let registry = ready().await;
    let admin = &registry.admin;
    let image = push_image(&registry, admin, "team/a", Some("v1"), MIB).await;
    let blob = bytes(MIB + MIB / 2);
    let digest = Digest::sha256(&blob);
    let path = format!("/v2/team/b/blobs/uploads/?digest={digest}");
    let push = || {
        let post = registry.request(admin, Method::POST, &path);
        send(post.body(blob.clone()))
    };
    push().await.expect(403);
    for reference in ["v1".to_owned(), image.digest.to_string()] {
        let path = format!("/v2/team/a/manifests/{reference}");
        delete(&registry, admin, &path).await.expect(202);
    }
    // The blobs are still there, and still counted.
    assert_eq!(held(&registry, "team").await[..2], [2, 0]);
    push().await.expect(403);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for _ in 0..3 {
        send(registry.request(admin, Method::POST, "/api/v1/gc"))
            .await
            .expect(200);
    }
    for namespace in ["", "team", "team/a"] {
        assert_eq!(held(&registry, namespace).await, [0; 4], "{namespace}");
    }
    push().await.expect(201);
    assert_eq!(held(&registry, "team").await, [1, 0, blob.len() as u64, 0]);
}

/// Nobody knows how long it is, so it ends where progress is noted.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_a_length_is_cut_at_the_limit() {
    let registry = ready().await;
    let admin = &registry.admin;
    let upload = begin(&registry, admin, "team/a").await;
    let mut raw = Raw::connect(&registry);
    raw.send(format!(
        "PATCH {upload} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nConnection: close\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        registry.address(),
        admin.basic(),
    ));
    let answer = tokio::task::spawn_blocking(move || {
        let mut chunk = format!("{MIB:x}\r\n").into_bytes();
        chunk.extend(bytes(MIB));
        chunk.extend(b"\r\n");
        for _ in 0..72 {
            if raw.0.write_all(&chunk).is_err() {
                // It has heard enough.
                return raw.rest();
            }
        }
        let _ = raw.0.write_all(b"0\r\n\r\n");
        raw.rest()
    })
    .await
    .unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("quota_exceeded"),
        "{answer}"
    );
    let received = registry
        .metric("sealstone_blob_bytes_received_total", "")
        .await;
    let received = received.unwrap() / MIB as f64;
    assert!((2.0..70.0).contains(&received), "{received} MiB");
    get(&registry, admin, &upload).await.expect(404);
    assert!(registry.files("uploads").is_empty());
    assert_eq!(held(&registry, "team").await, [0; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_pushes_at_once_as_many_come_as_fit() {
    let registry = ready().await;
    let admin = &registry.admin;
    let mut pushes = tokio::task::JoinSet::new();
    for number in 0..6 {
        let blob = bytes(700 * KIB);
        let digest = Digest::sha256(&blob);
        let path = format!("/v2/team/r{number}/blobs/uploads/?digest={digest}");
        pushes.spawn(send(
            registry.request(admin, Method::POST, &path).body(blob),
        ));
    }
    let mut statuses: Vec<u16> = pushes
        .join_all()
        .await
        .iter()
        .map(|answer| answer.status)
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 201, 403, 403, 403, 403]);
    let bytes = 2 * 700 * KIB as u64;
    assert_eq!(held(&registry, "team").await, [2, 0, bytes, 0]);
}

/// What was announced to a server that was killed holds no room; what had come is kept.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_announced_before_a_crash_holds_no_room() {
    let mut registry = ready().await;
    let admin = registry.admin.clone();
    let blob = bytes(MIB + 300 * KIB);
    let digest = Digest::sha256(&blob);
    let upload = begin(&registry, &admin, "team/a").await;
    let mut raw = Raw::head(&registry, &admin, "PATCH", &upload, blob.len());
    raw.send(&blob[..300 * KIB]);
    let announced = blob.len() as u64;
    let deadline = Instant::now() + Duration::from_secs(20);
    while held(&registry, "team").await[3] != announced {
        assert!(Instant::now() < deadline, "no room was held");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    registry.crash().await.unwrap();
    drop(raw);
    assert_eq!(held(&registry, "team").await, [0; 4]);
    let offset = received(&registry, &admin, &upload).await as usize;
    finish(&registry, &admin, &upload, &digest, &blob[offset..])
        .await
        .expect(201);
    assert_eq!(held(&registry, "team").await, [1, 0, announced, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_and_manifests_are_limited_as_well() {
    let registry = with_quota("[[quota]]\nnamespace = \"team\"\nobjects = 3\n").await;
    let admin = &registry.admin;
    let image = push_image(&registry, admin, "team/a", Some("v1"), MIB).await;
    let blob = bytes(100 * KIB);
    let path = format!("/v2/team/a/blobs/uploads/?digest={}", Digest::sha256(&blob));
    let push = registry.request(admin, Method::POST, &path).body(blob);
    let answer = send(push).await.expect(403);
    let expected = json!({
        "reason": "quota_exceeded", "namespace": "team", "counted": "objects",
        "limit": 3, "used": 3, "wanted": 1,
    });
    assert_eq!(answer.detail(), expected);
    let mut other = manifest(&[&image.blob]);
    other["annotations"] = json!({"another": "model"});
    let other = other.to_string();
    let refused = put_manifest(&registry, admin, "team/a", "v2", other.as_bytes())
        .await
        .expect(403);
    assert_eq!(refused.detail(), expected);
    get(&registry, admin, "/v2/team/a/manifests/v2")
        .await
        .expect(404);
    assert_eq!(held(&registry, "team").await[..2], [2, 1]);
    // A tag is no object.
    put_manifest(&registry, admin, "team/a", "v2", &image.manifest)
        .await
        .expect(201);
}

/// The quota came after the content: all of it is too much, and whoever is responsible can still speak and tidy up.
#[tokio::test(flavor = "multi_thread")]
async fn statements_have_room_where_nothing_else_has() {
    let desk = Desk::new();
    let mut registry = with_quota("").await;
    let place = at(&registry, "models/m:1.0.0");
    desk.run_at(&registry, &["push", "oci:bundle:1.0.0", &place])
        .expect(0);
    registry.kill().unwrap();
    registry.setup().quota = "[[quota]]\nnamespace = \"\"\nbytes = 1\nobjects = 1\n".into();
    registry.start().await.unwrap();
    let before = held(&registry, "").await;
    assert!(before[2] > 1 && before[0] > 1, "{before:?}");

    let signed = desk
        .run_at(&registry, &["sign", &place, "--key", "alice.key"])
        .expect(0);
    assert!(signed.json["legacyTag"].is_string(), "{}", signed.json);
    let revoke = [
        "revoke",
        &place,
        "--key",
        "alice.key",
        "--only",
        "--reason",
        "poisoned data",
    ];
    desk.run_at(&registry, &revoke).expect(0);
    let after = held(&registry, "").await;
    assert!(after[1] > before[1] + 1, "{before:?}, then {after:?}");

    // Another model has none, and is told what to do.
    let elsewhere = at(&registry, "models/n:1.0.0");
    desk.run_at(&registry, &["push", "oci:bundle:1.0.0", &elsewhere])
        .expect(3)
        .says("[[quota]]");
    // Reading and deleting ask no quota.
    let admin = &registry.admin;
    let path = "/v2/models/m/manifests/1.0.0";
    let pulled = get(&registry, admin, path).await.expect(200);
    head(&registry, admin, path).await.expect(200);
    let layers = pulled.json()["layers"].clone();
    for layer in layers.as_array().unwrap() {
        let digest = layer["digest"].as_str().unwrap();
        let blob = format!("/v2/models/m/blobs/{digest}");
        get(&registry, admin, &blob).await.expect(200);
    }
    delete(&registry, admin, path).await.expect(202);
}

/// 429 it would repeat, for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn skopeo_is_told_at_once() {
    if Command::new("skopeo").arg("--version").output().is_err() {
        return skips::not_installed("skopeo");
    }
    let registry = ready().await;
    let admin = &registry.admin;
    let layer = bytes(3 * MIB);
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [Digest::sha256(&layer)]},
    });
    let config = config.to_string().into_bytes();
    let image = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    for blob in [&config, &layer] {
        push_blob(&registry, admin, "free/m", blob).await;
    }
    put_manifest(
        &registry,
        admin,
        "free/m",
        "v1",
        image.to_string().as_bytes(),
    )
    .await
    .expect(201);
    let home = tempfile::tempdir().unwrap();
    let credentials = format!("{}:{}", admin.name, admin.secret);
    let place = |repo: &str| format!("docker://{}/{repo}:v1", registry.address());
    let copy = |to: &str| {
        let mut command = Command::new("skopeo");
        command
            .args(["--insecure-policy", "copy", "--preserve-digests"])
            .args(["--src-tls-verify=false", "--dest-tls-verify=false"])
            .args(["--src-creds", &credentials, "--dest-creds", &credentials])
            .args([place("free/m"), place(to)])
            .env("HOME", home.path())
            .env("XDG_RUNTIME_DIR", home.path());
        tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            (command.output().unwrap(), started.elapsed())
        })
    };
    let (fits, _) = copy("other/m").await.unwrap();
    let said = String::from_utf8_lossy(&fits.stderr).into_owned();
    assert!(fits.status.success(), "{said}");
    let (refused, took) = copy("team/m").await.unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).to_lowercase();
    assert!(
        !refused.status.success() && said.contains("denied"),
        "{said}"
    );
    assert!(took < Duration::from_secs(20), "{took:?}: {said}");
    assert_eq!(held(&registry, "team").await[3], 0);
    get(&registry, admin, "/v2/team/m/manifests/v1")
        .await
        .expect(404);
}
