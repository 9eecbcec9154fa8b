//! Checkpoints (C2SP tlog-checkpoint) and cosignatures: the log's word for the size and root of its tree.
//!
//! Invariant: a [`VerifiedCheckpoint`] is signed by the log that it names, and there is no other way to
//! have one than the check.

use super::hash::Hash;
use super::note::{Note, NoteSignature};
use super::proof::{ProofError, check_consistency};
use super::vkey::{KeyKind, VerifierKey};
use super::{LogError, number};
use crate::key::{SignError, Signer};

/// What a checkpoint says: how many entries the log has, and the root over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
    /// Lines that mean nothing here; the log of a registry has none.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// A checkpoint without extensions.
    pub fn new(origin: impl Into<String>, size: u64, root: Hash) -> Checkpoint {
        Checkpoint {
            origin: origin.into(),
            size,
            root,
            extensions: Vec::new(),
        }
    }

    fn parse(text: &str) -> Result<Checkpoint, LogError> {
        let bad = |problem| LogError::Checkpoint(problem);
        let body = text
            .strip_suffix('\n')
            .ok_or(bad("it does not end with a newline"))?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(bad("it has fewer than three lines"));
        };
        let extensions: Vec<String> = lines.map(ToOwned::to_owned).collect();
        if origin.is_empty() || extensions.iter().any(String::is_empty) {
            return Err(bad("it has an empty line"));
        }
        let size = number(size).ok_or(bad("its size is no plain decimal number"))?;
        let root: Hash = root.parse()?;
        if size == 0 && root != Hash::of_nothing() {
            return Err(bad(
                "its tree is empty, but its root is not that of the empty tree",
            ));
        }
        Ok(Checkpoint {
            origin: origin.to_owned(),
            size,
            root,
            extensions,
        })
    }

    /// The text that is signed.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, self.root);
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Signs as the log: `signer` holds the key of `key`.
    ///
    /// # Errors
    /// If the signer refuses, or makes what `key` does not accept.
    pub fn sign(
        &self,
        key: &VerifierKey,
        signer: &dyn Signer,
    ) -> Result<SignedCheckpoint, LogError> {
        let text = self.text();
        let signature = sign(key, KeyKind::Log, signer, text.as_bytes())?;
        let line = NoteSignature {
            name: key.name().to_owned(),
            key_id: key.id(),
            signature,
        };
        Ok(SignedCheckpoint {
            checkpoint: self.clone(),
            note: Note::new(text, vec![line]),
        })
    }

    /// Signs as a witness, at `seconds` since 1970.
    ///
    /// # Errors
    /// If the signer refuses, or makes what `key` does not accept.
    pub fn cosign(
        &self,
        key: &VerifierKey,
        signer: &dyn Signer,
        seconds: u64,
    ) -> Result<NoteSignature, LogError> {
        let message = cosigned_message(seconds, &self.text());
        let signature = sign(key, KeyKind::Witness, signer, &message)?;
        Ok(NoteSignature {
            name: key.name().to_owned(),
            key_id: key.id(),
            signature: [&seconds.to_be_bytes()[..], &signature].concat(),
        })
    }
}

fn sign(
    key: &VerifierKey,
    kind: KeyKind,
    signer: &dyn Signer,
    message: &[u8],
) -> Result<Vec<u8>, LogError> {
    let refused = |problem: &str| {
        LogError::Sign(SignError {
            key: *signer.public_key().id(),
            problem: problem.to_owned(),
        })
    };
    if key.kind() != kind || key.public_key() != signer.public_key() {
        return Err(refused(
            "it is not the key that the checkpoint is to be signed with",
        ));
    }
    let signature = signer.sign(message)?;
    key.verify(message, &signature)
        .map_err(|_| refused("what it made does not verify"))?;
    Ok(signature)
}

fn cosigned_message(seconds: u64, text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {seconds}\n{text}").into_bytes()
}

/// A witness that saw a checkpoint, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// The witness's key.
    pub witness: VerifierKey,
    /// Seconds since 1970, by the witness's clock.
    pub seconds: u64,
}

/// A checkpoint with signatures as it was received: nothing about it may be believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
}

impl SignedCheckpoint {
    /// Reads a signed note whose text is a checkpoint.
    ///
    /// # Errors
    /// If its form is another.
    pub fn parse(bytes: &[u8]) -> Result<SignedCheckpoint, LogError> {
        let note = Note::parse(bytes)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        Ok(SignedCheckpoint { checkpoint, note })
    }

    /// What it claims. For messages and for choosing a key.
    pub fn claim(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Adds lines that witnesses made.
    pub fn add_cosignature(&mut self, line: NoteSignature) {
        self.note.add(line);
    }

    /// The signature lines.
    pub fn signatures(&self) -> &[NoteSignature] {
        self.note.signatures()
    }

    /// Checks that `log` signed it. The name of the key must be the origin.
    ///
    /// # Errors
    /// If the checkpoint is another log's, the key did not sign, or one of its signatures does not hold.
    pub fn verify(&self, log: &VerifierKey) -> Result<VerifiedCheckpoint, LogError> {
        if log.kind() != KeyKind::Log {
            return Err(LogError::VerifierKey("it is a witness's, not a log's"));
        }
        if self.checkpoint.origin != log.name() {
            return Err(LogError::OtherLog {
                found: self.checkpoint.origin.chars().take(80).collect(),
                expected: log.name().to_owned(),
            });
        }
        let mut lines = self
            .note
            .signatures()
            .iter()
            .filter(|line| log.is_named_by(line));
        let mut is_signed = false;
        lines.try_for_each(|line| {
            is_signed = true;
            log.verify(self.note.text().as_bytes(), &line.signature)
        })?;
        if !is_signed {
            return Err(LogError::Unsigned(log.name().to_owned()));
        }
        Ok(VerifiedCheckpoint {
            checkpoint: self.checkpoint.clone(),
            note: self.note.clone(),
            log: log.clone(),
        })
    }

    /// Cosignatures of the witnesses that are given. Lines of others are passed over.
    ///
    /// # Errors
    /// If a line names one of them and does not hold: such a note is malformed.
    pub fn cosignatures<'a>(
        &self,
        witnesses: impl IntoIterator<Item = &'a VerifierKey>,
    ) -> Result<Vec<Cosignature>, LogError> {
        let mut found = Vec::new();
        for witness in witnesses {
            if witness.kind() != KeyKind::Witness {
                continue;
            }
            // Every line, also behind one that holds: whether a note is refused must not hang on the order of its lines.
            let mut first = None;
            for line in self.note.signatures() {
                if witness.is_named_by(line) {
                    let seconds = self.check_cosignature(witness, line)?;
                    first.get_or_insert(seconds);
                }
            }
            found.extend(first.map(|seconds| Cosignature {
                witness: witness.clone(),
                seconds,
            }));
        }
        Ok(found)
    }

    /// Checks one line of a witness and says its time.
    ///
    /// # Errors
    /// If the line is not the witness's, or does not hold.
    pub fn check_cosignature(
        &self,
        witness: &VerifierKey,
        line: &NoteSignature,
    ) -> Result<u64, LogError> {
        let (time, signature) = line
            .signature
            .split_first_chunk::<8>()
            .ok_or(LogError::Note("a cosignature is too short"))?;
        let seconds = u64::from_be_bytes(*time);
        if !witness.is_named_by(line) || seconds > i64::MAX as u64 {
            return Err(LogError::Note(
                "a cosignature is not of this witness, or of no time",
            ));
        }
        witness.verify(&cosigned_message(seconds, self.note.text()), signature)?;
        Ok(seconds)
    }
}

impl std::fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.note.fmt(f)
    }
}

/// How a log contradicts itself, or seems to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Divergence {
    /// Two logs: one says nothing about the other.
    #[error("checkpoint is of log \"{found}\", not of \"{expected}\"")]
    OtherLog {
        /// Its origin.
        found: String,
        /// That of the checkpoint kept.
        expected: String,
    },
    /// The log had more entries before.
    #[error(
        "log \"{origin}\" was rolled back: it showed {kept} entries before and shows {found} now"
    )]
    Rollback {
        /// The log.
        origin: String,
        /// Size in the checkpoint kept.
        kept: u64,
        /// Size now.
        found: u64,
    },
    /// Two trees that cannot be one.
    #[error(
        "log \"{origin}\" was rewritten or shows different trees to different readers: its first {kept} entries are not those that it showed before"
    )]
    Fork {
        /// The log.
        origin: String,
        /// Size in the checkpoint kept.
        kept: u64,
    },
    /// The proof is not even of the right form.
    #[error(
        "log \"{origin}\" gives no proof that its {found} entries go on from the {kept} that it showed before: {problem}"
    )]
    NotProved {
        /// The log.
        origin: String,
        /// Size in the checkpoint kept.
        kept: u64,
        /// Size now.
        found: u64,
        /// What is wrong with the proof.
        problem: ProofError,
    },
}

/// A checkpoint that its log signed.
///
/// ```compile_fail
/// let made_up = sealstone_spec::log::VerifiedCheckpoint::default();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
    log: VerifierKey,
}

impl VerifiedCheckpoint {
    /// The log's name.
    pub fn origin(&self) -> &str {
        &self.checkpoint.origin
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.checkpoint.size
    }

    /// Root over them.
    pub fn root(&self) -> &Hash {
        &self.checkpoint.root
    }

    /// The log's key.
    pub fn log(&self) -> &VerifierKey {
        &self.log
    }

    /// The note as it was received.
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// Checks that this checkpoint goes on from `older`, one that was verified and kept.
    ///
    /// # Errors
    /// Says how the log contradicts itself.
    pub fn follows(&self, older: &VerifiedCheckpoint, proof: &[Hash]) -> Result<(), Divergence> {
        let origin = || older.origin().to_owned();
        if self.origin() != older.origin() {
            return Err(Divergence::OtherLog {
                found: self.origin().chars().take(80).collect(),
                expected: origin(),
            });
        }
        let (kept, found) = (older.size(), self.size());
        if found < kept {
            return Err(Divergence::Rollback {
                origin: origin(),
                kept,
                found,
            });
        }
        match check_consistency(kept, older.root(), found, self.root(), proof) {
            Ok(()) => Ok(()),
            Err(ProofError::Mismatch) => Err(Divergence::Fork {
                origin: origin(),
                kept,
            }),
            Err(problem) => Err(Divergence::NotProved {
                origin: origin(),
                kept,
                found,
                problem,
            }),
        }
    }
}
