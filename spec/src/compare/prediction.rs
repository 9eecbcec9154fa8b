//! Predictions of a model: labels that agree, ranks that overlap.
//!
//! Invariant: no predictions at all, or lists of other lengths, never pass.

use super::decimal::Decimal;
use serde::{Deserialize, Serialize};

/// What is demanded of predictions beside their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PredictionRule {
    /// Smallest part of examples whose label is the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_agreement: Option<Decimal>,
    /// How many of the highest scores count for `topk_overlap`; 5 where it is not stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Smallest mean part of the highest scores that is the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topk_overlap: Option<Decimal>,
    /// Largest number of examples whose label differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_flips: Option<u64>,
}

/// What was found of predictions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Predictions {
    /// Examples.
    pub examples: u64,
    /// Examples whose label differs.
    pub flips: u64,
    /// Mean part of the highest scores that is the same, where there are scores.
    pub topk_overlap: Option<f64>,
}

impl Predictions {
    /// Part of the examples whose label is the same; `None` without examples.
    pub fn label_agreement(&self) -> Option<f64> {
        match self.examples {
            0 => None,
            count => Some(count.saturating_sub(self.flips) as f64 / count as f64),
        }
    }
}

impl PredictionRule {
    /// Whether anything is demanded.
    pub fn is_stated(&self) -> bool {
        self.label_agreement.is_some() || self.topk_overlap.is_some() || self.max_flips.is_some()
    }

    /// The number of highest scores that count.
    pub fn ranks(&self) -> usize {
        self.top_k.unwrap_or(5) as usize
    }

    /// Whether predictions pass; `None` as figures means that there are none.
    ///
    /// # Errors
    /// Says which demand is not met, in words.
    pub fn judge(&self, found: Option<&Predictions>) -> Result<(), String> {
        if !self.is_stated() {
            return Ok(());
        }
        let Some((found, agreement)) =
            found.and_then(|found| Some((found, found.label_agreement()?)))
        else {
            return Err("there are no predictions to compare".to_owned());
        };
        if let Some(least) = &self.label_agreement
            // A number that is none is not enough either.
            && (agreement.is_nan() || agreement < least.value())
        {
            return Err(format!(
                "labels agree on {} of {} examples, under {least}",
                found.examples.saturating_sub(found.flips),
                found.examples
            ));
        }
        if let Some(most) = self.max_flips
            && found.flips > most
        {
            return Err(format!("{} labels differ, over {most}", found.flips));
        }
        if let Some(least) = &self.topk_overlap {
            let overlap = found.topk_overlap.ok_or("there are no scores to rank")?;
            if overlap.is_nan() || overlap < least.value() {
                return Err(format!(
                    "the top {} overlap by {overlap:.6}, under {least}",
                    self.ranks()
                ));
            }
        }
        Ok(())
    }
}

/// The label of each row of scores: the place of its highest, the first among equals; a row with a NaN has
/// none. `None` if the scores do not fill rows.
pub fn labels_of_scores(scores: &[f64], classes: usize) -> Option<Vec<Option<usize>>> {
    if classes == 0 || !scores.len().is_multiple_of(classes) {
        return None;
    }
    let label = |row: &[f64]| {
        if row.iter().any(|score| score.is_nan()) {
            return None;
        }
        let mut best = 0;
        for (place, score) in row.iter().enumerate() {
            if *score > row[best] {
                best = place;
            }
        }
        Some(best)
    };
    Some(scores.chunks_exact(classes).map(label).collect())
}

/// How many labels differ; a label that is none differs from every other, also from none. `None` for
/// lists of different lengths.
pub fn count_flips<L: PartialEq>(base: &[Option<L>], now: &[Option<L>]) -> Option<u64> {
    if base.len() != now.len() {
        return None;
    }
    let differs = |(one, two): &(&Option<L>, &Option<L>)| one.is_none() || one != two;
    Some(base.iter().zip(now).filter(differs).count() as u64)
}

/// The mean part of each row's `k` highest scores that both sides share; ties go to the first. `None` if
/// the rows do not match or there are none.
pub fn topk_overlap(base: &[f64], now: &[f64], classes: usize, k: usize) -> Option<f64> {
    let usable = classes > 0 && base.len() == now.len() && base.len().is_multiple_of(classes);
    let k = k.min(classes);
    if !usable || base.is_empty() || k == 0 {
        return None;
    }
    let highest = |row: &[f64]| -> Vec<usize> {
        let mut places: Vec<usize> = (0..row.len()).collect();
        places.sort_by(|a, b| row[*b].total_cmp(&row[*a]).then(a.cmp(b)));
        places.truncate(k);
        places.sort_unstable();
        places
    };
    let mut shared = 0_u64;
    let mut rows = 0_u64;
    for (one, two) in base.chunks_exact(classes).zip(now.chunks_exact(classes)) {
        rows += 1;
        if one.iter().chain(two).any(|score| score.is_nan()) {
            continue;
        }
        let two = highest(two);
        let both = highest(one)
            .into_iter()
            .filter(|place| two.binary_search(place).is_ok());
        shared += both.count() as u64;
    }
    Some(shared as f64 / (rows * k as u64) as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const BASE: [f64; 6] = [0.1, 0.7, 0.2, 0.5, 0.5, 0.0];
    const NOW: [f64; 6] = [0.1, 0.6, 0.3, 0.4, 0.6, 0.0];

    #[test]
    fn labels_are_the_highest_scores() {
        let base = labels_of_scores(&BASE, 3).unwrap();
        assert_eq!(base, [Some(1), Some(0)], "a tie goes to the first");
        let now = labels_of_scores(&NOW, 3).unwrap();
        assert_eq!(count_flips(&base, &now), Some(1));
        assert_eq!(labels_of_scores(&[f64::NAN, 1.0], 2).unwrap(), [None]);
        assert_eq!(
            count_flips::<u8>(&[None], &[None]),
            Some(1),
            "NaN agrees with nothing"
        );
        assert_eq!(labels_of_scores(&BASE, 4), None);
        assert_eq!(count_flips(&[Some(1)], &[Some(1), Some(2)]), None);
    }

    #[test]
    fn ranks_overlap_in_parts() {
        assert_eq!(topk_overlap(&BASE, &NOW, 3, 2), Some(1.0));
        assert_eq!(topk_overlap(&BASE, &NOW, 3, 1), Some(0.5));
        assert_eq!(
            topk_overlap(&[f64::NAN, 1.0], &[f64::NAN, 1.0], 2, 1),
            Some(0.0)
        );
        assert_eq!(topk_overlap(&[], &[], 3, 1), None);
        assert_eq!(topk_overlap(&BASE, &NOW, 0, 1), None);
    }

    #[test]
    fn every_demand_must_be_met() {
        let rule: PredictionRule =
            toml::from_str("label_agreement = 0.99\nmax_flips = 3\ntopk_overlap = 0.9").unwrap();
        let good = Predictions {
            examples: 1000,
            flips: 3,
            topk_overlap: Some(0.95),
        };
        rule.judge(Some(&good)).unwrap();
        for bad in [
            None,
            Some(Predictions { flips: 4, ..good }),
            Some(Predictions {
                examples: 100,
                ..good
            }),
            Some(Predictions {
                topk_overlap: None,
                ..good
            }),
            Some(Predictions {
                topk_overlap: Some(0.5),
                ..good
            }),
            Some(Predictions {
                topk_overlap: Some(f64::NAN),
                ..good
            }),
            Some(Predictions {
                examples: 0,
                flips: 0,
                ..good
            }),
        ] {
            assert!(rule.judge(bad.as_ref()).is_err(), "{bad:?}");
        }
        PredictionRule::default().judge(None).unwrap();
    }
}
