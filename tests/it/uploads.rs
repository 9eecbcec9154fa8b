//! Uploads by clients that are slow, cut off, out of order, or two at once.

use crate::content::*;
use crate::raw::Raw;
use reqwest::Method;
use reqwest::header::HeaderValue;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_tests::registry::{Setup, TestRegistry};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_out_of_order_is_told_where_to_go_on() {
    let registry = Setup::default().start().await.unwrap();
    let admin = &registry.admin;
    let blob = bytes(900 * KIB);
    let upload = begin(&registry, admin, "a").await;
    patch(&registry, admin, &upload, Some((0, 399)), &blob[..400])
        .await
        .expect(202);
    for (first, last) in [(0, 399), (399, 500), (401, 500), (500_000, 500_100)] {
        let refused = patch(
            &registry,
            admin,
            &upload,
            Some((first, last)),
            &blob[first..=last],
        )
        .await
        .expect(416);
        assert_eq!(refused.header("range"), "0-399", "{first}");
        assert_eq!(refused.header("location"), upload);
    }
    assert_eq!(received(&registry, admin, &upload).await, 400);
    patch(
        &registry,
        admin,
        &upload,
        Some((400, blob.len() - 1)),
        &blob[400..],
    )
    .await
    .expect(202);
    finish(&registry, admin, &upload, &Digest::sha256(&blob), b"")
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn space_that_was_announced_and_not_used_is_given_back_after_a_cut() {
    use std::os::unix::fs::MetadataExt as _;
    let mut registry = Setup::default().start().await.unwrap();
    let admin = registry.admin.clone();
    let blob = bytes(2 * MIB);
    let allocated = |registry: &TestRegistry| -> u64 {
        let files = registry.files("uploads").into_iter();
        let found = files.filter_map(|file| std::fs::metadata(file).ok());
        found.map(|found| found.blocks() * 512).sum()
    };
    // The client goes away, and the server.
    for killed in [false, true] {
        let upload = begin(&registry, &admin, "a").await;
        let mut raw = Raw::head(&registry, &admin, "PATCH", &upload, 32 * MIB);
        raw.send(&blob);
        let deadline = Instant::now() + Duration::from_secs(30);
        while allocated(&registry) < 32 << 20 {
            assert!(Instant::now() < deadline, "nothing was reserved");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if killed {
            registry.crash().await.unwrap();
        }
        drop(raw);
        while allocated(&registry) > 3 << 20 {
            assert!(Instant::now() < deadline, "the space is still reserved");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        delete(&registry, &admin, &upload).await.expect(204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_concurrent_patches_for_one_place_one_is_taken() {
    let registry = Setup::default().start().await.unwrap();
    let admin = &registry.admin;
    let blob = bytes(2 * MIB);
    for _ in 0..3 {
        let upload = begin(&registry, admin, "a").await;
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let request = registry
                .request(admin, Method::PATCH, &upload)
                .header("content-range", format!("0-{}", MIB - 1));
            writers.spawn(send(request.body(blob[..MIB].to_vec())));
        }
        let mut statuses: Vec<u16> = writers
            .join_all()
            .await
            .iter()
            .map(|answer| answer.status)
            .collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [202, 416, 416, 416, 416, 416, 416, 416]);
        finish(
            &registry,
            admin,
            &upload,
            &Digest::sha256(&blob),
            &blob[MIB..],
        )
        .await
        .expect(201);
    }
}

/// Waits until the status of an upload says that so many bytes have come. It waits for the writer before it, so it is
/// true at once, but the server may see a cut later.
async fn arrived(registry: &TestRegistry, upload: &str, bytes: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let there = received(registry, &registry.admin, upload).await;
        if there == bytes as u64 {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{bytes} bytes were sent, the status says {there}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_loses_nothing_that_was_received() {
    let registry = Setup::default().start().await.unwrap();
    let admin = &registry.admin;
    let blob = bytes(4 * MIB);
    let upload = begin(&registry, admin, "a").await;
    let mut offset = 0;
    for cut in [10, 70 * KIB, MIB + 5, 2 * MIB] {
        let mut raw = Raw::head(&registry, admin, "PATCH", &upload, blob.len() - offset);
        raw.send(&blob[offset..cut]);
        drop(raw);
        arrived(&registry, &upload, cut).await;
        offset = cut;
    }
    finish(
        &registry,
        admin,
        &upload,
        &Digest::sha256(&blob),
        &blob[offset..],
    )
    .await
    .expect(201);
    assert_eq!(
        get(
            &registry,
            admin,
            &format!("/v2/a/blobs/{}", Digest::sha256(&blob))
        )
        .await
        .expect(200)
        .body,
        blob
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_is_cut_can_be_sent_again_from_where_it_stood() {
    let registry = Setup::default().start().await.unwrap();
    let admin = &registry.admin;
    let blob = bytes(2 * MIB);
    let digest = Digest::sha256(&blob);
    let upload = begin(&registry, admin, "a").await;
    let path = format!("{upload}?digest={digest}");
    let mut offset = 0;
    // Also as early as within a small blob.
    for cut in [50 * KIB, MIB] {
        let mut raw = Raw::head(&registry, admin, "PUT", &path, blob.len() - offset);
        raw.send(&blob[offset..cut]);
        drop(raw);
        arrived(&registry, &upload, cut).await;
        offset = cut;
    }
    assert_eq!(
        head(&registry, admin, &format!("/v2/a/blobs/{digest}"))
            .await
            .status,
        404
    );
    finish(&registry, admin, &upload, &digest, &blob[MIB..])
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_upload_is_gone_with_its_bytes() {
    let registry = Setup::default().start().await.unwrap();
    let admin = &registry.admin;
    let upload = begin(&registry, admin, "a").await;
    patch(&registry, admin, &upload, None, &bytes(MIB))
        .await
        .expect(202);
    delete(&registry, admin, &upload).await.expect(204);
    assert!(registry.files("uploads").is_empty());
    get(&registry, admin, &upload).await.expect(404);
    patch(&registry, admin, &upload, None, b"x")
        .await
        .expect(404);
    let answer = finish(&registry, admin, &upload, &Digest::sha256(b"x"), b"x")
        .await
        .expect(404);
    assert_eq!(answer.code(), "BLOB_UPLOAD_UNKNOWN");
    delete(&registry, admin, &upload).await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_given_up_while_it_is_sent() {
    let registry = Setup::default().start().await.unwrap();
    let admin = &registry.admin;
    let upload = begin(&registry, admin, "a").await;
    let mut raw = Raw::head(&registry, admin, "PATCH", &upload, MIB);
    raw.send("some of it");
    let started = Instant::now();
    while registry.files("uploads").is_empty() {
        assert!(started.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    delete(&registry, admin, &upload).await.expect(204);
    assert!(registry.files("uploads").is_empty());
    get(&registry, admin, &upload).await.expect(404);
    let answer = tokio::task::spawn_blocking(move || raw.rest())
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_belongs_to_its_repository() {
    let registry = Setup::default().start().await.unwrap();
    let admin = &registry.admin;
    let upload = begin(&registry, admin, "a").await;
    let elsewhere = upload.replace("/v2/a/", "/v2/b/");
    get(&registry, admin, &elsewhere).await.expect(404);
    patch(&registry, admin, &elsewhere, None, b"x")
        .await
        .expect(404);
    finish(&registry, admin, &elsewhere, &Digest::sha256(b"x"), b"x")
        .await
        .expect(404);
    delete(&registry, admin, &elsewhere).await.expect(404);
    get(&registry, admin, &upload).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_digest_leaves_nothing() {
    let registry = Setup::default().start().await.unwrap();
    let admin = &registry.admin;
    for len in [10, 65 * KIB, 2 * MIB] {
        let (blob, other) = (bytes(len), Digest::sha256(&bytes(len)));
        let one = registry.request(
            admin,
            Method::POST,
            &format!("/v2/a/blobs/uploads/?digest={other}"),
        );
        let refused = send(one.body(blob.clone())).await.expect(400);
        assert_eq!(refused.code(), "DIGEST_INVALID");
        assert_eq!(
            refused.detail()["actual"],
            Digest::sha256(&blob).to_string()
        );
        let upload = begin(&registry, admin, "a").await;
        patch(&registry, admin, &upload, None, &blob[..len / 2])
            .await
            .expect(202);
        finish(&registry, admin, &upload, &other, &blob[len / 2..])
            .await
            .expect(400);
        for digest in [other, Digest::sha256(&blob)] {
            assert_eq!(
                head(&registry, admin, &format!("/v2/a/blobs/{digest}"))
                    .await
                    .status,
                404
            );
        }
        get(&registry, admin, &upload).await.expect(404);
    }
    assert!(registry.files("uploads").is_empty() && registry.objects().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_algorithm_is_checked_and_served() {
    let registry = Setup::default().start().await.unwrap();
    let admin = &registry.admin;
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Blake3] {
        for len in [0, 1, 64 * KIB, 64 * KIB + 1, MIB + 1] {
            let blob = bytes(len);
            let digest = Digest::of(algorithm, &blob);
            // Announced, and not: then the server has hashed with another one and reads the bytes again.
            for announce in [
                format!(
                    "?digest-algorithm={algorithm}",
                    algorithm = algorithm.as_str()
                ),
                String::new(),
            ] {
                let begun = send(registry.request(
                    admin,
                    Method::POST,
                    &format!("/v2/a/blobs/uploads/{announce}"),
                ))
                .await
                .expect(202);
                let upload = begun.header("location").to_owned();
                if len > 0 {
                    patch(&registry, admin, &upload, None, &blob[..len / 2])
                        .await
                        .expect(202);
                }
                finish(&registry, admin, &upload, &digest, &blob[len / 2..])
                    .await
                    .expect(201);
            }
            let got = get(&registry, admin, &format!("/v2/a/blobs/{digest}"))
                .await
                .expect(200);
            assert!(got.body == blob && got.header("docker-content-digest") == digest.to_string());
            let wrong = Digest::of(algorithm, b"something else");
            let refused = registry.request(
                admin,
                Method::POST,
                &format!("/v2/a/blobs/uploads/?digest={wrong}"),
            );
            send(refused.body(blob)).await.expect(400);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_is_not_true_is_refused() {
    let registry = Setup::default().start().await.unwrap();
    let admin = &registry.admin;
    let upload = begin(&registry, admin, "a").await;
    for (last, chunk) in [(9, &b"only nine"[..]), (4, &b"more than that"[..])] {
        let refused = patch(&registry, admin, &upload, Some((0, last)), chunk)
            .await
            .expect(400);
        assert_eq!(refused.code(), "SIZE_INVALID");
        assert_eq!(refused.header("location"), upload);
        assert_eq!(refused.header("range"), "0-0");
        assert_eq!(received(&registry, admin, &upload).await, 0);
    }
    // Nor is a place that cannot be read any place.
    let request = registry.request(admin, Method::PATCH, &upload).header(
        "content-range",
        HeaderValue::from_bytes(b"0-4\xff").unwrap(),
    );
    send(request.body("hello")).await.expect(400);
    assert_eq!(received(&registry, admin, &upload).await, 0);
    let refused = patch(&registry, admin, &upload, Some((9, 0)), b"x").await;
    assert!((400..500).contains(&refused.status), "{}", refused.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_come_from_what_the_caller_may_read() {
    let access = "[[access]]\nrepositories = [\"open\"]\nwho = [\"user:eve\"]\nverbs = [\"pull\"]\n[[access]]\nrepositories = [\"mine\"]\nwho = [\"user:eve\"]\nverbs = [\"push\"]\n";
    let registry = Setup {
        access: access.into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let eve = registry.account("eve", "user").await.unwrap();
    let admin = &registry.admin;
    let (open, hidden) = (
        push_image(&registry, admin, "open", Some("v1"), MIB).await,
        push_image(&registry, admin, "hidden", Some("v1"), MIB).await,
    );
    let staged = push_image(&registry, admin, "open", None, MIB).await;
    let mount = |query: String| {
        send(registry.request(
            &eve,
            Method::POST,
            &format!("/v2/mine/blobs/uploads/?{query}"),
        ))
    };
    for digest in [hidden.layer, staged.layer, Digest::sha256(b"nowhere")] {
        for from in ["&from=hidden", "&from=open", "&from=missing", ""] {
            let answer = mount(format!("mount={digest}{from}")).await.expect(202);
            assert!(
                answer
                    .header("location")
                    .starts_with("/v2/mine/blobs/uploads/")
            );
        }
        assert_eq!(
            head(&registry, &eve, &format!("/v2/mine/blobs/{digest}"))
                .await
                .status,
            404
        );
    }
    mount(format!("mount={}&from=hidden", open.layer))
        .await
        .expect(202);
    let mounted = mount(format!("mount={}&from=open", open.layer))
        .await
        .expect(201);
    assert_eq!(
        mounted.header("location"),
        format!("/v2/mine/blobs/{}", open.layer)
    );
    let other = push_image(&registry, admin, "open", Some("v2"), 100).await;
    mount(format!("mount={}", other.layer)).await.expect(201);
    assert_eq!(
        get(&registry, &eve, &format!("/v2/mine/blobs/{}", other.layer))
            .await
            .expect(200)
            .body,
        other.blob
    );
}

/// Clients of the token flow hold a token for the repository that they push to. One that names a source can ask
/// for that as well; one that names none would take a challenge for a refusal.
#[tokio::test(flavor = "multi_thread")]
async fn a_mount_asks_for_another_scope_only_where_a_source_is_named() {
    let access = "[[access]]\nrepositories = [\"open\"]\nwho = [\"user:eve\"]\nverbs = [\"pull\"]\n[[access]]\nrepositories = [\"mine\"]\nwho = [\"user:eve\"]\nverbs = [\"pull\", \"push\"]\n";
    let registry = Setup {
        access: access.into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let eve = registry.account("eve", "user").await.unwrap();
    let open = push_image(&registry, &registry.admin, "open", Some("v1"), 100).await;
    let hidden = push_image(&registry, &registry.admin, "hidden", Some("v1"), 100).await;
    let token = async |scopes: &[&str]| {
        let query: Vec<String> = scopes
            .iter()
            .map(|scope| format!("&scope={scope}"))
            .collect();
        let path = format!("/token?service=sealstone{}", query.concat());
        let answer = get(&registry, &eve, &path).await.expect(200).json();
        answer["token"].as_str().unwrap().to_owned()
    };
    let mount = async |token: &str, query: String| {
        let url = registry.url(&format!("/v2/mine/blobs/uploads/?{query}"));
        send(registry.http.post(url).bearer_auth(token)).await
    };
    let (source, target) = ("repository:open:pull", "repository:mine:pull,push");
    let narrow = token(&[target]).await;
    let refused = mount(&narrow, format!("mount={}&from=open", open.layer))
        .await
        .expect(401);
    let challenge = refused.header("www-authenticate");
    for part in ["error=\"insufficient_scope\"", source, "repository:mine:"] {
        assert!(challenge.contains(part), "{challenge}");
    }
    for query in [
        format!("mount={}", open.layer),
        format!("mount={}", hidden.layer),
        format!("mount={}&from=hidden", hidden.layer),
        format!("mount={}&from=missing", open.layer),
    ] {
        let answer = mount(&narrow, query).await.expect(202);
        let upload = answer.header("location");
        assert!(upload.starts_with("/v2/mine/blobs/uploads/"), "{upload}");
    }
    let wide = token(&[target, source]).await;
    mount(&wide, format!("mount={}", open.layer))
        .await
        .expect(201);
    let path = format!("/v2/mine/blobs/{}", open.layer);
    assert_eq!(
        get(&registry, &eve, &path).await.expect(200).body,
        open.blob
    );
    delete(&registry, &registry.admin, &path).await.expect(202);
    mount(&wide, format!("mount={}&from=open", open.layer))
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stands_still_is_cut_and_its_bytes_are_kept() {
    let registry = Setup {
        server: "idle_timeout_seconds = 3\n".into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let admin = &registry.admin;
    let blob = bytes(400 * KIB);
    let upload = begin(&registry, admin, "a").await;
    let mut raw = Raw::head(&registry, admin, "PATCH", &upload, blob.len());
    raw.send(&blob[..300 * KIB]);
    let started = Instant::now();
    let answer = tokio::task::spawn_blocking(move || raw.rest())
        .await
        .unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(20) && answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
    assert_eq!(received(&registry, admin, &upload).await, 300 * KIB as u64);
    // A body that trickles is slow, but it comes: it is not cut, though the whole takes longer than it may stand still.
    let mut raw = Raw::head(&registry, admin, "PATCH", &upload, 5);
    for byte in 0..5 {
        raw.send(&blob[300 * KIB + byte..][..1]);
        tokio::time::sleep(Duration::from_millis(800)).await;
    }
    arrived(&registry, &upload, 300 * KIB + 5).await;
    finish(
        &registry,
        admin,
        &upload,
        &Digest::sha256(&blob),
        &blob[300 * KIB + 5..],
    )
    .await
    .expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_is_cut() {
    let registry = Setup {
        server: "head_timeout_seconds = 1\nidle_timeout_seconds = 2\n".into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    for beginning in [
        "GET /v2/ HTTP/1.1\r\nHost: x\r\n",
        "GET /v",
        "PRI * HT",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "P",
        "G",
        "",
    ] {
        let mut raw = Raw::connect(&registry);
        raw.send(beginning);
        let closed =
            tokio::task::spawn_blocking(move || raw.closes_within(Duration::from_secs(10)))
                .await
                .unwrap();
        assert!(
            closed,
            "a connection that sent {beginning:?} is open after 10 seconds"
        );
    }
    // And one that waits between requests.
    let mut raw = Raw::connect(&registry);
    raw.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    let closed = tokio::task::spawn_blocking(move || raw.closes_within(Duration::from_secs(10)))
        .await
        .unwrap();
    assert!(closed, "an idle connection is open after 10 seconds");
}
