//! `sealstone rebuildable`: has somebody else made this model again, and if not, what is missing?

use super::Context;
use super::chain::told;
use super::connect::ConnectArgs;
use super::output::in_line;
use super::trust::TrustArgs;
use sealstone::releases::{Rebuildable, rebuildable};
use sealstone::store::Location;
use sealstone::{Error, Result};
use sealstone_spec::words::three_words;

/// Arguments of `sealstone rebuildable`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Yes takes a report by a trusted key that is not the builder's: all of the recipe replayed, each stage on what the
stages before it made, isolated by I3 or better (no network, no file that is not declared), and reproduced, with nothing
waived by whoever replayed. A fact of the environment that the recipe itself lets go is told with the yes. Who built it is
read from provenance. Whoever reports that it diverged is believed, the builder too, until he himself reports later, of
at least as much, that it reproduces. Anything else is no, with the list of gaps.
Exit codes: 0 yes, 3 no.

Examples:
  sealstone rebuildable registry.example/models/m:1.0.0 --key builder.pub --key other.pub
  sealstone rebuildable registry.example/models/m:1.0.0 --policy policy.toml --output json")]
pub(crate) struct Args {
    /// The bundle: HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST, oci:DIR[:TAG] or an exported FILE.tar
    #[arg(value_name = "LOCATION")]
    location: Location,

    #[command(flatten)]
    trust: TrustArgs,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    if !args.trust.names_somebody() {
        return Err(Error::usage("nobody to trust was named")
            .hint("give --policy FILE, or --key FILE.pub for the builder and each who replays"));
    }
    let store = args.location.open(&args.connect.options())?;
    let manifest = args.connect.resolve(&args.location, store.as_ref()).await?;
    let (hearing, sealed) = told(
        &args.trust,
        &args.location,
        &args.connect,
        store.as_ref(),
        &manifest,
    )
    .await?;
    let answer = rebuildable(*manifest.digest(), &sealed, &hearing);
    if answer.rebuildable {
        context.output.result(&answer, show(&answer));
        return Ok(());
    }
    let mut error = Error::refused(format!(
        "nobody has shown that {} can be made again without a step that nobody wrote down",
        three_words(&answer.digest)
    ));
    for gap in &answer.gaps {
        error = error.hint(gap.clone());
    }
    Err(match serde_json::to_value(&answer) {
        Ok(detail) => error.detail(detail),
        Err(_) => error,
    })
}

fn show(answer: &Rebuildable) -> String {
    let mut text = format!("yes: {}", three_words(&answer.digest));
    for proof in &answer.by {
        text.push_str(&format!(
            "\n  made again by {}, {}, isolated by {}\n    {}",
            in_line(&proof.by),
            in_line(&proof.finished_on),
            proof.isolation,
            proof.referrer
        ));
        for fact in &proof.let_go {
            text.push_str(&format!("\n    let go by the recipe: {}", in_line(fact)));
        }
    }
    let builders: Vec<String> = answer.builders.iter().map(|who| in_line(who)).collect();
    text.push_str(&format!("\n  built by {}", builders.join(", ")));
    for data in &answer.fetch {
        text.push_str(&format!("\n  fetch {}", in_line(data)));
    }
    text
}
