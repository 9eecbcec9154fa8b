//! Packages: a name, a version, and what fixes the bytes.
//!
//! Invariant: names are in the normal form of the Python index, so the same package has one name.

use super::document::Hash;
use crate::digest::Digest;
use crate::purl::{Purl, pypi_name};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One version of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name, in normal form.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The archives that may be installed for it: any one of them, depending on the platform.
    pub archives: BTreeSet<Archive>,
    /// Names of packages that it needs.
    pub requires: BTreeSet<String>,
    /// The condition under which it is installed, if there is one.
    pub marker: Option<String>,
    /// Digest of its installed files, where it is installed.
    pub installed: Option<Digest>,
}

/// An archive of a package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Archive {
    /// Its hash; of a source from version control, the commit.
    pub hash: Hash,
    /// Where it is fetched from, if that is known.
    pub url: Option<String>,
}

impl Package {
    /// A package of which nothing more is known.
    pub fn new(name: &str, version: &str) -> Package {
        Package {
            name: pypi_name(name),
            version: version.to_owned(),
            archives: BTreeSet::new(),
            requires: BTreeSet::new(),
            marker: None,
            installed: None,
        }
    }

    /// Its package URL.
    pub fn purl(&self) -> Purl {
        Purl::pypi(&self.name, &self.version)
    }

    /// Its hashes, without where the archives are.
    pub fn hashes(&self) -> BTreeSet<&Hash> {
        self.archives.iter().map(|archive| &archive.hash).collect()
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Packages by name and version; what is listed twice is one, with the archives and needs of both.
pub fn merge(packages: impl IntoIterator<Item = Package>) -> Vec<Package> {
    let mut merged: BTreeMap<(String, String), Package> = BTreeMap::new();
    for package in packages {
        let key = (package.name.clone(), package.version.clone());
        match merged.get_mut(&key) {
            None => {
                merged.insert(key, package);
            }
            Some(known) => {
                known.archives.extend(package.archives);
                known.requires.extend(package.requires);
                known.installed = known.installed.or(package.installed);
                // Under either condition; if one of them is none, always.
                known.marker = match (known.marker.take(), package.marker) {
                    (Some(one), Some(other)) if one != other => {
                        Some(format!("({one}) or ({other})"))
                    }
                    (one, other) => one.and(other),
                };
            }
        }
    }
    merged.into_values().collect()
}

/// The hash `algorithm:hex` of a lock file.
pub(super) fn read_hash(algorithm: &str, hex: &str) -> Option<Hash> {
    let (alg, length) = match algorithm {
        "sha256" => ("SHA-256", 64),
        "sha384" => ("SHA-384", 96),
        "sha512" => ("SHA-512", 128),
        _ => return None,
    };
    let hex = hex.to_ascii_lowercase();
    (hex.len() == length && hex.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| Hash {
        alg: alg.into(),
        content: hex,
    })
}
