//! The use cases over a metadata store in memory and a blob store in a temporary directory.

#![allow(clippy::unwrap_used)]

mod damage;
mod faults;
mod orphans;
mod quota;
mod release;
mod schedule;
mod trash;
mod trust;
mod upload;

use super::*;
use crate::auth::testing::{grant, plain_grant};
use crate::auth::{Delete, Grant, Maintenance, Pull, Push, Tag as TagAction};
use crate::clock::ManualClock;
use crate::metadata::TagCondition;
use crate::metadata::kv::KvMetadata;
use crate::metadata::kv::engine::{Changes, Engine, Family, FullKey};
use crate::metadata::kv::memory::MemoryEngine;
use futures_util::{StreamExt as _, stream};
use sealstone_spec::name::Reference;
use std::collections::BTreeMap;
use std::sync::Mutex;
use tempfile::TempDir;

const REPO: &str = "models/x";

/// An engine that a test can reach into, as a failing disk would.
#[derive(Clone, Default)]
struct Shared {
    engine: Arc<MemoryEngine>,
    synced: Arc<Synced>,
    faults: Arc<Mutex<Faults>>,
}

/// What of it a power cut leaves.
#[derive(Default)]
struct Synced {
    disk: MemoryEngine,
    /// Groups of changes that were written since.
    since: Mutex<Vec<Changes>>,
}

/// What of a disk does not work.
#[derive(Default)]
struct Faults {
    /// Entries that cannot be read, and why, until they are written anew.
    unreadable: BTreeMap<FullKey, crate::metadata::Error>,
    /// Groups of changes that are still written, before one fails.
    writes_left: Option<usize>,
    /// Whether it takes no file either.
    takes_nothing: bool,
    /// When a server last ended because of it.
    ended: Option<Millis>,
}

impl Shared {
    fn faults(&self) -> std::sync::MutexGuard<'_, Faults> {
        self.faults.lock().unwrap()
    }

    /// An engine with what a power cut leaves of this one.
    fn after_power_cut(&self) -> Shared {
        let left = Shared::default();
        let mut entries = Changes::new();
        for family in Family::ALL {
            let visit = &mut |key: &[u8], value: &[u8]| {
                entries.insert((family, key.to_vec()), Some(value.to_vec()));
                true
            };
            self.synced.disk.scan(family, b"", b"", visit).unwrap();
        }
        left.write(&entries, true).unwrap();
        left
    }

    /// The key of the first entry whose key ends with a digest.
    fn key_of(&self, family: Family, digest: &Digest) -> Vec<u8> {
        let mut found = None;
        let visit = &mut |key: &[u8], _: &[u8]| {
            if key.ends_with(digest.bytes()) {
                found = Some(key.to_vec());
            }
            found.is_none()
        };
        self.engine.scan(family, b"", b"", visit).unwrap();
        found.unwrap()
    }

    /// Changes an entry behind the store's back.
    fn set(&self, family: Family, digest: &Digest, value: Option<Vec<u8>>) {
        let change = ((family, self.key_of(family, digest)), value);
        self.engine.write(&Changes::from([change]), true).unwrap();
    }
}

impl Engine for Shared {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, crate::metadata::Error> {
        match self.faults().unreadable.get(&(family, key.to_vec())) {
            Some(error) => Err(error.clone()),
            None => self.engine.get(family, key),
        }
    }

    fn scan(
        &self,
        family: Family,
        prefix: &[u8],
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), crate::metadata::Error> {
        self.engine.scan(family, prefix, from, visit)
    }

    fn last_key(&self, family: Family) -> Result<Option<Vec<u8>>, crate::metadata::Error> {
        self.engine.last_key(family)
    }

    fn write(&self, changes: &Changes, durable: bool) -> Result<(), crate::metadata::Error> {
        let mut faults = self.faults();
        if let Some(left) = &mut faults.writes_left {
            let Some(less) = left.checked_sub(1) else {
                return Err(crate::metadata::Error::Unavailable(
                    "Input/output error (os error 5)".into(),
                ));
            };
            *left = less;
        }
        for key in changes.keys() {
            faults.unreadable.remove(key);
        }
        self.engine.write(changes, durable)?;
        let mut since = self.synced.since.lock().unwrap();
        since.push(changes.clone());
        if durable {
            for changes in since.drain(..) {
                self.synced.disk.write(&changes, true)?;
            }
        }
        Ok(())
    }

    fn check_disk(&self) -> Result<(), crate::metadata::Error> {
        match self.faults().takes_nothing {
            false => Ok(()),
            true => Err(crate::metadata::Error::Unavailable(
                "Read-only file system (os error 30)".into(),
            )),
        }
    }

    fn last_end(&self) -> Option<Millis> {
        self.faults().ended
    }

    fn note_end(&self, at: Millis) -> Result<(), crate::metadata::Error> {
        self.faults().ended = Some(at);
        Ok(())
    }
}

/// Runs a future until something holds, and a moment longer, in which it must not end. Then it is dropped, as that of a
/// request whose client goes away.
async fn dropped_when<T>(future: impl Future<Output = T>, holds: impl AsyncFn() -> bool) {
    let reached = async {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !holds().await {
            assert!(
                std::time::Instant::now() < deadline,
                "it does not come so far"
            );
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    tokio::select! {
        _ = future => panic!("it does not wait"),
        () = reached => {}
    }
}

struct Bench {
    registry: Registry,
    store: Arc<KvMetadata<Shared>>,
    engine: Shared,
    clock: Arc<ManualClock>,
    directory: TempDir,
    quotas: Vec<Quota>,
}

impl Bench {
    async fn new() -> Bench {
        Bench::with_quotas(Vec::new()).await
    }

    async fn with_quotas(quotas: Vec<Quota>) -> Bench {
        Bench::over(
            tempfile::tempdir().unwrap(),
            Shared::default(),
            Arc::new(ManualClock::at(1_000_000)),
            quotas,
        )
        .await
    }

    /// Another process on the same disk.
    async fn restarted(self) -> Bench {
        drop((self.registry, self.store));
        Bench::over(self.directory, self.engine, self.clock, self.quotas).await
    }

    /// Another process on what a power cut leaves of the metadata. Of files, the test says itself what is left.
    async fn after_power_cut(self) -> Bench {
        drop((self.registry, self.store));
        let engine = self.engine.after_power_cut();
        Bench::over(self.directory, engine, self.clock, self.quotas).await
    }

    async fn over(
        directory: TempDir,
        engine: Shared,
        clock: Arc<ManualClock>,
        quotas: Vec<Quota>,
    ) -> Bench {
        let metadata = Arc::new(KvMetadata::start(engine.clone(), |_| {}).unwrap());
        let policy = Policy::default_policy();
        metadata.set_policy(*policy.digest()).await.unwrap();
        let registry = Registry::new(
            metadata.clone(),
            BlobStore::local(directory.path(), 0).unwrap(),
            policy,
            clock.clone(),
            Arc::new(Metrics::default()),
            Lifetimes::default(),
            quotas.clone(),
        );
        Bench {
            registry,
            store: metadata,
            engine,
            clock,
            directory,
            quotas,
        }
    }

    async fn adopt(&self, policy: &str) -> u64 {
        let policy = Policy::parse(&format!("schema = \"sealstone-policy/v1\"\n{policy}")).unwrap();
        self.put_in_force(policy).await
    }

    /// How many tags are shown or hidden after that.
    async fn put_in_force(&self, policy: Policy) -> u64 {
        let adopted = self.registry.adopt(policy, None, "configuration").await;
        adopted.unwrap().tags
    }

    async fn scrub(&self) -> ScrubReport {
        self.registry.scrub(&Maintenance::at_boot()).await.unwrap()
    }

    async fn sweep(&self, dry_run: bool) -> OrphanReport {
        let right = Maintenance::at_boot();
        self.registry.sweep_orphans(&right, dry_run).await.unwrap()
    }

    async fn put_blob(&self, data: &[u8]) -> Digest {
        self.put_blob_in(REPO, data).await
    }

    async fn put_blob_in(&self, repo: &str, data: &[u8]) -> Digest {
        let digest = Digest::sha256(data);
        let who = Contributor::from(grant::<Push>(repo));
        let put = self
            .registry
            .put_blob(&who, digest, Some(data.len() as u64), body(data, 70_000));
        put.await.unwrap();
        digest
    }

    /// Pushes an image over `blobs`, the first of which is its configuration.
    async fn push(&self, blobs: &[&[u8]], reference: &str) -> Result<Digest, Error> {
        let descriptor = |data: &[u8]| serde_json::json!({"mediaType": "application/octet-stream", "digest": Digest::sha256(data), "size": data.len()});
        let layers: Vec<_> = blobs[1..].iter().map(|data| descriptor(data)).collect();
        let document = serde_json::json!({
            "schemaVersion": 2, "mediaType": sealstone_spec::media::OCI_MANIFEST,
            "config": descriptor(blobs[0]), "layers": layers,
        });
        self.push_to(REPO, &document, reference).await
    }

    /// Pushes a manifest by its digest, if there is no other reference.
    async fn push_to(
        &self,
        repo: &str,
        document: &serde_json::Value,
        reference: &str,
    ) -> Result<Digest, Error> {
        let bytes = serde_json::to_vec(document).unwrap();
        self.push_bytes(repo, Bytes::from(bytes), reference).await
    }

    async fn push_bytes(&self, repo: &str, bytes: Bytes, reference: &str) -> Result<Digest, Error> {
        let digest = Digest::sha256(&bytes);
        let reference = match reference {
            "" => Reference::Digest(digest),
            tag => Reference::parse(tag).unwrap(),
        };
        let push = PushManifest {
            reference,
            tags: vec![],
            content_type: None,
            bytes,
            condition: TagCondition::Any,
        };
        let tagger: Grant<TagAction> = grant(repo);
        let who = Contributor::from(grant::<Push>(repo));
        let pushed = self.registry.push_manifest(&who, Some(&tagger), push);
        let pushed = pushed.await?;
        Ok(pushed.digest)
    }

    /// All of a blob, as somebody with `grant` gets it.
    async fn read(&self, grant: &Grant<Pull>, digest: &Digest) -> Result<Vec<u8>, Error> {
        let blob = self.registry.readable_blob(grant, digest).await?;
        let body = self.registry.read_blob(&blob, 0..blob.size()).await?;
        assert_eq!(blob.size(), body.len());
        let mut stream = body.into_stream();
        let mut found = Vec::new();
        while let Some(piece) = stream.next().await {
            found.extend_from_slice(&piece.map_err(Error::from)?);
        }
        Ok(found)
    }
}

fn pusher() -> Contributor {
    Contributor::from(grant::<Push>(REPO))
}

fn consumer() -> Grant<Pull> {
    plain_grant(REPO)
}

fn producer() -> Grant<Pull> {
    grant(REPO)
}

fn body(data: &[u8], piece: usize) -> Body {
    let pieces: Vec<_> = data
        .chunks(piece.max(1))
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    Box::pin(stream::iter(pieces))
}

/// A body that breaks off after `data`.
fn broken(data: &[u8]) -> Body {
    Box::pin(body(data, 50_000).chain(stream::iter([Err("connection reset".to_owned())])))
}

fn bytes_of(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}
