//! `sealstone gate`: one question with one answer, for whatever is about to use a bundle.

use super::Context;
use super::connect::ConnectArgs;
use super::status::tags_of;
use super::trust::PolicyArgs;
use super::verify::rules_text;
use sealstone::store::Location;
use sealstone::trust::{demand_rules, evidence_for, now};
use sealstone::{Error, Result};
use sealstone_spec::policy::State;
use sealstone_spec::words::three_words;
use serde_json::json;

/// Arguments of `sealstone gate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Open (exit code 0) only for a bundle that is released under the policy as of now: a tag names it, the registry's log says
the same where there is one, every rule is met on evidence that is fresh, and it is neither rejected, quarantined,
deprecated nor revoked. Anything else is exit code 3, with what stands in the way; so is a policy that asks for nothing
there, and a registry's own policy that nobody signed. Run it before every deployment:
evidence grows old. `sealstone export` writes the evidence into one file for auditors.

Examples:
  sealstone gate deploy registry.example/models/m:1.0.0 --policy policy.toml
  sealstone gate deploy registry.example/models/m@sha256:... --allow-deprecated")]
pub(crate) struct Args {
    #[command(subcommand)]
    gate: Gate,
}

#[derive(Debug, clap::Subcommand)]
enum Gate {
    /// May this bundle be deployed now?
    Deploy(DeployArgs),
}

#[derive(Debug, clap::Args)]
struct DeployArgs {
    /// The bundle: HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST or oci:DIR[:TAG]
    #[arg(value_name = "LOCATION")]
    location: Location,

    /// Let a release through that is superseded
    #[arg(long)]
    allow_deprecated: bool,

    #[command(flatten)]
    rules: PolicyArgs,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let Gate::Deploy(args) = args.gate;
    let options = args.connect.options();
    let policy = args
        .rules
        .policy_to_rely_on(&args.location, &options)
        .await?;
    let repository = args.rules.repository(&args.location)?;
    // Where nothing is asked for, every rule is met, and whatever has a tag would be released.
    demand_rules(&policy, &repository)?;
    let store = args.location.open(&options)?;
    let (manifest, seen) = args
        .connect
        .resolve_logged(&args.location, store.as_ref())
        .await?;
    let digest = *manifest.digest();
    let tags = tags_of(store.as_ref(), &args.location, &digest).await?;
    let evidence = evidence_for(store.as_ref(), &manifest, &policy, seen.as_ref()).await?;
    for text in &evidence.undecided {
        context.output.note(format!("note: {text}"));
    }
    let case = evidence.case(&repository, &manifest);
    let mut circumstances = evidence.circumstances(now());
    circumstances.released = !tags.is_empty();
    let evaluation = policy.evaluate(&repository, &case, &circumstances);
    let standing = &evaluation.standing;
    let is_released = match standing.state {
        State::Released => true,
        // Superseded, and every rule is still met.
        State::Deprecated => args.allow_deprecated && evaluation.satisfied(),
        _ => false,
    };
    let value = json!({"location": args.location.to_string(), "digest": digest,
        "name": three_words(&digest), "state": standing.state, "flags": standing.flags,
        "tags": tags, "policy": policy.digest(), "logged": seen.is_some(), "undecided": evidence.undecided,
        "evaluation": evaluation});
    if is_released && standing.flags.is_empty() {
        let text = format!("open: {} is {}", three_words(&digest), standing.state);
        context.output.result(&value, text);
        return Ok(());
    }
    let mut error = Error::refused(format!(
        "{} may not be deployed: it is {}",
        three_words(&digest),
        evaluation.state_text()
    ));
    if tags.is_empty() {
        error = error.hint("no release tag names it");
    }
    for line in rules_text(&evaluation).lines() {
        error = error.hint(line.trim().to_owned());
    }
    Err(error.detail(value))
}
