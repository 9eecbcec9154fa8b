//! What may stand in a report: bounds, shapes of fields, and a verdict that its rows allow.

use super::document::{Cut, DigestRef, Report, ReportError};
use super::rows::{ArtifactRow, MetricRow, StageStatus};
use super::verdict::Verdict;
use crate::digest::Digest;

/// Longest report that is read, in bytes.
pub const MAX_REPORT_BYTES: usize = 12 * 1024 * 1024;
/// Longest report with whole tables that is read, in bytes: eight times as long as one that is signed.
pub const MAX_WHOLE_BYTES: usize = 8 * MAX_REPORT_BYTES;
/// Most rows of one table.
pub const MAX_ROWS: usize = 1000;
/// Longest text of one field, in bytes.
const MAX_TEXT_BYTES: usize = 16 * 1024;

fn field(field: &str, problem: String) -> ReportError {
    ReportError::Field {
        field: field.into(),
        problem,
    }
}

/// Refuses what is no report, and tables that are too long.
pub(super) fn check(report: &Report) -> Result<(), ReportError> {
    for (name, rows) in table_sizes(report) {
        if rows > MAX_ROWS {
            return Err(field(
                &name,
                format!("{rows} rows, at most {MAX_ROWS} stand in a report"),
            ));
        }
    }
    check_whole(report)
}

/// Refuses what is no report, however long its tables are.
pub(super) fn check_whole(report: &Report) -> Result<(), ReportError> {
    for (name, at) in [
        ("startedOn", &report.started_on),
        ("finishedOn", &report.finished_on),
    ] {
        if !is_timestamp(at) {
            let shown: String = at.chars().take(40).collect();
            return Err(field(
                name,
                format!("\"{shown}\" is no time: write 2026-01-31T12:00:00Z"),
            ));
        }
    }
    if report.finished_on < report.started_on {
        return Err(field("finishedOn", "it lies before startedOn".into()));
    }
    for (name, seconds) in &report.timings {
        if !is_decimal(seconds) {
            return Err(field(
                &format!("timings.{name}"),
                "no decimal number".into(),
            ));
        }
    }
    for row in &report.environment.diff {
        if !["M", "W", "i"].contains(&row.level.as_str()) {
            return Err(field(
                "environment.diff",
                format!("level of \"{}\" is none of M, W, i", row.fact),
            ));
        }
    }
    if [
        &report.baseline.id,
        &report.builder.id,
        &report.builder.version,
    ]
    .iter()
    .any(|text| text.is_empty() || text.len() > MAX_TEXT_BYTES)
    {
        return Err(field(
            "baseline.id, builder",
            "1 to 16384 bytes are due".into(),
        ));
    }
    let (allowed, because) = best(report);
    if report.verdict < allowed {
        return Err(ReportError::Verdict {
            stated: report.verdict,
            allowed,
            because,
        });
    }
    Ok(())
}

/// The best verdict that reasons and rows allow, and the one that decides.
pub(super) fn best(report: &Report) -> (Verdict, String) {
    let mut found = (Verdict::Reproduced, "nothing".to_owned());
    let mut at_least = |verdict: Verdict, because: &dyn Fn() -> String| {
        if verdict > found.0 {
            found = (verdict, because());
        }
    };
    for reason in &report.reasons {
        at_least(reason.verdict, &|| {
            format!("reason \"{}\" of {}", reason.code, reason.subject)
        });
    }
    for stage in &report.stages {
        let verdict = match stage.status {
            StageStatus::Error => Verdict::Error,
            StageStatus::Origin | StageStatus::Inherited => Verdict::Diverged,
            StageStatus::Ok | StageStatus::Skipped => Verdict::Reproduced,
        };
        at_least(verdict, &|| format!("stage {}", stage.name));
        if !stage.changed.is_empty() {
            at_least(Verdict::ReproducedWithWarnings, &|| {
                format!("what changed in stage {}", stage.name)
            });
        }
        for artifact in &stage.artifacts {
            at_least(of_artifact(artifact), &|| {
                format!("artifact {}", artifact.path)
            });
        }
    }
    for metric in &report.metrics {
        at_least(of_metric(metric), &|| format!("metric {}", metric.name));
    }
    for test in &report.tests {
        let verdict = match (test.ok, test.undecided) {
            (true, _) => continue,
            (false, true) => Verdict::Inconclusive,
            (false, false) => Verdict::Diverged,
        };
        at_least(verdict, &|| format!("test {}", test.id));
    }
    if report
        .class
        .achieved
        .is_some_and(|achieved| !achieved.satisfies(report.class.required))
    {
        at_least(Verdict::Inconclusive, &|| "the class achieved".into());
    }
    if let Some(achieved) = report.isolation.achieved
        && achieved < report.isolation.required
    {
        let accepted = report
            .overrides
            .iter()
            .any(|waived| waived.kind == "accept-isolation");
        let verdict = if accepted {
            Verdict::ReproducedWithWarnings
        } else {
            Verdict::Inconclusive
        };
        at_least(verdict, &|| "the isolation achieved".into());
    }
    for row in &report.environment.diff {
        let verdict = match (row.level.as_str(), &row.exception) {
            ("M", None) => Verdict::Inconclusive,
            ("M", Some(_)) | ("W", _) => Verdict::ReproducedWithWarnings,
            _ => Verdict::Reproduced,
        };
        at_least(verdict, &|| format!("fact {}", row.fact));
    }
    for row in &report.resources {
        if !row.ok {
            at_least(Verdict::ReproducedWithWarnings, &|| {
                format!("{} of stage {}", row.quantity, row.stage)
            });
        }
    }
    if !report.overrides.is_empty() {
        at_least(Verdict::ReproducedWithWarnings, &|| "an override".into());
    }
    found
}

fn of_artifact(row: &ArtifactRow) -> Verdict {
    match (row.ok, row.class) {
        (true, Some(class)) if class.satisfies(row.required) => Verdict::Reproduced,
        _ if row.is_open() => Verdict::Inconclusive,
        _ => Verdict::Diverged,
    }
}

fn of_metric(row: &MetricRow) -> Verdict {
    match row {
        MetricRow { now: None, .. }
        | MetricRow {
            undecided: true, ..
        } => Verdict::Inconclusive,
        MetricRow { ok: false, .. } => Verdict::Diverged,
        _ => Verdict::Reproduced,
    }
}

fn table_sizes(report: &Report) -> Vec<(String, usize)> {
    let mut sizes = vec![
        ("reasons".to_owned(), report.reasons.len()),
        ("evidence".to_owned(), report.evidence.len()),
        ("stages".to_owned(), report.stages.len()),
        ("metrics".to_owned(), report.metrics.len()),
        ("tests".to_owned(), report.tests.len()),
        ("environment.diff".to_owned(), report.environment.diff.len()),
        ("resources".to_owned(), report.resources.len()),
        ("trail".to_owned(), report.trail.len()),
        ("stabilizers".to_owned(), report.stabilizers.len()),
        ("overrides".to_owned(), report.overrides.len()),
    ];
    for stage in &report.stages {
        sizes.push((
            format!("stages.{}.artifacts", stage.name),
            stage.artifacts.len(),
        ));
        for artifact in &stage.artifacts {
            if let Some(detail) = &artifact.detail {
                sizes.push((format!("artifact {}", artifact.path), detail.rows.len()));
            }
        }
    }
    sizes
}

/// Cuts every table to [`MAX_ROWS`]; `None` if none is longer.
pub(super) fn cut(report: &Report) -> Option<Report> {
    if table_sizes(report)
        .iter()
        .all(|(_, rows)| *rows <= MAX_ROWS)
    {
        return None;
    }
    let mut short = report.clone();
    let mut cuts = Vec::new();
    {
        let mut table = |name: String, total: usize| cuts.push((name, total));
        keep(
            &mut short.reasons,
            |reason| reason.verdict < Verdict::Diverged,
            "reasons",
            &mut table,
        );
        keep(&mut short.evidence, |_| false, "evidence", &mut table);
        keep(&mut short.metrics, |row| row.ok, "metrics", &mut table);
        keep(&mut short.tests, |row| row.ok, "tests", &mut table);
        keep(
            &mut short.environment.diff,
            |row| row.level == "i",
            "environment.diff",
            &mut table,
        );
        keep(&mut short.resources, |row| row.ok, "resources", &mut table);
        keep(&mut short.trail, |row| row.ok, "trail", &mut table);
        keep(&mut short.stabilizers, |_| true, "stabilizers", &mut table);
        keep(&mut short.overrides, |_| false, "overrides", &mut table);
        let fine = |status| matches!(status, StageStatus::Ok | StageStatus::Skipped);
        keep(
            &mut short.stages,
            |row| fine(row.status),
            "stages",
            &mut table,
        );
        for stage in &mut short.stages {
            let name = format!("stages.{}.artifacts", stage.name);
            keep(&mut stage.artifacts, |row| row.ok, &name, &mut table);
            for artifact in &mut stage.artifacts {
                let name = format!("artifact {}", artifact.path);
                if let Some(detail) = &mut artifact.detail {
                    keep(&mut detail.rows, |row| row.ok, &name, &mut table);
                }
            }
        }
    }
    for (name, total) in cuts {
        let counts = Cut {
            shown: MAX_ROWS as u64,
            total: total as u64,
        };
        short.cut.insert(name, counts);
    }
    short.detail = Some(DigestRef::from(Digest::sha256(&report.to_bytes())));
    Some(short)
}

/// Keeps [`MAX_ROWS`] rows, in their order: as many as fit of those that are not fine, then of the rest.
fn keep<T>(
    rows: &mut Vec<T>,
    fine: impl Fn(&T) -> bool,
    name: &str,
    cut: &mut impl FnMut(String, usize),
) {
    let total = rows.len();
    if total <= MAX_ROWS {
        return;
    }
    let bad = rows.iter().filter(|row| !fine(row)).count().min(MAX_ROWS);
    let mut room = (bad, MAX_ROWS - bad);
    rows.retain(|row| {
        let left = if fine(row) { &mut room.1 } else { &mut room.0 };
        let stays = *left > 0;
        *left = left.saturating_sub(1);
        stays
    });
    cut(name.to_owned(), total);
}

/// `2026-01-31T12:00:00Z`, with or without a fraction.
fn is_timestamp(text: &str) -> bool {
    let Some(body) = text.strip_suffix('Z') else {
        return false;
    };
    let (whole, fraction) = match body.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (body, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !fraction.is_none_or(|fraction| digits(fraction) && fraction.len() <= 9) {
        return false;
    }
    let shape = whole.len() == 19
        && whole.bytes().enumerate().all(|(index, byte)| match index {
            4 | 7 => byte == b'-',
            10 => byte == b'T',
            13 | 16 => byte == b':',
            _ => byte.is_ascii_digit(),
        });
    let number =
        |range: std::ops::Range<usize>| whole.get(range).and_then(|text| text.parse::<u32>().ok());
    shape
        && number(5..7).is_some_and(|month| (1..=12).contains(&month))
        && number(8..10).is_some_and(|day| (1..=31).contains(&day))
        && number(11..13).is_some_and(|hour| hour < 24)
        && number(14..16).is_some_and(|minute| minute < 60)
        && number(17..19).is_some_and(|second| second <= 60)
}

fn is_decimal(text: &str) -> bool {
    text.len() <= 40
        && text.parse::<f64>().is_ok_and(f64::is_finite)
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b".-+eE".contains(&byte))
}
