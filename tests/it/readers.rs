//! Readers that are slow, and those that take nothing at all.

use crate::content::*;
use crate::raw::Raw;
use sealstone_spec::digest::Digest;
use sealstone_tests::registry::{Setup, TestRegistry};
use std::io::Read as _;
use std::time::{Duration, Instant};

/// More than the system's buffers hold between two sockets.
const LEN: usize = 64 * MIB;

/// A server with one place, and a blob.
async fn ready() -> (TestRegistry, Vec<u8>, String) {
    let registry = Setup {
        server: "idle_timeout_seconds = 3\nmax_connections = 1\n".into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let blob = bytes(LEN);
    let digest = push_blob(&registry, &registry.admin, "a", &blob).await;
    let path = format!("/v2/a/blobs/{digest}");
    (registry, blob, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_gives_its_place_up() {
    let (registry, _, path) = ready().await;
    let stalled = Raw::head(&registry, &registry.admin, "GET", &path, 0);
    let mut first = [0; 12];
    (&stalled.0).read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    // The only place is taken, until the reader has taken nothing for long enough.
    let started = Instant::now();
    let others = registry.http.get(registry.url("/livez"));
    let answer = send(others.timeout(Duration::from_secs(30))).await;
    assert_eq!(answer.status, 200);
    assert!(
        started.elapsed() > Duration::from_millis(500),
        "the place was free: {:?}",
        started.elapsed()
    );
    // What it gets now is what was on its way, and no more.
    let mut rest = Vec::new();
    let _ = (&stalled.0).read_to_end(&mut rest);
    assert!(rest.len() < LEN, "{} bytes came after all", rest.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_not_cut() {
    let (registry, blob, path) = ready().await;
    let mut raw = Raw::head(&registry, &registry.admin, "GET", &path, 0);
    let read = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        let mut all = Vec::new();
        let mut piece = vec![0; MIB];
        // More than twice as long as one that stands still, and not all of it.
        while started.elapsed() < Duration::from_secs(8) {
            raw.0.read_exact(&mut piece).unwrap();
            all.extend_from_slice(&piece);
            std::thread::sleep(Duration::from_millis(200));
        }
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let mut rest = vec![0; end + LEN - all.len()];
        raw.0.read_exact(&mut rest).unwrap();
        all.extend(rest);
        all.split_off(end)
    });
    let found = read.await.unwrap();
    assert_eq!(Digest::sha256(&found), Digest::sha256(&blob));
}
