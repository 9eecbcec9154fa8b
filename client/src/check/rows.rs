//! The rows of a table or a document, one at a time.
//!
//! Invariant: a file may be longer than memory: one row is in it, and of a JSON document, which is read as a whole, no
//! more than of a file of metrics.

use crate::compare::{LINE_BYTES, Limited};
use crate::error::{Error, Result};
use crate::lines::{Line, Lines};
use serde::Deserializer as _;
use serde::de::{SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Longest JSON document that is read.
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;

/// Extensions of files that have rows: those that [`each_row`] reads.
const FORMS: [&str; 5] = ["csv", "tsv", "jsonl", "ndjson", "json"];

/// What somebody does with each row.
type Take<'a> = &'a mut dyn FnMut(&Value);

/// Refuses what no test can be made of, as far as that shows without reading: a name whose files have no rows here, and
/// a document that lies there and is too long.
///
/// # Errors
/// The reason, as the test itself would say it.
pub(super) fn refuse_unreadable(path: &Path, name: &str) -> Result<()> {
    refuse_form(name)?;
    let is_document = extension_of(name) == "json";
    // What is not there yet, or cannot be looked at, is told by whoever reads it.
    match path.metadata() {
        Ok(found) if is_document && found.len() > MAX_DOCUMENT_BYTES => Err(too_long(name)),
        _ => Ok(()),
    }
}

/// The same of its name alone.
pub(super) fn refuse_form(name: &str) -> Result<()> {
    let extension = extension_of(name);
    match FORMS.contains(&extension.as_str()) {
        true => Ok(()),
        false => Err(Error::usage(format!("\"{name}\": {}", no_rows(&extension)))),
    }
}

fn extension_of(name: &str) -> String {
    let extension = name.rsplit('.').next().unwrap_or_default();
    extension.to_ascii_lowercase()
}

fn no_rows(extension: &str) -> String {
    format!("files named .{extension} have no rows that are read here: use csv, tsv, jsonl or json")
}

/// Nothing is wrong with the document: this client does not look.
fn too_long(name: &str) -> Error {
    Error::refused(format!(
        "\"{name}\" is longer than 64 MiB, more than is read of a JSON document"
    ))
    .hint("as JSON lines it may be of any length")
}

/// Hands on every row of a file, as an object: cells of CSV are texts. Or says why there are none; rows that came before
/// it showed say nothing then.
///
/// # Errors
/// If it cannot be read. [`Outcome::Refused`](crate::Outcome::Refused) if it is a document that is too long: nothing can be
/// said of it.
pub(super) fn each_row(
    path: &Path,
    name: &str,
    take: Take<'_>,
) -> Result<std::result::Result<(), String>> {
    let extension = extension_of(name);
    match extension.as_str() {
        "csv" => of_table(path, name, b',', take),
        "tsv" => of_table(path, name, b'\t', take),
        "jsonl" | "ndjson" => of_lines(path, name, take),
        "json" => {
            let bytes = document(path, name)?;
            Ok(of_document(&bytes, take).map_err(|error| format!("it is no JSON: {error}")))
        }
        _ => Ok(Err(no_rows(&extension))),
    }
}

fn of_table(
    path: &Path,
    name: &str,
    delimiter: u8,
    take: Take<'_>,
) -> Result<std::result::Result<(), String>> {
    let failed = |source| Error::io(format!("reading \"{name}\""), source);
    let file = File::open(path).map_err(failed)?;
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(Limited::new(file));
    let mut read = || -> std::result::Result<(), csv::Error> {
        let header = reader.headers()?.clone();
        let mut record = csv::StringRecord::new();
        loop {
            reader.get_mut().renew();
            if !reader.read_record(&mut record)? {
                return Ok(());
            }
            let cells = header.iter().zip(record.iter());
            let cells = cells.map(|(column, cell)| (column.to_owned(), cell.into()));
            take(&Value::Object(cells.collect()));
        }
    };
    let Err(error) = read() else {
        return Ok(Ok(()));
    };
    let problem = format!("it is no table: {error}");
    match error.into_kind() {
        // The disk, and nothing that a stage has written.
        csv::ErrorKind::Io(source) if source.raw_os_error().is_some() => Err(failed(source)),
        _ => Ok(Err(problem)),
    }
}

fn of_lines(path: &Path, name: &str, take: Take<'_>) -> Result<std::result::Result<(), String>> {
    let failed = |source| Error::io(format!("reading \"{name}\""), source);
    let mut lines = Lines::open(path, LINE_BYTES).map_err(failed)?;
    let mut number = 0_u64;
    while let Some(line) = lines.next_line().map_err(failed)? {
        number += 1;
        let Line::Whole(line) = line else {
            return Ok(Err(format!("line {number} is longer than 64 MiB")));
        };
        // Bytes that are no text are what a stage has written, and no failure of the machine.
        let Ok(line) = std::str::from_utf8(line) else {
            return Ok(Err(format!("line {number} is no UTF-8")));
        };
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(line) {
            Ok(row) => take(&row),
            Err(error) => return Ok(Err(format!("line {number} is no JSON: {error}"))),
        }
    }
    Ok(Ok(()))
}

/// The bytes of a JSON document.
///
/// # Errors
/// If it cannot be read, or is too long.
pub(super) fn document(path: &Path, name: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| Error::io(format!("reading \"{name}\""), source))?;
    match bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        true => Err(too_long(name)),
        false => Ok(bytes),
    }
}

/// The items of an array, which never are all in memory as values; anything else is one row.
fn of_document(bytes: &[u8], take: Take<'_>) -> serde_json::Result<()> {
    if bytes.trim_ascii_start().first() != Some(&b'[') {
        take(&serde_json::from_slice(bytes)?);
        return Ok(());
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    reader.deserialize_seq(Items(take))?;
    reader.end()
}

/// Hands on each item of an array.
struct Items<'a>(Take<'a>);

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<(), A::Error> {
        while let Some(row) = items.next_element::<Value>()? {
            (self.0)(&row);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::Outcome;

    fn rows(name: &str, content: &[u8], holes: u64) -> std::result::Result<Vec<String>, String> {
        let (read, rows) = tried(name, content, holes);
        read.unwrap().map(|()| rows)
    }

    /// What became of reading it, and the rows until then.
    fn tried(
        name: &str,
        content: &[u8],
        holes: u64,
    ) -> (Result<std::result::Result<(), String>>, Vec<String>) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(name);
        std::fs::write(&path, content).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(content.len() as u64 + holes).unwrap();
        let mut rows = Vec::new();
        let read = each_row(&path, name, &mut |row: &Value| rows.push(row.to_string()));
        (read, rows)
    }

    #[test]
    fn rows_come_in_order_whatever_holds_them() {
        let due = ["{\"a\":1}", "{\"a\":[2]}"];
        for (name, content) in [
            ("a.json", " [{\"a\": 1}, {\"a\": [2]}]\n"),
            ("a.jsonl", "{\"a\": 1}\r\n \n{\"a\": [2]}"),
        ] {
            assert_eq!(rows(name, content.as_bytes(), 0).unwrap(), due, "{name}");
        }
        assert_eq!(rows("a.json", b"{\"a\": 1}", 0).unwrap(), due[..1]);
        let cells = rows("a.tsv", b"a\tb\n1\tx\n2\ty\n", 0).unwrap();
        assert_eq!(
            cells,
            ["{\"a\":\"1\",\"b\":\"x\"}", "{\"a\":\"2\",\"b\":\"y\"}"]
        );
        assert!(rows("a.json", b"[]", 0).unwrap().is_empty());
        for cut in ["[{}", "[{}]]", "[{},]", ""] {
            assert!(rows("a.json", cut.as_bytes(), 0).is_err(), "{cut}");
        }
    }

    /// As sparse as a stage may write it, and more than any machine has memory.
    #[test]
    fn a_file_of_holes_has_no_rows_and_takes_no_memory() {
        for (name, content, told) in [
            ("a.csv", "v\n1\n", "a row is longer than 64 MiB"),
            ("a.csv", "", "a row is longer than 64 MiB"),
            ("a.jsonl", "{\"v\": 1}\n", "line 2 is longer than 64 MiB"),
        ] {
            let problem = rows(name, content.as_bytes(), 1 << 40).unwrap_err();
            assert!(problem.contains(told), "{name}: {problem}");
        }
        // Of a document that is not read nothing is said, and so no test has failed.
        let (read, rows) = tried("a.json", b"[{\"v\": 1}]", 1 << 40);
        let error = read.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Refused);
        assert!(error.message().contains("longer than 64 MiB"), "{error:?}");
        assert!(rows.is_empty());
    }

    #[test]
    fn what_no_test_can_be_made_of_is_told_without_reading_it() {
        let root = tempfile::tempdir().unwrap();
        let refused = |name: &str, length: u64| {
            let path = root.path().join(name);
            File::create(&path).unwrap().set_len(length).unwrap();
            let refused = refuse_unreadable(&path, name).err();
            refused.map(|error| error.outcome())
        };
        assert_eq!(refused("a.json", MAX_DOCUMENT_BYTES), None);
        let long = Some(Outcome::Refused);
        assert_eq!(refused("a.JSON", MAX_DOCUMENT_BYTES + 1), long);
        for form in FORMS.iter().filter(|form| **form != "json") {
            assert_eq!(refused(&format!("a.{form}"), 1 << 40), None, "{form}");
        }
        for form in FORMS {
            let read = tried(&format!("b.{form}"), b"", 0).0.unwrap();
            let problem = read.err().unwrap_or_default();
            assert!(!problem.contains("no rows"), "{form}: {problem}");
        }
        assert_eq!(refused("a.parquet", 1), Some(Outcome::Usage));
        let gone = root.path().join("gone.json");
        assert!(refuse_unreadable(&gone, "gone.json").is_ok());
    }
}
