//! A release as one file: an OCI layout in a tar, to carry where there is no network.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `header` | one tar header, in and out |
//! | `scan` | which content lies where in an archive |
//! | `store` | an archive as a place that bundles are read from |
//! | `writer` | an archive in the making |
//!
//! Names in an archive are `oci-layout`, `index.json`, `model.sig`, and `blobs/ALGORITHM/HEX`; anything
//! else is refused, so there is no path to traverse. Nothing is unpacked to be read: content is read
//! where it lies, and memory does not grow with it.
//! Invariant: what is read is compared with the digest that it was asked for by, like anywhere else;
//! the same release makes the same archive, byte for byte, on every machine.

mod header;
mod scan;
mod store;
mod writer;

pub use store::ArchiveStore;
pub(crate) use writer::{Source, write};

/// Name of the model signature in an archive.
pub(crate) const MODEL_SIGNATURE: &str = sealstone_spec::model_signature::FILE_NAME;

#[cfg(test)]
mod tests;
