//! The files below a directory, as packing finds them; hashed where they lie and copied nowhere.

use crate::error::Result;
use crate::pack::{PackedFile, hash_all, hash_packed};
use sealstone_spec::bom::contents::File;
use std::path::Path;

/// Every file that packing the directory would take, with its digest. Nothing is left behind.
///
/// # Errors
/// If the directory holds what cannot be packed, or cannot be read.
pub fn files_below(directory: &Path) -> Result<Vec<File>> {
    hash_packed(directory).map(listed)
}

/// The same, and also what its `.sealstoneignore` leaves out. That file is never listed itself, so whoever filled the
/// directory could hide with it what a bill does not list.
///
/// # Errors
/// As [`files_below`].
pub fn all_files_below(directory: &Path) -> Result<Vec<File>> {
    hash_all(directory).map(listed)
}

fn listed(files: Vec<PackedFile>) -> Vec<File> {
    let files = files.into_iter().map(|file| File {
        path: file.path.to_string(),
        digest: file.digest,
        size: file.size,
        kind: file.kind,
    });
    files.collect()
}
