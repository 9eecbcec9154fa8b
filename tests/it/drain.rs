//! Stopping without dropping anybody, and encrypted connections.

use crate::content::*;
use crate::raw::Raw;
use sealstone_spec::digest::Digest;
use sealstone_tests::registry::{Setup, TestRegistry, User};
use sealstone_tests::skips;
use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

/// Waits until the server has taken the first MIB of the body: what comes later may be cut when it ends.
async fn bytes_arrive(registry: &TestRegistry) {
    for _ in 0..600 {
        let taken = registry.metric("sealstone_blob_bytes_received", "");
        if taken.await.unwrap() >= MIB as f64 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not all bytes of the upload arrived within 30 seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_upload_ends_before_the_server_does() {
    let mut registry = Setup::default().start().await.unwrap();
    let admin = registry.admin.clone();
    let blob = bytes(2 * MIB);
    let digest = Digest::sha256(&blob);
    let upload = begin(&registry, &admin, "a").await;
    let mut raw = Raw::head(
        &registry,
        &admin,
        "PUT",
        &format!("{upload}?digest={digest}"),
        blob.len(),
    );
    raw.send(&blob[..MIB]);
    bytes_arrive(&registry).await;
    registry.terminate().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let answers = async || {
        let asked = registry.http.get(registry.url("/livez"));
        asked.send().await.is_ok()
    };
    while answers().await {
        assert!(
            Instant::now() < deadline,
            "a stopping server takes no new connections"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    raw.send(&blob[MIB..]);
    let answer = tokio::task::spawn_blocking(move || raw.rest())
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(registry.ended().await.unwrap().success());
    registry.start().await.unwrap();
    assert_eq!(
        get(&registry, &admin, &format!("/v2/a/blobs/{digest}"))
            .await
            .expect(200)
            .body,
        blob
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_does_not_end_is_cut_and_its_bytes_are_kept() {
    let mut registry = Setup {
        server: "drain_seconds = 1\nidle_timeout_seconds = 2\n".into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let admin = registry.admin.clone();
    let blob = bytes(2 * MIB);
    let upload = begin(&registry, &admin, "a").await;
    let mut raw = Raw::head(&registry, &admin, "PATCH", &upload, blob.len());
    raw.send(&blob[..MIB]);
    bytes_arrive(&registry).await;
    registry.terminate().unwrap();
    assert!(registry.ended().await.unwrap().success());
    drop(raw);
    registry.start().await.unwrap();
    assert_eq!(received(&registry, &admin, &upload).await, MIB as u64);
    finish(
        &registry,
        &admin,
        &upload,
        &Digest::sha256(&blob),
        &blob[MIB..],
    )
    .await
    .expect(201);
}

/// Bytes that come all the time, and slowly: no piece is late, and the whole would take minutes.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_trickles_does_not_hold_up_the_end() {
    for ends in [false, true] {
        let mut registry = Setup {
            server: "drain_seconds = 1\nidle_timeout_seconds = 60\n".into(),
            ..Setup::default()
        }
        .start()
        .await
        .unwrap();
        let admin = registry.admin.clone();
        let blob = bytes(3 * MIB);
        let digest = Digest::sha256(&blob);
        let upload = begin(&registry, &admin, "a").await;
        let mut raw = if ends {
            let path = format!("{upload}?digest={digest}");
            Raw::head(&registry, &admin, "PUT", &path, blob.len())
        } else {
            Raw::head(&registry, &admin, "PATCH", &upload, blob.len())
        };
        raw.send(&blob[..MIB]);
        bytes_arrive(&registry).await;
        let rest = blob[MIB..].to_vec();
        let trickle = std::thread::spawn(move || {
            for piece in rest.chunks(1000) {
                if raw.0.write_all(piece).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        registry.terminate().unwrap();
        let started = Instant::now();
        assert!(registry.ended().await.unwrap().success());
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "it took {:?}",
            started.elapsed()
        );
        trickle.join().unwrap();
        registry.start().await.unwrap();
        let there = usize::try_from(received(&registry, &admin, &upload).await).unwrap();
        assert!((MIB..blob.len()).contains(&there), "{there}");
        finish(&registry, &admin, &upload, &digest, &blob[there..])
            .await
            .expect(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_server_stops_at_once_and_only_one_serves_the_data() {
    let mut registry = Setup::default().start().await.unwrap();
    let second = registry.run(&["verify-store"]).unwrap();
    assert!(
        !second.status.success(),
        "two processes on one data directory"
    );
    assert!(!second.stderr.is_empty());
    registry.terminate().unwrap();
    let started = Instant::now();
    assert!(registry.ended().await.unwrap().success());
    assert!(started.elapsed() < Duration::from_secs(20));
}

/// A self-signed certificate; `None`, said aloud, where there is no openssl.
fn certificate(directory: &std::path::Path) -> Option<()> {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(directory.join("tls.key"))
        .arg("-out")
        .arg(directory.join("tls.crt"))
        .output();
    match made {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            Some(())
        }
        Err(error) => {
            skips::not_installed(&format!("openssl ({error})"));
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_everything_is_encrypted() {
    let mut registry = Setup::default().start().await.unwrap();
    registry.kill().unwrap();
    if certificate(registry.directory()).is_none() {
        return;
    }
    registry.setup().server =
        "tls_certificate = \"tls.crt\"\ntls_key = \"tls.key\"\nhead_timeout_seconds = 1\n".into();
    registry.start().await.unwrap();
    let admin = registry.admin.clone();
    let image = push_image(&registry, &admin, "a", Some("v1"), MIB).await;
    assert_eq!(
        get(&registry, &admin, &format!("/v2/a/blobs/{}", image.layer))
            .await
            .expect(200)
            .body,
        image.blob
    );
    let challenge = get(&registry, &User::nobody(), "/v2/").await.expect(401);
    assert!(
        challenge
            .header("www-authenticate")
            .contains("realm=\"https://"),
        "{}",
        challenge.header("www-authenticate")
    );
    // Who does not check the certificate's issuer by choice is refused by it.
    let strict = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(
        strict.get(registry.url("/livez")).send().await.is_err(),
        "the certificate is self-signed"
    );
    // In the clear nothing is said, and a handshake that does not come is cut.
    let mut raw = Raw::connect(&registry);
    raw.send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = tokio::task::spawn_blocking(move || raw.rest())
        .await
        .unwrap();
    assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
    let raw = Raw::connect(&registry);
    assert!(
        tokio::task::spawn_blocking(move || raw.closes_within(Duration::from_secs(10)))
            .await
            .unwrap()
    );
}
