//! Admissions: a release needs one that was made for it, here, now.

#![allow(clippy::unwrap_used)]

use super::kit::*;
use crate::metadata::{Judged, PutManifest, PutOutcome, Refusal, TagClass};
use sealstone_spec::admission::Admission;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::policy::{Case, Circumstances, Evidence, Policy, Time};
use sealstone_spec::sigstore::{SigstoreBundle, referrer_manifest};
use sealstone_spec::statement::{Statement, Subject, predicate};
use std::collections::BTreeSet;
use std::sync::Arc;

const RELEASES: [TagClass; 2] = [TagClass::Immutable, TagClass::Mutable];

async fn image(store: &dyn Store, mark: &str) -> VerifiedManifest {
    let blob = put_inline(store, &repo("a/here"), b"config").await;
    Shape::image(&[blob]).marked(mark).build()
}

/// Tries to release `manifest` in `a/here` with an admission.
async fn attempt(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    class: TagClass,
    admission: Option<Admission>,
) -> Result<PutOutcome, Refusal> {
    let put = PutManifest {
        admission,
        ..put(&repo("a/here"), manifest, class, &["v1"])
    };
    let put = judged_now(store, put).await;
    let outcome = store.put_manifest(put).await.unwrap();
    if outcome.is_err() {
        assert_eq!(store.tag(&repo("a/here"), &tag("v1")).await.unwrap(), None);
    }
    outcome
}

pub(crate) async fn a_release_needs_one(store: Arc<dyn Store>) {
    let manifest = image(&*store, "").await;
    let here = repo("a/here");
    for class in RELEASES {
        // Before any policy was set, and after.
        assert_eq!(
            attempt(&*store, &manifest, class, Some(admit(&here, &manifest))).await,
            Err(Refusal::Rejudge)
        );
    }
    use_default_policy(&*store).await;
    for class in RELEASES {
        assert_eq!(
            attempt(&*store, &manifest, class, None).await,
            Err(Refusal::Rejudge)
        );
    }
    // One release tag among lists of evidence is enough to need one.
    let name = format!("sha256-{}", "b".repeat(64));
    let mut mixed = PutManifest {
        admission: None,
        ..put(&here, &manifest, TagClass::EvidenceList, &[&name])
    };
    mixed.tags.push(new_tag("v1", TagClass::Immutable));
    assert_eq!(
        store.put_manifest(mixed).await.unwrap(),
        Err(Refusal::Rejudge)
    );
    // A manifest without tags needs none.
    let untagged = PutManifest {
        admission: None,
        ..put(&here, &manifest, TagClass::Immutable, &[])
    };
    assert_eq!(
        store.put_manifest(untagged).await.unwrap(),
        Ok(PutOutcome::Created)
    );
    assert!(
        attempt(
            &*store,
            &manifest,
            TagClass::Immutable,
            Some(admit(&here, &manifest))
        )
        .await
        .is_ok()
    );
}

pub(crate) async fn one_for_something_else_does_not_count(store: Arc<dyn Store>) {
    let (manifest, other) = (image(&*store, "").await, image(&*store, "other").await);
    use_default_policy(&*store).await;
    for class in RELEASES {
        let for_other = Some(admit(&repo("a/here"), &other));
        assert_eq!(
            attempt(&*store, &manifest, class, for_other).await,
            Err(Refusal::Rejudge)
        );
        let elsewhere = Some(admit(&repo("a/there"), &manifest));
        assert_eq!(
            attempt(&*store, &manifest, class, elsewhere).await,
            Err(Refusal::Rejudge)
        );
    }
}

pub(crate) async fn one_of_an_older_policy_does_not_count(store: Arc<dyn Store>) {
    let manifest = image(&*store, "").await;
    use_default_policy(&*store).await;
    let admission = Some(admit(&repo("a/here"), &manifest));
    let newer = Digest::sha256(b"another policy");
    store.set_policy(newer).await.unwrap();
    assert_eq!(store.policy().await.unwrap(), Some(newer));
    for class in RELEASES {
        assert_eq!(
            attempt(&*store, &manifest, class, admission.clone()).await,
            Err(Refusal::Rejudge)
        );
    }
    // A retraction needs no policy, and the old one may come back.
    use_default_policy(&*store).await;
    assert_eq!(
        attempt(&*store, &manifest, TagClass::Immutable, admission).await,
        Ok(PutOutcome::Created)
    );
    store.set_policy(newer).await.unwrap();
    delete_tag(&*store, &repo("a/here"), "v1").await.unwrap();
}

pub(crate) async fn its_evidence_must_still_be_there(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let manifest = image(&*store, "").await;
    let key = SecretKey::ed25519_from_seed(&[1; 32]).unwrap();
    let policy = format!(
        "schema = \"sealstone-policy/v1\"\n[[identity]]\nname = \"alice\"\nkeys = [\"\"\"\n{}\"\"\"]\n[[scope]]\nrepositories = [\"**\"]\n[[scope.require]]\nrule = \"signatures\"\nthreshold = 1\nidentities = [\"alice\"]\n",
        key.public_key().to_pem()
    );
    let policy = Policy::parse(&policy).unwrap();
    store.set_policy(*policy.digest()).await.unwrap();
    let statement = Statement::signature(vec![Subject::new("a/here", manifest.digest())]);
    let bundle = SigstoreBundle::sign(&statement, &key).unwrap().to_bytes();
    let referrer = referrer_manifest(
        &manifest.descriptor(),
        &bundle,
        predicate::COSIGN_SIGN,
        "2026-01-01T00:00:00Z",
    );
    let referrer = VerifiedManifest::check(referrer, None, None, Algorithm::Sha256).unwrap();
    let mut case = Case::new(&here, *manifest.digest(), manifest.size());
    case.add(Evidence::new(referrer.clone(), bundle.clone()));
    let now = Circumstances::at(Time::from_seconds(NOW / 1000));
    let admission = policy.judge(&here, &case, &now).unwrap();
    assert_eq!(admission.evidence(), [*referrer.digest()]);
    assert_eq!(referrer.artifact_type(), Some(media::SIGSTORE_BUNDLE_V03));

    assert_eq!(
        attempt(
            &*store,
            &manifest,
            TagClass::Immutable,
            Some(admission.clone())
        )
        .await,
        Err(Refusal::Rejudge)
    );
    put_inline(&*store, &here, &bundle).await;
    put_inline(&*store, &here, b"{}").await;
    let untagged = || PutManifest {
        admission: None,
        ..put(&here, &referrer, TagClass::Immutable, &[])
    };
    store.put_manifest(untagged()).await.unwrap().unwrap();
    delete_manifest(&*store, &here, referrer.digest())
        .await
        .unwrap();
    assert_eq!(
        attempt(
            &*store,
            &manifest,
            TagClass::Immutable,
            Some(admission.clone())
        )
        .await,
        Err(Refusal::Rejudge)
    );
    store.put_manifest(untagged()).await.unwrap().unwrap();
    assert_eq!(
        attempt(&*store, &manifest, TagClass::Immutable, Some(admission)).await,
        Ok(PutOutcome::Created)
    );
    assert_eq!(
        delete_manifest(&*store, &here, referrer.digest()).await,
        Err(Refusal::Held)
    );
    let (_, event) = store
        .events(0, 10)
        .await
        .unwrap()
        .into_iter()
        .find(|(_, event)| event.tag.is_some())
        .unwrap();
    assert_eq!(
        (event.policy, event.evidence),
        (Some(*policy.digest()), vec![*referrer.digest()])
    );
}

pub(crate) async fn what_came_after_it_was_judged_is_seen(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let manifest = image(&*store, "").await;
    let note = Shape::index(&[]).about(*manifest.digest());
    use_default_policy(&*store).await;
    for is_stored in [false, true] {
        for class in RELEASES {
            // Judged before the note came; before the manifest itself was there, or after.
            let name = format!("{class:?}-{is_stored}");
            let early = judged_now(&*store, put(&here, &manifest, class, &[&name])).await;
            let note = store_manifest(&*store, &here, note.clone().marked(&name)).await;
            assert_eq!(
                store.put_manifest(early).await.unwrap(),
                Err(Refusal::Rejudge)
            );
            assert_eq!(store.tag(&here, &tag(&name)).await.unwrap(), None);
            // Judged with it, and then it went.
            let late = judged_now(&*store, put(&here, &manifest, class, &[&name])).await;
            delete_manifest(&*store, &here, &note).await.unwrap();
            assert_eq!(
                store.put_manifest(late).await.unwrap(),
                Err(Refusal::Rejudge)
            );
        }
        assert_eq!(
            store
                .manifest(&here, manifest.digest())
                .await
                .unwrap()
                .is_some(),
            is_stored
        );
        try_put(&*store, put(&here, &manifest, TagClass::Mutable, &[]))
            .await
            .unwrap();
    }
    let outcome = try_put(&*store, put(&here, &manifest, TagClass::Immutable, &["v1"])).await;
    assert_eq!(outcome, Ok(PutOutcome::Created));
}

/// A policy that asks for a signature, and lets one manifest through without.
fn excepting_one() -> Policy {
    let line = |seed: u8| {
        let key = SecretKey::ed25519_from_seed(&[seed; 32]).unwrap();
        key.public_key().to_openssh()
    };
    let text = format!(
        "schema = \"sealstone-policy/v2\"\nversion = 1\nexpires = \"2100-01-01T00:00:00Z\"\n[roots]\nthreshold = 1\nkeys = [\"{}\"]\n\
         [[identity]]\nname = \"alice\"\nroles = [\"release\"]\nkeys = [\"{}\"]\n\
         [[scope]]\nrepositories = [\"**\"]\n[[scope.require]]\nrule = \"signatures\"\n\
         [[exception]]\nid = \"EX-1\"\nrepositories = [\"**\"]\nrule = \"signatures\"\nreason = \"late\"\nticket = \"OPS-1\"\n\
         approved_by = [\"alice\"]\nexpires = \"2099-01-01T00:00:00Z\"\nmax_uses = 1\n",
        line(1),
        line(2)
    );
    Policy::parse(&text).unwrap()
}

pub(crate) async fn what_is_shown_on_an_exception_is_counted(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let policy = excepting_one();
    let (one, two) = (image(&*store, "one").await, image(&*store, "two").await);
    // Released while nothing was asked for.
    for (manifest, name) in [(&one, "v1"), (&two, "v2")] {
        let put = put(&here, manifest, TagClass::Immutable, &[name]);
        try_put(&*store, put).await.unwrap();
    }
    store.set_policy(*policy.digest()).await.unwrap();
    let apply = async |manifest: &VerifiedManifest, name: &str, visible: bool| {
        let case = Case::new(&here, *manifest.digest(), manifest.size());
        let now = Circumstances::at(Time::from_seconds(NOW / 1000));
        let admission = policy.judge(&here, &case, &now).unwrap();
        let judged = Judged {
            exceptions: admission.exceptions().to_vec(),
            ..judged(&*store, &here, *manifest.digest()).await
        };
        let name = tag(name);
        let applied = store.show_tag(&here, &name, judged, visible);
        applied.await.unwrap()
    };
    // It is shown already, and counts all the same; once.
    for _ in 0..2 {
        assert_eq!(apply(&one, "v1", true).await, Ok(false));
        let uses = store.exception_uses().await.unwrap();
        assert_eq!(uses["policy:EX-1"], BTreeSet::from([*one.digest()]));
    }
    // So it is used up for another, and for that alone.
    assert_eq!(apply(&two, "v2", true).await, Err(Refusal::Rejudge));
    assert_eq!(apply(&two, "v2", false).await, Ok(true));
    assert_eq!(apply(&two, "v2", true).await, Err(Refusal::Rejudge));
    assert!(!sees(&*store, &here, two.digest()).await);
    assert_eq!(apply(&one, "v1", false).await, Ok(true));
    assert_eq!(apply(&one, "v1", true).await, Ok(true));
    assert!(sees(&*store, &here, one.digest()).await);
    assert_eq!(store.exception_uses().await.unwrap().len(), 1);
}
