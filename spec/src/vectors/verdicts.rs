//! Evidence, and the verdict on it.

use super::forgery::*;
use super::{agree, text};
use crate::digest::{Algorithm, Digest};
use crate::envelope::seal;
use crate::fixtures::*;
use crate::key::Signer;
use crate::manifest::VerifiedManifest;
use crate::media;
use crate::policy::{Case, Circumstances, Evidence, Policy, Time};
use crate::sigstore::{SigstoreBundle, referrer_manifest};
use crate::statement::{Statement, Subject, predicate};
use data_encoding::BASE64;
use serde_json::{Map, Value, json};

enum Expected {
    /// Admitted on the evidence at these places.
    Admitted(&'static [usize]),
    /// Denied, and the denial contains this text.
    Denied(&'static str),
}
use Expected::{Admitted, Denied};

struct Verdict {
    name: &'static str,
    policy: String,
    repository: &'static str,
    items: Vec<Item>,
    expected: Expected,
}

/// Items under the policy "one signature by alice".
fn one(name: &'static str, items: Vec<Item>, expected: Expected) -> Verdict {
    let policy = policy(1, "\"alice\"");
    Verdict {
        name,
        policy,
        repository: "models/x",
        items,
        expected,
    }
}

/// Items under the policy "signatures by alice and bob".
fn both(name: &'static str, items: Vec<Item>, expected: Expected) -> Verdict {
    let policy = policy(2, "\"alice\", \"bob\"");
    Verdict {
        name,
        policy,
        repository: "models/x",
        items,
        expected,
    }
}

fn verdicts() -> Vec<Verdict> {
    let (alice, alice_p256, bob, mallory) = (ed25519(1), p256(2), ed25519(3), ed25519(4));
    let digest = *manifest().digest();
    let size = manifest().size();
    let other = Digest::sha256(b"other");
    let provenance = Statement::new(
        vec![Subject::new("x", &digest)],
        predicate::SLSA_PROVENANCE,
        Map::new(),
    );
    let mut old = statement(&digest);
    old.statement_type = "https://in-toto.io/Statement/v0.1".into();
    let other_type = seal("application/json", &payload(), &alice).unwrap();
    let wrong_bytes = (referrer(&bundle(&alice)), bundle(&alice_p256));
    let same_hex = Subject {
        digest: [("blake3".to_owned(), digest.hex())].into(),
        ..Subject::default()
    };
    let provenance_bundle = SigstoreBundle::sign(&provenance, &alice)
        .unwrap()
        .to_bytes();
    let relabelled = referrer_manifest(
        &manifest().descriptor(),
        &provenance_bundle,
        predicate::COSIGN_SIGN,
        CREATED,
    );
    let pem_hint = "dGhpcyBoaW50IGlzIG9mIG5vIGtub3duIGZvcm0=";
    let deep = format!("\"tlogEntries\":[{}{}]", "[".repeat(100), "]".repeat(100));
    let no_scope = Verdict {
        repository: "other/x",
        ..one("no scope, no rule", vec![], Admitted(&[]))
    };
    vec![
        one("ed25519 signature", vec![by(&alice)], Admitted(&[0])),
        one("p-256 signature", vec![by(&alice_p256)], Admitted(&[0])),
        one(
            "two keys of one identity are evidence twice",
            vec![by(&alice), by(&alice_p256)],
            Admitted(&[0, 1]),
        ),
        one(
            "no key id, as cosign writes it",
            vec![forged(
                media::IN_TOTO,
                &payload(),
                &sign_payload(&alice_p256),
                None,
            )],
            Admitted(&[0]),
        ),
        one(
            "no key id and a hint of an unknown form",
            vec![attach_text(
                String::from_utf8(
                    forged(media::IN_TOTO, &payload(), &sign_payload(&alice), None).1,
                )
                .unwrap()
                .replace(
                    "\"publicKey\":{}",
                    &format!("\"publicKey\":{{\"hint\":\"{pem_hint}\"}}"),
                ),
            )],
            Admitted(&[0]),
        ),
        one(
            "bad evidence does not spoil good",
            vec![
                by(&mallory),
                edited_bundle("{", "{\"x\":1,"),
                by(&alice),
                with_subject(other, size),
            ],
            Admitted(&[2]),
        ),
        no_scope,
        both(
            "two identities",
            vec![by(&alice), by(&bob)],
            Admitted(&[0, 1]),
        ),
        both(
            "one person with two keys counts once",
            vec![by(&alice), by(&alice_p256)],
            Denied("signed by alice"),
        ),
        both(
            "one of two",
            vec![by(&bob)],
            Denied("alice must run \"sealstone sign models/x@"),
        ),
        one(
            "nothing attached",
            vec![],
            Denied("needs a signature by alice: none is there"),
        ),
        one(
            "signed by somebody else",
            vec![by(&bob)],
            Denied("signatures by bob do not count for this rule"),
        ),
        one(
            "signed by a stranger",
            vec![by(&mallory)],
            Denied("which the policy does not know"),
        ),
        one(
            "a stranger under alice's key id",
            vec![forged(
                media::IN_TOTO,
                &payload(),
                &sign_payload(&mallory),
                Some(&id(&alice)),
            )],
            Denied("it names a key of alice, but signature does not verify with this key"),
        ),
        one(
            "a stranger without key id",
            vec![forged(
                media::IN_TOTO,
                &payload(),
                &sign_payload(&mallory),
                None,
            )],
            Denied("does not verify with any that the policy knows"),
        ),
        one(
            "alice under a stranger's key id",
            vec![forged(
                media::IN_TOTO,
                &payload(),
                &sign_payload(&alice),
                Some(&id(&mallory)),
            )],
            Denied("which the policy does not know"),
        ),
        one(
            "key id that is none",
            vec![forged(
                media::IN_TOTO,
                &payload(),
                &sign_payload(&alice),
                Some("alice"),
            )],
            Denied("signed by key alice, which the policy does not know"),
        ),
        one(
            "hint and key id differ",
            vec![edited_bundle(&id(&alice), &id(&bob))],
            Denied("as hint, but"),
        ),
        one(
            "p-256 signature under the ed25519 key id",
            vec![forged(
                media::IN_TOTO,
                &payload(),
                &sign_payload(&alice_p256),
                Some(&id(&alice)),
            )],
            Denied("not in the strict form of ed25519"),
        ),
        one(
            "ed25519 signature under the p-256 key id",
            vec![forged(
                media::IN_TOTO,
                &payload(),
                &sign_payload(&alice),
                Some(&id(&alice_p256)),
            )],
            Denied("not in the strict form of ecdsa p-256"),
        ),
        one(
            "ed25519 signature that is not canonical",
            vec![forged(
                media::IN_TOTO,
                &payload(),
                &not_canonical(),
                Some(&id(&alice)),
            )],
            Denied("ed25519 signature is not canonical: its s is not below"),
        ),
        one(
            "ecdsa signature with a trailing byte",
            vec![forged(
                media::IN_TOTO,
                &payload(),
                &[sign_payload(&alice_p256), vec![0]].concat(),
                Some(&id(&alice_p256)),
            )],
            Denied("not in the strict form of ecdsa p-256"),
        ),
        one(
            "signature over the payload without its type",
            vec![forged(
                media::IN_TOTO,
                &payload(),
                &alice.sign(&payload()).unwrap(),
                Some(&id(&alice)),
            )],
            Denied("does not verify with this key"),
        ),
        one(
            "changed payload",
            vec![forged(
                media::IN_TOTO,
                &String::from_utf8(payload())
                    .unwrap()
                    .replace("models/x", "models/y")
                    .into_bytes(),
                &sign_payload(&alice),
                Some(&id(&alice)),
            )],
            Denied("does not verify with this key"),
        ),
        one(
            "two signatures",
            vec![edited_bundle(
                "\"signatures\":[",
                "\"signatures\":[{\"sig\":\"AAAA\"},",
            )],
            Denied("2 signatures where exactly one is due"),
        ),
        one(
            "no signature",
            vec![attach_text(
                good_text()
                    .split("\"signatures\"")
                    .next()
                    .unwrap()
                    .to_owned()
                    + "\"signatures\":[]}}",
            )],
            Denied("0 signatures where exactly one is due"),
        ),
        one(
            "unknown field",
            vec![edited_bundle("\"hint\"", "\"rawBytes\":\"\",\"hint\"")],
            Denied("unknown field `rawBytes`"),
        ),
        one(
            "a certificate in place of a key",
            vec![attach_text(
                good_text().replace("\"publicKey\"", "\"certificate\""),
            )],
            Denied("unknown field `certificate`"),
        ),
        one(
            "duplicate key",
            vec![edited_bundle(
                "\"payloadType\"",
                "\"payloadType\":\"x\",\"payloadType\"",
            )],
            Denied("stands twice in one object"),
        ),
        one(
            "deep JSON",
            vec![edited_bundle("\"tlogEntries\":[]", &deep)],
            Denied("nested deeper"),
        ),
        one(
            "loose base64",
            vec![edited_bundle("\"sig\":\"", "\"sig\":\" ")],
            Denied("not strict base64"),
        ),
        one(
            "another bundle version",
            vec![edited_bundle("bundle.v0.3", "bundle.v0.2")],
            Denied("sigstore bundle has mediaType"),
        ),
        one(
            "provenance is no release signature",
            vec![signed(&provenance)],
            Denied("signed by alice, but predicate type \"https://slsa.dev/provenance/v1\" is not"),
        ),
        one(
            "provenance relabelled by its referrer",
            vec![(relabelled, provenance_bundle)],
            Denied("signed by alice, but predicate type \"https://slsa.dev/provenance/v1\" is not"),
        ),
        one(
            "statement about another manifest",
            vec![signed(&statement(&other))],
            Denied("no subject of the statement is"),
        ),
        one(
            "same hex under another algorithm",
            vec![signed(&Statement::signature(vec![same_hex]))],
            Denied("no subject of the statement is"),
        ),
        one(
            "statement of an older version",
            vec![signed(&old)],
            Denied("statement _type is"),
        ),
        one(
            "payload of another type",
            vec![forged(
                "application/json",
                &payload(),
                &BASE64
                    .decode(
                        serde_json::to_value(&other_type).unwrap()["signatures"][0]["sig"]
                            .as_str()
                            .unwrap()
                            .as_bytes(),
                    )
                    .unwrap(),
                Some(&id(&alice)),
            )],
            Denied("payload type is \"application/json\""),
        ),
        one(
            "attached to another manifest",
            vec![with_subject(other, size)],
            Denied("another manifest"),
        ),
        one(
            "right digest, wrong size",
            vec![with_subject(digest, size + 1)],
            Denied("its subject has the right digest, but"),
        ),
        one(
            "bytes of another bundle",
            vec![wrong_bytes],
            Denied("the bytes given are"),
        ),
        one(
            "no subject",
            vec![edited_referrer("\"subject\"", "\"object\"")],
            Denied("it has no subject"),
        ),
        one(
            "another artifact type",
            vec![edited_referrer(
                "\"artifactType\":\"application/vnd.dev.sigstore.bundle.v0.3+json\"",
                "\"artifactType\":\"application/vnd.example\"",
            )],
            Denied("its artifact type \"application/vnd.example\""),
        ),
        one(
            "two layers",
            vec![edited_referrer(
                "\"layers\":[",
                "\"layers\":[{\"mediaType\":\"a/b\",\"digest\":\"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\",\"size\":2},",
            )],
            Denied("it has 2 layers, not one"),
        ),
    ]
}

fn item(vector: &Value) -> Evidence {
    let referrer = text(vector, "/referrer").to_owned();
    let referrer = VerifiedManifest::check(referrer, None, None, Algorithm::Sha256).unwrap();
    Evidence::new(referrer, text(vector, "/bundle"))
}

#[test]
fn verdicts_on_evidence() {
    let subject = manifest();
    let built: Vec<Value> = verdicts()
        .iter()
        .map(|verdict| {
            let items = verdict.items.iter().map(|(referrer, bundle)| {
                json!({"referrer": std::str::from_utf8(referrer).unwrap(), "bundle": std::str::from_utf8(bundle).unwrap()})
            });
            json!({
                "name": verdict.name,
                "policy": verdict.policy,
                "repository": verdict.repository,
                "manifest": {"digest": subject.digest(), "size": subject.size()},
                "evidence": items.collect::<Vec<Value>>(),
                "verdict": match verdict.expected {
                    Admitted(counted) => json!({"admitted": true, "counted": counted}),
                    Denied(reason) => json!({"admitted": false, "because": reason}),
                },
            })
        })
        .collect();
    for vector in agree("policy/verdicts.json", &json!(built))
        .as_array()
        .unwrap()
    {
        let name = text(vector, "/name");
        let repo = text(vector, "/repository").parse().unwrap();
        let digest = Digest::parse(text(vector, "/manifest/digest")).unwrap();
        let mut case = Case::new(&repo, digest, vector["manifest"]["size"].as_u64().unwrap());
        let items: Vec<Evidence> = vector["evidence"]
            .as_array()
            .unwrap()
            .iter()
            .map(item)
            .collect();
        let digests: Vec<Digest> = vector["evidence"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| Digest::sha256(text(item, "/referrer").as_bytes()))
            .collect();
        items.into_iter().for_each(|item| case.add(item));
        let policy = Policy::parse(text(vector, "/policy")).unwrap();
        let now = Circumstances::at(Time::from_seconds(1_800_000_000));
        match policy.judge(&repo, &case, &now) {
            Ok(admission) => {
                assert_eq!(
                    vector["verdict"]["admitted"],
                    json!(true),
                    "{name} was admitted"
                );
                let counted = vector["verdict"]["counted"].as_array().unwrap().iter();
                let mut wanted: Vec<Digest> = counted
                    .map(|n| digests[n.as_u64().unwrap() as usize])
                    .collect();
                wanted.sort();
                assert_eq!(admission.evidence(), wanted, "{name}");
                assert_eq!(
                    (admission.manifest(), admission.repo()),
                    (&digest, &repo),
                    "{name}"
                );
                assert_eq!(admission.policy(), policy.digest(), "{name}");
            }
            Err(denial) => {
                assert_eq!(
                    vector["verdict"]["admitted"],
                    json!(false),
                    "{name}: {denial}"
                );
                let because = text(vector, "/verdict/because");
                assert!(denial.to_string().contains(because), "{name}: {denial}");
                let again: crate::policy::Denial =
                    serde_json::from_value(serde_json::to_value(&denial).unwrap()).unwrap();
                assert_eq!(again, denial, "{name}");
            }
        }
    }
}
