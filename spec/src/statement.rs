//! in-toto statements: what a signer says about which content.
//!
//! Source: in-toto/attestation, spec/v1. Owns the statement's shape, the predicate types that Sealstone
//! knows, and the step from a verified envelope to a statement about one manifest.
//! Does not read predicates: each rule of the policy reads its own.
//! Invariant: a [`VerifiedStatement`] was signed, is of a type that was asked for, and names the
//! digest that it is used for. A digest does not bind a size; that comes from the referrer's subject
//! and is checked where evidence enters a case ([`crate::policy::Case::add`]).

use crate::canonical::JsonError;
use crate::digest::Digest;
use crate::envelope::{MAX_ENVELOPE_BYTES, VerifiedEnvelope};
use crate::exact::parse_exact;
use crate::key::KeyId;
use crate::media;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// `_type` of every statement.
pub const STATEMENT_V1: &str = "https://in-toto.io/Statement/v1";

/// Most subjects in a statement, and most digests of one: sigstore's verifiers have the same limits.
pub const MAX_SUBJECTS: usize = 1024;
/// See [`MAX_SUBJECTS`].
pub const MAX_DIGESTS: usize = 32;

/// Predicate types, by their own names.
pub mod predicate {
    /// A signature and nothing more: what `cosign sign` writes, and the only type that counts as one.
    pub const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
    /// SLSA provenance.
    pub const SLSA_PROVENANCE: &str = "https://slsa.dev/provenance/v1";
    /// SLSA verification summary.
    pub const VERIFICATION_SUMMARY: &str = "https://slsa.dev/verification_summary/v1";
    /// CycloneDX bill of materials.
    pub const CYCLONEDX: &str = "https://cyclonedx.org/bom";
    /// Result of tests.
    pub const TEST_RESULT: &str = "https://in-toto.io/attestation/test-result/v0.1";
    /// Simple verification result: an approval.
    pub const SVR: &str = "https://in-toto.io/attestation/svr/v0.2";
    /// OpenSSF Model Signing.
    pub const MODEL_SIGNATURE: &str = "https://model_signing/signature/v1.0";
}

/// Why a signed payload is no statement about the content that it was attached to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// The envelope holds something else.
    #[error("payload type is \"{0}\", not \"{want}\"", want = media::IN_TOTO)]
    PayloadType(String),
    /// Not the JSON of a statement.
    #[error("statement: {0}")]
    Json(#[from] JsonError),
    /// Another version of statements.
    #[error("statement _type is \"{0}\", not \"{STATEMENT_V1}\"")]
    Type(String),
    /// Signed, but it says something that was not asked for.
    #[error("predicate type \"{found}\" is not {}", or_list(expected))]
    PredicateType {
        /// What it says.
        found: String,
        /// What was asked for.
        expected: Vec<String>,
    },
    /// No subject, too many, or a subject without a digest.
    #[error("statement subjects: {0}")]
    Subjects(&'static str),
    /// About other content.
    #[error("no subject of the statement is {0}")]
    ForeignSubject(Digest),
}

fn or_list(items: &[String]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
    if quoted.is_empty() {
        "asked for by any rule here".into()
    } else {
        quoted.join(" or ")
    }
}

/// Content that a statement speaks of: in-toto's ResourceDescriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    /// A name for people; it identifies nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where the content is, if stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Digests in lowercase hex by algorithm: the identity.
    pub digest: BTreeMap<String, String>,
    /// The content itself, in base64, if embedded. Never read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Where to fetch it, if stated. Never followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download_location: Option<String>,
    /// Media type, if stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Free annotations. Never read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Map<String, Value>>,
}

impl Subject {
    /// A subject with a name and one digest.
    pub fn new(name: impl Into<String>, digest: &Digest) -> Subject {
        let digests = [(digest.algorithm().as_str().to_owned(), digest.hex())];
        Subject {
            name: Some(name.into()),
            digest: digests.into(),
            ..Subject::default()
        }
    }

    /// Whether this names `digest`, under its own algorithm.
    pub fn names(&self, digest: &Digest) -> bool {
        self.digest.get(digest.algorithm().as_str()) == Some(&digest.hex())
    }
}

/// A statement that is to be signed, or that was read and not yet judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Statement {
    /// [`STATEMENT_V1`].
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// What it speaks of.
    pub subject: Vec<Subject>,
    /// What kind of thing it says; see [`predicate`].
    pub predicate_type: String,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicate: Option<Map<String, Value>>,
}

impl Statement {
    /// A statement of the given type.
    pub fn new(
        subject: Vec<Subject>,
        predicate_type: impl Into<String>,
        predicate: Map<String, Value>,
    ) -> Statement {
        Statement {
            statement_type: STATEMENT_V1.to_owned(),
            subject,
            predicate_type: predicate_type.into(),
            predicate: Some(predicate),
        }
    }

    /// The statement that `cosign sign` makes: this content, signed, and nothing more.
    pub fn signature(subject: Vec<Subject>) -> Statement {
        Statement::new(subject, predicate::COSIGN_SIGN, Map::new())
    }

    /// Compact JSON in in-toto's order of fields: the payload to sign.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a statement is made of JSON values")
    }
}

/// A statement that somebody signed about one digest.
///
/// ```compile_fail
/// let made_up: sealstone_spec::statement::VerifiedStatement = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct VerifiedStatement {
    statement: Statement,
    key_id: KeyId,
    digest: Digest,
}

impl VerifiedStatement {
    /// Reads the payload of a verified envelope as a statement about `digest` whose predicate type is
    /// one of `predicate_types`.
    ///
    /// # Errors
    /// Says which of payload type, shape, version, predicate type or subject is wrong.
    pub fn check(
        envelope: &VerifiedEnvelope,
        predicate_types: &[&str],
        digest: &Digest,
    ) -> Result<VerifiedStatement, StatementError> {
        if envelope.payload_type() != media::IN_TOTO {
            return Err(StatementError::PayloadType(shorten(
                envelope.payload_type(),
            )));
        }
        let statement: Statement = parse_exact(envelope.payload(), MAX_ENVELOPE_BYTES)?;
        if statement.statement_type != STATEMENT_V1 {
            return Err(StatementError::Type(shorten(&statement.statement_type)));
        }
        if !predicate_types.contains(&statement.predicate_type.as_str()) {
            return Err(StatementError::PredicateType {
                found: shorten(&statement.predicate_type),
                expected: predicate_types
                    .iter()
                    .map(|&text| text.to_owned())
                    .collect(),
            });
        }
        if statement.subject.is_empty() || statement.subject.len() > MAX_SUBJECTS {
            return Err(StatementError::Subjects("1 to 1024 are due"));
        }
        let bounded = |subject: &Subject| (1..=MAX_DIGESTS).contains(&subject.digest.len());
        if !statement.subject.iter().all(bounded) {
            return Err(StatementError::Subjects("each must have 1 to 32 digests"));
        }
        if !statement
            .subject
            .iter()
            .any(|subject| subject.names(digest))
        {
            return Err(StatementError::ForeignSubject(*digest));
        }
        Ok(VerifiedStatement {
            statement,
            key_id: *envelope.key_id(),
            digest: *digest,
        })
    }

    /// What kind of thing it says.
    pub fn predicate_type(&self) -> &str {
        &self.statement.predicate_type
    }

    /// What it says; empty if nothing.
    pub fn predicate(&self) -> Option<&Map<String, Value>> {
        self.statement.predicate.as_ref()
    }

    /// Everything that it speaks of, [`VerifiedStatement::digest`] among it.
    pub fn subjects(&self) -> &[Subject] {
        &self.statement.subject
    }

    /// The content that it was checked against.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Who said it.
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::envelope::seal;
    use crate::key::{SecretKey, Signer};
    use serde_json::json;

    fn check(payload_type: &str, payload: &str) -> Result<VerifiedStatement, StatementError> {
        let key = SecretKey::ed25519_from_seed(&[1; 32]).unwrap();
        let envelope = seal(payload_type, payload.as_bytes(), &key).unwrap();
        let verified = envelope.verify(key.public_key()).unwrap();
        VerifiedStatement::check(&verified, &[predicate::COSIGN_SIGN], &digest())
    }

    fn digest() -> Digest {
        Digest::sha256(b"manifest")
    }

    #[test]
    fn is_written_as_cosign_writes_it() {
        let statement = Statement::signature(vec![Subject::new("r.example/a", &digest())]);
        assert_eq!(
            String::from_utf8(statement.to_bytes()).unwrap(),
            format!(
                r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"r.example/a","digest":{{"sha256":"{}"}}}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{{}}}}"#,
                digest().hex()
            )
        );
    }

    #[test]
    fn a_signed_statement_must_be_one_about_this_content() {
        let good = serde_json::to_value(Statement::signature(vec![
            Subject::new("other", &Digest::sha256(b"other")),
            Subject::new("this", &digest()),
        ]))
        .unwrap();
        assert!(check(media::IN_TOTO, &good.to_string()).is_ok());
        assert!(check("application/json", &good.to_string()).is_err());
        let hex = digest().hex();
        for (pointer, value, reason) in [
            (
                "/_type",
                json!("https://in-toto.io/Statement/v0.1"),
                "_type",
            ),
            (
                "/predicateType",
                json!(predicate::SLSA_PROVENANCE),
                "predicate type",
            ),
            ("/subject", json!([]), "1 to 1024"),
            ("/subject", json!([{"digest": {}}]), "32 digests"),
            (
                "/subject",
                json!([{"digest": {"sha256": Digest::sha256(b"x").hex()}}]),
                "no subject",
            ),
            (
                "/subject",
                json!([{"digest": {"blake3": hex}}]),
                "no subject",
            ),
            (
                "/subject",
                json!([{"digest": {"sha256": hex.to_uppercase()}}]),
                "no subject",
            ),
            (
                "/subject",
                json!([{"digest": {"sha256": hex}, "size": 1}]),
                "unknown field",
            ),
            ("/subject", json!([{"name": "x"}]), "missing field"),
            ("/predicate", json!(null), "null"),
            ("/predicate", json!("x"), "invalid type"),
        ] {
            let mut changed = good.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            let error = check(media::IN_TOTO, &changed.to_string())
                .unwrap_err()
                .to_string();
            assert!(error.contains(reason), "{pointer}: {error}");
        }
        let twice = good
            .to_string()
            .replacen('{', r#"{"predicateType":"x","#, 1);
        assert!(
            check(media::IN_TOTO, &twice)
                .unwrap_err()
                .to_string()
                .contains("twice")
        );
        let extra = good.to_string().replacen('{', r#"{"extra":1,"#, 1);
        assert!(check(media::IN_TOTO, &extra).is_err());
    }
}
