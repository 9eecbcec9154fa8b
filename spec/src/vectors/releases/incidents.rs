//! Reports of damaged content, and what closes them.

use super::super::forgery::Item;
use super::people::{NOW, REPOSITORY, ci, governance, policy, security};
use super::release::{Attached, attach, by, evidence, good, manifest, said, subject, unapproved};
use super::row::Expected::{Admitted, Denied};
use super::row::{Row, row};
use crate::digest::Digest;
use crate::fixtures::ed25519;
use crate::key::Signer;
use crate::policy::{Case, Circumstances, Policy, Time, lifecycle};
use crate::sigstore::SigstoreBundle;
use crate::statement::{Statement, Subject, predicate};
use serde_json::json;
use std::collections::BTreeSet;

fn report(signer: &dyn Signer, reason: &str) -> Item {
    let now: Time = NOW.parse().unwrap();
    by(
        signer,
        &lifecycle::incident(subject(), reason, &[Digest::sha256(b"weights")], now),
    )
}

/// What closes the report that `signer` made in these words.
fn closing(closer: &dyn Signer, signer: &dyn Signer, reason: &str) -> Item {
    let bundle = SigstoreBundle::parse(&report(signer, reason).1).unwrap();
    let payload = bundle.envelope().verify(signer.public_key()).unwrap();
    let named = BTreeSet::from([Digest::sha256(payload.payload())]);
    let now: Time = NOW.parse().unwrap();
    by(
        closer,
        &lifecycle::incident_close(subject(), "looked at it", &named, now),
    )
}

pub(super) fn rows() -> Vec<Row> {
    const WORDS: &str = "weights differ";
    let reported = || good().with("incident", report(&security(), WORDS));
    let closed = reported().with("closed", closing(&governance(0), &security(), WORDS));
    vec![
        row(
            "an incident",
            reported(),
            Denied("in quarantine: sam reports weights differ"),
        ),
        row(
            "an incident reported by somebody who may not",
            good().with("incident", report(&ci(), WORDS)),
            Admitted,
        ),
        row(
            "an incident about another bundle",
            good().with(
                "incident",
                by(
                    &security(),
                    &lifecycle::incident(
                        vec![Subject::new("other", &Digest::sha256(b"other"))],
                        WORDS,
                        &[],
                        NOW.parse::<Time>().unwrap(),
                    ),
                ),
            ),
            Admitted,
        ),
        row("an incident that is closed", closed.clone(), Admitted),
        row(
            "an incident that is closed and attached once more",
            closed.with("again", attach(report(&security(), WORDS).1, "x")),
            Admitted,
        ),
        row(
            "an incident that is closed by somebody who may not",
            reported().with("closed", closing(&security(), &security(), WORDS)),
            Denied("in quarantine: sam reports weights differ"),
        ),
        row(
            "an incident beside one that is closed",
            reported().with(
                "closed",
                closing(&governance(0), &security(), "other words"),
            ),
            Denied("gina or gus closes the incident"),
        ),
    ]
}

/// The registry's own word: it stops where its key is known, and lets nothing through.
#[test]
fn the_registry_reports_damage_and_releases_nothing() {
    let registry = ed25519(60);
    let policy = Policy::parse(&policy()).unwrap();
    let repo = REPOSITORY.parse().unwrap();
    let judged = |attached: &Attached, known: bool| {
        let mut case = Case::of(&repo, &manifest());
        for (_, item) in &attached.0 {
            case.add(evidence(item));
        }
        let mut now = Circumstances::at(NOW.parse().unwrap());
        let keys = known.then(|| registry.public_key().clone());
        now.registry = keys.into_iter().collect();
        policy.hear(&repo, &case, &now)
    };
    let damaged = good().with("incident", report(&registry, "content is damaged"));
    assert!(judged(&damaged, false).1.is_ok());
    let (evaluation, verdict) = judged(&damaged, true);
    let denial = verdict.unwrap_err().to_string();
    assert!(
        denial.contains("the registry reports content is damaged"),
        "{denial}"
    );
    assert!(evaluation.state_text().contains("quarantined"));
    let closing = closing(&governance(1), &registry, "content is damaged");
    assert!(judged(&damaged.with("closed", closing), true).1.is_ok());

    // A signature by the registry is none that counts, and what it says of releases is passed over.
    let signed =
        unapproved().replaced("signature", by(&registry, &Statement::signature(subject())));
    let denial = judged(&signed, true).1.unwrap_err().to_string();
    assert!(
        denial.contains("signatures: needs") && denial.contains("signed by the registry, but"),
        "{denial}"
    );
    let release = by(
        &registry,
        &said(predicate::RELEASE, json!({"purl": "pkg:oci/x@1"})),
    );
    let (evaluation, verdict) = judged(&good().with("release", release), true);
    assert!(verdict.is_ok() && evaluation.ignored.is_empty());
    // Under its key's name, somebody else's words are nobody's.
    let mut forged = report(&ed25519(61), "forged");
    let (own, other) = (registry.public_key().id(), ed25519(61));
    let text = String::from_utf8(forged.1).unwrap();
    let text = text.replace(&other.public_key().id().to_string(), &own.to_string());
    forged = attach(text.into_bytes(), lifecycle::INCIDENT);
    let (evaluation, verdict) = judged(&good().with("incident", forged), true);
    assert!(verdict.is_ok());
    let [ignored] = &evaluation.ignored[..] else {
        panic!("{:?}", evaluation.ignored)
    };
    assert!(ignored.reason.contains("names the registry's key, but"));
}

/// A registry may have had other keys, and a bundle may come from another registry: none of their keys silences the others.
#[test]
fn every_key_of_a_registry_is_heard() {
    let (old, new) = (ed25519(60), ed25519(61));
    let policy = Policy::parse(&policy()).unwrap();
    let repo = REPOSITORY.parse().unwrap();
    let denial = |by: &dyn Signer, keys: &[&dyn Signer]| {
        let mut case = Case::of(&repo, &manifest());
        for (_, item) in &good().with("incident", report(by, "content is damaged")).0 {
            case.add(evidence(item));
        }
        let mut now = Circumstances::at(NOW.parse().unwrap());
        now.registry = keys.iter().map(|key| key.public_key().clone()).collect();
        let verdict = policy.judge(&repo, &case, &now);
        verdict.map_err(|denial| denial.to_string()).err()
    };
    let stops = |by: &dyn Signer, keys: &[&dyn Signer]| {
        let text = denial(by, keys).unwrap_or_default();
        text.contains("the registry reports content is damaged")
    };
    assert!(stops(&old, &[&new, &old]) && stops(&new, &[&new, &old]));
    assert_eq!(denial(&old, &[&new]), None);
    // Somebody's of the policy is his own, and no registry's; whoever else is heard still is.
    assert!(stops(&old, &[&ci(), &old]));
    assert_eq!(denial(&ci(), &[&ci(), &old]), None);
}
