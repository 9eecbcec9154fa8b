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

/// What somebody does with each row.
type Take<'a> = &'a mut dyn FnMut(&Value);

/// Hands on every row of a file, as an object: cells of CSV are texts. Or says why there are none; rows that came before
/// it showed say nothing then.
///
/// # Errors
/// If it cannot be read.
pub(super) fn each_row(
    path: &Path,
    name: &str,
    take: Take<'_>,
) -> Result<std::result::Result<(), String>> {
    let extension = name
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    match extension.as_str() {
        "csv" => of_table(path, name, b',', take),
        "tsv" => of_table(path, name, b'\t', take),
        "jsonl" | "ndjson" => of_lines(path, name, take),
        "json" => Ok(match document(path, name)? {
            Ok(bytes) => {
                of_document(&bytes, take).map_err(|error| format!("it is no JSON: {error}"))
            }
            Err(problem) => Err(problem),
        }),
        _ => Ok(Err(format!(
            "files named .{extension} have no rows that are read here: use csv, tsv, jsonl or json"
        ))),
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

/// The bytes of a JSON document; or that it is too long.
///
/// # Errors
/// If it cannot be read.
pub(super) fn document(path: &Path, name: &str) -> Result<std::result::Result<Vec<u8>, String>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| Error::io(format!("reading \"{name}\""), source))?;
    Ok(match bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        true => Err(
            "it is longer than 64 MiB, more than is read of JSON: JSON lines may be of any length"
                .to_owned(),
        ),
        false => Ok(bytes),
    })
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

    fn rows(name: &str, content: &[u8], holes: u64) -> std::result::Result<Vec<String>, String> {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(name);
        std::fs::write(&path, content).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(content.len() as u64 + holes).unwrap();
        let mut rows = Vec::new();
        let read = each_row(&path, name, &mut |row: &Value| rows.push(row.to_string()));
        read.unwrap().map(|()| rows)
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
            ("a.json", "[{\"v\": 1}]", "longer than 64 MiB"),
        ] {
            let problem = rows(name, content.as_bytes(), 1 << 40).unwrap_err();
            assert!(problem.contains(told), "{name}: {problem}");
        }
    }
}
