//! `sealstone inspect`: what a bundle is, what lies in it, and what has been said about it.
//!
//! Shows claims, and says so. What a statement says is shown only if it holds under a key that was given.

use super::Context;
use super::connect::ConnectArgs;
use super::output::{in_line, readable_size};
use sealstone::keys::read_public;
use sealstone::store::{Location, Store};
use sealstone::trust::{expect_name, open, said};
use sealstone::{Outcome, Result};
use sealstone_spec::bundle::Bundle;
use sealstone_spec::key::PublicKey;
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::media;
use sealstone_spec::name::Reference;
use sealstone_spec::record::{Document, STATEMENT_KEY};
use sealstone_spec::sigstore::{
    ANNOTATION_PREDICATE_TYPE, KeyChoice, MAX_BUNDLE_BYTES, SigstoreBundle, legacy_tag,
};
use sealstone_spec::words::three_words;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::PathBuf;

const MAX_CONFIG_BYTES: u64 = 4 * 1024 * 1024;

/// Arguments of `sealstone inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Shows what is claimed. With --key, what that key signed is verified and told, and so is what the registry
signed itself; whether it is enough for a release, `sealstone verify` says.

Examples:
  sealstone inspect oci:bundle:1.0.0
  sealstone inspect registry.example/models/m:1.0.0 --name brisk-otter-quartz
  sealstone inspect registry.example/models/m:1.0.0 --key builder.pub
  sealstone inspect registry.example/models/m:1.0.0 --output json | jq .files")]
pub(crate) struct Args {
    /// The bundle: HOST/REPOSITORY:TAG, HOST/REPOSITORY@DIGEST or oci:DIR[:TAG]
    #[arg(value_name = "LOCATION")]
    location: Location,

    /// The three words that the bundle must have as its name
    #[arg(long, value_name = "THREE-WORDS")]
    name: Option<String>,

    /// Public key; what its owner attached is verified and told in short. May be repeated
    #[arg(long, value_name = "FILE.pub")]
    key: Vec<PathBuf>,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let store = args.location.open(&args.connect.options())?;
    let manifest = args.connect.resolve(&args.location, store.as_ref()).await?;
    if let Some(name) = &args.name {
        expect_name(name, manifest.digest(), &args.location.to_string())?;
    }
    let mut keys = Vec::new();
    for path in &args.key {
        keys.push(read_public(path)?);
    }
    let registry = registry_keys(store.as_ref()).await?;
    let own: Vec<String> = registry.iter().map(|key| key.id().to_string()).collect();
    keys.extend(registry);
    let referrers = store.referrers(manifest.digest(), None).await?;
    let mut claims = Vec::new();
    for referrer in &referrers {
        let mut claim = claim(store.as_ref(), referrer, &manifest, &keys).await?;
        let is_own = claim.key.as_ref().is_some_and(|key| own.contains(key));
        claim.by_registry = claim.holds && is_own;
        claims.push(claim);
    }
    let legacy = legacy_signatures(store.as_ref(), &manifest).await?;
    let model = model_config(store.as_ref(), &manifest).await?;

    let value = value(&args.location, &manifest, &model, &claims, &legacy);
    let text = text(&args.location, &manifest, &model, &claims, &legacy);
    context.output.result(&value, text);
    Ok(())
}

/// The keys of the registry's own statements, as it hands them out; a layout has none.
async fn registry_keys(store: &dyn Store) -> Result<Vec<PublicKey>> {
    let documents = store.record(None, &[]).await?;
    let keys = documents.iter().filter(|each| each.name == STATEMENT_KEY);
    let read = |key: &Document| {
        let text = std::str::from_utf8(&key.content).ok()?;
        text.parse::<PublicKey>().ok()
    };
    Ok(keys.filter_map(read).collect())
}

/// Something that refers to the bundle, as it presents itself.
struct Claim {
    referrer: Descriptor,
    artifact_type: String,
    predicate_type: Option<String>,
    key: Option<String>,
    problem: Option<String>,
    /// Whether it holds under one of the keys that were given.
    holds: bool,
    /// Whether that is the registry's own.
    by_registry: bool,
    /// What it says, if it holds: nothing else of a payload is read.
    facts: Vec<(&'static str, String)>,
}

async fn claim(
    store: &dyn Store,
    referrer: &Descriptor,
    manifest: &VerifiedManifest,
    keys: &[PublicKey],
) -> Result<Claim> {
    let artifact_type = referrer
        .artifact_type
        .clone()
        .unwrap_or_else(|| "unknown".to_owned());
    let mut claim = Claim {
        predicate_type: referrer.annotations.get(ANNOTATION_PREDICATE_TYPE).cloned(),
        referrer: referrer.clone(),
        key: None,
        problem: None,
        holds: false,
        by_registry: false,
        facts: Vec::new(),
        artifact_type,
    };
    if claim.artifact_type != media::SIGSTORE_BUNDLE_V03 {
        return Ok(claim);
    }
    match bundle_of(store, referrer).await {
        Ok(bundle) => {
            claim.key = Some(match bundle.key_choice() {
                KeyChoice::Named(key) => key.to_owned(),
                KeyChoice::Any => "names no key".to_owned(),
            });
            hear(&mut claim, &bundle, manifest, keys);
        }
        Err(error) if matches!(error.outcome(), Outcome::Halted | Outcome::NotFound) => {
            claim.problem = Some(error.to_string());
        }
        Err(error) => return Err(error),
    }
    Ok(claim)
}

/// Verifies a bundle with the keys that were given; what holds is told in short.
fn hear(
    claim: &mut Claim,
    bundle: &SigstoreBundle,
    manifest: &VerifiedManifest,
    keys: &[PublicKey],
) {
    let Some(kind) = claim.predicate_type.clone() else {
        return;
    };
    let Some(statement) = keys
        .iter()
        .find_map(|key| open(bundle, key, &kind, manifest).ok())
    else {
        return;
    };
    claim.holds = true;
    if let Some(predicate) = statement.predicate() {
        match said(&kind, predicate) {
            Ok(told) => claim.facts = told.facts,
            Err(error) => claim.problem = Some(error.to_string()),
        }
    }
}

async fn bundle_of(store: &dyn Store, referrer: &Descriptor) -> Result<SigstoreBundle> {
    let manifest = store.manifest(&Reference::Digest(referrer.digest)).await?;
    let Some(layer) = manifest.layers().first() else {
        return Err(sealstone::Error::halted("it has no layer"));
    };
    let bytes = store.blob_bytes(layer, MAX_BUNDLE_BYTES as u64).await?;
    SigstoreBundle::parse(&bytes).map_err(|error| sealstone::Error::halted(error.to_string()))
}

/// The tag with signatures in cosign's older form and their number, if it exists.
async fn legacy_signatures(
    store: &dyn Store,
    manifest: &VerifiedManifest,
) -> Result<Option<(String, usize)>> {
    let Some(tag) = legacy_tag(manifest.digest()) else {
        return Ok(None);
    };
    let Ok(parsed) = tag.parse() else {
        return Ok(None);
    };
    match store.manifest(&Reference::Tag(parsed)).await {
        Ok(list) => Ok(Some((tag, list.layers().len()))),
        Err(error) if error.outcome() == Outcome::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The model's configuration, when this is a bundle.
async fn model_config(store: &dyn Store, manifest: &VerifiedManifest) -> Result<Value> {
    match manifest.config() {
        Some(config) if config.media_type == media::MODEL_CONFIG => {
            let bytes = store.blob_bytes(config, MAX_CONFIG_BYTES).await?;
            Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
        }
        _ => Ok(Value::Null),
    }
}

fn facts(claim: &Claim) -> Value {
    let facts = claim.facts.iter();
    facts
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn value(
    location: &Location,
    manifest: &VerifiedManifest,
    model: &Value,
    claims: &[Claim],
    legacy: &Option<(String, usize)>,
) -> Value {
    let bundle = Bundle::read(manifest);
    let files = bundle.as_ref().map(Bundle::files).unwrap_or_default();
    let referrers: Vec<Value> = claims
        .iter()
        .map(|claim| {
            json!({"digest": claim.referrer.digest, "artifactType": claim.artifact_type,
                "claimedPredicateType": claim.predicate_type, "claimedKey": claim.key,
                "problem": claim.problem, "holds": claim.holds, "byRegistry": claim.by_registry, "facts": facts(claim), "annotations": claim.referrer.annotations})
        })
        .collect();
    json!({
        "location": location.to_string(),
        "name": three_words(manifest.digest()),
        "digest": manifest.digest(),
        "mediaType": manifest.media_type(),
        "artifactType": manifest.artifact_type(),
        "size": total(manifest.blobs().map(|blob| blob.size)),
        "annotations": manifest.annotations(),
        "model": model,
        "files": files,
        "layers": manifest.layers(),
        "children": manifest.children(),
        "referrers": referrers,
        "legacySignatures": legacy.as_ref().map(|(tag, count)| json!({"tag": tag, "count": count})),
        "notABundle": bundle.as_ref().err().map(ToString::to_string),
    })
}

fn text(
    location: &Location,
    manifest: &VerifiedManifest,
    model: &Value,
    claims: &[Claim],
    legacy: &Option<(String, usize)>,
) -> String {
    let mut text = String::new();
    let digest = manifest.digest();
    let total = total(manifest.blobs().map(|blob| blob.size));
    let _ = writeln!(text, "{}  ({location})", three_words(digest));
    let _ = writeln!(text, "  digest   {digest}");
    let _ = writeln!(
        text,
        "  type     {}",
        in_line(manifest.artifact_type().unwrap_or(manifest.media_type()))
    );
    let _ = writeln!(text, "  size     {}", readable_size(total));
    if let Some(descriptor) = model["descriptor"].as_object() {
        for (key, value) in descriptor {
            let shown = match value {
                Value::String(shown) => in_line(shown),
                other => in_line(&other.to_string()),
            };
            let _ = writeln!(text, "  {:<8} {shown}", in_line(key));
        }
    }
    for (key, value) in manifest.annotations() {
        let _ = writeln!(text, "  note     {} = {}", in_line(key), in_line(value));
    }
    match Bundle::read(manifest) {
        Ok(bundle) => {
            let _ = writeln!(text, "files");
            for file in bundle.files() {
                let mark = if file.executable { " (executable)" } else { "" };
                let _ = writeln!(
                    text,
                    "  {:<12} {:<14} {:>10}  {}{mark}",
                    file.role,
                    file.kind.as_str(),
                    readable_size(file.size),
                    in_line(file.path.as_str())
                );
            }
        }
        Err(_) if manifest.is_index() => {
            let _ = writeln!(text, "manifests");
            for child in manifest.children() {
                let _ = writeln!(text, "  {}  {}", child.digest, in_line(&child.media_type));
            }
        }
        Err(problem) => {
            let problem = in_line(&problem.to_string());
            let _ = writeln!(text, "no bundle of files: {problem}");
            for layer in manifest.layers() {
                let _ = writeln!(
                    text,
                    "  {:>10}  {}  {}",
                    readable_size(layer.size),
                    layer.digest,
                    in_line(&layer.media_type)
                );
            }
        }
    }
    let _ = writeln!(
        text,
        "said about it (claims; `sealstone verify` checks them)"
    );
    for claim in claims {
        let kind = claim
            .predicate_type
            .as_deref()
            .unwrap_or(&claim.artifact_type);
        let _ = writeln!(text, "  {}  {}", claim.referrer.digest, in_line(kind));
        if let Some(key) = &claim.key {
            let holds = match (claim.holds, claim.by_registry) {
                (true, true) => ", the registry's own, whose signature holds",
                (true, false) => ", whose signature holds",
                (false, _) => "",
            };
            let _ = writeln!(text, "    key {}{holds}", in_line(key));
        }
        for (name, value) in &claim.facts {
            let _ = writeln!(text, "    {name}: {}", in_line(value));
        }
        if let Some(problem) = &claim.problem {
            let _ = writeln!(text, "    cannot be read: {}", in_line(problem));
        }
    }
    if let Some((tag, count)) = legacy {
        let _ = writeln!(
            text,
            "  {count} signatures in cosign's older form under {tag}"
        );
    }
    if claims.is_empty() && legacy.is_none() {
        let _ = writeln!(text, "  nothing");
    }
    text.truncate(text.trim_end().len());
    text
}

/// Sizes added up. Nothing was compared with them: whoever wrote the manifest may have claimed more than there can be.
fn total(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sealstone_spec::digest::{Algorithm, Digest};

    /// A bundle and an index of others, and what a terminal would make of them.
    #[test]
    fn a_manifest_neither_writes_lines_nor_moves_the_cursor() {
        const FORGED: &str = "\u{1b}[2K\u{1b}[1;32mverified\u{1b}[0m\n  ok  signatures: alice\u{1b}]0;owned\u{7}\u{202e}";
        let location: Location = "oci:bundle".parse().unwrap();
        let digest = Digest::sha256(b"x");
        let descriptor = |kind: &str| json!({"mediaType": kind, "digest": digest, "size": 1});
        let with_type = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": FORGED,
            "config": descriptor(media::OCI_EMPTY), "layers": [descriptor(FORGED)], "annotations": {FORGED: FORGED}});
        let with_config = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
            "config": descriptor(FORGED), "layers": []});
        let with_children = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "artifactType": FORGED,
            "manifests": [descriptor(FORGED)]});
        for document in [with_type, with_config, with_children] {
            let bytes = document.to_string();
            let manifest = VerifiedManifest::check(bytes, None, None, Algorithm::Sha256).unwrap();
            let claim = Claim {
                referrer: manifest.descriptor(),
                artifact_type: FORGED.to_owned(),
                predicate_type: None,
                key: Some(FORGED.to_owned()),
                problem: Some(FORGED.to_owned()),
                holds: true,
                by_registry: false,
                facts: vec![("fact", FORGED.to_owned())],
            };
            let model = json!({"descriptor": {FORGED: FORGED}});
            let text = text(&location, &manifest, &model, &[claim], &None);
            assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
            assert!(text.contains("verified"));
            let is_forged = |line: &str| line.starts_with("  ok");
            assert!(!text.lines().any(is_forged), "{text}");
        }
    }

    #[test]
    fn more_bytes_than_there_can_be_are_shown_as_that_many() {
        assert_eq!(total([1, 2].into_iter()), 3);
        assert_eq!(total([u64::MAX, u64::MAX, 1].into_iter()), u64::MAX);
    }
}
