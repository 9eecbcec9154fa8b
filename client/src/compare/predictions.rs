//! Labels and ranks out of tensors of predictions.
//!
//! Integers in one dimension are labels; floating rows in two dimensions are scores of classes. Rows are read in
//! pieces, so the number of examples does not matter.

use super::comparison::PredictionComparison;
use super::limits::Unreadable;
use super::numbers::{BF16, F16, F32, F64, Number};
use super::tensors::Tensor;
use sealstone_spec::compare::{
    ArtifactRule, Decimal, ElementType, Predictions, count_flips, labels_of_scores, topk_overlap,
};

/// Most classes of one row.
const MAX_CLASSES: u64 = 16 * 1024 * 1024;
/// Elements read at once, at least one row.
const PIECE: u64 = 256 * 1024;

/// What the predictions in `pairs` show, where the rule asks for them.
pub(super) fn of_tensors(
    pairs: &[(Tensor, Tensor)],
    rule: &ArtifactRule,
) -> Result<Option<PredictionComparison>, Unreadable> {
    let demands = rule.predictions();
    if !demands.is_stated() {
        return Ok(None);
    }
    let mut found = Predictions::default();
    let (mut ranked, mut overlap) = (0_u64, 0.0);
    for (base, now) in pairs {
        let (base, now) = (base.row_major()?, now.row_major()?);
        match (base.element, base.shape.as_slice()) {
            (
                ElementType::F16 | ElementType::BF16 | ElementType::F32 | ElementType::F64,
                [rows, classes],
            ) if *classes >= 2 && *classes <= MAX_CLASSES => {
                let step = (PIECE / classes).max(1);
                let mut from = 0;
                while from < *rows {
                    let count = step.min(rows - from);
                    let one = scores(&base, from * classes, count * classes)?;
                    let two = scores(&now, from * classes, count * classes)?;
                    let classes = *classes as usize;
                    let labels =
                        labels_of_scores(&one, classes).zip(labels_of_scores(&two, classes));
                    let flips = labels.and_then(|(one, two)| count_flips(&one, &two));
                    found.examples += count;
                    found.flips += flips.unwrap_or(count);
                    let shared = topk_overlap(&one, &two, classes, demands.ranks()).unwrap_or(0.0);
                    overlap += shared * count as f64;
                    ranked += count;
                    from += count;
                }
            }
            (element, [examples]) if !element.is_rounded() => {
                found.examples += examples;
                found.flips += different_items(&base, &now, *examples)?;
            }
            _ => {}
        }
    }
    if ranked > 0 {
        found.topk_overlap = Some(overlap / ranked as f64);
    }
    Ok(Some(PredictionComparison {
        examples: found.examples,
        flips: found.flips,
        label_agreement: found.label_agreement().map(Decimal::from),
        topk_overlap: found.topk_overlap.map(Decimal::from),
        problem: demands.judge(Some(&found)).err(),
    }))
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

fn different_items(base: &Tensor, now: &Tensor, examples: u64) -> Result<u64, Unreadable> {
    let mut flips = 0;
    if base.is_wide() {
        for place in 0..examples {
            flips += u64::from(base.item_differs(now, place)?);
        }
        return Ok(flips);
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
        flips += each.filter(|(one, two)| one != two).count() as u64;
        from += count;
    }
    Ok(flips)
}
