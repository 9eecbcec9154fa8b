//! `sealstone incident`: a release with damaged content put into quarantine, and taken out again.

use super::Context;
use super::statement::SpeakArgs;
use super::stop::reason;
use super::trust::PolicyArgs;
use clap::Subcommand;
use sealstone::trust::now;
use sealstone::{Error, Result};
use sealstone_spec::digest::Digest;
use sealstone_spec::policy::lifecycle;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Arguments of `sealstone incident`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A registry reports damage that it finds itself; `sealstone replay --push` reports what halted it. Until an
incident is closed by somebody whom the policy lets, the release is in quarantine: pulls are refused with
the reason, and `sealstone status` shows it. Damaged content is repaired by pushing it again, or by a scrub
that finds it whole (`sealstone admin scrub`); neither closes the incident.

Examples:
  sealstone incident open registry.example/models/m:1.0.0 --key me.key --reason 'weights differ from the digest'
  sealstone incident open registry.example/models/m:1.0.0 --key me.key --record .sealstone/incidents/20260101-1.json
  sealstone incident close registry.example/models/m:1.0.0 --key gina.key --reason 'disk replaced, content pushed again'")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sign that content of a release is not what its digests say
    Open(Open),
    /// Sign that the incidents of a release are dealt with
    Close(Close),
}

#[derive(Debug, clap::Args)]
struct Open {
    #[command(flatten)]
    speak: SpeakArgs,

    /// What was found, in a sentence
    #[arg(long, value_name = "TEXT", required_unless_present = "record")]
    reason: Option<String>,

    /// The record that a halted replay wrote; it says what was found
    #[arg(long, value_name = "FILE", conflicts_with = "reason")]
    record: Option<PathBuf>,

    /// Digest of the damaged content, if it is known; may be repeated
    #[arg(long, value_name = "DIGEST")]
    content: Vec<Digest>,
}

#[derive(Debug, clap::Args)]
struct Close {
    #[command(flatten)]
    speak: SpeakArgs,

    /// What was done about it, in a sentence
    #[arg(long, value_name = "TEXT")]
    reason: String,

    #[command(flatten)]
    rules: PolicyArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    match args.command {
        Command::Open(args) => open(args, context).await,
        Command::Close(args) => close(args, context).await,
    }
}

async fn open(args: Open, context: &Context) -> Result<()> {
    let speaker = args.speak.speaker().await?;
    let text = match (&args.reason, &args.record) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => recorded(path, speaker.manifest.digest())?,
        (None, None) => return Err(Error::usage("say what was found: --reason TEXT")),
    };
    let time = now();
    let statement = lifecycle::incident(speaker.subject(), reason(&text)?, &args.content, time);
    speaker
        .say(context, "put into quarantine", &statement, time)
        .await
}

/// What a record of a replay found, if it is about this bundle.
fn recorded(path: &Path, bundle: &Digest) -> Result<String> {
    let shown = path.display();
    let bytes =
        std::fs::read(path).map_err(|source| Error::io(format!("reading \"{shown}\""), source))?;
    let record: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Error::usage(format!("\"{shown}\" is no record")).source(error))?;
    if record["schema"] != "sealstone-incident/v1" {
        return Err(Error::usage(format!(
            "\"{shown}\" is no record of a halted replay"
        )));
    }
    let digests = record["bundle"]["digest"].to_string();
    if !digests.contains(&bundle.hex()) {
        return Err(Error::refused(format!(
            "\"{shown}\" is about another bundle than {bundle}"
        )));
    }
    let part = |key: &str| record[key].as_str().unwrap_or_default();
    let text = format!(
        "{} of {}: {}",
        part("check"),
        part("subject"),
        part("found")
    );
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    Ok(clean.take(300).collect())
}

async fn close(args: Close, context: &Context) -> Result<()> {
    let reason = reason(&args.reason)?;
    let options = args.speak.connect.options();
    let policy = args.rules.policy(&args.speak.location, &options).await?;
    let repository = args.rules.repository(&args.speak.location)?;
    let speaker = args.speak.speaker().await?;
    let evidence = speaker.evidence(&policy).await?;
    let case = evidence.case(&repository, &speaker.manifest);
    let time = now();
    let shown = policy.evaluate(&repository, &case, &evidence.circumstances(time));
    let words = shown.standing.words.iter();
    let open: Vec<_> = words.filter(|word| word.kind == "incident").collect();
    let incidents: BTreeSet<Digest> = open.iter().filter_map(|word| word.said).collect();
    if incidents.is_empty() {
        return Err(Error::refused(format!(
            "no incident of {} is open",
            speaker.manifest.digest()
        ))
        .hint("sealstone status LOCATION shows where it stands"));
    }
    for word in open {
        context
            .output
            .note(format!("closes: reported by {}: {}", word.by, word.reason));
    }
    let roles = &policy.authority().close;
    let may = speaker.signers.iter().any(|signer| {
        let id = signer.public_key().id();
        let identity = policy.identity_of(id);
        let mut keys = identity.iter().flat_map(|identity| &identity.keys);
        keys.any(|key| key.id() == id && roles.iter().any(|role| key.roles.contains(role)))
    });
    if !may {
        let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
        context.output.note(format!(
            "note: the policy gives this key no role that closes incidents ({}), so this will count for nothing",
            roles.join(", ")
        ));
    }
    let statement = lifecycle::incident_close(speaker.subject(), reason, &incidents, time);
    speaker
        .say(context, "closed the incidents of", &statement, time)
        .await
}
