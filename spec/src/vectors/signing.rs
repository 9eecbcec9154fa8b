//! Keys, signed bundles and legacy images, byte by byte.

use super::{agree, text};
use crate::digest::Digest;
use crate::envelope::pae;
use crate::fixtures::{bundle, ed25519, manifest, p256, referrer, statement};
use crate::key::{PublicKey, SecretKey, Signer};
use crate::media;
use crate::sigstore::{SigstoreBundle, legacy_image, legacy_payload};
use crate::statement::{VerifiedStatement, predicate};
use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};

fn keys() -> [(u8, SecretKey); 4] {
    [
        (1, ed25519(1)),
        (2, p256(2)),
        (3, ed25519(3)),
        (4, ed25519(4)),
    ]
}

#[test]
fn keys_and_their_forms() {
    let built: Vec<Value> = keys()
        .iter()
        .map(|(seed, secret)| {
            let key = secret.public_key();
            json!({
                "algorithm": key.algorithm(),
                "seed": HEXLOWER.encode(&[*seed; 32]),
                "pkcs8": BASE64.encode(&secret.to_pkcs8_der()),
                "spki": key.to_pem(),
                "openssh": key.to_openssh(),
                "id": key.id(),
            })
        })
        .collect();
    for vector in agree("signing/keys.json", &json!(built))
        .as_array()
        .unwrap()
    {
        let key: PublicKey = text(vector, "/spki").parse().unwrap();
        assert_eq!(key.id().to_string(), text(vector, "/id"));
        assert_eq!(text(vector, "/openssh").parse::<PublicKey>().unwrap(), key);
        let pkcs8 = BASE64.decode(text(vector, "/pkcs8").as_bytes()).unwrap();
        assert_eq!(
            SecretKey::from_pkcs8_der(&pkcs8).unwrap().public_key(),
            &key
        );
    }
}

#[test]
fn signed_bundles_byte_by_byte() {
    let subject = manifest();
    let built: Vec<Value> = keys()
        .iter()
        .map(|(_, secret)| {
            let payload = statement(subject.digest()).to_bytes();
            let signed = pae(media::IN_TOTO, &payload);
            let bundle = bundle(secret);
            json!({
                "key": secret.public_key().to_pem(),
                "manifest": {"digest": subject.digest(), "size": subject.size(), "text": std::str::from_utf8(subject.bytes()).unwrap()},
                "statement": String::from_utf8(payload).unwrap(),
                "pae": BASE64.encode(&signed),
                "signature": BASE64.encode(&secret.sign(&signed).unwrap()),
                "bundle": String::from_utf8(bundle.clone()).unwrap(),
                "referrer": String::from_utf8(referrer(&bundle)).unwrap(),
                "referrerDigest": Digest::sha256(&referrer(&bundle)),
            })
        })
        .collect();
    for vector in agree("signing/bundles.json", &json!(built))
        .as_array()
        .unwrap()
    {
        let key: PublicKey = text(vector, "/key").parse().unwrap();
        let bundle = SigstoreBundle::parse(text(vector, "/bundle").as_bytes()).unwrap();
        let envelope = bundle.envelope().verify(&key).unwrap();
        assert_eq!(envelope.payload(), text(vector, "/statement").as_bytes());
        let digest = Digest::parse(text(vector, "/manifest/digest")).unwrap();
        VerifiedStatement::check(&envelope, &[predicate::COSIGN_SIGN], &digest).unwrap();
        let signed = BASE64.decode(text(vector, "/pae").as_bytes()).unwrap();
        let signature = BASE64
            .decode(text(vector, "/signature").as_bytes())
            .unwrap();
        key.verify(&signed, &signature).unwrap();
    }
}

#[test]
fn legacy_signature_images() {
    let subject = manifest();
    let payload = legacy_payload("registry.example/models/x", subject.digest());
    let signatures: Vec<(Vec<u8>, Vec<u8>)> = [ed25519(1), p256(2)]
        .iter()
        .map(|secret| (payload.clone(), secret.sign(&payload).unwrap()))
        .collect();
    let image = legacy_image(&signatures);
    let built = json!({
        "manifestDigest": subject.digest(),
        "keys": [ed25519(1).public_key().to_pem(), p256(2).public_key().to_pem()],
        "payload": String::from_utf8(payload).unwrap(),
        "config": String::from_utf8(image.config).unwrap(),
        "image": String::from_utf8(image.manifest).unwrap(),
    });
    let vector = agree("signing/legacy.json", &built);
    let image: Value = serde_json::from_str(text(&vector, "/image")).unwrap();
    for (index, key) in vector["keys"].as_array().unwrap().iter().enumerate() {
        let key: PublicKey = key.as_str().unwrap().parse().unwrap();
        let layer = &image["layers"][index];
        let signature = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str();
        let signature = BASE64.decode(signature.unwrap().as_bytes()).unwrap();
        key.verify(text(&vector, "/payload").as_bytes(), &signature)
            .unwrap();
    }
}
