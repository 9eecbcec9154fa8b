//! A project with a recipe: read from its directory, its files found and named by digest.
//!
//! | part | what it owns |
//! | --- | --- |
//! | `project` | recipe, parameters and what lint needs to know of the directory |
//! | `files` | files at a declared path, their digests, fingerprints of rows |
//! | `fill` | digests written into a recipe where they are missing |
//!
//! Does not run stages (`run` does) and does not compare results.
//! Invariant: nothing here changes a file of the project but the recipe that it is asked to write.

mod files;
mod fill;
mod project;

pub(crate) use files::hash_path_while;
pub use files::{FoundFile, LinkPolicy, files_at, fingerprint, hash_path};
pub(crate) use fill::digest_at;
pub use fill::fill_digests;
pub use project::Project;
pub(crate) use project::{read_lock, read_params};
