//! What a stage wrote, held against the baseline's, file by file.
//!
//! The same digest is the same bytes; anything else is for the comparators, if the baseline's bytes are at
//! hand. Invariant: a file that cannot be compared is not ok.

use super::project::Project;
use super::room::Produced;
use crate::check::Compare;
use crate::compare::{ArtifactComparison, Difference, Place, TensorComparison};
use crate::error::{Outcome, Result};
use sealstone_spec::compare::{ArtifactRule, Class};
use sealstone_spec::recipe::Stage;
use sealstone_spec::report::{ArtifactDetail, ArtifactRow, Clue, Stabilizer, TensorRow, Worst};
use std::collections::BTreeSet;

/// The rows of a stage, and what they show.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) rows: Vec<ArtifactRow>,
    /// The first file whose content differs: path, place, values.
    pub(super) first: Option<First>,
    pub(super) clues: Vec<Clue>,
    pub(super) stabilizers: Vec<Stabilizer>,
    /// Files that this machine could not compare, by path, and why: nothing is said of them.
    pub(super) failed: Vec<(String, String)>,
}

/// Where the first difference lies.
#[derive(Clone, Debug)]
pub(super) struct First {
    pub(super) path: String,
    pub(super) locator: Option<String>,
    pub(super) base: Option<String>,
    pub(super) now: Option<String>,
}

/// Holds what `stage` wrote against the lock.
///
/// # Errors
/// [`Outcome::Halted`] alone: something that was checked is another now.
pub(super) fn of_stage(
    project: &Project,
    stage: &Stage,
    produced: &Produced,
    compare: Compare<'_>,
) -> Result<Compared> {
    let mut compared = Compared::default();
    let locked = project.lock.stage(&stage.name);
    let base: BTreeSet<&str> = locked
        .into_iter()
        .flat_map(|locked| project.lock.outputs_of(locked))
        .map(|file| file.path.as_str())
        .collect();
    let paths: BTreeSet<&str> = base
        .iter()
        .copied()
        .chain(produced.keys().map(String::as_str))
        .collect();
    for path in paths {
        let rule = project.recipe.rule_for(stage, path);
        let then = project
            .lock
            .file(path)
            .filter(|_| base.contains(path))
            .map(|file| file.digest);
        let now = produced.get(path);
        let mut row = ArtifactRow {
            path: path.to_owned(),
            role: Some(role(project, stage, path).to_owned()),
            base: then,
            now: now.map(|(_, digest)| *digest),
            class: None,
            required: rule.class,
            ok: false,
            detail: None,
        };
        match (then, now) {
            (Some(then), Some((_, digest))) if then == *digest => {
                row.class = Some(Class::BitExact);
                row.ok = true;
            }
            (Some(_), Some((place, _))) => {
                let baseline = project.baseline_file(path);
                let comparison = baseline.and_then(|baseline| {
                    baseline
                        .map(|baseline| compare(&baseline, place, &rule))
                        .transpose()
                });
                match comparison {
                    Ok(Some(comparison)) => compared.take(&mut row, &comparison, &rule),
                    Ok(None) if rule.class == Class::BitExact => {
                        row.class = Some(Class::Divergent);
                        row.detail = note(
                            "other bytes than the lock says; the baseline does not hold the file, so no place can be named",
                        );
                    }
                    Ok(None) => {
                        row.detail = note(
                            "other bytes than the lock says, and the baseline does not hold the file to compare with",
                        )
                    }
                    Err(error) if error.outcome() == Outcome::Halted => return Err(error),
                    // Where every bit is demanded, the digests have said it.
                    Err(error) if rule.class == Class::BitExact => {
                        row.class = Some(Class::Divergent);
                        row.detail = note(&format!(
                            "other bytes than the lock says; no place can be named: {}",
                            error.in_words()
                        ));
                    }
                    Err(error) => {
                        let text = error.in_words();
                        row.detail = note(&text);
                        compared.failed.push((path.to_owned(), text));
                    }
                }
            }
            (Some(_), None) => row.detail = note("the stage did not write it"),
            (None, _) => {
                row.class = Some(Class::Divergent);
                row.detail = note("the baseline has no such file");
            }
        }
        let differs = !row.ok || !matches!(row.class, Some(Class::BitExact | Class::ContentExact));
        if differs && compared.first.is_none() {
            compared.first = Some(First {
                path: path.to_owned(),
                locator: row.detail.as_ref().and_then(|detail| detail.first.clone()),
                base: row.base.map(|digest| digest.to_string()),
                now: row.now.map(|digest| digest.to_string()),
            });
        }
        compared.rows.push(row);
    }
    Ok(compared)
}

impl Compared {
    fn take(
        &mut self,
        row: &mut ArtifactRow,
        comparison: &ArtifactComparison,
        rule: &ArtifactRule,
    ) {
        row.class = Some(comparison.class);
        row.ok = comparison.class.satisfies(rule.class);
        // Where every bit is demanded, other bytes are a difference also where their content is the same.
        let differs = comparison.class < Class::ContentExact || !row.ok;
        let worst = comparison.worst.as_ref();
        let reordered = comparison.rows.as_ref().is_some_and(|rows| rows.reordered);
        // Of a table the comparison itself names row and column: a column is no tensor to whoever reads the report.
        let is_row = comparison
            .first
            .as_ref()
            .is_some_and(|first| matches!(first.locator.place, Place::Row { .. }));
        // The place that is furthest off says more than the first one, where numbers are what differs. Where it is a
        // tensor that is missing, a text that changed or a label that turned, what rounding moved beside it is no reason.
        let first = comparison.first.as_ref();
        let told = match first.and_then(|first| failing(comparison, first)) {
            _ if comparison.class >= Class::Numeric => worst,
            Some(column) if is_row => Some(column),
            Some(_) => worst,
            None => None,
        };
        let at = told
            .filter(|_| !is_row)
            .and_then(|tensor| Some((tensor, tensor.at.as_ref()?)));
        let locator = match (&comparison.first, at) {
            (first, Some((tensor, element))) if differs => {
                let index: Vec<String> = element.index.iter().map(u64::to_string).collect();
                let members: String = first
                    .iter()
                    .flat_map(|first| &first.locator.members)
                    .map(|member| format!("member:{member}!"))
                    .collect();
                // Numbers of a document are told by their place in it, as everything else of it is.
                let is_pointer = first
                    .as_ref()
                    .is_some_and(|first| matches!(first.locator.place, Place::Pointer(_)));
                Some(match is_pointer {
                    true => {
                        let index: String = index.iter().map(|at| format!("/{at}")).collect();
                        format!("{members}pointer:{}{index}", tensor.tensor)
                    }
                    false => format!("{members}tensor:{}[{}]", tensor.tensor, index.join(",")),
                })
            }
            (Some(first), _) => Some(first.locator.to_string()),
            _ => None,
        };
        let values = match (at, &comparison.first) {
            (Some((_, element)), _) if differs => {
                (Some(element.base.clone()), Some(element.now.clone()))
            }
            (_, Some(first)) => (first.base.clone(), first.now.clone()),
            _ => (None, None),
        };
        if differs {
            self.clues.push(Clue::Artifact(row.path.clone()));
            if reordered {
                self.clues.push(Clue::Reordered);
            }
            if let (Some(base), Some(now)) = &values {
                self.clues.push(Clue::Values(base.clone(), now.clone()));
            }
            if told.is_some_and(|tensor| {
                (0.0..1e-5).contains(&tensor.rel_l2.value()) && tensor.changed > 0
            }) {
                self.clues.push(Clue::Rounding);
            }
            if self.first.is_none() {
                self.first = Some(First {
                    path: row.path.clone(),
                    locator: locator.clone(),
                    base: values.0,
                    now: values.1,
                });
            }
        }
        for used in &comparison.stabilizers {
            let stabilizer = Stabilizer {
                name: used.name.to_owned(),
                version: used.version,
                reason: Some(used.reason.to_owned()),
            };
            if !self.stabilizers.contains(&stabilizer) {
                self.stabilizers.push(stabilizer);
            }
        }
        let observed = told
            .map(|tensor| format!("rel_l2 {}, scaled_max {}", tensor.rel_l2, tensor.scaled_max))
            .or_else(|| comparison.first.as_ref().map(|first| first.what.clone()));
        row.detail = Some(ArtifactDetail {
            format: Some(comparison.format.to_owned()),
            first: locator.or_else(|| {
                comparison
                    .first
                    .as_ref()
                    .map(|first| first.locator.to_string())
            }),
            worst: worst.map(|tensor| Worst {
                tensor: tensor.tensor.clone(),
                index: tensor
                    .at
                    .as_ref()
                    .map(|element| element.index.clone())
                    .unwrap_or_default(),
                base: tensor.at.as_ref().map(|element| element.base.clone()),
                now: tensor.at.as_ref().map(|element| element.now.clone()),
                max_abs: Some(tensor.max_abs.to_string()),
                rel_l2: Some(tensor.rel_l2.to_string()),
            }),
            rule: Some(rule_text(rule)),
            observed,
            why: rule.why.clone(),
            reordered,
            tensors_differing: comparison
                .counts
                .as_ref()
                .map(|counts| counts.tensors_differing),
            tensors: comparison.counts.as_ref().map(|counts| counts.tensors),
            rows: comparison
                .tensors
                .iter()
                .map(|tensor| TensorRow {
                    name: tensor.tensor.clone(),
                    dtype: serde_json::to_value(tensor.element)
                        .ok()
                        .and_then(|value| value.as_str().map(str::to_owned)),
                    shape: tensor.shape.clone(),
                    changed: Some(tensor.changed),
                    rel_l2: Some(tensor.rel_l2.to_string()),
                    scaled_max: Some(tensor.scaled_max.to_string()),
                    max_abs: Some(tensor.max_abs.to_string()),
                    mean_abs: Some(tensor.mean_abs.to_string()),
                    cosine: Some(tensor.cosine.to_string()),
                    p99_ulp: tensor.p99_ulp.as_ref().map(ToString::to_string),
                    sign_flips: Some(tensor.sign_flips),
                    nan_now: Some(tensor.now_nan),
                    ok: tensor.ok,
                })
                .collect(),
            again: None,
            note: (!comparison.notes.is_empty()).then(|| comparison.notes.join("; ")),
        });
    }
}

/// The tensor or column whose gate `first` says did not hold; `None` where it is about anything else.
fn failing<'a>(
    comparison: &'a ArtifactComparison,
    first: &Difference,
) -> Option<&'a TensorComparison> {
    let is_there = |tensor: &TensorComparison| {
        let index = tensor.at.iter().flat_map(|element| &element.index);
        match &first.locator.place {
            Place::Tensor { name, index: place } => {
                *name == tensor.tensor && place.iter().eq(index)
            }
            Place::Pointer(pointer) => {
                let index: String = index.map(|at| format!("/{at}")).collect();
                *pointer == format!("{}{index}", tensor.tensor)
            }
            Place::Row { row, column } => {
                column.as_ref() == Some(&tensor.tensor) && index.eq([row])
            }
            _ => false,
        }
    };
    let tensors = comparison.worst.iter().chain(&comparison.tensors);
    tensors
        .filter(|tensor| !tensor.ok && tensor.problem.as_ref() == Some(&first.what))
        .find(|tensor| is_there(tensor))
}

fn note(text: &str) -> Option<ArtifactDetail> {
    Some(ArtifactDetail {
        note: Some(text.to_owned()),
        ..ArtifactDetail::default()
    })
}

/// The bounds that are stated, in the words of the recipe.
fn rule_text(rule: &ArtifactRule) -> String {
    let bounds = [
        ("rel_l2", rule.rel_l2.as_ref()),
        ("scaled_max", rule.scaled_max.as_ref()),
        ("atol", rule.atol.as_ref()),
        ("abs", rule.abs.as_ref()),
        ("rel", rule.rel.as_ref()),
    ];
    let mut stated: Vec<String> = bounds
        .into_iter()
        .filter_map(|(name, bound)| Some(format!("{name}<={}", bound?)))
        .collect();
    stated.extend(
        rule.label_agreement
            .as_ref()
            .map(|bound| format!("label_agreement>={bound}")),
    );
    match (stated.is_empty(), rule.class) {
        (false, _) => stated.join(", "),
        (true, Class::BitExact) => "same bytes".into(),
        (true, Class::ContentExact) => "same content".into(),
        (true, _) => "default bounds of its type".into(),
    }
}

fn role(project: &Project, stage: &Stage, path: &str) -> &'static str {
    use sealstone_spec::recipe::StageKind;
    if project
        .recipe
        .metrics()
        .iter()
        .any(|metric| metric.from.path.as_str() == path)
    {
        return "metrics";
    }
    match stage.kind {
        _ if stage
            .trace
            .as_ref()
            .is_some_and(|trace| trace.as_str() == path) =>
        {
            "trace"
        }
        StageKind::Train => "weights",
        StageKind::Prepare => "data",
        StageKind::Infer => "predictions",
        _ => "other",
    }
}

#[cfg(test)]
mod tests;
