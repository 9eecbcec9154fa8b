//! Revocations: kept for ever, and heeded in every repository.

#![allow(clippy::unwrap_used)]

use super::kit::*;
use crate::metadata::{
    CollectRules, KeptRevocation, PutManifest, PutOutcome, Refusal, RevocationRow, TagClass,
};
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::name::RepoName;
use sealstone_spec::policy::lifecycle::REVOCATION;
use sealstone_spec::sigstore::referrer_manifest;
use std::sync::Arc;

/// A manifest that carries a statement, and what it names. The store does not read it: whoever puts it says what it is.
async fn statement(
    store: &dyn Store,
    here: &RepoName,
    subject: &Descriptor,
    text: &str,
) -> VerifiedManifest {
    for blob in [text.as_bytes(), b"{}"] {
        put_inline(store, here, blob).await;
    }
    let created = "2026-01-01T00:00:00Z";
    let bytes = referrer_manifest(subject, text.as_bytes(), REVOCATION, created);
    VerifiedManifest::check(bytes, None, None, Algorithm::Sha256).unwrap()
}

async fn image(store: &dyn Store, here: &RepoName) -> VerifiedManifest {
    let blob = put_inline(store, here, b"config").await;
    Shape::image(&[blob]).build()
}

/// Stores a manifest as one that revokes its subject with these words.
async fn revoke(
    store: &dyn Store,
    here: &RepoName,
    manifest: &VerifiedManifest,
    word: &Digest,
) -> PutOutcome {
    let put = PutManifest {
        admission: None,
        revokes: Some(*word),
        ..put(here, manifest, TagClass::Immutable, &[])
    };
    store.put_manifest(put).await.unwrap().unwrap()
}

pub(crate) async fn a_revocation_is_kept_for_ever(store: Arc<dyn Store>) {
    let here = repo("a/here");
    let made = image(&*store, &here).await;
    let subject = *made.digest();
    let released = put(&here, &made, TagClass::Immutable, &["v1"]);
    try_put(&*store, released).await.unwrap();
    let word = Digest::sha256(b"leaked, by sam");
    let first = statement(&*store, &here, &made.descriptor(), "first").await;
    let again = statement(&*store, &here, &made.descriptor(), "again").await;
    // However often it is attached, one of them stands for the words.
    for manifest in [&first, &again, &first] {
        revoke(&*store, &here, manifest, &word).await;
    }
    let row = RevocationRow {
        repo: here.clone(),
        referrer: *first.digest(),
    };
    let kept = [KeptRevocation { word, row }];
    assert_eq!(store.revocations(&subject).await.unwrap(), kept);

    delete_tag(&*store, &here, "v1").await.unwrap();
    for _ in 0..2 {
        assert_eq!(
            delete_manifest(&*store, &here, first.digest()).await,
            Err(Refusal::Final)
        );
        // The second time, what it revokes is gone.
        let _ = delete_manifest(&*store, &here, &subject).await;
    }
    assert_eq!(store.manifest(&here, &subject).await.unwrap(), None);
    assert_eq!(
        delete_manifest(&*store, &here, again.digest()).await,
        Ok(())
    );
    let rules = CollectRules {
        now: LATER,
        trash_for: 0,
        untagged_manifests: true,
        dry_run: false,
    };
    for _ in 0..3 {
        store.collect(rules, None, usize::MAX).await.unwrap();
    }
    let bundle = Digest::sha256(b"first");
    assert!(
        store
            .manifest(&here, first.digest())
            .await
            .unwrap()
            .is_some()
    );
    assert!(store.blob(&here, &bundle).await.unwrap().is_some());
    assert_eq!(
        store.unlink_blob(&here, &bundle, LATER).await.unwrap(),
        Err(Refusal::BlobInUse(1))
    );
    assert_eq!(store.revocations(&subject).await.unwrap(), kept);
}

pub(crate) async fn what_nobody_can_compare_is_not_kept(store: Arc<dyn Store>) {
    let here = repo("a/here");
    use_default_policy(&*store).await;
    let made = image(&*store, &here).await;
    let word = Digest::sha256(b"leaked, by sam");
    // Before what it revokes is there; and under a size that it has not got.
    let early = statement(&*store, &here, &made.descriptor(), "early").await;
    assert_eq!(
        revoke(&*store, &here, &early, &word).await,
        PutOutcome::Created
    );
    let staged = put(&here, &made, TagClass::Immutable, &[]);
    try_put(&*store, staged).await.unwrap();
    let wrong = Descriptor {
        size: made.size() + 1,
        ..made.descriptor()
    };
    let wrong = statement(&*store, &here, &wrong, "wrong").await;
    revoke(&*store, &here, &wrong, &word).await;
    assert_eq!(words_of(&*store, made.digest()).await, []);
    // Once more, now that it is there; or when somebody has heard it.
    assert_eq!(
        revoke(&*store, &here, &early, &word).await,
        PutOutcome::Existed
    );
    assert_eq!(words_of(&*store, made.digest()).await, [word]);
    let later = Digest::sha256(b"broken, by sam");
    let row = RevocationRow {
        repo: here.clone(),
        referrer: *wrong.digest(),
    };
    let heard = KeptRevocation { word: later, row };
    for expected in [true, false] {
        let kept = store.keep_revocation(made.digest(), heard.clone()).await;
        assert_eq!(kept.unwrap(), expected);
    }
    // Never one that is gone.
    let row = RevocationRow {
        repo: repo("a/there"),
        referrer: *wrong.digest(),
    };
    let word = Digest::sha256(b"bad, by sam");
    let gone = store.keep_revocation(made.digest(), KeptRevocation { word, row });
    assert!(!gone.await.unwrap());
    assert_eq!(words_of(&*store, made.digest()).await.len(), 2);
}

pub(crate) async fn a_revocation_is_heeded_in_every_repository(store: Arc<dyn Store>) {
    let (here, there) = (repo("a/here"), repo("b/there"));
    let made = image(&*store, &here).await;
    image(&*store, &there).await;
    let staged = put(&here, &made, TagClass::Immutable, &[]);
    try_put(&*store, staged).await.unwrap();
    let revoke = async |text: &str| {
        let manifest = statement(&*store, &here, &made.descriptor(), text).await;
        let word = Digest::sha256(text.as_bytes());
        revoke(&*store, &here, &manifest, &word).await;
    };
    // Admitted before it was revoked in the other repository, where the manifest is new.
    let admitted = judged_now(&*store, put(&there, &made, TagClass::Immutable, &["v1"])).await;
    revoke("leaked").await;
    assert_eq!(
        store.put_manifest(admitted).await.unwrap(),
        Err(Refusal::Rejudge)
    );
    assert_eq!(store.tag(&there, &tag("v1")).await.unwrap(), None);
    let admitted = put(&there, &made, TagClass::Immutable, &["v1"]);
    assert_eq!(try_put(&*store, admitted).await, Ok(PutOutcome::Created));
    assert_eq!(
        store.repositories_with(made.digest()).await.unwrap(),
        [here.clone(), there.clone()]
    );
    // The same of a verdict.
    assert!(show(&*store, &there, "v1", *made.digest(), false).await);
    let before = judged(&*store, &there, *made.digest()).await;
    revoke("broken").await;
    let shown = store.show_tag(&there, &tag("v1"), before, true).await;
    assert_eq!(shown.unwrap(), Err(Refusal::Rejudge));
    assert!(!sees(&*store, &there, made.digest()).await);
    assert!(show(&*store, &there, "v1", *made.digest(), true).await);
}
