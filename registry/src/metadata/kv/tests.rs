//! The suite on each engine, and what only this store has: a layout version, and a disk.

#![allow(clippy::unwrap_used)]

use super::KvMetadata;
use super::engine::{Changes, Engine, Family};
use super::memory::MemoryEngine;
use crate::metadata::Error;
use crate::metadata::suite::Fixture;
use std::sync::Arc;

fn on_memory() -> Fixture {
    let store = KvMetadata::start(MemoryEngine::default(), |_| {}).unwrap();
    Fixture {
        store: Arc::new(store),
        _keep: Box::new(()),
    }
}

mod memory {
    crate::metadata::suite::run_suite!(super::on_memory);

    #[test]
    fn any_sequence_of_operations_is_answered_as_by_the_model() {
        crate::metadata::suite::random::compare(super::on_memory, 96);
    }
}

fn write_schema(engine: &impl Engine, version: &[u8]) {
    let changes = Changes::from([((Family::Server, b"schema".to_vec()), Some(version.to_vec()))]);
    engine.write(&changes, true).unwrap();
}

#[test]
fn another_layout_version_is_refused() {
    for version in [&b"2"[..], b"0", b"", b"10"] {
        let engine = MemoryEngine::default();
        write_schema(&engine, version);
        assert!(matches!(
            KvMetadata::start(engine, |_| {}),
            Err(Error::Damaged(_))
        ));
    }
}

#[cfg(feature = "rocksdb")]
mod rocks;
