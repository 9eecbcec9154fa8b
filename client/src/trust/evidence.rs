//! What has been said about a manifest, fetched from where the manifest lies.
//!
//! Nothing fetched here is believed. A referrer that can be no evidence is set aside with the reason: it
//! never counts, and it spoils nothing. One whose bytes are lost or damaged may be what stops a release, so
//! nothing is admitted beside it. A place that cannot be asked is an error.

use super::vouched::RegistryKey;
use crate::error::{Error, Outcome, Result};
use crate::store::Store;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use sealstone_spec::digest::Digest;
use sealstone_spec::key::PublicKey;
use sealstone_spec::log::LogProof;
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::media;
use sealstone_spec::name::{Reference, RepoName};
use sealstone_spec::policy::{Case, Circumstances, Evidence as CaseEvidence, MOST_EVIDENCE, Time};
use sealstone_spec::sigstore::{MAX_BUNDLE_BYTES, SigstoreBundle};
use sealstone_spec::statement::VerifiedStatement;
use std::collections::BTreeSet;

/// Fetches at once.
const PARALLEL: usize = 8;

/// A signature bundle that is attached to a manifest, not yet verified.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The manifest that attaches it.
    pub referrer: VerifiedManifest,
    /// The bundle's bytes, of the digest that the referrer states.
    pub bundle: Vec<u8>,
}

/// Everything of the kind that policies read, attached to one manifest.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Where it was found, without tag or digest: for messages.
    pub place: String,
    /// What could be read.
    pub attached: Vec<Attached>,
    /// Proofs that referrers were logged; whether they hold is for the policy to find.
    pub proofs: Vec<(Digest, LogProof)>,
    /// The key of the registry's own statements, if any is known.
    pub registry: Option<RegistryKey>,
    /// What cannot be evidence, whatever its bytes are, and why.
    pub set_aside: Vec<(Digest, String)>,
    /// What is lost or damaged, and how that was found.
    pub unread: Vec<(Digest, String)>,
}

impl Evidence {
    /// The circumstances of a judgement at this time, with what the evidence says of them.
    pub fn circumstances(&self, now: Time) -> Circumstances {
        let mut circumstances = Circumstances::at(now);
        let registry = self.registry.as_ref().filter(|key| key.is_certain());
        circumstances.registry = registry.map(|registry| registry.key.clone());
        circumstances
    }

    /// Digests of what these keys signed about `manifest`, of a predicate type.
    pub fn said_by(
        &self,
        keys: &[&PublicKey],
        kind: &str,
        manifest: &VerifiedManifest,
    ) -> BTreeSet<Digest> {
        let said = |item: &Attached| {
            let bundle = SigstoreBundle::parse(&item.bundle).ok()?;
            let own = keys.iter().find(|key| bundle.may_be_by(key))?;
            let envelope = bundle.envelope().verify(own).ok()?;
            VerifiedStatement::check(&envelope, &[kind], manifest.digest()).ok()?;
            Some(Digest::sha256(envelope.payload()))
        };
        self.attached.iter().filter_map(said).collect()
    }

    /// The case that a policy judges, for `repository`.
    pub fn case(&self, repository: &RepoName, manifest: &VerifiedManifest) -> Case {
        let mut case = Case::of(repository, manifest);
        for item in &self.attached {
            case.add(CaseEvidence::new(
                item.referrer.clone(),
                item.bundle.clone(),
            ));
        }
        for (referrer, reason) in &self.set_aside {
            case.set_aside(*referrer, reason);
        }
        for (referrer, reason) in &self.unread {
            case.unread(*referrer, reason);
        }
        for (referrer, proof) in &self.proofs {
            case.add_proof(referrer, proof.clone());
        }
        case
    }
}

/// Fetches the signature bundles that are attached to `manifest` in `store`.
///
/// # Errors
/// If the place cannot be asked, or lists more than anyone would attach.
pub async fn evidence_of(store: &dyn Store, manifest: &VerifiedManifest) -> Result<Evidence> {
    let listed = store
        .referrers(manifest.digest(), Some(media::SIGSTORE_BUNDLE_V03))
        .await?;
    if listed.len() > MOST_EVIDENCE {
        return Err(Error::halted(format!(
            "{} signature bundles are attached to {}, at most {MOST_EVIDENCE} are read",
            listed.len(),
            manifest.digest()
        ))
        .hint("somebody floods this manifest: ask who may push to the repository"));
    }
    let fetched: Vec<(Digest, Fetched)> = stream::iter(listed)
        .map(|descriptor| async move {
            let digest = descriptor.digest;
            Ok::<_, Error>((digest, fetch(store, &digest).await?))
        })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    let mut evidence = Evidence {
        place: store.place(),
        ..Evidence::default()
    };
    for (digest, fetched) in fetched {
        match fetched {
            Fetched::Whole(attached) => evidence.attached.push(attached),
            Fetched::Malformed(reason) => evidence.set_aside.push((digest, reason)),
            Fetched::Lost(reason) => evidence.unread.push((digest, reason)),
        }
    }
    Ok(evidence)
}

/// What became of one referrer.
enum Fetched {
    Whole(Attached),
    /// It cannot be evidence.
    Malformed(String),
    /// Its bytes, or those of what it carries, are missing or damaged.
    Lost(String),
}

async fn fetch(store: &dyn Store, referrer: &Digest) -> Result<Fetched> {
    let reference = Reference::Digest(*referrer);
    let referrer = match readable(store.manifest(&reference).await)? {
        Ok(referrer) => referrer,
        Err(reason) => return Ok(Fetched::Lost(reason)),
    };
    let layer = match only_layer(&referrer) {
        Ok(layer) => layer,
        Err(reason) => return Ok(Fetched::Malformed(reason)),
    };
    let bundle = store.blob_bytes(layer, MAX_BUNDLE_BYTES as u64).await;
    Ok(match readable(bundle)? {
        Ok(bundle) => Fetched::Whole(Attached { referrer, bundle }),
        Err(reason) => Fetched::Lost(reason),
    })
}

/// The layer that holds the bundle, in the words in which a registry says that there is none.
fn only_layer(referrer: &VerifiedManifest) -> Result<&Descriptor, String> {
    let [layer] = referrer.layers() else {
        return Err(format!(
            "it has {} layers, not one",
            referrer.layers().len()
        ));
    };
    if layer.size > MAX_BUNDLE_BYTES as u64 {
        return Err(format!(
            "its layer has {} bytes, a bundle has at most {MAX_BUNDLE_BYTES}",
            layer.size
        ));
    }
    Ok(layer)
}

/// Missing or damaged is said of what was asked for; that a place cannot be asked is an error.
fn readable<T>(read: Result<T>) -> Result<Result<T, String>> {
    match read {
        Ok(found) => Ok(Ok(found)),
        Err(error) if matches!(error.outcome(), Outcome::Halted | Outcome::NotFound) => {
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(error),
    }
}
