//! Which content lies where in an archive: every header read once, nothing kept but places.

use super::MODEL_SIGNATURE;
use super::header::{self, BLOCK, Header};
use sealstone_spec::digest::Digest;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Most entries that are read: a release has some thousands.
const MAX_ENTRIES: usize = 100_000;
/// Longest extended header: a name and a size.
const MAX_EXTENDED: u64 = 4096;
/// Most bytes after the end of an archive; tar fills up to 10 KiB.
const MAX_FILLING: u64 = 1024 * 1024;

/// A part of the archive's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// Where everything lies.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) marker: Option<Part>,
    pub(super) index: Option<Part>,
    pub(super) model_signature: Option<Part>,
    pub(super) blobs: BTreeMap<Digest, Part>,
}

/// Reads every header of `file`; an error is a text.
pub(super) fn scan(file: &File) -> Result<Contents, String> {
    let reading = |error: std::io::Error| format!("reading it failed: {error}");
    let length = file.metadata().map_err(reading)?.len();
    let mut contents = Contents::default();
    let mut extended: Option<header::Extended> = None;
    let mut at = 0;
    for _ in 0..MAX_ENTRIES {
        let block = read_block(file, at, length)?;
        at += BLOCK as u64;
        let at_entry =
            |problem: String| format!("the entry at byte {}: {problem}", at - BLOCK as u64);
        let parsed = header::parse(&block).map_err(at_entry)?;
        let (name, size, is_file) = match parsed {
            Header::End if extended.is_some() => {
                return Err("it ends after an extended header".to_owned());
            }
            Header::End => {
                check_filling(file, at, length)?;
                return Ok(contents);
            }
            Header::Extended { size } => {
                if size > MAX_EXTENDED || extended.is_some() {
                    return Err(at_entry("its extended header is too long".to_owned()));
                }
                let mut content = vec![0; usize::try_from(size).map_err(|e| e.to_string())?];
                file.read_exact_at(&mut content, at).map_err(reading)?;
                extended = Some(header::parse_extended(&content).map_err(at_entry)?);
                at = after(at, size, length)?;
                continue;
            }
            Header::File { name, size } => (name, size, true),
            Header::Directory { name } => (name, 0, false),
        };
        let more = extended.take().unwrap_or_default();
        let name = more.path.unwrap_or(name);
        let size = more.size.unwrap_or(size);
        let part = Part { offset: at, size };
        at = after(at, size, length)?;
        let plain = name.strip_prefix("./").unwrap_or(&name);
        if is_file {
            place(&mut contents, plain, part)?;
        } else if size != 0 || !is_directory(plain) {
            return Err(unknown(plain));
        }
    }
    Err(format!("it has more than {MAX_ENTRIES} entries"))
}

/// Puts a file where its name says, once.
fn place(contents: &mut Contents, name: &str, part: Part) -> Result<(), String> {
    let before = match name {
        "oci-layout" => contents.marker.replace(part),
        "index.json" => contents.index.replace(part),
        MODEL_SIGNATURE => contents.model_signature.replace(part),
        _ => {
            let digest = digest_of(name).ok_or_else(|| unknown(name))?;
            contents.blobs.insert(digest, part)
        }
    };
    match before {
        Some(_) => Err(format!("\"{name}\" stands twice in it")),
        None => Ok(()),
    }
}

/// The digest in `blobs/ALGORITHM/HEX`, if it is written in the one way that it has.
fn digest_of(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.strip_prefix("blobs/")?.split_once('/')?;
    let digest = Digest::parse(&format!("{algorithm}:{hex}")).ok()?;
    (digest.hex() == hex).then_some(digest)
}

fn is_directory(name: &str) -> bool {
    let known = [
        "",
        ".",
        "blobs",
        "blobs/sha256",
        "blobs/sha512",
        "blobs/blake3",
    ];
    known.contains(&name.strip_suffix('/').unwrap_or(name))
}

fn unknown(name: &str) -> String {
    let name: String = name.chars().take(200).collect();
    format!(
        "\"{}\" has no place in a release archive",
        name.escape_debug()
    )
}

/// Where the next header begins.
fn after(at: u64, size: u64, length: u64) -> Result<u64, String> {
    size.checked_next_multiple_of(BLOCK as u64)
        .and_then(|filled| at.checked_add(filled))
        .filter(|end| *end <= length)
        .ok_or_else(|| "it is cut: an entry goes on after the end of the file".to_owned())
}

fn read_block(file: &File, at: u64, length: u64) -> Result<[u8; BLOCK], String> {
    if at + BLOCK as u64 > length {
        return Err("it is cut: its end is missing".to_owned());
    }
    let mut block = [0; BLOCK];
    file.read_exact_at(&mut block, at)
        .map_err(|error| format!("reading it failed: {error}"))?;
    Ok(block)
}

/// After the first block of zeros there may be zeros only: a second archive behind the first is
/// read by some programs and not by others.
fn check_filling(file: &File, at: u64, length: u64) -> Result<(), String> {
    let size = length - at;
    if size > MAX_FILLING {
        return Err(format!("{size} bytes follow its end"));
    }
    let mut filling = vec![0; usize::try_from(size).map_err(|error| error.to_string())?];
    file.read_exact_at(&mut filling, at)
        .map_err(|error| format!("reading it failed: {error}"))?;
    match filling.iter().all(|byte| *byte == 0) {
        true => Ok(()),
        false => Err("something follows its end".to_owned()),
    }
}
