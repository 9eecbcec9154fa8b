//! Two sets of named tensors, and where they differ.
//!
//! Owns which tensors are held against each other, what becomes of those that have no like, and the verdict on each
//! and on all. Reading and summing is `passes`'s, labels and ranks are `predictions`'s. Invariant: a tensor that is
//! missing, added, or of another type or shape is never within a gate.

use super::accumulate::Sums;
use super::comparison::{
    Difference, Element, MAX_ROWS, PredictionComparison, TensorComparison, TensorCounts,
};
use super::limits::Unreadable;
use super::lists::Tables;
use super::locator::{Locator, Place, shown};
use super::numbers;
use super::passes::{Pair, State, measure, poisoned};
use super::predictions::{self, Part};
use super::tensors::{Tensor, TensorFile};
use sealstone_spec::compare::{
    ArtifactRule, Class, Decimal, ElementType, GateFailure, TensorFigures,
};
use std::collections::HashMap;
use std::sync::Mutex;

/// What was found of two sets of tensors.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) class: Class,
    pub(super) first: Option<Difference>,
    pub(super) worst: Option<TensorComparison>,
    pub(super) counts: TensorCounts,
    pub(super) tensors: Vec<TensorComparison>,
    pub(super) predictions: Option<PredictionComparison>,
    pub(super) notes: Vec<String>,
}

/// Compares two sets of tensors; the class is `content_exact` where all are the same.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn compare(
    base: &TensorFile,
    now: &TensorFile,
    rule: &ArtifactRule,
) -> Result<Found, Unreadable> {
    compare_with(base, now, &Tables::default(), rule)
}

/// As [`compare`], where predictions are read from `tables` and not from the tensors that are their rows.
pub(super) fn compare_with(
    base: &TensorFile,
    now: &TensorFile,
    tables: &Tables,
    rule: &ArtifactRule,
) -> Result<Found, Unreadable> {
    let mut broken: Vec<Difference> = Vec::new();
    let mut counts = TensorCounts::default();
    let others: HashMap<&str, &Tensor> = now
        .tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor))
        .collect();
    let known: std::collections::HashSet<&str> = base
        .tensors
        .iter()
        .map(|tensor| tensor.name.as_str())
        .collect();
    let mut matched: Vec<(Tensor, Tensor)> = Vec::new();
    for tensor in &base.tensors {
        let differs = |what: &str, base: String, now: Option<String>| Difference {
            locator: Locator::at(Place::Tensor {
                name: tensor.name.clone(),
                index: Vec::new(),
            }),
            what: what.to_owned(),
            base: Some(base),
            now,
        };
        let described = |tensor: &Tensor| format!("{} {:?}", shown(&tensor.label), tensor.shape);
        let problem = match others.get(tensor.name.as_str()) {
            None => differs("missing", described(tensor), None),
            Some(other) if !tensor.is_like(other) => {
                differs("type", described(tensor), Some(described(other)))
            }
            Some(other) if tensor.shape != other.shape => {
                differs("shape", described(tensor), Some(described(other)))
            }
            Some(other) => {
                matched.push(match tensor.column_major == other.column_major {
                    true => (tensor.clone(), (*other).clone()),
                    false => (tensor.row_major()?, other.row_major()?),
                });
                continue;
            }
        };
        counts.tensors_missing += 1;
        broken.push(problem);
    }
    for tensor in &now.tensors {
        if !known.contains(tensor.name.as_str()) {
            counts.tensors_added += 1;
            broken.push(Difference {
                locator: Locator::at(Place::Tensor {
                    name: tensor.name.clone(),
                    index: Vec::new(),
                }),
                what: "added".to_owned(),
                base: None,
                now: Some(format!("{} {:?}", shown(&tensor.label), tensor.shape)),
            });
        }
    }
    let same_metadata = compare_metadata(base, now, &mut broken);
    let pairs: Vec<Pair> = matched
        .iter()
        .map(|(base, now)| Pair {
            base,
            now,
            state: Mutex::default(),
        })
        .collect();
    measure(&pairs, rule)?;

    let mut table: Vec<TensorComparison> = Vec::new();
    let is_bounded = predictions::is_bounded(rule);
    let mut failing: Option<Difference> = None;
    let mut excused: Option<Difference> = None;
    let mut differing: Option<Difference> = None;
    let mut worst: Option<(bool, TensorComparison)> = None;
    let mut notes = Vec::new();
    for pair in pairs {
        counts.tensors += 1;
        counts.elements += pair.base.elements();
        let (base, now) = (pair.base, pair.now);
        let state = pair.state.into_inner().map_err(|_| poisoned())?;
        if state.tally.changed == 0 {
            continue;
        }
        let (compared, is_no_number) = conclude(base, now, &state, rule)?;
        let is_excused = tables
            .stand_for(base, rule)
            .unwrap_or_else(|| predictions::stand_for(base, rule));
        let fails = !compared.ok && (is_bounded || is_no_number || !is_excused);
        counts.tensors_differing += 1;
        counts.elements_changed += compared.changed;
        counts.sign_flips += compared.sign_flips;
        counts.base_nan += compared.base_nan;
        counts.now_nan += compared.now_nan;
        let place = |index: Vec<u64>| {
            Locator::at(Place::Tensor {
                name: base.name.clone(),
                index,
            })
        };
        let known = match fails {
            true => &mut failing,
            false => &mut excused,
        };
        if !compared.ok && known.is_none() {
            let at = compared.at.clone();
            *known = Some(Difference {
                locator: place(at.as_ref().map(|at| at.index.clone()).unwrap_or_default()),
                what: compared
                    .problem
                    .clone()
                    .unwrap_or_else(|| "value".to_owned()),
                base: at.as_ref().map(|at| at.base.clone()),
                now: at.map(|at| at.now),
            });
        }
        if differing.is_none() {
            let first = state.tally.first_changed.unwrap_or(0);
            differing = Some(Difference {
                locator: place(base.index(first_index(base, first))),
                what: "value".to_owned(),
                base: Some(base.text(first_index(base, first))?),
                now: Some(now.text(first_index(now, first))?),
            });
        }
        if !compared.ok && notes.len() < 10 {
            let problem = compared.problem.as_deref().unwrap_or("not within its gate");
            notes.push(format!("tensor \"{}\": {problem}", shown(&base.name)));
        }
        let is_worst = worst
            .as_ref()
            .is_none_or(|(failed, tensor)| match (fails, *failed) {
                (true, false) => true,
                (false, true) => false,
                _ => is_worse(&compared, tensor),
            });
        if is_worst {
            worst = Some((fails, compared.clone()));
        }
        table.push(compared);
    }
    let alone = matched
        .iter()
        .filter(|(base, _)| !tables.has_row(base))
        .map(|(base, now)| Part {
            name: &base.name,
            base,
            now,
            columns: None,
        });
    let (predictions, turned) = match predictions::of_tensors(alone.chain(tables.parts()), rule)? {
        Some(judged) => (Some(judged.comparison), judged.failing),
        None => (None, None),
    };
    let structure = broken.is_empty();
    let same = structure && same_metadata && table.is_empty();
    // What is demanded of labels holds beside the gates: numbers may be near enough and a label still turn.
    let labels_hold = predictions
        .as_ref()
        .is_none_or(|found| found.problem.is_none());
    let gates = structure && same_metadata && failing.is_none() && excused.is_none() && labels_hold;
    let is_functional = predictions.is_some() && labels_hold && structure && failing.is_none();
    let class = if same {
        Class::ContentExact
    } else if gates {
        Class::Numeric
    } else if is_functional {
        Class::Functional
    } else {
        Class::Divergent
    };
    table.sort_by(|one, two| one.tensor.cmp(&two.tensor));
    table.truncate(MAX_ROWS);
    Ok(Found {
        class,
        first: broken
            .into_iter()
            .next()
            .or(failing)
            .or(turned.filter(|_| !same))
            .or(excused)
            .or(differing),
        worst: worst.map(|(_, tensor)| tensor),
        counts,
        tensors: table,
        predictions,
        notes,
    })
}

/// Whether nothing else that the files say differs. What two formats say in words of their own cannot be held against each
/// other: there neither may say anything that the other has no word for.
fn compare_metadata(base: &TensorFile, now: &TensorFile, broken: &mut Vec<Difference>) -> bool {
    let is_one_format = base.format == now.format;
    let keys: std::collections::BTreeSet<&String> =
        base.metadata.keys().chain(now.metadata.keys()).collect();
    let before = broken.len();
    for key in keys {
        let (one, two) = (base.metadata.get(key), now.metadata.get(key));
        let differs = match is_one_format {
            true => one != two,
            false => base.says_more(key) || now.says_more(key),
        };
        if differs {
            broken.push(Difference {
                locator: Locator::at(Place::Metadata(key.clone())),
                what: "metadata".to_owned(),
                base: one.map(|text| shown(text)),
                now: two.map(|text| shown(text)),
            });
        }
    }
    broken.len() == before
}

/// Failing before passing, then by distance; a distance that is none is the worst.
fn is_worse(one: &TensorComparison, two: &TensorComparison) -> bool {
    let rank = |tensor: &TensorComparison| {
        let far = tensor.rel_l2.value();
        let odd = tensor.base_nan != tensor.now_nan;
        (
            !tensor.ok,
            odd,
            if far.is_nan() { f64::INFINITY } else { far },
        )
    };
    let (a, b) = (rank(one), rank(two));
    (a.0, a.1)
        .cmp(&(b.0, b.1))
        .then(a.2.total_cmp(&b.2))
        .is_gt()
}

/// Numbers of a complex tensor are counted in halves.
fn first_index(tensor: &Tensor, number: u64) -> u64 {
    match tensor.element {
        ElementType::C64 | ElementType::C128 => number / 2,
        _ => number,
    }
}

/// The figures and the verdict; and whether NaN or an infinity stands where the rule does not allow it.
fn conclude(
    base: &Tensor,
    now: &Tensor,
    state: &State,
    rule: &ArtifactRule,
) -> Result<(TensorComparison, bool), Unreadable> {
    let tally = &state.tally;
    let [difference, base_square, now_square, product, absolute] = Sums::tree(&state.sums).0;
    let parts = match base.element {
        ElementType::C64 | ElementType::C128 => 2,
        _ => 1,
    };
    let figures = TensorFigures {
        elements: base.elements() * parts,
        changed: tally.changed,
        base_norm: base_square.sqrt(),
        now_norm: now_square.sqrt(),
        difference_norm: difference.sqrt(),
        max_abs: tally.max_abs,
        nan_one_side: tally.nan_one_side,
        nan_both: tally.nan_both,
        infinite: tally.infinite,
        outside: tally.outside,
    };
    let gate = rule.gate(base.element);
    // Bounds on single elements that a rule states hold for integers too; what is no number is within none.
    let bounded = rule.is_elementwise() && numbers::width(base.element).is_some();
    let verdict = match bounded {
        true => gate.judge(&figures),
        false => gate.judge_type(base.element, &figures),
    };
    let is_no_number = matches!(verdict, Err(GateFailure::Nan(_) | GateFailure::Infinite(_)));
    let problem = verdict.err().map(|failure| failure.to_string());
    let ok = problem.is_none();
    let cosine = match base_square > 0.0 && now_square > 0.0 {
        true => product / (base_square.sqrt() * now_square.sqrt()),
        false => f64::from(u8::from(difference == 0.0)),
    };
    let place = tally
        .refused_at(rule.nan)
        .or(tally
            .outside_at
            .filter(|_| !ok && tally.outside > 0 && tally.max_at.is_none()))
        .or(tally.max_at)
        .or(tally.first_changed);
    let at = match place {
        None => None,
        Some(place) => {
            let place = place / parts;
            Some(Element {
                index: base.index(place),
                base: base.text(place)?,
                now: now.text(place)?,
            })
        }
    };
    let mean = match tally.finite {
        0 => 0.0,
        count => absolute / count as f64,
    };
    let compared = TensorComparison {
        tensor: base.name.clone(),
        element: base.element,
        shape: base.shape.clone(),
        ok,
        problem,
        elements: base.elements(),
        changed: tally.changed,
        sign_flips: tally.sign_flips,
        base_nan: tally.base_nan,
        now_nan: tally.now_nan,
        rel_l2: Decimal::from(figures.rel_l2()),
        scaled_max: Decimal::from(figures.scaled_max()),
        max_abs: Decimal::from(tally.max_abs),
        mean_abs: Decimal::from(mean),
        cosine: Decimal::from(cosine),
        p99_ulp: tally.p99_ulp().map(Decimal::from),
        at,
        first_index: tally.first_changed.map(|place| base.index(place / parts)),
    };
    Ok((compared, is_no_number))
}
