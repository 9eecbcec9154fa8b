//! Reports of replays that ran nothing, and the empty one that the others begin with.

use super::halt::Halt;
use super::project::Project;
use super::settings::Settings;
use sealstone_spec::compare::Class;
use sealstone_spec::environment::Isolation;
use sealstone_spec::report::{
    Attribution, Baseline, Builder, ClassPair, DigestRef, DigestSet, EnvironmentPair,
    IsolationPair, Mode, Reason, Report, TrailEntry, Verdict,
};
use std::collections::BTreeMap;

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
    report.owner.clone_from(&halt.owner);
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

/// The report of a project that was only verified: it was made, so its bytes are what its lock says.
pub fn verified_only(project: &Project, settings: &Settings, started: &str, now: &str) -> Report {
    let mut report = of_project(project, settings, started);
    report.finished_on = now.to_owned();
    report.trail.push(TrailEntry {
        seq: 1,
        at: now.to_owned(),
        event: "verify.project".to_owned(),
        subject: format!("{} files of the lock", project.lock.files.len()),
        ok: true,
        note: None,
    });
    report.decide();
    report
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
    report.trail.push(TrailEntry {
        seq: 1,
        at: now.to_owned(),
        event: format!("environment.{}", reason.code),
        subject: reason.subject.clone(),
        ok: false,
        note: Some(reason.text.clone()),
    });
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
