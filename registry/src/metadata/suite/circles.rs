//! Manifests that would lead to each other in a circle. A digest cannot be in what it is the digest of,
//! but a subject points up where a list points down: an index whose subject is what it lists would keep
//! that in view, and held, when the last tag is gone.

#![allow(clippy::unwrap_used)]

use super::kit::*;
use crate::metadata::{PutManifest, Refusal, TagClass};
use std::sync::Arc;

pub(crate) async fn an_index_cannot_speak_of_its_own_child(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let blob = put_inline(&*store, &here, b"config").await;
    let image = release(&*store, &here, Shape::image(&[blob]), &["v1"]).await;
    let circle = Shape::index(&[image]).about(image).build();
    let refused = try_put(&*store, put(&here, &circle, TagClass::Immutable, &[])).await;
    assert_eq!(refused, Err(Refusal::Circular { through: image }));
    assert_eq!(
        store
            .manifest(&here, &image)
            .await
            .unwrap()
            .unwrap()
            .parents,
        0
    );
    // So a retraction hides the release, and what it held can go.
    delete_tag(&*store, &here, "v1").await.unwrap();
    assert!(!sees(&*store, &here, &image).await && !sees_blob(&*store, &here, &blob).await);
    delete_manifest(&*store, &here, &image).await.unwrap();
}

pub(crate) async fn longer_circles_are_refused_as_well(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let blob = put_inline(&*store, &here, b"config").await;
    let image = store_manifest(&*store, &here, Shape::image(&[blob])).await;
    let inner = store_manifest(&*store, &here, Shape::index(&[image])).await;
    let report = store_manifest(&*store, &here, Shape::image(&[blob]).about(image)).await;
    for shape in [
        Shape::index(&[inner]).about(image),
        Shape::index(&[image]).about(report),
        Shape::index(&[inner]).about(report),
    ] {
        let refused = try_put(
            &*store,
            put(&here, &shape.build(), TagClass::Immutable, &[]),
        )
        .await;
        assert!(
            matches!(refused, Err(Refusal::Circular { .. })),
            "{refused:?}"
        );
    }
    // Neither a report on an index of the subject's, nor a list of what speaks of the same, is a circle.
    store_manifest(&*store, &here, Shape::image(&[blob]).about(inner).marked(1)).await;
    store_manifest(&*store, &here, Shape::index(&[report, image])).await;
    store_manifest(&*store, &here, Shape::index(&[report]).about(image)).await;
}

pub(crate) async fn a_circle_cannot_be_closed_by_a_return(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let blob = put_inline(&*store, &here, b"config").await;
    let image = store_manifest(&*store, &here, Shape::image(&[blob])).await;
    let outer = store_manifest(&*store, &here, Shape::index(&[image])).await;
    // While the listed image is away, nothing leads from it to the report any more.
    delete_manifest(&*store, &here, &image).await.unwrap();
    let report = Shape::index(&[outer]).about(image).build();
    let first = try_put(&*store, put(&here, &report, TagClass::Immutable, &[])).await;
    let back = try_put(
        &*store,
        put(
            &here,
            &Shape::image(&[blob]).build(),
            TagClass::Immutable,
            &["v1"],
        ),
    )
    .await;
    assert!(
        first.is_err() || back.is_err(),
        "one of the two closes the circle"
    );
    if back.is_ok() {
        delete_tag(&*store, &here, "v1").await.unwrap();
        assert!(!sees(&*store, &here, &image).await);
    }
}

/// Nothing keeps a store from having such; a change of one of them must not run round for ever.
pub(crate) async fn lists_about_each_other_come_to_an_end(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let blob = put_inline(&*store, &here, b"config").await;
    let image = |mark: usize| Shape::image(&[blob]).marked(mark);
    let mut made = Vec::new();
    for mark in 0..3 {
        made.push(store_manifest(&*store, &here, image(mark)).await);
    }
    for (mark, list) in [1, 2, 0].into_iter().enumerate() {
        let name = format!("sha256-{}.sig", made[mark].hex());
        let list_put = PutManifest {
            admission: None,
            ..put(
                &here,
                &image(list).build(),
                TagClass::EvidenceList,
                &[&name],
            )
        };
        try_put(&*store, list_put).await.unwrap();
    }
    for mark in [0, 2, 1] {
        let moved = put(&here, &image(mark).build(), TagClass::Mutable, &["latest"]);
        try_put(&*store, moved).await.unwrap();
        for digest in &made {
            assert!(sees(&*store, &here, digest).await);
        }
    }
    // The first list that goes takes the rest along.
    delete_tag(&*store, &here, "latest").await.unwrap();
    let name = format!("sha256-{}.sig", made[0].hex());
    delete_tag(&*store, &here, &name).await.unwrap();
    for digest in &made {
        assert!(!sees(&*store, &here, digest).await);
    }
}

/// Nor does a name among lists keep in sight what is none: two images, each under the name of the other's signatures.
pub(crate) async fn no_circle_of_names_outlives_a_release(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let config = put_inline(&*store, &here, b"config").await;
    let weights = put_inline(&*store, &here, b"weights").await;
    let image = |mark: usize| Shape::image(&[config, weights]).marked(mark);
    let mut made = Vec::new();
    for mark in 0..2 {
        made.push(store_manifest(&*store, &here, image(mark)).await);
    }
    for (mark, digest) in made.iter().enumerate() {
        let name = format!("sha256-{}.sig", digest.hex());
        let other = image(1 - mark).build();
        let list_put = PutManifest {
            admission: None,
            ..put(&here, &other, TagClass::EvidenceList, &[&name])
        };
        try_put(&*store, list_put).await.unwrap();
    }
    release(&*store, &here, image(0), &["v1"]).await;
    assert!(sees(&*store, &here, &made[0]).await);
    assert!(!sees(&*store, &here, &made[1]).await);
    // As when it is revoked.
    assert!(show(&*store, &here, "v1", made[0], false).await);
    for digest in &made {
        assert!(!sees(&*store, &here, digest).await);
    }
    assert!(!sees_blob(&*store, &here, &weights).await);
}
