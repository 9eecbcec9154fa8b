//! `sealstone push`: a bundle from a layout to a registry.

use super::Context;
use super::connect::ConnectArgs;
use super::log::{watch, watch_tag};
use super::output::readable_size;
use super::transfer::{TransferArgs, interruptible};
use sealstone::store::Location;
use sealstone::transfer::{Copied, Place, push};
use sealstone::{Error, Result};
use sealstone_spec::name::RepoName;
use sealstone_spec::words::three_words;
use serde_json::json;

/// Arguments of `sealstone push`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without a tag the bundle is staged: stored by digest, seen only by those who may push and sign. Sign
it there, then give it its tag with `sealstone release`. With a tag, the tag is made at the very end,
if the repository's policy already holds. Signatures that lie in the layout go along.

What the registry has is not sent; what is cut goes on where the registry stands, also in a new run.

Examples:
  sealstone push oci:bundle:1.0.0 registry.example/models/my-model
  sealstone push oci:bundle registry.example/models/my-model:1.0.0
  sealstone push oci:bundle registry.example/models/b --mount-from models/a")]
pub(crate) struct Args {
    /// The bundle: oci:DIR, oci:DIR:TAG or oci:DIR@DIGEST
    #[arg(value_name = "LAYOUT")]
    source: Location,

    /// Where to: HOST/REPOSITORY or HOST/REPOSITORY:TAG
    #[arg(value_name = "REPOSITORY")]
    destination: Location,

    /// Repository of the same registry whose blobs need not be sent again; may be repeated
    #[arg(long, value_name = "NAME")]
    mount_from: Vec<RepoName>,

    /// Leave signatures and other referrers in the layout
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
    let Place::Layout(layout) = Place::open(&args.source, &options)? else {
        return Err(Error::usage(format!("\"{}\" is no layout", args.source))
            .hint("push takes a layout, oci:DIR; between registries use: sealstone copy"));
    };
    let Place::Registry(store) = Place::open(&args.destination, &options)? else {
        return Err(Error::usage(format!(
            "\"{}\" is no repository of a registry",
            args.destination
        ))
        .hint("write HOST/REPOSITORY[:TAG]"));
    };
    let manifest = args.source.resolve(&layout).await?;
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
    let seen = watch(&args.destination, &options).await?;
    let mut transfer = args.transfer.options(context);
    transfer.mount_from = args.mount_from;
    transfer.referrers = !args.without_referrers;
    let pushed = interruptible(push(
        &layout,
        &store,
        &manifest,
        args.destination.tag(),
        &transfer,
    ))
    .await?;
    watch_tag(seen.as_ref(), &args.destination, manifest.digest()).await?;
    report(context, "pushed", &args.destination, &pushed);
    Ok(())
}

/// Tells what a push or copy did.
pub(super) fn report(context: &Context, verb: &str, destination: &Location, copied: &Copied) {
    let digest = &copied.digest;
    let place = match destination {
        Location::Registry(image) => format!("{}/{}", image.registry, image.repository),
        Location::Layout { path, .. } => format!("oci:{}", path.display()),
        Location::Archive { path, .. } => format!("archive:{}", path.display()),
    };
    let name = three_words(digest);
    let mut text = match &copied.tag {
        Some(tag) => format!("{verb} {place}:{tag}, {name}"),
        None => format!("{verb} {place}, {name}"),
    };
    text.push_str(&format!("\n  {place}@{digest}"));
    text.push_str(&format!(
        "\n  {} blobs moved ({}), {} were there already",
        copied.blobs_moved,
        readable_size(copied.bytes_moved),
        copied.blobs_present
    ));
    if copied.evidence > 0 {
        text.push_str(&format!(
            "\n  {} signatures and other statements came along",
            copied.evidence
        ));
    }
    let mut value = json!(copied);
    value["name"] = name.into();
    value["reference"] = format!("{place}@{digest}").into();
    context.output.result(&value, text);
}
