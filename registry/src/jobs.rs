//! What the server does by the clock: collecting, scrubbing, signing what is due, and looking whether its metadata store
//! can still be written. Each job calls one use case.

use crate::auth::Maintenance;
use crate::metrics::ResultLabel;
use crate::service::{Job, Registry};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often jobs run; zero is never.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Between collections.
    pub collect_every: Duration,
    /// Between scrubs of all blobs.
    pub scrub_every: Duration,
}

/// Collects on schedule until `stop`.
pub async fn collect(
    registry: Registry,
    right: Maintenance,
    schedule: Schedule,
    stop: CancellationToken,
) {
    let every = schedule.collect_every;
    let mut pause = registry.due_in(Job::Collect, every).await;
    while wait(pause, &stop).await {
        run_collection(&registry, &right).await;
        run_sweep(&registry, &right).await;
        pause = every;
    }
}

async fn run_collection(registry: &Registry, right: &Maintenance) {
    let metrics = registry.metrics();
    match registry.collect(right, false).await {
        Ok(report) => {
            let result = if report.failed == 0 { "ok" } else { "error" };
            metrics.gc_runs.get_or_create(&ResultLabel { result }).inc();
            let bytes = report.bytes;
            tracing::info!(
                blobs = report.blobs,
                manifests = report.manifests,
                uploads = report.uploads,
                size_bytes = bytes,
                failed = report.failed,
                "collected"
            );
        }
        Err(error) => {
            metrics
                .gc_runs
                .get_or_create(&ResultLabel { result: "error" })
                .inc();
            tracing::error!(%error, "collection failed; it goes on at its next time");
        }
    }
}

/// Looks for objects that no row names, once a day at most: what lost its row takes room until then.
async fn run_sweep(registry: &Registry, right: &Maintenance) {
    match registry.sweep_when_due(right).await {
        Ok(None) => {}
        Ok(Some(report)) => {
            let (orphans, young) = (report.orphans, report.young);
            tracing::info!(
                objects = report.objects,
                orphans,
                young,
                size_bytes = report.bytes,
                failed = report.failed,
                "looked for objects that no row names"
            );
        }
        Err(error) => {
            tracing::error!(%error, "looking for objects that no row names failed; it goes on after the next collection");
        }
    }
}

/// Scrubs on schedule until `stop`.
pub async fn scrub(
    registry: Registry,
    right: Maintenance,
    schedule: Schedule,
    stop: CancellationToken,
) {
    let every = schedule.scrub_every;
    let mut pause = registry.due_in(Job::Scrub, every).await;
    while wait(pause, &stop).await {
        pause = every;
        match registry.scrub(&right).await {
            Ok(report) => {
                let (damaged, unreadable) = (report.damaged.len(), report.unreadable.len());
                let (recovered, quarantined) = (report.recovered.len(), report.quarantined_before);
                tracing::info!(
                    blobs = report.blobs,
                    size_bytes = report.bytes,
                    damaged,
                    unreadable,
                    recovered,
                    quarantined,
                    "scrubbed"
                );
            }
            Err(error) => tracing::error!(%error, "scrub failed; it goes on at its next time"),
        }
        // Where nothing is collected by the clock, nobody else does.
        run_sweep(&registry, &right).await;
    }
}

/// How often it is looked for statements that are due. They are made at once where they become due; this
/// finds those of a server that ended in between, and what failed.
const ATTEND_EVERY: Duration = Duration::from_secs(10);

/// Makes the registry's own statements, at once and then on schedule, until `stop`.
pub async fn attend(registry: Registry, stop: CancellationToken) {
    loop {
        match registry.attend().await {
            Ok(0) => {}
            Ok(made) => tracing::info!(made, "signed statements that were due"),
            Err(error) => {
                tracing::error!(%error, "statements of the registry are late; the next attempt follows");
            }
        }
        if !wait(ATTEND_EVERY, &stop).await {
            return;
        }
    }
}

/// How often it is looked whether the metadata store can still be written.
const WATCH_EVERY: Duration = Duration::from_secs(5);
/// How long a store may be stuck before the server ends. Whatever passes by itself has passed by then.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Looks until `stop` whether the metadata store can still be written. If only another start helps, and that for a while,
/// it says so by `given_up` and stops the server, once an hour at most: a start that did not help is noted.
pub async fn watch_store(
    registry: Registry,
    right: Maintenance,
    stop: CancellationToken,
    given_up: CancellationToken,
) {
    let mut since: Option<Instant> = None;
    while wait(WATCH_EVERY, &stop).await {
        if !registry.is_stuck(&right).await {
            since = None;
            continue;
        }
        let lasts = since.get_or_insert_with(Instant::now).elapsed();
        if lasts >= STUCK_AFTER {
            if let Err(error) = registry.note_end(&right).await {
                tracing::error!(%error, "nothing can be written to the metadata store, and it cannot be noted that the server ends because of that, so it stays");
                continue;
            }
            tracing::error!(
                seconds = lasts.as_secs(),
                "nothing can be written to the metadata store any more, and its disk is sound: the server ends, to be started again"
            );
            given_up.cancel();
            stop.cancel();
            return;
        }
        tracing::error!(
            seconds = lasts.as_secs(),
            "nothing can be written to the metadata store, though its disk is sound"
        );
    }
}

/// Waits for the next run; `false` when there is none, as after a pause of zero.
async fn wait(pause: Duration, stop: &CancellationToken) -> bool {
    if pause.is_zero() {
        stop.cancelled().await;
        return false;
    }
    tokio::select! {
        () = tokio::time::sleep(pause) => true,
        () = stop.cancelled() => false,
    }
}
