//! What is better done on a local directory than through `object_store`: moving a staged file into
//! place instead of copying it, and reading large ranges instead of 8 KiB at a time.
//!
//! Invariant: every folder in which an object can lie is there, and its name on the disk, before the first object comes.
//! One that is missing later says that the directory is not the one that was opened, such as where a volume went away. So
//! does another id, or none, where the directory has one: beneath a volume there can be folders too.

use super::{Error, StoreId};
use crate::metadata::PhysicalKey;
use crate::{file, process};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What is moved to see whether that can be done. No key, and no upload, has this name.
const TRIED: &str = ".move";

/// The directory under which objects lie by their keys.
#[derive(Clone, Debug)]
pub struct LocalDirectory {
    root: PathBuf,
    /// Of the store that has its objects here, if it has one.
    id: Option<StoreId>,
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
            id: None,
        })
    }

    /// The same as that of the store with an id, which is written down where it is not yet.
    pub(super) fn with_id(self, id: StoreId) -> Result<LocalDirectory, Error> {
        if StoreId::read(&self.root)? != Some(id) {
            id.write(&self.root)?;
        }
        Ok(LocalDirectory {
            id: Some(id),
            ..self
        })
    }

    /// Whether it is the directory that was opened, as far as that can be told.
    fn is_same(&self) -> Result<bool, Error> {
        match self.id {
            None => Ok(true),
            Some(id) => Ok(StoreId::read(&self.root)? == Some(id)),
        }
    }

    /// Refuses another directory than the one that was opened.
    fn check_same(&self) -> Result<(), Error> {
        if self.is_same()? {
            return Ok(());
        }
        let other = io::Error::other(
            "it is not the folder of objects that was there at the start: a volume went away, or another came",
        );
        Err(Error::io("write in", self.top().display())(other))
    }

    /// The folder that holds those of all objects.
    fn top(&self) -> PathBuf {
        self.root.join(PhysicalKey::TOP)
    }

    /// Whether objects can be made.
    pub(super) fn check_writable(&self) -> Result<(), Error> {
        let top = self.top();
        process::may_write(&top).map_err(Error::io("write in", top.display()))?;
        self.check_same()
    }

    /// Refuses a folder from which no file can be moved here, such as one in another mount, be it of the same file system.
    pub(super) fn check_moves(&self, staging: &Path) -> Result<(), Error> {
        let top = self.top();
        // There is no such file but at the start, so nothing is written; mounts are compared before names are looked up.
        match fs::rename(staging.join(TRIED), top.join(TRIED)) {
            Err(error) if error.raw_os_error() == Some(libc::EXDEV) => {
                let apart = io::Error::other(format!(
                    "what was received lies in {}, and that is another mount: have both in one",
                    staging.display()
                ));
                Err(Error::io("move files to", top.display())(apart))
            }
            // Whatever else is wrong is told where it is in the way.
            _ => Ok(()),
        }
    }

    /// The same with a file, for one at a time: some file systems have parts between which none can be moved.
    pub(super) fn try_move(&self, staging: &Path) -> Result<(), Error> {
        let _ = File::create(staging.join(TRIED));
        let moves = self.check_moves(staging);
        let top = self.top();
        for folder in [staging, top.as_path()] {
            let _ = fs::remove_file(folder.join(TRIED));
        }
        moves
    }

    /// The file of a key.
    pub(super) fn path(&self, key: &PhysicalKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Whether the folder of a key is there, so that an object which is not has gone by itself. Whoever cannot tell does not
    /// say so.
    pub(super) fn has_folder_of(&self, key: &PhysicalKey) -> bool {
        file::folder(&self.path(key)).is_dir() && self.is_same().unwrap_or(false)
    }

    /// Opens the file of a key.
    pub(super) fn open(&self, key: &PhysicalKey) -> Result<File, Error> {
        File::open(self.path(key))
            .and_then(process::with_spare)
            .map_err(Error::io("open", key))
    }

    /// Moves a synced file to its key. When this returns, the name is on disk as well.
    pub(super) fn adopt(&self, staged: &Path, key: &PhysicalKey) -> Result<(), Error> {
        self.check_same()?;
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
        let local = LocalDirectory::create(&root).unwrap();
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

    #[test]
    fn what_is_received_in_another_mount_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("blobs");
        let local = LocalDirectory::create(&root).unwrap();
        let staging = directory.path().join("uploads");
        fs::create_dir(&staging).unwrap();
        local.check_moves(&staging).unwrap();
        local.try_move(&staging).unwrap();
        assert_eq!(fs::read_dir(&staging).unwrap().count(), 0);
        assert_eq!(fs::read_dir(root.join("b")).unwrap().count(), 256);
        // A mount of its own on every Linux.
        let other = Path::new("/proc");
        for refused in [local.check_moves(other), local.try_move(other)] {
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("another mount"), "{refused}");
        }
        // One that is not there is noticed elsewhere.
        fs::remove_dir(&staging).unwrap();
        local.check_moves(&staging).unwrap();
    }

    /// What an earlier start left beneath a volume, which is then not mounted any more.
    #[test]
    fn folders_of_another_store_are_not_those_that_were_opened() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("blobs");
        let aside = directory.path().join("aside");
        let id = StoreId::random();
        let mounted = LocalDirectory::create(&root).unwrap().with_id(id).unwrap();
        mounted.check_writable().unwrap();
        fs::rename(&root, &aside).unwrap();
        let staged = directory.path().join("staged");
        fs::write(&staged, b"bytes").unwrap();
        let key = key();
        for other in [None, Some(StoreId::random())] {
            let beneath = LocalDirectory::create(&root).unwrap();
            if let Some(other) = other {
                beneath.with_id(other).unwrap();
            }
            assert!(!mounted.has_folder_of(&key));
            assert!(mounted.check_writable().is_err());
            assert!(mounted.adopt(&staged, &key).is_err() && staged.exists());
        }
        fs::remove_dir_all(&root).unwrap();
        fs::rename(&aside, &root).unwrap();
        mounted.check_writable().unwrap();
        assert!(mounted.has_folder_of(&key));
        mounted.adopt(&staged, &key).unwrap();
        // It is written once.
        let noted = || fs::metadata(root.join("b/.store")).unwrap();
        let inode = std::os::unix::fs::MetadataExt::ino(&noted());
        mounted.with_id(id).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::ino(&noted()), inode);
    }
}
