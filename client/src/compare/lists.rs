//! Lists of numbers in a list of a document: tables, for what is demanded of predictions.
//!
//! Each list has a gate of its own, or a large row would hide a small one. As predictions a row is nothing: with an
//! identifier, features and a label in it, it would be many labels that agree and one that turned. So equally long lists
//! are a table: each column of integers is labels, the others together are rows of scores. One list of integers alone has
//! no columns to speak of: it is the list of labels that it would be outside of the other. Invariants: any other list of
//! numbers that stands in a list is read in no other way; what is kept beside the numbers grows with the lists that have
//! rows, and not with rows or columns.

use super::bytes::Bytes;
use super::json::Numeric;
use super::limits::{TENSORS, Unreadable, check_name, unsupported};
use super::predictions::{self, Part};
use super::tensors::Tensor;
use sealstone_spec::compare::{ArtifactRule, ElementType};
use serde_json::Value;
use std::collections::BTreeMap;

/// What predictions are read from in two documents, where it is not their lists: every list that has rows, by its pointer.
#[derive(Debug, Default)]
pub(super) struct Tables(BTreeMap<String, Table>);

/// What is read from the rows of one list; nothing where they are not equally long. The tensors are those of both sides,
/// without a name.
#[derive(Debug, Default)]
struct Table {
    /// The places of the columns of integers in each row.
    columns: Vec<u64>,
    /// These columns, one behind the other.
    labels: Option<(Tensor, Tensor)>,
    /// All others, row by row.
    scores: Option<(Tensor, Tensor)>,
}

/// The numbers of one list on both sides.
type Row<'v> = (&'v [Value], &'v [Value]);

impl Tables {
    /// Takes in what is a list of numbers among the items of two equally long lists at `pointer`.
    ///
    /// # Errors
    /// If there are more rows, or the pointer is longer, than what is kept of a document may be.
    pub(super) fn take(
        &mut self,
        pointer: &str,
        base: &[Value],
        now: &[Value],
        numeric: impl Fn(&Value) -> Option<Numeric>,
    ) -> Result<(), Unreadable> {
        let mut rows: Vec<Row<'_>> = Vec::new();
        for (one, two) in base.iter().zip(now) {
            let (Some(one), Some(two)) = (numbers(one, &numeric), numbers(two, &numeric)) else {
                continue;
            };
            if one.len() != two.len() {
                continue;
            }
            if rows.len() == TENSORS {
                return unsupported(format!("it has more than {TENSORS} lists in one list"));
            }
            rows.push((one, two));
        }
        let Some((first, _)) = rows.first() else {
            return Ok(());
        };
        let width = first.len();
        let is_table = rows.len() == base.len() && rows.iter().all(|(row, _)| row.len() == width);
        if let ([(one, two)], true) = (rows.as_slice(), is_table)
            && one
                .iter()
                .chain(*two)
                .all(|cell| is_integer(cell, &numeric))
        {
            return Ok(());
        }
        check_name(pointer)?;
        let table = match is_table {
            true => Table::of(&rows, width, &numeric)?,
            false => Table::default(),
        };
        self.0.insert(pointer.to_owned(), table);
        Ok(())
    }

    /// What predictions are read from here.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.0.iter().flat_map(|(pointer, table)| {
            let labels = table.labels.iter().map(move |(base, now)| Part {
                name: pointer,
                base,
                now,
                columns: Some(table.columns.as_slice()),
            });
            let scores = table.scores.iter().map(move |(base, now)| Part {
                name: pointer,
                base,
                now,
                columns: None,
            });
            labels.chain(scores)
        })
    }

    /// Whether a tensor of a document is a row, and so no predictions by itself.
    pub(super) fn has_row(&self, tensor: &Tensor) -> bool {
        self.of_row(tensor).is_some()
    }

    /// Whether what `rule` demands of predictions is read from all of the table that a tensor is a row of, and so may stand
    /// for the gate of the row; `None` where it is a row of none.
    pub(super) fn stand_for(&self, tensor: &Tensor, rule: &ArtifactRule) -> Option<bool> {
        let table = self.of_row(tensor)?;
        let labels = table.labels.is_some();
        let scores = table.scores.as_ref();
        let by_labels = !labels || predictions::stand_for_column(ElementType::I64, rule);
        let by_scores = scores.is_none_or(|(base, _)| predictions::stand_for(base, rule));
        Some(by_labels && by_scores && (labels || scores.is_some()))
    }

    /// The list that a tensor is a row of. Of what stands in a list, only lists of numbers have a dimension.
    fn of_row(&self, tensor: &Tensor) -> Option<&Table> {
        let (pointer, _) = tensor.name.rsplit_once('/')?;
        let table = self.0.get(pointer)?;
        (tensor.shape.len() == 1).then_some(table)
    }
}

impl Table {
    /// The table of at least one row; all have as many numbers as it is wide.
    fn of(
        rows: &[Row<'_>],
        width: usize,
        numeric: &impl Fn(&Value) -> Option<Numeric>,
    ) -> Result<Table, Unreadable> {
        let (labels, scores): (Vec<usize>, Vec<usize>) = (0..width).partition(|column| {
            rows.iter().all(|(base, now)| {
                is_integer(&base[*column], numeric) && is_integer(&now[*column], numeric)
            })
        });
        let height = rows.len() as u64;
        // A cell that were left out would leave the tensor without its shape: then the document is refused.
        let labels_of = |side: &[&[Value]]| {
            let mut bytes = Vec::with_capacity(8 * labels.len() * side.len());
            for column in &labels {
                for row in side {
                    if let Some(Numeric::Integer(integer)) = numeric(&row[*column]) {
                        bytes.extend(integer.to_le_bytes());
                    }
                }
            }
            let shape = vec![labels.len() as u64, height];
            Tensor::new("", ElementType::I64, shape, Bytes::of_memory(bytes))
        };
        let scores_of = |side: &[&[Value]]| {
            let mut bytes = Vec::with_capacity(8 * scores.len() * side.len());
            for row in side {
                for column in &scores {
                    if let Some(number) = numeric(&row[*column]) {
                        bytes.extend(number.double().to_le_bytes());
                    }
                }
            }
            let shape = vec![height, scores.len() as u64];
            Tensor::new("", ElementType::F64, shape, Bytes::of_memory(bytes))
        };
        let base: Vec<&[Value]> = rows.iter().map(|(base, _)| *base).collect();
        let now: Vec<&[Value]> = rows.iter().map(|(_, now)| *now).collect();
        Ok(Table {
            columns: labels.iter().map(|column| *column as u64).collect(),
            labels: match labels.is_empty() {
                true => None,
                false => Some((labels_of(&base)?, labels_of(&now)?)),
            },
            scores: match scores.is_empty() {
                true => None,
                false => Some((scores_of(&base)?, scores_of(&now)?)),
            },
        })
    }
}

/// The items of a list that has numbers alone, and at least one.
fn numbers<'v>(
    value: &'v Value,
    numeric: &impl Fn(&Value) -> Option<Numeric>,
) -> Option<&'v [Value]> {
    let list = value.as_array().filter(|list| !list.is_empty())?;
    let is_all = list.iter().all(|item| numeric(item).is_some());
    is_all.then_some(list.as_slice())
}

fn is_integer(value: &Value, numeric: &impl Fn(&Value) -> Option<Numeric>) -> bool {
    matches!(numeric(value), Some(Numeric::Integer(_)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::compare::limits::NAME_BYTES;
    use serde_json::json;

    fn taken(pointer: &str, list: &Value) -> Result<Tables, Unreadable> {
        let mut tables = Tables::default();
        let items = list.as_array().unwrap();
        tables.take(pointer, items, items, |value| Numeric::of(value, false))?;
        Ok(tables)
    }

    fn row(pointer: &str, shape: Vec<u64>) -> Tensor {
        let count: u64 = shape.iter().product();
        let data = Bytes::of_memory(vec![0; 8 * count as usize]);
        Tensor::new(pointer, ElementType::I64, shape, data).unwrap()
    }

    #[test]
    fn what_is_kept_does_not_grow_with_rows_or_columns() {
        // One pointer for all of its rows, and one tensor for all of its columns on each side.
        let wide = json!(vec![vec![1; 20_000]; 3]);
        let high = json!(vec![vec![1, 2]; 20_000]);
        for list in [wide, high] {
            let tables = taken("/ids", &list).unwrap();
            assert_eq!((tables.0.len(), tables.parts().count()), (1, 1));
        }
        let mixed = taken("/rows", &json!([[1, 0.5, 0.5], [2, 0.5, 0.5]])).unwrap();
        assert_eq!(mixed.parts().count(), 2);
        // No pointer is kept that is longer than any name may be, and none of a list without rows.
        let long = "k".repeat(NAME_BYTES + 1);
        assert!(taken(&long, &json!([[1], [2]])).is_err());
        assert!(taken(&long, &json!([[1], "a"])).is_err());
        for none in [json!(["a", "b"]), json!([1, "a"]), json!([["a"], []])] {
            assert!(taken(&long, &none).unwrap().0.is_empty(), "{none}");
        }
        let many = json!(vec![[1]; TENSORS + 1]);
        assert!(matches!(
            taken("/ids", &many),
            Err(Unreadable::Unsupported(_))
        ));
    }

    #[test]
    fn a_row_is_a_list_of_numbers_in_a_list() {
        let agree: ArtifactRule = toml::from_str("label_agreement = 0.5").unwrap();
        let rank: ArtifactRule = toml::from_str("topk_overlap = 0.5").unwrap();
        let tables = taken("/rows", &json!([[1, 2], [3, 4]])).unwrap();
        let uneven = taken("/rows", &json!([[1, 2], [3], 7])).unwrap();
        let first = row("/rows/0", vec![2]);
        assert!(tables.has_row(&first) && uneven.has_row(&first));
        assert_eq!(tables.stand_for(&first, &agree), Some(true));
        assert_eq!(tables.stand_for(&first, &rank), Some(false));
        assert_eq!(uneven.stand_for(&first, &agree), Some(false));
        // A number by itself, and what stands elsewhere.
        for other in [row("/rows/2", vec![]), row("/other/0", vec![2])] {
            assert!(!uneven.has_row(&other));
            assert_eq!(uneven.stand_for(&other, &agree), None);
        }
        // One row of integers is a list of labels; of anything else, a table.
        let alone = row("/rows/0", vec![3]);
        assert!(!taken("/rows", &json!([[1, 2, 3]])).unwrap().has_row(&alone));
        for table in [json!([[1, 2, 0.5]]), json!([[1, 2, 3], "a"])] {
            assert!(taken("/rows", &table).unwrap().has_row(&alone), "{table}");
        }
    }
}
