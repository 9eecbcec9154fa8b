//! The log's key: a PKCS#8 file, made at the first start.

use super::Error;
use crate::file;
use data_encoding::BASE64;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::log::{KeyKind, VerifierKey};
use std::path::Path;

/// A secret key with its public side. It is in no debug output.
pub struct LogKey {
    verifier: VerifierKey,
    secret: SecretKey,
}

impl std::fmt::Debug for LogKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogKey({})", self.verifier)
    }
}

impl LogKey {
    /// From a key in memory.
    ///
    /// # Errors
    /// If it is not Ed25519 or the name cannot be one.
    pub fn new(name: &str, kind: KeyKind, secret: SecretKey) -> Result<LogKey, Error> {
        let verifier = VerifierKey::new(name, kind, secret.public_key().clone())?;
        Ok(LogKey { verifier, secret })
    }

    /// What others check with.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// What signs.
    pub fn secret(&self) -> &SecretKey {
        &self.secret
    }
}

/// Reads the key in `path`, or makes one there if there is none and `may_make` says so.
///
/// # Errors
/// If the file cannot be read, is no unencrypted Ed25519 key, or is missing where it must not be.
pub fn load_or_make(
    path: &Path,
    name: &str,
    kind: KeyKind,
    may_make: bool,
) -> Result<LogKey, Error> {
    LogKey::new(name, kind, load_or_make_secret(path, may_make)?)
}

/// The same for a key that has no name.
///
/// # Errors
/// As [`load_or_make`], and Ed25519 is not asked for.
pub fn load_or_make_secret(path: &Path, may_make: bool) -> Result<SecretKey, Error> {
    let problem = |problem: String| Error::File {
        path: path.to_owned(),
        problem,
    };
    if !path.exists() {
        if !may_make {
            return Err(problem(
                "the key is missing, and something was signed with it that others keep: bring it back"
                    .into(),
            ));
        }
        make(path).map_err(|error| problem(format!("no key can be made there: {error}")))?;
    }
    // Versions before this could leave one behind where a first start was cut, or met a full disk.
    if std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0) {
        return Err(problem(
            "the file is empty. If that is left of a first start that failed, remove it, and the next start makes a key; else bring the key back"
                .into(),
        ));
    }
    let document = PrivatePkcs8KeyDer::from_pem_file(path)
        .map_err(|error| problem(format!("it is no unencrypted PKCS#8 key in PEM: {error}")))?;
    SecretKey::from_pkcs8_der(document.secret_pkcs8_der())
        .map_err(|error| problem(error.to_string()))
}

fn make(path: &Path) -> std::io::Result<()> {
    let seed: [u8; 32] = rand::random();
    let secret = SecretKey::ed25519_from_seed(&seed).map_err(std::io::Error::other)?;
    let encoded = BASE64.encode(&secret.to_pkcs8_der());
    let lines: Vec<&str> = encoded
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    let text = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    );
    file::make_secret(path, text.as_bytes())
}
