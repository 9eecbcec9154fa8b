//! Listings: in order, in pages that neither repeat nor leave out.

#![allow(clippy::unwrap_used)]

use super::kit::*;
use crate::metadata::{PutManifest, REFERRERS_BYTES, ReferrerPage, TagClass};
use sealstone_spec::digest::Digest;
use std::sync::Arc;

pub(crate) async fn tags_come_in_pages(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let blob = put_inline(&*store, &here, b"config").await;
    // Neighbours in the key space must not show.
    for neighbour in ["a/her", "a/here-b", "a/here/c", "a/heref"] {
        let there = repo(neighbour);
        put_inline(&*store, &there, b"config").await;
        release(&*store, &there, Shape::image(&[blob]), &["not-here"]).await;
    }
    let names = ["1.0", "1.0-b", "A", "Z", "_x", "a", "aa", "ab", "b"];
    release(&*store, &here, Shape::image(&[blob]), &names).await;
    delete_tag(&*store, &here, "aa").await.unwrap();
    let digest = *Shape::image(&[blob]).build().digest();
    assert!(show(&*store, &here, "Z", digest, false).await);
    let mut expected: Vec<&str> = names.into_iter().filter(|name| *name != "aa").collect();
    expected.sort_unstable();
    for only_visible in [false, true] {
        expected.retain(|name| !only_visible || *name != "Z");
        for limit in [1, 2, 3, 100] {
            let mut found: Vec<String> = Vec::new();
            loop {
                let page = store
                    .tags(&here, found.last().map(String::as_str), limit, only_visible)
                    .await
                    .unwrap();
                assert!(page.len() <= limit);
                if page.is_empty() {
                    break;
                }
                found.extend(page.iter().map(ToString::to_string));
            }
            assert_eq!(found, expected, "pages of {limit}");
        }
    }
    assert_eq!(store.tags(&here, None, 0, false).await.unwrap(), []);
    assert_eq!(
        store.tags(&here, Some("aa0"), 1, false).await.unwrap(),
        [tag("ab")],
        "after a name that is none"
    );
}

pub(crate) async fn referrers_come_in_pages(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let blob = put_inline(&*store, &here, b"config").await;
    let subject = store_manifest(&*store, &here, Shape::image(&[blob])).await;
    let mut expected = Vec::new();
    for mark in 0..10 {
        let kind = if mark % 3 == 0 {
            "application/vnd.x"
        } else {
            "application/vnd.y"
        };
        let shape = Shape::image(&[blob])
            .about(subject)
            .marked(mark)
            .of_type(kind);
        expected.push((store_manifest(&*store, &here, shape).await, kind));
        store_manifest(
            &*store,
            &here,
            Shape::image(&[blob]).about(expected[0].0).marked(mark),
        )
        .await;
    }
    expected.sort();
    for wanted in [None, Some("application/vnd.x"), Some("application/vnd.z")] {
        let of_type: Vec<Digest> = expected
            .iter()
            .filter(|(_, kind)| wanted.is_none_or(|wanted| wanted == *kind))
            .map(|(digest, _)| *digest)
            .collect();
        for limit in [1, 3, 100] {
            let mut found: Vec<Digest> = Vec::new();
            let mut after = None;
            loop {
                let page = store
                    .referrers(&here, &subject, wanted, after, limit)
                    .await
                    .unwrap();
                assert!(page.referrers.len() <= limit);
                for referrer in page.referrers {
                    assert!(wanted.is_none() || referrer.artifact_type.as_deref() == wanted);
                    assert_eq!(
                        referrer.size,
                        store
                            .manifest(&here, &referrer.digest)
                            .await
                            .unwrap()
                            .unwrap()
                            .size
                    );
                    found.push(referrer.digest);
                }
                if page.next.is_none() {
                    break;
                }
                after = page.next;
                // Among some of a type, rows of others are passed over as well.
                assert!(wanted.is_some() || after.as_ref() == found.last());
                assert!(after >= found.last().copied());
            }
            assert_eq!(found, of_type);
        }
    }
}

pub(crate) async fn a_page_of_referrers_is_no_longer_than_can_be_read(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let blob = put_inline(&*store, &here, b"config").await;
    let subject = store_manifest(&*store, &here, Shape::image(&[blob])).await;
    let mut expected = Vec::new();
    // Each says more of itself than half a page holds, and one more than a whole.
    for (mark, len) in [
        ("a", REFERRERS_BYTES / 2),
        ("b", REFERRERS_BYTES / 2),
        ("c", REFERRERS_BYTES + 1),
        ("d", 10),
    ] {
        let shape = Shape::image(&[blob])
            .about(subject)
            .marked(mark.repeat(len))
            .of_type("application/vnd.x");
        expected.push(store_manifest(&*store, &here, shape).await);
    }
    expected.sort();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store
            .referrers(&here, &subject, None, after, 100)
            .await
            .unwrap();
        let sizes = page.referrers.iter().map(|referrer| referrer.size as usize);
        assert!(page.referrers.len() == 1 || sizes.sum::<usize>() < REFERRERS_BYTES + 4096);
        found.extend(page.referrers.iter().map(|referrer| referrer.digest));
        after = page.next;
        if after.is_none() {
            break;
        }
        assert_eq!(after.as_ref(), found.last());
    }
    assert_eq!(found, expected);
    let none = store.referrers(&here, &subject, Some("application/vnd.y"), None, 100);
    assert_eq!(none.await.unwrap(), ReferrerPage::default());
}

pub(crate) async fn repositories_come_in_pages(store: Arc<dyn Store>) {
    let mut names = vec!["a", "a-b", "a/b", "a/b-c", "a/b/c", "a0", "ab", "b"];
    for name in names.iter().rev() {
        let there = repo(name);
        let blob = put_inline(&*store, &there, b"config").await;
        assert!(!store.has_repository(&there).await.unwrap());
        store_manifest(&*store, &there, Shape::image(&[blob])).await;
        assert!(store.has_repository(&there).await.unwrap());
    }
    names.sort_unstable();
    for limit in [1, 3, 100] {
        let mut found: Vec<String> = Vec::new();
        loop {
            let page = store
                .repositories(found.last().map(String::as_str), limit)
                .await
                .unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            found.extend(page.iter().map(ToString::to_string));
        }
        assert_eq!(found, names);
    }
}

pub(crate) async fn events_come_in_order(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let blob = put_inline(&*store, &here, b"config").await;
    let mut made = Vec::new();
    for number in 0..12_i64 {
        let manifest = Shape::image(&[blob]).marked(number).build();
        made.push(*manifest.digest());
        let put = put(&here, &manifest, TagClass::Mutable, &["latest"]);
        try_put(
            &*store,
            PutManifest {
                now: NOW + number,
                by: format!("user:u{number}"),
                ..put
            },
        )
        .await
        .unwrap();
    }
    for limit in [1, 5, 100] {
        let mut found = Vec::new();
        let mut after = 0;
        loop {
            let page = store.events(after, limit).await.unwrap();
            let Some((last, _)) = page.last() else { break };
            after = *last;
            found.extend(page.into_iter().map(|(number, event)| {
                assert_eq!(event.at, NOW + i64::try_from(number).unwrap() - 1);
                assert_eq!(event.by, format!("user:u{}", number - 1));
                event.digest
            }));
        }
        assert_eq!(found, made);
    }
    assert_eq!(store.events(u64::MAX, 10).await.unwrap(), []);
}

pub(crate) async fn holders_and_all_blobs_come_in_pages(store: Arc<dyn Store>) {
    let mut expected = Vec::new();
    for number in 0..7 {
        expected.push(put_inline(&*store, &repo("a/b"), format!("blob {number}").as_bytes()).await);
    }
    expected.sort();
    let mut found = Vec::new();
    loop {
        let page = store.all_blobs(found.last().copied(), 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        found.extend(page.into_iter().map(|(digest, _)| digest));
    }
    assert_eq!(found, expected);
    let others = [repo("a"), repo("a/c"), repo("b")];
    for other in &others {
        mount(&*store, &repo("a/b"), other, &found[0]).await;
    }
    let holders = store.blob_holders(&found[0], 10).await.unwrap();
    assert_eq!(holders.len(), 4);
    assert!(others.iter().all(|other| holders.contains(other)));
    assert_eq!(store.blob_holders(&found[0], 2).await.unwrap().len(), 2);
}
