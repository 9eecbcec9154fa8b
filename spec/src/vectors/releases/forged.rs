//! Forgeries of bytes and signatures.

use super::super::forgery::Item;
use super::people::{REPOSITORY, alice, changed_policy, ci, evaluator};
use super::release::{attach, bom, by, good, manifest, map, provenance, said, subject, text_of};
use super::row::Expected::{Admitted, Denied};
use super::row::{Row, row};
use crate::digest::Digest;
use crate::envelope::pae;
use crate::fixtures::{CREATED, ed25519, p256};
use crate::key::{SecretKey, Signer as _};
use crate::manifest::Descriptor;
use crate::media;
use crate::sigstore::referrer_manifest;
use crate::statement::{Statement, Subject, predicate};
use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};

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

/// Bytes and signatures.
pub(super) fn rows() -> Vec<Row> {
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
                with_signature(&super::super::forgery::plus_order(
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
