//! A replay from a checked project to its report.
//!
//! The order: what the machine is, whether that is enough, stages, a second run of those that differ, metrics,
//! tests, cause, verdict. Invariant: whatever happens on the way ends in a report that says so; only what
//! keeps the report itself from being made is an error.

use super::artifacts::{self, Compared};
use super::cause::{self, Known};
use super::changes::{self, Produced};
use super::checks;
use super::execute::{Ran, failed, run};
use super::halt::Halt;
use super::job::{self, Room};
use super::metrics;
use super::project::{Project, digest_of};
use super::resources::{self, usage_of};
use super::settings::Settings;
use crate::compare::ArtifactComparison;
use crate::error::Result;
use crate::runner::{Runner, Software, StageOutcome};
use sealstone_spec::compare::{ArtifactRule, Class};
use sealstone_spec::environment::{self, Comparing, Day, Facts, Isolation, Level};
use sealstone_spec::recipe::{LockedStage, Stage, StageKind, must_digest};
use sealstone_spec::report::{
    ArtifactRow, Attribution, Baseline, Builder, ClassPair, DigestRef, DigestSet, EnvironmentPair,
    FactRow, IsolationPair, Keys, MetricRow, Mode, Reason, ReplayScope, Report, Runs, StageFacts,
    StageRow, StageStatus, Trace, TraceDifference, TrailEntry, Verdict, first_difference,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

/// Holds one file against another.
pub type Compare<'a> =
    &'a (dyn Fn(&Path, &Path, &ArtifactRule) -> Result<ArtifactComparison> + Sync);

/// What a replay works with; everything that is not in the project.
pub struct Tools<'a> {
    /// Runs stages.
    pub runner: &'a dyn Runner,
    /// What the runner promises; that of each stage counts.
    pub isolation: Isolation,
    /// The programs that stages use.
    pub software: Software,
    /// The facts of this machine; `None` if nobody looked, and then none can differ.
    pub facts: Option<Facts>,
    /// Compares two files.
    pub compare: Compare<'a>,
    /// The time, RFC 3339 in UTC.
    pub clock: &'a dyn Fn() -> String,
    /// Is told of each step as it ends.
    pub tell: &'a dyn Fn(&TrailEntry),
}

/// The report of a replay that was halted before anything ran. `id` and `digest` name the bundle as far as
/// it is known.
pub fn halted(
    halt: &Halt,
    id: &str,
    digest: DigestSet,
    settings: &Settings,
    started: &str,
    now: &str,
) -> Report {
    let mut report = empty(settings, id.to_owned(), digest, started);
    report.finished_on = now.to_owned();
    report.reasons.push(Reason::new(
        Verdict::Halted,
        &halt.code,
        &halt.subject,
        &halt.text,
    ));
    report.attribution = (halt.code == "input-digest").then_some(Attribution::Data);
    report.trail.push(TrailEntry {
        seq: 1,
        at: now.to_owned(),
        event: format!("verify.{}", halt.code),
        subject: halt.subject.clone(),
        ok: false,
        note: Some(halt.text.clone()),
    });
    report.decide();
    report
}

fn empty(settings: &Settings, id: String, digest: DigestSet, started: &str) -> Report {
    Report {
        verdict: Verdict::Reproduced,
        reasons: Vec::new(),
        class: ClassPair {
            required: Class::BitExact,
            achieved: None,
        },
        attribution: None,
        evidence: Vec::new(),
        scope: settings.scope,
        mode: Mode {
            chained: !settings.isolated,
            isolated: settings.isolated,
            runs: if settings.twice { 2 } else { 1 },
        },
        isolation: IsolationPair {
            required: Isolation::I0,
            achieved: None,
        },
        baseline: Baseline { id, digest },
        owner: None,
        recipe: None,
        policy: settings.policy.map(DigestRef::from),
        environment: EnvironmentPair::default(),
        stages: Vec::new(),
        metrics: Vec::new(),
        tests: Vec::new(),
        first_divergence: None,
        trail: Vec::new(),
        resources: Vec::new(),
        timings: BTreeMap::new(),
        builder: Builder {
            id: settings.builder.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            keyid: settings.key,
        },
        started_on: started.to_owned(),
        finished_on: started.to_owned(),
        stabilizers: Vec::new(),
        overrides: settings.overrides.clone(),
        cut: BTreeMap::new(),
        detail: None,
    }
}

/// Replays a project.
///
/// # Errors
/// If the workspace cannot be written or a runner cannot run anything; what stages do is in the report.
pub fn replay(project: &Project, settings: &Settings, tools: &Tools<'_>) -> Result<Report> {
    let started = (tools.clock)();
    let mut report = empty(
        settings,
        project.id.clone(),
        DigestSet(project.digest),
        &started,
    );
    report.owner = project.recipe.owner().map(str::to_owned);
    report.recipe = Some(DigestRef::from(*project.recipe.digest()));
    report.class.required = project
        .recipe
        .determinism()
        .class
        .unwrap_or(Class::BitExact);
    report.isolation.required = project.recipe.isolation().minimum;
    let mut session = Session {
        project,
        settings,
        tools,
        report,
        known: Vec::new(),
        made: Produced::new(),
        broken: BTreeSet::new(),
        ran: BTreeSet::new(),
    };
    session.note(
        "verify.project",
        &format!("{} files of the lock", project.lock.files.len()),
        true,
        None,
    );
    if session.is_comparable() {
        session.stages()?;
        session.results()?;
    }
    Ok(session.finish())
}

struct Session<'a> {
    project: &'a Project,
    settings: &'a Settings,
    tools: &'a Tools<'a>,
    report: Report,
    known: Vec<Known>,
    /// What stages of this replay have written, and the baseline's files of those that were not run.
    made: Produced,
    /// Stages that did not end well, or could not begin.
    broken: BTreeSet<String>,
    /// Stages that were run.
    ran: BTreeSet<String>,
}

impl Session<'_> {
    fn note(&mut self, event: &str, subject: &str, ok: bool, note: Option<String>) {
        let entry = TrailEntry {
            seq: self.report.trail.len() as u64 + 1,
            at: (self.tools.clock)(),
            event: event.to_owned(),
            subject: subject.to_owned(),
            ok,
            note,
        };
        (self.tools.tell)(&entry);
        self.report.trail.push(entry);
    }

    fn reason(&mut self, verdict: Verdict, code: &str, subject: &str, text: impl Into<String>) {
        self.report
            .reasons
            .push(Reason::new(verdict, code, subject, text));
    }

    /// Whether results on this machine would mean anything.
    fn is_comparable(&mut self) -> bool {
        self.report.environment.baseline =
            Some(DigestRef::from(self.project.lock.environment.digest));
        if self.settings.scope == ReplayScope::Verify {
            return false;
        }
        let mut comparable = true;
        let (required, reached) = (self.report.isolation.required, self.tools.isolation);
        if reached < required {
            let accepted = self
                .settings
                .accept_isolation
                .is_some_and(|accepted| accepted <= reached);
            if accepted {
                self.reason(
                    Verdict::ReproducedWithWarnings,
                    "isolation",
                    reached.as_str(),
                    format!("{required} is demanded, {reached} was accepted"),
                );
            } else {
                self.reason(
                    Verdict::Inconclusive,
                    "isolation",
                    reached.as_str(),
                    format!(
                        "{required} is demanded ({}), this machine gives {reached}",
                        required.promise()
                    ),
                );
                comparable = false;
            }
        }
        let Some(facts) = &self.tools.facts else {
            self.reason(
                Verdict::ReproducedWithWarnings,
                "facts",
                "environment",
                "nobody looked at the facts of this machine, so none was compared",
            );
            return comparable;
        };
        self.report.environment.replay = Some(DigestRef::from(facts.digest()));
        let Ok(base) = self.project.lock.environment.facts() else {
            return comparable;
        };
        let overrides: Vec<_> = self
            .project
            .recipe
            .overrides()
            .iter()
            .map(|exemption| exemption.rule.clone())
            .collect();
        let today = (self.tools.clock)()
            .get(..10)
            .and_then(|day| day.parse::<Day>().ok());
        let comparing = Comparing {
            strictness: self.project.lock.environment.class.into(),
            replicate: false,
            overrides: &overrides,
            // Without a day no exception has expired, which would be the wrong side to err on.
            today: today
                .or_else(|| Day::new(9999, 12, 31))
                .expect("a day of the calendar"),
        };
        let difference = environment::compare(&base, facts, &comparing);
        for row in &difference.rows {
            let exception = row
                .exception
                .as_ref()
                .map(|exception| match exception.expires {
                    Some(last) => format!("{} (until {last})", exception.why),
                    None => exception.why.clone(),
                });
            // A fact that had to match and was let go still had to match.
            let level = row
                .exception
                .as_ref()
                .map_or(row.level, |exception| exception.instead_of.max(row.level));
            self.report.environment.diff.push(FactRow {
                fact: row.fact.clone(),
                base: row.base.clone(),
                now: row.now.clone(),
                level: level.as_str().to_owned(),
                exception,
            });
            if row.level == Level::Must {
                comparable = false;
            }
        }
        let must: Vec<String> = difference
            .at(Level::Must)
            .map(|row| row.fact.clone())
            .collect();
        for fact in must {
            self.reason(
                Verdict::Inconclusive,
                "environment",
                &fact,
                "it has to match for the class demanded, and does not; nothing was run",
            );
        }
        comparable
    }

    /// Whether the scope asks for a stage to be run.
    fn is_due(&self, stage: &Stage) -> bool {
        match self.settings.scope {
            ReplayScope::Full | ReplayScope::Smoke => stage.kind != StageKind::Fetch,
            ReplayScope::Eval => matches!(stage.kind, StageKind::Evaluate),
            _ => false,
        }
    }

    fn stages(&mut self) -> Result<()> {
        let run_started = Instant::now();
        let project = self.project;
        for stage in project.recipe.stages() {
            if self.is_due(stage) {
                self.stage(stage)?;
            } else {
                self.skip(stage, "not part of this scope");
                let files = baseline_of(project, stage)?;
                self.made.extend(files);
            }
        }
        self.report
            .timings
            .insert("run".into(), seconds(run_started));
        Ok(())
    }

    fn row(&self, stage: &Stage) -> StageRow {
        StageRow {
            name: stage.name.clone(),
            kind: Some(stage.kind.as_str().to_owned()),
            needs: self
                .project
                .recipe
                .dependencies(stage)
                .iter()
                .map(|need| need.name.clone())
                .collect(),
            status: StageStatus::Skipped,
            key: Keys {
                base: self
                    .project
                    .lock
                    .stage(&stage.name)
                    .map(|locked| locked.key),
                now: None,
            },
            changed: Vec::new(),
            changes: Vec::new(),
            argv: stage.run.clone(),
            exit: None,
            signal: None,
            attempts: 0,
            usage: serde_json::Map::new(),
            usage_deviation: Vec::new(),
            log: None,
            line: Some(stage.place.line as u64),
            note: None,
            artifacts: Vec::new(),
        }
    }

    fn skip(&mut self, stage: &Stage, why: &str) {
        let mut row = self.row(stage);
        row.note = Some(why.to_owned());
        self.known.push(Known {
            facts: StageFacts {
                name: row.name.clone(),
                needs: row.needs.clone(),
                ..StageFacts::default()
            },
            ..Known::default()
        });
        self.report.stages.push(row);
    }

    fn stage(&mut self, stage: &Stage) -> Result<()> {
        let project = self.project;
        let mut row = self.row(stage);
        if !self.settings.isolated
            && let Some(need) = row
                .needs
                .iter()
                .find(|need| self.broken.contains(*need))
                .cloned()
        {
            self.broken.insert(stage.name.clone());
            self.skip(stage, &format!("{need}, which it needs, did not end well"));
            return Ok(());
        }
        let facts = self
            .tools
            .facts
            .as_ref()
            .map_or(project.lock.environment.must, |facts| {
                must_digest(facts, project.lock.environment.class)
            });
        // A replay of the evaluation alone is about the weights that were shipped.
        let alone = self.settings.isolated || self.settings.scope == ReplayScope::Eval;
        let produced = if alone {
            baseline_of_needs(project, stage)?
        } else {
            self.made.clone()
        };
        let now = changes::of_stage(project, stage, &produced, &facts)?;
        if let Some(path) = &now.absent {
            let verdict = if alone {
                Verdict::Inconclusive
            } else {
                Verdict::Error
            };
            self.broken.insert(stage.name.clone());
            let text = format!("it reads \"{path}\", and nothing is there");
            self.reason(
                verdict,
                if alone { "input-missing" } else { "stage" },
                &stage.name,
                &text,
            );
            self.skip(stage, &text);
            return Ok(());
        }
        row.key.now = Some(now.key);
        row.changed = now.changed.iter().map(|word| (*word).to_owned()).collect();
        row.changes = now.changes.iter().map(|(_, text)| text.clone()).collect();
        let ran = self.run(stage, &now, "")?;
        row.argv = project
            .lock
            .stage(&stage.name)
            .map_or_else(|| stage.run.clone(), |locked| locked.argv.clone());
        row.exit = ran.outcome.exit;
        row.signal = ran.outcome.signal;
        row.attempts = ran.attempts;
        row.usage = usage_of(&ran.outcome.usage);
        row.log = Some(DigestRef::from(ran.log));
        self.ran.insert(stage.name.clone());
        let reached = ran.outcome.isolation;
        let lowest = self
            .report
            .isolation
            .achieved
            .map_or(reached, |lowest| lowest.min(reached));
        self.report.isolation.achieved = Some(lowest);
        let mut known = Known {
            facts: StageFacts {
                name: stage.name.clone(),
                needs: row.needs.clone(),
                changed: now.changed.iter().any(|word| *word != "env"),
                environment_changed: now.changed.contains(&"env"),
                ..StageFacts::default()
            },
            changes: now.changes.clone(),
            ended_well: !failed(&ran.outcome),
            ..Known::default()
        };
        if !known.ended_well {
            row.status = StageStatus::Error;
            let problem = problem_of(&ran.outcome);
            row.note = Some(if ran.last_words.is_empty() {
                problem.clone()
            } else {
                format!("{problem}: {}", ran.last_words)
            });
            self.reason(Verdict::Error, "stage", &stage.name, problem);
            self.broken.insert(stage.name.clone());
            self.known.push(known);
            self.report.stages.push(row);
            return Ok(());
        }
        let undeclared = &ran.outcome.undeclared;
        if !undeclared.is_empty() {
            self.reason(
                Verdict::ReproducedWithWarnings,
                "undeclared-output",
                &stage.name,
                format!(
                    "it wrote {} without having declared it",
                    undeclared.join(", ")
                ),
            );
        }
        let compared: Compared =
            artifacts::of_stage(project, stage, &ran.produced, self.tools.compare)?;
        known.facts.differs = compared.first.is_some();
        known.facts.differs_alone = alone.then_some(known.facts.differs);
        known.first = compared.first;
        known.clues = compared.clues;
        row.artifacts = compared.rows;
        row.status = StageStatus::Ok;
        for used in compared.stabilizers {
            if !self.report.stabilizers.contains(&used) {
                self.report.stabilizers.push(used);
            }
        }
        if project.recipe.determinism().seed.is_none()
            && matches!(stage.kind, StageKind::Train | StageKind::Prepare)
            && known.facts.differs
        {
            known.clues.push(sealstone_spec::report::Clue::NoSeed);
        }
        if stage
            .device
            .as_deref()
            .is_some_and(|device| device.starts_with("cuda"))
        {
            known.clues.push(sealstone_spec::report::Clue::Gpu);
        }
        if known.facts.differs {
            known.trace = trace_of(project, stage, &ran.produced);
            if self.settings.twice {
                known.runs = self.again(stage, &now, &ran.produced, &mut row.artifacts)?;
            }
        } else if !now.changed.is_empty() {
            self.reason(
                Verdict::ReproducedWithWarnings,
                "drift",
                &stage.name,
                format!(
                    "{} changed, and its outputs did not",
                    row.changes.join(", ")
                ),
            );
        }
        if let Some(locked) = project.lock.stage(&stage.name) {
            self.usage(locked, &ran.outcome, &mut row);
        }
        self.made.extend(ran.produced);
        self.known.push(known);
        self.report.stages.push(row);
        Ok(())
    }

    fn run(&mut self, stage: &Stage, now: &changes::StageNow, suffix: &str) -> Result<Ran> {
        let workspace = &self.settings.workspace;
        let name = format!("{}{suffix}", stage.name);
        let room = Room::make(workspace, &name)?;
        let job = job::of_stage(self.project, stage, now, &room, &self.tools.software)?;
        let mut told = Vec::new();
        let again = || Room::make(workspace, &format!("{name}.second-attempt"));
        let ran = run(self.tools.runner, job, room, again, |attempt, outcome| {
            told.push((attempt, !failed(outcome), outcome.failure()));
        })?;
        for (attempt, ok, problem) in told {
            let event = match (suffix, attempt) {
                ("", 1) => "stage.run",
                ("", _) => "stage.retry",
                _ => "stage.twice",
            };
            self.note(event, &stage.name, ok, problem);
        }
        Ok(ran)
    }

    /// Runs a stage a second time on the same inputs and says whether it does the same twice.
    fn again(
        &mut self,
        stage: &Stage,
        now: &changes::StageNow,
        first: &Produced,
        rows: &mut [ArtifactRow],
    ) -> Result<Runs> {
        let second = self.run(stage, now, ".twice")?;
        let mut runs = Runs::Same;
        for row in rows {
            let digest = second.produced.get(&row.path).map(|(_, digest)| *digest);
            if digest != first.get(&row.path).map(|(_, digest)| *digest) {
                runs = Runs::Different;
            }
            if let Some(detail) = &mut row.detail {
                detail.again = digest;
            }
        }
        if failed(&second.outcome) {
            runs = Runs::Different;
        }
        Ok(runs)
    }

    fn usage(&mut self, locked: &LockedStage, outcome: &StageOutcome, row: &mut StageRow) {
        for resource in resources::of_stage(self.project, locked, outcome) {
            if !resource.ok {
                row.usage_deviation.push(resource.quantity.clone());
                let text = format!(
                    "{} times the baseline's {}",
                    resource.ratio.as_deref().unwrap_or("?"),
                    resource.quantity
                );
                self.reason(Verdict::ReproducedWithWarnings, "usage", &locked.name, text);
            }
            self.report.resources.push(resource);
        }
    }

    /// Metrics, tests, and what they say about artifacts.
    fn results(&mut self) -> Result<()> {
        let began = Instant::now();
        let project = self.project;
        // Only what stages of this replay have written is read.
        let written = |path: &str| {
            project
                .recipe
                .writer_of(path)
                .is_some_and(|stage| self.ran.contains(&stage.name))
        };
        let due = |path: &str| {
            project
                .recipe
                .writer_of(path)
                .is_some_and(|stage| self.is_due(stage))
        };
        let fresh: Produced = self
            .made
            .iter()
            .filter(|(path, _)| written(path))
            .map(|(path, file)| (path.clone(), file.clone()))
            .collect();
        let judged = metrics::judge(project, &fresh, due);
        let tests = checks::run_all(project, &self.made, self.tools, &self.settings.workspace)?;
        for test in &tests {
            self.note("test.run", &test.id, test.ok, test.note.clone());
            if !test.ok {
                self.reason(
                    Verdict::Diverged,
                    "test",
                    &test.id,
                    test.note
                        .clone()
                        .unwrap_or_else(|| "it does not hold".into()),
                );
            }
        }
        let golden: Vec<bool> = tests
            .iter()
            .filter(|test| test.kind == "inference")
            .map(|test| test.ok)
            .collect();
        self.report.tests = tests;
        for (row, _) in &judged {
            if row.undecided {
                self.reason(
                    Verdict::Inconclusive,
                    "metric",
                    &row.name,
                    row.note
                        .clone()
                        .unwrap_or_else(|| "it was not measured".into()),
                );
            } else if !row.ok {
                let text = format!(
                    "{} then, {} now: {}",
                    shown(&row.base),
                    shown(&row.now),
                    row.note.as_deref().unwrap_or("outside of its tolerance")
                );
                self.reason(Verdict::Diverged, "metric", &row.name, text);
            } else if row.base.is_none() {
                self.reason(
                    Verdict::ReproducedWithWarnings,
                    "metric",
                    &row.name,
                    "the baseline has no such metric",
                );
            }
        }
        settle(&mut self.report.stages, &judged, &golden);
        self.report.metrics = judged.into_iter().map(|(row, _)| row).collect();
        self.report.timings.insert("compare".into(), seconds(began));
        Ok(())
    }

    fn finish(mut self) -> Report {
        for (known, row) in self.known.iter_mut().zip(&self.report.stages) {
            let artifacts = row.artifacts.iter().any(|artifact| !artifact.ok);
            let metrics = self
                .report
                .metrics
                .iter()
                .any(|metric| !metric.ok && metric.stage.as_ref() == Some(&row.name));
            known.facts.fails = artifacts || (metrics && known.facts.differs);
        }
        let drifted: Vec<String> = self
            .report
            .environment
            .diff
            .iter()
            .filter(|row| row.level != "i")
            .map(|row| row.fact.clone())
            .collect();
        let cause = cause::find(&self.known, &drifted);
        for (row, status) in self.report.stages.iter_mut().zip(&cause.statuses) {
            if let Some(status) = status {
                row.status = *status;
            }
        }
        self.report.first_divergence = cause.divergence;
        self.report.attribution = cause.attribution;
        self.report.evidence = cause.evidence;
        let mut reasons = Vec::new();
        for stage in &self.report.stages {
            for row in stage.artifacts.iter().filter(|row| !row.ok) {
                let verdict = if row.class.is_none() && row.now.is_some() {
                    Verdict::Inconclusive
                } else {
                    Verdict::Diverged
                };
                let class = row.class.map_or("nothing", Class::as_str);
                reasons.push(Reason::new(
                    verdict,
                    "artifact",
                    &row.path,
                    format!("{} is demanded, {class} was reached", row.required),
                ));
            }
        }
        self.report.reasons.extend(reasons);
        let rows = || self.report.stages.iter().flat_map(|stage| &stage.artifacts);
        let achieved = rows().filter_map(|row| row.class).min();
        let required = rows()
            .map(|row| row.required)
            .fold(self.report.class.required, Class::min);
        self.report.class = ClassPair { required, achieved };
        let facts: Vec<Reason> = self
            .report
            .environment
            .diff
            .iter()
            .filter(|row| row.level == "W")
            .map(|row| {
                Reason::new(
                    Verdict::ReproducedWithWarnings,
                    "environment",
                    &row.fact,
                    "it differs from the baseline's",
                )
            })
            .collect();
        self.report.reasons.extend(facts);
        self.report.finished_on = (self.tools.clock)().max(self.report.started_on.clone());
        self.report.decide();
        self.report
    }
}

/// What metrics and golden answers say about files: where only function or statistics are demanded of weights,
/// these decide; and a file of metrics is as good as the metrics in it, unless its bytes are demanded.
fn settle(stages: &mut [StageRow], judged: &[(MetricRow, Class)], golden: &[bool]) {
    let all_metrics = !judged.is_empty() && judged.iter().all(|(row, _)| row.ok);
    let all_golden = !golden.is_empty() && golden.iter().all(|ok| *ok);
    for row in stages.iter_mut().flat_map(|stage| &mut stage.artifacts) {
        let Some(class) = row
            .class
            .filter(|_| !row.ok && row.now.is_some() && row.base.is_some())
        else {
            continue;
        };
        let of_file: Vec<&(MetricRow, Class)> = judged
            .iter()
            .filter(|(metric, _)| {
                metric
                    .from
                    .as_deref()
                    .and_then(|from| from.split('#').next())
                    == Some(&row.path)
            })
            .collect();
        let reached = match row.required {
            Class::BitExact | Class::ContentExact => continue,
            required if !of_file.is_empty() && of_file.iter().all(|(metric, _)| metric.ok) => {
                let lowest = of_file.iter().map(|(_, class)| *class).min();
                lowest
                    .unwrap_or(class)
                    .min(Class::Numeric)
                    .max(required.min(Class::Numeric))
            }
            Class::Functional if all_golden => Class::Functional,
            Class::Statistical if all_metrics => Class::Statistical,
            _ => continue,
        };
        row.class = Some(reached.max(class));
        row.ok = reached.satisfies(row.required);
    }
}

/// The baseline's files of a stage that lie at hand and are what the lock says.
fn baseline_of(project: &Project, stage: &Stage) -> Result<Produced> {
    let mut files = Produced::new();
    let Some(locked) = project.lock.stage(&stage.name) else {
        return Ok(files);
    };
    for file in project.lock.outputs_of(locked) {
        let place = project.root.join(file.path.as_str());
        if digest_of(&place)? == Some(file.digest) {
            files.insert(file.path.as_str().to_owned(), (place, file.digest));
        }
    }
    Ok(files)
}

fn baseline_of_needs(project: &Project, stage: &Stage) -> Result<Produced> {
    let mut files = Produced::new();
    for need in project.recipe.dependencies(stage) {
        files.extend(baseline_of(project, need)?);
    }
    Ok(files)
}

/// The first step of training that went another way, if both traces can be read.
fn trace_of(project: &Project, stage: &Stage, produced: &Produced) -> Option<TraceDifference> {
    let path = stage.trace.as_ref()?.as_str();
    let base = project.baseline_file(path).ok()??;
    let (now, _) = produced.get(path)?;
    let read = |place: &Path| -> Option<Trace> {
        let bytes = std::fs::read(place).ok()?;
        match path.ends_with(".json") {
            true => Trace::parse_trainer_state(&bytes).ok(),
            false => Trace::parse_lines(&String::from_utf8(bytes).ok()?).ok(),
        }
    };
    first_difference(&read(&base)?, &read(now)?)
}

fn problem_of(outcome: &StageOutcome) -> String {
    outcome
        .failure()
        .unwrap_or_else(|| "it did not end well".into())
}

fn seconds(since: Instant) -> String {
    format!("{:.3}", since.elapsed().as_secs_f64())
}

fn shown(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or("nothing")
}
