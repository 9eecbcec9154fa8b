//! A replay from a checked project to its report.
//!
//! The order: what the machine is, whether that is enough, whether it knows the devices, stages, a second run of those
//! that differ, metrics, tests, cause, verdict. Invariant: whatever happens on the way ends in a report that says so: what this machine
//! could not do is the verdict ERROR, beside all that was seen. Only bytes that are others than when they were checked
//! end it at once.

use super::cause::{self, Known};
use super::environment::Unmade;
use super::facts;
use super::outline::{of_project, verified_only};
use super::project::{Project, ProjectError};
use super::room::Produced;
use super::scope::evaluation_of;
use super::settings::Settings;
use crate::check::Compare;
use crate::error::{Error, Result};
use crate::plan::{Machine, device};
use crate::runner::Runner;
use sealstone_spec::compare::Class;
use sealstone_spec::environment::Isolation;
use sealstone_spec::report::{
    ArtifactRow, Attribution, ClassPair, DigestRef, Finding, Override, Reason, ReplayScope, Report,
    TrailEntry, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// What a replay works with; everything that is not in the project.
pub struct Tools<'a> {
    /// Runs stages.
    pub runner: &'a dyn Runner,
    /// What the runner promises; that of each stage counts.
    pub isolation: Isolation,
    /// The programs that stages use, and the facts of this machine with them.
    pub machine: Machine,
    /// Why the environment was not made; then nothing is run.
    pub unmade: Option<Unmade>,
    /// Compares two files.
    pub compare: Compare<'a>,
    /// The time, RFC 3339 in UTC.
    pub clock: &'a dyn Fn() -> String,
    /// Is told of each step as it ends.
    pub tell: &'a dyn Fn(&TrailEntry),
}

/// Replays a project.
///
/// # Errors
/// Halts if something that was checked is another when a stage is to read it. Fails only where nothing is to run and a
/// file of the project cannot be read; what stages do, or cannot do, is in the report.
pub fn replay(
    project: &Project,
    settings: &Settings,
    tools: &Tools<'_>,
) -> Result<Report, ProjectError> {
    let started = (tools.clock)();
    if settings.scope == ReplayScope::Verify {
        let now = (tools.clock)();
        return Ok(verified_only(project, settings, &started, &now)?);
    }
    let report = of_project(project, settings, &started);
    let mut session = Session {
        project,
        settings,
        tools,
        report,
        known: Vec::new(),
        made: Produced::new(),
        broken: BTreeSet::new(),
        ran: BTreeSet::new(),
        evaluation: evaluation_of(settings.scope, &project.recipe),
        spent: BTreeMap::new(),
    };
    session.note("verify.project", &project.checked, true, None);
    if session.is_comparable() && session.can_run_stages() {
        let done = session.stages().and_then(|()| session.results());
        match done.map_err(|error| session.ended_by(error)) {
            Ok(()) => {}
            Err(halt @ ProjectError::Halt(_)) => return Err(halt),
            // Nothing that was seen until then is lost.
            Err(ProjectError::Failed(error)) => {
                let text = error.in_words();
                session.reason(Verdict::Error, "machine", settings.scope.as_str(), text);
            }
        }
    }
    Ok(session.finish())
}

pub(super) struct Session<'a> {
    pub(super) project: &'a Project,
    pub(super) settings: &'a Settings,
    pub(super) tools: &'a Tools<'a>,
    pub(super) report: Report,
    pub(super) known: Vec<Known>,
    /// What stages of this replay have written, and the baseline's files of those that were not run.
    pub(super) made: Produced,
    /// Stages that did not end well, or could not begin.
    pub(super) broken: BTreeSet<String>,
    /// Stages that were run.
    pub(super) ran: BTreeSet<String>,
    /// The stages of an evaluation, where only that is asked for: worked out once.
    pub(super) evaluation: BTreeSet<&'a str>,
    /// What each phase took so far.
    pub(super) spent: BTreeMap<&'static str, Duration>,
}

impl Session<'_> {
    pub(super) fn note(&mut self, event: &str, subject: &str, ok: bool, note: Option<String>) {
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

    /// Adds the time since then to what a phase took.
    pub(super) fn spend(&mut self, phase: &'static str, since: Instant) {
        *self.spent.entry(phase).or_default() += since.elapsed();
    }

    pub(super) fn reason(
        &mut self,
        verdict: Verdict,
        code: &str,
        subject: &str,
        text: impl Into<String>,
    ) {
        self.report
            .reasons
            .push(Reason::new(verdict, code, subject, text));
    }

    /// Why the replay ends here. A halt takes along what was done until then.
    fn ended_by(&self, error: Error) -> ProjectError {
        let mut ended = ProjectError::from(error);
        if let ProjectError::Halt(halt) = &mut ended {
            halt.owner.clone_from(&self.report.owner);
            halt.trail.clone_from(&self.report.trail);
        }
        ended
    }

    /// Whether results on this machine would mean anything.
    fn is_comparable(&mut self) -> bool {
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
                self.report.overrides.push(Override {
                    kind: "accept-isolation".into(),
                    id: reached.to_string(),
                    expires: None,
                    reason: Some("--accept-isolation was given".into()),
                });
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
        let here = &self.tools.machine.facts;
        self.report.environment.replay = Some(DigestRef::from(here.digest()));
        if let Some(unmade) = &self.tools.unmade {
            self.reason(
                unmade.verdict,
                "environment",
                self.project.recipe.environment().kind(),
                unmade.text.clone(),
            );
            comparable = false;
        }
        let Ok(base) = self.project.lock.environment.facts() else {
            return false;
        };
        let now = (self.tools.clock)();
        // What an environment holds that was not made says nothing.
        let difference = match self.tools.unmade {
            None => facts::compare(self.project, &base, here, &now),
            Some(_) => facts::compare(
                self.project,
                &facts::before(&base),
                &facts::before(here),
                &now,
            ),
        };
        let told = facts::tell(&difference);
        self.note(
            "environment.compare",
            &here.digest().to_string(),
            told.comparable,
            (!told.rows.is_empty()).then(|| format!("{} facts differ", told.rows.len())),
        );
        self.report.environment.diff = told.rows;
        self.report.reasons.extend(told.reasons);
        self.report.overrides.extend(told.overrides);
        comparable &= told.comparable;
        comparable
    }

    /// Whether something here runs each stage that is due, as far as its device says. Found out at that stage, those
    /// before it would have run for days, and for nothing.
    fn can_run_stages(&mut self) -> bool {
        let project = self.project;
        let mut can = true;
        for stage in project.recipe.stages() {
            if !self.is_due(stage) {
                continue;
            }
            if let Err(error) = device(stage.device.as_deref()) {
                self.reason(Verdict::Error, "stage", &stage.name, error.in_words());
                can = false;
            }
        }
        can
    }

    fn finish(mut self) -> Report {
        for (known, row) in self.known.iter_mut().zip(&self.report.stages) {
            // One of which nothing can be said is no failure; the verdict tells it.
            let failing = |artifact: &ArtifactRow| !artifact.ok && !artifact.is_open();
            let artifacts = row.artifacts.iter().any(failing);
            let metrics = self.report.metrics.iter().any(|metric| {
                !metric.ok && !metric.undecided && metric.stage.as_ref() == Some(&row.name)
            });
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
                let verdict = match row.is_open() {
                    true => Verdict::Inconclusive,
                    false => Verdict::Diverged,
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
        for (phase, took) in &self.spent {
            let took = format!("{:.3}", took.as_secs_f64());
            self.report.timings.insert((*phase).to_owned(), took);
        }
        self.report.finished_on = (self.tools.clock)().max(self.report.started_on.clone());
        self.report.decide();
        self.blame_results();
        self.report
    }

    /// Where no stage is at fault, what does not hold is the evidence, and it does not reach.
    fn blame_results(&mut self) {
        if self.report.verdict != Verdict::Diverged || self.report.attribution.is_some() {
            return;
        }
        let failed = |reason: &&Reason| reason.verdict == Verdict::Diverged;
        let finding = |reason: &Reason| {
            let text = format!("{} {}: {}", reason.code, reason.subject, reason.text);
            Finding::new(Attribution::Unknown, text)
        };
        let failed = self.report.reasons.iter().filter(failed);
        self.report.evidence = failed.map(finding).collect();
        self.report.attribution = Some(Attribution::Unknown);
    }
}
