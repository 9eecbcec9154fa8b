//! Lock files in TOML: uv's `uv.lock` and the standard `pylock.toml` (PEP 751).
//!
//! Owns what both say of packages: version, archives with hashes, needs. The project itself, which such
//! files list too, is no dependency and is left out. A package that is fixed by nothing is refused.

use super::BomError;
use super::document::Hash;
use super::package::{Archive, Package, merge, read_hash};
use crate::purl::pypi_name;
use serde::Deserialize;
use toml::{Table, Value};

/// Reads the packages of a `uv.lock`.
///
/// # Errors
/// If it is none of version 1, or a package is fixed by nothing.
pub fn parse_uv(text: &str) -> Result<Vec<Package>, BomError> {
    let refused = |problem: String| refuse("uv.lock", problem);
    let lock: UvLock = toml::from_str(text).map_err(|error| refused(error.to_string()))?;
    if lock.version != 1 {
        return Err(refused(format!(
            "version {} is not read, only 1",
            lock.version
        )));
    }
    let mut packages = Vec::new();
    for entry in lock.package {
        let path_of = |key: &str| entry.source.get(key).and_then(Value::as_str);
        // The project and what lies beside it: their files are listed as files.
        if ["virtual", "editable", "directory"]
            .iter()
            .any(|key| path_of(key).is_some())
        {
            continue;
        }
        let mut package = Package::new(&entry.name, &entry.version);
        for dependency in &entry.dependencies {
            package.requires.insert(pypi_name(&dependency.name));
        }
        for archive in entry.sdist.iter().chain(&entry.wheels) {
            let hash = archive
                .hash
                .split_once(':')
                .and_then(|(algorithm, hex)| read_hash(algorithm, hex))
                .ok_or_else(|| {
                    refused(format!(
                        "package \"{}\" has a hash that is not known",
                        entry.name
                    ))
                })?;
            package.archives.insert(Archive {
                hash,
                url: archive.url.clone(),
            });
        }
        if let Some(git) = path_of("git") {
            let commit = git.rsplit_once('#').map_or("", |(_, commit)| commit);
            let archive = git_archive(git.split(['?', '#']).next().unwrap_or(git), commit);
            package.archives.extend(archive);
        }
        packages.push(package);
    }
    fixed("uv.lock", packages)
}

/// Reads the packages of a `pylock.toml`.
///
/// # Errors
/// If it is none of version 1, or a package is fixed by nothing.
pub fn parse_pylock(text: &str) -> Result<Vec<Package>, BomError> {
    let refused = |problem: String| refuse("pylock.toml", problem);
    let lock: PyLock = toml::from_str(text).map_err(|error| refused(error.to_string()))?;
    if lock.version != "1" && !lock.version.starts_with("1.") {
        return Err(refused(format!(
            "lock-version \"{}\" is not read, only 1",
            lock.version
        )));
    }
    let mut packages = Vec::new();
    for entry in lock.packages {
        if entry.directory.is_some() {
            continue;
        }
        let version = entry.version.as_deref().unwrap_or_default();
        let commit = entry.vcs.as_ref().and_then(|vcs| vcs.commit_id.as_deref());
        // A source from version control may state no version; then the commit is it.
        let version = match (version, commit) {
            ("", Some(commit)) => commit,
            ("", None) => {
                return Err(refused(format!(
                    "package \"{}\" has no version",
                    entry.name
                )));
            }
            (version, _) => version,
        };
        let mut package = Package::new(&entry.name, version);
        package.marker.clone_from(&entry.marker);
        for dependency in &entry.dependencies {
            if let Some(name) = dependency.get("name").and_then(Value::as_str) {
                package.requires.insert(pypi_name(name));
            }
        }
        for archive in entry
            .wheels
            .iter()
            .chain(&entry.sdist)
            .chain(&entry.archive)
        {
            for (algorithm, hex) in &archive.hashes {
                let hash = hex.as_str().and_then(|hex| read_hash(algorithm, hex));
                // Others than the strong ones may stand beside them.
                if let Some(hash) = hash {
                    package.archives.insert(Archive {
                        hash,
                        url: archive.url.clone(),
                    });
                }
            }
        }
        if let (Some(vcs), Some(commit)) = (&entry.vcs, commit) {
            package
                .archives
                .extend(git_archive(vcs.url.as_deref().unwrap_or_default(), commit));
        }
        packages.push(package);
    }
    fixed("pylock.toml", packages)
}

#[derive(Deserialize)]
struct UvLock {
    version: i64,
    #[serde(default)]
    package: Vec<UvPackage>,
}

#[derive(Deserialize)]
struct UvPackage {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    source: Table,
    #[serde(default)]
    dependencies: Vec<UvDependency>,
    sdist: Option<UvArchive>,
    #[serde(default)]
    wheels: Vec<UvArchive>,
}

#[derive(Deserialize)]
struct UvDependency {
    name: String,
}

#[derive(Deserialize)]
struct UvArchive {
    url: Option<String>,
    #[serde(default)]
    hash: String,
}

#[derive(Deserialize)]
struct PyLock {
    #[serde(rename = "lock-version")]
    version: String,
    #[serde(default)]
    packages: Vec<PyPackage>,
}

#[derive(Deserialize)]
struct PyPackage {
    name: String,
    version: Option<String>,
    marker: Option<String>,
    #[serde(default)]
    dependencies: Vec<Table>,
    directory: Option<Table>,
    vcs: Option<PyVcs>,
    sdist: Option<PyArchive>,
    archive: Option<PyArchive>,
    #[serde(default)]
    wheels: Vec<PyArchive>,
}

#[derive(Deserialize)]
struct PyVcs {
    url: Option<String>,
    #[serde(rename = "commit-id")]
    commit_id: Option<String>,
}

#[derive(Deserialize)]
struct PyArchive {
    url: Option<String>,
    #[serde(default)]
    hashes: Table,
}

fn git_archive(url: &str, commit: &str) -> Option<Archive> {
    let alg = match commit.len() {
        40 => "SHA-1",
        64 => "SHA-256",
        _ => return None,
    };
    commit
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then(|| Archive {
            hash: Hash {
                alg: alg.into(),
                content: commit.to_ascii_lowercase(),
            },
            url: (!url.is_empty()).then(|| format!("git+{}", url.trim_start_matches("git+"))),
        })
}

fn refuse(file: &'static str, problem: String) -> BomError {
    BomError::Packages {
        file,
        line: 0,
        problem,
    }
}

fn fixed(file: &'static str, packages: Vec<Package>) -> Result<Vec<Package>, BomError> {
    let mut known = packages.iter();
    if let Some(loose) = known.find(|package| {
        package.archives.is_empty() || package.name.is_empty() || package.version.is_empty()
    }) {
        let problem =
            format!("package \"{loose}\" has no version with hashes, so its bytes are not fixed");
        return Err(refuse(file, problem));
    }
    if packages.is_empty() {
        return Err(refuse(file, "it names no package".into()));
    }
    Ok(merge(packages))
}
