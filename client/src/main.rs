//! The `sealstone` command: reads arguments, runs one command, turns its outcome into an exit code.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
