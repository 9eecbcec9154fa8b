//! How much is read of a file that may be hostile, and how a reader says no.

use crate::error::Error;
use std::io;

/// Bytes of a safetensors header: the limit of the format's own reader.
pub(super) const HEADER_BYTES: u64 = 100_000_000;
/// Bytes of a document that is read as a whole: JSON, a pickle, a LightGBM model.
pub(super) const DOCUMENT_BYTES: u64 = 256 * 1024 * 1024;
/// Bytes of one line of a table or of JSON lines.
pub(crate) const LINE_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of the name of a column, or of the pointer to a value in a document.
pub(super) const NAME_BYTES: usize = 64 * 1024;
/// Bytes of all names that are kept of a document, and of one row with its cells. A key stands in the name of everything
/// below it, so names may be far longer than the file.
pub(super) const NAMES_BYTES: usize = 256 * 1024 * 1024;
/// Bytes of the names of all columns that get figures of their own.
pub(super) const COLUMN_NAMES_BYTES: usize = 64 * 1024 * 1024;
/// Columns of a table that get figures of their own.
pub(super) const COLUMNS: usize = 10_000;
/// Tensors of one file.
pub(super) const TENSORS: usize = 1_000_000;
/// Dimensions of a tensor.
pub(super) const DIMENSIONS: usize = 64;
/// Members of one archive.
pub(super) const MEMBERS: usize = 200_000;
/// Archives in archives.
pub(super) const DEPTH: usize = 4;
/// Bytes that all compressed parts of one comparison may unfold to, on disk.
pub(super) const INFLATED_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// Bytes of a tensor that is brought into row-major order in memory.
pub(super) const GATHERED_BYTES: u64 = 256 * 1024 * 1024;

/// Why a file was not read as its format.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// The disk failed.
    #[error(transparent)]
    Io(io::Error),
    /// It is not what the format says; the text says what and where.
    #[error("{0}")]
    Malformed(String),
    /// It is more than is read here, or of a kind that is not known here: it may be sound.
    #[error("{0}")]
    Unsupported(String),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Unreadable {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Unreadable::Malformed("it ends before its own structure does".to_owned());
        }
        // What decoders and the limits here say has no number of the operating system.
        match (error.raw_os_error(), error.kind()) {
            (Some(_), _) => Unreadable::Io(error),
            (None, io::ErrorKind::FileTooLarge) => Unreadable::Unsupported(error.to_string()),
            (None, _) => Unreadable::Malformed(error.to_string()),
        }
    }
}

impl From<Unreadable> for Error {
    fn from(problem: Unreadable) -> Error {
        match problem {
            Unreadable::Io(error) => Error::io("reading a file to compare", error),
            Unreadable::Malformed(text) | Unreadable::Unsupported(text) => Error::other(text),
        }
    }
}

/// Refuses a name that is too long to stand in everything that it names.
pub(super) fn check_name(name: &str) -> Result<(), Unreadable> {
    match name.len() > NAME_BYTES {
        true => unsupported("the name of a column or a value in it is longer than 64 KiB"),
        false => Ok(()),
    }
}

/// A refusal of what is no such file.
pub(crate) fn malformed<T>(text: impl Into<String>) -> Result<T, Unreadable> {
    Err(Unreadable::Malformed(text.into()))
}

/// A refusal of what may be such a file, and is not read here.
pub(crate) fn unsupported<T>(text: impl Into<String>) -> Result<T, Unreadable> {
    Err(Unreadable::Unsupported(text.into()))
}
