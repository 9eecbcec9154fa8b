//! `sealstone import`: an exported bundle into a registry, with everything that was said about it.

use super::Context;
use super::connect::ConnectArgs;
use super::push::report;
use super::transfer::{TransferArgs, interruptible};
use sealstone::store::{Location, Store as _};
use sealstone::transfer::{Place, copy};
use sealstone::{Error, Result};
use sealstone_spec::name::Tag;
use std::path::PathBuf;

/// Arguments of `sealstone import`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Sends everything that the file holds: digests stay, so signatures stay valid, and an export of the
result is the same file again. The registry judges the tag by its own policy, like that of any push;
whether to trust the file before that, `sealstone verify FILE.tar` says.

Examples:
  sealstone import release.tar air-gapped.example/models/m:1.0.0
  sealstone import release.tar air-gapped.example/models/m       without a tag, to be released later
  sealstone import release.tar:1.0.0 air-gapped.example/models/m:1.0.0")]
pub(crate) struct Args {
    /// The file that `sealstone export` made, FILE.tar[:TAG]
    #[arg(value_name = "FILE.tar")]
    archive: String,

    /// Where to: HOST/REPOSITORY[:TAG] or oci:DIR[:TAG]
    #[arg(value_name = "TO")]
    destination: Location,

    #[command(flatten)]
    transfer: TransferArgs,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let location = archive_location(&args.archive)?;
    let options = args.connect.options();
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
    if let Location::Registry(image) = &args.destination
        && let Some(digest) = image.digest
        && digest != *manifest.digest()
    {
        return Err(Error::refused(format!(
            "{location} is {}, not {digest}",
            manifest.digest()
        )));
    }
    let destination = Place::open_or_create(&args.destination, &options)?;
    let transfer = args.transfer.options(context);
    let tag: Option<&Tag> = args.destination.tag();
    let copied = interruptible(copy(&source, &destination, &manifest, tag, &transfer)).await?;
    report(context, "imported", &args.destination, &copied);
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
