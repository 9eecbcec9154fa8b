//! What a registry signs about a release: that it was published under a name, and the verdict that let it be.
//!
//! Owns both statements and how they are read. They are a function of the release's event alone, so that
//! making them twice gives the same bytes, and the same referrers. Does not decide whether anybody
//! believes the registry: policies judge the evidence itself, and nothing is released on these words.
//! Invariant: a [`Vouched`] was signed by the key that was asked for, and is about the manifest asked for.

use crate::bundle::{Bundle, FileKind};
use crate::digest::Digest;
use crate::key::PublicKey;
use crate::manifest::VerifiedManifest;
use crate::model_signature::ModelManifest;
use crate::name::{RepoName, Tag};
use crate::purl::Purl;
use crate::sigstore::{KeyChoice, SigstoreBundle};
use crate::statement::predicate::{self, PredicateError};
use crate::statement::release::Release;
use crate::statement::resource::ResourceDescriptor;
use crate::statement::summary::{Summary, Verdict, Verifier};
use crate::statement::{MAX_SUBJECTS, Statement, Subject, Timestamp, VerifiedStatement};
use serde::Serialize;

/// Path of the key, below the registry's root.
pub const KEY_PATH: &str = "api/v1/statements/key";

/// What a summary says of SLSA's build track: a registry does not look at how a bundle was built.
const UNEVALUATED: &str = "SLSA_BUILD_LEVEL_UNEVALUATED";
/// What a summary says beside: every rule of the registry's policy was met.
const ADMITTED: &str = "SEALSTONE_ADMITTED";
/// The version of SLSA whose levels are meant.
const SLSA_VERSION: &str = "1.0";

/// Something that was released, as the registry recorded it.
#[derive(Clone, Debug)]
pub struct Released<'a> {
    /// The registry: the name of its log.
    pub origin: &'a str,
    /// Where.
    pub repository: &'a RepoName,
    /// Under which tag.
    pub tag: &'a Tag,
    /// What.
    pub manifest: &'a VerifiedManifest,
    /// The policy that admitted it.
    pub policy: Digest,
    /// The referrers that it was admitted on.
    pub evidence: &'a [Digest],
    /// When.
    pub at: Timestamp,
}

impl Released<'_> {
    fn place(&self) -> String {
        format!("{}/{}", self.origin, self.repository)
    }

    fn purl(&self) -> Purl {
        let digest = self.manifest.digest();
        Purl::oci(&self.place(), digest, Some(self.tag.as_str()))
    }

    /// That it was published under this name.
    ///
    /// # Errors
    /// If the name cannot be written as a package URL, which no repository's name does.
    pub fn release(&self) -> Result<Statement, PredicateError> {
        let release = Release {
            purl: self.purl(),
            package_id: Some(self.place()),
        };
        Statement::of(subjects(&self.place(), self.manifest, Files::All), &release)
    }

    /// The verdict: by which policy, on which evidence.
    ///
    /// # Errors
    /// As [`Released::release`].
    pub fn summary(&self) -> Result<Statement, PredicateError> {
        let evidence = |digest: &Digest| ResourceDescriptor {
            digest: [(digest.algorithm().as_str().to_owned(), digest.hex())].into(),
            ..ResourceDescriptor::default()
        };
        let registry = format!("https://{}", self.origin);
        let mut policy = ResourceDescriptor::named("policy", &self.policy);
        policy.uri = Some(format!("{registry}/api/v1/policy"));
        let summary = Summary {
            verifier: Verifier {
                id: registry,
                ..Verifier::default()
            },
            time_verified: Some(self.at.clone()),
            resource_uri: self.purl().to_string(),
            policy,
            input_attestations: self.evidence.iter().map(evidence).collect(),
            verification_result: Verdict::Passed,
            verified_levels: vec![UNEVALUATED.to_owned(), ADMITTED.to_owned()],
            dependency_levels: None,
            slsa_version: Some(SLSA_VERSION.to_owned()),
        };
        Statement::of(
            subjects(&self.place(), self.manifest, Files::None),
            &summary,
        )
    }
}

/// Which files of a bundle a statement is about, beside the bundle: a loose file can be looked up by it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// None.
    None,
    /// Those of weights.
    Weights,
    /// All of them, those of weights first.
    All,
}

/// What a statement about a bundle is about: the manifest, the root of its model signature, and each of `files`
/// that is a layer of its own, as far as they fit.
pub fn subjects(name: &str, manifest: &VerifiedManifest, files: Files) -> Vec<Subject> {
    let mut subjects = vec![Subject::new(name, manifest.digest())];
    let Ok(bundle) = Bundle::read(manifest) else {
        return subjects;
    };
    let model = ModelManifest::of(name, &bundle).ok();
    subjects.extend(model.map(|model| model.subject()));
    let plain = bundle.files().iter().filter(|file| !file.form.is_archive());
    let (weights, others): (Vec<_>, Vec<_>) = plain.partition(|file| file.kind == FileKind::Weight);
    let named = match files {
        Files::None => Vec::new(),
        Files::Weights => weights,
        Files::All => [weights, others].concat(),
    };
    let named = named.into_iter();
    subjects.extend(named.map(|file| Subject::new(file.path.as_str(), &file.digest)));
    subjects.truncate(MAX_SUBJECTS);
    subjects
}

/// What a registry said of a release, checked against its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(
    tag = "said",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
#[non_exhaustive]
pub enum Vouched {
    /// It was published.
    Released {
        /// Registry and repository.
        place: String,
        /// The tag.
        tag: String,
    },
    /// It was judged.
    Judged {
        /// By whom.
        verifier: String,
        /// Where it was to be published.
        resource: String,
        /// The policy.
        policy: Option<Digest>,
        /// The referrers that counted.
        evidence: Vec<Digest>,
        /// When, by the registry's clock.
        at: Option<String>,
    },
}

/// The predicate types that a registry signs.
pub const TYPES: [&str; 2] = [predicate::RELEASE, predicate::VERIFICATION_SUMMARY];

/// Whether a bundle names this key and no other: only such are the registry's word.
pub fn is_named(bundle: &SigstoreBundle, key: &PublicKey) -> bool {
    bundle.key_choice() == KeyChoice::Named(&key.id().to_string())
}

impl Vouched {
    /// Reads a bundle that is attached to `manifest` as the word of the registry that has `key`.
    ///
    /// # Errors
    /// If the signature does not hold, it is about something else or of another type, it speaks of another
    /// digest than its subject, or it says that the verdict was no.
    pub fn read(
        bundle: &SigstoreBundle,
        key: &PublicKey,
        manifest: &Digest,
    ) -> Result<Vouched, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let envelope = bundle.envelope().verify(key).map_err(|e| text(&e))?;
        let statement = VerifiedStatement::check(&envelope, &TYPES, manifest);
        let statement = statement.map_err(|e| text(&e))?;
        if statement.predicate_type() == predicate::RELEASE {
            let release: Release = statement.read().map_err(|e| text(&e))?;
            let (place, tag) = published(&release.purl, manifest)?;
            return Ok(Vouched::Released { place, tag });
        }
        let summary: Summary = statement.read().map_err(|e| text(&e))?;
        if summary.verification_result != Verdict::Passed {
            return Err("its verdict is FAILED".to_owned());
        }
        let sha256 = |it: &ResourceDescriptor| {
            let hex = it.digest.get("sha256")?;
            Digest::parse(&format!("sha256:{hex}")).ok()
        };
        Ok(Vouched::Judged {
            verifier: summary.verifier.id.clone(),
            resource: summary.resource_uri.clone(),
            policy: sha256(&summary.policy),
            evidence: summary
                .input_attestations
                .iter()
                .filter_map(sha256)
                .collect(),
            at: summary.time_verified.map(|at| at.as_str().to_owned()),
        })
    }
}

/// Place and tag of a release's package URL, which must name `manifest`.
fn published(purl: &Purl, manifest: &Digest) -> Result<(String, String), String> {
    if purl.kind != "oci" || purl.version.as_deref() != Some(manifest.to_string().as_str()) {
        return Err(format!("its package URL {purl} does not name {manifest}"));
    }
    let part = |key: &str| {
        let found = purl.qualifiers.get(key).cloned();
        found.ok_or_else(|| format!("its package URL {purl} has no {key}"))
    };
    Ok((part("repository_url")?, part("tag")?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::digest::Algorithm;
    use crate::fixtures::{bundle_manifest, ed25519};
    use crate::key::Signer as _;

    fn statements(manifest: &VerifiedManifest) -> [Statement; 2] {
        let (repository, tag) = ("models/demo".parse().unwrap(), "1.0.0".parse().unwrap());
        let evidence = [Digest::sha256(b"signature"), Digest::sha256(b"approval")];
        let released = Released {
            origin: "registry.example",
            repository: &repository,
            tag: &tag,
            manifest,
            policy: Digest::sha256(b"policy"),
            evidence: &evidence,
            at: Timestamp::from_unix(1_767_225_600).unwrap(),
        };
        [released.release().unwrap(), released.summary().unwrap()]
    }

    #[test]
    fn the_same_release_makes_the_same_bytes_and_reads_back() {
        let manifest = bundle_manifest();
        let key = ed25519(1);
        let [release, summary] = statements(&manifest);
        let sign = |statement: &Statement| SigstoreBundle::sign(statement, &key).unwrap();
        assert_eq!(
            sign(&release).to_bytes(),
            sign(&statements(&manifest)[0]).to_bytes()
        );
        let read = |statement: &Statement| {
            Vouched::read(&sign(statement), key.public_key(), manifest.digest())
        };
        assert_eq!(
            read(&release).unwrap(),
            Vouched::Released {
                place: "registry.example/models/demo".into(),
                tag: "1.0.0".into()
            }
        );
        let Vouched::Judged {
            policy, evidence, ..
        } = read(&summary).unwrap()
        else {
            panic!("a summary is a verdict");
        };
        assert_eq!(policy, Some(Digest::sha256(b"policy")));
        assert_eq!(evidence.len(), 2);
        // The manifest, the model signature's root, and of the release every file, weights first.
        assert_eq!(summary.subject.len(), 2);
        assert!(release.subject[0].names(manifest.digest()));
        let files: Vec<_> = release.subject[2..]
            .iter()
            .filter_map(|it| it.name.as_deref())
            .collect();
        assert_eq!(files, ["a.safetensors", "b.safetensors", "README.md"]);
        let weights = subjects("x", &manifest, Files::Weights);
        assert_eq!(weights.len(), 4);
    }

    #[test]
    fn what_the_registry_did_not_say_is_refused() {
        let manifest = bundle_manifest();
        let [release, summary] = statements(&manifest);
        let read = |statement: &Statement, digest: &Digest| {
            let bundle = SigstoreBundle::sign(statement, &ed25519(1)).unwrap();
            Vouched::read(&bundle, ed25519(1).public_key(), digest)
        };
        let foreign = Digest::sha256(b"other");
        assert!(
            read(&release, &foreign)
                .unwrap_err()
                .contains("no subject of the statement")
        );
        let bundle = SigstoreBundle::sign(&release, &ed25519(2)).unwrap();
        assert!(!is_named(&bundle, ed25519(1).public_key()));
        assert!(Vouched::read(&bundle, ed25519(1).public_key(), manifest.digest()).is_err());
        // Two subjects, and the package URL of the other one.
        let mut other = release.clone();
        other.subject.push(Subject::new("other", &foreign));
        assert!(
            read(&other, &foreign)
                .unwrap_err()
                .contains("does not name")
        );
        let mut failed = summary.clone();
        let predicate = failed.predicate.as_mut().unwrap();
        predicate.insert("verificationResult".into(), "FAILED".into());
        predicate.insert("verifiedLevels".into(), ["FAILED"].as_slice().into());
        assert!(
            read(&failed, manifest.digest())
                .unwrap_err()
                .contains("FAILED")
        );
        let signature = Statement::signature(vec![Subject::new("m", manifest.digest())]);
        assert!(
            read(&signature, manifest.digest())
                .unwrap_err()
                .contains("predicate type")
        );
        assert_eq!(manifest.digest().algorithm(), Algorithm::Sha256);
    }
}
