//! What namespaces hold is counted exactly, and what does not fit into a quota changes nothing.

#![allow(clippy::unwrap_used)]

use super::collection::{rules, sweep};
use super::kit::*;
use crate::metadata::{
    BlobPlace, CommitOutcome, Counted, NewBlob, Progress, PutManifest, PutOutcome, Quota,
    QuotaExceeded, Refusal, TagClass, UploadId, UploadRow, Usage,
};
use sealstone_spec::digest::Digest;
use sealstone_spec::name::RepoName;
use std::sync::Arc;

const NOTHING: Usage = Usage {
    blobs: 0,
    manifests: 0,
    bytes: 0,
    reserved: 0,
};

fn of_bytes(namespace: &str, bytes: u64) -> Vec<Quota> {
    vec![Quota {
        namespace: namespace.into(),
        bytes: Some(bytes),
        objects: None,
    }]
}

fn of_objects(namespace: &str, objects: u64) -> Vec<Quota> {
    vec![Quota {
        namespace: namespace.into(),
        bytes: None,
        objects: Some(objects),
    }]
}

/// A refusal for bytes.
fn no_room(namespace: &str, limit: u64, used: u64, wanted: u64) -> Refusal {
    Refusal::QuotaExceeded(QuotaExceeded {
        namespace: namespace.into(),
        counted: Counted::Bytes,
        limit,
        used,
        wanted,
    })
}

#[track_caller]
fn assert_for_objects<T: std::fmt::Debug>(outcome: Result<T, Refusal>, limit: u64, used: u64) {
    let is_for_objects = matches!(&outcome, Err(Refusal::QuotaExceeded(exceeded))
        if exceeded.counted == Counted::Objects
            && (exceeded.limit, exceeded.used, exceeded.wanted) == (limit, used, 1));
    assert!(is_for_objects, "{outcome:?}");
}

async fn assert_used(store: &dyn Store, namespaces: &[&str], usage: Usage) {
    for namespace in namespaces {
        let found = store.usage(namespace).await.unwrap();
        assert_eq!(found, usage, "\"{namespace}\"");
    }
}

/// Begins an upload that reserves so much.
async fn try_begin(
    store: &dyn Store,
    repo: &RepoName,
    reserved: u64,
    quotas: Vec<Quota>,
) -> Result<UploadId, Refusal> {
    let row = UploadRow {
        reserved,
        ..upload_row(repo)
    };
    let (id, key) = (row.id, row.key.clone());
    let begun = store.begin_upload(row, quotas).await.unwrap();
    assert_eq!(store.has_upload(id).await.unwrap(), begun.is_ok());
    assert_eq!(store.knows_key(&key).await.unwrap(), begun.is_ok());
    begun.map(|()| id)
}

/// A blob that says to have so many bytes.
fn sized(repo: &RepoName, content: &[u8], upload: UploadId, size: u64) -> NewBlob {
    NewBlob {
        size,
        ..new_blob(repo, content, Some(upload))
    }
}

fn progress(offset: u64, reserve: Option<u64>) -> Progress {
    Progress {
        offset,
        hash_state: Vec::new(),
        boot: None,
        sealing: false,
        reserve,
        expires_at: LATER,
    }
}

pub(crate) async fn it_follows_links_and_manifests(store: Arc<dyn Store>) {
    let (deep, beside) = (repo("a/b/c"), repo("a/d"));
    let above = ["", "a", "a/b", "a/b/c"];
    assert_used(&*store, &above, NOTHING).await;
    let blob = put_inline(&*store, &deep, b"content").await;
    let one = Usage {
        blobs: 1,
        bytes: 7,
        ..NOTHING
    };
    assert_used(&*store, &above, one).await;
    assert_used(&*store, &["a/d", "a/b/c/d", "a/bc", "b"], NOTHING).await;

    // In another repository it is another one.
    assert!(mount(&*store, &deep, &beside, &blob).await);
    assert!(mount(&*store, &deep, &beside, &blob).await);
    let two = Usage {
        blobs: 2,
        bytes: 14,
        ..NOTHING
    };
    assert_used(&*store, &["", "a"], two).await;
    assert_used(&*store, &["a/b", "a/b/c", "a/d"], one).await;

    let shape = Shape::image(&[blob]);
    let size = shape.build().size();
    let with_manifest = Usage {
        manifests: 1,
        bytes: 7 + size,
        ..one
    };
    for _ in 0..2 {
        store_manifest(&*store, &deep, shape.clone()).await;
        assert_used(&*store, &["a/b", "a/b/c"], with_manifest).await;
    }
    assert_used(&*store, &["a/d"], one).await;
    // One that is refused for another reason is not counted.
    let missing = Shape::image(&[Digest::sha256(b"missing")]).build();
    let refused = put(&deep, &missing, TagClass::Immutable, &[]);
    assert!(try_put(&*store, refused).await.is_err());
    assert_used(&*store, &["a/b"], with_manifest).await;

    let digest = *shape.build().digest();
    delete_manifest(&*store, &deep, &digest).await.unwrap();
    assert_used(&*store, &["a/b", "a/b/c"], one).await;
    let unlinked = store.unlink_blob(&deep, &blob, NOW).await;
    unlinked.unwrap().unwrap();
    assert_used(&*store, &["a/b", "a/b/c"], NOTHING).await;
    assert_used(&*store, &["", "a", "a/d"], one).await;
}

pub(crate) async fn it_ends_with_what_is_collected(store: Arc<dyn Store>) {
    let (here, there) = (repo("a/here"), repo("b"));
    let small = put_inline(&*store, &here, b"small").await;
    let (large, _) = put_object(&*store, &here, b"large one").await;
    let kept = Shape::image(&[small]);
    release(&*store, &here, kept.clone(), &["v1"]).await;
    store_manifest(&*store, &here, Shape::image(&[small, large]).marked(2)).await;
    put_object(&*store, &there, b"large one").await;
    try_begin(&*store, &there, 1_000, Vec::new()).await.unwrap();
    let usage = store.usage("").await.unwrap();
    assert_eq!(
        (usage.blobs, usage.manifests, usage.reserved),
        (3, 2, 1_000)
    );
    sweep(&*store, rules(LATER)).await;
    let left = Usage {
        blobs: 1,
        manifests: 1,
        bytes: 5 + kept.build().size(),
        reserved: 0,
    };
    assert_used(&*store, &["", "a", "a/here"], left).await;
    assert_used(&*store, &["b"], NOTHING).await;
    delete_tag(&*store, &here, "v1").await.unwrap();
    sweep(&*store, rules(LATER)).await;
    assert_used(&*store, &["", "a", "a/here", "b"], NOTHING).await;
}

/// Neither a second copy nor a whole one in the place of a damaged one adds anything, so no quota hinders them.
pub(crate) async fn a_copy_costs_nothing_where_there_is_one(store: Arc<dyn Store>) {
    let (here, there) = (repo("a/here"), repo("a/there"));
    let (digest, _) = put_object(&*store, &here, b"object").await;
    mount(&*store, &here, &there, &digest).await;
    let before = store.usage("a").await.unwrap();
    assert_eq!((before.blobs, before.bytes), (2, 12));
    let nothing_more = of_bytes("a", 0);
    for damaged in [false, true] {
        if damaged {
            let found = store.blob(&here, &digest).await.unwrap().unwrap();
            let quarantined = store
                .quarantine_blob(&digest, &found.place, "a bit flipped", NOW)
                .await;
            assert!(quarantined.unwrap());
            assert_used(&*store, &["a"], before).await;
        }
        let id = try_begin(&*store, &here, 0, Vec::new()).await.unwrap();
        let again = NewBlob {
            quotas: nothing_more.clone(),
            ..new_blob(&here, b"object", Some(id))
        };
        let expected = match damaged {
            true => CommitOutcome::Repaired,
            false => CommitOutcome::Committed,
        };
        assert_eq!(store.commit_blob(again).await.unwrap(), Ok(expected));
        assert_used(&*store, &["", "a"], before).await;
    }
    let mounted = store
        .mount_blob(&here, &there, &digest, NOW, PINNED, nothing_more.clone())
        .await;
    assert_eq!(mounted.unwrap(), Ok(true));
    // Nor does a manifest that is there, which may get a tag.
    let blob = put_inline(&*store, &here, b"config").await;
    let manifest = Shape::image(&[blob]).build();
    store_manifest(&*store, &here, Shape::image(&[blob])).await;
    let before = store.usage("a").await.unwrap();
    let tagged = PutManifest {
        quotas: nothing_more,
        ..put(&here, &manifest, TagClass::Immutable, &["v1"])
    };
    assert_eq!(try_put(&*store, tagged).await, Ok(PutOutcome::Created));
    assert_used(&*store, &["", "a"], before).await;
}

pub(crate) async fn two_uploads_do_not_share_room(store: Arc<dyn Store>) {
    let (here, there) = (repo("team/a"), repo("team/b"));
    let quotas = || of_bytes("team", 1_000_000);
    let first = try_begin(&*store, &here, 600_000, quotas()).await.unwrap();
    let held = Usage {
        reserved: 600_000,
        ..NOTHING
    };
    assert_used(&*store, &["", "team", "team/a"], held).await;
    let second = || try_begin(&*store, &there, 600_000, quotas());
    let refused = no_room("team", 1_000_000, 600_000, 600_000);
    assert_eq!(second().await, Err(refused));
    assert_used(&*store, &["", "team", "team/a"], held).await;
    assert_used(&*store, &["team/b"], NOTHING).await;
    assert_eq!(store.open_uploads().await.unwrap(), 1);
    // What fits beside it may come: up to the last byte.
    let small = try_begin(&*store, &there, 400_000, quotas()).await.unwrap();
    assert!(try_begin(&*store, &there, 100_000, quotas()).await.is_err());
    assert!(store.abort_upload(small, NOW).await.unwrap());

    assert!(store.abort_upload(first, NOW).await.unwrap());
    assert_used(&*store, &["", "team", "team/a", "team/b"], NOTHING).await;
    second().await.unwrap();
    // One that is silent gives its room back.
    assert!(second().await.is_err());
    sweep(&*store, rules(NOW + 501)).await;
    assert_used(&*store, &["", "team", "team/b"], NOTHING).await;
    second().await.unwrap();
}

pub(crate) async fn a_reservation_grows_and_shrinks_with_its_upload(store: Arc<dyn Store>) {
    let here = repo("team/a");
    let quotas = || of_bytes("team", 1_000_000);
    let reserved = || async { store.usage("team").await.unwrap().reserved };
    let first = try_begin(&*store, &here, 0, quotas()).await.unwrap();
    let second = try_begin(&*store, &here, 0, quotas()).await.unwrap();
    assert_eq!(reserved().await, 0);
    let note = |id: UploadId, offset: u64, reserve: Option<u64>| {
        let noted = store.advance_upload(id, progress(offset, reserve), quotas());
        async move { noted.await.unwrap() }
    };
    assert_eq!(note(first, 600_000, Some(600_000)).await, Ok(true));
    assert_eq!(note(second, 300_000, Some(300_000)).await, Ok(true));
    assert_eq!(reserved().await, 900_000);
    let refused = no_room("team", 1_000_000, 900_000, 200_000);
    assert_eq!(note(second, 500_000, Some(500_000)).await, Err(refused));
    let row = store.upload(&here, second).await.unwrap().unwrap();
    assert_eq!((row.offset, row.reserved), (300_000, 300_000));
    assert_eq!(reserved().await, 900_000);

    // Progress without a word of room leaves it, and room can be held before anything has come.
    assert_eq!(note(second, 310_000, None).await, Ok(true));
    assert_eq!(reserved().await, 900_000);
    let hold = |bytes: u64| {
        let held = store.reserve_upload(second, bytes, quotas());
        async move { held.await.unwrap() }
    };
    assert_eq!(hold(400_000).await, Ok(true));
    assert_eq!(hold(350_000).await, Ok(true), "nothing is given back");
    assert_eq!(reserved().await, 1_000_000);
    assert!(hold(400_001).await.is_err());
    let row = store.upload(&here, second).await.unwrap().unwrap();
    assert_eq!((row.offset, row.reserved), (310_000, 400_000));

    // Whoever announced more than came gives the rest back, whatever the quota is by then.
    let given_back = store.advance_upload(first, progress(100_000, Some(100_000)), of_bytes("", 0));
    assert_eq!(given_back.await.unwrap(), Ok(true));
    assert_eq!(reserved().await, 500_000);
    // A commit takes as much as the blob has, in the place of what was held.
    let blob = NewBlob {
        quotas: of_bytes("team", 500_000),
        ..sized(&here, b"first", first, 100_000)
    };
    assert_eq!(commit(&*store, blob).await, CommitOutcome::Committed);
    let usage = Usage {
        blobs: 1,
        bytes: 100_000,
        reserved: 400_000,
        ..NOTHING
    };
    assert_used(&*store, &["", "team", "team/a"], usage).await;
}

pub(crate) async fn a_commit_is_refused_where_there_is_no_room_any_more(store: Arc<dyn Store>) {
    let here = repo("team/a");
    let quotas = || of_bytes("team", 1_000_000);
    let first = try_begin(&*store, &here, 0, quotas()).await.unwrap();
    let second = try_begin(&*store, &here, 200_000, quotas()).await.unwrap();
    let blob = |content: &[u8], upload| NewBlob {
        quotas: quotas(),
        ..sized(&here, content, upload, 700_000)
    };
    assert_eq!(
        commit(&*store, blob(b"first", first)).await,
        CommitOutcome::Committed
    );
    let before = store.usage("team").await.unwrap();
    let late = blob(b"second", second);
    let digest = late.digest;
    // Its own 200,000 are not in its way.
    let refused = no_room("team", 1_000_000, 700_000, 700_000);
    assert_eq!(store.commit_blob(late.clone()).await.unwrap(), Err(refused));
    assert_used(&*store, &["", "team", "team/a"], before).await;
    assert_eq!(store.blob(&here, &digest).await.unwrap(), None);
    assert!(store.inline_content(&digest).await.unwrap().is_none());
    assert!(store.has_upload(second).await.unwrap(), "it is not over");
    assert_eq!(store.trash_due(NOW, None, 10).await.unwrap(), []);
    // With room, it goes on.
    let first = Digest::sha256(b"first");
    let gone = store.unlink_blob(&here, &first, NOW).await;
    gone.unwrap().unwrap();
    assert_eq!(commit(&*store, late).await, CommitOutcome::Committed);
    assert_eq!(store.usage("team").await.unwrap().bytes, 700_000);
}

pub(crate) async fn a_mount_takes_room(store: Arc<dyn Store>) {
    let (from, to) = (repo("free"), repo("team/a"));
    let (digest, _) = put_object(&*store, &from, b"0123456789").await;
    let try_mount = |bytes: u64| {
        let quotas = of_bytes("team", bytes);
        let mounted = store.mount_blob(&from, &to, &digest, NOW, PINNED, quotas);
        async move { mounted.await.unwrap() }
    };
    assert_eq!(try_mount(9).await, Err(no_room("team", 9, 0, 10)));
    assert_eq!(store.blob(&to, &digest).await.unwrap(), None);
    assert_eq!(store.blob_holders(&digest, 10).await.unwrap().len(), 1);
    assert_used(&*store, &["team", "team/a"], NOTHING).await;
    assert_eq!(try_mount(10).await, Ok(true));
    let one = Usage {
        blobs: 1,
        bytes: 10,
        ..NOTHING
    };
    assert_used(&*store, &["free", "team", "team/a"], one).await;
}

pub(crate) async fn objects_are_limited_as_well(store: Arc<dyn Store>) {
    let here = repo("team/a");
    let quotas = || of_objects("team", 2);
    let mut blobs = Vec::new();
    let mut third = None;
    for content in [&b"one"[..], b"two", b"three"] {
        let id = try_begin(&*store, &here, 0, quotas()).await.unwrap();
        let blob = NewBlob {
            quotas: quotas(),
            ..new_blob(&here, content, Some(id))
        };
        let digest = blob.digest;
        match store.commit_blob(blob).await.unwrap() {
            Ok(_) => blobs.push(digest),
            refused => third = Some(refused),
        }
    }
    assert_eq!(blobs.len(), 2);
    assert_for_objects(third.unwrap(), 2, 2);
    // Nobody has to send the bytes of one for which there is no room.
    let large = try_begin(&*store, &here, 1_000_000, quotas()).await;
    assert_for_objects(large, 2, 2);
    let manifest = Shape::image(&blobs).build();
    let refused = PutManifest {
        quotas: quotas(),
        ..put(&here, &manifest, TagClass::Immutable, &["v1"])
    };
    assert_for_objects(try_put(&*store, refused).await, 2, 2);
    assert_eq!(
        store.manifest(&here, manifest.digest()).await.unwrap(),
        None
    );
    assert_eq!(store.tag(&here, &tag("v1")).await.unwrap(), None);
    let unused = store.unlink_blob(&here, &blobs[0], NOW).await;
    unused.unwrap().unwrap();
    assert_eq!(store.usage("team").await.unwrap().objects(), 1);
}

/// A revocation has to be possible where nothing else is.
pub(crate) async fn what_speaks_of_another_has_room_in_a_full_namespace(store: Arc<dyn Store>) {
    let here = repo("team/a");
    let full = || {
        vec![Quota {
            namespace: String::new(),
            bytes: Some(0),
            objects: Some(0),
        }]
    };
    let config = put_inline(&*store, &here, b"config").await;
    let image = store_manifest(&*store, &here, Shape::image(&[config])).await;
    let put_full = |shape: Shape, class: TagClass, tags: Vec<String>| {
        let store = store.clone();
        let here = here.clone();
        async move {
            let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
            let put = put(&here, &shape.build(), class, &tags);
            let put = PutManifest {
                quotas: full(),
                ..put
            };
            try_put(&*store, put).await
        }
    };
    // What a statement is made of: small blobs, a manifest about another one, the tag of older tools.
    let statement = NewBlob {
        quotas: full(),
        ..new_blob(&here, b"revoked: poisoned data", None)
    };
    let bundle = statement.digest;
    assert_eq!(commit(&*store, statement).await, CommitOutcome::Committed);
    let about = Shape::image(&[bundle]).about(image);
    let stored = put_full(about, TagClass::Mutable, Vec::new()).await;
    assert_eq!(stored, Ok(PutOutcome::Created));
    let list = Shape::image(&[config]).marked("a list of signatures");
    let name = format!("sha256-{}.sig", image.hex());
    let stored = put_full(list, TagClass::EvidenceList, vec![name]).await;
    assert_eq!(stored, Ok(PutOutcome::Created));
    let small = try_begin(&*store, &here, 2_000, full()).await.unwrap();
    store.abort_upload(small, NOW).await.unwrap();

    // And nothing else.
    let before = store.usage("").await.unwrap();
    for (class, tags) in [
        (TagClass::Mutable, vec![]),
        (TagClass::Mutable, vec!["v1".to_owned()]),
    ] {
        let other = Shape::image(&[config]).marked("another model");
        let refused = put_full(other, class, tags).await;
        assert!(matches!(refused, Err(Refusal::QuotaExceeded(_))));
    }
    assert!(try_begin(&*store, &here, 70_000, full()).await.is_err());
    let id = try_begin(&*store, &here, 0, full()).await.unwrap();
    let large = NewBlob {
        quotas: full(),
        ..sized(&here, b"large", id, 70_000)
    };
    let refused = store.commit_blob(large).await.unwrap();
    assert!(matches!(refused, Err(Refusal::QuotaExceeded(_))));
    assert_used(&*store, &[""], before).await;
    let found = store.blob(&here, &bundle).await.unwrap().unwrap();
    assert_eq!(found.place, BlobPlace::Inline);
}

pub(crate) async fn the_first_quota_that_is_full_refuses(store: Arc<dyn Store>) {
    let here = repo("team/a");
    let both = |all: u64, team: u64| [of_bytes("", all), of_bytes("team", team)].concat();
    let elsewhere = repo("other");
    try_begin(&*store, &elsewhere, 500_000, Vec::new())
        .await
        .unwrap();
    let begin = |quotas| try_begin(&*store, &here, 300_000, quotas);
    let of_all = no_room("", 700_000, 500_000, 300_000);
    assert_eq!(begin(both(700_000, 900_000)).await, Err(of_all));
    let of_team = no_room("team", 200_000, 0, 300_000);
    assert_eq!(begin(both(900_000, 200_000)).await, Err(of_team));
    assert_used(&*store, &["team"], NOTHING).await;
    begin(both(800_000, 300_000)).await.unwrap();
}

pub(crate) async fn of_16_at_once_as_many_come_as_fit(store: Arc<dyn Store>) {
    let mut tasks = Vec::new();
    for number in 0..16 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            let here = repo(&format!("team/r{number}"));
            let quotas = of_bytes("team", 1_000_000);
            let id = try_begin(&*store, &here, 100_000, quotas.clone()).await?;
            let content = number.to_string();
            let blob = NewBlob {
                quotas,
                ..sized(&here, content.as_bytes(), id, 100_000)
            };
            store.commit_blob(blob).await.unwrap()
        }));
    }
    let mut committed = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(outcome) => {
                assert_eq!(outcome, CommitOutcome::Committed);
                committed += 1;
            }
            Err(refusal) => assert!(matches!(refusal, Refusal::QuotaExceeded(_))),
        }
    }
    assert_eq!(committed, 10);
    let full = Usage {
        blobs: 10,
        bytes: 1_000_000,
        ..NOTHING
    };
    assert_used(&*store, &["", "team"], full).await;
}
