//! Metrics, golden answers and tolerances: what is measured decides, whatever stands beside it.

use super::expected::{METRICS, WEIGHTS, expect, expect_divergence, told};
use super::laboratory::{Laboratory, PREPARE, RECIPE, TRAIN, nothing};
use super::variants::{functional, spoilt, tolerant};
use sealstone_spec::report::{Reason, Report, Verdict};

/// A stage's result with another evaluation, as a metrics file written by it.
fn evaluated(body: &str) -> Report {
    let laboratory = Laboratory::with(
        &RECIPE.replace("class = \"bit_exact\", seed", "class = \"numeric\", seed"),
        &[],
    );
    laboratory.write("src/evaluate.py", body);
    laboratory.replay(nothing)
}

#[test]
fn a_missing_metric_is_undecided() {
    let report = evaluated("open('metrics.json', 'w').write('{\"loss\": 0}')\n");
    let metric = report
        .metrics
        .iter()
        .find(|metric| metric.name == "r2")
        .unwrap();
    assert!(metric.undecided && !metric.ok);
    assert!(report.verdict >= Verdict::Inconclusive);
}

#[test]
fn a_metric_that_is_nan_never_passes() {
    let report = evaluated("open('metrics.json', 'w').write('{\"loss\": NaN, \"r2\": NaN}')\n");
    expect_divergence(&report, METRICS, None, "code");
    assert!(
        report
            .metrics
            .iter()
            .all(|metric| !metric.ok && metric.now.as_deref() == Some("NaN"))
    );
}

#[test]
fn a_better_metric_is_another_metric() {
    let report = evaluated("open('metrics.json', 'w').write('{\"loss\": 0.0, \"r2\": 1.0}')\n");
    expect_divergence(&report, METRICS, Some("pointer:/loss"), "code");
    let metric = report
        .metrics
        .iter()
        .find(|metric| metric.name == "r2")
        .unwrap();
    assert!(
        !metric.ok && metric.note.as_ref().unwrap().contains("better"),
        "{metric:?}"
    );
}

#[test]
fn a_mean_over_predictions_tells_how_many_of_them_changed() {
    let from = "from = \"metrics.json#/r2\"\n";
    let recipe = RECIPE.replace(from, &format!("{from}n = 1000\n"));
    let laboratory = Laboratory::with(&recipe, &[]);
    let changed = || {
        let report = laboratory.replay(nothing);
        let rows = report.metrics.into_iter();
        let rows = rows.map(|row| (row.name, (row.quantum, row.changed)));
        rows.collect::<std::collections::BTreeMap<_, _>>()
    };
    let quantum = Some("0.001".to_owned());
    assert_eq!(changed()["r2"], (quantum.clone(), Some(0)));
    laboratory.edit(
        "src/evaluate.py",
        "1 - loss / total",
        "1 - loss / total - 0.008",
    );
    let rows = changed();
    assert_eq!(rows["r2"], (quantum, Some(8)));
    // Of how many predictions another is a mean, nobody said.
    assert_eq!(rows["loss"], (None, None));
}

#[test]
fn a_tampered_metrics_file_beside_the_code_is_not_read() {
    let laboratory = Laboratory::new();
    laboratory.write("metrics.json", "{\"loss\": 0.0, \"r2\": 1.0}");
    let report = laboratory.replay(nothing);
    expect(&report, Verdict::Reproduced, 0, None, None, None);
    assert!(
        report
            .metrics
            .iter()
            .all(|metric| metric.ok && metric.now == metric.base)
    );
}

#[test]
fn wrong_weights_fail_the_golden_test() {
    let laboratory = Laboratory::with(&functional(), &[("src/train.py", &spoilt())]);
    let good = laboratory.replay(nothing);
    expect(&good, Verdict::Reproduced, 0, None, None, None);
    let report =
        laboratory.replay(|trial| drop(trial.environment.insert("SPOILT".into(), "0.01".into())));
    expect_divergence(&report, WEIGHTS, Some("pointer:/w"), "unknown");
    assert!(report.metrics.iter().all(|metric| metric.ok));
    let test = &report.tests[0];
    assert!(!test.ok && !test.undecided, "{test:?}");
    assert_eq!(test.locator.as_deref(), Some("pointer:/0"));
    let told = |reason: &&Reason| reason.code == "test" && reason.subject == "inference/golden";
    assert_eq!(
        report.reasons.iter().find(told).unwrap().verdict,
        Verdict::Diverged
    );
}

/// A preparation that a variable makes another one.
fn shifted() -> String {
    PREPARE.replace("/ 10", "/ 10 + float(os.environ.get('SPOILT', '0'))")
}

#[test]
fn a_model_that_was_trained_on_the_baselines_data_answers_for_no_other() {
    let data = "out = [\"work/train.csv\"]\n";
    let tolerated =
        format!("{data}tolerance = {{ \"work/train.csv\" = {{ class = \"functional\" }} }}\n");
    let recipe = functional().replace(data, &tolerated);
    let laboratory = Laboratory::with(&recipe, &[("src/prepare.py", &shifted())]);
    let report = laboratory.replay(|trial| {
        trial.isolated = true;
        trial.environment.insert("SPOILT".into(), "1".into());
    });
    assert!(report.tests.iter().all(|test| test.ok));
    assert_eq!(report.verdict, Verdict::Inconclusive, "{report:?}");
    let reason = told(&report, "artifact", "work/train.csv");
    assert_eq!(reason.verdict, Verdict::Inconclusive);
}

#[test]
fn the_trail_leaves_open_only_what_something_decides() {
    let outputs = "out = [\"metrics.json\"]\n";
    let tolerated = "out = [\"metrics.json\", \"answers.json\"]\n\
        tolerance = { \"answers.json\" = { class = \"functional\" } }\n";
    let recipe = functional().replace(outputs, tolerated);
    let evaluate = "import json, os\njson.dump({'loss': 0.0, 'r2': 1.0}, open('metrics.json', 'w'))\n\
        json.dump([float(os.environ.get('SPOILT', '0'))], open('answers.json', 'w'))\n";
    let laboratory = Laboratory::with(
        &recipe,
        &[("src/train.py", &spoilt()), ("src/evaluate.py", evaluate)],
    );
    let report =
        laboratory.replay(|trial| drop(trial.environment.insert("SPOILT".into(), "0.01".into())));
    assert_eq!(report.verdict, Verdict::Diverged);
    for (path, waits) in [("model/weights.json", true), ("answers.json", false)] {
        let mut trail = report.trail.iter();
        let entry = trail.find(|entry| entry.event == "stage.compare" && entry.subject == path);
        let entry = entry.unwrap();
        let note = entry.note.as_deref().unwrap();
        assert_eq!(
            (entry.ok, note.contains("so far")),
            (waits, waits),
            "{note}"
        );
    }
}

#[test]
fn a_metric_that_does_not_hold_by_itself_is_the_evidence() {
    let laboratory = Laboratory::new();
    let measured: serde_json::Value =
        serde_json::from_str(&laboratory.read("recipe.lock")).unwrap();
    let measured = measured["metrics"]["loss"]["value"].as_str().unwrap();
    let forged = format!("\"value\":\"{measured}\"");
    laboratory.edit("recipe.lock", &forged, "\"value\":\"0.001\"");
    let report = laboratory.replay(nothing);
    let diverged = Verdict::Diverged;
    expect(&report, diverged, 2, None, None, Some("unknown"));
    assert!(
        report.evidence[0]
            .text
            .starts_with("metric loss: 0.001 then")
    );
    let line = sealstone_spec::report::alert_line(&report, None);
    assert!(
        line.contains("stage=evaluate check=metric subject=loss"),
        "{line}"
    );
}

#[test]
fn rounding_within_the_tolerance_is_numeric_and_told() {
    let stated = "kind = \"evaluate\"\nrequire = \"numeric\"\nwhy = \"it sums\"\n";
    let recipe = tolerant().replace("kind = \"evaluate\"\n", stated);
    let noisy = TRAIN.replace(
        "json.dump({\"w\": w, ",
        "w += float(os.environ.get('NOISE', '0'))\njson.dump({\"w\": w, ",
    );
    let laboratory = Laboratory::with(&recipe, &[("src/train.py", &noisy)]);
    let report =
        laboratory.replay(|trial| drop(trial.environment.insert("NOISE".into(), "1e-9".into())));
    expect(&report, Verdict::Reproduced, 0, None, None, None);
    assert_eq!(report.class.achieved.unwrap().as_str(), "numeric");
    // Each row with the reason of whoever stated what was demanded: the tolerance, or the stage.
    let why = |stage: usize, path: &str| {
        let mut rows = report.stages[stage].artifacts.iter();
        let row = rows.find(|row| row.path == path).unwrap();
        row.detail.as_ref().and_then(|detail| detail.why.as_deref())
    };
    assert_eq!(why(1, WEIGHTS.1), Some("summation order"));
    assert_eq!(why(2, METRICS.1), Some("it sums"));
    let first = report.first_divergence.unwrap();
    assert!(first.tolerated);
    assert_eq!(
        (first.stage.as_str(), first.locator.as_deref()),
        ("train", Some("pointer:/w"))
    );
    let report =
        laboratory.replay(|trial| drop(trial.environment.insert("NOISE".into(), "1e-3".into())));
    expect_divergence(&report, WEIGHTS, Some("pointer:/w"), "unknown");
}
