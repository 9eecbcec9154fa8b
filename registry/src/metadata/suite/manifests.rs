//! Manifests: what they need, what they count, how they go.

#![allow(clippy::unwrap_used)]

use super::kit::*;
use crate::metadata::{PutManifest, PutOutcome, ReferrerPage, Refusal, TagClass, TagCondition};
use sealstone_spec::digest::Digest;
use std::sync::Arc;

pub(crate) async fn everything_missing_is_listed(store: Arc<dyn Store>) {
    let (here, there) = (repo("a/here"), repo("a/there"));
    let present = put_inline(&*store, &here, b"present").await;
    let elsewhere = put_inline(&*store, &there, b"elsewhere").await;
    let nowhere = Digest::sha256(b"nowhere");
    let image = Shape::image(&[present, elsewhere, nowhere, nowhere]).build();
    let Err(Refusal::Missing {
        mut blobs,
        manifests,
    }) = try_put(&*store, put(&here, &image, TagClass::Immutable, &["v1"])).await
    else {
        panic!("stored without its blobs")
    };
    blobs.sort();
    let mut lacking = vec![elsewhere, nowhere];
    lacking.sort();
    assert_eq!((blobs, manifests), (lacking, vec![]));
    let index = Shape::index(&[*image.digest()]).build();
    let refused = try_put(&*store, put(&here, &index, TagClass::Immutable, &[])).await;
    assert_eq!(
        refused,
        Err(Refusal::Missing {
            blobs: vec![],
            manifests: vec![*image.digest()]
        })
    );
    // Nothing is left of either.
    assert_eq!(store.manifest(&here, image.digest()).await.unwrap(), None);
    assert_eq!(
        store.manifest_bytes(&here, image.digest()).await.unwrap(),
        None
    );
    assert_eq!(store.tag(&here, &tag("v1")).await.unwrap(), None);
    assert!(!store.has_repository(&here).await.unwrap());
    assert_eq!(store.events(0, 10).await.unwrap(), []);
    store
        .unlink_blob(&here, &present, NOW)
        .await
        .unwrap()
        .unwrap();
}

pub(crate) async fn counts_follow_what_is_named(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let blob = put_inline(&*store, &here, b"config").await;
    // The same blob and the same child twice count once.
    let image = store_manifest(&*store, &here, Shape::image(&[blob, blob])).await;
    let first = store_manifest(&*store, &here, Shape::index(&[image, image])).await;
    let second = store_manifest(&*store, &here, Shape::index(&[image]).marked(2)).await;
    let row = || async { store.manifest(&here, &image).await.unwrap().unwrap() };
    assert_eq!((row().await.parents, row().await.tags), (2, 0));
    assert_eq!(
        store.unlink_blob(&here, &blob, NOW).await.unwrap(),
        Err(Refusal::BlobInUse(1))
    );
    let manifest = Shape::image(&[blob, blob]).build();
    try_put(
        &*store,
        put(&here, &manifest, TagClass::Mutable, &["x", "y"]),
    )
    .await
    .unwrap();
    assert_eq!(row().await.tags, 2);
    delete_tag(&*store, &here, "x").await.unwrap();
    delete_manifest(&*store, &here, &first).await.unwrap();
    assert_eq!((row().await.parents, row().await.tags), (1, 1));
    delete_manifest(&*store, &here, &second).await.unwrap();
    assert_eq!(row().await.parents, 0);
    assert_eq!(
        store.manifest_bytes(&here, &image).await.unwrap().unwrap(),
        manifest.bytes()
    );
}

pub(crate) async fn a_second_put_changes_nothing(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let blob = put_inline(&*store, &here, b"config").await;
    let manifest = Shape::image(&[blob]).build();
    let put_it = |tags: &'static [&'static str]| {
        try_put(&*store, put(&here, &manifest, TagClass::Immutable, tags))
    };
    assert_eq!(put_it(&["v1"]).await, Ok(PutOutcome::Created));
    let row = store.manifest(&here, manifest.digest()).await.unwrap();
    let events = store.events(0, 10).await.unwrap();
    assert_eq!(put_it(&["v1"]).await, Ok(PutOutcome::Existed));
    assert_eq!(put_it(&[]).await, Ok(PutOutcome::Existed));
    assert_eq!(store.manifest(&here, manifest.digest()).await.unwrap(), row);
    assert_eq!(store.events(0, 10).await.unwrap(), events);
    assert_eq!(
        store.unlink_blob(&here, &blob, NOW).await.unwrap(),
        Err(Refusal::BlobInUse(1))
    );
    assert_eq!(put_it(&["v2"]).await, Ok(PutOutcome::Created));
    assert_eq!(
        store
            .manifest(&here, manifest.digest())
            .await
            .unwrap()
            .unwrap()
            .tags,
        2
    );
}

pub(crate) async fn an_index_gets_its_child_back(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let blob = put_inline(&*store, &here, b"config").await;
    let image = store_manifest(&*store, &here, Shape::image(&[blob])).await;
    let index = Shape::index(&[image]).build();
    try_put(&*store, put(&here, &index, TagClass::Mutable, &["latest"]))
        .await
        .unwrap();
    assert!(sees_blob(&*store, &here, &blob).await);
    delete_manifest(&*store, &here, &image).await.unwrap();
    assert!(!sees_blob(&*store, &here, &blob).await);
    store_manifest(&*store, &here, Shape::image(&[blob])).await;
    assert_eq!(
        store
            .manifest(&here, &image)
            .await
            .unwrap()
            .unwrap()
            .parents,
        1
    );
    assert!(sees(&*store, &here, &image).await && sees_blob(&*store, &here, &blob).await);
    delete_manifest(&*store, &here, index.digest())
        .await
        .unwrap();
    assert_eq!(
        store
            .manifest(&here, &image)
            .await
            .unwrap()
            .unwrap()
            .parents,
        0
    );
    assert!(!sees_blob(&*store, &here, &blob).await);
}

pub(crate) async fn subjects_come_before_or_after(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let blob = put_inline(&*store, &here, b"config").await;
    let subject = Shape::image(&[blob]).build();
    let early = store_manifest(
        &*store,
        &here,
        Shape::image(&[blob]).about(*subject.digest()).marked(1),
    )
    .await;
    let listed = || async {
        let found = store
            .referrers(&here, subject.digest(), None, None, 10)
            .await
            .unwrap();
        found
            .referrers
            .into_iter()
            .map(|referrer| referrer.digest)
            .collect::<Vec<_>>()
    };
    assert_eq!(listed().await, [early]);
    store_manifest(&*store, &here, Shape::image(&[blob])).await;
    let evidence = || async {
        store
            .manifest(&here, subject.digest())
            .await
            .unwrap()
            .unwrap()
            .evidence
    };
    let before = evidence().await;
    let late = store_manifest(
        &*store,
        &here,
        Shape::index(&[]).about(*subject.digest()).marked(2),
    )
    .await;
    let with_both = evidence().await;
    assert!(with_both > before);
    let mut both = [early, late];
    both.sort();
    assert_eq!(listed().await, both);
    assert_eq!(
        store
            .referrers(&repo("a/there"), subject.digest(), None, None, 10)
            .await
            .unwrap(),
        ReferrerPage::default()
    );
    delete_manifest(&*store, &here, &early).await.unwrap();
    assert_eq!(listed().await, [late]);
    assert!(
        evidence().await > with_both,
        "a referrer that goes is noticed like one that comes"
    );
    // The referrer outlives its subject, and is listed again when that returns.
    delete_manifest(&*store, &here, subject.digest())
        .await
        .unwrap();
    assert_eq!(listed().await, [late]);
}

pub(crate) async fn deletion_takes_mutable_tags_along(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let blob = put_inline(&*store, &here, b"config").await;
    let manifest = Shape::image(&[blob]).build();
    try_put(
        &*store,
        put(&here, &manifest, TagClass::Mutable, &["x", "y"]),
    )
    .await
    .unwrap();
    delete_manifest(&*store, &here, manifest.digest())
        .await
        .unwrap();
    for name in ["x", "y"] {
        assert_eq!(store.tag(&here, &tag(name)).await.unwrap(), None);
    }
    assert_eq!(
        store.manifest(&here, manifest.digest()).await.unwrap(),
        None
    );
    assert_eq!(
        store
            .manifest_bytes(&here, manifest.digest())
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        delete_manifest(&*store, &here, manifest.digest()).await,
        Err(Refusal::NotFound)
    );
    let kinds: Vec<_> = store
        .events(0, 10)
        .await
        .unwrap()
        .into_iter()
        .map(|(_, event)| event.kind)
        .collect();
    use crate::metadata::EventKind::{ManifestDeleted, TagCreated, TagDeleted};
    assert_eq!(
        kinds,
        [
            TagCreated,
            TagCreated,
            TagDeleted,
            TagDeleted,
            ManifestDeleted
        ]
    );
    store.unlink_blob(&here, &blob, NOW).await.unwrap().unwrap();
}

pub(crate) async fn conditions_on_a_digest_are_kept(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let blob = put_inline(&*store, &here, b"config").await;
    let manifest = Shape::image(&[blob]).build();
    let digest = *manifest.digest();
    let attempt = |condition| {
        let wanted = PutManifest {
            condition,
            ..put(&here, &manifest, TagClass::Immutable, &[])
        };
        let store = store.clone();
        async move { try_put(&*store, wanted).await }
    };
    let failed = |exists| Err(Refusal::DigestConditionFailed { digest, exists });
    assert_eq!(attempt(TagCondition::Names(digest)).await, failed(false));
    assert_eq!(attempt(TagCondition::Present).await, failed(false));
    assert_eq!(store.manifest(&here, &digest).await.unwrap(), None);
    let made = attempt(TagCondition::Absent).await;
    assert_eq!(made, Ok(PutOutcome::Created));
    assert_eq!(attempt(TagCondition::Absent).await, failed(true));
    assert_eq!(attempt(TagCondition::Names(blob)).await, failed(true));
    for there in [TagCondition::Names(digest), TagCondition::Present] {
        assert_eq!(attempt(there).await, Ok(PutOutcome::Existed));
    }
}

pub(crate) async fn what_may_only_be_named_is_not_added(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let blob = put_inline(&*store, &here, b"config").await;
    let manifest = Shape::image(&[blob]).build();
    let named = || PutManifest {
        only_known: true,
        ..put(&here, &manifest, TagClass::Immutable, &["v1"])
    };
    assert_eq!(try_put(&*store, named()).await, Err(Refusal::NotFound));
    let found = store.manifest(&here, manifest.digest()).await.unwrap();
    assert_eq!(found, None);
    assert_eq!(store.tag(&here, &tag("v1")).await.unwrap(), None);
    store_manifest(&*store, &here, Shape::image(&[blob])).await;
    assert_eq!(try_put(&*store, named()).await, Ok(PutOutcome::Created));
    assert_eq!(try_put(&*store, named()).await, Ok(PutOutcome::Existed));
}
