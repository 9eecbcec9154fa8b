//! OpenSSF Model Signing v1.0: the signature that `model_signing verify` reads, made of a manifest alone.
//!
//! Source: ossf/model-signing-spec v1.0. A bundle's raw layers are its files, so their digests are the
//! resources; no byte of a model is read. Only `files` with SHA-256, and only ECDSA P-256 keys: the
//! tools refuse others. Does not find signatures, and is no evidence for a policy: a model signature
//! names no manifest.
//! Invariant: the root does not bind names (two files renamed in order keep it), so it identifies
//! nothing here; [`ModelManifest::check`] compares every name and digest.

use crate::bundle::Bundle;
use crate::digest::{Algorithm, Digest};
use crate::envelope::MAX_ENVELOPE_BYTES;
use crate::exact::parse_exact;
use crate::key::{PublicKey, SignError, Signer};
use crate::media;
use crate::sigstore::SigstoreBundle;
use crate::statement::{STATEMENT_V1, Statement, Subject, predicate};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// File that holds the signature beside a model: the name that the tools use.
pub const FILE_NAME: &str = "model.sig";

/// Algorithm of [`PublicKey::algorithm`] that the tools accept, of those that Sealstone knows.
pub const ALGORITHM: &str = "ecdsa-p256-sha256";

/// What the tools pass over at the top of a model unless told otherwise.
const GIT_PATHS: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

/// Why a bundle has no model signature, or a signature is not one of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelSignatureError {
    /// A layer that is not one file.
    #[error("layer \"{0}\" is an archive, and a model signature lists its files one by one")]
    Archive(String),
    /// A file known by another digest.
    #[error(
        "file \"{path}\" is known by its {algorithm} digest, and a model signature needs SHA-256"
    )]
    Algorithm {
        /// The file.
        path: String,
        /// Its digest's algorithm.
        algorithm: Algorithm,
    },
    /// Nothing to list.
    #[error("the bundle has no file that a model signature lists")]
    Empty,
    /// A key that the tools refuse.
    #[error("model signatures are made with ECDSA P-256 keys only, not with {0}")]
    Key(&'static str),
    /// The signature does not hold.
    #[error("model signature: {0}")]
    Envelope(#[from] crate::envelope::EnvelopeError),
    /// Not the JSON of a statement.
    #[error("model signature: {0}")]
    Json(#[from] crate::canonical::JsonError),
    /// Of a form that is not written here.
    #[error("model signature: {0}")]
    Form(&'static str),
    /// It is about other files.
    #[error("model signature is about other files: {0}")]
    OtherFiles(String),
}

/// One file as a model signature lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    name: String,
    algorithm: String,
    digest: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Serialization {
    method: String,
    hash_type: String,
    allow_symlinks: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ignore_paths: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
}

/// The files of a bundle as a model signature lists them.
///
/// ```
/// # use sealstone_spec::{bundle::Bundle, digest::Algorithm, manifest::VerifiedManifest};
/// # let text = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
/// #   "artifactType":"application/vnd.cncf.model.manifest.v1+json",
/// #   "config":{"mediaType":"application/vnd.cncf.model.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},
/// #   "layers":[{"mediaType":"application/vnd.cncf.model.weight.v1.raw","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"annotations":{"org.cncf.model.filepath":"model.bin"}}]}"#;
/// use sealstone_spec::{key::{SecretKey, Signer}, model_signature::ModelManifest};
/// let manifest = VerifiedManifest::check(text, None, None, Algorithm::Sha256)?;
/// let model = ModelManifest::of("demo-model", &Bundle::read(&manifest)?)?;
/// let key = SecretKey::p256_from_seed(&[7; 32])?;
/// let signature = model.sign(&key)?;
/// model.check(&signature, key.public_key())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelManifest {
    name: String,
    ignored: Vec<String>,
    resources: Vec<Resource>,
    root: Digest,
}

impl ModelManifest {
    /// Lists the files of `bundle`; `name` is what the signature calls the model: its last element
    /// if it is a path.
    ///
    /// # Errors
    /// If the bundle holds archives, files under other digests than SHA-256, or no file.
    pub fn of(name: &str, bundle: &Bundle) -> Result<ModelManifest, ModelSignatureError> {
        let mut ignored = vec![FILE_NAME.to_owned()];
        let mut files: BTreeMap<&str, Digest> = BTreeMap::new();
        for file in bundle.files() {
            let path = file.path.as_str();
            if file.form.is_archive() {
                return Err(ModelSignatureError::Archive(path.to_owned()));
            }
            if file.digest.algorithm() != Algorithm::Sha256 {
                return Err(ModelSignatureError::Algorithm {
                    path: path.to_owned(),
                    algorithm: file.digest.algorithm(),
                });
            }
            let top = path.split('/').next().unwrap_or_default();
            if GIT_PATHS.contains(&top) {
                ignored.push(top.to_owned());
            } else if path != FILE_NAME {
                files.insert(path, file.digest);
            }
        }
        if files.is_empty() {
            return Err(ModelSignatureError::Empty);
        }
        ignored.sort();
        ignored.dedup();
        let roots: Vec<u8> = files.values().flat_map(|d| d.bytes().to_vec()).collect();
        let resources = files
            .iter()
            .map(|(path, digest)| Resource {
                name: (*path).to_owned(),
                algorithm: "sha256".to_owned(),
                digest: digest.hex(),
            })
            .collect();
        Ok(ModelManifest {
            name: name.rsplit('/').next().unwrap_or(name).to_owned(),
            ignored,
            resources,
            root: Digest::sha256(&roots),
        })
    }

    /// SHA-256 over the digests of the files, in the order of their names.
    pub fn root(&self) -> &Digest {
        &self.root
    }

    /// The root as a second subject of other statements, for tools that look for it there.
    pub fn subject(&self) -> Subject {
        Subject::new(format!("oms:{}", self.name), &self.root)
    }

    /// The statement that is signed.
    pub fn statement(&self) -> Statement {
        let predicate = Predicate {
            serialization: Serialization {
                method: "files".to_owned(),
                hash_type: "sha256".to_owned(),
                allow_symlinks: false,
                ignore_paths: Some(self.ignored.clone()),
            },
            resources: self.resources.clone(),
        };
        let value = serde_json::to_value(predicate).expect("a predicate is made of text");
        let map: Map<String, Value> = match value {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        let subject = Subject::new(&self.name, &self.root);
        Statement::new(vec![subject], predicate::MODEL_SIGNATURE, map)
    }

    /// Signs it. The bundle refers to its key by the digest of the PEM text and has no key id, unlike
    /// every other bundle: the tools compare just that.
    ///
    /// # Errors
    /// If the signer refuses, or its key is none of P-256.
    pub fn sign(&self, signer: &dyn Signer) -> Result<SigstoreBundle, SignError> {
        let key = signer.public_key();
        if key.algorithm() != ALGORITHM {
            return Err(SignError {
                key: *key.id(),
                problem: ModelSignatureError::Key(key.algorithm()).to_string(),
            });
        }
        SigstoreBundle::sign_with_hint(&self.statement(), signer, key.pem_digest().hex())
    }

    /// Checks a bundle as the tools do: the key's reference, the signature, then every file by name and
    /// digest, nothing missing and nothing added.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn check(
        &self,
        bundle: &SigstoreBundle,
        key: &PublicKey,
    ) -> Result<(), ModelSignatureError> {
        if key.algorithm() != ALGORITHM {
            return Err(ModelSignatureError::Key(key.algorithm()));
        }
        if bundle.hint() != Some(key.pem_digest().hex().as_str()) {
            return Err(ModelSignatureError::Form(
                "its hint is not the digest of the key's PEM text",
            ));
        }
        let envelope = bundle.envelope().verify(key)?;
        self.compare_statement(envelope.payload_type(), envelope.payload())
    }

    /// Whether a bundle claims to be a model signature of just these files, whoever made it: its signature is not
    /// checked. For whoever hands signatures on without knowing the keys; nothing may follow from it but that one which
    /// is about something else is left out.
    pub fn is_claimed_by(&self, bundle: &SigstoreBundle) -> bool {
        let (payload_type, payload) = bundle.envelope().unverified();
        self.compare_statement(payload_type, payload).is_ok()
    }

    fn compare_statement(
        &self,
        payload_type: &str,
        payload: &[u8],
    ) -> Result<(), ModelSignatureError> {
        if payload_type != media::IN_TOTO {
            return Err(ModelSignatureError::Form("its payload is no statement"));
        }
        let statement: Statement = parse_exact(payload, MAX_ENVELOPE_BYTES)?;
        if statement.statement_type != STATEMENT_V1
            || statement.predicate_type != predicate::MODEL_SIGNATURE
        {
            return Err(ModelSignatureError::Form(
                "its statement is of another type",
            ));
        }
        let value = Value::Object(statement.predicate.unwrap_or_default());
        let text = serde_json::to_vec(&value).expect("a JSON value can be written");
        let found: Predicate = parse_exact(&text, MAX_ENVELOPE_BYTES)?;
        if found.serialization.method != "files" || found.serialization.hash_type != "sha256" {
            return Err(ModelSignatureError::Form(
                "it is not by files with sha256, the only form that is read here",
            ));
        }
        self.compare(&found.resources)?;
        let [subject] = statement.subject.as_slice() else {
            return Err(ModelSignatureError::Form("it has other than one subject"));
        };
        // The order of the resources is the signer's: the reference sorts by the elements of a path.
        let bytes: Option<Vec<Vec<u8>>> = found.resources.iter().map(raw_digest).collect();
        let root = bytes.map(|bytes| Digest::sha256(&bytes.concat()));
        if !root.is_some_and(|root| subject.names(&root)) {
            return Err(ModelSignatureError::Form(
                "its subject is not the digest of its resources",
            ));
        }
        Ok(())
    }

    fn compare(&self, found: &[Resource]) -> Result<(), ModelSignatureError> {
        let other = |text: String| Err(ModelSignatureError::OtherFiles(text));
        let mut listed: BTreeMap<&str, &Resource> = BTreeMap::new();
        for resource in found {
            if listed.insert(&resource.name, resource).is_some() {
                return other(format!("\"{}\" stands twice", shown(&resource.name)));
            }
        }
        for due in &self.resources {
            match listed.remove(due.name.as_str()) {
                None => return other(format!("\"{}\" is missing", due.name)),
                Some(resource) if resource != due => {
                    return other(format!("\"{}\" has another digest", due.name));
                }
                Some(_) => {}
            }
        }
        match listed.keys().next() {
            Some(name) => other(format!("\"{}\" is no file of the bundle", shown(name))),
            None => Ok(()),
        }
    }
}

fn raw_digest(resource: &Resource) -> Option<Vec<u8>> {
    data_encoding::HEXLOWER
        .decode(resource.digest.as_bytes())
        .ok()
}

fn shown(name: &str) -> String {
    let name: String = name.chars().take(120).collect();
    name.escape_debug().to_string()
}

#[cfg(test)]
mod tests;
