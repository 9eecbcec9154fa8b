//! Bytes that changed on the disk: never one of them leaves the server.

use crate::content::*;
use crate::log::checkpoint_is_kept;
use reqwest::Method;
use sealstone_spec::digest::Digest;
use sealstone_tests::registry::{Setup, TestRegistry};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const GROUP: usize = 256 * KIB;

fn flip(path: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}

/// A registry with one released blob, and the file that holds it.
async fn stored(len: usize) -> (TestRegistry, Vec<u8>, String, PathBuf) {
    let registry = Setup::default().start().await.unwrap();
    let image = push_image(&registry, &registry.admin, "a", Some("v1"), len).await;
    let files = registry.objects();
    let [file] = &files[..] else {
        panic!("{files:?}")
    };
    let (path, file) = (format!("/v2/a/blobs/{}", image.layer), file.clone());
    (registry, image.blob, path, file)
}

/// What arrives, until the server ends it; and whether it came whole.
async fn arriving(registry: &TestRegistry, path: &str) -> (u16, Vec<u8>, bool) {
    let mut answer = registry
        .request(&registry.admin, Method::GET, path)
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    let mut all = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(piece)) => all.extend_from_slice(&piece),
            Ok(None) => return (status, all, true),
            Err(_) => return (status, all, false),
        }
    }
}

/// Whoever asks for the bytes is told of the damage, and gets none of them.
async fn assert_quarantined(registry: &TestRegistry, path: &str) {
    let (status, found, _) = arriving(registry, path).await;
    assert_eq!(status, 500);
    let answer: serde_json::Value = serde_json::from_slice(&found).unwrap();
    assert_eq!(answer["errors"][0]["detail"]["reason"], "damaged");
}

/// Pushes the blob again, which must make it readable again.
async fn repair(registry: &TestRegistry, blob: &[u8], path: &str) {
    assert_eq!(
        head(registry, &registry.admin, path).await.status,
        404,
        "a pusher must see that it has to send the blob again"
    );
    push_blob(registry, &registry.admin, "a", blob).await;
    let (status, found, whole) = arriving(registry, path).await;
    assert!(
        status == 200 && whole && found == blob,
        "not repaired: {status}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_ends_the_answer_before_its_group() {
    let (registry, blob, path, file) = stored(5 * MIB).await;
    flip(&file, (9 * GROUP + 77) as u64);
    let part = |first: usize, last: usize| {
        registry
            .request(&registry.admin, Method::GET, &path)
            .header("range", format!("bytes={first}-{last}"))
    };
    // A range that the damage does not touch is still true, and served.
    assert_eq!(
        send(part(100, 3 * GROUP)).await.expect(206).body,
        &blob[100..=3 * GROUP]
    );
    let (status, found, whole) = arriving(&registry, &path).await;
    assert!(status == 200 && !whole, "{status}, whole: {whole}");
    assert!(
        found.len() <= 9 * GROUP && blob.starts_with(&found),
        "{} bytes came",
        found.len()
    );
    assert!(
        found.len() >= 8 * GROUP,
        "groups before the damage are good, but only {} bytes came",
        found.len()
    );
    assert_quarantined(&registry, &path).await;
    assert_eq!(send(part(0, 10)).await.status, 500);
    assert!(
        registry
            .metric("sealstone_blob_verify_failures_total", "pull")
            .await
            .unwrap()
            >= 1.0
    );
    assert!(
        registry
            .metric("sealstone_blobs_quarantined", "")
            .await
            .unwrap()
            >= 1.0
    );
    assert!(registry.log().contains("quarantine"));
    repair(&registry, &blob, &path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_at_the_start_gives_an_error_and_no_byte() {
    let (registry, blob, path, file) = stored(3 * MIB).await;
    flip(&file, 5);
    let (status, found, _) = arriving(&registry, &path).await;
    assert_eq!(status, 500);
    assert!(!blob.starts_with(&found) && String::from_utf8_lossy(&found).contains("damaged"));
    assert_quarantined(&registry, &path).await;
    repair(&registry, &blob, &path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_touches_the_damage_is_cut_too() {
    let (registry, blob, path, file) = stored(3 * MIB).await;
    flip(&file, (7 * GROUP) as u64);
    let range = registry
        .request(&registry.admin, Method::GET, &path)
        .header("range", format!("bytes={}-", 2 * GROUP + 1));
    let mut answer = range.send().await.unwrap();
    assert_eq!(answer.status(), 206);
    let mut found = Vec::new();
    while let Ok(Some(piece)) = answer.chunk().await {
        found.extend_from_slice(&piece);
    }
    assert!(found.len() < 5 * GROUP && blob[2 * GROUP + 1..].starts_with(&found));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_tree_delivers_nothing() {
    // With the folded tree still in memory, and without it, after a restart.
    for restart in [false, true] {
        let (mut registry, blob, path, file) = stored(2 * MIB).await;
        assert!(arriving(&registry, &path).await.2);
        flip(&file, (blob.len() + 33) as u64);
        if restart {
            registry.crash().await.unwrap();
        }
        let (status, found, whole) = arriving(&registry, &path).await;
        assert!(
            status == 500 || (status == 200 && !whole && blob.starts_with(&found)),
            "{status}, {} bytes",
            found.len()
        );
        assert_quarantined(&registry, &path).await;
        repair(&registry, &blob, &path).await;
        let tree = path.replace("/blobs/", "/_sealstone/tree/");
        assert_eq!(
            get(&registry, &registry.admin, &tree)
                .await
                .expect(200)
                .body
                .len(),
            8 * 32
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_or_missing_file_is_noticed() {
    for keep in [Some(MIB as u64), Some(0), None] {
        let (mut registry, blob, path, file) = stored(3 * MIB).await;
        match keep {
            Some(len) => File::options()
                .write(true)
                .open(&file)
                .unwrap()
                .set_len(len)
                .unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        registry.crash().await.unwrap();
        let (status, found, whole) = arriving(&registry, &path).await;
        assert!(
            status != 200 || (!whole && blob.starts_with(&found)),
            "{keep:?}: {status}"
        );
        assert_quarantined(&registry, &path).await;
        repair(&registry, &blob, &path).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_blobs_bytes_are_not_taken_for_its_own() {
    let (registry, _, path, file) = stored(2 * MIB).await;
    push_blob(&registry, &registry.admin, "a", &bytes(2 * MIB)).await;
    let other = registry
        .objects()
        .into_iter()
        .find(|found| *found != file)
        .unwrap();
    std::fs::write(&file, std::fs::read(other).unwrap()).unwrap();
    let (status, found, _) = arriving(&registry, &path).await;
    assert!(status == 500 && found.len() < 2000, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_store_names_the_damage_and_fails() {
    let (mut registry, blob, path, file) = stored(2 * MIB).await;
    registry.kill().unwrap();
    let sound = registry.run(&["verify-store"]).unwrap();
    assert!(
        sound.status.success(),
        "{}",
        String::from_utf8_lossy(&sound.stderr)
    );
    flip(&file, (blob.len() - 1) as u64);
    for _ in 0..2 {
        let found = registry.run(&["verify-store"]).unwrap();
        assert!(!found.status.success(), "damage must not exit with 0");
        assert!(
            String::from_utf8_lossy(&found.stderr).contains("1 "),
            "{}",
            String::from_utf8_lossy(&found.stderr)
        );
    }
    registry.start().await.unwrap();
    assert_quarantined(&registry, &path).await;
    // A scrub over the API of the running server tells of it as well.
    let scrub = send(registry.request(&registry.admin, Method::POST, "/api/v1/scrub"))
        .await
        .expect(200)
        .json();
    assert_eq!(scrub["quarantined_before"], 1);
    repair(&registry, &blob, &path).await;
    registry.kill().unwrap();
    assert!(registry.run(&["verify-store"]).unwrap().status.success());
}

/// A volume that is not mounted is no damage. The server waits for it; and what a server took for lost is found again.
#[tokio::test(flavor = "multi_thread")]
async fn objects_that_are_not_mounted_are_not_damaged() {
    let (mut registry, blob, path, _) = stored(MIB).await;
    let blobs = registry.data().join("blobs");
    let aside = registry.directory().join("aside");
    registry.kill().unwrap();
    std::fs::rename(&blobs, &aside).unwrap();
    // What is left in its place: nothing, a folder to mount it on, and those that a start before it was there has made.
    for left in ["", "blobs", "blobs/b/00"] {
        if !left.is_empty() {
            std::fs::create_dir_all(registry.data().join(left)).unwrap();
        }
        let refused = registry.start().await.unwrap_err().to_string();
        assert!(refused.contains("not mounted"), "{refused}");
        for command in ["gc", "verify-store"] {
            let refused = registry.run(&[command]).unwrap();
            let problem = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(
                !refused.status.success() && problem.contains("not mounted"),
                "{command}: {problem}"
            );
        }
        assert_eq!(blobs.exists(), !left.is_empty());
        assert!(registry.files("blobs").is_empty());
    }
    std::fs::remove_dir_all(&blobs).unwrap();
    std::fs::rename(&aside, &blobs).unwrap();
    registry.start().await.unwrap();
    let (status, found, whole) = arriving(&registry, &path).await;
    assert!(status == 200 && whole && found == blob, "{status}");

    // They are given up, as the message says, and come back all the same.
    registry.kill().unwrap();
    std::fs::rename(&blobs, &aside).unwrap();
    let id = std::fs::read_to_string(aside.join("b/.store")).unwrap();
    let refused = registry.start().await.unwrap_err().to_string();
    assert!(
        refused.contains(&format!("echo {}", id.trim())),
        "{refused}"
    );
    std::fs::create_dir_all(blobs.join("b")).unwrap();
    std::fs::write(blobs.join("b/.store"), &id).unwrap();
    registry.start().await.unwrap();
    assert_quarantined(&registry, &path).await;
    registry.kill().unwrap();
    std::fs::remove_dir_all(&blobs).unwrap();
    std::fs::rename(&aside, &blobs).unwrap();
    registry.start().await.unwrap();
    assert_quarantined(&registry, &path).await;
    let scrub = send(registry.request(&registry.admin, Method::POST, "/api/v1/scrub"))
        .await
        .expect(200)
        .json();
    assert_eq!(scrub["recovered"].as_array().map(Vec::len), Some(1));
    assert_eq!(scrub["quarantined_before"], 0);
    let (status, found, whole) = arriving(&registry, &path).await;
    assert!(status == 200 && whole && found == blob, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_store_says_which_blob() {
    let (mut registry, _, path, file) = stored(MIB).await;
    registry.kill().unwrap();
    flip(&file, 1);
    let found = registry.run(&["verify-store"]).unwrap();
    let digest = path.rsplit('/').next().unwrap();
    assert!(
        String::from_utf8_lossy(&found.stdout).contains(digest),
        "{}",
        String::from_utf8_lossy(&found.stdout)
    );
}

/// Waits until the number of the last write, which is noted now and then, is that of a later one than all before this.
/// Of two notes that come after it the first may have been under way already.
async fn last_write_is_noted(registry: &TestRegistry) {
    let note = || std::fs::read(registry.data().join("metadata/last-write")).ok();
    let deadline = Instant::now() + Duration::from_secs(30);
    for later in ["one", "another"] {
        let before = note();
        push_blob(registry, &registry.admin, "later", later.as_bytes()).await;
        while note() == before {
            assert!(Instant::now() < deadline, "the last write is not noted");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// What no tag names leaves nothing in the transparency log, so its guard does not miss it.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_are_not_lost_unseen() {
    const ACCEPTS: &str = "--accept-lost-writes";
    let mut registry = Setup::default().start().await.unwrap();
    let admin = registry.admin.clone();
    let mut manifests = Vec::new();
    // Answered when it is in the log: nothing that was logged comes after it, so this is not about the log's own guard.
    push_image(&registry, &admin, "first", Some("v1"), KIB).await;
    for _ in 0..20 {
        let image = push_image(&registry, &admin, "a", None, 20 * KIB).await;
        manifests.push(format!("/v2/a/manifests/{}", image.digest));
    }
    last_write_is_noted(&registry).await;
    registry.kill().unwrap();
    let len = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
    let logs = registry.files("metadata").into_iter();
    let logs = logs.filter(|path| path.extension().is_some_and(|found| found == "log"));
    let log = logs.max_by_key(len).unwrap();
    flip(&log, len(&log) / 2);
    for _ in 0..2 {
        let refused = registry.start().await.unwrap_err().to_string();
        assert!(refused.contains(ACCEPTS), "{refused}");
        for command in ["gc", "verify-store"] {
            let refused = registry.run(&[command]).unwrap();
            let problem = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(
                !refused.status.success() && problem.contains(ACCEPTS),
                "{command}: {problem}"
            );
        }
    }
    // The disk gives the bit back: nothing was changed meanwhile, and nothing is missing.
    flip(&log, len(&log) / 2);
    let whole = snapshot(&registry);
    registry.start().await.unwrap();
    for path in &manifests {
        get(&registry, &admin, path).await.expect(200);
    }
    registry.kill().unwrap();
    // It does not, and the loss is accepted, once.
    restore(&registry, &whole);
    flip(&log, len(&log) / 2);
    registry.setup().wrapper = ["sh", "-c", "exec \"$@\" --accept-lost-writes", "sh"]
        .map(str::to_owned)
        .to_vec();
    registry.start().await.unwrap();
    assert!(registry.log().contains("has lost writes"));
    get(&registry, &admin, &manifests[0]).await.expect(200);
    get(&registry, &admin, &manifests[19]).await.expect(404);
    registry.setup().wrapper.clear();
    registry.crash().await.unwrap();
    get(&registry, &admin, &manifests[0]).await.expect(200);
}

/// Every file of the data directory, as it is now.
fn snapshot(registry: &TestRegistry) -> Vec<(PathBuf, Vec<u8>)> {
    let files = registry.files("").into_iter();
    files
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

fn restore(registry: &TestRegistry, files: &[(PathBuf, Vec<u8>)]) {
    std::fs::remove_dir_all(registry.data()).unwrap();
    for (path, content) in files {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

/// Damage in the metadata: a start may refuse, an answer may fail, but what comes has its digest, and what was
/// acknowledged is never said to be unknown. In the write-ahead log, and in the files that it became.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_metadata_never_become_wrong_bytes() {
    let mut served = 0;
    for settled in [false, true] {
        let mut registry = Setup::default().start().await.unwrap();
        let admin = registry.admin.clone();
        let mut images = Vec::new();
        for number in 0..20 {
            let tag = format!("v{number}");
            images.push(push_image(&registry, &admin, "a", Some(&tag), 20 * KIB).await);
        }
        // Both tell a store that has lost its end.
        last_write_is_noted(&registry).await;
        checkpoint_is_kept(&registry).await;
        if settled {
            registry.crash().await.unwrap();
        }
        registry.kill().unwrap();
        let files = snapshot(&registry);
        let wanted = |path: &Path| {
            let end = if settled { "sst" } else { "log" };
            path.components().any(|part| part.as_os_str() == "metadata")
                && path.extension().is_some_and(|found| found == end)
        };
        let (mut refused, mut damaged) = (0, 0);
        for round in 1..8u64 {
            restore(&registry, &files);
            for (path, content) in &files {
                if wanted(path) && content.len() > 4 * KIB {
                    flip(path, content.len() as u64 * round / 8);
                    damaged += 1;
                }
            }
            if registry.start().await.is_err() {
                refused += 1;
                continue;
            }
            for (number, image) in images.iter().enumerate() {
                let blob = get(&registry, &admin, &format!("/v2/a/blobs/{}", image.layer)).await;
                assert!(
                    blob.status >= 500
                        || (blob.status == 200 && Digest::sha256(&blob.body) == image.layer),
                    "a blob: {}, {} bytes",
                    blob.status,
                    blob.body.len()
                );
                for reference in [format!("v{number}"), image.digest.to_string()] {
                    let path = format!("/v2/a/manifests/{reference}");
                    let manifest = get(&registry, &admin, &path).await;
                    assert!(
                        manifest.status >= 500
                            || (manifest.status == 200 && manifest.body == image.manifest),
                        "manifest {reference}: {}",
                        manifest.status
                    );
                    served += usize::from(manifest.status == 200);
                }
            }
            registry.kill().unwrap();
        }
        assert!(damaged >= 7, "nothing was damaged");
        println!("settled: {settled}: {refused} of 7 starts were refused");
    }
    println!("{served} manifests were served");
    assert!(served > 0, "no start was made: nothing was shown");
}
