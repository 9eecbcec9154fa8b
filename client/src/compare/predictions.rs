//! Labels and ranks out of tensors of predictions.
//!
//! Integers in one dimension are labels; floating rows in two dimensions are scores of classes. Rows are read in
//! pieces, so the number of examples does not matter. Invariant: every tensor meets the demands by itself; a list of
//! identifiers beside the labels cannot make up for them.

use super::comparison::{Difference, PredictionComparison};
use super::limits::Unreadable;
use super::locator::{Locator, Place, shown};
use super::numbers::{BF16, F16, F32, F64, Number};
use super::tensors::Tensor;
use sealstone_spec::compare::{
    ArtifactRule, Decimal, ElementType, PredictionRule, Predictions, count_flips, labels_of_scores,
    topk_overlap,
};

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

/// Whether what `rule` demands of predictions is read from `tensor`, and so may stand for its gate. Of everything else
/// in a file, labels that agree say nothing.
pub(super) fn stand_for(tensor: &Tensor, rule: &ArtifactRule) -> bool {
    match kind(tensor) {
        Some(Kind::Scores) => rule.predictions().is_stated(),
        Some(Kind::Labels) => rule.label_agreement.is_some() || rule.max_flips.is_some(),
        None => false,
    }
}

/// What predictions show.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) comparison: PredictionComparison,
    /// The first label that turned, where that is more than the rule allows.
    pub(super) failing: Option<Difference>,
}

/// A label that turned: the place of its example, and what it was and is.
struct Flip {
    place: u64,
    base: String,
    now: String,
}

/// What the predictions in `pairs` show, where the rule asks for them.
pub(super) fn of_tensors(
    pairs: &[(Tensor, Tensor)],
    rule: &ArtifactRule,
) -> Result<Option<Judged>, Unreadable> {
    let demands = rule.predictions();
    if !demands.is_stated() {
        return Ok(None);
    }
    // Flips are summed; agreement and overlap are those of the tensor that has the least of them.
    let mut all = Predictions::default();
    let mut agreement: Option<f64> = None;
    let mut problem: Option<String> = None;
    let mut failing: Option<Difference> = None;
    let mut turned: Option<Difference> = None;
    for (base, now) in pairs {
        let Some(kind) = kind(base) else {
            continue;
        };
        let (base, now) = (base.row_major()?, now.row_major()?);
        let (found, flip) = match kind {
            Kind::Scores => of_scores(&base, &now, demands.ranks())?,
            Kind::Labels => of_labels(&base, &now)?,
        };
        let Some(part) = found.label_agreement() else {
            continue; // no examples
        };
        all.examples += found.examples;
        all.flips += found.flips;
        agreement = Some(agreement.map_or(part, |least| least.min(part)));
        if let Some(part) = found.topk_overlap {
            all.topk_overlap = Some(all.topk_overlap.map_or(part, |least| least.min(part)));
        }
        let alone = PredictionRule {
            max_flips: None,
            topk_overlap: demands
                .topk_overlap
                .clone()
                .filter(|_| kind == Kind::Scores),
            ..demands.clone()
        };
        let difference = |what: String| Difference {
            locator: Locator::at(Place::Tensor {
                name: base.name.clone(),
                index: flip.iter().map(|flip| flip.place).collect(),
            }),
            what,
            base: flip.as_ref().map(|flip| flip.base.clone()),
            now: flip.as_ref().map(|flip| flip.now.clone()),
        };
        if turned.is_none() && flip.is_some() {
            turned = Some(difference(String::new()));
        }
        if problem.is_none()
            && let Err(text) = alone.judge(Some(&found))
        {
            problem = Some(format!("tensor \"{}\": {text}", shown(&base.name)));
            failing = Some(difference(text));
        }
    }
    if problem.is_none()
        && let Err(text) = demands.judge(Some(&all))
    {
        // The other demands fail for want of anything to judge, and have no place.
        failing = turned
            .filter(|_| demands.max_flips.is_some_and(|most| all.flips > most))
            .map(|turned| Difference {
                what: text.clone(),
                ..turned
            });
        problem = Some(text);
    }
    Ok(Some(Judged {
        comparison: PredictionComparison {
            examples: all.examples,
            flips: all.flips,
            label_agreement: agreement.map(Decimal::from),
            topk_overlap: all.topk_overlap.map(Decimal::from),
            problem,
        },
        failing,
    }))
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

fn of_labels(base: &Tensor, now: &Tensor) -> Result<(Predictions, Option<Flip>), Unreadable> {
    let examples = base.elements();
    let (flips, first) = different_items(base, now, examples)?;
    let flip = match first {
        Some(place) => Some(Flip {
            place,
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

/// How many items differ, and the place of the first.
fn different_items(
    base: &Tensor,
    now: &Tensor,
    examples: u64,
) -> Result<(u64, Option<u64>), Unreadable> {
    let (mut flips, mut first) = (0, None);
    if base.is_wide() {
        for place in 0..examples {
            if base.item_differs(now, place)? {
                flips += 1;
                first.get_or_insert(place);
            }
        }
        return Ok((flips, first));
    }
    let mut from = 0;
    while from < examples {
        let count = (PIECE / base.width as u64).max(1).min(examples - from);
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
