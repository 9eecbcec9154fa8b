//! Tables of rows: lists of rows of any format, held against each other, and JSON lines as such a list.
//!
//! Rows are read in step and never kept. Cells that are numbers on both sides are gated column by column, and those of
//! integers are labels where a rule demands anything of labels; all others are exact. Fingerprints of both sides tell
//! rows in another order from other rows. CSV and TSV are `delimited`'s.

use super::bytes::{Bytes, Reader};
use super::columns::Columns;
use super::comparison::{Difference, MAX_ROWS, RowComparison, TensorComparison, TensorCounts};
use super::digits;
use super::json::Numeric;
use super::limits::{LINE_BYTES, NAMES_BYTES, Unreadable, check_name, unsupported};
use super::locator::{Locator, Place, shown};
use super::predictions::{self, Seen};
use super::sets::Found;
use sealstone_spec::canonical::parse_value;
use sealstone_spec::compare::{ArtifactRule, Class, RowFingerprint};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read};
use std::sync::Arc;

/// Bytes read ahead.
pub(super) const BUFFER: usize = 256 * 1024;

/// A row: its cells, and what is hashed of it.
pub(super) type Row = (Vec<Cell>, Vec<u8>);

/// A list of rows that can be read once.
pub(super) trait Rows {
    /// The next row; `None` at the end.
    fn next(&mut self) -> Result<Option<Row>, Unreadable>;
}

/// A named cell. What stands under one name is one column, with one gate.
pub(super) struct Cell {
    /// One text for all rows, where the format has a header.
    name: Arc<str>,
    value: CellValue,
}

/// The cells of a row in the making: no more of them than memory should hold.
#[derive(Default)]
pub(super) struct Cells {
    each: Vec<Cell>,
    bytes: usize,
}

impl Cells {
    pub(super) fn push(&mut self, name: Arc<str>, value: CellValue) -> Result<(), Unreadable> {
        check_name(&name)?;
        self.bytes += size_of::<Cell>() + name.len();
        if self.bytes > NAMES_BYTES {
            return too_wide();
        }
        self.each.push(Cell { name, value });
        Ok(())
    }

    /// The row, with what is hashed of it.
    pub(super) fn hashed_as(self, bytes: Vec<u8>) -> Row {
        (self.each, bytes)
    }
}

/// Refuses a row of so many cells before anything is made of them.
pub(super) fn check_width(cells: usize) -> Result<(), Unreadable> {
    match cells > NAMES_BYTES / size_of::<Cell>() {
        true => too_wide(),
        false => Ok(()),
    }
}

fn too_wide<T>() -> Result<T, Unreadable> {
    unsupported("a row with the names of its cells takes more than 256 MiB")
}

pub(super) enum CellValue {
    Number(Numeric),
    Text(String),
    /// What holds the cells behind this one. Their names alone do not say whether it is a list or an object.
    Kind(&'static str),
}

/// JSON lines.
pub(super) struct Lines {
    reader: BufReader<Limited<Reader>>,
    line: u64,
}

impl Lines {
    pub(super) fn open(file: &Bytes) -> Lines {
        Lines {
            reader: BufReader::with_capacity(BUFFER, Limited::new(file.reader())),
            line: 0,
        }
    }
}

impl Rows for Lines {
    fn next(&mut self) -> Result<Option<Row>, Unreadable> {
        let mut line = Vec::new();
        loop {
            line.clear();
            self.reader.get_mut().renew();
            self.line += 1;
            if self.reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            if !line.trim_ascii().is_empty() {
                break;
            }
        }
        let value = parse_value(&digits::kept(line.trim_ascii()), 2 * LINE_BYTES)
            .map_err(|error| Unreadable::Malformed(format!("line {}: {error}", self.line)))?;
        let mut cells = Cells::default();
        flatten(&value, &mut String::new(), &mut cells)?;
        Ok(Some(cells.hashed_as(line.trim_ascii().to_vec())))
    }
}

/// Every part of a document under its pointer, what holds others before them.
fn flatten(value: &Value, pointer: &mut String, cells: &mut Cells) -> Result<(), Unreadable> {
    let end = pointer.len();
    match value {
        Value::Array(list) if !list.is_empty() => {
            cells.push(Arc::from(pointer.as_str()), CellValue::Kind("array"))?;
            for (place, item) in list.iter().enumerate() {
                pointer.push_str(&format!("/{place}"));
                flatten(item, pointer, cells)?;
                pointer.truncate(end);
            }
            Ok(())
        }
        Value::Object(map) if !map.is_empty() => {
            cells.push(Arc::from(pointer.as_str()), CellValue::Kind("object"))?;
            for (key, item) in map {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                flatten(item, pointer, cells)?;
                pointer.truncate(end);
            }
            Ok(())
        }
        leaf => {
            let value = match Numeric::of(leaf, false) {
                Some(number) => CellValue::Number(number),
                None => CellValue::Text(digits::text(leaf)),
            };
            cells.push(Arc::from(pointer.as_str()), value)
        }
    }
}

/// A reader that fails where one row is longer than memory should hold. Whoever reads from it reads at most [`BUFFER`]
/// ahead.
pub(crate) struct Limited<R> {
    inner: R,
    rest: usize,
}

impl<R> Limited<R> {
    pub(crate) fn new(inner: R) -> Limited<R> {
        Limited {
            inner,
            rest: LINE_BYTES + BUFFER,
        }
    }

    /// Another row begins.
    pub(crate) fn renew(&mut self) {
        self.rest = LINE_BYTES + BUFFER;
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.rest = match self.rest.checked_sub(count) {
            Some(rest) => rest,
            None => {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::FileTooLarge,
                    "a row is longer than 64 MiB",
                ));
            }
        };
        Ok(count)
    }
}

/// Compares two lists of rows in step.
pub(super) fn compare(
    base: &mut dyn Rows,
    now: &mut dyn Rows,
    rule: &ArtifactRule,
) -> Result<(Found, RowComparison), Unreadable> {
    let (mut one, mut two) = (RowFingerprint::new(), RowFingerprint::new());
    let mut columns = Columns::default();
    let mut broken: Option<Difference> = None;
    let mut first: Option<Difference> = None;
    let (mut row, mut changed, mut same_content) = (0_u64, 0_u64, true);
    loop {
        let (before, after) = (base.next()?, now.next()?);
        if let Some((_, bytes)) = &before {
            one.row(bytes);
        }
        if let Some((_, bytes)) = &after {
            two.row(bytes);
        }
        row += 1;
        let place = |column: Option<&str>| {
            Locator::at(Place::Row {
                row,
                column: column.map(str::to_owned),
            })
        };
        match (before, after) {
            (None, None) => break,
            (Some((before, _)), Some((after, _))) => {
                let found = compare_row(&before, &after, row, rule, &mut columns);
                if let Some(found) = found {
                    changed += 1;
                    same_content = false;
                    let difference = Difference {
                        locator: place(found.column.as_deref()),
                        what: "value".to_owned(),
                        base: found.base,
                        now: found.now,
                    };
                    if found.exact && broken.is_none() {
                        broken = Some(difference.clone());
                    }
                    first.get_or_insert(difference);
                }
            }
            (before, _) => {
                changed += 1;
                same_content = false;
                let what = if before.is_some() { "missing" } else { "added" };
                broken.get_or_insert(Difference {
                    locator: place(None),
                    what: what.to_owned(),
                    base: None,
                    now: None,
                });
            }
        }
    }
    let dropped = columns.dropped;
    let mut labels = Seen::of(rule);
    let (mut table, tensors, elements) = columns.finish(rule, labels.as_mut());
    let judged = labels.map(Seen::judge);
    let counts = TensorCounts {
        tensors,
        tensors_differing: table.len() as u64,
        elements,
        elements_changed: table.iter().map(|column| column.changed).sum(),
        sign_flips: table.iter().map(|column| column.sign_flips).sum(),
        base_nan: table.iter().map(|column| column.base_nan).sum(),
        now_nan: table.iter().map(|column| column.now_nan).sum(),
        ..TensorCounts::default()
    };
    let is_bounded = predictions::is_bounded(rule);
    let fails = |column: &TensorComparison| {
        let is_excused = !is_bounded && predictions::stand_for_column(column.element, rule);
        !column.ok && !is_excused
    };
    let told = |column: &TensorComparison| {
        let at = column.at.as_ref()?;
        Some(Difference {
            locator: Locator::at(Place::Row {
                row: *at.index.first()?,
                column: Some(column.tensor.clone()),
            }),
            what: column.problem.clone().unwrap_or_default(),
            base: Some(at.base.clone()),
            now: Some(at.now.clone()),
        })
    };
    let failing = table.iter().find(|column| fails(column));
    let excused = table.iter().find(|column| !column.ok && !fails(column));
    // What is demanded of labels holds beside the gates, as it does in files of tensors.
    let labels_hold = judged
        .as_ref()
        .is_none_or(|judged| judged.comparison.problem.is_none());
    let holds = broken.is_none() && failing.is_none() && labels_hold;
    let class = if same_content {
        Class::ContentExact
    } else if holds && excused.is_none() {
        Class::Numeric
    } else if holds && judged.is_some() {
        Class::Functional
    } else {
        Class::Divergent
    };
    let (failed, excused) = (failing.and_then(told), excused.and_then(told));
    let (predictions, turned) = match judged {
        Some(judged) => (Some(judged.comparison), judged.failing),
        None => (None, None),
    };
    let (one, two) = (one.finish(), two.finish());
    let reordered = two.is_reorder_of(&one);
    let mut notes = Vec::new();
    if reordered {
        notes.push("same rows, different order".to_owned());
    }
    if dropped {
        notes.push(
            "there are more columns than are gated; those further on were compared exactly"
                .to_owned(),
        );
    }
    let worst = table
        .iter()
        .reduce(|one, two| {
            let rank = |column: &TensorComparison| (fails(column), !column.ok);
            let further = two.rel_l2.value().total_cmp(&one.rel_l2.value());
            if rank(two).cmp(&rank(one)).then(further).is_gt() {
                two
            } else {
                one
            }
        })
        .cloned();
    table.truncate(MAX_ROWS);
    let first = match reordered {
        true => first.map(|first| Difference {
            locator: match first.locator.place {
                Place::Row { row, .. } => Locator::at(Place::Row { row, column: None }),
                _ => first.locator,
            },
            what: "same rows, different order".to_owned(),
            base: None,
            now: None,
        }),
        false => broken
            .or(failed)
            .or(turned.filter(|_| !same_content))
            .or(excused)
            .or(first),
    };
    let rows = RowComparison {
        base: one,
        now: two,
        reordered,
        changed,
    };
    Ok((
        Found {
            class,
            first,
            worst,
            counts,
            tensors: table,
            predictions,
            notes,
        },
        rows,
    ))
}

struct RowDifference {
    column: Option<Arc<str>>,
    base: Option<String>,
    now: Option<String>,
    /// Whether no tolerance can let it pass.
    exact: bool,
}

fn compare_row(
    base: &[Cell],
    now: &[Cell],
    row: u64,
    rule: &ArtifactRule,
    columns: &mut Columns,
) -> Option<RowDifference> {
    let mut found: Option<RowDifference> = None;
    let mut note = |difference: RowDifference| match &found {
        Some(known) if known.exact || !difference.exact => {}
        _ => found = Some(difference),
    };
    let odd = base
        .iter()
        .zip(now)
        .find(|(one, two)| one.shape() != two.shape());
    if odd.is_some() || base.len() != now.len() {
        let longer = if base.len() > now.len() { base } else { now };
        let name = odd
            .map(|(one, _)| &one.name)
            .or_else(|| longer.get(base.len().min(now.len())).map(|cell| &cell.name));
        let count = |cells: &[Cell]| {
            let values = cells.iter().filter(|cell| cell.kind().is_none());
            format!("{} cells", values.count())
        };
        let (before, after) = match odd {
            Some((one, two)) if one.name == two.name => (one.value.shown(), two.value.shown()),
            _ => (count(base), count(now)),
        };
        return Some(RowDifference {
            column: name.cloned(),
            base: Some(before),
            now: Some(after),
            exact: true,
        });
    }
    for (one, two) in base.iter().zip(now) {
        let difference = |exact| RowDifference {
            column: Some(one.name.clone()),
            base: Some(one.value.shown()),
            now: Some(two.value.shown()),
            exact,
        };
        match (&one.value, &two.value) {
            (CellValue::Number(before), CellValue::Number(after)) => {
                let is_integer = |number: &Numeric| matches!(number, Numeric::Integer(_));
                let fractions = !(is_integer(before) && is_integer(after));
                let (b, n) = (before.double(), after.double());
                let kept = columns.add(&one.name, row, b, n, fractions, rule);
                // Numbers that differ and are one double are within no gate: it would see nothing.
                let lost = b.to_bits() == n.to_bits();
                if !before.is(*after) {
                    note(difference(!kept || lost));
                }
            }
            (CellValue::Text(before), CellValue::Text(after)) if before == after => {}
            (CellValue::Kind(_), CellValue::Kind(_)) => {} // part of the shape
            _ => note(difference(true)),
        }
    }
    found
}

impl Cell {
    fn kind(&self) -> Option<&'static str> {
        match self.value {
            CellValue::Kind(kind) => Some(kind),
            CellValue::Number(_) | CellValue::Text(_) => None,
        }
    }

    /// What has to be the same before values are looked at.
    fn shape(&self) -> (&str, Option<&'static str>) {
        (&*self.name, self.kind())
    }
}

impl CellValue {
    fn shown(&self) -> String {
        match self {
            CellValue::Number(number) => number.text(),
            CellValue::Text(text) => shown(text),
            CellValue::Kind(kind) => (*kind).to_owned(),
        }
    }
}
