//! The digest of everything that lies in a directory.

use crate::recipe::hash_path;
use sealstone_spec::digest::{Algorithm, Digest, Hasher};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Digest of a tree: of the kind, mode, path and content of everything that lies in it. Lengths stand before what has
/// any, so that no two trees are one text.
pub(super) fn whole_digest(root: &Path) -> io::Result<Digest> {
    let mut whole = Hasher::new(Algorithm::Sha256);
    let mut waiting = vec![PathBuf::new()];
    while let Some(directory) = waiting.pop() {
        let entries = fs::read_dir(root.join(&directory))?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names: Vec<OsString> = names.collect::<io::Result<_>>()?;
        names.sort();
        for name in names {
            let path = directory.join(name);
            let place = root.join(&path);
            let found = fs::symlink_metadata(&place)?;
            let (kind, content) = if found.is_dir() {
                waiting.push(path.clone());
                ("directory", Vec::new())
            } else if found.is_symlink() {
                ("link", fs::read_link(&place)?.into_os_string().into_vec())
            } else if found.is_file() {
                let (digest, _) = hash_path(&place).map_err(io::Error::other)?;
                ("file", digest.bytes().to_vec())
            } else {
                ("other", Vec::new())
            };
            let path = path.as_os_str().as_bytes();
            let mode = found.permissions().mode() & 0o7777;
            let head = format!("{kind} {mode:o} {} {}\n", path.len(), content.len());
            for part in [head.as_bytes(), path, &content] {
                whole.update(part);
            }
        }
    }
    Ok(whole.finalize())
}
