//! Targets for private keys: as files hold them, and those of other tools before anything opens them.

use sealstone::keys::{CosignKey, Passphrases, read_secret};
use sealstone_spec::key::{SecretKey, Signer as _};
use std::fs;
use tempfile::TempDir;

/// No file makes whoever reads it spend more on opening it than cosign's own keys do.
pub(super) fn cosign_key(input: &[u8]) -> bool {
    let Ok(locked) = CosignKey::parse(input) else {
        return false;
    };
    assert!(locked.memory() <= 128 << 20, "{} bytes", locked.memory());
    assert!(CosignKey::parse(input).is_ok(), "read twice");
    true
}

thread_local! {
    static FOLDER: TempDir = TempDir::new().expect("there is room for temporary files");
}

/// A file that is read without a passphrase is one key: it signs, and is the same key in PKCS#8. No passphrase is given,
/// so nothing is spent on deriving keys from one: what a locked file asks for is its author's choice.
pub(super) fn private_key(input: &[u8]) -> bool {
    // cosign's keys are tried with the empty passphrase, which takes long; they have a target of their own.
    let text = String::from_utf8_lossy(input);
    if text.contains("SIGSTORE PRIVATE KEY") || text.contains("COSIGN PRIVATE KEY") {
        return false;
    }
    let read = FOLDER.with(|folder| {
        let path = folder.path().join("a.key");
        fs::write(&path, input).expect("there is room for temporary files");
        read_secret(&path, &mut Passphrases::none())
    });
    let Ok(secret) = read else {
        return false;
    };
    let signature = secret.sign(input).expect("a key in memory signs");
    assert!(secret.public_key().verify(input, &signature).is_ok());
    let again = SecretKey::from_pkcs8_der(&secret.to_pkcs8_der()).expect("its own form");
    assert_eq!(again.public_key(), secret.public_key());
    true
}
