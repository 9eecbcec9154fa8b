//! A whole release: a manifest, what is said about it and by whom, and the approvals that bind it.
//!
//! Owns what is true. Invariant: [`good`] is admitted, and nothing of it can be left out.

use super::super::forgery::Item;
use super::people::{NOW, REPOSITORY, alice, bob, carol, ci, evaluator, policy, reproducer};
use crate::digest::{Algorithm, Digest};
use crate::fixtures::CREATED;
use crate::key::Signer;
use crate::manifest::VerifiedManifest;
use crate::media;
use crate::policy::{Case, Circumstances, Evidence, Policy, Time, lifecycle};
use crate::sigstore::{SigstoreBundle, referrer_manifest};
use crate::statement::{Statement, Subject, predicate};
use serde_json::{Map, Value, json};

pub(super) const REPORT: &str = "https://sealstone.dev/attestation/reproduction/v0.1";

/// A manifest with two files.
pub(super) fn manifest() -> VerifiedManifest {
    let layer = |content: &[u8]| json!({"mediaType": "application/octet-stream", "digest": Digest::sha256(content), "size": content.len()});
    let document = json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
        "config": {"mediaType": media::OCI_EMPTY, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
        "layers": [layer(b"weights"), layer(b"tokenizer")],
    });
    VerifiedManifest::check(document.to_string(), None, None, Algorithm::Sha256).unwrap()
}

pub(super) fn subject() -> Vec<Subject> {
    vec![Subject::new(REPOSITORY, manifest().digest())]
}

pub(super) fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

pub(super) fn provenance() -> Value {
    json!({
        "buildDefinition": {
            "buildType": "https://sealstone.dev/buildtypes/model-train/v1",
            "externalParameters": {"source": {"uri": "git+https://git.example/demo@main"}, "entryPoint": "train.py"},
            "resolvedDependencies": [{"name": "source", "uri": "git+https://git.example/demo@main",
                "digest": {"gitCommit": "d20ace79d20ace79d20ace79d20ace79d20ace79"}}],
        },
        "runDetails": {"builder": {"id": "https://ci.example/builders/self-hosted/v1"}},
    })
}

pub(super) fn bom() -> Value {
    let file = |content: &[u8]| {
        json!({"type": "file", "name": Digest::sha256(content).hex(),
            "hashes": [{"alg": "SHA-256", "content": Digest::sha256(content).hex()}]})
    };
    json!({"bomFormat": "CycloneDX", "specVersion": "1.7", "version": 1,
        "metadata": {"component": {"type": "machine-learning-model", "name": "x"}},
        "components": [file(b"weights"), file(b"tokenizer")]})
}

pub(super) fn tests(suite: &str, result: &str) -> Value {
    let suite =
        json!({"name": suite, "digest": {"sha256": Digest::sha256(suite.as_bytes()).hex()}});
    json!({"result": result, "configuration": [suite]})
}

pub(super) fn report(verdict: &str, class: &str, isolation: &str, finished: &str) -> Value {
    let mut report = match verdict {
        "DIVERGED" => super::super::reports::diverged(),
        _ => super::super::reports::reproduced(),
    };
    if verdict == "INCONCLUSIVE" {
        report["reasons"] = json!([{"verdict": verdict, "code": "environment", "subject": "cpu.model", "text": "another machine"}]);
    }
    report["verdict"] = json!(verdict);
    report["class"] = json!({"required": class, "achieved": class});
    report["isolation"] = json!({"required": isolation, "achieved": isolation});
    report["baseline"]["digest"] = json!({"sha256": manifest().digest().hex()});
    report["startedOn"] = json!(finished);
    report["finishedOn"] = json!(finished);
    report
}

pub(super) fn said(predicate_type: &str, predicate: Value) -> Statement {
    Statement::new(subject(), predicate_type, map(predicate))
}

pub(super) fn attach(bundle: Vec<u8>, predicate_type: &str) -> Item {
    let subject = manifest().descriptor();
    let referrer = referrer_manifest(&subject, &bundle, predicate_type, CREATED);
    (referrer, bundle)
}

pub(super) fn by(signer: &dyn Signer, statement: &Statement) -> Item {
    let bundle = SigstoreBundle::sign(statement, signer).unwrap().to_bytes();
    attach(bundle, &statement.predicate_type)
}

/// What is attached, by name, so that a row can take one out or put another in its place.
#[derive(Clone)]
pub(super) struct Attached(pub(super) Vec<(&'static str, Item)>);

impl Attached {
    pub(super) fn without(mut self, name: &str) -> Attached {
        let before = self.0.len();
        self.0.retain(|(other, _)| *other != name);
        assert!(self.0.len() < before, "there is no {name}");
        self
    }

    pub(super) fn with(mut self, name: &'static str, item: Item) -> Attached {
        self.0.push((name, item));
        self
    }

    pub(super) fn replaced(self, name: &'static str, item: Item) -> Attached {
        self.without(name).with(name, item)
    }

    pub(super) fn changed(self, name: &'static str, change: impl Fn(&Item) -> Item) -> Attached {
        let found = self.0.iter().find(|(other, _)| *other == name);
        let item = change(&found.unwrap().1);
        self.replaced(name, item)
    }
}

pub(super) fn evidence(item: &Item) -> Evidence {
    let referrer = VerifiedManifest::check(item.0.clone(), None, None, Algorithm::Sha256).unwrap();
    Evidence::new(referrer, item.1.clone())
}

pub(super) fn unapproved() -> Attached {
    Attached(vec![
        ("signature", by(&alice(), &Statement::signature(subject()))),
        (
            "provenance",
            by(&ci(), &said(predicate::SLSA_PROVENANCE, provenance())),
        ),
        ("bom", by(&ci(), &said(predicate::CYCLONEDX, bom()))),
        (
            "data",
            by(
                &evaluator(),
                &said(predicate::TEST_RESULT, tests("data", "PASSED")),
            ),
        ),
        (
            "inference",
            by(
                &evaluator(),
                &said(predicate::TEST_RESULT, tests("inference", "PASSED")),
            ),
        ),
        (
            "reproduction",
            by(
                &reproducer(),
                &said(
                    REPORT,
                    report("REPRODUCED", "bit_exact", "I4", "2027-01-10T00:00:00Z"),
                ),
            ),
        ),
    ])
}

/// What an approver would sign for this.
pub(super) fn approval(attached: &Attached, policy: &str, signer: &dyn Signer) -> Item {
    by(signer, &approval_at(attached, policy, NOW))
}

/// The statement, made at `time`.
pub(super) fn approval_at(attached: &Attached, policy: &str, time: &str) -> Statement {
    let repo = REPOSITORY.parse().unwrap();
    let mut case = Case::of(&repo, &manifest());
    attached
        .0
        .iter()
        .for_each(|(_, item)| case.add(evidence(item)));
    let now: Time = NOW.parse().unwrap();
    let shown = Policy::parse(policy)
        .unwrap()
        .evaluate(&repo, &case, &Circumstances::at(now));
    let time = time.parse().unwrap();
    lifecycle::approval(subject(), &shown, "somebody", time)
}

pub(super) fn good() -> Attached {
    let shown = unapproved();
    let approvals = [
        ("bob", approval(&shown, &policy(), &bob())),
        ("carol", approval(&shown, &policy(), &carol())),
    ];
    approvals
        .into_iter()
        .fold(shown, |attached, (name, item)| attached.with(name, item))
}

pub(super) fn text_of(item: &Item) -> Value {
    serde_json::from_slice(&item.1).unwrap()
}

pub(super) fn reproduction(report: Value) -> Item {
    by(&reproducer(), &said(REPORT, report))
}

/// A report that it reproduced, made with something waived.
pub(super) fn waived(kind: &str, finished: &str) -> Value {
    let mut report = report("REPRODUCED_WITH_WARNINGS", "bit_exact", "I4", finished);
    report["overrides"] = json!([{"kind": kind, "id": "x", "reason": "a test"}]);
    report
}
