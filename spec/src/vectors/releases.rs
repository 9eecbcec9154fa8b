//! A whole release under a policy of version 2, and everything that somebody might do to it.
//!
//! The table begins with what is admitted. Every other row changes one thing, and must be denied for the
//! reason that belongs to it; a forgery that is denied for another reason has not been tested.

mod incidents;
mod logged;
mod standings;

use super::forgery::Item;
use super::{agree, text};
use crate::digest::{Algorithm, Digest};
use crate::envelope::pae;
use crate::fixtures::{CREATED, ed25519, p256};
use crate::key::{SecretKey, Signer};
use crate::manifest::{Descriptor, VerifiedManifest};
use crate::media;
use crate::policy::lifecycle::{self, Exception};
use crate::policy::{Case, Circumstances, Evidence, Policy, Time};
use crate::sigstore::{SigstoreBundle, referrer_manifest};
use crate::statement::{Statement, Subject, predicate};
use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

pub(super) const NOW: &str = "2027-01-15T00:00:00Z";
const REPOSITORY: &str = "models/x";
const REPORT: &str = "https://sealstone.dev/attestation/reproduction/v0.1";

/// Keys by what they are for; the numbers are seeds.
pub(super) fn ci() -> SecretKey {
    ed25519(10)
}
fn alice() -> SecretKey {
    ed25519(1)
}
fn bob() -> SecretKey {
    ed25519(3)
}
fn carol() -> SecretKey {
    ed25519(5)
}
fn evaluator() -> SecretKey {
    ed25519(6)
}
fn reproducer() -> SecretKey {
    ed25519(7)
}
fn security() -> SecretKey {
    ed25519(8)
}
fn governance(number: u8) -> SecretKey {
    ed25519(30 + number)
}

pub(super) fn policy() -> String {
    let key = |key: SecretKey| format!("\"{}\"", key.public_key().to_openssh());
    let person = |name: &str, team: &str, roles: &str, keys: String| {
        format!(
            "[[identity]]\nname = \"{name}\"\nteams = [\"{team}\"]\nroles = [{roles}]\nkeys = [{keys}]\n\n"
        )
    };
    let mut text = format!(
        "schema = \"sealstone-policy/v2\"\nversion = 7\nexpires = \"2027-06-01T00:00:00Z\"\n\n[roots]\nthreshold = 2\nkeys = [{}, {}, {}]\n\n",
        key(ed25519(20)),
        key(ed25519(21)),
        key(ed25519(22))
    );
    text += &person("ci", "platform", "\"builder\"", key(ci()));
    text += &person(
        "alice",
        "growth",
        "\"release\"",
        format!("{}, {}", key(alice()), key(p256(2))),
    );
    text += &person("bob", "risk", "\"approver\", \"data-science\"", key(bob()));
    text += &person("carol", "platform", "\"approver\"", key(carol()));
    text += &person("eve", "quality", "\"evaluator\"", key(evaluator()));
    text += &person("rita", "quality", "\"reproducer\"", key(reproducer()));
    text += &person("sam", "security", "\"security\"", key(security()));
    text += &person("gina", "board", "\"governance\"", key(governance(0)));
    text += &person("gus", "board", "\"governance\"", key(governance(1)));
    text += &person(
        "max",
        "platform",
        "\"builder\", \"approver\", \"reproducer\"",
        key(ed25519(14)),
    );
    text += &person(
        "dave",
        "growth",
        "\"release\"",
        format!(
            "{{ key = {}, status = \"revoked\", revoked_at_index = 5, reason = \"stolen laptop\" }}",
            key(ed25519(12))
        ),
    );
    text += &person(
        "erin",
        "growth",
        "\"release\"",
        format!(
            "{{ key = {}, status = \"retired\", valid_until_index = 9 }}",
            key(ed25519(13))
        ),
    );
    text + r#"[[scope]]
repositories = ["models/**"]

[[scope.require]]
rule = "signatures"

[[scope.require]]
rule = "provenance"
builders = ["https://ci.example/builders/*"]
build_types = ["https://sealstone.dev/buildtypes/model-train/v1"]
sources = ["git+https://git.example/*"]

[[scope.require]]
rule = "bom"

[[scope.require]]
rule = "tests"
suites = ["data", "inference"]

[[scope.require]]
rule = "reproduction"
class = "numeric"
isolation = "I3"
fresh_days = 30

[[scope.require]]
rule = "approvals"
threshold = 2
roles = ["data-science"]
different_team = 1

[scope.exceptions]
rules = ["reproduction"]
role = "governance"
threshold = 2
max_days = 7
"#
}

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

fn map(value: Value) -> Map<String, Value> {
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
        "DIVERGED" => super::reports::diverged(),
        _ => super::reports::reproduced(),
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
pub(super) struct Attached(Vec<(&'static str, Item)>);

impl Attached {
    fn without(mut self, name: &str) -> Attached {
        let before = self.0.len();
        self.0.retain(|(other, _)| *other != name);
        assert!(self.0.len() < before, "there is no {name}");
        self
    }

    fn with(mut self, name: &'static str, item: Item) -> Attached {
        self.0.push((name, item));
        self
    }

    fn replaced(self, name: &'static str, item: Item) -> Attached {
        self.without(name).with(name, item)
    }

    fn changed(self, name: &'static str, change: impl Fn(&Item) -> Item) -> Attached {
        let found = self.0.iter().find(|(other, _)| *other == name);
        let item = change(&found.unwrap().1);
        self.replaced(name, item)
    }
}

fn evidence(item: &Item) -> Evidence {
    let referrer = VerifiedManifest::check(item.0.clone(), None, None, Algorithm::Sha256).unwrap();
    Evidence::new(referrer, item.1.clone())
}

fn unapproved() -> Attached {
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
fn approval(attached: &Attached, policy: &str, signer: &dyn Signer) -> Item {
    by(signer, &approval_at(attached, policy, NOW))
}

/// The statement, made at `time`.
fn approval_at(attached: &Attached, policy: &str, time: &str) -> Statement {
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

fn exception() -> Exception {
    Exception {
        id: "EX-12".into(),
        scope: "models/**".into(),
        rule: "reproduction".into(),
        reason: "the GPU pool is down".into(),
        ticket: "OPS-91".into(),
        expires: "2027-01-20T00:00:00Z".parse().unwrap(),
        max_uses: 1,
    }
}

/// Without a reproduction, and with an exception from it, signed by so many.
fn excepted(exception: &Exception, signers: u8) -> Attached {
    let shown = unapproved().without("reproduction");
    let mut all = shown
        .clone()
        .with("bob", approval(&shown, &policy(), &bob()))
        .with("carol", approval(&shown, &policy(), &carol()));
    for number in 0..signers {
        let item = by(&governance(number), &exception.statement(subject()));
        all = all.with("exception", item);
    }
    all
}

enum Expected {
    Admitted,
    /// Denied, and the denial contains this text.
    Denied(&'static str),
}
use Expected::{Admitted, Denied};

struct Row {
    name: &'static str,
    policy: String,
    now: &'static str,
    attached: Attached,
    uses: Value,
    damaged: bool,
    /// Whether a release tag names it.
    released: bool,
    expected: Expected,
}

fn row(name: &'static str, attached: Attached, expected: Expected) -> Row {
    Row {
        name,
        policy: policy(),
        now: NOW,
        attached,
        uses: json!({}),
        damaged: false,
        released: false,
        expected,
    }
}

fn text_of(item: &Item) -> Value {
    serde_json::from_slice(&item.1).unwrap()
}

/// The bundle with something in its text replaced, attached anew.
fn edited(item: &Item, from: &str, to: &str) -> Item {
    let text = String::from_utf8(item.1.clone()).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    attach(text.replacen(from, to, 1).into_bytes(), "x")
}

/// The bundle with its payload changed and its signature kept.
fn flipped(item: &Item) -> Item {
    let mut bundle = text_of(item);
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
    let payload = String::from_utf8(BASE64.decode(payload.as_bytes()).unwrap()).unwrap();
    let other = payload.replace("git.example/demo", "git.example/evil");
    assert_ne!(payload, other);
    bundle["dsseEnvelope"]["payload"] = json!(BASE64.encode(other.as_bytes()));
    attach(bundle.to_string().into_bytes(), "x")
}

/// n - s in place of s: another signature by the same key over the same bytes.
fn malleated(statement: &Statement) -> Item {
    let order = HEXLOWER
        .decode(b"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
        .unwrap();
    let key = p256(2);
    let der = key
        .sign(&pae(media::IN_TOTO, &statement.to_bytes()))
        .unwrap();
    let signature = p256::ecdsa::Signature::from_der(&der).unwrap();
    let (r, s) = signature.split_bytes();
    let (mut borrow, mut other) = (0i16, [0u8; 32]);
    for at in (0..32).rev() {
        let value = i16::from(order[at]) - i16::from(s[at]) - borrow;
        borrow = i16::from(value < 0);
        other[at] = value.rem_euclid(256) as u8;
    }
    let other = p256::ecdsa::Signature::from_scalars(r, other).unwrap();
    let der = other.to_der();
    let mut bundle = text_of(&by(&key, statement));
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!(BASE64.encode(der.as_bytes()));
    attach(bundle.to_string().into_bytes(), predicate::COSIGN_SIGN)
}

fn elsewhere(predicate_type: &str, predicate: Value) -> Statement {
    let other = vec![Subject::new(REPOSITORY, &Digest::sha256(b"another bundle"))];
    Statement::new(other, predicate_type, map(predicate))
}

fn changed_policy(from: &str, to: &str) -> String {
    let text = policy();
    assert!(text.contains(from), "{from} is not in the policy");
    text.replace(from, to)
}

fn reproduction(report: Value) -> Item {
    by(&reproducer(), &said(REPORT, report))
}

/// A report that it reproduced, made with something waived.
fn waived(kind: &str, finished: &str) -> Value {
    let mut report = report("REPRODUCED_WITH_WARNINGS", "bit_exact", "I4", finished);
    report["overrides"] = json!([{"kind": kind, "id": "x", "reason": "a test"}]);
    report
}

/// Bytes and signatures.
fn forgeries() -> Vec<Row> {
    let signature = || Statement::signature(subject());
    let two = changed_policy(
        "rule = \"signatures\"\n",
        "rule = \"signatures\"\nthreshold = 2\n",
    );
    // A second person with an active key, so that two can be asked for.
    let two = two.replace(
        "name = \"sam\"\nteams = [\"security\"]\nroles = [\"security\"]",
        "name = \"sam\"\nteams = [\"security\"]\nroles = [\"security\", \"release\"]",
    );
    let builder_may_release = changed_policy(
        "name = \"alice\"\nteams = [\"growth\"]\nroles = [\"release\"]",
        "name = \"alice\"\nteams = [\"growth\"]\nroles = [\"release\", \"builder\"]",
    );
    let wrong_size = |item: &Item| {
        let right = manifest().descriptor();
        let wrong = Descriptor::new(media::OCI_MANIFEST, right.digest, right.size + 1);
        (
            referrer_manifest(&wrong, &item.1, "x", CREATED),
            item.1.clone(),
        )
    };
    let other_bytes = |item: &Item| {
        (
            item.0.clone(),
            by(&ci(), &said(predicate::CYCLONEDX, json!({}))).1,
        )
    };
    let deep = format!("\"tlogEntries\":[{}{}]", "[".repeat(100), "]".repeat(100));
    let id = |key: &SecretKey| key.public_key().id().to_string();
    let with_signature = |bytes: &[u8]| {
        let mut bundle = text_of(&by(&alice(), &signature()));
        bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!(BASE64.encode(bytes));
        attach(bundle.to_string().into_bytes(), "x")
    };
    let p256_signature = p256(2)
        .sign(&pae(media::IN_TOTO, &signature().to_bytes()))
        .unwrap();
    let huge = {
        let mut bundle = text_of(&by(&alice(), &signature()));
        bundle["dsseEnvelope"]["payloadType"] = json!("x".repeat(20));
        let padded = bundle.to_string() + &" ".repeat(64);
        attach(padded.replace('x', "y").into_bytes(), "x")
    };
    vec![
        row("everything is there", good(), Admitted),
        row(
            "flipped payload",
            good().changed("provenance", flipped),
            Denied("it names a key of ci, but signature does not verify"),
        ),
        // What alice said is hers, by her key for releases, but of another kind: a builder's words.
        row(
            "swapped predicate type",
            good().replaced(
                "signature",
                by(&alice(), &said(predicate::SLSA_PROVENANCE, provenance())),
            ),
            Denied(
                "signatures: needs a signature by somebody with role \"release\": none is there",
            ),
        ),
        row(
            "provenance by a key for something else",
            good().replaced(
                "provenance",
                by(
                    &evaluator(),
                    &said(predicate::SLSA_PROVENANCE, provenance()),
                ),
            ),
            Denied(
                "a statement by eve does not count: its key is for evaluator, not for \"builder\"",
            ),
        ),
        row(
            "foreign subject",
            good().replaced("bom", by(&ci(), &elsewhere(predicate::CYCLONEDX, bom()))),
            Denied("signed by ci, but no subject of the statement is"),
        ),
        row(
            "right digest with wrong size",
            good().changed("signature", wrong_size),
            Denied("its subject has the right digest, but"),
        ),
        row(
            "two signatures in one envelope",
            good().changed("bom", |item| {
                edited(
                    item,
                    "\"signatures\":[",
                    "\"signatures\":[{\"sig\":\"AAAA\"},",
                )
            }),
            Denied("2 signatures where exactly one is due"),
        ),
        row(
            "wrong key id",
            good().changed("signature", |item| {
                let once = edited(item, &id(&alice()), &id(&ci()));
                edited(&once, &id(&alice()), &id(&ci()))
            }),
            Denied("it names a key of ci, but signature does not verify"),
        ),
        row(
            "unknown key",
            good().replaced("signature", by(&ed25519(99), &signature())),
            Denied("which the policy does not know"),
        ),
        row(
            "revoked key",
            good().replaced("signature", by(&ed25519(12), &signature())),
            Denied(
                "signed by dave, but the key is revoked (stolen laptop) from log index 5 on, and nothing proves",
            ),
        ),
        row(
            "retired key",
            good().replaced("signature", by(&ed25519(13), &signature())),
            Denied(
                "signed by erin, but the key is retired from log index 9 on, and nothing proves",
            ),
        ),
        row(
            "key of another role",
            good().replaced("signature", by(&ci(), &signature())),
            Denied("signed with a key of another role: ci (a key for builder)"),
        ),
        Row {
            policy: two.clone(),
            ..row(
                "one person with two keys",
                good().with("again", by(&p256(2), &signature())),
                Denied("signed by alice"),
            )
        },
        Row {
            policy: two,
            ..row(
                "malleable ecdsa",
                good()
                    .replaced("signature", by(&p256(2), &signature()))
                    .with("again", malleated(&signature())),
                Denied("high one of its two possible s"),
            )
        },
        row(
            "stripped referrer",
            good().without("bom"),
            Denied("bom: needs a bill of materials"),
        ),
        row(
            "replaced bytes of a referrer",
            good().changed("bom", other_bytes),
            Denied("the bytes given are"),
        ),
        row(
            "non-canonical ed25519",
            good().replaced(
                "signature",
                with_signature(&super::forgery::plus_order(
                    alice()
                        .sign(&pae(media::IN_TOTO, &signature().to_bytes()))
                        .unwrap(),
                )),
            ),
            Denied("it names a key of alice, but ed25519 signature is not canonical: its s is"),
        ),
        row(
            "algorithm confusion",
            good().replaced("signature", with_signature(&p256_signature)),
            Denied("not in the strict form of ed25519"),
        ),
        row(
            "duplicate json key",
            good().changed("signature", |item| {
                edited(
                    item,
                    "\"payloadType\"",
                    "\"payloadType\":\"x\",\"payloadType\"",
                )
            }),
            Denied("stands twice in one object"),
        ),
        row(
            "deep json",
            good().changed("signature", |item| {
                edited(item, "\"tlogEntries\":[]", &deep)
            }),
            Denied("nested deeper"),
        ),
        row(
            "rubbish",
            good().replaced("signature", huge),
            Denied("signatures: needs a signature"),
        ),
        row(
            "stripped signature",
            good().without("signature"),
            Denied(
                "signatures: needs a signature by somebody with role \"release\": none is there",
            ),
        ),
        // One who may build and release built it: the provenance counts, and is still no signature.
        Row {
            policy: builder_may_release,
            ..row(
                "provenance is no signature",
                good().without("signature").replaced(
                    "provenance",
                    by(&alice(), &said(predicate::SLSA_PROVENANCE, provenance())),
                ),
                Denied(
                    "may not be released\n  signatures: needs a signature by somebody with role \"release\": none is there\n    to mend it: alice must run",
                ),
            )
        },
    ]
}

/// Rules that ask what was said.
fn rules() -> Vec<Row> {
    let built = |change: &dyn Fn(&mut Value)| {
        let mut predicate = provenance();
        change(&mut predicate);
        by(&ci(), &said(predicate::SLSA_PROVENANCE, predicate))
    };
    let late = "2027-01-12T00:00:00Z";
    let mut short = bom();
    short["components"].as_array_mut().unwrap().pop();
    vec![
        row(
            "another builder",
            good().replaced(
                "provenance",
                built(&|p| p["runDetails"]["builder"]["id"] = json!("https://laptop.example")),
            ),
            Denied("builder https://laptop.example is not allowed"),
        ),
        row(
            "another build type",
            good().replaced(
                "provenance",
                built(&|p| p["buildDefinition"]["buildType"] = json!("https://x.example")),
            ),
            Denied("build type https://x.example is not allowed"),
        ),
        row(
            "a second source beside the allowed one",
            good().replaced(
                "provenance",
                built(&|p| {
                    let other = json!({"name": "helper", "uri": "git+https://evil.example/demo",
                        "digest": {"gitCommit": "d20ace79d20ace79d20ace79d20ace79d20ace79"}});
                    let list = &mut p["buildDefinition"]["resolvedDependencies"];
                    list.as_array_mut().unwrap().push(other);
                }),
            ),
            Denied("source git+https://evil.example/demo is not allowed"),
        ),
        row(
            "bill of materials that leaves a file out",
            good().replaced("bom", by(&ci(), &said(predicate::CYCLONEDX, short))),
            Denied("1 of the bundle's files are not in it"),
        ),
        row(
            "a suite that failed",
            good().replaced(
                "data",
                by(
                    &evaluator(),
                    &said(predicate::TEST_RESULT, tests("data", "FAILED")),
                ),
            ),
            Denied("suite data did not pass, says eve"),
        ),
        row(
            "a suite with warnings",
            good().replaced(
                "data",
                by(
                    &evaluator(),
                    &said(predicate::TEST_RESULT, tests("data", "WARNED")),
                ),
            ),
            Denied("suite data did not pass, says eve"),
        ),
        row(
            "a failure beside a success",
            good().with(
                "again",
                by(
                    &evaluator(),
                    &said(predicate::TEST_RESULT, tests("data", "FAILED")),
                ),
            ),
            Denied("suite data did not pass, says eve"),
        ),
        row(
            "a suite without a result",
            good().without("inference"),
            Denied("of suite inference there is no result"),
        ),
        row(
            "reproduced too loosely",
            good().replaced(
                "reproduction",
                reproduction(report("REPRODUCED", "statistical", "I4", late)),
            ),
            Denied("has class statistical only"),
        ),
        row(
            "reproduced without isolation",
            good().replaced(
                "reproduction",
                reproduction(report("REPRODUCED", "bit_exact", "I1", late)),
            ),
            Denied("was isolated by I1 only"),
        ),
        row(
            "reproduced without a look at signatures",
            good().replaced("reproduction", reproduction(waived("insecure", late))),
            Denied("was made with something waived: insecure"),
        ),
        row(
            "reproduced within wider bounds",
            good().replaced("reproduction", reproduction(waived("tolerance", late))),
            Denied("was made with something waived: tolerance"),
        ),
        row(
            "not reproduced",
            good().replaced(
                "reproduction",
                reproduction(report("INCONCLUSIVE", "bit_exact", "I4", late)),
            ),
            Denied("the report by rita says INCONCLUSIVE"),
        ),
        row(
            "a divergence beside a reproduction",
            good().with(
                "again",
                reproduction(report("DIVERGED", "divergent", "I4", late)),
            ),
            Denied("rita reports that it does not reproduce"),
        ),
        row(
            "a report about another bundle",
            good().replaced(
                "reproduction",
                reproduction({
                    let mut other = report("REPRODUCED", "bit_exact", "I4", late);
                    other["baseline"]["digest"] =
                        json!({"sha256": Digest::sha256(b"another bundle").hex()});
                    other
                }),
            ),
            Denied("it is held against another bundle"),
        ),
        row(
            "a verdict that is better than its rows",
            good().replaced(
                "reproduction",
                reproduction({
                    let mut better = report("DIVERGED", "numeric", "I4", late);
                    better["verdict"] = json!("REPRODUCED");
                    better
                }),
            ),
            Denied("the report by rita cannot be read"),
        ),
        row(
            "a class that is not known",
            good().replaced(
                "reproduction",
                reproduction(report("REPRODUCED", "perfect", "I4", late)),
            ),
            Denied("the report by rita cannot be read"),
        ),
        Row {
            now: "2027-02-09T00:00:00Z",
            ..row(
                "a reproduction that has become stale",
                good(),
                Denied("is stale: it is of 2027-01-10T00:00:00Z"),
            )
        },
        row(
            "a reproduction of tomorrow",
            good().replaced(
                "reproduction",
                reproduction(report(
                    "REPRODUCED",
                    "bit_exact",
                    "I4",
                    "2027-01-16T00:00:00Z",
                )),
            ),
            Denied("which is yet to come"),
        ),
        row(
            "reproduced by the builder",
            good()
                .replaced(
                    "provenance",
                    by(
                        &ed25519(14),
                        &said(predicate::SLSA_PROVENANCE, provenance()),
                    ),
                )
                .replaced(
                    "reproduction",
                    by(
                        &ed25519(14),
                        &said(REPORT, report("REPRODUCED", "bit_exact", "I4", late)),
                    ),
                ),
            Denied("the report by max does not count: max built the bundle"),
        ),
        row(
            "nobody says who built it",
            good().without("provenance"),
            Denied(
                "no provenance says who built the bundle, so nobody can be told from the builder",
            ),
        ),
    ]
}

/// Approvals and what voids them.
fn approvals() -> Vec<Row> {
    let shown = unapproved();
    let by_max = unapproved().replaced(
        "provenance",
        by(
            &ed25519(14),
            &said(predicate::SLSA_PROVENANCE, provenance()),
        ),
    );
    let self_approved = by_max
        .clone()
        .with("bob", approval(&by_max, &policy(), &bob()))
        .with("max", approval(&by_max, &policy(), &ed25519(14)));
    let same_team = shown
        .clone()
        .with("carol", approval(&shown, &policy(), &carol()))
        .with("max", approval(&shown, &policy(), &ed25519(14)));
    let other_bundle = {
        let binding = approval(&shown, &policy(), &bob());
        let mut statement: Value = serde_json::from_slice(
            &BASE64
                .decode(
                    text_of(&binding)["dsseEnvelope"]["payload"]
                        .as_str()
                        .unwrap()
                        .as_bytes(),
                )
                .unwrap(),
        )
        .unwrap();
        statement["subject"][0]["digest"]["sha256"] =
            json!(Digest::sha256(b"another bundle").hex());
        by(&bob(), &serde_json::from_value(statement).unwrap())
    };
    let approved = json!({"verifier": {"id": "x:y", "policies": []}, "timeCreated": NOW, "properties": ["SEALSTONE_APPROVED"]});
    let looser = changed_policy("class = \"numeric\"", "class = \"functional\"");
    let newer = |policy: String| policy.replace("version = 7", "version = 8");
    let bound = changed_policy(
        "different_team = 1\n",
        "different_team = 1\nbinds = \"policy\"\n",
    );
    let given_bound = shown
        .clone()
        .with("bob", approval(&shown, &bound, &bob()))
        .with("carol", approval(&shown, &bound, &carol()));
    let confirming = reproduction(report(
        "REPRODUCED",
        "numeric",
        "I3",
        "2027-01-14T00:00:00Z",
    ));
    let second_bom = {
        let mut other = bom();
        other["version"] = json!(2);
        by(&ci(), &said(predicate::CYCLONEDX, other))
    };
    vec![
        row(
            "one approval of two",
            good().without("carol"),
            Denied("carol or max must run \"sealstone approve"),
        ),
        row(
            "replayed approval of another bundle",
            good().replaced("bob", other_bundle),
            Denied("signed by bob, but no subject of the statement is"),
        ),
        Row {
            policy: looser.clone(),
            ..row(
                "approval under other rules",
                good(),
                Denied("the approval by bob is void: it was given for rules"),
            )
        },
        Row {
            policy: newer(policy()),
            ..row(
                "approval under the same rules in an older policy",
                good(),
                Admitted,
            )
        },
        Row {
            policy: bound.clone(),
            ..row(
                "approval bound to the policy, and under it",
                given_bound.clone(),
                Admitted,
            )
        },
        Row {
            policy: newer(bound),
            ..row(
                "approval bound to the policy, and under an older one",
                given_bound,
                Denied("the approval by bob is void: it was given under policy sha256:"),
            )
        },
        row(
            "evidence that the approvers saw is gone",
            good().replaced("bom", second_bom.clone()),
            Denied("the approval by bob is void: evidence"),
        ),
        row(
            "evidence that the approvers did not see",
            good().with("again", second_bom),
            Denied("came after it"),
        ),
        row(
            "a reproduction that only confirms",
            good().with("again", confirming),
            Admitted,
        ),
        row(
            "a reproduction within wider bounds that came after the approvals",
            good().with(
                "again",
                reproduction(waived("tolerance", "2027-01-14T00:00:00Z")),
            ),
            Denied("by rita came after it"),
        ),
        row(
            "a reproduction without a look at signatures that came after the approvals",
            good().with(
                "again",
                reproduction(waived("insecure", "2027-01-14T00:00:00Z")),
            ),
            Denied("by rita came after it"),
        ),
        row(
            "the same statement attached once more voids nothing",
            good().with(
                "again",
                by(&ci(), &said(predicate::SLSA_PROVENANCE, provenance())),
            ),
            Admitted,
        ),
        row(
            "approval that is bound to nothing",
            good().replaced("bob", by(&bob(), &said(predicate::SVR, approved))),
            Denied("the statement by bob is no approval: it names no rules"),
        ),
        row(
            "self-approval",
            self_approved,
            Denied("the approval by max does not count: max built the bundle"),
        ),
        row(
            "approvals by the builder's team only",
            same_team.clone(),
            Denied("0 of those who approved are of another team"),
        ),
        Row {
            policy: changed_policy(
                "name = \"ci\"\nteams = [\"platform\"]",
                "name = \"ci\"\nteams = []",
            ),
            ..row(
                "a builder of no team, where another team has to approve",
                good(),
                Denied("the team of the builder (ci) is not known"),
            )
        },
        row(
            "nobody of the role that must be among them",
            same_team,
            Denied("nobody with role data-science approved"),
        ),
        row(
            "rejection",
            good().with(
                "no",
                by(
                    &bob(),
                    &lifecycle::rejection(
                        subject(),
                        "fails on group B",
                        &BTreeSet::new(),
                        NOW.parse().unwrap(),
                    ),
                ),
            ),
            Denied("rejected by bob: fails on group B"),
        ),
        row(
            "rejection by somebody who may not",
            good().with(
                "no",
                by(
                    &alice(),
                    &lifecycle::rejection(subject(), "no", &BTreeSet::new(), NOW.parse().unwrap()),
                ),
            ),
            Admitted,
        ),
        row(
            "revocation",
            good().with(
                "no",
                by(
                    &security(),
                    &lifecycle::revocation(subject(), "poisoned data", NOW.parse().unwrap()),
                ),
            ),
            Denied("revoked by sam: poisoned data"),
        ),
        row(
            "revocation by a stranger",
            good().with(
                "no",
                by(
                    &ed25519(99),
                    &lifecycle::revocation(subject(), "x", NOW.parse().unwrap()),
                ),
            ),
            Admitted,
        ),
        row(
            "deprecation stops nothing",
            good().with(
                "no",
                by(
                    &alice(),
                    &lifecycle::deprecation(subject(), "use 1.1", None, NOW.parse().unwrap()),
                ),
            ),
            Admitted,
        ),
        Row {
            damaged: true,
            ..row("damaged content", good(), Denied("is damaged"))
        },
    ]
}

/// Exceptions, and the end of the policy.
fn limits() -> Vec<Row> {
    let other = Digest::sha256(b"another bundle").to_string();
    let own = exception();
    let longer = Exception {
        expires: "2027-03-01T00:00:00Z".parse().unwrap(),
        ..own.clone()
    };
    let other_rule = Exception {
        rule: "signatures".into(),
        ..own.clone()
    };
    let other_place = Exception {
        scope: "elsewhere/*".into(),
        ..own.clone()
    };
    let of_policy = policy()
        + "\n[[exception]]\nid = \"EX-1\"\nrepositories = [\"models/x\"]\nrule = \"bom\"\nreason = \"the tool is broken\"\nticket = \"OPS-1\"\napproved_by = [\"bob\"]\nexpires = \"2027-01-20T00:00:00Z\"\nmax_uses = 1\n";
    let without_bom = {
        let shown = unapproved().without("bom");
        shown
            .clone()
            .with("bob", approval(&shown, &policy(), &bob()))
            .with("carol", approval(&shown, &policy(), &carol()))
    };
    vec![
        row("an exception by two", excepted(&own, 2), Admitted),
        row(
            "an exception by one of two",
            excepted(&own, 1),
            Denied("it needs 2 different people"),
        ),
        Row {
            now: "2027-01-20T00:00:00Z",
            ..row(
                "an expired exception",
                excepted(&own, 2),
                Denied("exception EX-12: it expired at 2027-01-20"),
            )
        },
        row(
            "an exception for too long",
            excepted(&longer, 2),
            Denied("longer than 7 days"),
        ),
        row(
            "an exception from another rule",
            excepted(&other_rule, 2),
            Denied("reproduction: needs"),
        ),
        row(
            "an exception for other repositories",
            excepted(&other_place, 2),
            Denied("it is for other repositories"),
        ),
        Row {
            uses: json!({own.key(): [other]}),
            ..row(
                "an exception that is used up",
                excepted(&own, 2),
                Denied("exception EX-12: it is used up: 1 of 1"),
            )
        },
        Row {
            uses: json!({own.key(): [manifest().digest()]}),
            ..row(
                "an exception that this very bundle has used",
                excepted(&own, 2),
                Admitted,
            )
        },
        Row {
            policy: of_policy.clone(),
            ..row("an exception of the policy", without_bom.clone(), Admitted)
        },
        Row {
            policy: of_policy.clone(),
            uses: json!({"policy:EX-1": [Digest::sha256(b"another bundle")]}),
            ..row(
                "an exception of the policy that is used up",
                without_bom.clone(),
                Denied("exception EX-1: it is used up"),
            )
        },
        Row {
            policy: of_policy,
            now: "2027-01-21T00:00:00Z",
            ..row(
                "an exception of the policy that expired",
                without_bom,
                Denied("exception EX-1: it expired"),
            )
        },
        Row {
            now: "2027-06-01T00:00:00Z",
            ..row(
                "expired policy",
                good(),
                Denied("the policy expired at 2027-06-01T00:00:00Z"),
            )
        },
    ]
}

#[test]
fn releases_and_what_forgers_make_of_them() {
    let rows: Vec<Row> = [
        forgeries(),
        rules(),
        approvals(),
        incidents::rows(),
        limits(),
        standings::rows(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), rows.len(), "a name stands twice");
    standings::check(&rows);
    let built: Vec<Value> = rows
        .iter()
        .map(|row| {
            let items: Vec<Value> = row
                .attached
                .0
                .iter()
                .map(|(_, (referrer, bundle))| {
                    json!({"referrer": String::from_utf8_lossy(referrer), "bundle": String::from_utf8_lossy(bundle)})
                })
                .collect();
            json!({
                "name": row.name, "policy": row.policy, "repository": REPOSITORY, "now": row.now,
                "manifest": String::from_utf8_lossy(manifest().bytes()),
                "evidence": items, "uses": row.uses, "damaged": row.damaged,
                "released": row.released, "standing": standings::of(row),
                "verdict": match row.expected {
                    Admitted => json!({"admitted": true}),
                    Denied(because) => json!({"admitted": false, "because": because}),
                },
            })
        })
        .collect();
    let mut wrong = Vec::new();
    for vector in agree("policy/releases.json", &json!(built))
        .as_array()
        .unwrap()
    {
        let name = text(vector, "/name");
        let policy = Policy::parse(text(vector, "/policy")).unwrap();
        let (repo, case, circumstances) = read(vector);
        let admitted = vector["verdict"]["admitted"] == json!(true);
        let (evaluation, verdict) = policy.hear(&repo, &case, &circumstances);
        let (standing, expected) = (evaluation.state_text(), text(vector, "/standing"));
        if standing != expected {
            wrong.push(format!("{name} stands at {standing}, not at {expected}"));
        }
        match verdict {
            Ok(_) if admitted => {}
            Ok(_) => wrong.push(format!("{name} was admitted")),
            Err(denial) if admitted => wrong.push(format!("{name} was denied: {denial}")),
            Err(denial) => {
                let because = text(vector, "/verdict/because");
                if !denial.to_string().contains(because) {
                    wrong.push(format!(
                        "{name} was denied, but not because {because}: {denial}"
                    ));
                }
                for unmet in denial.unmet.iter().filter(|unmet| unmet.remedy.is_empty()) {
                    wrong.push(format!("{name}: nobody can mend {}", unmet.rule));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

pub(super) fn read(vector: &Value) -> (crate::name::RepoName, Case, Circumstances) {
    let repo = text(vector, "/repository").parse().unwrap();
    let subject = VerifiedManifest::check(
        text(vector, "/manifest").to_owned(),
        None,
        None,
        Algorithm::Sha256,
    )
    .unwrap();
    let mut case = Case::of(&repo, &subject);
    for item in vector["evidence"].as_array().unwrap() {
        let referrer = text(item, "/referrer").as_bytes().to_vec();
        case.add(evidence(&(
            referrer,
            text(item, "/bundle").as_bytes().to_vec(),
        )));
    }
    let mut circumstances = Circumstances::at(text(vector, "/now").parse().unwrap());
    for (key, used) in vector["uses"].as_object().unwrap() {
        let used = used.as_array().unwrap().iter();
        let used = used.map(|digest| digest.as_str().unwrap().parse().unwrap());
        circumstances.uses.insert(key.clone(), used.collect());
    }
    if vector["damaged"] == json!(true) {
        circumstances.damaged.insert(Digest::sha256(b"weights"));
    }
    circumstances.released = vector["released"] == json!(true);
    (repo, case, circumstances)
}

/// No byte of what was admitted can be changed so that something else is admitted: whatever a mutation
/// leaves admitted rests on statements that were all signed before.
mod mutations {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn no_mutation_of_an_accepted_release_is_accepted(
            which in 0usize..8, at in any::<usize>(), byte in any::<u8>(), in_bundle in any::<bool>(),
        ) {
            let attached = good();
            let policy = Policy::parse(&policy()).unwrap();
            let repo = REPOSITORY.parse().unwrap();
            let now = Circumstances::at(NOW.parse().unwrap());
            let mut items: Vec<Item> = attached.0.into_iter().map(|(_, item)| item).collect();
            let (referrer, bundle) = &mut items[which];
            if in_bundle {
                let at = at % bundle.len();
                prop_assume!(bundle[at] != byte);
                bundle[at] = byte;
                // Attached anew, so that the referrer does not give it away.
                let again = referrer_manifest(&manifest().descriptor(), bundle, "x", CREATED);
                *referrer = again;
            } else {
                let at = at % referrer.len();
                prop_assume!(referrer[at] != byte);
                referrer[at] = byte;
            }
            let mut case = Case::of(&repo, &manifest());
            for (referrer, bundle) in items {
                if let Ok(referrer) = VerifiedManifest::check(referrer, None, None, Algorithm::Sha256) {
                    case.add(Evidence::new(referrer, bundle));
                }
            }
            let (evaluation, verdict) = policy.hear(&repo, &case, &now);
            if verdict.is_ok() {
                // Space in JSON, an annotation, an unread label: the signed words are the same, all of them.
                let mut intact = Case::of(&repo, &manifest());
                for (_, item) in good().0 {
                    intact.add(evidence(&item));
                }
                let intact = policy.evaluate(&repo, &intact, &now);
                prop_assert_eq!(evaluation.binding, intact.binding);
                prop_assert!(evaluation.results.iter().all(|result| result.satisfied));
            }
        }
    }

    #[test]
    fn a_changed_bundle_needs_everything_anew() {
        let policy = Policy::parse(&policy()).unwrap();
        let repo = REPOSITORY.parse().unwrap();
        let now = Circumstances::at(NOW.parse().unwrap());
        let bytes = manifest().bytes().to_vec();
        let mut tried = 0;
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            let Ok(other) = VerifiedManifest::check(other, None, None, Algorithm::Sha256) else {
                continue;
            };
            tried += 1;
            let mut case = Case::of(&repo, &other);
            for (_, item) in good().0 {
                case.add(evidence(&item));
            }
            assert!(policy.judge(&repo, &case, &now).is_err(), "byte {at}");
        }
        assert!(tried > 100, "hardly any mutation was a manifest");
    }
}
