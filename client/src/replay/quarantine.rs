//! What a halted replay had brought here, put where nobody runs it by mistake.
//!
//! Invariant: nothing in quarantine can be executed or read by another user, and nothing of it keeps the place
//! that it was meant for.

use crate::error::{Error, Result};
use crate::layout::hash_file;
use sealstone_spec::digest::{Algorithm, Digest};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Moves `parts`, as far as they are there, into the new directory `to`. What lies there now, by path and
/// digest; empty, and no directory, if there was nothing.
///
/// # Errors
/// If a file cannot be moved.
pub(super) fn quarantine(parts: &[PathBuf], to: &Path) -> Result<BTreeMap<String, Digest>> {
    let failed = |source| Error::io(format!("moving files to \"{}\"", to.display()), source);
    let mut held = BTreeMap::new();
    for part in parts.iter().filter(|part| part.is_dir()) {
        let name = part.file_name().unwrap_or_default();
        take(part, &to.join(name), &name.to_string_lossy(), &mut held).map_err(failed)?;
        fs::remove_dir_all(part).map_err(failed)?;
    }
    Ok(held)
}

/// Copies plain files and nothing else: a link or a device in such a place is not followed.
fn take(from: &Path, to: &Path, path: &str, held: &mut BTreeMap<String, Digest>) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let below = format!("{path}/{}", name.to_string_lossy());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            take(&entry.path(), &to.join(&name), &below, held)?;
        } else if kind.is_file() && entry.metadata()?.len() > 0 {
            fs::create_dir_all(to)?;
            fs::set_permissions(to, fs::Permissions::from_mode(0o700))?;
            let target = to.join(&name);
            fs::copy(entry.path(), &target)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(0o400))?;
            let (digest, _) = hash_file(&File::open(&target)?, Algorithm::Sha256)?;
            held.insert(below, digest);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_are_moved_and_cannot_be_run() {
        let root = tempfile::tempdir().unwrap();
        let part = root.path().join("baseline");
        fs::create_dir_all(part.join("src")).unwrap();
        fs::write(part.join("src/run.sh"), "x").unwrap();
        fs::set_permissions(part.join("src/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", part.join("link")).unwrap();
        let to = root.path().join("held");
        let parts = [part.clone(), root.path().join("absent")];
        let held = quarantine(&parts, &to).unwrap();
        assert_eq!(held.keys().collect::<Vec<_>>(), ["baseline/src/run.sh"]);
        let mode = fs::metadata(to.join("baseline/src/run.sh"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o400);
        assert!(!part.exists() && !to.join("baseline/link").exists());
        assert!(
            quarantine(&[part], &root.path().join("none"))
                .unwrap()
                .is_empty()
        );
        assert!(!root.path().join("none").exists());
    }
}
