//! What the server counts, under the names that deploy/prometheus and deploy/grafana use.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::borrow::Cow;

/// Labels of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// HTTP method.
    pub method: Cow<'static, str>,
    /// The kind of route, never a name that a client chose.
    pub route: &'static str,
    /// Status code.
    pub status: u16,
}

/// Label of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabel {
    /// The kind of route.
    pub route: &'static str,
}

/// Where damage was noticed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WhereLabel {
    /// `push`, `pull` or `scrub`.
    pub r#where: &'static str,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    /// `ok` or `error`.
    pub result: &'static str,
}

/// A namespace that the operator has set a quota for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NamespaceLabel {
    /// Its name; `/`, which no repository is called, for the whole registry: a label without a value is none.
    pub namespace: String,
}

impl NamespaceLabel {
    /// The label of a namespace.
    pub fn of(namespace: &str) -> NamespaceLabel {
        let shown = match namespace {
            "" => "/",
            name => name,
        };
        NamespaceLabel {
            namespace: shown.to_owned(),
        }
    }
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.5, 14))
}

/// Every metric.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests answered.
    pub requests: Family<RequestLabels, Counter>,
    /// Time until the head of the answer.
    pub request_seconds: Family<RouteLabel, Histogram>,
    /// Requests being answered.
    pub in_flight: Gauge,
    /// Bytes of blobs that came.
    pub bytes_received: Counter,
    /// Bytes of blobs that went.
    pub bytes_sent: Counter,
    /// Content that was not what its digest says.
    pub verify_failures: Family<WhereLabel, Counter>,
    /// Blobs in quarantine.
    pub quarantined: Gauge,
    /// Uploads under way.
    pub uploads_open: Gauge,
    /// Pushes refused because the tag exists.
    pub tag_conflicts: Counter,
    /// Releases refused by policy.
    pub release_denials: Counter,
    /// Times that a policy was asked for a verdict; one that is kept is not asked for again.
    pub judgements: Counter,
    /// Logins refused.
    pub login_failures: Counter,
    /// Collections run.
    pub gc_runs: Family<ResultLabel, Counter>,
    /// Bytes that collections freed.
    pub gc_bytes_freed: Counter,
    /// Objects removed that no row named.
    pub orphans_removed: Counter,
    /// When a collection last succeeded, seconds since 1970.
    pub gc_last_success: Gauge,
    /// When a scrub last succeeded, seconds since 1970.
    pub scrub_last_success: Gauge,
    /// Time of a group of metadata writes.
    pub commit_seconds: Histogram,
    /// Free bytes of the disk.
    pub disk_free: Gauge,
    /// Entries of the transparency log.
    pub log_size: Gauge,
    /// Checkpoints signed.
    pub log_checkpoints: Counter,
    /// When one was last signed, seconds since 1970.
    pub log_last_checkpoint: Gauge,
    /// Attempts to go on with the log that failed.
    pub log_failures: Counter,
    /// Attempts to keep the last checkpoint outside the store that failed.
    pub log_copy_failures: Counter,
    /// Time that a change waited for its checkpoint.
    pub log_wait_seconds: Histogram,
    /// Entries in the latest checkpoint that all witnesses cosigned.
    pub log_witnessed_size: Gauge,
    /// Requests to witnesses that failed.
    pub log_witness_failures: Counter,
    /// Statements that the registry signed itself.
    pub statements: Counter,
    /// Bytes that a quota allows.
    pub quota_bytes: Family<NamespaceLabel, Gauge>,
    /// Bytes that are taken of them, or held for uploads.
    pub quota_used_bytes: Family<NamespaceLabel, Gauge>,
    /// Blobs and manifests that a quota allows.
    pub quota_objects: Family<NamespaceLabel, Gauge>,
    /// Blobs and manifests that are there.
    pub quota_used_objects: Family<NamespaceLabel, Gauge>,
    /// Pushes that a quota had no room for.
    pub quota_refusals: Family<NamespaceLabel, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("sealstone");
        let requests = Family::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        let request_seconds = Family::new_with_constructor(seconds as fn() -> Histogram);
        registry.register(
            "http_request_seconds",
            "Time until the head of the answer",
            request_seconds.clone(),
        );
        let in_flight = Gauge::default();
        registry.register(
            "http_in_flight",
            "Requests being answered",
            in_flight.clone(),
        );
        let bytes_received = Counter::default();
        registry.register(
            "blob_bytes_received",
            "Bytes of blobs that came",
            bytes_received.clone(),
        );
        let bytes_sent = Counter::default();
        registry.register(
            "blob_bytes_sent",
            "Bytes of blobs that went",
            bytes_sent.clone(),
        );
        let verify_failures: Family<WhereLabel, Counter> = Family::default();
        registry.register(
            "blob_verify_failures",
            "Content that was not what its digest says",
            verify_failures.clone(),
        );
        for place in ["push", "pull", "scrub"] {
            // So that an alert on a rate sees the first one.
            drop(verify_failures.get_or_create(&WhereLabel { r#where: place }));
        }
        let quarantined = Gauge::default();
        registry.register(
            "blobs_quarantined",
            "Blobs in quarantine",
            quarantined.clone(),
        );
        let uploads_open = Gauge::default();
        registry.register("uploads_open", "Uploads under way", uploads_open.clone());
        let tag_conflicts = Counter::default();
        registry.register(
            "tag_conflicts",
            "Pushes refused because the tag exists",
            tag_conflicts.clone(),
        );
        let release_denials = Counter::default();
        registry.register(
            "release_denials",
            "Releases refused by policy",
            release_denials.clone(),
        );
        let judgements = Counter::default();
        registry.register(
            "judgements",
            "Times that a policy was asked for a verdict",
            judgements.clone(),
        );
        let login_failures = Counter::default();
        registry.register("login_failures", "Logins refused", login_failures.clone());
        let gc_runs: Family<ResultLabel, Counter> = Family::default();
        registry.register("gc_runs", "Collections run", gc_runs.clone());
        for result in ["ok", "error"] {
            // As above: the first one that fails is seen.
            drop(gc_runs.get_or_create(&ResultLabel { result }));
        }
        let gc_bytes_freed = Counter::default();
        registry.register(
            "gc_bytes_freed",
            "Bytes that collections freed",
            gc_bytes_freed.clone(),
        );
        let orphans_removed = Counter::default();
        registry.register(
            "orphans_removed",
            "Objects removed that no row named",
            orphans_removed.clone(),
        );
        let gc_last_success = Gauge::default();
        registry.register(
            "gc_last_success_seconds",
            "When a collection last succeeded",
            gc_last_success.clone(),
        );
        let scrub_last_success = Gauge::default();
        registry.register(
            "scrub_last_success_seconds",
            "When a scrub last succeeded",
            scrub_last_success.clone(),
        );
        let commit_seconds = seconds();
        registry.register(
            "metadata_commit_seconds",
            "Time of a group of metadata writes",
            commit_seconds.clone(),
        );
        let disk_free = Gauge::default();
        registry.register(
            "disk_free_bytes",
            "Free bytes of the disk",
            disk_free.clone(),
        );
        let log_size = Gauge::default();
        registry.register(
            "log_size",
            "Entries of the transparency log",
            log_size.clone(),
        );
        let log_checkpoints = Counter::default();
        registry.register(
            "log_checkpoints",
            "Checkpoints signed",
            log_checkpoints.clone(),
        );
        let log_last_checkpoint = Gauge::default();
        registry.register(
            "log_last_checkpoint_seconds",
            "When a checkpoint was last signed",
            log_last_checkpoint.clone(),
        );
        let log_failures = Counter::default();
        registry.register(
            "log_failures",
            "Attempts to go on with the transparency log that failed",
            log_failures.clone(),
        );
        let log_copy_failures = Counter::default();
        registry.register(
            "log_copy_failures",
            "Attempts to keep the last checkpoint outside the store that failed",
            log_copy_failures.clone(),
        );
        let log_wait_seconds = seconds();
        registry.register(
            "log_wait_seconds",
            "Time that a change waited for its checkpoint",
            log_wait_seconds.clone(),
        );
        let log_witnessed_size = Gauge::default();
        registry.register(
            "log_witnessed_size",
            "Entries in the latest checkpoint that all witnesses cosigned",
            log_witnessed_size.clone(),
        );
        let log_witness_failures = Counter::default();
        registry.register(
            "log_witness_failures",
            "Requests to witnesses that failed",
            log_witness_failures.clone(),
        );
        let statements = Counter::default();
        registry.register(
            "statements",
            "Statements that the registry signed itself",
            statements.clone(),
        );
        let quota_bytes = Family::default();
        registry.register(
            "quota_bytes",
            "Bytes that the quota of a namespace allows",
            quota_bytes.clone(),
        );
        let quota_used_bytes = Family::default();
        registry.register(
            "quota_used_bytes",
            "Bytes that are taken of a quota, or held for uploads",
            quota_used_bytes.clone(),
        );
        let quota_objects = Family::default();
        registry.register(
            "quota_objects",
            "Blobs and manifests that the quota of a namespace allows",
            quota_objects.clone(),
        );
        let quota_used_objects = Family::default();
        registry.register(
            "quota_used_objects",
            "Blobs and manifests that are there of a quota",
            quota_used_objects.clone(),
        );
        let quota_refusals = Family::default();
        registry.register(
            "quota_refusals",
            "Pushes that a quota had no room for",
            quota_refusals.clone(),
        );
        registry.register(
            "build",
            "The server",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        Metrics {
            registry,
            requests,
            request_seconds,
            in_flight,
            bytes_received,
            bytes_sent,
            verify_failures,
            quarantined,
            uploads_open,
            tag_conflicts,
            release_denials,
            judgements,
            login_failures,
            gc_runs,
            gc_bytes_freed,
            orphans_removed,
            gc_last_success,
            scrub_last_success,
            commit_seconds,
            disk_free,
            log_size,
            log_checkpoints,
            log_last_checkpoint,
            log_failures,
            log_copy_failures,
            log_wait_seconds,
            log_witnessed_size,
            log_witness_failures,
            statements,
            quota_bytes,
            quota_used_bytes,
            quota_objects,
            quota_used_objects,
            quota_refusals,
        }
    }
}

impl Metrics {
    /// All of them in the text format of OpenMetrics.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    /// A series that begins with its first failure never grows, so an alert on its growth would miss that one.
    #[test]
    fn what_alerts_wait_for_is_there_before_it_happens() {
        let shown = Metrics::default().render();
        for series in [
            "sealstone_gc_runs_total{result=\"error\"} 0",
            "sealstone_gc_runs_total{result=\"ok\"} 0",
            "sealstone_blob_verify_failures_total{where=\"pull\"} 0",
        ] {
            assert!(
                shown.lines().any(|line| line == series),
                "{series} is not in\n{shown}"
            );
        }
    }
}
