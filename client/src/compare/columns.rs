//! Columns of numbers that arrive row by row: figures without keeping the rows.

use super::accumulate::{Sums, Tally, pairs};
use super::comparison::{Difference, Element, TensorComparison};
use super::limits::{COLUMN_NAMES_BYTES, COLUMNS};
use super::locator::{Locator, Place};
use super::numbers::F64;
use super::predictions::Seen;
use sealstone_spec::compare::{ArtifactRule, Decimal, ElementType, Predictions, TensorFigures};
use std::collections::BTreeMap;

/// Rows that are summed at once: one leaf of the tree.
const ROWS: usize = 4096;

/// Figures of columns in the making.
#[derive(Default)]
pub(super) struct Columns {
    columns: BTreeMap<String, Column>,
    /// Bytes of their names.
    names: usize,
    /// Columns over the limit, which are compared exactly.
    pub(super) dropped: bool,
}

#[derive(Default)]
struct Column {
    base: Vec<u8>,
    now: Vec<u8>,
    rows: Vec<u64>,
    seen: u64,
    fractions: bool,
    leaves: Vec<Sums>,
    tally: Tally,
    /// The pair behind each index that the tally names, as it was written.
    worst: Option<(u64, f64, f64)>,
    first: Option<(u64, f64, f64)>,
}

impl Columns {
    /// Adds one pair; `false` if there are too many columns to keep figures of this one.
    pub(super) fn add(
        &mut self,
        column: &str,
        row: u64,
        base: f64,
        now: f64,
        fractions: bool,
        rule: &ArtifactRule,
    ) -> bool {
        if !self.columns.contains_key(column) {
            let names = self.names + column.len();
            if self.columns.len() >= COLUMNS || names > COLUMN_NAMES_BYTES {
                self.dropped = true;
                return base.to_bits() == now.to_bits();
            }
            self.names = names;
            self.columns.insert(column.to_owned(), Column::default());
        }
        if let Some(found) = self.columns.get_mut(column) {
            found.fractions |= fractions;
            found.base.extend(base.to_le_bytes());
            found.now.extend(now.to_le_bytes());
            found.rows.push(row);
            if found.rows.len() == ROWS {
                found.flush(rule);
            }
        }
        true
    }

    /// The columns that differ, the number of all, and of their elements. Columns of integers are labels, where a rule
    /// demands anything of them.
    pub(super) fn finish(
        mut self,
        rule: &ArtifactRule,
        mut labels: Option<&mut Seen>,
    ) -> (Vec<TensorComparison>, u64, u64) {
        let mut table = Vec::new();
        let (mut count, mut elements) = (0, 0);
        for (name, column) in &mut self.columns {
            column.flush(rule);
            count += 1;
            elements += column.seen;
            let column = &*column;
            if let (Some(labels), false) = (labels.as_deref_mut(), column.fractions) {
                labels.take("column", name, &column.labels(), || column.turned(name));
            }
            if column.tally.changed > 0 {
                table.push(column.conclude(name, rule));
            }
        }
        (table, count, elements)
    }
}

impl Column {
    fn flush(&mut self, rule: &ArtifactRule) {
        let bounds = rule.is_elementwise().then(|| rule.scalar());
        let (mut tally, from) = (Tally::default(), self.seen);
        pairs::<F64>(
            &self.base,
            &self.now,
            from,
            bounds.as_ref(),
            1,
            &mut self.leaves,
            &mut tally,
        );
        let pair = |index: u64| {
            let place = (index - from) as usize;
            let value = |bytes: &[u8]| {
                let mut raw = [0; 8];
                raw.copy_from_slice(&bytes[place * 8..place * 8 + 8]);
                f64::from_le_bytes(raw)
            };
            (self.rows[place], value(&self.base), value(&self.now))
        };
        let odd = tally.odd_at.filter(|_| self.tally.odd_at.is_none());
        let refused = self.tally.refused_at(rule.nan);
        let next = tally.refused_at(rule.nan).filter(|_| refused.is_none());
        let farther = tally
            .max_at
            .filter(|_| refused.is_none() && tally.max_abs > self.tally.max_abs);
        if let Some(index) = odd.or(next).or(farther) {
            self.worst = Some(pair(index));
        }
        if let (None, Some(index)) = (self.first, tally.first_changed) {
            self.first = Some(pair(index));
        }
        self.tally.merge(&tally);
        self.seen += self.rows.len() as u64;
        self.base.clear();
        self.now.clear();
        self.rows.clear();
    }

    /// Integers as labels. Those that differ and are one double are not counted: no tolerance lets them pass.
    fn labels(&self) -> Predictions {
        Predictions {
            examples: self.seen,
            flips: self.tally.changed,
            topk_overlap: None,
        }
    }

    /// The first label that turned.
    fn turned(&self, name: &str) -> Difference {
        let text = |value: f64| Decimal::from(value).to_string();
        Difference {
            locator: Locator::at(match self.first {
                Some((row, ..)) => Place::Row {
                    row,
                    column: Some(name.to_owned()),
                },
                None => Place::Whole,
            }),
            what: String::new(),
            base: self.first.map(|(_, base, _)| text(base)),
            now: self.first.map(|(.., now)| text(now)),
        }
    }

    fn conclude(&self, name: &str, rule: &ArtifactRule) -> TensorComparison {
        let element = if self.fractions {
            ElementType::F64
        } else {
            ElementType::I64
        };
        let [difference, base, now, product, absolute] = Sums::tree(&self.leaves).0;
        let tally = &self.tally;
        let figures = TensorFigures {
            elements: self.seen,
            changed: tally.changed,
            base_norm: base.sqrt(),
            now_norm: now.sqrt(),
            difference_norm: difference.sqrt(),
            max_abs: tally.max_abs,
            nan_one_side: tally.nan_one_side,
            nan_both: tally.nan_both,
            infinite: tally.infinite,
            outside: tally.outside,
        };
        let gate = rule.gate(element);
        let verdict = match rule.is_elementwise() {
            true => gate.judge(&figures),
            false => gate.judge_type(element, &figures),
        };
        let problem = verdict.err().map(|failure| failure.to_string());
        let text = |value: f64| Decimal::from(value).to_string();
        let cosine = match base > 0.0 && now > 0.0 {
            true => product / (base.sqrt() * now.sqrt()),
            false => f64::from(u8::from(difference == 0.0)),
        };
        TensorComparison {
            tensor: name.to_owned(),
            element,
            shape: vec![self.seen],
            ok: problem.is_none(),
            problem,
            elements: self.seen,
            changed: tally.changed,
            sign_flips: tally.sign_flips,
            base_nan: tally.base_nan,
            now_nan: tally.now_nan,
            rel_l2: Decimal::from(figures.rel_l2()),
            scaled_max: Decimal::from(figures.scaled_max()),
            max_abs: Decimal::from(tally.max_abs),
            mean_abs: Decimal::from(absolute / tally.finite.max(1) as f64),
            cosine: Decimal::from(cosine),
            p99_ulp: tally
                .p99_ulp()
                .filter(|_| self.fractions)
                .map(Decimal::from),
            at: self.worst.or(self.first).map(|(row, base, now)| Element {
                index: vec![row],
                base: text(base),
                now: text(now),
            }),
            first_index: self.first.map(|(row, ..)| vec![row]),
        }
    }
}
