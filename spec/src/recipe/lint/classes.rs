//! Classes that are demanded of an output, and that nothing can show of it.

use super::super::Recipe;
use super::super::finding::{Code, Place};
use super::super::path::RecipePath;
use super::super::words::StageKind;
use crate::compare::{ArtifactRule, Class};

/// Tells outputs of which function or statistics are demanded, and that are held to their numbers all the same: no golden
/// answer or metric comes of their stage, and no bound says how far they may differ.
pub(super) fn check_classes(recipe: &Recipe, say: &mut impl FnMut(Code, Place, String, &str)) {
    let settling = recipe.settling();
    // What was fetched is an input to every replay.
    let stages = recipe.stages.iter();
    for stage in stages.filter(|stage| stage.kind != StageKind::Fetch) {
        let mut look = |path: &RecipePath, class: Class, bounds: &ArtifactRule, place: Place| {
            let what = match class {
                Class::Functional => "golden answer",
                Class::Statistical => "metric",
                _ => return,
            };
            let decides = settling.decides(stage, path.as_str(), class);
            // Of a directory with metrics in it, what else is there is not known here.
            if decides || settling.measures_below(path) || has_bounds(bounds) {
                return;
            }
            let hint = "state a tolerance for it, demand another class, or measure or ask what comes of its stage";
            say(
                Code::Undecided,
                place,
                format!(
                    "\"{path}\" has the class \"{class}\", and no {what} comes of stage \"{}\": any replay with other numbers diverges",
                    stage.name
                ),
                hint,
            );
        };
        for path in &stage.writes {
            let rule = recipe.rule_for(stage, path.as_str());
            let tolerance = stage.tolerance.get(path);
            let place = tolerance.map_or(stage.place, |tolerance| tolerance.place);
            look(path, rule.class, &rule, place);
        }
        for (path, tolerance) in &stage.tolerance {
            if let Some(class) = tolerance.class
                && !stage.writes.contains(path)
            {
                look(path, class, &tolerance.bounds, tolerance.place);
            }
        }
    }
}

fn has_bounds(rule: &ArtifactRule) -> bool {
    let norms = [&rule.rel_l2, &rule.scaled_max, &rule.atol];
    rule.is_elementwise()
        || norms.iter().any(|bound| bound.is_some())
        || rule.predictions().is_stated()
}
