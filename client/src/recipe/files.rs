//! Files at a declared path, and what they are.
//!
//! Invariant: what is found is a plain file below the root; links and devices are refused by name, what
//! programs leave behind is passed over.

use crate::error::{Error, Result};
use crate::layout::hash;
use crate::stop::Stop;
use sealstone_spec::bundle::BundlePath;
use sealstone_spec::compare::{Fingerprint, RowFingerprint};
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::recipe::{RecipePath, is_left_behind};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Deepest nesting of directories.
const MAX_DEPTH: usize = 64;
/// Longest line that counts as a row, in bytes.
const MAX_ROW_BYTES: u64 = 64 << 20;

/// A file on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// Where it lies.
    pub source: PathBuf,
    /// Its size.
    pub size: u64,
    /// Whether its owner may run it.
    pub executable: bool,
}

/// What is done with symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPolicy {
    /// They are refused: what they lead to could change unseen.
    Refuse,
}

/// The files at or below `path`, by their paths from the root. Empty if there is nothing.
///
/// # Errors
/// If something there is no plain file, or has a name that not every machine could store.
pub fn files_at(
    root: &Path,
    path: &RecipePath,
    links: LinkPolicy,
) -> Result<BTreeMap<String, FoundFile>> {
    let mut found = BTreeMap::new();
    let top = root.join(path.as_str());
    match fs::symlink_metadata(&top) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(found),
        Err(source) => return Err(Error::io(format!("reading \"{}\"", top.display()), source)),
        Ok(_) => walk(&top, path.as_str(), 0, links, &mut found)?,
    }
    Ok(found)
}

fn walk(
    source: &Path,
    path: &str,
    depth: usize,
    links: LinkPolicy,
    found: &mut BTreeMap<String, FoundFile>,
) -> Result<()> {
    let what = || format!("reading \"{}\"", source.display());
    if is_left_behind(path) {
        return Ok(());
    }
    let metadata = fs::symlink_metadata(source).map_err(|error| Error::io(what(), error))?;
    if metadata.is_dir() {
        if depth > MAX_DEPTH {
            return Err(Error::usage(format!(
                "\"{path}\" lies deeper than {MAX_DEPTH} directories"
            )));
        }
        for entry in fs::read_dir(source).map_err(|error| Error::io(what(), error))? {
            let entry = entry.map_err(|error| Error::io(what(), error))?;
            let name = entry.file_name().into_string().map_err(|name| {
                Error::usage(format!("file name {name:?} in \"{path}\" is not UTF-8"))
                    .hint("rename it: not every machine could store it")
            })?;
            walk(
                &entry.path(),
                &format!("{path}/{name}"),
                depth + 1,
                links,
                found,
            )?;
        }
        return Ok(());
    }
    if metadata.is_symlink() && links == LinkPolicy::Refuse {
        return Err(Error::usage(format!("\"{path}\" is a symbolic link"))
            .hint("put the file itself there: what a link leads to can change unseen"));
    }
    if !metadata.is_file() {
        return Err(Error::usage(format!(
            "\"{path}\" is neither a file nor a directory"
        )));
    }
    path.parse::<BundlePath>()
        .map_err(|error| Error::usage(error.to_string()))?;
    found.insert(
        path.to_owned(),
        FoundFile {
            source: source.to_owned(),
            size: metadata.len(),
            executable: metadata.permissions().mode() & 0o100 != 0,
        },
    );
    Ok(())
}

/// SHA-256 and size of a file.
///
/// # Errors
/// If it cannot be read.
pub fn hash_path(path: &Path) -> Result<(Digest, u64)> {
    hash_path_while(path, &Stop::default())
}

/// The same, as long as somebody waits for it.
pub(crate) fn hash_path_while(path: &Path, stop: &Stop) -> Result<(Digest, u64)> {
    let what = || format!("reading \"{}\"", path.display());
    let file = File::open(path).map_err(|source| Error::io(what(), source))?;
    hash(&mut stop.reading(file), Algorithm::Sha256).map_err(|source| Error::io(what(), source))
}

/// The fingerprint of a file's rows, where its name says that it has some: lines of CSV, TSV, JSONL and
/// text, the first axis of an npy array.
///
/// The line of a CSV's header is a row like any other: two files with one header in another order are
/// still the same rows. `None` for other files, and for those that are not what their name says.
///
/// # Errors
/// If the file cannot be read.
pub fn fingerprint(path: &Path) -> Result<Option<Fingerprint>> {
    let name = path.to_string_lossy().to_ascii_lowercase();
    let what = || format!("reading \"{}\"", path.display());
    let file = File::open(path).map_err(|source| Error::io(what(), source))?;
    let extension = name.rsplit('.').next().unwrap_or_default();
    match extension {
        "csv" | "tsv" | "jsonl" | "ndjson" | "txt" => {
            lines(BufReader::with_capacity(1 << 20, file))
        }
        // One that ends early is no array, whatever its header says.
        "npy" => match array(BufReader::with_capacity(1 << 20, file)) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            found => found,
        },
        _ => return Ok(None),
    }
    .map_err(|source| Error::io(what(), source))
}

fn lines(mut reader: BufReader<File>) -> std::io::Result<Option<Fingerprint>> {
    let mut running = RowFingerprint::new();
    let mut row = Vec::new();
    loop {
        row.clear();
        let mut limited = (&mut reader).take(MAX_ROW_BYTES);
        if limited.read_until(b'\n', &mut row)? == 0 {
            return Ok(Some(running.finish()));
        }
        if row.len() as u64 == MAX_ROW_BYTES && !row.ends_with(b"\n") {
            return Ok(None);
        }
        let row = row.strip_suffix(b"\n").unwrap_or(&row);
        running.row(row.strip_suffix(b"\r").unwrap_or(row));
    }
}

/// Rows of an npy array in C order; the header says their number and size.
fn array(mut reader: BufReader<File>) -> std::io::Result<Option<Fingerprint>> {
    let mut start = [0; 10];
    if reader.read_exact(&mut start).is_err() || &start[..6] != b"\x93NUMPY" {
        return Ok(None);
    }
    let header_bytes = match start[6] {
        1 => usize::from(u16::from_le_bytes([start[8], start[9]])),
        2 | 3 => {
            let mut rest = [0; 2];
            reader.read_exact(&mut rest)?;
            u32::from_le_bytes([start[8], start[9], rest[0], rest[1]]) as usize
        }
        _ => return Ok(None),
    };
    if header_bytes > 1 << 20 {
        return Ok(None);
    }
    let mut header = vec![0; header_bytes];
    reader.read_exact(&mut header)?;
    let header = String::from_utf8_lossy(&header);
    let after = |key: &str| {
        header
            .split_once(key)
            .map(|(_, rest)| rest.trim_start_matches([':', ' ']))
    };
    let Some(shape) = after("'shape'").and_then(|rest| rest.strip_prefix('(')?.split(')').next())
    else {
        return Ok(None);
    };
    let c_order = after("'fortran_order'").is_some_and(|rest| rest.starts_with("False"));
    let axes: Option<Vec<u64>> = shape
        .split(',')
        .map(str::trim)
        .filter(|axis| !axis.is_empty())
        .map(|axis| axis.parse().ok())
        .collect();
    let item: Option<u64> = after("'descr'").and_then(|rest| {
        let text = rest.strip_prefix('\'')?.split('\'').next()?;
        let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
        let width: u64 = digits.parse().ok()?;
        Some(if text.contains('U') { 4 * width } else { width })
    });
    let (Some(axes), Some(item), true) = (axes, item, c_order) else {
        return Ok(None);
    };
    let Some((rows, rest)) = axes.split_first() else {
        return Ok(None);
    };
    let row_bytes = rest
        .iter()
        .try_fold(item, |product, axis| product.checked_mul(*axis));
    let Some(row_bytes) = row_bytes.filter(|bytes| (1..=MAX_ROW_BYTES).contains(bytes)) else {
        return Ok(None);
    };
    let mut row = vec![0; usize::try_from(row_bytes).unwrap_or(usize::MAX)];
    let mut running = RowFingerprint::new();
    for _ in 0..*rows {
        if reader.read_exact(&mut row).is_err() {
            return Ok(None);
        }
        running.row(&row);
    }
    Ok(Some(running.finish()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_programs_leave_behind_is_passed_over_and_links_are_refused() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "src/a.py",
            "src/b/c.py",
            "src/__pycache__/a.pyc",
            "src/x.pyc",
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let at = |text: &str| files_at(root.path(), &text.parse().unwrap(), LinkPolicy::Refuse);
        let found: Vec<String> = at("src/").unwrap().into_keys().collect();
        assert_eq!(found, ["src/a.py", "src/b/c.py"]);
        assert_eq!(at("src/a.py").unwrap().len(), 1);
        assert!(at("nothing/").unwrap().is_empty() && at("src/a.py/x").unwrap().is_empty());
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("src/link")).unwrap();
        assert!(at("src").unwrap_err().message().contains("symbolic link"));
    }

    #[test]
    fn rows_in_another_order_are_the_same_rows() {
        let root = tempfile::tempdir().unwrap();
        let print = |name: &str, content: &[u8]| {
            let path = root.path().join(name);
            fs::write(&path, content).unwrap();
            fingerprint(&path).unwrap()
        };
        let one = print("a.csv", b"h\n1\n2\n").unwrap();
        let two = print("b.csv", b"h\r\n2\n1").unwrap();
        assert_eq!(one.rows, 3);
        assert!(one.is_reorder_of(&two));
        assert_eq!(print("c.bin", b"x"), None);

        let npy = |rows: &[[f32; 2]]| {
            let header = format!(
                "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, 2), }}\n",
                rows.len()
            );
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
            bytes.extend(header.as_bytes());
            bytes.extend(rows.iter().flatten().flat_map(|value| value.to_le_bytes()));
            bytes
        };
        let one = print("a.npy", &npy(&[[1.0, 2.0], [3.0, 4.0]])).unwrap();
        let two = print("b.npy", &npy(&[[3.0, 4.0], [1.0, 2.0]])).unwrap();
        assert_eq!(one.rows, 2);
        assert!(one.is_reorder_of(&two));
        assert_eq!(print("c.npy", &npy(&[[1.0, 2.0]])[..60]), None);
        assert_eq!(print("d.npy", b"no array at all"), None);
    }
}
