//! The `Authorization` header: Basic and Bearer credentials.
//!
//! Owns: reading it. Does not own: whether the credentials are anybody's (`authenticate`).
//! Invariant: reading is total and bounded; the error names no part of the header.

use super::secret::Secret;
use data_encoding::{BASE64, BASE64_NOPAD};

/// Longest header that is looked at, in bytes: a session with many scopes fits.
pub const MAX_HEADER_LEN: usize = 80 * 1024;

/// A header that holds no credentials of a known form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the authorization header is malformed: send \"Basic\" with base64 of NAME:SECRET, or \"Bearer\" with a token"
)]
pub struct MalformedAuthorization;

/// What a client sent, unproved.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A name and a secret (or an API token in the secret's place).
    Basic {
        /// Who the client says it is; not checked against the grammar of names.
        name: String,
        /// The secret.
        secret: Secret,
    },
    /// A token.
    Bearer(Secret),
}

impl Credentials {
    /// Reads a header's value.
    ///
    /// # Errors
    /// For other schemes, bad base64, no colon, control characters, too long a value.
    pub fn parse(value: &str) -> Result<Credentials, MalformedAuthorization> {
        if value.len() > MAX_HEADER_LEN {
            return Err(MalformedAuthorization);
        }
        let (scheme, rest) = value.trim().split_once(' ').ok_or(MalformedAuthorization)?;
        let rest = rest.trim_start_matches(' ');
        if scheme.eq_ignore_ascii_case("bearer") {
            let printable = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic());
            return printable
                .then(|| Credentials::Bearer(Secret::new(rest)))
                .ok_or(MalformedAuthorization);
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(MalformedAuthorization);
        }
        // Some clients leave out the padding.
        let bytes = BASE64
            .decode(rest.as_bytes())
            .or_else(|_| BASE64_NOPAD.decode(rest.as_bytes()))
            .map_err(|_| MalformedAuthorization)?;
        let text = String::from_utf8(bytes).map_err(|_| MalformedAuthorization)?;
        let (name, secret) = text.split_once(':').ok_or(MalformedAuthorization)?;
        if text.chars().any(char::is_control) {
            return Err(MalformedAuthorization);
        }
        Ok(Credentials::Basic {
            name: name.to_owned(),
            secret: Secret::new(secret),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn basic(value: &str) -> Option<(String, String)> {
        match Credentials::parse(value).ok()? {
            Credentials::Basic { name, secret } => Some((name, secret.expose().to_owned())),
            Credentials::Bearer(_) => None,
        }
    }

    #[test]
    fn basic_credentials_are_read() {
        let pair = |name: &str, secret: &str| Some((name.to_owned(), secret.to_owned()));
        assert_eq!(basic("Basic YWxpY2U6c2VjcmV0"), pair("alice", "secret"));
        assert_eq!(basic("basic  YWxpY2U6c2VjcmV0 "), pair("alice", "secret"));
        assert_eq!(basic("BASIC YTpi"), pair("a", "b"));
        assert_eq!(basic("Basic YTpiYg=="), pair("a", "bb"));
        assert_eq!(basic("Basic YTpiYg"), pair("a", "bb"), "without padding");
        assert_eq!(
            basic("Basic YTpiOmM="),
            pair("a", "b:c"),
            "the first colon parts"
        );
        assert_eq!(basic("Basic Og=="), pair("", ""));
        assert_eq!(basic("Basic w6Q6w7Y="), pair("ä", "ö"));
    }

    #[test]
    fn bearer_tokens_are_read() {
        for value in ["Bearer abc.def", "bearer abc.def", "BEARER  abc.def"] {
            match Credentials::parse(value).unwrap() {
                Credentials::Bearer(token) => assert_eq!(token.expose(), "abc.def"),
                Credentials::Basic { .. } => panic!("{value}"),
            }
        }
    }

    #[test]
    fn anything_else_is_malformed() {
        let long = format!("Bearer {}", "a".repeat(MAX_HEADER_LEN));
        for bad in [
            "",
            "Basic",
            "Basic ",
            "Bearer",
            "Bearer ",
            "Digest x",
            "Basic !!!!",
            "Basic YWxpY2U=",
            "Basic /w==",
            "Basic YQA6Yg==",
            "Basic YTpiCg==",
            "Bearer a b",
            "Bearer ä",
            &long,
        ] {
            assert!(Credentials::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(value in "(Basic |Bearer )?.{0,60}") {
            let _ = Credentials::parse(&value);
        }

        #[test]
        fn every_printable_pair_round_trips(name in "[^:\\pC]{0,20}", secret in "[^\\pC]{0,20}") {
            let value = format!("Basic {}", BASE64.encode(format!("{name}:{secret}").as_bytes()));
            prop_assert_eq!(basic(&value), Some((name, secret)));
        }
    }
}
