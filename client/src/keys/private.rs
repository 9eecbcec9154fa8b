//! Private keys read from files, in every form that people have them in.
//!
//! | form | made by | locked with |
//! | --- | --- | --- |
//! | `PRIVATE KEY`, `ENCRYPTED PRIVATE KEY` | sealstone keygen, openssl | PBES2 |
//! | `OPENSSH PRIVATE KEY` | ssh-keygen | bcrypt and AES |
//! | `ENCRYPTED SIGSTORE PRIVATE KEY`, `ENCRYPTED COSIGN PRIVATE KEY` | cosign | scrypt and NaCl's secretbox |
//!
//! Owns recognising and unlocking. What a key is, is `sealstone_spec::key`'s.
//! Invariant: an error never shows a byte of the key.

use super::files::read_text;
use super::{Passphrases, cosign, openssh};
use crate::error::{Error, Result};
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::Decode as _;
use sealstone_spec::key::{Pem, SecretKey};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

pub(super) const LOCKED_LABEL: &str = "ENCRYPTED PRIVATE KEY";
pub(super) const OPEN_LABEL: &str = "PRIVATE KEY";
const OPENSSH_LABEL: &str = "OPENSSH PRIVATE KEY";
const COSIGN_LABELS: [&str; 2] = [
    "ENCRYPTED SIGSTORE PRIVATE KEY",
    "ENCRYPTED COSIGN PRIVATE KEY",
];

/// Forms that are not read, and what to do about each.
const OTHER_FORMS: [(&str, &str); 6] = [
    (
        "EC PRIVATE KEY",
        "convert it: openssl pkcs8 -topk8 -in OLD -out NEW.key",
    ),
    (
        "RSA PRIVATE KEY",
        "RSA keys are not supported: make an Ed25519 key with `sealstone keygen`",
    ),
    (
        "DSA PRIVATE KEY",
        "DSA keys are not supported: make an Ed25519 key with `sealstone keygen`",
    ),
    (
        "PUBLIC KEY",
        "this is the public key: give the private one that belongs to it",
    ),
    ("CERTIFICATE", "this is a certificate: give the private key"),
    (
        "SSH2 ENCRYPTED PRIVATE KEY",
        "convert it: ssh-keygen -p -f KEY writes the form that is read",
    ),
];

/// Reads a private key in any of the forms above.
///
/// # Errors
/// If the file cannot be read, is of another form or algorithm, or its passphrase is wrong.
pub fn read_secret(path: &Path, passphrases: &mut Passphrases<'_>) -> Result<SecretKey> {
    let text = read_text(path)?;
    let unusable = |problem: String| {
        Error::usage(format!(
            "\"{}\" is no private key that can be used: {problem}",
            path.display()
        ))
    };
    let pem = Pem::parse(&text).map_err(|error| match other_form(&text) {
        Some((form, hint)) => unusable(format!("it is of the form \"{form}\"")).hint(hint),
        None => unusable(error.to_string()),
    })?;
    let content = pem.content.as_slice();
    match pem.label.as_str() {
        OPEN_LABEL => {
            warn_if_readable_by_others(path);
            SecretKey::from_pkcs8_der(content).map_err(|error| unusable(error.to_string()))
        }
        LOCKED_LABEL => {
            let info = EncryptedPrivateKeyInfoRef::from_der(content)
                .map_err(|error| unusable(error.to_string()))?;
            let plain =
                passphrases.unlock(path, |passphrase| info.decrypt(passphrase.bytes()).ok())?;
            SecretKey::from_pkcs8_der(plain.as_bytes()).map_err(|error| unusable(error.to_string()))
        }
        OPENSSH_LABEL => {
            let key = openssh::Container::parse(content).map_err(unusable)?;
            if !key.is_locked() {
                warn_if_readable_by_others(path);
                return key.open(None).map_err(unusable)?.ok_or_else(|| {
                    unusable("its two check numbers differ: the file is damaged".to_owned())
                });
            }
            passphrases
                .unlock(path, |passphrase| key.open(Some(passphrase)).transpose())?
                .map_err(unusable)
        }
        label if COSIGN_LABELS.contains(&label) => {
            let locked = cosign::Locked::parse(content).map_err(unusable)?;
            // cosign asks for a password and takes an empty one, so many keys have it.
            let plain = match locked.open(&[]) {
                Some(plain) => {
                    warn_if_readable_by_others(path);
                    plain
                }
                None => passphrases.unlock(path, |passphrase| locked.open(passphrase.bytes()))?,
            };
            SecretKey::from_pkcs8_der(&plain).map_err(|error| unusable(error.to_string()))
        }
        other => {
            let error = unusable(format!("its PEM label is \"{other}\""));
            Err(match other_form(&text) {
                Some((_, hint)) => error.hint(hint),
                None => error,
            })
        }
    }
}

fn other_form(text: &str) -> Option<(&'static str, &'static str)> {
    OTHER_FORMS
        .into_iter()
        .find(|(label, _)| text.contains(&format!("-----BEGIN {label}-----")))
}

fn warn_if_readable_by_others(path: &Path) {
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(
            key.file = %path.display(),
            "private key has no passphrase and others can read it: chmod 600 it"
        );
    }
}
