//! Keys of `cosign generate-key-pair`: PKCS#8, locked with scrypt and NaCl's secretbox, as JSON in PEM.
//!
//! Source: go-securesystemslib, encrypted. Read only: what Sealstone writes is PKCS#8, which every tool
//! opens, cosign's import among them.

use crypto_secretbox::aead::AeadInPlace as _;
use crypto_secretbox::{KeyInit as _, Nonce, XSalsa20Poly1305};
use data_encoding::BASE64;
use sealstone_spec::canonical::parse_strict;
use serde::Deserialize;
use zeroize::Zeroizing;

const MAX_BYTES: usize = 16 * 1024;
/// Costs that cosign writes or has written, as powers of two: memory is 1 KiB for each.
const COSTS: std::ops::RangeInclusive<u32> = 14..=17;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    kdf: WireKdf,
    cipher: WireCipher,
    ciphertext: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireKdf {
    name: String,
    params: WireParameters,
    salt: String,
}

#[derive(Deserialize)]
struct WireParameters {
    #[serde(rename = "N")]
    cost: u32,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCipher {
    name: String,
    nonce: String,
}

/// A locked key of cosign.
#[derive(Debug)]
pub struct Locked {
    parameters: scrypt::Params,
    salt: Vec<u8>,
    nonce: [u8; 24],
    ciphertext: Vec<u8>,
}

impl Locked {
    /// Reads the content of the PEM block; an error is a text.
    ///
    /// # Errors
    /// If it is of another form, or asks for more work than cosign ever does.
    pub fn parse(content: &[u8]) -> Result<Locked, String> {
        let wire: Wire = parse_strict(content, MAX_BYTES).map_err(|error| error.to_string())?;
        if wire.kdf.name != "scrypt" || wire.cipher.name != "nacl/secretbox" {
            return Err(format!(
                "it is locked with \"{}\" and \"{}\"; scrypt and nacl/secretbox are known",
                wire.kdf.name.escape_debug(),
                wire.cipher.name.escape_debug()
            ));
        }
        let WireParameters { cost, r, p } = wire.kdf.params;
        if !cost.is_power_of_two() || !COSTS.contains(&cost.ilog2()) || r != 8 || p != 1 {
            return Err(format!(
                "its scrypt parameters N={cost}, r={r}, p={p} are none that cosign writes"
            ));
        }
        let log = u8::try_from(cost.ilog2()).map_err(|error| error.to_string())?;
        let decode = |what: &str, text: &str| {
            BASE64
                .decode(text.as_bytes())
                .map_err(|error| format!("its {what} is no base64: {error}"))
        };
        Ok(Locked {
            parameters: scrypt::Params::new(log, r, p).map_err(|error| error.to_string())?,
            salt: decode("salt", &wire.kdf.salt)?,
            nonce: decode("nonce", &wire.cipher.nonce)?
                .try_into()
                .map_err(|_| "its nonce has not 24 bytes".to_owned())?,
            ciphertext: decode("ciphertext", &wire.ciphertext)?,
        })
    }

    /// Bytes of memory that opening it takes.
    pub fn memory(&self) -> u64 {
        (128 * u64::from(self.parameters.r())) << self.parameters.log_n()
    }

    /// The PKCS#8 document; `None` if the passphrase does not open it.
    pub(super) fn open(&self, passphrase: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut key = Zeroizing::new([0; 32]);
        scrypt::scrypt(passphrase, &self.salt, &self.parameters, key.as_mut()).ok()?;
        let secretbox = XSalsa20Poly1305::new(key.as_ref().into());
        let mut plain = self.ciphertext.clone();
        secretbox
            .decrypt_in_place(Nonce::from_slice(&self.nonce), b"", &mut plain)
            .ok()?;
        Some(Zeroizing::new(plain))
    }
}
