//! What is better done on a local directory than through `object_store`: moving a staged file into
//! place instead of copying it, and reading large ranges instead of 8 KiB at a time.

use super::Error;
use crate::metadata::PhysicalKey;
use crate::process;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The directory under which objects lie by their keys.
#[derive(Clone, Debug)]
pub struct LocalDirectory {
    root: PathBuf,
}

impl LocalDirectory {
    pub(super) fn create(root: &Path) -> Result<LocalDirectory, Error> {
        std::fs::create_dir_all(root).map_err(Error::io("create", root.display()))?;
        Ok(LocalDirectory {
            root: root.to_owned(),
        })
    }

    /// Whether objects can be made.
    pub(super) fn check_writable(&self) -> Result<(), Error> {
        process::may_write(&self.root).map_err(Error::io("write in", self.root.display()))
    }

    /// The file of a key.
    pub(super) fn path(&self, key: &PhysicalKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Opens the file of a key.
    pub(super) fn open(&self, key: &PhysicalKey) -> Result<File, Error> {
        File::open(self.path(key)).map_err(Error::io("open", key))
    }

    /// Moves a synced file to its key. When this returns, the name is on disk as well.
    pub(super) fn adopt(&self, staged: &Path, key: &PhysicalKey) -> Result<(), Error> {
        let target = self.path(key);
        let parent = target.parent().expect("keys have a directory");
        if !parent.is_dir() {
            std::fs::create_dir_all(parent).map_err(Error::io("create", parent.display()))?;
            // The new directory's own name must survive a power cut too.
            for above in parent.ancestors().skip(1) {
                sync_directory(above)?;
                if above == self.root {
                    break;
                }
            }
        }
        std::fs::rename(staged, &target).map_err(Error::io("move into place", key))?;
        sync_directory(parent)
    }
}

pub(super) fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(Error::io("sync", path.display()))
}
