//! Proof files (C2SP tlog-proof): an index, a path and a checkpoint, enough to check without a network.
//!
//! Ours carry the entry itself as `extra`, so that a proof says what it proves.
//! Invariant: [`LoggedEvidence`] is made by a check against trusted keys and in no other way.

use super::checkpoint::{SignedCheckpoint, VerifiedCheckpoint};
use super::entry::Entry;
use super::hash::Hash;
use super::proof::{MAX_PROOF_HASHES, check_inclusion};
use super::tile::MAX_ENTRY_BYTES;
use super::trust::LogTrust;
use super::{LogError, number};
use data_encoding::BASE64;
use std::fmt;

/// First line of a proof file.
pub const PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Media type under which proof files travel with a release.
pub const PROOF_MEDIA_TYPE: &str = "text/vnd.c2sp.tlog-proof";
/// Longest proof file that is read, in bytes.
pub const MAX_PROOF_FILE_BYTES: usize = 256 * 1024;

/// A proof as it was received; nothing about it has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProof {
    /// Bytes that the application wants beside the proof: here, the entry.
    pub extra: Option<Vec<u8>>,
    /// Number of the entry.
    pub index: u64,
    /// The path from the leaf upwards.
    pub hashes: Vec<Hash>,
    /// The checkpoint that it leads to.
    pub checkpoint: SignedCheckpoint,
}

impl LogProof {
    /// Reads a proof file.
    ///
    /// # Errors
    /// If its form is another.
    pub fn parse(bytes: &[u8]) -> Result<LogProof, LogError> {
        let bad = |problem| LogError::ProofFile(problem);
        if bytes.len() > MAX_PROOF_FILE_BYTES {
            return Err(bad("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| bad("it is not UTF-8"))?;
        let (head, checkpoint) = text
            .split_once("\n\n")
            .ok_or(bad("it has no empty line before its checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(PROOF_HEADER) {
            return Err(bad("its first line is not c2sp.org/tlog-proof@v1"));
        }
        let extra = match lines.peek().and_then(|line| line.strip_prefix("extra ")) {
            None => None,
            Some(encoded) => {
                lines.next();
                let extra = BASE64
                    .decode(encoded.as_bytes())
                    .map_err(|_| bad("its extra data are not strict base64"))?;
                Some(extra)
            }
        };
        let index = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .and_then(number)
            .ok_or(bad("it has no index in plain decimal"))?;
        let hashes: Vec<Hash> = lines.map(str::parse).collect::<Result<_, _>>()?;
        if hashes.len() > MAX_PROOF_HASHES {
            return Err(bad("it has too many hashes"));
        }
        Ok(LogProof {
            extra,
            index,
            hashes,
            checkpoint: SignedCheckpoint::parse(checkpoint.as_bytes())?,
        })
    }

    /// Checks that the entry with hash `leaf` is in a log that is trusted.
    ///
    /// # Errors
    /// If no trusted log signed the checkpoint, too few witnesses saw it, or the path does not hold.
    pub fn verify(&self, leaf: &Hash, trust: &LogTrust) -> Result<LoggedEvidence, LogError> {
        let checkpoint = trust.verify(&self.checkpoint)?;
        LoggedEvidence::check(leaf, self.index, &self.hashes, checkpoint)
    }

    /// The same for the entry that the file carries.
    ///
    /// # Errors
    /// As [`LogProof::verify`]; and if the file carries no entry, or one that cannot be read.
    pub fn verify_entry(&self, trust: &LogTrust) -> Result<(Entry, LoggedEvidence), LogError> {
        let extra = self
            .extra
            .as_deref()
            .filter(|extra| extra.len() <= MAX_ENTRY_BYTES)
            .ok_or(LogError::ProofFile(
                "it does not carry the entry that it proves",
            ))?;
        let evidence = self.verify(&Hash::of_entry(extra), trust)?;
        Ok((Entry::parse(extra)?, evidence))
    }
}

impl fmt::Display for LogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{PROOF_HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", BASE64.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{hash}")?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

/// An entry that is proved to be in a trusted log, at an index that orders it among all others.
///
/// ```compile_fail
/// let made_up: sealstone_spec::log::LoggedEvidence = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvidence {
    index: u64,
    leaf: Hash,
    checkpoint: VerifiedCheckpoint,
}

impl LoggedEvidence {
    /// Checks that `leaf` is entry `index` under a checkpoint that was verified.
    ///
    /// # Errors
    /// If the path does not hold.
    pub fn check(
        leaf: &Hash,
        index: u64,
        path: &[Hash],
        checkpoint: VerifiedCheckpoint,
    ) -> Result<LoggedEvidence, LogError> {
        check_inclusion(leaf, index, checkpoint.size(), path, checkpoint.root())?;
        Ok(LoggedEvidence {
            index,
            leaf: *leaf,
            checkpoint,
        })
    }

    /// Number of the entry in its log: what rules about "before" and "after" compare.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Hash of the entry.
    pub fn leaf(&self) -> &Hash {
        &self.leaf
    }

    /// The log's name. Indexes of different logs cannot be compared.
    pub fn origin(&self) -> &str {
        self.checkpoint.origin()
    }

    /// The checkpoint that the proof leads to.
    pub fn checkpoint(&self) -> &VerifiedCheckpoint {
        &self.checkpoint
    }
}
