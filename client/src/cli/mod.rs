//! The command line: one file per command, each with its `Args` and a `run`.
//!
//! Owns arguments, help and what is printed. Does nothing that a user of the library could not do:
//! commands are thin.
//! Invariant: data goes to standard output, everything else to standard error; every failure has an
//! exit code from [`exit`].

mod admin;
mod approve;
mod compare;
mod completions;
mod connect;
mod copy;
mod diff;
mod env;
mod except;
mod exit;
mod export;
mod import;
mod inspect;
mod keygen;
mod list;
mod log;
mod login;
mod output;
mod pack;
mod passphrase;
mod policy;
mod pull;
mod push;
mod release;
mod sign;
mod signing;
mod statement;
mod status;
mod stop;
mod transfer;
mod trust;
mod verify;
mod whoami;

use clap::{Parser, Subcommand};
use output::{Format, Output};
use sealstone::Result;
use std::process::ExitCode;

/// What every command is given beside its own arguments.
pub(crate) struct Context {
    /// Where results, notes and progress go.
    pub(crate) output: Output,
}

/// A registry for machine-learning models whose releases are sealed: packed the same on every
/// machine, signed, judged by a policy, and verified before one byte of them is used.
#[derive(Debug, Parser)]
#[command(name = "sealstone", version, max_term_width = 100)]
#[command(arg_required_else_help = true, subcommand_required = true)]
#[command(after_long_help = exit::HELP, after_help = FIRST_STEPS)]
struct Cli {
    /// How results are written: human (with progress bars), plain (lines) or json (one object a
    /// line). Without it: human on a terminal, plain elsewhere
    #[arg(long, global = true, value_enum, env = "SEALSTONE_OUTPUT")]
    output: Option<Format>,

    /// Say more on standard error; twice for every request
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

const FIRST_STEPS: &str = "\
The main job:
  sealstone keygen --out release                      make a signing key
  sealstone pack ./my-model -o bundle:1.0.0           make a bundle of a directory
  sealstone login registry.example
  sealstone push oci:bundle:1.0.0 registry.example/models/my-model
  sealstone sign registry.example/models/my-model@sha256:... --key release.key
  sealstone release registry.example/models/my-model@sha256:... 1.0.0
  sealstone pull registry.example/models/my-model:1.0.0 --policy policy.toml -o ./my-model

`sealstone COMMAND --help` explains each with examples; `sealstone --help` lists the exit codes.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Log in to a registry
    Login(login::Args),
    /// Forget what is kept for a registry
    Logout(login::LogoutArgs),
    /// Make a signing key: Ed25519 and its P-256 companion
    Keygen(keygen::Args),
    /// Make a bundle of a directory, in an OCI layout
    Pack(pack::Args),
    /// Send a bundle from a layout to a registry
    Push(push::Args),
    /// Sign a bundle
    Sign(sign::Args),
    /// Give a bundle its release tag
    Release(release::Args),
    /// Fetch a bundle, verify it, and only then put it in place
    Pull(pull::Args),
    /// Judge a bundle by a policy or by keys
    Verify(verify::Args),
    /// Show what a bundle is and what has been said about it
    Inspect(inspect::Args),
    /// Say where a bundle stands, and on whose word
    Status(status::Args),
    /// Write, understand, compare and sign policies
    Policy(policy::Args),
    /// Approve a bundle, under its rules and on its evidence
    Approve(approve::Args),
    /// Say that a bundle shall not be released
    Reject(stop::RejectArgs),
    /// Say that a release is superseded
    Deprecate(stop::DeprecateArgs),
    /// Say that nobody shall use a release any more
    Revoke(stop::RevokeArgs),
    /// Waive a rule for a bundle, for a time
    Except(except::Args),
    /// List tags or repositories
    List(list::Args),
    /// Check a registry's transparency log
    Log(log::Args),
    /// Compare two files or directories, tensor by tensor
    Compare(compare::Args),
    /// Show what changed between two releases
    Diff(diff::Args),
    /// Find the release that a file or directory belongs to
    Whoami(whoami::Args),
    /// Copy a bundle with its signatures between registries and layouts
    Copy(copy::Args),
    /// Write a bundle with everything that was said about it into one file
    Export(export::Args),
    /// Bring an exported bundle into a registry
    Import(import::Args),
    /// Show and compare environments; try out what stages are isolated with
    Env(env::Args),
    /// Manage accounts, tokens and storage of a Sealstone registry
    Admin(admin::Args),
    /// Print completions for a shell
    Completions(completions::Args),
}

impl Command {
    async fn run(self, context: &Context) -> Result<()> {
        match self {
            Command::Login(args) => login::run(args, context).await,
            Command::Logout(args) => login::run_logout(args, context).await,
            Command::Keygen(args) => keygen::run(args, context),
            Command::Pack(args) => pack::run(args, context).await,
            Command::Push(args) => push::run(args, context).await,
            Command::Sign(args) => sign::run(args, context).await,
            Command::Release(args) => release::run(args, context).await,
            Command::Pull(args) => pull::run(args, context).await,
            Command::Verify(args) => verify::run(args, context).await,
            Command::Inspect(args) => inspect::run(args, context).await,
            Command::Status(args) => status::run(args, context).await,
            Command::Policy(args) => policy::run(args, context).await,
            Command::Approve(args) => approve::run(args, context).await,
            Command::Reject(args) => stop::run_reject(args, context).await,
            Command::Deprecate(args) => stop::run_deprecate(args, context).await,
            Command::Revoke(args) => stop::run_revoke(args, context).await,
            Command::Except(args) => except::run(args, context).await,
            Command::List(args) => list::run(args, context).await,
            Command::Log(args) => log::run(args, context).await,
            Command::Compare(args) => compare::run(args, context),
            Command::Diff(args) => diff::run(args, context).await,
            Command::Whoami(args) => whoami::run(args, context).await,
            Command::Copy(args) => copy::run(args, context).await,
            Command::Export(args) => export::run(args, context).await,
            Command::Import(args) => import::run(args, context).await,
            Command::Env(args) => env::run(args, context).await,
            Command::Admin(args) => admin::run(args, context).await,
            Command::Completions(args) => completions::run(args),
        }
    }
}

/// Reads the arguments, runs the command and reports how it ended.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.output);
    start_log(cli.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(source) => {
            let error = sealstone::Error::io("starting the runtime", source);
            output.failure(&error);
            return exit::code(error.outcome());
        }
    };
    let context = Context { output };
    match runtime.block_on(cli.command.run(&context)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            context.output.failure(&error);
            exit::code(error.outcome())
        }
    }
}

fn start_log(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "sealstone=debug",
        _ => "sealstone=trace,reqwest=debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("SEALSTONE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_teaches_with_an_example() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            if ["completions", "help"].contains(&name) {
                continue;
            }
            let help = command.clone().render_long_help().to_string();
            assert!(
                help.contains(&format!("sealstone {name}")),
                "{name} has no example"
            );
        }
    }
}
