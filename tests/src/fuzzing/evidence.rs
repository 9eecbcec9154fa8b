//! Targets for what trust rests on: keys, envelopes, statements, sigstore bundles.
//!
//! No input can be signed by [`stranger`], so nothing that came from outside may ever verify with it.

use super::as_text;
use sealstone_spec::bundle::Bundle;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::envelope::{Envelope, seal};
use sealstone_spec::key::{KeyId, OpensshPrivateKey, Pem, PublicKey, SecretKey, Signer};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::model_signature::ModelManifest;
use sealstone_spec::notary::Vouched;
use sealstone_spec::sigstore::{KeyChoice, SigstoreBundle};
use sealstone_spec::statement::{Statement, VerifiedStatement, predicate};

/// A key that seeds may name.
pub(super) fn signer() -> SecretKey {
    SecretKey::ed25519_from_seed(&[1; 32]).expect("a fixed seed that is known to work")
}

/// A key that no seed names.
pub(super) fn stranger() -> SecretKey {
    SecretKey::p256_from_seed(&[9; 32]).expect("a fixed seed that is known to work")
}

/// A key is one key in every form that it can be written in.
pub(super) fn public_key(input: &[u8]) -> bool {
    let from_der = PublicKey::from_spki_der(input).ok();
    if let Some(key) = &from_der {
        assert_eq!(key.to_spki_der(), input, "two encodings of one key");
    }
    let from_text = as_text(input).and_then(|text| PublicKey::parse(text).ok());
    let Some(key) = from_text.or(from_der) else {
        return false;
    };
    assert!(PublicKey::parse(&key.to_pem()).is_ok_and(|again| again == key));
    assert!(PublicKey::parse(&key.to_openssh()).is_ok_and(|again| again == key));
    assert!(PublicKey::from_spki_der(&key.to_spki_der()).is_ok_and(|again| again == key));
    assert_eq!(
        key.id().to_string().parse::<KeyId>().ok().as_ref(),
        Some(key.id())
    );
    assert!(key.verify(b"", &[]).is_err());
    true
}

/// A list is read whole: each of its keys can be read alone, and options never outlive the reading.
pub(super) fn key_list(input: &[u8]) -> bool {
    let Some(keys) = as_text(input).and_then(|text| PublicKey::parse_list(text).ok()) else {
        return false;
    };
    assert!(!keys.is_empty());
    for listed in &keys {
        let alone =
            PublicKey::parse_list(&listed.key.to_openssh()).expect("its own form can be read");
        assert_eq!(alone.len(), 1);
        assert_eq!(alone[0].key, listed.key);
        assert!(alone[0].principals.is_empty());
        assert!(
            listed
                .principals
                .iter()
                .all(|name| !name.is_empty() && name != "*")
        );
    }
    true
}

/// A private key of OpenSSH comes out only as the one whose public half is stated; PEM never panics.
pub(super) fn openssh_key(input: &[u8]) -> bool {
    let pem = as_text(input).and_then(|text| Pem::parse(text).ok());
    let content = pem.map_or_else(|| input.to_vec(), |pem| pem.content.to_vec());
    let Ok(container) = OpensshPrivateKey::parse(&content) else {
        return false;
    };
    let Ok(Some(secret)) = container.open(&container.section) else {
        return false;
    };
    assert_eq!(secret.public_key(), &container.public);
    let signature = secret.sign(input).expect("a key in memory signs");
    assert!(container.public.verify(input, &signature).is_ok());
    true
}

/// No bundle from outside is a signature of the fixed model by a key that did not sign it, and one by
/// the key that seeds may name is about these very files.
pub(super) fn model_signature(input: &[u8]) -> bool {
    let model = |content: &[u8]| {
        let layer = serde_json::json!({"mediaType": "application/vnd.cncf.model.weight.v1.raw",
            "digest": Digest::sha256(content), "size": content.len(),
            "annotations": {media::ANNOTATION_FILEPATH: "model.bin"}});
        let config = serde_json::json!({"mediaType": media::MODEL_CONFIG, "digest": media::EMPTY_JSON_DIGEST, "size": 2});
        let text = serde_json::json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
            "artifactType": media::MODEL_ARTIFACT, "config": config, "layers": [layer]});
        let manifest = VerifiedManifest::check(text.to_string(), None, None, Algorithm::Sha256);
        let bundle = Bundle::read(&manifest.expect("a manifest")).expect("a bundle");
        ModelManifest::of("demo", &bundle).expect("one plain file")
    };
    let Ok(bundle) = SigstoreBundle::parse(input) else {
        return false;
    };
    let key = SecretKey::p256_from_seed(&[2; 32]).expect("a fixed seed that is known to work");
    let (good, other) = (model(b"weights"), model(b"other weights"));
    assert!(good.check(&bundle, stranger().public_key()).is_err());
    let accepted = good.check(&bundle, key.public_key()).is_ok();
    assert!(!(accepted && other.check(&bundle, key.public_key()).is_ok()));
    accepted
}

/// An envelope reads back from what it writes, and holds under no key that did not sign it.
pub(super) fn envelope(input: &[u8]) -> bool {
    let Ok(envelope) = Envelope::parse(input) else {
        return false;
    };
    let written = envelope.to_bytes();
    let again = Envelope::parse(&written).expect("its own form can be read");
    assert_eq!((&again, again.to_bytes()), (&envelope, written));
    assert!(envelope.verify(stranger().public_key()).is_err());
    true
}

/// Input: a payload. It comes back from its envelope as it was; with any one byte of it changed, or
/// with its type changed, it does not.
pub(super) fn sealed_payload(input: &[u8]) -> bool {
    let key = signer();
    let sealed = seal("text/plain", input, &key).expect("a key in memory signs");
    let received = Envelope::parse(&sealed.to_bytes()).expect("its own form can be read");
    let verified = received
        .verify(key.public_key())
        .expect("it was signed with this key");
    assert_eq!(
        (verified.payload(), verified.payload_type()),
        (input, "text/plain")
    );

    let mut wire = serde_json::to_value(&sealed).expect("an envelope is JSON");
    let mut other = input.to_vec();
    match other.first().map(|first| usize::from(*first) % other.len()) {
        Some(at) => other[at] ^= 1 << (at % 8),
        None => other.push(0),
    }
    let forged = seal("text/plain", &other, &stranger()).expect("a key in memory signs");
    let forged = serde_json::to_value(&forged).expect("an envelope is JSON");
    wire["payload"] = forged["payload"].clone();
    let changed: Envelope = serde_json::from_value(wire.clone()).expect("a well-formed envelope");
    assert!(
        changed.verify(key.public_key()).is_err(),
        "another payload under the same signature"
    );

    wire = serde_json::to_value(&sealed).expect("an envelope is JSON");
    wire["payloadType"] = "text/plai".into();
    let changed: Envelope = serde_json::from_value(wire).expect("a well-formed envelope");
    assert!(
        changed.verify(key.public_key()).is_err(),
        "another type under the same signature"
    );
    true
}

/// Input: a signed payload. A statement that is accepted is about the digest that was asked for, says
/// what was asked for, and means the same when it is written again.
pub(super) fn statement(input: &[u8]) -> bool {
    let digest = Digest::sha256(b"manifest");
    let key = signer();
    let verified = |payload: &[u8]| {
        let sealed = seal(media::IN_TOTO, payload, &key).expect("a key in memory signs");
        sealed
            .verify(key.public_key())
            .expect("it was signed with this key")
    };
    let asked = [predicate::COSIGN_SIGN, predicate::SLSA_PROVENANCE];
    let Ok(statement) = VerifiedStatement::check(&verified(input), &asked, &digest) else {
        return false;
    };
    assert!(asked.contains(&statement.predicate_type()));
    assert!(
        statement
            .subjects()
            .iter()
            .any(|subject| subject.names(&digest))
    );
    assert_eq!(
        (statement.digest(), statement.key_id()),
        (&digest, key.public_key().id())
    );

    let read: Statement = serde_json::from_slice(input).expect("an accepted statement is JSON");
    let written = read.to_bytes();
    let again =
        VerifiedStatement::check(&verified(&written), &asked, &digest).expect("its own form");
    assert_eq!(again.subjects(), statement.subjects());
    assert_eq!(again.predicate(), statement.predicate());

    let named = |digest: &Digest| {
        statement
            .subjects()
            .iter()
            .any(|subject| subject.names(digest))
    };
    let foreign = Digest::sha256(b"another manifest");
    let about_foreign = VerifiedStatement::check(&verified(input), &asked, &foreign);
    assert_eq!(about_foreign.is_ok(), named(&foreign));
    assert!(VerifiedStatement::check(&verified(input), &[], &digest).is_err());
    true
}

/// A bundle reads back from what it writes, asks for one key at most, and holds under no key that did
/// not sign it.
pub(super) fn sigstore_bundle(input: &[u8]) -> bool {
    let Ok(bundle) = SigstoreBundle::parse(input) else {
        return false;
    };
    let written = bundle.to_bytes();
    let again = SigstoreBundle::parse(&written).expect("its own form can be read");
    assert_eq!((&again, again.to_bytes()), (&bundle, written));
    let stranger = stranger();
    assert!(bundle.envelope().verify(stranger.public_key()).is_err());
    // Nor is it the word of a registry that has this key.
    let digest = Digest::sha256(b"manifest");
    assert!(Vouched::read(&bundle, stranger.public_key(), &digest).is_err());
    if let KeyChoice::Named(named) = bundle.key_choice() {
        let is_stranger = named == stranger.public_key().id().to_string();
        assert_eq!(bundle.may_be_by(stranger.public_key()), is_stranger);
    }
    true
}
