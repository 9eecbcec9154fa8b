//! The log over a store that stops at any write, and over stores that are not what they were.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::clock::ManualClock;
use crate::metadata::kv::KvMetadata;
use crate::metadata::kv::engine::{Changes, Engine, Family};
use crate::metadata::kv::memory::MemoryEngine;
use crate::metadata::{Metadata as _, PolicyChange};
use sealstone_spec::digest::Digest;
use sealstone_spec::key::SecretKey;
use sealstone_spec::log::{Hash, KeyKind, check_consistency};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

/// An engine whose process is killed at a write: that one is kept or not, and none after it.
struct Dying {
    engine: Arc<MemoryEngine>,
    writes_left: AtomicU32,
    last_is_kept: bool,
}

fn killed() -> metadata::Error {
    metadata::Error::Unavailable("killed".into())
}

impl Engine for Dying {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, metadata::Error> {
        self.engine.get(family, key)
    }

    fn scan(
        &self,
        family: Family,
        prefix: &[u8],
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), metadata::Error> {
        self.engine.scan(family, prefix, from, visit)
    }

    fn last_key(&self, family: Family) -> Result<Option<Vec<u8>>, metadata::Error> {
        self.engine.last_key(family)
    }

    fn write(&self, changes: &Changes, durable: bool) -> Result<(), metadata::Error> {
        let left = self.writes_left.load(Ordering::SeqCst);
        if left > 1 || (left == 1 && self.last_is_kept) {
            self.engine.write(changes, durable)?;
        }
        self.writes_left
            .store(left.saturating_sub(1), Ordering::SeqCst);
        if left > 1 { Ok(()) } else { Err(killed()) }
    }
}

/// Another policy: the simplest thing that happens.
fn change(digest: Digest) -> PolicyChange {
    PolicyChange {
        digest,
        document: None,
        keys: Vec::new(),
        by: "user:tester".into(),
        now: 1_000,
    }
}

fn key() -> LogKey {
    let secret = SecretKey::ed25519_from_seed(&[3; 32]).unwrap();
    LogKey::new("log.example", KeyKind::Log, secret).unwrap()
}

fn settings(guard: Option<PathBuf>) -> Settings {
    Settings {
        batch: Duration::ZERO,
        wait: Duration::from_secs(5),
        witnesses: Vec::new(),
        quorum: 0,
        witness_wait: Duration::ZERO,
        guard,
    }
}

async fn open(store: Arc<dyn LogStore>, guard: Option<PathBuf>) -> Result<Log, Error> {
    let clock = Arc::new(ManualClock::at(1_000));
    Log::open(
        store,
        key(),
        settings(guard),
        clock,
        Arc::new(Metrics::default()),
    )
    .await
}

fn store(
    engine: &Arc<MemoryEngine>,
    writes_left: u32,
    last_is_kept: bool,
) -> Option<Arc<KvMetadata<Dying>>> {
    let engine = Dying {
        engine: engine.clone(),
        writes_left: AtomicU32::new(writes_left),
        last_is_kept,
    };
    KvMetadata::start(engine, |_| {}).ok().map(Arc::new)
}

#[tokio::test]
async fn no_kill_between_any_two_steps_leads_to_two_trees() {
    let engine = Arc::new(MemoryEngine::default());
    let mut served: BTreeMap<u64, Hash> = BTreeMap::new();
    let mut see = |log: &Log| {
        let latest = log.latest();
        let note = SignedCheckpoint::parse(latest.note.as_bytes()).unwrap();
        let verified = note.verify(key().verifier()).unwrap();
        assert_eq!(
            (verified.size(), *verified.root()),
            (latest.size, latest.root)
        );
        let before = served.last_key_value().map_or(0, |(size, _)| *size);
        assert!(
            latest.size >= before,
            "rolled back from {before} to {}",
            latest.size
        );
        assert_eq!(
            *served.entry(latest.size).or_insert(latest.root),
            latest.root,
            "a fork"
        );
    };
    for life in 0..60_u32 {
        let Some(store) = store(&engine, 1 + life % 15, life % 2 == 0) else {
            continue;
        };
        let Ok(log) = open(store.clone(), None).await else {
            continue;
        };
        see(&log);
        for n in 0..4 {
            // Whatever fails here was killed; the rest of this life does nothing.
            let _ = store
                .adopt_policy(change(Digest::sha256(format!("{life} {n}").as_bytes())))
                .await;
            if log.advance().await.is_ok() {
                see(&log);
            }
        }
    }
    let log = open(store(&engine, 1_000_000, true).unwrap(), None)
        .await
        .unwrap();
    let latest = log.latest();
    assert!(
        served.len() > 20 && latest.size > 50,
        "{} of {}",
        served.len(),
        latest.size
    );
    for (size, root) in served {
        let proof = log.consistency(size, latest.size).await.unwrap();
        check_consistency(size, &root, latest.size, &latest.root, &proof).unwrap();
    }
}

#[tokio::test]
async fn a_store_older_than_what_was_served_signs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let guard = directory.path().join("key.checkpoint");
    let fresh = || store(&Arc::new(MemoryEngine::default()), 1_000_000, true).unwrap();
    let first = fresh();
    let log = open(first.clone(), Some(guard.clone())).await.unwrap();
    for n in 0..5_u8 {
        first
            .adopt_policy(change(Digest::sha256(&[n])))
            .await
            .unwrap();
    }
    log.advance().await.unwrap();
    log.copy_checkpoint().await;
    open(first, Some(guard.clone())).await.unwrap();

    let rolled_back = open(fresh(), Some(guard.clone())).await.unwrap_err();
    assert!(
        matches!(&rolled_back, Error::Contradiction(text) if text.contains("older copy")),
        "{rolled_back}"
    );
    let other = fresh();
    for n in 0..9_u8 {
        other
            .adopt_policy(change(Digest::sha256(&[n, n])))
            .await
            .unwrap();
    }
    other.integrate(100).await.unwrap();
    let forked = open(other, Some(guard)).await.unwrap_err();
    assert!(
        matches!(&forked, Error::Contradiction(text) if text.contains("are not those")),
        "{forked}"
    );
}

#[tokio::test]
async fn a_log_keeps_its_name_and_key() {
    let engine = Arc::new(MemoryEngine::default());
    let first = store(&engine, 1_000_000, true).unwrap();
    open(first.clone(), None).await.unwrap();
    for (name, seed) in [("other.example", 3), ("log.example", 4)] {
        let secret = SecretKey::ed25519_from_seed(&[seed; 32]).unwrap();
        let key = LogKey::new(name, KeyKind::Log, secret).unwrap();
        let clock = Arc::new(ManualClock::at(1));
        let opened = Log::open(
            first.clone(),
            key,
            settings(None),
            clock,
            Arc::new(Metrics::default()),
        )
        .await;
        assert!(matches!(opened, Err(Error::Contradiction(_))));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/key.pem");
    assert!(load_or_make(&path, "log.example", KeyKind::Log, false).is_err());
    assert!(!path.exists());
    let made = load_or_make(&path, "log.example", KeyKind::Log, true).unwrap();
    let read = load_or_make(&path, "log.example", KeyKind::Log, false).unwrap();
    assert_eq!(made.verifier(), read.verifier());
}

#[tokio::test]
async fn whoever_waits_is_answered_by_the_checkpoint_that_contains_it() {
    let store = store(&Arc::new(MemoryEngine::default()), 1_000_000, true).unwrap();
    let log = open(store.clone(), None).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(log.clone().run(stop.clone()));
    for n in 0..20_u8 {
        store
            .adopt_policy(change(Digest::sha256(&[n])))
            .await
            .unwrap();
        let checkpoint = log.settle().await.unwrap();
        assert!(checkpoint.size > u64::from(n) && checkpoint.events > u64::from(n));
        let proved = log.prove(u64::from(n), false).await.unwrap().unwrap();
        let trust = sealstone_spec::log::LogTrust::in_logs([log.key().clone()]).unwrap();
        let read = LogProof::parse(proved.proof.to_string().as_bytes()).unwrap();
        assert_eq!(read.verify_entry(&trust).unwrap().1.index(), u64::from(n));
    }
    let latest = log.latest();
    let beyond = TilePath {
        kind: TileKind::Hashes(0),
        index: 0,
        width: 21,
    };
    assert!(log.tile(beyond).await.unwrap().is_none());
    let whole = TilePath {
        width: 20,
        ..beyond
    };
    assert_eq!(log.tile(whole).await.unwrap().unwrap().len(), 640);
    stop.cancel();
    running.await.unwrap();
    assert_eq!(log.latest().size, latest.size);
}

/// Before there is anybody who runs the log, a start judges, and waits for what that records.
#[tokio::test]
async fn what_is_done_beside_the_log_finds_its_own_changes_in_it() {
    let engine = Arc::new(MemoryEngine::default());
    let store = store(&engine, u32::MAX, true).unwrap();
    let log = open(store.clone(), None).await.unwrap();
    let before = log.latest().size;
    let work = async {
        for n in 1..=3_u8 {
            let change = change(Digest::sha256(&[n]));
            assert!(store.adopt_policy(change).await.unwrap());
            let settled = log.settle().await.unwrap();
            assert_eq!(settled.size, before + u64::from(n));
        }
        "done"
    };
    assert_eq!(log.run_beside(work).await.unwrap(), "done");
}
