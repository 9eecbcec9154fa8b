//! What each case states of a report, in one line.
//!
//! Owns comparisons with reports only; projects and replays are `laboratory`'s.

use sealstone_spec::report::{Reason, Report, StageStatus, Verdict};

/// Where a stage of the laboratory can first differ: the stage, and what it writes.
pub(super) const DATA: (&str, &str) = ("prepare", "work/train.csv");
pub(super) const WEIGHTS: (&str, &str) = ("train", "model/weights.json");
pub(super) const METRICS: (&str, &str) = ("evaluate", "metrics.json");

/// Verdict, exit code, origin, place and attribution, in one line: what each case states.
#[track_caller]
pub(super) fn expect(
    report: &Report,
    verdict: Verdict,
    exit: u8,
    origin: Option<(&str, &str)>,
    locator: Option<&str>,
    attribution: Option<&str>,
) {
    let shown = serde_json::to_string_pretty(report).unwrap();
    assert_eq!(report.verdict, verdict, "{shown}");
    assert_eq!(report.verdict.exit_code(false), exit);
    let first = report
        .first_divergence
        .as_ref()
        .filter(|first| !first.tolerated);
    assert_eq!(
        first.map(|first| (
            first.stage.as_str(),
            first.artifact.as_deref().unwrap_or_default()
        )),
        origin,
        "{shown}"
    );
    if let Some(wanted) = locator {
        assert_eq!(
            first.and_then(|first| first.locator.as_deref()),
            Some(wanted),
            "{shown}"
        );
    }
    assert_eq!(
        report.attribution.map(|attribution| attribution.as_str()),
        attribution,
        "{shown}"
    );
}

/// Another result of the first stage that has one, with what it is put down to.
#[track_caller]
pub(super) fn expect_divergence(
    report: &Report,
    origin: (&str, &str),
    locator: Option<&str>,
    attribution: &str,
) {
    expect(
        report,
        Verdict::Diverged,
        2,
        Some(origin),
        locator,
        Some(attribution),
    );
}

/// Reproduced, and something is told.
#[track_caller]
pub(super) fn expect_warnings(report: &Report) {
    expect(report, Verdict::ReproducedWithWarnings, 0, None, None, None);
}

pub(super) fn status(report: &Report, stage: &str) -> StageStatus {
    report
        .stages
        .iter()
        .find(|row| row.name == stage)
        .unwrap()
        .status
}

#[track_caller]
pub(super) fn expect_halt(report: &Report, code: &str, subject: &str, attribution: Option<&str>) {
    expect(report, Verdict::Halted, 3, None, None, attribution);
    assert_eq!(
        (
            report.reasons[0].code.as_str(),
            report.reasons[0].subject.as_str()
        ),
        (code, subject)
    );
    assert!(report.stages.is_empty());
}

#[track_caller]
pub(super) fn told<'a>(report: &'a Report, code: &str, subject: &str) -> &'a Reason {
    let is_it = |reason: &&Reason| reason.code == code && reason.subject == subject;
    let found = report.reasons.iter().find(is_it);
    found.unwrap_or_else(|| panic!("no {code} of {subject}: {:?}", report.reasons))
}
