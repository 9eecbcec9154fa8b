//! Tags: who gets one, who keeps it, and that nobody gets it again.

#![allow(clippy::unwrap_used)]

use super::kit::*;
use crate::metadata::{PutManifest, PutOutcome, Refusal, TagClass, TagCondition};
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::name::RepoName;
use std::sync::Arc;

/// A repository with a blob, and `count` manifests that name it.
async fn manifests(store: &dyn Store, count: usize) -> (RepoName, Vec<VerifiedManifest>) {
    let here = repo("a/here");
    let blob = put_inline(store, &here, b"config").await;
    let manifests = (0..count)
        .map(|mark| Shape::image(&[blob]).marked(mark).build())
        .collect();
    (here, manifests)
}

pub(crate) async fn an_immutable_tag_never_moves(store: Arc<dyn Store>) {
    let (here, made) = manifests(&*store, 2).await;
    try_put(&*store, put(&here, &made[0], TagClass::Immutable, &["v1"]))
        .await
        .unwrap();
    let row = store.tag(&here, &tag("v1")).await.unwrap().unwrap();
    assert_eq!(
        (row.digest, row.immutable, row.tombstone, row.version),
        (*made[0].digest(), true, false, 1)
    );
    for class in [
        TagClass::Immutable,
        TagClass::Mutable,
        TagClass::EvidenceList,
    ] {
        let refused = try_put(&*store, put(&here, &made[1], class, &["v1"])).await;
        assert_eq!(
            refused,
            Err(Refusal::TagTaken {
                tag: tag("v1"),
                existing: *made[0].digest()
            })
        );
    }
    assert_eq!(
        store.manifest(&here, made[1].digest()).await.unwrap(),
        None,
        "nor is the manifest stored"
    );
    assert_eq!(store.tag(&here, &tag("v1")).await.unwrap().unwrap(), row);
    // A tag that was mutable when it was set does not move either where tags are immutable now.
    try_put(&*store, put(&here, &made[0], TagClass::Mutable, &["m"]))
        .await
        .unwrap();
    let refused = try_put(&*store, put(&here, &made[1], TagClass::Immutable, &["m"])).await;
    assert_eq!(
        refused,
        Err(Refusal::TagTaken {
            tag: tag("m"),
            existing: *made[0].digest()
        })
    );
}

pub(crate) async fn a_tombstone_burns_the_name(store: Arc<dyn Store>) {
    let (here, made) = manifests(&*store, 2).await;
    try_put(&*store, put(&here, &made[0], TagClass::Immutable, &["v1"]))
        .await
        .unwrap();
    delete_tag(&*store, &here, "v1").await.unwrap();
    assert_eq!(
        delete_tag(&*store, &here, "v1").await,
        Err(Refusal::NotFound)
    );
    let row = store.tag(&here, &tag("v1")).await.unwrap().unwrap();
    assert_eq!((row.tombstone, row.digest), (true, *made[0].digest()));
    assert_eq!(store.tags(&here, None, 10, false).await.unwrap(), []);
    delete_manifest(&*store, &here, made[0].digest())
        .await
        .unwrap();
    super::collection::sweep(&*store, super::collection::rules(LATER)).await;
    put_inline(&*store, &here, b"config").await;
    for manifest in &made {
        for class in [
            TagClass::Immutable,
            TagClass::Mutable,
            TagClass::EvidenceList,
        ] {
            let refused = try_put(&*store, put(&here, manifest, class, &["v1"])).await;
            assert_eq!(
                refused,
                Err(Refusal::TagBurnt {
                    tag: tag("v1"),
                    existing: *made[0].digest()
                })
            );
        }
    }
    assert!(
        !store
            .show_tag(&here, &tag("v1"), *made[0].digest(), true)
            .await
            .unwrap()
    );
    assert!(
        store
            .tag(&here, &tag("v1"))
            .await
            .unwrap()
            .unwrap()
            .tombstone
    );
    // In another repository the name is free.
    let there = repo("a/there");
    put_inline(&*store, &there, b"config").await;
    try_put(&*store, put(&there, &made[1], TagClass::Immutable, &["v1"]))
        .await
        .unwrap();
}

pub(crate) async fn a_mutable_tag_moves_and_leaves_no_trace(store: Arc<dyn Store>) {
    let (here, made) = manifests(&*store, 2).await;
    for (manifest, version) in [(&made[0], 1), (&made[1], 2), (&made[0], 3)] {
        assert_eq!(
            try_put(
                &*store,
                put(&here, manifest, TagClass::Mutable, &["latest"])
            )
            .await,
            Ok(PutOutcome::Created)
        );
        let row = store.tag(&here, &tag("latest")).await.unwrap().unwrap();
        assert_eq!(
            (row.digest, row.version, row.immutable),
            (*manifest.digest(), version, false)
        );
    }
    let tags = |digest: &Digest| {
        let (store, here, digest) = (store.clone(), here.clone(), *digest);
        async move { store.manifest(&here, &digest).await.unwrap().unwrap().tags }
    };
    assert_eq!(
        (tags(made[0].digest()).await, tags(made[1].digest()).await),
        (1, 0)
    );
    delete_tag(&*store, &here, "latest").await.unwrap();
    assert_eq!(store.tag(&here, &tag("latest")).await.unwrap(), None);
    try_put(
        &*store,
        put(&here, &made[1], TagClass::Mutable, &["latest"]),
    )
    .await
    .unwrap();
    assert_eq!(
        store
            .tag(&here, &tag("latest"))
            .await
            .unwrap()
            .unwrap()
            .version,
        1
    );
}

fn with_condition(mut put: PutManifest, condition: TagCondition) -> PutManifest {
    for tag in &mut put.tags {
        tag.condition = condition;
    }
    put
}

pub(crate) async fn conditions_are_kept(store: Arc<dyn Store>) {
    let (here, made) = manifests(&*store, 3).await;
    let digest = |number: usize| *made[number].digest();
    let attempt = |number: usize, condition| {
        try_put(
            &*store,
            with_condition(
                put(&here, &made[number], TagClass::Mutable, &["t"]),
                condition,
            ),
        )
    };
    let failed = |existing| {
        Err(Refusal::ConditionFailed {
            tag: tag("t"),
            existing,
        })
    };
    assert_eq!(
        attempt(0, TagCondition::Names(digest(0))).await,
        failed(None)
    );
    assert_eq!(
        attempt(0, TagCondition::Absent).await,
        Ok(PutOutcome::Created)
    );
    assert_eq!(
        attempt(1, TagCondition::Absent).await,
        failed(Some(digest(0)))
    );
    assert_eq!(
        attempt(0, TagCondition::Absent).await,
        failed(Some(digest(0)))
    );
    assert_eq!(
        attempt(2, TagCondition::Names(digest(1))).await,
        failed(Some(digest(0)))
    );
    assert_eq!(
        attempt(1, TagCondition::Names(digest(0))).await,
        Ok(PutOutcome::Created)
    );
    assert_eq!(store.manifest(&here, &digest(2)).await.unwrap(), None);
    let delete = |condition| {
        let (store, here) = (store.clone(), here.clone());
        async move {
            store
                .delete_tag(&here, &tag("t"), condition, "user:tester", NOW)
                .await
                .unwrap()
        }
    };
    assert_eq!(
        delete(TagCondition::Names(digest(0))).await,
        failed(Some(digest(1))).map(|_: PutOutcome| ())
    );
    assert_eq!(delete(TagCondition::Names(digest(1))).await, Ok(()));
}

pub(crate) async fn of_64_writers_exactly_one_wins(store: Arc<dyn Store>) {
    let (here, made) = manifests(&*store, 64).await;
    use_default_policy(&*store).await;
    let barrier = Arc::new(tokio::sync::Barrier::new(64));
    let mut tasks = Vec::new();
    for manifest in made {
        let (store, here, barrier) = (store.clone(), here.clone(), barrier.clone());
        tasks.push(tokio::spawn(async move {
            barrier.wait().await;
            let digest = *manifest.digest();
            (
                digest,
                store
                    .put_manifest(put(&here, &manifest, TagClass::Immutable, &["v1"]))
                    .await
                    .unwrap(),
            )
        }));
    }
    let (mut winners, mut refused) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            (digest, Ok(outcome)) => winners.push((digest, outcome)),
            (digest, Err(refusal)) => refused.push((digest, refusal)),
        }
    }
    let [(winner, PutOutcome::Created)] = winners[..] else {
        panic!("{} writers won", winners.len())
    };
    assert_eq!(
        store.tag(&here, &tag("v1")).await.unwrap().unwrap().digest,
        winner
    );
    assert_eq!(refused.len(), 63);
    for (digest, refusal) in refused {
        assert_eq!(
            refusal,
            Refusal::TagTaken {
                tag: tag("v1"),
                existing: winner
            }
        );
        assert_eq!(store.manifest(&here, &digest).await.unwrap(), None);
    }
    assert_eq!(store.events(0, 100).await.unwrap().len(), 1);
}

pub(crate) async fn evidence_lists_only_grow(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let mut blobs = Vec::new();
    for content in [
        &b"config 1"[..],
        b"config 2",
        b"signature 1",
        b"signature 2",
    ] {
        blobs.push(put_inline(&*store, &here, content).await);
    }
    let name = format!("sha256-{}.sig", "a".repeat(64));
    // No admission is due, and the configuration may change.
    let list = |blobs: &[Digest]| {
        let manifest = Shape::image(blobs).build();
        let put = PutManifest {
            admission: None,
            ..put(&here, &manifest, TagClass::EvidenceList, &[&name])
        };
        let store = store.clone();
        async move { store.put_manifest(put).await.unwrap() }
    };
    assert_eq!(list(&[blobs[0], blobs[2]]).await, Ok(PutOutcome::Created));
    assert_eq!(
        list(&[blobs[1], blobs[3], blobs[2]]).await,
        Ok(PutOutcome::Created)
    );
    let lost = |lost: &[Digest]| {
        Err(Refusal::EvidenceLost {
            tag: tag(&name),
            lost: lost.to_vec(),
        })
    };
    assert_eq!(list(&[blobs[1], blobs[3]]).await, lost(&[blobs[2]]));
    assert_eq!(list(&[blobs[1]]).await, lost(&[blobs[3], blobs[2]]));
    let row = store.tag(&here, &tag(&name)).await.unwrap().unwrap();
    assert_eq!((row.version, row.immutable), (2, false));
}

pub(crate) async fn evidence_lists_are_seen_beside_their_subject_only(store: Arc<dyn Store>) {
    let (here, made) = manifests(&*store, 3).await;
    let [subject, before, after] = [&made[0], &made[1], &made[2]];
    let name = |suffix: &str| format!("sha256-{}{suffix}", subject.digest().hex());
    let list = |manifest: &VerifiedManifest, suffix: &str| PutManifest {
        admission: None,
        ..put(&here, manifest, TagClass::EvidenceList, &[&name(suffix)])
    };
    // Nobody judges what such a tag names, so it shows nothing by itself.
    try_put(&*store, list(before, ".sig")).await.unwrap();
    assert!(!sees(&*store, &here, before.digest()).await);
    try_put(&*store, put(&here, subject, TagClass::Immutable, &["v1"]))
        .await
        .unwrap();
    assert!(sees(&*store, &here, before.digest()).await);
    try_put(&*store, list(after, ".att")).await.unwrap();
    assert!(sees(&*store, &here, after.digest()).await);
    for visible in [false, true, false] {
        let digest = *subject.digest();
        assert!(
            store
                .show_tag(&here, &tag("v1"), digest, visible)
                .await
                .unwrap()
        );
        assert_eq!(sees(&*store, &here, before.digest()).await, visible);
        assert_eq!(sees(&*store, &here, after.digest()).await, visible);
    }
    assert!(
        store
            .show_tag(&here, &tag("v1"), *subject.digest(), true)
            .await
            .unwrap()
    );
    delete_tag(&*store, &here, "v1").await.unwrap();
    assert!(!sees(&*store, &here, before.digest()).await);
    assert!(!sees(&*store, &here, after.digest()).await);
}

pub(crate) async fn several_tags_are_set_together_or_not_at_all(store: Arc<dyn Store>) {
    let (here, made) = manifests(&*store, 2).await;
    try_put(&*store, put(&here, &made[0], TagClass::Immutable, &["b"]))
        .await
        .unwrap();
    let refused = try_put(
        &*store,
        put(&here, &made[1], TagClass::Immutable, &["a", "b", "c"]),
    )
    .await;
    assert_eq!(
        refused,
        Err(Refusal::TagTaken {
            tag: tag("b"),
            existing: *made[0].digest()
        })
    );
    for name in ["a", "c"] {
        assert_eq!(store.tag(&here, &tag(name)).await.unwrap(), None);
    }
    assert_eq!(store.events(0, 10).await.unwrap().len(), 1);
    try_put(
        &*store,
        put(&here, &made[1], TagClass::Immutable, &["a", "c"]),
    )
    .await
    .unwrap();
    assert_eq!(
        store.tags(&here, None, 10, false).await.unwrap(),
        [tag("a"), tag("b"), tag("c")]
    );
    assert_eq!(
        store
            .manifest(&here, made[1].digest())
            .await
            .unwrap()
            .unwrap()
            .tags,
        2
    );
}

pub(crate) async fn a_hidden_release_is_shown_by_a_new_admission(store: Arc<dyn Store>) {
    let (here, made) = manifests(&*store, 1).await;
    let digest = *made[0].digest();
    try_put(&*store, put(&here, &made[0], TagClass::Immutable, &["v1"]))
        .await
        .unwrap();
    // A stricter policy hid it; then the evidence came that was missing, and it is pushed once more.
    assert!(
        store
            .show_tag(&here, &tag("v1"), digest, false)
            .await
            .unwrap()
    );
    let without = PutManifest {
        admission: None,
        ..put(&here, &made[0], TagClass::Immutable, &["v1"])
    };
    assert_eq!(try_put(&*store, without).await, Err(Refusal::Rejudge));
    assert!(!sees(&*store, &here, &digest).await);
    try_put(&*store, put(&here, &made[0], TagClass::Immutable, &["v1"]))
        .await
        .unwrap();
    assert!(sees(&*store, &here, &digest).await);
    assert!(store.tag(&here, &tag("v1")).await.unwrap().unwrap().visible);
    assert_eq!(
        store
            .manifest(&here, &digest)
            .await
            .unwrap()
            .unwrap()
            .visible,
        1
    );
}
