//! `sealstone export`: a bundle with everything that was said about it, as one file.

use super::Context;
use super::connect::ConnectArgs;
use super::output::readable_size;
use super::transfer::{TransferArgs, interruptible};
use sealstone::Result;
use sealstone::store::Location;
use sealstone::transfer::{Place, export};
use sealstone_spec::words::three_words;
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `sealstone export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Writes an OCI layout into a tar file: the bundle, every signature and statement that is attached to it,
the lists of older tools, and model.sig for OpenSSF Model Signing's tools. Every byte is compared with its
digest on the way, and the same release makes the same file on every machine. Nothing is judged: that
is for whoever receives it. skopeo and podman read the file as oci-archive.

Examples:
  sealstone export registry.example/models/m:1.0.0 release.tar
  sealstone export oci:bundle:1.0.0 release.tar
  sealstone verify release.tar --key alice.pub               on a machine without a network
  sealstone pull release.tar --key alice.pub -o ./my-model
  sealstone import release.tar air-gapped.example/models/m:1.0.0")]
pub(crate) struct Args {
    /// The bundle: HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST or oci:DIR[:TAG]
    #[arg(value_name = "FROM")]
    source: Location,

    /// The file to make
    #[arg(value_name = "FILE.tar")]
    out: PathBuf,

    /// Replace an existing file, once the new one is complete
    #[arg(long)]
    overwrite: bool,

    #[command(flatten)]
    transfer: TransferArgs,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let source = Place::open(&args.source, &args.connect.options())?;
    let manifest = args.connect.resolve(&args.source, source.store()).await?;
    let transfer = args.transfer.options(context);
    let made = interruptible(export(
        &source,
        &manifest,
        args.source.tag(),
        &args.out,
        args.overwrite,
        &transfer,
    ))
    .await?;
    let name = three_words(&made.digest);
    let text = format!(
        "exported {name} into \"{}\", {}\n  {}\n  {} blobs, {} signatures and other statements{}",
        made.archive.display(),
        readable_size(made.bytes),
        made.digest,
        made.blobs,
        made.evidence,
        if made.model_signature {
            ", model.sig"
        } else {
            ""
        },
    );
    let mut value = json!(made);
    value["name"] = name.into();
    context.output.result(&value, text);
    Ok(())
}
