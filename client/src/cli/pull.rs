//! `sealstone pull`: a bundle fetched, verified, and only then put in place.

use super::Context;
use super::connect::ConnectArgs;
use super::output::readable_size;
use super::push::report;
use super::transfer::{TransferArgs, interruptible};
use super::trust::TrustArgs;
use sealstone::report::as_lines;
use sealstone::store::Location;
use sealstone::transfer::{Place, Requirement, copy, pull};
use sealstone::trust::{Judgement, evidence_for, expect_name, model_signature};
use sealstone::{Error, Result};
use sealstone_spec::bundle::Bundle;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::model_signature::FILE_NAME;
use sealstone_spec::words::three_words;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Arguments of `sealstone pull`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Judges the bundle with your own policy or keys, then checks the manifest, every path, and every file's
size and digest while it streams. Files are written beside the destination and renamed into place at
the end. If anything is not what it should be, pull halts with exit code 4, says which layer, and
leaves nothing.

Examples:
  sealstone pull registry.example/models/m:1.0.0 --policy policy.toml -o ./my-model
  sealstone pull registry.example/models/m:1.0.0 --key alice.pub -o ./my-model --name brisk-otter-quartz
  sealstone pull registry.example/models/m:1.0.0 --key alice-p256.pub -o ./my-model --oms
  sealstone pull registry.example/models/m:1.0.0 --key alice.pub --oci carry
  sealstone pull release.tar --key alice.pub -o ./my-model
  sealstone pull registry.example/library/thing:1 --insecure-skip-signatures -o ./thing")]
pub(crate) struct Args {
    /// The bundle: HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST, oci:DIR[:TAG] or an exported FILE.tar
    #[arg(value_name = "LOCATION")]
    location: Location,

    /// Directory to make; without it, one named after the repository, layout or archive
    #[arg(long, short = 'o', value_name = "DIR", conflicts_with = "oci")]
    out: Option<PathBuf>,

    /// Pull into an OCI layout instead, with signatures and everything else that was said about it
    #[arg(long, value_name = "DIR")]
    oci: Option<PathBuf>,

    /// Replace an existing directory as a whole, once everything is verified
    #[arg(long, conflicts_with = "oci")]
    overwrite: bool,

    /// The three words that the bundle must have as its name
    #[arg(long, value_name = "THREE-WORDS")]
    name: Option<String>,

    #[command(flatten)]
    trust: TrustArgs,

    /// Also write its OpenSSF model signature into the directory, as model.sig
    #[arg(long, conflicts_with_all = ["oci", "insecure_skip_signatures"])]
    oms: bool,

    /// Use the bundle whoever made it: nobody's signature is asked for
    #[arg(long, conflicts_with_all = ["policy", "key", "root", "registry_policy"], help_heading = "Trust")]
    insecure_skip_signatures: bool,

    #[command(flatten)]
    transfer: TransferArgs,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let source = Place::open(&args.location, &args.connect.options())?;
    if !args.trust.names_somebody() && !args.insecure_skip_signatures {
        return Err(Error::usage("nobody to trust was named, so nothing would be verified")
            .hint("give --policy FILE (or set SEALSTONE_POLICY), --key FILE.pub for each signer, or --root FILE.pem")
            .hint("without any signature: --insecure-skip-signatures"));
    }
    let (manifest, seen) = args
        .connect
        .resolve_logged(&args.location, source.store())
        .await?;
    if let Some(name) = &args.name {
        expect_name(name, manifest.digest(), &args.location.to_string())?;
    }
    let judge = args
        .trust
        .judge_for(
            &args.location,
            &args.connect.options(),
            source.store(),
            &manifest,
        )
        .await?;
    let mut signature = None;
    let judgement = match &judge {
        Some(judge) => {
            let repository = args.trust.repository(&args.location)?;
            let evidence =
                evidence_for(source.store(), &manifest, judge.policy(), seen.as_ref()).await?;
            for text in &evidence.undecided {
                context.output.note(format!("note: {text}"));
            }
            let judgement = judge.judge(&repository, &manifest, &evidence)?;
            if args.oms {
                // Before anything is fetched: whoever asks for it should learn at once that it is missing.
                check_no_other(&manifest)?;
                signature = Some(model_signature(&evidence, &manifest, &judge.keys())?);
            }
            Some(judgement)
        }
        None => {
            context.output.note("warning: signatures are not verified, because --insecure-skip-signatures was given");
            None
        }
    };
    let requirement = match &judgement {
        Some(judgement) => Requirement::Admitted(&judgement.admission),
        None => Requirement::NoSignatures,
    };
    match &args.oci {
        Some(layout) => into_layout(&args, context, &source, &manifest, requirement, layout).await,
        None => {
            into_directory(
                &args,
                context,
                &source,
                &manifest,
                requirement,
                judgement.as_ref(),
                signature,
            )
            .await
        }
    }
}

/// A bundle that brings a model.sig of its own keeps it.
fn check_no_other(manifest: &VerifiedManifest) -> Result<()> {
    let bundle = Bundle::read(manifest)
        .map_err(|error| Error::halted("this manifest is no bundle of files").source(error))?;
    match bundle
        .files()
        .iter()
        .any(|file| file.path.as_str() == FILE_NAME)
    {
        true => Err(
            Error::conflict(format!("the bundle has a file \"{FILE_NAME}\" of its own"))
                .hint("pull without --oms"),
        ),
        false => Ok(()),
    }
}

/// Writes the model signature beside the files, complete or not at all.
fn write_signature(directory: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write as _;
    let path = directory.join(FILE_NAME);
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(".partial-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(directory)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(&path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error| Error::io(format!("writing \"{}\"", path.display()), error))
}

async fn into_layout(
    args: &Args,
    context: &Context,
    source: &Place,
    manifest: &VerifiedManifest,
    requirement: Requirement<'_>,
    layout: &std::path::Path,
) -> Result<()> {
    requirement.check(manifest)?;
    let destination = Location::Layout {
        path: layout.to_owned(),
        reference: args
            .location
            .tag()
            .cloned()
            .map(sealstone_spec::name::Reference::Tag),
    };
    let place = Place::open_or_create(&destination, &args.connect.options())?;
    let transfer = args.transfer.options(context);
    let copied =
        interruptible(copy(source, &place, manifest, destination.tag(), &transfer)).await?;
    report(context, "pulled", &destination, &copied);
    Ok(())
}

async fn into_directory(
    args: &Args,
    context: &Context,
    source: &Place,
    manifest: &VerifiedManifest,
    requirement: Requirement<'_>,
    judgement: Option<&Judgement>,
    signature: Option<Vec<u8>>,
) -> Result<()> {
    let directory = match &args.out {
        Some(directory) => directory.clone(),
        None => {
            let name = args.location.name();
            PathBuf::from(name.rsplit('/').next().unwrap_or("model"))
        }
    };
    let transfer = args.transfer.options(context);
    let pulled = interruptible(pull(
        source,
        manifest,
        requirement,
        &directory,
        args.overwrite,
        &transfer,
    ))
    .await?;
    if let Some(signature) = &signature {
        write_signature(&pulled.directory, signature)?;
    }
    let name = three_words(&pulled.digest);
    let trust = match judgement {
        Some(judgement) => {
            let met = judgement
                .evaluation
                .results
                .iter()
                .map(|result| format!("{}: {}", result.rule, result.reasons.join("; ")))
                .map(|line| format!("\n  {}", as_lines(&line)));
            format!("verified{}", met.collect::<String>())
        }
        None => "digests verified, signatures not asked for".to_owned(),
    };
    let text = format!(
        "pulled {name} into \"{}\"\n  {}\n  {} files, {}\n{trust}",
        pulled.directory.display(),
        pulled.digest,
        pulled.files,
        readable_size(pulled.bytes)
    );
    let mut value = json!(pulled);
    value["name"] = name.into();
    value["location"] = args.location.to_string().into();
    value["modelSignature"] = signature.map(|_| FILE_NAME).into();
    value["signaturesVerified"] = judgement.is_some().into();
    context.output.result(&value, text);
    Ok(())
}
