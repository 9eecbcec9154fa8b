//! Blobs: whose they are, what keeps them, and which copy counts.

#![allow(clippy::unwrap_used)]

use super::kit::*;
use crate::metadata::{BlobPlace, CommitOutcome, EventKind, Refusal};
use sealstone_spec::digest::Digest;
use std::sync::Arc;

pub(crate) async fn a_committed_blob_is_the_repositories_own(store: Arc<dyn Store>) {
    let (here, there) = (repo("a/here"), repo("a/there"));
    let small = put_inline(&*store, &here, b"small").await;
    let (large, key) = put_object(&*store, &here, b"large").await;
    let found = store.blob(&here, &small).await.unwrap().unwrap();
    assert_eq!(
        (found.size, found.place, found.visible, found.quarantined),
        (5, BlobPlace::Inline, false, None)
    );
    assert_eq!(
        store.inline_content(&small).await.unwrap().unwrap(),
        "small"
    );
    let found = store.blob(&here, &large).await.unwrap().unwrap();
    assert_eq!(
        found.place,
        BlobPlace::Object {
            key: key.clone(),
            root: *blake3::hash(b"large").as_bytes()
        }
    );
    assert_eq!(store.inline_content(&large).await.unwrap(), None);
    assert!(store.knows_key(&key).await.unwrap());
    assert_eq!(store.blob(&there, &small).await.unwrap(), None);
    assert_eq!(store.blob_holders(&small, 10).await.unwrap(), [here]);
}

pub(crate) async fn pins_keep_and_reads_do_not(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let (read, pinned) = (
        put_inline(&*store, &here, b"read").await,
        put_inline(&*store, &here, b"pinned").await,
    );
    assert!(store.blob(&here, &read).await.unwrap().is_some());
    assert!(
        store
            .pin_blob(&here, &pinned, LATER, LATER + 1_000)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(
        store
            .pin_blob(&here, &Digest::sha256(b"none"), LATER, LATER + 1_000)
            .await
            .unwrap(),
        None
    );
    super::collection::sweep(&*store, super::collection::rules(LATER + 1)).await;
    assert_eq!(store.blob(&here, &read).await.unwrap(), None);
    assert!(store.blob(&here, &pinned).await.unwrap().is_some());
    super::collection::sweep(&*store, super::collection::rules(LATER + 1_001)).await;
    assert_eq!(store.blob(&here, &pinned).await.unwrap(), None);
}

pub(crate) async fn a_mount_gives_what_the_source_has(store: Arc<dyn Store>) {
    let (from, to) = (repo("a/from"), repo("a/to"));
    let digest = put_inline(&*store, &from, b"content").await;
    let mount_it = |digest: Digest| {
        let (store, from, to) = (store.clone(), from.clone(), to.clone());
        async move { mount(&*store, &from, &to, &digest).await }
    };
    assert!(!mount_it(Digest::sha256(b"unknown")).await);
    assert_eq!(store.blob(&to, &digest).await.unwrap(), None);
    assert!(mount_it(digest).await && mount_it(digest).await);
    assert_eq!(store.blob(&to, &digest).await.unwrap().unwrap().size, 7);
    // The source's copy goes, the other stays.
    store
        .unlink_blob(&from, &digest, NOW)
        .await
        .unwrap()
        .unwrap();
    super::collection::sweep(&*store, super::collection::rules(NOW)).await;
    assert_eq!(
        store.blob_holders(&digest, 10).await.unwrap(),
        std::slice::from_ref(&to)
    );
    assert!(store.inline_content(&digest).await.unwrap().is_some());
    // What is gone, or is damaged, cannot be mounted.
    assert!(!mount_it(digest).await);
    store
        .quarantine_blob(&digest, &BlobPlace::Inline, "flipped", NOW)
        .await
        .unwrap();
    assert!(!mount(&*store, &to, &from, &digest).await);
}

pub(crate) async fn unlink_refuses_what_manifests_name(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let digest = put_inline(&*store, &here, b"config").await;
    let unlink = || async { store.unlink_blob(&here, &digest, NOW).await.unwrap() };
    let first = store_manifest(&*store, &here, Shape::image(&[digest])).await;
    let second = store_manifest(&*store, &here, Shape::image(&[digest]).marked(2)).await;
    assert_eq!(unlink().await, Err(Refusal::BlobInUse(2)));
    delete_manifest(&*store, &here, &first).await.unwrap();
    assert_eq!(unlink().await, Err(Refusal::BlobInUse(1)));
    delete_manifest(&*store, &here, &second).await.unwrap();
    assert_eq!(unlink().await, Ok(()));
    assert_eq!(unlink().await, Err(Refusal::NotFound));
    assert_eq!(store.blob(&here, &digest).await.unwrap(), None);
}

pub(crate) async fn the_second_copy_is_trash(store: Arc<dyn Store>) {
    let (here, there) = (repo("a/here"), repo("a/there"));
    let (digest, first) = put_object(&*store, &here, b"twice").await;
    let (_, second) = put_object(&*store, &there, b"twice").await;
    let place = |found: crate::metadata::LinkedBlob| match found.place {
        BlobPlace::Object { key, .. } => key,
        BlobPlace::Inline => panic!("not inline"),
    };
    for repo in [&here, &there] {
        assert_eq!(
            place(store.blob(repo, &digest).await.unwrap().unwrap()),
            first
        );
    }
    let trash = store.trash_due(NOW, None, 10).await.unwrap();
    assert_eq!(
        trash.iter().map(|item| &item.key).collect::<Vec<_>>(),
        [&second]
    );
    assert!(
        store.knows_key(&second).await.unwrap(),
        "until its object is deleted"
    );
    store.trash_done(trash).await.unwrap();
    assert!(!store.knows_key(&second).await.unwrap());
    assert_eq!(store.trash_due(NOW, None, 10).await.unwrap(), []);
    assert_eq!(store.open_uploads().await.unwrap(), 0);
}

pub(crate) async fn a_commit_after_the_end_changes_nothing(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let row = upload_row(&here);
    let (id, key) = (row.id, row.key.clone());
    begin(&*store, row).await;
    assert!(store.abort_upload(id, NOW).await.unwrap());
    assert!(!store.abort_upload(id, NOW).await.unwrap());
    let blob = new_blob(&here, b"late", Some(id));
    let digest = blob.digest;
    let late = commit(&*store, blob.clone()).await;
    assert_eq!(late, CommitOutcome::NoSession);
    assert_eq!(store.blob(&here, &digest).await.unwrap(), None);
    assert_eq!(store.trash_due(NOW, None, 10).await.unwrap().len(), 1);
    assert!(store.knows_key(&key).await.unwrap());
    // The same after a commit.
    let row = upload_row(&here);
    let again = crate::metadata::NewBlob {
        upload: Some(row.id),
        ..blob
    };
    begin(&*store, row).await;
    let first = commit(&*store, again.clone()).await;
    assert_eq!(first, CommitOutcome::Committed);
    let second = commit(&*store, again).await;
    assert_eq!(second, CommitOutcome::NoSession);
    assert_eq!(store.trash_due(NOW, None, 10).await.unwrap().len(), 1);
}

pub(crate) async fn a_damaged_blob_is_replaced_by_the_next_copy(store: Arc<dyn Store>) {
    let (here, there) = (repo("a/here"), repo("a/there"));
    let (digest, first) = put_object(&*store, &here, b"object").await;
    mount(&*store, &here, &there, &digest).await;
    let named = store_manifest(&*store, &here, Shape::image(&[digest])).await;
    let copy = place_of(&*store, &here, &digest).await;
    let quarantine = || store.quarantine_blob(&digest, &copy, "a bit flipped", NOW);
    assert!(quarantine().await.unwrap());
    // Once: it is counted, and told to both who have it.
    assert!(!quarantine().await.unwrap());
    assert_eq!(store.quarantined().await.unwrap(), 1);
    let told = |kind: EventKind| {
        let (store, digest) = (store.clone(), digest);
        async move {
            let events = store.events(0, 100).await.unwrap();
            let events = events.into_iter().map(|(_, event)| event);
            events
                .filter(|event| event.kind == kind && event.digest == digest)
                .filter_map(|event| event.repo)
                .collect::<Vec<_>>()
        }
    };
    let both = vec![here.clone(), there.clone()];
    assert_eq!(told(EventKind::ContentDamaged).await, both);
    // Without a tag it belongs to no release.
    assert_eq!(store.releases_with(&here, &digest).await.unwrap(), []);
    for repo in [&here, &there] {
        let found = store.blob(repo, &digest).await.unwrap().unwrap();
        assert_eq!(found.quarantined.as_deref(), Some("a bit flipped"));
    }
    // Nothing new can be built on it.
    let missing = try_put(
        &*store,
        put(
            &here,
            &Shape::image(&[digest]).marked(2).build(),
            crate::metadata::TagClass::Immutable,
            &[],
        ),
    )
    .await;
    assert_eq!(
        missing,
        Err(Refusal::Missing {
            blobs: vec![digest],
            manifests: vec![]
        })
    );

    let (_, second) = put_object(&*store, &there, b"object").await;
    for repo in [&here, &there] {
        let found = store.blob(repo, &digest).await.unwrap().unwrap();
        assert_eq!(found.quarantined, None);
        assert!(matches!(found.place, BlobPlace::Object { key, .. } if key == second));
    }
    assert_eq!(store.quarantined().await.unwrap(), 0);
    assert_eq!(told(EventKind::ContentRepaired).await, both);
    let trash = store.trash_due(NOW, None, 10).await.unwrap();
    assert_eq!(
        trash.iter().map(|item| &item.key).collect::<Vec<_>>(),
        [&first]
    );
    // Its owners are still counted: it goes when the last of them gives it up, not before.
    delete_manifest(&*store, &here, &named).await.unwrap();
    store
        .unlink_blob(&here, &digest, NOW)
        .await
        .unwrap()
        .unwrap();
    super::collection::sweep(&*store, super::collection::rules(PINNED)).await;
    assert!(store.blob(&there, &digest).await.unwrap().is_some());

    let small = put_inline(&*store, &here, b"inline").await;
    let inline = BlobPlace::Inline;
    store
        .quarantine_blob(&small, &inline, "gone", NOW)
        .await
        .unwrap();
    put_inline(&*store, &here, b"inline").await;
    assert_eq!(
        store
            .blob(&here, &small)
            .await
            .unwrap()
            .unwrap()
            .quarantined,
        None
    );
}

/// A reader that was slow finds damage in a copy that has been replaced meanwhile.
pub(crate) async fn the_copy_that_came_again_is_not_quarantined(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let (digest, first) = put_object(&*store, &here, b"object").await;
    let old = place_of(&*store, &here, &digest).await;
    let quarantine = |place| {
        let store = store.clone();
        async move {
            store
                .quarantine_blob(&digest, &place, "a bit flipped", NOW)
                .await
                .unwrap()
        }
    };
    assert!(!quarantine(BlobPlace::Inline).await);
    assert!(quarantine(old.clone()).await);
    put_object(&*store, &here, b"object").await;
    let new = place_of(&*store, &here, &digest).await;
    assert_ne!(old, new);
    let before = store.events(0, 100).await.unwrap();
    assert!(!quarantine(old).await, "{first} is trash");
    assert_eq!(store.quarantined().await.unwrap(), 0);
    assert_eq!(store.events(0, 100).await.unwrap(), before);
    let found = store.blob(&here, &digest).await.unwrap().unwrap();
    assert_eq!(found.quarantined, None);
    assert!(quarantine(new).await);
}

/// It was not there for a while, or could not be read.
pub(crate) async fn a_copy_that_is_whole_after_all_leaves_quarantine(store: Arc<dyn Store>) {
    let (here, there) = (repo("a/here"), repo("b/there"));
    let (digest, _) = put_object(&*store, &here, b"object").await;
    mount(&*store, &here, &there, &digest).await;
    let place = place_of(&*store, &here, &digest).await;
    let lift = |place: BlobPlace| {
        let store = store.clone();
        async move { store.lift_quarantine(&digest, &place, NOW).await.unwrap() }
    };
    let before = store.events(0, 100).await.unwrap();
    assert!(!lift(place.clone()).await, "it is not in quarantine");
    assert_eq!(store.events(0, 100).await.unwrap(), before);
    let gone = "its bytes are missing";
    let quarantined = store.quarantine_blob(&digest, &place, gone, NOW).await;
    assert!(quarantined.unwrap());
    assert!(!lift(BlobPlace::Inline).await, "another copy was read");
    assert_eq!(store.quarantined().await.unwrap(), 1);
    assert!(lift(place.clone()).await);
    assert!(!lift(place.clone()).await);
    assert_eq!(store.quarantined().await.unwrap(), 0);
    for repo in [&here, &there] {
        let found = store.blob(repo, &digest).await.unwrap().unwrap();
        assert_eq!((found.quarantined, found.place), (None, place.clone()));
    }
    let events = store.events(0, 100).await.unwrap();
    let repaired = events
        .iter()
        .filter(|(_, event)| event.kind == EventKind::ContentRepaired && event.digest == digest);
    let told: Vec<_> = repaired
        .map(|(_, event)| event.repo.clone().unwrap())
        .collect();
    assert_eq!(told, [here, there]);
    // Nothing of it is trash.
    let trash = store.trash_due(PINNED, None, 10).await.unwrap();
    assert!(trash.is_empty(), "{trash:?}");
}

async fn place_of(
    store: &dyn Store,
    repo: &sealstone_spec::name::RepoName,
    digest: &Digest,
) -> BlobPlace {
    store.blob(repo, digest).await.unwrap().unwrap().place
}

pub(crate) async fn concurrent_commits_keep_one_copy(store: Arc<dyn Store>) {
    let mut tasks = Vec::new();
    for number in 0..16 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            put_object(&*store, &repo(&format!("a/r{number}")), b"same").await
        }));
    }
    let mut keys = Vec::new();
    for task in tasks {
        keys.push(task.await.unwrap().1);
    }
    let digest = Digest::sha256(b"same");
    let trash = store.trash_due(NOW, None, 100).await.unwrap();
    assert_eq!(
        (
            trash.len(),
            store.blob_holders(&digest, 100).await.unwrap().len()
        ),
        (15, 16)
    );
    let BlobPlace::Object { key: live, .. } = store
        .blob(&repo("a/r0"), &digest)
        .await
        .unwrap()
        .unwrap()
        .place
    else {
        panic!("not inline")
    };
    keys.retain(|key| trash.iter().all(|item| item.key != *key));
    assert_eq!(keys, [live]);
    assert_eq!(store.all_blobs(None, 10).await.unwrap()[0].1.links, 16);
}
