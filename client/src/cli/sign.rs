//! `sealstone sign`: one signature bundle per key, attached to the bundle where it lies.

use super::Context;
use super::connect::ConnectArgs;
use super::passphrase::PassphraseArgs;
use sealstone::keys::{Passphrases, companion_of, read_secret};
use sealstone::store::Location;
use sealstone::trust::{expect_name, sign, sign_legacy};
use sealstone::{Error, Outcome, Result};
use sealstone_spec::key::{SecretKey, Signer};
use sealstone_spec::words::three_words;
use serde_json::json;
use std::path::PathBuf;

/// Forms for older tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Compat {
    /// cosign's .sig tag too, for Harbor, policy-controller, podman and Kyverno
    LegacySig,
    /// Bundles only
    None,
}

/// Arguments of `sealstone sign`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Attaches one sigstore bundle per key; with NAME.key, its companion NAME-p256.key beside it signs too.
What is signed is the digest of the manifest, and through it every file. Signing twice changes nothing.

Examples:
  sealstone sign registry.example/models/m@sha256:... --key release.key
  sealstone sign oci:bundle:1.0.0 --key alice.key --key bob.key
  sealstone sign registry.example/models/m:1.0.0 --key ci.key --passphrase-file pass.txt --compat none")]
pub(crate) struct Args {
    /// The bundle: HOST/REPOSITORY@DIGEST, HOST/REPOSITORY:TAG or oci:DIR[:TAG]
    #[arg(value_name = "LOCATION")]
    location: Location,

    /// Private key; may be repeated
    #[arg(long, value_name = "FILE.key", required = true)]
    key: Vec<PathBuf>,

    /// Sign with the keys named, not with companions that lie beside them
    #[arg(long)]
    only: bool,

    /// Forms for older tools, where the bundle lies in a registry
    #[arg(long, value_enum, default_value = "legacy-sig")]
    compat: Compat,

    /// The three words that the bundle must have as its name
    #[arg(long, value_name = "THREE-WORDS")]
    name: Option<String>,

    #[command(flatten)]
    passphrase: PassphraseArgs,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    // Keys first: whoever mistypes a passphrase should learn it before anything is fetched.
    let keys = read_keys(&args)?;
    let store = args.location.open(&args.connect.options())?;
    let manifest = args.location.resolve(store.as_ref()).await?;
    if let Some(name) = &args.name {
        expect_name(name, manifest.digest(), &args.location.to_string())?;
    }
    let created = super::pack::creation_time(std::env::var("SOURCE_DATE_EPOCH").ok().as_deref())?
        .unwrap_or_else(now);
    let statement_name = args.location.name();
    let mut signatures = Vec::new();
    for key in &keys {
        signatures.push(sign(store.as_ref(), &manifest, &statement_name, key, &created).await?);
    }
    let mut legacy = None;
    if args.compat == Compat::LegacySig && matches!(args.location, Location::Registry(_)) {
        let signers: Vec<&(dyn Signer + Sync)> = keys.iter().map(|key| key as _).collect();
        legacy = match sign_legacy(store.as_ref(), &manifest, &statement_name, &signers).await {
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
    for signed in &signatures {
        let state = if signed.was_there {
            "was there"
        } else {
            "added"
        };
        text.push_str(&format!(
            "\n  {state:<9} {} {}",
            signed.algorithm, signed.key_id
        ));
    }
    if let Some(tag) = &legacy {
        text.push_str(&format!("\n  also as   {tag}"));
    }
    let rows: Vec<_> = signatures
        .iter()
        .map(|signed| {
            json!({"keyId": signed.key_id, "algorithm": signed.algorithm,
                "referrer": signed.referrer, "wasThere": signed.was_there})
        })
        .collect();
    let value = json!({"location": args.location.to_string(), "digest": digest,
        "name": three_words(digest), "signatures": rows, "legacyTag": legacy});
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

fn read_keys(args: &Args) -> Result<Vec<SecretKey>> {
    let mut passphrases: Passphrases<'_> = args.passphrase.passphrases();
    let mut keys: Vec<SecretKey> = Vec::new();
    for path in &args.key {
        let companion = if args.only { None } else { companion_of(path) };
        for path in std::iter::once(path.clone()).chain(companion) {
            let key = read_secret(&path, &mut passphrases)?;
            if keys
                .iter()
                .all(|known| known.public_key() != key.public_key())
            {
                keys.push(key);
            }
        }
    }
    if keys.is_empty() {
        return Err(Error::usage("no key to sign with"));
    }
    Ok(keys)
}

fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second())
        .unwrap_or(now)
        .to_string()
}
