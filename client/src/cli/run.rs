//! `sealstone run`: the stages of a recipe, and the lock that says what came of them.

use super::Context;
use super::connect::ConnectArgs;
use super::output::Output;
use super::transfer::interruptible;
use sealstone::ci::{BuildRecord, recognise, variables};
use sealstone::compare::compare_artifact;
use sealstone::environment::{fetch_image, prepare_kept, repository};
use sealstone::plan::{Looking, machine};
use sealstone::recipe::Project;
use sealstone::report::as_lines;
use sealstone::run::{self, Ran, RunEvents, RunOptions};
use sealstone::runner::{Choice, Stream, choose};
use sealstone::transfer::TransferOptions;
use sealstone::{Error, Result};
use sealstone_spec::environment::Isolation;
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `sealstone run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each stage runs in an empty directory that holds what it declares, without the network, with a clean
environment. Its outputs get their names only if it ended well. A stage whose command, parameters,
environment and inputs have not changed is taken from the last run, also from one that failed later on.
A project has one run at a time, with a profile or without: a second one is refused.

What lies at the place of an output is replaced. Files there that no lock records as outputs, such as notes
or the result of a run by hand, are kept in .sealstone/replaced/TIME; what cannot be put in place, in
.sealstone/unplaced/TIME. Nobody but you removes them. Through a link in the project nothing is written,
unless it leads to a directory that --outside names.

A stage finds SEALSTONE_SEED, SEALSTONE_PARAMS (a JSON file), SEALSTONE_STAGE and SEALSTONE_OUT in its
environment. Logs are in .sealstone/logs. Environments of Python and root file systems are kept for all your
projects in sealstone/environments of XDG_CACHE_HOME, or of ~/.cache, until none has used one for 30 days. Where
that lies in the project, or there is no such place, one is made for the run alone.

Exit codes: 0 locked, 1 a stage, metric or test failed, 2 the recipe has errors, 3 refused: this machine
cannot isolate as the recipe demands, others may write where environments are kept, or a data test cannot be
made, 4 halted: an input is not what the recipe says, and nothing was run,
7 another run of this project is under way.

Examples:
  sealstone run
  sealstone run --stage train --force
  sealstone run --profile smoke
  sealstone run --record build-record.json")]
pub(crate) struct Args {
    /// The project
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,

    /// Only this stage and what it needs; may be repeated
    #[arg(long, value_name = "STAGE")]
    stage: Vec<String>,

    /// With the parameters and inputs of a profile, into a lock of its own
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,

    /// Run stages although nothing has changed
    #[arg(long)]
    force: bool,

    /// The runner: auto, rootfs, oci, bubblewrap, confined or process; without it, the recipe's
    #[arg(long)]
    runner: Option<Choice>,

    /// Go on if this machine isolates less than the recipe demands, down to this level
    #[arg(long, value_name = "LEVEL")]
    accept_isolation: Option<Isolation>,

    /// A directory outside of the project in which outputs may lie, where a link in the project leads there; may be
    /// repeated
    #[arg(long, value_name = "DIR")]
    outside: Vec<PathBuf>,

    /// Also write a build record: the lock, and what the CI system says of this run. Whoever holds the key makes
    /// signed provenance of it: sealstone attest --build-record FILE
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Do not show what stages print
    #[arg(long, short)]
    quiet: bool,

    #[command(flatten)]
    connect: ConnectArgs,
}

struct Shown<'a> {
    output: &'a Output,
    quiet: bool,
}

impl RunEvents for Shown<'_> {
    fn stage(&mut self, name: &str, reused: bool) {
        let what = if reused { "unchanged" } else { "running" };
        self.output.note(format!("{what}: {name}"));
    }

    fn printed(&mut self, _stream: Stream, bytes: &[u8]) {
        if !self.quiet {
            let text = String::from_utf8_lossy(bytes);
            for line in text.lines() {
                // No control sequences: a stage must not be able to write over what was said before.
                let line: String = line
                    .chars()
                    .filter(|c| !c.is_control() || *c == '\t')
                    .collect();
                self.output.note(format!("  | {line}"));
            }
        }
    }

    fn warn(&mut self, text: &str) {
        self.output.note(format!("warning: {text}"));
    }
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let output = context.output.clone();
    let record = args.record.clone();
    // Before anything runs: a job whose facts cannot be told should not train first.
    let ci = match record {
        Some(_) => recognise(&variables)?,
        None => None,
    };
    let project = tokio::task::block_in_place(|| Project::open(&args.directory))?;
    let (connect, transfer) = (args.connect.options(), TransferOptions::default());
    let environment = project.recipe().environment();
    interruptible(fetch_image(
        environment,
        project.root(),
        &connect,
        &transfer,
        None,
    ))
    .await?;
    let ran = tokio::task::spawn_blocking(move || run_blocking(args, &project, &output))
        .await
        .map_err(|error| Error::other("the run ended early").source(error))??;
    if let (Some(path), Some(lock)) = (&record, &ran.lock) {
        let record = BuildRecord::of_lock(lock);
        let record = match &ci {
            Some(run) => record.completed(run)?,
            None => record,
        };
        std::fs::write(path, record.to_json()?).map_err(|source| {
            Error::io(
                format!("writing the build record \"{}\"", path.display()),
                source,
            )
        })?;
    }
    report(&ran, context);
    Ok(())
}

fn run_blocking(args: Args, project: &Project, output: &Output) -> Result<Ran> {
    let demand = project.recipe().isolation();
    let home = run::home(project.root())?;
    let scratch = tempfile::tempdir_in(&home)
        .map_err(|source| Error::io("making a directory in .sealstone", source))?;
    let mut note = |text: &str| output.note(text);
    let prepared = prepare_kept(project.recipe(), project.root(), scratch.path(), &mut note)?;
    let choice = args.runner.unwrap_or(demand.runner.into());
    let chosen = choose(
        choice,
        prepared.software.rootfs.is_some(),
        demand.minimum,
        args.accept_isolation,
    )?;
    output.note(format!(
        "runner: {} ({}, {})",
        chosen.capabilities.runner,
        chosen.isolation,
        chosen.isolation.promise()
    ));
    let epoch = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|text| text.parse().ok());
    let runner = chosen.runner.as_ref();
    // One that cannot be read is asked all the same: the facts then say why they are not there.
    let in_git = !matches!(repository(project.root()), Ok(None));
    let machine = machine(Looking {
        recipe: project.recipe(),
        prepared: &prepared,
        runner,
        source_date_epoch: epoch.unwrap_or(0),
        scratch: scratch.path(),
        repository: in_git.then_some(project.root()),
    })?;
    let options = RunOptions {
        stages: args.stage,
        profile: args.profile,
        force: args.force,
        outside: args.outside,
    };
    let mut events = Shown {
        output,
        quiet: args.quiet,
    };
    run::run(
        project,
        &options,
        &machine,
        runner,
        &compare_artifact,
        &mut events,
    )
}

fn report(ran: &Ran, context: &Context) {
    let mut text = String::new();
    for stage in &ran.stages {
        let how = if stage.reused { "unchanged" } else { "run" };
        let seconds = stage.record.usage.wall_ms as f64 / 1000.0;
        text.push_str(&format!(
            "  {:<20} {how:<10} {seconds:>8.2} s  {}\n",
            stage.name, stage.record.isolation
        ));
    }
    for (name, test) in &ran.tests {
        text.push_str(&format!("  test {name:<15} {}\n", as_lines(&test.detail)));
    }
    match &ran.lock {
        Some(lock) => {
            for (name, metric) in &lock.metrics {
                text.push_str(&format!("  metric {name:<13} {}\n", metric.value));
            }
            text.push_str(&format!(
                "locked {}\n  {}",
                lock.digest(),
                ran.lock_path.display()
            ));
        }
        None => text.push_str(&format!(
            "not locked: {} not up to date; run: sealstone run",
            ran.stale.join(", ")
        )),
    }
    let stages: Vec<_> = ran
        .stages
        .iter()
        .map(|stage| json!({"name": stage.name, "reused": stage.reused, "key": stage.record.key, "usage": stage.record.usage}))
        .collect();
    let value = json!({"lock": ran.lock.as_ref().map(|lock| lock.digest()), "path": ran.lock_path,
        "stages": stages, "stale": ran.stale, "metrics": ran.lock.as_ref().map(|lock| lock.metrics.clone())});
    context.output.result(&value, text);
}
