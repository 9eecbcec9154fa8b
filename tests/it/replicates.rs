//! A metric whose mean counts: the baseline's replicates are run again, and Welch's test decides.

use crate::project_desk::{Desk, RECIPE};
use serde_json::Value;

/// The project with five seeds, and a metric that depends on them.
fn desk() -> Desk {
    let recipe = RECIPE
        .replace("class = \"bit_exact\"", "class = \"statistical\"")
        .replace(
            "isolation =",
            "replicates = { seeds = [7, 8, 9, 10, 11], stages = [\"train\"] }\nisolation =",
        )
        .replace(
            "replay = { abs = 0 }",
            "replay = { method = \"tost\", margin = 0.005 }",
        );
    let desk = Desk::with(&recipe);
    score(&desk, "0.9");
    desk.run(&["run", "p"]).expect(0);
    desk
}

/// A training whose metric lies around `mean`, by its seed.
fn score(desk: &Desk, mean: &str) {
    let script = format!(
        "mkdir -p model\ncat work/sorted.csv > model/weights.txt\n\
         awk \"BEGIN {{ printf \\\"{{\\\\\\\"rows\\\\\\\": %.4f}}\\\", {mean} + ($SEALSTONE_SEED % 5) / 1000 }}\" > metrics.json\n"
    );
    desk.write("p/src/train.sh", &script);
}

fn replicates_run(report: &Value) -> Vec<&str> {
    let trail = report["trail"].as_array().unwrap().iter();
    trail
        .filter(|entry| entry["event"] == "stage.replicate")
        .map(|entry| entry["subject"].as_str().unwrap())
        .collect()
}

#[test]
fn a_mean_is_compared_by_as_many_runs_as_the_baseline_had() {
    let desk = desk();
    let lock: Value = serde_json::from_str(&desk.read("p/recipe.lock")).unwrap();
    let values = lock["metrics"]["rows"]["replicates"].as_array().unwrap();
    assert_eq!(values.len(), 5, "{lock}");

    let same = desk.run(&["replay", "p"]).expect(0).json;
    let report = &same["report"];
    assert_eq!(report["verdict"], "REPRODUCED", "{report}");
    assert_eq!(report["metrics"][0]["rule"]["method"], "tost");
    // The seed of the replay itself is one of them, and is not run again.
    let due = [8, 9, 10, 11].map(|seed| format!("train (seed {seed})"));
    assert_eq!(replicates_run(report), due);
    assert!(report["timings"]["replicates"].is_string(), "{report}");

    // Other code, another mean within the margin: equivalent, and told.
    score(&desk, "0.9002");
    let near = desk.run(&["replay", "p"]).expect(0).json;
    let report = &near["report"];
    assert_eq!(report["verdict"], "REPRODUCED_WITH_WARNINGS", "{report}");
    assert_eq!(report["metrics"][0]["ok"], true);
    assert_eq!(report["metrics"][0]["now"], "0.9022");

    score(&desk, "0.92");
    let far = desk.run(&["replay", "p"]).expect(2).json;
    let report = &far["report"];
    assert_eq!(report["verdict"], "DIVERGED", "{report}");
    assert_eq!(report["metrics"][0]["ok"], false);
    let reasons = report["reasons"].as_array().unwrap();
    let metric = |reason: &&Value| reason["code"] == "metric" && reason["subject"] == "rows";
    assert!(reasons.iter().any(|reason| metric(&reason)), "{report}");
}

fn without_golden(desk: &Desk) {
    let recipe = desk.read("p/recipe.toml");
    let (before, rest) = recipe.split_once("[test.golden]").unwrap();
    let (_, after) = rest.split_once("[profile.smoke]").unwrap();
    desk.write("p/recipe.toml", &format!("{before}[profile.smoke]{after}"));
}

#[test]
fn a_mean_that_shows_nothing_leaves_the_weights_open() {
    let desk = desk();
    without_golden(&desk);
    desk.run(&["run", "p"]).expect(0);
    // Neither within the margin for sure nor beyond it, and other weights.
    score(&desk, "0.904");
    desk.change(
        "p/src/train.sh",
        "cat work/sorted.csv",
        "sort -r work/sorted.csv",
    );
    let ended = desk.run(&["replay", "p"]).expect(5).json;
    let report = &ended["report"];
    assert_eq!(report["verdict"], "INCONCLUSIVE", "{report}");
    assert_eq!(report["metrics"][0]["undecided"], true, "{report}");
}

#[test]
fn a_scope_that_runs_once_says_nothing_of_a_mean() {
    let desk = desk();
    desk.change("p/recipe.toml", "kind = \"train\"", "kind = \"evaluate\"");
    // The golden answers are those of a model that is trained.
    without_golden(&desk);
    desk.run(&["run", "p"]).expect(0);
    let ended = desk.run(&["replay", "p", "--scope", "eval"]).expect(0).json;
    let report = &ended["report"];
    assert_eq!(report["verdict"], "REPRODUCED_WITH_WARNINGS", "{report}");
    assert_eq!(report["metrics"].as_array().map(Vec::len), Some(0));
    let reasons = report["reasons"].to_string();
    assert!(reasons.contains("needs replicates"), "{reasons}");
}

#[test]
fn a_seed_whose_run_fails_leaves_nothing_shown() {
    let desk = desk();
    let script = desk.read("p/src/train.sh");
    desk.write(
        "p/src/train.sh",
        &format!("[ $SEALSTONE_SEED != 9 ] || exit 3\n{script}"),
    );
    let ended = desk.run(&["replay", "p"]).expect(4).json;
    let report = &ended["report"];
    assert_eq!(report["verdict"], "ERROR", "{report}");
    let text = report["reasons"].to_string();
    assert!(text.contains("with seed 9"), "{text}");
}

#[test]
fn a_sample_too_small_to_show_anything_is_no_recipe() {
    let desk = desk();
    desk.change("p/recipe.toml", "[7, 8, 9, 10, 11]", "[7, 8]");
    let refused = desk.run(&["lint", "p"]);
    assert_ne!(refused.code, 0, "{}", refused.everything);
    assert!(
        refused.everything.contains("2 replicates are too few"),
        "{}",
        refused.everything
    );
    let text = desk.read("p/recipe.toml");
    let without: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("replicates"))
        .collect();
    desk.write("p/recipe.toml", &without.join("\n"));
    let refused = desk.run(&["lint", "p"]);
    assert!(
        refused.everything.contains("no replicates"),
        "{}",
        refused.everything
    );
}
