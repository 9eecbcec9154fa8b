//! `sealstone replay`: a bundle or working directory built again and held against what it says of itself.

use super::Context;
use super::connect::ConnectArgs;
use super::output::Format;
use super::passphrase::PassphraseArgs;
use super::transfer::{TransferArgs, interruptible};
use super::trust::TrustArgs;
use sealstone::compare::compare_artifact;
use sealstone::keys::read_secret;
use sealstone::replay::{
    Halt, Project, ProjectError, Settings, Tools, Webhook, drop_file, halted, record_incident,
    replay, statements,
};
use sealstone::report::{Surroundings, html, json, junit, markdown, sarif, terminal};
use sealstone::runner::{Choice, RunnerKind, Software, choose};
use sealstone::store::Location;
use sealstone::transfer::{Place, Requirement, pull};
use sealstone::trust::{attach, evidence_of};
use sealstone::{Error, Outcome, Result};
use sealstone_spec::digest::Digest;
use sealstone_spec::environment::Isolation;
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::recipe::{Environment, RECIPE_FILE, RunnerChoice};
use sealstone_spec::report::{DigestSet, Override, ReplayScope, Report, Verdict, alert_line};
use sealstone_spec::sigstore::SigstoreBundle;
use sealstone_spec::words::three_words;
use serde_json::json as value;
use std::path::{Path, PathBuf};

/// Arguments of `sealstone replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Verifies signatures, policy and every digest, and halts before anything runs if one of them is wrong. Then
the stages of the recipe run in an empty place, cut off from network and undeclared files as far as this
machine can (recorded, and held against what the recipe demands), and what they write is compared with the
lock. Metrics are computed again, never read from the bundle. A stage that crashes is run once more.

Scopes: verify, infer (golden answers), eval (shipped weights evaluated again), full (everything).

Exit codes of replay:
  0   reproduced (with warnings too, unless --strict)
  1   reproduced with warnings, and --strict
  2   diverged
  3   halted: bytes or signatures are wrong; nothing was run, and an incident was recorded
  4   error: a stage did not end well twice, or the machine failed
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

    /// How much: verify, infer, eval or full
    #[arg(long, value_name = "SCOPE", default_value = "full")]
    scope: ReplayScope,

    /// Run each stage on the inputs that the baseline recorded
    #[arg(long)]
    isolated: bool,

    /// Run stages that differ a second time: tells nondeterminism from a changed world
    #[arg(long)]
    twice: bool,

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

    /// Attach the signed report, and what follows from it, to the bundle
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

    /// Write the report as JSON
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

    /// Keep what the stages wrote, and their logs, in this directory, which must not exist
    #[arg(long, value_name = "DIR", help_heading = "Report")]
    keep: Option<PathBuf>,

    /// Post an alert here when the bundle was not reproduced; signed if there is a key
    #[arg(long, value_name = "URL", help_heading = "Alerts")]
    webhook: Option<String>,

    /// Write an alert as a file into this directory, once for each failure
    #[arg(long, value_name = "DIR", help_heading = "Alerts")]
    alert_dir: Option<PathBuf>,

    /// What people are told to read
    #[arg(long, value_name = "TEXT", help_heading = "Alerts")]
    runbook: Option<String>,

    /// Where halts are recorded
    #[arg(
        long,
        value_name = "DIR",
        default_value = ".sealstone/incidents",
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

/// The exit code of a command line that makes no sense, here.
pub(crate) const USAGE: u8 = 64;
/// The exit code of a denial by policy.
const DENIED: u8 = 6;

/// A bundle that passed, or why it did not.
struct Verified {
    place: Place,
    manifest: VerifiedManifest,
    directory: PathBuf,
}

/// Runs it. The exit code is replay's own, whatever happens.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let code = match whole(&args, context).await {
        Ok(code) => code,
        Err(error) => {
            context.output.failure(&error);
            match error.outcome() {
                Outcome::Usage => USAGE,
                _ => Verdict::Error.exit_code(false),
            }
        }
    };
    context.exit_with(code);
    Ok(())
}

async fn whole(args: &Args, context: &Context) -> Result<u8> {
    if args.scope == ReplayScope::Smoke {
        return Err(Error::usage("profiles are not replayed by this version")
            .hint("use --scope eval, or --scope full"));
    }
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
    settings.twice = args.twice;
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
    let mut verified = None;
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
        Project::of_directory(&directory).map_err(|error| (error, args.target.clone(), None))
    } else {
        match bundle(args, context, &mut settings, space.path()).await? {
            Err((halt, id, digest)) => Err((ProjectError::Halt(halt), id, Some(digest))),
            Ok(passed) => {
                let digest = *passed.manifest.digest();
                let id = id_of(&args.target.parse()?, &digest);
                let project = Project::of_bundle(&passed.directory, &id, digest);
                verified = Some(passed);
                project.map_err(|error| (error, id, Some(digest)))
            }
        }
    };
    let around = Surroundings {
        runbook: args.runbook.clone(),
        ..Surroundings::of(args.target.clone())
    };
    let mut denied = false;
    let report = match loaded {
        Ok(project) => {
            let fetched = now();
            let report = interruptible(run_replay(args, context, &project, &settings)).await?;
            context.output.note(format!(
                "verified at {fetched}, replayed as {}",
                settings.builder
            ));
            report
        }
        Err((ProjectError::Failed(error), _, _)) => return Err(error),
        Err((ProjectError::Halt(halt), id, digest)) => {
            let digest = digest.unwrap_or_else(|| Digest::sha256(id.as_bytes()));
            denied = halt.denied;
            let report = halted(&halt, &id, DigestSet(digest), &settings, &started, &now());
            let record = record_incident(&args.incidents, &halt, &report)?;
            context.output.note(format!(
                "halted; the incident is recorded in \"{}\"",
                record.display()
            ));
            report
        }
    };
    write_all(args, &report, &around)?;
    let mut attached = Vec::new();
    if let Some(signer) = &signer {
        attached = state(args, &report, signer, verified.as_ref()).await?;
    }
    alert(args, context, &report, signer.as_ref()).await;
    let colour = context.output.format() == Format::Human;
    let mut text = terminal(&report, &around, colour);
    for digest in &attached {
        text.push_str(&format!("\nattached {digest}"));
    }
    let result = value!({"report": report.to_predicate(), "attached": attached, "alert": alert_line(&report, args.runbook.as_deref())});
    if !report.verdict.is_reproduced() && context.output.format() != Format::Json {
        text.push_str(&format!(
            "\n\n{}",
            alert_line(&report, args.runbook.as_deref())
        ));
    }
    context.output.result(&result, text);
    Ok(if denied {
        DENIED
    } else {
        report.verdict.exit_code(args.strict)
    })
}

fn id_of(location: &Location, digest: &Digest) -> String {
    let name = location.name();
    let name = name.rsplit('/').next().unwrap_or("model").to_owned();
    let words = three_words(digest);
    match location.tag() {
        Some(tag) => format!("{name}:{tag}~{words}"),
        None => format!("{name}~{words}"),
    }
}

/// Verifies a bundle and brings its files into the workspace. A halt is no error: it is a result.
async fn bundle(
    args: &Args,
    context: &Context,
    settings: &mut Settings,
    space: &Path,
) -> Result<std::result::Result<Verified, (Halt, String, Digest)>> {
    let location: Location = args.target.parse().map_err(|error: Error| {
        error.hint(format!(
            "\"{}\" is no directory with a {RECIPE_FILE} either",
            args.target
        ))
    })?;
    if !args.trust.names_somebody() && !args.insecure_skip_signatures {
        return Err(Error::usage("nobody to trust was named, so nothing would be verified")
            .hint("give --policy FILE (or set SEALSTONE_POLICY), or --key FILE.pub for each signer")
            .hint("without any signature: --insecure-skip-signatures"));
    }
    let unknown = Digest::sha256(args.target.as_bytes());
    let halt = |error: Error, id: String, digest: Digest| match Halt::of_error(&error, &args.target)
    {
        Some(halt) => Ok(Err((halt, id, digest))),
        None => Err(error),
    };
    let place = match Place::open(&location, &args.connect.options()) {
        Ok(place) => place,
        Err(error) => return halt(error, args.target.clone(), unknown),
    };
    let manifest = match location.resolve(place.store()).await {
        Ok(manifest) => manifest,
        Err(error) => return halt(error, args.target.clone(), unknown),
    };
    let digest = *manifest.digest();
    let id = id_of(&location, &digest);
    let judge = args
        .trust
        .judge_for(&location, &args.connect.options(), place.store(), &manifest)
        .await;
    let judge = match judge {
        Ok(judge) => judge,
        Err(error) => return halt(error, id, digest),
    };
    let judgement = match &judge {
        None => None,
        Some(judge) => {
            settings.policy = Some(*judge.policy().digest());
            let repository = args.trust.repository(&location)?;
            let evidence = match evidence_of(place.store(), &manifest).await {
                Ok(evidence) => evidence,
                Err(error) => return halt(error, id, digest),
            };
            match judge.judge(&repository, &manifest, &evidence) {
                Ok(judgement) => Some(judgement),
                Err(error) => return halt(error, id, digest),
            }
        }
    };
    let requirement = match &judgement {
        Some(judgement) => Requirement::Admitted(&judgement.admission),
        None => Requirement::NoSignatures,
    };
    let directory = space.join("baseline");
    let transfer = args.transfer.options(context);
    match interruptible(pull(
        &place,
        &manifest,
        requirement,
        &directory,
        false,
        &transfer,
    ))
    .await
    {
        Ok(_) => Ok(Ok(Verified {
            place,
            manifest,
            directory,
        })),
        Err(error) => halt(error, id, digest),
    }
}

async fn run_replay(
    args: &Args,
    context: &Context,
    project: &Project,
    settings: &Settings,
) -> Result<Report> {
    if !matches!(project.recipe().environment(), Environment::Host)
        && settings.scope != ReplayScope::Verify
    {
        return Err(Error::other(format!(
            "environments of kind \"{}\" are not materialised by this version",
            project.recipe().environment().kind()
        ))
        .hint("with kind = \"host\", or --scope verify"));
    }
    let wanted = match (args.runner, project.recipe().isolation().runner) {
        (Some(choice), _) => choice,
        (None, RunnerChoice::Rootfs) => Choice::Only(RunnerKind::Rootfs),
        (None, RunnerChoice::Oci) => Choice::Only(RunnerKind::Oci),
        (None, RunnerChoice::Bwrap) => Choice::Only(RunnerKind::Bubblewrap),
        (None, RunnerChoice::Process) => Choice::Only(RunnerKind::Confined),
        (None, _) => Choice::Auto,
    };
    // Whether it is enough is for the report to say; so here anything that runs will do.
    let minimum = project.recipe().isolation().minimum;
    let chosen = choose(wanted, false, minimum, Some(Isolation::I0))?;
    let output = context.output.clone();
    let work = |chosen: sealstone::runner::Chosen| {
        let tools = Tools {
            runner: chosen.runner.as_ref(),
            isolation: chosen.isolation,
            software: Software::default(),
            facts: None,
            compare: &compare_artifact,
            clock: &now,
            tell: &|entry| {
                let mark = if entry.ok { "ok" } else { "FAILED" };
                let note = entry
                    .note
                    .as_deref()
                    .map(|note| format!(": {note}"))
                    .unwrap_or_default();
                output.note(format!("{} {} {mark}{note}", entry.event, entry.subject));
            },
        };
        replay(project, settings, &tools)
    };
    tokio::task::block_in_place(|| work(chosen))
}

fn write_all(args: &Args, report: &Report, around: &Surroundings) -> Result<()> {
    let files = [
        (&args.report, json(report)),
        (&args.junit, junit(report)),
        (&args.sarif, sarif(report, around)),
        (&args.markdown, markdown(report, around)),
    ];
    for (path, text) in files {
        if let Some(path) = path {
            write(path, text.as_bytes())?;
        }
    }
    if let Some(path) = &args.html {
        write(path, html(report, around)?.as_bytes())?;
    }
    Ok(())
}

/// Signs the report, and with --push attaches it with all that follows from it.
async fn state(
    args: &Args,
    report: &Report,
    signer: &SecretKey,
    verified: Option<&Verified>,
) -> Result<Vec<Digest>> {
    let all = statements(report, &report.baseline.id)?;
    let mut attached = Vec::new();
    for (index, statement) in all.iter().enumerate() {
        let bundle = SigstoreBundle::sign(statement, signer)
            .map_err(|error| Error::other("the report was not signed").source(error))?;
        let bytes = bundle.to_bytes();
        if index == 0
            && let Some(path) = &args.bundle
        {
            write(path, &bytes)?;
        }
        if let Some(verified) = verified.filter(|_| args.push) {
            attached.push(
                attach(
                    verified.place.store(),
                    &verified.manifest,
                    bytes,
                    &statement.predicate_type,
                    &report.finished_on,
                )
                .await?,
            );
        }
    }
    Ok(attached)
}

/// Tells whoever is to be told. What goes wrong here changes nothing about the replay.
async fn alert(args: &Args, context: &Context, report: &Report, signer: Option<&SecretKey>) {
    if report.verdict.is_reproduced() {
        return;
    }
    let runbook = args.runbook.as_deref();
    if let Some(directory) = &args.alert_dir
        && let Err(error) = drop_file(directory, report, runbook)
    {
        context
            .output
            .note(format!("warning: the alert was not written: {error}"));
    }
    if let Some(url) = &args.webhook {
        let posted = match Webhook::new(url) {
            Ok(webhook) => {
                webhook
                    .post(report, runbook, signer.map(|signer| signer as _))
                    .await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = posted {
            context
                .output
                .note(format!("warning: the alert was not delivered: {error}"));
        }
    }
}

/// Where everything is written: kept if the user wants it.
enum Workspace {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Workspace {
    fn make(keep: Option<&Path>) -> Result<Workspace> {
        match keep {
            Some(path) if path.exists() => Err(Error::usage(format!(
                "\"{}\" exists already",
                path.display()
            ))
            .hint("a replay begins in an empty place: choose another directory")),
            Some(path) => {
                make(path)?;
                let absolute = std::path::absolute(path)
                    .map_err(|source| Error::io("finding the directory", source))?;
                Ok(Workspace::Kept(absolute))
            }
            None => tempfile::Builder::new()
                .prefix("sealstone-replay-")
                .tempdir()
                .map(Workspace::Temporary)
                .map_err(|source| Error::io("making an empty place", source)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Workspace::Temporary(directory) => directory.path(),
            Workspace::Kept(path) => path,
        }
    }
}

fn make(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path)
        .map_err(|source| Error::io(format!("making \"{}\"", path.display()), source))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes)
        .map_err(|source| Error::io(format!("writing \"{}\"", path.display()), source))
}

fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second())
        .unwrap_or(now)
        .to_string()
}
