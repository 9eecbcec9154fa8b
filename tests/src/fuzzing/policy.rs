//! Targets for what decides about releases: policy documents and their patterns.

use super::as_text;
use super::evidence::{signer, stranger};
use sealstone_spec::digest::Algorithm;
use sealstone_spec::key::{SecretKey, Signer};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::name::RepoName;
use sealstone_spec::policy::{
    Case, Circumstances, Edition, Evidence, Glob, Policy, PolicyEnvelope, Roots, Rule,
    SignedPolicy, Time,
};
use sealstone_spec::sigstore::{SigstoreBundle, referrer_manifest};
use sealstone_spec::statement::{Statement, Subject, predicate};
use std::collections::BTreeSet;

const REPOSITORIES: [&str; 4] = ["models/x", "models/credit-prod", "cache/busybox", "x"];

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;

fn check(bytes: Vec<u8>) -> VerifiedManifest {
    VerifiedManifest::check(bytes, None, None, Algorithm::Sha256).expect("a fixed, valid manifest")
}

fn signed_by(manifest: &VerifiedManifest, key: &SecretKey) -> Evidence {
    let statement = Statement::signature(vec![Subject::new("r.example/x", manifest.digest())]);
    let bundle = SigstoreBundle::sign(&statement, key).expect("a key in memory signs");
    let bundle = bundle.to_bytes();
    let subject = manifest.descriptor();
    let created = "2026-01-01T00:00:00Z";
    let referrer = referrer_manifest(&subject, &bundle, predicate::COSIGN_SIGN, created);
    Evidence::new(check(referrer), bundle)
}

/// A policy that is read decides exactly by its words: it admits what has enough signatures of the
/// named identities, and nothing else; layout and comments do not change what it is.
pub(super) fn document(input: &[u8]) -> bool {
    let Some(Ok(policy)) = as_text(input).map(Policy::parse) else {
        return false;
    };
    let with_comment = [input, b"\n# a comment\n"].concat();
    let with_comment = as_text(&with_comment).map(Policy::parse);
    let with_comment = with_comment
        .expect("still text")
        .expect("a comment means nothing");
    assert_eq!(with_comment.digest(), policy.digest());

    if policy.edition() == Edition::V2 {
        let envelope = PolicyEnvelope::of(&policy).expect("version 2 can be signed");
        let again = envelope.unverified().expect("what is written is read");
        assert_eq!(again.digest(), policy.digest());
    }
    let now = Circumstances::at(Time::from_seconds(1_800_000_000));
    let expired = policy.expires().is_some_and(|end| now.now >= end);
    let manifest = check(MANIFEST.into());
    let keys = [signer(), stranger()];
    for name in REPOSITORIES {
        let repo: RepoName = name.parse().expect("a fixed, valid name");
        assert_eq!(with_comment.scope_digest(&repo), policy.scope_digest(&repo));
        let scope = policy.scope_for(&repo);
        let holds_here = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(name));
        let some_scope = policy
            .scopes()
            .iter()
            .any(|scope| holds_here(scope.repositories()));
        assert_eq!(
            holds_here(scope.repositories()),
            some_scope,
            "{name} falls to the wrong scope"
        );

        for attached in 0..=keys.len() {
            let mut case = Case::new(&repo, *manifest.digest(), manifest.size());
            keys[..attached]
                .iter()
                .for_each(|key| case.add(signed_by(&manifest, key)));
            let signers: BTreeSet<&str> = keys[..attached]
                .iter()
                .filter_map(|key| policy.identity_of(key.public_key().id()))
                .map(|identity| identity.name.as_str())
                .collect();
            // Nothing but signatures is attached, so no other rule can be met, except by an exception.
            let is_met = |rule: &Rule| match rule {
                Rule::Signatures(rule) => {
                    let named = |name: &str| {
                        rule.identities.is_empty()
                            || rule.identities.iter().any(|other| other == name)
                    };
                    let has_role = |name: &str| {
                        let identities = policy.identities().iter();
                        let keys = identities
                            .filter(|identity| identity.name == name)
                            .flat_map(|identity| &identity.keys);
                        keys.into_iter().any(|key| {
                            let wanted = rule.role.as_deref();
                            wanted.is_none_or(|role| key.roles.contains(role))
                                && key.counts_unlogged()
                        })
                    };
                    let counted = signers.iter().filter(|name| named(name) && has_role(name));
                    counted.count() >= rule.threshold as usize
                }
                _ => false,
            };
            let admitted = policy.judge(&repo, &case, &now);
            let holds = !expired && scope.rules().iter().all(is_met);
            let logs = scope
                .rules()
                .iter()
                .any(|rule| matches!(rule, Rule::Log(_)));
            if policy.exceptions().is_empty() && !logs {
                assert_eq!(admitted.is_ok(), holds, "{name}, {attached} signatures");
            } else {
                assert!(
                    !expired || admitted.is_err(),
                    "an expired policy admits nothing"
                );
            }
            if let Ok(admission) = admitted {
                assert_eq!(
                    (admission.repo(), admission.manifest()),
                    (&repo, manifest.digest())
                );
                assert_eq!(admission.policy(), policy.digest());
                assert_eq!(admission.scope(), &policy.scope_digest(&repo));
            }
            let elsewhere: RepoName = "elsewhere".parse().expect("a fixed, valid name");
            assert!(
                policy.judge(&elsewhere, &case, &now).is_err(),
                "a case of another repository"
            );
        }
    }
    true
}

/// A signed policy from outside reads back from what it writes, holds under no roots but those that signed it, and
/// takes no other's place on its own word.
pub(super) fn signed(input: &[u8]) -> bool {
    let Ok(envelope) = PolicyEnvelope::parse(input) else {
        return false;
    };
    let again = PolicyEnvelope::parse(&envelope.to_bytes()).expect("its own form can be read");
    assert_eq!(again.to_bytes(), envelope.to_bytes());
    let strangers = Roots::new(1, vec![stranger().public_key().clone()]);
    assert!(SignedPolicy::verify(envelope.clone(), &strangers).is_err());
    let Ok(signed) = SignedPolicy::first(envelope.clone()) else {
        return false;
    };
    let policy = signed.policy();
    let roots = policy.roots().expect("whoever signed it is one of them");
    let signers: BTreeSet<_> = envelope.claimed_signers().collect();
    assert!(signers.len() >= roots.threshold as usize && roots.threshold > 0);
    let unverified = envelope.unverified().expect("it was read before");
    assert_eq!(unverified.digest(), policy.digest());
    // Under its own roots it may follow itself, and nothing older follows it.
    assert!(signed.succeed(envelope.clone()).is_ok());
    let roots = Roots::new(roots.threshold, roots.keys.clone());
    assert!(SignedPolicy::verify(envelope, &roots).is_ok());
    assert!(
        policy
            .check_not_older(policy.version() + 1, policy.digest())
            .is_err()
    );
    true
}

/// Input: two patterns and a name, one a line. A pattern matches what its two wildcards say; two
/// patterns that match one name are known to overlap.
pub(super) fn glob(input: &[u8]) -> bool {
    let mut lines = as_text(input).unwrap_or_default().lines();
    let mut pattern = || lines.next().and_then(|line| line.parse::<Glob>().ok());
    let (Some(left), Some(right)) = (pattern(), pattern()) else {
        return false;
    };
    let name: Option<RepoName> = lines.next().and_then(|line| line.parse().ok());
    assert_eq!(left.overlaps(&right), right.overlaps(&left));
    assert!(left.overlaps(&left));
    let Some(name) = name else {
        return false;
    };
    let matched = [&left, &right].map(|glob| {
        let by_words = matches(glob.as_str(), name.as_str());
        assert_eq!(glob.matches(name.as_str()), by_words, "{glob:?} {name:?}");
        by_words
    });
    if matched == [true, true] {
        assert!(
            left.overlaps(&right),
            "{left:?} and {right:?} both match {name:?}"
        );
    }
    true
}

fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let name: Vec<&str> = name.split('/').collect();
    let element = |pattern: &&str, element: &&str| {
        greedy(
            pattern.as_bytes(),
            element.as_bytes(),
            |byte| *byte == b'*',
            |a, b| a == b,
        )
    };
    greedy(&pattern, &name, |element| *element == "**", element)
}

/// Wildcards by the textbook: take as little as possible, go back to the last wildcard when stuck.
fn greedy<T>(
    pattern: &[T],
    items: &[T],
    is_any: impl Fn(&T) -> bool,
    same: impl Fn(&T, &T) -> bool,
) -> bool {
    let (mut p, mut i) = (0, 0);
    let mut last_any: Option<(usize, usize)> = None;
    while i < items.len() {
        if pattern.get(p).is_some_and(&is_any) {
            last_any = Some((p, i));
            p += 1;
        } else if pattern.get(p).is_some_and(|wanted| same(wanted, &items[i])) {
            (p, i) = (p + 1, i + 1);
        } else if let Some((any, taken)) = last_any {
            last_any = Some((any, taken + 1));
            (p, i) = (any + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(is_any)
}
