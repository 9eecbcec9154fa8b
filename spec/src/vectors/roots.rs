//! Signed policies: what is taken in the place of which, and what is not.

use super::{agree, text};
use crate::fixtures::ed25519;
use crate::key::Signer;
use crate::policy::{PAYLOAD_TYPE, Policy, PolicyEnvelope, SignedPolicy, SignedPolicyError, Time};
use data_encoding::BASE64;
use serde_json::{Value, json};

/// The policy of `releases` in another version, with roots of these seeds.
fn document(version: u64, threshold: u32, roots: &[u8], extra: &str) -> Policy {
    let keys: Vec<String> = roots
        .iter()
        .map(|&seed| format!("\"{}\"", ed25519(seed).public_key().to_openssh()))
        .collect();
    let text = format!(
        "schema = \"sealstone-policy/v2\"\nversion = {version}\nexpires = \"2027-06-01T00:00:00Z\"\n[roots]\nthreshold = {threshold}\nkeys = [{}]\n{extra}",
        keys.join(", ")
    );
    Policy::parse(&text).unwrap()
}

fn signed(policy: &Policy, seeds: &[u8]) -> String {
    let mut envelope = PolicyEnvelope::of(policy).unwrap();
    for &seed in seeds {
        envelope.sign(&ed25519(seed)).unwrap();
    }
    String::from_utf8(envelope.to_bytes()).unwrap()
}

/// Trusted is version 7, two of 20, 21 and 22.
fn trusted() -> Policy {
    document(7, 2, &[20, 21, 22], "")
}

/// Name, the envelope that is offered, and the reason of the refusal, if it is one.
fn offers() -> Vec<(&'static str, String, Option<&'static str>)> {
    let next = document(8, 2, &[20, 21, 22], "");
    let rotated = document(8, 2, &[21, 23, 24], "");
    let good = signed(&next, &[20, 21]);
    let edit = |change: &dyn Fn(&mut Value)| {
        let mut envelope: Value = serde_json::from_str(&good).unwrap();
        change(&mut envelope);
        envelope.to_string()
    };
    let payload = |envelope: &Value| {
        let text = envelope["payload"].as_str().unwrap();
        String::from_utf8(BASE64.decode(text.as_bytes()).unwrap()).unwrap()
    };
    let resign = |text: &str| {
        let message = crate::envelope::pae(PAYLOAD_TYPE, text.as_bytes());
        let signatures: Vec<Value> = [20, 21]
            .iter()
            .map(|&seed| {
                let key = ed25519(seed);
                json!({"keyid": key.public_key().id(), "sig": BASE64.encode(&key.sign(&message).unwrap())})
            })
            .collect();
        json!({"payloadType": PAYLOAD_TYPE, "payload": BASE64.encode(text.as_bytes()), "signatures": signatures}).to_string()
    };
    let original = payload(&serde_json::from_str(&good).unwrap());
    vec![
        ("the next version", good.clone(), None),
        (
            "the same version again",
            signed(&trusted(), &[20, 22]),
            None,
        ),
        (
            "roots change, signed by both",
            signed(&rotated, &[20, 21, 23]),
            None,
        ),
        (
            "roots change, signed by the old alone",
            signed(&rotated, &[20, 22]),
            Some("0 of the policy's own root keys have signed, 2 must"),
        ),
        (
            "roots change, signed by the new alone",
            signed(&rotated, &[23, 24]),
            Some("0 of the trusted root keys have signed, 2 must"),
        ),
        (
            "one signature of two",
            signed(&next, &[20]),
            Some("1 of the trusted root keys have signed, 2 must"),
        ),
        (
            "no signature",
            signed(&next, &[]),
            Some("0 of the trusted root keys have signed"),
        ),
        (
            "one key twice",
            edit(&|e| {
                let one = e["signatures"][0].clone();
                e["signatures"] = json!([one, one]);
            }),
            Some("has signed twice"),
        ),
        (
            "a stranger beside",
            signed(&next, &[20, 21, 99]),
            Some("is of no root key"),
        ),
        (
            "an older version",
            signed(&document(6, 2, &[20, 21, 22], ""), &[20, 21]),
            Some("policy version 6 is older than version 7"),
        ),
        (
            "another document of the same version",
            signed(&document(7, 1, &[20, 21, 22], ""), &[20, 21]),
            Some("was seen before with other content"),
        ),
        (
            "flipped payload",
            edit(&|e| {
                e["payload"] = json!(
                    BASE64.encode(
                        payload(e)
                            .replace("\"version\":8", "\"version\":9")
                            .as_bytes()
                    )
                )
            }),
            Some("does not hold"),
        ),
        (
            "another payload type",
            edit(&|e| e["payloadType"] = json!("application/vnd.in-toto+json")),
            Some("payload type is"),
        ),
        (
            "an unknown field in the envelope",
            edit(&|e| e["extra"] = json!(1)),
            Some("unknown field"),
        ),
        (
            "no key id",
            edit(&|e| {
                e["signatures"][0].as_object_mut().unwrap().remove("keyid");
            }),
            Some("missing field"),
        ),
        (
            "an unknown key in the document",
            resign(&original.replacen('{', "{\"aaa\":1,", 1)),
            Some("policy has no key \"aaa\""),
        ),
        (
            "a key twice in the document",
            resign(&original.replacen('{', "{\"version\":8,", 1)),
            Some("stands twice"),
        ),
        (
            "space in the document",
            resign(&original.replacen(',', ", ", 1)),
            Some("not canonical JSON"),
        ),
        (
            "a default left out",
            resign(&original.replace("\"exception\":[],", "")),
            Some("not canonical JSON"),
        ),
        (
            "a document of version 1",
            resign("{\"identity\":[],\"schema\":\"sealstone-policy/v1\",\"scope\":[]}"),
            Some("documents of version 1 are not signed"),
        ),
    ]
}

#[test]
fn signed_policies_and_their_succession() {
    let built: Vec<Value> = offers()
        .iter()
        .map(|(name, envelope, because)| {
            json!({"name": name, "trusted": signed(&trusted(), &[20, 21]), "offered": envelope,
                "accepted": because.is_none(), "because": because})
        })
        .collect();
    for vector in agree("policy/signed.json", &json!(built))
        .as_array()
        .unwrap()
    {
        let name = text(vector, "/name");
        let trusted = PolicyEnvelope::parse(text(vector, "/trusted").as_bytes()).unwrap();
        let trusted = SignedPolicy::first(trusted).unwrap();
        let outcome = PolicyEnvelope::parse(text(vector, "/offered").as_bytes())
            .and_then(|offered| trusted.succeed(offered));
        match outcome {
            Ok(next) => {
                assert_eq!(vector["accepted"], json!(true), "{name} was taken");
                let again = Policy::parse_canonical(&next.policy().to_canonical_json()).unwrap();
                assert_eq!(again.digest(), next.policy().digest(), "{name}");
            }
            Err(error) => {
                assert_eq!(vector["accepted"], json!(false), "{name}: {error}");
                let because = text(vector, "/because");
                assert!(error.to_string().contains(because), "{name}: {error}");
            }
        }
    }
}

#[test]
fn an_expired_policy_is_told_from_others() {
    let policy = signed(&trusted(), &[20, 21]);
    let signed = SignedPolicy::first(PolicyEnvelope::parse(policy.as_bytes()).unwrap()).unwrap();
    let at = |text: &str| -> Time { text.parse().unwrap() };
    assert!(signed.check_time(at("2027-05-31T23:59:59Z")).is_ok());
    assert!(matches!(
        signed.check_time(at("2027-06-01T00:00:00Z")),
        Err(SignedPolicyError::Expired { version: 7, .. })
    ));
}

#[test]
fn toml_and_signed_form_are_one_policy() {
    let text = super::releases::policy();
    let policy = Policy::parse(&text).unwrap();
    let again = Policy::parse_canonical(&policy.to_canonical_json()).unwrap();
    assert_eq!(again.digest(), policy.digest());
    assert!(policy.diff(&again).is_empty());
    let stricter =
        Policy::parse(&text.replace("suites = [\"data\"", "suites = [\"safety\", \"data\""))
            .unwrap();
    let changes = policy.diff(&stricter).join("\n");
    assert!(
        changes.contains("now asks for test suites safety"),
        "{changes}"
    );
    let explained = policy.explain(&"models/x".parse().unwrap()).join("\n");
    for word in [
        "provenance by a builder",
        "data-science",
        "not by the builder",
        "waived",
    ] {
        assert!(explained.contains(word), "{word}: {explained}");
    }
    let findings = policy.lint("2027-05-20T00:00:00Z".parse().unwrap());
    let findings: Vec<&str> = findings
        .iter()
        .map(|finding| finding.text.as_str())
        .collect();
    assert!(
        findings
            .iter()
            .any(|text| text.contains("less than 30 days")),
        "{findings:?}"
    );
    assert!(
        findings.iter().any(|text| text.contains("trusts no log")),
        "{findings:?}"
    );
    // One key that signs releases and attests.
    let both = |text: &str| {
        let findings = Policy::parse(text)
            .unwrap()
            .lint("2027-01-01T00:00:00Z".parse().unwrap());
        let mut findings = findings.into_iter();
        findings.any(|it| it.place == "identity ci" && it.text.contains("any statement by it"))
    };
    assert!(!both(&text));
    assert!(both(&text.replace(
        "roles = [\"builder\"]",
        "roles = [\"builder\", \"release\"]"
    )));
    // A builder of no team, where another team has to approve.
    let teamless = text.replace("name = \"ci\"\nteams = [\"platform\"]", "name = \"ci\"");
    assert_ne!(teamless, text);
    let built = |text: &str| {
        let findings = Policy::parse(text)
            .unwrap()
            .lint("2027-01-01T00:00:00Z".parse().unwrap());
        let mut findings = findings.into_iter();
        findings.any(|it| it.text.contains("what ci builds is never released"))
    };
    assert!(!built(&text));
    assert!(built(&teamless));
}
