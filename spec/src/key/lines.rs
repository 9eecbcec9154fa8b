//! Lists of public keys as OpenSSH keeps them: `authorized_keys`, `allowed_signers`, `*.pub`.
//!
//! A line is `[options] kind base64 [comment]` or `principals [options] kind base64 [comment]`.
//! Invariant: an option that narrows what a key may do, and that is not enforced here, refuses the
//! line. Options about logins alone say nothing about signatures and are passed over.

use super::{KeyError, MAX_PUBLIC_KEY_BYTES, PublicKey, ssh};

/// Longest list that is read, in bytes.
pub const MAX_LIST_BYTES: usize = 256 * 1024;

/// What a namespace of an `allowed_signers` line must be called to speak of Sealstone's signatures.
const NAMESPACE: &str = "sealstone";

/// Options of `authorized_keys` that concern logins only.
const LOGIN_OPTIONS: [&str; 18] = [
    "agent-forwarding",
    "command",
    "environment",
    "from",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-user-rc",
    "no-x11-forwarding",
    "permitlisten",
    "permitopen",
    "port-forwarding",
    "pty",
    "restrict",
    "tunnel",
    "user-rc",
    "x11-forwarding",
    "no-touch-required",
];

/// Options that narrow a key in ways that nothing here enforces.
const NARROWING_OPTIONS: [&str; 5] = [
    "cert-authority",
    "expiry-time",
    "valid-after",
    "valid-before",
    "verify-required",
];

/// A key of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedKey {
    /// Whose it is, as the list says: the principals of an `allowed_signers` line; empty elsewhere.
    pub principals: Vec<String>,
    /// The key.
    pub key: PublicKey,
}

impl PublicKey {
    /// Reads every key of a text: blocks of SPKI PEM, or lines of OpenSSH.
    ///
    /// # Errors
    /// If any line that is neither empty nor a comment is no key that may be used; names the line.
    ///
    /// ```
    /// use sealstone_spec::key::PublicKey;
    /// let list = "# signers\nalice@example.com,a@example.com ssh-ed25519 \
    ///     AAAAC3NzaC1lZDI1NTE5AAAAIO1JKMYo0cLG6ukDOJBZlWEpWSc6XGP5NjbBRhSshzfR\n";
    /// let keys = PublicKey::parse_list(list).unwrap();
    /// assert_eq!(keys[0].principals, ["alice@example.com", "a@example.com"]);
    /// ```
    pub fn parse_list(text: &str) -> Result<Vec<ListedKey>, KeyError> {
        if text.len() > MAX_LIST_BYTES {
            return Err(KeyError::TooLong(text.len()));
        }
        if text.trim_start().starts_with("-----BEGIN") {
            return blocks(text).map(PublicKey::parse).map(of_nobody).collect();
        }
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.len() > MAX_PUBLIC_KEY_BYTES {
                return Err(KeyError::TooLong(line.len()));
            }
            keys.push(read(line).map_err(|error| KeyError::Line {
                line: index + 1,
                problem: error.to_string(),
            })?);
        }
        if keys.is_empty() {
            return Err(KeyError::UnknownForm);
        }
        Ok(keys)
    }
}

/// The blocks of a PEM file, each from its beginning to the next.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    let starts: Vec<usize> = text
        .match_indices("-----BEGIN ")
        .map(|(at, _)| at)
        .collect();
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([text.len()]).collect();
    starts
        .into_iter()
        .zip(ends)
        .map(|(start, end)| &text[start..end])
}

fn of_nobody(key: Result<PublicKey, KeyError>) -> Result<ListedKey, KeyError> {
    let principals = Vec::new();
    key.map(|key| ListedKey { principals, key })
}

/// Reads one line of either list.
pub(super) fn read(line: &str) -> Result<ListedKey, KeyError> {
    let (first, rest) = field(line);
    if ssh::is_kind(first) {
        return listed(Vec::new(), first, rest);
    }
    let (second, rest) = field(rest);
    if ssh::is_kind(second) {
        if is_options(first) {
            check_options(first)?;
            return listed(Vec::new(), second, rest);
        }
        return listed(principals(first), second, rest);
    }
    let (third, rest) = field(rest);
    if ssh::is_kind(third) {
        check_options(second)?;
        return listed(principals(first), third, rest);
    }
    Err(KeyError::UnknownForm)
}

fn listed(principals: Vec<String>, kind: &str, rest: &str) -> Result<ListedKey, KeyError> {
    let key = ssh::read(kind, rest)?;
    Ok(ListedKey { principals, key })
}

/// The first word, which may hold spaces within quotes, and what follows it.
fn field(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches([' ', '\t']);
    let (mut quoted, mut escaped) = (false, false);
    for (place, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => return (&text[..place], &text[place..]),
            _ => {}
        }
    }
    (text, "")
}

/// Name and value of each option.
fn options(text: &str) -> Vec<(String, &str)> {
    let mut quoted = false;
    text.split(|letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    })
    .map(|option| {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        (name.to_ascii_lowercase(), value.trim_matches('"'))
    })
    .collect()
}

fn is_options(text: &str) -> bool {
    options(text).iter().all(|(name, _)| {
        let name = name.as_str();
        LOGIN_OPTIONS.contains(&name) || NARROWING_OPTIONS.contains(&name) || name == "namespaces"
    })
}

fn check_options(text: &str) -> Result<(), KeyError> {
    for (name, value) in options(text) {
        let is_for_us = || {
            value
                .split(',')
                .any(|each| each == NAMESPACE || each == "*")
        };
        if LOGIN_OPTIONS.contains(&name.as_str()) || (name == "namespaces" && is_for_us()) {
            continue;
        }
        return Err(KeyError::Narrowed(name.chars().take(60).collect()));
    }
    Ok(())
}

/// `*` is nobody's name.
fn principals(text: &str) -> Vec<String> {
    let names = text.trim_matches('"').split(',');
    names
        .filter(|name| !name.is_empty() && *name != "*")
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::key::{SecretKey, Signer as _};
    use proptest::prelude::*;

    fn line() -> String {
        let key = SecretKey::ed25519_from_seed(&[1; 32]).unwrap();
        key.public_key().to_openssh()
    }

    #[test]
    fn lines_of_every_style_are_the_same_key() {
        let key: PublicKey = line().parse().unwrap();
        for (prefix, names) in [
            ("", &[][..]),
            ("restrict,no-pty ", &[]),
            ("command=\"a b, \\\"c\\\"\",no-pty ", &[]),
            ("alice@example.com ", &["alice@example.com"]),
            ("a,b\t", &["a", "b"]),
            ("* ", &[]),
            ("a namespaces=\"git,sealstone\" ", &["a"]),
        ] {
            let found = read(&format!("{prefix}{} comment here", line())).unwrap();
            assert_eq!(found.key, key, "{prefix}");
            assert_eq!(found.principals, names, "{prefix}");
            assert_eq!(
                format!("{prefix}{}", line()).parse::<PublicKey>().unwrap(),
                key
            );
        }
    }

    #[test]
    fn what_narrows_a_key_and_is_not_enforced_refuses_it() {
        for (prefix, option) in [
            ("cert-authority ", "cert-authority"),
            ("a cert-authority ", "cert-authority"),
            ("no-pty,expiry-time=\"20300101\" ", "expiry-time"),
            ("a valid-before=\"20300101\" ", "valid-before"),
            ("a namespaces=\"git\" ", "namespaces"),
            ("a whatever ", "whatever"),
        ] {
            let error = read(&format!("{prefix}{}", line())).unwrap_err();
            assert_eq!(error, KeyError::Narrowed(option.into()), "{prefix}");
        }
    }

    #[test]
    fn a_list_is_read_whole_or_not_at_all() {
        let list = format!("# note\n\n{}\nbob {}\n", line(), line());
        assert_eq!(PublicKey::parse_list(&list).unwrap().len(), 2);
        let error = PublicKey::parse_list(&format!("{list}ssh-rsa AAAA\n")).unwrap_err();
        assert!(error.to_string().contains("line 5"), "{error}");
        let pem = |seed| {
            let key = SecretKey::ed25519_from_seed(&[seed; 32]).unwrap();
            key.public_key().to_pem()
        };
        let two = PublicKey::parse_list(&format!("{}\n{}", pem(1), pem(2))).unwrap();
        assert_eq!(two[0].key.to_pem() + &two[1].key.to_pem(), pem(1) + &pem(2));
        assert!(PublicKey::parse_list(&format!("{}note\n{}", pem(1), pem(2))).is_err());
        for empty in ["", "# nothing\n", "\n\n"] {
            assert_eq!(PublicKey::parse_list(empty), Err(KeyError::UnknownForm));
        }
        assert!(PublicKey::parse_list(&"x".repeat(MAX_LIST_BYTES + 1)).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,200}", words in "[a-z\",=\\\\ ]{0,60}") {
            let _ = PublicKey::parse_list(&text);
            let _ = read(&format!("{words} {}", line()));
        }
    }
}
