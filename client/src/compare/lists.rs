//! Lists of numbers in a list of a document: tables, for what is demanded of predictions.
//!
//! Each list has a gate of its own, or a large row would hide a small one. As predictions a row is nothing: with an
//! identifier, features and a label in it, it would be many labels that agree and one that turned. So equally long lists
//! are a table: each column of integers is a tensor of labels, the others together are rows of scores. Invariant: a list of
//! numbers that stands in a list is read in no other way.

use super::bytes::Bytes;
use super::json::Numeric;
use super::limits::Unreadable;
use super::predictions::{self, Part};
use super::tensors::Tensor;
use sealstone_spec::compare::{ArtifactRule, ElementType};
use serde_json::Value;
use std::collections::HashMap;
use std::ops::Range;

/// What predictions are read from in two documents, where it is not their lists.
#[derive(Debug, Default)]
pub(super) struct Tables {
    parts: Vec<Column>,
    /// Every list in a list, by its pointer, with the parts of the table that it is a row of.
    rows: HashMap<String, Range<usize>>,
}

/// A column of integers, or all others of a table.
#[derive(Debug)]
struct Column {
    base: Tensor,
    now: Tensor,
    /// Its place in each row, where it is one.
    place: Option<u64>,
}

/// The numbers of one list on both sides.
type Row = (Vec<Numeric>, Vec<Numeric>);

impl Tables {
    /// Takes in what is a list of numbers among the items of two equally long lists at `pointer`.
    pub(super) fn take(
        &mut self,
        pointer: &str,
        base: &[Value],
        now: &[Value],
        numeric: impl Fn(&Value) -> Option<Numeric>,
    ) -> Result<(), Unreadable> {
        let numbers = |value: &Value| -> Option<Vec<Numeric>> {
            let list = value.as_array().filter(|list| !list.is_empty())?;
            list.iter().map(&numeric).collect()
        };
        let row = |(one, two): (&Value, &Value)| -> Option<Row> {
            let (one, two) = (numbers(one)?, numbers(two)?);
            (one.len() == two.len()).then_some((one, two))
        };
        let rows: Vec<Option<Row>> = base.iter().zip(now).map(row).collect();
        let is_even = rows.windows(2).all(|pair| match pair {
            [Some((one, _)), Some((two, _))] => one.len() == two.len(),
            _ => false,
        });
        let from = self.parts.len();
        if is_even && rows.first().is_some_and(Option::is_some) {
            let rows: Vec<&Row> = rows.iter().flatten().collect();
            self.add(pointer, &rows)?;
        }
        let parts = from..self.parts.len();
        for (place, row) in rows.iter().enumerate() {
            if row.is_some() {
                self.rows
                    .insert(format!("{pointer}/{place}"), parts.clone());
            }
        }
        Ok(())
    }

    /// A table of at least one row, all of one length.
    fn add(&mut self, pointer: &str, rows: &[&Row]) -> Result<(), Unreadable> {
        let is_integer = |number: &Numeric| matches!(number, Numeric::Integer(_));
        let width = rows.first().map_or(0, |(base, _)| base.len());
        let (labels, scores): (Vec<usize>, Vec<usize>) = (0..width).partition(|column| {
            rows.iter()
                .all(|(base, now)| is_integer(&base[*column]) && is_integer(&now[*column]))
        });
        let base: Vec<&[Numeric]> = rows.iter().map(|(base, _)| base.as_slice()).collect();
        let now: Vec<&[Numeric]> = rows.iter().map(|(_, now)| now.as_slice()).collect();
        let height = rows.len() as u64;
        for column in labels {
            let side = |rows: &[&[Numeric]]| {
                let data = data(rows, &[column], |number| match number {
                    Numeric::Integer(integer) => integer.to_le_bytes(),
                    Numeric::Double(double) => double.to_le_bytes(),
                });
                Tensor::new(pointer, ElementType::I64, vec![height], data)
            };
            self.parts.push(Column {
                base: side(&base)?,
                now: side(&now)?,
                place: Some(column as u64),
            });
        }
        if !scores.is_empty() {
            let shape = vec![height, scores.len() as u64];
            let side = |rows: &[&[Numeric]]| {
                let data = data(rows, &scores, |number| number.double().to_le_bytes());
                Tensor::new(pointer, ElementType::F64, shape.clone(), data)
            };
            self.parts.push(Column {
                base: side(&base)?,
                now: side(&now)?,
                place: None,
            });
        }
        Ok(())
    }

    /// What predictions are read from here.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.parts.iter().map(|part| Part {
            base: &part.base,
            now: &part.now,
            column: part.place,
        })
    }

    /// Whether a list is a row, and so no predictions by itself.
    pub(super) fn has_row(&self, pointer: &str) -> bool {
        self.rows.contains_key(pointer)
    }

    /// Whether what `rule` demands of predictions is read from all of the table that a list is a row of, and so may stand
    /// for the gate of the list; `None` where it is a row of none.
    pub(super) fn stand_for(&self, pointer: &str, rule: &ArtifactRule) -> Option<bool> {
        let parts = &self.parts[self.rows.get(pointer)?.clone()];
        let all = parts
            .iter()
            .all(|part| predictions::stand_for(&part.base, rule));
        Some(all && !parts.is_empty())
    }
}

/// The bytes of some columns, row by row.
fn data(rows: &[&[Numeric]], columns: &[usize], bytes: impl Fn(Numeric) -> [u8; 8]) -> Bytes {
    let numbers = rows
        .iter()
        .flat_map(|row| columns.iter().map(move |column| row[*column]));
    Bytes::of_memory(numbers.flat_map(bytes).collect())
}
