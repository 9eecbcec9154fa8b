//! OpenSSH private keys: the container of PROTOCOL.key (`OPENSSH PRIVATE KEY`).
//!
//! Owns the container and the section within it. Does not decrypt: whoever has the passphrase derives
//! the key, decrypts [`OpensshPrivateKey::section`] and hands it to [`OpensshPrivateKey::open`].
//! Invariant: a private key comes out only if its public half is the one that the container states.

use super::ssh::{self, Fields};
use super::{KeyError, PublicKey, SecretKey, Signer as _, malformed};
use zeroize::Zeroizing;

const MAGIC: &[u8] = b"openssh-key-v1\0";
/// Largest block of any cipher that OpenSSH uses here, hence the longest padding.
const MAX_PADDING: usize = 16;

/// A container, its section still locked if it has a cipher.
pub struct OpensshPrivateKey {
    /// Name of the cipher; `none` if the key is open.
    pub cipher: String,
    /// Name of the function that makes a key of a passphrase: `bcrypt` or `none`.
    pub kdf: String,
    /// Its salt.
    pub salt: Vec<u8>,
    /// Its rounds.
    pub rounds: u32,
    /// The public key, which is never locked.
    pub public: PublicKey,
    /// The private section as it stands in the file.
    pub section: Zeroizing<Vec<u8>>,
    /// Tag of ciphers that authenticate; empty for others.
    pub tag: Vec<u8>,
}

impl OpensshPrivateKey {
    /// Reads the content of the PEM block.
    ///
    /// # Errors
    /// If it is no such container, holds other than one key, or a key of another algorithm.
    pub fn parse(content: &[u8]) -> Result<OpensshPrivateKey, KeyError> {
        let rest = content
            .strip_prefix(MAGIC)
            .ok_or_else(|| wrong("it does not begin with \"openssh-key-v1\""))?;
        let mut fields = Fields(rest);
        let text = |bytes: &[u8]| {
            std::str::from_utf8(bytes)
                .map(str::to_owned)
                .map_err(|_| wrong("a name in it is no text"))
        };
        let cipher = text(fields.next()?)?;
        let kdf = text(fields.next()?)?;
        let mut options = Fields(fields.next()?);
        let (salt, rounds) = match kdf.as_str() {
            "none" => (Vec::new(), 0),
            "bcrypt" => (options.next()?.to_vec(), options.number()?),
            other => return Err(wrong(&format!("its key function \"{other}\" is not known"))),
        };
        if !options.0.is_empty() || (cipher == "none") != (kdf == "none") {
            return Err(wrong("its cipher and key function do not fit together"));
        }
        if fields.number()? != 1 {
            return Err(wrong("it holds more than one key"));
        }
        let public = ssh::read_blob(fields.next()?)?;
        let section = Zeroizing::new(fields.next()?.to_vec());
        let tag = fields.0.to_vec();
        if tag.len() > MAX_PADDING || (cipher == "none" && !tag.is_empty()) {
            return Err(wrong("there are bytes after its end"));
        }
        Ok(OpensshPrivateKey {
            cipher,
            kdf,
            salt,
            rounds,
            public,
            section,
            tag,
        })
    }

    /// Whether the section has to be decrypted first.
    pub fn is_locked(&self) -> bool {
        self.cipher != "none"
    }

    /// Reads the decrypted section; `None` if its check numbers differ, which is how a wrong
    /// passphrase shows.
    ///
    /// # Errors
    /// If it is malformed, or its key is not the one that the container states.
    pub fn open(&self, section: &[u8]) -> Result<Option<SecretKey>, KeyError> {
        let mut fields = Fields(section);
        if fields.number()? != fields.number()? {
            return Ok(None);
        }
        let secret = match fields.next()? {
            kind if kind == ssh::ED25519.as_bytes() => {
                let public = fields.next()?;
                // The seed, then the public key again.
                let pair = fields.next()?;
                let (seed, again) = pair
                    .split_first_chunk::<32>()
                    .ok_or_else(|| wrong("its private half is too short"))?;
                if again != public {
                    return Err(wrong("its two public halves differ"));
                }
                SecretKey::ed25519_from_seed(seed)?
            }
            kind if kind == ssh::P256.as_bytes() => {
                let _curve = fields.next()?;
                let _point = fields.next()?;
                SecretKey::p256_from_seed(&*scalar(fields.next()?)?)?
            }
            other => {
                return Err(KeyError::UnsupportedAlgorithm(format!(
                    "\"{}\"",
                    String::from_utf8_lossy(other).escape_debug()
                )));
            }
        };
        let _comment = fields.next()?;
        let padding = (1u8..).zip(fields.0).all(|(due, found)| due == *found);
        if fields.0.len() >= MAX_PADDING || !padding {
            return Err(wrong("its padding is not that of the format"));
        }
        if *secret.public_key() != self.public {
            return Err(wrong("its private key is not that of its public key"));
        }
        Ok(Some(secret))
    }
}

impl std::fmt::Debug for OpensshPrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "OpensshPrivateKey({:?}, cipher {})",
            self.public, self.cipher
        )
    }
}

/// A number of SSH's `mpint` as 32 bytes: leading zeros are dropped there, and one is added where the
/// first bit is set.
fn scalar(number: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let digits = number.strip_prefix(&[0]).unwrap_or(number);
    let mut bytes = Zeroizing::new([0; 32]);
    let start = bytes
        .len()
        .checked_sub(digits.len())
        .ok_or_else(|| wrong("its private number is too long"))?;
    bytes[start..].copy_from_slice(digits);
    Ok(bytes)
}

fn wrong(problem: &str) -> KeyError {
    malformed("OpenSSH", problem)
}
