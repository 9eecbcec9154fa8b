//! `sealstone list`: tags of a repository or layout, or repositories of a registry.

use super::Context;
use super::connect::ConnectArgs;
use super::log::{watch, watch_registry};
use sealstone::store::Location;
use sealstone::transport::{Registry, repositories};
use sealstone::{Error, Result};
use serde_json::json;

/// Arguments of `sealstone list`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows what you may see. With --output json, one object holds the whole list.

Examples:
  sealstone list registry.example                    repositories
  sealstone list registry.example/models/my-model    tags
  sealstone list oci:bundle                          tags of a layout")]
pub(crate) struct Args {
    /// A registry (HOST[:PORT]), a repository (HOST/REPOSITORY) or a layout (oci:DIR)
    #[arg(value_name = "PLACE")]
    place: String,

    /// Show lists of signatures and attestations (sha256-...) among the tags too
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let options = args.connect.options();
    if !args.place.contains('/') && !args.place.starts_with("oci:") {
        let registry = Registry::new(&args.place, None, &options)?;
        watch_registry(&args.place, &options).await?;
        let found = repositories(&registry).await?;
        let lines: Vec<&str> = found.iter().map(|name| name.as_str()).collect();
        let value = json!({"registry": args.place, "repositories": found});
        context.output.result(&value, lines.join("\n"));
        return Ok(());
    }
    let location: Location = args.place.parse()?;
    if location.reference().is_some() {
        return Err(Error::usage(format!(
            "\"{location}\" names one bundle, not a place with several"
        ))
        .hint(format!("show it with: sealstone inspect {location}")));
    }
    let store = location.open(&options)?;
    watch(&location, &options).await?;
    let mut tags = store.tags().await?;
    tags.retain(|tag| args.all || !tag.is_evidence_list());
    let lines: Vec<&str> = tags.iter().map(|tag| tag.as_str()).collect();
    context.output.result(
        &json!({"place": args.place, "tags": tags}),
        lines.join("\n"),
    );
    Ok(())
}
