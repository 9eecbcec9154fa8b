//! What a stage took, beside what it took for the baseline.

use super::project::Project;
use crate::runner::{Enforcement, Measured, StageOutcome, Usage};
use sealstone_spec::compare::Decimal;
use sealstone_spec::recipe::LockedStage;
use sealstone_spec::report::ResourceRow;
use serde_json::{Map, Value};

/// Times below this differ by chance: a ratio of them says nothing. In milliseconds.
const MIN_TOLD_MS: f64 = 1000.0;

/// The rows of a stage that was run; `data_wait_ms` is what it says of waiting for data.
pub(super) fn of_stage(
    project: &Project,
    locked: &LockedStage,
    outcome: &StageOutcome,
    data_wait_ms: Option<u64>,
) -> Vec<ResourceRow> {
    let bounds = project.recipe.usage();
    let usage = &outcome.usage;
    let method = |measured: &Option<Measured>| measured.map(|measured| method_of(&measured));
    let base = &locked.usage;
    let cpu = |user: Option<u64>, system: Option<u64>| Some((user? + system.unwrap_or(0)) as f64);
    let now = |measured: Option<Measured>| measured.map(|measured| measured.value);
    let rows = [
        row(
            &locked.name,
            "wall",
            "s",
            Some(base.wall_ms as f64),
            usage.wall_ms.map(|wall| wall.value as f64),
            1000.0,
            bounds.wall_ratio.as_ref(),
            method(&usage.wall_ms),
        ),
        row(
            &locked.name,
            "cpu",
            "s",
            cpu(base.user_ms, base.system_ms),
            cpu(now(usage.user_ms), now(usage.system_ms)),
            1000.0,
            bounds.cpu_ratio.as_ref(),
            method(&usage.user_ms),
        ),
        row(
            &locked.name,
            "peakRss",
            "B",
            base.peak_memory.map(|bytes| bytes as f64),
            usage.peak_rss_bytes.map(|peak| peak.value as f64),
            1.0,
            bounds.rss_ratio.as_ref(),
            method(&usage.peak_rss_bytes),
        )
        .map(|row| measured_alike(row, base.peak_memory_method.as_deref())),
        row(
            &locked.name,
            "gpuMemory",
            "B",
            base.gpu_memory.map(|bytes| bytes as f64),
            usage.accelerator_bytes.map(|most| most.value as f64),
            1.0,
            bounds.gpu_memory_ratio.as_ref(),
            method(&usage.accelerator_bytes),
        ),
        row(
            &locked.name,
            "threads",
            "",
            base.max_threads.map(|count| count as f64),
            usage.max_threads.map(|threads| threads.value as f64),
            1.0,
            bounds.threads_ratio.as_ref(),
            method(&usage.max_threads),
        ),
        row(
            &locked.name,
            "dataWait",
            "s",
            base.data_wait_ms.map(|wait| wait as f64),
            data_wait_ms.map(|wait| wait as f64),
            1000.0,
            bounds.load_ratio.as_ref(),
            Some("told by the stage".to_owned()),
        ),
    ];
    let unenforced = outcome.enforcement.iter().filter(|row| !row.is_enforced());
    rows.into_iter()
        .flatten()
        .chain(unenforced.map(|row| asked_for(&locked.name, row)))
        .collect()
}

/// A limit that was asked for, and that nothing here holds a stage to.
fn asked_for(stage: &str, row: &Enforcement) -> ResourceRow {
    ResourceRow {
        stage: stage.to_owned(),
        quantity: format!("limit.{}", row.limit),
        unit: String::new(),
        base: None,
        now: None,
        ratio: None,
        bound: Some(row.requested.clone()),
        ok: true,
        method: Some(row.by.clone()),
    }
}

#[allow(clippy::too_many_arguments)] // a row is its columns
fn row(
    stage: &str,
    quantity: &str,
    unit: &str,
    base: Option<f64>,
    now: Option<f64>,
    scale: f64,
    bound: Option<&Decimal>,
    method: Option<String>,
) -> Option<ResourceRow> {
    let now = now?;
    let ratio = base.filter(|base| *base > 0.0).map(|base| now / base);
    let is_time = matches!(quantity, "wall" | "cpu" | "dataWait");
    let told = !is_time || now >= MIN_TOLD_MS;
    let ok = match (ratio, bound) {
        (Some(ratio), Some(bound)) => !told || ratio <= bound.value(),
        _ => true,
    };
    let shown = |value: f64| match scale {
        1.0 => format!("{value:.0}"),
        _ => format!("{:.3}", value / scale),
    };
    Some(ResourceRow {
        stage: stage.to_owned(),
        quantity: quantity.to_owned(),
        unit: unit.to_owned(),
        base: base.map(shown),
        now: Some(shown(now)),
        ratio: ratio.map(|ratio| format!("{ratio:.2}")),
        bound: bound.map(ToString::to_string),
        ok,
        method,
    })
}

/// A row of memory whose baseline was measured by the method `then`. Some of them count what the kernel keeps of files, some
/// shared pages for each process, some the largest process alone: the figure of one says nothing of that of another.
fn measured_alike(row: ResourceRow, then: Option<&str>) -> ResourceRow {
    if row.base.is_none() || (then.is_some() && then == row.method.as_deref()) {
        return row;
    }
    let named = |method: Option<&str>| method.unwrap_or("unknown").to_owned();
    let (then, now) = (named(then), named(row.method.as_deref()));
    ResourceRow {
        ratio: None,
        bound: None,
        ok: true,
        method: Some(format!("{then} then, {now} now: not comparable")),
        ..row
    }
}

/// The runner's figures as they stand in a report: whole numbers, with their methods.
pub(super) fn usage_of(usage: &Usage) -> Map<String, Value> {
    match serde_json::to_value(usage) {
        Ok(Value::Object(map)) => map
            .into_iter()
            .map(|(name, measured)| {
                let method = measured.get("method").cloned();
                (name, measured, method)
            })
            .flat_map(|(name, measured, method)| {
                let value = measured.get("value").cloned().unwrap_or(Value::Null);
                let of = method.map(|method| (format!("{name}Method"), method));
                std::iter::once((name, value)).chain(of)
            })
            .collect(),
        _ => Map::new(),
    }
}

fn method_of(measured: &Measured) -> String {
    serde_json::to_value(measured.method)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::runner::NOT_ENFORCED;

    fn told(base: f64, now: f64, bound: Option<&str>, quantity: &str, scale: f64) -> ResourceRow {
        let bound = bound.map(|bound| bound.parse().unwrap());
        row(
            "train",
            quantity,
            "",
            Some(base),
            Some(now),
            scale,
            bound.as_ref(),
            None,
        )
        .unwrap()
    }

    #[test]
    fn a_ratio_over_its_bound_is_told_and_short_times_are_not() {
        assert!(told(1000.0, 2000.0, Some("2"), "wall", 1000.0).ok);
        assert!(!told(1000.0, 2001.0, Some("2"), "wall", 1000.0).ok);
        // Half a second instead of a tenth differs by chance.
        assert!(told(100.0, 500.0, Some("2"), "wall", 1000.0).ok);
        assert!(!told(1000.0, 9000.0, Some("2"), "dataWait", 1000.0).ok);
        assert!(!told(100.0, 201.0, Some("2"), "peakRss", 1.0).ok);
        assert!(told(100.0, 9000.0, None, "gpuMemory", 1.0).ok);
        assert!(!told(100.0, 9000.0, Some("2"), "gpuMemory", 1.0).ok);
        assert!(!told(1.0, 8.0, Some("4"), "threads", 1.0).ok);
        assert!(!told(1000.0, 9000.0, Some("2"), "cpu", 1000.0).ok);
        assert!(told(10.0, 90.0, Some("2"), "cpu", 1000.0).ok);
        let shown = told(1000.0, 2500.0, Some("2"), "wall", 1000.0);
        let shown = (
            shown.base.as_deref(),
            shown.now.as_deref(),
            shown.ratio.as_deref(),
        );
        assert_eq!(shown, (Some("1.000"), Some("2.500"), Some("2.50")));
        assert!(row("train", "wall", "s", Some(1.0), None, 1.0, None, None).is_none());
    }

    #[test]
    fn peaks_of_memory_are_compared_only_if_they_were_measured_alike() {
        let peak = |then: Option<&str>, now: Option<&str>, base: Option<f64>| {
            let bound = "2".parse().unwrap();
            let now = now.map(str::to_owned);
            let row = row(
                "train",
                "peakRss",
                "B",
                base,
                Some(900.0),
                1.0,
                Some(&bound),
                now,
            );
            measured_alike(row.unwrap(), then)
        };
        let alike = peak(Some("cgroup2"), Some("cgroup2"), Some(100.0));
        assert!(!alike.ok);
        assert_eq!(alike.ratio.as_deref(), Some("9.00"));
        assert_eq!(alike.method.as_deref(), Some("cgroup2"));
        for (then, now, due) in [
            (
                Some("sampled"),
                Some("cgroup1"),
                "sampled then, cgroup1 now: not comparable",
            ),
            (
                None,
                Some("sampled"),
                "unknown then, sampled now: not comparable",
            ),
            (None, None, "unknown then, unknown now: not comparable"),
        ] {
            let other = peak(then, now, Some(100.0));
            assert!(other.ok);
            assert_eq!((other.ratio, other.bound), (None, None));
            // Both are shown all the same.
            let shown = (other.base.as_deref(), other.now.as_deref());
            assert_eq!(shown, (Some("100"), Some("900")));
            assert_eq!(other.method.as_deref(), Some(due));
        }
        let alone = peak(None, Some("sampled"), None);
        assert_eq!(alone.method.as_deref(), Some("sampled"));
        assert_eq!(alone.bound.as_deref(), Some("2"));
    }

    #[test]
    fn a_limit_that_nothing_enforces_is_a_row() {
        let limit = Enforcement {
            limit: "cpus".into(),
            requested: "4096".into(),
            by: NOT_ENFORCED.into(),
            note: None,
        };
        let row = asked_for("train", &limit);
        assert_eq!(row.quantity, "limit.cpus");
        assert_eq!(row.bound.as_deref(), Some("4096"));
        assert_eq!(row.method.as_deref(), Some(NOT_ENFORCED));
    }
}
