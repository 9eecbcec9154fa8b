//! Hosts that the environment keeps away from its proxies, as far as the HTTP library does not know how they are written.
//!
//! Source: `NO_PROXY` as Go's clients read it (golang.org/x/net/http/httpproxy, `Config.NoProxy`), those of containers
//! among them. Owns the entries with a port, and those that begin with `*.`: the library passes over both, and a proxy
//! would be told what was to stay inside, where HTTP is spoken the account's secret as well. Every other entry is the
//! library's. Invariant: nothing here sends anything through a proxy that would not go there without it.

use std::net::IpAddr;
use url::{Host, Url};

/// What `NO_PROXY` names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spared(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    host: Name,
    /// Without one: every port.
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum Name {
    Address(IpAddr),
    Domain {
        name: String,
        /// Whether it is meant too, not only what is below it.
        itself: bool,
    },
}

impl Spared {
    /// What this process's environment says, by the same variables as the library.
    pub(crate) fn from_environment() -> Spared {
        let first = std::env::var("NO_PROXY").or_else(|_| std::env::var("no_proxy"));
        Spared::read(&first.unwrap_or_default())
    }

    fn read(list: &str) -> Spared {
        Spared(list.split(',').filter_map(Entry::read).collect())
    }

    /// Whether no proxy is asked for this address.
    pub(crate) fn names(&self, url: &Url) -> bool {
        self.0.iter().any(|entry| entry.names(url))
    }
}

impl Entry {
    /// `None` for what is the library's, or nothing at all.
    fn read(text: &str) -> Option<Entry> {
        let text = text.trim().to_ascii_lowercase();
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest
                .split_once("]:")
                .map(|(host, port)| (host, Some(port)))?,
            None => match text.rsplit_once(':') {
                // An IPv6 address without brackets, and so without a port.
                Some((host, _)) if host.contains(':') => return None,
                Some((host, port)) => (host, Some(port)),
                None => (text.as_str(), None),
            },
        };
        let port: Option<u16> = port.map(str::parse::<u16>).transpose().ok()?;
        let below = host.strip_prefix("*.");
        if port.is_none() && below.is_none() {
            return None;
        }
        let host = match (
            host.parse::<IpAddr>(),
            below.or_else(|| host.strip_prefix('.')),
        ) {
            (Ok(address), _) => Name::Address(address),
            (Err(_), Some(name)) => Name::Domain {
                name: name.to_owned(),
                itself: false,
            },
            (Err(_), None) => Name::Domain {
                name: host.to_owned(),
                itself: true,
            },
        };
        let is_empty = matches!(&host, Name::Domain { name, .. } if name.is_empty());
        (!is_empty).then_some(Entry { host, port })
    }

    fn names(&self, url: &Url) -> bool {
        let is_port = self.port.is_none() || self.port == url.port_or_known_default();
        let is_host = match (&self.host, url.host()) {
            (Name::Address(IpAddr::V4(named)), Some(Host::Ipv4(asked))) => *named == asked,
            (Name::Address(IpAddr::V6(named)), Some(Host::Ipv6(asked))) => *named == asked,
            (Name::Domain { name, itself }, Some(Host::Domain(asked))) => {
                match asked.strip_suffix(name.as_str()) {
                    Some("") => *itself,
                    Some(before) => before.ends_with('.'),
                    None => false,
                }
            }
            _ => false,
        };
        is_host && is_port
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(list: &str, url: &str) -> bool {
        Spared::read(list).names(&Url::parse(url).unwrap())
    }

    #[test]
    fn a_host_with_a_port_is_spared_on_that_port() {
        let list =
            "elsewhere.example, Registry.corp:5000,10.0.0.7:5000,[fd00::7]:5000,plain.corp:80";
        for spared in [
            "http://registry.corp:5000/v2/",
            "https://registry.corp:5000/v2/",
            "http://a.registry.corp:5000/",
            "http://10.0.0.7:5000/",
            "http://[fd00::7]:5000/",
            "http://plain.corp/",
        ] {
            assert!(names(list, spared), "{spared}");
        }
        for other in [
            "http://registry.corp/",
            "http://registry.corp:5001/",
            "http://notregistry.corp:5000/",
            "http://registry.corp.example:5000/",
            "http://10.0.0.8:5000/",
            "http://[fd00::8]:5000/",
            "https://plain.corp/",
        ] {
            assert!(!names(list, other), "{other}");
        }
    }

    #[test]
    fn what_stands_behind_a_dot_is_below() {
        for list in [".corp:5000", "*.corp:5000", "*.corp"] {
            assert!(names(list, "http://registry.corp:5000/"), "{list}");
            assert!(!names(list, "http://corp:5000/"), "{list}");
        }
        assert!(names("*.corp", "https://registry.corp/"));
    }

    #[test]
    fn what_the_library_reads_and_what_is_nothing_is_left_alone() {
        for list in [
            "",
            "registry.corp",
            ".corp",
            "10.0.0.7",
            "10.0.0.0/8",
            "fd00::7",
            "*",
            ":5000",
            "*.:5000",
            "registry.corp:",
            "registry.corp:http",
            "registry.corp:70000",
            "[fd00::7]",
        ] {
            assert!(Spared::read(list).0.is_empty(), "{list}");
        }
    }
}
