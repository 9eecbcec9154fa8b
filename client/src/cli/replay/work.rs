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
        let reason = reason_of(error, &wanted.to_string());
        undecided(project, settings, reason, &started, &now())
    };
    let chosen = match choose(wanted, pinned, minimum, Some(Isolation::I0)) {
        Ok(chosen) => chosen,
        Err(error) if error.outcome() == Outcome::Halted => return Err(error.into()),
        Err(error) => return Ok(nowhere(&error)),
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
        Err(error) if error.outcome() == Outcome::Halted => return Err(error.into()),
        // A runner that cannot use what the recipe brings, or that does not run at all.
        Err(error) => return Ok(nowhere(&error)),
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

/// Why nothing was run: a runner that is refused is not what the recipe asks for, any other error a failure of this
/// machine.
fn reason_of(error: &Error, wanted: &str) -> Reason {
    let text = std::iter::once(error.message().to_owned())
        .chain(error.causes())
        .chain(error.hints().iter().cloned())
        .collect::<Vec<_>>()
        .join("; ");
    let verdict = match error.outcome() {
        Outcome::Refused => Verdict::Inconclusive,
        _ => Verdict::Error,
    };
    Reason::new(verdict, "runner", wanted, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_fails_is_an_error_and_one_that_may_not_is_undecided() {
        for (error, due) in [
            (
                Error::refused("no runner reaches isolation I4"),
                Verdict::Inconclusive,
            ),
            (
                Error::other("the probe of Python told no JSON"),
                Verdict::Error,
            ),
            (Error::usage("it takes no such seed"), Verdict::Error),
        ] {
            let told = error.message().to_owned();
            let reason = reason_of(&error.hint("look there"), "auto");
            assert_eq!(reason.verdict, due);
            assert_eq!(reason.text, format!("{told}; look there"));
        }
    }
}
