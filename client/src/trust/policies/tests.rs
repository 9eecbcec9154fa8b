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
    kept.take_by_roots(&of(2, &[11, 12]), &signed(7, "a"))
        .unwrap();
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
        kept.take_by_roots(&roots, &signed(5, "a")).unwrap();
    }
    kept.take_by_roots(&of(2, &[11, 12]), &signed(8, "a"))
        .unwrap();
}
