//! Evidence: what is attached to a manifest, collected into the case that is judged.
//!
//! Everything attached is read, nothing is believed: whoever may push may attach anything, so bad or
//! foreign evidence is set aside with a reason. It never counts, and it never spoils what is good.

use crate::digest::Digest;
use crate::manifest::VerifiedManifest;
use crate::media;
use crate::name::RepoName;
use crate::sigstore::SigstoreBundle;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One referrer of a manifest with the bundle that it carries.
#[derive(Clone, Debug)]
pub struct Evidence {
    referrer: VerifiedManifest,
    bundle: Vec<u8>,
}

impl Evidence {
    /// A referrer manifest and the bytes of its only layer. Whether they belong together is checked
    /// by [`Case::add`].
    pub fn new(referrer: VerifiedManifest, bundle: impl Into<Vec<u8>>) -> Evidence {
        Evidence {
            referrer,
            bundle: bundle.into(),
        }
    }
}

/// Evidence that does not count, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ignored {
    /// Digest of the referrer manifest.
    pub evidence: Digest,
    /// Why it is set aside.
    pub reason: String,
}

impl Ignored {
    pub(super) fn new(evidence: Digest, reason: impl ToString) -> Ignored {
        Ignored {
            evidence,
            reason: reason.to_string(),
        }
    }
}

/// A manifest in a repository, with what was said about it.
#[derive(Clone, Debug)]
pub struct Case {
    repository: RepoName,
    manifest: Digest,
    size: u64,
    bundles: BTreeMap<Digest, SigstoreBundle>,
    ignored: Vec<Ignored>,
}

impl Case {
    /// A case without evidence. `size` is that of the manifest, in bytes.
    pub fn new(repository: &RepoName, manifest: Digest, size: u64) -> Case {
        Case {
            repository: repository.clone(),
            manifest,
            size,
            bundles: BTreeMap::new(),
            ignored: Vec::new(),
        }
    }

    /// Takes a referrer in, if its subject is this very manifest, by digest *and* size, and if it
    /// carries one sigstore bundle that is well formed. Otherwise it is set aside with the reason.
    pub fn add(&mut self, item: Evidence) {
        let evidence = *item.referrer.digest();
        match self.read(&item) {
            Ok(bundle) => {
                self.bundles.insert(evidence, bundle);
            }
            Err(reason) => self.ignored.push(Ignored { evidence, reason }),
        }
    }

    fn read(&self, item: &Evidence) -> Result<SigstoreBundle, String> {
        let referrer = &item.referrer;
        let subject = referrer.subject().ok_or("it has no subject")?;
        if subject.digest != self.manifest {
            return Err(format!(
                "its subject is {}, another manifest",
                subject.digest
            ));
        }
        if subject.size != self.size {
            return Err(format!(
                "its subject has the right digest, but {} bytes where the manifest has {}",
                subject.size, self.size
            ));
        }
        if referrer.artifact_type() != Some(media::SIGSTORE_BUNDLE_V03) {
            let found = referrer.artifact_type().unwrap_or("none");
            return Err(format!(
                "its artifact type \"{found}\" is not one of a sigstore bundle"
            ));
        }
        let [layer] = referrer.layers() else {
            return Err(format!(
                "it has {} layers, not one",
                referrer.layers().len()
            ));
        };
        if layer.media_type != media::SIGSTORE_BUNDLE_V03 {
            return Err(format!("its layer has media type \"{}\"", layer.media_type));
        }
        let digest = Digest::of(layer.digest.algorithm(), &item.bundle);
        if layer.size != item.bundle.len() as u64 || layer.digest != digest {
            return Err(format!(
                "its layer is {}, the bytes given are {digest}",
                layer.digest
            ));
        }
        SigstoreBundle::parse(&item.bundle).map_err(|error| error.to_string())
    }

    /// The repository.
    pub fn repository(&self) -> &RepoName {
        &self.repository
    }

    /// Digest of the manifest that is judged.
    pub fn manifest(&self) -> &Digest {
        &self.manifest
    }

    pub(super) fn bundles(&self) -> impl Iterator<Item = (Digest, &SigstoreBundle)> {
        self.bundles
            .iter()
            .map(|(digest, bundle)| (*digest, bundle))
    }

    pub(super) fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }
}
