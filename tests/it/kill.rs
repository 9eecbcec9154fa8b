//! SIGKILL at each step of a push: what was acknowledged is there, and nothing is half there.

use crate::content::*;
use crate::raw::Raw;
use reqwest::Method;
use sealstone_spec::digest::Digest;
use sealstone_tests::registry::{Setup, TestRegistry};
use std::time::Duration;

/// Every blob of the repository's manifests is whole, and staged files belong to open uploads.
async fn assert_blob(registry: &TestRegistry, blob: &[u8]) {
    let path = format!("/v2/a/blobs/{}", Digest::sha256(blob));
    assert_eq!(
        get(registry, &registry.admin, &path).await.expect(200).body,
        blob
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_post_the_session_goes_on() {
    let mut registry = Setup::default().start().await.unwrap();
    let admin = registry.admin.clone();
    let upload = begin(&registry, &admin, "a").await;
    registry.crash().await.unwrap();
    assert_eq!(received(&registry, &admin, &upload).await, 0);
    let blob = bytes(300 * KIB);
    patch(&registry, &admin, &upload, Some((0, blob.len() - 1)), &blob)
        .await
        .expect(202);
    finish(&registry, &admin, &upload, &Digest::sha256(&blob), b"")
        .await
        .expect(201);
    assert_blob(&registry, &blob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mid_patch_the_upload_goes_on_from_the_servers_offset() {
    let mut registry = Setup::default().start().await.unwrap();
    let admin = registry.admin.clone();
    let blob = bytes(9 * MIB);
    let upload = begin(&registry, &admin, "a").await;
    let mut raw = Raw::head(&registry, &admin, "PATCH", &upload, blob.len());
    raw.send(&blob[..5 * MIB]);
    // Until some of it lies on the disk: no answer tells, the body is still running.
    let staged = |registry: &TestRegistry| {
        registry
            .files("uploads")
            .iter()
            .filter(|path| path.extension().is_some_and(|end| end == "data"))
            .any(|path| std::fs::read(path).is_ok_and(|found| found.iter().any(|byte| *byte != 0)))
    };
    for _ in 0..200 {
        if staged(&registry) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    registry.crash().await.unwrap();
    let offset = received(&registry, &admin, &upload).await as usize;
    assert!(
        offset <= 5 * MIB,
        "{offset} bytes are acknowledged, {} were sent",
        5 * MIB
    );
    finish(
        &registry,
        &admin,
        &upload,
        &Digest::sha256(&blob),
        &blob[offset..],
    )
    .await
    .expect(201);
    assert_blob(&registry, &blob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_patch_acknowledged_bytes_are_there() {
    let mut registry = Setup::default().start().await.unwrap();
    let admin = registry.admin.clone();
    let blob = bytes(3 * MIB + 17);
    let upload = begin(&registry, &admin, "a").await;
    let mut offset = 0;
    // Sizes around the borders of groups, each followed by a crash.
    for part in [1, 256 * KIB - 1, 256 * KIB, 700 * KIB + 3, MIB] {
        patch(
            &registry,
            &admin,
            &upload,
            Some((offset, offset + part - 1)),
            &blob[offset..offset + part],
        )
        .await
        .expect(202);
        offset += part;
        registry.crash().await.unwrap();
        if offset > 1 {
            assert_eq!(received(&registry, &admin, &upload).await, offset as u64);
        }
    }
    finish(
        &registry,
        &admin,
        &upload,
        &Digest::sha256(&blob),
        &blob[offset..],
    )
    .await
    .expect(201);
    registry.crash().await.unwrap();
    assert_blob(&registry, &blob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_put_the_blob_is_whole_or_the_upload_goes_on() {
    let mut registry = Setup::default().start().await.unwrap();
    let admin = registry.admin.clone();
    for delay in [0, 2, 5, 10, 20, 40, 80] {
        let blob = bytes(2 * MIB + delay as usize);
        let digest = Digest::sha256(&blob);
        let upload = begin(&registry, &admin, "a").await;
        patch(&registry, &admin, &upload, None, &blob)
            .await
            .expect(202);
        let put = registry.request(&admin, Method::PUT, &format!("{upload}?digest={digest}"));
        let put = tokio::spawn(put.send());
        tokio::time::sleep(Duration::from_millis(delay)).await;
        registry.kill().unwrap();
        let acknowledged = put
            .await
            .unwrap()
            .is_ok_and(|answer| answer.status() == 201);
        registry.start().await.unwrap();
        let found = head(&registry, &admin, &format!("/v2/a/blobs/{digest}"))
            .await
            .status;
        assert!(
            found == 200 || !acknowledged,
            "acknowledged, then lost, after {delay} ms"
        );
        if found == 404 {
            assert_eq!(
                received(&registry, &admin, &upload).await,
                blob.len() as u64
            );
            finish(&registry, &admin, &upload, &digest, b"")
                .await
                .expect(201);
        }
        assert_blob(&registry, &blob).await;
    }
    assert_eq!(
        registry.files("uploads"),
        Vec::<std::path::PathBuf>::new(),
        "staged files of ended uploads"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_put_the_blob_is_there_and_its_manifest_can_follow() {
    let mut registry = Setup::default().start().await.unwrap();
    let admin = registry.admin.clone();
    let large = bytes(MIB);
    let small = bytes(1000);
    for blob in [b"{}".as_slice(), &large, &small] {
        push_blob(&registry, &admin, "a", blob).await;
    }
    registry.crash().await.unwrap();
    assert_blob(&registry, &large).await;
    assert_blob(&registry, &small).await;
    assert_eq!(
        get(&registry, &admin, "/v2/a/tags/list").await.json()["tags"]
            .as_array()
            .map_or(0, Vec::len),
        0
    );
    let manifest = manifest(&[&large, &small]).to_string();
    put_manifest(&registry, &admin, "a", "v1", manifest.as_bytes())
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn during_manifest_put_tag_and_manifest_come_together_or_not_at_all() {
    let mut registry = Setup::default().start().await.unwrap();
    let admin = registry.admin.clone();
    push_blob(&registry, &admin, "a", b"{}").await;
    for (round, delay) in [0, 1, 2, 4, 8, 16, 32].into_iter().enumerate() {
        let blob = bytes(100 + round);
        push_blob(&registry, &admin, "a", &blob).await;
        let manifest = manifest(&[&blob]).to_string();
        let digest = Digest::sha256(manifest.as_bytes());
        let tag = format!("v{round}");
        let put = registry.request(
            &admin,
            Method::PUT,
            &format!("/v2/a/manifests/{tag}?tag={tag}-more"),
        );
        let put = tokio::spawn(
            put.header("content-type", MANIFEST)
                .body(manifest.clone())
                .send(),
        );
        tokio::time::sleep(Duration::from_millis(delay)).await;
        registry.kill().unwrap();
        let acknowledged = put
            .await
            .unwrap()
            .is_ok_and(|answer| answer.status() == 201);
        registry.start().await.unwrap();
        let mut statuses = Vec::new();
        for reference in [tag.clone(), format!("{tag}-more"), digest.to_string()] {
            let answer = get(&registry, &admin, &format!("/v2/a/manifests/{reference}")).await;
            if answer.status == 200 {
                assert_eq!(answer.body, manifest.as_bytes());
            }
            statuses.push(answer.status);
        }
        assert!(
            statuses == [200; 3] || (!acknowledged && statuses == [404; 3]),
            "{statuses:?}, acknowledged: {acknowledged}"
        );
        put_manifest(&registry, &admin, "a", &tag, manifest.as_bytes())
            .await
            .expect(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_tag_everything_is_there() {
    let mut registry = Setup::default().start().await.unwrap();
    let admin = registry.admin.clone();
    let image = push_image(&registry, &admin, "a", Some("v1"), MIB).await;
    delete(&registry, &admin, "/v2/a/manifests/v1")
        .await
        .expect(202);
    push_image(&registry, &admin, "a", Some("v2"), 10).await;
    registry.crash().await.unwrap();
    let tags = get(&registry, &admin, "/v2/a/tags/list").await.json();
    assert_eq!(tags["tags"], serde_json::json!(["v2"]));
    // Deletions hold as well: the tombstone is as durable as the tag was.
    let again = put_manifest(&registry, &admin, "a", "v1", &image.manifest)
        .await
        .expect(409);
    assert_eq!(again.detail()["reason"], "tag_tombstoned");
    assert_blob(&registry, &image.blob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_sessions_survive() {
    let mut registry = Setup::default().start().await.unwrap();
    let robot = registry.account("ci", "robot").await.unwrap();
    let token = get(&registry, &robot, "/token?service=sealstone")
        .await
        .expect(200)
        .json();
    registry.crash().await.unwrap();
    assert_eq!(
        get(&registry, &robot, "/api/v1/whoami")
            .await
            .expect(200)
            .json()["identity"],
        "robot:ci"
    );
    let ping = registry
        .http
        .get(registry.url("/v2/"))
        .bearer_auth(token["token"].as_str().unwrap());
    send(ping).await.expect(200);
}
