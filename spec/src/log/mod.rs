//! The transparency log: an append-only Merkle tree over everything that changes what a registry says.
//!
//! Sources: RFC 6962 and RFC 9162 (tree, proofs); C2SP signed-note, tlog-checkpoint, tlog-cosignature,
//! tlog-tiles, tlog-proof, tlog-policy, tlog-witness; sigstore/protobuf-specs (log entries in bundles,
//! trusted roots). Owns the formats and the checks. Does not store, fetch or serve anything.
//! Invariant: [`VerifiedCheckpoint`], [`LoggedEvidence`] and [`LoggedSignature`] are made by their checks
//! and in no other way. No proof that was not checked leads to one of them.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `hash`, `tree`, `proof` | leaves and nodes, growing a tree, making and checking proofs |
//! | `note`, `vkey`, `checkpoint` | signed notes, keys, what a log says of itself |
//! | `tile`, `proof_file` | how tree, entries and proofs are served and kept |
//! | `trust`, `witness` | which logs and witnesses are believed; what a witness decides |
//! | `entry`, `rekord` | what a leaf says |
//! | `evidence`, `trusted_root` | the same in the forms that sigstore's verifiers read |

mod checkpoint;
mod entry;
mod evidence;
mod hash;
mod note;
mod proof;
mod proof_file;
mod rekord;
mod tile;
mod tree;
mod trust;
mod trusted_root;
mod vkey;
mod witness;

pub use checkpoint::{Checkpoint, Cosignature, Divergence, SignedCheckpoint, VerifiedCheckpoint};
pub use entry::{ENTRY_KIND, Entry, EventEntry, KeyChange, KeyEntry, Operation};
pub use evidence::{LoggedSignature, TlogEntry};
pub use hash::Hash;
pub use note::{MAX_NOTE_BYTES, MAX_SIGNATURES, Note, NoteSignature, is_key_name};
pub use proof::{MAX_PROOF_HASHES, ProofError, check_consistency, check_inclusion};
pub use proof_file::{
    LogProof, LoggedEvidence, MAX_PROOF_FILE_BYTES, PROOF_HEADER, PROOF_MEDIA_TYPE,
};
pub use rekord::{MAX_REKORD_BYTES, Rekord};
pub use tile::{
    MAX_ENTRY_BYTES, TILE_WIDTH, TileKind, TilePath, Tiles, decode_entries, encode_entries,
};
pub use tree::{Frontier, NodeId, consistency_proof, inclusion_proof, peaks, root};
pub use trust::{LogTrust, MAX_TRUST_BYTES, Party};
pub use trusted_root::{MAX_TRUSTED_ROOT_BYTES, trusted_keys, trusted_root};
pub use vkey::{KeyKind, VerifierKey};
pub use witness::{AddCheckpoint, MAX_REQUEST_BYTES, WitnessRefusal, parse_cosignatures};

use crate::canonical::JsonError;
use crate::key::{SignError, SignatureError};

/// Why something of a log is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Not a hash.
    #[error("\"{0}\" is not a hash: 32 bytes in strict base64 are due")]
    Hash(String),
    /// Not a signed note.
    #[error("signed note: {0}")]
    Note(&'static str),
    /// Not the text of a checkpoint.
    #[error("checkpoint: {0}")]
    Checkpoint(&'static str),
    /// Not the line of a key.
    #[error("log or witness key: {0}")]
    VerifierKey(&'static str),
    /// Not the name of a key.
    #[error("\"{0}\" cannot name a log or witness: no spaces, no plus, not empty")]
    KeyName(String),
    /// The key is of another algorithm.
    #[error("logs and witnesses sign with Ed25519, this key is {0}")]
    KeyAlgorithm(&'static str),
    /// A checkpoint of another log.
    #[error("checkpoint is of log \"{found}\", the key is that of \"{expected}\"")]
    OtherLog {
        /// Its origin.
        found: String,
        /// The key's name.
        expected: String,
    },
    /// A checkpoint of a log that nobody trusts.
    #[error("log \"{0}\" is not among those that are trusted")]
    UnknownLog(String),
    /// The log's key did not sign.
    #[error("checkpoint is not signed by the trusted key of log \"{0}\"")]
    Unsigned(String),
    /// A signature does not hold.
    #[error("checkpoint: {0}")]
    Signature(#[from] SignatureError),
    /// Too few witnesses saw the checkpoint.
    #[error(
        "checkpoint is cosigned by {seen} known witnesses, which is not the quorum \"{quorum}\""
    )]
    Quorum {
        /// Name of the quorum.
        quorum: String,
        /// How many known witnesses cosigned.
        seen: usize,
    },
    /// A proof does not hold.
    #[error("log: {0}")]
    Proof(#[from] ProofError),
    /// Not a proof file.
    #[error("proof file: {0}")]
    ProofFile(&'static str),
    /// Not the path of a tile.
    #[error("\"{0}\" is not the path of a tile")]
    TilePath(String),
    /// Not the content of a tile.
    #[error("tile: {0}")]
    Tile(&'static str),
    /// An entry that no tile can hold.
    #[error("log entry has {0} bytes, at most {MAX_ENTRY_BYTES} can be logged")]
    EntryTooLong(usize),
    /// Not an entry that is known here.
    #[error("log entry: {0}")]
    Entry(&'static str),
    /// Not JSON.
    #[error("log: {0}")]
    Json(#[from] JsonError),
    /// Not the document of logs and witnesses that are trusted.
    #[error("trusted logs, line {line}: {problem}")]
    Trust {
        /// Where; 0 is the whole.
        line: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// Not the witness protocol.
    #[error("witness: {0}")]
    Witness(&'static str),
    /// Not the log entry that belongs to a signature.
    #[error("log entry in bundle: {0}")]
    Evidence(&'static str),
    /// Nothing was signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// A decimal number as all these formats write it: no sign, no leading zero, at most 2^63 - 1.
fn number(text: &str) -> Option<u64> {
    let is_plain =
        text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    text.parse()
        .ok()
        .filter(|value| is_plain && *value <= i64::MAX as u64)
}

#[cfg(test)]
pub(crate) mod tests;
