//! `sealstone except`: a rule waived for one bundle, for a time, by those whom the policy lets.

use super::Context;
use super::statement::SpeakArgs;
use super::trust::PolicyArgs;
use sealstone::trust::now;
use sealstone::{Error, Result};
use sealstone_spec::policy::{Exception, Rule, Time};

/// Arguments of `sealstone except`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Signs that a rule is waived for this bundle. The policy says which rules can be, for how long, and how
many people with which role must sign the very same words: give the same id, reason, ticket and end.

Example:
  sealstone except registry.example/models/m@sha256:... --key gina.key --rule reproduction --id EX-12 \\
    --reason 'GPU pool down' --ticket OPS-91 --expires 2027-01-20T00:00:00Z")]
pub(crate) struct Args {
    #[command(flatten)]
    speak: SpeakArgs,

    /// The rule that is waived
    #[arg(long, value_name = "RULE")]
    rule: String,

    /// A name for the exception
    #[arg(long, value_name = "ID")]
    id: String,

    /// Why, in a sentence
    #[arg(long, value_name = "TEXT")]
    reason: String,

    /// Where it is discussed
    #[arg(long, value_name = "TICKET")]
    ticket: String,

    /// When it ends, as 2027-01-20T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires: Time,

    /// How many bundles may be released under it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    max_uses: u32,

    #[command(flatten)]
    rules: PolicyArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    if !Rule::NAMES.contains(&args.rule.as_str()) {
        return Err(Error::usage(format!("rule \"{}\" is not known", args.rule))
            .hint(format!("known are {}", Rule::NAMES.join(", "))));
    }
    if !Rule::is_waivable(&args.rule) {
        let text = format!("rule \"{}\" cannot be waived", args.rule);
        return Err(Error::usage(text)
            .hint("what is in no log counts for no rule, so an exception from it has no effect"));
    }
    let time = now();
    if args.expires <= time {
        return Err(Error::usage(format!("{} has passed", args.expires)));
    }
    let repository = args.rules.repository(&args.speak.location)?;
    let speaker = args.speak.speaker().await?;
    let exception = Exception {
        id: args.id,
        scope: repository.to_string(),
        rule: args.rule,
        reason: args.reason,
        ticket: args.ticket,
        expires: args.expires,
        max_uses: args.max_uses,
    };
    let statement = exception.statement(speaker.subject());
    speaker.say(context, "excepted", &statement, time).await
}
