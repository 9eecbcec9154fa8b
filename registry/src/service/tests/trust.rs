//! Evidence that comes and goes, verdicts that time changes, and what the registry signs itself.

mod approvers;
mod exceptions;
mod logged;
mod pulls;
mod revoked;

use super::*;
use crate::service::{Notary, ReleaseStatements};
use sealstone_spec::digest::Algorithm;
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::notary::{TYPES, Vouched};
use sealstone_spec::policy::{Time, lifecycle};
use sealstone_spec::sigstore::{SigstoreBundle, referrer_manifest};
use sealstone_spec::statement::{Statement, Subject};
use std::collections::BTreeSet;

fn key(seed: u8) -> SecretKey {
    SecretKey::ed25519_from_seed(&[seed; 32]).unwrap()
}

/// A policy of version 2 under which alice signs releases, and gina closes incidents.
fn policy(version: u64, expires: i64, tags: &str) -> String {
    let line = |seed: u8| key(seed).public_key().to_openssh();
    let expires = Time::from_seconds(expires);
    format!(
        "schema = \"sealstone-policy/v2\"\nversion = {version}\nexpires = \"{expires}\"\n[roots]\nthreshold = 1\nkeys = [\"{}\"]\n\
         [[identity]]\nname = \"alice\"\nroles = [\"release\"]\nkeys = [\"{}\"]\n\
         [[identity]]\nname = \"gina\"\nroles = [\"governance\"]\nkeys = [\"{}\"]\n\
         [[scope]]\nrepositories = [\"models/**\"]\ntags = \"{tags}\"\n[[scope.require]]\nrule = \"signatures\"\n",
        line(1),
        line(2),
        line(3)
    )
}

const FAR: i64 = 4_000_000_000;

impl Bench {
    async fn adopt_v2(&self, text: &str) -> u64 {
        self.put_in_force(Policy::parse(text).unwrap()).await
    }

    fn with_notary(self, releases: ReleaseStatements) -> Bench {
        let right = Maintenance::at_boot();
        self.registry.attach_notary(Notary::new(
            key(9),
            "registry.example".into(),
            releases,
            right,
        ));
        self
    }

    async fn manifest(&self, digest: &Digest) -> VerifiedManifest {
        let reference = Reference::Digest(*digest);
        let served = self
            .registry
            .manifest(&producer(), &reference)
            .await
            .unwrap();
        VerifiedManifest::check(
            served.bytes,
            Some(&served.media_type),
            None,
            Algorithm::Sha256,
        )
        .unwrap()
    }

    async fn attach(&self, digest: &Digest, statement: &Statement, signer: &SecretKey) {
        let push = self.ready_to_attach(digest, statement, signer).await;
        let pushed = self.registry.push_manifest(&pusher(), None, push).await;
        pushed.unwrap();
    }

    /// The push that attaches a statement; what it names is there.
    async fn ready_to_attach(
        &self,
        digest: &Digest,
        statement: &Statement,
        signer: &SecretKey,
    ) -> PushManifest {
        let bundle = SigstoreBundle::sign(statement, signer).unwrap().to_bytes();
        self.put_blob(&bundle).await;
        self.put_blob(b"{}").await;
        let subject = self.manifest(digest).await.descriptor();
        let created = "2026-01-01T00:00:00Z";
        let bytes = referrer_manifest(&subject, &bundle, &statement.predicate_type, created);
        PushManifest {
            reference: Reference::Digest(Digest::sha256(&bytes)),
            tags: vec![],
            content_type: None,
            bytes: Bytes::from(bytes),
            condition: TagCondition::Any,
        }
    }

    async fn sign(&self, digest: &Digest) {
        let statement = Statement::signature(vec![Subject::new("m", digest)]);
        self.attach(digest, &statement, &key(2)).await;
    }

    /// An image that alice signed, under a tag.
    async fn signed(&self, content: &[u8], tag: &str) -> Digest {
        self.put_blob(content).await;
        let digest = self.push(&[content], "").await.unwrap();
        self.sign(&digest).await;
        self.push(&[content], tag).await.unwrap()
    }

    async fn is_seen(&self, tag: &str) -> bool {
        let reference = Reference::parse(tag).unwrap();
        let found = self.registry.manifest(&consumer(), &reference).await;
        found.is_ok()
    }

    /// What the registry itself said of a manifest.
    async fn said(&self, digest: &Digest) -> Vec<(Digest, Result<Vouched, String>)> {
        let mut said = Vec::new();
        let who = producer();
        let page = self.registry.referrers(&who, digest, None, None, 100);
        for referrer in page.await.unwrap().referrers {
            let manifest = self.manifest(&referrer.digest).await;
            let bundle = self.read(&producer(), &manifest.layers()[0].digest).await;
            let bundle = SigstoreBundle::parse(&bundle.unwrap()).unwrap();
            if bundle.may_be_by(key(9).public_key()) {
                let read = Vouched::read(&bundle, key(9).public_key(), digest);
                said.push((referrer.digest, read));
            }
        }
        said
    }
}

#[tokio::test]
async fn evidence_that_arrives_later_shows_what_a_policy_has_hidden() {
    let bench = Bench::new().await;
    bench.put_blob(b"content").await;
    let digest = bench.push(&[b"content"], "v1").await.unwrap();
    assert!(bench.is_seen("v1").await);
    assert_eq!(bench.adopt_v2(&policy(1, FAR, "immutable")).await, 1);
    assert!(!bench.is_seen("v1").await);
    bench.sign(&digest).await;
    assert!(bench.is_seen("v1").await);
}

#[tokio::test]
async fn time_changes_a_verdict_also_of_a_tag_that_moves() {
    for tags in ["immutable", "mutable"] {
        let bench = Bench::new().await;
        bench.adopt_v2(&policy(1, 5_000, tags)).await;
        bench.signed(b"content", "v1").await;
        assert!(bench.is_seen("v1").await, "{tags}");
        bench.clock.advance(4_000_000);
        let reference = Reference::parse("v1").unwrap();
        let refused = bench.registry.manifest(&consumer(), &reference).await;
        assert!(
            matches!(refused, Err(Error::Denied(_))),
            "{tags}: {refused:?}"
        );
        // Also its files, from then on.
        let blob = Digest::sha256(b"content");
        assert!(bench.read(&consumer(), &blob).await.is_err(), "{tags}");
    }
}

#[tokio::test]
async fn nothing_is_judged_twice_on_the_same_inputs() {
    let bench = Bench::new().await;
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    let digest = bench.signed(b"content", "v1").await;
    let judgements = || bench.registry.metrics().judgements.get();
    let before = judgements();
    let pull_twice = async || {
        for _ in 0..2 {
            assert!(bench.is_seen("v1").await);
            // Time alone is no reason to judge again.
            bench.clock.advance(3_600_000);
        }
    };
    pull_twice().await;
    assert_eq!(judgements() - before, 1);
    let again = Statement::signature(vec![Subject::new("another name", &digest)]);
    bench.attach(&digest, &again, &key(2)).await;
    pull_twice().await;
    assert_eq!(judgements() - before, 2, "other evidence");
    bench.adopt_v2(&policy(2, FAR, "immutable")).await;
    pull_twice().await;
    assert_eq!(judgements() - before, 3, "another policy");
}

#[tokio::test]
async fn statements_about_a_release_are_made_once_whatever_stops_in_between() {
    let bench = Bench::new().await;
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    let registry = &bench.registry;
    // Released by a server that knows that statements are due, and ends before it makes them.
    bench.registry.attach_notary(Notary::new(
        key(9),
        "registry.example".into(),
        ReleaseStatements::Policy,
        Maintenance::at_boot(),
    ));
    let stopped = registry.inner.attending.lock().await;
    bench.put_blob(b"content").await;
    let digest = bench.push(&[b"content"], "").await.unwrap();
    bench.sign(&digest).await;
    // The push waits for its statements, the release does not.
    let pushing = bench.push(&[b"content"], "v1");
    dropped_when(pushing, async || bench.is_seen("v1").await).await;
    assert_eq!(bench.said(&digest).await, []);
    drop(stopped);

    assert_eq!(registry.attend().await.unwrap(), 2);
    let said = bench.said(&digest).await;
    assert!(
        said.iter().all(|(_, read)| read.is_ok()) && said.len() == 2,
        "{said:?}"
    );
    // Again, as after a crash that forgot how far it had come: the same two, and no event more.
    let events = registry.events(0, 100).await.unwrap().len();
    bench
        .registry
        .metadata()
        .set_events_attended(0)
        .await
        .unwrap();
    assert_eq!(registry.attend().await.unwrap(), 0);
    assert_eq!(bench.said(&digest).await, said);
    assert_eq!(registry.events(0, 100).await.unwrap().len(), events);
    // The tag once more changes nothing either.
    bench.push(&[b"content"], "v1").await.unwrap();
    assert_eq!(bench.said(&digest).await, said);
}

#[tokio::test]
async fn statements_are_made_where_they_are_expected() {
    for (releases, under_v2, count) in [
        (ReleaseStatements::Policy, false, 0),
        (ReleaseStatements::Policy, true, 2),
        (ReleaseStatements::Always, false, 2),
        (ReleaseStatements::Never, true, 0),
    ] {
        let bench = Bench::new().await.with_notary(releases);
        if under_v2 {
            bench.adopt_v2(&policy(1, FAR, "immutable")).await;
        }
        let digest = bench.signed(b"content", "v1").await;
        let said = bench.said(&digest).await;
        assert_eq!(said.len(), count, "{releases:?} {under_v2}");
    }
    // A tag that moves is no release.
    let bench = Bench::new().await.with_notary(ReleaseStatements::Always);
    bench.adopt_v2(&policy(1, FAR, "mutable")).await;
    let digest = bench.signed(b"content", "v1").await;
    assert_eq!(bench.said(&digest).await, []);
    assert_eq!(TYPES.len(), 2);
}

#[tokio::test]
async fn damage_of_a_release_stands_until_it_is_closed() {
    let bench = Bench::new().await.with_notary(ReleaseStatements::Policy);
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    let content = bytes_of(1_000);
    let blob = Digest::sha256(&content);
    let digest = bench.signed(&content, "v1").await;
    let gauge = || bench.registry.metrics().quarantined.get();
    bench.flip(&blob, 10);
    assert!(bench.read(&consumer(), &blob).await.is_err());
    bench.registry.attend().await.unwrap();
    assert_eq!(gauge(), 1);
    let reference = Reference::parse("v1").unwrap();
    let refused = bench.registry.manifest(&consumer(), &reference).await;
    let Err(Error::Denied(denial)) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        denial
            .to_string()
            .contains("in quarantine: the registry reports"),
        "{denial}"
    );
    // A new tag cannot bring it back.
    assert!(matches!(
        bench.push(&[&content], "v2").await,
        Err(Error::Denied(_))
    ));

    bench.put_blob(&content).await;
    bench.registry.attend().await.unwrap();
    assert_eq!(gauge(), 0);
    assert!(!bench.is_seen("v1").await);
    let close = |by: u8| {
        let reports = bench.said(&digest);
        let (bench, digest) = (&bench, &digest);
        async move {
            let mut open = BTreeSet::new();
            for (referrer, _) in reports.await {
                let manifest = bench.manifest(&referrer).await;
                let bundle = bench.read(&producer(), &manifest.layers()[0].digest).await;
                let bundle = SigstoreBundle::parse(&bundle.unwrap()).unwrap();
                let envelope = bundle.envelope().verify(key(9).public_key()).unwrap();
                open.insert(Digest::sha256(envelope.payload()));
            }
            let subject = vec![Subject::new("m", digest)];
            let now = Time::from_seconds(1_000);
            let statement = lifecycle::incident_close(subject, "mended", &open, now);
            bench.attach(digest, &statement, &key(by)).await;
        }
    };
    close(2).await;
    assert!(!bench.is_seen("v1").await, "alice may not close it");
    close(3).await;
    assert!(bench.is_seen("v1").await);
    assert!(bench.read(&consumer(), &blob).await.unwrap() == content);
}

#[tokio::test]
async fn an_incident_stands_after_its_key_was_replaced() {
    for (former, is_heard) in [(7, false), (8, true)] {
        let bench = Bench::new().await;
        let (releases, right) = (ReleaseStatements::Never, Maintenance::at_boot());
        let notary = Notary::new(key(9), "registry.example".into(), releases, right);
        let former = [9, former].map(|seed| key(seed).public_key().clone());
        bench.registry.attach_notary(notary.with_former(former));
        bench.adopt_v2(&policy(1, FAR, "immutable")).await;
        let digest = bench.signed(b"content", "v1").await;
        assert!(bench.is_seen("v1").await);
        let subject = vec![Subject::new("m", &digest)];
        let now = Time::from_seconds(1_000);
        let report = lifecycle::incident(subject, "content is damaged", &[], now);
        bench.attach(&digest, &report, &key(8)).await;
        assert_eq!(bench.is_seen("v1").await, !is_heard);
    }
}

#[tokio::test]
async fn closing_before_the_repair_shows_the_release_only_after_it() {
    let bench = Bench::new().await.with_notary(ReleaseStatements::Never);
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    let content = bytes_of(1_000);
    let blob = Digest::sha256(&content);
    let digest = bench.signed(&content, "v1").await;
    bench.flip(&blob, 10);
    assert_eq!(bench.scrub().await.damaged, [blob]);
    bench.registry.attend().await.unwrap();
    let (referrer, _) = bench.said(&digest).await.remove(0);
    let manifest = bench.manifest(&referrer).await;
    let bundle = bench.read(&producer(), &manifest.layers()[0].digest).await;
    let bundle = SigstoreBundle::parse(&bundle.unwrap()).unwrap();
    let envelope = bundle.envelope().verify(key(9).public_key()).unwrap();
    let open = BTreeSet::from([Digest::sha256(envelope.payload())]);
    let now = Time::from_seconds(1_000);
    let subject = vec![Subject::new("m", &digest)];
    let statement = lifecycle::incident_close(subject, "mended", &open, now);
    bench.attach(&digest, &statement, &key(3)).await;
    assert!(!bench.is_seen("v1").await);
    bench.put_blob(&content).await;
    bench.registry.attend().await.unwrap();
    assert!(bench.is_seen("v1").await);
}

/// Everything that speaks of a manifest, in order.
async fn referrers(bench: &Bench, digest: &Digest) -> Vec<Digest> {
    let who = producer();
    let page = bench.registry.referrers(&who, digest, None, None, 100);
    let listed = page.await.unwrap().referrers.into_iter();
    listed.map(|referrer| referrer.digest).collect()
}

fn revocation(digest: &Digest) -> Statement {
    let now = Time::from_seconds(1_000);
    lifecycle::revocation(vec![Subject::new("m", digest)], "broken", now)
}

#[tokio::test]
async fn an_older_verdict_does_not_show_a_release_that_was_revoked_since() {
    let bench = Bench::new().await;
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    let remover: Grant<Delete> = grant(REPO);
    bench.put_blob(b"content").await;
    let digest = bench.push(&[b"content"], "").await.unwrap();
    bench.sign(&digest).await;
    let first = referrers(&bench, &digest).await;
    let again = Statement::signature(vec![Subject::new("another name", &digest)]);
    bench.attach(&digest, &again, &key(2)).await;
    // Two statements, and a verdict that is kept for them.
    bench.push(&[b"content"], "v1").await.unwrap();
    assert!(bench.is_seen("v1").await);
    // All of it goes but the first statement, which outlives its subject.
    let v1 = "v1".parse().unwrap();
    let gone = bench.registry.delete_tag(&remover, &v1, TagCondition::Any);
    gone.await.unwrap();
    let all = referrers(&bench, &digest).await;
    let gone = bench.registry.delete_manifest(&remover, &digest);
    gone.await.unwrap();
    for referrer in all.iter().filter(|referrer| !first.contains(referrer)) {
        let gone = bench.registry.delete_manifest(&remover, referrer);
        gone.await.unwrap();
    }
    // It comes back with one statement, is released, and revoked: two statements once more, and others.
    bench.push(&[b"content"], "v2").await.unwrap();
    assert!(bench.is_seen("v2").await);
    bench.attach(&digest, &revocation(&digest), &key(2)).await;
    assert_eq!(referrers(&bench, &digest).await.len(), 2);
    for _ in 0..2 {
        assert!(!bench.is_seen("v2").await);
        assert!(
            bench
                .read(&consumer(), &Digest::sha256(b"content"))
                .await
                .is_err()
        );
    }
}

#[tokio::test]
async fn a_revocation_of_a_tag_that_moves_cannot_be_taken_away() {
    let bench = Bench::new().await;
    bench.adopt_v2(&policy(1, FAR, "mutable")).await;
    let remover: Grant<Delete> = grant(REPO);
    let digest = bench.signed(b"content", "latest").await;
    assert!(bench.is_seen("latest").await);
    bench.attach(&digest, &revocation(&digest), &key(2)).await;
    assert!(!bench.is_seen("latest").await);
    for referrer in referrers(&bench, &digest).await {
        let refused = bench.registry.delete_manifest(&remover, &referrer).await;
        let is_kept = matches!(refused, Err(Error::Held | Error::Final));
        assert!(is_kept, "{refused:?}");
    }
    assert_eq!(referrers(&bench, &digest).await.len(), 2);
    assert!(!bench.is_seen("latest").await);
}

#[tokio::test]
async fn a_rule_that_came_later_burns_the_names_of_earlier_tags() {
    let bench = Bench::new().await;
    let mutable = "[[scope]]\nrepositories = [\"**\"]\ntags = \"mutable\"\n";
    bench.adopt(mutable).await;
    let remover: Grant<Delete> = grant(REPO);
    bench.put_blob(b"one").await;
    bench.put_blob(b"two").await;
    let one = bench.push(&[b"one"], "v1").await.unwrap();
    bench.adopt("").await;
    let kept = bench.registry.delete_manifest(&remover, &one).await;
    assert!(matches!(kept, Err(Error::Held)), "{kept:?}");
    let v1 = "v1".parse().unwrap();
    let gone = bench.registry.delete_tag(&remover, &v1, TagCondition::Any);
    gone.await.unwrap();
    let reused = bench.push(&[b"two"], "v1").await;
    assert!(matches!(reused, Err(Error::TagBurnt { .. })), "{reused:?}");
}

#[tokio::test]
async fn evidence_that_cannot_be_read_refuses_and_stores_nothing() {
    let bench = Bench::new().await;
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    bench.put_blob(b"content").await;
    let digest = bench.push(&[b"content"], "").await.unwrap();
    bench.sign(&digest).await;
    let [referrer] = referrers(&bench, &digest).await[..] else {
        panic!("one statement")
    };
    let bundle = bench.manifest(&referrer).await.layers()[0].digest;
    bench.flip(&bundle, 100);
    let events = bench.registry.events(0, 100).await.unwrap().len();
    for _ in 0..2 {
        let refused = bench.push(&[b"content"], "v1").await;
        assert!(
            matches!(refused, Err(Error::Damaged(found)) if found == bundle),
            "{refused:?}"
        );
    }
    let tags = bench.registry.tags(&producer(), None, 10).await.unwrap();
    assert_eq!(tags, []);
    assert!(!bench.is_seen("v1").await);
    let after = bench.registry.events(0, 100).await.unwrap();
    let told = |(_, event): &(u64, crate::metadata::Event)| event.tag.is_some();
    assert!(!after[events..].iter().any(told), "{after:?}");
    // Whole again, it counts.
    let statement = Statement::signature(vec![Subject::new("m", &digest)]);
    let again = SigstoreBundle::sign(&statement, &key(2)).unwrap();
    bench.put_blob(&again.to_bytes()).await;
    bench.push(&[b"content"], "v1").await.unwrap();
    assert!(bench.is_seen("v1").await);
}

#[tokio::test]
async fn what_is_too_large_for_a_bundle_is_set_aside_in_words() {
    let bench = Bench::new().await;
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    bench.put_blob(b"content").await;
    let digest = bench.push(&[b"content"], "").await.unwrap();
    let attach = async |bundle: &[u8]| {
        bench.put_blob(bundle).await;
        bench.put_blob(b"{}").await;
        let subject = bench.manifest(&digest).await.descriptor();
        let bytes = referrer_manifest(&subject, bundle, "x", "2026-01-01T00:00:00Z");
        let push = PushManifest {
            reference: Reference::Digest(Digest::sha256(&bytes)),
            tags: vec![],
            content_type: None,
            bytes: Bytes::from(bytes),
            condition: TagCondition::Any,
        };
        let who = pusher();
        let pushed = bench.registry.push_manifest(&who, None, push);
        pushed.await.unwrap().digest
    };
    // One that is as large as a client reads is read here as well.
    let statement = Statement::signature(vec![Subject::new("m", &digest)]);
    let mut large = SigstoreBundle::sign(&statement, &key(2))
        .unwrap()
        .to_bytes();
    large.resize(5 << 20, b' ');
    let huge = vec![b' '; sealstone_spec::sigstore::MAX_BUNDLE_BYTES + 1];
    let huge = attach(&huge).await;
    let Err(Error::Denied(denial)) = bench.push(&[b"content"], "v1").await else {
        panic!("it is signed by nobody")
    };
    let [ignored] = &denial.ignored[..] else {
        panic!("{denial}")
    };
    assert!(
        ignored.evidence == huge && ignored.reason.contains("16777217 bytes"),
        "{denial}"
    );
    attach(&large).await;
    bench.push(&[b"content"], "v1").await.unwrap();
}
