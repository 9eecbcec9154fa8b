//! Reports of replays that ran nothing, and the empty one that the others begin with.

use super::halt::Halt;
use super::project::Project;
use super::settings::Settings;
use super::terms;
use crate::error::Result;
use sealstone_spec::compare::Class;
use sealstone_spec::environment::Isolation;
use sealstone_spec::report::{
    Attribution, Baseline, Builder, ClassPair, DigestRef, DigestSet, EnvironmentPair,
    IsolationPair, Mode, Reason, Report, TrailEntry, Verdict,
};
use std::collections::BTreeMap;

/// The report of a replay that was halted, as a rule before anything ran. `id` and `digest` name the bundle as far as
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
    report.owner.clone_from(&halt.owner);
    // The trail of a replay that had begun starts with what was done before it.
    if !halt.trail.is_empty() {
        report.trail.clone_from(&halt.trail);
    }
    report.attribution = (halt.code == "input-digest").then_some(Attribution::Data);
    let event = format!("verify.{}", halt.code);
    let text = Some(halt.text.clone());
    add(&mut report, now, &event, &halt.subject, false, text);
    report.decide();
    report
}

/// The report of a project that was only verified. A bundle's bytes are what its lock says, or it would have been
/// halted; of a working directory, every file of the lock is looked at, and one that is another is told.
///
/// # Errors
/// If a file cannot be read.
pub fn verified_only(
    project: &Project,
    settings: &Settings,
    started: &str,
    now: &str,
) -> Result<Report> {
    let mut report = of_project(project, settings, started);
    report.finished_on = now.to_owned();
    let found = project.look()?;
    add(
        &mut report,
        now,
        "verify.project",
        &found.hashed,
        found.others.is_empty(),
        (!found.others.is_empty()).then(|| format!("{} are others", found.others.len())),
    );
    let drift = |(path, text): &(String, String)| {
        Reason::new(Verdict::ReproducedWithWarnings, "drift", path, text)
    };
    report.reasons.extend(found.others.iter().map(drift));
    report.decide();
    Ok(report)
}

fn add(report: &mut Report, at: &str, event: &str, subject: &str, ok: bool, note: Option<String>) {
    report.trail.push(TrailEntry {
        seq: report.trail.len() as u64 + 1,
        at: at.to_owned(),
        event: event.to_owned(),
        subject: subject.to_owned(),
        ok,
        note,
    });
}

/// The report of a replay that nothing on this machine could run.
pub fn undecided(
    project: &Project,
    settings: &Settings,
    reason: Reason,
    started: &str,
    now: &str,
) -> Report {
    let mut report = of_project(project, settings, started);
    report.finished_on = now.to_owned();
    let event = format!("environment.{}", reason.code);
    let text = Some(reason.text.clone());
    add(&mut report, now, &event, &reason.subject, false, text);
    report.reasons.push(reason);
    report.decide();
    report
}

pub(super) fn of_project(project: &Project, settings: &Settings, started: &str) -> Report {
    let mut report = empty(
        settings,
        project.id.clone(),
        DigestSet(project.digest),
        started,
    );
    report.owner = project.recipe.owner().map(str::to_owned);
    report.recipe = Some(DigestRef::from(*project.recipe.digest()));
    report.class.required = project
        .recipe
        .determinism()
        .class
        .unwrap_or(Class::BitExact);
    report.isolation.required = project.recipe.isolation().minimum;
    report.environment.baseline = Some(DigestRef::from(project.lock.environment.digest));
    terms::tell(project, &mut report);
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
        trail: settings.trail.clone(),
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
