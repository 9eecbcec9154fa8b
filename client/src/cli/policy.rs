//! `sealstone policy`: written, understood, compared, signed, and brought to a registry.

use super::Context;
use super::connect::ConnectArgs;
use super::log::watch_registry;
use super::signing::SignerArgs;
use super::verify::rules_text;
use sealstone::report::as_lines;
use sealstone::store::Location;
use sealstone::transport::{Admin, Registry};
use sealstone::trust::{
    HandedOut, KeptPolicies, evidence_for, now, read_policy, read_to_sign, registry_policy,
    signed_policy,
};
use sealstone::{Error, Result};
use sealstone_spec::name::RepoName;
use sealstone_spec::policy::Policy;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Arguments of `sealstone policy`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A policy is TOML for people. Root keys sign its canonical form, as many as it asks for, one after the
other; a registry takes it by `push`, and only if it follows the one before.

Examples:
  sealstone policy lint policy.toml
  sealstone policy explain policy.toml models/m
  sealstone policy eval policy.toml registry.example/models/m@sha256:...
  sealstone policy diff old.toml new.toml
  sealstone policy sign policy.toml --key root-1.key -o policy.json
  sealstone policy sign policy.json --key root-2.key -o policy.json
  sealstone policy push registry.example policy.json
  sealstone policy show registry.example")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Look for what is probably not meant
    Lint {
        /// The policy
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Fail (exit code 3) if anything is found
        #[arg(long)]
        strict: bool,
    },
    /// Say in plain words what a release in a repository needs
    Explain {
        /// The policy
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The repository
        #[arg(value_name = "REPOSITORY")]
        repository: RepoName,
    },
    /// Show each rule with its result, its evidence and who can mend it
    Eval {
        /// The policy
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The bundle
        #[arg(value_name = "LOCATION")]
        location: Location,
        /// Repository whose rules hold, for layouts and archives
        #[arg(long, value_name = "NAME")]
        repository: Option<RepoName>,
        #[command(flatten)]
        connect: ConnectArgs,
    },
    /// Say what changes from one policy to another
    Diff {
        /// The old policy
        #[arg(value_name = "OLD")]
        old: PathBuf,
        /// The new policy
        #[arg(value_name = "NEW")]
        new: PathBuf,
    },
    /// Sign a policy, or add a signature to one
    Sign(Box<SignArgs>),
    /// Show the policy that a registry works by, and remember it if it is signed
    Show {
        /// The registry: HOST or HOST:PORT
        #[arg(value_name = "REGISTRY")]
        registry: String,
        /// Write the signed document to this file
        #[arg(long, short = 'o', value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        connect: ConnectArgs,
    },
    /// Give a registry a signed policy; needs an administrator
    Push {
        /// The registry: HOST or HOST:PORT
        #[arg(value_name = "REGISTRY")]
        registry: String,
        /// The signed document
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        connect: ConnectArgs,
    },
}

#[derive(Debug, clap::Args)]
struct SignArgs {
    /// The policy, TOML or signed already
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Where the signed document goes
    #[arg(long, short = 'o', value_name = "FILE")]
    out: PathBuf,

    #[command(flatten)]
    signer: SignerArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    match args.command {
        Command::Lint { file, strict } => lint(context, &file, strict),
        Command::Explain { file, repository } => {
            let (policy, _) = read_policy(&file, None)?;
            let lines = policy.explain(&repository);
            let value =
                json!({"policy": policy.digest(), "repository": repository, "needs": lines});
            context.output.result(&value, shown(&lines));
            Ok(())
        }
        Command::Eval {
            file,
            location,
            repository,
            connect,
        } => eval(context, &file, &location, repository, &connect).await,
        Command::Diff { old, new } => {
            let (old, _) = read_policy(&old, None)?;
            let (new, _) = read_policy(&new, None)?;
            let lines = old.diff(&new);
            let value = json!({"from": old.digest(), "to": new.digest(), "changes": lines});
            let text = match lines.is_empty() {
                true => "nothing changes".to_owned(),
                false => shown(&lines),
            };
            context.output.result(&value, text);
            Ok(())
        }
        Command::Sign(args) => sign(context, &args),
        Command::Show {
            registry,
            out,
            connect,
        } => show(context, &registry, out.as_deref(), &connect).await,
        Command::Push {
            registry,
            file,
            connect,
        } => push(context, &registry, &file, &connect).await,
    }
}

/// What a policy says, a line each: names in it are those of whoever wrote it.
fn shown(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| as_lines(line)).collect();
    lines.join("\n")
}

fn lint(context: &Context, file: &Path, strict: bool) -> Result<()> {
    let (policy, _) = read_policy(file, None)?;
    let findings = policy.lint(now());
    let lines: Vec<String> = findings
        .iter()
        .map(|finding| format!("{}: {}", finding.place, finding.text))
        .collect();
    let text = match lines.is_empty() {
        true => "nothing was found".to_owned(),
        false => shown(&lines),
    };
    let value =
        json!({"policy": policy.digest(), "version": policy.version(), "findings": findings});
    context.output.result(&value, text);
    if let Err(error) = policy.check_new() {
        return Err(Error::refused(format!("\"{}\": {error}", file.display())));
    }
    match strict && !findings.is_empty() {
        true => Err(Error::refused(format!(
            "\"{}\" has {} findings",
            file.display(),
            findings.len()
        ))),
        false => Ok(()),
    }
}

async fn eval(
    context: &Context,
    file: &Path,
    location: &Location,
    repository: Option<RepoName>,
    connect: &ConnectArgs,
) -> Result<()> {
    let (policy, _) = read_policy(file, None)?;
    let repository = super::trust::repository_of(location, repository.as_ref(), true)?;
    let store = location.open(&connect.options())?;
    let (manifest, seen) = connect.resolve_logged(location, store.as_ref()).await?;
    let evidence = evidence_for(store.as_ref(), &manifest, &policy, seen.as_ref()).await?;
    let case = evidence.case(&repository, &manifest);
    let mut circumstances = evidence.circumstances(now());
    circumstances.released = location.tag().is_some();
    let evaluation = policy.evaluate(&repository, &case, &circumstances);
    let rules = policy.scope_for(&repository).rules().len();
    let mut text = match rules {
        0 => format!(
            "  no rule is in force in {repository}: nothing is asked for, so that it is admitted says nothing about the bundle\n"
        ),
        _ => String::new(),
    };
    text.push_str(&rules_text(&evaluation));
    for result in &evaluation.results {
        for digest in &result.evidence {
            text.push_str(&format!("\n  evidence {}: {digest}", result.rule));
        }
        if let Some(remedy) = &result.remedy {
            let line = format!("\n  to mend {}: {}", result.rule, as_lines(remedy));
            text.push_str(&line);
        }
    }
    let binding = &evaluation.binding;
    text.push_str(&format!(
        "\n  evidence set {} of {} statements, under rules {}",
        binding.evidence_digest(),
        binding.evidence.len(),
        binding.rules
    ));
    let satisfied = evaluation.satisfied();
    let value = json!({"admitted": satisfied, "rules": rules, "policy": policy.digest(),
        "evidenceDigest": binding.evidence_digest(), "evaluation": evaluation});
    context.output.result(&value, text);
    match satisfied {
        true => Ok(()),
        false => Err(Error::refused(format!(
            "the policy does not hold for {location}"
        ))),
    }
}

fn sign(context: &Context, args: &SignArgs) -> Result<()> {
    let signers = args.signer.signers()?;
    let mut envelope = read_to_sign(&args.file)?;
    let policy = envelope
        .unverified()
        .map_err(|error| Error::usage("this is no policy that can be signed").source(error))?;
    let roots = policy
        .roots()
        .ok_or_else(|| Error::usage("this policy names no roots"))?;
    let mut used = 0;
    for signer in &signers {
        // A companion key that lies beside a root key is none.
        if roots.keys.contains(signer.public_key()) {
            envelope
                .sign(signer.as_ref())
                .map_err(|error| Error::other("nothing was signed").source(error))?;
            used += 1;
        }
    }
    let new_root = signers
        .first()
        .filter(|_| used == 0 && envelope.claimed_signers().next().is_some());
    if let Some(signer) = new_root {
        // A root of the policy before, who lets this one take its place.
        envelope
            .sign(signer.as_ref())
            .map_err(|error| Error::other("nothing was signed").source(error))?;
        context.output.note(
            "note: this key is no root of this policy; it counts where it is a root of the one before",
        );
    } else if used == 0 {
        return Err(
            Error::refused("none of these keys is a root key of this policy").hint(
                "sign with one of its roots first; then roots of the policy before can be added",
            ),
        );
    }
    std::fs::write(&args.out, envelope.to_bytes())
        .map_err(|source| Error::io(format!("writing \"{}\"", args.out.display()), source))?;
    let signed: Vec<String> = envelope
        .claimed_signers()
        .map(ToString::to_string)
        .collect();
    let text = format!(
        "signed version {} of the policy\n  {}\n  {} signatures, {} of {} roots are due\n  {}",
        policy.version(),
        policy.digest(),
        signed.len(),
        roots.threshold,
        roots.keys.len(),
        signed.join("\n  ")
    );
    let value = json!({"policy": policy.digest(), "version": policy.version(), "signatures": signed,
        "threshold": roots.threshold, "file": args.out});
    context.output.result(&value, text);
    Ok(())
}

async fn show(
    context: &Context,
    registry: &str,
    out: Option<&Path>,
    connect: &ConnectArgs,
) -> Result<()> {
    watch_registry(registry, &connect.options()).await?;
    let (policy, signed): (Policy, bool) =
        match registry_policy(registry, &connect.options()).await? {
            HandedOut::Signed(envelope) => {
                let options = connect.options();
                let again = || signed_policy(registry, &options);
                let kept = KeptPolicies::of_user()?;
                let taken = kept.take_newest(registry, envelope, None, again).await?;
                if let Some(out) = out {
                    std::fs::write(out, taken.envelope().to_bytes()).map_err(|source| {
                        Error::io(format!("writing \"{}\"", out.display()), source)
                    })?;
                }
                (taken.into_policy(), true)
            }
            HandedOut::Unsigned(_) if out.is_some() => {
                return Err(Error::refused(format!(
                    "the policy of {registry} is not signed"
                )));
            }
            HandedOut::Unsigned(policy) => (policy, false),
        };
    let scopes: Vec<String> = policy
        .scopes()
        .iter()
        .map(|scope| {
            let patterns: Vec<&str> = scope
                .repositories()
                .iter()
                .map(|glob| glob.as_str())
                .collect();
            let rules = scope.rules().iter();
            let needs: Vec<String> = rules.map(|rule| as_lines(&rule.describe())).collect();
            match needs.is_empty() {
                true => format!("{}: nothing", patterns.join(", ")),
                false => format!("{}:\n    {}", patterns.join(", "), needs.join("\n    ")),
            }
        })
        .collect();
    let state = if signed { "signed" } else { "not signed" };
    let expires = policy
        .expires()
        .map_or("never".to_owned(), |time| time.to_string());
    let text = format!(
        "version {} of the policy of {registry}, {state}, expires {expires}\n  {}\n  {}",
        policy.version(),
        policy.digest(),
        scopes.join("\n  ")
    );
    let value = json!({"registry": registry, "policy": policy.digest(), "version": policy.version(),
        "signed": signed, "expires": policy.expires()});
    context.output.result(&value, text);
    Ok(())
}

async fn push(context: &Context, registry: &str, file: &Path, connect: &ConnectArgs) -> Result<()> {
    let (policy, signed) = read_policy(file, None)?;
    let Some(signed) = signed else {
        return Err(
            Error::usage(format!("\"{}\" is not signed", file.display()))
                .hint("sign it: sealstone policy sign FILE --key root.key -o FILE.json"),
        );
    };
    let body = serde_json::from_slice(&signed.envelope().to_bytes())
        .map_err(|error| Error::other("the document cannot be sent").source(error))?;
    watch_registry(registry, &connect.options()).await?;
    let registry_client = Registry::new(registry, None, &connect.options())?;
    let answer = Admin::new(registry_client)
        .ask(reqwest::Method::PUT, "policy", Some(&body))
        .await?;
    let text = format!(
        "{registry} works by version {} of the policy now\n  {}\n  tags that are shown or hidden now: {}",
        policy.version(),
        policy.digest(),
        answer["tags"]
    );
    context.output.result(&answer, text);
    Ok(())
}
