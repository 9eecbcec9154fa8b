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
use pkcs8::pkcs5::EncryptionScheme;
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

/// Iterations of PBKDF2: RFC 8018 calls so many fit for especially critical keys; some ten seconds.
const MAX_ITERATIONS: u32 = 10_000_000;
/// Bytes that scrypt fills, `128 * N * r`: 64 times what `sealstone keygen` and OpenSSL state.
const MAX_SCRYPT_MEMORY: u64 = 1 << 30;
/// Bytes that it fills one after the other, `128 * N * r * p`.
const MAX_SCRYPT_WORK: u64 = 4 << 30;

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
            demand_bounded_work(&info.encryption_algorithm).map_err(unusable)?;
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

/// Refuses what a file states that a try of its passphrase costs, where that is beyond anything that people write: the
/// file is somebody's, and the memory and the hours are those of whoever opens it.
fn demand_bounded_work(scheme: &EncryptionScheme) -> Result<(), String> {
    let Some(parameters) = scheme.pbes2() else {
        return Ok(());
    };
    if let Some(pbkdf2) = parameters.kdf.pbkdf2()
        && pbkdf2.iteration_count > MAX_ITERATIONS
    {
        return Err(format!(
            "its passphrase takes {} iterations of PBKDF2, at most {MAX_ITERATIONS} are made",
            pbkdf2.iteration_count
        ));
    }
    if let Some(scrypt) = parameters.kdf.scrypt() {
        let (cost, block) = (scrypt.cost_parameter, u64::from(scrypt.block_size));
        // RFC 7914; a cost of zero is one that the library does not expect.
        if cost < 2 || !cost.is_power_of_two() {
            return Err(format!(
                "its scrypt cost N={cost} is no power of two above one"
            ));
        }
        let memory = cost.saturating_mul(block).saturating_mul(128);
        let work = memory.saturating_mul(scrypt.parallelization.into());
        if memory > MAX_SCRYPT_MEMORY || work > MAX_SCRYPT_WORK {
            return Err(format!(
                "its passphrase takes scrypt with N={cost}, r={block}, p={}, which is {memory} bytes of memory; \
                 at most {MAX_SCRYPT_MEMORY} are used, {} times",
                scrypt.parallelization,
                MAX_SCRYPT_WORK / MAX_SCRYPT_MEMORY
            ));
        }
    }
    Ok(())
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
