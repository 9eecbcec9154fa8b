//! `sealstone release`: the tag that makes a bundle a release, if the registry's policy holds.

use super::Context;
use super::connect::ConnectArgs;
use super::log::{watch, watch_tag};
use sealstone::store::Location;
use sealstone::trust::{denial_of, denied, expect_name};
use sealstone::{Error, Outcome, Result};
use sealstone_spec::name::Tag;
use sealstone_spec::words::three_words;
use serde_json::json;

/// Arguments of `sealstone release`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The registry judges the bundle by the repository's policy; if it does not hold, the answer lists what
is missing and who can mend it (exit code 3). A release tag is created once and never moves: the same
bundle again changes nothing, another one is refused (exit code 7).

Examples:
  sealstone release registry.example/models/m@sha256:... 1.0.0
  sealstone release registry.example/models/m@sha256:... 1.0.0 --expect-name brisk-otter-quartz")]
pub(crate) struct Args {
    /// The bundle, in a registry: HOST/REPOSITORY@DIGEST or HOST/REPOSITORY:TAG
    #[arg(value_name = "LOCATION")]
    location: Location,

    /// The tag
    #[arg(value_name = "TAG")]
    tag: Tag,

    /// The three words that the bundle must have as its name
    #[arg(long, alias = "name", value_name = "THREE-WORDS")]
    expect_name: Option<String>,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let Location::Registry(image) = &args.location else {
        return Err(Error::usage(format!(
            "\"{}\" is a layout, and releases are made in a registry",
            args.location
        ))
        .hint("push it first: sealstone push LAYOUT HOST/REPOSITORY"));
    };
    let store = args.location.open(&args.connect.options())?;
    let seen = watch(&args.location, &args.connect.options()).await?;
    let manifest = args.location.resolve(store.as_ref()).await?;
    let digest = manifest.digest();
    if let Some(name) = &args.expect_name {
        expect_name(name, digest, &args.location.to_string())?;
    }
    let place = format!("{}/{}@{digest}", image.registry, image.repository);
    store
        .put_manifest(&manifest, Some(&args.tag))
        .await
        .map_err(|error| explain(error, &place, &args.tag))?;
    let reference = format!("{}/{}:{}", image.registry, image.repository, args.tag);
    let name = three_words(digest);
    // The registry has answered; now its log must say the same.
    let logged = watch_tag(seen.as_ref(), &reference.parse()?, digest).await?;
    let value = json!({"released": reference, "digest": digest, "name": name, "log": logged});
    context.output.result(
        &value,
        format!("released {reference}\n  {name}\n  {digest}"),
    );
    Ok(())
}

/// A registry's refusal in words.
fn explain(error: Error, place: &str, tag: &Tag) -> Error {
    match error.outcome() {
        Outcome::Refused => match denial_of(&error) {
            Some(denial) => denied(&denial, place),
            None => error,
        },
        Outcome::Conflict => {
            let reason = error.details().and_then(|detail| detail["reason"].as_str());
            let hint = match reason {
                Some("tag_tombstoned") => {
                    format!(
                        "\"{tag}\" was deleted once, and its name is never used again: choose another"
                    )
                }
                _ => format!("\"{tag}\" names another bundle and never moves: choose another tag"),
            };
            error.hint(hint)
        }
        _ => error,
    }
}
