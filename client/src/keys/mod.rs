//! Keys: made, written, read, unlocked, and those that other programs hold.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `files` | the files of a key: `NAME.key`, `NAME.pub` and the same of its P-256 companion |
//! | `private` | private keys in every form that people have them in |
//! | `openssh`, `cosign` | the locks of those two tools |
//! | `passphrase` | asked for when they are needed, and not twice |
//! | `command` | signing through another program |
//! | `words`, `group` | a command line as words; ending a program with all that it started |
//! | `terminal` | the terminal, lent to a program that asks for a PIN |
//!
//! What a key is and how it signs is `sealstone_spec::key`'s.
//! Invariant: a private key is never written where anybody but its owner can read it, never over
//! another file, and without a passphrase only when that was asked for.

mod command;
mod cosign;
mod files;
mod group;
mod openssh;
mod passphrase;
mod private;
mod terminal;
mod words;

pub use command::{COMMAND_TIME, CommandSigner};
pub use cosign::Locked as CosignKey;
pub use files::{KeyFiles, companion_of, read_public, read_public_list};
pub use passphrase::{Passphrase, Passphrases};
pub use private::read_secret;

use crate::error::{Error, Result};
use rand::TryRng as _;
use sealstone_spec::key::SecretKey;
use zeroize::Zeroizing;

/// A new Ed25519 key and its P-256 companion: one identity with two keys, because OpenSSF Model
/// Signing and transparency logs cannot take Ed25519, and P-256 alone would give up SSH and small keys.
#[derive(Debug)]
pub struct KeyPair {
    /// The key.
    pub ed25519: SecretKey,
    /// Its companion.
    pub p256: SecretKey,
}

impl KeyPair {
    /// Draws both keys from the operating system's random numbers.
    ///
    /// # Errors
    /// If the operating system has no random numbers.
    pub fn generate() -> Result<KeyPair> {
        let ed25519 = SecretKey::ed25519_from_seed(&*random_seed()?)
            .map_err(|error| Error::other("cannot make an Ed25519 key").source(error))?;
        // One draw in 2^32 is no P-256 key; several in a row mean a broken generator.
        for _ in 0..4 {
            if let Ok(p256) = SecretKey::p256_from_seed(&*random_seed()?) {
                return Ok(KeyPair { ed25519, p256 });
            }
        }
        Err(Error::other(
            "the operating system's random numbers make no P-256 key",
        ))
    }
}

fn random_seed() -> Result<Zeroizing<[u8; 32]>> {
    let mut seed = Zeroizing::new([0; 32]);
    rand::rngs::SysRng
        .try_fill_bytes(seed.as_mut())
        .map_err(|error| {
            Error::other("the operating system has no random numbers").source(error)
        })?;
    Ok(seed)
}

#[cfg(test)]
mod tests;
