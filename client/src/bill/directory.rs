//! The files below a directory, as packing finds them; hashed where they lie and copied nowhere.

use crate::error::Result;
use crate::pack::{PackedFile, hash_all, hash_packed};
use sealstone_spec::bom::contents::File;
use std::path::Path;

/// What lies below a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Below {
    /// Its files.
    pub files: Vec<File>,
    /// Paths of what no bundle can hold, and what each is: links and the like, and files for their names.
    pub others: Vec<(String, &'static str)>,
}

/// Every file that packing the directory would take, with its digest. Nothing is left behind.
///
/// # Errors
/// If the directory holds what cannot be packed, or cannot be read.
pub fn files_below(directory: &Path) -> Result<Below> {
    let files = listed(hash_packed(directory)?);
    let others = Vec::new();
    Ok(Below { files, others })
}

/// The same, and also what its `.sealstoneignore` leaves out. That file is never listed itself, so whoever filled the
/// directory could hide with it what a bill does not list. What is left out need not be fit to be packed: links and odd names are
/// told.
///
/// # Errors
/// As [`files_below`], but for what no bundle can hold.
pub fn all_files_below(directory: &Path) -> Result<Below> {
    let (files, others) = hash_all(directory)?;
    let files = listed(files);
    Ok(Below { files, others })
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
