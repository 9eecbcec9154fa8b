//! Labels and ranks out of tensors of predictions, and out of columns of tables.
//!
//! Integers in one dimension are labels, and so is a column of integers; floating rows in two dimensions are scores of
//! classes. Rows are read in pieces, so the number of examples does not matter. Invariant: every tensor and column meets
//! the demands by itself; a list of identifiers beside the labels cannot make up for them. What in a document is a table is
//! `lists`'s.

use super::comparison::{Difference, PredictionComparison};
use super::limits::Unreadable;
use super::locator::{Locator, Place, shown};
use super::numbers::{BF16, F16, F32, F64, Number};
use super::tensors::Tensor;
use sealstone_spec::compare::{
    ArtifactRule, Decimal, ElementType, PredictionRule, Predictions, count_flips, labels_of_scores,
    topk_overlap,
};
use std::ops::Range;

/// Most classes of one row.
const MAX_CLASSES: u64 = 16 * 1024 * 1024;
/// Elements read at once, at least one row.
const PIECE: u64 = 256 * 1024;

/// What is read of a tensor of predictions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Labels,
    Scores,
}

fn kind(tensor: &Tensor) -> Option<Kind> {
    match (tensor.element, tensor.shape.as_slice()) {
        (
            ElementType::F16 | ElementType::BF16 | ElementType::F32 | ElementType::F64,
            [_, classes],
        ) if (2..=MAX_CLASSES).contains(classes) => Some(Kind::Scores),
        (element, [_]) if !element.is_rounded() => Some(Kind::Labels),
        _ => None,
    }
}

/// Whether `rule` says anything of numbers. Where it does not, labels and ranks make up for the gates of what they were
/// read from.
pub(super) fn is_bounded(rule: &ArtifactRule) -> bool {
    rule.is_elementwise() || rule.rel_l2.is_some() || rule.scaled_max.is_some()
}

fn reads_labels(rule: &ArtifactRule) -> bool {
    rule.label_agreement.is_some() || rule.max_flips.is_some()
}

/// Whether what `rule` demands of predictions is read from `tensor`, and so may stand for its gate. Of everything else
/// in a file, labels that agree say nothing.
pub(super) fn stand_for(tensor: &Tensor, rule: &ArtifactRule) -> bool {
    match kind(tensor) {
        Some(Kind::Scores) => rule.predictions().is_stated(),
        Some(Kind::Labels) => reads_labels(rule),
        None => false,
    }
}

/// The same of a column of a table, which has one dimension: integers are labels, and there are no scores.
pub(super) fn stand_for_column(element: ElementType, rule: &ArtifactRule) -> bool {
    !element.is_rounded() && reads_labels(rule)
}

/// What predictions show.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) comparison: PredictionComparison,
    /// What a demand fails for: the first label that turned, or the file as a whole. `None` where all are met.
    pub(super) failing: Option<Difference>,
}

/// A label that turned: the place of its example, and what it was and is.
struct Flip {
    place: u64,
    base: String,
    now: String,
}

/// What is seen of predictions, tensor by tensor or column by column. Flips are summed; agreement and overlap are those
/// of the part that has the least of them.
pub(super) struct Seen {
    demands: PredictionRule,
    all: Predictions,
    agreement: Option<f64>,
    problem: Option<String>,
    failing: Option<Difference>,
    turned: Option<Difference>,
}

impl Seen {
    /// Nothing yet; `None` where `rule` demands nothing of predictions.
    pub(super) fn of(rule: &ArtifactRule) -> Option<Seen> {
        let demands = rule.predictions();
        demands.is_stated().then(|| Seen {
            demands,
            all: Predictions::default(),
            agreement: None,
            problem: None,
            failing: None,
            turned: None,
        })
    }

    /// Takes in one part: what it is called, what it shows, and the place of its first label that turned or, where none
    /// did, of the whole.
    pub(super) fn take(
        &mut self,
        what: &str,
        name: &str,
        found: &Predictions,
        place: impl Fn() -> Difference,
    ) {
        let Some(part) = found.label_agreement() else {
            return; // no examples
        };
        self.all.examples += found.examples;
        self.all.flips += found.flips;
        self.agreement = Some(self.agreement.map_or(part, |least| least.min(part)));
        if let Some(part) = found.topk_overlap {
            let least = self.all.topk_overlap.map_or(part, |least| least.min(part));
            self.all.topk_overlap = Some(least);
        }
        if self.turned.is_none() && found.flips > 0 {
            self.turned = Some(place());
        }
        let alone = PredictionRule {
            max_flips: None,
            // Labels without scores have no ranks.
            topk_overlap: self
                .demands
                .topk_overlap
                .clone()
                .filter(|_| found.topk_overlap.is_some()),
            ..self.demands.clone()
        };
        if self.problem.is_none()
            && let Err(text) = alone.judge(Some(found))
        {
            self.problem = Some(format!("{what} \"{}\": {text}", shown(name)));
            self.failing = Some(Difference {
                what: text,
                ..place()
            });
        }
    }

    /// What all parts show together.
    pub(super) fn judge(self) -> Judged {
        let (mut problem, mut failing) = (self.problem, self.failing);
        if problem.is_none()
            && let Err(text) = self.demands.judge(Some(&self.all))
        {
            let most = self.demands.max_flips;
            let turned = self
                .turned
                .filter(|_| most.is_some_and(|most| self.all.flips > most));
            // The other demands fail for want of anything to judge: no place is to blame, and no number that rounding
            // moved beside it.
            let place = turned.unwrap_or_else(|| Difference {
                locator: Locator::at(Place::Whole),
                what: String::new(),
                base: None,
                now: None,
            });
            failing = Some(Difference {
                what: text.clone(),
                ..place
            });
            problem = Some(text);
        }
        Judged {
            comparison: PredictionComparison {
                examples: self.all.examples,
                flips: self.all.flips,
                label_agreement: self.agreement.map(Decimal::from),
                topk_overlap: self.all.topk_overlap.map(Decimal::from),
                problem,
            },
            failing,
        }
    }
}

impl PredictionComparison {
    /// What two members of an archive show together.
    pub(super) fn and(self, other: PredictionComparison) -> PredictionComparison {
        let least = |one: Option<Decimal>, two: Option<Decimal>| match (one, two) {
            (Some(one), Some(two)) if two.value() < one.value() => Some(two),
            (one, two) => one.or(two),
        };
        PredictionComparison {
            examples: self.examples + other.examples,
            flips: self.flips + other.flips,
            label_agreement: least(self.label_agreement, other.label_agreement),
            topk_overlap: least(self.topk_overlap, other.topk_overlap),
            problem: self.problem.or(other.problem),
        }
    }
}

/// What predictions are read from: two tensors of one type and shape.
pub(super) struct Part<'a> {
    /// What it is called.
    pub(super) name: &'a str,
    pub(super) base: &'a Tensor,
    pub(super) now: &'a Tensor,
    /// Where it is columns of labels out of a table, one behind the other: the place of each in that table.
    pub(super) columns: Option<&'a [u64]>,
}

/// What the predictions in `parts` show, where the rule asks for them.
pub(super) fn of_tensors<'a>(
    parts: impl Iterator<Item = Part<'a>>,
    rule: &ArtifactRule,
) -> Result<Option<Judged>, Unreadable> {
    let Some(mut seen) = Seen::of(rule) else {
        return Ok(None);
    };
    for part in parts {
        let name = part.name;
        let mut take = |column: Option<u64>, found: &Predictions, flip: Option<Flip>| {
            let what = match column {
                Some(column) => format!("column {column} of"),
                None => "tensor".to_owned(),
            };
            let index = flip.iter().flat_map(|flip| [Some(flip.place), column]);
            let index: Vec<u64> = index.flatten().collect();
            seen.take(&what, name, found, || Difference {
                locator: Locator::at(Place::Tensor {
                    name: name.to_owned(),
                    index: index.clone(),
                }),
                what: String::new(),
                base: flip.as_ref().map(|flip| flip.base.clone()),
                now: flip.as_ref().map(|flip| flip.now.clone()),
            });
        };
        if let Some(columns) = part.columns {
            let rows = part.base.shape.last().copied().unwrap_or(0);
            for (nth, column) in (0_u64..).zip(columns) {
                let items = nth * rows..(nth + 1) * rows;
                let (found, flip) = of_labels(part.base, part.now, items)?;
                take(Some(*column), &found, flip);
            }
            continue;
        }
        let Some(kind) = kind(part.base) else {
            continue;
        };
        let (base, now) = (part.base.row_major()?, part.now.row_major()?);
        let (found, flip) = match kind {
            Kind::Scores => of_scores(&base, &now, rule.predictions().ranks())?,
            Kind::Labels => of_labels(&base, &now, 0..base.elements())?,
        };
        take(None, &found, flip);
    }
    Ok(Some(seen.judge()))
}

/// What rows of scores show; both sides are of one type and shape, the last index running fastest.
fn of_scores(
    base: &Tensor,
    now: &Tensor,
    ranks: usize,
) -> Result<(Predictions, Option<Flip>), Unreadable> {
    let mut found = Predictions::default();
    let mut flip = None;
    let [rows, classes] = base.shape[..] else {
        return Ok((found, flip));
    };
    let step = (PIECE / classes).max(1);
    let mut overlap = 0.0;
    let mut from = 0;
    while from < rows {
        let count = step.min(rows - from);
        let one = scores(base, from * classes, count * classes)?;
        let two = scores(now, from * classes, count * classes)?;
        let classes = classes as usize;
        let labels = labels_of_scores(&one, classes).zip(labels_of_scores(&two, classes));
        let flips = labels.as_ref().and_then(|(one, two)| count_flips(one, two));
        if flip.is_none()
            && let Some((one, two)) = &labels
        {
            flip = first_flip(one, two, from);
        }
        found.examples += count;
        found.flips += flips.unwrap_or(count);
        let shared = topk_overlap(&one, &two, classes, ranks).unwrap_or(0.0);
        overlap += shared * count as f64;
        from += count;
    }
    if rows > 0 {
        found.topk_overlap = Some(overlap / rows as f64);
    }
    Ok((found, flip))
}

/// The first of two rows of labels that differ, as [`count_flips`] counts them; the first of all has the place `from`.
fn first_flip(base: &[Option<usize>], now: &[Option<usize>], from: u64) -> Option<Flip> {
    let text = |label: Option<usize>| match label {
        Some(label) => format!("label {label}"),
        None => "no label".to_owned(),
    };
    let mut pairs = base.iter().zip(now);
    let place = pairs.position(|(one, two)| one.is_none() || one != two)?;
    Some(Flip {
        place: from + place as u64,
        base: text(base[place]),
        now: text(now[place]),
    })
}

/// What those of the items show that are one list of labels; the place of a label is that in the list.
fn of_labels(
    base: &Tensor,
    now: &Tensor,
    items: Range<u64>,
) -> Result<(Predictions, Option<Flip>), Unreadable> {
    let examples = items.end - items.start;
    let start = items.start;
    let (flips, first) = different_items(base, now, items)?;
    let flip = match first {
        Some(place) => Some(Flip {
            place: place - start,
            base: base.text(place)?,
            now: now.text(place)?,
        }),
        None => None,
    };
    let found = Predictions {
        examples,
        flips,
        topk_overlap: None,
    };
    Ok((found, flip))
}

fn scores(tensor: &Tensor, from: u64, count: u64) -> Result<Vec<f64>, Unreadable> {
    let mut bytes = vec![0; count as usize * tensor.width];
    tensor.read(&mut bytes, from)?;
    let values = bytes.chunks_exact(tensor.width);
    Ok(match tensor.element {
        ElementType::F16 => values.map(F16::value).collect(),
        ElementType::BF16 => values.map(BF16::value).collect(),
        ElementType::F32 => values.map(F32::value).collect(),
        _ => values.map(F64::value).collect(),
    })
}

/// How many of these items differ, and the place of the first.
fn different_items(
    base: &Tensor,
    now: &Tensor,
    items: Range<u64>,
) -> Result<(u64, Option<u64>), Unreadable> {
    let (mut flips, mut first) = (0, None);
    if base.is_wide() {
        for place in items {
            if base.item_differs(now, place)? {
                flips += 1;
                first.get_or_insert(place);
            }
        }
        return Ok((flips, first));
    }
    let mut from = items.start;
    while from < items.end {
        let count = (PIECE / base.width as u64).max(1).min(items.end - from);
        let size = count as usize * base.width;
        let (mut one, mut two) = (vec![0; size], vec![0; size]);
        base.read(&mut one, from)?;
        now.read(&mut two, from)?;
        let each = one
            .chunks_exact(base.width)
            .zip(two.chunks_exact(base.width));
        for (place, _) in each.enumerate().filter(|(_, (one, two))| one != two) {
            flips += 1;
            first.get_or_insert(from + place as u64);
        }
        from += count;
    }
    Ok((flips, first))
}
