//! The packages of a Python installation: every `dist-info` in a directory of packages, each recorded file
//! compared with what lies there; every `egg-info`, of which nothing recorded more than name and version.
//!
//! Invariant: what an interpreter finds installed in the directory is named here, or reading it is refused.

use crate::error::{Error, Result};
use crate::layout::hash_file;
use sealstone_spec::bom::Package;
use sealstone_spec::bom::installed;
use sealstone_spec::bom::package::merge;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

/// Longest METADATA, RECORD or PKG-INFO that is read.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What is installed.
#[derive(Clone, Debug, Default)]
pub struct Installation {
    /// The packages.
    pub packages: Vec<Package>,
    /// Their files that are not what was recorded: package, path, what is wrong.
    pub damaged: Vec<(Package, String, &'static str)>,
    /// Packages of whose files nothing recorded a hash (no `dist-info` either), with the names of what says that they are there.
    pub unrecorded: Vec<(Package, String)>,
}

/// Reads what is installed in a directory of packages (`site-packages`).
///
/// # Errors
/// If it holds no package, or one whose records cannot be read; also if it holds an egg or a link to one.
pub fn installed_in(directory: &Path) -> Result<Installation> {
    let what = || format!("reading \"{}\"", directory.display());
    let mut found = Installation::default();
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(|source| Error::io(what(), source))? {
        let entry = entry.map_err(|source| Error::io(what(), source))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    for name in names {
        // As the interpreter reads these names: capitals are small letters.
        match name.to_ascii_lowercase().rsplit_once('.') {
            Some((_, "dist-info")) => recorded(directory, &name, &mut found)?,
            Some((_, "egg-info")) => unrecorded(directory, name, &mut found)?,
            Some((_, "egg" | "egg-link")) => {
                let place = directory.join(&name);
                return Err(Error::refused(format!(
                    "\"{}\" is a package in a form that is not read, so a bill would leave it out",
                    place.display()
                ))
                .hint("install it again with pip, as a wheel"));
            }
            _ => {}
        }
    }
    if found.packages.is_empty() {
        return Err(Error::usage(format!(
            "\"{}\" holds no installed package",
            directory.display()
        ))
        .hint("give the site-packages directory"));
    }
    // Debian's have both where a build brought a `dist-info` of its own: then the files are recorded.
    let packages = &found.packages;
    found.unrecorded.retain(|(it, _)| {
        let is_it = |other: &Package| (&other.name, &other.version) == (&it.name, &it.version);
        !packages
            .iter()
            .any(|other| is_it(other) && other.installed.is_some())
    });
    found.packages = merge(found.packages);
    Ok(found)
}

/// A package of a `dist-info`.
fn recorded(directory: &Path, name: &str, found: &mut Installation) -> Result<()> {
    let inside = directory.join(name);
    let metadata = text_of(&inside.join("METADATA"))?;
    let record = text_of(&inside.join("RECORD"))?;
    let read = installed::read(name, &metadata, &record).map_err(|error| {
        Error::halted(format!("\"{}\" cannot be read", inside.display())).source(error)
    })?;
    for file in &read.files {
        // Compiled files are made again by the interpreter as it likes.
        let Some(expected) = file.digest.filter(|_| !file.path.ends_with(".pyc")) else {
            continue;
        };
        let problem = match File::open(directory.join(&file.path)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "is missing",
            Err(source) => return Err(Error::io(format!("reading \"{}\"", file.path), source)),
            Ok(open) => match hash_file(&open, expected.algorithm()) {
                Ok((actual, _)) if actual == expected => continue,
                Ok(_) => "has other content than was installed",
                Err(source) => {
                    return Err(Error::io(format!("reading \"{}\"", file.path), source));
                }
            },
        };
        found
            .damaged
            .push((read.package.clone(), file.path.clone(), problem));
    }
    found.packages.push(read.package);
    Ok(())
}

/// A package of an `egg-info`: a directory, or the text itself (Debian's, those of `setup.py install`, conda's).
fn unrecorded(directory: &Path, name: String, found: &mut Installation) -> Result<()> {
    let place = directory.join(&name);
    let metadata = match place.is_dir() {
        true => text_of(&place.join("PKG-INFO"))?,
        false => text_of(&place)?,
    };
    let package = installed::read_egg_info(&name, &metadata).map_err(|error| {
        Error::halted(format!("\"{}\" cannot be read", place.display())).source(error)
    })?;
    found.packages.push(package.clone());
    found.unrecorded.push((package, name));
    Ok(())
}

fn text_of(path: &Path) -> Result<String> {
    let what = || format!("reading \"{}\"", path.display());
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|source| Error::io(what(), source))?;
    // Read in part, a RECORD would leave files out.
    if text.len() as u64 > MAX_BYTES {
        let text = format!("\"{}\" has more than {MAX_BYTES} bytes", path.display());
        return Err(Error::refused(text));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// As Debian's python3-cryptography: the bill has an installed digest, and a check of it has to find the same.
    #[test]
    fn a_package_with_both_records_is_a_recorded_one() {
        let site = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = site.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let metadata = "Metadata-Version: 2.1\nName: alpha\nVersion: 1.0\n";
        write("alpha.py", "x = 1\n");
        write("alpha-1.0.dist-info/METADATA", metadata);
        write(
            "alpha-1.0.dist-info/RECORD",
            "alpha.py,sha256=nia_NpkRxFwkPGhBR7I_yeHc_PJX0pmhxjIBam_NM_Q,6\n",
        );
        write("alpha.egg-info", metadata);
        let found = installed_in(site.path()).unwrap();
        assert!(found.damaged.is_empty(), "{:?}", found.damaged);
        assert!(found.unrecorded.is_empty(), "{:?}", found.unrecorded);
        assert_eq!(found.packages.len(), 1);
        assert!(found.packages[0].installed.is_some());
        // Of another version nothing is recorded, whatever is of this one.
        write("alpha.egg-info", &metadata.replace("1.0", "2.0"));
        let found = installed_in(site.path()).unwrap();
        assert_eq!(found.unrecorded.len(), 1);
        assert_eq!(found.unrecorded[0].0.version, "2.0");
    }
}
