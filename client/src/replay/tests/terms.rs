//! Recipes that ask less than the lock, or within wider bounds.

use super::expected::{expect, expect_warnings, told};
use super::laboratory::{Laboratory, RECIPE, nothing};
use sealstone_spec::report::Verdict;

#[test]
fn what_a_recipe_no_longer_asks_is_not_passed_over() {
    let evaluation = {
        let from = RECIPE.find("[stage.evaluate]").unwrap();
        let to = RECIPE.find("[test.golden]").unwrap();
        &RECIPE[from..to]
    };
    let metric = {
        let from = RECIPE.find("[metric.r2]").unwrap();
        let to = RECIPE.find("[test.golden]").unwrap();
        &RECIPE[from..to]
    };
    let test = &RECIPE[RECIPE.find("[test.golden]").unwrap()..];
    for (gone, names) in [
        (metric, &["r2"][..]),
        (test, &["golden"]),
        (evaluation, &["evaluate", "loss", "r2"]),
    ] {
        let laboratory = Laboratory::new();
        laboratory.edit("recipe.toml", gone, "");
        let report = laboratory.replay(nothing);
        expect(&report, Verdict::Inconclusive, 5, None, None, None);
        for name in names {
            assert_eq!(
                told(&report, "unmeasured", name).verdict,
                Verdict::Inconclusive
            );
        }
    }
}

#[test]
fn a_recipe_with_wider_rules_is_told() {
    let laboratory = Laboratory::new();
    laboratory.edit("recipe.toml", "abs = 1e-6", "abs = 1e-3");
    let report = laboratory.replay(nothing);
    expect_warnings(&report);
    told(&report, "drift", "recipe.toml");
    assert!(report.overrides.is_empty());
    // Of the strictest class the lock knows what it was.
    let laboratory = Laboratory::new();
    laboratory.edit(
        "recipe.toml",
        "class = \"bit_exact\"",
        "class = \"numeric\"",
    );
    let report = laboratory.replay(nothing);
    expect_warnings(&report);
    assert_eq!(report.overrides[0].kind, "tolerance");
}
