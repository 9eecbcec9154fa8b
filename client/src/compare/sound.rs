//! Whether a model file is what its format says, and whether loading it would run code.
//!
//! Two files of the same bytes are the same, however broken they are; so one is read by itself. Of pickles that are no
//! part of an archive only what they name is looked at, as far as they can be read: every library has classes of its own.
//! Invariant: nothing in the file is ever executed. What is beyond a limit here, or of a kind that is not known here, is
//! not judged: whether it loads is for the test that loads it. But an archive of torch is looked at whole or refused, and
//! of a pickle that is too long its beginning counts: a scan for code that something unreadable ends would find none.

use super::archive::{Budget, read_zip};
use super::bytes::Bytes;
use super::content::{Side, tensors_of};
use super::format::Format;
use super::limits::{DOCUMENT_BYTES, Unreadable};
use super::{json, pickle, torch};
use crate::error::Result;
use std::collections::BTreeSet;
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
        _ if is_pickle(&name) => Ok(dangers(&pickle::refused(&beginning(&side.bytes)?))),
        _ => Ok(None),
    }
}

fn is_pickle(name: &str) -> bool {
    [".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// An archive of torch: every pickle in it; and its tensors, if it has no classes or code of its own.
fn in_archive(side: &Side, budget: &mut Budget) -> Result<Option<String>, Unreadable> {
    let members = match read_zip(side, budget) {
        // No archive of torch has such members, and what cannot be looked at could be anything.
        Err(Unreadable::Unsupported(problem)) => return Ok(Some(problem)),
        members => members?,
    };
    let mut plain = !members.keys().any(|name| name.contains("/code/"));
    for (name, member) in &members {
        if !name.ends_with(".pkl") {
            continue;
        }
        plain &= member.bytes.len() <= DOCUMENT_BYTES;
        let refused = pickle::refused(&beginning(&member.bytes)?);
        if let Some(found) = dangers(&refused) {
            return Ok(Some(found));
        }
        plain &= refused.is_empty();
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
        .filter(|(module, _)| pickle::is_dangerous(module))
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn look_at(name: &str, content: &[u8]) -> Option<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        unsound(&path).unwrap()
    }

    fn safetensors(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    #[test]
    fn a_container_has_to_be_whole() {
        let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        assert_eq!(look_at("m.safetensors", &safetensors(header, 8)), None);
        assert!(look_at("m.safetensors", &safetensors(header, 7)).is_some());
        let none = look_at("m.safetensors", b"not at all").unwrap();
        assert!(none.contains("named .safetensors"), "{none}");
        assert_eq!(look_at("m.json", b"{\"w\": 1.5}"), None);
        assert!(look_at("m.json", b"{\"w\": 1.5").is_some());
        assert_eq!(look_at("m.txt", b"anything"), None);
    }

    fn gguf(kind: u32) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(1_u64.to_le_bytes()); // tensors
        bytes.extend(0_u64.to_le_bytes()); // keys
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(b"w");
        bytes.extend(1_u32.to_le_bytes()); // dimensions
        bytes.extend(4_u64.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes()); // where it lies
        bytes.resize(bytes.len().next_multiple_of(32) + 16, 0);
        bytes
    }

    #[test]
    fn what_is_not_read_here_is_not_called_unsound() {
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        for content in [
            "{\"loss\": NaN, \"best\": -Infinity}",
            "\u{feff}{\"w\": 1}",
            deep.as_str(),
            "{\"text\": \"a \\\" and a [\"}",
        ] {
            assert_eq!(look_at("trainer_state.json", content.as_bytes()), None);
        }
        for content in ["", " \n", "{\"w\": [1, 2}", "{\"w\": \"}", "[\"\\\"]"] {
            let found = look_at("m.json", content.as_bytes());
            assert!(found.is_some(), "{content}");
        }
        // A type that came after this was written; and one that is cut off.
        assert_eq!(look_at("m.gguf", &gguf(0)), None);
        assert_eq!(look_at("m.gguf", &gguf(4_000)), None);
        assert!(look_at("m.gguf", &gguf(4_000)[..50]).is_some());
        let header = r#"{"a":{"dtype":"F3","shape":[2],"data_offsets":[0,8]}}"#;
        assert_eq!(look_at("m.safetensors", &safetensors(header, 8)), None);
        let large = super::super::tensors::gather(
            &super::super::bytes::Bytes::of_memory(Vec::new()),
            4,
            &[1 << 16, 1 << 16],
            &[1, 1 << 16],
            0,
            "w",
        );
        assert!(matches!(large, Err(Unreadable::Unsupported(_))));
    }

    #[test]
    fn a_vocabulary_of_characters_is_sound() {
        use std::io::Write as _;
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let stored = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        zip.start_file("m/data.pkl", stored).unwrap();
        // {"stoi": {"!": 0, "#": 1}, "#": "a text"}
        let pickle =
            b"\x80\x02}X\x04\x00\x00\x00stoi}X\x01\x00\x00\x00!K\x00sX\x01\x00\x00\x00#K\x01ss\
            X\x01\x00\x00\x00#X\x06\x00\x00\x00a texts.";
        zip.write_all(pickle).unwrap();
        let file = zip.finish().unwrap().into_inner();
        assert_eq!(look_at("m.pt", &file), None);
    }

    #[test]
    fn no_member_that_cannot_be_read_hides_a_pickle() {
        use std::io::Write as _;
        let archive = |harmless: bool| {
            let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
            let stored = zip::write::SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Stored);
            let pickle: &[u8] = match harmless {
                true => b"\x80\x02}.",
                false => b"cposix\nsystem\n(S'x'\ntR.",
            };
            for (name, content) in [("m/data.pkl", pickle), ("m/other", b"0123456789")] {
                zip.start_file(name, stored).unwrap();
                zip.write_all(content).unwrap();
            }
            zip.finish().unwrap().into_inner()
        };
        let found = look_at("m.pt", &archive(false)).unwrap();
        assert!(found.contains("posix.system"), "{found}");
        assert_eq!(look_at("m.pt", &archive(true)), None);
        // The second member by a method of compression that nobody knows, in both of its headers.
        for harmless in [false, true] {
            let mut bytes = archive(harmless);
            for (signature, method) in [(b"PK\x03\x04", 8), (b"PK\x01\x02", 10)] {
                let mut places = bytes.windows(4).enumerate();
                let last = places.rfind(|(_, four)| four == signature).unwrap().0;
                bytes[last + method] = 199;
            }
            let found = look_at("m.pt", &bytes).unwrap();
            assert!(found.contains("method not supported: 199"), "{found}");
        }
    }

    #[test]
    fn a_pickle_that_would_run_code_is_named_and_others_are_not() {
        let plain = b"csklearn.svm\nSVC\n)R.";
        assert_eq!(look_at("m.pkl", plain), None);
        // Of several pickles in one file the last counts as much as the first.
        let second = [&plain[..], b"cposix\nsystem\n(S'x'\ntR."].concat();
        for (name, content) in [
            (
                "m.pkl",
                &b"\x80\x04\x8c\x0asubprocess\x8c\x05Popen\x93)R."[..],
            ),
            ("m.pickle", &second),
            ("m.pt", b"cbuiltins\neval\n(S'1'\ntR."),
        ] {
            let found = look_at(name, content).unwrap();
            assert!(found.contains("DANGEROUS"), "{found}");
        }
        // Cut off, it names what it names all the same.
        assert!(look_at("m.pkl", b"cos\nsystem\n(S'true").is_some());
    }
}
