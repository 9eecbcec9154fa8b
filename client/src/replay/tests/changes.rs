//! Code and parameters that changed: what is put down to them, what is only told, and nothing where nothing did.

use super::expected::{DATA, WEIGHTS, expect, expect_divergence, expect_warnings, status, told};
use super::laboratory::{Laboratory, TRAIN, nothing};
use super::variants::tolerant;
use sealstone_spec::report::{Cause, ReplayScope, Report, StageStatus, Verdict};

#[test]
fn an_unchanged_project_is_reproduced_in_every_mode() {
    let laboratory = Laboratory::new();
    for (isolated, twice) in [(false, false), (true, false), (false, true)] {
        let report = laboratory.replay(|trial| (trial.isolated, trial.twice) = (isolated, twice));
        expect(&report, Verdict::Reproduced, 0, None, None, None);
        assert!(
            report
                .stages
                .iter()
                .all(|row| row.status == StageStatus::Ok && row.attempts == 1)
        );
        assert_eq!(report.class.achieved.unwrap().as_str(), "bit_exact");
        assert_eq!(report.tests.len(), 1);
    }
    let sealed = laboratory.replay_sealed(nothing);
    expect(&sealed, Verdict::Reproduced, 0, None, None, None);
    assert_eq!(sealed.baseline.id, "line:1.0");
}

#[test]
fn a_changed_learning_rate_is_named_with_both_values() {
    let laboratory = Laboratory::new();
    laboratory.edit("params.json", "0.05", "0.04");
    let report = laboratory.replay(nothing);
    expect_divergence(&report, WEIGHTS, Some("pointer:/b"), "params");
    assert_eq!(report.evidence[0].text, "lr 0.05→0.04");
    assert_eq!(status(&report, "evaluate"), StageStatus::Inherited);
    assert_eq!(status(&report, "prepare"), StageStatus::Ok);
    let first = report.first_divergence.unwrap();
    assert_eq!(first.cause, Cause::Changed);
    let trace = first.trace.unwrap();
    assert_eq!((trace.step, trace.column.as_str()), (0, "lr"));
    assert_eq!(first.hints[0], "ND-19");
    let metric = &report.metrics[0];
    assert!(!metric.ok && metric.base != metric.now);
}

/// What a training that goes wrong leaves behind: Python's `NaN`, which is no JSON, or half of a line.
#[test]
fn a_trace_that_is_no_json_tells_the_step_all_the_same() {
    const TRACE: (&str, &str) = ("train", "trace.jsonl");
    let trace_of = |report: Report| {
        let first = report.first_divergence.unwrap();
        let trace = first.trace.unwrap();
        (trace.step, trace.column, trace.now, first.hints)
    };
    let laboratory = Laboratory::new();
    let lost = "\"loss\": loss if step < 5 else float(\"nan\")";
    laboratory.edit("src/train.py", "\"loss\": loss", lost);
    let report = laboratory.replay(nothing);
    expect_divergence(&report, TRACE, None, "code");
    let (step, column, now, _) = trace_of(report);
    assert_eq!((step, column.as_str()), (5, "loss"));
    assert_eq!(now.as_deref(), Some("NaN"));

    let laboratory = Laboratory::new();
    let cut =
        "\ntext = open(\"trace.jsonl\").read()\nopen(\"trace.jsonl\", \"w\").write(text[:-20])\n";
    laboratory.write("src/train.py", &format!("{TRAIN}{cut}"));
    let report = laboratory.replay(nothing);
    expect_divergence(&report, TRACE, None, "code");
    let (step, column, now, _) = trace_of(report);
    assert_eq!((step, column.as_str()), (59, "line"));
    assert!(now.unwrap().starts_with("{\"step\": 59, "));

    // A rate at which nothing is left of the weights: the first step says why.
    let laboratory = Laboratory::new();
    laboratory.edit("params.json", "0.05", "1e9");
    let report = laboratory.replay(nothing);
    expect_divergence(&report, WEIGHTS, None, "params");
    let (step, column, _, hints) = trace_of(report);
    assert_eq!((step, column.as_str()), (0, "lr"));
    assert_eq!(hints[0], "ND-19");
}

#[test]
fn changed_code_is_named_and_what_follows_is_inherited() {
    let laboratory = Laboratory::new();
    laboratory.edit("src/prepare.py", "/ 10", "/ 11");
    let report = laboratory.replay(nothing);
    expect_divergence(&report, DATA, None, "code");
    assert_eq!(report.evidence[0].text, "src/prepare.py");
    assert_eq!(status(&report, "train"), StageStatus::Inherited);
    // Alone, on the baseline's inputs, the others do what they did.
    let report = laboratory.replay(|trial| trial.isolated = true);
    expect_divergence(&report, DATA, None, "code");
    assert_eq!(status(&report, "train"), StageStatus::Ok);
}

#[test]
fn code_that_changed_without_effect_is_a_warning() {
    let laboratory = Laboratory::new();
    laboratory.write("src/train.py", &format!("# a comment\n{TRAIN}"));
    let report = laboratory.replay(nothing);
    expect_warnings(&report);
    assert_eq!(report.verdict.exit_code(true), 1);
    assert!(
        report
            .reasons
            .iter()
            .any(|reason| reason.code == "drift" && reason.subject == "train")
    );
}

#[test]
fn code_and_parameters_changed_at_once_are_put_down_to_neither() {
    let laboratory = Laboratory::new();
    laboratory.edit("params.json", "0.05", "0.04");
    laboratory.edit("src/train.py", "w = b = 0.0", "w = b = 0.1");
    let report = laboratory.replay(nothing);
    expect_divergence(&report, WEIGHTS, None, "unknown");
    assert_eq!(report.stages[1].changed, ["code", "params"]);
}

#[test]
fn a_change_whose_effect_is_tolerated_is_told() {
    let laboratory = Laboratory::with(&tolerant(), &[]);
    laboratory.edit("params.json", "0.05", "0.0500000001");
    let report = laboratory.replay(nothing);
    expect_warnings(&report);
    assert_eq!(report.verdict.exit_code(true), 1);
    assert!(report.first_divergence.as_ref().unwrap().tolerated);
    assert_eq!(
        told(&report, "drift", "train").text,
        "lr 0.05→0.0500000001 changed, and its outputs with it"
    );
}

#[test]
fn what_changed_in_a_stage_that_is_not_run_is_told() {
    let laboratory = Laboratory::new();
    laboratory.edit("params.json", "0.05", "0.04");
    laboratory.edit("src/prepare.py", "/ 10", "/ 11");
    // As after a checkout: what stages write between each other is not there.
    std::fs::remove_file(laboratory.path("work/train.csv")).unwrap();
    let report = laboratory.replay(|trial| trial.scope = Some(ReplayScope::Infer));
    expect_warnings(&report);
    assert_eq!(
        told(&report, "drift", "train").text,
        "lr 0.05→0.04 changed, and it was not run"
    );
    told(&report, "drift", "prepare");
    let rows: Vec<(StageStatus, &[String])> = report
        .stages
        .iter()
        .map(|row| (row.status, row.changed.as_slice()))
        .collect();
    assert_eq!(rows[0], (StageStatus::Skipped, &["code".to_owned()][..]));
    assert_eq!(rows[1], (StageStatus::Skipped, &["params".to_owned()][..]));
    assert_eq!(rows[2], (StageStatus::Skipped, &[][..]));
}

#[test]
fn an_evaluation_does_not_hide_that_training_changed() {
    let laboratory = Laboratory::new();
    laboratory.edit("params.json", "0.05", "0.04");
    let report = laboratory.replay(|trial| {
        trial.scope = Some(ReplayScope::Eval);
        trial.isolated = true;
    });
    expect_warnings(&report);
    told(&report, "drift", "train");
}
