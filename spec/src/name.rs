//! Repository names, tags and references: the OCI distribution specification's grammar, checked once.
//!
//! Invariant: a [`RepoName`] has no empty, upper-case or dotted-only path element and at most 255
//! characters; a [`Tag`] has 1 to 128 of them. Neither can hold `/..`, NUL, `%` or a colon, so
//! both are safe in keys, paths and log lines.

use crate::digest::{Algorithm, Digest, DigestError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest repository name, in characters (distribution specification, "Pulling manifests").
pub const MAX_NAME_LEN: usize = 255;
/// Longest tag, in characters.
pub const MAX_TAG_LEN: usize = 128;

/// Why a text is no repository name, tag or reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Not a repository name.
    #[error(
        "repository name \"{0}\" is not valid: use lowercase letters, digits and single separators (. _ __ -) in elements parted by /, 255 characters at most"
    )]
    Repository(String),
    /// Not a tag.
    #[error(
        "tag \"{0}\" is not valid: use letters, digits, _ . and -, not starting with . or -, 128 characters at most"
    )]
    Tag(String),
    /// A reference with a colon that is not a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

fn shorten(text: &str) -> String {
    text.chars().take(100).collect()
}

/// A repository name such as `models/credit-risk`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoName(String);

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_element(element: &str) -> bool {
    let bytes = element.as_bytes();
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !is_word(first) || !is_word(last) {
        return false;
    }
    bytes
        .split(|byte| is_word(byte))
        .all(|separator| match separator {
            b"" | b"." | b"_" | b"__" => true,
            dashes => dashes.iter().all(|byte| *byte == b'-'),
        })
}

impl FromStr for RepoName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() <= MAX_NAME_LEN && text.split('/').all(is_path_element) {
            Ok(RepoName(text.to_owned()))
        } else {
            Err(NameError::Repository(shorten(text)))
        }
    }
}

/// A tag such as `1.4.0`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl FromStr for Tag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.as_bytes();
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let valid = bytes.len() <= MAX_TAG_LEN
            && bytes.first().is_some_and(is_word)
            && bytes
                .iter()
                .all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'));
        if valid {
            Ok(Tag(text.to_owned()))
        } else {
            Err(NameError::Tag(shorten(text)))
        }
    }
}

impl Tag {
    /// Whether this is one of the names under which cosign and the referrers fallback keep evidence:
    /// `sha256-` or `sha512-` and 64 hex digits, or that with `.sig`, `.att` or `.sbom`. Such a tag lists what
    /// was said about a digest; it is not a release, and tools rewrite it with every signature that they add.
    pub fn is_evidence_list(&self) -> bool {
        self.evidence_prefix().is_some()
    }

    /// The digest that an evidence list tag speaks of, if its name holds all of it.
    pub fn evidence_subject(&self) -> Option<Digest> {
        let (algorithm, start) = self.evidence_prefix()?;
        Digest::from_bytes(algorithm, &start)
    }

    /// The algorithm and the first 32 bytes of the digest that an evidence list tag speaks of. A tag is too short
    /// for a SHA-512 digest: the distribution specification ("Referrers tag schema") cuts it to 64 characters.
    pub fn evidence_prefix(&self) -> Option<(Algorithm, Vec<u8>)> {
        let (algorithm, rest) = self.0.split_once('-')?;
        let algorithm = [Algorithm::Sha256, Algorithm::Sha512]
            .into_iter()
            .find(|known| known.as_str() == algorithm)?;
        let hex = ["", ".sig", ".att", ".sbom"].iter().find_map(|suffix| {
            let hex = rest.strip_suffix(suffix)?;
            (!hex.contains('.')).then_some(hex)
        })?;
        // Any 64 lowercase hex digits are a digest of this length.
        let start = Digest::parse(&format!("sha256:{hex}")).ok()?;
        Some((algorithm, start.bytes().to_vec()))
    }
}

macro_rules! text_type {
    ($type:ident) => {
        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_type!(RepoName);
text_type!(Tag);

/// How a manifest is named within a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// By tag.
    Tag(Tag),
    /// By digest.
    Digest(Digest),
}

impl Reference {
    /// Reads a tag or a digest. A colon, which no tag can have, makes it a digest.
    ///
    /// # Errors
    /// Says which of the two was expected and what is wrong with it.
    pub fn parse(text: &str) -> Result<Reference, NameError> {
        if text.contains(':') {
            return Ok(Reference::Digest(Digest::parse(text)?));
        }
        text.parse().map(Reference::Tag)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Tag(tag) => tag.fmt(f),
            Reference::Digest(digest) => digest.fmt(f),
        }
    }
}

impl FromStr for Reference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Reference::parse(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repository_names_follow_the_grammar() {
        for good in [
            "a",
            "a/b",
            "library/busybox",
            "a-b",
            "a--b",
            "a__b",
            "a_b.c/d",
            "0",
        ] {
            assert!(good.parse::<RepoName>().is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a___b",
            "a..b",
            "a._b",
            "-a",
            "a-",
            "a:b",
            "..",
            "a/../b",
            "a\0",
            "a%2fb",
            "ä",
            " a",
            long.as_str(),
        ] {
            assert!(bad.parse::<RepoName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_follow_the_grammar() {
        for good in ["latest", "1.0", "_x", "A-b.c", &"a".repeat(128)] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "a:b", "a/b", "a b", "ä", &"a".repeat(129)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }

    #[test]
    fn evidence_lists_are_recognised_and_nothing_else_is() {
        let hex = Digest::sha256(b"x").hex();
        for suffix in ["", ".sig", ".att", ".sbom"] {
            let tag: Tag = format!("sha256-{hex}{suffix}").parse().unwrap();
            assert_eq!(tag.evidence_subject(), Some(Digest::sha256(b"x")), "{tag}");
        }
        // Of a SHA-512 digest there is room for the first half: a list, though not of a digest that it names.
        let long = Digest::of(Algorithm::Sha512, b"x");
        for suffix in ["", ".sig", ".att", ".sbom"] {
            let tag: Tag = format!("sha512-{}{suffix}", &long.hex()[..64])
                .parse()
                .unwrap();
            assert!(tag.is_evidence_list(), "{tag}");
            assert_eq!(tag.evidence_subject(), None, "{tag}");
            let (algorithm, start) = tag.evidence_prefix().unwrap();
            assert_eq!(algorithm, Algorithm::Sha512);
            assert!(long.bytes().starts_with(&start) && start.len() == 32);
        }
        for other in [
            format!("sha256-{}", &hex[1..]),
            format!("sha256-{hex}.sigx"),
            format!("sha256-{hex}.sig.sig"),
            format!("blake3-{hex}"),
            format!("sha512-{}", &hex[1..]),
            format!("sha512-{}", hex.to_uppercase()),
            "v1".into(),
            format!("sha256-{hex}."),
        ] {
            assert!(!other.parse::<Tag>().unwrap().is_evidence_list(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn references_never_panic_and_round_trip(text in "\\PC{0,160}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(reference.to_string(), text.clone());
            }
            let _ = text.parse::<RepoName>();
        }
    }
}
