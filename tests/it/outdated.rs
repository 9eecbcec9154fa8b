//! Metadata that are missing, or older than the objects: whatever is run on them, nothing that was received is removed.

use crate::content::*;
use crate::log::checkpoint_is_kept;
use sealstone_tests::registry::{Setup, TestRegistry};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const COMMANDS: [&[&str]; 4] = [
    &["gc"],
    &["gc", "--dry-run"],
    &["verify-store"],
    &["admin", "reset"],
];

/// Objects and staged files. They become so old that they can be orphans.
fn stored(registry: &TestRegistry) -> Vec<PathBuf> {
    let mut files = registry.objects();
    files.extend(registry.files("uploads"));
    let old = SystemTime::now() - Duration::from_secs(3 * 24 * 3600);
    for path in &files {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(old).unwrap();
    }
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

async fn stopped(registry: &mut TestRegistry) {
    registry.terminate().unwrap();
    registry.ended().await.unwrap();
}

#[track_caller]
fn all_refuse(registry: &TestRegistry, says: &str) {
    let before = stored(registry);
    for command in COMMANDS {
        let refused = registry.run(command).unwrap();
        let problem = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            refused.status.code() == Some(1) && problem.contains(says),
            "{command:?}: {problem}"
        );
        assert_eq!(stored(registry), before, "{command:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_metadata_that_are_missing_or_older_nothing_is_removed() {
    let mut registry = Setup::default().start().await.unwrap();
    let admin = registry.admin.clone();
    push_image(&registry, &admin, "a", Some("v1"), MIB).await;
    stopped(&mut registry).await;
    let metadata = registry.data().join("metadata");
    let (older, newest) = (
        registry.directory().join("older"),
        registry.directory().join("newest"),
    );
    copy(&metadata, &older);
    registry.start().await.unwrap();
    let image = push_image(&registry, &admin, "a", Some("v2"), MIB).await;
    let upload = begin(&registry, &admin, "a").await;
    patch(&registry, &admin, &upload, None, &bytes(MIB))
        .await
        .expect(202);
    checkpoint_is_kept(&registry).await;
    stopped(&mut registry).await;
    let files = stored(&registry);
    assert!(files.len() >= 4, "{files:?}");
    fs::rename(&metadata, &newest).unwrap();

    // Missing.
    all_refuse(&registry, "no store");
    assert!(!metadata.exists(), "a store was made");
    // Older; and nothing at all, once a start has made an empty store and refused it.
    for older in [Some(&older), None] {
        if let Some(older) = older {
            copy(older, &metadata);
        }
        let refused = registry.start().await.unwrap_err().to_string();
        assert!(refused.contains("older copy"), "{refused}");
        all_refuse(&registry, "older copy");
        assert_eq!(stored(&registry), files);
        fs::remove_dir_all(&metadata).unwrap();
    }

    // The right ones: what no upload names goes with a collection, and with nothing else.
    fs::rename(&newest, &metadata).unwrap();
    let left = registry
        .data()
        .join("uploads/0193e4a0-0000-7000-8000-000000000000.data");
    fs::write(&left, b"left behind").unwrap();
    for (command, stays) in [
        (&["gc", "--dry-run"][..], true),
        (&["verify-store"], true),
        (&["gc"], false),
    ] {
        let done = registry.run(command).unwrap();
        let problem = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{command:?}: {problem}");
        assert_eq!(left.exists(), stays, "{command:?}");
    }
    assert_eq!(stored(&registry), files);
    registry.start().await.unwrap();
    let path = format!("/v2/a/blobs/{}", image.layer);
    let found = get(&registry, &admin, &path).await.expect(200);
    assert_eq!(found.body, image.blob);
    let offset = received(&registry, &admin, &upload).await;
    assert_eq!(offset, MIB as u64);
}

/// Whoever takes the log away as well has another registry, in which these objects are nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn objects_that_no_row_names_are_not_a_sound_store() {
    let mut registry = Setup::default().start().await.unwrap();
    push_image(&registry, &registry.admin, "a", Some("v1"), MIB).await;
    stopped(&mut registry).await;
    let data = registry.data();
    for part in ["metadata", "log", "statements"] {
        fs::remove_dir_all(data.join(part)).unwrap();
    }
    registry.start().await.unwrap();
    stopped(&mut registry).await;
    let refused = registry.run(&["verify-store"]).unwrap();
    let problem = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && problem.contains("name no blob"),
        "{problem}"
    );
    assert_eq!(registry.objects().len(), 1);
}
