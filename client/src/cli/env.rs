//! `sealstone env`: what this machine is, how two environments differ, what stages can be isolated with.

use super::Context;
use super::connect::ConnectArgs;
use super::output::in_line;
use jiff::Timestamp;
use sealstone::environment::{
    Capture, Captured, capture, fetch_image, find_interpreter, prepare_kept,
};
use sealstone::plan::{Looking, captured, source_date_epoch};
use sealstone::recipe::Project;
use sealstone::report::{as_lines, clean};
use sealstone::run::home;
use sealstone::runner::{Capability, Choice, Chosen, StageJob, choose, survey};
use sealstone::transfer::TransferOptions;
use sealstone::{Error, Result};
use sealstone_spec::compare::Class;
use sealstone_spec::environment::{
    Comparing, Day, Difference, Facts, Isolation, Level, Row, compare, fact_rule,
};
use sealstone_spec::recipe::Lock;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Arguments of `sealstone env`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sealstone env lock                           requirements.lock with hashes, and the wheels
  sealstone env probe                          which runners work here, and why others do not
  sealstone env show                           the facts of this environment, as stages would see it
  sealstone env show . --output json > here.json    as the stages of this project would
  sealstone env diff there.json here.json --class bit_exact")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the facts of this environment
    #[command(after_help = "\
Facts come from a fixed list; variables of the environment are never read. The digest names the environment; what \
changes by itself (time, load) is shown beside it and does not count.
With a project's directory they are what its stages would see: in its environment, which is made for that, with its \
seeds, threads and variables, by the runner that it asks for. Without one, no seed is told and no package of another \
environment. Facts of Git need --repository.

Examples:
  sealstone env show . --output json > here.json
  sealstone env show --python 3.11 --repository .")]
    Show(ShowArgs),
    /// Compare two documents of facts, or locks that hold one
    #[command(after_help = "\
A and B are files: what `env show --output json` writes, the document alone, or a recipe.lock. The command ends with 3 \
if a fact differs that must match for the class. Seeds and commits are a project's and not a machine's: where one side \
is of `env show` and has none, they are not compared, and named.

Example:
  sealstone env show . --output json > here.json
  sealstone env diff recipe.lock here.json --class numeric")]
    Diff(DiffArgs),
    /// Lock the project's requirements with hashes, and fetch their wheels
    #[command(after_help = super::lock::HELP)]
    Lock(super::lock::Args),
    /// Try out every runner, and show what it can do here
    #[command(after_help = "\
Each runner runs a script that tries to read a file, to write and cut files beside its directory, to open a setting of \
the kernel, to use what its caller left open, to mount, to reach 192.0.2.1 and the hypervisor, and to see the host name. \
What is absent has its reason.

Example:
  sealstone env probe")]
    Probe,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// A project, of whose stages the facts are; runner, Python and threads are then its own
    #[arg(value_name = "DIR", conflicts_with_all = ["runner", "python", "threads"])]
    directory: Option<PathBuf>,

    /// Runner whose stages the facts are of: auto, rootfs, oci, bubblewrap, confined, process
    #[arg(long, default_value = "auto")]
    runner: String,

    /// Version of Python, found on PATH
    #[arg(long, value_name = "VERSION")]
    python: Option<String>,

    /// Repository of the code
    #[arg(long, value_name = "DIR")]
    repository: Option<PathBuf>,

    /// Threads that libraries are told to use
    #[arg(long, default_value_t = 1)]
    threads: u32,

    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, clap::Args)]
struct DiffArgs {
    /// The environment of the baseline
    a: PathBuf,

    /// The environment to compare with it
    b: PathBuf,

    /// Class of equality that is asked for: bit_exact, content_exact, numeric, functional, statistical
    #[arg(long, default_value = "bit_exact", value_parser = read_class)]
    class: Class,
}

fn read_class(text: &str) -> std::result::Result<Class, String> {
    serde_json::from_value(json!(text)).map_err(|_| {
        format!("\"{text}\" is no class: write bit_exact, content_exact, numeric, functional or statistical")
    })
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    if let Command::Show(ShowArgs {
        directory: Some(directory),
        connect,
        ..
    }) = &args.command
    {
        let project = tokio::task::block_in_place(|| Project::open(directory))?;
        let environment = project.recipe().environment();
        let (connect, transfer) = (connect.options(), TransferOptions::default());
        fetch_image(environment, project.root(), &connect, &transfer, None).await?;
    }
    // Probes and captures wait for processes.
    let context = Context::new(context.output.clone());
    let task = tokio::task::spawn_blocking(move || match args.command {
        Command::Show(args) => show(&args, &context),
        Command::Diff(args) => diff(&args, &context),
        Command::Lock(args) => super::lock::run(args, &context),
        Command::Probe => {
            probe(&context);
            Ok(())
        }
    });
    task.await
        .map_err(|error| Error::other("the command ended by itself").source(error))?
}

/// This machine, as a stage of the project would see it in a replay: by the runner that the recipe asks for, at the time
/// that the baseline's stages were given. Facts of Git only if a repository is named.
pub(super) fn of_project(
    project: &Project,
    base: Option<&Lock>,
    repository: Option<&Path>,
) -> Result<(Chosen, Captured)> {
    let home = home(project.root())?;
    let scratch = tempfile::tempdir_in(&home)
        .map_err(|source| Error::io("making a directory in .sealstone", source))?;
    // Where it cannot be kept it takes longer, and is the same.
    let mut note = |_: &str| {};
    let prepared = prepare_kept(project.recipe(), project.root(), scratch.path(), &mut note)?;
    let chosen = choose(
        Choice::from(project.recipe().isolation().runner),
        prepared.software.rootfs.is_some(),
        Isolation::I0,
        None,
    )?;
    let captured = captured(Looking {
        recipe: project.recipe(),
        prepared: &prepared,
        runner: chosen.runner.as_ref(),
        source_date_epoch: base.map_or(0, source_date_epoch),
        scratch: scratch.path(),
        repository,
    })?;
    Ok((chosen, captured))
}

/// This machine, as a stage of no project in particular would see it.
fn of_machine(args: &ShowArgs) -> Result<(Chosen, Captured)> {
    let choice: Choice = args.runner.parse()?;
    let chosen = choose(choice, false, Isolation::I0, None)?;
    let scratch = tempfile::tempdir().map_err(|source| Error::io("making a directory", source))?;
    let mut job = StageJob::new(
        "capture",
        vec!["true".to_owned()],
        scratch.path(),
        scratch.path(),
    );
    job.limits.threads = Some(args.threads);
    match find_interpreter(args.python.as_deref()) {
        Ok(interpreter) => job.software = interpreter.software(),
        Err(error) if args.python.is_some() => return Err(error),
        Err(_) => {}
    }
    let captured = capture(&Capture {
        runner: chosen.runner.as_ref(),
        job: &job,
        repository: args.repository.as_deref(),
        python_environment: None,
    })?;
    Ok((chosen, captured))
}

fn show(args: &ShowArgs, context: &Context) -> Result<()> {
    let (chosen, captured) = match &args.directory {
        None => of_machine(args)?,
        Some(directory) => {
            let project = Project::open(directory)?;
            let base = project.lock(None)?;
            of_project(&project, base.as_ref(), args.repository.as_deref())?
        }
    };
    let mut text = String::new();
    for (name, value) in captured.facts.iter() {
        let _ = writeln!(text, "{name:<24} {}", clean(&value.to_string(), 96));
    }
    for (name, value) in &captured.volatile {
        let _ = writeln!(
            text,
            "({name}){:width$} {}",
            "",
            in_line(value),
            width = 22usize.saturating_sub(name.len())
        );
    }
    for reason in &captured.left_out {
        let _ = writeln!(text, "left out: {}", as_lines(reason));
    }
    let digest = captured.facts.digest();
    let _ = write!(
        text,
        "digest {digest}\nrunner {}, isolation {}",
        chosen.capabilities.runner, chosen.isolation
    );
    let value = json!({"digest": digest, "runner": chosen.capabilities.runner, "isolation": chosen.isolation,
        "asked": {"seeds": args.directory.is_some(), "git": args.repository.is_some()},
        "facts": captured.facts, "volatile": captured.volatile, "leftOut": captured.left_out});
    context.output.result(&value, text);
    Ok(())
}

/// Where `env show` has its document.
const SHOWN: &str = "/facts";

/// A document of facts, and what it does not tell because nobody asked.
struct Side {
    facts: Facts,
    untold: Untold,
}

/// What `env show` was not asked for. What it was asked for and has not is told: there is none.
#[derive(Clone, Copy, Default)]
struct Untold {
    seeds: bool,
    git: bool,
}

impl Untold {
    /// Of a whole document that `env show` wrote.
    fn of(shown: &Value) -> Untold {
        let is_asked = |name| shown["asked"][name].as_bool().unwrap_or(false);
        Untold {
            seeds: !is_asked("seeds"),
            git: !is_asked("git"),
        }
    }

    fn has(self, fact: &str) -> bool {
        (self.seeds && fact == "seeds.declared") || (self.git && fact.starts_with("git."))
    }
}

/// Reads a document of facts, alone or inside of what else holds one.
fn read_facts(path: &Path) -> Result<Side> {
    let what = || format!("reading \"{}\"", path.display());
    let bytes = std::fs::read(path).map_err(|source| Error::io(what(), source))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|source| {
        Error::usage(format!("\"{}\" is no JSON", path.display())).source(source)
    })?;
    let places = [
        "",
        SHOWN,
        "/environment/document",
        "/environment/facts",
        "/environment",
    ];
    let document = places
        .iter()
        .filter_map(|place| Some((*place, value.pointer(place)?)))
        .find(|(_, value)| {
            value.get("schema").and_then(Value::as_str) == Some(sealstone_spec::environment::SCHEMA)
        });
    let Some((place, document)) = document else {
        return Err(
            Error::usage(format!("\"{}\" holds no document of facts", path.display()))
                .hint("write one with: sealstone env show --output json"),
        );
    };
    let facts = Facts::parse(document.to_string().as_bytes()).map_err(|source| {
        Error::usage(format!(
            "the facts in \"{}\" cannot be read",
            path.display()
        ))
        .source(source)
    })?;
    let untold = match place == SHOWN {
        true => Untold::of(&value),
        false => Untold::default(),
    };
    Ok(Side { facts, untold })
}

/// Takes out of a difference what `env show` was not asked for: seeds and commits are a project's, and a machine that
/// has none is no other machine. The names of what was taken out.
fn without_untold(difference: &mut Difference, base: Untold, now: Untold) -> Vec<String> {
    let is_untold = |row: &Row| {
        (row.base.is_none() && base.has(&row.fact)) || (row.now.is_none() && now.has(&row.fact))
    };
    let untold = difference.rows.iter().filter(|row| is_untold(row));
    let untold = untold.map(|row| row.fact.clone()).collect();
    difference.rows.retain(|row| !is_untold(row));
    untold
}

fn today() -> Result<Day> {
    let now = Timestamp::now().to_string();
    now.get(..10)
        .and_then(|day| day.parse().ok())
        .ok_or_else(|| Error::other("this machine's clock shows no day"))
}

fn diff(args: &DiffArgs, context: &Context) -> Result<()> {
    let (base, now) = (read_facts(&args.a)?, read_facts(&args.b)?);
    let comparing = Comparing {
        strictness: args.class.into(),
        replicate: false,
        overrides: &[],
        today: today()?,
    };
    let mut difference = compare(&base.facts, &now.facts, &comparing);
    let untold = without_untold(&mut difference, base.untold, now.untold);
    let mut text = String::new();
    for row in &difference.rows {
        let value = |value: &Option<String>| match value.as_deref() {
            None => "(none)".to_owned(),
            Some("") => "(nothing)".to_owned(),
            Some(value) => clean(value, 60),
        };
        let meaning = fact_rule(row.fact.split('/').next().unwrap_or_default())
            .map_or("", |rule| rule.meaning);
        let _ = writeln!(
            text,
            "{} {:<36} {} -> {}",
            row.level,
            in_line(&row.fact),
            value(&row.base),
            value(&row.now)
        );
        if row.level == Level::Must && !meaning.is_empty() {
            let _ = writeln!(text, "  {meaning}");
        }
    }
    if !untold.is_empty() {
        let _ = writeln!(
            text,
            "not compared: {} (env show tells seeds of a project's directory, and commits with --repository)",
            as_lines(&untold.join(", "))
        );
    }
    let count = |level| difference.at(level).count();
    let _ = write!(
        text,
        "{} must match and differ, {} warn, {} inform",
        count(Level::Must),
        count(Level::Warn),
        count(Level::Info)
    );
    let value = json!({"base": base.facts.digest(), "now": now.facts.digest(), "class": args.class,
        "inconclusive": difference.is_inconclusive(), "rows": difference.rows, "notCompared": untold});
    context.output.result(&value, text);
    if difference.is_inconclusive() {
        return Err(Error::refused(
            "the environments differ in facts that must match: results of one say nothing about the other",
        )
        .hint("ask for a looser class, or record an override in the recipe"));
    }
    Ok(())
}

fn probe(context: &Context) {
    let found = survey();
    let mut text = String::new();
    for capabilities in &found {
        let _ = writeln!(
            text,
            "{} reaches {} ({})",
            capabilities.runner,
            capabilities.isolation(true),
            capabilities.isolation(true).promise()
        );
        if let Capability::Absent { reason } = &capabilities.usable {
            let _ = writeln!(text, "  not usable: {reason}");
            continue;
        }
        for (name, capability) in capabilities.rows() {
            let (mark, why) = match capability {
                Capability::Present { by } => ("yes", by),
                Capability::Absent { reason } => ("no ", reason),
                _ => continue,
            };
            let _ = writeln!(text, "  {mark} {name:<22} {why}");
        }
    }
    let rows: Vec<Value> = found
        .iter()
        .map(|capabilities| json!({"isolation": capabilities.isolation(true), "capabilities": capabilities}))
        .collect();
    context
        .output
        .result(&json!({"runners": rows}), text.trim_end());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_env_show_was_not_asked_for_is_not_compared() {
        let facts = |pairs: &[(&str, &str)]| {
            let mut facts = Facts::default();
            for (name, value) in pairs {
                facts.set(name, *value).unwrap();
            }
            facts
        };
        let comparing = Comparing {
            strictness: Class::BitExact.into(),
            replicate: false,
            overrides: &[],
            today: "2026-11-24".parse().unwrap(),
        };
        let lock = facts(&[
            ("git.commit", "0123"),
            ("seeds.declared", "7"),
            ("user", "run"),
        ]);
        let machine = facts(&[("user", "run")]);
        let found = |base: &Facts, now: &Facts, shown: (bool, bool)| {
            let mut difference = compare(base, now, &comparing);
            let untold = |shown: bool| Untold {
                seeds: shown,
                git: shown,
            };
            let untold = without_untold(&mut difference, untold(shown.0), untold(shown.1));
            (untold.len(), difference.is_inconclusive())
        };
        assert_eq!(found(&lock, &machine, (false, true)), (2, false));
        assert_eq!(found(&machine, &lock, (true, false)), (2, false));
        // A lock that has no seed or commit says that there is none.
        assert_eq!(found(&lock, &machine, (false, false)), (0, true));
        assert_eq!(found(&machine, &lock, (false, true)), (0, true));
        // What was told on both sides counts, and so does what is the machine's.
        let told = facts(&[("seeds.declared", "8"), ("user", "run")]);
        assert_eq!(found(&lock, &told, (false, true)), (1, true));
        let other = facts(&[("python.version", "3.11.2"), ("user", "run")]);
        assert_eq!(found(&lock, &other, (false, true)), (2, true));
        // A project that was asked and has no seed any more is another one.
        let untold = |asked: Value| Untold::of(&json!({"asked": asked}));
        let asked = untold(json!({"seeds": true, "git": false}));
        let mut difference = compare(&lock, &machine, &comparing);
        let left = without_untold(&mut difference, Untold::default(), asked);
        assert_eq!(
            (left, difference.is_inconclusive()),
            (vec!["git.commit".to_owned()], true)
        );
        assert!(untold(Value::Null).has("seeds.declared"));
    }
}
