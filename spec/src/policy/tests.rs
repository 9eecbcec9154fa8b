#![allow(clippy::unwrap_used)]
//! What holds for any document; single verdicts and refusals are in `spec/vectors/policy`.

use super::*;
use crate::fixtures::{bundle, ed25519, evidence, identities, manifest, policy, referrer};
use crate::key::Signer as _;
use proptest::prelude::*;

fn repo(name: &str) -> RepoName {
    name.parse().unwrap()
}

fn case_with(bundles: &[Vec<u8>]) -> Case {
    let subject = manifest();
    let mut case = Case::new(&repo("models/x"), *subject.digest(), subject.size());
    for bundle in bundles {
        case.add(evidence(referrer(bundle), bundle.clone()));
    }
    case
}

fn now() -> Circumstances {
    Circumstances::at(Time::from_seconds(1_800_000_000))
}

fn scopes(text: &str) -> Policy {
    Policy::parse(&format!("schema = \"sealstone-policy/v1\"\n{text}")).unwrap()
}

#[test]
fn most_specific_scope_holds() {
    let policy = scopes(
        r#"
        [[scope]]
        repositories = ["**"]
        staging = false
        [[scope]]
        repositories = ["models/**", "x"]
        [[scope]]
        repositories = ["models/prod-*", "models"]
        tags = "mutable"
        "#,
    );
    for (name, index) in [
        ("other/a", 0),
        ("models/a", 1),
        ("models/prod-a/b", 1),
        ("x", 1),
        ("models/prod-a", 2),
        ("models", 2),
    ] {
        let scope = policy.scope_for(&repo(name));
        assert_eq!(scope, &policy.scopes()[index], "{name}");
    }
}

#[test]
fn patterns_that_cannot_meet_do_not_tie() {
    let policy = scopes(
        r#"
        [[scope]]
        repositories = ["models/*-prod"]
        [[scope]]
        repositories = ["models/*-dev", "models/*/x"]
        "#,
    );
    assert_eq!(policy.scope_for(&repo("models/a-dev")), &policy.scopes()[1]);
}

#[test]
fn without_a_scope_tags_are_immutable_and_content_is_staged() {
    let policy = Policy::default_policy();
    let scope = policy.scope_for(&repo("any/thing"));
    assert_eq!(scope.tag_rule(), TagRule::Immutable);
    assert!(scope.staging() && scope.rules().is_empty());
    assert_eq!(policy.digest(), scopes("").digest());
}

#[test]
fn digest_follows_the_meaning_and_not_the_text() {
    let text = policy(1, "\"alice\"");
    let first = Policy::parse(&text).unwrap();
    let respelt = text
        .replace("threshold = 1", "threshold = 0x1 # a comment")
        .replace(
            "repositories",
            "staging = true\ntags = 'immutable'\nrepositories",
        );
    assert_eq!(Policy::parse(&respelt).unwrap().digest(), first.digest());
    for (from, to) in [
        ("models/**", "models/*"),
        ("repositories", "staging = false\nrepositories"),
        ("repositories", "tags = \"mutable\"\nrepositories"),
        ("identities = [\"alice\"]", "identities = [\"bob\"]"),
        ("name = \"bob\"", "name = \"robert\""),
    ] {
        let changed = Policy::parse(&text.replace(from, to)).unwrap();
        assert_ne!(changed.digest(), first.digest(), "{to}");
    }
}

#[test]
fn scope_digest_changes_only_with_what_decides() {
    let name = repo("models/x");
    let first = Policy::parse(&policy(1, "\"alice\"")).unwrap();
    let digest = first.scope_digest(&name);
    let text = policy(1, "\"alice\"");
    let unrelated = text.replace("name = \"bob\"", "name = \"robert\"")
        + "\n[[scope]]\nrepositories = [\"other/**\"]\n";
    let unrelated = Policy::parse(&unrelated).unwrap();
    assert_ne!(unrelated.digest(), first.digest());
    assert_eq!(unrelated.scope_digest(&name), digest);
    let key = ed25519(1).public_key().to_pem();
    let other_key = ed25519(9).public_key().to_pem();
    let rotated = Policy::parse(&text.replace(&key, &other_key)).unwrap();
    assert_ne!(rotated.scope_digest(&name), digest);
}

#[test]
fn a_case_of_another_repository_is_denied_whatever_it_holds() {
    let policy = Policy::parse(&policy(1, "\"alice\"")).unwrap();
    let case = case_with(&[bundle(&ed25519(1))]);
    assert!(policy.judge(&repo("models/x"), &case, &now()).is_ok());
    let denial = policy.judge(&repo("models/y"), &case, &now()).unwrap_err();
    assert!(
        denial.to_string().contains("collected for models/x"),
        "{denial}"
    );
    // Also where no rule would ask for anything.
    assert!(
        Policy::default_policy()
            .judge(&repo("models/y"), &case, &now())
            .is_err()
    );
}

#[test]
fn a_denial_lists_every_rule_that_is_not_met() {
    let text = format!(
        "{}[[scope]]\nrepositories = [\"**\"]\n{}{}{}",
        identities(),
        "[[scope.require]]\nrule = \"signatures\"\nidentities = [\"alice\"]\n",
        "[[scope.require]]\nrule = \"signatures\"\nidentities = [\"bob\"]\n",
        "[[scope.require]]\nrule = \"signatures\"\nthreshold = 2\nidentities = [\"alice\", \"bob\"]\n",
    );
    let policy = Policy::parse(&text).unwrap();
    let denial = policy
        .judge(
            &repo("models/x"),
            &case_with(&[bundle(&ed25519(3))]),
            &now(),
        )
        .unwrap_err();
    assert_eq!(denial.unmet.len(), 2);
    assert!(
        denial.unmet[0]
            .reason
            .contains("needs a signature by alice: none is there")
    );
    assert!(denial.unmet[1].reason.contains("signed by bob"));
    assert!(denial.unmet[1].remedy.starts_with("alice must run"));
    let evaluation = policy.evaluate(
        &repo("models/x"),
        &case_with(&[bundle(&ed25519(3))]),
        &now(),
    );
    let met: Vec<bool> = evaluation
        .results
        .iter()
        .map(|result| result.satisfied)
        .collect();
    assert_eq!(met, [false, true, false]);
}

#[test]
fn order_and_repetition_of_evidence_change_nothing() {
    let policy = Policy::parse(&policy(2, "\"alice\", \"bob\"")).unwrap();
    let (a, b, c) = (
        bundle(&ed25519(1)),
        bundle(&ed25519(3)),
        bundle(&ed25519(4)),
    );
    let name = repo("models/x");
    let one = policy
        .judge(
            &name,
            &case_with(&[a.clone(), b.clone(), c.clone()]),
            &now(),
        )
        .unwrap();
    let two = policy
        .judge(&name, &case_with(&[c.clone(), b, c, a.clone(), a]), &now())
        .unwrap();
    assert_eq!(one, two);
    assert_eq!(one.evidence().len(), 2);
}

#[test]
fn huge_evidence_is_set_aside_by_its_length() {
    let huge = vec![b' '; crate::sigstore::MAX_BUNDLE_BYTES + 1];
    let referrer = crate::fixtures::referrer(&huge);
    let repo = "models/x".parse().unwrap();
    let mut case = Case::of(&repo, &crate::fixtures::manifest());
    case.add(crate::fixtures::evidence(referrer, huge));
    let policy = Policy::parse(&crate::fixtures::policy(1, "\"alice\"")).unwrap();
    let now = Circumstances::at(Time::from_seconds(0));
    let denial = policy.judge(&repo, &case, &now).unwrap_err();
    let [ignored] = &denial.ignored[..] else {
        panic!("{:?}", denial.ignored)
    };
    assert!(ignored.reason.contains("bytes"), "{}", ignored.reason);
}

/// Whoever may attach a bundle names its key, and the verdict is read at a terminal.
#[test]
fn what_was_attached_gives_a_terminal_no_orders() {
    let named = ed25519(4).public_key().id().to_string();
    let orders = "\\u001b]0;owned\\u0007\\u001b[2J";
    let hostile = String::from_utf8(bundle(&ed25519(4))).unwrap();
    let hostile = hostile.replace(&named, orders).into_bytes();
    let policy = Policy::parse(&policy(1, "\"alice\"")).unwrap();
    let denial = policy
        .judge(&repo("models/x"), &case_with(&[hostile]), &now())
        .unwrap_err();
    let [ignored] = &denial.ignored[..] else {
        panic!("{denial}")
    };
    assert!(ignored.reason.contains("owned"), "{}", ignored.reason);
    let evaluated = RuleResult::stop("rule", "\u{1b}[2Ja", "b\nc\u{9b}", []);
    let remedy = evaluated.remedy.unwrap();
    for text in [&ignored.reason, &evaluated.reasons[0], &remedy] {
        assert!(!text.contains(char::is_control), "{text:?}");
    }
}

#[test]
fn what_was_not_read_stops_what_would_be_admitted() {
    let policy = Policy::parse(&policy(1, "\"alice\"")).unwrap();
    let repo = repo("models/x");
    let mut case = case_with(&[bundle(&ed25519(1))]);
    policy.judge(&repo, &case, &now()).unwrap();
    case.cut_off(MOST_EVIDENCE);
    let denial = policy.judge(&repo, &case, &now()).unwrap_err();
    let [unmet] = &denial.unmet[..] else {
        panic!("{denial}")
    };
    assert_eq!(unmet.rule, "evidence");
    assert!(unmet.reason.contains("more than 2000"), "{denial}");
    assert!(!unmet.remedy.is_empty());
}

#[test]
fn more_proofs_than_are_read_stop_what_would_be_admitted() {
    let policy = Policy::parse(&policy(1, "\"alice\"")).unwrap();
    let repo = repo("models/x");
    let attached = bundle(&ed25519(1));
    let own = crate::digest::Digest::sha256(&referrer(&attached));
    let mut case = case_with(&[attached]);
    let mut proof = crate::log::tests::Grown::numbered(2).proof(0, 2);
    let mut add = |case: &mut Case, index: u64| {
        proof.index = index;
        case.add_proof(&own, proof.clone());
    };
    for index in 0..MOST_PROOFS as u64 {
        add(&mut case, index);
    }
    // The same ones again are no others.
    add(&mut case, 0);
    policy.judge(&repo, &case, &now()).unwrap();
    add(&mut case, MOST_PROOFS as u64);
    let denial = policy.judge(&repo, &case, &now()).unwrap_err();
    let [unmet] = &denial.unmet[..] else {
        panic!("{denial}")
    };
    assert_eq!(unmet.rule, "evidence");
    assert!(unmet.reason.contains("more proofs"), "{denial}");
}

#[test]
fn what_cannot_be_read_stops_what_would_be_admitted() {
    let policy = Policy::parse(&policy(1, "\"alice\"")).unwrap();
    let repo = repo("models/x");
    let whole = case_with(&[bundle(&ed25519(1))]);
    policy.judge(&repo, &whole, &now()).unwrap();
    let lost = crate::digest::Digest::sha256(b"lost");
    let mut case = whole.clone();
    case.unread(lost, "its blob is missing");
    let denial = policy.judge(&repo, &case, &now()).unwrap_err();
    let [unmet] = &denial.unmet[..] else {
        panic!("{denial}")
    };
    assert_eq!(unmet.rule, "evidence");
    assert!(
        unmet.reason.contains(&lost.to_string()) && unmet.reason.contains("its blob is missing"),
        "{denial}"
    );
    assert!(!unmet.remedy.is_empty());
    // In whatever order it is told, and however often.
    let other = crate::digest::Digest::sha256(b"other");
    let mut one = whole.clone();
    one.unread(lost, "b");
    one.unread(lost, "a");
    one.unread(other, "c");
    let mut two = whole;
    two.unread(other, "c");
    two.unread(lost, "a");
    let (one, two) = (
        policy.judge(&repo, &one, &now()).unwrap_err(),
        policy.judge(&repo, &two, &now()).unwrap_err(),
    );
    assert_eq!(one, two);
    assert!(one.to_string().contains("and 1 more"), "{one}");
}

#[test]
fn what_is_set_aside_is_told_and_changes_no_verdict() {
    let policy = Policy::parse(&policy(1, "\"alice\"")).unwrap();
    let repo = repo("models/x");
    let odd = crate::digest::Digest::sha256(b"odd");
    let mut case = case_with(&[]);
    case.set_aside(odd, "it has two layers");
    let denial = policy.judge(&repo, &case, &now()).unwrap_err();
    assert!(
        denial
            .to_string()
            .contains(&format!("{odd}: it has two layers"))
    );
    let mut signed = case_with(&[bundle(&ed25519(1))]);
    signed.set_aside(odd, "it has two layers");
    policy.judge(&repo, &signed, &now()).unwrap();
}

proptest! {
    #[test]
    fn parser_never_panics(text in "\\PC{0,200}") {
        let _ = Policy::parse(&text);
        let _ = Policy::parse(&format!("schema = \"sealstone-policy/v1\"\n{text}"));
    }

    #[test]
    fn a_changed_document_is_refused_or_another_policy_or_means_the_same(
        at in 0usize..4000, insert in "[a-z0-9\"\\[\\]=\n *]{0,3}", cut in 0usize..4,
    ) {
        let text = policy(1, "\"alice\"");
        let at = at % text.len();
        let end = (at + cut).min(text.len());
        let changed = format!("{}{insert}{}", &text[..at], &text[end..]);
        let original = Policy::parse(&text).unwrap();
        if let Ok(policy) = Policy::parse(&changed) {
            let same = policy.identities() == original.identities() && policy.scopes() == original.scopes();
            prop_assert_eq!(policy.digest() == original.digest(), same);
        }
    }

    #[test]
    fn no_changed_byte_of_evidence_admits_anything_else(position in 0usize..2000, byte in any::<u8>()) {
        let policy = Policy::parse(&policy(1, "\"alice\"")).unwrap();
        let good = bundle(&ed25519(1));
        let mut changed = good.clone();
        let position = position % changed.len();
        changed[position] = byte;
        // The referrer still names the good bytes, so any other are set aside.
        let mut case = Case::new(&repo("models/x"), *manifest().digest(), manifest().size());
        case.add(evidence(referrer(&good), changed.clone()));
        prop_assert_eq!(policy.judge(&repo("models/x"), &case, &now()).is_ok(), changed == good);
    }
}

/// Before it was refused, an exception from rule `log` could be signed; what is stored and kept is read again.
#[test]
fn an_exception_that_has_no_effect_is_read_where_it_was_signed() {
    let line = |seed: u8| ed25519(seed).public_key().to_openssh();
    let text = format!(
        "schema = \"sealstone-policy/v2\"\nversion = 1\nexpires = \"2100-01-01T00:00:00Z\"\n[roots]\nthreshold = 1\nkeys = [\"{}\"]\n\
         [[identity]]\nname = \"bob\"\nroles = [\"governance\"]\nkeys = [\"{}\"]\n\
         [[log]]\nvkey = \"{}\"\n\
         [[scope]]\nrepositories = [\"models/**\"]\n[[scope.require]]\nrule = \"log\"\n\
         [scope.exceptions]\nrules = [\"bom\"]\nrole = \"governance\"\n\
         [[exception]]\nid = \"E\"\nrepositories = [\"models/**\"]\nrule = \"bom\"\nreason = \"r\"\nticket = \"t\"\n\
         approved_by = [\"bob\"]\nexpires = \"2099-01-01T00:00:00Z\"\nmax_uses = 9\n",
        line(1),
        line(2),
        crate::log::tests::log_key()
    );
    assert!(Policy::parse(&text.replace("\"bom\"", "\"log\"")).is_err());
    let written = Policy::parse(&text).unwrap();
    assert_eq!(written.check_new(), Ok(()));
    let json = String::from_utf8(written.to_canonical_json()).unwrap();
    let json = json.replace("\"bom\"", "\"log\"");
    let policy = Policy::parse_canonical(json.as_bytes()).unwrap();
    let mut envelope = PolicyEnvelope::of(&policy).unwrap();
    envelope.sign(&ed25519(1)).unwrap();
    let envelope = PolicyEnvelope::parse(&envelope.to_bytes()).unwrap();
    assert!(SignedPolicy::first(envelope).is_ok());

    let refused = policy.check_new().unwrap_err().to_string();
    assert!(
        refused.contains("rule \"log\" cannot be waived"),
        "{refused}"
    );
    let findings = policy.lint(now().now);
    let told = |place: &str| {
        let mut findings = findings.iter();
        findings.any(|it| it.place == place && it.text.contains("cannot be waived"))
    };
    assert!(
        told("scope models/**") && told("exception E"),
        "{findings:?}"
    );
    let explained = policy.explain(&repo("models/x")).join("\n");
    assert!(!explained.contains("waived"), "{explained}");
    let case = case_with(&[]);
    let denial = policy.judge(&repo("models/x"), &case, &now()).unwrap_err();
    assert!(
        denial.to_string().contains("log: needs a proof"),
        "{denial}"
    );
}

#[test]
fn a_second_log_of_one_name_is_another_where_it_was_signed() {
    let anew = |name: &str| {
        let key = ed25519(56).public_key().clone();
        crate::log::VerifierKey::new(name, crate::log::KeyKind::Log, key).unwrap()
    };
    let (first, other) = (crate::log::tests::log_key(), anew("other.example.com"));
    let text = format!(
        "schema = \"sealstone-policy/v2\"\nversion = 1\nexpires = \"2100-01-01T00:00:00Z\"\n[roots]\nthreshold = 1\nkeys = [\"{}\"]\n\
         [[log]]\nvkey = \"{first}\"\n[[log]]\nvkey = \"{other}\"\n",
        ed25519(1).public_key().to_openssh()
    );
    let written = Policy::parse(&text).unwrap();
    assert_eq!(written.check_new(), Ok(()));
    let (other, anew) = (other.to_string(), anew(first.name()).to_string());
    let refused = Policy::parse(&text.replace(&other, &anew)).unwrap_err();
    assert!(refused.to_string().contains("there is a log"), "{refused}");

    let json = String::from_utf8(written.to_canonical_json()).unwrap();
    let policy = Policy::parse_canonical(json.replace(&other, &anew).as_bytes()).unwrap();
    assert_eq!(policy.log_trust().len(), 2);
    assert_eq!(policy.check_new().unwrap_err().problem, refused.problem);
    let findings = policy.lint(now().now);
    assert!(
        findings.iter().any(|it| it.text == refused.problem),
        "{findings:?}"
    );
}
