//! Jobs of the clock, over restarts.

use super::*;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

impl Bench {
    fn days(&self, days: i64) {
        self.clock.advance(days * 24 * 3_600_000);
    }

    async fn due(&self, job: Job, every: Duration) -> Duration {
        self.registry.due_in(job, every).await
    }
}

/// A server that is started each day gets round to what it does each week.
#[tokio::test]
async fn a_restart_does_not_put_a_job_off() {
    let soon = Duration::from_secs(60);
    let mut bench = Bench::new().await;
    for job in [Job::Scrub, Job::Collect] {
        assert_eq!(bench.due(job, WEEK).await, soon, "it has never run");
    }
    bench.scrub().await;
    for day in 1..=6_u32 {
        bench.days(1);
        bench = bench.restarted().await;
        assert_eq!(bench.due(Job::Scrub, WEEK).await, WEEK - day * DAY);
        assert_eq!(bench.due(Job::Collect, WEEK).await, soon);
    }
    for _ in 0..2 {
        bench.days(1);
        bench = bench.restarted().await;
        assert_eq!(bench.due(Job::Scrub, WEEK).await, soon);
    }
    bench.scrub().await;
    assert_eq!(bench.due(Job::Scrub, WEEK).await, WEEK);
    // A clock that was set back.
    bench.days(-30);
    assert_eq!(bench.due(Job::Scrub, WEEK).await, WEEK);
    // What runs more often than a start settles, and what never runs.
    bench.days(60);
    let second = Duration::from_secs(1);
    assert_eq!(bench.due(Job::Scrub, second).await, second);
    assert_eq!(bench.due(Job::Scrub, Duration::ZERO).await, Duration::ZERO);
}

#[tokio::test]
async fn the_last_success_is_shown_after_a_restart() {
    let bench = Bench::new().await;
    let right = Maintenance::at_boot();
    bench.scrub().await;
    bench.days(1);
    bench.registry.collect(&right, true).await.unwrap();
    assert_eq!(
        bench.registry.metrics().gc_last_success.get(),
        0,
        "a dry run is none"
    );
    bench.registry.collect(&right, false).await.unwrap();
    bench.days(1);
    let bench = bench.restarted().await;
    let metrics = bench.registry.metrics();
    assert_eq!(metrics.scrub_last_success.get(), 0);
    bench.registry.recall_runs().await.unwrap();
    assert_eq!(metrics.scrub_last_success.get(), 1_000);
    assert_eq!(metrics.gc_last_success.get(), 1_000 + 86_400);
}
