//! in-toto statements: what a signer says about which content.
//!
//! Source: in-toto/attestation, spec/v1. Owns the statement's shape and the step from a verified envelope
//! to a statement about one manifest; the parts own what statements say:
//!
//! | part | what it reads and writes |
//! | --- | --- |
//! | [`predicate`] | the predicate types by name, and what every typed predicate has in common |
//! | [`provenance`], [`model_train`], [`rebuild`] | SLSA provenance, and our own build types in it |
//! | [`test_result`], [`svr`] | results of tests; simple verification results, which approvals are |
//! | [`release`], [`summary`] | what a registry says: published, verified |
//! | [`reference`](mod@reference) | documents elsewhere |
//! | [`resource`], [`timestamp`] | descriptors of content; points in time |
//!
//! Bills of materials are [`crate::bom`]'s. Nothing here decides whose word counts.
//! Invariant: a [`VerifiedStatement`] was signed, is of a type that was asked for, and names the
//! digest that it is used for. A digest does not bind a size; that comes from the referrer's subject
//! and is checked where evidence enters a case ([`crate::policy::Case::add`]).

pub mod model_train;
pub mod predicate;
pub mod provenance;
pub mod rebuild;
pub mod reference;
pub mod release;
pub mod resource;
pub mod summary;
pub mod svr;
pub mod test_result;
pub mod timestamp;

pub use predicate::{Predicate, PredicateError};
pub use resource::ResourceDescriptor;
pub use timestamp::Timestamp;

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

    /// A statement that makes a typed predicate.
    ///
    /// # Errors
    /// If the predicate is not what its type demands: what would be refused is not written.
    pub fn of<P: Predicate>(
        subject: Vec<Subject>,
        predicate: &P,
    ) -> Result<Statement, PredicateError> {
        Ok(Statement::new(
            subject,
            P::TYPE,
            predicate::write(predicate)?,
        ))
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
    payload: Digest,
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
            payload: Digest::sha256(envelope.payload()),
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

    /// What it says, as the typed predicate `P`.
    ///
    /// # Errors
    /// If it is of another type than `P`, or is not what that type demands.
    pub fn read<P: Predicate>(&self) -> Result<P, PredicateError> {
        if self.predicate_type() != P::TYPE {
            let problem = format!("predicate type is \"{}\"", shorten(self.predicate_type()));
            return Err(PredicateError::new(P::TYPE, "", problem));
        }
        predicate::read(self.predicate().unwrap_or(&Map::new()))
    }

    /// Everything that it speaks of, [`VerifiedStatement::digest`] among it.
    pub fn subjects(&self) -> &[Subject] {
        &self.statement.subject
    }

    /// The content that it was checked against.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// SHA-256 of the statement's own bytes: how approvals name what they were given for.
    pub fn payload_digest(&self) -> &Digest {
        &self.payload
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
mod tests;
