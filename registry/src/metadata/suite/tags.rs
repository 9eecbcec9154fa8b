//! Tags: who gets one, who keeps it, and that nobody gets it again.

#![allow(clippy::unwrap_used)]

use super::kit::*;
use crate::metadata::{Judged, PutManifest, PutOutcome, Refusal, TagClass, TagCondition};
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::name::RepoName;
use serde_json::json;
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
    assert!(!show(&*store, &here, "v1", *made[0].digest(), true).await);
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
    assert_eq!(attempt(0, TagCondition::Present).await, failed(None));
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
            let class = TagClass::Mutable;
            store
                .delete_tag(&here, &tag("t"), class, condition, "user:tester", NOW)
                .await
                .unwrap()
        }
    };
    assert_eq!(
        delete(TagCondition::Names(digest(0))).await,
        failed(Some(digest(1))).map(|_: PutOutcome| ())
    );
    assert_eq!(delete(TagCondition::Names(digest(1))).await, Ok(()));
    assert_eq!(delete(TagCondition::Present).await, Err(Refusal::NotFound));
    assert_eq!(
        attempt(0, TagCondition::Absent).await,
        Ok(PutOutcome::Created)
    );
    assert_eq!(
        attempt(1, TagCondition::Present).await,
        Ok(PutOutcome::Created)
    );
    assert_eq!(delete(TagCondition::Present).await, Ok(()));
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

pub(crate) async fn a_rule_that_came_later_holds_for_earlier_tags(store: Arc<dyn Store>) {
    let (here, made) = manifests(&*store, 2).await;
    let [first, second] = [&made[0], &made[1]];
    for name in ["m", "n"] {
        try_put(&*store, put(&here, first, TagClass::Mutable, &[name]))
            .await
            .unwrap();
    }
    // Where tags never move now, its manifest is kept, and its name is not given to another one.
    assert_eq!(
        delete_manifest_where(&*store, &here, first.digest(), TagClass::Immutable).await,
        Err(Refusal::Held)
    );
    delete_tag_where(&*store, &here, "m", TagClass::Immutable)
        .await
        .unwrap();
    for class in [TagClass::Immutable, TagClass::Mutable] {
        assert_eq!(
            try_put(&*store, put(&here, second, class, &["m"])).await,
            Err(Refusal::TagBurnt {
                tag: tag("m"),
                existing: *first.digest()
            })
        );
    }
    // Pushed once more under the rule, it is a release like any other, whatever rule comes after.
    let held = async || {
        let row = store.manifest(&here, first.digest()).await.unwrap();
        row.unwrap().held
    };
    assert_eq!(held().await, 0);
    let again = || put(&here, first, TagClass::Immutable, &["n"]);
    assert_eq!(try_put(&*store, again()).await, Ok(PutOutcome::Created));
    assert_eq!(try_put(&*store, again()).await, Ok(PutOutcome::Existed));
    assert_eq!(held().await, 1);
    let row = store.tag(&here, &tag("n")).await.unwrap().unwrap();
    assert_eq!((row.immutable, row.version), (true, 2));
    let (_, last) = store.events(0, 100).await.unwrap().pop().unwrap();
    assert!(last.immutable && last.tag == Some(tag("n")) && last.digest == *first.digest());
    assert_eq!(
        try_put(&*store, put(&here, second, TagClass::Mutable, &["n"])).await,
        Err(Refusal::TagTaken {
            tag: tag("n"),
            existing: *first.digest()
        })
    );
    assert_eq!(
        delete_manifest(&*store, &here, first.digest()).await,
        Err(Refusal::Held)
    );
    delete_tag(&*store, &here, "n").await.unwrap();
    assert_eq!(held().await, 0);
    assert!(
        store
            .tag(&here, &tag("n"))
            .await
            .unwrap()
            .unwrap()
            .tombstone
    );
}

pub(crate) async fn a_list_of_evidence_stays_while_a_release_keeps_its_subject(
    store: Arc<dyn Store>,
) {
    let (here, made) = manifests(&*store, 3).await;
    let (subject, list) = (&made[0], &made[1]);
    let long = VerifiedManifest::check(
        made[2].bytes().to_vec(),
        None,
        None,
        sealstone_spec::digest::Algorithm::Sha512,
    )
    .unwrap();
    for (subject, release) in [(subject, "v1"), (&long, "v2")] {
        let name = |suffix: &str| {
            let digest = subject.digest();
            format!("{}-{}{suffix}", digest.algorithm(), &digest.hex()[..64])
        };
        let put_list = |suffix: &str| PutManifest {
            admission: None,
            ..put(&here, list, TagClass::EvidenceList, &[&name(suffix)])
        };
        for suffix in [".sbom", ".sig", ".att"] {
            try_put(&*store, put_list(suffix)).await.unwrap();
            assert!(!sees(&*store, &here, list.digest()).await);
        }
        // While nothing is released, it can go.
        delete_tag(&*store, &here, &name(".sbom")).await.unwrap();
        try_put(&*store, put_list(".sbom")).await.unwrap();
        try_put(
            &*store,
            put(&here, subject, TagClass::Immutable, &[release]),
        )
        .await
        .unwrap();
        assert!(sees(&*store, &here, list.digest()).await, "{release}");
        for suffix in [".sbom", ".sig", ".att"] {
            let list_tag = name(suffix);
            assert_eq!(
                delete_tag_where(&*store, &here, &list_tag, TagClass::EvidenceList).await,
                Err(Refusal::Held)
            );
            let row = store.tag(&here, &tag(&list_tag)).await.unwrap();
            assert!(row.is_some_and(|row| row.visible && row.digest == *list.digest()));
        }
        for class in [TagClass::Mutable, TagClass::Immutable] {
            assert_eq!(
                delete_manifest_where(&*store, &here, list.digest(), class).await,
                Err(Refusal::Held),
                "{release}"
            );
        }
        delete_tag(&*store, &here, release).await.unwrap();
        assert!(!sees(&*store, &here, list.digest()).await);
        for suffix in [".sbom", ".sig"] {
            delete_tag(&*store, &here, &name(suffix)).await.unwrap();
        }
    }
    delete_manifest(&*store, &here, list.digest())
        .await
        .unwrap();
}

pub(crate) async fn a_statement_stays_while_its_subject_has_a_tag(store: Arc<dyn Store>) {
    let (here, made) = manifests(&*store, 1).await;
    let subject = *made[0].digest();
    let about = |kind: &str| Shape::index(&[]).about(subject).of_type(kind);
    let statement = about(media::SIGSTORE_BUNDLE_V03);
    let other = about("application/x");
    for class in [TagClass::Mutable, TagClass::Immutable] {
        let name = format!("{class:?}");
        let statement = store_manifest(&*store, &here, statement.clone()).await;
        let other = store_manifest(&*store, &here, other.clone()).await;
        let list = format!("sha256-{}", subject.hex());
        try_put(
            &*store,
            PutManifest {
                admission: None,
                ..put(&here, &made[0], TagClass::EvidenceList, &[&list])
            },
        )
        .await
        .unwrap();
        // A list of evidence is no release.
        delete_manifest(&*store, &here, &statement).await.unwrap();
        let statement = store_manifest(
            &*store,
            &here,
            about(media::SIGSTORE_BUNDLE_V03).marked(&name),
        )
        .await;
        try_put(&*store, put(&here, &made[0], class, &[&name]))
            .await
            .unwrap();
        // Hidden or not: a revocation is such a statement.
        show(&*store, &here, &name, subject, false).await;
        assert_eq!(
            delete_manifest(&*store, &here, &statement).await,
            Err(Refusal::Held)
        );
        let expected = match class {
            TagClass::Immutable => Err(Refusal::Held),
            _ => Ok(()),
        };
        assert_eq!(delete_manifest(&*store, &here, &other).await, expected);
        delete_tag(&*store, &here, &name).await.unwrap();
        assert_eq!(delete_manifest(&*store, &here, &statement).await, Ok(()));
        delete_tag(&*store, &here, &list).await.unwrap();
    }
}

pub(crate) async fn a_verdict_counts_while_its_policy_and_evidence_are_there(
    store: Arc<dyn Store>,
) {
    let (here, made) = manifests(&*store, 1).await;
    let digest = *made[0].digest();
    try_put(&*store, put(&here, &made[0], TagClass::Immutable, &["v1"]))
        .await
        .unwrap();
    let before = judged(&*store, &here, digest).await;
    let note = store_manifest(&*store, &here, Shape::index(&[]).about(digest)).await;
    assert!(show(&*store, &here, "v1", digest, false).await);
    let apply = async |judged| {
        store
            .show_tag(&here, &tag("v1"), judged, true)
            .await
            .unwrap()
    };
    // One that was made before the evidence came does not undo what followed from it.
    assert_eq!(apply(before.clone()).await, Err(Refusal::Rejudge));
    let now = judged(&*store, &here, digest).await;
    let other_policy = Judged {
        policy: Digest::sha256(b"another"),
        ..now.clone()
    };
    assert_eq!(apply(other_policy).await, Err(Refusal::Rejudge));
    assert!(!sees(&*store, &here, &digest).await);
    assert_eq!(apply(now.clone()).await, Ok(true));
    assert_eq!(apply(now.clone()).await, Ok(false));
    // No number comes twice: not when evidence goes and comes, nor when the manifest does.
    let mut seen = vec![before.evidence, now.evidence];
    delete_tag(&*store, &here, "v1").await.unwrap();
    for _ in 0..3 {
        delete_manifest(&*store, &here, &note).await.unwrap();
        seen.push(judged(&*store, &here, digest).await.evidence);
        delete_manifest(&*store, &here, &digest).await.unwrap();
        assert_eq!(
            store_manifest(&*store, &here, Shape::index(&[]).about(digest)).await,
            note
        );
        try_put(&*store, put(&here, &made[0], TagClass::Mutable, &[]))
            .await
            .unwrap();
        seen.push(judged(&*store, &here, digest).await.evidence);
    }
    assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
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

/// What cosign signs is the same bytes for all who sign one manifest in one place: whose signature a layer is stands in
/// its annotations.
pub(crate) async fn an_evidence_list_keeps_each_signature_over_one_payload(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let config = put_inline(&*store, &here, b"config").await;
    let payload = put_inline(&*store, &here, b"payload").await;
    let name = format!("sha256-{}.sig", "a".repeat(64));
    let list = |signers: &[&str]| {
        let layer = |signer: &&str| {
            json!({
                "mediaType": media::COSIGN_SIMPLE_SIGNING,
                "digest": payload.to_string(),
                "size": 7,
                "annotations": {"dev.cosignproject.cosign/signature": *signer},
            })
        };
        let document = json!({
            "schemaVersion": 2,
            "mediaType": media::OCI_MANIFEST,
            "config": {
                "mediaType": media::OCI_IMAGE_CONFIG,
                "digest": config.to_string(),
                "size": 6,
            },
            "layers": signers.iter().map(layer).collect::<Vec<_>>(),
        });
        let bytes = serde_json::to_vec(&document).unwrap();
        let manifest = VerifiedManifest::check(bytes, None, None, Algorithm::Sha256).unwrap();
        let put = PutManifest {
            admission: None,
            ..put(&here, &manifest, TagClass::EvidenceList, &[&name])
        };
        let store = store.clone();
        async move { store.put_manifest(put).await.unwrap() }
    };
    let lost = |count: usize| {
        Err(Refusal::EvidenceLost {
            tag: tag(&name),
            lost: vec![payload; count],
        })
    };
    assert_eq!(list(&["alice"]).await, Ok(PutOutcome::Created));
    // Bob saw no list, as alice did.
    assert_eq!(list(&["bob"]).await, lost(1));
    assert_eq!(list(&["bob", "alice"]).await, Ok(PutOutcome::Created));
    assert_eq!(list(&["carol"]).await, lost(2));
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
        assert!(show(&*store, &here, "v1", digest, visible).await);
        assert_eq!(sees(&*store, &here, before.digest()).await, visible);
        assert_eq!(sees(&*store, &here, after.digest()).await, visible);
    }
    assert!(show(&*store, &here, "v1", *subject.digest(), true).await);
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
    assert!(show(&*store, &here, "v1", digest, false).await);
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
