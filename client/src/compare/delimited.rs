//! CSV and TSV with a header, as rows.
//!
//! Owns what the columns are called and which cells are numbers. Invariant: no two columns of a table have one name.

use super::bytes::{Bytes, Reader};
use super::json::Numeric;
use super::limits::{Unreadable, check_name, malformed};
use super::table::{BUFFER, CellValue, Cells, Limited, Row, Rows, check_width};
use std::collections::HashSet;
use std::sync::Arc;

/// CSV or TSV with a header.
pub(super) struct Delimited {
    reader: csv::Reader<Limited<Reader>>,
    header: Vec<Arc<str>>,
    names: Names,
}

impl Delimited {
    pub(super) fn open(file: &Bytes, delimiter: u8) -> Result<Delimited, Unreadable> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .flexible(true)
            .buffer_capacity(BUFFER)
            .from_reader(Limited::new(file.reader()));
        let header = reader.headers().map_err(not_a_table)?;
        check_width(header.len())?;
        let header: Vec<Arc<str>> = header.iter().map(Arc::from).collect();
        if header.is_empty() {
            return malformed("it has no header");
        }
        header.iter().try_for_each(|name| check_name(name))?;
        let names = Names::of(&header);
        Ok(Delimited {
            reader,
            header,
            names,
        })
    }

    pub(super) fn header(&self) -> &[Arc<str>] {
        &self.header
    }
}

fn not_a_table(error: csv::Error) -> Unreadable {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        csv::ErrorKind::Utf8 { .. } => Unreadable::Malformed("a cell is no UTF-8".to_owned()),
        other => Unreadable::Malformed(format!("it is no table: {other:?}")),
    }
}

impl Rows for Delimited {
    fn next(&mut self) -> Result<Option<Row>, Unreadable> {
        let mut record = csv::StringRecord::new();
        self.reader.get_mut().renew();
        if !self.reader.read_record(&mut record).map_err(not_a_table)? {
            return Ok(None);
        }
        check_width(record.len())?;
        let mut hashed = Vec::with_capacity(record.as_slice().len() + 8 * record.len());
        let mut cells = Cells::default();
        for (place, text) in record.iter().enumerate() {
            hashed.extend((text.len() as u64).to_le_bytes());
            hashed.extend(text.as_bytes());
            let value = match number(text) {
                Some(number) => CellValue::Number(number),
                None => CellValue::Text(text.to_owned()),
            };
            cells.push(self.names.at(place), value)?;
        }
        Ok(Some(cells.hashed_as(hashed)))
    }
}

/// What the columns are called, no two alike. Figures are kept by name: were two columns one, a difference in the one
/// of small numbers would vanish beside the size of the other. Without a header of their own (pandas writes none over its
/// index, a table without any repeats its first values) columns also have their number: `age#3`, `#1`.
struct Names {
    /// Those of the header, then those of cells beyond it as far as rows reached: each is made once.
    each: Vec<Arc<str>>,
    /// Everything that the header says.
    taken: HashSet<Arc<str>>,
}

impl Names {
    fn of(header: &[Arc<str>]) -> Names {
        let (mut taken, mut shared) = (HashSet::new(), HashSet::new());
        for name in header {
            if !taken.insert(name.clone()) {
                shared.insert(name.clone());
            }
        }
        let each = header.iter().enumerate().map(|(place, name)| {
            match name.is_empty() || shared.contains(name) {
                true => numbered(&taken, name, place),
                false => name.clone(),
            }
        });
        let each = each.collect();
        Names { each, taken }
    }

    fn at(&mut self, place: usize) -> Arc<str> {
        // Rows may be longer than the header.
        while self.each.len() <= place {
            let name = numbered(&self.taken, "", self.each.len());
            self.each.push(name);
        }
        self.each[place].clone()
    }
}

/// A name with the number of its column, that no header says and no other column has.
fn numbered(taken: &HashSet<Arc<str>>, name: &str, place: usize) -> Arc<str> {
    let mut numbered = format!("{name}#{}", place + 1);
    while taken.contains(numbered.as_str()) {
        numbered.push('#');
    }
    Arc::from(numbered)
}

/// A cell as a number: JSON's grammar, where digits before or behind the point may be missing, and the words that numpy and
/// pandas write. What JSON refuses for its start (007, +49) is a code, of which every character counts.
fn number(text: &str) -> Option<Numeric> {
    let text = text.trim();
    match text {
        "nan" | "NaN" | "NAN" => return Some(Numeric::Double(f64::NAN)),
        "inf" | "Infinity" => return Some(Numeric::Double(f64::INFINITY)),
        "-inf" | "-Infinity" => return Some(Numeric::Double(f64::NEG_INFINITY)),
        _ => {}
    }
    let is_start_of_number = match text.strip_prefix('-').unwrap_or(text).as_bytes() {
        [b'0', next, ..] => !next.is_ascii_digit(),
        [first, ..] => first.is_ascii_digit() || *first == b'.',
        [] => false,
    };
    if !is_start_of_number {
        return None;
    }
    if let Some(integer) = Numeric::of_digits(text) {
        return Some(integer);
    }
    let is_float = text.contains(['.', 'e', 'E']);
    let number = is_float.then(|| text.parse::<f64>().ok())??;
    number.is_finite().then_some(Numeric::Double(number))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn columns_without_a_name_of_their_own_have_a_number() {
        let names = |header: &[&str]| {
            let header: Vec<Arc<str>> = header.iter().map(|name| Arc::from(*name)).collect();
            let mut names = Names::of(&header);
            let beyond = names.at(header.len());
            assert!(Arc::ptr_eq(&beyond, &names.at(header.len())), "made once");
            (0..=header.len())
                .map(|place| names.at(place).to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&["", "0", "1"]), ["#1", "0", "1", "#4"]);
        assert_eq!(names(&["0.5", "0.5", "x"]), ["0.5#1", "0.5#2", "x", "#4"]);
        // Also where a header says what a number would make.
        assert_eq!(names(&["", "#1", "#4"]), ["#1#", "#1", "#4", "#4#"]);
    }

    #[test]
    fn what_looks_like_a_code_is_text() {
        for text in [
            "007", "-007", "00", "007.5", "+491234", "+1.5", "--1", "-+1", "1_000", "", "-", ".",
            "e5", "1e999", "infinity", "0x10",
        ] {
            assert!(number(text).is_none(), "{text}");
        }
        for (text, value) in [
            ("0", 0.0_f64),
            ("-0", -0.0),
            ("-0.0", -0.0),
            ("0.5", 0.5),
            ("0e3", 0.0),
            (".5", 0.5),
            ("-.5", -0.5),
            ("1.", 1.0),
            ("1E+3", 1000.0),
            (" -12 ", -12.0),
        ] {
            let number = number(text).unwrap().double();
            assert_eq!(number.to_bits(), value.to_bits(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_two_columns_have_one_name(header in prop::collection::vec("[a#12]{0,3}", 1..8)) {
            let header: Vec<Arc<str>> = header.into_iter().map(Arc::from).collect();
            let mut names = Names::of(&header);
            let all: HashSet<Arc<str>> = (0..header.len() + 4).map(|place| names.at(place)).collect();
            prop_assert_eq!(all.len(), header.len() + 4);
        }
    }
}
