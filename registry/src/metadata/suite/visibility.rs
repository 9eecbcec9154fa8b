//! What consumers see: nothing but what a visible tag leads to, and all of that.

#![allow(clippy::unwrap_used)]

use super::kit::{self, *};
use crate::metadata::{PutManifest, Refusal, TagClass};
use sealstone_spec::digest::Digest;
use sealstone_spec::name::RepoName;
use std::sync::Arc;

/// An index over an image with a signature, each with a blob of its own.
struct Tree {
    here: RepoName,
    blobs: [Digest; 3],
    image: Digest,
    index: Digest,
    signature: Digest,
}

impl Tree {
    async fn staged(store: &dyn Store) -> Tree {
        let here = repo("a/here");
        let mut blobs = Vec::new();
        for content in [&b"config"[..], b"layer", b"bundle"] {
            blobs.push(put_inline(store, &here, content).await);
        }
        let image = store_manifest(store, &here, Shape::image(&blobs[..2])).await;
        let index = store_manifest(store, &here, Shape::index(&[image])).await;
        let signature = store_manifest(store, &here, Shape::image(&blobs[2..]).about(index)).await;
        Tree {
            here,
            blobs: blobs.try_into().unwrap(),
            image,
            index,
            signature,
        }
    }

    async fn tag(&self, store: &dyn Store, class: TagClass, name: &str) {
        try_put(
            store,
            put(
                &self.here,
                &Shape::index(&[self.image]).build(),
                class,
                &[name],
            ),
        )
        .await
        .unwrap();
    }

    /// Checks that all of it is seen, or nothing.
    async fn assert_seen(&self, store: &dyn Store, expected: bool) {
        for digest in [&self.image, &self.index, &self.signature] {
            assert_eq!(
                sees(store, &self.here, digest).await,
                expected,
                "manifest {digest}"
            );
        }
        for digest in &self.blobs {
            assert_eq!(
                sees_blob(store, &self.here, digest).await,
                expected,
                "blob {digest}"
            );
        }
    }
}

pub(crate) async fn staged_content_is_invisible(store: Arc<dyn Store>) {
    let tree = Tree::staged(&*store).await;
    tree.assert_seen(&*store, false).await;
    assert_eq!(store.tags(&tree.here, None, 10, true).await.unwrap(), []);
}

pub(crate) async fn a_release_shows_all_that_it_leads_to(store: Arc<dyn Store>) {
    let tree = Tree::staged(&*store).await;
    // The same blobs in another repository are no concern of this release.
    let there = repo("a/there");
    mount(&*store, &tree.here, &there, &tree.blobs[0]).await;
    tree.tag(&*store, TagClass::Immutable, "v1").await;
    tree.assert_seen(&*store, true).await;
    assert!(!sees_blob(&*store, &there, &tree.blobs[0]).await);
    assert_eq!(
        store.tags(&tree.here, None, 10, true).await.unwrap(),
        [tag("v1")]
    );
}

pub(crate) async fn a_referrer_is_seen_with_its_subject(store: Arc<dyn Store>) {
    let tree = Tree::staged(&*store).await;
    tree.tag(&*store, TagClass::Immutable, "v1").await;
    let late = put_inline(&*store, &tree.here, b"late").await;
    let report = store_manifest(
        &*store,
        &tree.here,
        Shape::image(&[late]).about(tree.signature),
    )
    .await;
    assert!(
        sees(&*store, &tree.here, &report).await && sees_blob(&*store, &tree.here, &late).await
    );
    // One that was here before its subject.
    let coming = Shape::image(&[tree.blobs[0]]).marked("coming").build();
    let early = store_manifest(
        &*store,
        &tree.here,
        Shape::index(&[]).about(*coming.digest()),
    )
    .await;
    assert!(!sees(&*store, &tree.here, &early).await);
    try_put(
        &*store,
        put(&tree.here, &coming, TagClass::Immutable, &["v2"]),
    )
    .await
    .unwrap();
    assert!(sees(&*store, &tree.here, &early).await);
}

pub(crate) async fn deleting_the_tag_hides_again(store: Arc<dyn Store>) {
    for (class, name) in [(TagClass::Immutable, "v1"), (TagClass::Mutable, "latest")] {
        let tree = Tree::staged(&*store).await;
        tree.tag(&*store, class, name).await;
        tree.assert_seen(&*store, true).await;
        delete_tag(&*store, &tree.here, name).await.unwrap();
        tree.assert_seen(&*store, false).await;
    }
}

pub(crate) async fn several_ways_count_each(store: Arc<dyn Store>) {
    let tree = Tree::staged(&*store).await;
    tree.tag(&*store, TagClass::Mutable, "one").await;
    tree.tag(&*store, TagClass::Mutable, "two").await;
    let image = Shape::image(&tree.blobs[..2]).build();
    try_put(
        &*store,
        put(&tree.here, &image, TagClass::Mutable, &["image"]),
    )
    .await
    .unwrap();
    delete_tag(&*store, &tree.here, "one").await.unwrap();
    tree.assert_seen(&*store, true).await;
    delete_tag(&*store, &tree.here, "two").await.unwrap();
    assert!(
        !sees(&*store, &tree.here, &tree.index).await
            && !sees(&*store, &tree.here, &tree.signature).await
    );
    assert!(
        sees(&*store, &tree.here, &tree.image).await
            && sees_blob(&*store, &tree.here, &tree.blobs[1]).await
    );
    assert!(!sees_blob(&*store, &tree.here, &tree.blobs[2]).await);
    // A tag that moves away takes its view along.
    let other = Shape::index(&[]).build();
    try_put(
        &*store,
        put(&tree.here, &other, TagClass::Mutable, &["image"]),
    )
    .await
    .unwrap();
    tree.assert_seen(&*store, false).await;
    assert!(sees(&*store, &tree.here, other.digest()).await);
}

pub(crate) async fn hiding_a_tag_hides_what_it_leads_to(store: Arc<dyn Store>) {
    let tree = Tree::staged(&*store).await;
    tree.tag(&*store, TagClass::Immutable, "v1").await;
    let show = |digest: Digest, visible: bool| {
        let (store, here) = (store.clone(), tree.here.clone());
        async move { kit::show(&*store, &here, "v1", digest, visible).await }
    };
    assert!(
        !show(tree.image, false).await,
        "the tag names another digest"
    );
    assert!(!show(tree.index, true).await, "it is shown already");
    tree.assert_seen(&*store, true).await;
    assert!(show(tree.index, false).await);
    tree.assert_seen(&*store, false).await;
    assert_eq!(store.tags(&tree.here, None, 10, true).await.unwrap(), []);
    assert_eq!(
        store.tags(&tree.here, None, 10, false).await.unwrap(),
        [tag("v1")]
    );
    assert_eq!(
        delete_manifest(&*store, &tree.here, &tree.image).await,
        Err(Refusal::Held),
        "hidden, yet kept"
    );
    assert!(show(tree.index, true).await);
    tree.assert_seen(&*store, true).await;
    assert!(show(tree.index, false).await);
    delete_tag(&*store, &tree.here, "v1").await.unwrap();
    tree.assert_seen(&*store, false).await;
}

pub(crate) async fn what_a_release_holds_cannot_be_deleted(store: Arc<dyn Store>) {
    let tree = Tree::staged(&*store).await;
    tree.tag(&*store, TagClass::Immutable, "v1").await;
    let late = store_manifest(&*store, &tree.here, Shape::index(&[]).about(tree.image)).await;
    let all = [tree.index, tree.image, tree.signature, late];
    for digest in &all {
        assert_eq!(
            delete_manifest(&*store, &tree.here, digest).await,
            Err(Refusal::Held)
        );
    }
    delete_tag(&*store, &tree.here, "v1").await.unwrap();
    for digest in &all {
        assert_eq!(delete_manifest(&*store, &tree.here, digest).await, Ok(()));
    }
    for digest in &tree.blobs {
        assert!(!sees_blob(&*store, &tree.here, digest).await);
        assert_eq!(
            store.unlink_blob(&tree.here, digest, NOW).await.unwrap(),
            Ok(())
        );
    }
}

pub(crate) async fn evidence_shows_nothing_but_evidence_of_the_same(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let mut blobs = Vec::new();
    for content in [&b"config"[..], b"weights", b"note"] {
        blobs.push(put_inline(&*store, &here, content).await);
    }
    let subject = Shape::image(&blobs[..1]).build();
    let about = *subject.digest();
    let image = Shape::image(&blobs[1..2]);
    let hidden = store_manifest(&*store, &here, image.clone()).await;
    let inner = store_manifest(&*store, &here, Shape::index(&[hidden])).await;
    // Whether it is here before its subject, after it, or speaks of what speaks of it.
    let note = store_manifest(&*store, &here, Shape::image(&blobs[2..]).about(about)).await;
    let early = Shape::index(&[hidden, inner, note]).about(about);
    let early = store_manifest(&*store, &here, early).await;
    try_put(
        &*store,
        put(&here, &subject, TagClass::Mutable, &["latest"]),
    )
    .await
    .unwrap();
    let late = Shape::index(&[hidden]).about(about).marked("late");
    let late = store_manifest(&*store, &here, late).await;
    let deep = store_manifest(&*store, &here, Shape::index(&[hidden]).about(note)).await;
    for digest in [&about, &note, &early, &late, &deep] {
        assert!(sees(&*store, &here, digest).await, "{digest}");
    }
    assert!(sees_blob(&*store, &here, &blobs[2]).await);
    let stays_hidden = async || {
        for digest in [&hidden, &inner] {
            assert!(!sees(&*store, &here, digest).await, "{digest}");
        }
        assert!(!sees_blob(&*store, &here, &blobs[1]).await);
    };
    stays_hidden().await;
    // Nor is it seen when it comes back to lists that are seen.
    for digest in [&inner, &hidden] {
        delete_manifest(&*store, &here, digest).await.unwrap();
    }
    store_manifest(&*store, &here, image.clone()).await;
    store_manifest(&*store, &here, Shape::index(&[hidden])).await;
    stays_hidden().await;
    // A tag of its own shows it, and takes that along.
    let own = put(&here, &image.build(), TagClass::Mutable, &["own"]);
    try_put(&*store, own).await.unwrap();
    assert!(sees(&*store, &here, &hidden).await && sees_blob(&*store, &here, &blobs[1]).await);
    delete_tag(&*store, &here, "own").await.unwrap();
    stays_hidden().await;
    delete_tag(&*store, &here, "latest").await.unwrap();
    for digest in [&about, &note, &early, &late, &deep] {
        assert!(!sees(&*store, &here, digest).await, "{digest}");
    }
    stays_hidden().await;
}

pub(crate) async fn a_list_of_evidence_shows_nothing_but_evidence(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let mut blobs = Vec::new();
    for content in [&b"config"[..], b"weights", b"note"] {
        blobs.push(put_inline(&*store, &here, content).await);
    }
    let hidden = store_manifest(&*store, &here, Shape::image(&blobs[1..2])).await;
    for (mark, is_before) in [("before", true), ("after", false)] {
        for is_evidence in [true, false] {
            let subject = Shape::image(&blobs[..1]).marked(format!("{mark} {is_evidence}"));
            let subject = subject.build();
            let note = Shape::image(&blobs[2..]).about(*subject.digest());
            let note = store_manifest(&*store, &here, note).await;
            let listed = if is_evidence { note } else { hidden };
            let list = Shape::index(&[listed]).marked(mark).build();
            let name = format!("sha256-{}", subject.digest().hex());
            let list_put = || PutManifest {
                admission: None,
                ..put(&here, &list, TagClass::EvidenceList, &[&name])
            };
            let version = format!("{mark}-{is_evidence}");
            if is_before {
                try_put(&*store, list_put()).await.unwrap();
            }
            let release = put(&here, &subject, TagClass::Immutable, &[&version]);
            try_put(&*store, release).await.unwrap();
            if !is_before {
                try_put(&*store, list_put()).await.unwrap();
            }
            assert_eq!(
                sees(&*store, &here, list.digest()).await,
                is_evidence,
                "{mark}"
            );
            let row = store.tag(&here, &tag(&name)).await.unwrap();
            assert_eq!(row.map(|row| row.visible), Some(is_evidence), "{mark}");
            assert!(sees(&*store, &here, &note).await);
            assert!(!sees(&*store, &here, &hidden).await);
            assert!(!sees_blob(&*store, &here, &blobs[1]).await);
        }
    }
}

/// What was pushed under such a name where nothing was hidden was held to nothing.
pub(crate) async fn a_list_of_evidence_is_what_its_name_says(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let mut blobs = Vec::new();
    for content in [&b"config"[..], b"weights", b"payload"] {
        blobs.push(put_inline(&*store, &here, content).await);
    }
    let image = Shape::image(&blobs[..2]);
    let signatures = Shape {
        signature: Some("alice".into()),
        ..Shape::image(&[blobs[0], blobs[2]])
    };
    let index = Shape::index(&[]);
    for is_before in [true, false] {
        for (suffix, list, is_evidence) in [
            ("", &image, false),
            (".sig", &image, false),
            (".att", &image, false),
            (".sbom", &image, false),
            (".att", &signatures, false),
            (".sig", &index, false),
            (".sig", &signatures, true),
        ] {
            let case = format!("{is_before}{suffix} {is_evidence}");
            let list = list.clone().marked(&case);
            let subject = Shape::image(&blobs[..1]).marked(format!("about {case} {list:?}"));
            let subject = subject.build();
            let name = format!("sha256-{}{suffix}", subject.digest().hex());
            let manifest = list.build();
            let list_put = || PutManifest {
                admission: None,
                ..put(&here, &manifest, TagClass::EvidenceList, &[&name])
            };
            if is_before {
                try_put(&*store, list_put()).await.unwrap();
            }
            let release = put(&here, &subject, TagClass::Mutable, &["latest"]);
            try_put(&*store, release).await.unwrap();
            if !is_before {
                try_put(&*store, list_put()).await.unwrap();
            }
            let row = store.tag(&here, &tag(&name)).await.unwrap();
            assert_eq!(row.map(|row| row.visible), Some(is_evidence), "{case}");
            let is_seen = sees(&*store, &here, manifest.digest()).await;
            assert_eq!(is_seen, is_evidence, "{case}");
            assert!(!sees_blob(&*store, &here, &blobs[1]).await, "{case}");
        }
    }
}

/// Puts a list under the name of what it speaks of, as cosign does for each manifest that it signs.
async fn put_list(store: &dyn Store, here: &RepoName, subject: &Digest, payload: Digest) -> Digest {
    let list = Shape::image(&[payload]).marked(subject).build();
    let name = format!("sha256-{}.sig", subject.hex());
    let list_put = PutManifest {
        admission: None,
        ..put(here, &list, TagClass::EvidenceList, &[&name])
    };
    try_put(store, list_put).await.unwrap();
    *list.digest()
}

pub(crate) async fn lists_about_all_that_a_release_leads_to_are_seen_with_it(
    store: Arc<dyn Store>,
) {
    for is_before in [true, false] {
        let tree = Tree::staged(&*store).await;
        let here = &tree.here;
        let payload = put_inline(&*store, here, b"payload").await;
        if !is_before {
            tree.tag(&*store, TagClass::Mutable, "v1").await;
        }
        // About the child, the index, what speaks of it, and each of these lists.
        let mut lists = Vec::new();
        for subject in [tree.image, tree.index, tree.signature] {
            let list = put_list(&*store, here, &subject, payload).await;
            lists.push((subject, list));
            lists.push((list, put_list(&*store, here, &list, payload).await));
        }
        let assert_lists = async |expected: bool| {
            tree.assert_seen(&*store, expected).await;
            for (subject, list) in &lists {
                let name = tag(&format!("sha256-{}.sig", subject.hex()));
                let row = store.tag(here, &name).await.unwrap();
                assert_eq!(row.map(|row| row.visible), Some(expected), "{name}");
                assert_eq!(sees(&*store, here, list).await, expected, "{name}");
            }
            assert_eq!(sees_blob(&*store, here, &payload).await, expected);
        };
        if is_before {
            assert_lists(false).await;
            tree.tag(&*store, TagClass::Mutable, "v1").await;
        }
        assert_lists(true).await;
        for visible in [false, true] {
            assert!(kit::show(&*store, here, "v1", tree.index, visible).await);
            assert_lists(visible).await;
        }
        delete_tag(&*store, here, "v1").await.unwrap();
        assert_lists(false).await;
        // So that nothing is left of it for the next turn.
        for (_, list) in lists.iter().rev() {
            delete_manifest(&*store, here, list).await.unwrap();
        }
    }
}

pub(crate) async fn a_list_waits_for_what_it_speaks_of(store: Arc<dyn Store>) {
    let tree = Tree::staged(&*store).await;
    tree.tag(&*store, TagClass::Mutable, "latest").await;
    let payload = put_inline(&*store, &tree.here, b"payload").await;
    let report = Shape::image(&tree.blobs[..1]).about(tree.index);
    let coming = *report.build().digest();
    let list = put_list(&*store, &tree.here, &coming, payload).await;
    assert!(!sees(&*store, &tree.here, &list).await);
    for _ in 0..2 {
        store_manifest(&*store, &tree.here, report.clone()).await;
        assert!(sees(&*store, &tree.here, &list).await);
        assert!(sees_blob(&*store, &tree.here, &payload).await);
        delete_manifest(&*store, &tree.here, &coming).await.unwrap();
        assert!(!sees(&*store, &tree.here, &list).await);
        assert!(!sees_blob(&*store, &tree.here, &payload).await);
    }
}

pub(crate) async fn a_list_waits_for_what_it_lists(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let config = put_inline(&*store, &here, b"config").await;
    let subject = Shape::image(&[config]).build();
    let latest = put(&here, &subject, TagClass::Mutable, &["latest"]);
    try_put(&*store, latest).await.unwrap();
    let note = Shape::image(&[config]).about(*subject.digest());
    let listed = store_manifest(&*store, &here, note.clone()).await;
    let list = Shape::index(&[listed]).build();
    let name = format!("sha256-{}", subject.digest().hex());
    let list_put = PutManifest {
        admission: None,
        ..put(&here, &list, TagClass::EvidenceList, &[&name])
    };
    try_put(&*store, list_put).await.unwrap();
    assert!(sees(&*store, &here, list.digest()).await);
    delete_manifest(&*store, &here, &listed).await.unwrap();
    for visible in [false, true] {
        assert!(kit::show(&*store, &here, "latest", *subject.digest(), visible).await);
        assert!(!sees(&*store, &here, list.digest()).await, "{visible}");
    }
    store_manifest(&*store, &here, note).await;
    for digest in [&listed, list.digest()] {
        assert!(sees(&*store, &here, digest).await, "{digest}");
    }
    let row = store.tag(&here, &tag(&name)).await.unwrap();
    assert!(row.is_some_and(|row| row.visible));
}

pub(crate) async fn a_tag_that_moves_takes_the_lists_along(store: Arc<dyn Store>) {
    let tree = Tree::staged(&*store).await;
    tree.tag(&*store, TagClass::Mutable, "latest").await;
    let here = &tree.here;
    let payload = put_inline(&*store, here, b"payload").await;
    let own = Shape::image(&tree.blobs[..1]).marked("own");
    let own = store_manifest(&*store, here, own).await;
    let kept = put_list(&*store, here, &tree.image, payload).await;
    let lost = put_list(&*store, here, &tree.signature, payload).await;
    let new = put_list(&*store, here, &own, payload).await;
    let before = [(kept, true), (lost, true), (new, false)];
    let after = [(kept, true), (lost, false), (new, true)];
    let next = Shape::index(&[tree.image, own]).build();
    for (step, seen) in [before, after].into_iter().enumerate() {
        if step == 1 {
            let moved = put(here, &next, TagClass::Mutable, &["latest"]);
            try_put(&*store, moved).await.unwrap();
        }
        for (list, is_seen) in seen {
            assert_eq!(sees(&*store, here, &list).await, is_seen, "{step}: {list}");
        }
    }
}
