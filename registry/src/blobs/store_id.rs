//! Which store a directory holds objects of: an id in a file beside their folders, and the same among the metadata. That
//! there is such a folder says nothing, since beneath a volume lies what was there before it.
//!
//! Owns: the id and its file. Does not own the other one, or what follows where they differ; whoever opens both compares
//! (`boot/objects.rs`).

use super::Error;
use crate::file;
use crate::metadata::PhysicalKey;
use sealstone_spec::digest::Digest;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The name of the file. No key ends so, so no inventory takes it for an object.
const NAME: &str = ".store";

/// Names a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreId(Uuid);

impl StoreId {
    /// One that no other store has.
    pub fn random() -> StoreId {
        StoreId(Uuid::new_v4())
    }

    /// The one of the store that has a blob under a key, where none was given before. It is the same each time, so whoever
    /// was told it can say it later; and no other store has it, since keys are never used twice.
    pub fn of_object(digest: &Digest, key: &PhysicalKey) -> StoreId {
        let named = Digest::sha256(format!("sealstone store\n{digest}\n{key}\n").as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&named.bytes()[..16]);
        StoreId(Uuid::from_bytes(id))
    }

    /// Reads one as it is displayed, with the end of a line or without.
    pub fn parse(bytes: &[u8]) -> Option<StoreId> {
        let text = std::str::from_utf8(bytes).ok()?;
        Uuid::try_parse(text.trim()).ok().map(StoreId)
    }

    /// The file that says which store has its objects below `root`.
    pub(super) fn path(root: &Path) -> PathBuf {
        root.join(PhysicalKey::TOP).join(NAME)
    }

    /// What that file says; `None` where there is none, or nothing that is an id.
    pub(super) fn read(root: &Path) -> Result<Option<StoreId>, Error> {
        let path = StoreId::path(root);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(StoreId::parse(&bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", path.display())(error)),
        }
    }

    /// Replaces that file.
    pub(super) fn write(self, root: &Path) -> Result<(), Error> {
        let path = StoreId::path(root);
        file::replace(&path, format!("{self}\n").as_bytes())
            .map_err(Error::io("write", path.display()))
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.simple())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert_eq!(StoreId::read(root).unwrap(), None);
        std::fs::create_dir(root.join("b")).unwrap();
        assert_eq!(StoreId::read(root).unwrap(), None);
        let ids = [StoreId::random(), StoreId::random()];
        assert_ne!(ids[0], ids[1]);
        for id in ids {
            id.write(root).unwrap();
            assert_eq!(StoreId::read(root).unwrap(), Some(id));
        }
        // As a person does it.
        std::fs::write(root.join("b/.store"), ids[0].to_string()).unwrap();
        assert_eq!(StoreId::read(root).unwrap(), Some(ids[0]));
        for other in ["", "\0\0\0\0", "no id", "12345"] {
            std::fs::write(root.join("b/.store"), other).unwrap();
            assert_eq!(StoreId::read(root).unwrap(), None, "{other:?}");
        }
        assert_eq!(PhysicalKey::parse("b/.store"), None);
    }
}
