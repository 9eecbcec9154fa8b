//! What is better done on a local directory than through `object_store`: moving a staged file into
//! place instead of copying it, and reading large ranges instead of 8 KiB at a time.
//!
//! Invariant: every folder in which an object can lie is there, and its name on the disk, before the first object comes.
//! One that is missing later says that the directory is not the one that was opened, such as where a volume went away.

use super::Error;
use crate::metadata::PhysicalKey;
use crate::{file, process};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The directory under which objects lie by their keys.
#[derive(Clone, Debug)]
pub struct LocalDirectory {
    root: PathBuf,
}

impl LocalDirectory {
    pub(super) fn create(root: &Path) -> Result<LocalDirectory, Error> {
        let top = root.join(PhysicalKey::TOP);
        file::make_folder(&top).map_err(Error::io("create", top.display()))?;
        for folder in PhysicalKey::folders() {
            let folder = root.join(folder);
            match fs::create_dir(&folder) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => made.map_err(Error::io("create", folder.display()))?,
            }
        }
        // Also where none was made now: whoever made them may have ended before this.
        for folder in [top.as_path(), root, file::folder(root)] {
            sync_directory(folder)?;
        }
        Ok(LocalDirectory {
            root: root.to_owned(),
        })
    }

    /// Whether objects can be made.
    pub(super) fn check_writable(&self) -> Result<(), Error> {
        process::may_write(&self.root).map_err(Error::io("write in", self.root.display()))
    }

    /// Whether objects can lie below `root`, or did at any time: the folder that holds theirs is there.
    pub(super) fn is_in(root: &Path) -> bool {
        root.join(PhysicalKey::TOP).is_dir()
    }

    /// The file of a key.
    pub(super) fn path(&self, key: &PhysicalKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Whether the folder of a key is there, so that an object which is not has gone by itself.
    pub(super) fn has_folder_of(&self, key: &PhysicalKey) -> bool {
        file::folder(&self.path(key)).is_dir()
    }

    /// Opens the file of a key.
    pub(super) fn open(&self, key: &PhysicalKey) -> Result<File, Error> {
        File::open(self.path(key))
            .and_then(process::with_spare)
            .map_err(Error::io("open", key))
    }

    /// Moves a synced file to its key. When this returns, the name is on disk as well.
    pub(super) fn adopt(&self, staged: &Path, key: &PhysicalKey) -> Result<(), Error> {
        let target = self.path(key);
        fs::rename(staged, &target).map_err(Error::io("move into place", key))?;
        sync_directory(file::folder(&target))
    }
}

fn sync_directory(path: &Path) -> Result<(), Error> {
    file::sync_folder(path).map_err(Error::io("sync", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metadata::UploadId;

    fn key() -> PhysicalKey {
        PhysicalKey::of_upload(UploadId(uuid::Uuid::now_v7()))
    }

    #[test]
    fn every_key_has_its_folder_before_its_object() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("blobs");
        assert!(!LocalDirectory::is_in(&root));
        // A volume that is not mounted leaves this.
        fs::create_dir(&root).unwrap();
        assert!(!LocalDirectory::is_in(&root));
        let local = LocalDirectory::create(&root).unwrap();
        assert!(LocalDirectory::is_in(&root));
        assert_eq!(fs::read_dir(root.join("b")).unwrap().count(), 256);
        for _ in 0..1000 {
            assert!(local.has_folder_of(&key()));
        }
        // One that a backup left out, since nothing was in it.
        fs::remove_dir(root.join("b/00")).unwrap();
        LocalDirectory::create(&root).unwrap();
        assert_eq!(fs::read_dir(root.join("b")).unwrap().count(), 256);
    }

    #[test]
    fn nothing_is_moved_where_the_folders_went_away() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("blobs");
        let local = LocalDirectory::create(&root).unwrap();
        let staged = directory.path().join("staged");
        fs::write(&staged, b"bytes").unwrap();
        let key = key();
        fs::rename(root.join("b"), directory.path().join("aside")).unwrap();
        assert!(local.adopt(&staged, &key).is_err());
        assert!(!local.has_folder_of(&key) && staged.exists());
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
        fs::rename(directory.path().join("aside"), root.join("b")).unwrap();
        local.adopt(&staged, &key).unwrap();
        assert_eq!(fs::read(local.path(&key)).unwrap(), b"bytes");
    }
}
