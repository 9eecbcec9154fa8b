//! Data held against the MD5 that DVC recorded.
//!
//! MD5 keeps nobody from making two files alike: it says that this is the data which was used, if nobody meant harm;
//! from then on SHA-256 names it. Of a directory DVC hashes a JSON listing of its files.

use super::Tracked;
use crate::error::{Error, Result};
use md5::{Digest as _, Md5};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

/// Deepest nesting of directories.
const MAX_DEPTH: usize = 64;

/// What lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// What was recorded.
    Same,
    /// Something, of which nothing was recorded.
    NotRecorded,
    /// Something else, with this digest.
    Other(String),
}

/// Compares what lies at `path` with what was recorded.
pub(super) fn verify(path: &Path, tracked: &Tracked) -> Result<Found> {
    if path.symlink_metadata().is_err() {
        return Ok(Found::Absent);
    }
    let Some(due) = &tracked.md5 else {
        return Ok(Found::NotRecorded);
    };
    let now = digest(path, false)?;
    if now == *due {
        return Ok(Found::Same);
    }
    // Before version 3 the line ends of texts were made those of Unix before hashing.
    if !tracked.is_plain && digest(path, true)? == *due {
        return Ok(Found::Same);
    }
    Ok(Found::Other(now))
}

fn digest(path: &Path, unix: bool) -> Result<String> {
    if !path.is_dir() {
        return of_file(path, unix);
    }
    let mut files = Vec::new();
    walk(path, "", 0, &mut files)?;
    files.sort();
    let mut entries = Vec::with_capacity(files.len());
    for name in files {
        let digest = of_file(&path.join(&name), unix)?;
        entries.push(format!(
            "{{\"md5\": \"{digest}\", \"relpath\": {}}}",
            ascii(&name)
        ));
    }
    let listing = format!("[{}]", entries.join(", "));
    Ok(format!("{}.dir", hex(&Md5::digest(listing.as_bytes()))))
}

fn walk(directory: &Path, prefix: &str, depth: usize, files: &mut Vec<String>) -> Result<()> {
    let what = |source| Error::io(format!("reading \"{}\"", directory.display()), source);
    if depth > MAX_DEPTH {
        return Err(Error::usage(format!(
            "\"{}\" lies too deep",
            directory.display()
        )));
    }
    for entry in fs::read_dir(directory).map_err(what)? {
        let entry = entry.map_err(what)?;
        let name = entry
            .file_name()
            .into_string()
            .map_err(|name| Error::usage(format!("the name {name:?} is not UTF-8")))?;
        let path = format!("{prefix}{name}");
        match entry.path().is_dir() {
            true => walk(&entry.path(), &format!("{path}/"), depth + 1, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

fn of_file(path: &Path, unix: bool) -> Result<String> {
    let what = |source| Error::io(format!("reading \"{}\"", path.display()), source);
    let mut file = File::open(path).map_err(what)?;
    let mut hasher = Md5::new();
    let mut buffer = vec![0; 1 << 20];
    let mut held = false;
    loop {
        let count = file.read(&mut buffer).map_err(what)?;
        if count == 0 {
            break;
        }
        if !unix {
            hasher.update(&buffer[..count]);
            continue;
        }
        // A carriage return counts unless a line feed follows, which may be in the next piece.
        let mut kept = Vec::with_capacity(count + 1);
        for &byte in &buffer[..count] {
            if held && byte != b'\n' {
                kept.push(b'\r');
            }
            held = byte == b'\r';
            if !held {
                kept.push(byte);
            }
        }
        hasher.update(&kept);
    }
    if held {
        hasher.update(b"\r");
    }
    Ok(hex(&hasher.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// A text as Python's `json` writes it: everything beyond ASCII escaped.
fn ascii(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let mut done = String::with_capacity(quoted.len());
    for c in quoted.chars() {
        if c.is_ascii() {
            done.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                done.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    done
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tracked(md5: &str, is_plain: bool) -> Tracked {
        Tracked {
            path: "x".into(),
            md5: Some(md5.into()),
            is_plain,
            ..Tracked::default()
        }
    }

    /// Digests made with `md5sum`, and with Python's `hashlib` over `json.dumps(listing, sort_keys=True)`.
    #[test]
    fn files_and_directories_are_known_by_what_dvc_wrote() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("x");
        fs::write(&file, "abc").unwrap();
        assert_eq!(
            verify(&file, &tracked("900150983cd24fb0d6963f7d28e17f72", true)).unwrap(),
            Found::Same
        );
        fs::write(&file, "a\r\nb\rc\r").unwrap();
        let unix = hex(&Md5::digest(b"a\nb\rc\r"));
        assert_eq!(verify(&file, &tracked(&unix, false)).unwrap(), Found::Same);
        let exact = hex(&Md5::digest(b"a\r\nb\rc\r"));
        assert_eq!(
            verify(&file, &tracked(&unix, true)).unwrap(),
            Found::Other(exact)
        );
        assert_eq!(
            verify(&root.path().join("y"), &tracked(&unix, true)).unwrap(),
            Found::Absent
        );
        let unknown = Tracked {
            path: "x".into(),
            ..Tracked::default()
        };
        assert_eq!(verify(&file, &unknown).unwrap(), Found::NotRecorded);

        let directory = root.path().join("d");
        fs::create_dir_all(directory.join("sub")).unwrap();
        fs::write(directory.join("b.txt"), "abc").unwrap();
        fs::write(directory.join("sub/é.txt"), "").unwrap();
        let due = "aee322f619e2daad4543b67bb2b4cd00.dir";
        assert_eq!(
            verify(&directory, &tracked(due, true)).unwrap(),
            Found::Same
        );
        fs::write(directory.join("c.txt"), "").unwrap();
        assert!(matches!(
            verify(&directory, &tracked(due, true)).unwrap(),
            Found::Other(_)
        ));
    }
}
