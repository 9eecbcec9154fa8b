//! Secrets on their way: made once, shown once, compared in constant time.
//!
//! Owns: [`Secret`], which does not print itself, and the making of account secrets.
//! Does not own: how secrets are kept (`password` and `token` keep hashes).
//! Invariant: neither `Debug` nor any error shows the text; [`Secret::expose`] is the one way to it.

use data_encoding::BASE32_NOPAD;
use rand::CryptoRng;
use std::fmt;

/// A secret in clear, for the moment in which it is checked or shown to its owner.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes over a text that is secret from now on.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// A fresh secret of 160 random bits, in letters and digits that survive being read aloud.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Secret {
        let mut bytes = [0; 20];
        rng.fill_bytes(&mut bytes);
        Secret(base32(&bytes))
    }

    /// The text. Call this where the secret is shown to its owner or hashed, nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Lowercase RFC 4648 base32 without padding.
pub(super) fn base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

/// The one inverse of [`base32`]: upper case, padding and loose trailing bits are refused.
pub(super) fn from_base32(text: &str) -> Option<Vec<u8>> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    BASE32_NOPAD
        .decode(text.to_ascii_uppercase().as_bytes())
        .ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn secrets_differ_and_do_not_print_themselves() {
        let (a, b) = (
            Secret::generate(&mut rand::rng()),
            Secret::generate(&mut rand::rng()),
        );
        assert_ne!(a.expose(), b.expose());
        assert_eq!(a.expose().len(), 32);
        assert!(!format!("{a:?}").contains(a.expose()));
    }

    proptest! {
        #[test]
        fn base32_has_one_text_per_value(bytes in prop::collection::vec(any::<u8>(), 0..40), text in "[a-zA-Z2-7=]{0,20}") {
            prop_assert_eq!(from_base32(&base32(&bytes)), Some(bytes));
            if let Some(bytes) = from_base32(&text) {
                prop_assert_eq!(base32(&bytes), text);
            }
        }
    }
}
