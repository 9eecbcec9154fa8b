//! Bills of materials: what a bundle consists of, written as CycloneDX ML-BOM 1.7 and compared with what
//! is there.
//!
//! Source: CycloneDX/specification, bom-1.7. The parts:
//!
//! | part | what it owns |
//! | --- | --- |
//! | [`document`] | the JSON document as it is read: components, hashes, the graph |
//! | [`contents`], [`write()`] | what one says of a bundle, and its bytes |
//! | [`package`], [`requirements`], [`lockfile`], [`installed`] | packages, and where they are read from |
//! | [`write_spdx`] | the same contents as SPDX 2.3, written only |
//! | [`check()`] | a bill against reality: every file and package that is missing, not listed, or another |
//!
//! Does not resolve, download or hash anything: bytes in, names and digests out.
//! Invariants: the same contents give the same bytes; what [`write()`] made, [`check()`] finds no
//! difference in while nothing has changed.

mod check;
pub mod contents;
pub mod document;
pub mod installed;
pub mod lockfile;
pub mod package;
pub mod requirements;
mod spdx;
mod write;

pub use check::{Comparison, Difference, Reality, check};
pub use contents::Contents;
pub use document::Bom;
pub use package::{Archive, Package};
pub use spdx::write_spdx;
pub use write::write;

/// Why a bill of materials, or a list of packages for one, was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BomError {
    /// A document that is no bill of materials.
    #[error("bill of materials: {0}")]
    Document(String),
    /// A list of packages that cannot be read, or that does not fix what it names.
    #[error("{file} line {line}: {problem}")]
    Packages {
        /// What kind of list.
        file: &'static str,
        /// The line; 0 if it is about all of it.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// What is to be written makes no bill.
    #[error("{at}: {problem}")]
    Contents {
        /// The entry.
        at: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A bill that says two things of one: whichever counted, the other one would stand there for show.
    #[error("bill of materials: {0} is listed twice")]
    ListedTwice(String),
    /// There is nothing to compare a bill with.
    #[error("neither files nor packages were given to compare the bill of materials with")]
    NothingToCompare,
}

#[cfg(test)]
pub(crate) mod tests;
