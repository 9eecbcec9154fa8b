//! `sealstone import`: an exported bundle into a registry, with everything that was said about it; a project of
//! another tool as a recipe.
//!
//! The words `dvc` and `mlproject` are always subcommands; a file of such a name is written `./dvc`.

use super::connect::ConnectArgs;
use super::log::{watch, watch_tag};
use super::push::report;
use super::transfer::{TransferArgs, interruptible};
use super::{Context, init};
use sealstone::authoring::{dvc, mlproject, write_recipe};
use sealstone::store::{Location, Store as _};
use sealstone::transfer::{Place, copy};
use sealstone::{Error, Result};
use sealstone_spec::name::Tag;
use std::path::PathBuf;

/// Arguments of `sealstone import`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
Sends everything that the file holds: digests stay, so signatures stay valid, and an export of the
result is the same file again. The registry judges the tag by its own policy, like that of any push;
whether to trust the file before that, `sealstone verify FILE.tar` says.

Examples:
  sealstone import release.tar air-gapped.example/models/m:1.0.0
  sealstone import release.tar air-gapped.example/models/m       without a tag, to be released later
  sealstone import release.tar:1.0.0 air-gapped.example/models/m:1.0.0
  sealstone import dvc                                           a recipe of a project of DVC
  sealstone import mlproject --trace                             a recipe of a project of MLflow")]
pub(crate) struct Args {
    #[command(subcommand)]
    project: Option<Foreign>,

    /// The file that `sealstone export` made, FILE.tar[:TAG]
    #[arg(value_name = "FILE.tar", required = true)]
    archive: Option<String>,

    /// Where to: HOST/REPOSITORY[:TAG] or oci:DIR[:TAG]
    #[arg(value_name = "TO", required = true)]
    destination: Option<Location>,

    #[command(flatten)]
    transfer: TransferArgs,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Projects of other tools.
#[derive(Debug, clap::Subcommand)]
enum Foreign {
    /// Write a recipe of dvc.lock and dvc.yaml
    #[command(after_help = "\
The lock comes first: in it commands and data are resolved. Data that is there is compared with the MD5 that
DVC recorded, and pinned by SHA-256; data that is not there has the digest \"todo\", which keeps the recipe
from being run until `dvc pull` and `sealstone lint --fix-digests`. Commands stay texts for a shell; metrics
have to be the same number until somebody chooses a tolerance. Nothing of DVC is run or changed.

Example:
  sealstone import dvc my-project && sealstone lint my-project")]
    Dvc(DvcArgs),
    /// Write a recipe of an MLproject file
    #[command(after_help = "\
Entry points become stages, and their defaults params.toml. The environment's packages become
requirements.txt if there is none, for `sealstone env lock`. What entry points read and write does not stand
in the file: --trace runs each once with its defaults and watches.

Example:
  sealstone import mlproject my-project --trace")]
    Mlproject(MlprojectArgs),
}

#[derive(Debug, clap::Args)]
struct DvcArgs {
    /// The project
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,

    /// Replace a recipe that is there
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
struct MlprojectArgs {
    #[command(flatten)]
    project: DvcArgs,

    /// Run each entry point once under strace and declare what it read and wrote
    #[arg(long)]
    trace: bool,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    if let Some(project) = args.project {
        return of_project(project, context).await;
    }
    let (Some(archive), Some(destination)) = (args.archive, args.destination) else {
        return Err(Error::usage(
            "import needs a file and a place, or dvc, or mlproject",
        ));
    };
    of_archive(
        &archive,
        &destination,
        &args.transfer,
        &args.connect,
        context,
    )
    .await
}

/// A project of another tool as a recipe.
async fn of_project(project: Foreign, context: &Context) -> Result<()> {
    let output = context.output.clone();
    let (directory, written) = tokio::task::spawn_blocking(move || {
        let mut note = |text: &str| output.note(text);
        let (directory, force, draft) = match project {
            Foreign::Dvc(args) => {
                may_write(&args)?;
                let draft = dvc::import(&args.directory, &mut note)?;
                (args.directory, args.force, draft)
            }
            Foreign::Mlproject(args) => {
                may_write(&args.project)?;
                let draft = mlproject::import(&args.project.directory, args.trace, &mut note)?;
                (args.project.directory, args.project.force, draft)
            }
        };
        let written = write_recipe(&directory, draft, force)?;
        Ok::<_, Error>((directory, written))
    })
    .await
    .map_err(|error| Error::other("the import ended early").source(error))??;
    init::report(context, &directory, &written);
    Ok(())
}

/// Before anything is run or written.
fn may_write(args: &DvcArgs) -> Result<()> {
    sealstone::authoring::may_write(&args.directory, args.force)
}

async fn of_archive(
    archive: &str,
    destination: &Location,
    transfer: &TransferArgs,
    connect: &ConnectArgs,
    context: &Context,
) -> Result<()> {
    let location = archive_location(archive)?;
    let options = connect.options();
    let source = Place::open(&location, &options)?;
    let Place::Archive(archive) = &source else {
        return Err(Error::usage(format!("\"{location}\" is no archive")));
    };
    let manifest = location.resolve(archive).await?;
    // All of it, before anything is sent: what was damaged on the way must not arrive in part.
    let checked = archive.clone();
    tokio::task::spawn_blocking(move || checked.check_all())
        .await
        .map_err(|error| Error::other("checking the archive ended early").source(error))??;
    if let Location::Registry(image) = destination
        && let Some(digest) = image.digest
        && digest != *manifest.digest()
    {
        return Err(Error::refused(format!(
            "{location} is {}, not {digest}",
            manifest.digest()
        )));
    }
    let place = Place::open_or_create(destination, &options)?;
    let seen = watch(destination, &options).await?;
    let transfer = transfer.options(context);
    let tag: Option<&Tag> = destination.tag();
    let copied = interruptible(copy(&source, &place, &manifest, tag, &transfer)).await?;
    watch_tag(seen.as_ref(), destination, manifest.digest()).await?;
    report(context, "imported", destination, &copied);
    if let (None, Ok(tags)) = (tag, archive.tags().await)
        && let Some(tag) = tags.iter().find(|tag| !tag.is_evidence_list())
    {
        context.output.note(format!(
            "note: it has no tag there; its tag in the archive is {tag}"
        ));
    }
    Ok(())
}

/// A file's name is enough here, whatever it is called.
fn archive_location(text: &str) -> Result<Location> {
    let is_prefixed = text.starts_with("archive:");
    let as_path = PathBuf::from(text);
    if !is_prefixed && as_path.is_file() {
        return Ok(Location::Archive {
            path: as_path,
            reference: None,
        });
    }
    match is_prefixed {
        true => text.parse(),
        false => format!("archive:{text}").parse(),
    }
}
