//! What lies in the object store, whether or not anybody names it.
//!
//! Owns listing, a page at a time. Does not know which objects are needed: that is metadata.
//! Invariant: only names that this program gives are listed, so a foreign file is never taken for ours.

use super::{BlobStore, Error, FOLDER};
use crate::metadata::PhysicalKey;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use std::io::ErrorKind;
use std::path::Path;

/// An object that is there.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its key.
    pub key: PhysicalKey,
    /// Its size, in bytes, with the tree.
    pub size: u64,
    /// When it was written, in milliseconds since 1970, as the store says.
    pub written: i64,
}

impl BlobStore {
    /// Whether any object lies in a data directory. Makes no folder, and blocks.
    ///
    /// # Errors
    /// If a folder cannot be listed.
    pub fn has_objects_in(directory: &Path) -> Result<bool, Error> {
        for folder in PhysicalKey::folders() {
            let path = directory.join(FOLDER).join(&folder);
            let entries = match std::fs::read_dir(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries.map_err(Error::io("list", path.display()))?,
            };
            for entry in entries {
                let name = entry
                    .map_err(Error::io("list", path.display()))?
                    .file_name();
                let key = name.to_str().map(|name| format!("{folder}/{name}"));
                if key.is_some_and(|key| PhysicalKey::parse(&key).is_some()) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Lists every object, in no order. Objects that come or go meanwhile may be listed or not.
    pub fn inventory(&self) -> impl Stream<Item = Result<Stored, Error>> + Send + '_ {
        self.objects
            .list(None)
            .map_err(|error| Error::object("list", "objects")(error))
            .try_filter_map(|found| async move {
                let key = PhysicalKey::parse(found.location.as_ref());
                Ok(key.map(|key| Stored {
                    key,
                    size: found.size,
                    written: found.last_modified.timestamp_millis(),
                }))
            })
            .boxed()
    }
}
