//! `sealstone checkout`: recipe, parameters and code of a release, restored in a directory.

use super::Context;
use super::connect::ConnectArgs;
use super::output::in_line;
use super::trust::TrustArgs;
use sealstone::releases::{SealedRelease, restore};
use sealstone::store::Location;
use sealstone::trust::evidence_for;
use sealstone::{Error, Result};
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `sealstone checkout`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Writes what people write: recipe, lock, parameters, code, tests, lists of packages; exactly as they are in the release.
Data and outputs are not touched: `sealstone run` makes outputs again. Files that differ are named and left, or replaced
with --force. The release is verified first. Exit code 7 if files differ.

Examples:
  sealstone checkout registry.example/models/m:1.0.0 --policy policy.toml
  sealstone checkout oci:bundle:1.0.0 --key builder.pub --parameters-only --force -o project")]
pub(crate) struct Args {
    /// The release: HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST, oci:DIR[:TAG] or an exported FILE.tar
    #[arg(value_name = "LOCATION")]
    location: Location,

    /// The directory
    #[arg(long, short = 'o', value_name = "DIR", default_value = ".")]
    out: PathBuf,

    /// Only recipe, lock and parameters
    #[arg(long)]
    parameters_only: bool,

    /// Replace files that differ
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    trust: TrustArgs,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    if !args.trust.names_somebody() {
        return Err(Error::usage("nobody to trust was named")
            .hint("give --policy FILE, or --key FILE.pub for each signer"));
    }
    let options = args.connect.options();
    let repository = args.trust.repository(&args.location)?;
    let store = args.location.open(&options)?;
    let (manifest, seen) = args
        .connect
        .resolve_logged(&args.location, store.as_ref())
        .await?;
    let judge = args
        .trust
        .judge_for(&args.location, &options, store.as_ref(), &manifest)
        .await?
        .ok_or_else(|| Error::usage("nobody to trust was named"))?;
    let evidence = evidence_for(store.as_ref(), &manifest, judge.policy(), seen.as_ref()).await?;
    judge.judge(&repository, &manifest, &evidence)?;
    let release = SealedRelease::read(store.as_ref(), &manifest).await?;
    let restored = restore(
        store.as_ref(),
        &manifest,
        &release,
        &args.out,
        args.parameters_only,
        args.force,
    )
    .await?;
    let mut text = format!("{} in {}", in_line(&release.name()), args.out.display());
    for path in &restored.written {
        text.push_str(&format!("\n  wrote {}", in_line(path)));
    }
    text.push_str(&format!("\n  {} were there already", restored.kept.len()));
    let value = json!({"release": release.name(), "digest": release.digest, "lock": release.lock.digest(),
        "written": restored.written, "kept": restored.kept});
    context.output.result(&value, text);
    Ok(())
}
