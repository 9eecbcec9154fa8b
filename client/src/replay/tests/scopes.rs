//! What each scope asks, and what it does not say where it asks nothing.

use super::expected::{expect, expect_divergence, expect_warnings, status, told};
use super::laboratory::{Laboratory, RECIPE};
use super::variants::{functional, spoilt};
use sealstone_spec::report::{ReplayScope, StageStatus, Verdict};

#[test]
fn scopes_run_what_they_say() {
    let laboratory = Laboratory::new();
    for (scope, ran, tests) in [
        (ReplayScope::Verify, 0, 0),
        (ReplayScope::Infer, 0, 1),
        (ReplayScope::Eval, 1, 1),
        (ReplayScope::Full, 3, 1),
    ] {
        let report = laboratory.replay(|trial| trial.scope = Some(scope));
        expect(&report, Verdict::Reproduced, 0, None, None, None);
        assert_eq!(
            report.stages.iter().filter(|row| row.attempts > 0).count(),
            ran,
            "{scope}"
        );
        assert_eq!(report.tests.len(), tests, "{scope}");
    }
}

#[test]
fn a_directory_that_is_only_verified_is_looked_at_whole() {
    let verify = |laboratory: &Laboratory| {
        laboratory.replay(|trial| trial.scope = Some(ReplayScope::Verify))
    };
    let laboratory = Laboratory::new();
    let good = verify(&laboratory);
    expect(&good, Verdict::Reproduced, 0, None, None, None);
    let files = laboratory.read("recipe.lock").matches("\"role\":").count();
    assert_eq!(good.trail[0].subject, format!("{files} files of the lock"));
    laboratory.edit("src/train.py", "w = b = 0.0", "w = b = 0.1");
    laboratory.edit("model/weights.json", "{\"w\": ", "{\"w\": 1");
    std::fs::remove_file(laboratory.path("work/train.csv")).unwrap();
    let report = verify(&laboratory);
    expect_warnings(&report);
    told(&report, "drift", "src/train.py");
    told(&report, "drift", "model/weights.json");
    assert!(!report.trail[0].ok);
    assert_eq!(
        report.trail[0].subject,
        format!("{} files of the lock, 1 are not at hand", files - 1)
    );
    // Other scopes have only looked at some, and say at which.
    let report = laboratory.replay(|trial| trial.scope = Some(ReplayScope::Full));
    assert_eq!(report.trail[0].subject, "1 files of inputs, 2 of tests");
}

#[test]
fn with_a_profile_no_golden_answer_is_asked_and_function_stays_open() {
    let recipe = functional() + "[profile.smoke]\nbaseline = \"baselines/smoke.lock\"\n";
    let laboratory = Laboratory::with(&recipe, &[("src/train.py", &spoilt())]);
    laboratory.record_profile("smoke", "baselines/smoke.lock");
    let replayed = |spoilt: &str| {
        laboratory.replay(|trial| {
            (trial.scope, trial.profile) = (Some(ReplayScope::Smoke), Some("smoke"));
            trial.environment.insert("SPOILT".into(), spoilt.into());
        })
    };
    expect(&replayed("0"), Verdict::Reproduced, 0, None, None, None);
    let report = replayed("0.01");
    expect(&report, Verdict::Inconclusive, 5, None, None, None);
    assert!(report.tests.is_empty());
    let reason = told(&report, "artifact", "model/weights.json");
    assert_eq!(reason.verdict, Verdict::Inconclusive);
}

#[test]
fn a_scope_in_which_the_recipe_has_nothing_shows_nothing() {
    let recipe = RECIPE.split("[stage.evaluate]").next().unwrap();
    let laboratory = Laboratory::with(recipe, &[("metrics.json", "{}")]);
    for scope in [ReplayScope::Infer, ReplayScope::Eval] {
        let report = laboratory.replay(|trial| trial.scope = Some(scope));
        expect(&report, Verdict::Inconclusive, 5, None, None, None);
        told(&report, "unmeasured", scope.as_str());
    }
    for scope in [ReplayScope::Verify, ReplayScope::Full] {
        let report = laboratory.replay(|trial| trial.scope = Some(scope));
        expect(&report, Verdict::Reproduced, 0, None, None, None);
    }
}

#[test]
fn an_evaluation_leaves_a_file_open_that_holds_a_metric_of_many_runs() {
    let recipe = RECIPE
        .replace("class = \"bit_exact\", seed", "class = \"numeric\", seed")
        .replace(
            "isolation = {",
            "replicates = { seeds = [7, 8, 9, 10, 11], stages = [\"train\", \"evaluate\"] }\nisolation = {",
        )
        .replacen(
            "replay = { abs = 1e-6 }",
            "replay = { method = \"tost\", margin = 0.005 }",
            1,
        );
    let laboratory = Laboratory::with(&recipe, &[]);
    let evaluated = || laboratory.replay(|trial| trial.scope = Some(ReplayScope::Eval));
    let report = evaluated();
    expect_warnings(&report);
    told(&report, "metric", "loss");
    // The other one in the file holds, and says nothing of this.
    laboratory.edit("src/evaluate.py", "\"loss\": loss,", "\"loss\": loss + 1,");
    let report = evaluated();
    expect(&report, Verdict::Inconclusive, 5, None, None, None);
    let reason = told(&report, "artifact", "metrics.json");
    assert_eq!(reason.verdict, Verdict::Inconclusive);
}

const ANSWER: &str = r#"
import csv, json, os
m = json.load(open("model/weights.json"))
off = float(os.environ.get("SPOILT", "0"))
rows = [float(r["x"]) for r in csv.DictReader(open("work/train.csv"))]
json.dump([m["w"] * x + m["b"] + off for x in rows], open("work/answers.json", "w"))
"#;
const MEASURE: &str = r#"
import csv, json
answers = json.load(open("work/answers.json"))
due = [float(r["y"]) for r in csv.DictReader(open("work/train.csv"))]
mean = sum(due) / len(due)
loss = sum((one - two) ** 2 for one, two in zip(answers, due)) / len(due)
total = sum((y - mean) ** 2 for y in due) / len(due)
json.dump({"loss": loss, "r2": 1 - loss / total}, open("metrics.json", "w"))
"#;

#[test]
fn an_evaluation_asks_the_shipped_weights_where_another_stage_answers() {
    let answers = "[stage.answer]\nkind = \"infer\"\nrun = [\"python3\", \"src/answer.py\"]\n\
        in = [\"work/train.csv\", \"model/weights.json\", \"src/answer.py\"]\nout = [\"work/answers.json\"]\n\
        device = \"cpu\"\n[stage.evaluate]";
    let recipe = RECIPE
        .replace("[stage.evaluate]", answers)
        .replace("\"model/\"", "\"work/answers.json\"");
    let files = [("src/answer.py", ANSWER), ("src/evaluate.py", MEASURE)];
    let laboratory = Laboratory::with(&recipe, &files);
    let evaluated = |spoilt: &str| {
        laboratory.replay(|trial| {
            trial.scope = Some(ReplayScope::Eval);
            trial.environment.insert("SPOILT".into(), spoilt.into());
        })
    };
    let report = evaluated("0");
    expect(&report, Verdict::Reproduced, 0, None, None, None);
    let ran = report.stages.iter().filter(|row| row.attempts > 0);
    let ran: Vec<&str> = ran.map(|row| row.name.as_str()).collect();
    assert_eq!(ran, ["answer", "evaluate"]);
    // What the weights answer now is what is measured.
    let report = evaluated("0.01");
    expect_divergence(&report, ("answer", "work/answers.json"), None, "unknown");
    assert_eq!(status(&report, "evaluate"), StageStatus::Inherited);
    assert!(report.metrics.iter().any(|metric| !metric.ok));
    // Weights that are not at hand were to be brought; nobody's stage has failed.
    std::fs::remove_file(laboratory.path("model/weights.json")).unwrap();
    let report = evaluated("0");
    expect(&report, Verdict::Inconclusive, 5, None, None, None);
    told(&report, "input-missing", "answer");
}
