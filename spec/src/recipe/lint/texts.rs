//! Texts for people: whether a reason is missing, and which ones are left to be written.

use super::super::Recipe;
use super::super::finding::{Code, Place};
use super::super::reader::left_to_fill;

/// Whether a reason is missing; one that is to be written is told as that.
pub(super) fn is_missing(why: Option<&str>) -> bool {
    why.is_none_or(|why| why.trim().is_empty())
}

/// Texts for people that `init` or an import left to be written.
pub(super) fn texts_to_write(recipe: &Recipe, say: &mut impl FnMut(Code, Place, String, &str)) {
    let places = &recipe.places;
    let mut look = |place: Place, what: String, text: Option<&str>| {
        let Some(task) = text.and_then(left_to_fill) else {
            return;
        };
        let task = if task.is_empty() {
            "nobody has written it"
        } else {
            task
        };
        let task: String = task.chars().take(200).collect();
        say(
            Code::ToDo,
            place,
            format!("{what}: {task}"),
            "write it, or remove it if there is nothing to say",
        );
    };
    let header = places.header;
    look(header, "the owner".into(), recipe.owner());
    look(
        header,
        "the model's description".into(),
        recipe.description(),
    );
    let why = places.why.unwrap_or(header);
    look(
        why,
        "why of [determinism]".into(),
        recipe.determinism.why.as_deref(),
    );
    for input in &recipe.inputs {
        let what = format!("the source of input \"{}\"", input.path);
        look(input.place, what, input.source.as_deref());
    }
    for exemption in &recipe.overrides {
        let what = format!("why of the override of \"{}\"", exemption.rule.fact);
        look(exemption.place, what, Some(&exemption.rule.why));
    }
    for stage in &recipe.stages {
        let what = format!("stage \"{}\"", stage.name);
        look(stage.place, what, stage.description.as_deref());
        let what = format!("why of stage \"{}\"", stage.name);
        look(stage.place, what, stage.why.as_deref());
        for (path, tolerance) in &stage.tolerance {
            let what = format!("why of the tolerance for \"{path}\"");
            look(tolerance.place, what, tolerance.bounds.why.as_deref());
        }
    }
    for metric in &recipe.metrics {
        look(
            metric.place,
            format!("why of metric \"{}\"", metric.name),
            metric.why.as_deref(),
        );
    }
    for test in &recipe.tests {
        look(
            test.place,
            format!("why of test \"{}\"", test.name),
            test.why.as_deref(),
        );
    }
    for profile in &recipe.profiles {
        look(
            profile.place,
            format!("why of profile \"{}\"", profile.name),
            profile.why.as_deref(),
        );
    }
}
