//! The last checkpoint, kept in a file beside the key: a store that was restored from an older copy does not
//! know what was served, this file does.
//!
//! Asked before anything is done with a store, not only before the log goes on: rows that such a store lacks name bytes
//! that are still there, and to whoever believes it they are nobody's.

use super::proofs::root_at;
use super::{Error, load_or_make};
use crate::file::replace;
use crate::metadata::log::{LogStore, PublishedCheckpoint};
use sealstone_spec::log::{KeyKind, SignedCheckpoint, VerifiedCheckpoint, VerifierKey};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where the file is, if anywhere.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    path: Option<PathBuf>,
}

impl Guard {
    pub(super) fn new(path: Option<PathBuf>) -> Guard {
        Guard { path }
    }

    /// The checkpoint in the file.
    pub(super) fn read(&self, key: &VerifierKey) -> Result<Option<VerifiedCheckpoint>, Error> {
        let Some(path) = &self.path else {
            return Ok(None);
        };
        let file = |problem: String| Error::File {
            path: path.clone(),
            problem,
        };
        match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file(error.to_string())),
            Ok(bytes) => SignedCheckpoint::parse(&bytes)
                .and_then(|note| note.verify(key))
                .map(Some)
                .map_err(|error| {
                    file(format!(
                        "{error}; it is the last checkpoint that was served"
                    ))
                }),
        }
    }

    /// A store that was restored from an older copy would grow another tree over sizes that were served.
    pub(super) async fn check(&self, store: &dyn LogStore, key: &VerifierKey) -> Result<(), Error> {
        let Some(kept) = self.read(key)? else {
            return Ok(());
        };
        let state = store.log_state().await?;
        if kept.size() > state.size {
            return Err(Error::Contradiction(format!(
                "the store has {} entries of the log, but a checkpoint of {} was served: it was restored from an older copy. Restore a newer one; going on would show two histories, and every client would refuse it",
                state.size,
                kept.size()
            )));
        }
        if root_at(store, kept.size(), state.size).await? != *kept.root() {
            return Err(Error::Contradiction(format!(
                "the store's first {} entries of the log are not those of the checkpoint that was served: the store was changed or is another's",
                kept.size()
            )));
        }
        Ok(())
    }

    /// Replaces the file.
    pub(super) fn write(&self, note: &str) -> Result<(), Error> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        // A start on a full disk, which can still be read, has nothing new to keep.
        if std::fs::read(path).is_ok_and(|kept| kept == note.as_bytes()) {
            return Ok(());
        }
        replace(path, note.as_bytes()).map_err(|error| Error::File {
            path: path.clone(),
            problem: format!(
                "the last checkpoint cannot be kept there: {error}; the server must be able to write the folder of the log's key"
            ),
        })
    }
}

/// Whether the checkpoint that a store has is of this key.
pub(super) fn check_key(kept: &PublishedCheckpoint, key: &VerifierKey) -> Result<(), Error> {
    let note = SignedCheckpoint::parse(kept.note.as_bytes())?;
    note.verify(key).map(drop).map_err(|error| {
        Error::Contradiction(format!(
            "the log has checkpoints of another name or key ({error}): configure the origin and the key that it had"
        ))
    })
}

/// Whether a store, the key in the file `key` and the checkpoint in the file `guard` go together, as [`super::Log::open`]
/// asks. Makes no key, signs nothing and changes nothing. Where nothing was ever signed, nothing speaks against the store.
///
/// # Errors
/// If they do not, or something cannot be read. With such a store nothing must be done.
pub async fn check_served(
    store: &dyn LogStore,
    key: &Path,
    name: &str,
    guard: &Path,
) -> Result<(), Error> {
    let kept = store.published().await?;
    if kept.is_none() && !key.exists() && !guard.exists() {
        return Ok(());
    }
    let key = load_or_make(key, name, KeyKind::Log, false)?;
    if let Some(kept) = &kept {
        check_key(kept, key.verifier())?;
    }
    let guard = Guard::new(Some(guard.to_owned()));
    guard.check(store, key.verifier()).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::metadata::kv::KvMetadata;
    use crate::metadata::kv::memory::MemoryEngine;
    use crate::metadata::{Metadata as _, PolicyChange};
    use sealstone_spec::digest::Digest;
    use sealstone_spec::log::Checkpoint;

    const NAME: &str = "log.example";

    /// A store in which as many policies came into force, and its log.
    async fn store(policies: u8) -> KvMetadata<MemoryEngine> {
        let store = KvMetadata::start(MemoryEngine::default(), |_| {}).unwrap();
        for number in 0..policies {
            let change = PolicyChange {
                digest: Digest::sha256(&[number]),
                document: None,
                keys: Vec::new(),
                by: "user:tester".into(),
                now: 1_000,
            };
            store.adopt_policy(change).await.unwrap();
        }
        store.integrate(100).await.unwrap();
        store
    }

    #[tokio::test]
    async fn a_store_is_compared_with_what_was_served_and_nothing_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        let guard = path.with_extension("checkpoint");
        let served = store(5).await;
        check_served(&served, &path, NAME, &guard).await.unwrap();
        assert!(!path.exists(), "a key was made");

        let key = load_or_make(&path, NAME, KeyKind::Log, true).unwrap();
        let state = served.log_state().await.unwrap();
        assert!(state.size >= 5);
        let note = Checkpoint::new(NAME, state.size, state.root)
            .sign(key.verifier(), key.secret())
            .unwrap()
            .to_string();
        Guard::new(Some(guard.clone())).write(&note).unwrap();
        for newer in [5, 9] {
            let newer = store(newer).await;
            check_served(&newer, &path, NAME, &guard).await.unwrap();
        }
        for older in [0, 4] {
            let older = store(older).await;
            let refused = check_served(&older, &path, NAME, &guard).await.unwrap_err();
            assert!(
                matches!(&refused, Error::Contradiction(text) if text.contains("older copy")),
                "{refused}"
            );
            assert_eq!(older.published().await.unwrap(), None);
        }
        // Without its key nobody knows what the checkpoint is worth.
        fs::remove_file(&path).unwrap();
        let refused = check_served(&served, &path, NAME, &guard)
            .await
            .unwrap_err();
        assert!(matches!(&refused, Error::File { .. }), "{refused}");
        assert!(!path.exists(), "a key was made");
        assert_eq!(fs::read_to_string(&guard).unwrap(), note);
    }
}
