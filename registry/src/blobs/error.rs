//! What can go wrong with bytes, as outcomes that callers treat differently.

use sealstone_spec::digest::Digest;

/// Why bytes were not taken or not given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes have another digest than the client named.
    #[error("content has digest {actual}, but was sent as {expected}")]
    DigestMismatch {
        /// What was named.
        expected: Digest,
        /// What the bytes hash to.
        actual: Digest,
    },
    /// The bytes in the store are not those that were put there.
    #[error("stored bytes of {key} are damaged: {problem}")]
    Damaged {
        /// The object's key.
        key: String,
        /// What was noticed.
        problem: String,
    },
    /// No space is left, or only the reserve.
    #[error("no space is left for uploads: {free} bytes are free, {reserve} are kept in reserve")]
    Full {
        /// Free bytes.
        free: u64,
        /// Bytes kept free.
        reserve: u64,
    },
    /// The process or the system has too many open files.
    #[error("too many open files; raise the limit (LimitNOFILE, ulimit -n)")]
    TooManyFiles,
    /// Another input or output error.
    #[error("cannot {action} {what}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The object store refused.
    #[error("cannot {action} {what}: {source}")]
    Object {
        /// What was tried.
        action: &'static str,
        /// On what.
        what: String,
        /// Why it failed.
        source: object_store::Error,
    },
    /// A task of this process ended early: it is stopping.
    #[error("the server is stopping")]
    Stopping,
}

impl Error {
    /// Turns an operating system's error into an outcome; for `map_err`.
    pub(crate) fn io(
        action: &'static str,
        what: impl std::fmt::Display,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let what = what.to_string();
        move |source| match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Error::Full {
                free: 0,
                reserve: 0,
            },
            Some(libc::EMFILE | libc::ENFILE) => Error::TooManyFiles,
            _ => Error::Io {
                action,
                what,
                source,
            },
        }
    }

    pub(crate) fn object(
        action: &'static str,
        what: impl std::fmt::Display,
    ) -> impl FnOnce(object_store::Error) -> Error {
        let what = what.to_string();
        move |source| Error::Object {
            action,
            what,
            source,
        }
    }
}
