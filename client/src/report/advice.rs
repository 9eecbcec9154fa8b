//! What to type next: one line, made from the verdict and what is known of its cause.

use super::Surroundings;
use sealstone_spec::report::{Attribution, Report, StageRow, StageStatus, Verdict, hint};

/// The next command, with a few words on why before it.
pub fn next_step(report: &Report, around: &Surroundings) -> (String, String) {
    let reference = if around.reference.is_empty() {
        report.baseline.id.clone()
    } else {
        around.reference.clone()
    };
    let replay = |more: &str| format!("sealstone replay {reference}{more}");
    let step = |why: &str, command: String| (why.to_owned(), command);
    match report.verdict {
        Verdict::Halted if report.trail.iter().any(|entry| entry.event == "stage.run") => step(
            "somebody changed files while it ran; find out who. Whether the bundle itself is whole",
            format!("sealstone verify {reference} --policy policy.toml"),
        ),
        Verdict::Halted => step(
            "nothing was run; see what is wrong with the bundle before anybody uses it",
            format!("sealstone verify {reference} --policy policy.toml"),
        ),
        Verdict::Error => {
            let failed = |stage: &&StageRow| stage.status == StageStatus::Error;
            let failed = report.stages.iter().find(failed);
            let why = match failed {
                Some(stage) if stage.attempts > 1 => {
                    format!("{} did not end well, twice; its log says why", stage.name)
                }
                Some(stage) if stage.attempts == 1 => {
                    format!("{} did not end well; its note says why", stage.name)
                }
                Some(stage) => format!("{} could not be run; its note says why", stage.name),
                None => "not all of it could be done; the reasons say what".to_owned(),
            };
            step(&format!("{why}. When that is mended"), replay(""))
        }
        Verdict::Diverged => diverged(report, &replay),
        Verdict::Inconclusive => inconclusive(report, &replay),
        Verdict::ReproducedWithWarnings => step(
            "look at the warnings; to let them fail a build",
            replay(" --strict"),
        ),
        _ if report.builder.keyid.is_none() => step(
            "to let others rely on it, sign the report and attach it to the bundle",
            replay(" --sign-with YOUR.key --push"),
        ),
        _ => step(
            "what is known about this bundle",
            format!("sealstone inspect {reference}"),
        ),
    }
}

fn diverged(report: &Report, replay: &dyn Fn(&str) -> String) -> (String, String) {
    let first = report.first_divergence.as_ref();
    let fix = first
        .and_then(|first| first.hints.first())
        .and_then(|id| hint(id))
        .map(|hint| format!("{}: {}", hint.id, hint.fix));
    match report.attribution {
        Some(Attribution::Code | Attribution::Params | Attribution::Data) => (
            "put the change back, or record it as a new baseline and release it as a new version".into(),
            "sealstone run".into(),
        ),
        Some(Attribution::Nondeterminism) => (
            fix.unwrap_or_else(|| "the stage does not do the same twice".into()),
            replay(" --twice"),
        ),
        Some(Attribution::Environment) => (
            fix.unwrap_or_else(|| "the environment decides; replay in the baseline's, or demand a weaker class with a tolerance".into()),
            replay(" --isolated"),
        ),
        _ if report.mode.runs < 2 => (
            "find out whether the stage does the same twice, and on the baseline's inputs".into(),
            replay(" --isolated --twice"),
        ),
        _ => (
            fix.unwrap_or_else(|| "something is read that nobody recorded".into()),
            replay(" --isolated"),
        ),
    }
}

fn inconclusive(report: &Report, replay: &dyn Fn(&str) -> String) -> (String, String) {
    if let (Some(achieved), required) = (report.isolation.achieved, report.isolation.required)
        && achieved < required
    {
        return (
            format!(
                "{required} is demanded and this machine gives {achieved} ({}); use another, or accept it on the record",
                achieved.promise()
            ),
            replay(&format!(" --accept-isolation {achieved}")),
        );
    }
    if let Some(row) = report
        .environment
        .diff
        .iter()
        .find(|row| row.level == "M" && row.exception.is_none())
    {
        return (
            format!(
                "{} has to match; use such a machine, or record an [[override]] of \"{0}\" with a why in recipe.toml",
                row.fact
            ),
            replay(""),
        );
    }
    (
        "see what could not be decided".into(),
        replay(" --output json"),
    )
}
