//! What a push sends, in which order and in which shape, and what a registry may refuse of it.

use super::stock::{options, packed, push_as, referrer, stocked};
use crate::Outcome;
use crate::layout::LayoutStore;
use crate::transfer::{TransferOptions, push};
use crate::transport::testing::{FakeRegistry, Quirks};
use sealstone_spec::digest::Digest;
use serde_json::json;

#[tokio::test]
async fn the_tag_is_the_last_thing_pushed() {
    let root = tempfile::tempdir().unwrap();
    let (layout, manifest, _) = packed(root.path());
    let signature = referrer(&manifest, "signed");
    layout
        .write_blob(&Digest::sha256(b"signed"), b"signed")
        .unwrap();
    layout.write_manifest(&signature, None).unwrap();
    let fake = FakeRegistry::start(Quirks::default()).await;
    let pushed = push_as(&layout, &fake, &manifest, "1.0").await.unwrap();
    assert_eq!(
        (pushed.manifests, pushed.evidence, pushed.blobs_moved),
        (2, 1, 4)
    );
    let state = fake.state();
    let puts: Vec<&String> = state
        .log
        .iter()
        .filter(|line| line.starts_with("PUT /v2/a/b/manifests/"))
        .collect();
    let expected = [
        format!("PUT /v2/a/b/manifests/{}", manifest.digest()),
        format!("PUT /v2/a/b/manifests/{}", signature.digest()),
        "PUT /v2/a/b/manifests/1.0".to_owned(),
    ];
    assert_eq!(puts, expected.iter().collect::<Vec<_>>());
    let first_put = state
        .log
        .iter()
        .position(|line| line.starts_with("PUT /v2/a/b/manifests/"))
        .unwrap();
    assert!(
        state.log[first_put..]
            .iter()
            .all(|line| !line.contains("/uploads/"))
    );
}

#[tokio::test]
async fn what_the_registry_has_is_not_sent_again() {
    let (fake, manifest, _, root) = stocked(Quirks::default()).await;
    let layout = LayoutStore::open(root.path().join("layout")).unwrap();
    let before = fake.state().received;
    let again = push(&layout, &fake.store("a/b"), &manifest, None, &options())
        .await
        .unwrap();
    assert_eq!((again.blobs_moved, again.blobs_present), (0, 3));
    assert_eq!(fake.state().received, before);

    let mount = TransferOptions {
        mount_from: vec!["a/b".parse().unwrap()],
        ..options()
    };
    let mounted = push(&layout, &fake.store("c/d"), &manifest, None, &mount)
        .await
        .unwrap();
    assert_eq!((mounted.blobs_moved, mounted.bytes_moved), (0, 0));
    assert_eq!(fake.state().received, before);
}

#[tokio::test]
async fn a_mount_that_was_not_granted_leaves_no_session_behind() {
    let (fake, manifest, _, root) = stocked(Quirks::default()).await;
    let layout = LayoutStore::open(root.path().join("layout")).unwrap();
    for (place, from, mounts) in [
        ("c/d", &["x/y", "y/z", "a/b"][..], true),
        ("e/f", &["x/y", "y/z", "z/x"][..], false),
    ] {
        let options = TransferOptions {
            mount_from: from.iter().map(|name| name.parse().unwrap()).collect(),
            ..options()
        };
        let pushed = push(&layout, &fake.store(place), &manifest, None, &options)
            .await
            .unwrap();
        assert_eq!(pushed.bytes_moved == 0, mounts, "{place}");
        let open: Vec<String> = fake.state().uploads.keys().cloned().collect();
        assert!(open.is_empty(), "{place}: {open:?}");
    }
}

#[tokio::test]
async fn registries_that_take_no_large_body_get_chunks_and_those_without_patch_a_put() {
    for quirks in [
        Quirks {
            largest_body: Some(8 * 1024 * 1024),
            no_single_post: true,
            ..Quirks::default()
        },
        Quirks {
            no_patch: true,
            ..Quirks::default()
        },
    ] {
        let root = tempfile::tempdir().unwrap();
        let (layout, manifest, large) = packed(root.path());
        let fake = FakeRegistry::start(quirks).await;
        push(&layout, &fake.store("a/b"), &manifest, None, &options())
            .await
            .unwrap();
        let stored =
            fake.state().blobs[&("a/b".to_owned(), Digest::sha256(&large).to_string())].clone();
        assert!(stored == large);
    }
}

#[tokio::test]
async fn a_refused_release_says_that_the_content_waits() {
    let root = tempfile::tempdir().unwrap();
    let (layout, manifest, _) = packed(root.path());
    let detail = json!({"reason": "release_denied"});
    let fake = FakeRegistry::start(Quirks {
        refuse_tags: Some(detail),
        ..Quirks::default()
    })
    .await;
    let error = push_as(&layout, &fake, &manifest, "1").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused);
    assert!(
        error
            .hints()
            .iter()
            .any(|hint| hint.contains("sealstone release")),
        "{:?}",
        error.hints()
    );
    assert_eq!(fake.state().manifests.len(), 1);
}
