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

/// Checkpoints that are spaced: entries and checkpoints are steps of their own, as over a store that does not follow.
const SPACED: Duration = Duration::from_millis(1);

fn settings(guard: Option<PathBuf>, batch: Duration) -> Settings {
    Settings {
        batch,
        wait: Duration::from_secs(5),
        witnesses: Vec::new(),
        quorum: 0,
        witness_wait: Duration::ZERO,
        guard,
    }
}

async fn open(store: Arc<dyn LogStore>, guard: Option<PathBuf>) -> Result<Log, Error> {
    open_spaced(store, guard, Duration::ZERO).await
}

async fn open_spaced(
    store: Arc<dyn LogStore>,
    guard: Option<PathBuf>,
    batch: Duration,
) -> Result<Log, Error> {
    let clock = Arc::new(ManualClock::at(1_000));
    let settings = settings(guard, batch);
    Log::open(store, key(), settings, clock, Arc::default()).await
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
    no_kill_leads_to_two_trees(Duration::ZERO).await;
    no_kill_leads_to_two_trees(SPACED).await;
}

async fn no_kill_leads_to_two_trees(batch: Duration) {
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
        let Ok(log) = open_spaced(store.clone(), None, batch).await else {
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

/// Without the copy an older store would be believed at the next start. So a start makes one first, and a failure while
/// the log runs is tried again although nothing happens, and does not read as if the log stood still.
#[tokio::test]
async fn no_log_goes_on_whose_last_checkpoint_cannot_be_kept() {
    let directory = tempfile::tempdir().unwrap();
    let guard = directory.path().join("key.checkpoint");
    // A folder under the name of the file that is to replace it: that stops root as well.
    let in_the_way = directory.path().join("key.checkpoint.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let store = store(&Arc::new(MemoryEngine::default()), u32::MAX, true).unwrap();
    let refused = open(store.clone(), Some(guard.clone())).await.unwrap_err();
    assert!(
        matches!(&refused, Error::File { path, .. } if *path == guard),
        "{refused}"
    );
    std::fs::remove_dir(&in_the_way).unwrap();
    let log = open(store.clone(), Some(guard.clone())).await.unwrap();
    let kept = || std::fs::read_to_string(&guard).unwrap();
    assert_eq!(kept(), log.latest().note);

    std::fs::create_dir(&in_the_way).unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(log.clone().run(stop.clone()));
    store
        .adopt_policy(change(Digest::sha256(b"1")))
        .await
        .unwrap();
    let latest = log.latest().note;
    let metrics = &log.inner.metrics;
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while metrics.log_copy_failures.get() < 2 {
        assert!(std::time::Instant::now() < until, "it is not tried again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_ne!(kept(), latest);
    std::fs::remove_dir(&in_the_way).unwrap();
    while kept() != latest {
        assert!(std::time::Instant::now() < until, "it is not kept");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(metrics.log_failures.get(), 0);
    stop.cancel();
    running.await.unwrap();
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
            settings(None, Duration::ZERO),
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
    // What an older version left of a start that was cut: it is not clear whether something was signed.
    std::fs::write(&path, b"").unwrap();
    for may_make in [true, false] {
        let refused = load_or_make(&path, "log.example", KeyKind::Log, may_make).unwrap_err();
        assert!(refused.to_string().contains("is empty"), "{refused}");
    }
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

/// Entries and checkpoint come in the step that records: nobody runs the log here.
#[tokio::test]
async fn what_happens_has_a_checkpoint_in_the_same_write() {
    let engine = Arc::new(MemoryEngine::default());
    let mut served = Vec::new();
    {
        let store = store(&engine, u32::MAX, true).unwrap();
        let log = open(store.clone(), None).await.unwrap();
        for n in 1..=20_u8 {
            let change = change(Digest::sha256(&[n]));
            assert!(store.adopt_policy(change).await.unwrap());
            let latest = log.latest();
            assert_eq!((latest.size, latest.events), (u64::from(n), u64::from(n)));
            assert_eq!(store.published().await.unwrap(), Some(latest.clone()));
            assert!(store.log_state().await.unwrap().is_caught_up);
            served.push(latest);
        }
        // Whoever holds the log's key went: what happens now waits.
        drop(log);
        let change = change(Digest::sha256(&[21]));
        assert!(store.adopt_policy(change).await.unwrap());
        assert!(!store.log_state().await.unwrap().is_caught_up);
    }
    // The write with all of it is lost, or kept: nothing is served, or the next start finds it.
    // The first start has two writes of its own, for what waited.
    for (writes_left, last_is_kept) in [(3, false), (1, true)] {
        let store = store(&engine, writes_left, last_is_kept).unwrap();
        let log = open(store.clone(), None).await.unwrap();
        let before = log.latest();
        let change = change(Digest::sha256(&[99, u8::from(last_is_kept)]));
        assert!(store.adopt_policy(change).await.is_err());
        assert_eq!(log.latest(), before);
        served.push(before);
    }
    let log = open(store(&engine, u32::MAX, true).unwrap(), None).await;
    let log = log.unwrap();
    let latest = log.latest();
    assert_eq!(latest.size, 22);
    for checkpoint in served {
        let proof = log.consistency(checkpoint.size, latest.size).await.unwrap();
        check_consistency(
            checkpoint.size,
            &checkpoint.root,
            latest.size,
            &latest.root,
            &proof,
        )
        .unwrap();
    }
}

/// The store has hold of it in the thread that writes: it would end there, and wait for that very thread.
#[tokio::test]
async fn what_signs_for_the_store_keeps_no_store() {
    let store = store(&Arc::new(MemoryEngine::default()), u32::MAX, true).unwrap();
    let log = open(store.clone(), None).await.unwrap();
    let scribe: Arc<dyn Scribe> = log.inner.pen.clone();
    let kept = Arc::downgrade(&store);
    drop((log, store));
    assert!(kept.upgrade().is_none());
    drop(scribe);
}

/// What the store's own end of a step cannot do is done by the appender, and told by it.
#[tokio::test]
async fn what_cannot_become_an_entry_stops_no_write_and_is_told() {
    let engine = Arc::new(MemoryEngine::default());
    let store = store(&engine, u32::MAX, true).unwrap();
    let log = open(store.clone(), None).await.unwrap();
    let before = log.latest();
    let state = engine.get(Family::Server, b"log/state").unwrap();
    let damage = |value: Option<Vec<u8>>| {
        let change = ((Family::Server, b"log/state".to_vec()), value);
        engine.write(&Changes::from([change]), true).unwrap();
    };
    damage(Some(b"{".to_vec()));
    let change = change(Digest::sha256(&[1]));
    assert!(store.adopt_policy(change).await.unwrap());
    assert_eq!(log.latest(), before);
    assert!(log.advance().await.is_err());
    damage(state);
    log.advance().await.unwrap();
    assert_eq!(log.latest().size, before.size + 1);
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
