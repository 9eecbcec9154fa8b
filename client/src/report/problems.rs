//! What is wrong, once: every rendering that lists findings lists these.
//!
//! Invariant: a report whose verdict is not REPRODUCED has at least one problem.

use super::escape::clean;
use sealstone_spec::digest::Digest;
use sealstone_spec::report::{
    ArtifactRow, Cause, MetricRow, Reason, Report, StageRow, StageStatus, TestRow, Verdict, hint,
};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Worth knowing.
    Note,
    /// Deserves a look.
    Warning,
    /// Fails.
    Error,
}

/// A kind of problem. Identifiers never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// `RB001` and on.
    pub id: &'static str,
    /// A name in words with hyphens.
    pub name: &'static str,
    /// What it means.
    pub text: &'static str,
}

macro_rules! rules {
    ($($constant:ident $id:literal $name:literal $text:literal,)*) => {
        $(const $constant: Rule = Rule { id: $id, name: $name, text: $text };)*
        /// Every rule, in the order of identifiers.
        pub const RULES: &[Rule] = &[$($constant),*];
    };
}

rules! {
    INPUT_DIGEST "RB001" "input-digest" "Bytes are not what the recipe, the lock or the bundle says. Nothing was run.",
    ENVIRONMENT_MUST "RB002" "env-must" "A fact of the environment differs that has to match for the class demanded.",
    NONDETERMINISTIC "RB003" "stage-nondeterministic" "Command, code, parameters, environment and inputs are the same, and an output is not.",
    CHANGED "RB004" "stage-changed" "Code, parameters, environment or an input changed, and an output with it.",
    STAGE_ERROR "RB005" "stage-error" "A stage did not end well, twice, or this machine could not do something.",
    SIGNATURE "RB006" "signature" "The bundle is not signed as the policy or the keys demand. Nothing was run.",
    ISOLATION "RB007" "isolation" "This machine isolates less than the recipe demands.",
    UNDECIDED "RB008" "undecided" "Something could not be compared or measured, which is never a pass.",
    METRIC "RB010" "metric-out-of-tolerance" "A metric that was computed again lies outside its tolerance.",
    UNMEASURED "RB011" "metric-unmeasured" "A metric is missing, or there are too few replicates to say anything; or the recipe asks no longer what it asked.",
    INHERITED "RB012" "artifact-inherited" "An output differs because that of a stage before it does.",
    SERIALIZATION "RB020" "serialization" "Saving the model again gives another model.",
    INFERENCE "RB021" "inference" "The model answers golden inputs with other outputs.",
    DATA "RB022" "data" "Data are not what a test expects of them.",
    USAGE "RB030" "usage" "A stage used much more than it did for the baseline.",
    DRIFT "RB031" "env-drift" "A fact of the environment, the recipe, or something that a stage reads is another one, which may matter.",
    UNDECLARED "RB032" "undeclared-output" "A stage wrote something that it does not declare. It was thrown away.",
    OVERRIDE "RB040" "override" "A rule was waived.",
}

/// A table of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Table {
    /// The stages.
    Stages,
    /// The outputs of stages.
    Artifacts,
    /// The metrics.
    Metrics,
    /// The tests.
    Tests,
    /// The facts that differ.
    Environment,
    /// What stages took.
    Resources,
    /// The rules that were waived.
    Overrides,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// What kind.
    pub rule: Rule,
    /// How bad.
    pub level: Level,
    /// The table that has a row for it; without one, only the list of problems knows of it.
    pub table: Option<Table>,
    /// The stage, or nothing.
    pub stage: String,
    /// The artifact, metric, test or fact.
    pub subject: String,
    /// The place in it, or nothing.
    pub locator: String,
    /// Line in the recipe, if known.
    pub line: Option<u64>,
    /// In words.
    pub message: String,
}

impl Problem {
    /// What makes it the same problem in another replay: rule, stage, subject and place, no values.
    pub fn fingerprint(&self) -> String {
        let parts = [self.rule.id, &self.stage, &self.subject, &self.locator];
        Digest::sha256(parts.join("\n").as_bytes()).hex()
    }
}

/// Everything that is wrong, the worst first, else in the order of the report.
pub fn problems(report: &Report) -> Vec<Problem> {
    let mut found = Vec::new();
    let untold = report
        .reasons
        .iter()
        .filter(|reason| !is_told(report, reason));
    found.extend(untold.map(|reason| of_reason(report, reason)));
    for stage in &report.stages {
        if stage.status == StageStatus::Error {
            found.push(of_stage(stage));
        }
        let failed = stage.artifacts.iter().filter(|row| !row.ok);
        found.extend(failed.map(|row| of_artifact(report, stage, row)));
    }
    found.extend(
        report
            .metrics
            .iter()
            .filter(|row| !row.ok || row.undecided)
            .map(|row| of_metric(report, row)),
    );
    found.extend(report.tests.iter().filter(|row| !row.ok).map(of_test));
    for row in &report.environment.diff {
        let (rule, level) = match (row.level.as_str(), &row.exception) {
            ("M", None) => (ENVIRONMENT_MUST, Level::Error),
            ("M", Some(_)) | ("W", _) => (DRIFT, Level::Warning),
            _ => continue,
        };
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".into());
        let waived = row
            .exception
            .as_ref()
            .map(|why| format!(" (waived: {why})"))
            .unwrap_or_default();
        found.push(Problem {
            rule,
            level,
            table: Some(Table::Environment),
            stage: String::new(),
            subject: row.fact.clone(),
            locator: String::new(),
            line: None,
            message: format!(
                "{}: {} for the baseline, {} here{waived}",
                row.fact,
                shown(&row.base),
                shown(&row.now)
            ),
        });
    }
    for row in report.resources.iter().filter(|row| !row.ok) {
        let bound = row.bound.as_deref().unwrap_or("?");
        found.push(Problem {
            rule: USAGE,
            level: Level::Warning,
            table: Some(Table::Resources),
            stage: row.stage.clone(),
            subject: row.quantity.clone(),
            locator: String::new(),
            line: line_of(report, &row.stage),
            message: format!(
                "stage {} took {} times the baseline's {}, at most {bound} times is expected",
                row.stage,
                row.ratio.as_deref().unwrap_or("?"),
                row.quantity
            ),
        });
    }
    for row in &report.overrides {
        let why = row.reason.as_deref().unwrap_or("no reason was given");
        found.push(Problem {
            rule: OVERRIDE,
            level: Level::Warning,
            table: Some(Table::Overrides),
            stage: String::new(),
            subject: format!("{}/{}", row.kind, row.id),
            locator: String::new(),
            line: None,
            message: format!("{} \"{}\" was in force: {why}", row.kind, row.id),
        });
    }
    for problem in &mut found {
        problem.message = clean(&problem.message, 1000);
    }
    found.sort_by_key(|problem| std::cmp::Reverse(problem.level));
    found
}

/// Whether a row of a table stands for a reason, and is a problem itself. That there is such a table is not enough: a
/// stage that ended well can fail when it is run again, and an environment that cannot be made is no fact that differs.
fn is_told(report: &Report, reason: &Reason) -> bool {
    let subject = &reason.subject;
    match reason.code.as_str() {
        "artifact" => report
            .stages
            .iter()
            .flat_map(|stage| &stage.artifacts)
            .any(|row| row.path == *subject && !row.ok),
        "metric" => report
            .metrics
            .iter()
            .any(|row| row.name == *subject && (!row.ok || row.undecided)),
        "test" => report.tests.iter().any(|row| row.id == *subject && !row.ok),
        "environment" => {
            let mut facts = report.environment.diff.iter();
            let is_fact = facts.any(|row| row.fact == *subject && row.level != "i");
            is_fact && reason.verdict != Verdict::Error
        }
        "stage" => is_of_failed_stage(report, subject),
        "usage" => report
            .resources
            .iter()
            .any(|row| row.stage == *subject && !row.ok),
        "override" => report.overrides.iter().any(|row| row.id == *subject),
        _ => false,
    }
}

/// Whether a stage of that name did not end well.
fn is_of_failed_stage(report: &Report, name: &str) -> bool {
    let is = |stage: &StageRow| stage.name == name && stage.status == StageStatus::Error;
    report.stages.iter().any(is)
}

fn of_reason(report: &Report, reason: &Reason) -> Problem {
    let (subject, verdict) = (reason.subject.as_str(), reason.verdict);
    let rule = match reason.code.as_str() {
        "signature" | "policy" => SIGNATURE,
        "isolation" => ISOLATION,
        "drift" | "docs" => DRIFT,
        "undeclared-output" => UNDECLARED,
        "unmeasured" => UNMEASURED,
        _ if verdict == Verdict::Halted => INPUT_DIGEST,
        _ if verdict == Verdict::Error => STAGE_ERROR,
        "metric" => UNMEASURED,
        "usage" => USAGE,
        "override" => OVERRIDE,
        _ => UNDECIDED,
    };
    let level = match verdict {
        Verdict::Reproduced => Level::Note,
        Verdict::ReproducedWithWarnings => Level::Warning,
        _ => Level::Error,
    };
    Problem {
        rule,
        level,
        table: None,
        stage: report
            .stages
            .iter()
            .find(|stage| stage.name == subject)
            .map(|stage| stage.name.clone())
            .unwrap_or_default(),
        subject: subject.to_owned(),
        locator: String::new(),
        line: line_of(report, subject),
        message: format!("{subject}: {}", reason.text),
    }
}

fn of_stage(stage: &StageRow) -> Problem {
    let how = match (stage.exit, stage.signal) {
        (_, Some(signal)) => format!("was ended by signal {signal}"),
        (Some(code), None) => format!("ended with exit code {code}"),
        (None, None) => "was not run to its end".into(),
    };
    let attempts = match stage.attempts {
        0 | 1 => String::new(),
        count => format!(", {count} times"),
    };
    let note = stage
        .note
        .as_deref()
        .map(|note| format!(": {note}"))
        .unwrap_or_default();
    Problem {
        rule: STAGE_ERROR,
        level: Level::Error,
        table: Some(Table::Stages),
        stage: stage.name.clone(),
        subject: stage.name.clone(),
        locator: String::new(),
        line: stage.line,
        message: format!("stage {} {how}{attempts}{note}", stage.name),
    }
}

fn of_artifact(report: &Report, stage: &StageRow, row: &ArtifactRow) -> Problem {
    let first = report
        .first_divergence
        .as_ref()
        .filter(|first| first.stage == stage.name);
    let (rule, level) = match (stage.status, first.map(|first| first.cause)) {
        _ if row.is_open() => (UNDECIDED, Level::Error),
        (StageStatus::Inherited, _) => (INHERITED, Level::Note),
        (_, Some(Cause::Changed)) => (CHANGED, Level::Error),
        (_, Some(_)) => (NONDETERMINISTIC, Level::Error),
        _ => (CHANGED, Level::Error),
    };
    let detail = row.detail.as_ref();
    let here = first.filter(|first| first.artifact.as_ref() == Some(&row.path));
    let locator = here
        .and_then(|first| first.locator.clone())
        .or_else(|| detail.and_then(|detail| detail.first.clone()))
        .unwrap_or_default();
    let mut message = match (&row.now, row.class) {
        (None, _) => format!("stage {} did not write {}", stage.name, row.path),
        (Some(_), None) => format!("{} of stage {} could not be compared", row.path, stage.name),
        (Some(_), Some(class)) => format!(
            "{} of stage {} is {class}, {} is demanded",
            row.path, stage.name, row.required
        ),
    };
    if !locator.is_empty() {
        message.push_str(&format!("; first at {locator}"));
    }
    if let Some(detail) = detail {
        if let (Some(rule), Some(observed)) = (&detail.rule, &detail.observed) {
            message.push_str(&format!("; {observed} where {rule} holds"));
        }
        if detail.reordered {
            message.push_str("; the same rows in another order");
        }
        if let Some(note) = &detail.note {
            message.push_str(&format!("; {note}"));
        }
    }
    if here.is_some() && !stage.changes.is_empty() {
        message.push_str(&format!("; changed: {}", stage.changes.join(", ")));
    }
    let hints = here.map(|first| first.hints.as_slice()).unwrap_or_default();
    if let Some(entry) = hints.first().and_then(|id| hint(id)) {
        message.push_str(&format!("; look at {}: {}", entry.id, entry.title));
    }
    Problem {
        rule,
        level,
        table: Some(Table::Artifacts),
        stage: stage.name.clone(),
        subject: row.path.clone(),
        locator,
        line: stage.line,
        message,
    }
}

fn of_metric(report: &Report, row: &MetricRow) -> Problem {
    let base = row.base.as_deref().unwrap_or("nothing");
    let tolerated: Vec<String> = row
        .rule
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let why = row
        .note
        .as_deref()
        .map(|note| format!(": {note}"))
        .unwrap_or_default();
    let (rule, message) = match &row.now {
        None => (
            UNMEASURED,
            format!("metric {} was not measured; it was {base}{why}", row.name),
        ),
        Some(now) if row.undecided => (
            UNMEASURED,
            format!(
                "metric {} is {now}, it was {base}, and nothing can be said{why}",
                row.name
            ),
        ),
        Some(now) => (
            METRIC,
            format!(
                "metric {} is {now}, it was {base}{}; tolerated: {}{why}",
                row.name,
                stands_for(row)
                    .map(|what| format!(" ({what})"))
                    .unwrap_or_default(),
                if tolerated.is_empty() {
                    "nothing".into()
                } else {
                    tolerated.join(", ")
                }
            ),
        ),
    };
    Problem {
        rule,
        level: Level::Error,
        table: Some(Table::Metrics),
        stage: row.stage.clone().unwrap_or_default(),
        subject: row.name.clone(),
        locator: row.from.clone().unwrap_or_default(),
        line: row
            .line
            .or_else(|| line_of(report, row.stage.as_deref().unwrap_or_default())),
        message,
    }
}

/// What the difference of a metric stands for, where it is a mean over a known number of predictions.
pub(super) fn stands_for(row: &MetricRow) -> Option<String> {
    let quantum = row.quantum.as_deref()?;
    match row.changed? {
        0 => None,
        1 => Some(format!("1 prediction of {quantum}")),
        count => Some(format!("{count} predictions of {quantum} each")),
    }
}

fn of_test(row: &TestRow) -> Problem {
    // Of a test that could not be made nobody knows what the model answers.
    let (rule, otherwise) = match (row.undecided, row.kind.as_str()) {
        (true, _) => (UNDECIDED, "it could not be made"),
        (false, "serialization") => (SERIALIZATION, "it does not hold"),
        (false, "data") => (DATA, "it does not hold"),
        (false, _) => (INFERENCE, "it does not hold"),
    };
    let note = row.note.as_deref().unwrap_or(otherwise);
    let at = row
        .locator
        .as_deref()
        .map(|at| format!("; first at {at}"))
        .unwrap_or_default();
    Problem {
        rule,
        level: Level::Error,
        table: Some(Table::Tests),
        stage: String::new(),
        subject: row.id.clone(),
        locator: row.locator.clone().unwrap_or_default(),
        line: row.line,
        message: format!("test {}: {note}{at}", row.id),
    }
}

fn line_of(report: &Report, stage: &str) -> Option<u64> {
    report.stages.iter().find(|row| row.name == stage)?.line
}
