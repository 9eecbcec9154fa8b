//! What people write, restored from a bundle: recipe, lock, parameters, code, tests. To go on from an older release, or
//! to go back to it.
//!
//! Does not restore data, wheels and outputs: `pull` fetches those, `run` makes them again.
//! Invariant: nothing is written before everything was fetched and compared; a file of the caller's that differs is
//! replaced only if that was asked for; nothing is written through a symbolic link.

use super::sealed::SealedRelease;
use crate::error::{Error, Result};
use crate::recipe::hash_path;
use crate::store::Store;
use sealstone_spec::bundle::BundleFile;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::role::BundleRole;
use serde::Serialize;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Largest file that is restored, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Files that were written.
    pub written: Vec<String>,
    /// Files that were there as they should be.
    pub kept: Vec<String>,
}

fn is_written_by_people(file: &BundleFile) -> bool {
    let is_wheel = file.path.as_str().ends_with(".whl");
    match file.role {
        BundleRole::Recipe
        | BundleRole::Lock
        | BundleRole::Parameters
        | BundleRole::Source
        | BundleRole::Test
        | BundleRole::Baseline => true,
        BundleRole::Environment => !is_wheel && file.size <= 4 << 20,
        _ => false,
    }
}

/// Restores the files that people write from `release` into `directory`, and with `parameters_only` just recipe,
/// lock and parameters.
///
/// # Errors
/// [`Outcome::Conflict`](crate::Outcome::Conflict) if a file there differs and `replace` is not given, with each of
/// them; nothing was written then.
pub async fn restore(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    release: &SealedRelease,
    directory: &Path,
    parameters_only: bool,
    replace: bool,
) -> Result<Restored> {
    let mut restored = Restored::default();
    let mut fetched: Vec<(&BundleFile, Vec<u8>)> = Vec::new();
    let mut conflicts = Vec::new();
    for (file, layer) in release.bundle.files().iter().zip(manifest.layers()) {
        let is_small = matches!(
            file.role,
            BundleRole::Recipe | BundleRole::Lock | BundleRole::Parameters
        );
        let is_restored = is_written_by_people(file) && !file.form.is_archive();
        if !is_restored || (parameters_only && !is_small) {
            continue;
        }
        match standing(directory, file)? {
            Standing::Same => restored.kept.push(file.path.to_string()),
            Standing::Absent => {
                let bytes = store.blob_bytes(layer, MAX_FILE_BYTES).await?;
                fetched.push((file, bytes));
            }
            Standing::Differs if replace => {
                let bytes = store.blob_bytes(layer, MAX_FILE_BYTES).await?;
                fetched.push((file, bytes));
            }
            Standing::Differs => conflicts.push(file.path.to_string()),
        }
    }
    if !conflicts.is_empty() {
        let mut error = Error::conflict(format!(
            "{} files in \"{}\" differ from those of the release",
            conflicts.len(),
            directory.display()
        ));
        for path in conflicts.iter().take(20) {
            error = error.hint(path.clone());
        }
        return Err(error.hint("commit them, or replace them with --force"));
    }
    for (file, bytes) in fetched {
        write(directory, file, &bytes)?;
        restored.written.push(file.path.to_string());
    }
    Ok(restored)
}

enum Standing {
    Absent,
    Same,
    Differs,
}

fn standing(directory: &Path, file: &BundleFile) -> Result<Standing> {
    let mut place = directory.to_owned();
    let mut elements = file.path.as_str().split('/').peekable();
    while let Some(element) = elements.next() {
        place.push(element);
        let metadata = match place.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Standing::Absent);
            }
            Err(source) => {
                return Err(Error::io(
                    format!("reading \"{}\"", place.display()),
                    source,
                ));
            }
        };
        let fits = match elements.peek() {
            Some(_) => metadata.is_dir(),
            None => metadata.is_file(),
        };
        if !fits {
            return Err(Error::conflict(format!(
                "\"{}\" is in the way of \"{}\"",
                place.display(),
                file.path
            )));
        }
        if elements.peek().is_none() {
            let executable = metadata.permissions().mode() & 0o100 != 0;
            let (digest, _) = hash_path(&place)?;
            return Ok(
                match digest == file.digest && executable == file.executable {
                    true => Standing::Same,
                    false => Standing::Differs,
                },
            );
        }
    }
    Ok(Standing::Absent)
}

fn write(directory: &Path, file: &BundleFile, bytes: &[u8]) -> Result<()> {
    let place: PathBuf = directory.join(file.path.as_str());
    let what = || format!("writing \"{}\"", place.display());
    let parent = place.parent().unwrap_or(directory);
    fs::create_dir_all(parent).map_err(|source| Error::io(what(), source))?;
    let made =
        tempfile::NamedTempFile::new_in(parent).map_err(|source| Error::io(what(), source))?;
    fs::write(made.path(), bytes).map_err(|source| Error::io(what(), source))?;
    let mode = if file.executable { 0o755 } else { 0o644 };
    fs::set_permissions(made.path(), fs::Permissions::from_mode(mode))
        .map_err(|source| Error::io(what(), source))?;
    made.persist(&place)
        .map_err(|error| Error::io(what(), error.error))?;
    Ok(())
}
