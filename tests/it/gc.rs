//! Garbage goes, what is used stays, and nobody has to stop for it.

use crate::content::*;
use crate::raw::Raw;
use reqwest::Method;
use sealstone_spec::digest::Digest;
use sealstone_tests::registry::{Setup, TestRegistry};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Everything that nobody needs is garbage after a second.
const AT_ONCE: &str =
    "every_seconds = 0\nkeep_unused_seconds = 1\nkeep_upload_seconds = 1\nkeep_trash_seconds = 0\n";

async fn ready() -> TestRegistry {
    Setup {
        collect: AT_ONCE.into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap()
}

async fn collect(registry: &TestRegistry, query: &str) -> Value {
    send(registry.request(&registry.admin, Method::POST, &format!("/api/v1/gc{query}")))
        .await
        .expect(200)
        .json()
}

/// Collects until nothing more is found: what one run lets go of, the next one removes.
async fn collect_all(registry: &TestRegistry) {
    for _ in 0..5 {
        collect(registry, "").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_and_changes_nothing() {
    let registry = ready().await;
    let admin = &registry.admin;
    let kept = push_image(&registry, admin, "a", Some("v1"), MIB).await;
    let (large, small) = (bytes(MIB), bytes(500));
    push_blob(&registry, admin, "a", &large).await;
    push_blob(&registry, admin, "a", &small).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for _ in 0..2 {
        let report = collect(&registry, "?dry_run=true").await;
        assert_eq!(report["dry_run"], true);
        assert_eq!(report["links"], 2, "{report}");
    }
    assert_eq!(registry.objects().len(), 2);
    let report = collect(&registry, "").await;
    assert_eq!(report["links"], 2, "{report}");
    collect_all(&registry).await;
    assert_eq!(registry.objects().len(), 1);
    for blob in [&large, &small] {
        get(
            &registry,
            admin,
            &format!("/v2/a/blobs/{}", Digest::sha256(blob)),
        )
        .await
        .expect(404);
    }
    assert_eq!(
        get(&registry, admin, &format!("/v2/a/blobs/{}", kept.layer))
            .await
            .expect(200)
            .body,
        kept.blob
    );
    // What was collected can come again.
    push_blob(&registry, admin, "a", &large).await;
    assert_eq!(
        get(
            &registry,
            admin,
            &format!("/v2/a/blobs/{}", Digest::sha256(&large))
        )
        .await
        .expect(200)
        .body,
        large
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_expire() {
    let registry = ready().await;
    let admin = &registry.admin;
    let upload = begin(&registry, admin, "a").await;
    patch(&registry, admin, &upload, None, &bytes(MIB))
        .await
        .expect(202);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(collect(&registry, "?dry_run=true").await["uploads"], 1);
    assert_eq!(registry.files("uploads").len(), 2);
    assert_eq!(collect(&registry, "").await["uploads"], 1);
    assert!(registry.files("uploads").is_empty());
    get(&registry, admin, &upload).await.expect(404);
}

/// A client that sends less in an upload's time than what is noted at once, with a collection at each step.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_slow_is_not_given_up() {
    let registry = Setup {
        collect: AT_ONCE.replace("keep_upload_seconds = 1", "keep_upload_seconds = 4"),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let admin = &registry.admin;
    for (method, len) in [("PATCH", 100 * KIB), ("PUT", 100 * KIB), ("PUT", 10 * KIB)] {
        let blob = bytes(len);
        let digest = Digest::sha256(&blob);
        let upload = begin(&registry, admin, "a").await;
        let path = match method {
            "PUT" => format!("{upload}?digest={digest}"),
            _ => upload.clone(),
        };
        let mut raw = Raw::head(&registry, admin, method, &path, blob.len());
        for (number, piece) in blob.chunks(len / 8).enumerate() {
            if number > 0 {
                tokio::time::sleep(Duration::from_millis(700)).await;
                assert_eq!(collect(&registry, "").await["uploads"], 0, "{method}");
            }
            raw.send(piece);
        }
        if method == "PATCH" {
            assert_eq!(received(&registry, admin, &upload).await, len as u64);
            finish(&registry, admin, &upload, &digest, b"")
                .await
                .expect(201);
        }
        let path = format!("/v2/a/blobs/{digest}");
        let deadline = Instant::now() + Duration::from_secs(20);
        while head(&registry, admin, &path).await.status != 200 {
            assert!(Instant::now() < deadline, "{method}: {len} bytes are lost");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Who builds an index asks whether its children are there. The answer is still true when the index comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_was_asked_for_can_be_listed() {
    let registry = Setup {
        collect: format!("{AT_ONCE}keep_untagged_seconds = 16\n"),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let admin = &registry.admin;
    let asked = push_image(&registry, admin, "a", None, 100).await;
    let other = push_image(&registry, admin, "a", None, 100).await;
    let path = |image: &Image| format!("/v2/a/manifests/{}", image.digest);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(head(&registry, admin, &path(&asked)).await.status, 200);
    // The one that came last goes; without the question the first would have gone before it.
    let deadline = Instant::now() + Duration::from_secs(20);
    while collect(&registry, "").await["manifests"] == 0 {
        assert!(Instant::now() < deadline, "no manifest is collected");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    collect_all(&registry).await;
    get(&registry, admin, &path(&other)).await.expect(404);
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [descriptor(MANIFEST, &asked.manifest)],
    });
    put_manifest(&registry, admin, "a", "v1", index.to_string().as_bytes())
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_shared_by_repositories_stays_until_the_last_lets_go() {
    let registry = ready().await;
    let admin = &registry.admin;
    let image = push_image(&registry, admin, "a", Some("v1"), MIB).await;
    push_blob(&registry, admin, "b", b"{}").await;
    let mount = format!("/v2/b/blobs/uploads/?mount={}&from=a", image.layer);
    send(registry.request(admin, Method::POST, &mount))
        .await
        .expect(201);
    put_manifest(&registry, admin, "b", "v1", &image.manifest)
        .await
        .expect(201);
    delete(&registry, admin, "/v2/a/manifests/v1")
        .await
        .expect(202);
    delete(
        &registry,
        admin,
        &format!("/v2/a/manifests/{}", image.digest),
    )
    .await
    .expect(202);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    collect_all(&registry).await;
    get(&registry, admin, &format!("/v2/a/blobs/{}", image.layer))
        .await
        .expect(404);
    assert_eq!(
        get(&registry, admin, &format!("/v2/b/blobs/{}", image.layer))
            .await
            .expect(200)
            .body,
        image.blob
    );
    delete(&registry, admin, "/v2/b/manifests/v1")
        .await
        .expect(202);
    delete(
        &registry,
        admin,
        &format!("/v2/b/manifests/{}", image.digest),
    )
    .await
    .expect(202);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    collect_all(&registry).await;
    assert!(registry.objects().is_empty());
}

/// Pushes run while collections run without a pause, with the shortest times: a push may be told that its
/// blob is gone and send it again, but what was acknowledged with a manifest is never lost. Of uploads only those that
/// stand still are given up, and on a busy disk that may be any for a second.
#[tokio::test(flavor = "multi_thread")]
async fn pushes_beside_collections_lose_nothing() {
    let mut registry = Setup {
        collect: AT_ONCE.replace("keep_upload_seconds = 1", "keep_upload_seconds = 60"),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let admin = registry.admin.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let (asked, request) = (
        stop.clone(),
        registry.request(&admin, Method::POST, "/api/v1/gc"),
    );
    let collector = tokio::spawn(async move {
        let mut runs = 0;
        while !asked.load(Ordering::Relaxed) {
            send(request.try_clone().unwrap()).await.expect(200);
            runs += 1;
        }
        runs
    });
    let mut images = Vec::new();
    let shared = bytes(100 * KIB);
    for round in 0..25 {
        let own = bytes(70 * KIB);
        let manifest = manifest(&[&shared, &own]).to_string();
        let mut put = None;
        for _ in 0..10 {
            for blob in [b"{}".as_slice(), &shared, &own] {
                // As clients do: ask, and send only what is missing.
                let path = format!("/v2/a/blobs/{}", Digest::sha256(blob));
                if head(&registry, &admin, &path).await.status != 200 {
                    push_blob(&registry, &admin, "a", blob).await;
                }
            }
            let answer = put_manifest(
                &registry,
                &admin,
                "a",
                &format!("v{round}"),
                manifest.as_bytes(),
            )
            .await;
            if answer.status == 201 {
                put = Some(answer);
                break;
            }
            assert_eq!(answer.code(), "MANIFEST_BLOB_UNKNOWN", "{}", answer.status);
        }
        put.expect("ten tries");
        images.push((own, manifest));
        if round % 5 == 4 {
            // Let one go: the shared blob's other users must not feel it.
            let (_, gone) = images.remove(0);
            let gone_round = round / 5;
            delete(&registry, &admin, &format!("/v2/a/manifests/v{gone_round}"))
                .await
                .expect(202);
            delete(
                &registry,
                &admin,
                &format!("/v2/a/manifests/{}", Digest::sha256(gone.as_bytes())),
            )
            .await
            .expect(202);
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(collector.await.unwrap() > 3);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    collect_all(&registry).await;
    registry.crash().await.unwrap();
    for (own, manifest) in &images {
        let reference = Digest::sha256(manifest.as_bytes());
        assert_eq!(
            get(&registry, &admin, &format!("/v2/a/manifests/{reference}"))
                .await
                .expect(200)
                .body,
            manifest.as_bytes()
        );
        for blob in [&shared, own] {
            assert_eq!(
                &get(
                    &registry,
                    &admin,
                    &format!("/v2/a/blobs/{}", Digest::sha256(blob))
                )
                .await
                .expect(200)
                .body,
                blob
            );
        }
    }
    assert_eq!(
        registry.objects().len(),
        images.len() + 1,
        "garbage is left"
    );
}
