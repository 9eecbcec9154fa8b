//! What rests on the registry's log and on its own key: judged only where both are there.

use super::*;
use crate::log::{LogKey, Settings};
use sealstone_spec::log::KeyKind;
use std::time::Duration;

pub(super) fn log_key() -> LogKey {
    LogKey::new("log.example", KeyKind::Log, key(8)).unwrap()
}

/// [`policy`] where a release has to be in the log as well.
fn with_log(version: u64) -> String {
    let rule = format!(
        "[[scope.require]]\nrule = \"log\"\n[[log]]\nvkey = \"{}\"\n",
        log_key().verifier()
    );
    policy(version, FAR, "immutable") + &rule
}

impl Bench {
    /// A log over the same store, which nobody runs; whoever waits for it waits for `wait`.
    pub(super) async fn with_log(&self, wait: Duration) -> Log {
        let settings = Settings {
            batch: Duration::ZERO,
            wait,
            witnesses: Vec::new(),
            quorum: 0,
            witness_wait: Duration::ZERO,
            guard: None,
        };
        let metrics = Arc::new(Metrics::default());
        let clock = self.clock.clone();
        let log = Log::open(self.store.clone(), log_key(), settings, clock, metrics).await;
        let log = log.unwrap();
        self.registry.attach_log(log.clone());
        log
    }

    /// What a start does with another policy: how many tags are shown or hidden.
    async fn start_under(&self, text: &str, log: &Log) -> u64 {
        let policy = Policy::parse(text).unwrap();
        let right = Maintenance::at_boot();
        *self.registry.inner.policy.write().unwrap() = Arc::new(policy);
        self.registry.note_policy(&right, None).await.unwrap();
        let followed = log.run_beside(self.registry.follow_policy(&right)).await;
        followed.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_start_judges_with_the_log() {
    let bench = Bench::new().await;
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    let digest = bench.signed(b"content", "v1").await;
    let log = bench.with_log(Duration::from_millis(1)).await;
    assert_eq!(bench.start_under(&with_log(2), &log).await, 0);
    assert!(bench.is_seen("v1").await);
    let row = bench.store.manifest(&REPO.parse().unwrap(), &digest).await;
    assert!(row.unwrap().unwrap().visible > 0);
    // It was done, and is not done again.
    let judgements = bench.registry.metrics().judgements.get();
    assert_eq!(bench.start_under(&with_log(2), &log).await, 0);
    assert_eq!(bench.registry.metrics().judgements.get(), judgements);
}

/// Without its key the registry's own report would be set aside as that of a stranger.
#[tokio::test]
async fn a_start_hears_what_the_registry_reported() {
    let bench = Bench::new().await.with_notary(ReleaseStatements::Never);
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    let content = bytes_of(1_000);
    let blob = Digest::sha256(&content);
    bench.signed(&content, "v1").await;
    bench.flip(&blob, 10);
    assert_eq!(bench.scrub().await.damaged, [blob]);
    bench.registry.attend().await.unwrap();
    bench.put_blob(&content).await;
    bench.registry.attend().await.unwrap();
    assert!(!bench.is_seen("v1").await);

    let bench = bench.restarted().await;
    let bench = bench.with_notary(ReleaseStatements::Never);
    let log = bench.with_log(Duration::from_secs(20)).await;
    for version in [1, 2] {
        let policy = policy(version, FAR, "immutable");
        assert_eq!(bench.start_under(&policy, &log).await, 0, "{version}");
    }
    assert!(!bench.is_seen("v1").await);
}
