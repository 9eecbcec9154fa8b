//! A directory on disk compared with a bundle: each file by size and digest, nothing missing, nothing
//! added.

use super::Evidence;
use crate::error::{Error, Result};
use crate::layout::hash_file;
use sealstone_spec::bundle::{Bundle, BundleFile, BundlePath};
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::model_signature::FILE_NAME;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// How a directory differs from the bundle that it should hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "problem")]
#[non_exhaustive]
pub enum FileProblem {
    /// A file of the bundle is not there, or is no plain file.
    Missing {
        /// Its path.
        path: String,
    },
    /// A file has other bytes.
    Differs {
        /// Its path.
        path: String,
        /// What the bundle says.
        expected: Digest,
        /// What is there.
        actual: Digest,
    },
    /// A file may be run that should not, or the other way round.
    Executable {
        /// Its path.
        path: String,
        /// What the bundle says.
        expected: bool,
    },
    /// A file of the bundle lies under another name.
    Renamed {
        /// Its path in the bundle.
        path: String,
        /// Where it lies.
        to: String,
    },
    /// A file that the bundle does not hold.
    Added {
        /// Its path.
        path: String,
    },
}

impl std::fmt::Display for FileProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FileProblem::Missing { path } => write!(f, "\"{path}\" is missing"),
            FileProblem::Differs {
                path,
                expected,
                actual,
            } => {
                write!(
                    f,
                    "\"{path}\" has other content: expected {expected}, found {actual}"
                )
            }
            FileProblem::Executable {
                path,
                expected: true,
            } => {
                write!(f, "\"{path}\" should be executable")
            }
            FileProblem::Executable { path, .. } => {
                write!(f, "\"{path}\" should not be executable")
            }
            FileProblem::Renamed { path, to } => {
                write!(f, "\"{path}\" was renamed to \"{to}\"")
            }
            FileProblem::Added { path } => write!(f, "\"{path}\" is not part of the bundle"),
        }
    }
}

/// Compares the files below `directory` with those of `bundle`; an empty list means that they are the
/// same. Symbolic links are never followed: one in the place of a file counts as missing.
///
/// # Errors
/// If the directory cannot be read, or the bundle holds archives, whose files it does not list.
pub fn compare_files(bundle: &Bundle, directory: &Path) -> Result<Vec<FileProblem>> {
    if let Some(archive) = bundle.files().iter().find(|file| file.form.is_archive()) {
        return Err(Error::halted(format!(
            "\"{}\" is an archive: its files cannot be compared one by one",
            archive.path
        )));
    }
    let mut present = BTreeSet::new();
    list(directory, "", &mut present, 0)?;
    let mut problems = Vec::new();
    let expected: BTreeMap<&str, &BundleFile> = bundle
        .files()
        .iter()
        .map(|file| (file.path.as_str(), file))
        .collect();
    for (path, file) in &expected {
        match present.contains(*path) {
            true => problems.extend(compare(directory, file)?),
            false => problems.push(FileProblem::Missing {
                path: (*path).to_owned(),
            }),
        }
    }
    let added = present
        .into_iter()
        .filter(|path| !expected.contains_key(path.as_str()));
    let added = pair_renamed(directory, &expected, &mut problems, added.collect())?;
    problems.extend(added.into_iter().map(|path| FileProblem::Added { path }));
    Ok(problems)
}

/// As [`compare_files`]; a `model.sig` that is one of the signatures attached to the bundle is no addition: `pull --oms`
/// puts it there.
///
/// # Errors
/// As [`compare_files`].
pub fn compare_pulled(
    bundle: &Bundle,
    evidence: &Evidence,
    directory: &Path,
) -> Result<Vec<FileProblem>> {
    let is_attached = || {
        let path = directory.join(FILE_NAME);
        let is_file = path.symlink_metadata().is_ok_and(|found| found.is_file());
        let content = is_file.then(|| fs::read(&path).ok()).flatten();
        content.is_some_and(|content| evidence.attached.iter().any(|item| item.bundle == content))
    };
    let mut problems = compare_files(bundle, directory)?;
    problems.retain(|problem| {
        !matches!(problem, FileProblem::Added { path } if path == FILE_NAME && is_attached())
    });
    Ok(problems)
}

/// Makes one rename of a file that is missing and one that was added with the same bytes; returns what is
/// left of the added ones.
fn pair_renamed(
    directory: &Path,
    expected: &BTreeMap<&str, &BundleFile>,
    problems: &mut [FileProblem],
    mut added: BTreeSet<String>,
) -> Result<BTreeSet<String>> {
    // Shards have equal sizes: each is read once, not once for each that is missing.
    let mut known: BTreeMap<(String, Algorithm), Digest> = BTreeMap::new();
    for problem in problems {
        let FileProblem::Missing { path } = &*problem else {
            continue;
        };
        let Some(file) = expected.get(path.as_str()) else {
            continue;
        };
        let mut found = None;
        for other in &added {
            let same_size = directory
                .join(other)
                .symlink_metadata()
                .is_ok_and(|metadata| metadata.is_file() && metadata.len() == file.size);
            if !same_size {
                continue;
            }
            let algorithm = file.digest.algorithm();
            let digest = match known.get(&(other.clone(), algorithm)) {
                Some(digest) => *digest,
                None => {
                    let what = || format!("reading \"{other}\"");
                    let opened = open_plain(&directory.join(other))
                        .map_err(|source| Error::io(what(), source))?;
                    let (digest, _) = hash_file(&opened, algorithm)
                        .map_err(|source| Error::io(what(), source))?;
                    known.insert((other.clone(), algorithm), digest);
                    digest
                }
            };
            if digest == file.digest {
                found = Some(other.clone());
                break;
            }
        }
        if let Some(to) = found {
            added.remove(&to);
            let path = path.clone();
            *problem = FileProblem::Renamed { path, to };
        }
    }
    Ok(added)
}

/// Opens a file for reading; a link is not followed, and a pipe is not waited for.
fn open_plain(path: &Path) -> std::io::Result<fs::File> {
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

fn compare(directory: &Path, file: &BundleFile) -> Result<Option<FileProblem>> {
    let path = directory.join(file.path.as_str());
    let what = || format!("reading \"{}\"", path.display());
    let opened = open_plain(&path);
    let text = |path: &BundlePath| path.as_str().to_owned();
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Ok(Some(FileProblem::Missing {
                path: text(&file.path),
            }));
        }
        Err(source) => return Err(Error::io(what(), source)),
    };
    let metadata = opened
        .metadata()
        .map_err(|source| Error::io(what(), source))?;
    if !metadata.is_file() {
        return Ok(Some(FileProblem::Missing {
            path: text(&file.path),
        }));
    }
    let (actual, size) =
        hash_file(&opened, file.digest.algorithm()).map_err(|source| Error::io(what(), source))?;
    if actual != file.digest || size != file.size {
        return Ok(Some(FileProblem::Differs {
            path: text(&file.path),
            expected: file.digest,
            actual,
        }));
    }
    let executable = metadata.permissions().mode() & 0o100 != 0;
    Ok(
        (executable != file.executable).then(|| FileProblem::Executable {
            path: text(&file.path),
            expected: file.executable,
        }),
    )
}

/// Every file below `directory`, links and devices as if they were files.
fn list(directory: &Path, prefix: &str, found: &mut BTreeSet<String>, depth: usize) -> Result<()> {
    let what = || format!("reading the directory \"{}\"", directory.display());
    if depth > 512 {
        return Err(Error::halted(format!(
            "\"{}\" lies too deep",
            directory.display()
        )));
    }
    for entry in fs::read_dir(directory).map_err(|source| Error::io(what(), source))? {
        let entry = entry.map_err(|source| Error::io(what(), source))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}/{name}")
        };
        if entry
            .file_type()
            .map_err(|source| Error::io(what(), source))?
            .is_dir()
        {
            list(&entry.path(), &path, found, depth + 1)?;
        } else {
            found.insert(path);
        }
    }
    Ok(())
}
