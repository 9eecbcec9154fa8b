#![allow(clippy::unwrap_used)]
use super::*;
use data_encoding::HEXLOWER;
use proptest::prelude::*;

fn pair() -> [SecretKey; 2] {
    [
        SecretKey::ed25519_from_seed(&[1; 32]).unwrap(),
        SecretKey::p256_from_seed(&[2; 32]).unwrap(),
    ]
}

#[test]
fn every_form_of_a_key_is_the_same_key() {
    for secret in pair() {
        let key = secret.public_key();
        assert_eq!(PublicKey::parse(&key.to_pem()).unwrap(), *key);
        assert_eq!(
            PublicKey::parse(&format!("{} a b c\n", key.to_openssh())).unwrap(),
            *key
        );
        assert_eq!(PublicKey::from_spki_der(&key.to_spki_der()).unwrap(), *key);
        let again = SecretKey::from_pkcs8_der(&secret.to_pkcs8_der()).unwrap();
        assert_eq!(again.public_key(), key);
        assert_eq!(key.id().to_string().parse::<KeyId>().unwrap(), *key.id());
    }
}

const P384: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAETGU5W5lOPP/OGkDc9Bbx+zZpov2o7G/e
tiO99XAWp/AlXA2VIvWM95M6dTzBVl3WC9KNnTwCElEmTadqReJhedQiffJWDyhy
40FOdkgWUM3hj8RHOVo3DeyoNYdqqm6K
-----END PUBLIC KEY-----";
const RSA: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC2SWkQYpdvDBvUeXt6SypfkrM/
YpbicU1X+1Y5kPmt9GGFFot2Bn0k7QGwg1fTjrrM8vrmPOjFxNVfwlf7+A/ICvV9
y1bqEiRs54cowXug0puA4JViiJ9arS/vEWeb1N+Mt3FXc7GxwPulb5V8lGOJ42Ny
1ahqdID88AFcS/M8/wIDAQAB
-----END PUBLIC KEY-----";

#[test]
fn text_that_is_no_public_key_is_refused_with_its_reason() {
    let [ed, p256] = pair();
    let ed_line = ed.public_key().to_openssh();
    let base64 = ed_line.split(' ').nth(1).unwrap();
    for (text, reason) in [
        ("", "not a public key"),
        ("ssh-rsa AAAAB3NzaC1yc2E=", "not supported"),
        ("sk-ssh-ed25519@openssh.com AAAA", "not supported"),
        (
            "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----",
            "private key",
        ),
        (
            "-----BEGIN PUBLIC KEY-----\nMC4=\n-----END PUBLIC KEY-----",
            "malformed",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----",
            "label",
        ),
        (&format!("ecdsa-sha2-nistp256 {base64}"), "not of kind"),
        (
            &format!("ssh-ed25519 {base64}\nssh-ed25519 {base64}"),
            "more than one line",
        ),
        (
            &format!("ssh-ed25519 {}", &base64[..base64.len() - 4]),
            "ends too early",
        ),
        (&format!("ssh-ed25519 {base64}AAAA"), "canonical"),
        (&"x".repeat(5000), "at most"),
        (P384, "ECDSA P-384"),
        (RSA, "RSA"),
    ] {
        let error = PublicKey::parse(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
    let trailing = [p256.public_key().to_spki_der(), vec![0]].concat();
    assert!(PublicKey::from_spki_der(&trailing).is_err());
}

#[test]
fn weak_and_doubly_encoded_ed25519_keys_are_refused() {
    // The neutral element and a point of order 8.
    for hex in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ] {
        let bytes: [u8; 32] = HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap();
        assert_eq!(
            PublicKey::from_ed25519_bytes(&bytes),
            Err(KeyError::WeakPoint),
            "{hex}"
        );
    }
    // y = p + k for small k is a second encoding of y = k, which the curve library reads.
    let mut met = 0;
    for last in 0xed..=0xffu8 {
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (last, 0x7f);
        let point = ed25519_dalek::VerifyingKey::from_bytes(&bytes);
        met += usize::from(point.is_ok_and(|key| !key.is_weak()));
        assert_eq!(
            PublicKey::from_ed25519_bytes(&bytes),
            Err(KeyError::WeakPoint),
            "{last:x}"
        );
    }
    assert!(met > 0, "the check was never needed");
}

#[test]
fn a_non_canonical_ed25519_signature_is_refused() {
    let [ed, _] = pair();
    let mut signature = ed.sign(b"m").unwrap();
    // S + L is the same scalar, and a verifier that reduces it accepts a second signature.
    let order = HEXLOWER
        .decode(b"edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
        .unwrap();
    let mut carry = 0u16;
    for (byte, add) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    let key = ed.public_key();
    assert_eq!(
        key.verify(b"m", &signature),
        Err(SignatureError::NotReduced)
    );
    // The order itself is the first S that is refused for that.
    signature[32..].copy_from_slice(&ED25519_ORDER);
    assert_eq!(
        key.verify(b"m", &signature),
        Err(SignatureError::NotReduced)
    );
    signature[32] -= 1;
    assert_eq!(key.verify(b"m", &signature), Err(SignatureError::Mismatch));
}

#[test]
fn ecdsa_signatures_are_strict_der_with_low_s() {
    let [_, p256] = pair();
    let der = p256.sign(b"m").unwrap();
    let signature = p256::ecdsa::Signature::from_der(&der).unwrap();
    let (r, s) = signature.split_scalars();
    let other = p256::ecdsa::Signature::from_scalars(r, -s).unwrap();
    let key = p256.public_key();
    assert!(key.verify(b"m", &der).is_ok());
    let high = other.to_der();
    assert_eq!(
        key.verify(b"m", high.as_bytes()),
        Err(SignatureError::HighS),
        "anybody can make this one of the other"
    );
    for answer in [
        high.as_bytes(),
        &other.to_bytes()[..],
        &der,
        &signature.to_bytes()[..],
    ] {
        assert_eq!(key.canonical_signature(b"m", answer).unwrap(), der);
        assert_eq!(
            key.canonical_signature(b"n", answer),
            Err(SignatureError::Mismatch)
        );
    }
    // One in two of the deterministic signatures comes out high before it is normalised.
    for number in 0..32u8 {
        let signature = p256.sign(&[number]).unwrap();
        assert!(key.verify(&[number], &signature).is_ok(), "{number}");
    }
    assert_eq!(
        key.verify(b"m", &signature.to_bytes()),
        Err(SignatureError::Malformed("ecdsa p-256 (der)")),
        "raw r and s are another form"
    );
    assert!(key.verify(b"m", &[der.clone(), vec![0]].concat()).is_err());
    // A length in long form is BER, not DER.
    let long = [&[0x30, 0x81, der[1]], &der[2..]].concat();
    assert!(key.verify(b"m", &long).is_err());
}

#[test]
fn a_signature_of_one_algorithm_is_none_of_the_other() {
    let [ed, p256] = pair();
    assert!(
        p256.public_key()
            .verify(b"m", &ed.sign(b"m").unwrap())
            .is_err()
    );
    assert!(
        ed.public_key()
            .verify(b"m", &p256.sign(b"m").unwrap())
            .is_err()
    );
}

#[test]
fn a_p256_scalar_out_of_range_is_refused() {
    assert_eq!(
        SecretKey::p256_from_seed(&[0; 32]).unwrap_err(),
        KeyError::Seed
    );
    assert_eq!(
        SecretKey::p256_from_seed(&[0xff; 32]).unwrap_err(),
        KeyError::Seed
    );
}

proptest! {
    #[test]
    fn parsers_never_panic(text in "\\PC{0,200}", der in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = PublicKey::parse(&text);
        let _ = PublicKey::parse(&format!("ssh-ed25519 {text}"));
        let _ = PublicKey::parse(&format!("ssh-ed25519 {}", data_encoding::BASE64.encode(&der)));
        let _ = PublicKey::from_spki_der(&der);
        let _ = SecretKey::from_pkcs8_der(&der);
        let _ = text.parse::<KeyId>();
    }

    #[test]
    fn no_changed_bit_of_a_signature_or_message_is_accepted(bit in 0usize..1000, message in proptest::collection::vec(any::<u8>(), 1..40)) {
        for secret in pair() {
            let signature = secret.sign(&message).unwrap();
            let key = secret.public_key();
            prop_assert!(key.verify(&message, &signature).is_ok());
            let mut changed = signature.clone();
            let index = bit % (signature.len() * 8);
            changed[index / 8] ^= 1 << (index % 8);
            prop_assert!(key.verify(&message, &changed).is_err());
            let mut other = message.clone();
            let index = bit % (message.len() * 8);
            other[index / 8] ^= 1 << (index % 8);
            prop_assert!(key.verify(&other, &signature).is_err());
        }
    }
}
