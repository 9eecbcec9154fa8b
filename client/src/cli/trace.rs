//! `sealstone trace`: what a stage ran, read, wrote and took.

use super::Context;
use super::connect::ConnectArgs;
use sealstone::recipe::Project;
use sealstone::releases::SealedRelease;
use sealstone::store::Location;
use sealstone::{Error, Result};
use sealstone_spec::recipe::{Lock, LockedStage, PathDigest};
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Arguments of `sealstone trace`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows what recipe.lock says of a stage. Of a bundle, nobody's signature is looked at: `sealstone verify` does that.
It tells: its command, variables, parameters, digests of everything that it read and
wrote, when it began, what it took, the digest of its log, runner and isolation.

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
    let (lock, is_bundle) = lock_at(&args.place, &args.connect).await?;
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
    if is_bundle {
        value["signatures"] = json!("not looked at");
        let place = clean(&args.place);
        let _ = write!(
            text,
            "\n  signatures not looked at: sealstone verify {place}"
        );
    }
    context.output.result(&value, text);
    Ok(())
}

/// The lock, and whether it is that of a bundle: then it is the word of whoever made the bundle.
async fn lock_at(place: &str, connect: &ConnectArgs) -> Result<(Lock, bool)> {
    let directory = PathBuf::from(place);
    if directory.is_dir() {
        let project = Project::open(&directory)?;
        let lock = project.lock(None)?.ok_or_else(|| {
            Error::not_found(format!("\"{place}\" has no recipe.lock"))
                .hint("make it with: sealstone run")
        })?;
        return Ok((lock, false));
    }
    let location: Location = place.parse()?;
    let store = location.open(&connect.options())?;
    let manifest = connect.resolve(&location, store.as_ref()).await?;
    let sealed = SealedRelease::read(store.as_ref(), &manifest).await?;
    Ok((sealed.lock, true))
}

fn show(stage: &LockedStage, lock: &Lock) -> String {
    let mut text = format!(
        "{} ({})\n  key        {}",
        stage.name, stage.kind, stage.key
    );
    let argv: Vec<String> = stage.argv.iter().map(|word| clean(word)).collect();
    let _ = write!(text, "\n  argv       {}", argv.join(" "));
    for (name, value) in &stage.env {
        let _ = write!(text, "\n  env        {}={}", clean(name), clean(value));
    }
    for (name, value) in &stage.params {
        let _ = write!(text, "\n  param      {} = {}", clean(name), clean(value));
    }
    let settings = [
        ("seed", stage.seed.map(|seed| seed.to_string())),
        ("hash seed", Some(stage.hash_seed.to_string())),
        ("threads", stage.threads.map(|threads| threads.to_string())),
        ("device", stage.device.clone()),
    ];
    for (name, value) in settings {
        if let Some(value) = value {
            let _ = write!(text, "\n  {name:<10} {value}");
        }
    }
    let lists: [(&str, &[PathDigest]); 3] = [
        ("code", &stage.sources),
        ("read", &stage.inputs),
        ("wrote", &stage.outputs),
    ];
    for (name, list) in lists {
        for item in list {
            let _ = write!(text, "\n  {name:<10} {}  {}", item.digest, item.path);
        }
    }
    for path in &stage.undeclared {
        let _ = write!(text, "\n  undeclared {} (thrown away)", clean(path));
    }
    let usage = &stage.usage;
    let _ = write!(text, "\n  started    {}", clean(&stage.started));
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
        clean(&stage.runner),
        stage.isolation,
        lock.environment.digest
    );
    text
}

fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .take(400)
        .collect()
}
