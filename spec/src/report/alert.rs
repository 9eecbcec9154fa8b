//! The one line that people are woken by: what, where, how much, why, and whose it is.

use super::document::Report;
use super::rows::ArtifactRow;
use super::verdict::Verdict;
use crate::digest::Digest;
use std::fmt::Write as _;

/// Longest value in the line, in characters.
const MAX_VALUE_CHARS: usize = 200;

/// The report as one line: verdict, bundle, stage, artifact, place, test, observation, attribution,
/// owner, runbook; fields that are not known are left out.
///
/// Text from bundles is shown without control characters, so that nothing but this line is printed.
pub fn alert_line(report: &Report, runbook: Option<&str>) -> String {
    let mut line = format!("{} {}", report.verdict, clean(&report.baseline.id));
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = write!(line, " {name}={}", clean(value));
        }
    };
    let failed = report
        .first_divergence
        .as_ref()
        .filter(|first| !first.tolerated);
    match failed {
        Some(_) => {
            let failing = report.failing().unwrap_or_default();
            add("stage", failing.stage.unwrap_or_default());
            add("artifact", failing.artifact.unwrap_or_default());
            add("at", failing.locator.unwrap_or_default());
            if let Some(test) = &failing.test {
                add("test", test);
                add("observed", failing.observed.unwrap_or_default());
            }
        }
        None => {
            let worst = report
                .reasons
                .iter()
                .find(|reason| reason.verdict == report.verdict);
            if let Some(reason) = worst.filter(|_| report.verdict > Verdict::ReproducedWithWarnings)
            {
                add("stage", report.stage_at_fault().unwrap_or_default());
                add("check", &reason.code);
                add("subject", &reason.subject);
                add("found", &reason.text);
            }
        }
    }
    if let Some(attribution) = report.attribution {
        let because = report
            .evidence
            .iter()
            .find(|finding| finding.points_at == attribution);
        match because {
            Some(finding) => add("attribution", &format!("{attribution}({})", finding.text)),
            None => add("attribution", attribution.as_str()),
        }
    }
    if let Some(owner) = &report.owner {
        let at = if owner.starts_with('@') { "" } else { "@" };
        add("owner", &format!("{at}{owner}"));
    }
    add("runbook", runbook.unwrap_or_default());
    line
}

/// What decided that a replay did not end well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failing<'a> {
    /// The stage in which it failed.
    pub stage: Option<&'a str>,
    /// The file that differs first.
    pub artifact: Option<&'a str>,
    /// The place in it, or in what a test wrote.
    pub locator: Option<&'a str>,
    /// What was demanded: `numeric(rel_l2<=1e-9)` of a file, else what did not hold: `metric/auc`, `inference/golden`.
    pub test: Option<String>,
    /// What the baseline has there.
    pub expected: Option<&'a str>,
    /// What was found.
    pub observed: Option<&'a str>,
}

/// What was demanded of an artifact: `numeric(rel_l2<=1e-9)`.
fn test_of(row: &ArtifactRow) -> String {
    match row
        .detail
        .as_ref()
        .and_then(|detail| detail.rule.as_deref())
    {
        Some(rule) => format!("{}({rule})", row.required),
        None => row.required.to_string(),
    }
}

impl Report {
    /// What decided: the first divergence that is not tolerated, else the first reason of the verdict; `None` where
    /// nothing failed.
    pub fn failing(&self) -> Option<Failing<'_>> {
        let first = self.first_divergence.as_ref();
        if let Some(first) = first.filter(|first| !first.tolerated) {
            let row = self
                .stages
                .iter()
                .filter(|stage| stage.name == first.stage)
                .flat_map(|stage| &stage.artifacts)
                .find(|row| Some(&row.path) == first.artifact.as_ref());
            let observed = row.and_then(|row| row.detail.as_ref()?.observed.as_deref());
            return Some(Failing {
                stage: Some(&first.stage),
                artifact: first.artifact.as_deref(),
                locator: first.locator.as_deref(),
                test: row.map(test_of),
                expected: first.base.as_deref(),
                observed: observed.or(first.now.as_deref()),
            });
        }
        if self.verdict <= Verdict::ReproducedWithWarnings {
            return None;
        }
        let mut reasons = self.reasons.iter();
        let worst = reasons.find(|reason| reason.verdict == self.verdict)?;
        let is = |code: &str, subject: &str| worst.code == code && worst.subject == subject;
        let metric = self.metrics.iter().find(|row| is("metric", &row.name));
        let test = self.tests.iter().find(|row| is("test", &row.id));
        let (expected, observed) = match (metric, test) {
            (Some(row), _) => (row.base.as_deref(), row.now.as_deref()),
            (None, Some(row)) => {
                let expected = row.base.as_deref().or(row.rule.as_deref());
                (expected, row.now.as_deref())
            }
            (None, None) => (None, None),
        };
        Some(Failing {
            stage: self.stage_at_fault(),
            artifact: None,
            locator: test.and_then(|row| row.locator.as_deref()),
            test: Some(match worst.code.as_str() {
                "test" => worst.subject.clone(),
                code => format!("{code}/{}", worst.subject),
            }),
            expected,
            observed: observed.or(Some(&worst.text)),
        })
    }

    /// The stage in which something failed: that of the first divergence which is not tolerated, else the one that did
    /// not end well, or that wrote the metric which decides the verdict.
    pub fn stage_at_fault(&self) -> Option<&str> {
        let first = self.first_divergence.as_ref();
        if let Some(first) = first.filter(|first| !first.tolerated) {
            return Some(&first.stage);
        }
        let mut reasons = self.reasons.iter();
        let worst = reasons.find(|reason| reason.verdict == self.verdict)?;
        match worst.code.as_str() {
            "stage" => Some(worst.subject.as_str()),
            "metric" => {
                let metric = self.metrics.iter().find(|row| row.name == worst.subject)?;
                metric.stage.as_deref()
            }
            _ => None,
        }
    }

    /// What makes two failures the same one: verdict, bundle, stage, artifact and place, or the first
    /// reason where nothing diverged. Alerts with the same fingerprint are sent once.
    pub fn fingerprint(&self) -> Digest {
        let mut parts = vec![
            "sealstone-report/v1".to_owned(),
            self.verdict.as_str().to_owned(),
            self.baseline.id.clone(),
        ];
        match &self.first_divergence {
            Some(first) if !first.tolerated => {
                parts.push(first.stage.clone());
                parts.push(first.artifact.clone().unwrap_or_default());
                parts.push(first.locator.clone().unwrap_or_default());
            }
            _ => {
                let worst = self
                    .reasons
                    .iter()
                    .find(|reason| reason.verdict == self.verdict);
                parts.extend(worst.map(|reason| format!("{}\n{}", reason.code, reason.subject)));
            }
        }
        Digest::sha256(parts.join("\n").as_bytes())
    }
}

fn clean(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(MAX_VALUE_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().count() > MAX_VALUE_CHARS {
        shown.push('…');
    }
    shown
}
