//! From a registry's name to addresses, and which addresses may be told who this is.
//!
//! Owns the choice of HTTP or HTTPS and the resolution of Location headers.
//! Invariant: HTTP without TLS is spoken to loopback only, unless it was asked for, and there without a
//! proxy, wherever a registry leads: by a redirect, a Location or the name of its token service; and none of them leads
//! from HTTPS to HTTP.

use super::error::TransportError;
use std::net::IpAddr;
use url::{Host, Url};

/// Addresses at which to look for a registry, best first, each ending in `/`.
pub(crate) fn candidates(registry: &str, plain_http: bool) -> Result<Vec<Url>, TransportError> {
    let host = if registry == "docker.io" {
        "registry-1.docker.io"
    } else {
        registry
    };
    let at = |scheme: &str| {
        Url::parse(&format!("{scheme}://{host}/"))
            .ok()
            .filter(|url| url.path() == "/" && url.username().is_empty() && url.query().is_none())
            .ok_or_else(|| {
                TransportError::Invalid(format!(
                    "\"{registry}\" is not a registry: use host or host:port"
                ))
            })
    };
    let https = at("https")?;
    Ok(if plain_http {
        vec![at("http")?]
    } else if is_loopback(&https) {
        vec![at("http")?, https]
    } else {
        vec![https]
    })
}

/// Whether an address is this machine's own.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

/// Resolves a Location header against the address that was asked; its query stays as it is.
///
/// `None` if it is no HTTP address, leads from HTTPS to HTTP, or over HTTP to another machine without `plain_http`: a
/// registry on loopback is spoken to in clear text, and whatever listens there would choose who else hears it.
pub(crate) fn resolve(asked: &Url, location: &str, plain_http: bool) -> Option<Url> {
    let mut url = asked.join(location).ok()?;
    url.set_fragment(None);
    let is_safe = match (asked.scheme(), url.scheme()) {
        (_, "https") => true,
        ("http", "http") => plain_http || is_loopback(&url),
        _ => false,
    };
    // User and password in an address would be sent to whoever wrote the Location.
    (is_safe && url.username().is_empty() && url.password().is_none()).then_some(url)
}

/// What is said beside the refusal of an address that [`resolve`] would take with `plain_http`; of others nothing.
pub(crate) fn remedy(asked: &Url, location: &str) -> &'static str {
    let is_only_plain =
        resolve(asked, location, false).is_none() && resolve(asked, location, true).is_some();
    match is_only_plain {
        true => "; with --plain-http HTTP is spoken to other machines too",
        false => "",
    }
}

/// Adds a query parameter to an address that may have some already.
pub(crate) fn with_query(url: &Url, name: &str, value: &str) -> Url {
    let mut url = url.clone();
    // Appended by hand: a serializer would rewrite what the registry put there, which may be signed.
    let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let query = match url.query() {
        Some(query) if !query.is_empty() => format!("{query}&{name}={value}"),
        _ => format!("{name}={value}"),
    };
    url.set_query(Some(&query));
    url
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn schemes(registry: &str, plain_http: bool) -> Vec<String> {
        candidates(registry, plain_http)
            .unwrap()
            .iter()
            .map(|url| url.scheme().to_owned())
            .collect()
    }

    #[test]
    fn http_is_for_loopback_unless_asked_for() {
        for registry in [
            "localhost:5000",
            "127.0.0.1:5000",
            "127.9.9.9",
            "[::1]:5000",
        ] {
            assert_eq!(schemes(registry, false), ["http", "https"], "{registry}");
        }
        for registry in ["h.example", "10.0.0.1:5000", "localhost.example", "[::2]"] {
            assert_eq!(schemes(registry, false), ["https"], "{registry}");
            assert_eq!(schemes(registry, true), ["http"], "{registry}");
        }
        assert!(candidates("user@h.example", false).is_err());
        assert!(candidates("h.example/x", false).is_err());
    }

    #[test]
    fn locations_may_be_relative_or_absolute_and_keep_their_query() {
        let asked = Url::parse("https://h.example/v2/a/blobs/uploads/").unwrap();
        let at = |location| resolve(&asked, location, true).map(String::from);
        assert_eq!(
            at("/v2/a/blobs/uploads/1?_state=a%2Fb%3D"),
            Some("https://h.example/v2/a/blobs/uploads/1?_state=a%2Fb%3D".into())
        );
        assert_eq!(
            at("1"),
            Some("https://h.example/v2/a/blobs/uploads/1".into())
        );
        assert_eq!(
            at("https://s3.example/x?y"),
            Some("https://s3.example/x?y".into())
        );
        assert_eq!(at("http://h.example/x"), None);
        assert_eq!(at("file:///etc/passwd"), None);
        assert_eq!(at("https://user:pw@h.example/x"), None);
    }

    #[test]
    fn http_on_this_machine_leads_to_no_other_unless_asked_for() {
        let asked = Url::parse("http://localhost:5000/v2/").unwrap();
        for elsewhere in [
            "http://auth.example/token",
            "//10.0.0.1/token",
            "http://[::2]/x",
        ] {
            assert!(resolve(&asked, elsewhere, false).is_none(), "{elsewhere}");
            assert!(resolve(&asked, elsewhere, true).is_some(), "{elsewhere}");
            assert!(remedy(&asked, elsewhere).contains("--plain-http"));
        }
        for fine in [
            "/token",
            "http://127.0.0.1:5001/token",
            "https://auth.example/token",
        ] {
            assert!(resolve(&asked, fine, false).is_some(), "{fine}");
            assert_eq!(remedy(&asked, fine), "");
        }
        // With it no more than without.
        let encrypted = Url::parse("https://h.example/v2/").unwrap();
        for (asked, never) in [
            (&asked, "http://user:pw@auth.example/"),
            (&asked, "file:///etc/passwd"),
            (&encrypted, "http://auth.example/"),
        ] {
            assert_eq!(remedy(asked, never), "", "{never}");
        }
    }

    #[test]
    fn a_query_is_added_to_and_not_rewritten() {
        let url = Url::parse("https://h.example/x?_state=a%2fb~+c").unwrap();
        assert_eq!(
            with_query(&url, "digest", "sha256:ab").query(),
            Some("_state=a%2fb~+c&digest=sha256%3Aab")
        );
        let bare = Url::parse("https://h.example/x").unwrap();
        assert_eq!(with_query(&bare, "n", "1").query(), Some("n=1"));
    }
}
