//! The files below a directory, as packing finds them.

use crate::error::{Error, Result};
use crate::layout::LayoutStore;
use crate::pack::{PackOptions, pack};
use sealstone_spec::bom::contents::File;
use std::path::Path;

/// Every file that packing the directory would take, with its digest. Nothing is left behind.
///
/// # Errors
/// If the directory holds what cannot be packed, or cannot be read.
pub fn files_below(directory: &Path) -> Result<Vec<File>> {
    // One walk decides what belongs to a bundle; this is it, into a layout that is thrown away.
    let scratch =
        tempfile::tempdir().map_err(|source| Error::io("making a temporary directory", source))?;
    let layout = LayoutStore::open_or_create(scratch.path().join("layout"))?;
    let options = PackOptions {
        link: true,
        ..PackOptions::default()
    };
    let packed = pack(directory, &layout, &options, None, &())?;
    let files = packed.files.iter().map(|file| File {
        path: file.path.to_string(),
        digest: file.digest,
        size: file.size,
        kind: file.kind,
    });
    Ok(files.collect())
}
