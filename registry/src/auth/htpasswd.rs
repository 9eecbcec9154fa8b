//! `htpasswd` files with bcrypt hashes, as other registries use them.
//!
//! Owns: reading them. Does not own: the file on disk (boot reads it and hands over the text).
//! Invariant: every entry is a bcrypt hash of bounded cost; a file with anything else is refused
//! as a whole, by line number, so that nobody believes an account to work that does not.
//!
//! Its accounts are users without the administrator's flag. An account of the same name in the
//! directory comes first. The file does not say who a name is: it may be the next person's. So an account lasts as
//! long as its hash ([`Htpasswd::marks`]), and another hash is another account, to which no token or session of the one
//! before it belongs. Whoever changes their password makes their tokens anew.

use super::account::{Account, AccountKind, AccountName, AccountNameError};
use super::password::{SecretHash, SecretHashError, is_bcrypt};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};

/// Largest number of entries.
pub const MAX_ENTRIES: usize = 100_000;

/// What is wrong with a file. Lines count from 1. No variant holds a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HtpasswdError {
    /// Not `name:hash`.
    #[error("htpasswd line {line}: no colon found, write NAME:HASH as `htpasswd -B` does")]
    NoColon {
        /// Which line.
        line: usize,
    },
    /// The name is not usable.
    #[error("htpasswd line {line}: {source}")]
    Name {
        /// Which line.
        line: usize,
        /// What is wrong with it.
        source: AccountNameError,
    },
    /// The name was there before.
    #[error("htpasswd line {line}: \"{name}\" is listed twice (first in line {first}), remove one")]
    Twice {
        /// Which line.
        line: usize,
        /// Where it was first.
        first: usize,
        /// Who.
        name: AccountName,
    },
    /// A hash of a kind that is not accepted.
    #[error(
        "htpasswd line {line}: {kind} hashes are not accepted, make a bcrypt one with `htpasswd -B`"
    )]
    Kind {
        /// Which line.
        line: usize,
        /// What it looks like.
        kind: &'static str,
    },
    /// A bcrypt hash that cannot be used.
    #[error("htpasswd line {line}: {source}")]
    Hash {
        /// Which line.
        line: usize,
        /// What is wrong with it.
        source: SecretHashError,
    },
    /// Too long a file.
    #[error("htpasswd line {line}: more than {MAX_ENTRIES} entries, use accounts instead")]
    TooMany {
        /// Which line.
        line: usize,
    },
}

/// The accounts of a file.
#[derive(Clone, Debug, Default)]
pub struct Htpasswd(HashMap<AccountName, Entry>);

#[derive(Clone, Debug)]
struct Entry {
    line: usize,
    hash: SecretHash,
}

impl Htpasswd {
    /// Reads a file's text. Empty lines and lines that start with `#` are skipped.
    ///
    /// # Errors
    /// Names the first line that is not acceptable, and what to do about it.
    pub fn parse(text: &str) -> Result<Htpasswd, HtpasswdError> {
        let mut entries: HashMap<AccountName, Entry> = HashMap::new();
        for (index, text) in text.lines().enumerate() {
            let (line, text) = (index + 1, text.trim());
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let (name, hash) = text
                .split_once(':')
                .ok_or(HtpasswdError::NoColon { line })?;
            let name: AccountName = name
                .parse()
                .map_err(|source| HtpasswdError::Name { line, source })?;
            if !is_bcrypt(hash) {
                return Err(HtpasswdError::Kind {
                    line,
                    kind: kind_of(hash),
                });
            }
            let hash = SecretHash::try_from(hash.to_owned())
                .map_err(|source| HtpasswdError::Hash { line, source })?;
            if let Some(entry) = entries.get(&name) {
                let first = entry.line;
                return Err(HtpasswdError::Twice { line, first, name });
            }
            if entries.len() == MAX_ENTRIES {
                return Err(HtpasswdError::TooMany { line });
            }
            entries.insert(name, Entry { line, hash });
        }
        Ok(Htpasswd(entries))
    }

    /// Whether it has an account of that name.
    pub fn has(&self, name: &AccountName) -> bool {
        self.0.contains_key(name)
    }

    /// What tells each account from the one that had its name before.
    pub fn marks(&self) -> BTreeMap<AccountName, String> {
        self.0
            .iter()
            .map(|(name, entry)| (name.clone(), entry.hash.mark()))
            .collect()
    }

    /// The account of that name, which has been this one since `since`.
    pub fn account(&self, name: &AccountName, since: Timestamp) -> Option<Account> {
        self.0.get(name).map(|entry| Account {
            name: name.clone(),
            kind: AccountKind::User,
            secret_hash: entry.hash.clone(),
            admin: false,
            disabled: false,
            created_at: since,
            expires_at: None,
        })
    }

    /// All hashes; [`Passwords`](super::password::Passwords) wants to know what they cost.
    pub fn hashes(&self) -> Vec<SecretHash> {
        self.0.values().map(|entry| entry.hash.clone()).collect()
    }
}

/// What a hash looks like, for the error. Never the hash itself: it may be a password in clear.
fn kind_of(hash: &str) -> &'static str {
    match hash {
        _ if hash.starts_with("$apr1$") => "MD5 (apr1)",
        _ if hash.starts_with("{SHA}") => "SHA-1",
        _ if hash.starts_with("$1$") => "MD5 (crypt)",
        _ if hash.starts_with("$5$") => "SHA-256 (crypt)",
        _ if hash.starts_with("$6$") => "SHA-512 (crypt)",
        _ if hash.starts_with("$y$") => "yescrypt",
        _ if hash.starts_with("$2x$") => "bcrypt $2x$ (a known-broken variant)",
        _ if hash.starts_with("$argon2") => "argon2",
        _ if hash.len() == 13 => "DES (crypt)",
        _ => "plain text or unknown",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::auth::secret::Secret;
    use proptest::prelude::*;

    const HASH: &str = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK";

    #[test]
    fn bcrypt_files_are_read() {
        let text = format!("# accounts\n\nalice:{HASH}\r\n bob:{HASH}  \n");
        let file = Htpasswd::parse(&text).unwrap();
        for name in ["alice", "bob"] {
            let since = Timestamp::UNIX_EPOCH;
            let account = file.account(&name.parse().unwrap(), since).unwrap();
            assert!(account.secret_hash.verify(&Secret::new("U*U*")));
            assert!(!account.admin);
            assert_eq!(account.kind, AccountKind::User);
        }
        assert!(!file.has(&"carol".parse().unwrap()));
        assert_eq!(file.hashes().len(), 2);
    }

    #[test]
    fn a_mark_follows_the_hash_and_shows_nothing_of_it() {
        let mark = |hash: &str| {
            let file = Htpasswd::parse(&format!("alice:{hash}")).unwrap();
            file.marks().remove("alice").unwrap()
        };
        let other = HASH.replace("CCCCCCCCCCCCCCCCCCCCC.", "abcdefghijklmnopqrstuu");
        assert_eq!(mark(HASH), mark(HASH));
        assert_ne!(mark(HASH), mark(&other));
        assert!(!mark(HASH).contains(&HASH[7..20]));
    }

    #[test]
    fn anything_else_is_refused_by_line_and_never_shown() {
        for (line, expected) in [
            ("alice", "line 2: no colon"),
            ("a b:x", "line 2: account name \"a b\""),
            (":x", "line 2: account name \"\""),
            ("a:$apr1$zz$hunter2", "line 2: MD5 (apr1)"),
            ("a:{SHA}hunter2", "line 2: SHA-1"),
            ("a:$6$zz$hunter2", "line 2: SHA-512 (crypt)"),
            ("a:$2x$05$hunter2", "line 2: bcrypt $2x$"),
            ("a:hunter2", "line 2: plain text or unknown"),
            ("a:", "line 2: plain text or unknown"),
            ("a:$2y$05$hunter2", "line 2: the stored hash is malformed"),
            (
                &format!("a:{}", HASH.replace("$05$", "$31$")),
                "costs too much",
            ),
            (
                &format!("root:{HASH}"),
                "\"root\" is listed twice (first in line 1)",
            ),
        ] {
            let error = Htpasswd::parse(&format!("root:{HASH}\n{line}\n"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{line}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "(\\PC{0,10}:?(\\$2y\\$)?[^\n]{0,60}\n?){0,4}") {
            let _ = Htpasswd::parse(&text);
        }
    }
}
