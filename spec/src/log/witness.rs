//! The witness protocol (C2SP tlog-witness): the body of `add-checkpoint`, and what a witness answers.
//!
//! Owns the decision. Does not keep anything: the caller compares and replaces the checkpoint that it
//! keeps in one atomic step, and signs only after that is durable.

use super::checkpoint::{Checkpoint, SignedCheckpoint, VerifiedCheckpoint};
use super::hash::Hash;
use super::note::NoteSignature;
use super::proof::check_consistency;
use super::vkey::VerifierKey;
use super::{LogError, number};
use std::fmt;

/// Longest request that a witness reads, in bytes.
pub const MAX_REQUEST_BYTES: usize = 128 * 1024;
/// Most hashes in a request.
const MAX_HASHES: usize = 63;

/// The body of `POST /add-checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the checkpoint that the log believes the witness to keep.
    pub old: u64,
    /// Proof that the new one goes on from there.
    pub proof: Vec<Hash>,
    /// The new one.
    pub checkpoint: SignedCheckpoint,
}

impl AddCheckpoint {
    /// Reads the body.
    ///
    /// # Errors
    /// If its form is another: status 400.
    pub fn parse(bytes: &[u8]) -> Result<AddCheckpoint, LogError> {
        let bad = |problem| LogError::Witness(problem);
        if bytes.len() > MAX_REQUEST_BYTES {
            return Err(bad("the request is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| bad("the request is not UTF-8"))?;
        let (head, checkpoint) = text
            .split_once("\n\n")
            .ok_or(bad("the request has no empty line before its checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines
            .next()
            .and_then(|line| line.strip_prefix("old "))
            .and_then(number)
            .ok_or(bad("the request does not begin with \"old\" and a size"))?;
        let proof: Vec<Hash> = lines.map(str::parse).collect::<Result<_, _>>()?;
        if proof.len() > MAX_HASHES {
            return Err(bad("the request has more than 63 hashes"));
        }
        Ok(AddCheckpoint {
            old,
            proof,
            checkpoint: SignedCheckpoint::parse(checkpoint.as_bytes())?,
        })
    }

    /// Decides, as a witness that trusts `logs` and keeps `kept` of this origin (size and root; nothing
    /// kept is size zero).
    ///
    /// # Errors
    /// The refusal, each with its status code.
    pub fn judge(
        &self,
        logs: &[VerifierKey],
        kept: Option<&Checkpoint>,
    ) -> Result<VerifiedCheckpoint, WitnessRefusal> {
        let claim = self.checkpoint.claim();
        let mut known = logs
            .iter()
            .filter(|log| log.name() == claim.origin)
            .peekable();
        if known.peek().is_none() {
            return Err(WitnessRefusal::UnknownLog);
        }
        let verified = known
            .map(|log| self.checkpoint.verify(log))
            .reduce(|found, next| match found {
                Err(LogError::Unsigned(_)) => next,
                other => other,
            })
            .and_then(Result::ok)
            .ok_or(WitnessRefusal::Unsigned)?;
        if self.old > verified.size() {
            return Err(WitnessRefusal::OldAboveNew);
        }
        let (size, root) = kept.map_or((0, Hash::of_nothing()), |kept| (kept.size, kept.root));
        if self.old != size {
            return Err(WitnessRefusal::Stale { size });
        }
        if size == verified.size() && root != *verified.root() {
            return Err(WitnessRefusal::OtherRoot { size });
        }
        check_consistency(size, &root, verified.size(), verified.root(), &self.proof)
            .map_err(|_| WitnessRefusal::Inconsistent { size })?;
        Ok(verified)
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        for hash in &self.proof {
            writeln!(f, "{hash}")?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

/// Why a witness does not cosign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessRefusal {
    /// It does not know the log.
    #[error("this witness does not know the log")]
    UnknownLog,
    /// No key that it trusts signed.
    #[error("no trusted key of the log signed this checkpoint")]
    Unsigned,
    /// The request contradicts itself.
    #[error("the old size is above that of the checkpoint")]
    OldAboveNew,
    /// It keeps another checkpoint than the log thinks.
    #[error("this witness keeps a checkpoint of size {size}")]
    Stale {
        /// Size of that.
        size: u64,
    },
    /// Two trees of one size: the log contradicts itself.
    #[error(
        "the checkpoint has another root than the one of size {size} that this witness cosigned"
    )]
    OtherRoot {
        /// Size of both.
        size: u64,
    },
    /// The log contradicts itself, or gives no proof that it does not.
    #[error("the checkpoint does not go on from the one of size {size} that this witness cosigned")]
    Inconsistent {
        /// Size of that.
        size: u64,
    },
}

impl WitnessRefusal {
    /// The HTTP status that goes with it.
    pub fn status(&self) -> u16 {
        match self {
            WitnessRefusal::UnknownLog => 404,
            WitnessRefusal::Unsigned => 403,
            WitnessRefusal::OldAboveNew => 400,
            WitnessRefusal::Stale { .. } | WitnessRefusal::OtherRoot { .. } => 409,
            WitnessRefusal::Inconsistent { .. } => 422,
        }
    }
}

/// Reads a witness's answer: signature lines. Those that `witness` did not make are passed over.
///
/// # Errors
/// If the form is another, or the witness's own line does not hold.
pub fn parse_cosignatures(
    answer: &[u8],
    checkpoint: &SignedCheckpoint,
    witness: &VerifierKey,
) -> Result<Option<NoteSignature>, LogError> {
    let text = std::str::from_utf8(answer)
        .ok()
        .filter(|text| text.len() <= MAX_REQUEST_BYTES && text.ends_with('\n'))
        .ok_or(LogError::Witness(
            "the answer is not made of signature lines",
        ))?;
    for line in text.split_terminator('\n') {
        let line = NoteSignature::parse(line)?;
        if witness.is_named_by(&line) {
            checkpoint.check_cosignature(witness, &line)?;
            return Ok(Some(line));
        }
    }
    Ok(None)
}
