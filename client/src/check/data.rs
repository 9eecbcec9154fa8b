//! Data tests: rows, gaps, columns and the schema of a table or document.
//!
//! Invariant: rows are looked at while they go by, and none is kept.

use super::TestResult;
use super::rows::each_row;
use super::schema::fits;
use crate::error::Result;
use sealstone_spec::digest::{Algorithm, Digest, Hasher};
use serde_json::Value;
use std::collections::BTreeMap;
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
    let mut rows = 0;
    let mut missing: Vec<u64> = vec![0; due.nulls.len()];
    let mut columns: Vec<Column<'_>> = due.columns.keys().map(|name| Column::of(name)).collect();
    let mut misfit = None;
    let read = each_row(path, name, &mut |row: &Value| {
        rows += 1;
        for (column, missing) in due.nulls.keys().zip(&mut missing) {
            *missing += u64::from(is_missing(row.get(column)));
        }
        for column in &mut columns {
            column.take(row);
        }
        if misfit.is_none()
            && let Some(schema) = due.schema
            && let Err(problem) = fits(row, schema, "")
        {
            misfit = Some(format!("row {rows} does not fit the schema: {problem}"));
        }
    })?;
    let failed = |problem: String| Ok(TestResult::new(false, problem));
    if let Err(problem) = read {
        return failed(problem);
    }
    if let Some(due) = due.rows
        && due != rows
    {
        return failed(format!("{rows} rows where {due} are due"));
    }
    for ((column, allowed), count) in due.nulls.iter().zip(missing) {
        if count > *allowed {
            return failed(format!(
                "column \"{column}\" lacks {count} values, {allowed} are allowed"
            ));
        }
    }
    for (column, due) in columns.into_iter().zip(due.columns.values()) {
        let (column, digest) = column.finish();
        if digest != *due {
            return failed(format!(
                "column \"{column}\" holds other values: expected {due}, found {digest}"
            ));
        }
    }
    match misfit {
        Some(problem) => failed(problem),
        None => Ok(TestResult::new(true, format!("{rows} rows"))),
    }
}

fn is_missing(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    }
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
    let mut columns: Vec<Column<'_>> = columns.iter().map(|name| Column::of(name)).collect();
    let read = each_row(path, name, &mut |row: &Value| {
        for column in &mut columns {
            column.take(row);
        }
    })?;
    let digests = columns.into_iter().map(|column| column.finish().1);
    Ok(read.map(|()| digests.collect()))
}

/// SHA-256 of a column: its values in the order of the rows, each as JSON with a newline, `null` where there is none.
struct Column<'a> {
    name: &'a str,
    values: Hasher,
}

impl Column<'_> {
    fn of(name: &str) -> Column<'_> {
        Column {
            name,
            values: Hasher::new(Algorithm::Sha256),
        }
    }

    fn take(&mut self, row: &Value) {
        let value = row.get(self.name).unwrap_or(&Value::Null);
        self.values.update(value.to_string().as_bytes());
        self.values.update(b"\n");
    }
}

impl<'a> Column<'a> {
    fn finish(self) -> (&'a str, Digest) {
        (self.name, self.values.finalize())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;
    use std::fs;

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
