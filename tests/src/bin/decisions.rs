//! How fast a policy decides: verdicts a second on one thread, and what a pull costs whose release has
//! many referrers, the first time and after that.
//!
//! `SEALSTONE_BIN_DIR` names the folder of the registry's binary.
//!
//! Owns: building the cases, starting a registry of its own, and printing one JSON object. Judges
//! nothing: a verdict that is not the expected one ends the run with an error.

use anyhow::{Context as _, ensure};
use reqwest::Method;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::policy::{Case, Circumstances, Evidence, Policy};
use sealstone_spec::sigstore::{SigstoreBundle, referrer_manifest};
use sealstone_spec::statement::{Statement, Subject, predicate};
use sealstone_tests::registry::{Setup, TestRegistry, User};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CREATED: &str = "2026-01-01T00:00:00Z";
const ACCESS: &str =
    "[[access]]\nrepositories = [\"m/**\"]\nwho = [\"user:reader\"]\nverbs = [\"pull\"]\n";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let referrers = match std::env::args().nth(1) {
        None => 1000,
        Some(text) => text
            .parse()
            .with_context(|| format!("\"{text}\" is no number of referrers"))?,
    };
    let value = json!({"verdicts": verdicts()?, "pull": pull(referrers).await?});
    println!("{value}");
    Ok(())
}

/// The release of `spec/vectors/policy/releases.json` that is admitted: six rules, eight signatures.
fn verdicts() -> anyhow::Result<Value> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../spec/vectors/policy/releases.json"
    );
    let vectors: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let vector = &vectors[0];
    let text = |value: &Value, key: &str| -> anyhow::Result<String> {
        Ok(value[key].as_str().context("not a vector")?.to_owned())
    };
    let policy = Policy::parse(&text(vector, "policy")?)?;
    let repo = text(vector, "repository")?.parse()?;
    let manifest =
        VerifiedManifest::check(text(vector, "manifest")?, None, None, Algorithm::Sha256)?;
    let items = vector["evidence"].as_array().context("no evidence")?;
    let now = Circumstances::at(text(vector, "now")?.parse()?);
    let case = || -> anyhow::Result<Case> {
        let mut case = Case::of(&repo, &manifest);
        for item in items {
            let referrer =
                VerifiedManifest::check(text(item, "referrer")?, None, None, Algorithm::Sha256)?;
            case.add(Evidence::new(referrer, text(item, "bundle")?));
        }
        Ok(case)
    };
    let ready = case()?;
    let judged = rate(|| Ok(policy.judge(&repo, &ready, &now).is_ok()))?;
    let from_bytes = rate(|| Ok(policy.judge(&repo, &case()?, &now).is_ok()))?;
    Ok(
        json!({"rules": policy.scope_for(&repo).rules().len(), "signatures": items.len(),
        "perSecond": judged, "perSecondFromBytes": from_bytes}),
    )
}

fn rate(mut admitted: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<u64> {
    let (start, mut count) = (Instant::now(), 0u32);
    while start.elapsed() < Duration::from_secs(3) {
        ensure!(admitted()?, "the release was denied");
        count += 1;
    }
    Ok((f64::from(count) / start.elapsed().as_secs_f64()) as u64)
}

/// A release with many signatures, all of which are verified.
async fn pull(referrers: usize) -> anyhow::Result<Value> {
    let signer = SecretKey::ed25519_from_seed(&[1; 32])?;
    let setup = Setup {
        policy: format!(
            "schema = \"sealstone-policy/v1\"\n[[identity]]\nname = \"a\"\nkeys = [\"\"\"{}\"\"\"]\n[[scope]]\nrepositories = [\"m/**\"]\n[[scope.require]]\nrule = \"signatures\"\nidentities = [\"a\"]\n",
            signer.public_key().to_pem()
        ),
        access: ACCESS.into(),
        ..Setup::default()
    };
    let registry = setup.start().await?;
    let reader = registry.account("reader", "user").await?;
    put_blob(&registry, b"{}").await?;
    let image = json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::sha256(b"{}"), "size": 2},
        "layers": []})
    .to_string();
    let digest = Digest::sha256(image.as_bytes());
    put_manifest(&registry, &digest.to_string(), image.as_bytes()).await?;
    let subject = Descriptor::new(MANIFEST, digest, image.len() as u64);
    for number in 0..=referrers {
        // All by a key that counts, over different words, so that each has to be verified.
        let name = format!("x{number}");
        let statement = Statement::signature(vec![Subject::new(name, &digest)]);
        let bundle = SigstoreBundle::sign(&statement, &signer)?.to_bytes();
        put_blob(&registry, &bundle).await?;
        let referrer = referrer_manifest(&subject, &bundle, predicate::COSIGN_SIGN, CREATED);
        put_manifest(&registry, &Digest::sha256(&referrer).to_string(), &referrer).await?;
    }
    let started = Instant::now();
    put_manifest(&registry, "v1", image.as_bytes()).await?;
    let release = started.elapsed();
    let first = get(&registry, &reader).await?;
    let mut later = Vec::new();
    for _ in 0..50 {
        later.push(get(&registry, &reader).await?);
    }
    later.sort();
    let millis = |time: Duration| (time.as_secs_f64() * 100_000.0).round() / 100.0;
    Ok(
        json!({"referrers": referrers, "releaseMillis": millis(release),
        "firstPullMillis": millis(first), "laterPullMillis": millis(later[later.len() / 2])}),
    )
}

async fn get(registry: &TestRegistry, who: &User) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let answer = registry
        .request(who, Method::GET, "/v2/m/x/manifests/v1")
        .send()
        .await?;
    ensure!(answer.status() == 200, "pull: {}", answer.text().await?);
    answer.bytes().await?;
    Ok(started.elapsed())
}

async fn put_manifest(
    registry: &TestRegistry,
    reference: &str,
    bytes: &[u8],
) -> anyhow::Result<()> {
    let path = format!("/v2/m/x/manifests/{reference}");
    let answer = registry
        .request(&registry.admin, Method::PUT, &path)
        .header("content-type", MANIFEST)
        .body(bytes.to_vec())
        .send()
        .await?;
    ensure!(answer.status() == 201, "manifest: {}", answer.text().await?);
    Ok(())
}

async fn put_blob(registry: &TestRegistry, bytes: &[u8]) -> anyhow::Result<()> {
    let path = format!("/v2/m/x/blobs/uploads/?digest={}", Digest::sha256(bytes));
    let answer = registry
        .request(&registry.admin, Method::POST, &path)
        .header("content-type", "application/octet-stream")
        .body(bytes.to_vec())
        .send()
        .await?;
    ensure!(answer.status() == 201, "blob: {}", answer.text().await?);
    Ok(())
}
