//! Image references as clients write them: `host[:port]/repository[:tag][@digest]`.
//!
//! Unlike docker's, these never guess a registry: a reference without a host is an error, because a
//! model that comes from somewhere unexpected is the accident that Sealstone exists to prevent.

use crate::digest::Digest;
use crate::name::{NameError, RepoName, Tag};
use std::fmt;
use std::str::FromStr;

/// Where a manifest is, in the words of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageReference {
    /// Host and, if it is not the default, port: `registry.example:5000`.
    pub registry: String,
    /// The repository in that registry.
    pub repository: RepoName,
    /// The tag, if one was given.
    pub tag: Option<Tag>,
    /// The digest, if one was given; with a tag beside it, both must agree.
    pub digest: Option<Digest>,
}

/// Why a text is no image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageReferenceError {
    /// There is no registry before the first slash.
    #[error("\"{0}\" names no registry: write host[:port]/repository[:tag][@digest]")]
    NoRegistry(String),
    /// The registry is not a host with an optional port.
    #[error("\"{0}\" is not a registry: use host or host:port")]
    Registry(String),
    /// Repository, tag or digest are not valid.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Digest is not valid.
    #[error(transparent)]
    Digest(#[from] crate::digest::DigestError),
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, rest)) => {
            if v6.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            match rest.strip_prefix(':') {
                Some(port) => ("v6", Some(port)),
                None if rest.is_empty() => ("v6", None),
                None => return false,
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let host_is_valid = !host.is_empty()
        && host.len() <= 253
        && host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        });
    let port_is_valid = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    host_is_valid && port_is_valid
}

impl FromStr for ImageReference {
    type Err = ImageReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || text.chars().take(200).collect::<String>();
        let (registry, rest) = text
            .split_once('/')
            .ok_or_else(|| ImageReferenceError::NoRegistry(shown()))?;
        let looks_like_host =
            registry.contains(['.', ':']) || registry == "localhost" || registry.starts_with('[');
        if !looks_like_host {
            return Err(ImageReferenceError::NoRegistry(shown()));
        }
        if !is_registry(registry) {
            return Err(ImageReferenceError::Registry(
                registry.chars().take(200).collect(),
            ));
        }
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest)?)),
            None => (rest, None),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag.parse()?)),
            None => (rest, None),
        };
        Ok(ImageReference {
            registry: registry.to_owned(),
            repository: repository.parse()?,
            tag,
            digest,
        })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_every_part() {
        let digest = Digest::sha256(b"x");
        let text = format!("127.0.0.1:5000/models/credit:1.0@{digest}");
        let reference: ImageReference = text.parse().unwrap();
        assert_eq!(reference.registry, "127.0.0.1:5000");
        assert_eq!(reference.repository.as_str(), "models/credit");
        assert_eq!(reference.tag.as_ref().unwrap().as_str(), "1.0");
        assert_eq!(reference.digest, Some(digest));
        assert_eq!(reference.to_string(), text);
        assert!("[::1]:5000/a".parse::<ImageReference>().is_ok());
        assert!("localhost/a".parse::<ImageReference>().is_ok());
    }

    #[test]
    fn refuses_what_has_no_registry_or_a_bad_part() {
        for bad in [
            "a",
            "library/busybox",
            "busybox:latest",
            "h.x/A",
            "h.x/a:",
            "h.x/a@sha256:1",
            "h.x:0/a",
            "h.x:99999/a",
            "h.x:+1/a",
            "-h.x/a",
            "h..x/a",
            "[::g]/a",
            "h.x/",
            "/a",
            "h.x@evil.y/a",
        ] {
            assert!(bad.parse::<ImageReference>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_round_trips(text in "\\PC{0,120}") {
            if let Ok(reference) = text.parse::<ImageReference>() {
                prop_assert_eq!(reference.to_string(), text);
            }
        }
    }
}
