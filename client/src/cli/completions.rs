//! `sealstone completions`: completions for a shell, on standard output.

use super::{Cli, Context};
use clap::CommandFactory as _;
use sealstone::Result;
use std::io::Write as _;

/// Arguments of `sealstone completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  sealstone completions bash > ~/.local/share/bash-completion/completions/sealstone")]
pub(crate) struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

/// Runs it.
pub(crate) fn run(args: Args, context: &Context) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sealstone", &mut script);
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(&script).and_then(|()| stdout.flush());
    context.output.took(written);
    Ok(())
}
