//! `sealstone replay`: a bundle or working directory built again and held against what it says of itself.

mod bundle;
mod told;
mod work;
mod workspace;

use super::Context;
use super::connect::ConnectArgs;
use super::output::Format;
use super::passphrase::PassphraseArgs;
use super::transfer::{TransferArgs, unless_interrupted};
use super::trust::TrustArgs;
use bundle::{bring, id_of};
use sealstone::environment::{fetch_image, prefix_in_repository};
use sealstone::keys::read_secret;
use sealstone::releases::{DataAt, place_data};
use sealstone::replay::{Halt, Project, ProjectError, Settings, halted, record_incident};
use sealstone::report::{Surroundings, as_lines, terminal};
use sealstone::runner::Choice;
use sealstone::store::Location;
use sealstone::{Error, Outcome, Result};
use sealstone_spec::digest::Digest;
use sealstone_spec::environment::Isolation;
use sealstone_spec::key::Signer as _;
use sealstone_spec::recipe::RECIPE_FILE;
use sealstone_spec::report::{DigestSet, Override, ReplayScope, Verdict, alert_line};
use serde_json::json as value;
use std::path::{Path, PathBuf};
use std::time::Instant;
use told::{alert, report_damage, state, write_all};
use work::run_replay;
use workspace::{Workspace, make, now, seconds};

/// Arguments of `sealstone replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Verifies signatures, policy and every digest, and halts before anything runs if one of them is wrong. Then
the stages of the recipe run in an empty place, cut off from network and undeclared files as far as this
machine can (recorded, and held against what the recipe demands), and what they write is compared with the
lock. Metrics are computed again, never read from the bundle. A stage that crashes is run once more.

Scopes: verify, infer (golden answers), eval (shipped weights evaluated again), smoke (everything, with the
parameters, inputs and baseline of a profile), full (everything). The environment is made anew from the
wheels or the root file system that the recipe locks.

Exit codes of replay:
  0   reproduced (with warnings too, unless --strict)
  1   reproduced with warnings, and --strict
  2   diverged
  3   halted: bytes or signatures are wrong; nothing was run, and an incident was recorded
  4   error: a stage did not end well twice, or the machine failed; also where it was reproduced and the report could
      not be written or attached
  5   inconclusive: another environment than demanded, too little isolation, unmeasured
  6   denied by the policy, though all signatures hold
  64  the command line makes no sense

Examples:
  sealstone replay registry.example/models/m:1.0.0 --policy policy.toml --sign-with me.key --push
  sealstone replay oci:bundle:1.0.0 --key alice.pub --html report.html
  sealstone replay . --scope eval --junit junit.xml --sarif replay.sarif --markdown comment.md
  sealstone replay . --isolated --twice")]
pub(crate) struct Args {
    /// What to replay: HOST/REPOSITORY:TAG, oci:DIR[:TAG], or a directory with recipe.toml and recipe.lock
    #[arg(value_name = "REF|DIR|LAYOUT")]
    target: String,

    /// How much: verify, infer, eval, smoke or full
    #[arg(long, value_name = "SCOPE", default_value = "full")]
    scope: ReplayScope,

    /// The profile of the scope smoke; without it, the one named smoke
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,

    /// Run each stage on the inputs that the baseline recorded
    #[arg(long)]
    isolated: bool,

    /// Run stages that differ a second time: tells nondeterminism from a changed world; on where CI is set
    #[arg(long)]
    twice: bool,

    /// Run no stage a second time, even where CI is set
    #[arg(long, conflicts_with = "twice")]
    once: bool,

    /// Let warnings fail
    #[arg(long)]
    strict: bool,

    /// auto, rootfs, oci, bubblewrap, confined or process; without it, what the recipe says
    #[arg(long, value_name = "RUNNER")]
    runner: Option<Choice>,

    /// Accept this isolation where the recipe demands more; recorded, and never without a warning
    #[arg(long, value_name = "LEVEL")]
    accept_isolation: Option<Isolation>,

    #[command(flatten)]
    trust: TrustArgs,

    /// Replay the bundle whoever made it; recorded, and never without a warning
    #[arg(long, conflicts_with_all = ["policy", "key"], help_heading = "Trust")]
    insecure_skip_signatures: bool,

    /// Private key that signs the report
    #[arg(long, value_name = "FILE.key", help_heading = "Report")]
    sign_with: Option<PathBuf>,

    /// Attach the signed report, and what follows from it, to the bundle; damaged content of the bundle itself puts a
    /// release into quarantine, and no other halt is attached
    #[arg(long, requires = "sign_with", help_heading = "Report")]
    push: bool,

    /// A name or URI of this machine
    #[arg(
        long,
        value_name = "NAME",
        env = "SEALSTONE_BUILDER",
        default_value = "unnamed",
        help_heading = "Report"
    )]
    builder: String,

    /// Write the report as JSON, with whole tables, in its canonical form
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    report: Option<PathBuf>,

    /// Write the signed statement of the report, as a sigstore bundle
    #[arg(
        long,
        value_name = "FILE",
        requires = "sign_with",
        help_heading = "Report"
    )]
    bundle: Option<PathBuf>,

    /// Write a page
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    html: Option<PathBuf>,

    /// Write JUnit XML
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    junit: Option<PathBuf>,

    /// Write SARIF 2.1.0
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    sarif: Option<PathBuf>,

    /// Write Markdown for a pull request
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    markdown: Option<PathBuf>,

    /// Data that the bundle names and does not hold: where it is here; may be repeated
    #[arg(long, value_name = "PATH=PLACE")]
    data: Vec<DataAt>,

    /// Keep what the stages wrote, their logs and the facts of this machine (environment.json) in this directory, which must not exist
    #[arg(long, value_name = "DIR", help_heading = "Report")]
    keep: Option<PathBuf>,

    /// Post an alert here when the bundle was not reproduced, once for each failure, and when it is again; signed if
    /// there is a key. An address that is a secret belongs into the variable: stages may see command lines
    #[arg(
        long,
        value_name = "URL",
        env = "SEALSTONE_WEBHOOK",
        hide_env_values = true,
        help_heading = "Alerts"
    )]
    webhook: Option<String>,

    /// Write an alert as a file into this directory, once for each failure, whether or not it could be posted; what is
    /// reproduced closes those of the same version, profile and scope or less, and in full all of the version. What was
    /// told is known by it: keep it from one replay to the next. With --webhook alone: alerts/ beside the incidents
    #[arg(long, value_name = "DIR", help_heading = "Alerts")]
    alert_dir: Option<PathBuf>,

    /// What people are told to read
    #[arg(long, value_name = "TEXT", help_heading = "Alerts")]
    runbook: Option<String>,

    /// Where halts are recorded
    #[arg(
        long,
        value_name = "DIR",
        default_value = INCIDENTS,
        help_heading = "Alerts"
    )]
    incidents: PathBuf,

    #[command(flatten)]
    passphrase: PassphraseArgs,

    #[command(flatten)]
    transfer: TransferArgs,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Where halts are recorded.
const INCIDENTS: &str = ".sealstone/incidents";

impl Args {
    /// The profile that is replayed, if it is one.
    fn profile(&self) -> Option<&str> {
        match self.scope {
            ReplayScope::Smoke => Some(self.profile.as_deref().unwrap_or("smoke")),
            _ => None,
        }
    }

    /// Where alerts are posted. A build server sets the variable to nothing where it has no secret of that name.
    fn webhook(&self) -> Option<&str> {
        self.webhook
            .as_deref()
            .filter(|address| !address.is_empty())
    }

    /// A replay of what can be asked of weights that are there.
    pub(super) fn of_tests(tests: super::test::Args) -> Args {
        Args {
            target: tests.target,
            scope: tests.scope,
            profile: None,
            isolated: false,
            twice: false,
            once: true,
            strict: false,
            runner: tests.runner,
            accept_isolation: None,
            trust: tests.trust,
            insecure_skip_signatures: tests.insecure_skip_signatures,
            sign_with: None,
            push: false,
            builder: "unnamed".into(),
            report: None,
            bundle: None,
            html: None,
            junit: tests.junit,
            sarif: None,
            markdown: None,
            data: Vec::new(),
            keep: None,
            webhook: None,
            alert_dir: None,
            runbook: None,
            incidents: INCIDENTS.into(),
            passphrase: PassphraseArgs::default(),
            transfer: tests.transfer,
            connect: tests.connect,
        }
    }
}

/// The exit code of a command line that makes no sense, here.
pub(crate) const USAGE: u8 = 64;
/// The exit code of a replay whose result could not be written, where it had ended well.
pub(crate) const UNREAD: u8 = 4;
/// The exit code of a denial by policy.
const DENIED: u8 = 6;

/// Runs it. The exit code is replay's own, whatever happens.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let code = match whole(&args, context).await {
        Ok(code) => code,
        Err(error) => {
            context.output.failure(&error);
            code_of(&error)
        }
    };
    context.exit_with(code);
    Ok(())
}

/// The exit code of an error beside which there is no verdict.
fn code_of(error: &Error) -> u8 {
    match error.outcome() {
        Outcome::Usage => USAGE,
        _ => Verdict::Error.exit_code(false),
    }
}

/// Brings the image that stages run in, if the recipe names one that does not travel in the bundle. Without it the
/// replay goes on: its report says what was missing. Only an image that is another one halts, and only whoever interrupts
/// it ends it without a verdict.
async fn bring_image(
    args: &Args,
    context: &Context,
    project: &Project,
    is_project: bool,
) -> std::result::Result<(), ProjectError> {
    if args.scope == ReplayScope::Verify {
        return Ok(());
    }
    let environment = project.recipe().environment();
    let (connect, transfer) = (args.connect.options(), args.transfer.options(context));
    // The one that the bundle comes from, if it comes from one: any other was chosen by whoever made the bundle.
    let asked = match args.target.parse() {
        Ok(Location::Registry(image)) if !is_project => Some(image.registry),
        _ => None,
    };
    let asked = asked.as_deref();
    let fetched = fetch_image(environment, project.root(), &connect, &transfer, asked);
    let fetched = unless_interrupted(fetched).await;
    let Err(error) = fetched.map_err(ProjectError::Failed)? else {
        return Ok(());
    };
    match Halt::of_error(&error, "environment") {
        Some(halt) if error.outcome() == Outcome::Halted => Err(halt.into()),
        _ => {
            context.output.failure(&error);
            Ok(())
        }
    }
}

/// Puts data that the bundle names and does not hold beside its files. Data that is not what the lock says halts.
fn bring_data(
    args: &Args,
    project: &Project,
    is_project: bool,
) -> Result<std::result::Result<(), Halt>> {
    if is_project && !args.data.is_empty() {
        return Err(Error::usage(
            "--data is for bundles: in a working directory, put the data where the recipe has it",
        ));
    }
    for data in &args.data {
        match place_data(project.lock(), data, project.root()) {
            Ok(_) => {}
            Err(error) if error.outcome() == Outcome::Halted => {
                let owner = project.recipe().owner().map(str::to_owned);
                let mut halt = Halt::new("input-digest", data.path.as_str(), error.message());
                halt.owner = owner;
                return Ok(Err(halt));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Ok(()))
}

async fn whole(args: &Args, context: &Context) -> Result<u8> {
    if args.scope != ReplayScope::Smoke && args.profile.is_some() {
        return Err(
            Error::usage("a profile is replayed by the scope smoke alone")
                .hint("add --scope smoke, or leave out --profile"),
        );
    }
    let profile = args.profile();
    let signer = match &args.sign_with {
        Some(path) => Some(read_secret(path, &mut args.passphrase.passphrases())?),
        None => None,
    };
    let started = now();
    let space = Workspace::make(args.keep.as_deref())?;
    let mut settings = Settings::new(space.path().join("replay"));
    make(&settings.workspace)?;
    settings.scope = args.scope;
    settings.isolated = args.isolated;
    settings.twice = args.twice || (!args.once && in_ci());
    settings.accept_isolation = args.accept_isolation;
    settings.builder = args.builder.clone();
    settings.key = signer.as_ref().map(|key| *key.public_key().id());
    if args.insecure_skip_signatures {
        settings.overrides.push(Override {
            kind: "insecure".into(),
            id: "signatures".into(),
            expires: None,
            reason: Some("--insecure-skip-signatures was given".into()),
        });
    }
    let directory = Path::new(&args.target);
    let is_project = directory.join(RECIPE_FILE).is_file();
    let mut found = None;
    let mut fetch = None;
    let loaded = if is_project {
        if args.push {
            return Err(
                Error::usage("a working directory has no place to attach a report to")
                    .hint("pack and push it, then replay the bundle"),
            );
        }
        // Runners bind files by their whole path.
        let directory = std::fs::canonicalize(directory)
            .map_err(|source| Error::io(format!("finding \"{}\"", args.target), source))?;
        Project::of_directory(&directory, profile)
            .map_err(|error| (error, args.target.clone(), None))
    } else {
        let began = Instant::now();
        let brought = bring(args, context, &mut settings, space.path(), &mut found).await?;
        fetch = Some(seconds(began));
        match brought {
            Err((halt, id, digest)) => Err((ProjectError::Halt(halt), id, Some(digest))),
            Ok((directory, digest)) => {
                let id = id_of(&args.target.parse()?, Some(&digest));
                let project = Project::of_bundle(&directory, &id, digest, profile);
                project.map_err(|error| (error, id, Some(digest)))
            }
        }
    };
    let mut recipe_path = RECIPE_FILE.to_owned();
    if is_project {
        // Viewers look for it from the top of the repository.
        recipe_path.insert_str(0, &prefix_in_repository(directory));
    }
    let around = Surroundings {
        runbook: args.runbook.clone(),
        recipe_path,
        ..Surroundings::of(args.target.clone())
    };
    // What could not be written or attached: it hides no verdict, and keeps nobody from being told.
    let mut failures: Vec<Error> = Vec::new();
    let mut denied = false;
    // A replay that was not halted says something about the bundle, whatever it says.
    let mut about_bundle = true;
    let replayed = match loaded {
        Ok(project) => {
            let work = || run_replay(args, context, &project, &settings, space.path());
            let brought =
                match tokio::task::block_in_place(|| bring_data(args, &project, is_project))? {
                    Ok(()) => bring_image(args, context, &project, is_project).await,
                    Err(halt) => Err(halt.into()),
                };
            let replayed = brought.and_then(|()| tokio::task::block_in_place(work));
            replayed.map_err(|error| (error, project.id().to_owned(), Some(*project.digest())))
        }
        Err(error) => Err(error),
    };
    let mut report = match replayed {
        Ok(report) => report,
        Err((ProjectError::Failed(error), _, _)) => return Err(error),
        Err((ProjectError::Halt(halt), id, digest)) => {
            // A directory's name, `.` as a rule, would be another model than the one that is reproduced later.
            let id = halt.id.clone().unwrap_or(id);
            let digest = digest.unwrap_or_else(|| Digest::sha256(id.as_bytes()));
            (denied, about_bundle) = (halt.denied, halt.about_bundle);
            // The user's own directory stays where it is; what was brought here does not.
            let brought = ["baseline", "quarantine"].map(|name| space.path().join(name));
            let report = halted(&halt, &id, DigestSet(digest), &settings, &started, &now());
            match record_incident(&args.incidents, &halt, &report, &brought) {
                Ok(recorded) => {
                    context.output.note(format!(
                        "halted; the incident is recorded in \"{}\"",
                        recorded.path.display()
                    ));
                    failures.extend(recorded.problem.map(|problem| {
                        Error::other(format!("the evidence is not all in quarantine: {problem}"))
                    }));
                }
                Err(error) => failures.push(error),
            }
            report
        }
    };
    report
        .timings
        .extend(fetch.map(|took| ("fetch".to_owned(), took)));
    alert(args, context, &report, signer.as_ref()).await;
    failures.extend(write_all(args, &report, &around).err());
    let mut attached = Vec::new();
    if let Some(signer) = &signer {
        // Another policy, key, image or data of whoever replays halts as well, and says nothing about the bundle.
        let found = found.as_ref().filter(|_| about_bundle);
        match state(args, &report, signer, found).await {
            Ok(digests) => attached = digests,
            Err(error) => failures.push(error),
        }
        if let Some((place, manifest)) = found.filter(|_| args.push) {
            match report_damage(&report, signer, place, manifest).await {
                Ok(digest) => attached.extend(digest),
                Err(error) => failures.push(error),
            }
        }
    }
    let colour = context.output.format() == Format::Human;
    let mut text = terminal(&report, &around, colour);
    for digest in &attached {
        text.push_str(&format!("\nattached {digest}"));
    }
    let result = value!({"report": report.to_predicate(), "attached": attached, "alert": alert_line(&report, args.runbook.as_deref())});
    if !report.verdict.is_reproduced() && context.output.format() != Format::Json {
        let line = alert_line(&report, args.runbook.as_deref());
        text.push_str(&format!("\n\n{}", as_lines(&line)));
    }
    context.output.coloured_result(&result, text);
    for error in &failures {
        context.output.failure(error);
    }
    let code = if denied {
        DENIED
    } else {
        report.verdict.exit_code(args.strict)
    };
    Ok(match failures.first() {
        Some(error) if code == 0 => code_of(error),
        _ => code,
    })
}

/// Whether a CI system runs this: they all set CI, and people who set it to say no write false or nothing.
fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Cli, Command};
    use super::*;
    use clap::{CommandFactory as _, Parser as _};

    /// A stage may read the command lines of all processes, and an address to post to is a secret as a rule.
    #[test]
    fn an_address_to_post_to_need_not_stand_in_a_command_line() {
        let command = Cli::command();
        let replay = command.find_subcommand("replay").unwrap();
        let mut arguments = replay.get_arguments();
        let webhook = arguments.find(|argument| argument.get_id() == "webhook");
        let webhook = webhook.unwrap();
        assert_eq!(webhook.get_env().unwrap(), "SEALSTONE_WEBHOOK");
        assert!(webhook.is_hide_env_values_set());
        for (given, due) in [
            ("", None),
            ("https://h.example/x", Some("https://h.example/x")),
        ] {
            let parsed = Cli::try_parse_from(["sealstone", "replay", "m", "--webhook", given]);
            let Command::Replay(args) = parsed.unwrap().command else {
                panic!("another command");
            };
            assert_eq!(args.webhook(), due);
        }
    }

    #[test]
    fn testing_is_a_replay_that_trains_nothing() {
        let parsed = |words: &[&str]| match Cli::try_parse_from(words).unwrap().command {
            Command::Test(args) => Args::of_tests(args),
            other => panic!("{other:?}"),
        };
        let here = parsed(&["sealstone", "test", "--junit", "junit.xml"]);
        assert_eq!((here.target.as_str(), here.scope), (".", ReplayScope::Eval));
        let alone = parsed(&["sealstone", "test", "--scope", "infer"]);
        assert_eq!(alone.scope, ReplayScope::Infer);
        assert_eq!(here.junit.as_deref(), Some(Path::new("junit.xml")));
        let replayed = Cli::try_parse_from(["sealstone", "replay", "m"]).unwrap();
        let Command::Replay(replayed) = replayed.command else {
            panic!("another command");
        };
        assert_eq!(here.incidents, replayed.incidents);
        let there = parsed(&["sealstone", "test", "h/m:1", "--insecure-skip-signatures"]);
        assert_eq!(there.target, "h/m:1");
        assert!(there.insecure_skip_signatures);
        for scope in ["verify", "smoke", "full", "none"] {
            let refused = Cli::try_parse_from(["sealstone", "test", "--scope", scope]);
            assert!(refused.is_err(), "{scope}");
        }
    }
}
