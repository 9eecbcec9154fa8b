//! `sealstone trace`: what a stage ran, read, wrote and took.

use super::Context;
use super::connect::ConnectArgs;
use super::output::in_line;
use sealstone::recipe::{Project, hash_path};
use sealstone::releases::SealedRelease;
use sealstone::store::Location;
use sealstone::{Error, Result};
use sealstone_spec::recipe::{Lock, LockedStage, PathDigest};
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Arguments of `sealstone trace`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows what recipe.lock says of a stage. Of a bundle, nobody's signature is looked at: `sealstone verify` does that.
It tells: its command, variables, parameters, digests of everything that it read and
wrote, when it began, what it took, the digest of its log, runner and isolation. A log that still lies in
.sealstone/logs is held against its digest.

Examples:
  sealstone trace train
  sealstone trace train registry.example/models/m:1.0.0 --output json")]
pub(crate) struct Args {
    /// The stage
    #[arg(value_name = "STAGE")]
    stage: String,

    /// A project's directory or a bundle: HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST, oci:DIR[:TAG]
    #[arg(value_name = "REF|DIR", default_value = ".")]
    place: String,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let (lock, directory) = lock_at(&args.place, &args.connect).await?;
    let stage = lock.stage(&args.stage).ok_or_else(|| {
        let known: Vec<&str> = lock
            .stages
            .iter()
            .map(|stage| stage.name.as_str())
            .collect();
        Error::not_found(format!("the lock has no stage \"{}\"", args.stage))
            .hint(format!("it has: {}", known.join(", ")))
    })?;
    let mut value =
        json!({"lock": lock.digest(), "environment": lock.environment.digest, "stage": stage});
    let mut text = show(stage, &lock);
    let log = match &directory {
        Some(directory) => log_of(directory, stage)?,
        None => None,
    };
    if let Some((path, is_it)) = &log {
        let says = if *is_it { "it is it" } else { "it is another" };
        value["logFile"] = json!({"path": path, "same": is_it});
        let _ = write!(text, "\n  log file   {}: {says}", path.display());
    }
    if directory.is_none() {
        value["signatures"] = json!("not looked at");
        let place = in_line(&args.place);
        let _ = write!(
            text,
            "\n  signatures not looked at: sealstone verify {place}"
        );
    }
    context.output.result(&value, text);
    match log {
        Some((path, false)) => Err(Error::halted(format!(
            "\"{}\" is not the log of the run that made recipe.lock",
            path.display()
        ))
        .hint("it was cut or changed, or belongs to a run that failed; what the lock says of the stage holds all the same")),
        _ => Ok(()),
    }
}

/// Where the log of a stage lies, if it is still there, and whether it is the one that the lock tells of.
fn log_of(directory: &Path, stage: &LockedStage) -> Result<Option<(PathBuf, bool)>> {
    let logs = directory.join(".sealstone/logs");
    let path = logs.join(format!("{}.log", stage.name));
    if !path.is_file() {
        return Ok(None);
    }
    let (digest, size) = hash_path(&path)?;
    let same = digest == stage.log.digest && size == stage.log.size;
    Ok(Some((path, same)))
}

/// The lock, and the project's directory; a bundle has none, and its lock is the word of whoever made the bundle.
async fn lock_at(place: &str, connect: &ConnectArgs) -> Result<(Lock, Option<PathBuf>)> {
    let directory = PathBuf::from(place);
    if directory.is_dir() {
        let project = Project::open(&directory)?;
        let lock = project.lock(None)?.ok_or_else(|| {
            Error::not_found(format!("\"{place}\" has no recipe.lock"))
                .hint("make it with: sealstone run")
        })?;
        return Ok((lock, Some(directory)));
    }
    let location: Location = place.parse()?;
    let store = location.open(&connect.options())?;
    let manifest = connect.resolve(&location, store.as_ref()).await?;
    let sealed = SealedRelease::read(store.as_ref(), &manifest).await?;
    Ok((sealed.lock, None))
}

fn show(stage: &LockedStage, lock: &Lock) -> String {
    let mut text = format!(
        "{} ({})\n  key        {}",
        in_line(&stage.name),
        stage.kind,
        stage.key
    );
    let argv: Vec<String> = stage.argv.iter().map(|word| in_line(word)).collect();
    let _ = write!(text, "\n  argv       {}", argv.join(" "));
    for (name, value) in &stage.env {
        let _ = write!(text, "\n  env        {}={}", in_line(name), in_line(value));
    }
    for (name, value) in &stage.params {
        let _ = write!(
            text,
            "\n  param      {} = {}",
            in_line(name),
            in_line(value)
        );
    }
    let settings = [
        ("seed", stage.seed.map(|seed| seed.to_string())),
        ("hash seed", Some(stage.hash_seed.to_string())),
        ("threads", Some(stage.threads.to_string())),
        ("processors", stage.cpus.map(|cpus| cpus.to_string())),
        ("device", stage.device.clone()),
    ];
    for (name, value) in settings {
        if let Some(value) = value {
            let _ = write!(text, "\n  {name:<10} {}", in_line(&value));
        }
    }
    let lists: [(&str, &[PathDigest]); 3] = [
        ("code", &stage.sources),
        ("read", &stage.inputs),
        ("wrote", &stage.outputs),
    ];
    for (name, list) in lists {
        for item in list {
            let path = in_line(item.path.as_str());
            let _ = write!(text, "\n  {name:<10} {}  {path}", item.digest);
        }
    }
    for path in &stage.undeclared {
        let _ = write!(text, "\n  undeclared {} (thrown away)", in_line(path));
    }
    let usage = &stage.usage;
    let _ = write!(text, "\n  started    {}", in_line(&stage.started));
    let _ = write!(text, "\n  wall       {} ms", usage.wall_ms);
    let more = [
        ("user", usage.user_ms, "ms"),
        ("system", usage.system_ms, "ms"),
        ("memory", usage.peak_memory, "bytes at most"),
        ("most", usage.max_threads, "threads"),
    ];
    for (name, value, unit) in more {
        if let Some(value) = value {
            let _ = write!(text, "\n  {name:<10} {value} {unit}");
        }
    }
    let cut = if stage.log.truncated { ", cut" } else { "" };
    let _ = write!(
        text,
        "\n  log        {} ({} bytes{cut})\n  exit       {}\n  runner     {}, isolation {}\n  machine    {}",
        stage.log.digest,
        stage.log.size,
        stage.exit,
        in_line(&stage.runner),
        stage.isolation,
        lock.environment.digest
    );
    text
}
