//! The command line: one file per command, each with its `Args` and a `run`.
//!
//! Owns arguments, help and what is printed. Does nothing that a user of the library could not do:
//! commands are thin.
//! Invariant: data goes to standard output, everything else to standard error; every failure has an
//! exit code from [`exit`].

mod admin;
mod approve;
mod attest;
mod bom;
mod chain;
mod checkout;
mod compare;
mod completions;
mod connect;
mod copy;
mod diff;
mod docs;
mod drift;
mod env;
mod except;
mod exit;
mod export;
mod gate;
mod import;
mod incident;
mod init;
mod inspect;
mod keygen;
mod lint;
mod list;
mod lock;
mod log;
mod logged;
mod login;
mod output;
mod pack;
mod passphrase;
mod policy;
mod pull;
mod push;
mod rebuildable;
mod release;
mod replay;
mod run;
mod sign;
mod signing;
mod statement;
mod status;
mod stop;
mod test;
mod trace;
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
    /// The exit code, where a command has codes of its own.
    code: std::sync::atomic::AtomicU8,
}

impl Context {
    pub(crate) fn new(output: Output) -> Context {
        Context {
            output,
            code: std::sync::atomic::AtomicU8::new(0),
        }
    }

    /// Ends the program with this code, once the command has ended well.
    pub(crate) fn exit_with(&self, code: u8) {
        self.code.store(code, std::sync::atomic::Ordering::Relaxed);
    }
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
    /// Write a recipe for a project that has none
    Init(init::Args),
    /// Say what is wrong in a recipe, and what could be better
    Lint(lint::Args),
    /// Run the stages of a recipe and lock what came of it
    Run(run::Args),
    /// Make a bundle of a directory, in an OCI layout
    Pack(pack::Args),
    /// Send a bundle from a layout to a registry
    Push(push::Args),
    /// Sign a bundle
    Sign(sign::Args),
    /// Sign a statement about a bundle: provenance, test results, approvals, bills of materials
    Attest(attest::Args),
    /// Write or check a bill of materials
    Bom(bom::Args),
    /// Give a bundle its release tag
    Release(release::Args),
    /// Fetch a bundle, verify it, and only then put it in place
    Pull(pull::Args),
    /// Build a bundle or working directory again and hold it against what it says of itself
    Replay(replay::Args),
    /// Make the tests of a recipe and measure its metrics again, without training
    Test(test::Args),
    /// Judge a bundle by a policy or by keys
    Verify(verify::Args),
    /// Show what a bundle is and what has been said about it
    Inspect(inspect::Args),
    /// Say where a bundle stands, and on whose word
    Status(status::Args),
    /// Ask before a bundle is used: may it be deployed now?
    Gate(gate::Args),
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
    /// Put a release with damaged content into quarantine, and take it out again
    Incident(incident::Args),
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
    /// Say what has changed since the baseline, also where metrics pass
    Drift(drift::Args),
    /// Say whether somebody else has made a model again, and what is missing
    Rebuildable(rebuildable::Args),
    /// Walk from data to deployment, each link by digest
    Chain(chain::Args),
    /// Restore recipe, parameters and code of a release
    Checkout(checkout::Args),
    /// Show what a stage ran, read, wrote and took
    Trace(trace::Args),
    /// Find the release that a file or directory belongs to
    Whoami(whoami::Args),
    /// Copy a bundle with its signatures between registries and layouts
    Copy(copy::Args),
    /// Write a bundle with everything that was said about it into one file
    Export(export::Args),
    /// Bring an exported bundle into a registry; take over a project of DVC or MLflow
    Import(import::Args),
    /// Write the documents of a recipe: how to rebuild, criteria, decisions, troubleshooting
    Docs(docs::Args),
    /// Lock and compare environments; try out what stages are isolated with
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
            Command::Init(args) => init::run(args, context).await,
            Command::Lint(args) => lint::run(args, context),
            Command::Run(args) => run::run(args, context).await,
            Command::Pack(args) => pack::run(args, context).await,
            Command::Push(args) => push::run(args, context).await,
            Command::Sign(args) => sign::run(args, context).await,
            Command::Attest(args) => attest::run(args, context).await,
            Command::Bom(args) => bom::run(args, context).await,
            Command::Release(args) => release::run(args, context).await,
            Command::Pull(args) => pull::run(args, context).await,
            Command::Replay(args) => replay::run(args, context).await,
            Command::Test(args) => test::run(args, context).await,
            Command::Verify(args) => verify::run(args, context).await,
            Command::Inspect(args) => inspect::run(args, context).await,
            Command::Status(args) => status::run(args, context).await,
            Command::Gate(args) => gate::run(args, context).await,
            Command::Policy(args) => policy::run(args, context).await,
            Command::Approve(args) => approve::run(args, context).await,
            Command::Reject(args) => stop::run_reject(args, context).await,
            Command::Deprecate(args) => stop::run_deprecate(args, context).await,
            Command::Revoke(args) => stop::run_revoke(args, context).await,
            Command::Incident(args) => incident::run(args, context).await,
            Command::Except(args) => except::run(args, context).await,
            Command::List(args) => list::run(args, context).await,
            Command::Log(args) => log::run(args, context).await,
            Command::Compare(args) => compare::run(args, context),
            Command::Diff(args) => diff::run(args, context).await,
            Command::Drift(args) => drift::run(args, context).await,
            Command::Rebuildable(args) => rebuildable::run(args, context).await,
            Command::Chain(args) => chain::run(args, context).await,
            Command::Checkout(args) => checkout::run(args, context).await,
            Command::Trace(args) => trace::run(args, context).await,
            Command::Whoami(args) => whoami::run(args, context).await,
            Command::Copy(args) => copy::run(args, context).await,
            Command::Export(args) => export::run(args, context).await,
            Command::Import(args) => import::run(args, context).await,
            Command::Docs(args) => docs::run(args, context),
            Command::Env(args) => env::run(args, context).await,
            Command::Admin(args) => admin::run(args, context).await,
            Command::Completions(args) => completions::run(args, context),
        }
    }
}

/// Reads the arguments, runs the command and reports how it ended.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        // Replay documents its own code for a command line that makes no sense, and testing is a replay.
        let name = std::env::args().nth(1);
        let is_replay = name.is_some_and(|name| name == "replay" || name == "test");
        let code = match error.exit_code() {
            2 if is_replay => replay::USAGE.into(),
            code => code,
        };
        output::misuse(&error, code);
        std::process::exit(code)
    });
    let output = Output::new(cli.output);
    logged::start(cli.verbose, output.format());
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
    // Whoever reads nothing must not take it for a good end; replay has a code of its own for a report that is lost.
    let unread = match cli.command {
        Command::Replay(_) | Command::Test(_) => replay::UNREAD,
        _ => exit::number(sealstone::Outcome::Other),
    };
    let context = Context::new(output);
    match runtime.block_on(cli.command.run(&context)) {
        Ok(()) => match context.code.load(std::sync::atomic::Ordering::Relaxed) {
            0 if context.output.has_lost() => ExitCode::from(unread),
            code => ExitCode::from(code),
        },
        Err(error) => {
            context.output.failure(&error);
            exit::code(error.outcome())
        }
    }
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

/// The templates in deploy/ci: whatever they run must be a command line that this program understands.
#[cfg(test)]
mod templates {
    #![allow(clippy::unwrap_used)]
    use super::Cli;
    use clap::Parser as _;
    use serde_json::Value;

    fn read(name: &str) -> Vec<Value> {
        let path = format!("{}/../deploy/ci/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let documents = text.split("\n---\n");
        documents
            .map(|text| serde_saphyr::from_str(text).unwrap())
            .collect()
    }

    /// Lines of scripts that run this program, wherever they stand.
    fn commands(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) => {
                let lines = text.lines().map(str::trim);
                found.extend(
                    lines
                        .filter(|line| line.starts_with("sealstone "))
                        .map(str::to_owned),
                );
            }
            Value::Array(list) => list.iter().for_each(|value| commands(value, found)),
            Value::Object(map) => map.values().for_each(|value| commands(value, found)),
            _ => {}
        }
    }

    #[track_caller]
    fn parses(words: &[String]) {
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        words.retain(|word| !word.is_empty());
        if let Err(error) = Cli::try_parse_from(&words) {
            panic!("{words:?}: {error}");
        }
    }

    #[test]
    fn build_servers_run_commands_that_exist() {
        for (name, count, replays) in [("github-actions.yaml", 9, 5), ("gitlab-ci.yaml", 9, 5)] {
            let mut found = Vec::new();
            read(name)
                .iter()
                .for_each(|value| commands(value, &mut found));
            assert_eq!(found.len(), count, "{name}: {found:?}");
            let is_replay = |line: &&String| line.starts_with("sealstone replay ");
            assert_eq!(found.iter().filter(is_replay).count(), replays, "{name}");
            for line in found {
                if line.starts_with("sealstone replay ") {
                    assert!(
                        line.contains(" --alert-dir alerts"),
                        "nobody is told: {line}"
                    );
                }
                // Stages may read command lines: what is secret comes by variables and files.
                assert!(!line.contains("WEBHOOK"), "a secret: {line}");
                // What a shell does with the answer is no argument.
                let line = line.split(" > ").next().unwrap_or_default();
                let words: Vec<String> = line
                    .split(' ')
                    .map(|word| word.trim_matches('"').to_owned())
                    .collect();
                parses(&words);
            }
        }
    }

    #[test]
    fn whoever_is_told_is_named_by_a_variable() {
        let document = &read("github-actions.yaml")[0];
        let jobs = document["jobs"].as_object().unwrap();
        let steps = jobs
            .values()
            .filter_map(|job| job["steps"].as_array())
            .flatten();
        let replays: Vec<&Value> = steps
            .filter(|step| {
                let run = step["run"].as_str().unwrap_or_default();
                run.contains("sealstone replay ")
            })
            .collect();
        assert_eq!(replays.len(), 5);
        for step in replays {
            let address = "${{ secrets.SEALSTONE_WEBHOOK }}";
            assert_eq!(step["env"]["SEALSTONE_WEBHOOK"], address, "{step}");
        }
    }

    #[test]
    fn the_job_runs_a_command_that_exists_in_a_closed_place() {
        let documents = read("kubernetes-job.yaml");
        let container = &documents[0]["spec"]["template"]["spec"]["containers"][0];
        let mut words = vec!["sealstone".to_owned()];
        words.extend(
            container["args"]
                .as_array()
                .unwrap()
                .iter()
                .map(|word| word.as_str().unwrap().to_owned()),
        );
        parses(&words);
        is_closed(&documents);
    }

    #[test]
    fn the_job_of_a_commit_runs_commands_that_exist_and_has_no_secret() {
        let mut documents = read("kubernetes-commit.yaml");
        documents.extend(read("kubernetes-commit-network.yaml"));
        let mut found = Vec::new();
        commands(&documents[0], &mut found);
        let is_replay = |line: &&String| line.starts_with("sealstone replay ");
        assert_eq!(found.len(), 7, "{found:?}");
        assert_eq!(found.iter().filter(is_replay).count(), 3);
        for line in &found {
            if line.starts_with("sealstone replay ") {
                assert!(line.contains(" --alert-dir "), "nobody is told: {line}");
            }
            // What a shell does with the answer is no argument.
            let line = line.split(" || ").next().unwrap_or_default();
            let line = line.split(" > ").next().unwrap_or_default();
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            parses(&words);
        }
        is_closed(&documents);
        let text = documents[0].to_string();
        assert!(!text.contains("secret") && !text.contains("PASSWORD"));
    }

    /// A pod that reaches nothing but what its policy names, and is not tried again.
    #[track_caller]
    fn is_closed(documents: &[Value]) {
        let pod = &documents[0]["spec"]["template"]["spec"];
        assert_eq!(documents[0]["spec"]["backoffLimit"], 0);
        for (pointer, due) in [
            ("/restartPolicy", Value::from("Never")),
            ("/automountServiceAccountToken", false.into()),
            ("/enableServiceLinks", false.into()),
        ] {
            assert_eq!(pod.pointer(pointer), Some(&due), "{pointer}");
        }
        let of = |name: &str| pod[name].as_array().into_iter().flatten();
        for container in of("initContainers").chain(of("containers")) {
            assert_eq!(
                container["resources"]["requests"], container["resources"]["limits"],
                "guaranteed"
            );
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
            assert!(container["image"].as_str().unwrap().contains("@sha256:"));
        }
        assert_eq!(documents[1]["kind"], "NetworkPolicy");
        let labels = &documents[0]["spec"]["template"]["metadata"]["labels"];
        let chosen = &documents[1]["spec"]["podSelector"]["matchLabels"];
        assert_eq!(chosen, labels, "the policy is this pod's");
        assert!(
            documents[1]["spec"]["policyTypes"]
                .as_array()
                .unwrap()
                .contains(&"Egress".into())
        );
    }
}
