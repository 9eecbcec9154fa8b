//! Whether a model file is what its format says, and whether loading it would run code.
//!
//! Two files of the same bytes are the same, however broken they are; so one is read by itself. Of pickles that are no
//! part of an archive only what they name is looked at, as far as they can be read: every library has classes of its own.
//! Invariant: nothing in the file is ever executed. What is beyond a limit here, or of a kind that is not known here, is
//! not judged: whether it loads is for the test that loads it. But an archive of torch is looked at whole or refused, any
//! other archive with the name of a pickle is refused, and of a pickle by itself that is too long its beginning counts: a
//! scan for code that something unreadable ends would find none.

use super::archive::{Budget, read_torch};
use super::bytes::Bytes;
use super::content::{Side, tensors_of};
use super::format::Format;
use super::limits::{DOCUMENT_BYTES, Unreadable};
use super::{json, pickle, torch};
use crate::error::Result;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use std::collections::BTreeSet;
use std::io::{BufReader, Read};
use std::path::Path;

/// Extensions of files that have to be what they are named, and the format that they must have.
const NAMED: [(&str, Format); 5] = [
    (".safetensors", Format::Safetensors),
    (".npy", Format::Npy),
    (".npz", Format::Npz),
    (".gguf", Format::Gguf),
    (".json", Format::Json),
];

/// What is wrong with a model file; `None` if nothing is, or it is not read here: for its format, its size, or a type of
/// element.
///
/// ```
/// use sealstone::compare::unsound;
/// let directory = tempfile::tempdir().unwrap();
/// let model = directory.path().join("model.pkl");
/// std::fs::write(&model, b"cos\nsystem\n(S'true'\ntR.").unwrap();
/// assert!(unsound(&model).unwrap().unwrap().contains("os.system (DANGEROUS"));
/// ```
///
/// # Errors
/// If it is no file or cannot be read.
pub fn unsound(path: &Path) -> Result<Option<String>> {
    let side = Side::open(path)?;
    match look(&side) {
        Ok(found) => Ok(found),
        Err(Unreadable::Malformed(problem)) => Ok(Some(problem)),
        Err(Unreadable::Unsupported(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn look(side: &Side) -> Result<Option<String>, Unreadable> {
    let format = Format::of(side)?;
    let name = side.name.to_ascii_lowercase();
    let due = NAMED.iter().find(|(end, _)| name.ends_with(end));
    if let Some((end, due)) = due
        && *due != format
        && !(*due == Format::Json && format == Format::Xgboost)
    {
        let text = format!(
            "it is named {end} and is none: it reads as {}",
            format.name()
        );
        return Ok(Some(text));
    }
    // Whatever else it reads as: a file can be several things at once.
    if format != Format::Torch
        && is_pickle(&name)
        && let Some(problem) = as_pickle(&side.bytes, format)?
    {
        return Ok(Some(problem));
    }
    let mut budget = Budget::default();
    match format {
        Format::Torch => in_archive(side, &mut budget),
        format if format.holds_tensors() => {
            tensors_of(side, format, &mut budget)?;
            Ok(None)
        }
        Format::Json | Format::Xgboost => {
            let problem = || "it ends before its own structure does".to_owned();
            Ok((!json::is_whole(&side.bytes)?).then(problem))
        }
        _ => Ok(None),
    }
}

fn is_pickle(name: &str) -> bool {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    [".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// What is wrong with a file that has the name of a pickle and is no archive of torch.
fn as_pickle(bytes: &Bytes, format: Format) -> Result<Option<String>, Unreadable> {
    let is_archive = matches!(format, Format::Zip | Format::Npz | Format::Tar);
    if is_archive || is_tar(&bytes.head(512)?) {
        let text = "it is named as a pickle is, and is an archive that is not looked into: what loads it \
            could find another pickle there";
        return Ok(Some(text.to_owned()));
    }
    Ok(dangers(&pickle::scan(&unfolded(bytes)?).refused))
}

/// Whether Python opens it as a tar, which torch tries before it reads a pickle. There the sum of the first header decides,
/// also without the magic by which formats are told apart here. What Python takes for no number may be one here: then more
/// is refused, and never less. But a field with a byte that is no ASCII, which it decodes before all else, is none: weights
/// are noise, and of those one in 4,000 would have some digits that fit.
fn is_tar(head: &[u8]) -> bool {
    let Some(header) = head.get(..512) else {
        return false;
    };
    let (before, field, behind) = (&header[..148], &header[148..156], &header[156..]);
    let sum = |value: fn(u8) -> i64| -> i64 {
        let bytes = before.iter().chain(behind);
        // The field itself counts as eight spaces.
        256 + bytes.map(|byte| value(*byte)).sum::<i64>()
    };
    let unsigned = sum(i64::from);
    let signed = sum(|byte| i64::from(i8::from_le_bytes([byte])));
    let stated: i64 = match field[0] {
        // This byte marks a number whose bytes follow, the great end first.
        mark @ (0x80 | 0xff) => {
            let follow = field[1..].iter();
            let number = follow.fold(0, |number, byte| (number << 8) | i64::from(*byte));
            match mark {
                0x80 => number,
                _ => number - (1 << 56),
            }
        }
        _ => {
            let text = field.iter().take_while(|byte| **byte != 0);
            if !text.clone().all(u8::is_ascii) {
                return false;
            }
            let digits = text.filter(|byte| (b'0'..=b'7').contains(*byte));
            digits.fold(0, |number, byte| number * 8 + i64::from(*byte - b'0'))
        }
    };
    stated == unsigned || stated.abs() == signed.abs()
}

/// As much of a pickle as is looked at, taken out of what joblib folded it into (gzip, zlib): of a longer one, its
/// beginning.
fn unfolded(bytes: &Bytes) -> Result<Vec<u8>, Unreadable> {
    let reader = BufReader::new(bytes.reader());
    let decoder: Box<dyn Read> = match bytes.head(2)?.as_slice() {
        [0x1f, 0x8b] => Box::new(MultiGzDecoder::new(reader)),
        [0x78, 0x01 | 0x5e | 0x9c | 0xda] => Box::new(ZlibDecoder::new(reader)),
        _ => return beginning(bytes),
    };
    let mut content = Vec::new();
    match decoder.take(DOCUMENT_BYTES).read_to_end(&mut content) {
        // Cut off, it names what it names all the same.
        Err(error) if error.raw_os_error().is_some() => Err(error.into()),
        _ => Ok(content),
    }
}

/// An archive of torch: every pickle in it; and its tensors, if it has no classes or code of its own.
fn in_archive(side: &Side, budget: &mut Budget) -> Result<Option<String>, Unreadable> {
    let members = match read_torch(side, budget) {
        // No archive of torch has such members, and what cannot be looked at could be anything.
        Err(Unreadable::Unsupported(problem)) => return Ok(Some(problem)),
        members => members?,
    };
    let mut plain = !members.keys().any(|name| name.contains("/code/"));
    for (name, member) in &members {
        if !name.to_ascii_lowercase().ends_with(".pkl") {
            continue;
        }
        let scan = pickle::scan(&beginning(&member.bytes)?);
        if let Some(found) = dangers(&scan.refused) {
            return Ok(Some(found));
        }
        let unseen = match scan.ended {
            Some(problem) => Some(problem.to_string()),
            None if member.bytes.len() > DOCUMENT_BYTES => Some(format!(
                "its pickle has {} bytes, of which {DOCUMENT_BYTES} are looked at",
                member.bytes.len()
            )),
            None => None,
        };
        if unseen.is_some() {
            return Ok(unseen);
        }
        plain &= scan.refused.is_empty();
    }
    if plain {
        torch::read(side, &mut Budget::default())?;
    }
    Ok(None)
}

/// As much of a pickle as is looked at: of a longer one, its beginning.
fn beginning(bytes: &Bytes) -> Result<Vec<u8>, Unreadable> {
    let most = usize::try_from(DOCUMENT_BYTES).unwrap_or(usize::MAX);
    Ok(bytes.head(most)?)
}

fn dangers(refused: &BTreeSet<(String, String)>) -> Option<String> {
    let named: Vec<String> = refused
        .iter()
        .filter(|(module, name)| pickle::is_dangerous(module, name))
        .take(10)
        .map(|(module, name)| {
            let shown = super::locator::shown;
            format!("{}.{}", shown(module), shown(name))
        })
        .collect();
    (!named.is_empty()).then(|| {
        format!(
            "its pickle names {} (DANGEROUS: loading it would run code)",
            named.join(", ")
        )
    })
}

#[cfg(test)]
mod tests;
