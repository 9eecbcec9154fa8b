//! The log's part of a store: events become entries, once and in order.

#![allow(clippy::unwrap_used)]

use super::kit::{
    NOW, Shape, Store, delete_tag, put_inline, release, repo, tag, try_put, use_default_policy,
};
use crate::metadata::log::{LogQuery, LogState, PublishedCheckpoint};
use crate::metadata::{PolicyChange, TagClass};
use sealstone_spec::digest::Digest;
use sealstone_spec::envelope::seal;
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::log::{
    Entry, EventEntry, Frontier, Hash, NodeId, Operation, Rekord, TileKind, TilePath,
};
use sealstone_spec::media;
use sealstone_spec::policy::KeyRecord;
use std::sync::Arc;

/// Integrates in steps of `step` until nothing waits.
async fn settle(store: &dyn Store, step: usize) -> LogState {
    loop {
        let state = store.integrate(step).await.unwrap();
        if state.is_caught_up {
            return state;
        }
    }
}

async fn entries(store: &dyn Store) -> Vec<Entry> {
    let entries = store.log_entries(0, usize::MAX).await.unwrap();
    entries
        .iter()
        .map(|entry| Entry::parse(entry).unwrap())
        .collect()
}

fn event(entry: &Entry) -> &EventEntry {
    match entry {
        Entry::Event(event) => event,
        other => panic!("no event: {other:?}"),
    }
}

fn rekord(message: &[u8]) -> Rekord {
    let key = SecretKey::p256_from_seed(&[7; 32]).unwrap();
    let envelope = seal("a/b", message, &key).unwrap();
    Rekord::of_envelope(&envelope, key.public_key()).unwrap()
}

pub(crate) async fn events_become_entries_in_order(store: Arc<dyn Store>) {
    let here = repo("a/b");
    use_default_policy(&*store).await;
    let blob = put_inline(&*store, &here, b"x").await;
    let first = release(&*store, &here, Shape::image(&[blob]), &["v1"]).await;
    let moved = Shape::image(&[blob]).marked(2).build();
    for image in [&Shape::image(&[blob]).build(), &moved] {
        try_put(
            &*store,
            super::kit::put(&here, image, TagClass::Mutable, &["latest"]),
        )
        .await
        .unwrap();
    }
    delete_tag(&*store, &here, "v1").await.unwrap();
    let state = settle(&*store, 2).await;
    let found = entries(&*store).await;
    assert_eq!((state.size, state.events), (4, 4));
    let events: Vec<&EventEntry> = found.iter().map(event).collect();
    let operations: Vec<(Operation, Option<u64>)> =
        events.iter().map(|event| (event.op, event.event)).collect();
    assert_eq!(
        operations,
        [
            (Operation::Release, Some(1)),
            (Operation::Tag, Some(2)),
            (Operation::Tag, Some(3)),
            (Operation::Untag, Some(4))
        ]
    );
    assert_eq!(events[0].digest, first);
    // Each tag is a chain of its own.
    let leaf = |at: usize| Entry::Event(events[at].clone()).leaf().unwrap();
    let chained: Vec<Option<Hash>> = events.iter().map(|event| event.prev).collect();
    assert_eq!(chained, [None, None, Some(leaf(1)), Some(leaf(0))]);
    let last = store
        .logged(&LogQuery::Tag(here.clone(), tag("v1")))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((last.index, last.leaf), (3, leaf(3)));
    // Nothing waits, nothing changes.
    assert_eq!(settle(&*store, 100).await, state);
    assert_eq!(store.log_state().await.unwrap(), state);
}

pub(crate) async fn the_size_of_steps_changes_no_event(store: Arc<dyn Store>) {
    let here = repo("a/b");
    let blob = put_inline(&*store, &here, b"x").await;
    for n in 0..9 {
        release(
            &*store,
            &here,
            Shape::image(&[blob]).marked(n),
            &[&format!("v{n}")],
        )
        .await;
    }
    let state = settle(&*store, 3).await;
    let mut whole = Frontier::new();
    for entry in store.log_entries(0, 100).await.unwrap() {
        whole.push(Hash::of_entry(&entry), |_, _| {});
    }
    assert_eq!((whole.size(), whole.root()), (state.size, state.root));
    assert_eq!(store.log_entries(4, 3).await.unwrap().len(), 3);
    assert!(store.log_entries(state.size, 3).await.unwrap().is_empty());
}

pub(crate) async fn statements_are_entries(store: Arc<dyn Store>) {
    let here = repo("a/b");
    let blob = put_inline(&*store, &here, b"x").await;
    let image = release(&*store, &here, Shape::image(&[blob]), &["v1"]).await;
    let bundle = Shape::image(&[blob])
        .about(image)
        .of_type(media::SIGSTORE_BUNDLE_V03);
    let statement = super::kit::store_manifest(&*store, &here, bundle).await;
    let other = Shape::image(&[blob]).about(image).of_type("text/plain");
    super::kit::store_manifest(&*store, &here, other).await;
    settle(&*store, 100).await;
    let at = store
        .logged(&LogQuery::Statement(here, statement))
        .await
        .unwrap()
        .unwrap();
    let found = entries(&*store).await;
    let logged = event(&found[usize::try_from(at.index).unwrap()]);
    assert_eq!(
        (logged.op, logged.digest, logged.statement),
        (Operation::Attach, image, Some(statement))
    );
    let attached = found
        .iter()
        .filter(|entry| event(entry).op.is_of_statement());
    assert_eq!(attached.count(), 1);
}

pub(crate) async fn one_signature_is_one_entry(store: Arc<dyn Store>) {
    for message in [&b"one"[..], b"one", b"two"] {
        store.submit(rekord(message)).await.unwrap();
    }
    let state = settle(&*store, 100).await;
    assert_eq!((state.size, state.submissions), (2, 3));
    store.submit(rekord(b"one")).await.unwrap();
    assert_eq!(settle(&*store, 100).await.size, 2);
    let leaf = rekord(b"two").leaf();
    let at = store.logged(&LogQuery::Entry(leaf)).await.unwrap().unwrap();
    assert_eq!((at.index, at.leaf), (1, leaf));
    assert!(
        store
            .logged(&LogQuery::Entry(rekord(b"three").leaf()))
            .await
            .unwrap()
            .is_none()
    );
}

pub(crate) async fn tiles_are_those_of_the_entries(store: Arc<dyn Store>) {
    for n in 0..600_u32 {
        let change = PolicyChange {
            digest: Digest::sha256(&n.to_be_bytes()),
            document: None,
            keys: Vec::new(),
            by: "user:tester".into(),
            now: NOW,
        };
        assert!(store.adopt_policy(change).await.unwrap());
    }
    let state = settle(&*store, 100).await;
    assert_eq!(state.size, 600);
    let mut nodes = std::collections::BTreeMap::new();
    let mut frontier = Frontier::new();
    for entry in store.log_entries(0, 1000).await.unwrap() {
        frontier.push(Hash::of_entry(&entry), |id, hash| {
            nodes.insert(id, hash);
        });
    }
    for path in TilePath::new_since(0, 600) {
        let TileKind::Hashes(level) = path.kind else {
            panic!("{path}")
        };
        let stored = store.log_tile(level, path.index).await.unwrap().unwrap();
        let first = path.index * 256;
        let expected: Vec<u8> = (first..first + u64::from(path.width))
            .flat_map(|index| {
                *nodes[&NodeId {
                    level: level * 8,
                    index,
                }]
                    .as_bytes()
            })
            .collect();
        assert_eq!(stored, expected, "{path}");
    }
    assert!(store.log_tile(0, 3).await.unwrap().is_none());
}

pub(crate) async fn keys_that_no_entry_can_hold_do_not_stop_the_log(store: Arc<dyn Store>) {
    let key = SecretKey::p256_from_seed(&[7; 32]).unwrap();
    let mut record = KeyRecord::new("identity", Some("alice"), key.public_key());
    record.status = Some("retired".into());
    record.until = Some(1 << 53);
    record.roles = (0..2000)
        .map(|n| format!("a-role-with-a-long-name-{n:016}"))
        .collect();
    let change = PolicyChange {
        digest: Digest::sha256(b"policy"),
        document: None,
        keys: vec![record],
        by: "user:tester".into(),
        now: NOW,
    };
    assert!(store.adopt_policy(change).await.unwrap());
    let state = settle(&*store, 100).await;
    assert_eq!(state.size, 2);
    let found = entries(&*store).await;
    let logged = event(&found[1]).key.as_ref().unwrap();
    assert_eq!(logged.until, Some((1 << 53) - 1));
    let [roles] = &logged.roles[..] else {
        panic!("{:?}", logged.roles)
    };
    assert!(roles.starts_with("sha256:"), "{roles}");
}

pub(crate) async fn a_checkpoint_of_another_tree_is_not_kept(store: Arc<dyn Store>) {
    store.submit(rekord(b"one")).await.unwrap();
    let one = settle(&*store, 100).await;
    let checkpoint = |state: &LogState, root| PublishedCheckpoint {
        size: state.size,
        root,
        events: state.events,
        submissions: state.submissions,
        note: format!("{} entries", state.size),
    };
    assert!(
        !store
            .publish(checkpoint(&one, Hash::of_nothing()))
            .await
            .unwrap()
    );
    assert_eq!(store.published().await.unwrap(), None);
    assert!(store.publish(checkpoint(&one, one.root)).await.unwrap());
    store.submit(rekord(b"two")).await.unwrap();
    let two = settle(&*store, 100).await;
    // Signed before the tree went on: nobody may see it now.
    assert!(!store.publish(checkpoint(&one, one.root)).await.unwrap());
    assert!(store.publish(checkpoint(&two, two.root)).await.unwrap());
    assert_eq!(store.published().await.unwrap().unwrap().size, 2);
    store
        .keep_witnessed(checkpoint(&two, two.root))
        .await
        .unwrap();
    store
        .keep_witnessed(checkpoint(&one, one.root))
        .await
        .unwrap();
    assert_eq!(store.witnessed().await.unwrap().unwrap().size, 2);
}
