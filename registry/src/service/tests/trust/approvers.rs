//! Somebody who may only approve adds what somebody of the policy said, and that once: more would make a case too long.

use super::*;
use crate::auth::Approve;

fn note(reason: &str, digest: &Digest) -> Statement {
    let now = Time::from_seconds(1_000);
    lifecycle::incident(vec![Subject::new("m", digest)], reason, &[], now)
}

impl Bench {
    async fn approve(&self, push: PushManifest) -> Result<(), String> {
        let who = Contributor::from(grant::<Approve>(REPO));
        match self.registry.push_manifest(&who, None, push).await {
            Ok(_) => Ok(()),
            Err(Error::NotApproval(reason)) => Err(reason),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[track_caller]
fn assert_refused(answer: Result<(), String>, because: &str) {
    let reason = answer.unwrap_err();
    assert!(reason.contains(because), "{reason}");
}

#[tokio::test]
async fn an_approver_adds_the_words_of_somebody_of_the_policy_once() {
    const UNKNOWN: &str = "no key of the policy";
    let bench = Bench::new().await;
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    let digest = bench.signed(b"content", "v1").await;
    let before = referrers(&bench, &digest).await;
    let odd = note("odd", &digest);
    let by_stranger = bench.ready_to_attach(&digest, &odd, &key(7)).await;
    assert_refused(bench.approve(by_stranger).await, UNKNOWN);
    // What gina said of another release, and of one that is not here.
    let other = note("odd", &Digest::sha256(b"another"));
    let of_other = bench.ready_to_attach(&digest, &other, &key(3)).await;
    assert_refused(bench.approve(of_other).await, UNKNOWN);
    assert_eq!(referrers(&bench, &digest).await, before);

    let push = bench.ready_to_attach(&digest, &odd, &key(3)).await;
    // The answer may get lost.
    for _ in 0..2 {
        bench.approve(push.clone()).await.unwrap();
    }
    let with_note = referrers(&bench, &digest).await;
    assert_eq!(with_note.len(), before.len() + 1);
    // In another wrapping, and with another bundle around it.
    let subject = bench.manifest(&digest).await.descriptor();
    let bundle = SigstoreBundle::sign(&odd, &key(3)).unwrap().to_bytes();
    let longer = [&bundle[..], b" "].concat();
    bench.put_blob(&longer).await;
    for (bundle, created) in [
        (&bundle, "2026-01-02T00:00:00Z"),
        (&longer, "2026-01-01T00:00:00Z"),
    ] {
        let bytes = referrer_manifest(&subject, bundle, &odd.predicate_type, created);
        let again = PushManifest {
            reference: Reference::Digest(Digest::sha256(&bytes)),
            bytes: Bytes::from(bytes),
            ..push.clone()
        };
        assert_refused(bench.approve(again).await, "says the same already");
    }
    assert_eq!(referrers(&bench, &digest).await, with_note);
    // Somebody else may say it too, and whoever pushes adds what they like.
    let by_alice = bench.ready_to_attach(&digest, &odd, &key(2)).await;
    bench.approve(by_alice).await.unwrap();
    bench.attach(&digest, &odd, &key(7)).await;
    assert_eq!(referrers(&bench, &digest).await.len(), with_note.len() + 2);
}

#[tokio::test]
async fn an_approver_speaks_of_what_is_there() {
    let bench = Bench::new().await;
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    let digest = bench.signed(b"content", "v1").await;
    let push = bench
        .ready_to_attach(&digest, &note("odd", &digest), &key(3))
        .await;
    let remover: Grant<Delete> = grant(REPO);
    let v1 = "v1".parse().unwrap();
    let gone = bench.registry.delete_tag(&remover, &v1, TagCondition::Any);
    gone.await.unwrap();
    let gone = bench.registry.delete_manifest(&remover, &digest);
    gone.await.unwrap();
    assert_refused(bench.approve(push).await, "does not have");
}

/// Whoever pushes can attach a copy before the manifest is there, when nobody can compare the size that it names. It is
/// set aside where it is judged, so it must not stand in the place of the same words that count.
#[tokio::test]
async fn a_copy_that_counts_for_nothing_silences_no_approver() {
    let bench = Bench::new().await;
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    bench.put_blob(b"content").await;
    let digest = bench.push(&[b"content"], "").await.unwrap();
    let odd = note("odd", &digest);
    let push = bench.ready_to_attach(&digest, &odd, &key(3)).await;
    let mut subject = bench.manifest(&digest).await.descriptor();
    subject.size += 1;
    let bundle = SigstoreBundle::sign(&odd, &key(3)).unwrap().to_bytes();
    let created = "2026-01-01T00:00:00Z";
    let copy = referrer_manifest(&subject, &bundle, &odd.predicate_type, created);
    let remover: Grant<Delete> = grant(REPO);
    let gone = bench.registry.delete_manifest(&remover, &digest);
    gone.await.unwrap();
    let copy = bench.push_bytes(REPO, Bytes::from(copy), "").await.unwrap();
    bench.push(&[b"content"], "").await.unwrap();
    assert_eq!(referrers(&bench, &digest).await, [copy]);
    bench.approve(push).await.unwrap();
    assert_eq!(referrers(&bench, &digest).await.len(), 2);
}

#[tokio::test]
async fn approvers_wait_only_for_those_who_speak_of_the_same() {
    let bench = Bench::new().await;
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    let digest = bench.signed(b"content", "v1").await;
    let odd = note("odd", &digest);
    let push = bench.ready_to_attach(&digest, &odd, &key(3)).await;
    let turns = &bench.registry.inner.words_turns;
    let here: RepoName = REPO.parse().unwrap();
    let _another = turns.turn((here.clone(), Digest::sha256(b"another"))).await;
    let _elsewhere = turns.turn(("models/y".parse().unwrap(), digest)).await;
    let same = turns.turn((here, digest)).await;
    let soon = std::time::Duration::from_millis(200);
    let waited = tokio::time::timeout(soon, bench.approve(push.clone())).await;
    assert!(waited.is_err(), "one may be about to say the same");
    // Whoever tags what is there says nothing.
    let who = Contributor::from(grant::<Approve>(REPO));
    let tagger: Grant<TagAction> = grant(REPO);
    let bytes = bench.manifest(&digest).await.bytes().clone();
    let tagging = PushManifest {
        reference: Reference::parse("v2").unwrap(),
        bytes,
        ..push.clone()
    };
    let tagged = bench.registry.push_manifest(&who, Some(&tagger), tagging);
    tagged.await.unwrap();
    drop(same);
    bench.approve(push).await.unwrap();
}

/// Nobody is judged by it there, and nobody is known.
#[tokio::test]
async fn where_no_evidence_is_read_anybody_speaks() {
    let bench = Bench::new().await;
    bench.put_blob(b"content").await;
    let digest = bench.push(&[b"content"], "v1").await.unwrap();
    let odd = note("odd", &digest);
    let push = bench.ready_to_attach(&digest, &odd, &key(7)).await;
    bench.approve(push).await.unwrap();
}
