//! `sealstone sign`: what each key says, in every form that somebody reads, attached to the bundle where
//! it lies.

use super::Context;
use super::connect::ConnectArgs;
use super::signing::{SIGNER_HELP, SharedSigner, SignerArgs};
use sealstone::store::Location;
use sealstone::trust::{ModelSigned, Signed, expect_name, sign, sign_legacy, sign_model};
use sealstone::{Outcome, Result};
use sealstone_spec::key::Signer;
use sealstone_spec::words::three_words;
use serde_json::{Value, json};

/// Forms for older tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Compat {
    /// cosign's .sig tag too, for Harbor, policy-controller, podman and Kyverno
    LegacySig,
    /// Bundles only
    None,
}

const EXAMPLES: &str = "\
Attaches, per key: a sigstore bundle; for P-256 keys also an OpenSSF model signature; and for older tools
the .sig tag. With NAME.key, its companion NAME-p256.key beside it signs too. What is signed is the
digest of the manifest, and through it every file. Signing twice changes nothing.

Examples:
  sealstone sign registry.example/models/m@sha256:... --key release.key
  sealstone sign oci:bundle:1.0.0 --key alice.key --key bob.key
  sealstone sign oci:bundle:1.0.0 --key ~/.ssh/id_ed25519
  sealstone sign registry.example/models/m:1.0.0 --key ci.key --passphrase-file pass.txt --compat none
  sealstone sign oci:bundle:1.0.0 --signer 'command:kms-sign release' --signer-key release.pub";

/// Arguments of `sealstone sign`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{SIGNER_HELP}"))]
pub(crate) struct Args {
    /// The bundle: HOST/REPOSITORY@DIGEST, HOST/REPOSITORY:TAG or oci:DIR[:TAG]
    #[arg(value_name = "LOCATION")]
    location: Location,

    #[command(flatten)]
    signer: SignerArgs,

    /// Leave out the model signature that P-256 keys add for OpenSSF Model Signing's tools
    #[arg(long)]
    without_model_signature: bool,

    /// Forms for older tools, where the bundle lies in a registry
    #[arg(long, value_enum, default_value = "legacy-sig")]
    compat: Compat,

    /// The three words that the bundle must have as its name
    #[arg(long, value_name = "THREE-WORDS")]
    name: Option<String>,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    // Keys first: whoever mistypes a passphrase should learn it before anything is fetched.
    let signers = args.signer.signers()?;
    let store = args.location.open(&args.connect.options())?;
    let manifest = args.connect.resolve(&args.location, store.as_ref()).await?;
    if let Some(name) = &args.name {
        expect_name(name, manifest.digest(), &args.location.to_string())?;
    }
    let created = super::pack::creation_time(std::env::var("SOURCE_DATE_EPOCH").ok().as_deref())?
        .unwrap_or_else(now);
    let name = args.location.name();
    let store = store.as_ref();
    let mut signatures = Vec::new();
    for signer in in_order(&signers) {
        signatures.push(sign(store, &manifest, &name, signer, &created).await?);
    }
    let mut models = Vec::new();
    let mut impossible = None;
    if !args.without_model_signature {
        for signer in in_order(&signers) {
            match sign_model(store, &manifest, &name, signer, &created).await? {
                ModelSigned::Signed(signed) => models.push(signed),
                ModelSigned::Impossible(reason) => impossible = Some(reason),
            }
        }
    }
    if let (true, Some(reason)) = (models.is_empty(), impossible) {
        context.output.note(format!(
            "note: no OpenSSF model signature was added: {reason}"
        ));
    }
    let mut legacy = None;
    if args.compat == Compat::LegacySig && matches!(args.location, Location::Registry(_)) {
        let signers: Vec<&(dyn Signer + Sync)> = in_order(&signers).collect();
        legacy = match sign_legacy(store, &manifest, &name, &signers).await {
            Ok(tag) => tag,
            // The bundles are what counts and they are in place; this form is a courtesy.
            Err(error) if is_courtesy(error.outcome()) => {
                context.output.note(format!(
                    "note: no .sig tag for older tools was written: {error}"
                ));
                None
            }
            Err(error) => return Err(error),
        };
    }

    let digest = manifest.digest();
    let mut text = format!("signed {}\n  {digest}", three_words(digest));
    for (signed, form) in signatures.iter().map(|signed| (signed, "")).chain(
        models
            .iter()
            .map(|signed| (signed, ", as OpenSSF model signature")),
    ) {
        let state = if signed.was_there {
            "was there"
        } else {
            "added"
        };
        text.push_str(&format!(
            "\n  {state:<9} {} {}{form}",
            signed.algorithm, signed.key_id
        ));
    }
    if let Some(tag) = &legacy {
        text.push_str(&format!("\n  also as   {tag}"));
    }
    let value = json!({"location": args.location.to_string(), "digest": digest,
        "name": three_words(digest), "signatures": rows(&signatures),
        "modelSignatures": rows(&models), "legacyTag": legacy});
    context.output.result(&value, text);
    Ok(())
}

/// Outcomes that say that the registry does not want such a tag, not that it is broken.
fn is_courtesy(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Unauthorised | Outcome::Refused | Outcome::Conflict
    )
}

/// Ed25519 first: whoever reads while this goes on finds the plainest form.
fn in_order(signers: &[SharedSigner]) -> impl Iterator<Item = &(dyn Signer + Sync)> {
    let is_first = |signer: &&SharedSigner| signer.public_key().algorithm() == "ed25519";
    let first = signers.iter().filter(is_first);
    let others = signers.iter().filter(move |signer| !is_first(signer));
    first.chain(others).map(|signer| signer.as_ref() as _)
}

fn rows(signatures: &[Signed]) -> Vec<Value> {
    signatures
        .iter()
        .map(|signed| {
            json!({"keyId": signed.key_id, "algorithm": signed.algorithm,
                "referrer": signed.referrer, "wasThere": signed.was_there})
        })
        .collect()
}

pub(super) fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second())
        .unwrap_or(now)
        .to_string()
}
