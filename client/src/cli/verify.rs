//! `sealstone verify`: a bundle judged, rule by rule, and if wanted a directory compared with it.

use super::Context;
use super::connect::ConnectArgs;
use super::trust::TrustArgs;
use sealstone::releases::{DataAt, SealedRelease, absent_data, check_data};
use sealstone::report::as_lines;
use sealstone::store::{Location, Store};
use sealstone::transfer::check_stored;
use sealstone::trust::{
    Evidence, RegistryWord, ToldRepository, compare_pulled, evidence_for, expect_name,
    told_repository,
};
use sealstone::{Error, Result};
use sealstone_spec::bundle::Bundle;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::policy::{Evaluation, Policy};
use sealstone_spec::recipe::LockedInput;
use sealstone_spec::role::BundleRole;
use sealstone_spec::words::three_words;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Arguments of `sealstone verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Judges with your own policy or keys; the registry's word plays no part. A layout or an archive is
verified without a network, all its files included, and of an index everything below it. From a registry
only manifest and signatures are read: its files are verified when they are pulled, or with --files where
they are already.

Examples:
  sealstone verify registry.example/models/m:1.0.0 --policy policy.toml
  sealstone verify oci:bundle:1.0.0 --key alice.pub
  sealstone verify oci:bundle:1.0.0 --policy policy.toml --repository models/m
  sealstone verify release.tar --key alice.pub
  sealstone verify release.tar --root roots.pem
  sealstone verify release.tar --root roots.pem --repository models/m
  sealstone verify registry.example/models/m:1.0.0 --key alice.pub --files ./my-model
  sealstone verify registry.example/models/m:1.0.0 --key alice.pub --deep --data data/raw.csv=/mnt/lake/raw.csv
  sealstone verify registry.example/models/m:1.0.0 --key a.pub --key b.pub --threshold 2 --name brisk-otter-quartz")]
pub(crate) struct Args {
    /// The bundle: HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST, oci:DIR[:TAG] or an exported FILE.tar
    #[arg(value_name = "LOCATION")]
    location: Location,

    #[command(flatten)]
    trust: TrustArgs,

    /// The three words that the bundle must have as its name
    #[arg(long, value_name = "THREE-WORDS")]
    name: Option<String>,

    /// Data that the bundle names and does not hold, compared with its lock; may be repeated
    #[arg(long, value_name = "PATH=PLACE")]
    data: Vec<DataAt>,

    /// Refuse if data that the bundle only names was not given and compared
    #[arg(long)]
    deep: bool,

    /// Compare the files in this directory with the bundle
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    if !args.trust.names_somebody() {
        return Err(Error::usage("nobody to trust was named").hint(
            "give --policy FILE, --key FILE.pub for each signer, or --root FILE.pem for the policy that came along",
        ));
    }
    // An archive may prove its repository itself, once it is open.
    let stated = match args.trust.repository(&args.location) {
        Err(error) if !matches!(args.location, Location::Archive { .. }) => return Err(error),
        stated => stated,
    };
    let store = args.location.open(&args.connect.options())?;
    let (manifest, seen) = args
        .connect
        .resolve_logged(&args.location, store.as_ref())
        .await?;
    if let Some(name) = &args.name {
        expect_name(name, manifest.digest(), &args.location.to_string())?;
    }
    let judge = args
        .trust
        .judge_for(
            &args.location,
            &args.connect.options(),
            store.as_ref(),
            &manifest,
        )
        .await?;
    let judge = judge.ok_or_else(|| Error::usage("nobody to trust was named"))?;
    let (repository, told) = match stated {
        Ok(repository) => (repository, None),
        Err(unnamed) => {
            let told = told_repository(store.as_ref(), &manifest, judge.policy()).await?;
            let told = without_doubt(told, judge.policy(), unnamed)?;
            context.output.note(format!("note: {}", scope_text(&told)));
            (told.name.clone(), Some(told))
        }
    };
    let evidence = evidence_for(store.as_ref(), &manifest, judge.policy(), seen.as_ref()).await?;
    // What can be no evidence stands with the rules, as ignored.
    for (digest, reason) in &evidence.unread {
        context.output.note(format!(
            "cannot be read, and may be what stops it: {digest}: {reason}"
        ));
    }
    for text in &evidence.undecided {
        context.output.note(format!("note: {text}"));
    }
    let judgement = match judge.judge(&repository, &manifest, &evidence) {
        Ok(judgement) => judgement,
        Err(refusal) => {
            let evaluation = judge.evaluate(&repository, &manifest, &evidence);
            context.output.notes(&rules_text(&evaluation));
            return Err(refusal);
        }
    };
    let data = check_referenced(&args, store.as_ref(), &manifest).await?;
    let blobs = check_stored(store.as_ref(), &manifest).await?;
    let files = match &args.files {
        Some(directory) => Some(check_files(&manifest, &evidence, directory).await?),
        None => None,
    };

    let digest = manifest.digest();
    let roles = roles(&manifest);
    let mut text = format!("verified {}\n  {digest}\n", three_words(digest));
    if !roles.is_empty() {
        let counts: Vec<String> = roles
            .iter()
            .map(|(role, count)| format!("{count} {role}"))
            .collect();
        text.push_str(&format!("  holds    {}\n", counts.join(", ")));
    }
    if let Some(told) = &told {
        text.push_str(&format!("  scope    {}\n", scope_text(told)));
    }
    text.push_str(&rules_text(&judgement.evaluation));
    let word = evidence.registry_word(&manifest, &repository, args.location.tag());
    text.push_str(&registry_text(word.as_ref()));
    // Of none there is nothing to say.
    if let Some(count @ 1..) = blobs {
        text.push_str(&format!(
            "\n  ok       files: {count} blobs have the digests that they are named by"
        ));
    }
    if let (Some(count), Some(directory)) = (files, &args.files) {
        text.push_str(&format!(
            "\n  ok       files: {count} in \"{}\" are those of the bundle",
            directory.display()
        ));
    }
    if let Some(count) = data {
        text.push_str(&format!(
            "\n  ok       data: {count} files that the bundle names are those of its lock"
        ));
    }
    let value = json!({"verified": true, "location": args.location.to_string(), "digest": digest,
        "name": three_words(digest), "policy": judge.policy().digest(), "repositoryFromArchive": told.is_some(),
        "repositoryProved": told.as_ref().map(|told| told.is_proved),
        "evaluation": judgement.evaluation, "evidence": judgement.admission.evidence(),
        "registry": word, "undecided": evidence.undecided, "blobsChecked": blobs, "filesChecked": files, "dataChecked": data, "roles": roles});
    context.output.result(&value, text);
    Ok(())
}

/// The repository that an archive names, if its rules may hold; else the refusal, with what it names.
fn without_doubt(
    told: Option<ToldRepository>,
    policy: &Policy,
    unnamed: Error,
) -> Result<ToldRepository> {
    let Some(told) = told else {
        return Err(unnamed);
    };
    let Some(doubt) = told.doubt(policy) else {
        return Ok(told);
    };
    let name = told.name.as_str();
    let refusal = unnamed.hint(format!(
        "the archive names {name} itself, and {doubt}; if it is to come from there: --repository {name}"
    ));
    let detail = json!({"repository": name, "repositoryFromArchive": true,
        "repositoryProved": told.is_proved});
    Err(refusal.detail(detail))
}

/// Whose rules hold, and who says so.
fn scope_text(told: &ToldRepository) -> String {
    format!(
        "the rules of repository \"{}\" hold, as a log that the policy trusts says; --repository NAME states another",
        told.name
    )
}

/// Compares data that the bundle names and does not hold; how many files it is, if that was asked for.
async fn check_referenced(
    args: &Args,
    store: &dyn Store,
    manifest: &VerifiedManifest,
) -> Result<Option<usize>> {
    if args.data.is_empty() && !args.deep {
        return Ok(None);
    }
    let release = SealedRelease::read(store, manifest).await?;
    if args.deep {
        let given =
            |input: &&LockedInput| !args.data.iter().any(|it| it.path == input.content.path);
        let missing: Vec<&LockedInput> = absent_data(&release.lock, &release.bundle)
            .into_iter()
            .filter(given)
            .collect();
        if let Some(first) = missing.first() {
            let source = first.source.as_deref().unwrap_or("nowhere that it says");
            return Err(Error::refused(format!(
                "{} inputs are not in the bundle and were not given, the first is \"{}\" from {source}",
                missing.len(),
                first.content.path
            ))
            .hint(format!("bring it, then: --data {}=PLACE", first.content.path)));
        }
    }
    let (lock, data) = (release.lock, args.data.clone());
    let check = move || -> Result<usize> {
        let counts = data.iter().map(|data| check_data(&lock, data));
        counts.sum()
    };
    let compared = tokio::task::spawn_blocking(check)
        .await
        .map_err(|error| Error::other("comparing the data ended early").source(error))?;
    compared.map(Some)
}

/// How many files of each role a bundle has; empty for what is no bundle.
fn roles(manifest: &VerifiedManifest) -> BTreeMap<BundleRole, usize> {
    let mut counts = BTreeMap::new();
    if let Ok(bundle) = Bundle::read(manifest) {
        for file in bundle.files() {
            *counts.entry(file.role).or_default() += 1;
        }
    }
    counts
}

/// Each rule and its result, a line each.
pub(super) fn rules_text(evaluation: &Evaluation) -> String {
    let mut lines = Vec::new();
    for result in &evaluation.results {
        let mark = if result.satisfied {
            "ok      "
        } else {
            "NOT MET "
        };
        lines.push(as_lines(&format!(
            "  {mark} {}: {}",
            result.rule,
            result.reasons.join("; ")
        )));
    }
    for ignored in &evaluation.ignored {
        lines.push(as_lines(&format!(
            "  ignored  {}: {}",
            ignored.evidence, ignored.reason
        )));
    }
    lines.join("\n")
}

/// What the registry itself said, a line each.
pub(super) fn registry_text(word: Option<&RegistryWord>) -> String {
    let lines = word.map(RegistryWord::lines).unwrap_or_default();
    lines
        .iter()
        .map(|line| format!("\n  registry {line}"))
        .collect()
}

/// Compares a directory with the bundle; returns the number of files.
async fn check_files(
    manifest: &VerifiedManifest,
    evidence: &Evidence,
    directory: &Path,
) -> Result<usize> {
    let bundle = Bundle::read(manifest)
        .map_err(|error| Error::halted("this manifest is no bundle of files").source(error))?;
    let count = bundle.files().len();
    let (place, evidence) = (directory.to_owned(), evidence.clone());
    let compare = move || compare_pulled(&bundle, &evidence, &place);
    let problems = tokio::task::spawn_blocking(compare)
        .await
        .map_err(|error| Error::other("comparing the files ended early").source(error))??;
    if problems.is_empty() {
        return Ok(count);
    }
    let mut error = Error::halted(format!(
        "\"{}\" differs from the bundle; differences: {}",
        directory.display(),
        problems.len()
    ));
    for problem in problems.iter().take(20) {
        error = error.hint(problem.to_string());
    }
    Err(match serde_json::to_value(&problems) {
        Ok(detail) => error.detail(json!({"problems": detail})),
        Err(_) => error,
    })
}
