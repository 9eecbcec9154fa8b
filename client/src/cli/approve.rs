//! `sealstone approve`: an approval, bound to this bundle, these rules and the evidence that is there.

use super::Context;
use super::statement::SpeakArgs;
use super::trust::PolicyArgs;
use super::verify::rules_text;
use sealstone::Result;
use sealstone::trust::now;
use sealstone_spec::policy::lifecycle;

/// Arguments of `sealstone approve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows what each rule finds, and signs: this bundle, under these rules, on this evidence. If one of them
changes, the approval is void; evidence that only confirms (a suite that passes, a replay that succeeds)
may still be added. Rules come from --policy, else from the registry where the bundle lies.

Examples:
  sealstone approve registry.example/models/m@sha256:... --key bob.key
  sealstone approve registry.example/models/m@sha256:... --key bob.key --policy policy.toml")]
pub(crate) struct Args {
    #[command(flatten)]
    speak: SpeakArgs,

    #[command(flatten)]
    rules: PolicyArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let speaker = args.speak.speaker().await?;
    let options = args.speak.connect.options();
    let policy = args.rules.policy(&args.speak.location, &options).await?;
    let repository = args.rules.repository(&args.speak.location)?;
    let evidence = speaker.evidence(&policy).await?;
    let case = evidence.case(&repository, &speaker.manifest);
    let time = now();
    let shown = policy.evaluate(&repository, &case, &evidence.circumstances(time));
    context.output.notes(&rules_text(&shown));
    let who = speaker
        .signers
        .first()
        .and_then(|signer| policy.identity_of(signer.public_key().id()));
    if who.is_none() {
        context.output.note(
            "note: the policy does not know this key, so the approval will count for nothing",
        );
    }
    let who = who.map_or("unknown", |identity| identity.name.as_str());
    let statement = lifecycle::approval(speaker.subject(), &shown, who, time);
    speaker.say(context, "approved", &statement, time).await
}
