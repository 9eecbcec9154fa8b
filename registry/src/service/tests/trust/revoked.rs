//! A revocation is final: it goes with no tag, and holds in every repository.

use super::logged::log_key;
use super::*;
use crate::metadata::KeptRevocation;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const THERE: &str = "models/y";

impl Bench {
    /// Brings a manifest, with its blobs, into another repository.
    async fn copy(&self, digest: &Digest, repo: &str, reference: &str) -> Result<Digest, Error> {
        let manifest = self.manifest(digest).await;
        for blob in manifest.blobs() {
            let bytes = self.read(&producer(), &blob.digest).await.unwrap();
            self.put_blob_in(repo, &bytes).await;
        }
        let bytes = manifest.bytes().clone();
        self.push_bytes(repo, bytes, reference).await
    }

    /// A release of `models/x` in another repository as well, with these of its statements.
    async fn release_in(
        &self,
        repo: &str,
        digest: &Digest,
        statements: &[Digest],
    ) -> Result<Digest, Error> {
        self.copy(digest, repo, "").await.unwrap();
        for statement in statements {
            self.copy(statement, repo, "").await.unwrap();
        }
        self.copy(digest, repo, "1.0.0").await
    }

    async fn is_seen_in(&self, repo: &str, reference: &str) -> bool {
        let reference = Reference::parse(reference).unwrap();
        let who: Grant<Pull> = plain_grant(repo);
        self.registry.manifest(&who, &reference).await.is_ok()
    }

    async fn kept(&self, subject: &Digest) -> Vec<KeptRevocation> {
        let kept = self.registry.metadata().revocations(subject).await;
        kept.unwrap()
    }

    async fn delete(&self, digest: &Digest) -> Result<(), Error> {
        let remover: Grant<Delete> = grant(REPO);
        self.registry.delete_manifest(&remover, digest).await
    }

    async fn retract(&self, tag: &str) {
        let remover: Grant<Delete> = grant(REPO);
        let tag = tag.parse().unwrap();
        let gone = self.registry.delete_tag(&remover, &tag, TagCondition::Any);
        gone.await.unwrap();
    }
}

fn is_revoked(answer: &Result<Digest, Error>) -> bool {
    let Err(Error::Denied(denial)) = answer else {
        return false;
    };
    denial.to_string().contains("revoked by alice: broken")
}

#[tokio::test]
async fn taking_the_tag_away_does_not_undo_a_revocation() {
    let bench = Bench::new().await;
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    let digest = bench.signed(b"content", "1.0.0").await;
    let signature = referrers(&bench, &digest).await;
    bench.attach(&digest, &revocation(&digest), &key(2)).await;
    bench.retract("1.0.0").await;
    for referrer in referrers(&bench, &digest).await {
        let gone = bench.delete(&referrer).await;
        match signature.contains(&referrer) {
            true => gone.unwrap(),
            false => assert!(matches!(gone, Err(Error::Final)), "{gone:?}"),
        }
    }
    bench.sign(&digest).await;
    let again = bench.push(&[b"content"], "1.0.1").await;
    assert!(is_revoked(&again), "{again:?}");
    // Nor does taking away the release itself.
    for referrer in signature {
        bench.delete(&referrer).await.unwrap();
    }
    bench.delete(&digest).await.unwrap();
    let [left] = referrers(&bench, &digest).await[..] else {
        panic!("the revocation stays")
    };
    assert!(matches!(bench.delete(&left).await, Err(Error::Final)));
    bench.push(&[b"content"], "").await.unwrap();
    bench.sign(&digest).await;
    let again = bench.push(&[b"content"], "1.0.1").await;
    assert!(is_revoked(&again), "{again:?}");
}

#[tokio::test]
async fn what_is_revoked_in_one_repository_is_revoked_in_all() {
    let bench = Bench::new().await;
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    let digest = bench.signed(b"content", "v1").await;
    let signature = referrers(&bench, &digest).await;
    let there = bench.release_in(THERE, &digest, &signature).await;
    assert_eq!(there.unwrap(), digest);
    let blob = Digest::sha256(b"content");
    let who: Grant<Pull> = plain_grant(THERE);
    // With a verdict that is kept.
    for _ in 0..2 {
        assert!(bench.is_seen_in(THERE, "1.0.0").await);
    }
    assert!(bench.read(&who, &blob).await.is_ok());

    bench.attach(&digest, &revocation(&digest), &key(2)).await;
    // Its files as well, before anybody asks for the release.
    assert!(bench.read(&who, &blob).await.is_err());
    assert!(!bench.is_seen_in(THERE, "1.0.0").await);
    assert!(!bench.is_seen_in(THERE, &digest.to_string()).await);
    // Nor is it released anew, where nothing is attached that revokes it.
    let elsewhere = bench.release_in("models/z", &digest, &signature).await;
    assert!(is_revoked(&elsewhere), "{elsewhere:?}");
    // Another bundle is no concern of it.
    bench.signed(b"another", "v2").await;
    assert!(bench.is_seen("v2").await);
}

#[tokio::test]
async fn only_words_that_count_are_kept_and_each_once() {
    let bench = Bench::new().await;
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    let digest = bench.signed(b"content", "v1").await;
    // By gina, who closes incidents and does not revoke; by nobody whom the policy knows; and a signature.
    for seed in [3, 7] {
        bench
            .attach(&digest, &revocation(&digest), &key(seed))
            .await;
    }
    assert_eq!(bench.kept(&digest).await, []);
    assert!(bench.is_seen("v1").await);
    bench.attach(&digest, &revocation(&digest), &key(2)).await;
    let kept = bench.kept(&digest).await;
    assert_eq!(kept.len(), 1);
    // Attached elsewhere too, the first one stands for it, and the copy can go.
    bench.copy(&digest, THERE, "").await.unwrap();
    let copy = kept[0].row.referrer;
    bench.copy(&copy, THERE, "").await.unwrap();
    assert_eq!(bench.kept(&digest).await, kept);
    let remover: Grant<Delete> = grant(THERE);
    let gone = bench.registry.delete_manifest(&remover, &copy).await;
    gone.unwrap();
    bench.retract("v1").await;
    let mut refused = 0;
    for referrer in referrers(&bench, &digest).await {
        match bench.delete(&referrer).await {
            Ok(()) => {}
            Err(Error::Final) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 1);
}

#[tokio::test]
async fn a_revocation_that_counts_later_holds_everywhere_from_then_on() {
    // Judged before the one in which it is attached.
    const FIRST: &str = "models/a";
    let bench = Bench::new().await;
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    let digest = bench.signed(b"content", "v1").await;
    let signature = referrers(&bench, &digest).await;
    let there = bench.release_in(FIRST, &digest, &signature).await;
    there.unwrap();
    // By somebody whom the policy does not know yet.
    bench.attach(&digest, &revocation(&digest), &key(7)).await;
    assert!(bench.is_seen("v1").await && bench.is_seen_in(FIRST, "1.0.0").await);
    let sam = format!(
        "[[identity]]\nname = \"sam\"\nroles = [\"security\"]\nkeys = [\"{}\"]\n[[scope]]",
        key(7).public_key().to_openssh()
    );
    let next = policy(2, FAR, "immutable").replace("[[scope]]", &sam);
    bench.adopt_v2(&next).await;
    assert_eq!(bench.kept(&digest).await.len(), 1);
    assert!(!bench.is_seen("v1").await);
    let blob = Digest::sha256(b"content");
    let who: Grant<Pull> = plain_grant(FIRST);
    assert!(bench.read(&who, &blob).await.is_err());
    assert!(!bench.is_seen_in(FIRST, "1.0.0").await);
}

/// Whoever may push fills what statements have beyond a quota as well, and silences nobody who revokes by that.
#[tokio::test]
async fn a_revocation_has_room_where_no_statement_has() {
    let mut bench = Bench::new().await;
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    let digest = bench.signed(b"content", "v1").await;
    bench.quotas = vec![Quota {
        namespace: String::new(),
        bytes: None,
        objects: Some(1),
    }];
    let bench = bench.restarted().await;
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    let who = pusher();
    let put = async |bytes: &[u8]| {
        let (name, len) = (Digest::sha256(bytes), bytes.len() as u64);
        let stored = bench
            .registry
            .put_blob(&who, name, Some(len), body(bytes, 70_000));
        match stored.await {
            Ok(()) => true,
            Err(Error::QuotaExceeded(_)) => false,
            Err(other) => panic!("{other:?}"),
        }
    };
    let mut number = 0_u64;
    while put(&number.to_be_bytes()).await {
        number += 1;
        assert!(number <= crate::metadata::HEADROOM_OBJECTS);
    }
    let bundle = |statement: &Statement, seed: u8| {
        let bundle = SigstoreBundle::sign(statement, &key(seed)).unwrap();
        bundle.to_bytes()
    };
    let words = revocation(&digest);
    // Another statement by alice; the same by somebody who may not; of what is not here.
    let signature = Statement::signature(vec![Subject::new("another name", &digest)]);
    let elsewhere = revocation(&Digest::sha256(b"elsewhere"));
    for refused in [
        bundle(&signature, 2),
        bundle(&words, 3),
        bundle(&elsewhere, 2),
    ] {
        assert!(!put(&refused).await);
    }
    assert!(bench.is_seen("v1").await);
    // Also in pieces, as many clients send everything.
    let pieces = [bundle(&words, 2), b"\n".to_vec()].concat();
    let (first, rest) = pieces.split_at(100);
    let registry = &bench.registry;
    let begun = registry.begin_upload(&who, BeginUpload::default()).await;
    let id = begun.unwrap().id;
    let received = registry.receive(&who, id, None, Some(100), body(first, 70));
    received.await.unwrap();
    let name = Digest::sha256(&pieces);
    let finished = registry.finish_upload(&who, id, name, None, None, body(rest, 70));
    finished.await.unwrap();
    bench.attach(&digest, &words, &key(2)).await;
    assert!(!bench.is_seen("v1").await);
    assert_eq!(bench.kept(&digest).await.len(), 1);
    // Nor does anybody fill the disk with copies of it.
    let copy = [bundle(&words, 2), b" ".to_vec()].concat();
    assert!(!put(&copy).await);
    let subject = bench.manifest(&digest).await.descriptor();
    let again = "2026-01-02T00:00:00Z";
    let kind = &words.predicate_type;
    let again = referrer_manifest(&subject, &bundle(&words, 2), kind, again);
    let refused = bench.push_bytes(REPO, Bytes::from(again), "").await;
    assert!(
        matches!(refused, Err(Error::QuotaExceeded(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_revocation_holds_everywhere_though_its_push_was_cut_short() {
    let bench = Bench::new().await.with_notary(ReleaseStatements::Never);
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    let digest = bench.signed(b"content", "v1").await;
    let signature = referrers(&bench, &digest).await;
    let there = bench.release_in(THERE, &digest, &signature).await;
    there.unwrap();
    bench.registry.attend().await.unwrap();
    let words = revocation(&digest);
    let push = bench.ready_to_attach(&digest, &words, &key(2)).await;
    // It is stored, and nothing after it.
    bench.engine.faults().writes_left = Some(1);
    let cut = bench.registry.push_manifest(&pusher(), None, push).await;
    assert!(matches!(cut, Err(Error::Unavailable(_))), "{cut:?}");
    bench.engine.faults().writes_left = None;
    assert_eq!(bench.kept(&digest).await.len(), 1);
    let blob = Digest::sha256(b"content");
    let who: Grant<Pull> = plain_grant(THERE);
    assert!(bench.read(&who, &blob).await.is_ok());
    bench.registry.attend().await.unwrap();
    assert!(bench.read(&who, &blob).await.is_err());
    assert!(bench.read(&consumer(), &blob).await.is_err());
    // Nothing is judged twice for it.
    let judgements = bench.registry.metrics().judgements.get();
    let metadata = bench.registry.metadata();
    metadata.set_events_attended(0).await.unwrap();
    bench.registry.attend().await.unwrap();
    assert_eq!(bench.registry.metrics().judgements.get(), judgements);
}

/// Whoever may push elsewhere could have it logged once more, after its key was retired.
#[tokio::test]
async fn a_later_copy_elsewhere_takes_nothing_from_a_revocation() {
    let bench = Bench::new().await;
    let log = bench.with_log(Duration::from_secs(20)).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(log.clone().run(stop.clone()));
    let trusted = format!("[[log]]\nvkey = \"{}\"\n", log_key().verifier());
    let first = policy(1, FAR, "immutable") + &trusted;
    bench.adopt_v2(&first).await;
    let digest = bench.signed(b"content", "v1").await;
    let signature = referrers(&bench, &digest).await;
    let there = bench.release_in(THERE, &digest, &signature).await;
    there.unwrap();
    bench.attach(&digest, &revocation(&digest), &key(2)).await;
    assert!(!bench.is_seen_in(THERE, "1.0.0").await);

    let line = |seed: u8| key(seed).public_key().to_openssh();
    let size = log.latest().size;
    let retired = format!(
        "keys = [{{ key = \"{}\", status = \"retired\", valid_until_index = {size} }}, \"{}\"]",
        line(2),
        line(5)
    );
    let next = policy(2, FAR, "immutable") + &trusted;
    let next = next.replace(&format!("keys = [\"{}\"]", line(2)), &retired);
    assert!(next.contains("retired"));
    bench.adopt_v2(&next).await;
    assert!(!bench.is_seen_in(THERE, "1.0.0").await);
    for referrer in referrers(&bench, &digest).await {
        bench.copy(&referrer, THERE, "").await.unwrap();
    }
    assert!(!bench.is_seen_in(THERE, "1.0.0").await);
    let again = bench.copy(&digest, THERE, "1.0.1").await;
    assert!(is_revoked(&again), "{again:?}");
    stop.cancel();
    running.await.unwrap();
}
