//! The environment made, a runner chosen, and the replay itself.

use super::Args;
use super::told::show;
use super::workspace::{make, now, seconds, write};
use crate::cli::Context;
use sealstone::compare::compare_artifact;
use sealstone::plan::{Looking, machine, source_date_epoch};
use sealstone::replay::{
    Project, ProjectError, Settings, Tools, materialise, replay, undecided, verified_only,
};
use sealstone::runner::{Choice, choose};
use sealstone::{Error, Outcome};
use sealstone_spec::environment::Isolation;
use sealstone_spec::report::{Reason, ReplayScope, Report, Verdict};
use std::path::Path;
use std::time::Instant;

/// Makes the environment and replays. A wheel that is not what its digest says halts here.
pub(super) fn run_replay(
    args: &Args,
    context: &Context,
    project: &Project,
    settings: &Settings,
    space: &Path,
) -> std::result::Result<Report, ProjectError> {
    let started = now();
    if settings.scope == ReplayScope::Verify {
        // Nothing runs, so nothing is made.
        return Ok(verified_only(project, settings, &started, &now())?);
    }
    let place = space.join("environment");
    make(&place)?;
    let began = Instant::now();
    let made = materialise(project, &place, &started)?;
    let materialize = seconds(began);
    let unmade = made.unmade.as_ref().map(|unmade| unmade.text.clone());
    let mut settings = settings.clone();
    settings.note(
        now(),
        "environment.materialize",
        project.recipe().environment().kind(),
        unmade.is_none(),
        unmade,
    );
    if let Some(entry) = settings.trail.last() {
        show(&context.output, entry);
    }
    let settings = &settings;
    let asked = project.recipe().isolation().runner;
    let wanted = args.runner.unwrap_or(asked.into());
    // Without its environment nothing will run; the machine is looked at all the same.
    let wanted = match made.unmade {
        Some(_) => Choice::Auto,
        None => wanted,
    };
    // Whether it is enough is for the report to say; so here anything that runs will do.
    let minimum = project.recipe().isolation().minimum;
    let pinned = made.prepared.software.rootfs.is_some();
    let nowhere = |error: &Error| {
        let text = std::iter::once(error.message().to_owned())
            .chain(error.hints().iter().cloned())
            .collect::<Vec<_>>()
            .join("; ");
        let reason = Reason::new(Verdict::Inconclusive, "runner", wanted.to_string(), text);
        undecided(project, settings, reason, &started, &now())
    };
    let chosen = match choose(wanted, pinned, minimum, Some(Isolation::I0)) {
        Ok(chosen) => chosen,
        Err(error) if error.outcome() == Outcome::Refused => return Ok(nowhere(&error)),
        Err(error) => return Err(error.into()),
    };
    let machine = match machine(Looking {
        recipe: project.recipe(),
        prepared: &made.prepared,
        runner: chosen.runner.as_ref(),
        source_date_epoch: source_date_epoch(project.lock()),
        scratch: &settings.workspace,
        repository: None,
    }) {
        Ok(machine) => machine,
        // A runner that cannot use what the recipe brings.
        Err(error) if error.outcome() == Outcome::Refused => return Ok(nowhere(&error)),
        Err(error) => return Err(error.into()),
    };
    write(
        &settings.workspace.join("environment.json"),
        &machine.facts.to_json(),
    )?;
    let tools = Tools {
        runner: chosen.runner.as_ref(),
        isolation: chosen.isolation,
        machine,
        unmade: made.unmade,
        compare: &compare_artifact,
        clock: &now,
        tell: &|entry| show(&context.output, entry),
    };
    let mut report = replay(project, settings, &tools)?;
    report.timings.insert("materialize".into(), materialize);
    Ok(report)
}
