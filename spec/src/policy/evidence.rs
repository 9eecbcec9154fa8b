//! Evidence: what is attached to a manifest, collected into the case that is judged.
//!
//! Everything attached is read, nothing is believed: whoever may push may attach anything, so bad or
//! foreign evidence is set aside with a reason. It never counts, and it never spoils what is good.

use crate::bundle::Bundle;
use crate::digest::Digest;
use crate::log::LogProof;
use crate::manifest::{Descriptor, VerifiedManifest};
use crate::media;
use crate::name::RepoName;
use crate::sigstore::SigstoreBundle;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most sigstore bundles that are read for one manifest. More are not cut off but end it: the one that stops a
/// release could be behind the cut.
pub const MOST_EVIDENCE: usize = 2_000;
/// Most bytes that these bundles and the manifests that attach them may have together: 256 MiB.
pub const MOST_EVIDENCE_BYTES: u64 = 256 * 1024 * 1024;

/// Most proofs that are looked at for one manifest, whatever they are worth. None is left out in favour of another
/// before it was checked: whoever attaches nonsense would choose which statements count.
pub const MOST_PROOFS: usize = 20_000;

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

    /// What it is attached to, in its own words.
    pub(super) fn subject(&self) -> Option<&Descriptor> {
        self.referrer.subject()
    }

    /// The bundle, if it is attached to this manifest, by digest and size.
    pub(super) fn read(&self, manifest: &Digest, size: u64) -> Result<SigstoreBundle, String> {
        let referrer = &self.referrer;
        let subject = referrer.subject().ok_or("it has no subject")?;
        if subject.digest != *manifest {
            return Err(format!(
                "its subject is {}, another manifest",
                subject.digest
            ));
        }
        if subject.size != size {
            return Err(format!(
                "its subject has the right digest, but {} bytes where the manifest has {}",
                subject.size, size
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
        let digest = Digest::of(layer.digest.algorithm(), &self.bundle);
        if layer.size != self.bundle.len() as u64 || layer.digest != digest {
            return Err(format!(
                "its layer is {}, the bytes given are {digest}",
                layer.digest
            ));
        }
        SigstoreBundle::parse(&self.bundle).map_err(|error| error.to_string())
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
            reason: printable(&reason.to_string()),
        }
    }
}

/// A text for people without what a terminal would obey: whoever may attach something chose a part of it, such as the
/// name of the key.
pub(super) fn printable(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(printable).collect()
}

/// A bundle that is attached to the manifest, and where it stands in a log.
#[derive(Clone, Debug)]
pub(super) struct Attached {
    /// Digest of the referrer manifest.
    pub(super) evidence: Digest,
    pub(super) bundle: SigstoreBundle,
    pub(super) proofs: Vec<LogProof>,
}

/// A file of the bundle that is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) digest: Digest,
}

/// A manifest in a repository, with what was said about it.
#[derive(Clone, Debug)]
pub struct Case {
    repository: RepoName,
    manifest: Digest,
    size: u64,
    files: Option<Vec<File>>,
    attached: BTreeMap<Digest, Attached>,
    ignored: Vec<Ignored>,
    unread: BTreeMap<Digest, String>,
    cut_off: Option<usize>,
    /// Referrer and proof of each that was taken in.
    proofs: BTreeSet<(Digest, Digest)>,
    lacks_proofs: bool,
}

impl Case {
    /// A case without evidence. `size` is that of the manifest, in bytes. Rules that ask about the
    /// bundle's files are not met in such a case; [`Case::of`] knows them.
    pub fn new(repository: &RepoName, manifest: Digest, size: u64) -> Case {
        Case {
            repository: repository.clone(),
            manifest,
            size,
            files: None,
            attached: BTreeMap::new(),
            ignored: Vec::new(),
            unread: BTreeMap::new(),
            cut_off: None,
            proofs: BTreeSet::new(),
            lacks_proofs: false,
        }
    }

    /// A case without evidence about a manifest whose content is known.
    pub fn of(repository: &RepoName, manifest: &VerifiedManifest) -> Case {
        let mut case = Case::new(repository, *manifest.digest(), manifest.size());
        if !manifest.is_index() {
            case.files = Some(files(manifest));
        }
        case
    }

    /// Takes a referrer in, if its subject is this very manifest, by digest *and* size, and if it
    /// carries one sigstore bundle that is well formed. Otherwise it is set aside with the reason.
    pub fn add(&mut self, item: Evidence) {
        let evidence = *item.referrer.digest();
        match item.read(&self.manifest, self.size) {
            Ok(bundle) => {
                let attached = Attached {
                    evidence,
                    bundle,
                    proofs: Vec::new(),
                };
                self.attached.entry(evidence).or_insert(attached);
            }
            Err(reason) => self.ignored.push(Ignored { evidence, reason }),
        }
    }

    /// Takes a proof in that a referrer is in a log; whether it holds is found when the case is judged,
    /// because the policy says which logs count. Proofs about what is not attached change nothing, nor does the
    /// same one again; where there are more than [`MOST_PROOFS`], nothing is admitted.
    pub fn add_proof(&mut self, referrer: &Digest, proof: LogProof) {
        let Some(attached) = self.attached.get_mut(referrer) else {
            return;
        };
        let own = (*referrer, Digest::sha256(proof.to_string().as_bytes()));
        if self.proofs.contains(&own) {
            return;
        }
        if self.proofs.len() == MOST_PROOFS {
            self.lacks_proofs = true;
            return;
        }
        self.proofs.insert(own);
        attached.proofs.push(proof);
    }

    /// Says that more proofs, or records that may hold some, are there than were read. Nothing is admitted then: one
    /// that was left out may be what makes a word count that stops it.
    pub fn proofs_cut_off(&mut self) {
        self.lacks_proofs = true;
    }

    /// Says that a referrer was not read because it cannot be evidence, and why.
    pub fn set_aside(&mut self, referrer: Digest, reason: impl ToString) {
        self.ignored.push(Ignored::new(referrer, reason));
    }

    /// Says that what a referrer carries is lost or damaged, and how that was found. Nothing is admitted then:
    /// unlike what is set aside, it may have been what stops a release.
    pub fn unread(&mut self, referrer: Digest, reason: impl ToString) {
        // The first in the order of texts, so that the order of telling changes no verdict.
        let reason = reason.to_string();
        let known = self
            .unread
            .entry(referrer)
            .or_insert_with(|| reason.clone());
        if reason < *known {
            *known = reason;
        }
    }

    /// Says that more is attached than was read, which is this many. Nothing is admitted then: what was
    /// left out may be what stops it.
    pub fn cut_off(&mut self, read: usize) {
        self.cut_off = Some(read);
    }

    /// What could not be read, and why.
    pub(super) fn lost(&self) -> &BTreeMap<Digest, String> {
        &self.unread
    }

    pub(super) fn lacks_proofs(&self) -> bool {
        self.lacks_proofs
    }

    pub(super) fn was_cut_off(&self) -> Option<usize> {
        self.cut_off
    }

    /// The repository.
    pub fn repository(&self) -> &RepoName {
        &self.repository
    }

    /// Digest of the manifest that is judged.
    pub fn manifest(&self) -> &Digest {
        &self.manifest
    }

    pub(super) fn attached(&self) -> impl Iterator<Item = &Attached> {
        self.attached.values()
    }

    /// The bundle's files, if they are known.
    pub(super) fn files(&self) -> Option<&[File]> {
        self.files.as_deref()
    }

    pub(super) fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }
}

fn files(manifest: &VerifiedManifest) -> Vec<File> {
    match Bundle::read(manifest) {
        Ok(bundle) => {
            let file = |file: &crate::bundle::BundleFile| File {
                path: file.path.as_str().to_owned(),
                digest: file.digest,
            };
            bundle.files().iter().map(file).collect()
        }
        // Of another image each layer counts, under its digest.
        Err(_) => {
            let layers = manifest.layers().iter();
            let file = |layer: &Descriptor| File {
                path: layer.digest.to_string(),
                digest: layer.digest,
            };
            layers.map(file).collect()
        }
    }
}
