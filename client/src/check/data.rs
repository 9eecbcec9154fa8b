//! Data tests: rows, gaps, columns and the schema of a table or document.

use super::TestResult;
use super::schema::fits;
use crate::error::{Error, Result};
use sealstone_spec::digest::Digest;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What is expected of it.
#[derive(Clone, Copy)]
pub(super) struct Due<'a> {
    pub(super) schema: Option<&'a Value>,
    pub(super) nulls: &'a BTreeMap<String, u64>,
    pub(super) rows: Option<u64>,
    pub(super) columns: &'a BTreeMap<String, Digest>,
}

/// Looks at a table or a document.
pub(super) fn data(path: &Path, name: &str, due: Due<'_>) -> Result<TestResult> {
    let Due {
        schema,
        nulls,
        rows,
        columns,
    } = due;
    let rows_found = match records(path, name)? {
        Ok(records) => records,
        Err(problem) => return Ok(TestResult::new(false, problem)),
    };
    if let Some(due) = rows
        && due != rows_found.len() as u64
    {
        return Ok(TestResult::new(
            false,
            format!("{} rows where {due} are due", rows_found.len()),
        ));
    }
    for (column, allowed) in nulls {
        let missing = |row: &&Value| {
            matches!(row.get(column), None | Some(Value::Null))
                || row.get(column) == Some(&Value::String(String::new()))
        };
        let count = rows_found.iter().filter(missing).count() as u64;
        if count > *allowed {
            return Ok(TestResult::new(
                false,
                format!("column \"{column}\" lacks {count} values, {allowed} are allowed"),
            ));
        }
    }
    for (column, due) in columns {
        let digest = digest_of(column, &rows_found);
        if digest != *due {
            return Ok(TestResult::new(
                false,
                format!("column \"{column}\" holds other values: expected {due}, found {digest}"),
            ));
        }
    }
    if let Some(schema) = schema {
        for (index, row) in rows_found.iter().enumerate() {
            if let Err(problem) = fits(row, schema, "") {
                return Ok(TestResult::new(
                    false,
                    format!("row {} does not fit the schema: {problem}", index + 1),
                ));
            }
        }
    }
    Ok(TestResult::new(true, format!("{} rows", rows_found.len())))
}

/// The digests of some columns of a file as they are now; or why it has no rows.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn column_digests(
    path: &Path,
    name: &str,
    columns: &[&str],
) -> Result<std::result::Result<Vec<Digest>, String>> {
    let rows = records(path, name)?;
    Ok(rows.map(|rows| {
        let digests = columns.iter().map(|column| digest_of(column, &rows));
        digests.collect()
    }))
}

/// SHA-256 of a column: its values in the order of the rows, each as JSON with a newline, `null` where there is none.
fn digest_of(column: &str, rows: &[Value]) -> Digest {
    let mut text = String::new();
    for row in rows {
        text.push_str(&row.get(column).unwrap_or(&Value::Null).to_string());
        text.push('\n');
    }
    Digest::sha256(text.as_bytes())
}

/// The rows of a file as objects: cells of CSV are texts.
fn records(path: &Path, name: &str) -> Result<std::result::Result<Vec<Value>, String>> {
    let extension = name
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let failed = |source| Error::io(format!("reading \"{name}\""), source);
    match extension.as_str() {
        "csv" | "tsv" => {
            let delimiter = if extension == "tsv" { b'\t' } else { b',' };
            let file = fs::File::open(path).map_err(failed)?;
            let mut reader = csv::ReaderBuilder::new()
                .delimiter(delimiter)
                .from_reader(file);
            let read = || -> std::result::Result<Vec<Value>, csv::Error> {
                let header = reader.headers()?.clone();
                let row = |record: csv::StringRecord| {
                    let cells = header.iter().zip(record.iter());
                    Value::Object(
                        cells
                            .map(|(column, cell)| (column.to_owned(), cell.into()))
                            .collect(),
                    )
                };
                reader.records().map(|record| record.map(row)).collect()
            };
            let mut read = read;
            Ok(read().map_err(|error| format!("it is no table: {error}")))
        }
        "jsonl" | "ndjson" => {
            // Bytes that are no text are what a stage has written, and no failure of the machine.
            let bytes = fs::read(path).map_err(failed)?;
            let mut rows = Vec::new();
            for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
                let Ok(line) = std::str::from_utf8(line) else {
                    return Ok(Err(format!("line {} is no UTF-8", index + 1)));
                };
                if line.trim().is_empty() {
                    continue;
                }
                match serde_json::from_str(line) {
                    Ok(row) => rows.push(row),
                    Err(error) => {
                        return Ok(Err(format!("line {} is no JSON: {error}", index + 1)));
                    }
                }
            }
            Ok(Ok(rows))
        }
        "json" => {
            let bytes = fs::read(path).map_err(failed)?;
            Ok(match serde_json::from_slice(&bytes) {
                Ok(Value::Array(rows)) => Ok(rows),
                Ok(one) => Ok(vec![one]),
                Err(error) => Err(format!("it is no JSON: {error}")),
            })
        }
        _ => Ok(Err(format!(
            "files named .{extension} have no rows that are read here: use csv, tsv, jsonl or json"
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn look(
        name: &str,
        content: &str,
        schema: Option<Value>,
        nulls: &[(&str, u64)],
        rows: Option<u64>,
    ) -> TestResult {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(name);
        fs::write(&path, content).unwrap();
        let nulls = nulls
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect();
        let due = Due {
            schema: schema.as_ref(),
            nulls: &nulls,
            rows,
            columns: &BTreeMap::new(),
        };
        data(&path, name, due).unwrap()
    }

    #[test]
    fn a_column_is_held_to_its_digest() {
        let root = tempfile::tempdir().unwrap();
        let look = |name: &str, content: &str, column: &str, due: Digest| {
            let path = root.path().join(name);
            fs::write(&path, content).unwrap();
            let columns = BTreeMap::from([(column.to_owned(), due)]);
            let due = Due {
                schema: None,
                nulls: &BTreeMap::new(),
                rows: None,
                columns: &columns,
            };
            data(&path, name, due).unwrap()
        };
        let ages = Digest::sha256(b"\"1\"\n\"\"\n\"3\"\n");
        assert!(look("a.csv", "age,name\n1,a\n,b\n3,\n", "age", ages).ok);
        // Another column may be another one; another order is.
        assert!(look("a.csv", "name,age\nx,1\ny,\nz,3\n", "age", ages).ok);
        let other = look("a.csv", "age,name\n3,a\n,b\n1,\n", "age", ages);
        assert!(
            !other.ok
                && other
                    .detail
                    .starts_with("column \"age\" holds other values")
        );
        let values = Digest::sha256(b"1.5\nnull\n");
        assert!(look("a.jsonl", "{\"v\": 1.5}\n{}\n", "v", values).ok);
    }

    #[test]
    fn tables_are_counted_and_their_gaps_too() {
        let table = "age,name\n1,a\n,b\n3,\n";
        assert!(look("a.csv", table, None, &[("age", 1), ("name", 1)], Some(3)).ok);
        assert!(
            look("a.csv", table, None, &[("age", 0)], None)
                .detail
                .contains("lacks 1 values")
        );
        assert!(
            look("a.csv", table, None, &[("gone", 0)], None)
                .detail
                .contains("lacks 3")
        );
        assert!(
            look("a.csv", table, None, &[], Some(4))
                .detail
                .contains("3 rows where 4")
        );
        assert!(!look("a.csv", "a,b\n1\n", None, &[], None).ok);
        assert!(!look("a.parquet", "", None, &[], None).ok);
    }

    #[test]
    fn what_is_no_text_fails_in_every_format() {
        let root = tempfile::tempdir().unwrap();
        let due = Due {
            schema: None,
            nulls: &BTreeMap::new(),
            rows: None,
            columns: &BTreeMap::new(),
        };
        for (name, content, told) in [
            (
                "a.jsonl",
                &b"{\"v\": 1}\r\n\n{\"v\": \"\xff\"}\n"[..],
                "line 3 is no UTF-8",
            ),
            ("a.json", &b"[\"\xff\"]"[..], "it is no JSON"),
            ("a.csv", &b"v\n\xff\n"[..], "it is no table"),
        ] {
            let path = root.path().join(name);
            fs::write(&path, content).unwrap();
            let result = data(&path, name, due).unwrap();
            assert!(!result.ok && result.detail.starts_with(told), "{result:?}");
        }
        assert!(
            look(
                "a.jsonl",
                "{\"v\": 1}\r\n\r\n{\"v\": 2}",
                None,
                &[],
                Some(2)
            )
            .ok
        );
    }

    #[test]
    fn rows_have_to_fit_the_schema() {
        let schema = json!({"type": "object", "required": ["age"], "additionalProperties": false,
            "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 120}, "name": {"enum": ["a", "b"]}}});
        let ok = |name: &str, content: &str| look(name, content, Some(schema.clone()), &[], None);
        assert!(ok("a.csv", "age,name\n1,a\n120,b\n").ok);
        assert!(ok("a.jsonl", "{\"age\": 5}\n\n{\"age\": 6, \"name\": \"a\"}\n").ok);
        for bad in [
            "age\n-1\n",
            "age\nx\n",
            "age,name\n1,c\n",
            "name\na\n",
            "age,more\n1,1\n",
            "age\n1.5\n",
        ] {
            assert!(!ok("a.csv", bad).ok, "{bad}");
        }
        let unknown = look("a.json", "{}", Some(json!({"pattern": "x"})), &[], None);
        assert!(!unknown.ok && unknown.detail.contains("not read here"));
    }
}
