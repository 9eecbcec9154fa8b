//! API tokens: `sst_` and 58 letters and digits, for scripts and robots.
//!
//! Owns: their text, their hash, what is kept about them. Does not own: where (`directory`), and
//! what their owner may do (`rules`): a token narrows, it gives nothing.
//! Invariants: the text is kept nowhere, only its SHA-256 (256 random bits need no slow hash); the
//! hash is compared in constant time. The checksum lets secret scanners and typing errors be told
//! apart from guesses without asking the store.

use super::account::AccountName;
use super::principal::Restriction;
use super::secret::{Secret, base32, from_base32};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;
use subtle::ConstantTimeEq;

/// What every token starts with.
pub const PREFIX: &str = "sst_";
const RANDOM_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 4;

/// A token in clear, well-formed. Whether it is anybody's is for the directory to say.
#[derive(Clone, Debug)]
pub struct TokenSecret(Secret);

impl TokenSecret {
    /// A fresh one.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> TokenSecret {
        let mut random = [0; RANDOM_BYTES];
        rng.fill_bytes(&mut random);
        let mut bytes = random.to_vec();
        bytes.extend(checksum(&random));
        TokenSecret(Secret::new(format!("{PREFIX}{}", base32(&bytes))))
    }

    /// Reads a token; `None` if it is no token of ours, or has a typing error.
    pub fn parse(text: &str) -> Option<TokenSecret> {
        let bytes = from_base32(text.strip_prefix(PREFIX)?)?;
        if bytes.len() != RANDOM_BYTES + CHECKSUM_BYTES {
            return None;
        }
        let (random, sum) = bytes.split_at(RANDOM_BYTES);
        (sum == checksum(random)).then(|| TokenSecret(Secret::new(text)))
    }

    /// Its hash.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.expose().as_bytes()).into())
    }

    /// The text, to be shown once.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

fn checksum(random: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash: [u8; 32] = Sha256::digest(random).into();
    std::array::from_fn(|index| hash[index])
}

/// SHA-256 of a token's text. Compare with [`TokenHash::is`]; there is no `==` on purpose.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Whether both are the same, in constant time.
    pub fn is(&self, other: &TokenHash) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// The name under which a token with this hash is kept: the hash's first 10 bytes. It leads to
    /// the row; the whole hash is compared then.
    pub fn id(&self) -> TokenId {
        TokenId(base32(&self.0[..TokenId::BYTES]))
    }
}

impl TryFrom<String> for TokenHash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        HEXLOWER
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(TokenHash)
            .ok_or_else(|| "a token's hash is 64 lowercase hexadecimal digits".to_owned())
    }
}

impl From<TokenHash> for String {
    fn from(hash: TokenHash) -> String {
        HEXLOWER.encode(&hash.0)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({}…)", self.id())
    }
}

/// The public name of a token: 16 letters and digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(String);

impl TokenId {
    const BYTES: usize = 10;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is no token's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token's id: use the 16 characters that the list of tokens shows")]
pub struct TokenIdError;

impl FromStr for TokenId {
    type Err = TokenIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match from_base32(text) {
            Some(bytes) if bytes.len() == TokenId::BYTES => Ok(TokenId(text.to_owned())),
            _ => Err(TokenIdError),
        }
    }
}

impl TryFrom<String> for TokenId {
    type Error = TokenIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> String {
        id.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A token as the directory keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiToken {
    /// Its public name; always `hash.id()`.
    pub id: TokenId,
    /// The hash of its text.
    pub hash: TokenHash,
    /// What its owner calls it.
    pub name: String,
    /// Whose it is.
    pub owner: AccountName,
    /// What it is for.
    pub scopes: Restriction,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}

impl ApiToken {
    /// Whether it may be used at `now`.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tokens_have_a_recognisable_form() {
        let token = TokenSecret::generate(&mut rand::rng());
        assert_eq!(token.expose().len(), 62);
        assert!(token.expose().starts_with("sst_"));
        let read = TokenSecret::parse(token.expose()).unwrap();
        assert!(read.hash().is(&token.hash()));
        let other = TokenSecret::generate(&mut rand::rng());
        assert!(!other.hash().is(&token.hash()));
        let id = token.hash().id();
        assert_eq!(id.as_str().parse::<TokenId>().unwrap(), id);
        assert!(!token.expose().contains(id.as_str()));
        assert!(!format!("{token:?}").contains(&token.expose()[4..]));
    }

    #[test]
    fn every_slip_of_the_pen_is_noticed() {
        let text = TokenSecret::generate(&mut rand::rng()).expose().to_owned();
        for index in 0..text.len() {
            for replacement in ["a", "7", "z", "A", "=", "", "é"] {
                let mut slip = text.clone();
                slip.replace_range(index..=index, replacement);
                if slip != text {
                    assert!(TokenSecret::parse(&slip).is_none(), "{slip}");
                }
            }
        }
        for bad in [
            "",
            "sst_",
            "SST_",
            &text[4..],
            &text.to_uppercase(),
            &format!("{text} "),
        ] {
            assert!(TokenSecret::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn hashes_and_ids_are_kept_as_text() {
        let hash = TokenSecret::generate(&mut rand::rng()).hash();
        let text = serde_json::to_string(&hash).unwrap();
        assert!(serde_json::from_str::<TokenHash>(&text).unwrap().is(&hash));
        assert!(serde_json::from_str::<TokenHash>("\"00\"").is_err());
        for bad in [
            "",
            "a",
            "AAAAAAAAAAAAAAAA",
            "aaaaaaaaaaaaaaa/",
            "aaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(bad.parse::<TokenId>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_round_trips(text in "(sst_)?[a-z2-7]{0,70}|.{0,70}") {
            if let Some(token) = TokenSecret::parse(&text) {
                prop_assert_eq!(token.expose(), text);
            }
        }
    }
}
