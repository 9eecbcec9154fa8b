//! Stages and tests that crash, or do not write what they should.

use super::expected::{METRICS, WEIGHTS, expect, expect_divergence, status, told};
use super::laboratory::{Laboratory, RECIPE, TRAIN, nothing};
use super::variants::tolerant;
use sealstone_spec::report::{ReplayScope, StageStatus, Verdict};

#[test]
fn a_test_that_could_not_be_made_is_undecided() {
    let laboratory = Laboratory::new();
    std::fs::remove_file(laboratory.path("src/predict.py")).unwrap();
    let report = laboratory.replay(|trial| trial.scope = Some(ReplayScope::Infer));
    expect(&report, Verdict::Inconclusive, 5, None, None, None);
    assert!(report.tests[0].undecided);
}

#[test]
fn a_test_whose_parameter_is_gone_hides_no_divergence() {
    let recipe = RECIPE.replace("\"{out}\"]", "\"{out}\", \"{params.mode}\"]");
    let params = "{\"lr\": 0.05, \"epochs\": 60, \"mode\": \"x\"}";
    let laboratory = Laboratory::with(&recipe, &[("params.json", params)]);
    laboratory.edit("params.json", ", \"mode\": \"x\"", "");
    let report = laboratory.replay(nothing);
    expect(&report, Verdict::Inconclusive, 5, None, None, None);
    let golden = &report.tests[0];
    let note = golden.note.as_deref().unwrap_or_default();
    assert!(golden.undecided && note.contains("{params.mode}"), "{note}");
    laboratory.edit("params.json", "0.05", "0.04");
    let report = laboratory.replay(nothing);
    expect_divergence(&report, WEIGHTS, None, "params");
    assert!(report.tests[0].undecided);
}

#[test]
fn rows_that_are_no_text_fail_their_test() {
    let recipe = format!("{RECIPE}[test.rows]\nkind = \"data\"\nfile = \"trace.jsonl\"\n");
    let laboratory = Laboratory::with(&recipe, &[]);
    let noise = format!("{TRAIN}open(\"trace.jsonl\", \"ab\").write(b\"\\xff\\n\")\n");
    laboratory.write("src/train.py", &noise);
    let report = laboratory.replay(nothing);
    expect_divergence(&report, ("train", "trace.jsonl"), None, "code");
    let rows = report.tests.iter().find(|row| row.id == "data/rows");
    let rows = rows.unwrap();
    assert!(!rows.ok && !rows.undecided, "{rows:?}");
    assert_eq!(rows.note.as_deref(), Some("line 61 is no UTF-8"));
}

#[test]
fn a_test_that_the_machine_cannot_run_is_an_error_beside_what_the_stages_did() {
    let laboratory = Laboratory::new();
    laboratory.edit("params.json", "0.05", "0.04");
    let report = laboratory.replay(|trial| trial.breaks = Some("test golden"));
    let origin = Some(WEIGHTS);
    expect(&report, Verdict::Error, 4, origin, None, Some("params"));
    assert!(report.tests[0].undecided);
    let reason = told(&report, "test", "inference/golden");
    assert_eq!(reason.verdict, Verdict::Error);
    assert!(reason.text.contains("no room left"), "{reason:?}");
}

#[test]
fn a_stage_that_the_machine_cannot_run_leaves_what_the_others_did() {
    let laboratory = Laboratory::new();
    laboratory.edit("params.json", "0.05", "0.04");
    let report = laboratory.replay(|trial| trial.breaks = Some("evaluate"));
    let origin = Some(WEIGHTS);
    expect(&report, Verdict::Error, 4, origin, None, Some("params"));
    assert_eq!(status(&report, "prepare"), StageStatus::Ok);
    assert_eq!(status(&report, "train"), StageStatus::Origin);
    let evaluate = &report.stages[2];
    let note = evaluate.note.as_deref().unwrap_or_default();
    assert_eq!(
        (evaluate.status, evaluate.attempts),
        (StageStatus::Error, 0)
    );
    assert!(note.contains("no room left"), "{note}");
    let said = |event: &str, subject: &str| {
        let mut trail = report.trail.iter();
        trail.any(|entry| entry.event == event && entry.subject == subject && !entry.ok)
    };
    assert!(said("stage.run", "evaluate"), "{:?}", report.trail);
    // What needs nothing of it was tried all the same.
    assert!(!report.tests[0].undecided);

    let report = laboratory.replay(|trial| trial.breaks = Some("train"));
    expect(&report, Verdict::Error, 4, None, None, None);
    assert_eq!(status(&report, "train"), StageStatus::Error);
    assert_eq!(status(&report, "evaluate"), StageStatus::Skipped);
    assert_eq!(told(&report, "stage", "train").verdict, Verdict::Error);
}

#[test]
fn what_cannot_be_compared_is_an_error_and_the_rest_goes_on() {
    let laboratory = Laboratory::with(&tolerant(), &[]);
    laboratory.edit("params.json", "0.05", "0.04");
    let report = laboratory.replay(|trial| trial.blind = true);
    assert_eq!(report.verdict, Verdict::Error, "{:?}", report.reasons);
    let reason = told(&report, "artifact", "model/weights.json");
    assert_eq!(reason.verdict, Verdict::Error);
    assert!(reason.text.contains("cannot be read"), "{reason:?}");
    assert_eq!(report.stages[1].artifacts[0].class, None);
    assert_eq!(report.stages[2].attempts, 1);

    // Where all has to be the same to the bit, the digests say enough: only the golden answer is open.
    let laboratory = Laboratory::new();
    laboratory.edit("params.json", "0.05", "0.04");
    let report = laboratory.replay(|trial| trial.blind = true);
    let origin = Some(WEIGHTS);
    expect(&report, Verdict::Error, 4, origin, None, Some("params"));
    let weights = told(&report, "artifact", "model/weights.json");
    assert_eq!(weights.verdict, Verdict::Diverged);
    assert!(report.tests[0].undecided);
}

#[test]
fn a_crash_is_tried_once_more_and_then_an_error() {
    let laboratory = Laboratory::new();
    laboratory.write("src/train.py", "import sys\nsys.exit('out of luck')\n");
    let report = laboratory.replay(nothing);
    expect(&report, Verdict::Error, 4, None, None, None);
    let train = &report.stages[1];
    assert_eq!(
        (train.status, train.attempts, train.exit),
        (StageStatus::Error, 2, Some(1))
    );
    assert!(train.note.as_ref().unwrap().contains("out of luck"));
    assert_eq!(status(&report, "evaluate"), StageStatus::Skipped);
}

#[test]
fn a_crash_that_does_not_come_again_is_forgotten_but_told() {
    let marker = tempfile::tempdir().unwrap();
    let path = marker.path().join("once");
    let flaky = format!(
        "import os\nif os.environ.get('FLAKY') and not os.path.exists({path:?}):\n    open({path:?}, 'w')\n    os.kill(os.getpid(), 11)\n{TRAIN}"
    );
    let laboratory = Laboratory::with(RECIPE, &[("src/train.py", &flaky)]);
    let report =
        laboratory.replay(|trial| drop(trial.environment.insert("FLAKY".into(), "1".into())));
    expect(&report, Verdict::Reproduced, 0, None, None, None);
    assert_eq!(report.stages[1].attempts, 2);
    assert!(
        report
            .trail
            .iter()
            .any(|entry| entry.event == "stage.run" && !entry.ok)
    );
}

#[test]
fn a_stage_that_diverges_is_not_tried_again() {
    let laboratory = Laboratory::new();
    laboratory.edit("params.json", "0.05", "0.04");
    let report = laboratory.replay(nothing);
    assert!(report.stages.iter().all(|row| row.attempts == 1));
}

#[test]
fn an_output_that_is_not_written_diverges() {
    let laboratory = Laboratory::new();
    laboratory.edit("src/evaluate.py", "json.dump(", "print(");
    laboratory.edit("src/evaluate.py", ", open(\"metrics.json\", \"w\"))", ")");
    let report = laboratory.replay(nothing);
    expect_divergence(&report, METRICS, None, "code");
    assert!(
        report
            .metrics
            .iter()
            .all(|metric| metric.undecided && metric.now.is_none())
    );
}
