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
        Some(first) => {
            add("stage", &first.stage);
            add("artifact", first.artifact.as_deref().unwrap_or_default());
            add("at", first.locator.as_deref().unwrap_or_default());
            let row = report
                .stages
                .iter()
                .filter(|stage| stage.name == first.stage)
                .flat_map(|stage| &stage.artifacts)
                .find(|row| Some(&row.path) == first.artifact.as_ref());
            if let Some(row) = row {
                add("test", &test_of(row));
                let observed = row
                    .detail
                    .as_ref()
                    .and_then(|detail| detail.observed.as_deref());
                add(
                    "observed",
                    observed.or(first.now.as_deref()).unwrap_or_default(),
                );
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
    /// The stage in which something failed: that of the first divergence which is not tolerated, else the one that
    /// wrote the metric which decides the verdict.
    pub fn stage_at_fault(&self) -> Option<&str> {
        let first = self.first_divergence.as_ref();
        if let Some(first) = first.filter(|first| !first.tolerated) {
            return Some(&first.stage);
        }
        let worst = self
            .reasons
            .iter()
            .find(|reason| reason.verdict == self.verdict)
            .filter(|reason| reason.code == "metric")?;
        let metric = self.metrics.iter().find(|row| row.name == worst.subject)?;
        metric.stage.as_deref()
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
