//! A log entry inside a sigstore bundle, checked without a network (protobuf-specs, `TransparencyLogEntry`).
//!
//! Owns the form that cosign, sigstore-js and sigstore-verify accept for a log like Rekor v2, and the same
//! checks that they make. Entries of the older Rekor (with `inclusionPromise`) are not read: their log is
//! not ours, and nothing here could say whom to believe.
//! Invariant: a [`LoggedSignature`] is over this very envelope, by this very key, in a trusted log.

use super::LogError;
use super::checkpoint::SignedCheckpoint;
use super::hash::Hash;
use super::note::Note;
use super::number;
use super::proof::MAX_PROOF_HASHES;
use super::proof_file::LoggedEvidence;
use super::rekord::{KIND, Rekord};
use super::trust::LogTrust;
use super::vkey::VerifierKey;
use crate::envelope::Envelope;
use crate::exact::parse_exact;
use crate::key::PublicKey;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const VERSION: &str = "0.0.2";
/// Longest entry that is read, in bytes.
const MAX_BYTES: usize = 256 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    log_index: String,
    log_id: KeyId,
    kind_version: KindVersion,
    inclusion_proof: WireProof,
    canonicalized_body: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KeyId {
    key_id: Hash,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KindVersion {
    kind: String,
    version: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireProof {
    log_index: String,
    root_hash: Hash,
    tree_size: String,
    // A tree of one entry has no hashes, and protojson leaves out empty lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    checkpoint: WireCheckpoint,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCheckpoint {
    envelope: String,
}

/// The proof that a P-256 signature was logged, as a bundle carries it; nothing has been checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogEntry {
    index: u64,
    log_id: Hash,
    path: Vec<Hash>,
    checkpoint: SignedCheckpoint,
    body: Vec<u8>,
}

impl TlogEntry {
    /// Puts evidence together for a signature that `log` holds at `index` under `checkpoint`.
    ///
    /// Lines of witnesses are left out: sigstore-js refuses a checkpoint with a line of a key that it does
    /// not know as a log.
    pub fn new(
        rekord: &Rekord,
        index: u64,
        path: Vec<Hash>,
        checkpoint: &SignedCheckpoint,
        log: &VerifierKey,
    ) -> Result<TlogEntry, LogError> {
        let own = checkpoint
            .signatures()
            .iter()
            .filter(|line| log.is_named_by(line));
        let note = Note::new(checkpoint.claim().text(), own.cloned().collect());
        Ok(TlogEntry {
            index,
            log_id: *log.full_id(),
            path,
            checkpoint: SignedCheckpoint::parse(note.to_string().as_bytes())?,
            body: rekord.to_bytes(),
        })
    }

    /// Reads an element of a bundle's `tlogEntries`.
    ///
    /// # Errors
    /// If its form is another, or it contradicts itself.
    pub fn read(value: &Value) -> Result<TlogEntry, LogError> {
        let bad = |problem| LogError::Evidence(problem);
        let text = value.to_string();
        let wire: Wire = parse_exact(text.as_bytes(), MAX_BYTES)?;
        let proof = wire.inclusion_proof;
        if wire.kind_version.kind != KIND || wire.kind_version.version != VERSION {
            return Err(bad("it is no hashedrekord 0.0.2"));
        }
        let index = number(&wire.log_index).ok_or(bad("its index is no plain decimal number"))?;
        let size =
            number(&proof.tree_size).ok_or(bad("its tree size is no plain decimal number"))?;
        let checkpoint = SignedCheckpoint::parse(proof.checkpoint.envelope.as_bytes())?;
        let claim = checkpoint.claim();
        if proof.log_index != wire.log_index || claim.size != size || claim.root != proof.root_hash
        {
            return Err(bad("index, size or root stand there twice and differ"));
        }
        if proof.hashes.len() > MAX_PROOF_HASHES {
            return Err(bad("its proof has too many hashes"));
        }
        let body = BASE64
            .decode(wire.canonicalized_body.as_bytes())
            .map_err(|_| bad("its body is not strict base64"))?;
        Ok(TlogEntry {
            index,
            log_id: wire.log_id.key_id,
            path: proof.hashes,
            checkpoint,
            body,
        })
    }

    /// The element of a bundle's `tlogEntries`.
    pub fn to_value(&self) -> Value {
        let claim = self.checkpoint.claim();
        let wire = Wire {
            log_index: self.index.to_string(),
            log_id: KeyId {
                key_id: self.log_id,
            },
            kind_version: KindVersion {
                kind: KIND.to_owned(),
                version: VERSION.to_owned(),
            },
            inclusion_proof: WireProof {
                log_index: self.index.to_string(),
                root_hash: claim.root,
                tree_size: claim.size.to_string(),
                hashes: self.path.clone(),
                checkpoint: WireCheckpoint {
                    envelope: self.checkpoint.to_string(),
                },
            },
            canonicalized_body: BASE64.encode(&self.body),
        };
        serde_json::to_value(&wire).expect("it is made of text")
    }

    /// The checkpoint that it comes with, unchecked.
    pub fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }

    /// Number of the entry, as it claims.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Checks that the signature of `envelope` by `key` is in a log that is trusted.
    ///
    /// # Errors
    /// If the entry is about another signature or key, no trusted log vouches for it, or the proof does
    /// not hold.
    pub fn verify(
        &self,
        envelope: &Envelope,
        key: &PublicKey,
        trust: &LogTrust,
    ) -> Result<LoggedSignature, LogError> {
        let rekord = Rekord::parse(&self.body)?;
        if rekord.digest() != &envelope.signed_digest()
            || rekord.signature() != envelope.signature()
        {
            return Err(LogError::Evidence("it is about another signature"));
        }
        if rekord.key() != key {
            return Err(LogError::Evidence("it is about another key"));
        }
        let checkpoint = trust.verify(&self.checkpoint)?;
        if checkpoint.log().full_id() != &self.log_id {
            return Err(LogError::Evidence(
                "it names another log than the one that signed its checkpoint",
            ));
        }
        let leaf = Hash::of_entry(&self.body);
        let evidence = LoggedEvidence::check(&leaf, self.index, &self.path, checkpoint)?;
        Ok(LoggedSignature { evidence, rekord })
    }
}

/// A signature that is proved to be in a trusted log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedSignature {
    evidence: LoggedEvidence,
    rekord: Rekord,
}

impl LoggedSignature {
    /// Where it is.
    pub fn evidence(&self) -> &LoggedEvidence {
        &self.evidence
    }

    /// What it says.
    pub fn rekord(&self) -> &Rekord {
        &self.rekord
    }
}
