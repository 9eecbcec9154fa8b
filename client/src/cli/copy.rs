//! `sealstone copy`: a bundle with its signatures between registries and layouts.

use super::Context;
use super::connect::ConnectArgs;
use super::log::{watch, watch_tag};
use super::push::report;
use super::transfer::{TransferArgs, interruptible};
use sealstone::credentials::Keyring;
use sealstone::store::Location;
use sealstone::transfer::{Place, copy};
use sealstone::{Error, Result};

/// Arguments of `sealstone copy`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Copies bytes as they are: digests stay, so signatures stay valid. Signatures, attestations and
everything else that was said about the bundle goes along, and from a registry that logs the proofs that
it was logged there. Nothing is judged: that is for whoever uses the copy. Without a tag at the
destination, the copy has none.

A large blob that was cut is gone on with by the same command: it is kept in the layout, or on its way
between two registries in the cache (~/.cache/sealstone/downloads; XDG_CACHE_HOME names another), or in
TMPDIR if that is set and its file system has more room. What nobody has gone on with for a week is removed
by the next push, pull or copy, in a layout by the next one into it.

Examples:
  sealstone copy registry.example/models/m:1.0.0 backup.example/models/m:1.0.0
  sealstone copy registry.example/models/m:1.0.0 oci:carry:1.0.0
  sealstone copy oci:carry:1.0.0 air-gapped.example/models/m:1.0.0")]
pub(crate) struct Args {
    /// The bundle: HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST or oci:DIR[:TAG]
    #[arg(value_name = "FROM")]
    source: Location,

    /// Where to: HOST/REPOSITORY[:TAG] or oci:DIR[:TAG]
    #[arg(value_name = "TO")]
    destination: Location,

    /// Leave signatures and other referrers behind
    #[arg(long)]
    without_referrers: bool,

    #[command(flatten)]
    transfer: TransferArgs,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let options = args.connect.options();
    if let (Location::Registry(from), Location::Registry(to)) = (&args.source, &args.destination)
        && from.registry != to.registry
        && Keyring::from_environment().is_unbound()
    {
        return Err(Error::usage(
            "SEALSTONE_USERNAME and SEALSTONE_PASSWORD would be sent to two registries",
        )
        .hint("set SEALSTONE_REGISTRY to the one that they are for, and log in to the other"));
    }
    let source = Place::open(&args.source, &options)?;
    let manifest = args.connect.resolve(&args.source, source.store()).await?;
    if let Location::Registry(image) = &args.destination
        && let Some(digest) = image.digest
        && digest != *manifest.digest()
    {
        return Err(Error::refused(format!(
            "{} is {}, not {digest}",
            args.source,
            manifest.digest()
        )));
    }
    let destination = Place::open_or_create(&args.destination, &options)?;
    let seen = watch(&args.destination, &options).await?;
    let mut transfer = args.transfer.options(context);
    transfer.referrers = !args.without_referrers;
    let copied = interruptible(copy(
        &source,
        &destination,
        &manifest,
        args.destination.tag(),
        &transfer,
    ))
    .await?;
    watch_tag(seen.as_ref(), &args.destination, manifest.digest()).await?;
    report(context, "copied", &args.destination, &copied);
    Ok(())
}
