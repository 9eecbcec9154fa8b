//! `sealstone reject`, `deprecate` and `revoke`: words that keep a bundle from being released or used.

use super::Context;
use super::statement::SpeakArgs;
use sealstone::store::Location;
use sealstone::trust::now;
use sealstone::{Error, Result};
use sealstone_spec::policy::lifecycle;
use sealstone_spec::statement::predicate;

/// Arguments of `sealstone reject`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Signs that this bundle shall not be released. It counts if the policy gives the key that authority, and
names the approvals that the same keys gave before: none of them takes it back, only a later one does.

Example:
  sealstone reject registry.example/models/m@sha256:... --key bob.key --reason 'fails on group B'")]
pub(crate) struct RejectArgs {
    #[command(flatten)]
    speak: SpeakArgs,

    /// Why, in a sentence
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Arguments of `sealstone revoke`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Signs that nobody shall use this release any more. Pulls of it stop at once, with the reason; it cannot
be taken back. `sealstone status --pulls` tells who has pulled it.

Example:
  sealstone revoke registry.example/models/m:1.0.0 --key security.key --reason 'poisoned data'")]
pub(crate) struct RevokeArgs {
    #[command(flatten)]
    speak: SpeakArgs,

    /// Why, in a sentence
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Arguments of `sealstone deprecate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Signs that this release is superseded. It can still be pulled; whoever does is told.

Example:
  sealstone deprecate registry.example/models/m:1.0.0 --key release.key --reason 'better on group B' \\
    --successor registry.example/models/m:1.1.0")]
pub(crate) struct DeprecateArgs {
    #[command(flatten)]
    speak: SpeakArgs,

    /// Why, in a sentence
    #[arg(long, value_name = "TEXT")]
    reason: String,

    /// What to use instead
    #[arg(long, value_name = "LOCATION")]
    successor: Option<Location>,
}

pub(super) fn reason(text: &str) -> Result<&str> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 300 || text.chars().any(char::is_control) {
        return Err(Error::usage(
            "a reason has 1 to 300 characters, no control characters",
        ));
    }
    Ok(text)
}

/// Runs `sealstone reject`.
pub(crate) async fn run_reject(args: RejectArgs, context: &Context) -> Result<()> {
    let reason = reason(&args.reason)?;
    let speaker = args.speak.speaker().await?;
    let approvals = speaker.said(context, predicate::SVR).await;
    let time = now();
    let statement = lifecycle::rejection(speaker.subject(), reason, &approvals, time);
    speaker.say(context, "rejected", &statement, time).await
}

/// Runs `sealstone revoke`.
pub(crate) async fn run_revoke(args: RevokeArgs, context: &Context) -> Result<()> {
    let reason = reason(&args.reason)?;
    let speaker = args.speak.speaker().await?;
    let time = now();
    let statement = lifecycle::revocation(speaker.subject(), reason, time);
    speaker.say(context, "revoked", &statement, time).await
}

/// Runs `sealstone deprecate`.
pub(crate) async fn run_deprecate(args: DeprecateArgs, context: &Context) -> Result<()> {
    let reason = reason(&args.reason)?;
    let speaker = args.speak.speaker().await?;
    let successor = match &args.successor {
        None => None,
        Some(location) => {
            let store = location.open(&args.speak.connect.options())?;
            let digest = *args
                .speak
                .connect
                .resolve(location, store.as_ref())
                .await?
                .digest();
            Some((location.to_string(), digest))
        }
    };
    let successor = successor
        .as_ref()
        .map(|(name, digest)| (name.as_str(), digest));
    let time = now();
    let statement = lifecycle::deprecation(speaker.subject(), reason, successor, time);
    speaker.say(context, "deprecated", &statement, time).await
}
