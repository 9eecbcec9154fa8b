//! Collection: garbage goes, in the right order, and nothing else.

#![allow(clippy::unwrap_used)]

use super::kit::*;
use crate::metadata::{CollectRules, Collected, Millis, TagClass};
use sealstone_spec::digest::Digest;
use std::sync::Arc;

pub(crate) fn rules(now: Millis) -> CollectRules {
    CollectRules {
        now,
        trash_for: 100,
        untagged_manifests: true,
        dry_run: false,
    }
}

/// Passes until all rows were looked at, in steps of `step` rows.
pub(crate) async fn sweep_by(store: &dyn Store, rules: CollectRules, step: usize) -> Collected {
    let mut all = Collected::default();
    let mut cursor = None;
    loop {
        let pass = store.collect(rules, cursor, step).await.unwrap();
        all.manifests += pass.manifests;
        all.links += pass.links;
        all.blobs += pass.blobs;
        all.bytes += pass.bytes;
        all.uploads.extend(pass.uploads);
        cursor = pass.next;
        if cursor.is_none() {
            return all;
        }
    }
}

pub(crate) async fn sweep(store: &dyn Store, rules: CollectRules) -> Collected {
    sweep_by(store, rules, 1_000).await
}

fn counts(collected: &Collected) -> (u64, u64, u64, u64) {
    (
        collected.manifests,
        collected.links,
        collected.blobs,
        collected.bytes,
    )
}

pub(crate) async fn nothing_that_is_needed_goes(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let blob = put_inline(&*store, &here, b"config").await;
    let (large, key) = put_object(&*store, &here, b"layer").await;
    let image = store_manifest(&*store, &here, Shape::image(&[blob, large])).await;
    let index = release(&*store, &here, Shape::index(&[image]), &["v1"]).await;
    let signature = store_manifest(&*store, &here, Shape::index(&[]).about(image)).await;
    let second = store_manifest(&*store, &here, Shape::index(&[]).about(signature)).await;
    // Pinned only: it goes when the pin ends, not at that very moment.
    let pinned = put_inline(&*store, &here, b"pinned").await;
    assert_eq!(sweep(&*store, rules(PINNED)).await, Collected::default());
    assert!(store.blob(&here, &pinned).await.unwrap().is_some());
    for now in [PINNED + 1, LATER, Millis::MAX / 2] {
        sweep(&*store, rules(now)).await;
        for digest in [&image, &index, &signature, &second] {
            assert!(store.manifest(&here, digest).await.unwrap().is_some());
        }
        assert!(
            store.blob(&here, &blob).await.unwrap().is_some()
                && store.blob(&here, &large).await.unwrap().is_some()
        );
        assert!(store.inline_content(&blob).await.unwrap().is_some());
    }
    assert_eq!(store.blob(&here, &pinned).await.unwrap(), None);
    assert_eq!(store.trash_due(Millis::MAX, None, 10).await.unwrap(), []);
    assert!(store.knows_key(&key).await.unwrap());
    // When the tag goes, so does everything.
    delete_tag(&*store, &here, "v1").await.unwrap();
    for _ in 0..4 {
        sweep(&*store, rules(LATER)).await;
    }
    for digest in [&image, &index, &signature, &second] {
        assert_eq!(store.manifest(&here, digest).await.unwrap(), None);
    }
    assert_eq!(store.all_blobs(None, 10).await.unwrap(), []);
}

pub(crate) async fn garbage_goes_from_the_top_down(store: Arc<dyn Store>) {
    let (here, there) = (repo("a/here"), repo("a/there"));
    let (shared, key) = put_object(&*store, &here, b"shared").await;
    mount(&*store, &here, &there, &shared).await;
    store_manifest(&*store, &here, Shape::image(&[shared])).await;
    let kept = release(&*store, &there, Shape::image(&[shared]), &["v1"]).await;
    // One pass takes the manifest, and what it frees below.
    let collected = sweep(&*store, rules(LATER)).await;
    assert_eq!(counts(&collected), (1, 1, 0, 0));
    assert_eq!(store.blob(&here, &shared).await.unwrap(), None);
    assert_eq!(
        store.blob_holders(&shared, 10).await.unwrap(),
        std::slice::from_ref(&there)
    );
    assert!(store.manifest(&there, &kept).await.unwrap().is_some());
    delete_tag(&*store, &there, "v1").await.unwrap();
    assert_eq!(counts(&sweep(&*store, rules(LATER)).await), (1, 1, 1, 6));
    assert!(
        store.knows_key(&key).await.unwrap(),
        "its object is still there"
    );
    assert_eq!(counts(&sweep(&*store, rules(LATER)).await), (0, 0, 0, 0));
    // The same content can come again, under a key of its own.
    let (_, fresh) = put_object(&*store, &here, b"shared").await;
    assert_ne!(fresh, key);
    let found = store.blob(&here, &shared).await.unwrap().unwrap();
    assert!(matches!(found.place, crate::metadata::BlobPlace::Object { key, .. } if key == fresh));
}

pub(crate) async fn untagged_manifests_stay_unless_told(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let blob = put_inline(&*store, &here, b"config").await;
    let image = store_manifest(&*store, &here, Shape::image(&[blob])).await;
    let keep = CollectRules {
        untagged_manifests: false,
        ..rules(LATER)
    };
    assert_eq!(sweep(&*store, keep).await, Collected::default());
    assert!(store.manifest(&here, &image).await.unwrap().is_some());
    // A tag that moved away makes its manifest garbage too.
    try_put(
        &*store,
        put(
            &here,
            &Shape::image(&[blob]).build(),
            TagClass::Mutable,
            &["latest"],
        ),
    )
    .await
    .unwrap();
    sweep(&*store, rules(LATER)).await;
    assert!(store.manifest(&here, &image).await.unwrap().is_some());
    let next = Shape::image(&[blob]).marked("next").build();
    try_put(&*store, put(&here, &next, TagClass::Mutable, &["latest"]))
        .await
        .unwrap();
    assert_eq!(counts(&sweep(&*store, rules(LATER)).await), (1, 0, 0, 0));
    assert_eq!(store.manifest(&here, &image).await.unwrap(), None);
    assert!(
        store
            .manifest(&here, next.digest())
            .await
            .unwrap()
            .is_some()
    );
}

pub(crate) async fn trash_waits_for_its_time(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let (_, key) = put_object(&*store, &here, b"object").await;
    sweep(&*store, rules(LATER)).await;
    assert_eq!(store.trash_due(LATER + 99, None, 10).await.unwrap(), []);
    let due = store.trash_due(LATER + 100, None, 10).await.unwrap();
    assert_eq!(
        due.iter()
            .map(|item| (&item.key, item.not_before))
            .collect::<Vec<_>>(),
        [(&key, LATER + 100)]
    );
    // Asking is not deleting: after a crash it is due again.
    assert_eq!(store.trash_due(LATER + 100, None, 10).await.unwrap(), due);
    let behind = store.trash_due(LATER + 100, Some(key.clone()), 10).await;
    assert_eq!(behind.unwrap(), []);
    assert!(store.knows_key(&key).await.unwrap());
    store.trash_done(due).await.unwrap();
    assert!(!store.knows_key(&key).await.unwrap());
}

/// Who may list a manifest in an index asks first; what was said then holds until the pin ends.
pub(crate) async fn a_manifest_that_was_asked_for_stays(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let blob = put_inline(&*store, &here, b"config").await;
    let asked = store_manifest(&*store, &here, Shape::image(&[blob])).await;
    let other = store_manifest(&*store, &here, Shape::image(&[blob]).marked(2)).await;
    let pin = |digest, until| {
        let (store, here) = (store.clone(), here.clone());
        async move {
            let pinned = store.pin_manifest(&here, &digest, LATER, until).await;
            pinned.unwrap()
        }
    };
    let row = pin(asked, LATER + 1_000).await.unwrap();
    assert_eq!(row.pin_until, LATER + 1_000);
    // A pin that is young enough is not written again, and none is shortened.
    for until in [LATER + 1_500, LATER + 10] {
        assert_eq!(pin(asked, until).await.unwrap(), row);
    }
    assert_eq!(pin(Digest::sha256(b"none"), LATER).await, None);
    sweep(&*store, rules(LATER + 1)).await;
    assert_eq!(store.manifest(&here, &other).await.unwrap(), None);
    release(&*store, &here, Shape::index(&[asked]), &["v1"]).await;
    let alone = store_manifest(&*store, &here, Shape::image(&[blob]).marked(3)).await;
    pin(alone, LATER + 1_000).await.unwrap();
    sweep(&*store, rules(LATER + 1_001)).await;
    assert_eq!(store.manifest(&here, &alone).await.unwrap(), None);
}

pub(crate) async fn trash_comes_in_pages(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let mut keys = Vec::new();
    for number in 0..7 {
        keys.push(put_object(&*store, &here, &[number]).await.1);
    }
    keys.sort();
    sweep(&*store, rules(LATER)).await;
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.trash_due(Millis::MAX, after, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        assert!(page.len() <= 3);
        found.extend(page.into_iter().map(|item| item.key));
    }
    assert_eq!(found, keys);
}

/// Several kinds of garbage and of what is kept.
async fn mixture(store: &dyn Store) {
    for name in ["a/one", "a/two", "b"] {
        let here = repo(name);
        let mut images = Vec::new();
        for number in 0..4 {
            let blob = put_inline(store, &here, format!("config {number}").as_bytes()).await;
            let (layer, _) =
                put_object(store, &here, format!("layer {name} {number}").as_bytes()).await;
            images.push(store_manifest(store, &here, Shape::image(&[blob, layer])).await);
        }
        store_manifest(store, &here, Shape::index(&images[..2])).await;
        release(store, &here, Shape::index(&images[2..3]), &["v1"]).await;
        store_manifest(store, &here, Shape::index(&[]).about(images[0])).await;
        begin(store, upload_row(&here)).await;
        put_object(store, &here, b"nobody's").await;
    }
}

pub(crate) async fn a_dry_run_predicts_and_changes_nothing(store: Arc<dyn Store>) {
    mixture(&*store).await;
    let all = || async {
        (
            store.all_blobs(None, 100).await.unwrap(),
            store.open_uploads().await.unwrap(),
        )
    };
    loop {
        let before = all().await;
        let dry = CollectRules {
            dry_run: true,
            ..rules(LATER)
        };
        let predicted = store.collect(dry, None, 3).await.unwrap();
        assert_eq!(store.collect(dry, None, 3).await.unwrap(), predicted);
        assert_eq!(all().await, before);
        let done = sweep(&*store, rules(LATER)).await;
        assert_eq!(counts(&done), counts(&predicted));
        assert_eq!(done.uploads, predicted.uploads);
        if done == Collected::default() {
            break;
        }
    }
    assert_eq!(
        store.all_blobs(None, 100).await.unwrap().len(),
        1 + 3,
        "one configuration, three layers"
    );
}

/// What is tried out is never written, so each step sees the changes of all before it: in a time that does not grow with
/// their number.
pub(crate) async fn a_dry_run_over_many_links_comes_to_its_end(store: Arc<dyn Store>) {
    const WRITERS: u64 = 200;
    const LINKS: u64 = 20_000;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            let here = repo("a/here");
            for number in 0..LINKS / WRITERS {
                let content = format!("{writer} {number}");
                put_inline(&*store, &here, content.as_bytes()).await;
            }
        });
    }
    writers.join_all().await;
    let dry = CollectRules {
        dry_run: true,
        ..rules(LATER)
    };
    let predicted = store.collect(dry, None, 1).await.unwrap();
    assert_eq!((predicted.links, predicted.blobs), (LINKS, LINKS));
}

pub(crate) async fn small_steps_do_what_one_does(store: Arc<dyn Store>) {
    mixture(&*store).await;
    let dry = CollectRules {
        dry_run: true,
        ..rules(LATER)
    };
    let predicted = store.collect(dry, None, 1).await.unwrap();
    let done = sweep_by(&*store, rules(LATER), 1).await;
    assert_eq!((counts(&done), done.uploads.len()), (counts(&predicted), 3));
}

/// Each step takes the one thread that writes, so none of them looks at everything.
pub(crate) async fn no_step_gives_up_more_uploads_than_it_looks_at(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let mut begun = Vec::new();
    for number in 0..7 {
        let mut row = upload_row(&here);
        if number == 3 {
            row.expires_at = LATER;
        } else {
            begun.push(row.id);
        }
        begin(&*store, row).await;
    }
    put_inline(&*store, &here, b"nobody's").await;
    begun.sort();
    let (mut given_up, mut links, mut steps, mut cursor) = (Vec::new(), 0, 0, None);
    loop {
        let pass = store.collect(rules(LATER), cursor, 2).await.unwrap();
        assert!(pass.uploads.len() <= 2);
        steps += 1;
        given_up.extend(pass.uploads);
        links += pass.links;
        cursor = pass.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(given_up, begun);
    assert!(steps >= 4 && links == 1, "{steps} steps, {links} links");
    assert_eq!(store.open_uploads().await.unwrap(), 1);
}

pub(crate) async fn collecting_beside_writers_loses_nothing(store: Arc<dyn Store>) {
    use_default_policy(&*store).await;
    let collector = {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..60 {
                sweep_by(&*store, rules(PINNED + 1), 2).await;
                tokio::task::yield_now().await;
            }
        })
    };
    let mut writers = Vec::new();
    for number in 0..8 {
        let store = store.clone();
        writers.push(tokio::spawn(async move {
            let here = repo(&format!("a/r{}", number % 2));
            let mut stored = 0;
            for round in 0..12 {
                // Pins that are over already: the collector may take the blob at any moment before the
                // manifest counts it, and then the push is refused. It never stores what is gone.
                let (blob, _) =
                    put_object(&*store, &here, format!("content {}", round % 3).as_bytes()).await;
                let manifest = Shape::image(&[blob])
                    .marked(format!("{number} {round}"))
                    .build();
                let name = format!("v{number}-{round}");
                let put = put(&here, &manifest, TagClass::Immutable, &[&name]);
                if store.put_manifest(put).await.unwrap().is_ok() {
                    stored += 1;
                    assert!(sees_blob(&*store, &here, &blob).await, "named, and gone");
                }
            }
            stored
        }));
    }
    let mut stored = 0;
    for writer in writers {
        stored += writer.await.unwrap();
    }
    collector.await.unwrap();
    assert!(stored > 0);
    sweep(&*store, rules(LATER)).await;
    // Every key is either a blob's or trash.
    let trash: Vec<_> = store
        .trash_due(Millis::MAX, None, usize::MAX)
        .await
        .unwrap()
        .into_iter()
        .map(|item| item.key)
        .collect();
    let blobs = store.all_blobs(None, 100).await.unwrap();
    for (digest, row) in &blobs {
        let crate::metadata::BlobPlace::Object { key, .. } = &row.place else {
            panic!("{digest} is inline")
        };
        assert!(!trash.contains(key) && store.knows_key(key).await.unwrap());
        assert_eq!(
            row.links,
            store.blob_holders(digest, 10).await.unwrap().len() as u64
        );
    }
    assert_eq!(trash.len() + blobs.len(), 8 * 12);
}
