//! `sealstone test`: everything that can be asked of the weights that are there; a replay that trains nothing.

use super::Context;
use super::connect::ConnectArgs;
use super::replay;
use super::transfer::TransferArgs;
use super::trust::TrustArgs;
use sealstone::Result;
use sealstone::runner::Choice;
use sealstone_spec::report::ReplayScope;
use std::path::PathBuf;

/// Arguments of `sealstone test`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Asks everything of the weights that are there, and trains nothing: digests and signatures; data; saving and loading
the model; golden answers; metrics, measured again by the evaluate stages (with the infer stages before them) and held
against the baseline's; what these stages took; documents. A recipe without an evaluate stage has its tests made, and
with --scope infer so has any: no stage runs then, and no metric is measured. It is `sealstone replay --scope eval` (or
infer) by another name, with the same checks before it and the same exit codes.

Examples:
  sealstone test
  sealstone test my-model --junit junit.xml
  sealstone test --scope infer
  sealstone test registry.example/models/m:1.0.0 --policy policy.toml")]
pub(crate) struct Args {
    /// What to test: a directory with recipe.toml and recipe.lock, HOST/REPOSITORY:TAG, or oci:DIR[:TAG]
    #[arg(value_name = "DIR|REF", default_value = ".")]
    pub(super) target: String,

    /// How much: eval, or infer for the recipe's tests alone
    #[arg(long, value_name = "SCOPE", default_value = "eval", value_parser = read_scope)]
    pub(super) scope: ReplayScope,

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

fn read_scope(text: &str) -> std::result::Result<ReplayScope, String> {
    match text.parse::<ReplayScope>()? {
        scope @ (ReplayScope::Infer | ReplayScope::Eval) => Ok(scope),
        other => Err(format!(
            "tests are made at the scope eval or infer; for this one: sealstone replay --scope {other}"
        )),
    }
}

/// Runs it. The exit code is replay's.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    replay::run(replay::Args::of_tests(args), context).await
}
