//! The grammar of `/v2/`: names of repositories hold slashes, so paths are read from their end.

use sealstone_spec::digest::Digest;
use sealstone_spec::name::{NameError, Reference, RepoName};
use std::borrow::Cow;

/// The methods of what can only be read.
pub(super) const READING: &str = "GET, HEAD";

/// What a path below `/v2/` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OciRoute {
    /// `/v2/`
    Ping,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags(RepoName),
    /// `/v2/<name>/manifests/<reference>`
    Manifest(RepoName, Reference),
    /// `/v2/<name>/blobs/<digest>`
    Blob(RepoName, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(RepoName),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(RepoName, uuid::Uuid),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(RepoName, Digest),
    /// `/v2/<name>/_sealstone/tree/<digest>`
    Tree(RepoName, Digest),
}

/// Why a path names nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RouteError {
    /// There is no such kind of path.
    Unknown,
    /// The repository's name is not valid.
    Name(String),
    /// A digest is not valid.
    Digest(String),
    /// A tag is not valid: nothing can have it.
    Tag(String),
    /// An upload's identifier is not one of this server's.
    Upload,
}

impl OciRoute {
    /// Reads a path, as it stands in the request line.
    pub(super) fn parse(path: &str) -> Result<OciRoute, RouteError> {
        let path = decode(path).ok_or(RouteError::Unknown)?;
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(OciRoute::Ping),
            Some(rest) => rest.strip_prefix('/').ok_or(RouteError::Unknown)?,
            None => return Err(RouteError::Unknown),
        };
        if rest == "_catalog" {
            return Ok(OciRoute::Catalog);
        }
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(OciRoute::Tags(repo(name)?));
        }
        if let Some(name) = rest
            .strip_suffix("/blobs/uploads/")
            .or_else(|| rest.strip_suffix("/blobs/uploads"))
        {
            return Ok(OciRoute::Uploads(repo(name)?));
        }
        let (before, last) = rest.rsplit_once('/').ok_or(RouteError::Unknown)?;
        if let Some(name) = before.strip_suffix("/blobs/uploads") {
            return Ok(OciRoute::Upload(
                repo(name)?,
                last.parse().map_err(|_| RouteError::Upload)?,
            ));
        }
        if let Some(name) = before.strip_suffix("/_sealstone/tree") {
            return Ok(OciRoute::Tree(repo(name)?, digest(last)?));
        }
        let (name, kind) = before.rsplit_once('/').ok_or(RouteError::Unknown)?;
        match kind {
            "manifests" => {
                let name = repo(name)?;
                let reference = Reference::parse(last).map_err(|error| match error {
                    NameError::Tag(_) => RouteError::Tag(error.to_string()),
                    other => RouteError::Digest(other.to_string()),
                })?;
                Ok(OciRoute::Manifest(name, reference))
            }
            "blobs" => Ok(OciRoute::Blob(repo(name)?, digest(last)?)),
            "referrers" => Ok(OciRoute::Referrers(repo(name)?, digest(last)?)),
            _ => Err(RouteError::Unknown),
        }
    }

    /// The methods that are possible there, as an Allow header has them.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            OciRoute::Ping
            | OciRoute::Catalog
            | OciRoute::Tags(_)
            | OciRoute::Referrers(..)
            | OciRoute::Tree(..) => READING,
            OciRoute::Manifest(..) => "GET, HEAD, PUT, DELETE",
            OciRoute::Blob(..) => "GET, HEAD, DELETE",
            OciRoute::Uploads(_) => "POST",
            OciRoute::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
        }
    }

    /// The kind of route, for metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            OciRoute::Ping => "ping",
            OciRoute::Catalog => "catalog",
            OciRoute::Tags(_) => "tags",
            OciRoute::Manifest(..) => "manifest",
            OciRoute::Blob(..) => "blob",
            OciRoute::Uploads(_) | OciRoute::Upload(..) => "upload",
            OciRoute::Referrers(..) => "referrers",
            OciRoute::Tree(..) => "tree",
        }
    }
}

fn repo(name: &str) -> Result<RepoName, RouteError> {
    name.parse()
        .map_err(|error: NameError| RouteError::Name(error.to_string()))
}

fn digest(text: &str) -> Result<Digest, RouteError> {
    Digest::parse(text).map_err(|error| RouteError::Digest(error.to_string()))
}

/// Percent-decoding, once: some clients write the colon of a digest as `%3A`. An encoded slash could make
/// one path of another, and is refused.
pub(super) fn decode(path: &str) -> Option<Cow<'_, str>> {
    if !path.contains('%') {
        return Some(Cow::Borrowed(path));
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first != b'%' {
            decoded.push(*first);
            rest = tail;
            continue;
        }
        let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
        let byte = u8::from_str_radix(hex, 16).ok()?;
        if byte == b'/' || hex.starts_with('+') {
            return None;
        }
        decoded.push(byte);
        rest = &tail[2..];
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// Chapter 11: what the vectors say that a path names.
    #[test]
    fn paths_name_what_the_vectors_say() {
        let text = include_str!("../../../spec/vectors/api/paths.json");
        let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
        let (named, refused) = (&vectors["paths"], &vectors["refused"]);
        assert!(named.as_array().unwrap().len() > 10 && refused.as_array().unwrap().len() > 10);
        for vector in named.as_array().unwrap() {
            let path = vector["path"].as_str().unwrap();
            let route = OciRoute::parse(path).unwrap();
            assert_eq!(Some(route.label()), vector["kind"].as_str(), "{path}");
            let repository = match &route {
                OciRoute::Ping | OciRoute::Catalog => None,
                OciRoute::Tags(name)
                | OciRoute::Manifest(name, _)
                | OciRoute::Blob(name, _)
                | OciRoute::Uploads(name)
                | OciRoute::Upload(name, _)
                | OciRoute::Referrers(name, _)
                | OciRoute::Tree(name, _) => Some(name.as_str()),
            };
            assert_eq!(repository, vector["repository"].as_str(), "{path}");
        }
        for vector in refused.as_array().unwrap() {
            let path = vector["path"].as_str().unwrap();
            let problem = match OciRoute::parse(path).unwrap_err() {
                RouteError::Unknown => "unknown",
                RouteError::Name(_) => "name",
                RouteError::Digest(_) => "digest",
                RouteError::Tag(_) => "tag",
                RouteError::Upload => "upload",
            };
            assert_eq!(Some(problem), vector["problem"].as_str(), "{path}");
        }
    }

    #[test]
    fn the_methods_are_those_that_the_vectors_list() {
        let text = include_str!("../../../spec/vectors/api/routes.json");
        let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
        let (digest, id) = (Digest::sha256(b"x").to_string(), uuid::Uuid::nil());
        let (id, mut found) = (id.to_string(), 0);
        for vector in vectors["routes"].as_array().unwrap() {
            let mut path = vector["path"].as_str().unwrap().to_owned();
            for (part, example) in [
                ("{name}", "a/b"),
                ("{reference}", "v1"),
                ("{digest}", digest.as_str()),
                ("{id}", id.as_str()),
            ] {
                path = path.replace(part, example);
            }
            let Ok(route) = OciRoute::parse(&path) else {
                assert!(!path.starts_with("/v2"), "{path}");
                continue;
            };
            let methods: Vec<&str> = route.methods().split(", ").collect();
            assert_eq!(serde_json::json!(methods), vector["methods"], "{path}");
            found += 1;
        }
        assert_eq!(found, 9);
    }

    #[test]
    fn paths_are_read_from_their_end() {
        let d = Digest::sha256(b"x");
        let name = |text: &str| text.parse::<RepoName>().unwrap();
        for (path, route) in [
            ("/v2/".into(), OciRoute::Ping),
            ("/v2".into(), OciRoute::Ping),
            ("/v2/_catalog".into(), OciRoute::Catalog),
            ("/v2/a/b/tags/list".into(), OciRoute::Tags(name("a/b"))),
            (format!("/v2/a/blobs/{d}"), OciRoute::Blob(name("a"), d)),
            ("/v2/a/blobs/uploads/".into(), OciRoute::Uploads(name("a"))),
            ("/v2/a/blobs/uploads".into(), OciRoute::Uploads(name("a"))),
            (
                "/v2/blobs/uploads/blobs/uploads/".into(),
                OciRoute::Uploads(name("blobs/uploads")),
            ),
            (
                format!("/v2/manifests/blobs/manifests/{d}"),
                OciRoute::Manifest(name("manifests/blobs"), Reference::Digest(d)),
            ),
            (
                "/v2/a/manifests/uploads".into(),
                OciRoute::Manifest(name("a"), Reference::parse("uploads").unwrap()),
            ),
            (
                format!("/v2/a/referrers/{}", d.to_string().replace(':', "%3A")),
                OciRoute::Referrers(name("a"), d),
            ),
            (
                format!("/v2/a/_sealstone/tree/{d}"),
                OciRoute::Tree(name("a"), d),
            ),
        ] {
            assert_eq!(OciRoute::parse(&path), Ok(route), "{path}");
        }
    }

    #[test]
    fn what_could_mean_two_things_means_nothing() {
        for path in [
            "/v2/a%2Fb/tags/list",
            "/v2/../tags/list",
            "/v2/a/../b/tags/list",
            "/v2//tags/list",
            "/v2/A/tags/list",
            "/v2/a/blobs/sha256:x",
            "/v2/a/manifests/",
            "/v2/a/manifests/.x",
            "/v2/a/blobs/uploads/x",
            "/v3/",
            "/v2/a",
            "/v2x",
            "/v2/a/b/c",
            "/v2/a/tags/list/",
            "/v2/a%zz/tags/list",
            "/v2/a/_sealstone/other/x",
        ] {
            assert!(OciRoute::parse(path).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(path in "(/v2)?[a-z/%:_0-9.A-F-]{0,80}") {
            let _ = OciRoute::parse(&path);
        }

        #[test]
        fn a_route_keeps_its_repository(name in "[a-z0-9]{1,5}(/(blobs|uploads|manifests|tags|[a-z]{1,4})){0,3}") {
            let path = format!("/v2/{name}/tags/list");
            let repo: RepoName = name.parse().unwrap();
            prop_assert_eq!(OciRoute::parse(&path), Ok(OciRoute::Tags(repo)));
        }
    }
}
