//! JSON documents, and models that are such documents (XGBoost): numbers gated, everything else exact.
//!
//! Both documents are walked together. Arrays of numbers become tensors under their JSON pointer, single
//! numbers tensors of one element, everything else metadata under its pointer; so the gates and figures are those
//! of every other format. Order of keys, space and the digits of equal numbers mean nothing. Predictions in lists of lists
//! are `lists`'s.

use super::bytes::{Bytes, PIECE_BYTES};
use super::digits;
use super::limits::{NAMES_BYTES, TENSORS, Unreadable, check_name, unsupported};
use super::lists::Tables;
use super::locator::{Locator, Place};
use super::sets::{self, Found};
use super::tensors::{Tensor, TensorFile};
use sealstone_spec::canonical::parse_value;
use sealstone_spec::compare::{ArtifactRule, Decimal, ElementType};
use serde_json::Value;
use std::io::Read as _;

/// Bytes of a document; its values take some ten times as much memory.
const MAX_BYTES: u64 = 128 * 1024 * 1024;

pub(super) fn parse(file: &Bytes) -> Result<Value, Unreadable> {
    let content = file.read_all(MAX_BYTES)?;
    parse_value(&digits::kept(&content), 2 * MAX_BYTES as usize)
        .map_err(|error| Unreadable::Malformed(error.to_string()))
}

/// Whether everything that a document opens is closed again. Its words are not looked at: what other readers take (NaN,
/// a mark of byte order) is no JSON, and yet loads; a file that is cut off does not.
pub(super) fn is_whole(file: &Bytes) -> Result<bool, Unreadable> {
    let mut reader = file.reader();
    let mut piece = vec![0; PIECE_BYTES];
    let mut depth = 0_u64;
    let (mut is_empty, mut in_text, mut is_escaped) = (true, false, false);
    loop {
        let count = reader.read(&mut piece)?;
        if count == 0 {
            return Ok(!is_empty && !in_text && depth == 0);
        }
        for byte in &piece[..count] {
            is_empty &= byte.is_ascii_whitespace();
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if in_text => is_escaped = true,
                b'"' => in_text = !in_text,
                _ if in_text => {}
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
    }
}

/// Keys of which trees write names, types and ranges of features: text, also where a feature is called 1e3.
const WORDS: [&str; 3] = ["feature_names", "feature_types", "feature_infos"];

/// Whether a document is a model that XGBoost saved. It writes some numbers as text.
pub(super) fn is_xgboost(document: &Value) -> bool {
    document
        .get("learner")
        .is_some_and(|learner| learner.get("gradient_booster").is_some())
        && document.get("version").is_some_and(Value::is_array)
}

pub(super) fn compare(
    base: &Value,
    now: &Value,
    rule: &ArtifactRule,
    numbers_in_text: bool,
) -> Result<Found, Unreadable> {
    let mut walk = Walk {
        base: TensorFile::default(),
        now: TensorFile::default(),
        tables: rule.predictions().is_stated().then(Tables::default),
        numbers_in_text,
        kept: 0,
        names: 0,
    };
    walk.pair(base, now, &mut String::new())?;
    let (base, now) = (walk.base.check()?, walk.now.check()?);
    let tables = walk.tables.unwrap_or_default();
    let mut found = sets::compare_with(&base, &now, &tables, rule)?;
    if let Some(first) = &mut found.first {
        first.locator = pointer(&first.locator);
    }
    Ok(found)
}

/// A place in the tensors made here as a place in the document.
fn pointer(locator: &Locator) -> Locator {
    let place = match &locator.place {
        Place::Tensor { name, index } => {
            let index: String = index.iter().map(|place| format!("/{place}")).collect();
            Place::Pointer(format!("{name}{index}"))
        }
        Place::Metadata(pointer) => Place::Pointer(pointer.clone()),
        other => other.clone(),
    };
    Locator {
        members: locator.members.clone(),
        place,
    }
}

struct Walk {
    base: TensorFile,
    now: TensorFile,
    /// Lists in lists, where a rule demands anything of predictions.
    tables: Option<Tables>,
    numbers_in_text: bool,
    /// Values that are kept, each under its pointer on both sides.
    kept: usize,
    /// Bytes of these pointers.
    names: usize,
}

/// A number, and whether it is an integer that 64 bits hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Numeric {
    Integer(i64),
    Double(f64),
}

impl Numeric {
    pub(super) fn of(value: &Value, also_text: bool) -> Option<Numeric> {
        match value {
            Value::Number(number) => match number.as_i64() {
                Some(integer) => Some(Numeric::Integer(integer)),
                // Integers over 2^63 stay text: a double would lose their digits. (Over 2^64 they come as such, see `digits`.)
                None if number.is_u64() => None,
                None => number.as_f64().map(Numeric::Double),
            },
            Value::String(text) if also_text => {
                let number: Decimal = text.parse().ok()?;
                let digits = text.strip_prefix('-').unwrap_or(text);
                match Numeric::of_digits(text) {
                    Some(integer) => Some(integer),
                    None if digits.bytes().all(|byte| byte.is_ascii_digit()) => None,
                    None => Some(Numeric::Double(number.value())),
                }
            }
            // How documents write what JSON has no number for.
            Value::String(text) => match text.as_str() {
                "NaN" => Some(Numeric::Double(f64::NAN)),
                "Infinity" => Some(Numeric::Double(f64::INFINITY)),
                "-Infinity" => Some(Numeric::Double(f64::NEG_INFINITY)),
                _ => None,
            },
            _ => None,
        }
    }

    /// An integer that 64 bits hold. `-0` is none: so the double is written where ".0" is dropped.
    pub(super) fn of_digits(digits: &str) -> Option<Numeric> {
        match digits.parse::<i64>().ok()? {
            0 if digits.starts_with('-') => Some(Numeric::Double(-0.0)),
            integer => Some(Numeric::Integer(integer)),
        }
    }

    pub(super) fn double(self) -> f64 {
        match self {
            Numeric::Integer(integer) => integer as f64,
            Numeric::Double(double) => double,
        }
    }

    /// Whether both are the same number with the same sign: as bits, so that zero is not -0. An integer that no double is
    /// equals only the double that is written with its digits.
    pub(super) fn is(self, other: Numeric) -> bool {
        let is_same_double = self.double().to_bits() == other.double().to_bits();
        match (self, other) {
            (Numeric::Integer(one), Numeric::Integer(two)) => one == two,
            (Numeric::Double(_), Numeric::Double(_)) => is_same_double,
            (Numeric::Integer(integer), Numeric::Double(double))
            | (Numeric::Double(double), Numeric::Integer(integer)) => {
                let is_whole = i128::from(integer) == double as i128;
                is_same_double && (is_whole || self.text() == other.text())
            }
        }
    }

    /// The number as text, all digits of an integer.
    pub(super) fn text(self) -> String {
        match self {
            Numeric::Integer(integer) => integer.to_string(),
            Numeric::Double(double) => Decimal::from(double).to_string(),
        }
    }
}

impl Walk {
    fn pair(&mut self, base: &Value, now: &Value, pointer: &mut String) -> Result<(), Unreadable> {
        let numbers_in_text = self.numbers_in_text;
        let numeric = |value: &Value| Numeric::of(value, numbers_in_text);
        if let (Some(one), Some(two)) = (numeric(base), numeric(now)) {
            return self.numbers(&[one], &[two], Vec::new(), pointer);
        }
        match (base, now) {
            (Value::Array(one), Value::Array(two)) => {
                let all = |list: &[Value]| list.iter().map(numeric).collect::<Option<Vec<_>>>();
                if one.len() != two.len() {
                    let at = format!("{pointer}/-");
                    self.keep(&at)?;
                    self.base
                        .metadata
                        .insert(at.clone(), format!("{} elements", one.len()));
                    self.now
                        .metadata
                        .insert(at, format!("{} elements", two.len()));
                    return Ok(());
                }
                if !one.is_empty()
                    && let (Some(base), Some(now)) = (all(one), all(two))
                {
                    return self.numbers(&base, &now, vec![one.len() as u64], pointer);
                }
                if let Some(tables) = &mut self.tables {
                    tables.take(pointer, one, two, numeric)?;
                }
                for (place, (one, two)) in one.iter().zip(two).enumerate() {
                    let end = pointer.len();
                    pointer.push_str(&format!("/{place}"));
                    self.pair(one, two, pointer)?;
                    pointer.truncate(end);
                }
            }
            (Value::Object(one), Value::Object(two)) => {
                for (key, value) in one {
                    let end = pointer.len();
                    push_key(pointer, key);
                    self.numbers_in_text = numbers_in_text && !WORDS.contains(&key.as_str());
                    match two.get(key) {
                        Some(other) => self.pair(value, other, pointer)?,
                        None => {
                            self.keep(pointer)?;
                            self.base.metadata.insert(pointer.clone(), brief(value));
                        }
                    }
                    self.numbers_in_text = numbers_in_text;
                    pointer.truncate(end);
                }
                for (key, value) in two.iter().filter(|(key, _)| !one.contains_key(*key)) {
                    let end = pointer.len();
                    push_key(pointer, key);
                    self.keep(pointer)?;
                    self.now.metadata.insert(pointer.clone(), brief(value));
                    pointer.truncate(end);
                }
            }
            // Only what differs is kept: equal leaves of a large document say nothing.
            _ if base != now => {
                self.keep(pointer)?;
                self.base.metadata.insert(pointer.clone(), brief(base));
                let brief_now = match brief(now) {
                    same if same == brief(base) => format!("{same} (differs further on)"),
                    other => other,
                };
                self.now.metadata.insert(pointer.clone(), brief_now);
            }
            _ => {}
        }
        Ok(())
    }

    /// Counts one more value that is kept, before it is.
    fn keep(&mut self, pointer: &str) -> Result<(), Unreadable> {
        check_name(pointer)?;
        self.kept += 1;
        self.names += 2 * pointer.len();
        if self.kept > TENSORS {
            return unsupported(format!(
                "it has more than {TENSORS} numbers and differences"
            ));
        }
        if self.names > NAMES_BYTES {
            return unsupported("the pointers to its values take more than 256 MiB");
        }
        Ok(())
    }

    fn numbers(
        &mut self,
        base: &[Numeric],
        now: &[Numeric],
        shape: Vec<u64>,
        pointer: &str,
    ) -> Result<(), Unreadable> {
        self.keep(pointer)?;
        let is_integer = |number: &Numeric| matches!(number, Numeric::Integer(_));
        let integers = base.iter().chain(now).all(is_integer);
        let element = if integers {
            ElementType::I64
        } else {
            ElementType::F64
        };
        // Numbers that differ and are one double: among fractions the digits of integers would be lost.
        let lost = base
            .iter()
            .zip(now)
            .find(|(one, two)| !one.is(**two) && one.double().to_bits() == two.double().to_bits());
        if let Some((one, two)) = lost.filter(|_| !integers) {
            self.base.metadata.insert(pointer.to_owned(), one.text());
            self.now.metadata.insert(pointer.to_owned(), two.text());
        }
        let bytes = |list: &[Numeric]| {
            let each = list.iter().flat_map(|number| match number {
                Numeric::Integer(integer) if integers => integer.to_le_bytes(),
                other => other.double().to_le_bytes(),
            });
            Bytes::of_memory(each.collect())
        };
        let make = |list| Tensor::new(pointer, element, shape.clone(), bytes(list));
        let (one, two) = (make(base)?, make(now)?);
        self.base.tensors.push(one);
        self.now.tensors.push(two);
        Ok(())
    }
}

fn push_key(pointer: &mut String, key: &str) {
    pointer.push('/');
    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
}

/// A value as text that is short enough to show.
fn brief(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("array of {}", list.len()),
        Value::Object(map) => format!("object of {} keys", map.len()),
        other => digits::text(other).chars().take(200).collect(),
    }
}

#[cfg(test)]
mod tests;
