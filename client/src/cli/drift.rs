//! `sealstone drift`: what has changed since the baseline, also where every metric passes.

use super::Context;
use super::connect::ConnectArgs;
use super::env::of_project;
use super::output::in_line;
use jiff::Timestamp;
use sealstone::environment::fetch_image;
use sealstone::recipe::Project;
use sealstone::releases::{Drift, DriftRow, SealedRelease, drift_between, drift_since};
use sealstone::report::clean;
use sealstone::run::disagreements;
use sealstone::store::{Location, Store};
use sealstone::transfer::TransferOptions;
use sealstone::{Error, Result};
use sealstone_spec::digest::Digest;
use sealstone_spec::environment::Day;
use sealstone_spec::name::Reference;
use sealstone_spec::recipe::Lock;
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Arguments of `sealstone drift`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Of a project: what lies there and this machine, against its recipe.lock or the release given with --baseline.
Of a release: its lock against that of the release which it names as its baseline, or that is given.
Parameters (with what they do), data (and whether rows only changed places), code, stages, packages and facts of
the environment are named with their values then and now; facts at the level M (must match), W or i that the
recipe's class gives them. Between releases, metrics are judged by the newer recipe's rules; one that it does not state
any more is a loss.

Exit codes: 0 nothing that may matter has changed, 3 something has (with --report-only 0 as well), 5 there is no
baseline to hold it against.

Examples:
  sealstone drift
  sealstone drift . --baseline registry.example/models/m:1.0.0 --no-environment
  sealstone drift registry.example/models/m:1.1.0")]
pub(crate) struct Args {
    /// A project's directory or a bundle: HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST, oci:DIR[:TAG]
    #[arg(value_name = "REF|DIR", default_value = ".")]
    place: String,

    /// The release that it is held against; without it, the one that the bundle names, or the project's lock
    #[arg(long, value_name = "REF")]
    baseline: Option<Location>,

    /// Do not look at this machine: of a project, only what lies there
    #[arg(long)]
    no_environment: bool,

    /// End with 0 also if something has changed: to warn, not to stop
    #[arg(long)]
    report_only: bool,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let directory = PathBuf::from(&args.place);
    let given = match &args.baseline {
        None => None,
        Some(location) => Some(sealed(location, &args.connect).await?),
    };
    let (names, drift) = match directory.is_dir() {
        true => of_directory(&args, directory, given).await?,
        false => of_release(&args, given).await?,
    };
    let value = json!({"baseline": names.0, "now": names.1, "drifted": drift.matters(),
        "rows": drift.rows, "metrics": drift.metrics});
    context.output.result(&value, show(&names, &drift));
    if drift.matters() && !args.report_only {
        context.exit_with(3);
    }
    Ok(())
}

/// What is called how, before and now.
type Names = (String, String);

async fn sealed(location: &Location, connect: &ConnectArgs) -> Result<SealedRelease> {
    let store = location.open(&connect.options())?;
    let manifest = connect.resolve(location, store.as_ref()).await?;
    SealedRelease::read(store.as_ref(), &manifest).await
}

pub(super) async fn by_digest(store: &dyn Store, digest: Digest) -> Result<SealedRelease> {
    let manifest = store
        .manifest(&Reference::Digest(digest))
        .await
        .map_err(|error| {
            error.hint("the baseline may lie elsewhere: name it with --baseline REF")
        })?;
    SealedRelease::read(store, &manifest).await
}

async fn of_release(args: &Args, given: Option<SealedRelease>) -> Result<(Names, Drift)> {
    let location: Location = args.place.parse()?;
    let store = location.open(&args.connect.options())?;
    let manifest = args.connect.resolve(&location, store.as_ref()).await?;
    let now = SealedRelease::read(store.as_ref(), &manifest).await?;
    let base = match (given, now.baseline) {
        (Some(given), _) => given,
        (None, Some(digest)) => by_digest(store.as_ref(), digest).await?,
        (None, None) => {
            return Err(
                Error::not_found(format!("\"{location}\" names no baseline"))
                    .hint("name one with --baseline REF; sealstone pack --baseline writes it into a bundle"),
            );
        }
    };
    let drift = drift_between(&now.recipe, &base.lock, &now.lock, today()?);
    Ok(((base.name(), now.name()), drift))
}

async fn of_directory(
    args: &Args,
    directory: PathBuf,
    given: Option<SealedRelease>,
) -> Result<(Names, Drift)> {
    let look = !args.no_environment;
    if look {
        let project = tokio::task::block_in_place(|| Project::open(&directory))?;
        let environment = project.recipe().environment();
        let (connect, transfer) = (args.connect.options(), TransferOptions::default());
        fetch_image(environment, project.root(), &connect, &transfer, None).await?;
    }
    tokio::task::spawn_blocking(move || {
        let project = Project::open(&directory)?;
        let own = project.lock(None)?;
        let (name, base): (String, Lock) = match (given, own) {
            (Some(release), _) => (release.name(), release.lock),
            (None, Some(lock)) => ("recipe.lock".to_owned(), lock),
            (None, None) => {
                return Err(Error::not_found(format!(
                    "\"{}\" has no recipe.lock",
                    directory.display()
                ))
                .hint("make a baseline with: sealstone run, or name one: --baseline REF"));
            }
        };
        let found = disagreements(&project, &base, None)?;
        let facts = match look {
            true => Some(of_project(&project, Some(&base), None)?.1.facts),
            false => None,
        };
        let drift = drift_since(project.recipe(), &base, &found, facts.as_ref(), today()?);
        Ok(((name, shown(&directory)), drift))
    })
    .await
    .map_err(|error| Error::other("looking at the project ended early").source(error))?
}

fn shown(directory: &Path) -> String {
    format!("\"{}\"", directory.display())
}

pub(super) fn today() -> Result<Day> {
    let now = Timestamp::now().to_string();
    now.get(..10)
        .and_then(|day| day.parse().ok())
        .ok_or_else(|| Error::other("this machine's clock shows no day"))
}

fn show(names: &Names, drift: &Drift) -> String {
    let mut text = format!("from {} to {}", in_line(&names.0), in_line(&names.1));
    if drift.rows.is_empty() {
        text.push_str("\nnothing has changed");
    }
    for row in &drift.rows {
        let _ = write!(text, "\n{}", show_row(row));
    }
    for metric in &drift.metrics {
        let verdict = &metric.verdict;
        let value = |value: &Option<sealstone_spec::compare::Decimal>| {
            value.as_ref().map_or("-".to_owned(), ToString::to_string)
        };
        let _ = write!(
            text,
            "\n{:<2} metric      {}: {} -> {} ({})",
            if verdict.outcome.is_pass() { "ok" } else { "W" },
            in_line(&metric.name),
            value(&verdict.base),
            value(&verdict.now),
            in_line(&verdict.reason)
        );
    }
    text
}

fn show_row(row: &DriftRow) -> String {
    let side = |value: &Option<String>| clean(value.as_deref().unwrap_or("-"), 120);
    let mut text = format!(
        "{:<2} {:<11} {}",
        row.level.as_str(),
        row.area.as_str(),
        in_line(&row.name)
    );
    if let Some(role) = row.role {
        let _ = write!(text, " ({role})");
    }
    if row.base.is_some() || row.now.is_some() {
        let _ = write!(text, ": {} -> {}", side(&row.base), side(&row.now));
    }
    if let Some(note) = &row.note {
        let _ = write!(text, " [{}]", in_line(note));
    }
    text
}
