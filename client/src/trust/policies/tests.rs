//! What is remembered of a registry or of root keys never goes back, in whatever order processes come to it.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::Outcome;
use sealstone_spec::key::{PublicKey, SecretKey, Signer as _};

fn root(seed: u8) -> SecretKey {
    SecretKey::ed25519_from_seed(&[seed; 32]).unwrap()
}

fn public(seed: u8) -> PublicKey {
    root(seed).public_key().clone()
}

/// A policy of this version that asks for nothing in `repositories`, signed by its two roots.
fn signed(version: u64, repositories: &str) -> SignedPolicy {
    let keys = [11, 12].map(|seed| format!("\"{}\"", public(seed).to_openssh()));
    let text = format!(
        "schema = \"sealstone-policy/v2\"\nversion = {version}\nexpires = \"2099-01-01T00:00:00Z\"\n\
         [roots]\nthreshold = 2\nkeys = [{}]\n[[scope]]\nrepositories = [\"{repositories}\"]\n",
        keys.join(", ")
    );
    let mut envelope = PolicyEnvelope::of(&Policy::parse(&text).unwrap()).unwrap();
    for seed in [11, 12] {
        envelope.sign(&root(seed)).unwrap();
    }
    SignedPolicy::first(envelope).unwrap()
}

#[test]
fn whoever_comes_late_puts_nothing_older_back() {
    let directory = tempfile::tempdir().unwrap();
    let handle = || KeptPolicies::in_directory(directory.path().join("policies"));
    let (early, late) = (handle(), handle());
    let (older, newer) = (signed(4, "a"), signed(5, "a"));
    // Both looked while nothing was kept, and the one with the older document writes last.
    assert!(late.last("r.example").unwrap().is_none());
    early.keep("r.example", &newer).unwrap();
    let error = late.keep("r.example", &older).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused);
    assert!(
        error
            .to_string()
            .contains("version 4 is older than version 5"),
        "{error}"
    );
    let fork = late.keep("r.example", &signed(5, "b")).unwrap_err();
    assert_eq!(fork.outcome(), Outcome::Refused);
    let kept = || late.last("r.example").unwrap().unwrap().policy().version();
    assert_eq!(kept(), 5);
    late.keep("r.example", &newer).unwrap();
    late.keep("r.example", &signed(6, "b")).unwrap();
    assert_eq!(kept(), 6);
}

#[test]
fn of_many_at_once_the_newest_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for version in 1..=8 {
            let kept = KeptPolicies::in_directory(directory.path().to_owned());
            scope.spawn(move || {
                // Older ones are refused where a newer one was there first.
                let _ = kept.take("r.example", signed(version, "a").envelope().clone(), None);
            });
        }
    });
    let kept = KeptPolicies::in_directory(directory.path().to_owned());
    let last = kept.last("r.example").unwrap().unwrap();
    assert_eq!(last.policy().version(), 8);
}

#[test]
fn root_keys_are_remembered_as_a_set_with_its_threshold() {
    let directory = tempfile::tempdir().unwrap();
    let kept = KeptPolicies::in_directory(directory.path().to_owned());
    let of = |threshold, seeds: &[u8]| {
        Roots::new(threshold, seeds.iter().map(|seed| public(*seed)).collect())
    };
    let is_remembered = |roots: &Roots, version: u64| {
        let remembered = kept.take_by_roots(roots, &signed(version, "a"));
        matches!(remembered.unwrap(), Remembered::Yes)
    };
    assert!(is_remembered(&of(2, &[11, 12]), 7));
    for roots in [of(2, &[11, 12]), of(2, &[12, 11]), of(2, &[12, 11, 12])] {
        let error = kept.take_by_roots(&roots, &signed(5, "a")).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Refused);
        assert!(
            error
                .to_string()
                .contains("version 5 is older than version 7"),
            "{error}"
        );
    }
    for roots in [of(1, &[11, 12]), of(1, &[11]), of(2, &[11, 13])] {
        assert!(is_remembered(&roots, 5));
    }
    assert!(is_remembered(&of(2, &[11, 12]), 8));
}

#[test]
fn what_is_kept_already_is_not_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let kept = KeptPolicies::in_directory(directory.path().join("policies"));
    let (policy, newer) = (signed(4, "a"), signed(5, "a"));
    // Nothing is pinned, and nothing is to be.
    kept.take_file("r.example", &policy, None).unwrap();
    assert!(!directory.path().join("policies").exists());

    let roots = Roots::new(2, [11, 12].map(public).to_vec());
    let take = |policy: &SignedPolicy| kept.take("r.example", policy.envelope().clone(), None);
    let is_remembered = |policy: &SignedPolicy| {
        let remembered = kept.take_by_roots(&roots, policy).unwrap();
        matches!(remembered, Remembered::Yes)
    };
    take(&policy).unwrap();
    assert!(is_remembered(&policy));
    // From here on nobody can write there, root neither.
    for name in ["r.example", &name_of_roots(&roots)] {
        let lock = kept.path(name).with_extension("lock");
        fs::remove_file(&lock).unwrap();
        fs::create_dir(&lock).unwrap();
    }
    take(&policy).unwrap();
    kept.take_file("r.example", &policy, None).unwrap();
    assert!(is_remembered(&policy));

    let error = take(&newer).unwrap_err();
    assert!(error.hints()[0].contains("SEALSTONE_STATE"), "{error:?}");
    // What root keys vouch for holds also if it cannot be remembered, and what is remembered holds as well.
    assert!(!is_remembered(&newer));
    let older = kept.take_by_roots(&roots, &signed(3, "a")).unwrap_err();
    assert_eq!(older.outcome(), Outcome::Refused);
}

#[tokio::test]
async fn a_registry_whose_answer_came_late_is_asked_once_more() {
    use std::future::ready;
    let directory = tempfile::tempdir().unwrap();
    let kept = KeptPolicies::in_directory(directory.path().to_owned());
    let envelope = |version: u64| signed(version, "a").envelope().clone();
    kept.keep("r.example", &signed(5, "a")).unwrap();
    let taken = kept.take_newest("r.example", envelope(4), None, || ready(Ok(envelope(6))));
    assert_eq!(taken.await.unwrap().policy().version(), 6);
    let older = kept.take_newest("r.example", envelope(4), None, || ready(Ok(envelope(5))));
    assert_eq!(older.await.unwrap_err().outcome(), Outcome::Refused);
    // Whatever else is wrong with it, nobody is asked again.
    let asked = || ready(Err(Error::other("it was asked again")));
    let newer = kept.take_newest("r.example", envelope(7), None, asked);
    assert_eq!(newer.await.unwrap().policy().version(), 7);
    let fork = signed(7, "b").envelope().clone();
    let fork = kept.take_newest("r.example", fork, None, asked);
    assert_eq!(fork.await.unwrap_err().outcome(), Outcome::Refused);
}
