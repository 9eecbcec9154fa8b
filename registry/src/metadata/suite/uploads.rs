//! Uploads: what is remembered of one that is under way, and how it ends.

#![allow(clippy::unwrap_used)]

use super::collection::{rules, sweep};
use super::kit::*;
use crate::metadata::{CommitOutcome, Error, Progress, UploadRow};
use std::sync::Arc;

pub(crate) async fn progress_is_remembered_until_the_end(store: Arc<dyn Store>) {
    let (here, there) = (repo("a/here"), repo("a/there"));
    let row = upload_row(&here);
    let id = row.id;
    begin(&*store, row.clone()).await;
    assert_eq!(store.upload(&here, id).await.unwrap(), Some(row.clone()));
    assert_eq!(
        store.upload(&there, id).await.unwrap(),
        None,
        "a session belongs to its repository"
    );
    assert!(store.has_upload(id).await.unwrap() && store.knows_key(&row.key).await.unwrap());
    let progress = Progress {
        offset: 77,
        hash_state: vec![1, 2, 3],
        boot: Some("this start".into()),
        sealing: true,
        reserve: None,
        expires_at: NOW + 900,
    };
    assert!(advance(&*store, id, progress.clone()).await);
    let found = store.upload(&here, id).await.unwrap().unwrap();
    assert_eq!(found.boot.as_deref(), Some("this start"));
    assert_eq!(
        (
            found.offset,
            found.hash_state,
            found.sealing,
            found.expires_at
        ),
        (77, vec![1, 2, 3], true, NOW + 900)
    );
    assert_eq!(
        (found.key, found.by, found.algorithm),
        (row.key, row.by, row.algorithm)
    );
    assert_eq!(store.open_uploads().await.unwrap(), 1);
    assert!(store.abort_upload(id, NOW).await.unwrap());
    assert!(!advance(&*store, id, progress).await);
    let reserved = store.reserve_upload(id, 9, Vec::new()).await;
    assert_eq!(reserved.unwrap(), Ok(false));
    assert_eq!(store.upload(&here, id).await.unwrap(), None);
    assert_eq!(store.open_uploads().await.unwrap(), 0);
}

pub(crate) async fn a_key_is_never_handed_out_twice(store: Arc<dyn Store>) {
    let row = upload_row(&repo("a/here"));
    begin(&*store, row.clone()).await;
    assert!(matches!(
        store.begin_upload(row.clone(), Vec::new()).await,
        Err(Error::Damaged(_))
    ));
    store.abort_upload(row.id, NOW).await.unwrap();
    assert!(
        matches!(
            store.begin_upload(row.clone(), Vec::new()).await,
            Err(Error::Damaged(_))
        ),
        "it is in the trash"
    );
    assert_eq!(store.open_uploads().await.unwrap(), 0);
}

pub(crate) async fn silence_ends_an_upload(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let (silent, active, slow) = (upload_row(&here), upload_row(&here), upload_row(&here));
    for row in [&silent, &active, &slow] {
        begin(&*store, row.clone()).await;
    }
    assert!(store.keep_upload(slow.id, LATER).await.unwrap());
    // Never back.
    assert!(store.keep_upload(slow.id, NOW).await.unwrap());
    let kept = store.upload(&here, slow.id).await.unwrap().unwrap();
    let unchanged = UploadRow {
        expires_at: LATER,
        ..slow.clone()
    };
    assert_eq!(kept, unchanged);
    let progress = Progress {
        offset: 1,
        hash_state: vec![],
        boot: None,
        sealing: false,
        reserve: None,
        expires_at: LATER,
    };
    assert!(advance(&*store, active.id, progress).await);
    assert_eq!(
        sweep(&*store, rules(NOW + 500)).await.uploads,
        [],
        "not before its time is over"
    );
    assert_eq!(sweep(&*store, rules(NOW + 501)).await.uploads, [silent.id]);
    assert!(
        !store.has_upload(silent.id).await.unwrap() && store.has_upload(active.id).await.unwrap()
    );
    assert!(store.has_upload(slow.id).await.unwrap());
    assert!(!store.keep_upload(silent.id, LATER).await.unwrap());
    let trash = store.trash_due(NOW + 501, None, 10).await.unwrap();
    assert_eq!(
        trash.iter().map(|item| &item.key).collect::<Vec<_>>(),
        [&silent.key]
    );
}

pub(crate) async fn uploads_come_in_pages(store: Arc<dyn Store>) {
    let mut rows = Vec::new();
    for name in ["a/here", "b", "a/there", "b", "c"] {
        let row = upload_row(&repo(name));
        begin(&*store, row.clone()).await;
        rows.push(row);
    }
    rows.sort_by_key(|row| row.id);
    for limit in [1, 2, 5, 9] {
        let mut found = Vec::new();
        loop {
            let after = found.last().map(|row: &UploadRow| row.id);
            let page = store.uploads(after, limit).await.unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found, rows, "pages of {limit}");
    }
}

pub(crate) async fn each_account_has_some_uploads_without_room(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let of = |by: &str| UploadRow {
        by: by.into(),
        ..upload_row(&here)
    };
    let [first, second, third] = [of("user:a"), of("user:a"), of("user:a")];
    let [other, ended] = [of("user:b"), of("user:a")];
    for row in [&first, &second, &third, &other, &ended] {
        begin(&*store, row.clone()).await;
    }
    let goes_on = async |row: &UploadRow| store.go_on_without_room(row.id, 2).await.unwrap();
    assert!(store.abort_upload(ended.id, NOW).await.unwrap());
    assert!(!goes_on(&ended).await);
    for _ in 0..2 {
        assert!(
            goes_on(&first).await && goes_on(&second).await,
            "each counts once"
        );
        assert!(!goes_on(&third).await);
        assert!(goes_on(&other).await);
    }
    let note = async |offset: u64, reserve: Option<u64>| {
        let progress = Progress {
            offset,
            hash_state: vec![],
            boot: None,
            sealing: false,
            reserve,
            expires_at: LATER,
        };
        assert!(advance(&*store, first.id, progress).await);
        goes_on(&third).await
    };
    // What came without room has none, until there is some.
    assert!(!note(7, None).await);
    assert!(note(7, Some(7)).await);
    assert!(!goes_on(&first).await);
    for end in ["abort", "commit", "expire"] {
        match end {
            "abort" => assert!(store.abort_upload(third.id, NOW).await.unwrap()),
            "commit" => {
                let blob = new_blob(&here, b"content", Some(second.id));
                assert_eq!(commit(&*store, blob).await, CommitOutcome::Committed);
            }
            _ => assert!(!sweep(&*store, rules(LATER)).await.uploads.is_empty()),
        }
        let next = of("user:a");
        begin(&*store, next.clone()).await;
        assert!(goes_on(&next).await, "{end}");
        let last = of("user:a");
        begin(&*store, last.clone()).await;
        assert_eq!(goes_on(&last).await, end == "expire", "{end}");
    }
}
