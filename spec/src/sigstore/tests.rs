#![allow(clippy::unwrap_used)]
use super::*;
use crate::digest::Algorithm;
use crate::digest::Digest;
use crate::key::SecretKey;
use crate::manifest::VerifiedManifest;
use crate::statement::{Subject, VerifiedStatement, predicate};
use proptest::prelude::*;

fn signer() -> SecretKey {
    SecretKey::ed25519_from_seed(&[1; 32]).unwrap()
}

fn digest() -> Digest {
    Digest::sha256(b"manifest")
}

fn signed() -> Vec<u8> {
    let statement = Statement::signature(vec![Subject::new("r.example/a", &digest())]);
    SigstoreBundle::sign(&statement, &signer())
        .unwrap()
        .to_bytes()
}

fn refusal(bytes: &str) -> String {
    SigstoreBundle::parse(bytes.as_bytes())
        .unwrap_err()
        .to_string()
}

#[test]
fn bundle_has_the_published_form() {
    let text = String::from_utf8(signed()).unwrap();
    let id = signer().public_key().id().to_string();
    let start = format!(
        r#"{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{{"publicKey":{{"hint":"{id}"}},"tlogEntries":[]}},"dsseEnvelope":{{"payloadType":"application/vnd.in-toto+json","payload":""#
    );
    assert!(text.starts_with(&start), "{text}");
    assert!(
        text.contains(&format!(r#""signatures":[{{"keyid":"{id}","sig":""#)),
        "{text}"
    );
    let bundle = SigstoreBundle::parse(text.as_bytes()).unwrap();
    assert_eq!(bundle.to_bytes(), text.as_bytes());
}

#[test]
fn bundles_as_cosign_writes_them_are_read() {
    // No key id, a hint of cosign's own form, a log entry, a timestamp.
    let value: Value = serde_json::from_slice(&signed()).unwrap();
    let mut value = value;
    value["verificationMaterial"] = serde_json::json!({
        "publicKey": {"hint": "dGhpcyBpcyBubyBmaW5nZXJwcmludA=="},
        "tlogEntries": [{"logIndex": "5", "kindVersion": {"kind": "dsse", "version": "0.0.1"}}],
        "timestampVerificationData": {"rfc3161Timestamps": []},
    });
    value["dsseEnvelope"]["signatures"][0]
        .as_object_mut()
        .unwrap()
        .remove("keyid");
    let bundle = SigstoreBundle::parse(value.to_string().as_bytes()).unwrap();
    assert_eq!(bundle.key_choice(), KeyChoice::Any);
    assert_eq!(bundle.tlog_entries().len(), 1);
    assert!(bundle.envelope().verify(signer().public_key()).is_ok());
    value["verificationMaterial"] = serde_json::json!({"publicKey": {}});
    assert!(SigstoreBundle::parse(value.to_string().as_bytes()).is_ok());
}

#[test]
fn forged_shapes_are_refused_each_with_its_reason() {
    let text = String::from_utf8(signed()).unwrap();
    let id = signer().public_key().id().to_string();
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    for (changed, reason) in [
        (
            text.replacen('{', r#"{"extra":1,"#, 1),
            "unknown field `extra`",
        ),
        (
            text.replace(r#""hint""#, r#""rawBytes":"","hint""#),
            "unknown field `rawBytes`",
        ),
        (text.replacen('{', r#"{"mediaType":"x","#, 1), "twice"),
        (text.replace("bundle.v0.3", "bundle.v0.2"), "mediaType"),
        (
            text.replace(
                r#""publicKey":{"#,
                r#""certificate":{"rawBytes":""},"publicKey":{"#,
            ),
            "unknown field `certificate`",
        ),
        (text.replacen(&id, "SHA256:x", 1), "as hint"),
        (
            text.replace("[{\"keyid\"", "[{\"sig\":\"AA==\"},{\"keyid\""),
            "2 signatures",
        ),
        (
            text.replace(r#""tlogEntries":[]"#, &format!(r#""tlogEntries":[{deep}]"#)),
            "nested deeper",
        ),
        (
            text.replace(r#""tlogEntries":[]"#, r#""tlogEntries":null"#),
            "null",
        ),
        (
            text.replace("dsseEnvelope", "messageSignature"),
            "unknown field `messageSignature`",
        ),
        (format!("{text}{text}"), "trailing"),
        (" ".repeat(MAX_BUNDLE_BYTES) + &text, "at most"),
        (String::new(), "EOF"),
    ] {
        assert_ne!(changed, text, "{reason}");
        let error = refusal(&changed);
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

#[test]
fn referrer_has_the_published_form_and_is_a_manifest() {
    let subject = Descriptor::new(media::OCI_MANIFEST, digest(), 8);
    let created = "2026-01-01T00:00:00Z";
    let bytes = referrer_manifest(&subject, &signed(), predicate::COSIGN_SIGN, created);
    let layer = Digest::sha256(&signed());
    assert_eq!(
        String::from_utf8(bytes.clone()).unwrap(),
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}},"layers":[{{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","digest":"{layer}","size":{}}}],"subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":8}},"annotations":{{"dev.sigstore.bundle.content":"dsse-envelope","dev.sigstore.bundle.predicateType":"https://sigstore.dev/cosign/sign/v1","org.opencontainers.image.created":"2026-01-01T00:00:00Z"}}}}"#,
            signed().len(),
            digest()
        )
    );
    let manifest = VerifiedManifest::check(bytes, None, None, Algorithm::Sha256).unwrap();
    assert_eq!(manifest.subject().unwrap().digest, digest());
}

#[test]
fn legacy_form_is_what_cosign_reads() {
    let payload = legacy_payload("reg.example/demo/\"x\"", &digest());
    assert_eq!(
        String::from_utf8(payload.clone()).unwrap(),
        format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"reg.example/demo/\"x\""}},"image":{{"docker-manifest-digest":"{}"}},"type":"cosign container image signature"}},"optional":null}}"#,
            digest()
        )
    );
    let signature = signer().sign(&payload).unwrap();
    let image = legacy_image(&[(payload.clone(), signature.clone())]);
    let manifest = VerifiedManifest::check(image.manifest, None, None, Algorithm::Sha256).unwrap();
    assert_eq!(
        manifest.config().unwrap().digest,
        Digest::sha256(&image.config)
    );
    assert_eq!(manifest.layers()[0].digest, Digest::sha256(&payload));
    let base64 = &manifest.layers()[0].annotations["dev.cosignproject.cosign/signature"];
    assert_eq!(
        data_encoding::BASE64.decode(base64.as_bytes()).unwrap(),
        signature
    );
    let tag: crate::name::Tag = legacy_tag(&digest()).unwrap().parse().unwrap();
    assert_eq!(tag.evidence_subject(), Some(digest()));
}

/// What a bundle means, if it is accepted at all.
fn meaning(bytes: &[u8]) -> Option<(KeyId, Vec<Subject>)> {
    let bundle = SigstoreBundle::parse(bytes).ok()?;
    let key = signer();
    if !bundle.may_be_by(key.public_key()) {
        return None;
    }
    let envelope = bundle.envelope().verify(key.public_key()).ok()?;
    let statement =
        VerifiedStatement::check(&envelope, &[predicate::COSIGN_SIGN], &digest()).ok()?;
    Some((*statement.key_id(), statement.subjects().to_vec()))
}

#[test]
fn no_single_changed_byte_changes_what_is_accepted() {
    let good = signed();
    let wanted = meaning(&good).unwrap();
    for position in 0..good.len() {
        // Every bit, and bytes that mean something to JSON and base64.
        let flips = (0..8).map(|bit| good[position] ^ (1 << bit));
        for byte in flips.chain(*b" \"\\{}[]:,+/=-_A0") {
            let mut changed = good.clone();
            changed[position] = byte;
            if let Some(found) = meaning(&changed) {
                assert_eq!(found, wanted, "byte {position} as {byte:#x}");
            }
        }
    }
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,200}") {
        let _ = SigstoreBundle::parse(&bytes);
        let _ = SigstoreBundle::parse(text.as_bytes());
    }

    #[test]
    fn no_cut_or_insertion_changes_what_is_accepted(at in 0usize..2000, length in 0usize..20, insert in proptest::collection::vec(any::<u8>(), 0..8)) {
        let good = signed();
        let wanted = meaning(&good).unwrap();
        let start = at % good.len();
        let end = (start + length).min(good.len());
        let changed = [&good[..start], &insert, &good[end..]].concat();
        if let Some(found) = meaning(&changed) {
            prop_assert_eq!(found, wanted);
        }
    }
}

#[test]
fn a_bundle_claims_the_type_of_its_statement_and_no_other() {
    let bundle = SigstoreBundle::parse(&signed()).unwrap();
    let claimed = bundle.claimed_predicate_type();
    assert_eq!(claimed.as_deref(), Some(predicate::COSIGN_SIGN));
    for payload in [
        "",
        r#"["a"]"#,
        "{}",
        r#"{"predicateType":1}"#,
        r#"{"predicateType":"a","predicateType":"b"}"#,
    ] {
        let envelope = seal(media::IN_TOTO, payload.as_bytes(), &signer()).unwrap();
        let bundle = SigstoreBundle {
            envelope,
            ..bundle.clone()
        };
        assert_eq!(bundle.claimed_predicate_type(), None, "{payload}");
    }
}
