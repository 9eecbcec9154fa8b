//! Why a use case did not happen, as outcomes. `api/error.rs` says what each looks like on the wire.

use crate::metadata::QuotaExceeded;
use crate::{blobs, metadata};
use sealstone_spec::digest::Digest;
use sealstone_spec::name::Tag;
use sealstone_spec::policy::{Denial, SignedPolicyError};

/// The outcomes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository has no such manifest, or the caller may not know of it.
    #[error("manifest {0} is not known in this repository")]
    ManifestUnknown(String),
    /// The tag was deleted; its name is never used again.
    #[error("tag {tag} was a release and was deleted; it named {existing}")]
    TagRetracted {
        /// The tag.
        tag: Tag,
        /// What it named.
        existing: Digest,
    },
    /// The repository has no such blob, or the caller may not know of it.
    #[error("blob {0} is not known in this repository")]
    BlobUnknown(Digest),
    /// Nothing was ever pushed there.
    #[error("repository is not known")]
    RepositoryUnknown,
    /// The upload has ended, expired or never was.
    #[error("upload is not known: it ended, expired or never was; begin another")]
    UploadUnknown,
    /// Another request writes to the upload.
    #[error(
        "another request is writing to this upload: wait for it to end, then ask where the upload stands"
    )]
    UploadBusy,
    /// The bytes are not those that follow.
    #[error("upload has {offset} bytes, so the next one is number {offset}")]
    OutOfOrder {
        /// Bytes received.
        offset: u64,
    },
    /// The body ended too early; what came to an upload that was begun before is kept.
    #[error(
        "the body ended early: {0}; an upload that was begun before keeps what came: ask where it stands and go on from there"
    )]
    BodyInterrupted(String),
    /// The body has another length than was announced.
    #[error("the body has not the {announced} bytes that were announced, but {found}")]
    LengthMismatch {
        /// Bytes in the body, as far as it was read.
        found: u64,
        /// Bytes announced, by Content-Range if there is one.
        announced: u64,
        /// Bytes that the upload has, if it was begun before.
        offset: Option<u64>,
    },
    /// Content and digest do not belong together.
    #[error("content has digest {actual}, not {expected}")]
    DigestMismatch {
        /// Named by the client.
        expected: Digest,
        /// Computed.
        actual: Digest,
    },
    /// The manifest is not acceptable.
    #[error("{0}")]
    ManifestInvalid(String),
    /// The manifest is too large.
    #[error("{0}")]
    ManifestTooLarge(String),
    /// The manifest names what the repository has not.
    #[error("the repository lacks what the manifest names: {}", list(.blobs, .manifests))]
    Missing {
        /// Blobs.
        blobs: Vec<Digest>,
        /// Manifests.
        manifests: Vec<Digest>,
    },
    /// The tag is immutable and names something else.
    #[error("tag {tag} is immutable and names {existing}: releases never move, choose a new tag")]
    TagTaken {
        /// The tag.
        tag: Tag,
        /// What it names.
        existing: Digest,
    },
    /// The tag was deleted and cannot be used again.
    #[error("tag {tag} was deleted and its name is never used again: choose a new tag")]
    TagBurnt {
        /// The tag.
        tag: Tag,
        /// What it named.
        existing: Digest,
    },
    /// `If-Match` or `If-None-Match` does not hold.
    #[error("tag {tag} does not fulfil the request's condition: it {}", .existing.map_or_else(|| "does not exist".to_owned(), |digest| format!("names {digest}")))]
    ConditionFailed {
        /// The tag.
        tag: Tag,
        /// What it names.
        existing: Option<Digest>,
    },
    /// `If-Match` or `If-None-Match` does not hold for a manifest that is named by its digest.
    #[error("manifest {digest} does not fulfil the request's condition: it {}", if *.exists { "exists" } else { "does not exist" })]
    DigestConditionFailed {
        /// The manifest.
        digest: Digest,
        /// Whether it is there.
        exists: bool,
    },
    /// A list of evidence would lose an entry.
    #[error("tag {tag} lists evidence and only grows: read it again and keep {}", list(.lost, &[]))]
    EvidenceLost {
        /// The tag.
        tag: Tag,
        /// What is missing.
        lost: Vec<Digest>,
    },
    /// An immutable tag keeps it, or it says something about a manifest that has a tag.
    #[error("a release keeps this manifest or list of evidence: delete the release's tag first")]
    Held,
    /// It revokes another manifest, and a revocation is final.
    #[error("this manifest revokes another one, and a revocation is final: it is kept for ever")]
    Final,
    /// Manifests name the blob.
    #[error("{0} manifests of the repository name this blob: delete them first")]
    BlobInUse(u64),
    /// A quota of the repository's namespaces leaves no room.
    #[error("{0}")]
    QuotaExceeded(QuotaExceeded),
    /// The repository's policy refuses.
    #[error("{0}")]
    Denied(Box<Denial>),
    /// A signed policy that does not take the place of the one in force.
    #[error("{0}")]
    PolicyRefused(Box<SignedPolicyError>),
    /// The caller may push evidence, and this is none.
    #[error(
        "signers push manifests that have a subject; this one has none, so it needs the right to push"
    )]
    NotEvidence,
    /// The caller may attach approvals and the like, and this is none.
    #[error(
        "approvers attach statements in which they approve, reject, deprecate, revoke, except, open or close an incident; {0}, so it needs the right to sign or to push"
    )]
    NotApproval(String),
    /// The caller may tag, and the manifest is not there.
    #[error("the repository has no such manifest to be tagged; adding it needs the right to push")]
    MayOnlyTag,
    /// The caller may push, but not tag.
    #[error("setting tag {0} needs the right to tag in this repository")]
    MayNotTag(Tag),
    /// Entries of the log name repositories from which the caller may not pull.
    #[error(
        "these entries of the log name repositories from which you may not pull; ask for the proof of what you may read"
    )]
    MayNotReadLog,
    /// What is stored is not what was stored; the caller gets nothing of it.
    #[error(
        "stored content of {0} is damaged and was put into quarantine; push it again to repair it"
    )]
    Damaged(Digest),
    /// A tag is set and logged, and too few witnesses have cosigned that yet.
    #[error("{0}")]
    Unwitnessed(String),
    /// The disk is full.
    #[error("{0}")]
    Full(String),
    /// Later, perhaps.
    #[error("{0}")]
    Unavailable(String),
    /// A fault of the server; the text goes to the log, not to the client.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// Whether an upload that failed so is over: no later request could mend it.
    pub fn ends_upload(&self) -> bool {
        matches!(
            self,
            Error::QuotaExceeded(_) | Error::NotApproval(_) | Error::DigestMismatch { .. }
        )
    }
}

fn list(one: &[Digest], two: &[Digest]) -> String {
    let mut shown: Vec<String> = one
        .iter()
        .chain(two)
        .take(5)
        .map(Digest::to_string)
        .collect();
    let all = one.len() + two.len();
    if all > shown.len() {
        shown.push(format!("and {} more", all - shown.len()));
    }
    shown.join(", ")
}

impl From<metadata::Error> for Error {
    fn from(error: metadata::Error) -> Self {
        match error {
            metadata::Error::Unavailable(_) => Error::Unavailable(error.to_string()),
            metadata::Error::Damaged(_) => Error::Internal(error.to_string()),
        }
    }
}

impl From<blobs::Error> for Error {
    fn from(error: blobs::Error) -> Self {
        match error {
            blobs::Error::DigestMismatch { expected, actual } => {
                Error::DigestMismatch { expected, actual }
            }
            blobs::Error::Full { .. } => Error::Full(error.to_string()),
            blobs::Error::TooManyFiles | blobs::Error::Stopping => {
                Error::Unavailable(error.to_string())
            }
            other => Error::Internal(other.to_string()),
        }
    }
}

/// A task of ours that did not come to its end.
impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        // A bug is no reason for a client to try again, nor for an operator to look for a stop.
        match error.is_panic() {
            true => Error::Internal(error.to_string()),
            false => blobs::Error::Stopping.into(),
        }
    }
}

impl From<metadata::Refusal> for Error {
    fn from(refusal: metadata::Refusal) -> Self {
        use metadata::Refusal;
        match refusal {
            Refusal::Missing { blobs, manifests } => Error::Missing { blobs, manifests },
            Refusal::TagTaken { tag, existing } => Error::TagTaken { tag, existing },
            Refusal::TagBurnt { tag, existing } => Error::TagBurnt { tag, existing },
            Refusal::ConditionFailed { tag, existing } => Error::ConditionFailed { tag, existing },
            Refusal::DigestConditionFailed { digest, exists } => {
                Error::DigestConditionFailed { digest, exists }
            }
            Refusal::EvidenceLost { tag, lost } => Error::EvidenceLost { tag, lost },
            Refusal::Circular { through } => Error::ManifestInvalid(format!(
                "the manifest both speaks of {through} and leads to it: leave it out of the list or out of the subject"
            )),
            Refusal::Rejudge => {
                Error::Unavailable("the policy or the evidence changed meanwhile: try again".into())
            }
            Refusal::Held => Error::Held,
            Refusal::Final => Error::Final,
            Refusal::BlobInUse(count) => Error::BlobInUse(count),
            Refusal::NotFound => Error::ManifestUnknown("named".into()),
            Refusal::QuotaExceeded(exceeded) => Error::QuotaExceeded(exceeded),
        }
    }
}
