//! `sealstone chain`: from data to deployment, link by link.

use super::Context;
use super::connect::ConnectArgs;
use super::output::in_line;
use super::trust::TrustArgs;
use sealstone::releases::{
    Chain, Deployment, Hearing, SealedRelease, TagLink, Voice, baseline_of, chain, hear,
    is_of_another_version,
};
use sealstone::store::{Location, Store};
use sealstone::trust::{compare_pulled, evidence_of};
use sealstone::{Error, Outcome, Result};
use sealstone_spec::bundle::Bundle;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::name::Reference;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Arguments of `sealstone chain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Data, code, stages, weights, bundle, statements, approvals and what they were given for, tag, deployment: each link
has a digest at both ends and is verified or not. What recipe.lock says counts if somebody trusted has signed the
bundle; what is attached counts if a trusted key has signed it; a tag counts if the registry's log says the same.
Any key of a policy that still signs is trusted here; what its rules ask for, `policy eval` says.
With --strict, exit code 3 if a link is not verified.

Examples:
  sealstone chain registry.example/models/m:1.0.0 --policy policy.toml
  sealstone chain registry.example/models/m:1.0.0 --key builder.pub --key other.pub --deployed /srv/model
  sealstone chain release.tar --key builder.pub --output json")]
pub(crate) struct Args {
    /// The bundle: HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST, oci:DIR[:TAG] or an exported FILE.tar
    #[arg(value_name = "LOCATION")]
    location: Location,

    /// A directory in which the bundle's files lie, as they are used
    #[arg(long, value_name = "DIR")]
    deployed: Option<PathBuf>,

    /// Refuse a chain in which a link is not verified
    #[arg(long)]
    strict: bool,

    #[command(flatten)]
    trust: TrustArgs,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let options = args.connect.options();
    let store = args.location.open(&options)?;
    let (manifest, seen) = args
        .connect
        .resolve_logged(&args.location, store.as_ref())
        .await?;
    let (hearing, sealed) = told(
        &args.trust,
        &args.location,
        &args.connect,
        store.as_ref(),
        &manifest,
    )
    .await?;
    let baseline = match baseline_of(&manifest)? {
        None => None,
        Some(digest) => match store.manifest(&Reference::Digest(digest)).await {
            Ok(_) => Some((digest, true)),
            Err(error) if error.outcome() == Outcome::NotFound => Some((digest, false)),
            Err(error) => return Err(error),
        },
    };
    let tag = args.location.tag().map(|tag| TagLink {
        name: format!("{}:{tag}", store.place()),
        logged: seen.is_some(),
    });
    let deployment = match &args.deployed {
        None => None,
        Some(directory) => Some(deployed(store.as_ref(), &manifest, directory.clone()).await?),
    };
    let found = chain(
        &manifest,
        &sealed,
        &hearing,
        baseline,
        tag.as_ref(),
        deployment.as_ref(),
    );
    context.output.result(&found, show(&found));
    match (args.strict, found.unverified()) {
        (true, count @ 1..) => Err(Error::refused(format!(
            "{count} of {} links of the chain are not verified",
            found.edges.len()
        ))),
        _ => Ok(()),
    }
}

/// What those who are trusted have said about a bundle, and what is sealed in it. That it has no recipe, or one
/// that contradicts itself, is for the answer to tell; that it could not be read is an error.
pub(super) async fn told(
    trust: &TrustArgs,
    location: &Location,
    connect: &ConnectArgs,
    store: &dyn Store,
    manifest: &VerifiedManifest,
) -> Result<(Hearing, Result<SealedRelease>)> {
    let judge = match trust.names_somebody() {
        true => {
            trust
                .judge_for(location, &connect.options(), store, manifest)
                .await?
        }
        false => None,
    };
    let voices = judge.map_or_else(Vec::new, |judge| Voice::of_policy(judge.policy()));
    let hearing = hear(store, manifest, &voices).await?;
    match SealedRelease::read(store, manifest).await {
        Err(error)
            if !is_of_another_version(&error)
                && !matches!(
                    error.outcome(),
                    Outcome::NotFound | Outcome::Halted | Outcome::Usage
                ) =>
        {
            Err(error)
        }
        sealed => Ok((hearing, sealed)),
    }
}

async fn deployed(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    directory: PathBuf,
) -> Result<Deployment> {
    let bundle = Bundle::read(manifest)
        .map_err(|error| Error::halted("this manifest is no bundle of files").source(error))?;
    let evidence = evidence_of(store, manifest).await?;
    let place = directory.display().to_string();
    let compare = move || compare_pulled(&bundle, &evidence, &directory);
    let problems = tokio::task::spawn_blocking(compare)
        .await
        .map_err(|error| Error::other("comparing the files ended early").source(error))??;
    Ok(Deployment { place, problems })
}

fn show(found: &Chain) -> String {
    let mut text = format!("{}\n  {}", found.name, found.digest);
    for edge in &found.edges {
        let mark = if edge.verified {
            "ok        "
        } else {
            "UNVERIFIED"
        };
        let end = |node: &sealstone::releases::Node| {
            let digest = node.digest.map_or_else(
                || "-".to_owned(),
                |digest| digest.hex().chars().take(12).collect(),
            );
            format!("{} {} [{digest}]", in_line(&node.kind), in_line(&node.name))
        };
        let _ = write!(
            text,
            "\n{mark} {} {} {}\n           {}",
            end(&edge.from),
            edge.relation,
            end(&edge.to),
            in_line(&edge.how)
        );
    }
    let _ = write!(
        text,
        "\n{} links, {} not verified",
        found.edges.len(),
        found.unverified()
    );
    text
}
