#![allow(clippy::unwrap_used)]
use super::*;
use crate::key::SecretKey;
use crate::manifest::VerifiedManifest;
use serde_json::json;

fn layer(path: &str, content: &str) -> Value {
    json!({"mediaType": "application/vnd.cncf.model.weight.v1.raw", "digest": Digest::sha256(content.as_bytes()),
        "size": content.len(), "annotations": {media::ANNOTATION_FILEPATH: path}})
}

fn bundle(layers: &[Value]) -> Bundle {
    let text = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": media::MODEL_ARTIFACT,
        "config": {"mediaType": media::MODEL_CONFIG, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
        "layers": layers});
    let manifest =
        VerifiedManifest::check(text.to_string(), None, None, Algorithm::Sha256).unwrap();
    Bundle::read(&manifest).unwrap()
}

fn model() -> ModelManifest {
    let files = [layer("b.txt", "b"), layer("a/c", "c"), layer("a.txt", "a")];
    ModelManifest::of("r.example/models/demo", &bundle(&files)).unwrap()
}

fn key() -> SecretKey {
    SecretKey::p256_from_seed(&[2; 32]).unwrap()
}

#[test]
fn files_stand_in_the_order_of_code_points_and_the_root_is_their_digest() {
    let model = model();
    let names: Vec<&str> = model.resources.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["a.txt", "a/c", "b.txt"]);
    let parts: Vec<Vec<u8>> = ["a", "c", "b"]
        .iter()
        .map(|text| Digest::sha256(text.as_bytes()).bytes().to_vec())
        .collect();
    assert_eq!(*model.root(), Digest::sha256(&parts.concat()));
    let statement = serde_json::to_value(model.statement()).unwrap();
    assert_eq!(statement["subject"][0]["name"], "demo");
    assert_eq!(
        statement["predicate"]["serialization"],
        json!({"method": "files", "hash_type": "sha256", "allow_symlinks": false, "ignore_paths": ["model.sig"]})
    );
    assert_eq!(model.subject().name.as_deref(), Some("oms:demo"));
}

#[test]
fn a_signature_by_nobody_known_claims_the_files_that_it_lists() {
    let model = model();
    let other = ModelManifest::of("demo", &bundle(&[layer("a.txt", "a")])).unwrap();
    let signed = model.sign(&key()).unwrap();
    assert!(model.is_claimed_by(&signed));
    assert!(!other.is_claimed_by(&signed));
    // A statement of another type about the same is none.
    let statement = Statement::signature(vec![model.subject()]);
    let statement = SigstoreBundle::sign(&statement, &key()).unwrap();
    assert!(!model.is_claimed_by(&statement));
}

#[test]
fn what_the_tools_pass_over_is_left_out_and_named() {
    let files = [
        layer("a", "a"),
        layer(".gitattributes", "x"),
        layer(".github/w.yml", "y"),
        layer("deep/.gitignore", "z"),
    ];
    let model = ModelManifest::of("m", &bundle(&files)).unwrap();
    let names: Vec<&str> = model.resources.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["a", "deep/.gitignore"]);
    assert_eq!(model.ignored, [".gitattributes", ".github", "model.sig"]);
}

#[test]
fn bundles_without_plain_sha256_files_have_no_model_signature() {
    let mut archive = layer("a", "a");
    archive["mediaType"] = json!("application/vnd.cncf.model.weight.v1.tar");
    let mut other = layer("b", "b");
    other["digest"] = json!(Digest::of(Algorithm::Blake3, b"b"));
    for (files, reason) in [
        (vec![archive], "archive"),
        (vec![other], "blake3"),
        (vec![layer("model.sig", "x")], "no file"),
    ] {
        let error = ModelManifest::of("m", &bundle(&files)).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn the_bundle_has_the_form_that_the_tools_compare() {
    let bytes = model().sign(&key()).unwrap().to_bytes();
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    let pem = key().public_key().to_pem();
    assert_eq!(
        value["verificationMaterial"]["publicKey"]["hint"],
        Digest::sha256(pem.as_bytes()).hex()
    );
    let signature = value["dsseEnvelope"]["signatures"][0].as_object().unwrap();
    assert_eq!(signature.keys().collect::<Vec<_>>(), ["sig"]);
    let ed25519 = SecretKey::ed25519_from_seed(&[1; 32]).unwrap();
    assert!(model().sign(&ed25519).is_err());
}

#[test]
fn a_signature_is_of_these_files_by_this_key_or_refused() {
    let signed = model().sign(&key()).unwrap();
    model().check(&signed, key().public_key()).unwrap();
    let other = SecretKey::p256_from_seed(&[3; 32]).unwrap();
    assert!(model().check(&signed, other.public_key()).is_err());
    let ed25519 = SecretKey::ed25519_from_seed(&[1; 32]).unwrap();
    assert!(model().check(&signed, ed25519.public_key()).is_err());
    for (files, reason) in [
        (vec![layer("a.txt", "a"), layer("a/c", "c")], "no file"),
        (
            vec![layer("a.txt", "a"), layer("a/c", "c"), layer("b.txt", "x")],
            "another digest",
        ),
        // Renamed in order: the root stays, the names do not.
        (
            vec![layer("a.txt", "a"), layer("a/d", "c"), layer("b.txt", "b")],
            "\"a/d\" is missing",
        ),
    ] {
        let changed = ModelManifest::of("demo", &bundle(&files)).unwrap();
        let error = changed.check(&signed, key().public_key()).unwrap_err();
        assert!(error.to_string().contains(reason), "{reason}: {error}");
    }
    // The reference's own order, and forms that are not read.
    for (pointer, value, good) in [
        ("/predicate/resources", json!(["reordered"]), true),
        ("/predicate/serialization/method", json!("shards"), false),
        (
            "/predicate/serialization/hash_type",
            json!("blake2b"),
            false,
        ),
        ("/predicate/resources/0/more", json!(1), false),
        ("/subject/0/digest/sha256", json!("00"), false),
        ("/predicateType", json!(predicate::COSIGN_SIGN), false),
    ] {
        let mut statement = serde_json::to_value(model().statement()).unwrap();
        if good {
            let list = statement["predicate"]["resources"].as_array_mut().unwrap();
            list.swap(0, 1);
            let parts: Vec<Vec<u8>> = ["c", "a", "b"]
                .iter()
                .map(|text| Digest::sha256(text.as_bytes()).bytes().to_vec())
                .collect();
            statement["subject"][0]["digest"]["sha256"] =
                json!(Digest::sha256(&parts.concat()).hex());
        } else if let Some(place) = statement.pointer_mut(pointer) {
            *place = value;
        } else {
            statement["predicate"]["resources"][0]["more"] = value;
        }
        let statement: Statement = serde_json::from_value(statement).unwrap();
        let hint = key().public_key().pem_digest().hex();
        let bundle = SigstoreBundle::sign_with_hint(&statement, &key(), hint).unwrap();
        let found = model().check(&bundle, key().public_key());
        assert_eq!(found.is_ok(), good, "{pointer}: {found:?}");
    }
}
