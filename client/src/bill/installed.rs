//! The packages of a Python installation: every `dist-info` in a directory of packages, each recorded file
//! compared with what lies there.

use crate::error::{Error, Result};
use crate::layout::hash_file;
use sealstone_spec::bom::Package;
use sealstone_spec::bom::installed;
use sealstone_spec::bom::package::merge;
use sealstone_spec::digest::Algorithm;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

/// Longest METADATA or RECORD that is read.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What is installed.
#[derive(Clone, Debug, Default)]
pub struct Installation {
    /// The packages.
    pub packages: Vec<Package>,
    /// Their files that are not what was recorded: package, path, what is wrong.
    pub damaged: Vec<(Package, String, &'static str)>,
}

/// Reads what is installed in a directory of packages (`site-packages`).
///
/// # Errors
/// If it holds no package, or one whose records cannot be read.
pub fn installed_in(directory: &Path) -> Result<Installation> {
    let what = || format!("reading \"{}\"", directory.display());
    let mut found = Installation::default();
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(|source| Error::io(what(), source))? {
        let entry = entry.map_err(|source| Error::io(what(), source))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".dist-info") {
            names.push(name);
        }
    }
    names.sort();
    for name in names {
        let inside = directory.join(&name);
        let metadata = text_of(&inside.join("METADATA"))?;
        let record = text_of(&inside.join("RECORD"))?;
        let read = installed::read(&name, &metadata, &record).map_err(|error| {
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
                Ok(open) => match hash_file(&open, Algorithm::Sha256) {
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
    }
    if found.packages.is_empty() {
        return Err(Error::usage(format!(
            "\"{}\" holds no installed package",
            directory.display()
        ))
        .hint("give the site-packages directory"));
    }
    found.packages = merge(found.packages);
    Ok(found)
}

fn text_of(path: &Path) -> Result<String> {
    let what = || format!("reading \"{}\"", path.display());
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
        .map_err(|source| Error::io(what(), source))?;
    Ok(text)
}
