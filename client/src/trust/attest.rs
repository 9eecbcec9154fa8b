//! Attestations: typed statements, signed and attached beside a manifest.
//!
//! Owns what such a statement is about, and that nothing is signed which a reader would refuse or pass
//! over: fields that no reader knows are mistakes here, and what looks like a secret never leaves.
//! Does not judge: policies say whose word counts for what.

use super::sign::{Signed, attach, find, logged, reread};
use crate::error::{Error, Result};
use crate::store::Store;
use sealstone_spec::bom::Bom;
use sealstone_spec::environment::looks_secret;
use sealstone_spec::key::{PublicKey, Signer};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::notary::{self, Files};
use sealstone_spec::policy::lifecycle;
use sealstone_spec::report::Report;
use sealstone_spec::sigstore::SigstoreBundle;
use sealstone_spec::statement::predicate::{self, Predicate, PredicateError, read, unread_fields};
use sealstone_spec::statement::provenance::Provenance;
use sealstone_spec::statement::reference::Reference;
use sealstone_spec::statement::release::Release;
use sealstone_spec::statement::summary::Summary;
use sealstone_spec::statement::svr::Svr;
use sealstone_spec::statement::test_result::TestResult;
use sealstone_spec::statement::{ResourceDescriptor, Statement, Subject, VerifiedStatement};
use serde_json::{Map, Value};

/// A statement's type and what it says, checked to be fit for signing.
#[derive(Clone, Debug)]
pub struct Attestation {
    predicate_type: String,
    predicate: Map<String, Value>,
}

impl Attestation {
    /// Takes a predicate of this type.
    ///
    /// # Errors
    /// If it is not what its type demands, has fields that no reader of the type knows, or holds what looks
    /// like a secret. Types that are not known here are taken as they are.
    pub fn new(predicate_type: &str, predicate: Map<String, Value>) -> Result<Attestation> {
        if let Some(at) = secret_in("", &Value::Object(predicate.clone())) {
            return Err(Error::refused(format!(
                "\"{at}\" looks like a secret, and statements are read by everybody who may pull"
            ))
            .hint("take it out, and consider it known: replace it"));
        }
        if let Some(command) = command_for(predicate_type) {
            return Err(Error::usage(format!(
                "\"{predicate_type}\" is said by a command of its own, which binds it to what it is about"
            ))
            .hint(format!("use sealstone {command}")));
        }
        let facts = said(predicate_type, &predicate)
            .map_err(|error| Error::usage("nothing was signed").source(error))?;
        if let Some(first) = facts.unread.first() {
            return Err(Error::usage(format!(
                "field \"{first}\" is not known to readers of {predicate_type}"
            ))
            .hint("is it misspelt? a field of your own has _ or : in its name"));
        }
        if !predicate_type.contains(':') || predicate_type.contains(char::is_whitespace) {
            return Err(Error::usage(format!(
                "\"{predicate_type}\" is no URI that could be a predicate type"
            )));
        }
        if predicate_type == predicate::TEST_RESULT {
            let result: TestResult = read(&predicate)
                .map_err(|error| Error::usage("nothing was signed").source(error))?;
            if !result
                .configuration
                .iter()
                .any(ResourceDescriptor::is_pinned)
            {
                return Err(Error::usage(
                    "\"configuration\" names no suite and no data with a digest that fixes it",
                )
                .hint(
                    "add \"digest\": {\"sha256\": ...} to what was run, or to what it was run on",
                ));
            }
        }
        Ok(Attestation {
            predicate_type: predicate_type.to_owned(),
            predicate,
        })
    }

    /// The type.
    pub fn predicate_type(&self) -> &str {
        &self.predicate_type
    }

    /// What it says.
    pub fn predicate(&self) -> &Map<String, Value> {
        &self.predicate
    }

    /// What it is about: the manifest, the root of its model signature, for provenance each file of weights, and
    /// for a release every file, so that a loose file can be looked up.
    fn subjects(&self, name: &str, manifest: &VerifiedManifest) -> Vec<Subject> {
        let files = match self.predicate_type.as_str() {
            predicate::SLSA_PROVENANCE => Files::Weights,
            predicate::RELEASE => Files::All,
            _ => Files::None,
        };
        notary::subjects(name, manifest, files)
    }
}

/// The command that makes statements of a type which are not taken as they come: signatures, and those of our own
/// whose words are checked where they are made.
fn command_for(predicate_type: &str) -> Option<&'static str> {
    Some(match predicate_type {
        predicate::COSIGN_SIGN | predicate::MODEL_SIGNATURE => "sign",
        lifecycle::REJECTION => "reject",
        lifecycle::DEPRECATION => "deprecate",
        lifecycle::REVOCATION => "revoke",
        lifecycle::EXCEPTION => "except",
        lifecycle::INCIDENT | lifecycle::INCIDENT_CLOSE => "incident",
        predicate::REPRODUCTION => return None,
        // A type of ours that this version does not know.
        other if other.starts_with("https://sealstone.dev/") => "help",
        _ => return None,
    })
}

/// Signs an attestation about `manifest`, which lies in `store`, with one key, and attaches it. The same
/// statement by the same key that is there already is left as it is.
///
/// # Errors
/// If the signer refuses or the store cannot be written.
pub async fn attest(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    name: &str,
    attestation: &Attestation,
    signer: &(dyn Signer + Sync),
    created: &str,
) -> Result<Signed> {
    let kind = attestation.predicate_type();
    if kind == predicate::REPRODUCTION {
        let report = Report::from_predicate(attestation.predicate())
            .map_err(|error| Error::usage("nothing was signed").source(error))?;
        if report.baseline.digest.0 != *manifest.digest() {
            return Err(Error::usage(format!(
                "the report is about {}, not about {}",
                report.baseline.digest.0,
                manifest.digest()
            )));
        }
    }
    let holds = |bundle: &SigstoreBundle| {
        let found = open(bundle, signer.public_key(), kind, manifest)?;
        match found.predicate() == Some(attestation.predicate()) {
            true => Ok(()),
            false => Err("it says something else".to_owned()),
        }
    };
    if let Some(found) = find(store, manifest, kind, &holds).await? {
        return found.settled(store, manifest, kind, signer, created).await;
    }
    let statement = Statement::new(
        attestation.subjects(name, manifest),
        kind,
        attestation.predicate().clone(),
    );
    let bundle = SigstoreBundle::sign(&statement, signer)
        .map_err(|error| Error::other("nothing was signed").source(error))?;
    holds(&reread(&bundle)?)
        .map_err(|problem| Error::other(format!("the new signature does not hold: {problem}")))?;
    let bundle = logged(store, bundle, signer.public_key()).await?;
    let referrer = attach(store, manifest, bundle.to_bytes(), kind, created).await?;
    Ok(Signed::new(signer, referrer))
}

/// The statement of type `kind` about `manifest` that `key` signed; a problem is a text.
pub fn open(
    bundle: &SigstoreBundle,
    key: &PublicKey,
    kind: &str,
    manifest: &VerifiedManifest,
) -> Result<VerifiedStatement, String> {
    if !bundle.may_be_by(key) {
        return Err("it names another key".into());
    }
    let envelope = bundle
        .envelope()
        .verify(key)
        .map_err(|error| error.to_string())?;
    VerifiedStatement::check(&envelope, &[kind], manifest.digest())
        .map_err(|error| error.to_string())
}

/// What a predicate says, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Names with values, the most important first.
    pub facts: Vec<(&'static str, String)>,
    /// Fields that readers of this type pass over.
    pub unread: Vec<String>,
}

/// The main facts of a predicate; none for types that are not known here.
///
/// # Errors
/// If it is not what its type demands.
pub fn said(kind: &str, predicate: &Map<String, Value>) -> Result<Said, PredicateError> {
    fn of<P: Predicate>(
        predicate: &Map<String, Value>,
        facts: impl Fn(&P) -> Vec<(&'static str, String)>,
    ) -> Result<Said, PredicateError> {
        Ok(Said {
            facts: facts(&read::<P>(predicate)?),
            unread: unread_fields::<P>(predicate),
        })
    }
    match kind {
        predicate::SLSA_PROVENANCE => of::<Provenance>(predicate, |it| {
            vec![
                ("builder", it.builder_id().to_owned()),
                ("build type", it.build_type().to_owned()),
                ("sources", it.sources().join(", ")),
                ("materials", it.materials().len().to_string()),
            ]
        }),
        predicate::TEST_RESULT => of::<TestResult>(predicate, |it| {
            vec![
                ("result", it.result.to_string()),
                ("passed", it.passed_tests.len().to_string()),
                ("warned", it.warned_tests.len().to_string()),
                ("failed", it.failed_tests.join(", ")),
            ]
        }),
        predicate::SVR => of::<Svr>(predicate, |it| {
            vec![
                ("properties", it.properties.join(", ")),
                ("verifier", it.verifier.id.clone()),
                ("time", it.time_created.to_string()),
            ]
        }),
        predicate::RELEASE => of::<Release>(predicate, |it| vec![("purl", it.purl.to_string())]),
        predicate::VERIFICATION_SUMMARY => of::<Summary>(predicate, |it| {
            vec![
                (
                    "result",
                    format!("{:?}", it.verification_result).to_uppercase(),
                ),
                ("verifier", it.verifier.id.clone()),
                ("policy", it.policy.uri.clone().unwrap_or_default()),
            ]
        }),
        predicate::REFERENCE => of::<Reference>(predicate, |it| {
            vec![
                ("attester", it.attester.id.clone()),
                ("documents", it.references.len().to_string()),
            ]
        }),
        predicate::CYCLONEDX => of::<Bom>(predicate, |it| {
            let components = it.all_components();
            let files = components
                .iter()
                .filter(|component| component.kind == "file")
                .count();
            vec![
                ("format", format!("CycloneDX {}", it.spec_version)),
                ("files", files.to_string()),
                ("packages", it.packages().len().to_string()),
            ]
        }),
        predicate::REPRODUCTION => {
            let report = Report::from_predicate(predicate).map_err(|error| {
                PredicateError::new(predicate::REPRODUCTION, "", error.to_string())
            })?;
            let known = report.to_predicate();
            let unread = predicate.keys().filter(|key| !known.contains_key(*key));
            let unread = unread.filter(|key| !key.contains(['_', ':']));
            Ok(Said {
                facts: vec![
                    ("verdict", report.verdict.as_str().to_owned()),
                    ("scope", report.scope.to_string()),
                    ("baseline", report.baseline.id.clone()),
                ],
                unread: unread.cloned().collect(),
            })
        }
        _ => Ok(Said::default()),
    }
}

/// The path of the first text that has the shape of a secret.
fn secret_in(at: &str, value: &Value) -> Option<String> {
    match value {
        Value::String(text) => looks_secret(text).then(|| at.to_owned()),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| secret_in(&format!("{at}[{index}]"), item)),
        Value::Object(fields) => fields.iter().find_map(|(key, item)| {
            let at = if at.is_empty() {
                key.clone()
            } else {
                format!("{at}.{key}")
            };
            secret_in(&at, item)
        }),
        _ => None,
    }
}
