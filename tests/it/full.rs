//! Disks and tables of open files that are full: a clear answer, no half state, and on with it afterwards.

use crate::content::*;
use crate::raw::Raw;
use reqwest::Method;
use sealstone_spec::digest::Digest;
use sealstone_tests::registry::{Setup, TestRegistry};
use sealstone_tests::skips;
use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A small file system, unmounted with this value.
struct Small(tempfile::TempDir);

impl Small {
    /// `None`, said aloud, where mounting is not permitted.
    fn mount(mib: usize) -> Option<Small> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(directory.path())
            .output();
        if mounted.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Small(directory));
        }
        skips::not_possible(&format!("a tmpfs cannot be mounted here: {mounted:?}"));
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn data(&self) -> Option<PathBuf> {
        Some(self.path().join("data"))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_larger_than_the_disk_is_refused_and_leaves_nothing() {
    let Some(disk) = Small::mount(64) else { return };
    let mut registry = Setup {
        data: disk.data(),
        reserve_bytes: 16 << 20,
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let admin = registry.admin.clone();
    let kept = push_image(&registry, &admin, "a", Some("v1"), MIB).await;
    let blob = bytes(56 * MIB);
    let digest = Digest::sha256(&blob);
    // Announced: refused before the first byte. The server may answer while the client still sends.
    let post = registry
        .request(
            &admin,
            Method::POST,
            &format!("/v2/a/blobs/uploads/?digest={digest}"),
        )
        .body(blob.clone());
    if let Ok(answer) = post.send().await {
        let answer = Answer::of(answer).await.expect(507);
        assert_eq!(answer.detail()["reason"], "storage_full");
    }
    // In chunks: refused when it gets too much; what was acknowledged before stays, and can be given up.
    let upload = begin(&registry, &admin, "a").await;
    let (mut offset, mut refused) = (0, false);
    while offset < blob.len() {
        let part = &blob[offset..(offset + 4 * MIB).min(blob.len())];
        let answer = patch(
            &registry,
            &admin,
            &upload,
            Some((offset, offset + part.len() - 1)),
            part,
        )
        .await;
        if answer.status == 507 {
            refused = true;
            break;
        }
        answer.expect(202);
        offset += part.len();
    }
    assert!(
        refused,
        "56 MiB went to a disk of 64 MiB with 16 MiB in reserve"
    );
    assert_eq!(received(&registry, &admin, &upload).await, offset as u64);
    head(&registry, &admin, &format!("/v2/a/blobs/{digest}"))
        .await
        .expect(404);
    // Meanwhile everything else is served, and the server says that it is not ready for more.
    assert_eq!(
        get(&registry, &admin, &format!("/v2/a/blobs/{}", kept.layer))
            .await
            .expect(200)
            .body,
        kept.blob
    );
    delete(&registry, &admin, &upload).await.expect(204);
    assert!(registry.files("uploads").is_empty());
    push_image(&registry, &admin, "a", Some("v2"), 4 * MIB).await;
    registry.crash().await.unwrap();
    assert_eq!(
        get(&registry, &admin, "/v2/a/manifests/v1")
            .await
            .expect(200)
            .body,
        kept.manifest
    );
    assert!(
        registry.files("uploads").is_empty(),
        "{:?}",
        registry.files("uploads")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_others_fill_is_survived() {
    let Some(disk) = Small::mount(48) else { return };
    let mut registry = Setup {
        data: disk.data(),
        reserve_bytes: 4 << 20,
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let admin = registry.admin.clone();
    let kept = push_image(&registry, &admin, "a", Some("v1"), MIB).await;
    let upload = begin(&registry, &admin, "a").await;
    let part = bytes(2 * MIB);
    patch(&registry, &admin, &upload, None, &part)
        .await
        .expect(202);
    // To the last byte: now the reserve is gone as well.
    let ballast = disk.path().join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut file, &[1; 64 * KIB]).is_ok() {}
    while std::io::Write::write_all(&mut file, &[1; 512]).is_ok() {}
    let more = patch(&registry, &admin, &upload, None, &part)
        .await
        .expect(507);
    assert_eq!(more.detail()["reason"], "storage_full");
    send(registry.request(&admin, Method::POST, "/v2/a/blobs/uploads/"))
        .await
        .expect(507);
    // The reserve is not for tokens either, which no quota counts.
    let wanted =
        serde_json::json!({"name": "t", "scopes": [{"repositories": ["**"], "verbs": ["pull"]}]});
    let token = registry.request(&admin, Method::POST, "/api/v1/tokens");
    send(token.json(&wanted)).await.expect(507);
    assert_eq!(
        get(&registry, &admin, &format!("/v2/a/blobs/{}", kept.layer))
            .await
            .expect(200)
            .body,
        kept.blob
    );
    get(&registry, &admin, "/readyz").await.expect(503);
    get(&registry, &admin, "/livez").await.expect(200);
    // Tags and manifests: told so, or done; never half.
    let mut manifest = manifest(&[&kept.blob]);
    manifest["annotations"] = serde_json::json!({"fill": "x".repeat(MIB)});
    let manifest = manifest.to_string();
    let put = put_manifest(&registry, &admin, "a", "v2", manifest.as_bytes()).await;
    assert!(put.status == 201 || put.status >= 500, "{}", put.status);
    drop(file);
    std::fs::remove_file(&ballast).unwrap();
    // Freed: it goes on by itself, or else after a restart, and the log says why.
    let mut recovered = false;
    for _ in 0..50 {
        let again = registry
            .request(&admin, Method::POST, "/v2/a/blobs/uploads/")
            .send()
            .await
            .unwrap();
        if again.status() == 202 {
            recovered = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(recovered, "the server does not go on after space was freed");
    let tag = get(&registry, &admin, "/v2/a/manifests/v2").await;
    assert!(
        tag.status == 404 && put.status != 201 || tag.body == manifest.as_bytes(),
        "{} after {}",
        tag.status,
        put.status
    );
    patch(&registry, &admin, &upload, None, &part)
        .await
        .expect(202);
    let whole = [part.clone(), part].concat();
    finish(&registry, &admin, &upload, &Digest::sha256(&whole), b"")
        .await
        .expect(201);
    registry.crash().await.unwrap();
    assert_eq!(
        get(
            &registry,
            &admin,
            &format!("/v2/a/blobs/{}", Digest::sha256(&whole))
        )
        .await
        .expect(200)
        .body,
        whole
    );
    assert_eq!(
        get(&registry, &admin, "/v2/a/manifests/v1")
            .await
            .expect(200)
            .body,
        kept.manifest
    );
}

/// Whether the number of files that a process may open can be set; said aloud where it cannot.
fn files_can_be_limited() -> bool {
    let found = Command::new("prlimit").arg("--version").output().is_ok();
    if !found {
        skips::not_installed("prlimit (util-linux)");
    }
    found
}

/// A server that may open so many files.
fn with_files(limit: u32) -> Setup {
    let wrapper = ["prlimit".to_owned(), format!("--nofile={limit}:{limit}")];
    Setup {
        wrapper: wrapper.to_vec(),
        ..Setup::default()
    }
}

/// Bytes of a blob that lies in the metadata store.
const SMALL: usize = 60_000;

/// Pushes a blob over the one connection that there is, or over a new one: what the server says. A client with a pool opens
/// another connection whenever the last one is not back yet, and the server can take none.
fn push_over(kept: &mut Option<Raw>, registry: &TestRegistry, blob: Vec<u8>) -> u16 {
    let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(&blob));
    let raw = kept.get_or_insert_with(|| Raw::connect(registry));
    raw.send(Raw::head_of(
        registry,
        &registry.admin,
        "POST",
        &path,
        blob.len(),
    ));
    raw.send(&blob);
    let (status, closes) = raw.answer();
    if closes {
        *kept = None;
    }
    status
}

/// Pushes more small blobs than the metadata store keeps in memory, so that it needs other files: the last answer, which
/// is the first that is not 201.
fn fill_memory(kept: &mut Option<Raw>, registry: &TestRegistry) -> u16 {
    for _ in 0..24 * MIB / SMALL {
        let status = push_over(kept, registry, bytes(SMALL));
        if status != 201 {
            return status;
        }
    }
    201
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_open_files_are_survived() {
    if !files_can_be_limited() {
        return;
    }
    let mut registry = with_files(80).start().await.unwrap();
    let admin = registry.admin.clone();
    let image = push_image(&registry, &admin, "a", Some("v1"), MIB).await;
    // Requests that were accepted hold a connection each; uploads need two files more.
    let mut held = Vec::new();
    for _ in 0..120 {
        if let Ok(stream) = TcpStream::connect(registry.address()) {
            held.push(stream);
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(held);
    let mut uploads = Vec::new();
    for _ in 0..3 {
        uploads.push(begin(&registry, &admin, "a").await);
    }
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..60 {
        let blob = bytes(300 * KIB + number);
        let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(&blob));
        let post = registry
            .request(&admin, Method::POST, &path)
            .body(blob)
            .timeout(Duration::from_secs(60));
        writers.spawn(async move {
            match post.send().await {
                Ok(answer) => Answer::of(answer).await.status,
                Err(_) => 0,
            }
        });
    }
    for status in writers.join_all().await {
        assert!([0, 201, 503].contains(&status), "{status}");
    }
    // Over: everything works again, and nothing is half there.
    let again = push_image(&registry, &admin, "a", Some("v2"), 2 * MIB).await;
    for image in [&image, &again] {
        assert_eq!(
            get(&registry, &admin, &format!("/v2/a/blobs/{}", image.layer))
                .await
                .expect(200)
                .body,
            image.blob
        );
    }
    assert!(
        registry.log().contains("Too many open files")
            || registry.log().contains("too many open files"),
        "the log must say it"
    );
    registry.kill().unwrap();
    registry.setup().wrapper = Vec::new();
    registry.start().await.unwrap();
    let scrub = send(registry.request(&admin, Method::POST, "/api/v1/scrub"))
        .await
        .expect(200)
        .json();
    assert_eq!(scrub["damaged"], serde_json::json!([]));
}

/// Whoever only connects does not even log in.
#[tokio::test(flavor = "multi_thread")]
async fn connections_do_not_take_the_files_that_the_metadata_store_needs() {
    if !files_can_be_limited() {
        return;
    }
    let registry = with_files(160).start().await.unwrap();
    let said = "there are places for 40 connections";
    assert!(registry.log().contains(said), "{}", registry.log());
    let mut connection = None;
    assert_eq!(push_over(&mut connection, &registry, bytes(SMALL)), 201);
    let mut held = Vec::new();
    // More than it may open in all, and no more than fit into its places and the queue before them: others would wait for
    // seconds, while the first connection stands idle.
    for _ in 0..165 {
        held.extend(TcpStream::connect(registry.address()));
    }
    assert!(held.len() > 160, "{} connections", held.len());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(fill_memory(&mut connection, &registry), 201);
    drop(held);
    let admin = registry.admin.clone();
    push_image(&registry, &admin, "a", Some("v1"), MIB).await;
    get(&registry, &admin, "/readyz").await.expect(200);
}

/// The lowest descriptor that a process has not got: the next one that it would.
fn lowest_free(process: u32) -> usize {
    let listed = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let names = listed.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let taken: BTreeSet<usize> = names.map(|name| name.parse().unwrap()).collect();
    (0..).find(|number| !taken.contains(number)).unwrap()
}

fn set_limit(process: u32, files: usize) {
    let set = Command::new("prlimit")
        .args(["--pid", &process.to_string(), &format!("--nofile={files}:")])
        .output()
        .unwrap();
    assert!(set.status.success(), "{set:?}");
}

/// One file that it cannot open, and RocksDB takes no write any more, however many it could open later.
#[tokio::test(flavor = "multi_thread")]
async fn a_metadata_store_that_takes_no_write_any_more_ends_the_server() {
    if !files_can_be_limited() {
        return;
    }
    let mut registry = Setup::default().start().await.unwrap();
    let admin = registry.admin.clone();
    let mut connection = None;
    let kept = bytes(SMALL);
    let path = format!("/v2/a/blobs/{}", Digest::sha256(&kept));
    assert_eq!(push_over(&mut connection, &registry, kept.clone()), 201);
    let process = registry.process().unwrap();
    set_limit(process, lowest_free(process));
    assert_eq!(fill_memory(&mut connection, &registry), 503);
    set_limit(process, 1024);
    assert_eq!(push_over(&mut connection, &registry, bytes(SMALL)), 503);
    get(&registry, &admin, "/readyz").await.expect(503);
    let deadline = Instant::now() + Duration::from_secs(25);
    while get(&registry, &admin, "/livez").await.status != 503 {
        assert!(Instant::now() < deadline, "it does not say so");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // What is there can be read until the end.
    assert_eq!(get(&registry, &admin, &path).await.expect(200).body, kept);
    let ended = registry.ended().await.unwrap();
    assert_eq!(ended.code(), Some(1));
    assert!(registry.log().contains("only another start helps"));

    registry.start().await.unwrap();
    assert_eq!(get(&registry, &admin, &path).await.expect(200).body, kept);
    push_image(&registry, &admin, "a", Some("v1"), MIB).await;
    get(&registry, &admin, "/readyz").await.expect(200);

    // It comes again at once, as what a start does not mend: to end every minute would take the reads as well.
    let mut connection = None;
    assert_eq!(push_over(&mut connection, &registry, bytes(SMALL)), 201);
    let process = registry.process().unwrap();
    set_limit(process, lowest_free(process));
    assert_eq!(fill_memory(&mut connection, &registry), 503);
    set_limit(process, 1024);
    let deadline = Instant::now() + Duration::from_secs(25);
    while !registry.log().contains("another start did not help lately") {
        assert!(Instant::now() < deadline, "it does not say so");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    get(&registry, &admin, "/livez").await.expect(200);
    get(&registry, &admin, "/readyz").await.expect(503);
    assert_eq!(get(&registry, &admin, &path).await.expect(200).body, kept);
}
