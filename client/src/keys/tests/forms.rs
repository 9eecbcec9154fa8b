//! Keys of other tools: ssh-keygen's, cosign's, and those that cannot be used.

use super::{fixed, read_public, read_secret};
use crate::Outcome;
use crate::keys::Passphrases;
use crypto_secretbox::aead::AeadInPlace as _;
use crypto_secretbox::{KeyInit as _, XSalsa20Poly1305};
use data_encoding::BASE64;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, SecretDocument};
use sealstone_spec::key::{SecretKey, Signer as _};
use ssh_key::private::{EcdsaKeypair, Ed25519Keypair, KeypairData};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn ed25519() -> (SecretKey, KeypairData) {
    let seed = [5; 32];
    (
        SecretKey::ed25519_from_seed(&seed).unwrap(),
        Ed25519Keypair::from_seed(&seed).into(),
    )
}

fn p256() -> (SecretKey, KeypairData) {
    let seed = [6; 32];
    let secret = SecretKey::p256_from_seed(&seed).unwrap();
    let spki = secret.public_key().to_spki_der();
    // The point is what ends an SPKI document.
    let public = ssh_key::sec1::EncodedPoint::from_bytes(&spki[spki.len() - 65..]).unwrap();
    let pair = EcdsaKeypair::NistP256 {
        public,
        private: seed.into(),
    };
    (secret, KeypairData::Ecdsa(pair))
}

fn write(directory: &Path, text: &str) -> PathBuf {
    let path = directory.join("key");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn openssh_keys_are_read_open_and_locked_in_every_cipher() {
    let directory = tempfile::tempdir().unwrap();
    for (expected, pair) in [ed25519(), p256()] {
        let key = ssh_key::PrivateKey::new(pair, "me@host").unwrap();
        let open = key.to_openssh(ssh_key::LineEnding::LF).unwrap();
        let path = write(directory.path(), &open);
        let read = read_secret(&path, &mut Passphrases::none()).unwrap();
        assert_eq!(read.public_key(), expected.public_key());

        for cipher in [
            ssh_key::Cipher::Aes256Ctr,
            ssh_key::Cipher::Aes256Cbc,
            ssh_key::Cipher::Aes256Gcm,
            ssh_key::Cipher::ChaCha20Poly1305,
        ] {
            let kdf = ssh_key::Kdf::Bcrypt {
                salt: vec![9; 16],
                rounds: 2,
            };
            let locked = key.encrypt_with(cipher, kdf, 7, "pw").unwrap();
            let locked = locked.to_openssh(ssh_key::LineEnding::LF).unwrap();
            let path = write(directory.path(), &locked);
            let read = read_secret(&path, &mut fixed("pw")).unwrap();
            assert_eq!(read.public_key(), expected.public_key(), "{cipher}");
            let error = read_secret(&path, &mut fixed("wrong")).unwrap_err();
            assert_eq!(error.outcome(), Outcome::Refused, "{cipher}");
        }
    }
}

#[test]
fn an_openssh_key_that_was_changed_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let key = ssh_key::PrivateKey::new(ed25519().1, "c").unwrap();
    let bytes = key.to_bytes().unwrap();
    for position in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[position] ^= 1;
        let text = format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
            BASE64.encode(&changed)
        );
        let path = write(directory.path(), &text);
        if let Ok(read) = read_secret(&path, &mut fixed("pw")) {
            // The comment is nobody's.
            assert_eq!(read.public_key(), ed25519().0.public_key(), "{position}");
            assert_eq!(changed[position], b'c' ^ 1, "{position}");
        }
    }
}

#[test]
fn keys_of_ssh_keygen_are_read() {
    if Command::new("ssh-keygen").arg("-?").output().is_err() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for (number, kind) in ["ed25519", "ecdsa", "rsa"].into_iter().enumerate() {
        let path = directory.path().join(number.to_string());
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", "long enough", "-a", "4", "-f"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        if kind == "rsa" {
            let error = read_secret(&path, &mut fixed("long enough")).unwrap_err();
            assert!(error.to_string().contains("\"ssh-rsa\""), "{error}");
            continue;
        }
        let key = read_secret(&path, &mut fixed("long enough")).unwrap();
        let public = read_public(&path.with_extension("pub")).unwrap();
        assert_eq!(key.public_key(), &public);
        let listed = Command::new("ssh-keygen").arg("-lf").arg(&path).output();
        let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
        assert!(listed.contains(&public.id().to_string()), "{listed}");
    }
    // The one key in 256 whose number begins with a zero byte: ssh-keygen leaves that byte away.
    let mut seed = [7; 32];
    seed[0] = 0;
    let short = SecretKey::p256_from_seed(&seed).unwrap();
    let path = write(
        directory.path(),
        &format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            BASE64.encode(&short.to_pkcs8_der())
        ),
    );
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let made = Command::new("ssh-keygen")
        .args(["-q", "-p", "-N", "long enough", "-f"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    assert!(fs::read_to_string(&path).unwrap().contains("OPENSSH"));
    let read = read_secret(&path, &mut fixed("long enough")).unwrap();
    assert_eq!(read.public_key(), short.public_key());
}

fn cosign_key(label: &str, password: &str, cost: u8) -> String {
    let salt = [3; 32];
    let mut key = [0; 32];
    let parameters = scrypt::Params::new(cost, 8, 1).unwrap();
    scrypt::scrypt(password.as_bytes(), &salt, &parameters, &mut key).unwrap();
    let mut content = p256().0.to_pkcs8_der().to_vec();
    let nonce = [4; 24];
    XSalsa20Poly1305::new((&key).into())
        .encrypt_in_place((&nonce).into(), b"", &mut content)
        .unwrap();
    let json = serde_json::json!({
        "kdf": {"name": "scrypt", "params": {"N": 1 << cost, "r": 8, "p": 1}, "salt": BASE64.encode(&salt)},
        "cipher": {"name": "nacl/secretbox", "nonce": BASE64.encode(&nonce)},
        "ciphertext": BASE64.encode(&content),
    });
    let body = BASE64.encode(json.to_string().as_bytes());
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

#[test]
fn keys_of_cosign_are_read_of_both_names() {
    let directory = tempfile::tempdir().unwrap();
    for label in [
        "ENCRYPTED SIGSTORE PRIVATE KEY",
        "ENCRYPTED COSIGN PRIVATE KEY",
    ] {
        let path = write(directory.path(), &cosign_key(label, "pw", 15));
        let key = read_secret(&path, &mut fixed("pw")).unwrap();
        assert_eq!(key.public_key(), p256().0.public_key());
        let error = read_secret(&path, &mut fixed("wrong")).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Refused);
    }
    let label = "ENCRYPTED SIGSTORE PRIVATE KEY";
    let path = write(directory.path(), &cosign_key(label, "", 15));
    read_secret(&path, &mut Passphrases::none()).unwrap();
    let path = write(directory.path(), &cosign_key(label, "", 4));
    let error = read_secret(&path, &mut Passphrases::none()).unwrap_err();
    assert!(error.to_string().contains("scrypt parameters"), "{error}");
}

#[test]
fn keys_of_other_algorithms_are_named() {
    if Command::new("openssl").arg("version").output().is_err() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    for (arguments, name) in [
        (
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"][..],
            "ECDSA P-384",
        ),
        (
            &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"],
            "algorithm RSA",
        ),
        (&["-algorithm", "ed448"], "Ed448"),
    ] {
        let made = Command::new("openssl")
            .arg("genpkey")
            .args(arguments)
            .arg("-out")
            .arg(&path)
            .output()
            .unwrap();
        assert!(made.status.success());
        let error = read_secret(&path, &mut Passphrases::none()).unwrap_err();
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
}

#[test]
fn a_key_file_that_asks_for_endless_work_is_refused_before_a_passphrase_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.key");
    let refusal = |parameters: Parameters| -> String {
        let info = EncryptedPrivateKeyInfoRef {
            encryption_algorithm: parameters.into(),
            encrypted_data: OctetStringRef::new(&[0; 48]).unwrap(),
        };
        let document = SecretDocument::try_from(info).unwrap();
        let text = document
            .to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF)
            .unwrap();
        fs::write(&path, text.as_bytes()).unwrap();
        let error = read_secret(&path, &mut Passphrases::none()).unwrap_err();
        error.to_string()
    };
    let iterations = |count: u32| {
        Parameters::generate_pbkdf2_sha256_aes256cbc(count, &[7; 16], [0; 16]).unwrap()
    };
    let found = refusal(iterations(10_000_001));
    assert!(found.contains("10000001 iterations"), "{found}");
    // What is within the limit is a matter of the passphrase alone.
    let found = refusal(iterations(10_000_000));
    assert!(!found.contains("iterations"), "{found}");
    let scrypt = |cost: u64, block: u16, parallel: u16| {
        let mut parameters = Parameters::generate_scrypt(&mut rand::rngs::SysRng).unwrap();
        let Kdf::Scrypt(scrypt) = &mut parameters.kdf else {
            panic!("it is another function");
        };
        (scrypt.cost_parameter, scrypt.block_size) = (cost, block);
        scrypt.parallelization = parallel;
        parameters
    };
    for (cost, block, parallel) in [
        (1 << 21, 8, 1),
        (1 << 40, 8, 1),
        (1 << 63, u16::MAX, u16::MAX),
        (1 << 14, 8, u16::MAX),
        (3, 8, 1),
        (0, 8, 1),
    ] {
        let found = refusal(scrypt(cost, block, parallel));
        assert!(found.contains(&format!("N={cost}")), "{found}");
    }
    let found = refusal(scrypt(1 << 20, 8, 1));
    assert!(!found.contains("N="), "{found}");
}
