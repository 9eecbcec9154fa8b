//! Installed packages: what a `dist-info` directory says was installed, and what an `egg-info` says.
//!
//! Source: PyPA, core metadata and recording installed projects; setuptools, formats of Python eggs. Reads the texts of
//! `METADATA` and `RECORD`, or of `PKG-INFO`; comparing the files on disk with them is the caller's.
//!
//! The **installed digest** of a package is SHA-256 over its recorded files that are the same on every
//! machine, sorted by path, each as path, LF, hash, LF: not those outside of the directory (scripts hold the
//! interpreter's path), not compiled ones, and not `INSTALLER`, `REQUESTED`, `RECORD` and `direct_url.json`.

use super::BomError;
use super::package::Package;
use crate::digest::{Algorithm, Digest};
use crate::purl::pypi_name;
use data_encoding::BASE64URL_NOPAD;

/// A package with the files that were recorded for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The package, with its installed digest.
    pub package: Package,
    /// Its files, sorted by path.
    pub files: Vec<RecordedFile>,
}

/// A file that was installed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordedFile {
    /// Path, relative to the directory that packages are installed in.
    pub path: String,
    /// SHA-256 or SHA-512 of its content, if one was recorded.
    pub digest: Option<Digest>,
}

/// Reads one package; `directory` is the name of its `dist-info` directory.
///
/// # Errors
/// If one of the texts is not what it should be.
pub fn read(directory: &str, metadata: &str, record: &str) -> Result<Installed, BomError> {
    let refused = |problem: &str| BomError::Contents {
        at: directory.chars().take(120).collect(),
        problem: problem.into(),
    };
    let mut package = read_metadata(metadata)
        .ok_or_else(|| refused("its METADATA states no Name and Version"))?;
    let mut files = Vec::new();
    for row in record.lines().filter(|line| !line.trim().is_empty()) {
        files.push(
            read_row(row).ok_or_else(|| refused("its RECORD has a row that is not understood"))?,
        );
    }
    files.sort();
    let mut text = String::new();
    for file in files.iter().filter(|file| is_same_everywhere(&file.path)) {
        if let Some(digest) = file.digest {
            text.push_str(&format!("{}\n{}\n", file.path, digest.hex()));
        }
    }
    if text.is_empty() {
        return Err(refused("its RECORD fixes no file"));
    }
    package.installed = Some(Digest::sha256(text.as_bytes()));
    Ok(Installed { package, files })
}

/// Reads the `PKG-INFO` of an `egg-info`, which is a directory of that name or the text itself; `entry` is its name.
/// Nothing records its files with their hashes: its name and version are all that is known.
///
/// # Errors
/// If the text states no name and version.
pub fn read_egg_info(entry: &str, metadata: &str) -> Result<Package, BomError> {
    read_metadata(metadata).ok_or_else(|| BomError::Contents {
        at: entry.chars().take(120).collect(),
        problem: "its PKG-INFO states no Name and Version".into(),
    })
}

fn is_same_everywhere(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let of_installer = path.contains(".dist-info/")
        && ["INSTALLER", "REQUESTED", "RECORD", "direct_url.json"].contains(&name);
    !of_installer && !path.starts_with("../") && !path.starts_with('/') && !path.ends_with(".pyc")
}

fn read_metadata(text: &str) -> Option<Package> {
    let header = |line: &str, name: &str| -> Option<String> {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    };
    // The description follows after an empty line.
    let lines: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
    let first = |name: &str| lines.iter().find_map(|line| header(line, name));
    let (name, version) = (first("Name")?, first("Version")?);
    if pypi_name(&name).is_empty() || version.is_empty() {
        return None;
    }
    let mut package = Package::new(&name, &version);
    for needed in lines
        .iter()
        .filter_map(|line| header(line, "Requires-Dist"))
    {
        let (needed, marker) = needed.split_once(';').unwrap_or((&needed, ""));
        if marker.contains("extra") {
            continue;
        }
        let end = needed
            .find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c))
            .unwrap_or(needed.len());
        package.requires.insert(pypi_name(&needed[..end]));
    }
    package.requires.remove("");
    Some(package)
}

/// `path,sha256=base64,size`, where the path may be in quotes.
fn read_row(row: &str) -> Option<RecordedFile> {
    let (path, rest) = match row.strip_prefix('"') {
        Some(quoted) => {
            let mut path = String::new();
            let mut rest = quoted;
            loop {
                let (part, after) = rest.split_once('"')?;
                path.push_str(part);
                // A quote that is doubled is one.
                match after.strip_prefix('"') {
                    Some(after) => {
                        path.push('"');
                        rest = after;
                    }
                    None => break (path, after.strip_prefix(',')?),
                }
            }
        }
        None => {
            let (path, rest) = row.split_once(',')?;
            (path.to_owned(), rest)
        }
    };
    let (hash, _size) = rest.split_once(',')?;
    let digest = match hash.split_once('=') {
        // A row whose hash nobody could compare would pass for a file that is kept.
        Some((name, value)) => {
            let algorithm = match name {
                "sha256" => Algorithm::Sha256,
                "sha512" => Algorithm::Sha512,
                _ => return None,
            };
            let bytes = BASE64URL_NOPAD.decode(value.as_bytes()).ok()?;
            Some(Digest::from_bytes(algorithm, &bytes)?)
        }
        None if hash.is_empty() => None,
        None => return None,
    };
    (!path.is_empty()).then_some(RecordedFile { path, digest })
}
