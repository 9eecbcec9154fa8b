//! A bill of materials against reality: what is missing, what is not listed, what is another.
//!
//! Owns the comparison. What could not be compared, for want of a list of files or packages, is said and
//! never counted as equal.
//! Invariant: taking any one file or package away, adding one or changing one, in the bill or in reality,
//! gives a difference that names it.

use super::document::{Bom, Component, Hash, PROPERTY_FACT};
use super::{BomError, Package};
use crate::bundle::Bundle;
use crate::digest::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is there.
#[derive(Clone, Debug, Default)]
pub struct Reality {
    /// Digest of the manifest, if it is known.
    pub manifest: Option<Digest>,
    /// Every file by path, if they are known.
    pub files: Option<BTreeMap<String, Digest>>,
    /// What lies beside these files and could be none of a bundle, by path: what it is.
    pub others: BTreeMap<String, &'static str>,
    /// Every package, if they are known.
    pub packages: Option<Vec<Package>>,
    /// Facts of the environment, if they are known.
    pub environment: Option<BTreeMap<String, String>>,
    /// Files of installed packages that are not what was recorded: package, path, what is wrong.
    pub damaged: Vec<(Package, String, &'static str)>,
}

impl Reality {
    /// The files of a bundle.
    pub fn of_bundle(manifest: Digest, bundle: &Bundle) -> Reality {
        let files = bundle.files().iter();
        Reality {
            manifest: Some(manifest),
            files: Some(files.map(|it| (it.path.to_string(), it.digest)).collect()),
            ..Reality::default()
        }
    }
}

/// One difference. Its text names the thing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// The bill is of another bundle.
    OtherBundle {
        /// The bundle that is there.
        found: Digest,
    },
    /// The bill lists it; it is not there.
    MissingFile(String),
    /// It is there; the bill does not list it.
    UnlistedFile(String),
    /// The bill lists other bytes.
    ChangedFile {
        /// Path.
        path: String,
        /// Digest of what is there.
        found: Digest,
    },
    /// It is there and could be no file of a bundle: a link, or a file for its name.
    NoFile {
        /// Path.
        path: String,
        /// What it is.
        found: &'static str,
        /// Whether the bill lists a file there.
        listed: bool,
    },
    /// The bill has no hash of it that could be compared.
    UnhashedFile(String),
    /// The bill lists it; it is not there.
    MissingPackage(Package),
    /// It is there; the bill does not list it.
    UnlistedPackage(Package),
    /// The bill lists another version.
    OtherVersion {
        /// As listed.
        listed: Package,
        /// The version that is there.
        found: String,
    },
    /// The bill lists other archives for the same version.
    OtherArchives(Package),
    /// The installed files are others than those that the bill was made of.
    OtherInstallation(Package),
    /// A file of an installed package is not what was recorded.
    Damaged {
        /// The package.
        package: Package,
        /// Its file.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A fact of the environment is another.
    Fact {
        /// Its name.
        name: String,
        /// As listed.
        listed: Option<String>,
        /// As it is.
        found: Option<String>,
    },
}

impl Difference {
    /// The kind, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Difference::OtherBundle { .. } => "other-bundle",
            Difference::MissingFile(_) => "missing-file",
            Difference::UnlistedFile(_) => "unlisted-file",
            Difference::ChangedFile { .. } => "changed-file",
            Difference::NoFile { .. } => "no-file",
            Difference::UnhashedFile(_) => "unhashed-file",
            Difference::MissingPackage(_) => "missing-package",
            Difference::UnlistedPackage(_) => "unlisted-package",
            Difference::OtherVersion { .. } => "other-version",
            Difference::OtherArchives(_) => "other-archives",
            Difference::OtherInstallation(_) => "other-installation",
            Difference::Damaged { .. } => "damaged-package",
            Difference::Fact { .. } => "environment",
        }
    }

    /// The file, package or fact that it is about.
    pub fn name(&self) -> String {
        match self {
            Difference::OtherBundle { found } => found.to_string(),
            Difference::MissingFile(path)
            | Difference::UnlistedFile(path)
            | Difference::UnhashedFile(path)
            | Difference::NoFile { path, .. }
            | Difference::ChangedFile { path, .. } => path.clone(),
            Difference::MissingPackage(package)
            | Difference::UnlistedPackage(package)
            | Difference::OtherArchives(package)
            | Difference::OtherInstallation(package)
            | Difference::Damaged { package, .. }
            | Difference::OtherVersion {
                listed: package, ..
            } => package.name.clone(),
            Difference::Fact { name, .. } => name.clone(),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |text: &Option<String>| text.as_deref().unwrap_or("nothing").to_owned();
        match self {
            Difference::OtherBundle { found } => {
                write!(f, "the bill of materials is of another bundle than {found}")
            }
            Difference::MissingFile(path) => write!(f, "file \"{path}\" is listed and not there"),
            Difference::UnlistedFile(path) => write!(f, "file \"{path}\" is there and not listed"),
            Difference::ChangedFile { path, found } => {
                write!(f, "file \"{path}\" is {found}, which is not what is listed")
            }
            Difference::NoFile {
                path,
                found,
                listed: true,
            } => write!(f, "file \"{path}\" is listed, and there as {found}"),
            Difference::NoFile {
                path,
                found,
                listed: false,
            } => write!(f, "\"{path}\" is there and not listed: {found}"),
            Difference::UnhashedFile(path) => {
                write!(
                    f,
                    "file \"{path}\" is listed without a hash to compare it with"
                )
            }
            Difference::MissingPackage(package) => {
                write!(f, "package \"{package}\" is listed and not there")?;
                match &package.marker {
                    Some(marker) => write!(f, " (it is due only where {marker})"),
                    None => Ok(()),
                }
            }
            Difference::UnlistedPackage(package) => {
                write!(f, "package \"{package}\" is there and not listed")
            }
            Difference::OtherVersion { listed, found } => {
                write!(
                    f,
                    "package \"{}\" is listed as {} and there as {found}",
                    listed.name, listed.version
                )
            }
            Difference::OtherArchives(package) => {
                write!(f, "package \"{package}\" is listed with other hashes")
            }
            Difference::OtherInstallation(package) => {
                write!(
                    f,
                    "package \"{package}\" is listed with other installed files"
                )
            }
            Difference::Damaged {
                package,
                path,
                problem,
            } => write!(f, "package \"{package}\": its file \"{path}\" {problem}"),
            Difference::Fact {
                name,
                listed,
                found,
            } => write!(
                f,
                "environment \"{name}\" is listed as {} and is {}",
                or_none(listed),
                or_none(found)
            ),
        }
    }
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Every difference: files first, then packages, by name.
    pub differences: Vec<Difference>,
    /// How many files were compared; `None` if none could be.
    pub files: Option<usize>,
    /// How many packages were compared; `None` if none could be.
    pub packages: Option<usize>,
    /// Packages whose versions were compared and whose bytes could not be, for want of hashes of one kind.
    pub versions_only: usize,
    /// Listed software that nothing is compared with: packages of other ecosystems, or without a version.
    pub uncomparable: Vec<String>,
}

/// Compares.
///
/// # Errors
/// If neither files nor packages are known: no comparison is no agreement. If the bill lists a file, a package in one
/// version or a fact twice.
pub fn check(bom: &Bom, reality: &Reality) -> Result<Comparison, BomError> {
    if reality.files.is_none() && reality.packages.is_none() {
        return Err(BomError::NothingToCompare);
    }
    let mut comparison = Comparison::default();
    if let Some(found) = &reality.manifest {
        let own = bom.metadata.as_ref().and_then(|it| it.component.as_ref());
        let differs = own.is_some_and(|own| names_another(&own.hashes, found));
        if differs {
            let difference = Difference::OtherBundle { found: *found };
            comparison.differences.push(difference);
        }
    }
    let components = bom.all_components();
    let uncomparable = components.iter().filter(|it| it.is_uncomparable());
    comparison.uncomparable = uncomparable.map(|it| it.shown()).collect();
    if let Some(files) = &reality.files {
        compare_files(&components, files, &reality.others, &mut comparison)?;
    }
    if let Some(packages) = &reality.packages {
        compare_packages(&bom.packages(), packages, &mut comparison)?;
    }
    for (package, path, problem) in &reality.damaged {
        comparison.differences.push(Difference::Damaged {
            package: package.clone(),
            path: path.clone(),
            problem,
        });
    }
    if let Some(facts) = &reality.environment {
        compare_facts(&components, facts, &mut comparison)?;
    }
    Ok(comparison)
}

/// Whether hashes of this digest's algorithm are there, and none is it.
fn names_another(hashes: &[Hash], digest: &Digest) -> bool {
    let own = Hash::of(digest);
    let mut comparable = hashes.iter().filter(|hash| hash.alg == own.alg).peekable();
    comparable.peek().is_some() && comparable.all(|hash| !is_same(hash, &own))
}

fn is_same(one: &Hash, other: &Hash) -> bool {
    one.alg == other.alg && one.content.eq_ignore_ascii_case(&other.content)
}

fn compare_files(
    components: &[&Component],
    files: &BTreeMap<String, Digest>,
    others: &BTreeMap<String, &'static str>,
    comparison: &mut Comparison,
) -> Result<(), BomError> {
    let listed = components.iter().filter(|it| it.kind == "file");
    let listed = listed.map(|component| (component.name.as_str(), *component));
    let listed = once_each(listed, |path| format!("file \"{path}\""))?;
    let paths: BTreeSet<&str> = listed
        .keys()
        .copied()
        .chain(files.keys().map(String::as_str))
        .chain(others.keys().map(String::as_str))
        .collect();
    comparison.files = Some(paths.len());
    for path in paths {
        let name = path.to_owned();
        if let Some(&found) = others.get(path) {
            comparison.differences.push(Difference::NoFile {
                path: name,
                found,
                listed: listed.contains_key(path),
            });
            continue;
        }
        let difference = match (listed.get(path), files.get(path)) {
            (Some(_), None) => Difference::MissingFile(name),
            (None, _) => Difference::UnlistedFile(name),
            (Some(component), Some(found)) => {
                let own = Hash::of(found);
                let mut comparable = component.hashes.iter().filter(|hash| hash.alg == own.alg);
                match comparable.next() {
                    None => Difference::UnhashedFile(name),
                    // All of them, so that a second hash cannot stand there for show.
                    Some(first)
                        if is_same(first, &own) && comparable.all(|it| is_same(it, &own)) =>
                    {
                        continue;
                    }
                    Some(_) => Difference::ChangedFile {
                        path: name,
                        found: *found,
                    },
                }
            }
        };
        comparison.differences.push(difference);
    }
    Ok(())
}

/// Entries by their keys, none of which may stand twice.
fn once_each<K: Ord, V>(
    entries: impl IntoIterator<Item = (K, V)>,
    shown: impl Fn(&K) -> String,
) -> Result<BTreeMap<K, V>, BomError> {
    let mut known = BTreeMap::new();
    for (key, value) in entries {
        if known.contains_key(&key) {
            return Err(BomError::ListedTwice(shown(&key)));
        }
        known.insert(key, value);
    }
    Ok(known)
}

fn compare_packages(
    listed: &[Package],
    found: &[Package],
    comparison: &mut Comparison,
) -> Result<(), BomError> {
    let key = |package: &Package| (package.name.clone(), package.version.clone());
    let listed = listed.iter().map(|it| (key(it), it));
    let listed = once_each(listed, |(name, version)| {
        format!("package \"{name} {version}\"")
    })?;
    let found: BTreeMap<_, _> = found.iter().map(|it| (key(it), it)).collect();
    let keys: BTreeSet<_> = listed.keys().chain(found.keys()).collect();
    comparison.packages = Some(keys.len());
    let unlisted_versions = |name: &str| -> Vec<&str> {
        found
            .values()
            .filter(|it| it.name == name && !listed.contains_key(&key(it)))
            .map(|it| it.version.as_str())
            .collect()
    };
    let is_missing = |name: &str| {
        listed
            .keys()
            .any(|key| key.0 == name && !found.contains_key(key))
    };
    for key in keys {
        let difference = match (listed.get(key), found.get(key)) {
            (Some(listed), None) => match unlisted_versions(&listed.name).as_slice() {
                [] => Difference::MissingPackage((*listed).clone()),
                versions => Difference::OtherVersion {
                    listed: (*listed).clone(),
                    found: versions.join(", "),
                },
            },
            // Told already, as another version.
            (None, Some(found)) if is_missing(&found.name) => continue,
            (None, Some(found)) => Difference::UnlistedPackage((*found).clone()),
            (Some(listed), Some(found)) => {
                let installed = listed.installed.zip(found.installed);
                let archives = !listed.archives.is_empty() && !found.archives.is_empty();
                if archives && listed.hashes() != found.hashes() {
                    Difference::OtherArchives((*listed).clone())
                } else if installed.is_some_and(|(one, other)| one != other) {
                    Difference::OtherInstallation((*listed).clone())
                } else {
                    comparison.versions_only += usize::from(!archives && installed.is_none());
                    continue;
                }
            }
            (None, None) => continue,
        };
        comparison.differences.push(difference);
    }
    Ok(())
}

fn compare_facts(
    components: &[&Component],
    facts: &BTreeMap<String, String>,
    comparison: &mut Comparison,
) -> Result<(), BomError> {
    let listed = components
        .iter()
        .flat_map(|component| &component.properties)
        .filter_map(|it| Some((it.name.strip_prefix(PROPERTY_FACT)?, it.value.as_deref()?)));
    let listed = once_each(listed, |name| format!("environment \"{name}\""))?;
    let names: BTreeSet<&str> = listed
        .keys()
        .copied()
        .chain(facts.keys().map(String::as_str))
        .collect();
    for name in names {
        let (listed, found) = (
            listed.get(name).copied(),
            facts.get(name).map(String::as_str),
        );
        if listed != found {
            comparison.differences.push(Difference::Fact {
                name: name.to_owned(),
                listed: listed.map(str::to_owned),
                found: found.map(str::to_owned),
            });
        }
    }
    Ok(())
}
