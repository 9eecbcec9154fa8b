//! `sealstone test`: the recipe's tests on the weights that are there; a replay that runs no stage.

use super::Context;
use super::connect::ConnectArgs;
use super::replay;
use super::transfer::TransferArgs;
use super::trust::TrustArgs;
use sealstone::Result;
use sealstone::runner::Choice;
use std::path::PathBuf;

/// Arguments of `sealstone test`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Makes every test of the recipe: data, saving and loading the model, golden answers. No stage runs. It is
`sealstone replay --scope infer` by another name, with the same checks before it and the same exit codes.

Examples:
  sealstone test
  sealstone test my-model --junit junit.xml
  sealstone test registry.example/models/m:1.0.0 --policy policy.toml")]
pub(crate) struct Args {
    /// What to test: a directory with recipe.toml and recipe.lock, HOST/REPOSITORY:TAG, or oci:DIR[:TAG]
    #[arg(value_name = "DIR|REF", default_value = ".")]
    pub(super) target: String,

    /// Write JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,

    /// auto, rootfs, oci, bubblewrap, confined or process; without it, what the recipe says
    #[arg(long, value_name = "RUNNER")]
    pub(super) runner: Option<Choice>,

    #[command(flatten)]
    pub(super) trust: TrustArgs,

    /// Test the bundle whoever made it; never without a warning
    #[arg(long, conflicts_with_all = ["policy", "key"], help_heading = "Trust")]
    pub(super) insecure_skip_signatures: bool,

    #[command(flatten)]
    pub(super) transfer: TransferArgs,

    #[command(flatten)]
    pub(super) connect: ConnectArgs,
}

/// Runs it. The exit code is replay's.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    replay::run(replay::Args::of_tests(args), context).await
}
