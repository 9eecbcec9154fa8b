//! `sealstone completions`: completions for a shell, on standard output.

use super::Cli;
use clap::CommandFactory as _;
use sealstone::{Error, Result};
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
pub(crate) fn run(args: Args) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sealstone", &mut script);
    std::io::stdout()
        .write_all(&script)
        .map_err(|source| Error::io("writing completions", source))
}
