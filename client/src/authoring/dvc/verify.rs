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
/// As much as DVC reads of a file at a time.
const PIECE_BYTES: u64 = 1 << 20;
/// As much of a file's start decides for DVC whether it is a text.
const LOOKED_AT_BYTES: usize = 512;

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
    // Before version 3 the line ends of what looked like a text were made those of Unix before hashing.
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
    let mut piece = Vec::new();
    let mut is_converted = None;
    loop {
        piece.clear();
        let whole = file.by_ref().take(PIECE_BYTES).read_to_end(&mut piece);
        if whole.map_err(what)? == 0 {
            break;
        }
        if *is_converted.get_or_insert_with(|| unix && looks_like_text(&piece)) {
            hasher.update(with_unix_ends(&piece));
        } else {
            hasher.update(&piece);
        }
    }
    Ok(hex(&hasher.finalize()))
}

/// What DVC takes for a text: no zero, and not more than three in ten that are neither ASCII nor blanks.
fn looks_like_text(start: &[u8]) -> bool {
    let start = &start[..start.len().min(LOOKED_AT_BYTES)];
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t' | 8 | 12);
    let others = start.iter().filter(|byte| !is_text(byte)).count();
    !start.contains(&0) && others * 10 <= start.len() * 3
}

/// Without the carriage return before each line feed; DVC does not see one in the piece before.
fn with_unix_ends(piece: &[u8]) -> Vec<u8> {
    let next = piece.iter().skip(1).map(Some).chain([None]);
    let pairs = piece.iter().zip(next);
    let kept = pairs.filter(|(byte, next)| (**byte, *next) != (b'\r', Some(&b'\n')));
    kept.map(|(byte, _)| *byte).collect()
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

    #[test]
    fn a_text_is_what_dvc_takes_for_one() {
        for (start, is_text) in [
            (b"a\tb\r\n".to_vec(), true),
            (b"a\0b".to_vec(), false),
            ("ééé".into(), false),
            ([vec![b'a'; 7], vec![0xff; 3]].concat(), true),
            ([vec![b'a'; 6], vec![0xff; 4]].concat(), false),
            ([vec![b'a'; 512], vec![0; 512]].concat(), true),
        ] {
            assert_eq!(looks_like_text(&start), is_text, "{start:?}");
        }
        assert_eq!(with_unix_ends(b"\r\na\r\r\nb\r"), b"\na\r\nb\r");
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

        // A binary keeps its bytes beside a text that does not, as DVC 2 hashed both.
        let mixed = root.path().join("mixed");
        fs::create_dir(&mixed).unwrap();
        let binary = b"\0\r\n\xff";
        fs::write(mixed.join("a.bin"), binary).unwrap();
        fs::write(mixed.join("b.txt"), "a\r\nb\r\n").unwrap();
        let entries = [("a.bin", &binary[..]), ("b.txt", &b"a\nb\n"[..])].map(|(name, bytes)| {
            let digest = hex(&Md5::digest(bytes));
            format!("{{\"md5\": \"{digest}\", \"relpath\": \"{name}\"}}")
        });
        let listing = format!("[{}]", entries.join(", "));
        let due = format!("{}.dir", hex(&Md5::digest(listing.as_bytes())));
        assert_eq!(verify(&mixed, &tracked(&due, false)).unwrap(), Found::Same);
        assert!(matches!(
            verify(&mixed, &tracked(&due, true)).unwrap(),
            Found::Other(_)
        ));

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
