//! Opening a store: at first nothing of it is changed, so that one which is not what was served can be refused as it is.
//! Then it is counted, if a build wrote it that did not count.
//!
//! Invariant: nothing is written before somebody asks for a [`KvMetadata`], and whoever has one has it counted.

use super::committer::Committer;
use super::engine::{Changes, Engine, Family};
use super::txn::Txn;
use super::{KvMetadata, log, recount, usage};
use crate::metadata::Error;
use crate::metadata::log::LogStore;
use std::sync::Arc;
use std::time::Duration;

/// Version of the key layout. A server refuses a directory of another version instead of guessing.
const SCHEMA: &[u8] = b"1";

/// A store in which nothing has been changed yet.
pub struct Opened<E: Engine>(KvMetadata<E>);

impl<E: Engine> std::fmt::Debug for Opened<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opened")
    }
}

impl<E: Engine> KvMetadata<E> {
    /// Opens the store over an engine, and changes nothing. `observe` is told how long each group of writes took.
    ///
    /// # Errors
    /// If the engine holds another version of the key layout, or no thread can be started.
    pub fn open(
        engine: E,
        observe: impl Fn(Duration) + Send + Sync + 'static,
    ) -> Result<Opened<E>, Error> {
        let engine = Arc::new(engine);
        if let Some(found) = engine.get(Family::Server, b"schema")?
            && found != SCHEMA
        {
            let found = String::from_utf8_lossy(&found).into_owned();
            return Err(Error::Damaged(format!(
                "the directory has layout version {found}, this server reads version 1: use the server that wrote it"
            )));
        }
        let following = Arc::new(log::Following::default());
        let end = following.clone();
        let closing = Arc::new(move |txn: &mut Txn<'_>| end.close(txn));
        let committer = Committer::start(engine.clone(), closing, Arc::new(observe))
            .map_err(|error| Error::Unavailable(format!("no thread for writing: {error}")))?;
        Ok(Opened(KvMetadata {
            engine,
            committer,
            following,
        }))
    }

    /// Opens the store over an engine and counts it, where nobody asks first what store it is.
    ///
    /// # Errors
    /// As [`KvMetadata::open`] and [`Opened::counted`].
    pub fn start(
        engine: E,
        observe: impl Fn(Duration) + Send + Sync + 'static,
    ) -> Result<KvMetadata<E>, Error> {
        KvMetadata::open(engine, observe)?.counted()
    }
}

impl<E: Engine> Opened<E> {
    /// What it has of the log, by which it is known whether it is the store that was served.
    pub fn log(&self) -> &dyn LogStore {
        &self.0
    }

    /// The store. What a build wrote that did not count usage, or showed more than is visible now, is counted first, which
    /// takes as long as reading every link and every manifest's row.
    ///
    /// # Errors
    /// If it cannot be read or written, or makes no sense.
    pub fn counted(self) -> Result<KvMetadata<E>, Error> {
        let engine = &*self.0.engine;
        if engine.get(Family::Server, b"schema")?.is_some() {
            usage::count_once(engine)?;
            recount::once(engine)?;
            return Ok(self.0);
        }
        // Nothing is there, so everything has been counted.
        let first: [(&[u8], &[u8]); 3] = [
            (b"schema", SCHEMA),
            (usage::COUNTED, b"1"),
            (recount::DONE, b"1"),
        ];
        let first = first.map(|(name, value)| {
            let key = (Family::Server, name.to_vec());
            (key, Some(value.to_vec()))
        });
        engine.write(&Changes::from(first), true)?;
        Ok(self.0)
    }
}
