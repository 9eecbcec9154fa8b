//! `sealstone attest`: a statement about a bundle, signed and attached where the bundle lies.

use super::Context;
use super::connect::ConnectArgs;
use super::drift::{by_digest, today};
use super::output::in_line;
use super::signing::{SIGNER_HELP, SharedSigner, SignerArgs};
use sealstone::bill::model_of;
use sealstone::ci::{BuildRecord, recognise, variables};
use sealstone::releases::{SealedRelease, comparison};
use sealstone::store::{Location, Store};
use sealstone::trust::{Attestation, attest, expect_name, said};
use sealstone::{Error, Outcome, Result};
use sealstone_spec::canonical::parse_value;
use sealstone_spec::envelope::MAX_ENVELOPE_BYTES;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::statement::predicate;
use sealstone_spec::words::three_words;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Which CI system to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Ci {
    /// The one that is recognised, if any
    Auto,
    /// None
    None,
}

const EXAMPLES: &str = "\
Types by name: slsa-provenance, test-result, svr (an approval), bom, release, summary, reference; others by
URI. What is signed is checked first: a field that no reader knows, or a value that looks like a secret, is
refused. Provenance is made of the recipe.lock in the bundle itself (--lock), which says what was chosen, read
and written, and with it comes the comparison with the release that the bundle names as its baseline (a
test result of the suite regression); or of a build record: JSON with the fields of SLSA provenance, as `sealstone run --record`
writes it, or a recipe.lock. In GitHub Actions, GitLab CI and Jenkins, source, commit, workflow and run are
taken from listed variables; elsewhere --source and --builder-id say them.

Examples:
  sealstone attest registry.example/models/m@sha256:... --lock --key builder.key
  sealstone attest oci:bundle:1.0.0 --lock --source git+https://git.example/m@refs/tags/v1 \\
      --builder-id https://builds.example/gpu --key builder.key
  sealstone attest registry.example/models/m@sha256:... --build-record record.json --key builder.key
  sealstone attest registry.example/models/m@sha256:... --bom bom.json --key builder.key
  sealstone attest oci:bundle:1.0.0 --type test-result --predicate result.json --key evaluator.key";

/// Arguments of `sealstone attest`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{SIGNER_HELP}"))]
pub(crate) struct Args {
    /// The bundle: HOST/REPOSITORY@DIGEST, HOST/REPOSITORY:TAG or oci:DIR[:TAG]
    #[arg(value_name = "LOCATION")]
    location: Location,

    /// What the statement is: a name above or the URI of a predicate type
    #[arg(long = "type", value_name = "TYPE", required_unless_present_any = ["build_record", "bom", "lock"])]
    kind: Option<String>,

    /// What it says, as JSON
    #[arg(long, value_name = "FILE", group = "content", requires = "kind")]
    predicate: Option<PathBuf>,

    /// Provenance of the recipe.lock that lies in the bundle
    #[arg(long, group = "content")]
    lock: bool,

    /// A build record or recipe.lock, made into provenance
    #[arg(long, value_name = "FILE", group = "content")]
    build_record: Option<PathBuf>,

    /// A bill of materials, as `sealstone bom write` makes it
    #[arg(long, value_name = "FILE", group = "content")]
    bom: Option<PathBuf>,

    /// Who vouches for the build; else the build record or the CI system says it
    #[arg(long, value_name = "URI")]
    builder_id: Option<String>,

    /// Where the code came from, with the revision; else the build record, the CI system or the bundle says it
    #[arg(long, value_name = "URI")]
    source: Option<String>,

    /// Whether to complete a build record from the CI system that runs this
    #[arg(long, value_enum, default_value = "auto")]
    ci: Ci,

    /// The three words that the bundle must have as its name
    #[arg(long, value_name = "THREE-WORDS")]
    name: Option<String>,

    #[command(flatten)]
    signer: SignerArgs,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Predicate types by the names that people type.
const NAMES: [(&str, &str); 8] = [
    ("slsa-provenance", predicate::SLSA_PROVENANCE),
    ("test-result", predicate::TEST_RESULT),
    ("svr", predicate::SVR),
    ("bom", predicate::CYCLONEDX),
    ("release", predicate::RELEASE),
    ("summary", predicate::VERIFICATION_SUMMARY),
    ("reference", predicate::REFERENCE),
    ("reproduction", predicate::REPRODUCTION),
];

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    // What is said and who says it first: nothing is fetched for a mistake.
    let stated = match args.lock {
        true => None,
        false => Some(attestation(&args, context)?),
    };
    let signers: Vec<SharedSigner> = args.signer.signers()?;
    let store = args.location.open(&args.connect.options())?;
    let manifest = args.connect.resolve(&args.location, store.as_ref()).await?;
    if let Some(name) = &args.name {
        expect_name(name, manifest.digest(), &args.location.to_string())?;
    }
    let created = super::pack::creation_time(std::env::var("SOURCE_DATE_EPOCH").ok().as_deref())?
        .unwrap_or_else(super::sign::now);
    let attestations = match stated {
        Some(attestation) => vec![attestation],
        None => of_bundle(&args, context, store.as_ref(), &manifest).await?,
    };
    let name = args.location.name();
    let digest = manifest.digest();
    let mut text = format!("attested {}\n  {digest}", three_words(digest));
    let mut statements = Vec::new();
    for attestation in &attestations {
        let kind = attestation.predicate_type();
        text.push_str(&format!("\n  type      {}", in_line(kind)));
        let facts =
            said(kind, attestation.predicate()).map_err(|error| Error::usage(error.to_string()))?;
        for (fact, value) in &facts.facts {
            text.push_str(&format!("\n  {fact:<9} {}", in_line(value)));
        }
        let mut rows = Vec::new();
        for signer in &signers {
            let signed = attest(
                store.as_ref(),
                &manifest,
                &name,
                attestation,
                signer.as_ref(),
                &created,
            )
            .await?;
            let state = if signed.was_there {
                "was there"
            } else {
                "added"
            };
            text.push_str(&format!(
                "\n  {state:<9} {} {}",
                signed.algorithm, signed.key_id
            ));
            rows.push(
                json!({"keyId": signed.key_id, "algorithm": signed.algorithm,
                "referrer": signed.referrer, "wasThere": signed.was_there}),
            );
        }
        statements.push(json!({"predicateType": kind, "predicate": attestation.predicate(), "attestations": rows}));
    }
    // The first one is what was asked for; what follows from it stands in the list.
    let mut value = statements.first().cloned().unwrap_or_default();
    value["location"] = json!(args.location.to_string());
    value["digest"] = json!(digest);
    value["statements"] = json!(statements);
    context.output.result(&value, text);
    Ok(())
}

fn attestation(args: &Args, context: &Context) -> Result<Attestation> {
    let named = args.kind.as_deref().map(|kind| {
        let known = NAMES.iter().find(|(name, _)| *name == kind);
        known.map_or(kind, |(_, uri)| uri)
    });
    let fits = |due: &'static str| match named {
        Some(kind) if kind != due => Err(Error::usage(format!(
            "--type is \"{kind}\", and this file makes \"{due}\""
        ))),
        _ => Ok(due),
    };
    if args.build_record.is_none() && (args.builder_id.is_some() || args.source.is_some()) {
        return Err(Error::usage(
            "--builder-id and --source go with --build-record and --lock",
        ));
    }
    if let Some(path) = &args.build_record {
        let kind = fits(predicate::SLSA_PROVENANCE)?;
        let record = BuildRecord::parse(&read(path)?)?;
        return Attestation::new(kind, provenance(record, args, context, None)?);
    }
    if let Some(path) = &args.bom {
        return Attestation::new(fits(predicate::CYCLONEDX)?, object(path)?);
    }
    match (named, &args.predicate) {
        (Some(kind), Some(path)) => Attestation::new(kind, object(path)?),
        _ => Err(Error::usage("nothing to say").hint("give --predicate, --build-record or --bom")),
    }
}

/// Provenance of a record, completed from the CI system and from the command line.
fn provenance(
    mut record: BuildRecord,
    args: &Args,
    context: &Context,
    place: Option<&str>,
) -> Result<Map<String, Value>> {
    let run = match args.ci {
        Ci::Auto => recognise(&variables)?,
        Ci::None => None,
    };
    if let Some(run) = &run {
        context.output.note(format!(
            "note: completed from {}, {}",
            run.system, run.source
        ));
    }
    // What the bundle says of its source is the last word, where nobody else has one.
    let place = place.filter(|_| run.is_none());
    if let Some(source) = args.source.as_deref().or(place) {
        record.from_source(source)?;
    }
    record.provenance(run.as_ref(), args.builder_id.as_deref())
}

/// Provenance of the lock that lies in the bundle, and the comparison with the release that it names as its baseline.
async fn of_bundle(
    args: &Args,
    context: &Context,
    store: &dyn Store,
    manifest: &VerifiedManifest,
) -> Result<Vec<Attestation>> {
    if let Some(kind) = args.kind.as_deref()
        && !["slsa-provenance", predicate::SLSA_PROVENANCE].contains(&kind)
    {
        return Err(Error::usage(format!(
            "--type is \"{kind}\", and a lock makes provenance"
        )));
    }
    let release = SealedRelease::read(store, manifest).await?;
    let model = model_of(store, manifest, None, &args.location.name()).await?;
    let record = BuildRecord::of_lock(&release.lock);
    let predicate = provenance(record, args, context, model.source_url.as_deref()).map_err(
        |error| match args.source {
            None => error.hint("say where the code came from: --source URI"),
            Some(_) => error,
        },
    )?;
    let mut made = vec![Attestation::new(predicate::SLSA_PROVENANCE, predicate)?];
    made.extend(compared(context, store, &release).await?);
    Ok(made)
}

/// The comparison of a release with its baseline; `None` if it names none, or one that is not here.
async fn compared(
    context: &Context,
    store: &dyn Store,
    release: &SealedRelease,
) -> Result<Option<Attestation>> {
    let Some(digest) = release.baseline else {
        return Ok(None);
    };
    let base = match by_digest(store, digest).await {
        Ok(base) => base,
        Err(error) if error.outcome() == Outcome::NotFound => {
            context.output.note(format!(
                "warning: the baseline {digest} cannot be compared with: {error}"
            ));
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let predicate = comparison(&base, release, today()?)?;
    Attestation::new(predicate::TEST_RESULT, predicate).map(Some)
}

fn object(path: &Path) -> Result<Map<String, Value>> {
    let refused = || format!("\"{}\" is no JSON object", path.display());
    match parse_value(&read(path)?, MAX_ENVELOPE_BYTES) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::usage(refused())),
        Err(error) => Err(Error::usage(refused()).source(error)),
    }
}

/// A file of a size that a statement can have.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| {
            file.take(MAX_ENVELOPE_BYTES as u64 + 1)
                .read_to_end(&mut bytes)
        })
        .map_err(|source| Error::io(format!("reading \"{}\"", path.display()), source))?;
    Ok(bytes)
}
