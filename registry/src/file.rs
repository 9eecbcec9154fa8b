//! Files that are, after any stop, the old or the new one, or whole or not there; and the folders that they lie in.
//!
//! Owns: replacing one, and making one. Does not own: what stands in it, or who may write it (one at a time for each path).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The folder of a file: that of a bare name is where the process runs.
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Replaces a file so that it is, after any stop, the old or the new one.
///
/// # Errors
/// If it cannot be written and synced.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let next = beside(path);
    let mut file = File::create(&next)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    sync_folder(folder(path))
}

/// Makes a file that only its owner reads, and the folders above it that are missing. After any stop it is whole, or not
/// there.
///
/// # Errors
/// If it is there already, or cannot be written and synced: then there is none.
pub fn make_secret(path: &Path, content: &[u8]) -> io::Result<()> {
    make_folder(folder(path))?;
    let next = beside(path);
    // What a stop left, with whatever rights.
    remove_if_there(&next)?;
    let made = write_new(&next, content).and_then(|()| name_new(&next, path));
    if made.is_err() {
        let _ = remove_if_there(&next);
    }
    made?;
    sync_folder(folder(path))
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Gives a file its name, in the place of no other.
fn name_new(next: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(next, path) {
        Ok(()) => fs::remove_file(next),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        // Some file systems have no second names. There is no such file, or that would have been said.
        Err(_) => fs::rename(next, path),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where a file is written before it has its name.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    folder(path).join(name)
}

/// Makes a folder that only its owner enters, and those above it that are missing, so that their names survive a power
/// cut. One that is there stays as it is.
///
/// # Errors
/// If one of them cannot be made, or what is there is no folder.
pub fn make_folder(path: &Path) -> io::Result<()> {
    let above = path.ancestors();
    let missing = above.take_while(|path| !path.as_os_str().is_empty() && !path.is_dir());
    let missing: Vec<&Path> = missing.collect();
    for path in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(path) {
            // As after "..", or by somebody else meanwhile.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
            made => made?,
        }
        sync_folder(folder(path))?;
    }
    Ok(())
}

/// Waits until the names in a folder are on the disk.
///
/// # Errors
/// If it cannot be opened or synced.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_secret_is_whole_and_its_owners_and_takes_no_others_place() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("new/../deep");
        let path = folder.join("key.pem");
        make_secret(&path, b"first").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!((mode(&path), mode(&folder)), (0o600, 0o700));
        let refused = make_secret(&path, b"second").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);

        // A start that was cut leaves no file of that name, and something beside it that others may read.
        fs::remove_file(&path).unwrap();
        let left = beside(&path);
        fs::write(&left, "fi").unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o644)).unwrap();
        make_secret(&path, b"third").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"third");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_that_cannot_be_written_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        // In the way of what is written first.
        fs::create_dir(beside(&path)).unwrap();
        make_secret(&path, b"secret").unwrap_err();
        assert!(!path.exists());
        fs::remove_dir(beside(&path)).unwrap();
        make_secret(&path, b"secret").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"secret");
    }

    #[test]
    fn folders_are_made_where_they_are_missing_and_stay_where_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        make_folder(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        make_folder(&path.join("c")).unwrap();
        make_folder(&path).unwrap();
        assert_eq!((mode(&path), mode(&path.join("c"))), (0o750, 0o700));
        fs::write(path.join("file"), "").unwrap();
        make_folder(&path.join("file")).unwrap_err();
        make_folder(&path.join("file/d")).unwrap_err();
    }

    #[test]
    fn a_bare_name_is_in_a_folder_that_can_be_opened_and_synced() {
        for (path, there) in [
            ("key.pem", "."),
            ("keys/key.pem", "keys"),
            ("/key.pem", "/"),
            ("/", "."),
        ] {
            assert_eq!(folder(Path::new(path)), Path::new(there), "{path}");
        }
    }
}
