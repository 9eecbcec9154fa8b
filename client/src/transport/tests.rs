#![allow(clippy::unwrap_used)]

use super::testing::{FakeRegistry, Quirks};
use super::*;
use crate::Outcome;
use crate::log::{KeptLogs, contact};
use crate::store::Store as _;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::media;
use sealstone_spec::name::Reference;
use serde_json::{Value, json};

fn manifest(annotation: &str, subject: Option<&VerifiedManifest>) -> VerifiedManifest {
    let mut document = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": "application/x",
        "config": {"mediaType": media::OCI_EMPTY, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
        "layers": [], "annotations": {"a": annotation}});
    if let Some(subject) = subject {
        document["subject"] = json!(Descriptor::new(
            subject.media_type(),
            *subject.digest(),
            subject.size()
        ));
    }
    VerifiedManifest::check(document.to_string(), None, None, Algorithm::Sha256).unwrap()
}

fn octets(digest: Digest, size: usize) -> Descriptor {
    Descriptor::new("application/octet-stream", digest, size as u64)
}

#[tokio::test]
async fn one_token_serves_many_requests_and_is_renewed_when_it_runs_out() {
    let fake = FakeRegistry::start(Quirks {
        token_uses: Some(3),
        ..Quirks::default()
    })
    .await;
    let store = fake.store_as("a/b", "user", "right");
    let digest = fake.put_blob("a/b", b"hello");
    let descriptor = octets(digest, 5);
    for _ in 0..7 {
        assert_eq!(store.blob_bytes(&descriptor, 10).await.unwrap(), b"hello");
    }
    assert_eq!(fake.count("GET /token"), 3);
    // Nobody but the token service has seen the secret.
    let state = fake.state();
    for (line, sent) in state.log.iter().zip(&state.authorizations) {
        let is_basic = sent
            .as_deref()
            .is_some_and(|sent| sent.starts_with("Basic"));
        assert_eq!(is_basic, line == "GET /token", "{line}");
    }
}

#[tokio::test]
async fn many_tasks_at_once_ask_for_one_token() {
    let fake = FakeRegistry::start(Quirks {
        token_uses: Some(1000),
        ..Quirks::default()
    })
    .await;
    let store = fake.store_as("a/b", "user", "right");
    let descriptor = octets(fake.put_blob("a/b", b"hello"), 5);
    let reads = (0..20).map(|_| store.blob_bytes(&descriptor, 10));
    for read in futures_util::future::join_all(reads).await {
        read.unwrap();
    }
    assert_eq!(fake.count("GET /token"), 1);
}

#[tokio::test]
async fn a_wrong_secret_is_tried_once_and_never_shown() {
    let fake = FakeRegistry::start(Quirks {
        token_uses: Some(3),
        ..Quirks::default()
    })
    .await;
    let error = fake
        .store_as("a/b", "user", "hunter2")
        .tags()
        .await
        .unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unauthorised);
    assert_eq!(fake.count("GET /token"), 1);
    assert!(!format!("{error:?}{:?}", error.hints()).contains("hunter2"));
}

#[tokio::test]
async fn an_expired_token_that_stays_refused_ends() {
    let fake = FakeRegistry::start(Quirks {
        token_uses: Some(0),
        ..Quirks::default()
    })
    .await;
    // Every token is good, then all of them are withdrawn.
    let store = fake.store_as("a/b", "user", "right");
    store.tags().await.unwrap();
    fake.state().quirks.token_uses = Some(usize::MAX);
    fake.state().quirks.busy = 0;
    let before = fake.count("GET /token");
    store.tags().await.unwrap();
    assert_eq!(
        fake.count("GET /token"),
        before + 1,
        "one refresh, then it works"
    );
}

#[tokio::test]
async fn authorization_does_not_follow_a_redirect_to_another_host() {
    let elsewhere = FakeRegistry::start(Quirks::default()).await;
    let quirks = Quirks {
        redirect_blobs: Some(format!("http://{}", elsewhere.address)),
        token_uses: Some(1000),
        ..Quirks::default()
    };
    let fake = FakeRegistry::start(quirks).await;
    let digest = fake.put_blob("a/b", b"hello");
    elsewhere.put_blob("a/b", b"hello");
    let store = fake.store_as("a/b", "user", "right");
    assert_eq!(
        store.blob_bytes(&octets(digest, 5), 10).await.unwrap(),
        b"hello"
    );
    assert_eq!(elsewhere.count("GET /v2/a/b/blobs/"), 1);
    assert_eq!(elsewhere.state().authorizations, [None]);
}

/// Whoever listens on this machine is spoken to in clear text, and chooses nobody else who is.
#[tokio::test]
async fn a_registry_here_leads_nobody_over_plain_http_to_another_machine() {
    const ELSEWHERE: &str = "http://elsewhere.invalid:5000";
    let fake = FakeRegistry::start(Quirks {
        token_uses: Some(5),
        token_service: Some("http://elsewhere.invalid:5000/token"),
        ..Quirks::default()
    })
    .await;
    let store = fake.store_as("a/b", "user", "hunter2");
    let error = store.tags().await.unwrap_err();
    let said = error.message().to_owned();
    for due in ["token service", ELSEWHERE, "--plain-http"] {
        assert!(said.contains(due), "{said}");
    }

    let fake = FakeRegistry::start(Quirks {
        redirect_blobs: Some(ELSEWHERE.to_owned()),
        no_single_post: true,
        uploads_at: ELSEWHERE,
        ..Quirks::default()
    })
    .await;
    let store = fake.store("a/b");
    let digest = fake.put_blob("a/b", b"hello");
    let error = store.blob_bytes(&octets(digest, 5), 10).await.unwrap_err();
    let said = error.message();
    assert!(
        said.contains("without TLS") && said.contains("--plain-http"),
        "{said}"
    );
    let content = b"other".to_vec();
    let stored = store
        .put_blob_bytes(&Digest::sha256(b"other"), content)
        .await;
    let error = stored.unwrap_err();
    let said = error.message();
    assert!(
        said.contains("no Location") && said.contains("--plain-http"),
        "{said}"
    );
}

#[tokio::test]
async fn a_challenge_from_another_host_gets_no_credentials() {
    let elsewhere = FakeRegistry::start(Quirks {
        token_uses: Some(5),
        ..Quirks::default()
    })
    .await;
    let quirks = Quirks {
        redirect_blobs: Some(format!("http://{}", elsewhere.address)),
        ..Quirks::default()
    };
    let fake = FakeRegistry::start(quirks).await;
    let digest = fake.put_blob("a/b", b"hello");
    elsewhere.put_blob("a/b", b"hello");
    let store = fake.store_as("a/b", "user", "right");
    let error = store.blob_bytes(&octets(digest, 5), 10).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unauthorised);
    assert!(elsewhere.state().authorizations.iter().all(Option::is_none));
}

#[tokio::test]
async fn a_busy_registry_is_asked_again_and_then_given_up() {
    let fake = FakeRegistry::start(Quirks {
        busy: 3,
        ..Quirks::default()
    })
    .await;
    fake.store("a/b").tags().await.unwrap();
    let fake = FakeRegistry::start(Quirks {
        busy: 100,
        ..Quirks::default()
    })
    .await;
    let error = fake.store("a/b").tags().await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Network);
    assert_eq!(fake.state().log.len(), 4);
}

#[tokio::test]
async fn nobody_there_is_a_network_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let name = listener.local_addr().unwrap().to_string();
    drop(listener);
    let registry = Registry::new(&name, None, &FakeRegistry::options()).unwrap();
    let error = RegistryStore::new(registry, "a".parse().unwrap())
        .tags()
        .await
        .unwrap_err();
    assert_eq!(error.outcome(), Outcome::Network);
}

#[tokio::test]
async fn pages_are_followed_to_the_end() {
    let fake = FakeRegistry::start(Quirks {
        page: Some(2),
        ..Quirks::default()
    })
    .await;
    let store = fake.store("a/b");
    let manifest = manifest("x", None);
    for tag in ["1", "2", "3", "4", "5"] {
        store
            .put_manifest(&manifest, Some(&tag.parse().unwrap()))
            .await
            .unwrap();
    }
    let tags: Vec<String> = store
        .tags()
        .await
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(tags, ["1", "2", "3", "4", "5"]);
    assert_eq!(fake.count("GET /v2/a/b/tags/list"), 3);
    assert_eq!(
        repositories(store.registry()).await.unwrap(),
        ["a/b".parse().unwrap()]
    );
}

#[tokio::test]
async fn referrers_are_listed_with_and_without_the_api() {
    for no_referrers in [false, true] {
        let fake = FakeRegistry::start(Quirks {
            no_referrers,
            ..Quirks::default()
        })
        .await;
        let store = fake.store("a/b");
        let subject = manifest("subject", None);
        let (one, two) = (manifest("1", Some(&subject)), manifest("2", Some(&subject)));
        assert!(
            store
                .referrers(subject.digest(), None)
                .await
                .unwrap()
                .is_empty()
        );
        for manifest in [&subject, &one, &two, &one] {
            store.put_manifest(manifest, None).await.unwrap();
        }
        // Also as somebody who has not written them.
        for store in [store, fake.store("a/b")] {
            let found = store.referrers(subject.digest(), None).await.unwrap();
            let mut digests: Vec<_> = found.iter().map(|descriptor| descriptor.digest).collect();
            let mut expected = vec![*one.digest(), *two.digest()];
            digests.sort();
            expected.sort();
            assert_eq!(digests, expected, "{no_referrers}");
            assert_eq!(
                store
                    .referrers(subject.digest(), Some("application/x"))
                    .await
                    .unwrap()
                    .len(),
                2
            );
            assert!(
                store
                    .referrers(subject.digest(), Some("application/y"))
                    .await
                    .unwrap()
                    .is_empty()
            );
        }
        let fallback = format!("sha256-{}", subject.digest().hex());
        assert_eq!(
            fake.state()
                .tags
                .contains_key(&("a/b".to_owned(), fallback)),
            no_referrers
        );
    }
}

#[tokio::test]
async fn a_page_may_be_longer_than_a_manifest() {
    let fake = FakeRegistry::start(Quirks::default()).await;
    let store = fake.store("a/b");
    let subject = manifest("subject", None);
    store.put_manifest(&subject, None).await.unwrap();
    let mut expected = Vec::new();
    for letter in ["a", "b"] {
        let referrer = serde_json::json!({
            "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [],
            "artifactType": "application/x", "subject": subject.descriptor(),
            "annotations": {"kind": letter, "long": letter.repeat(2_200_000)},
        });
        let referrer =
            VerifiedManifest::check(referrer.to_string(), None, None, Algorithm::Sha256).unwrap();
        store.put_manifest(&referrer, None).await.unwrap();
        expected.push(*referrer.digest());
    }
    expected.sort();
    let found = store.referrers(subject.digest(), None).await.unwrap();
    let digests: Vec<_> = found.iter().map(|descriptor| descriptor.digest).collect();
    assert_eq!(digests, expected);
    for descriptor in found {
        assert_eq!(descriptor.annotations.len(), 1, "the long one is not kept");
    }
}

#[tokio::test]
async fn a_list_without_types_hides_nothing() {
    let quirks = Quirks {
        no_referrers: true,
        ..Quirks::default()
    };
    let fake = FakeRegistry::start(quirks).await;
    let store = fake.store("a/b");
    let subject = manifest("subject", None);
    let (one, two) = (manifest("1", Some(&subject)), manifest("2", Some(&subject)));
    for manifest in [&subject, &one] {
        store.put_manifest(manifest, None).await.unwrap();
    }
    // As buildx writes it, and with an entry that nobody has.
    let entry = |manifest: &VerifiedManifest| serde_json::json!({"mediaType": manifest.media_type(), "digest": manifest.digest(), "size": manifest.size()});
    let list = serde_json::json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX,
        "manifests": [entry(&one), entry(&two)]});
    let list = VerifiedManifest::check(list.to_string(), None, None, Algorithm::Sha256).unwrap();
    let tag = format!("sha256-{}", subject.digest().hex());
    store
        .put_manifest(&list, Some(&tag.parse().unwrap()))
        .await
        .unwrap();
    let store = fake.store("a/b");
    let of_type = async |kind: &str| {
        let found = store.referrers(subject.digest(), Some(kind)).await.unwrap();
        let digests = found.iter().map(|descriptor| descriptor.digest);
        digests.collect::<std::collections::BTreeSet<_>>()
    };
    let both = [*one.digest(), *two.digest()].into();
    assert_eq!(of_type("application/x").await, both);
    // What cannot be read may be anything.
    assert_eq!(of_type("application/y").await, [*two.digest()].into());
}

#[tokio::test]
async fn a_listing_of_referrers_that_breaks_off_is_an_error_and_not_the_list_of_the_fallback_tag() {
    for next in [
        ("", 200),
        ("", 404),
        ("", 400),
        ("http://elsewhere.invalid", 200),
    ] {
        let fake = FakeRegistry::start(Quirks::default()).await;
        let store = fake.store("a/b");
        let subject = manifest("subject", None);
        let old = manifest("old", Some(&subject));
        let list = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [old.descriptor()]});
        let list =
            VerifiedManifest::check(list.to_string(), None, None, Algorithm::Sha256).unwrap();
        for manifest in [&subject, &old] {
            store.put_manifest(manifest, None).await.unwrap();
        }
        let tag = format!("sha256-{}", subject.digest().hex());
        store
            .put_manifest(&list, Some(&tag.parse().unwrap()))
            .await
            .unwrap();
        fake.state().quirks.next_referrers = Some(next);
        let error = store.referrers(subject.digest(), None).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Network, "{next:?}: {error:?}");
        let fallback = format!("GET /v2/a/b/manifests/{tag}");
        assert_eq!(fake.count(&fallback), 0, "{next:?}");
    }
}

#[tokio::test]
async fn a_tree_that_would_fill_the_memory_is_not_asked_for() {
    let fake = FakeRegistry::start(Quirks::default()).await;
    let store = fake.store("a/b");
    let digest = fake.put_blob("a/b", b"hello");
    let found = store.blob_tree(&octets(digest, 5)).await.unwrap();
    assert_eq!(found.map(|values| values.len()), Some(1));
    let claimed = store.blob_tree(&octets(digest, 1 << 50)).await.unwrap();
    assert!(claimed.is_none());
    assert_eq!(fake.count("GET /v2/a/b/_sealstone/tree/"), 1);
}

#[tokio::test]
async fn bytes_that_are_not_the_digests_never_come_back() {
    let fake = FakeRegistry::start(Quirks::default()).await;
    let store = fake.store("a/b");
    let manifest = manifest("x", None);
    store
        .put_manifest(&manifest, Some(&"1".parse().unwrap()))
        .await
        .unwrap();
    let key = ("a/b".to_owned(), manifest.digest().to_string());
    fake.state().manifests.get_mut(&key).unwrap().1[10] ^= 1;
    for reference in [
        Reference::Digest(*manifest.digest()),
        Reference::Tag("1".parse().unwrap()),
    ] {
        let error = store.manifest(&reference).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Halted, "{reference}");
    }

    let digest = fake.put_blob("a/b", b"hello");
    fake.corrupt("a/b", &digest, |content| content[0] ^= 1);
    assert_eq!(
        store
            .blob_bytes(&octets(digest, 5), 10)
            .await
            .unwrap_err()
            .outcome(),
        Outcome::Halted
    );
    fake.corrupt("a/b", &digest, |content| content.push(0));
    assert!(store.blob_bytes(&octets(digest, 5), 10).await.is_err());
    assert_eq!(
        store
            .has_blob(&octets(digest, 5))
            .await
            .unwrap_err()
            .outcome(),
        Outcome::Halted
    );
}

#[tokio::test]
async fn small_blobs_go_with_one_request_where_the_registry_takes_it() {
    for no_single_post in [false, true] {
        let fake = FakeRegistry::start(Quirks {
            no_single_post,
            ..Quirks::default()
        })
        .await;
        let store = fake.store("a/b");
        for content in [b"one", b"two"] {
            store
                .put_blob_bytes(&Digest::sha256(content), content.to_vec())
                .await
                .unwrap();
        }
        assert_eq!(fake.state().blobs.len(), 2);
        // The second one is not sent in vain.
        assert_eq!(fake.state().received, if no_single_post { 9 } else { 6 });
    }
    let fake = FakeRegistry::start(Quirks::default()).await;
    let error = fake
        .store("a/b")
        .put_blob_bytes(&Digest::sha256(b"x"), b"y".to_vec())
        .await
        .unwrap_err();
    assert_eq!(error.outcome(), Outcome::Halted);
}

#[tokio::test]
async fn a_small_blob_is_there_although_the_answer_was_lost() {
    let fake = FakeRegistry::start(Quirks {
        no_single_post: true,
        lost_answers: 1,
        ..Quirks::default()
    })
    .await;
    let store = fake.store("a/b");
    let digest = Digest::sha256(b"one");
    let stored = store.put_blob_bytes(&digest, b"one".to_vec()).await;
    stored.unwrap();
    assert_eq!(fake.state().blobs.len(), 1);
    assert!(fake.count("PUT") > 1);
    // Where nothing was stored, the refusal stands.
    fake.state().quirks.uploads_at = "/nowhere";
    let two = Digest::sha256(b"two");
    let stored = store.put_blob_bytes(&two, b"two".to_vec());
    assert_eq!(stored.await.unwrap_err().outcome(), Outcome::NotFound);
}

#[tokio::test]
async fn refusals_keep_their_detail() {
    for (detail, outcome) in [
        (
            json!({"reason": "release_denied", "unmet": []}),
            Outcome::Refused,
        ),
        (
            json!({"reason": "tag_immutable", "existing": "sha256:00"}),
            Outcome::Conflict,
        ),
        (json!({"reason": "tag_tombstoned"}), Outcome::Conflict),
        (Value::Null, Outcome::Unauthorised),
    ] {
        let fake = FakeRegistry::start(Quirks {
            refuse_tags: Some(detail.clone()),
            ..Quirks::default()
        })
        .await;
        let put = manifest("x", None);
        let error = fake
            .store("a/b")
            .put_manifest(&put, Some(&"1".parse().unwrap()))
            .await
            .unwrap_err();
        assert_eq!(error.outcome(), outcome, "{detail}");
        assert_eq!(error.details().cloned().unwrap_or_default(), detail);
    }
}

#[tokio::test]
async fn a_missing_manifest_is_not_found() {
    let fake = FakeRegistry::start(Quirks::default()).await;
    let error = fake
        .store("a/b")
        .manifest(&Reference::Tag("1".parse().unwrap()))
        .await
        .unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotFound);
}

/// The interface of OCI is all that others have, and each says in its own way that there is no more.
#[tokio::test]
async fn a_registry_of_another_kind_has_no_log_however_it_says_so() {
    let state = tempfile::tempdir().unwrap();
    let kept = KeptLogs::in_directory(state.path());
    // 302: a redirect that cannot be followed.
    for beside in [200, 302, 401, 403, 404, 405, 410, 501] {
        let fake = FakeRegistry::start(Quirks {
            beside: Some(beside),
            ..Quirks::default()
        })
        .await;
        let store = fake.store("a/b");
        let seen = contact(store.registry(), &kept).await.unwrap();
        assert!(seen.is_none(), "{beside}");
        if beside != 200 {
            let record = store.record(None, &[]).await.unwrap();
            assert!(record.is_empty(), "{beside}");
        }
    }
    // That may pass, and one of ours would be believed to have no log.
    let fake = FakeRegistry::start(Quirks {
        beside: Some(500),
        ..Quirks::default()
    })
    .await;
    let store = fake.store("a/b");
    let failed = contact(store.registry(), &kept).await.unwrap_err();
    assert_eq!(failed.outcome(), Outcome::Network);
}
