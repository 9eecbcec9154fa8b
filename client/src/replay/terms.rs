//! Whether the recipe still asks what the baseline answered.
//!
//! People edit the recipe of a working directory; that of a bundle is the lock's, or it is halted. What a recipe asks no
//! longer is not measured, and no row of a table would say so.
//! The rules that hold are those of the recipe at hand: a tolerance that is wider than the baseline's passes what the
//! baseline's would not. That the recipe is another one is a warning, so such a replay is never plainly REPRODUCED.
//! Invariant: no metric, test or stage of the baseline is left out in silence, and no rule of another recipe without a
//! warning.

use super::project::Project;
use crate::plan::strictest;
use sealstone_spec::recipe::RECIPE_FILE;
use sealstone_spec::report::{Override, Reason, Report, Verdict};

/// Puts into a report how the recipe is another one than the lock's.
pub(super) fn tell(project: &Project, report: &mut Report) {
    let (recipe, lock) = (&project.recipe, &project.lock);
    if lock.recipe.digest == *recipe.digest() {
        return;
    }
    report.reasons.push(Reason::new(
        Verdict::ReproducedWithWarnings,
        "drift",
        RECIPE_FILE,
        "it is another one than the baseline's, and its rules are those that hold here",
    ));
    let mut gone = |what: &str, name: &str| {
        report.reasons.push(Reason::new(
            Verdict::Inconclusive,
            "unmeasured",
            name,
            format!("the baseline has this {what}, and the recipe has it no longer"),
        ));
    };
    for stage in &lock.stages {
        if recipe.stage(&stage.name).is_none() {
            gone("stage", &stage.name);
        }
    }
    for name in lock.metrics.keys() {
        if !recipe.metrics().iter().any(|metric| metric.name == *name) {
            gone("metric", name);
        }
    }
    for name in lock.tests.keys() {
        if !recipe.tests().iter().any(|test| test.name == *name) {
            gone("test", name);
        }
    }
    let (then, now) = (lock.environment.class, strictest(recipe));
    if now < then {
        report.overrides.push(Override {
            kind: "tolerance".into(),
            id: "class".into(),
            expires: None,
            reason: Some(format!(
                "the strictest class that the recipe demands is {now}, for the baseline it was {then}"
            )),
        });
    }
}
