//! `sealstone status`: where a bundle stands, on whose word, derived from what was signed.

use super::Context;
use super::connect::ConnectArgs;
use super::output::in_line;
use super::trust::PolicyArgs;
use super::verify::{registry_text, rules_text};
use sealstone::store::{Location, Store};
use sealstone::transport::{Admin, Registry};
use sealstone::trust::{evidence_for, now};
use sealstone::{Error, Result};
use sealstone_spec::digest::Digest;
use sealstone_spec::name::Reference;
use sealstone_spec::words::three_words;
use serde_json::{Value, json};

/// Tags that are asked whether they name the bundle.
const MOST_TAGS: usize = 200;

/// Arguments of `sealstone status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
candidate, reproduced, approved, released, deprecated or revoked; beside that rejected, quarantined or
stale. Nothing stores these words: they follow from signed statements under a policy, which comes from
--policy or from the registry.

Examples:
  sealstone status registry.example/models/m:1.0.0
  sealstone status registry.example/models/m@sha256:... --policy policy.toml
  sealstone status registry.example/models/m:1.0.0 --pulls")]
pub(crate) struct Args {
    /// The bundle: HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST or oci:DIR[:TAG]
    #[arg(value_name = "LOCATION")]
    location: Location,

    /// Also say who pulled it; needs an administrator
    #[arg(long)]
    pulls: bool,

    #[command(flatten)]
    rules: PolicyArgs,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let options = args.connect.options();
    let policy = args.rules.policy(&args.location, &options).await?;
    let repository = args.rules.repository(&args.location)?;
    let store = args.location.open(&options)?;
    let (manifest, seen) = args
        .connect
        .resolve_logged(&args.location, store.as_ref())
        .await?;
    let digest = *manifest.digest();
    let tags = tags_of(store.as_ref(), &args.location, &digest).await?;
    let evidence = evidence_for(store.as_ref(), &manifest, &policy, seen.as_ref()).await?;
    let case = evidence.case(&repository, &manifest);
    let mut circumstances = evidence.circumstances(now());
    circumstances.released = !tags.is_empty();
    let evaluation = policy.evaluate(&repository, &case, &circumstances);

    let mut text = format!(
        "{}  {}\n  {digest}",
        evaluation.state_text(),
        three_words(&digest)
    );
    if !tags.is_empty() {
        text.push_str(&format!("\n  tags     {}", tags.join(", ")));
    }
    for word in &evaluation.standing.words {
        text.push_str(&format!(
            "\n  {} by {}: {}",
            word.kind,
            in_line(&word.by),
            in_line(&word.reason)
        ));
        if let Some(successor) = &word.successor {
            text.push_str(&format!("; use {}", in_line(successor)));
        }
    }
    text.push('\n');
    text.push_str(&rules_text(&evaluation));
    let word = evidence.registry_word(&manifest, &repository, args.location.tag());
    text.push_str(&registry_text(word.as_ref()));
    if let Some(until) = evaluation.until {
        text.push_str(&format!("\n  this can change by itself at {until}"));
    }
    let mut value = json!({"location": args.location.to_string(), "digest": digest,
        "name": three_words(&digest), "state": evaluation.standing.state,
        "flags": evaluation.standing.flags, "tags": tags, "evaluation": evaluation,
        "registry": word});
    if args.pulls {
        let pulls = pulls(&args, &digest).await?;
        for pull in pulls["pulls"].as_array().into_iter().flatten() {
            let part = |key: &str| in_line(pull[key].as_str().unwrap_or_default());
            text.push_str(&format!(
                "\n  pulled by {}, last {}",
                part("who"),
                part("last")
            ));
        }
        value["pulls"] = pulls["pulls"].clone();
    }
    context.output.result(&value, text);
    Ok(())
}

async fn pulls(args: &Args, digest: &Digest) -> Result<Value> {
    let Location::Registry(image) = &args.location else {
        return Err(Error::usage("only a registry knows who pulled"));
    };
    let registry = Registry::new(&image.registry.to_string(), None, &args.connect.options())?;
    let path = format!("pulls?repository={}&digest={digest}", image.repository);
    Admin::new(registry)
        .ask(reqwest::Method::GET, &path, None)
        .await
}

/// The tags that name the bundle: what makes it a release.
pub(super) async fn tags_of(
    store: &dyn Store,
    location: &Location,
    digest: &Digest,
) -> Result<Vec<String>> {
    if let Some(tag) = location.tag() {
        return Ok(vec![tag.to_string()]);
    }
    let mut found = Vec::new();
    let tags = store.tags().await?;
    let tags = tags.into_iter().filter(|tag| !tag.is_evidence_list());
    for tag in tags.take(MOST_TAGS) {
        // A tag that cannot be read now is none that makes this a release.
        if let Ok(manifest) = store.manifest(&Reference::Tag(tag.clone())).await
            && manifest.digest() == digest
        {
            found.push(tag.to_string());
        }
    }
    Ok(found)
}
