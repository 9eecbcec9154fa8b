//! Keys of ssh-keygen: unlocking the section that `sealstone_spec::key::OpensshPrivateKey` reads.
//!
//! ssh-key's own reader is not used for the section: it refuses the one P-256 key in 256 whose number
//! begins with a zero byte, which OpenSSH writes without it.

use super::Passphrase;
use sealstone_spec::key::{KeyError, OpensshPrivateKey, SecretKey};
use ssh_key::cipher::Tag;
use ssh_key::{Cipher, Kdf};
use zeroize::Zeroizing;

/// Most rounds of bcrypt that are run: ssh-keygen writes 16 or 24, and each costs milliseconds.
const MAX_ROUNDS: u32 = 4096;

/// An OpenSSH private key as it stands in its file.
pub(super) struct Container(OpensshPrivateKey);

impl Container {
    /// Reads the content of the PEM block; an error is a text.
    pub(super) fn parse(content: &[u8]) -> Result<Container, String> {
        let key = OpensshPrivateKey::parse(content).map_err(|error| error.to_string())?;
        if key.is_locked() {
            if key.rounds == 0 || key.rounds > MAX_ROUNDS {
                return Err(format!(
                    "its passphrase takes {} rounds of bcrypt, at most {MAX_ROUNDS} are run",
                    key.rounds
                ));
            }
            cipher(&key)?;
        }
        Ok(Container(key))
    }

    pub(super) fn is_locked(&self) -> bool {
        self.0.is_locked()
    }

    /// The private key; `None` if the passphrase does not open it.
    pub(super) fn open(
        &self,
        passphrase: Option<&Passphrase>,
    ) -> Result<Option<SecretKey>, String> {
        let text = |error: KeyError| error.to_string();
        let Some(passphrase) = passphrase else {
            return self.0.open(&self.0.section).map_err(text);
        };
        let Some(section) = self.decrypt(passphrase)? else {
            return Ok(None);
        };
        self.0.open(&section).map_err(text)
    }

    fn decrypt(&self, passphrase: &Passphrase) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        let key = &self.0;
        let cipher = cipher(key)?;
        let kdf = Kdf::Bcrypt {
            salt: key.salt.clone(),
            rounds: key.rounds,
        };
        let (secret, iv) = kdf
            .derive_key_and_iv(cipher, passphrase.bytes())
            .map_err(|error| error.to_string())?;
        let tag = match cipher.has_tag() {
            true => {
                Some(Tag::try_from(key.tag.as_slice()).map_err(|_| "its tag is cut".to_owned())?)
            }
            false => None,
        };
        let mut section = Zeroizing::new(key.section.to_vec());
        // Ciphers that authenticate refuse a wrong key here; the others show it in the check numbers.
        let decrypted = cipher.decrypt(&secret, &iv, &mut section, tag);
        Ok(decrypted.is_ok().then_some(section))
    }
}

fn cipher(key: &OpensshPrivateKey) -> Result<Cipher, String> {
    Cipher::new(&key.cipher).map_err(|_| {
        format!(
            "its cipher \"{}\" is not supported: ssh-keygen -p -f KEY writes it again with a common one",
            key.cipher.escape_debug()
        )
    })
}
