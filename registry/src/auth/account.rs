//! Accounts: people and machines that have a name and a secret.
//!
//! Owns: their shape and the grammar of their names. Does not own: where they are kept (`directory`).
//! Invariant: an [`AccountName`] has no colon, blank, slash or control character, so it is safe in
//! Basic credentials, keys, log lines and URLs. An account holds a hash, never a secret.

use super::password::SecretHash;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// Longest account name, in bytes.
pub const MAX_ACCOUNT_NAME_LEN: usize = 128;

/// A text that is no account name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "account name \"{0}\" is not valid: start with a letter or digit, then letters, digits and . _ - + @, {MAX_ACCOUNT_NAME_LEN} characters at most"
)]
pub struct AccountNameError(String);

/// The name of an account. Users and robots share one space of names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountName(String);

impl AccountName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountName {
    type Err = AccountNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.as_bytes();
        let valid = bytes.len() <= MAX_ACCOUNT_NAME_LEN
            && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.iter().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'@')
            });
        if valid {
            Ok(AccountName(text.to_owned()))
        } else {
            let shown: String = text
                .chars()
                .take(100)
                .flat_map(char::escape_default)
                .collect();
            Err(AccountNameError(shown))
        }
    }
}

impl TryFrom<String> for AccountName {
    type Error = AccountNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AccountName> for String {
    fn from(name: AccountName) -> String {
        name.0
    }
}

impl Borrow<str> for AccountName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for AccountName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Person or machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountKind {
    /// A person; rules name it `user:…`.
    User,
    /// A machine; rules name it `robot:…`.
    Robot,
}

/// An account as the directory keeps it. Serialisable for the store; what a client sees is the
/// API's own shape, without the hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its name, unique among users and robots.
    pub name: AccountName,
    /// Person or machine.
    pub kind: AccountKind,
    /// The hash of its secret.
    pub secret_hash: SecretHash,
    /// Whether it holds every verb everywhere and administers accounts.
    pub admin: bool,
    /// Whether it is shut out for now.
    pub disabled: bool,
    /// When it was made. API tokens from before that belonged to an earlier account of the same name and are refused.
    pub created_at: Timestamp,
    /// From when on it is shut out.
    pub expires_at: Option<Timestamp>,
}

impl Account {
    /// Whether it may log in at `now`.
    pub fn is_active(&self, now: Timestamp) -> bool {
        !self.disabled && self.expires_at.is_none_or(|end| now < end)
    }

    /// What tells this account with this secret from any other that had or will have its name: a hash, which proves
    /// nothing to whoever reads it.
    pub fn mark(&self) -> String {
        let of = format!("{} {}", self.created_at, self.secret_hash.mark());
        let hash: [u8; 32] = Sha256::digest(of.as_bytes()).into();
        HEXLOWER.encode(&hash)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_follow_the_grammar() {
        for good in [
            "a",
            "alice",
            "Alice.B",
            "ci-1",
            "a@b.example",
            "9",
            &"a".repeat(128),
        ] {
            assert!(good.parse::<AccountName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".a",
            "-a",
            "a:b",
            "a b",
            "a/b",
            "a\n",
            "ä",
            "a\0",
            &"a".repeat(129),
        ] {
            assert!(bad.parse::<AccountName>().is_err(), "{bad:?}");
            assert!(
                serde_json::from_value::<AccountName>(serde_json::json!(bad)).is_err(),
                "{bad:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn errors_never_carry_control_characters(text in ".{0,300}") {
            if let Err(error) = text.parse::<AccountName>() {
                prop_assert!(!error.to_string().chars().any(char::is_control));
            }
        }
    }
}
