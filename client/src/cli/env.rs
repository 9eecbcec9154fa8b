//! `sealstone env`: what this machine is, how two environments differ, what stages can be isolated with.

use super::Context;
use jiff::Timestamp;
use sealstone::environment::{Capture, capture, find_interpreter};
use sealstone::runner::{Capability, Choice, StageJob, choose, survey};
use sealstone::{Error, Result};
use sealstone_spec::compare::Class;
use sealstone_spec::environment::{Comparing, Day, Facts, Isolation, Level, compare, fact_rule};
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
  sealstone env show --output json > here.json
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

Example:
  sealstone env show --python 3.11 --repository .")]
    Show(ShowArgs),
    /// Compare two documents of facts, or locks that hold one
    #[command(after_help = "\
A and B are files: what `env show --output json` writes, the document alone, or a recipe.lock. The command ends with 3 \
if a fact differs that must match for the class.

Example:
  sealstone env diff recipe.lock here.json --class numeric")]
    Diff(DiffArgs),
    /// Lock the project's requirements with hashes, and fetch their wheels
    #[command(after_help = super::lock::HELP)]
    Lock(super::lock::Args),
    /// Try out every runner, and show what it can do here
    #[command(after_help = "\
Each runner runs a script that tries to read a file, to write beside its directory, to reach 192.0.2.1, and to see the \
host name. What is absent has its reason.

Example:
  sealstone env probe")]
    Probe,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
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
    // Probes and captures wait for processes.
    let context = Context::new(context.output.clone());
    let task = tokio::task::spawn_blocking(move || match args.command {
        Command::Show(args) => show(args, &context),
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

fn show(args: ShowArgs, context: &Context) -> Result<()> {
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
    let mut text = String::new();
    for (name, value) in captured.facts.iter() {
        let mut value = value.to_string();
        if value.chars().count() > 96 {
            value = value.chars().take(95).collect::<String>() + "…";
        }
        let _ = writeln!(text, "{name:<24} {value}");
    }
    for (name, value) in &captured.volatile {
        let _ = writeln!(
            text,
            "({name}){:width$} {value}",
            "",
            width = 22usize.saturating_sub(name.len())
        );
    }
    for reason in &captured.left_out {
        let _ = writeln!(text, "left out: {reason}");
    }
    let digest = captured.facts.digest();
    let _ = write!(
        text,
        "digest {digest}\nrunner {}, isolation {}",
        chosen.capabilities.runner, chosen.isolation
    );
    let value = json!({"digest": digest, "runner": chosen.capabilities.runner, "isolation": chosen.isolation,
        "facts": captured.facts, "volatile": captured.volatile, "leftOut": captured.left_out});
    context.output.result(&value, text);
    Ok(())
}

/// Reads a document of facts, alone or inside of what else holds one.
fn read_facts(path: &Path) -> Result<Facts> {
    let what = || format!("reading \"{}\"", path.display());
    let bytes = std::fs::read(path).map_err(|source| Error::io(what(), source))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|source| {
        Error::usage(format!("\"{}\" is no JSON", path.display())).source(source)
    })?;
    let places = [
        "",
        "/facts",
        "/environment/document",
        "/environment/facts",
        "/environment",
    ];
    let document = places
        .iter()
        .filter_map(|place| value.pointer(place))
        .find(|value| {
            value.get("schema").and_then(Value::as_str) == Some(sealstone_spec::environment::SCHEMA)
        });
    let Some(document) = document else {
        return Err(
            Error::usage(format!("\"{}\" holds no document of facts", path.display()))
                .hint("write one with: sealstone env show --output json"),
        );
    };
    Facts::parse(document.to_string().as_bytes()).map_err(|source| {
        Error::usage(format!(
            "the facts in \"{}\" cannot be read",
            path.display()
        ))
        .source(source)
    })
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
    let difference = compare(&base, &now, &comparing);
    let mut text = String::new();
    for row in &difference.rows {
        let value = |value: &Option<String>| match value.as_deref() {
            None => "(none)".to_owned(),
            Some("") => "(nothing)".to_owned(),
            Some(value) if value.chars().count() > 60 => {
                value.chars().take(59).collect::<String>() + "…"
            }
            Some(value) => value.to_owned(),
        };
        let meaning = fact_rule(row.fact.split('/').next().unwrap_or_default())
            .map_or("", |rule| rule.meaning);
        let _ = writeln!(
            text,
            "{} {:<36} {} -> {}",
            row.level,
            row.fact,
            value(&row.base),
            value(&row.now)
        );
        if row.level == Level::Must && !meaning.is_empty() {
            let _ = writeln!(text, "  {meaning}");
        }
    }
    let count = |level| difference.at(level).count();
    let _ = write!(
        text,
        "{} must match and differ, {} warn, {} inform",
        count(Level::Must),
        count(Level::Warn),
        count(Level::Info)
    );
    let value = json!({"base": base.digest(), "now": now.digest(), "class": args.class,
        "inconclusive": difference.is_inconclusive(), "rows": difference.rows});
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
