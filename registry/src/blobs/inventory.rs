//! What lies in the object store, whether or not anybody names it.
//!
//! Owns listing, a page at a time. Does not know which objects are needed: that is metadata.
//! Invariant: only names that this program gives are listed, so a foreign file is never taken for ours.

use super::{BlobStore, Error};
use crate::metadata::PhysicalKey;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};

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
