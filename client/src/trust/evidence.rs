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
use sealstone_spec::policy::{
    Case, Circumstances, Evidence as CaseEvidence, MOST_EVIDENCE, MOST_EVIDENCE_BYTES, Time,
};
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
    /// Keys of the statements of registries: every one that is known for certain, the best known first; else the one that
    /// came along, if any did.
    pub registry: Vec<RegistryKey>,
    /// What cannot be evidence, whatever its bytes are, and why.
    pub set_aside: Vec<(Digest, String)>,
    /// What is lost or damaged, and how that was found.
    pub unread: Vec<(Digest, String)>,
    /// Set if more is attached than was read, which is this many: no policy admits anything then.
    pub cut_off: Option<usize>,
    /// Set if there are more records, or more in them, than is read: no policy admits anything then either.
    pub lacks_proofs: bool,
    /// What the proofs rest on and nobody could compare with what is kept of the log, in sentences.
    pub undecided: Vec<String>,
}

impl Evidence {
    /// The circumstances of a judgement at this time, with what the evidence says of them.
    pub fn circumstances(&self, now: Time) -> Circumstances {
        let mut circumstances = Circumstances::at(now);
        let certain = self.registry.iter().filter(|key| key.is_certain());
        circumstances.registry = certain.map(|registry| registry.key.clone()).collect();
        circumstances
    }

    /// Demands that everything that is attached was looked at: of whoever lists it, or signs what he saw.
    ///
    /// # Errors
    /// If there is more than is read.
    pub fn demand_all(&self, manifest: &VerifiedManifest) -> Result<()> {
        let digest = manifest.digest();
        let more = match (self.cut_off, self.lacks_proofs) {
            (None, false) => return Ok(()),
            (Some(read), _) => format!(
                "more signature bundles are attached to {digest} than the {read} that are read"
            ),
            (None, true) => {
                format!("more records with proofs are attached to {digest} than are read")
            }
        };
        Err(Error::halted(more)
            .hint("somebody floods this manifest: ask who may push to the repository"))
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
        if let Some(read) = self.cut_off {
            case.cut_off(read);
        }
        if self.lacks_proofs {
            case.proofs_cut_off();
        }
        for (referrer, proof) in &self.proofs {
            case.add_proof(referrer, proof.clone());
        }
        case
    }
}

/// How much of what is attached to one manifest is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bundles.
    pub(super) items: usize,
    /// Bytes that they and the manifests that attach them have together.
    pub(super) bytes: u64,
}

/// Fetches the signature bundles that are attached to `manifest` in `store`. Where there are more than
/// anyone would attach, [`Evidence::cut_off`] says so.
///
/// # Errors
/// If the place cannot be asked.
pub async fn evidence_of(store: &dyn Store, manifest: &VerifiedManifest) -> Result<Evidence> {
    let limits = Limits {
        items: MOST_EVIDENCE,
        bytes: MOST_EVIDENCE_BYTES,
    };
    evidence_within(store, manifest, limits).await
}

/// The same within other limits. What is beyond them is not fetched: whoever floods a manifest fills nobody's
/// memory.
pub(super) async fn evidence_within(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    limits: Limits,
) -> Result<Evidence> {
    let mut evidence = Evidence {
        place: store.place(),
        ..Evidence::default()
    };
    let mut listed = store
        .referrers(manifest.digest(), Some(media::SIGSTORE_BUNDLE_V03))
        .await?;
    if listed.len() > limits.items {
        listed.truncate(limits.items);
        evidence.cut_off = Some(limits.items);
    }
    // What the manifests are said to weigh is summed up before the first of them is fetched.
    let mut stated = 0_u64;
    let fitting = listed.iter().take_while(|descriptor| {
        stated = stated.saturating_add(descriptor.size);
        stated <= limits.bytes
    });
    let fitting = fitting.count();
    if fitting < listed.len() {
        listed.truncate(fitting);
        evidence.cut_off = Some(fitting);
    }
    let mut fetching = std::pin::pin!(
        stream::iter(listed)
            .map(|descriptor| async move {
                let reference = Reference::Digest(descriptor.digest);
                let referrer = readable(store.manifest(&reference).await)?;
                Ok::<_, Error>((descriptor.digest, referrer))
            })
            .buffered(PARALLEL)
    );
    let mut referrers: Vec<(Digest, Result<VerifiedManifest, String>)> = Vec::new();
    let mut bytes = 0_u64;
    while let Some((digest, referrer)) = fetching.try_next().await? {
        // Whoever lists them may say less than they weigh.
        let size = referrer.as_ref().map_or(0, VerifiedManifest::size);
        bytes = bytes.saturating_add(size);
        if bytes > limits.bytes {
            evidence.cut_off = Some(referrers.len());
            break;
        }
        referrers.push((digest, referrer));
    }
    // And so with what the layers are said to weigh.
    let mut wanted = Vec::new();
    for (position, (digest, referrer)) in referrers.into_iter().enumerate() {
        let referrer = match referrer {
            Ok(referrer) => referrer,
            Err(reason) => {
                evidence.unread.push((digest, reason));
                continue;
            }
        };
        let layer = match only_layer(&referrer) {
            Ok(layer) => layer.clone(),
            Err(reason) => {
                evidence.set_aside.push((digest, reason));
                continue;
            }
        };
        bytes = bytes.saturating_add(layer.size);
        if bytes > limits.bytes {
            evidence.cut_off = Some(position);
            break;
        }
        wanted.push((referrer, layer));
    }
    let fetched: Vec<(VerifiedManifest, Result<Vec<u8>, String>)> = stream::iter(wanted)
        .map(|(referrer, layer)| async move {
            let bundle = store.blob_bytes(&layer, MAX_BUNDLE_BYTES as u64).await;
            Ok::<_, Error>((referrer, readable(bundle)?))
        })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    for (referrer, bundle) in fetched {
        match bundle {
            Ok(bundle) => evidence.attached.push(Attached { referrer, bundle }),
            Err(reason) => evidence.unread.push((*referrer.digest(), reason)),
        }
    }
    Ok(evidence)
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
