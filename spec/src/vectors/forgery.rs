//! Bundles and referrers as forgers make them.

use crate::digest::Digest;
use crate::envelope::pae;
use crate::fixtures::*;
use crate::key::{SecretKey, Signer};
use crate::manifest::Descriptor;
use crate::media;
use crate::sigstore::SigstoreBundle;
use crate::statement::Statement;
use data_encoding::{BASE64, HEXLOWER};
use serde_json::json;

/// What is attached: the text of the referrer manifest and of the bundle.
pub(super) type Item = (Vec<u8>, Vec<u8>);

pub(super) fn attach(bundle: Vec<u8>) -> Item {
    (referrer(&bundle), bundle)
}

pub(super) fn attach_text(bundle: String) -> Item {
    attach(bundle.into_bytes())
}

pub(super) fn by(signer: &SecretKey) -> Item {
    attach(bundle(signer))
}

pub(super) fn good_text() -> String {
    String::from_utf8(bundle(&ed25519(1))).unwrap()
}

pub(super) fn signed(statement: &Statement) -> Item {
    attach(
        SigstoreBundle::sign(statement, &ed25519(1))
            .unwrap()
            .to_bytes(),
    )
}

/// A bundle around any payload and signature, with the key id and hint given.
pub(super) fn forged(
    payload_type: &str,
    payload: &[u8],
    signature: &[u8],
    names: Option<&str>,
) -> Item {
    let mut value = json!({
        "mediaType": media::SIGSTORE_BUNDLE_V03,
        "verificationMaterial": {"publicKey": {}},
        "dsseEnvelope": {"payloadType": payload_type, "payload": BASE64.encode(payload),
            "signatures": [{"sig": BASE64.encode(signature)}]},
    });
    if let Some(names) = names {
        value["verificationMaterial"]["publicKey"]["hint"] = json!(names);
        value["dsseEnvelope"]["signatures"][0]["keyid"] = json!(names);
    }
    attach_text(value.to_string())
}

pub(super) fn payload() -> Vec<u8> {
    statement(manifest().digest()).to_bytes()
}

pub(super) fn sign_payload(signer: &SecretKey) -> Vec<u8> {
    signer.sign(&pae(media::IN_TOTO, &payload())).unwrap()
}

pub(super) fn id(signer: &SecretKey) -> String {
    signer.public_key().id().to_string()
}

pub(super) fn with_subject(digest: Digest, size: u64) -> Item {
    let bundle = bundle(&ed25519(1));
    let subject = Descriptor::new(media::OCI_MANIFEST, digest, size);
    (referrer_to(&subject, &bundle), bundle)
}

pub(super) fn not_canonical() -> Vec<u8> {
    plus_order(sign_payload(&ed25519(1)))
}

/// S + L: the same scalar to a verifier that reduces.
pub(super) fn plus_order(mut signature: Vec<u8>) -> Vec<u8> {
    let order = b"edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let mut carry = 0u16;
    for (byte, add) in signature[32..]
        .iter_mut()
        .zip(HEXLOWER.decode(order).unwrap())
    {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    signature
}

pub(super) fn edited_referrer(from: &str, to: &str) -> Item {
    let (referrer, bundle) = by(&ed25519(1));
    let text = String::from_utf8(referrer).unwrap();
    assert!(text.contains(from));
    (text.replace(from, to).into_bytes(), bundle)
}

pub(super) fn edited_bundle(from: &str, to: &str) -> Item {
    let text = good_text();
    assert!(text.contains(from), "{text}");
    attach_text(text.replacen(from, to, 1))
}
