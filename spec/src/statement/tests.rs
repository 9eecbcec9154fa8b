//! What is a statement about this content, and what is not.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::envelope::seal;
use crate::key::{SecretKey, Signer};
use serde_json::json;

fn check(payload_type: &str, payload: &str) -> Result<VerifiedStatement, StatementError> {
    let key = SecretKey::ed25519_from_seed(&[1; 32]).unwrap();
    let envelope = seal(payload_type, payload.as_bytes(), &key).unwrap();
    let verified = envelope.verify(key.public_key()).unwrap();
    VerifiedStatement::check(&verified, &[predicate::COSIGN_SIGN], &digest())
}

fn digest() -> Digest {
    Digest::sha256(b"manifest")
}

#[test]
fn is_written_as_cosign_writes_it() {
    let statement = Statement::signature(vec![Subject::new("r.example/a", &digest())]);
    assert_eq!(
        String::from_utf8(statement.to_bytes()).unwrap(),
        format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"r.example/a","digest":{{"sha256":"{}"}}}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{{}}}}"#,
            digest().hex()
        )
    );
}

#[test]
fn a_signed_statement_must_be_one_about_this_content() {
    let good = serde_json::to_value(Statement::signature(vec![
        Subject::new("other", &Digest::sha256(b"other")),
        Subject::new("this", &digest()),
    ]))
    .unwrap();
    assert!(check(media::IN_TOTO, &good.to_string()).is_ok());
    assert!(check("application/json", &good.to_string()).is_err());
    let hex = digest().hex();
    for (pointer, value, reason) in [
        (
            "/_type",
            json!("https://in-toto.io/Statement/v0.1"),
            "_type",
        ),
        (
            "/predicateType",
            json!(predicate::SLSA_PROVENANCE),
            "predicate type",
        ),
        ("/subject", json!([]), "1 to 1024"),
        ("/subject", json!([{"digest": {}}]), "32 digests"),
        (
            "/subject",
            json!([{"digest": {"sha256": Digest::sha256(b"x").hex()}}]),
            "no subject",
        ),
        (
            "/subject",
            json!([{"digest": {"blake3": hex}}]),
            "no subject",
        ),
        (
            "/subject",
            json!([{"digest": {"sha256": hex.to_uppercase()}}]),
            "no subject",
        ),
        (
            "/subject",
            json!([{"digest": {"sha256": hex}, "size": 1}]),
            "unknown field",
        ),
        ("/subject", json!([{"name": "x"}]), "missing field"),
        ("/predicate", json!(null), "null"),
        ("/predicate", json!("x"), "invalid type"),
    ] {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        let error = check(media::IN_TOTO, &changed.to_string())
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{pointer}: {error}");
    }
    let twice = good
        .to_string()
        .replacen('{', r#"{"predicateType":"x","#, 1);
    assert!(
        check(media::IN_TOTO, &twice)
            .unwrap_err()
            .to_string()
            .contains("twice")
    );
    let extra = good.to_string().replacen('{', r#"{"extra":1,"#, 1);
    assert!(check(media::IN_TOTO, &extra).is_err());
}
