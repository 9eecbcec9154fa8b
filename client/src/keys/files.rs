//! Key files written, and public ones read.
//!
//! Written: PKCS#8 PEM, locked by PBES2 (scrypt, AES-256-CBC; the parameters that OpenSSL 3 opens
//! too), and SPKI PEM. Read: SPKI PEM and OpenSSH's lines; private keys are `private`'s.

use super::private::{LOCKED_LABEL, OPEN_LABEL};
use super::{KeyPair, Passphrase};
use crate::error::{Error, Result};
use pkcs8::{LineEnding, PrivateKeyInfoRef, SecretDocument, pkcs5};
use sealstone_spec::key::{ListedKey, PublicKey, SecretKey, Signer as _};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest key file that is read, in bytes.
const MAX_BYTES: u64 = 256 * 1024;

/// The four files of a key pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFiles {
    /// The Ed25519 key: `NAME.key`.
    pub key: PathBuf,
    /// Its public key: `NAME.pub`.
    pub public: PathBuf,
    /// The P-256 companion: `NAME-p256.key`.
    pub companion_key: PathBuf,
    /// The companion's public key: `NAME-p256.pub`.
    pub companion_public: PathBuf,
}

impl KeyFiles {
    /// The files of the key at `out`, which is a directory and a name; `sealstone` in `out` if that
    /// is a directory, and a `.key` at its end is left away.
    pub fn at(out: &Path) -> KeyFiles {
        let base = if out.is_dir() {
            out.join("sealstone")
        } else {
            out.to_owned()
        };
        let base = if base.extension().is_some_and(|extension| extension == "key") {
            base.with_extension("")
        } else {
            base
        };
        let with = |suffix: &str| {
            let mut name = base.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        KeyFiles {
            key: with(".key"),
            public: with(".pub"),
            companion_key: with("-p256.key"),
            companion_public: with("-p256.pub"),
        }
    }

    fn all(&self) -> [&Path; 4] {
        [
            &self.key,
            &self.public,
            &self.companion_key,
            &self.companion_public,
        ]
    }

    /// Writes the pair: all four files, or none. `None` as passphrase leaves the private keys open.
    ///
    /// # Errors
    /// If one of the files exists, which is never overwritten, or cannot be written.
    pub fn write(&self, pair: &KeyPair, passphrase: Option<&Passphrase>) -> Result<()> {
        if let Some(taken) = self
            .all()
            .into_iter()
            .find(|path| path.symlink_metadata().is_ok())
        {
            return Err(taken_error(taken));
        }
        if let Some(directory) = self
            .key
            .parent()
            .filter(|path| !path.as_os_str().is_empty())
        {
            fs::create_dir_all(directory).map_err(|source| {
                Error::io(format!("making \"{}\"", directory.display()), source)
            })?;
        }
        let texts = [
            (&self.key, private_pem(&pair.ed25519, passphrase)?, 0o600),
            (
                &self.public,
                Zeroizing::new(pair.ed25519.public_key().to_pem()),
                0o644,
            ),
            (
                &self.companion_key,
                private_pem(&pair.p256, passphrase)?,
                0o600,
            ),
            (
                &self.companion_public,
                Zeroizing::new(pair.p256.public_key().to_pem()),
                0o644,
            ),
        ];
        for (position, (path, text, mode)) in texts.iter().enumerate() {
            if let Err(error) = write_new(path, text, *mode) {
                // Only what this call made: the file that was in the way is somebody else's.
                for (made, ..) in &texts[..position] {
                    let _ = fs::remove_file(made);
                }
                return Err(error);
            }
        }
        Ok(())
    }
}

fn taken_error(path: &Path) -> Error {
    Error::conflict(format!("\"{}\" exists already", path.display()))
        .hint("a key is never overwritten: choose another name with --out")
}

/// The companion's file beside a key: `NAME-p256.key` for `NAME.key`, if it exists.
pub fn companion_of(key: &Path) -> Option<PathBuf> {
    let name = key.file_name()?.to_str()?.strip_suffix(".key")?;
    if name.ends_with("-p256") {
        return None;
    }
    let companion = key.with_file_name(format!("{name}-p256.key"));
    companion.is_file().then_some(companion)
}

/// Reads a public key: SPKI PEM, or one line of OpenSSH.
///
/// # Errors
/// If the file cannot be read or holds no key that can be used.
pub fn read_public(path: &Path) -> Result<PublicKey> {
    let text = read_text(path)?;
    PublicKey::parse(&text).map_err(|error| {
        Error::usage(format!("\"{}\" is no public key", path.display())).source(error)
    })
}

/// Reads every public key of a file: SPKI PEM, a `.pub` file, `authorized_keys` or `allowed_signers`.
///
/// # Errors
/// If the file cannot be read, or one of its lines is no key that can be used.
pub fn read_public_list(path: &Path) -> Result<Vec<ListedKey>> {
    let text = read_text(path)?;
    PublicKey::parse_list(&text).map_err(|error| {
        Error::usage(format!("\"{}\" is no list of public keys", path.display())).source(error)
    })
}

pub(super) fn read_text(path: &Path) -> Result<Zeroizing<String>> {
    let what = || format!("reading the key \"{}\"", path.display());
    let file = fs::File::open(path).map_err(|source| Error::io(what(), source))?;
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_BYTES)
        .read_to_string(&mut text)
        .map_err(|source| Error::io(what(), source))?;
    Ok(text)
}

fn private_pem(key: &SecretKey, passphrase: Option<&Passphrase>) -> Result<Zeroizing<String>> {
    let broken = |error: pkcs8::Error| Error::other("cannot lock the private key").source(error);
    let plain = key.to_pkcs8_der();
    let Some(passphrase) = passphrase else {
        let document = SecretDocument::try_from(plain.as_slice())
            .map_err(|error| broken(pkcs8::Error::from(error)))?;
        return document
            .to_pem(OPEN_LABEL, LineEnding::LF)
            .map_err(|error| broken(pkcs8::Error::from(error)));
    };
    let parameters = pkcs5::pbes2::Parameters::generate_scrypt(&mut rand::rngs::SysRng)
        .map_err(|_| Error::other("cannot draw the salt of a private key"))?;
    PrivateKeyInfoRef::try_from(plain.as_slice())
        .and_then(|info| info.encrypt_with_params(parameters, passphrase.bytes()))
        .and_then(|document| Ok(document.to_pem(LOCKED_LABEL, LineEnding::LF)?))
        .map_err(broken)
}

/// Writes a file that must not exist, complete or not at all.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<()> {
    let what = || format!("writing \"{}\"", path.display());
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".partial-")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(directory)
        .map_err(|source| Error::io(what(), source))?;
    file.write_all(text.as_bytes())
        .and_then(|()| {
            file.as_file()
                .set_permissions(fs::Permissions::from_mode(mode))
        })
        .and_then(|()| file.as_file().sync_all())
        .map_err(|source| Error::io(what(), source))?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(taken_error(path))
        }
        Err(error) => Err(Error::io(what(), error.error)),
    }
}
